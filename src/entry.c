/*
 * entry.c
 *		Tickets of the waiting room: enter, ask, leave.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "answer.h"
#include "catalog/pg_type.h"
#include "entry.h"
#include "load.h"
#include "metrics.h"
#include "miscadmin.h"
#include "pending.h"
#include "plan.h"
#include "queue.h"
#include "relation.h"
#include "stock.h"
#include "storage/lmgr.h"
#include "ticket.h"
#include "token.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"

/* Who polls as told is heard this often before idle_ttl is over. */
#define POLLS_PER_IDLE_TTL 3

PG_FUNCTION_INFO_V1(ticket_enqueue);
PG_FUNCTION_INFO_V1(ticket_status);
PG_FUNCTION_INFO_V1(ticket_find);
PG_FUNCTION_INFO_V1(ticket_leave);

static AnswerType ticket_answer = {
	6,
	{{"token", UUIDOID},
	 {"status", TEXTOID},
	 {"position", INT8OID},
	 {"estimated_wait", INTERVALOID},
	 {"poll_after", INTERVALOID},
	 {"expires_at", TIMESTAMPTZOID}},
	"ticket_state",
};

/* The columns of ticket_state. */
void
ticket_view_columns(const TicketView *view, Datum *values, bool *nulls)
{
	nulls[0] = nulls[1] = false;
	values[0] = UUIDPGetDatum(token_encode(&view->token));
	values[1] = CStringGetTextDatum(view->status);
	nulls[2] = nulls[4] = !view->live;
	nulls[3] = !view->live || view->wait_us < 0;
	nulls[5] = view->expires_at == 0;
	if (!nulls[2])
		values[2] = Int64GetDatum(view->position);
	if (!nulls[3])
		values[3] = IntervalPGetDatum(us_interval(view->wait_us));
	if (!nulls[4])
		values[4] = IntervalPGetDatum(us_interval(view->poll_us));
	if (!nulls[5])
		values[5] = TimestampTzGetDatum(view->expires_at);
}

static Datum
ticket_view_row(FunctionCallInfo fcinfo, const TicketView *view)
{
	Datum values[6];
	bool nulls[6];

	ticket_view_columns(view, values, nulls);
	return answer_return(fcinfo, &ticket_answer, values, nulls);
}

/* Told in whole steps; -1: not known. */
static int64
wait_told(const Queue *queue, int64 us)
{
	int64 step = queue->config.wait_step;

	return us < 0 ? -1 : (us + step - 1) / step * step;
}

/*
 * From poll_front at the head of the line evenly to poll_back at
 * poll_back_position; where the line is seen to move faster than that, after
 * half the wait, so that nobody sleeps through his turn.
 */
static int64
poll_after(const Queue *queue, int64 position, int64 wait_us, bool measured)
{
	const QueueConfig *config = &queue->config;
	double span = config->poll_back - config->poll_front;
	int64 us = config->poll_front + (int64) (span * Min(position - 1, config->poll_back_position) /
											 config->poll_back_position);

	if (wait_us >= 0 && measured)
		us = Min(us, Max(config->poll_front, wait_us / 2));
	return Max(1000, Min(us, config->idle_ttl / POLLS_PER_IDLE_TTL));
}

/* What follows from the position.  With the queue lock held. */
void
view_position(TicketView *view, const Queue *queue, int64 position, TimestampTz now)
{
	bool measured;

	view->status = "waiting";
	view->live = true;
	view->position = position;
	view->wait_us = wait_told(queue, queue_wait(queue, position, &measured, now));
	view->poll_us = poll_after(queue, position, view->wait_us, measured);
}

/* With the queue lock held. */
void
view_waiting(TicketView *view, const Queue *queue, TimestampTz now)
{
	int64 rank = line_rank(queue_line(queue), memory_pool(), view->token.place);

	view_position(view, queue, rank + pending_shift(queue, view->token.place), now);
}

void
view_active(TicketView *view, TimestampTz expires_at, TimestampTz now)
{
	view->expires_at = expires_at;
	if (expires_at <= now)
	{
		view->status = "expired";
		view->live = false;
		return;
	}
	view->status = "active";
	view->live = true;
	view->position = 0;
	view->wait_us = 0;
	view->poll_us = Max(1000, Min(POLL_REST_US, expires_at - now));
}

