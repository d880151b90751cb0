/*
 * queue.h
 *		What the runner needs of the waiting rooms.
 */
#ifndef TICKET_QUEUE_H
#define TICKET_QUEUE_H

#include "memory.h"

extern int64 *queue_ids(int *n);
extern int queue_expire(int64 queue_id, bool idle);
extern int queue_promote(int64 queue_id, int64 max_count);
extern void queue_round(int64 queue_id, int *promoted, int *expired);
extern TimestampTz queue_next_due(int64 queue_id, TimestampTz now);

/* prune.c */
extern int queue_prune(int64 queue_id);
extern void queue_prune_all(int64 queue_id);

#endif /* TICKET_QUEUE_H */
