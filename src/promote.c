/*
 * promote.c
 *		Promotion: the first of the line become active, in order, within
 *		capacity and rate.
 */
#include "postgres.h"

#include "load.h"
#include "metrics.h"
#include "miscadmin.h"
#include "outbox.h"
#include "pending.h"
#include "places.h"
#include "plan.h"
#include "queue.h"
#include "relation.h"
#include "storage/lmgr.h"
#include "ticket.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* Tickets in one event. */
#define EVENT_BATCH 1000

PG_FUNCTION_INFO_V1(ticket_promote);

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

	memset(step, 0, sizeof(PromoteStep));
	/* Being read again, or deleted. */
	if (queue == NULL)
		return;
	room = promote_room(queue, clock_now());
	room = Min(wanted, room);
	queue_release(queue);
	if (room <= 0)
		return;

	/* Before promotions are recorded: whoever reads the tables anew waits for us. */
	LockRelationOid(relation_oid(REL_QUEUE_ENTRY), RowExclusiveLock);
	places_init(&step->next, Min(room, PLACES_BATCH));
	places_init(&step->silent, PLACES_BATCH);
	pending_reserve(step->next.max);

	queue = queue_acquire(queue_id, LW_EXCLUSIVE);
	if (queue == NULL)
		return;
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
		if (place_is_due(queue, LINE_WAITING, place_time(queue, place), step->now))
			step->silent.place[step->silent.n++] = place;
		else
		{
			pending_promote(queue, place, step->expires_at, step->next.n < credit);
			step->next.place[step->next.n++] = place;
		}
	}
	queue_release(queue);
}

/* Tells of those who were promoted, up to EVENT_BATCH in an event. */
static void
announce(int64 queue_id, const PromoteStep *step, const Datum *users)
{
	for (int first = 0; first < step->next.n; first += EVENT_BATCH)
	{
		int n = Min(step->next.n - first, EVENT_BATCH);
		Event event;

		event_begin(&event, "queue.promoted", 1);
		event_int64(&event, "queue_id", queue_id);
		event_int64_array(&event, "places", step->next.place + first, n);
		event_text_array(&event, "user_ids", users + first, n);
		event_time(&event, "admitted_at", step->now);
		event_time(&event, "expires_at", step->expires_at);
		event_write(&event, "queue", number_text(queue_id));
	}
}

/* Writes the rows of a step; those that are passed over are taken back. */
static int
promote_write(int64 queue_id, PromoteStep *step)
{
	Datum values[ENTRY_ROW_SIZE] = {
		[COL_ENTRY_STATUS] = CStringGetTextDatum("active"),
		[COL_ENTRY_ADMITTED_AT] = TimestampTzGetDatum(step->now),
		[COL_ENTRY_EXPIRES_AT] = TimestampTzGetDatum(step->expires_at),
	};
	static const bool replace[ENTRY_ROW_SIZE] = {
		[COL_ENTRY_STATUS] = true,
		[COL_ENTRY_ADMITTED_AT] = true,
		[COL_ENTRY_EXPIRES_AT] = true,
	};
	PlacesChange change = {.queue_id = queue_id,
						   .ends_by = DT_NOBEGIN,
						   .values = values,
						   .replace = replace};
	int picked = step->next.n;

	if (step->announce)
		change.users = palloc(Max(picked, 1) * sizeof(Datum));
	places_write(&step->next, &change);
	if (step->next.n < picked)
		pending_retract(picked, step->next.place, step->next.n);
	if (step->announce)
		announce(queue_id, step, change.users);
	return step->next.n;
}

static bool
somebody_waits(int64 queue_id)
{
	Queue *queue = queue_acquire(queue_id, LW_SHARED);
	bool waits = queue && queue_line(queue)->n_waiting > 0;

	if (queue)
		queue_release(queue);
	return waits;
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
	int ended;
	bool more = false;
	MemoryContext context;
	MemoryContext caller;

	if (!somebody_waits(queue_id) ||
		!class_lock(LOCK_CLASS_PROMOTE, (uint32) queue_id, 0, false, false))
		return 0;
	/* Room of those whose time is up. */
	ended = queue_expire(queue_id, false, &more);

	context =
		AllocSetContextCreate(CurrentMemoryContext, "ticket promotion", ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(context);
	do
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(context);
		promote_pick(queue_id, after, max_count - promoted, &step);
		promoted += promote_write(queue_id, &step);
		ended += queue_expire_places(queue_id, &step.silent, DT_NOBEGIN, "silent", step.now);
		after = step.reached;
	} while (after != 0 && promoted < max_count);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	if (promoted == 0 && ended == 0)
		class_unlock(LOCK_CLASS_PROMOTE, (uint32) queue_id, 0, false);
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
 * advisory lock of its expirer (not waited for), table queue_entry (ROW
 * EXCLUSIVE), its rows in order of place (those locked by others are passed
 * over), queue lock.
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
	queue_check(queue_id);
	n = queue_promote(queue_id, max_count);
	owner_end(&owner);
	PG_RETURN_INT32(n);
}
