/*
 * numbering.h
 *		Reservation numbers in a database.
 */
#ifndef TICKET_NUMBERING_H
#define TICKET_NUMBERING_H

extern void numbering_init(void);

#endif /* TICKET_NUMBERING_H */
