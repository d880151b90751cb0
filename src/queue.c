/*
 * queue.c
 *		Waiting rooms: create, expire, what the runner does with them.
 */
#include "postgres.h"

#include "queue.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "answer.h"
#include "funcapi.h"
#include "load.h"
#include "metrics.h"
#include "miscadmin.h"
#include "pending.h"
#include "places.h"
#include "plan.h"
#include "relation.h"
#include "ticket.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

/* Places looked at before others get the queue's lock. */
#define PICK_STEP 20000

PG_FUNCTION_INFO_V1(ticket_queue_create);
PG_FUNCTION_INFO_V1(ticket_expire);
PG_FUNCTION_INFO_V1(ticket_queue_clear);
PG_FUNCTION_INFO_V1(ticket_queue_memory);
PG_FUNCTION_INFO_V1(ticket_memory_usage);

/* ---------- create ---------- */

static SavedPlan insert_queue = {
	"INSERT INTO ticket.queue (name, capacity, promote_count, promote_interval, active_ttl,"
	" idle_ttl, opens_at) VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING queue_id",
	7,
	{TEXTOID, INT4OID, INT4OID, INTERVALOID, INTERVALOID, INTERVALOID, TIMESTAMPTZOID},
};

/*
 * queue_create(name text, capacity int, promote_count int,
 *				promote_interval interval, active_ttl interval,
 *				idle_ttl interval, opens_at timestamptz) -> queue_id bigint
 *
 * Errors: 22023, TK004 (no slot in shared memory), TK014, TK016.
 * Locks: the new row, then the directory lock and the queue lock.
 */
Datum
ticket_queue_create(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	TimestampTz opens_at = arg_time(fcinfo, 6, "opens_at");
	Datum args[7] = {PointerGetDatum(arg_name(fcinfo, 0, "name")),
					 Int32GetDatum(arg_count(fcinfo, 1, "capacity", 0, PG_INT32_MAX)),
					 Int32GetDatum(arg_count(fcinfo, 2, "promote_count", 1, PG_INT32_MAX)),
					 IntervalPGetDatum(arg_interval(fcinfo, 3, "promote_interval")),
					 IntervalPGetDatum(arg_interval(fcinfo, 4, "active_ttl")),
					 IntervalPGetDatum(arg_interval(fcinfo, 5, "idle_ttl")),
					 TimestampTzGetDatum(opens_at)};
	OwnerContext owner;
	int64 queue_id;

	queues_ready();
	owner_begin(&owner);
	plan_run(&insert_queue, args, opens_at == DT_NOBEGIN ? "      n" : NULL);
	queue_id = result_int64(0, 1);
	owner_end(&owner);
	PG_RETURN_INT64(queue_id);
}

/* ---------- places picked from the line ---------- */

/*
 * Picks those of a state that are due.  The lock is let go of between steps,
 * so that nobody waits for a look at a million places.  Returns the earliest
 * time of all, DT_NOBEGIN if it has not looked at all.
 */
static TimestampTz
pick_due(int64 queue_id, LineState state, TimestampTz now, Places *places)
{
	TimestampTz earliest = DT_NOEND;
	int64 place = 0;

	do
	{
		Queue *queue = queue_acquire(queue_id, LW_SHARED);

		if (queue == NULL)
			return DT_NOBEGIN;
		for (int i = 0; i < PICK_STEP && places->n < places->max; i++)
		{
			TimestampTz time;

			place = line_next(queue_line(queue), memory_pool(), state, place);
			if (place == 0)
				break;
			time = place_time(queue, place);
			earliest = Min(earliest, time);
			if (place_is_due(queue, state, time, now))
				places->place[places->n++] = place;
		}
		queue_release(queue);
	} while (place != 0 && places->n < places->max);
	return place == 0 ? earliest : DT_NOBEGIN;
}

/*
 * Active ones whose time is up.  They are looked for when the first can have
 * come to its end, not each time: there may be many.
 */
