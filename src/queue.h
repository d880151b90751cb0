/*
 * queue.h
 *		What the runner, and each other, need of the waiting rooms.
 */
#ifndef TICKET_QUEUE_H
#define TICKET_QUEUE_H

#include "compat.h"
#include "memory.h"
#include "places.h"

extern int64 *queue_ids(int *n);
extern int queue_expire(int64 queue_id, bool idle, bool *more);
extern int queue_expire_places(int64 queue_id, Places *places, TimestampTz ends_by,
							   const char *reason, TimestampTz now);
extern void queue_round(int64 queue_id, int *promoted, int *expired, bool *more);
extern TimestampTz queue_next_due(int64 queue_id, TimestampTz now);

extern void queue_check(int64 queue_id);
extern void queue_not_found(int64 queue_id) pg_attribute_noreturn();

/* promote.c */
extern int queue_promote(int64 queue_id, int64 max_count);

/* prune.c */
extern int queue_prune(int64 queue_id);
extern void queue_prune_all(int64 queue_id);

#endif /* TICKET_QUEUE_H */