/* ---------- enter ---------- */

static SavedPlan find_live_entry = {
	"SELECT place, secret, status, expires_at FROM ticket.queue_entry"
	" WHERE queue_id" EQ "$1 AND user_id" EQ "$2 AND ended_at IS NULL",
	2,
	{INT8OID, TEXTOID},
};

static SavedPlan queue_exists = {"SELECT 1 FROM ticket.queue WHERE queue_id" EQ "$1", 1, {INT8OID}};

/*
 * Writes the end of a live ticket's row: 1, of an active one's: 2; 0: it is none,
 * or it was to end only while it waits and has just been let in.
 */
static int
end_row(const Token *token, const char *status, const char *reason, TimestampTz now,
		bool if_waiting)
{
	Datum values[ENTRY_ROW_SIZE] = {
		[COL_ENTRY_STATUS] = CStringGetTextDatum(status),
		[COL_ENTRY_ENDED_AT] = TimestampTzGetDatum(now),
		[COL_ENTRY_END_REASON] = CStringGetTextDatum(reason),
	};
	static const bool replace[ENTRY_ROW_SIZE] = {
		[COL_ENTRY_STATUS] = true,
		[COL_ENTRY_ENDED_AT] = true,
		[COL_ENTRY_END_REASON] = true,
	};
	bool nulls[ENTRY_ROW_SIZE] = {false};
	ScanKeyData key[2];
	int result = 0;
	bool again = true;

	ScanKeyInit(&key[0], COL_ENTRY_QUEUE_ID, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(token->queue_id));
	ScanKeyInit(&key[1], COL_ENTRY_PLACE, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(token->place));
	/* Again when another has changed the row since it was read. */
	while (again)
	{
		RowScan scan;
		HeapTuple row;
		bool never_admitted;
		bool live;

		CHECK_FOR_INTERRUPTS();
		row_scan_begin(&scan, REL_QUEUE_ENTRY, REL_QUEUE_ENTRY_PKEY, 2, key);
		row = row_scan_next(&scan);
		again = false;
		if (row && token_secret_equal(DatumGetInt64(row_get(&scan, row, COL_ENTRY_SECRET, &live)),
									  token->secret))
		{
			(void) row_get(&scan, row, COL_ENTRY_ENDED_AT, &live);
			(void) row_get(&scan, row, COL_ENTRY_ADMITTED_AT, &never_admitted);
			if (if_waiting && !never_admitted)
				live = false;
			if (live && row_update(&entry_row, row, values, nulls, replace, true))
				result = never_admitted ? 1 : 2;
			else
				again = live;
		}
		row_scan_end(&scan);
	}
	return result;
}

bool
end_ticket(const Token *token, const char *status, const char *reason, TimestampTz now,
		   bool if_waiting)
{
	int ended = end_row(token, status, reason, now, if_waiting);
	Queue *queue;

	if (ended == 0)
		return false;
	pending_reserve(1);
	queue = queue_acquire(token->queue_id, LW_EXCLUSIVE);
	if (queue)
	{
		pending_end(queue, token->place, ended == 2);
		queue_release(queue);
	}
	return true;
}

/* TK005 unless the table has the queue. */
void
queue_row_check(int64 queue_id)
{
	Datum args[1] = {Int64GetDatum(queue_id)};
	OwnerContext owner;

	owner_begin(&owner);
	if (plan_read_latest(&queue_exists, args, NULL) == 0)
		queue_not_found(queue_id);
	owner_end(&owner);
}

void
no_such_queue(int64 queue_id)
{
	queue_row_check(queue_id);
	ticket_error(ERROR_QUEUE_FULL, memory_queues_detail(),
				 "Raise ticket.max_queues and restart the server.",
				 "queue %lld has no shared memory", (long long) queue_id);
}

typedef enum Entrance
{
	ENTRANCE_OPEN, /* a place was set aside */
	ENTRANCE_CLOSED, /* the queue lets nobody new in */
	ENTRANCE_FULL /* shared memory is */
} Entrance;

/*
 * Sets a place aside: active at once where nobody waits and there is room
 * (that of the user's last ticket, if this call has ended it), else at the end
 * of the line.
 */
