/*
 * load.h
 *		Reading the queues of a database from its tables into shared memory.
 */
#ifndef TICKET_LOAD_H
#define TICKET_LOAD_H

#include "postgres.h"

#include "memory.h"

/* Advisory lock classes of ours; PostgreSQL's own functions use 1 and 2. */
#define LOCK_CLASS_LOAD 16
#define LOCK_CLASS_PROMOTE 17
#define LOCK_CLASS_RUNNER 18
#define LOCK_CLASS_SEAT 19
#define LOCK_CLASS_USER 20
#define LOCK_CLASS_EXPIRE 21
#define LOCK_CLASS_CONFIG 22
#define LOCK_CLASS_REFERENCE 23

extern void queues_ready(void);
extern Queue *queue_open(int64 queue_id, LWLockMode mode);
extern void load_init(void);
extern void refuse_standby(void);
extern bool class_lock(int class, uint32 key1, uint32 key2, bool session, bool wait);
extern void class_unlock(int class, uint32 key1, uint32 key2, bool session);

#endif /* TICKET_LOAD_H */
