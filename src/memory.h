/*
 * memory.h
 *		Shared memory: for each queue of each database its settings, its
 *		counters and the index of its line; for each database whether that has
 *		been read from the tables, and who runs its clock.
 *
 * Tables are the truth; all this can be dropped and read again (load.c).
 *
 * Locks, always taken in this order:
 *
 *		directory lock	which slot belongs to which queue, Database entries
 *		queue lock		one per slot: everything in Queue and its Line; shared to
 *						read, exclusive to change.  A poll stores the time it was
 *						heard under the shared lock, with one atomic store.
 *		pool lock		the free list of pages
 *
 * While one of them is held nothing is allocated, no error is raised and no
 * table is touched.  Changes made for a transaction go through pending.c.
 */
#ifndef TICKET_MEMORY_H
#define TICKET_MEMORY_H

#include "postgres.h"

#include "line.h"
#include "port/atomics.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "utils/timestamp.h"

#define MAX_QUEUE_ID ((1 << 22) - 1)

typedef enum QueueMode
{
	MODE_OPEN,
	MODE_PAUSED,
	MODE_DRAIN,
	MODE_PASSTHROUGH
} QueueMode;

/* A row of ticket.queue; times and spans in microseconds. */
typedef struct QueueConfig
{
	QueueMode mode;
	bool rejoin_back;
	int32 capacity;
	int32 promote_count;
	int64 promote_interval;
	int64 active_ttl;
	int64 idle_ttl;
	TimestampTz opens_at; /* DT_NOBEGIN when not set */
	int64 poll_front;
	int64 poll_back;
	int32 poll_back_position;
	int64 outflow_window;
	int64 wait_step;
	bool announce;
	int64 retention; /* -1: for ever */
} QueueConfig;

/* A rate: a count whose past fades, and since when it is counted. */
typedef struct Meter
{
	double count;
	TimestampTz at; /* when it was last added to */
	TimestampTz since; /* 0: not yet */
} Meter;

typedef struct QueueKey
{
	Oid database;
	uint32 queue_id;
} QueueKey;

typedef struct Queue
{
	QueueKey key; /* database InvalidOid: slot is free */
	uint32 generation; /* grows each time the slot changes hands */
	QueueConfig config;
	TimestampTz limits_at; /* when fewer came to be allowed in than before; 0: never */

	/* Active tickets, those of transactions still running included. */
	int64 active;

	/* No active ticket ends before; the search for overdue ones makes it exact. */
	TimestampTz ends_at;
	TimestampTz ends_since; /* the same, of those admitted since that began */

	/* Token bucket of the promotion rate. */
	double bucket;
	TimestampTz bucket_at;

	/* Who was let in, and who is gone, lately. */
	Meter promotions;
	Meter ends;

	/*
	 * Who was let in from the line, by a clock that goes while the line can move:
	 * while somebody waits and the queue is open.
	 */
	Meter outflow;
	TimestampTz outflow_began; /* when it went first; after a long halt: last */
	TimestampTz halted_at; /* since when that clock stands; DT_NOEND: it goes */

	/* How long those stay who are let in, as seen lately. */
	double stay_us; /* spent inside, by all, over yet or not */
	double stays_over; /* stays that have come to their end */
	TimestampTz stays_at; /* until when time inside is counted; 0: not yet */

	/* Since the queue was loaded. */
	int64 entered;
	int64 promoted;
	int64 ended;

	TimestampTz idle_checked; /* last search for silent ones */
	TimestampTz idle_shortened; /* when idle_ttl was made shorter, */
	int64 idle_ttl_before; /* and what it had been */

	/* The search for rows to be pruned. */
	TimestampTz prune_due;
	int64 prune_place; /* how far it has come; 0: not begun */
	TimestampTz prune_began;
	TimestampTz prune_oldest; /* end of the first to end of those left so far */

	bool dropping; /* its row is being deleted */
	int creator; /* process that is creating or reading it, whom alone it is there for; 0: none */
	int in_flight; /* transactions with changes not yet applied */
	uint64 changes; /* transactions applied or undone */
} Queue;

