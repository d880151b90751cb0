/*
 * pending.c
 *		Changes of shared memory that wait for their transaction.  See pending.h.
 *
 * The records stand in one array in the order they were made, each with the
 * nesting level of the savepoint it belongs to; a savepoint's records are
 * therefore always at the end.  Nothing here allocates or raises an error
 * once the transaction has begun to commit or abort.
 */
#include "postgres.h"

#include "pending.h"

#include "access/xact.h"
#include "metrics.h"
#include "miscadmin.h"
#include "ticket.h"
#include "utils/memutils.h"

typedef enum ChangeKind
{
	CHANGE_JOIN, /* a place was taken, it will wait */
	CHANGE_ADMIT, /* a place was taken, it will be active */
	CHANGE_PROMOTE, /* a waiting place will be active */
	CHANGE_END, /* a place will be gone */
	CHANGE_NEW_QUEUE, /* a slot was taken */
	CHANGE_CONFIG, /* a queue will have other settings */
	CHANGE_DROP_QUEUE, /* a slot will be free */
	CHANGE_STALE, /* the tables were changed by hand */
	CHANGE_DROP_DATABASE, /* all of a database will be gone */
	CHANGE_WAKE /* something falls due at that time */
} ChangeKind;

typedef struct Change
{
	ChangeKind kind;
	int level;
	int slot;
	uint32 generation;
	int64 place;
	TimestampTz time; /* JOIN: heard; ADMIT, PROMOTE: ends; WAKE: due */
	bool counted; /* ADMIT, PROMOTE: already in Queue.active; END: was active */
	bool token; /* ADMIT, PROMOTE: took from the bucket */
	Oid database;
	QueueConfig *config;
} Change;

#define MAX_SHIFT_CHANGES 1000

static Change *changes = NULL;
static int n_changes = 0;
static int max_changes = 0;

/* Queues this transaction has counted itself into (Queue.in_flight). */
typedef struct Touched
{
	int slot;
	uint32 generation;
} Touched;

static Touched *touched = NULL;
static int n_touched = 0;
static int max_touched = 0;

bool
pending_any(void)
{
	return n_changes > 0;
}

/* ---------- recording ---------- */

/* Makes room for n more records; the only thing here that may fail. */
void
pending_reserve(int n)
{
	if (changes == NULL || n_changes + n > max_changes)
	{
		int size = Max(n_changes + n, Max(8, max_changes * 2));

		if (changes == NULL)
			changes = MemoryContextAllocHuge(TopTransactionContext, size * sizeof(Change));
		else
			changes = repalloc_huge(changes, size * sizeof(Change));
		max_changes = size;
	}
	if (n_touched + 1 > max_touched)
	{
		int size = Max(8, max_touched * 2);

		if (touched == NULL)
			touched = MemoryContextAlloc(TopTransactionContext, size * sizeof(Touched));
		else
			touched = repalloc(touched, size * sizeof(Touched));
		max_touched = size;
	}
}

static Change *
add_change(ChangeKind kind)
{
	Change *change;

	Assert(n_changes < max_changes);
	change = &changes[n_changes++];
	memset(change, 0, sizeof(Change));
	change->kind = kind;
	change->level = GetCurrentTransactionNestLevel();
	change->slot = -1;
	return change;
}

static bool
touched_queue(const Queue *queue)
{
	for (int i = 0; i < n_touched; i++)
		if (touched[i].slot == queue_slot(queue) && touched[i].generation == queue->generation)
			return true;
	return false;
}

static Change *
add_queue_change(ChangeKind kind, Queue *queue, int64 place)
{
	Change *change = add_change(kind);

	change->slot = queue_slot(queue);
	change->generation = queue->generation;
	change->place = place;
	if (!touched_queue(queue))
	{
		touched[n_touched++] = (Touched){change->slot, queue->generation};
		queue->in_flight++;
	}
	return change;
}

void
pending_join(Queue *queue, int64 place, TimestampTz heard)
{
	add_queue_change(CHANGE_JOIN, queue, place)->time = heard;
}

/*
 * Sets room and rate aside for one who will be active.  With credit he takes
 * the room of an active ticket that ends in this same transaction, so that
 * Queue.active need not grow meanwhile.
 */
static void
add_activation(ChangeKind kind, Queue *queue, int64 place, TimestampTz expires_at, bool credit)
{
	Change *change = add_queue_change(kind, queue, place);

	change->time = expires_at;
	if (!credit)
	{
		change->counted = true;
		queue->active++;
	}
	if (queue->config.mode != MODE_PASSTHROUGH)
	{
		change->token = true;
		queue->bucket -= 1;
	}
}

void
pending_admit(Queue *queue, int64 place, TimestampTz expires_at, bool credit)
{
	add_activation(CHANGE_ADMIT, queue, place, expires_at, credit);
}