static void
pick_overdue(int64 queue_id, TimestampTz now, Places *places)
{
	Queue *queue = queue_acquire(queue_id, LW_EXCLUSIVE);
	TimestampTz earliest;
	bool due = queue && queue->ends_at <= now;

	if (queue)
	{
		queue->ends_since = DT_NOEND;
		queue_release(queue);
	}
	if (!due)
		return;
	earliest = pick_due(queue_id, LINE_ACTIVE, now, places);
	queue = queue_acquire(queue_id, LW_EXCLUSIVE);
	if (queue)
	{
		queue->ends_at = Min(earliest, queue->ends_since);
		queue_release(queue);
	}
}

/* ---------- expire ---------- */

/*
 * Ends the tickets at these places, except those that are no longer what they
 * were: active ones whose time is up by `ends_by`; DT_NOBEGIN: waiting ones.
 * `reason` is what is told of why.
 */
int
queue_expire_places(int64 queue_id, Places *places, TimestampTz ends_by, const char *reason,
					TimestampTz now)
{
	Datum values[ENTRY_ROW_SIZE] = {
		[COL_ENTRY_STATUS] = CStringGetTextDatum("expired"),
		[COL_ENTRY_ENDED_AT] = TimestampTzGetDatum(now),
		[COL_ENTRY_END_REASON] = CStringGetTextDatum(reason),
	};
	static const bool replace[ENTRY_ROW_SIZE] = {
		[COL_ENTRY_STATUS] = true,
		[COL_ENTRY_ENDED_AT] = true,
		[COL_ENTRY_END_REASON] = true,
	};
	PlacesChange change = {.queue_id = queue_id,
						   .ends_by = ends_by,
						   .values = values,
						   .replace = replace};
	Queue *queue;

	places_write(places, &change);
	if (places->n == 0)
		return 0;
	pending_reserve(places->n);
	queue = queue_acquire(queue_id, LW_EXCLUSIVE);
	if (queue)
	{
		for (int i = 0; i < places->n; i++)
			pending_end(queue, places->place[i], ends_by != DT_NOBEGIN);
		queue_release(queue);
	}
	return places->n;
}

/*
 * Silent ones, and notes when they were looked for: so far back that it is due
 * again at once, where there may be more than were picked.
 */
static void
pick_silent(int64 queue_id, TimestampTz now, Places *places)
{
	bool all = pick_due(queue_id, LINE_WAITING, now, places) != DT_NOBEGIN;
	Queue *queue = queue_acquire(queue_id, LW_EXCLUSIVE);

	if (queue)
	{
		queue->idle_checked = all ? now : DT_NOBEGIN;
		queue_release(queue);
	}
}

static int
expire_queue(int64 queue_id, bool idle, bool *more)
{
	TimestampTz now = clock_now();
	Places overdue;
	Places silent;

	places_init(&overdue, PLACES_BATCH);
	places_init(&silent, idle ? PLACES_BATCH : 0);
	pick_overdue(queue_id, now, &overdue);
	if (idle)
		pick_silent(queue_id, now, &silent);
	*more |= overdue.n == PLACES_BATCH || silent.n == PLACES_BATCH;
	return queue_expire_places(queue_id, &overdue, now, "timeout", now) +
		   queue_expire_places(queue_id, &silent, DT_NOBEGIN, "silent", now);
}

/* Whether somebody active may be over, or somebody waits and is to be looked at. */
static bool
may_be_due(int64 queue_id, bool idle)
{
	Queue *queue = queue_acquire(queue_id, LW_SHARED);
	bool due = false;

	if (queue)
	{
		due = (idle && queue_line(queue)->n_waiting > 0) || queue->ends_at <= clock_now();
		queue_release(queue);
	}
	return due;
}

