/*
 * seat.c
 *		Holding seats: who gets which.  The steps are those of hold.h.
 *
 * Most of those who come too late are told from shared memory (glance.c).  A
 * call then makes the user's own calls one after another, and looks before it
 * locks: seats that are taken are seen by one index lookup each.  Then it tries
 * the seats' locks in ascending order, never waiting, and writes row by row,
 * each seat only if it still is free.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/xact.h"
#include "answer.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "glance.h"
#include "hold.h"
#include "lib/stringinfo.h"
#include "load.h"
#include "metrics.h"
#include "miscadmin.h"
#include "memory.h"
#include "pending.h"
#include "plan.h"
#include "relation.h"
#include "outbox.h"
#include "seat.h"
#include "stock.h"
#include "ticket.h"
#include "token.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

PG_FUNCTION_INFO_V1(ticket_seat_hold);

/* Seats named in the DETAIL of a refusal, at most. */
#define MAX_SEATS_NAMED 20

/* How long the locks of a transaction that has just ended may linger. */
#define RELEASE_TRIES 40
#define RELEASE_PAUSE_US 500

static AnswerType hold_answer = {
	4,
	{{"reservation_id", INT8OID},
	 {"status", TEXTOID},
	 {"amount", INT8OID},
	 {"expires_at", TIMESTAMPTZOID}},
	"hold_state",
};

/* ---------- who asks for what ---------- */

static Datum
seat_array(const HoldRequest *request)
{
	Datum *elements = palloc(request->n_seats * sizeof(Datum));

	for (int i = 0; i < request->n_seats; i++)
		elements[i] = Int32GetDatum(request->seat[i]);
	return PointerGetDatum(
		construct_array(elements, request->n_seats, INT4OID, 4, true, TYPALIGN_INT));
}

static void
read_performance(HoldRequest *request, int64 performance_id)
{
	if (!performance_get(performance_id, &request->performance))
		ticket_error(ERROR_NOT_FOUND, NULL, NULL, "there is no performance %lld",
					 (long long) performance_id);
}

/* Arguments that both functions have; performance_id is the first. */
void
hold_begin(HoldRequest *request, FunctionCallInfo fcinfo, int user_argno, int token_argno,
		   int key_argno)
{
	int64 performance_id = arg_id(fcinfo, 0, "performance_id");

	request->user = arg_participant(fcinfo, user_argno);
	request->key = arg_key(fcinfo, key_argno);
	request->has_token = !PG_ARGISNULL(token_argno);
	refuse_standby();
	/* With a key it may be a call that was made before a block: hold_admit() looks again. */
	if (request->key == NULL)
		people_check(request->user);
	read_performance(request, performance_id);
	if (request->has_token && !token_decode(PG_GETARG_UUID_P(token_argno), &request->token))
		ticket_error(ERROR_TOKEN_INVALID, NULL, "Enter the queue with ticket_enqueue.",
					 "the token is not valid");
}

/*
 * Serialises the holds of one user, whose seats are counted later.  Waiting may
 * take long: the performance may be another by then.
 */
void
hold_lock_user(HoldRequest *request)
{
	uint32 performance = (uint32) request->performance.performance_id;
	uint32 hash = hash_bytes((const unsigned char *) VARDATA_ANY(request->user),
							 VARSIZE_ANY_EXHDR(request->user));

	request->waited = !class_lock(LOCK_CLASS_USER, hash, performance, false, false);
	if (request->waited)
	{
		class_lock(LOCK_CLASS_USER, hash, performance, false, true);
		read_performance(request, request->performance.performance_id);
	}
}

/* A hold that is over is expired, tidied or not. */
static SavedPlan find_keyed_hold = {
	"SELECT reservation_id, ticket.reservation_status(status, expires_at, $5), amount, expires_at,"
	" seat_ids, performance_id" EQ "$3 AND asked" EQ "$4"
	" FROM ticket.reservation WHERE user_id" EQ "$1 AND idempotency_key" EQ "$2",
	5,
	{TEXTOID, TEXTOID, INT8OID, TEXTOID, TIMESTAMPTZOID},
};

pg_attribute_noreturn()
static void
key_conflict(void)
{
	ticket_error(ERROR_IDEMPOTENCY_CONFLICT, NULL, "Use a new key for a new request.",
				 "the idempotency key was used with other arguments");
}