void
pending_promote(Queue *queue, int64 place, TimestampTz expires_at, bool credit)
{
	add_activation(CHANGE_PROMOTE, queue, place, expires_at, credit);
}

void
pending_end(Queue *queue, int64 place, bool was_active)
{
	add_queue_change(CHANGE_END, queue, place)->counted = was_active;
}

/* Active tickets that end in this transaction and whose room is not yet used. */
int64
pending_credit(const Queue *queue)
{
	int64 credit = 0;

	for (int i = 0; i < n_changes; i++)
	{
		if (changes[i].slot != queue_slot(queue))
			continue;
		if (changes[i].kind == CHANGE_END && changes[i].counted)
			credit++;
		else if ((changes[i].kind == CHANGE_PROMOTE || changes[i].kind == CHANGE_ADMIT) &&
				 !changes[i].counted)
			credit--;
	}
	return credit;
}

/*
 * How this transaction's own changes will move a place back in the line: who
 * joins before it, less who leaves.  Not counted in a transaction of many
 * changes, as the queue is locked meanwhile.
 */
int64
pending_shift(const Queue *queue, int64 place)
{
	int64 shift = 0;

	for (int i = 0; i < n_changes && n_changes <= MAX_SHIFT_CHANGES; i++)
	{
		const Change *change = &changes[i];

		if (change->slot != queue_slot(queue) || change->place >= place)
			continue;
		if (change->kind == CHANGE_JOIN)
			shift++;
		else if (change->kind == CHANGE_PROMOTE || (change->kind == CHANGE_END && !change->counted))
			shift--;
	}
	return shift;
}

static int
compare_int64(const void *a, const void *b)
{
	int64 x = *(const int64 *) a;
	int64 y = *(const int64 *) b;

	return (x > y) - (x < y);
}

/* How far one change of a transaction moves the places behind it. */
typedef struct Shift
{
	int64 place;
	int by;
} Shift;

/*
 * pending_shift() for each of many places of a queue, which are sorted, without
 * a limit.  It allocates: not to be called with a lock held.
 */
void
pending_shifts(int slot, const int64 *places, int n, int64 *shifts)
{
	Shift *shift = MemoryContextAllocHuge(CurrentMemoryContext, (n_changes + 1) * sizeof(Shift));
	int n_shifts = 0;
	int64 sum = 0;
	int next = 0;

	for (int i = 0; i < n_changes; i++)
	{
		const Change *change = &changes[i];

		if (change->slot != slot)
			continue;
		if (change->kind == CHANGE_JOIN)
			shift[n_shifts++] = (Shift){change->place, 1};
		else if (change->kind == CHANGE_PROMOTE || (change->kind == CHANGE_END && !change->counted))
			shift[n_shifts++] = (Shift){change->place, -1};
	}
	/* The place comes first in it. */
	qsort(shift, n_shifts, sizeof(Shift), compare_int64);
	for (int i = 0; i < n; i++)
	{
		while (next < n_shifts && shift[next].place < places[i])
			sum += shift[next++].by;
		shifts[i] = sum;
	}
	pfree(shift);
}

void
pending_new_queue(int64 queue_id, const QueueConfig *config)
{
	Queue *queue;
	bool dropped;

	pending_reserve(1);
	queue = queue_slot_create(queue_id, config);
	if (queue == NULL)
		ticket_error(ERROR_QUEUE_FULL, memory_queues_detail(),
					 "Delete a queue that is no longer needed, or raise ticket.max_queues and restart the server.",
					 "no shared memory for another queue");
	add_queue_change(CHANGE_NEW_QUEUE, queue, 0);
	queue->creator = MyProcPid;
	dropped = queue->dropping;
	queue_release(queue);
	/* Deleted and created anew at once: let it be read again. */
	if (dropped)
		pending_stale();
}

void
pending_config(int64 queue_id, const QueueConfig *config)
{
	QueueConfig *copy = MemoryContextAlloc(TopTransactionContext, sizeof(QueueConfig));
	Queue *queue;

	*copy = *config;
	pending_reserve(1);
	queue = queue_acquire(queue_id, LW_EXCLUSIVE);
	if (queue)
	{
		add_queue_change(CHANGE_CONFIG, queue, 0)->config = copy;
		queue_release(queue);
	}
}

/*
 * Closes a queue to newcomers until the transaction ends, then frees its slot.
 * False, and nothing done, while tickets live or other transactions have
 * changes of it pending; live and busy say how many.
 */