/* The queues of this database, as an array of queue_id. */
int64 *
queue_ids(int *n)
{
	int64 *ids = palloc(memory_max_queues() * sizeof(int64));

	*n = 0;
	for (int slot = 0; slot < memory_max_queues(); slot++)
	{
		/* A key read without the lock is checked when the queue is locked. */
		QueueKey key = memory_queue(slot)->key;

		if (key.database == MyDatabaseId)
			ids[(*n)++] = key.queue_id;
	}
	return ids;
}

/*
 * Ends what is due: active tickets past their time, silent waiting ones; some,
 * if there are many, and sets `more`.  One session at a time does a queue; to
 * another there is nothing to do.  There may be thousands of queues in which
 * nothing happens: of these no lock is kept.
 */
int
queue_expire(int64 queue_id, bool idle, bool *more)
{
	int n;

	if (!may_be_due(queue_id, idle) ||
		!class_lock(LOCK_CLASS_EXPIRE, (uint32) queue_id, 0, false, false))
		return 0;
	n = expire_queue(queue_id, idle, more);
	if (n == 0)
		class_unlock(LOCK_CLASS_EXPIRE, (uint32) queue_id, 0, false);
	return n;
}

void
queue_not_found(int64 queue_id)
{
	ticket_error(ERROR_NOT_FOUND, NULL, NULL, "there is no queue %lld", (long long) queue_id);
}

/* TK005 where there is none. */
void
queue_check(int64 queue_id)
{
	Queue *queue = queue_open(queue_id, LW_SHARED);

	if (queue == NULL)
		queue_not_found(queue_id);
	queue_release(queue);
}

/*
 * ticket_expire(queue_id bigint default null) -> int
 *
 * Ends active tickets past active_ttl and waiting ones not heard of for
 * idle_ttl, of one queue or of all; up to 10,000 of each kind and queue.
 *
 * Errors: TK005, TK014, TK016.
 * Locks: an advisory lock per queue (not waited for), rows of queue_entry in
 * order of place (those locked by others are passed over), queue lock.
 */
Datum
ticket_expire(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	OwnerContext owner;
	bool more = false;
	int n = 0;

	queues_ready();
	refuse_standby();
	owner_begin(&owner);
	if (PG_ARGISNULL(0))
	{
		int n_queues;
		int64 *ids = queue_ids(&n_queues);

		for (int i = 0; i < n_queues; i++)
			n += queue_expire(ids[i], true, &more);
	}
	else
	{
		queue_check(PG_GETARG_INT64(0));
		n = queue_expire(PG_GETARG_INT64(0), true, &more);
	}
	owner_end(&owner);
	PG_RETURN_INT32(n);
}

/* ---------- clear ---------- */

/* The next places of that state, as many as there is room for. */
static void
pick_all(int64 queue_id, LineState state, int64 after, Places *places)
{
	Queue *queue = queue_acquire(queue_id, LW_SHARED);

	places->n = 0;
	while (queue && places->n < places->max &&
		   (after = line_next(queue_line(queue), memory_pool(), state, after)) != 0)
		places->place[places->n++] = after;
	if (queue)
		queue_release(queue);
}

/* Ends up to max_count tickets of that state, from the front. */
static int
clear_state(int64 queue_id, LineState state, int max_count)
{
	TimestampTz ends_by = state == LINE_ACTIVE ? DT_NOEND : DT_NOBEGIN;
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "ticket clearing", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	int64 after = 0;
	int ended = 0;
	Places places;

	do
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(context);
		places_init(&places, Min(max_count - ended, PLACES_BATCH));
		pick_all(queue_id, state, after, &places);
		if (places.n == 0)
			break;
		after = places.place[places.n - 1];
		ended += queue_expire_places(queue_id, &places, ends_by, "cleared", clock_now());
	} while (ended < max_count);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return ended;
}

/*
 * queue_clear(queue_id bigint, active boolean default false,
 *			   max_count int default null) -> int
 *
 * Sends everybody home who waits, and with `active` those who are active, too:
 * their tickets expire now.  At most max_count.
 *
 * Errors: 22023, TK005, TK014, TK016.
 * Locks: rows of queue_entry in order of place (those locked by others are
 * passed over), first of those waiting, then of those active; queue lock.
 */