/* The answer to a call that was made before with the same key, if it was. */
static bool
answer_from_key(const HoldRequest *request, Datum *answer)
{
	Datum args[5] = {PointerGetDatum(request->user), PointerGetDatum(request->key),
					 Int64GetDatum(request->performance.performance_id),
					 PointerGetDatum(request->asked), TimestampTzGetDatum(clock_now())};
	OwnerContext owner;
	Datum values[5];
	bool nulls[5];
	bool isnull;
	bool found;

	owner_begin(&owner);
	found = plan_read_latest(&find_keyed_hold, args, NULL) > 0;
	if (found)
	{
		if (!DatumGetBool(result_datum(0, 6, &isnull)))
			key_conflict();
		for (int i = 0; i < 5; i++)
			values[i] = result_datum(0, i + 1, &nulls[i]);
		MemoryContextSwitchTo(owner.caller);
		*answer = answer_row(request->answer, values, nulls);
	}
	owner_end(&owner);
	return found;
}

/*
 * From here on the user's calls come one after another.  True: this one was
 * made before, and here is its answer, whatever became of the reservation.
 */
bool
hold_repeated(HoldRequest *request, Datum *answer)
{
	hold_lock_user(request);
	return request->key && answer_from_key(request, answer);
}

/* ---------- may this user buy now? ---------- */

static void
check_sale_window(const Performance *performance, TimestampTz now)
{
	if (!performance->scheduled)
		ticket_error(ERROR_SALE_CLOSED, NULL, "Choose another date.",
					 "performance %lld has been withdrawn or cancelled",
					 (long long) performance->performance_id);
	if (now < performance->sale_opens_at)
		ticket_error(ERROR_SALE_CLOSED,
					 psprintf("It opens at %s.", time_text(performance->sale_opens_at)),
					 "Call again then.", "performance %lld is not on sale yet",
					 (long long) performance->performance_id);
	if (now >= Min(performance->sale_closes_at, performance->starts_at))
		ticket_error(ERROR_SALE_CLOSED,
					 psprintf("It closed at %s.",
							  time_text(Min(performance->sale_closes_at,
													 performance->starts_at))),
					 "Choose another date.", "performance %lld is no longer on sale",
					 (long long) performance->performance_id);
}

/* Why this ticket does not admit, or NULL: it does. */
static const char *
ticket_refusal(RowScan *scan, HeapTuple row, const text *user, TimestampTz now)
{
	bool isnull;
	Datum expires_at;
	const char *status;

	if (!text_same(DatumGetTextPP(row_get(scan, row, COL_ENTRY_USER_ID, &isnull)), user))
		return "The ticket is somebody else's.";
	status = TextDatumGetCString(row_get(scan, row, COL_ENTRY_STATUS, &isnull));
	if (strcmp(status, "active") != 0)
		return psprintf("The ticket is %s.", status);
	expires_at = row_get(scan, row, COL_ENTRY_EXPIRES_AT, &isnull);
	if (DatumGetTimestampTz(expires_at) <= now)
		return "The ticket has expired.";
	return NULL;
}

static void
check_admission(const HoldRequest *request, TimestampTz now)
{
	const char *hint = "Enter the queue with ticket_enqueue and wait until the ticket is active.";
	int64 queue_id = request->performance.queue_id;
	const char *refusal = NULL;
	RowScan scan;
	ScanKeyData key[2];
	HeapTuple row;
	bool isnull;

	if (!request->has_token)
		ticket_error(ERROR_NOT_ADMITTED,
					 psprintf("It is sold through queue %lld.", (long long) queue_id), hint,
					 "performance %lld needs an active ticket",
					 (long long) request->performance.performance_id);
	if (request->token.queue_id != queue_id)
		ticket_error(ERROR_NOT_ADMITTED,
					 psprintf("It is sold through queue %lld.", (long long) queue_id), hint,
					 "the ticket is of another queue");

	ScanKeyInit(&key[0], COL_ENTRY_QUEUE_ID, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(queue_id));
	ScanKeyInit(&key[1], COL_ENTRY_PLACE, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(request->token.place));
	row_scan_begin(&scan, REL_QUEUE_ENTRY, REL_QUEUE_ENTRY_PKEY, 2, key);
	row = row_scan_next(&scan);
	if (row && !token_secret_equal(DatumGetInt64(row_get(&scan, row, COL_ENTRY_SECRET, &isnull)),
								   request->token.secret))
		row = NULL;
	if (row)
		refusal = ticket_refusal(&scan, row, request->user, now);
	row_scan_end(&scan);

	if (row == NULL)
		ticket_error(ERROR_TOKEN_INVALID, NULL, hint, "the token is not valid");
	if (refusal)
		ticket_error(ERROR_NOT_ADMITTED, refusal, hint, "the ticket does not admit to the sale");
}

