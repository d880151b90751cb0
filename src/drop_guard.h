/*
 * drop_guard.h
 *		Refuses to drop the extension while there is a sale to lose.
 */
#ifndef TICKET_DROP_GUARD_H
#define TICKET_DROP_GUARD_H

extern void drop_guard_init(void);

#endif /* TICKET_DROP_GUARD_H */
