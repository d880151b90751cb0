/*
 * answer_scan.h
 *		How functions that answer with one row are read in FROM.
 */
#ifndef TICKET_ANSWER_SCAN_H
#define TICKET_ANSWER_SCAN_H

extern void answer_scan_init(void);

#endif /* TICKET_ANSWER_SCAN_H */
