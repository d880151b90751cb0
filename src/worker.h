/*
 * worker.h
 *		The clock as a background worker.
 */
#ifndef TICKET_WORKER_H
#define TICKET_WORKER_H

extern void worker_init(void);

#endif /* TICKET_WORKER_H */