void
hold_admit(const HoldRequest *request, TimestampTz now)
{
	people_check(request->user);
	check_sale_window(&request->performance, now);
	if (request->performance.queue_id != 0)
		check_admission(request, now);
}

/* ---------- are the seats free? ---------- */

static void
note_former(HoldRequest *request, int64 reservation_id)
{
	for (int i = 0; i < request->n_former; i++)
		if (request->former[i] == reservation_id)
			return;
	request->former[request->n_former++] = reservation_id;
}

/* Looks at one seat: notes its price and a hold on it that is over. */
static const char *
look_at_seat(HoldRequest *request, int i, TimestampTz now)
{
	RowScan scan;
	ScanKeyData key[2];
	HeapTuple row;
	const char *status = "unknown";
	bool isnull;

	ScanKeyInit(&key[0], COL_SEAT_PERFORMANCE_ID, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(request->performance.performance_id));
	ScanKeyInit(&key[1], COL_SEAT_SEAT_ID, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(request->seat[i]));
	row_scan_begin(&scan, REL_SEAT, REL_SEAT_PKEY, 2, key);
	row = row_scan_next(&scan);
	if (row)
	{
		status = TextDatumGetCString(row_get(&scan, row, COL_SEAT_STATUS, &isnull));
		request->price[i] =
			section_price(DatumGetInt64(row_get(&scan, row, COL_SEAT_SECTION_ID, &isnull)));
		if (request->price[i] == SECTION_WITHDRAWN)
			status = "withdrawn";
		request->amount += request->price[i];
		if (strcmp(status, "held") == 0 &&
			DatumGetTimestampTz(row_get(&scan, row, COL_SEAT_HELD_UNTIL, &isnull)) <= now)
		{
			note_former(request,
						DatumGetInt64(row_get(&scan, row, COL_SEAT_RESERVATION_ID, &isnull)));
			status = "free";
		}
	}
	row_scan_end(&scan);
	return status;
}

/*
 * Looks at all the seats: states, prices, holds that are over.  Returns how
 * many are not to be had.
 */
int
hold_look(HoldRequest *request, TimestampTz now)
{
	int n_taken = 0;

	if (request->status == NULL)
	{
		request->status = palloc(request->n_seats * sizeof(char *));
		request->price = palloc(request->n_seats * sizeof(int64));
		request->former = palloc(request->n_seats * sizeof(int64));
	}
	request->amount = 0;
	request->n_former = 0;
	for (int i = 0; i < request->n_seats; i++)
	{
		request->status[i] = look_at_seat(request, i, now);
		if (strcmp(request->status[i], "unknown") == 0)
			ticket_error(ERROR_NOT_FOUND, NULL, "ticket.seats() lists the seats.",
						 "performance %lld has no seat %d",
						 (long long) request->performance.performance_id, request->seat[i]);
		if (strcmp(request->status[i], "free") != 0)
			n_taken++;
	}
	return n_taken;
}

/* ---------- locks and limit ---------- */

/*
 * A transaction that ends lets go of its locks one after another.  When we had
 * to wait for another call of the user, whose seats may be the same ones, its
 * seat locks are given a moment to follow.
 */
static bool
lock_seat(const HoldRequest *request, int32 seat)
{
	uint32 performance = (uint32) request->performance.performance_id;
	int tries = request->waited ? RELEASE_TRIES : 1;

	while (!class_lock(LOCK_CLASS_SEAT, performance, (uint32) seat, false, false))
	{
		if (--tries == 0)
			return false;
		CHECK_FOR_INTERRUPTS();
		pg_usleep(RELEASE_PAUSE_US);
	}
	return true;
}

/* Tries the seats' locks one after another; returns how many it got. */
int
hold_lock(const HoldRequest *request)
{
	int n = 0;

	while (n < request->n_seats && lock_seat(request, request->seat[n]))
		n++;
	return n;
}