static Entrance
take_place(TicketView *view, TimestampTz now, MemoryFull *full)
{
	Queue *queue;
	int64 credit;
	bool closed;
	bool ok = false;

	pending_reserve(1);
	view->token.secret = random_62();
	queue = queue_acquire(view->token.queue_id, LW_EXCLUSIVE);
	if (queue == NULL)
		no_such_queue(view->token.queue_id);
	closed = queue->config.mode == MODE_DRAIN || queue->dropping;
	if (!closed)
	{
		queue_refill(queue, now);
		view->token.place = queue_take_place(queue, 0, view->token.secret, full);
		ok = view->token.place != 0;
	}
	credit = view->ended_active ? pending_credit(queue) : 0;
	if (ok && (queue->config.mode == MODE_PASSTHROUGH ||
			   (queue_line(queue)->n_waiting == 0 && queue_is_open(queue, now) &&
				queue_room(queue, credit) > 0)))
	{
		view_active(view, now + queue->config.active_ttl, now);
		pending_admit(queue, view->token.place, view->expires_at, credit > 0);
	}
	else if (ok)
	{
		view_waiting(view, queue, now);
		view->expires_at = 0;
		pending_join(queue, view->token.place, now);
	}
	queue_release(queue);
	if (closed)
		return ENTRANCE_CLOSED;
	return ok ? ENTRANCE_OPEN : ENTRANCE_FULL;
}

pg_attribute_noreturn()
static void
refuse_entry(Entrance entrance, int64 queue_id, const MemoryFull *full)
{
	if (entrance == ENTRANCE_CLOSED)
		ticket_error(ERROR_QUEUE_CLOSED, "Its mode is 'drain', or it is being deleted.", NULL,
					 "queue %lld lets nobody new in", (long long) queue_id);
	memory_full_error(full, "no room for another ticket");
}

/*
 * False when the user has a live ticket.  He is looked for before the row is
 * written if he has probably been here lately.
 */
bool
insert_ticket(const TicketView *view, text *user, TimestampTz now)
{
	bool known = memory_has_entered(view->token.queue_id, user);
	bool active = view->expires_at != 0;
	Datum values[ENTRY_ROW_SIZE] = {
		[COL_ENTRY_QUEUE_ID] = Int64GetDatum(view->token.queue_id),
		[COL_ENTRY_PLACE] = Int64GetDatum(view->token.place),
		[COL_ENTRY_USER_ID] = PointerGetDatum(user),
		[COL_ENTRY_SECRET] = Int64GetDatum(view->token.secret),
		[COL_ENTRY_STATUS] = CStringGetTextDatum(view->status),
		[COL_ENTRY_ENTERED_AT] = TimestampTzGetDatum(now),
		[COL_ENTRY_ADMITTED_AT] = TimestampTzGetDatum(now),
		[COL_ENTRY_EXPIRES_AT] = TimestampTzGetDatum(view->expires_at),
	};
	bool nulls[ENTRY_ROW_SIZE] = {
		[COL_ENTRY_ADMITTED_AT] = !active,
		[COL_ENTRY_EXPIRES_AT] = !active,
		[COL_ENTRY_ENDED_AT] = true,
		[COL_ENTRY_END_REASON] = true,
	};

	if (!known)
		memory_note_entry(view->token.queue_id, user);
	return known ? row_insert_unless(&entry_row, values, nulls) :
				   row_insert_new(&entry_row, values, nulls);
}

/* The user's live ticket of the queue, if any, as the table has it. */
bool
find_ticket(TicketView *view, text *user, bool *active)
{
	Datum args[2] = {Int64GetDatum(view->token.queue_id), PointerGetDatum(user)};
	OwnerContext owner;
	bool found;

	owner_begin(&owner);
	found = plan_read_latest(&find_live_entry, args, NULL) > 0;
	if (found)
	{
		view->token.place = result_int64(0, 1);
		view->token.secret = result_int64(0, 2);
		*active = result_equals(0, 3, "active");
		view->expires_at = *active ? result_int64(0, 4) : 0;
	}
	owner_end(&owner);
	return found;
}

/* Answers where a waiting ticket stands, and notes that it was heard of. */
static void
hear_waiting(TicketView *view, TimestampTz now)
{
	Queue *queue = queue_acquire(view->token.queue_id, LW_SHARED);
	LineState state;
	LineCell *cell;

	if (queue == NULL)
		no_such_queue(view->token.queue_id);
	cell = line_find(queue_line(queue), memory_pool(), view->token.place, &state);
	if (state == LINE_WAITING)
		__atomic_store_n(&cell->time, now, __ATOMIC_RELAXED);
	view_waiting(view, queue, now);
	queue_release(queue);
}

