/*
 * queue.c
 *		Waiting rooms: create, promote, expire.
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
#include "plan.h"
#include "relation.h"
#include "ticket.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

/* Tickets changed by one statement, at most. */
#define BATCH 10000
/* Tickets in one event. */
#define EVENT_BATCH 1000
/* Places looked at before others get the queue's lock. */
#define PICK_STEP 20000

PG_FUNCTION_INFO_V1(ticket_queue_create);
PG_FUNCTION_INFO_V1(ticket_promote);
PG_FUNCTION_INFO_V1(ticket_expire);
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
 * Some places of one queue, in order; made before the queue lock is taken,
 * filled under it.
 */
typedef struct Places
{
	int n;
	int max;
	int64 *place;
} Places;

static void
places_init(Places *places, int max)
{
	places->n = 0;
	places->max = max;
	places->place = palloc(Max(max, 1) * sizeof(int64));
}

static Datum
places_array(const Places *places)
{
	Datum *elements = palloc(Max(places->n, 1) * sizeof(Datum));

	for (int i = 0; i < places->n; i++)
		elements[i] = Int64GetDatum(places->place[i]);
	return PointerGetDatum(
		construct_array(elements, places->n, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

static int
compare_place(const void *a, const void *b)
{
	int64 x = *(const int64 *) a;
	int64 y = *(const int64 *) b;

	return (x > y) - (x < y);
}

/* The places that the last statement returned, in order. */
static void
places_returned(Places *places)
{
	int n = places->n;

	places_init(places, n);
	for (int i = 0; i < n; i++)
		places->place[places->n++] = result_int64(i, 1);
	qsort(places->place, n, sizeof(int64), compare_place);
}

static int64
cell_time(Line *line, int64 place)
{
	LineState state;
	LineCell *cell = line_find(line, memory_pool(), place, &state);

	return __atomic_load_n(&cell->time, __ATOMIC_RELAXED);
}

/* Active ones whose time is up, or waiting ones that have gone silent. */
static bool
is_due(const Queue *queue, LineState state, TimestampTz time, TimestampTz now)
{
	return state == LINE_ACTIVE ? time <= now : queue_is_silent(queue, time, now);
}

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
			time = cell_time(queue_line(queue), place);
			earliest = Min(earliest, time);
			if (is_due(queue, state, time, now))
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

static SavedPlan expire_entries = {
	"WITH due AS MATERIALIZED ("
	" SELECT place FROM ticket.queue_entry"
	" WHERE queue_id" EQ "$1 AND place" EQ "ANY ($2) AND status" EQ "$3"
	" AND ($3" EQ "'waiting' OR expires_at" LE "$4)"
	" ORDER BY place FOR NO KEY UPDATE SKIP LOCKED)"
	" UPDATE ticket.queue_entry AS e SET status = 'expired', ended_at = $4"
	" FROM due WHERE e.queue_id" EQ "$1 AND e.place" EQ "due.place"
	" RETURNING e.place",
	4,
	{INT8OID, INT8ARRAYOID, TEXTOID, TIMESTAMPTZOID},
};

/* Ends the tickets at these places, waiting or active. */
static int
expire_places(int64 queue_id, const Places *places, bool active, TimestampTz now)
{
	Datum args[4] = {Int64GetDatum(queue_id), places_array(places),
					 CStringGetTextDatum(active ? "active" : "waiting"), TimestampTzGetDatum(now)};
	Queue *queue;
	Places done;

	if (places->n == 0)
		return 0;
	done.n = plan_run(&expire_entries, args, NULL);
	places_returned(&done);
	pending_reserve(done.n);
	queue = queue_acquire(queue_id, LW_EXCLUSIVE);
	if (queue)
	{
		for (int i = 0; i < done.n; i++)
			pending_end(queue, done.place[i], active);
		queue_release(queue);
	}
	return done.n;
}

static int
expire_queue(int64 queue_id, bool idle)
{
	TimestampTz now = clock_now();
	Places overdue;
	Places silent;

	places_init(&overdue, BATCH);
	places_init(&silent, idle ? BATCH : 0);
	pick_overdue(queue_id, now, &overdue);
	if (idle)
	{
		Queue *queue = queue_acquire(queue_id, LW_EXCLUSIVE);

		if (queue)
		{
			queue->idle_checked = now;
			queue_release(queue);
		}
		pick_due(queue_id, LINE_WAITING, now, &silent);
	}
	return expire_places(queue_id, &overdue, true, now) +
		   expire_places(queue_id, &silent, false, now);
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
 * Ends what is due: active tickets past their time, silent waiting ones.
 * One session at a time does a queue; to another there is nothing to do.
 */
int
queue_expire(int64 queue_id, bool idle)
{
	if (!class_lock(LOCK_CLASS_EXPIRE, (uint32) queue_id, 0, false, false))
		return 0;
	return expire_queue(queue_id, idle);
}

pg_attribute_noreturn()
static void
no_such_queue(int64 queue_id)
{
	ticket_error(ERROR_NOT_FOUND, NULL, NULL, "there is no queue %lld", (long long) queue_id);
}

static void
check_queue(int64 queue_id)
{
	Queue *queue = queue_acquire(queue_id, LW_SHARED);

	if (queue == NULL)
		no_such_queue(queue_id);
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
	int n = 0;

	queues_ready();
	refuse_standby();
	owner_begin(&owner);
	if (PG_ARGISNULL(0))
	{
		int n_queues;
		int64 *ids = queue_ids(&n_queues);

		for (int i = 0; i < n_queues; i++)
			n += queue_expire(ids[i], true);
	}
	else
	{
		check_queue(PG_GETARG_INT64(0));
		n = queue_expire(PG_GETARG_INT64(0), true);
	}
	owner_end(&owner);
	PG_RETURN_INT32(n);
}

/* ---------- promote ---------- */

static SavedPlan promote_entries = {
	"WITH next AS MATERIALIZED ("
	" SELECT place FROM ticket.queue_entry"
	" WHERE queue_id" EQ "$1 AND place" EQ "ANY ($2) AND status" EQ "'waiting'"
	" ORDER BY place FOR NO KEY UPDATE SKIP LOCKED)"
	" UPDATE ticket.queue_entry AS e SET status = 'active', admitted_at = $3, expires_at = $4"
	" FROM next WHERE e.queue_id" EQ "$1 AND e.place" EQ "next.place"
	" RETURNING e.place, e.user_id",
	4,
	{INT8OID, INT8ARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID},
};

static SavedPlan insert_event = {
	"INSERT INTO ticket.outbox (aggregatetype, aggregateid, type, payload)"
	" VALUES ('queue', $1::pg_catalog.text, 'queue.promoted',"
	" ticket.event_payload('queue.promoted', pg_catalog.jsonb_build_object('v', 1, 'queue_id', $1,"
	" 'places', $2, 'user_ids', $3, 'admitted_at', $4, 'expires_at', $5)))",
	5,
	{INT8OID, INT8ARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID},
};

/* One step of a promotion: whom it found in the line. */
typedef struct PromoteStep
{
	Places next; /* to be promoted */
	Places silent; /* gone, to be passed over and ended */
	int64 reached; /* the last place looked at; 0: end of the line */
	TimestampTz now;
	TimestampTz expires_at;
	bool announce;
} PromoteStep;

/* How many can be promoted now, by mode, capacity and rate. */
static int64
promote_room(Queue *queue, TimestampTz now)
{
	int64 waiting = queue_line(queue)->n_waiting;
	int64 room;

	queue_refill(queue, now);
	if (queue->config.mode == MODE_PASSTHROUGH)
		return waiting;
	if (!queue_is_open(queue, now))
		return 0;
	room = queue_room(queue, pending_credit(queue));
	return Min(waiting, room);
}

/*
 * Picks the next up to `wanted` and records their promotion, which sets their
 * room aside: those who enter meanwhile cannot take it as well.
 */
static void
promote_pick(int64 queue_id, int64 after, int64 wanted, PromoteStep *step)
{
	Queue *queue = queue_acquire(queue_id, LW_EXCLUSIVE);
	int64 room;
	int64 credit;
	int64 place = after;

	if (queue == NULL)
		no_such_queue(queue_id);
	room = promote_room(queue, clock_now());
	room = Min(wanted, room);
	queue_release(queue);

	places_init(&step->next, Min(room, BATCH));
	places_init(&step->silent, BATCH);
	pending_reserve(step->next.max);
	step->reached = 0;

	queue = queue_acquire(queue_id, LW_EXCLUSIVE);
	if (queue == NULL)
		no_such_queue(queue_id);
	step->now = clock_now();
	step->expires_at = step->now + queue->config.active_ttl;
	step->announce = queue->config.announce;
	room = promote_room(queue, step->now);
	room = Min(step->next.max, room);
	credit = pending_credit(queue);
	while (step->next.n < room && step->silent.n < step->silent.max &&
		   (place = line_next(queue_line(queue), memory_pool(), LINE_WAITING, place)) != 0)
	{
		step->reached = place;
		if (is_due(queue, LINE_WAITING, cell_time(queue_line(queue), place), step->now))
			step->silent.place[step->silent.n++] = place;
		else
		{
			pending_promote(queue, place, step->expires_at, step->next.n < credit);
			step->next.place[step->next.n++] = place;
		}
	}
	queue_release(queue);
}

/* A ticket that was promoted, for its event. */
typedef struct Promoted
{
	int64 place;
	Datum user;
} Promoted;

/* Tells of the tickets that the last statement returned, in order. */
static void
announce(int64 queue_id, const PromoteStep *step, int n)
{
	Promoted *promoted = palloc(Max(n, 1) * sizeof(Promoted));
	Datum *places = palloc(EVENT_BATCH * sizeof(Datum));
	Datum *users = palloc(EVENT_BATCH * sizeof(Datum));

	for (int i = 0; i < n; i++)
	{
		bool isnull;

		promoted[i].place = result_int64(i, 1);
		promoted[i].user = result_datum(i, 2, &isnull);
	}
	qsort(promoted, n, sizeof(Promoted), compare_place);
	for (int first = 0; first < n; first += EVENT_BATCH)
	{
		int count = Min(n - first, EVENT_BATCH);
		Datum args[5] = {Int64GetDatum(queue_id), 0, 0, TimestampTzGetDatum(step->now),
						 TimestampTzGetDatum(step->expires_at)};

		for (int i = 0; i < count; i++)
		{
			places[i] = Int64GetDatum(promoted[first + i].place);
			users[i] = promoted[first + i].user;
		}
		args[1] = PointerGetDatum(
			construct_array(places, count, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
		args[2] = PointerGetDatum(construct_array(users, count, TEXTOID, -1, false, TYPALIGN_INT));
		plan_run(&insert_event, args, NULL);
	}
}

/* Writes the rows of a step; those locked by others are taken back. */
static int
promote_write(int64 queue_id, PromoteStep *step)
{
	Datum args[4] = {Int64GetDatum(queue_id), places_array(&step->next),
					 TimestampTzGetDatum(step->now), TimestampTzGetDatum(step->expires_at)};
	Places done;

	if (step->next.n == 0)
		return 0;
	done.n = plan_run(&promote_entries, args, NULL);
	if (done.n < step->next.n)
	{
		places_returned(&done);
		pending_retract(step->next.n, done.place, done.n);
	}
	if (step->announce)
		announce(queue_id, step, done.n);
	return done.n;
}

/*
 * Admits the first of the line, in order, as far as capacity, rate and
 * max_count allow; those who have gone silent are ended in passing.
 */
int
queue_promote(int64 queue_id, int64 max_count)
{
	PromoteStep step;
	int64 after = 0;
	int promoted = 0;

	if (!class_lock(LOCK_CLASS_PROMOTE, (uint32) queue_id, 0, false, false))
		return 0;
	/* Room of those whose time is up. */
	queue_expire(queue_id, false);

	do
	{
		CHECK_FOR_INTERRUPTS();
		promote_pick(queue_id, after, max_count - promoted, &step);
		promoted += promote_write(queue_id, &step);
		expire_places(queue_id, &step.silent, false, step.now);
		after = step.reached;
	} while (after != 0 && promoted < max_count);
	return promoted;
}

/*
 * ticket_promote(queue_id bigint, max_count int default null) -> int
 *
 * Makes waiting tickets active in the order of their places, at most
 * max_count, never above the queue's capacity nor its rate.  Returns how many.
 *
 * Errors: 22023, TK005, TK014, TK016.
 * Locks: advisory lock of the queue's promoter (if another has it: returns 0),
 * advisory lock of its expirer (not waited for), rows of queue_entry in order
 * of place (those locked by others are passed over), queue lock.
 */
Datum
ticket_promote(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	int64 queue_id = arg_id(fcinfo, 0, "queue_id");
	int max_count = arg_max_count(fcinfo, 1, PG_INT32_MAX);
	OwnerContext owner;
	int n;

	queues_ready();
	refuse_standby();
	owner_begin(&owner);
	check_queue(queue_id);
	n = queue_promote(queue_id, max_count);
	owner_end(&owner);
	PG_RETURN_INT32(n);
}

/* ---------- for the runner ---------- */

/* Silence is looked for ten times per idle_ttl, but no more than every 100 ms. */
static TimestampTz
queue_idle_due(const Queue *queue)
{
	return queue->idle_checked + Max(100000, queue->config.idle_ttl / 10);
}

/* Ends what is due, promotes, prunes; what a runner does with each queue. */
void
queue_round(int64 queue_id, int *promoted, int *expired)
{
	Queue *queue = queue_acquire(queue_id, LW_SHARED);
	bool idle;

	if (queue == NULL)
		return;
	idle = clock_now() >= queue_idle_due(queue);
	queue_release(queue);
	*expired += queue_expire(queue_id, idle);
	*promoted += queue_promote(queue_id, PG_INT32_MAX);
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
	line = queue_line(queue);
	config = &queue->config;
	if (line->n_waiting > 0 && config->mode != MODE_PAUSED)
	{
		int64 free =
			config->mode == MODE_PASSTHROUGH ? line->n_waiting : config->capacity - queue->active;

		if (config->mode != MODE_PASSTHROUGH && now < config->opens_at)
			due = config->opens_at;
		else if (free > 0)
		{
			/* As many tokens as can be used, but look every 50 ms. */
			double tokens = queue->bucket + (double) (now - queue->bucket_at) *
												config->promote_count / config->promote_interval;
			double wanted = Min(Min(free, line->n_waiting),
								Max(1, 50000.0 * config->promote_count / config->promote_interval));

			if (config->mode == MODE_PASSTHROUGH || tokens >= wanted)
				due = now;
			else
				due =
					now +
					(int64) ((wanted - tokens) * config->promote_interval / config->promote_count) +
					1;
		}
	}
	if (line->n_waiting > 0)
		due = Min(due, queue_idle_due(queue));
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
 *		ended_rate float8)
 *
 * The counters of this database's queues.  active counts places, admitted
 * counts room taken, transactions still running included; first_place is the
 * place of the first that waits; outflow and ended_rate are per second.
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
		Queue *queue = queue_acquire(ids[i], LW_SHARED);
		Queue copy;
		Line line;
		Datum values[12];
		bool nulls[12] = {false};
		TimestampTz now;
		int64 first;

		if (queue == NULL)
			continue;
		copy = *queue;
		line = *queue_line(queue);
		first = line_next(queue_line(queue), memory_pool(), LINE_WAITING, 0);
		queue_release(queue);
		now = clock_now();
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