bool
pending_drop_queue(int64 queue_id, int64 *live, int *busy)
{
	Queue *queue;

	*live = *busy = 0;
	pending_reserve(1);
	queue = queue_acquire(queue_id, LW_EXCLUSIVE);
	if (queue == NULL)
		return true;
	*live = queue_line(queue)->n_waiting + queue->active;
	*busy = queue->in_flight - (touched_queue(queue) ? 1 : 0);
	if (*live == 0 && *busy == 0)
	{
		add_queue_change(CHANGE_DROP_QUEUE, queue, 0);
		queue->dropping = true;
	}
	queue_release(queue);
	return *live == 0 && *busy == 0;
}

void
pending_stale(void)
{
	pending_reserve(1);
	add_change(CHANGE_STALE);
}

void
pending_drop_database(Oid database)
{
	pending_reserve(1);
	add_change(CHANGE_DROP_DATABASE)->database = database;
}

void
pending_wake(TimestampTz due)
{
	pending_reserve(1);
	add_change(CHANGE_WAKE)->time = due;
}

/* ---------- the end of a transaction ---------- */

/* What the changes of one queue come to. */
typedef struct Tally
{
	int64 promoted;
	int64 from_line; /* of these */
	int64 ended;
	int64 stays_over; /* of these, which were active */
} Tally;

/* Applies one change of a queue; returns when the runner should look at it. */
static TimestampTz
apply_queue_change(Queue *queue, const Change *change, Tally *tally)
{
	switch (change->kind)
	{
		case CHANGE_JOIN:
			queue_set_place(queue, change->place, LINE_WAITING, change->time);
			queue->entered++;
			return change->time + queue->config.idle_ttl;
		case CHANGE_ADMIT:
			queue->entered++;
			pg_fallthrough;
		case CHANGE_PROMOTE:
			queue_set_place(queue, change->place, LINE_ACTIVE, change->time);
			queue_note_end(queue, change->time);
			if (!change->counted)
				queue->active++;
			tally->promoted++;
			tally->from_line += change->kind == CHANGE_PROMOTE;
			return change->time;
		case CHANGE_END:
			queue_end_place(queue, change->place, change->counted ? LINE_ACTIVE : LINE_WAITING);
			if (change->counted)
				queue->active--;
			tally->ended++;
			tally->stays_over += change->counted;
			break;
		case CHANGE_NEW_QUEUE:
			queue->creator = 0;
			break;
		case CHANGE_CONFIG:
			queue_configure(queue, change->config, clock_now());
			return DT_NOBEGIN;
		default:
			break;
	}
	return DT_NOEND;
}

static void
undo_queue_change(Queue *queue, const Change *change)
{
	switch (change->kind)
	{
		case CHANGE_JOIN:
			queue_drop_place(queue, change->place);
			break;
		case CHANGE_ADMIT:
			queue_drop_place(queue, change->place);
			pg_fallthrough;
		case CHANGE_PROMOTE:
			if (change->counted)
				queue->active--;
			if (change->token)
				queue->bucket += 1;
			break;
		case CHANGE_DROP_QUEUE:
			queue->dropping = false;
			break;
		default:
			break;
	}
}

/* The changes of one queue that stand together share one lock. */
static int
apply_run(int first, TimestampTz *wake)
{
	int i = first;
	Tally tally = {0};
	TimestampTz now = 0;
	Queue *queue = queue_acquire_slot(changes[first].slot, changes[first].generation, LW_EXCLUSIVE);

	if (queue)
	{
		now = clock_now();
		queue_follow_line(queue, now);
	}
	for (; i < n_changes && changes[i].slot == changes[first].slot &&
		   changes[i].kind != CHANGE_DROP_QUEUE;
		 i++)
	{
		if (queue)
		{
			TimestampTz due = apply_queue_change(queue, &changes[i], &tally);

			*wake = Min(*wake, due);
		}
	}
	if (queue)
	{
		queue_count(queue, tally.promoted, tally.from_line, tally.ended, tally.stays_over, now);
		queue_follow_line(queue, now);
		queue_release(queue);
	}
	return i;
}

/* Returns when the runner is to look at it. */
static TimestampTz
apply_all(void)
{
	TimestampTz wake = DT_NOEND;

	for (int i = 0; i < n_changes;)
	{
		const Change *change = &changes[i];

		switch (change->kind)
		{
			case CHANGE_DROP_QUEUE:
				queue_slot_free(change->slot, change->generation);
				i++;
				break;
			case CHANGE_STALE:
				database_set_stale();
				i++;
				break;
			case CHANGE_DROP_DATABASE:
				database_clear(change->database, true);
				metrics_clear(change->database);
				i++;
				break;
			case CHANGE_WAKE:
				wake = Min(wake, change->time);
				i++;
				break;
			default:
				i = apply_run(i, &wake);
		}
	}
	return wake;
}