/*
 * Answers with the ticket the user has.  An active one past its time cannot be
 * kept: ends it and answers false, as it does when somebody else has ended it.
 */
static bool
keep_ticket(TicketView *view, bool active, TimestampTz now)
{
	if (!active)
	{
		hear_waiting(view, now);
		return true;
	}
	view_active(view, view->expires_at, now);
	if (!view->live)
		view->ended_active = end_ticket(&view->token, "expired", "timeout", now, false);
	return view->live;
}

/* Whether one who waits goes to the end of the line by entering again. */
bool
rejoins_at_back(int64 queue_id)
{
	Queue *queue = queue_acquire(queue_id, LW_SHARED);
	bool back;

	if (queue == NULL)
		no_such_queue(queue_id);
	back = queue->config.rejoin_back && queue->config.mode != MODE_DRAIN;
	queue_release(queue);
	return back;
}

/*
 * The user has a ticket already, so the place just taken could not be written.
 * Answers with that ticket, or ends it, if it waits and the user is to go to the
 * end of the line: then the place is written.  It is given back only when it is
 * not needed, as somebody else would take the last one there is.  False when the
 * ticket is no longer there, and the place has been given back.
 */
static bool
meet_ticket(TicketView *view, text *user, TimestampTz now)
{
	bool back = rejoins_at_back(view->token.queue_id);
	bool active;

	do
	{
		TicketView met = {.token.queue_id = view->token.queue_id};

		CHECK_FOR_INTERRUPTS();
		if (!find_ticket(&met, user, &active) || active || !back)
		{
			pending_undo_last();
			*view = met;
			return met.token.place != 0 && keep_ticket(view, active, clock_now());
		}
		/* Nothing ends when it has just been let in, and it is met again. */
		if (end_ticket(&met.token, "left", "rejoined", now, true) && view->expires_at == 0)
			hear_waiting(view, now);
	} while (!insert_ticket(view, user, now));
	return true;
}

/*
 * ticket_enqueue(queue_id bigint, user_id text)
 * -> (token uuid, status text, position bigint, estimated_wait interval,
 *     poll_after interval, expires_at timestamptz)
 *
 * Enters the waiting room, or answers with the ticket the user already has.
 *
 * Errors: 22023, TK003 (mode drain), TK004 (shared memory full), TK005 (no
 * such queue), TK013, TK014, TK016, TK018.
 * Locks: table queue_entry (ROW EXCLUSIVE), queue lock, then the new row; on
 * a concurrent call for the same user it waits for that one to end.
 */
Datum
ticket_enqueue(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	TicketView view = {.token.queue_id = arg_id(fcinfo, 0, "queue_id")};
	text *user = arg_participant(fcinfo, 1);
	bool active;
	bool done = false;

	queues_ready();
	people_check(user);
	/* Before a place is taken: whoever reads the tables anew waits for us. */
	LockRelationOid(relation_oid(REL_QUEUE_ENTRY), RowExclusiveLock);

	while (!done)
	{
		TimestampTz now = clock_now();
		MemoryFull full;
		Entrance entrance;

		CHECK_FOR_INTERRUPTS();
		entrance = take_place(&view, now, &full);
		if (entrance != ENTRANCE_OPEN)
		{
			/* Who is in already keeps what he has. */
			if (find_ticket(&view, user, &active) && keep_ticket(&view, active, now))
				break;
			refuse_entry(entrance, view.token.queue_id, &full);
		}
		done = insert_ticket(&view, user, now) || meet_ticket(&view, user, now);
	}
	PG_RETURN_DATUM(ticket_view_row(fcinfo, &view));
}

/* ---------- ask ---------- */

static SavedPlan read_entry = {
	"SELECT status, expires_at FROM ticket.queue_entry"
	" WHERE queue_id" EQ "$1 AND place" EQ "$2 AND secret" EQ "$3",
	3,
	{INT8OID, INT8OID, INT8OID},
};

static SavedPlan count_before = {
	"SELECT pg_catalog.count(*) FROM ticket.queue_entry"
	" WHERE queue_id" EQ "$1 AND place" LT "$2 AND status" EQ "'waiting'",
	2,
	{INT8OID, INT8OID},
};