/* Gives the first n locks back, before anything has been written. */
void
hold_unlock(const HoldRequest *request, int n)
{
	while (n-- > 0)
		class_unlock(LOCK_CLASS_SEAT, (uint32) request->performance.performance_id,
					 (uint32) request->seat[n], false);
}

/* Locked in the order of their ids, as by a user who withdraws. */
static SavedPlan seats_after_all = {
	"WITH r AS MATERIALIZED (SELECT seat_ids, status, expires_at FROM ticket.reservation"
	" WHERE reservation_id" EQ "ANY ($1) ORDER BY reservation_id FOR NO KEY UPDATE)"
	" SELECT coalesce(pg_catalog.sum(pg_catalog.cardinality(seat_ids)), 0) FROM r"
	" WHERE status" EQ "'paid' OR (status" EQ "'held' AND expires_at" GT "$2)",
	2,
	{INT8ARRAYOID, TIMESTAMPTZOID},
};

/*
 * Seats of holds that are over, but were just being paid or put off: whoever
 * does that is waited for.
 */
static int64
seats_over(Datum *reservation, int n_over, TimestampTz now)
{
	Datum args[2];
	OwnerContext owner;
	int64 n;

	if (n_over == 0)
		return 0;
	args[0] = PointerGetDatum(
		construct_array(reservation, n_over, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	args[1] = TimestampTzGetDatum(now);
	owner_begin(&owner);
	plan_run(&seats_after_all, args, NULL);
	n = result_int64(0, 1);
	owner_end(&owner);
	return n;
}

/*
 * Seats the user has in the performance: bought, or held and not yet over.
 * *waited: a payment of some may have been waited for.
 */
int64
hold_user_seats(const HoldRequest *request, TimestampTz now, bool *waited)
{
	RowScan scan;
	ScanKeyData key[2];
	HeapTuple row;
	int64 n = 0;
	Datum *over = NULL;
	int n_over = 0;

	ScanKeyInit(&key[0], COL_RESERVATION_USER_ID, BTEqualStrategyNumber, F_TEXTEQ,
				PointerGetDatum(request->user));
	key[0].sk_collation = DEFAULT_COLLATION_OID;
	ScanKeyInit(&key[1], COL_RESERVATION_PERFORMANCE_ID, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(request->performance.performance_id));
	row_scan_begin(&scan, REL_RESERVATION, REL_RESERVATION_USER, 2, key);
	while ((row = row_scan_next(&scan)) != NULL)
	{
		bool isnull;
		Datum status = row_get(&scan, row, COL_RESERVATION_STATUS, &isnull);
		ArrayType *seats;

		if (text_is(status, "held") &&
			DatumGetTimestampTz(row_get(&scan, row, COL_RESERVATION_EXPIRES_AT, &isnull)) <= now)
		{
			over = over ? repalloc(over, (n_over + 1) * sizeof(Datum)) : palloc(sizeof(Datum));
			over[n_over++] = row_get(&scan, row, COL_RESERVATION_ID, &isnull);
			continue;
		}
		if (!text_is(status, "held") && !text_is(status, "paid"))
			continue;
		seats = DatumGetArrayTypeP(row_get(&scan, row, COL_RESERVATION_SEAT_IDS, &isnull));
		n += ArrayGetNItems(ARR_NDIM(seats), ARR_DIMS(seats));
	}
	row_scan_end(&scan);
	*waited = n_over > 0;
	return n + seats_over(over, n_over, now);
}

/* True: somebody may have been waited for, and seats may be others' by now. */
bool
hold_limit(HoldRequest *request, TimestampTz now)
{
	bool waited;
	int64 has = hold_user_seats(request, now, &waited);
	int max;

	if (waited)
		read_performance(request, request->performance.performance_id);
	max = request->performance.max_seats;
	if (has + request->n_seats > max)
		ticket_error(ERROR_LIMIT_REACHED,
					 psprintf("The user has %lld and wants %d more; %d are allowed.",
							  (long long) has, request->n_seats, max),
					 "Ask for fewer, or give some back.", "too many seats of performance %lld for one user",
					 (long long) request->performance.performance_id);
	/* Paying may have ended the ticket, and the time that it took the sale. */
	if (waited)
		hold_admit(request, clock_now());
	return waited;
}

/* ---------- writing ---------- */

/* Ends the holds on the seats that are over; false: another has one of them. */
bool
hold_take_over(const HoldRequest *request)
{
	TimestampTz now = clock_now();
	bool all = true;

	for (int i = 0; i < request->n_former && all; i++)
		all = reservation_end_if_over(request->former[i], now, now) == HOLD_ENDED;
	return all;
}

static Datum
price_array(const HoldRequest *request)
{
	Datum *elements = palloc(request->n_seats * sizeof(Datum));

	for (int i = 0; i < request->n_seats; i++)
		elements[i] = Int64GetDatum(request->price[i]);
	return PointerGetDatum(
		construct_array(elements, request->n_seats, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

pg_attribute_noreturn()
static void
seats_unavailable(const char *detail)
{
	ticket_error(ERROR_SEAT_UNAVAILABLE, detail, "Look at the seats again and choose others.",
				 "not all of the seats are free");
}

static void
write_reservation(const HoldRequest *request, int64 reservation_id, TimestampTz now,
				  TimestampTz expires_at)
{
	bool queued = request->performance.queue_id != 0;
	Datum values[RESERVATION_ROW_SIZE] = {
		[COL_RESERVATION_ID] = Int64GetDatum(reservation_id),
		[COL_RESERVATION_PERFORMANCE_ID] = Int64GetDatum(request->performance.performance_id),
		[COL_RESERVATION_USER_ID] = PointerGetDatum(request->user),
		[COL_RESERVATION_SEAT_IDS] = seat_array(request),
		[COL_RESERVATION_PRICES] = price_array(request),
		[COL_RESERVATION_AMOUNT] = Int64GetDatum(request->amount),
		[COL_RESERVATION_STATUS] = CStringGetTextDatum("held"),
		[COL_RESERVATION_CREATED_AT] = TimestampTzGetDatum(now),
		[COL_RESERVATION_EXPIRES_AT] = TimestampTzGetDatum(expires_at),
		[COL_RESERVATION_QUEUE_ID] = Int64GetDatum(request->performance.queue_id),
		[COL_RESERVATION_PLACE] = Int64GetDatum(request->token.place),
		[COL_RESERVATION_IDEMPOTENCY_KEY] = PointerGetDatum(request->key),
		[COL_RESERVATION_ASKED] = PointerGetDatum(request->asked),
	};
	bool nulls[RESERVATION_ROW_SIZE] = {
		[COL_RESERVATION_ENDED_AT] = true,
		[COL_RESERVATION_QUEUE_ID] = !queued,
		[COL_RESERVATION_PLACE] = !queued,
		[COL_RESERVATION_IDEMPOTENCY_KEY] = request->key == NULL,
		[COL_RESERVATION_ASKED] = request->key == NULL,
		[COL_RESERVATION_PENDING_PAYMENT] = true,
		[COL_RESERVATION_GIVEN_BACK] = true,
	};

	if (request->key == NULL)
		row_insert(&reservation_row, values, nulls);
	else if (!row_insert_unless(&reservation_row, values, nulls))
		key_conflict();
}

/* Writes reservation, seats and event; returns reservation_id. */
static int64
write_hold(const HoldRequest *request, TimestampTz now, TimestampTz expires_at)
{
	int64 performance_id = request->performance.performance_id;
	int64 reservation_id = row_number(REL_RESERVATION_NUMBERS);
	SeatState unheld = {.status = "free"};
	SeatState held = {"held", reservation_id, expires_at};
	Event event;

	write_reservation(request, reservation_id, now, expires_at);
	hold_timer_set(reservation_id, expires_at);
	for (int i = 0; i < request->n_seats; i++)
		if (!seat_change(performance_id, request->seat[i], &unheld, &held, false))
		{
			if (IsolationUsesXactSnapshot())
				snapshot_is_old();
			/* A seat that went between the look and the lock. */
			seats_unavailable("One was taken a moment ago.");
		}
	event_begin_reservation(&event, "reservation.held", reservation_id, performance_id,
							request->user, request->seat, request->n_seats, request->amount);
	event_time(&event, "expires_at", expires_at);
	event_write(&event, "reservation", number_text(reservation_id));
	return reservation_id;
}

/* All that a hold writes, once the seats' locks are there; the answer. */
Datum
hold_finish(const HoldRequest *request)
{
	TimestampTz now = clock_now();
	TimestampTz expires_at = now + request->performance.hold_us;
	Datum values[5];
	bool nulls[5] = {false};

	values[0] = Int64GetDatum(write_hold(request, now, expires_at));
	pending_wake(expires_at);
	values[1] = CStringGetTextDatum("held");
	values[2] = Int64GetDatum(request->amount);
	values[3] = TimestampTzGetDatum(expires_at);
	values[4] = seat_array(request);
	return answer_row(request->answer, values, nulls);
}

/* What was asked for, with a key, in a form that can be compared: '{1,2}'. */
static text *
asked_seats(const HoldRequest *request)
{
	StringInfoData asked;

	if (request->key == NULL)
		return NULL;
	initStringInfo(&asked);
	for (int i = 0; i < request->n_seats; i++)
		appendStringInfo(&asked, "%c%d", i == 0 ? '{' : ',', request->seat[i]);
	appendStringInfoChar(&asked, '}');
	return cstring_to_text_with_len(asked.data, asked.len);
}

/* Says which of the seats are not free, at most so many. */
pg_attribute_noreturn()
static void
refuse_taken(const HoldRequest *request, const char **status)
{
	int n_taken = 0;
	StringInfoData taken;

	initStringInfo(&taken);
	for (int i = 0; i < request->n_seats; i++)
		if (strcmp(status[i], "free") != 0 && n_taken++ < MAX_SEATS_NAMED)
			appendStringInfo(&taken, "%s %d is %s", n_taken == 1 ? "Seat" : ", seat",
							 request->seat[i], status[i]);
	if (n_taken > MAX_SEATS_NAMED)
		appendStringInfo(&taken, " and %d more", n_taken - MAX_SEATS_NAMED);
	appendStringInfoChar(&taken, '.');
	seats_unavailable(taken.data);
}

/* Most of those who come too late are told here, before anything is locked. */
static void
refuse_early(const HoldRequest *request)
{
	TimestampTz now = clock_now();
	const char **status = palloc(request->n_seats * sizeof(char *));

	if (seats_taken(request->performance.performance_id, request->seat, request->n_seats, now,
					status))
	{
		hold_admit(request, now);
		refuse_taken(request, status);
	}
	pfree(status);
}

/* All of the seats must be to be had. */
static void
look(HoldRequest *request, TimestampTz now)
{
	if (hold_look(request, now) == 0)
		return;
	seats_remember(request->performance.performance_id, request->seat, request->n_seats, now);
	refuse_taken(request, request->status);
}

/*
 * seat_hold(performance_id bigint, seat_ids int[], user_id text,
 *			 token uuid default null, idempotency_key text default null)
 * -> (reservation_id bigint, status text, amount bigint, expires_at timestamptz)
 *
 * Holds all of the seats for the performance's hold_interval, or none.  A hold
 * on them that is over is ended on the spot.  With a key, the same call again
 * gets the reservation of the first one, whatever became of it.
 *
 * Errors: 22023, TK001, TK002, TK005, TK006, TK008, TK011, TK012, TK013, TK014,
 * TK016, TK018; 40001.
 * Locks: advisory lock of user and performance (waits only for the same user's
 * other call), rows of the user's holds that are over (waits for a payment),
 * advisory lock of each seat in ascending order (tried), a former
 * reservation's row (tried), the new reservation, the seats' rows.
 */
Datum
ticket_seat_hold(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	HoldRequest request = {.answer = &hold_answer};
	TimestampTz now;
	Datum answer;
	int locked;
	bool waited;

	request.seat = arg_seats(fcinfo, 1, &request.n_seats);
	hold_begin(&request, fcinfo, 2, 3, 4);
	request.asked = asked_seats(&request);
	/* With a key the answer may be the one of the call before. */
	if (request.key == NULL)
		refuse_early(&request);
	if (hold_repeated(&request, &answer))
		PG_RETURN_DATUM(answer);
	if (request.key)
		refuse_early(&request);
	now = clock_now();
	hold_admit(&request, now);
	look(&request, now);
	waited = hold_limit(&request, now);
	locked = hold_lock(&request);
	if (locked < request.n_seats)
		seats_unavailable(psprintf("Seat %d is being taken right now.", request.seat[locked]));
	/* Only what the transaction's snapshot is too old for may fail from here. */
	if (waited || IsolationUsesXactSnapshot())
		look(&request, clock_now());
	if (!hold_take_over(&request))
		seats_unavailable("A hold that has ended is just being paid or tidied.");
	PG_RETURN_DATUM(hold_finish(&request));
}