typedef struct Database
{
	Oid database; /* InvalidOid: entry is free */
	bool loaded;
	bool stale; /* tables were changed behind our back */
	uint64 loads; /* how often it has been read, or begun to be */
	uint64 hand_changes; /* how often */
	Latch *runner; /* latch of the backend in run(), or NULL */
	TimestampTz runner_wakes; /* when it will wake by itself */
} Database;

extern void memory_init(void);
extern bool memory_has_entered(int64 queue_id, const text *user);
extern void memory_note_entry(int64 queue_id, const text *user);

/* Queues. */
extern Queue *queue_acquire(int64 queue_id, LWLockMode mode);
extern Queue *queue_acquire_slot(int slot, uint32 generation, LWLockMode mode);
extern void queue_release(Queue *queue);
extern bool queue_is_wanted(const Queue *queue);
extern void queue_give_way(Queue *queue);
extern int queue_slot(const Queue *queue);
extern Line *queue_line(const Queue *queue);
extern LinePool *memory_pool(void);
extern Queue *queue_slot_create(int64 queue_id, const QueueConfig *config);
extern void queue_slot_free(int slot, uint32 generation);
extern int memory_max_queues(void);
extern Queue *memory_queue(int slot);

/* Why there is no place, and the figures of that moment. */
typedef enum MemoryShortage
{
	SHORT_OF_PLACES, /* all that ticket.max_waiting allows are taken */
	SHORT_OF_PAGES, /* no page is left for a place that it allows */
	SHORT_OF_NUMBERS /* the queue has given out the last there is */
} MemoryShortage;

typedef struct MemoryFull
{
	MemoryShortage shortage;
	int64 places; /* taken, over all queues */
	int64 queue_places; /* of these in this one */
} MemoryFull;

pg_attribute_noreturn()
extern void memory_full_error(const MemoryFull *full, const char *message);
extern char *memory_queues_detail(void);

/* With the queue lock held exclusively. */
extern int64 queue_take_place(Queue *queue, int64 place, uint64 secret, MemoryFull *full);
extern void queue_drop_place(Queue *queue, int64 place);
extern void queue_set_place(Queue *queue, int64 place, LineState state, TimestampTz time);
extern void queue_note_end(Queue *queue, TimestampTz ends_at);
extern void queue_end_place(Queue *queue, int64 place, LineState expected);

/* pace.c: with the queue lock held, where the queue is changed exclusively. */
extern void queue_refill(Queue *queue, TimestampTz now);
extern int64 queue_room(const Queue *queue, int64 credit);
extern bool queue_is_open(const Queue *queue, TimestampTz now);
extern bool queue_is_silent(const Queue *queue, TimestampTz heard, TimestampTz now);
extern void queue_configure(Queue *queue, const QueueConfig *config, TimestampTz now);
extern void queue_follow_line(Queue *queue, TimestampTz now);
extern void queue_count(Queue *queue, int64 promoted, int64 from_line, int64 ended,
						int64 stays_over, TimestampTz now);
extern TimestampTz queue_promote_due(const Queue *queue, TimestampTz now);
extern int64 queue_wait(const Queue *queue, int64 position, bool *measured, TimestampTz now);
extern double queue_outflow(const Queue *queue, TimestampTz now);
extern double queue_promoted_rate(const Queue *queue, TimestampTz now);
extern double queue_ended_rate(const Queue *queue, TimestampTz now);
extern double queue_tokens(const Queue *queue, TimestampTz now);

/* Databases. */
extern bool database_loaded(bool *stale);
extern uint64 database_begin_load(void);
extern void database_end_load(uint64 changes);
extern uint64 database_loads(void);
extern void database_set_stale(void);
extern void database_clear(Oid database, bool forget);
extern void database_set_runner(Latch *latch, TimestampTz wakes);
extern void database_wake_runner(TimestampTz due);

/* How much of it is used. */
typedef struct MemoryUsage
{
	int queues;
	int max_queues;
	int64 places;
	int64 max_places;
	uint32 pages;
	uint32 max_pages;
	Size bytes;
} MemoryUsage;

extern MemoryUsage memory_usage(void);

#endif /* TICKET_MEMORY_H */