pg_attribute_noreturn()
static void
token_invalid(void)
{
	ticket_error(ERROR_TOKEN_INVALID, NULL, "Enter the queue with ticket_enqueue.",
				 "the token is not valid");
}

/*
 * The slow way: tickets that have ended, that are of a transaction still
 * running, or any on a standby.  There the position is counted, and may count
 * some who have left since.
 */
static void
view_from_table(TicketView *view, TimestampTz now)
{
	Datum args[3] = {Int64GetDatum(view->token.queue_id), Int64GetDatum(view->token.place),
					 Int64GetDatum(view->token.secret)};
	bool standby = RecoveryInProgress();
	OwnerContext owner;
	Queue *queue;
	char *status = NULL;
	bool isnull;

	owner_begin(&owner);
	if (plan_read_latest(&read_entry, args, NULL) == 0)
		token_invalid();
	status = MemoryContextStrdup(owner.caller, TextDatumGetCString(result_datum(0, 1, &isnull)));
	view->expires_at = result_int64(0, 2);
	if (strcmp(status, "active") == 0)
		view_active(view, view->expires_at, now);
	else if (strcmp(status, "waiting") != 0)
		view->status = status;
	else if (standby)
	{
		plan_read_latest(&count_before, args, NULL);
		view->status = status;
		view->live = true;
		view->position = result_int64(0, 1) + 1;
		view->wait_us = -1;
		view->poll_us = POLL_REST_US;
	}
	else if ((queue = queue_open(view->token.queue_id, LW_SHARED)) != NULL)
	{
		view_waiting(view, queue, now);
		queue_release(queue);
	}
	else
		no_such_queue(view->token.queue_id);
	owner_end(&owner);
}

/*
 * ticket_status(token uuid) -> as ticket_enqueue
 *
 * Where the ticket stands; position 1 is next, 0 is active.  Also the sign of
 * life that keeps a waiting ticket from being sent home: noted in shared
 * memory, no table is touched.
 *
 * Errors: 22023, TK001, TK014.
 * Locks: queue lock, shared.  A ticket that has ended is read from its table.
 */
Datum
ticket_status(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	TicketView view = {0};
	TimestampTz now = clock_now();
	Queue *queue = NULL;
	LineState state = LINE_GONE;

	if (PG_ARGISNULL(0))
		ticket_error(ERROR_BAD_ARGUMENT, NULL, NULL, "token must not be NULL");
	if (!token_decode(PG_GETARG_UUID_P(0), &view.token))
		token_invalid();
	memory_require();
	if (!RecoveryInProgress())
		queue = queue_open(view.token.queue_id, LW_SHARED);
	if (queue)
	{
		LineCell *cell = line_find(queue_line(queue), memory_pool(), view.token.place, &state);

		if (cell && !token_secret_equal(cell->secret, view.token.secret))
			state = LINE_GONE;
		if (state == LINE_WAITING)
		{
			__atomic_store_n(&cell->time, now, __ATOMIC_RELAXED);
			view_waiting(&view, queue, now);
		}
		else if (state == LINE_ACTIVE)
			view_active(&view, cell->time, now);
		queue_release(queue);
	}
	if (state == LINE_GONE)
		view_from_table(&view, now);
	PG_RETURN_DATUM(ticket_view_row(fcinfo, &view));
}

static AnswerType found_answer = {
	8,
	{{"token", UUIDOID},
	 {"status", TEXTOID},
	 {"position", INT8OID},
	 {"estimated_wait", INTERVALOID},
	 {"poll_after", INTERVALOID},
	 {"expires_at", TIMESTAMPTZOID},
	 {"ended_at", TIMESTAMPTZOID},
	 {"end_reason", TEXTOID}},
	"ticket_found",
};

static SavedPlan find_ended_entry = {
	"SELECT place, secret FROM ticket.queue_entry"
	" WHERE queue_id" EQ "$1 AND user_id" EQ "$2 AND ended_at IS NOT NULL"
	" ORDER BY place DESC LIMIT 1",
	2,
	{INT8OID, TEXTOID},
};

static SavedPlan read_entry_end = {
	"SELECT ended_at, end_reason FROM ticket.queue_entry"
	" WHERE queue_id" EQ "$1 AND place" EQ "$2 AND secret" EQ "$3",
	3,
	{INT8OID, INT8OID, INT8OID},
};