Datum
ticket_queue_clear(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	int64 queue_id = arg_id(fcinfo, 0, "queue_id");
	int max_count = arg_max_count(fcinfo, 2, PG_INT32_MAX);
	OwnerContext owner;
	int n;

	if (PG_ARGISNULL(1))
		ticket_error(ERROR_BAD_ARGUMENT, NULL, NULL, "active must not be NULL");
	queues_ready();
	refuse_standby();
	owner_begin(&owner);
	queue_check(queue_id);
	n = clear_state(queue_id, LINE_WAITING, max_count);
	if (PG_GETARG_BOOL(1))
		n += clear_state(queue_id, LINE_ACTIVE, max_count - n);
	owner_end(&owner);
	PG_RETURN_INT32(n);
}

/* ---------- for the runner ---------- */

/*
 * Silence is looked for ten times per idle_ttl, but no more than every 100 ms;
 * and at once when the clock has been put back since the last time.
 */
static TimestampTz
queue_idle_due(const Queue *queue, TimestampTz now)
{
	if (queue->idle_checked > now)
		return now;
	return queue->idle_checked + Max(100000, queue->config.idle_ttl / 10);
}

/*
 * Ends what is due, promotes, prunes; what a runner does with each queue.  Sets
 * `more` when it has left some for the next round, so that none takes long.
 */
void
queue_round(int64 queue_id, int *promoted, int *expired, bool *more)
{
	Queue *queue = queue_acquire(queue_id, LW_SHARED);
	TimestampTz now;
	bool idle;
	int n;

	if (queue == NULL)
		return;
	now = clock_now();
	idle = now >= queue_idle_due(queue, now);
	queue_release(queue);
	*expired += queue_expire(queue_id, idle, more);
	n = queue_promote(queue_id, PLACES_BATCH);
	*promoted += n;
	*more |= n == PLACES_BATCH;
	queue_prune(queue_id);
}

/*
 * The earliest moment at which something of this queue falls due: somebody
 * can be promoted, an active ticket ends, silence or rows to be pruned are to
 * be looked for.
 */
TimestampTz
queue_next_due(int64 queue_id, TimestampTz now)
{
	Queue *queue = queue_acquire(queue_id, LW_SHARED);
	TimestampTz due = DT_NOEND;
	Line *line;
	const QueueConfig *config;

	if (queue == NULL)
		return due;
	due = queue_promote_due(queue, now);
	line = queue_line(queue);
	config = &queue->config;
	if (line->n_waiting > 0)
	{
		TimestampTz idle_due = queue_idle_due(queue, now);

		due = Min(due, idle_due);
	}
	if (config->retention >= 0)
		due = Min(due, queue->prune_due);
	if (line->n_active > 0)
		due = Min(due, queue->ends_at);
	queue_release(queue);
	return due;
}

/* ---------- what shared memory holds ---------- */

/*
 * queue_memory() -> setof (queue_id bigint, waiting bigint, active bigint,
 *		admitted bigint, entered bigint, promoted bigint, ended bigint,
 *		outflow float8, changes bigint, in_flight int, first_place bigint,
 *		ended_rate float8, promoted_rate float8, tokens float8, bytes bigint,
 *		ends_at timestamptz, limits_at timestamptz,
 *		places bigint, pages int, max_pages int, wait interval)
 *
 * The counters of this database's queues.  active counts places, admitted
 * counts room taken, transactions still running included; first_place is the
 * place of the first that waits; outflow (from the line, while it can move),
 * ended_rate and promoted_rate are per second; tokens are how many the rate
 * lets in now; bytes are those of the pages in use; no
 * active ticket ends before ends_at; limits_at is when fewer came to be allowed
 * in than before; places are those taken, transactions still running included;
 * pages those in use, max_pages as many as so many places may take; wait is that
 * of the last in line.
 *
 * Errors: TK014.  Locks: each queue lock in turn, shared.
 */