/* Undoes the changes from the end down to (not including) keep. */
static void
undo_down_to(int keep)
{
	while (n_changes > keep)
	{
		const Change *change = &changes[--n_changes];
		Queue *queue;

		switch (change->kind)
		{
			case CHANGE_NEW_QUEUE:
				queue_slot_free(change->slot, change->generation);
				break;
			case CHANGE_STALE:
				/* What was read meanwhile may have been of this transaction. */
				database_set_stale();
				break;
			case CHANGE_JOIN:
			case CHANGE_ADMIT:
			case CHANGE_PROMOTE:
			case CHANGE_DROP_QUEUE:
				queue = queue_acquire_slot(change->slot, change->generation, LW_EXCLUSIVE);
				if (queue)
				{
					undo_queue_change(queue, change);
					queue_release(queue);
				}
				break;
			default:
				break;
		}
	}
}

/* Takes back the last change recorded, as if its statement had not run. */
void
pending_undo_last(void)
{
	undo_down_to(n_changes - 1);
}

/*
 * Of the last n promotions recorded takes back those whose place is not in
 * `keep`, which is sorted.
 */
void
pending_retract(int n_last, const int64 *keep, int n_keep)
{
	int from = n_changes - n_last;
	int to = from;
	int k = 0;

	for (int i = from; i < n_changes; i++)
	{
		Change *change = &changes[i];
		Queue *queue;

		while (k < n_keep && keep[k] < change->place)
			k++;
		if (k < n_keep && keep[k] == change->place)
		{
			changes[to++] = *change;
			continue;
		}
		queue = queue_acquire_slot(change->slot, change->generation, LW_EXCLUSIVE);
		if (queue)
		{
			undo_queue_change(queue, change);
			queue_release(queue);
		}
	}
	n_changes = to;
}

/*
 * Takes back that these places of a queue, which are sorted, were taken; their
 * rows have not been written.
 */
void
pending_take_back(int slot, const int64 *places, int n)
{
	int to = 0;

	for (int i = 0; i < n_changes; i++)
	{
		const Change *change = &changes[i];
		Queue *queue;

		if (change->slot != slot || (change->kind != CHANGE_JOIN && change->kind != CHANGE_ADMIT) ||
			bsearch(&change->place, places, n, sizeof(int64), compare_int64) == NULL)
		{
			changes[to++] = *change;
			continue;
		}
		queue = queue_acquire_slot(change->slot, change->generation, LW_EXCLUSIVE);
		if (queue)
		{
			undo_queue_change(queue, change);
			queue_release(queue);
		}
	}
	n_changes = to;
}

/*
 * The runner is woken for what it would sleep past: what `wake` says, or somebody
 * who can be let in, now that room is free or taken, or set aside no longer.
 */
static void
leave_queues(TimestampTz wake)
{
	TimestampTz now = clock_now();

	for (int i = 0; i < n_touched; i++)
	{
		Queue *queue = queue_acquire_slot(touched[i].slot, touched[i].generation, LW_EXCLUSIVE);

		if (queue)
		{
			TimestampTz due = queue_promote_due(queue, now);

			queue->in_flight = Max(0, queue->in_flight - 1);
			queue->changes++;
			queue_release(queue);
			wake = Min(wake, due);
		}
	}
	if (wake != DT_NOEND)
		database_wake_runner(wake);
	/* The arrays go with TopTransactionContext. */
	changes = NULL;
	touched = NULL;
	n_changes = max_changes = n_touched = max_touched = 0;
}

/* Waking the runner alone is no change: it would wake by itself, if later. */
static bool
changes_of_rooms(void)
{
	for (int i = 0; i < n_changes; i++)
		if (changes[i].kind != CHANGE_WAKE)
			return true;
	return false;
}

static void
pending_xact(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
			if (changes)
				leave_queues(apply_all());
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
			if (changes)
			{
				undo_down_to(0);
				leave_queues(DT_NOEND);
			}
			break;
		case XACT_EVENT_PRE_PREPARE:
			if (changes_of_rooms())
				ticket_error(ERROR_TWO_PHASE_REFUSED,
							 "COMMIT PREPARED runs in another session, which does not have the changes.",
							 "Use an ordinary COMMIT.",
							 "cannot PREPARE a transaction that has changed a waiting room");
			break;
		case XACT_EVENT_PREPARE:
			leave_queues(DT_NOEND);
			break;
		default:
			break;
	}
}

static void
pending_subxact(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	int level = GetCurrentTransactionNestLevel();
	int keep = n_changes;

	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		while (keep > 0 && changes[keep - 1].level >= level)
			keep--;
		undo_down_to(keep);
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		while (keep > 0 && changes[keep - 1].level >= level)
			changes[--keep].level = level - 1;
	}
}

void
pending_init(void)
{
	RegisterXactCallback(pending_xact, NULL);
	RegisterSubXactCallback(pending_subxact, NULL);
}