/* The last ticket of the user in the queue that has ended; as find_ticket(). */
static bool
find_ended_ticket(TicketView *view, text *user)
{
	Datum args[2] = {Int64GetDatum(view->token.queue_id), PointerGetDatum(user)};
	OwnerContext owner;
	bool found;

	owner_begin(&owner);
	found = plan_read_latest(&find_ended_entry, args, NULL) > 0;
	if (found)
	{
		view->token.place = result_int64(0, 1);
		view->token.secret = result_int64(0, 2);
	}
	owner_end(&owner);
	return found;
}

/* Adds when and why a ticket ended to what its user is told. */
static Datum
found_row(const TicketView *view)
{
	Datum args[3] = {Int64GetDatum(view->token.queue_id), Int64GetDatum(view->token.place),
					 Int64GetDatum(view->token.secret)};
	Datum values[8];
	bool nulls[8] = {false};
	OwnerContext owner;

	ticket_view_columns(view, values, nulls);
	nulls[6] = nulls[7] = true;
	if (view->live)
		return answer_row(&found_answer, values, nulls);
	owner_begin(&owner);
	if (plan_read_latest(&read_entry_end, args, NULL) > 0)
	{
		MemoryContext old = MemoryContextSwitchTo(owner.caller);
		Datum reason = result_datum(0, 2, &nulls[7]);

		values[6] = result_datum(0, 1, &nulls[6]);
		if (!nulls[7])
			values[7] = datumCopy(reason, false, -1);
		MemoryContextSwitchTo(old);
	}
	owner_end(&owner);
	/* Its time is up, and nobody has tidied yet. */
	if (nulls[6])
	{
		values[6] = TimestampTzGetDatum(view->expires_at);
		values[7] = CStringGetTextDatum("timeout");
		nulls[6] = nulls[7] = false;
	}
	return answer_row(&found_answer, values, nulls);
}

/*
 * ticket_find(queue_id bigint, user_id text)
 * -> (ticket_enqueue's columns, ended_at timestamptz, end_reason text)
 *
 * For the operator: the ticket that a user has in a queue, as the user is told
 * of it, token included; of one who has none, the last that ended, when and why.
 * NULL: there is none, or its row is gone (retention).  No sign of life.
 *
 * Errors: 22023, TK005, TK014.  Locks: queue lock, shared.
 */
Datum
ticket_find(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	TicketView view = {.token.queue_id = arg_id(fcinfo, 0, "queue_id")};
	text *user = arg_name(fcinfo, 1, "user_id");
	Datum args[1] = {Int64GetDatum(view.token.queue_id)};
	OwnerContext owner;
	bool active;
	bool found;

	memory_require();
	owner_begin(&owner);
	found = find_ticket(&view, user, &active) || find_ended_ticket(&view, user);
	if (!found && plan_read_latest(&queue_exists, args, NULL) == 0)
		queue_not_found(view.token.queue_id);
	owner_end(&owner);
	if (!found)
		PG_RETURN_NULL();
	view_from_table(&view, clock_now());
	PG_RETURN_DATUM(found_row(&view));
}

/* ---------- leave ---------- */

/*
 * ticket_leave(token uuid) -> boolean
 *
 * Gives the ticket up, waiting or active; false if it had ended before.
 * Seats that are held stay held until they are paid, released or expire.
 *
 * Errors: 22023, TK001, TK014, TK016.
 * Locks: the ticket's row, then the queue lock.
 */
Datum
ticket_leave(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	Token token;
	OwnerContext owner;
	bool left;

	if (PG_ARGISNULL(0))
		ticket_error(ERROR_BAD_ARGUMENT, NULL, NULL, "token must not be NULL");
	if (!token_decode(PG_GETARG_UUID_P(0), &token))
		token_invalid();
	queues_ready();
	owner_begin(&owner);
	left = end_ticket(&token, "left", "left", clock_now(), false);
	if (!left)
	{
		Datum args[3] = {Int64GetDatum(token.queue_id), Int64GetDatum(token.place),
						 Int64GetDatum(token.secret)};

		if (plan_read_latest(&read_entry, args, NULL) == 0)
			token_invalid();
	}
	owner_end(&owner);
	PG_RETURN_BOOL(left);
}