Datum
ticket_queue_memory(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int n_queues;
	int64 *ids;

	if (!RecoveryInProgress())
		queues_ready();
	memory_require();
	InitMaterializedSRF(fcinfo, 0);
	ids = queue_ids(&n_queues);
	for (int i = 0; i < n_queues; i++)
	{
		Queue *queue = queue_open(ids[i], LW_SHARED);
		Queue copy;
		Line line;
		Datum values[21];
		bool nulls[21] = {false};
		TimestampTz now;
		int64 first;
		int64 wait;
		double promoted;
		bool measured;

		if (queue == NULL)
			continue;
		copy = *queue;
		line = *queue_line(queue);
		first = line_next(queue_line(queue), memory_pool(), LINE_WAITING, 0);
		now = clock_now();
		promoted = queue_promoted_rate(queue, now);
		wait = first == 0 ? 0 : queue_wait(queue, line.n_waiting, &measured, now);
		queue_release(queue);
		values[0] = Int64GetDatum(ids[i]);
		values[1] = Int64GetDatum(line.n_waiting);
		values[2] = Int64GetDatum(line.n_active);
		values[3] = Int64GetDatum(copy.active);
		values[4] = Int64GetDatum(copy.entered);
		values[5] = Int64GetDatum(copy.promoted);
		values[6] = Int64GetDatum(copy.ended);
		values[7] = Float8GetDatum(queue_outflow(&copy, now));
		values[8] = Int64GetDatum((int64) copy.changes);
		values[9] = Int32GetDatum(copy.in_flight);
		values[10] = Int64GetDatum(first);
		nulls[10] = first == 0;
		values[11] = Float8GetDatum(queue_ended_rate(&copy, now));
		values[12] = Float8GetDatum(promoted);
		values[13] = Float8GetDatum(queue_tokens(&copy, now));
		values[14] = Int64GetDatum((int64) line.n_entries * sizeof(LinePage));
		values[15] = TimestampTzGetDatum(copy.ends_at);
		nulls[15] = line.n_active == 0;
		values[16] = TimestampTzGetDatum(copy.limits_at);
		nulls[16] = copy.limits_at == 0;
		values[17] = Int64GetDatum(line.n_taken);
		values[18] = Int32GetDatum(line.n_entries);
		values[19] = Int32GetDatum(line.n_taken == 0 ? 0 : line_max_pages(line.n_taken));
		values[20] = IntervalPGetDatum(us_interval(wait));
		nulls[20] = wait < 0;
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

static AnswerType usage_answer = {
	7,
	{{"queues", INT4OID},
	 {"max_queues", INT4OID},
	 {"places", INT8OID},
	 {"max_places", INT8OID},
	 {"pages", INT4OID},
	 {"max_pages", INT4OID},
	 {"bytes", INT8OID}},
};

/*
 * memory_usage() -> (queues int, max_queues int, places bigint,
 *		max_places bigint, pages int, max_pages int, bytes bigint)
 *
 * How much of the shared memory is used, over all databases.
 *
 * Errors: TK014.  Locks: directory lock, then pool lock, both shared.
 */
Datum
ticket_memory_usage(PG_FUNCTION_ARGS)
{
	MemoryUsage usage;
	Datum values[7];
	bool nulls[7] = {false};

	memory_require();
	usage = memory_usage();
	values[0] = Int32GetDatum(usage.queues);
	values[1] = Int32GetDatum(usage.max_queues);
	values[2] = Int64GetDatum(usage.places);
	values[3] = Int64GetDatum(usage.max_places);
	values[4] = Int32GetDatum(usage.pages);
	values[5] = Int32GetDatum(usage.max_pages);
	values[6] = Int64GetDatum(usage.bytes);
	PG_RETURN_DATUM(answer_row(&usage_answer, values, nulls));
}
