/*
 * pending.h
 *		Changes of shared memory that wait for their transaction.
 *
 * A change is recorded while the transaction runs, savepoint by savepoint.
 * What could fail (memory for the record, a page, a slot) is done when it is
 * recorded.  At commit the changes are applied, in the callback that runs
 * after the rows have become visible and before their locks go; at abort, of
 * the transaction or of a savepoint, what was set aside is given back.
 */
#ifndef TICKET_PENDING_H
#define TICKET_PENDING_H

#include "memory.h"

extern void pending_init(void);
extern bool pending_any(void);

extern void pending_reserve(int n);

/* With the queue lock held exclusively, after pending_reserve before it was taken. */
extern void pending_join(Queue *queue, int64 place, TimestampTz heard);
extern void pending_admit(Queue *queue, int64 place, TimestampTz expires_at, bool credit);
extern void pending_promote(Queue *queue, int64 place, TimestampTz expires_at, bool credit);
extern void pending_end(Queue *queue, int64 place, bool was_active);
extern int64 pending_credit(const Queue *queue);
extern int64 pending_shift(const Queue *queue, int64 place);
extern void pending_shifts(int slot, const int64 *places, int n, int64 *shifts);
extern void pending_undo_last(void);
extern void pending_take_back(int slot, const int64 *places, int n);
extern void pending_retract(int n_last, const int64 *keep, int n_keep);

extern void pending_new_queue(int64 queue_id, const QueueConfig *config);
extern void pending_config(int64 queue_id, const QueueConfig *config);
extern bool pending_drop_queue(int64 queue_id, int64 *live, int *busy);
extern void pending_stale(void);
extern void pending_drop_database(Oid database);
extern void pending_wake(TimestampTz due);

#endif /* TICKET_PENDING_H */
