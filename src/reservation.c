/*
 * reservation.c
 *		The end of reservations: released, expired, cancelled.
 */
#include "postgres.h"

#include "access/xact.h"
#include "answer.h"
#include "catalog/pg_type.h"
#include "load.h"
#include "miscadmin.h"
#include "pending.h"
#include "plan.h"
#include "seat.h"
#include "ticket.h"
#include "utils/array.h"
#include "utils/builtins.h"

/* Holds ended by one statement, at most; a constant, so that plans fit it. */
#define EXPIRE_BATCH 1000
#define EXPIRE_BATCH_SQL "1000"

PG_FUNCTION_INFO_V1(ticket_seat_release);
PG_FUNCTION_INFO_V1(ticket_seat_hold_expire);
PG_FUNCTION_INFO_V1(ticket_reservation_cancel);

/* ---------- end of a hold ---------- */

static SavedPlan lock_reservation = {
	"SELECT status, expires_at FROM ticket.reservation WHERE reservation_id" EQ "$1"
	" AND user_id" EQ "$2 FOR NO KEY UPDATE",
	2,
	{INT8OID, TEXTOID},
};

static SavedPlan try_lock_reservation = {
	"SELECT status, expires_at FROM ticket.reservation WHERE reservation_id" EQ "$1"
	" FOR NO KEY UPDATE SKIP LOCKED",
	1,
	{INT8OID},
};

static SavedPlan end_hold = {
	"WITH r AS (UPDATE ticket.reservation SET status = $2, ended_at = $3"
	" WHERE reservation_id" EQ "$1 AND status" EQ "'held' RETURNING *)," FREE_SEATS
	"," RESERVATION_EVENT("$4", "") " SELECT 1 FROM r",
	4,
	{INT8OID, TEXTOID, TIMESTAMPTZOID, TEXTOID},
};

/* Ends a hold whose row is locked. */
static void
hold_end(int64 reservation_id, bool expired, TimestampTz now)
{
	Datum args[4] = {Int64GetDatum(reservation_id),
					 CStringGetTextDatum(expired ? "expired" : "released"),
					 TimestampTzGetDatum(now),
					 CStringGetTextDatum(expired ? "reservation.expired" : "reservation.released")};

	plan_run(&end_hold, args, NULL);
}

/*
 * For one who wants the seats of a hold that is over: ends it.  False when
 * another session has it (it is being paid, or tidied) or it is not over
 * after all.  Runs as the owner, connected to SPI.
 */
bool
reservation_take_over(int64 reservation_id)
{
	Datum args[1] = {Int64GetDatum(reservation_id)};
	TimestampTz now;

	if (plan_run(&try_lock_reservation, args, NULL) == 0)
		return false;
	now = clock_now();
	if (!result_equals(0, 1, "held") || result_int64(0, 2) > now)
		return false;
	hold_end(reservation_id, true, now);
	return true;
}

pg_attribute_noreturn()
static void
no_such_reservation(int64 reservation_id)
{
	ticket_error(ERROR_NOT_FOUND, NULL, NULL, "the user has no reservation %lld",
				 (long long) reservation_id);
}

/*
 * seat_release(reservation_id bigint, user_id text) -> boolean
 *
 * Gives the seats of a hold back; false if it had ended before.
 *
 * Errors: 22023, TK005, TK009 (it is paid: cancel it), TK013, TK014, TK016.
 * Locks: the reservation's row (waits for a payment of it), the seats' rows.
 */
Datum
ticket_seat_release(PG_FUNCTION_ARGS)
{
	int64 reservation_id = arg_id(fcinfo, 0, "reservation_id");
	Datum args[2] = {Int64GetDatum(reservation_id), PointerGetDatum(arg_user(fcinfo, 1))};
	OwnerContext owner;
	TimestampTz now;
	bool released = false;

	refuse_standby();
	owner_begin(&owner);
	if (plan_run(&lock_reservation, args, NULL) == 0)
		no_such_reservation(reservation_id);
	now = clock_now();
	if (result_equals(0, 1, "paid"))
		ticket_error(ERROR_WRONG_STATE, NULL, "Use reservation_cancel.",
					 "reservation %lld is paid", (long long) reservation_id);
	if (result_equals(0, 1, "held"))
	{
		bool expired = result_int64(0, 2) <= now;

		hold_end(reservation_id, expired, now);
		released = !expired;
	}
	owner_end(&owner);
	PG_RETURN_BOOL(released);
}

/* ---------- sweeping ---------- */

static SavedPlan expire_holds = {
	"WITH due AS MATERIALIZED (SELECT reservation_id FROM ticket.reservation"
	" WHERE status" EQ "'held' AND expires_at" LE "$1 ORDER BY expires_at"
	" LIMIT CASE WHEN $2" LT EXPIRE_BATCH_SQL " THEN $2 ELSE " EXPIRE_BATCH_SQL " END"
	" FOR NO KEY UPDATE SKIP LOCKED),"
	" r AS (UPDATE ticket.reservation AS reservation SET status = 'expired', ended_at = $1 FROM due"
	" WHERE reservation.reservation_id" EQ "due.reservation_id RETURNING reservation.*)," FREE_SEATS
	"," RESERVATION_EVENT("'reservation.expired'", "") " SELECT pg_catalog.count(*) FROM r",
	2,
	{TIMESTAMPTZOID, INT4OID},
};

static SavedPlan next_due = {
	"SELECT expires_at FROM ticket.reservation WHERE status" EQ "'held'"
	" ORDER BY expires_at LIMIT 1",
	0,
	{0},
};

/* Ends up to max_count holds that are over, in one statement of at most a batch. */
int
holds_expire(int max_count)
{
	Datum args[2] = {TimestampTzGetDatum(clock_now()), Int32GetDatum(max_count)};

	plan_run(&expire_holds, args, NULL);
	return result_int64(0, 1);
}

/* When the next hold ends; DT_NOEND: there is none. */
TimestampTz
holds_next_due(void)
{
	return plan_run(&next_due, NULL, NULL) == 0 ? DT_NOEND : result_int64(0, 1);
}

/*
 * seat_hold_expire(max_count int default null) -> int
 *
 * Tidies holds that are over, oldest first; returns how many.  A sale is
 * correct without it.
 *
 * Errors: 22023, TK014, TK016.
 * Locks: rows of reservations in order of expires_at (those locked by others
 * are passed over), their seats' rows.
 */
Datum
ticket_seat_hold_expire(PG_FUNCTION_ARGS)
{
	int max_count = arg_max_count(fcinfo, 0, PG_INT32_MAX);
	OwnerContext owner;
	int done = 0;
	int n;

	refuse_standby();
	owner_begin(&owner);
	do
	{
		CHECK_FOR_INTERRUPTS();
		n = max_count > done ? holds_expire(max_count - done) : 0;
		done += n;
	} while (n == EXPIRE_BATCH);
	owner_end(&owner);
	PG_RETURN_INT32(done);
}

/* ---------- cancelling ---------- */

static AnswerType cancel_answer = {
	4,
	{{"reservation_id", INT8OID}, {"status", TEXTOID}, {"refunded", INT8OID}, {"balance", INT8OID}},
};

static SavedPlan read_reservation = {
	"SELECT status, expires_at, seat_ids, prices FROM ticket.reservation"
	" WHERE reservation_id" EQ "$1",
	1,
	{INT8OID},
};

/*
 * Everything a cancellation writes.  $2, $3: what stays of the reservation
 * (NULL: nothing, it ends); $4: the seats given back; $5: the refund.
 */
static SavedPlan write_cancel = {
	"WITH r AS (UPDATE ticket.reservation SET"
	" status = CASE WHEN $2 IS NULL THEN 'cancelled' ELSE status END,"
	" ended_at = CASE WHEN $2 IS NULL THEN $6 END,"
	" seat_ids = coalesce($2, seat_ids), prices = coalesce($3, prices),"
	" amount = CASE WHEN $2 IS NULL THEN amount ELSE amount" MINUS "$5 END"
	" WHERE reservation_id" EQ "$1 AND status" EQ "'paid' RETURNING *),"
	" s AS (UPDATE ticket.seat AS seat SET status = 'free', reservation_id = NULL FROM r"
	" WHERE seat.performance_id" EQ "r.performance_id AND seat.seat_id" EQ "ANY ($4)"
	" AND seat.reservation_id" EQ "r.reservation_id RETURNING 1),"
	" p AS (UPDATE ticket.payment AS payment SET refunded = payment.refunded" PLUS "$5,"
	" status = CASE WHEN payment.refunded" PLUS "$5" EQ "payment.amount THEN 'refunded'"
	" ELSE payment.status END, refunded_at = $6"
	" FROM r WHERE payment.reservation_id" EQ "r.reservation_id AND payment.paid_at IS NOT NULL"
	" RETURNING payment.payment_id, payment.user_id),"
	" a AS (UPDATE ticket.account AS account SET balance = account.balance" PLUS "$5 FROM p"
	" WHERE account.user_id" EQ "p.user_id RETURNING account.user_id, account.balance,"
	" p.payment_id),"
	" l AS (INSERT INTO ticket.ledger (user_id, kind, amount, balance, payment_id, created_at)"
	" SELECT user_id, 'refund', $5, balance, payment_id, $6 FROM a)," RESERVATION_EVENT(
		"'reservation.cancelled'",
		", 'cancelled_seat_ids', $4, 'refunded', $5, 'status', r.status") " SELECT (SELECT pg_catalog.count(*) FROM s) FROM r",
	6,
	{INT8OID, INT4ARRAYOID, INT8ARRAYOID, INT4ARRAYOID, INT8OID, TIMESTAMPTZOID},
};

static SavedPlan read_refunded = {
	"SELECT coalesce(p.refunded, 0), a.balance FROM ticket.reservation AS r"
	" LEFT JOIN ticket.payment AS p ON p.reservation_id" EQ "r.reservation_id"
	" AND p.paid_at IS NOT NULL"
	" LEFT JOIN ticket.account AS a ON a.user_id" EQ "r.user_id WHERE r.reservation_id" EQ "$1",
	1,
	{INT8OID},
};

/* What of a paid reservation is given back and what stays. */
typedef struct Cancellation
{
	int n_back;
	int n_stay;
	Datum *back;
	Datum *stay;
	Datum *stay_price;
	int64 refund;
} Cancellation;

static bool
seat_listed(int32 seat, const int32 *seats, int n)
{
	for (int i = 0; i < n; i++)
		if (seats[i] == seat)
			return true;
	return false;
}

/* Splits the reservation of the last result; seats NULL: all go back. */
static void
split_reservation(Cancellation *c, int64 reservation_id, const int32 *seats, int n_seats)
{
	bool isnull;
	ArrayType *all = DatumGetArrayTypePCopy(result_datum(0, 3, &isnull));
	ArrayType *prices = DatumGetArrayTypePCopy(result_datum(0, 4, &isnull));
	int n = ArrayGetNItems(ARR_NDIM(all), ARR_DIMS(all));

	memset(c, 0, sizeof(Cancellation));
	c->back = palloc(n * sizeof(Datum));
	c->stay = palloc(n * sizeof(Datum));
	c->stay_price = palloc(n * sizeof(Datum));
	for (int i = 0; i < n; i++)
	{
		int32 seat = ((int32 *) ARR_DATA_PTR(all))[i];
		int64 price = ((int64 *) ARR_DATA_PTR(prices))[i];

		if (seats == NULL || seat_listed(seat, seats, n_seats))
		{
			c->back[c->n_back++] = Int32GetDatum(seat);
			c->refund += price;
		}
		else
		{
			c->stay[c->n_stay] = Int32GetDatum(seat);
			c->stay_price[c->n_stay++] = Int64GetDatum(price);
		}
	}
	for (int i = 0; i < n_seats; i++)
		if (!seat_listed(seats[i], (int32 *) ARR_DATA_PTR(all), n))
			ticket_error(ERROR_NOT_FOUND, NULL, NULL, "seat %d is not of reservation %lld",
						 seats[i], (long long) reservation_id);
}

static void
cancel_write(int64 reservation_id, const Cancellation *c)
{
	bool whole = c->n_stay == 0;
	Datum args[6] = {Int64GetDatum(reservation_id),
					 PointerGetDatum(
						 construct_array(c->stay, c->n_stay, INT4OID, 4, true, TYPALIGN_INT)),
					 PointerGetDatum(construct_array(c->stay_price, c->n_stay, INT8OID, 8,
													 FLOAT8PASSBYVAL, TYPALIGN_DOUBLE)),
					 PointerGetDatum(
						 construct_array(c->back, c->n_back, INT4OID, 4, true, TYPALIGN_INT)),
					 Int64GetDatum(c->refund),
					 TimestampTzGetDatum(clock_now())};

	if (plan_run(&write_cancel, args, whole ? " nn   " : NULL) == 0 ||
		result_int64(0, 1) != c->n_back)
		elog(ERROR, "reservation %lld and its seats do not agree", (long long) reservation_id);
}

/*
 * reservation_cancel(reservation_id bigint, user_id text,
 *					  seat_ids int[] default null)
 * -> (reservation_id bigint, status text, refunded bigint, balance bigint)
 *
 * Gives a paid reservation, or some of its seats, back: seats free, money
 * back to the account, in one transaction.  A hold is released.  Called again
 * on what has ended it changes nothing and tells what was refunded.  refunded
 * is the sum of all refunds of the reservation.
 *
 * Errors: 22023, TK005, TK013, TK014, TK016.
 * Locks: the reservation's row (waits for a payment of it), the seats' rows,
 * the payment's, the account's.
 */
Datum
ticket_reservation_cancel(PG_FUNCTION_ARGS)
{
	int64 reservation_id = arg_id(fcinfo, 0, "reservation_id");
	Datum args[2] = {Int64GetDatum(reservation_id), PointerGetDatum(arg_user(fcinfo, 1))};
	bool whole = PG_ARGISNULL(2);
	int n_seats = 0;
	int32 *seats = whole ? NULL : arg_seats(fcinfo, 2, &n_seats);
	OwnerContext owner;
	const char *status;
	Cancellation c;
	Datum values[4];
	bool nulls[4] = {false};

	refuse_standby();
	owner_begin(&owner);
	if (plan_run(&lock_reservation, args, NULL) == 0)
		no_such_reservation(reservation_id);
	plan_run(&read_reservation, args, NULL);

	if (result_equals(0, 1, "paid"))
	{
		split_reservation(&c, reservation_id, seats, n_seats);
		cancel_write(reservation_id, &c);
		ForceSyncCommit();
		status = c.n_stay == 0 ? "cancelled" : "paid";
	}
	else if (result_equals(0, 1, "held"))
	{
		TimestampTz now = clock_now();
		bool expired = result_int64(0, 2) <= now;

		if (!whole)
			ticket_error(ERROR_WRONG_STATE, NULL, "Release the hold, or cancel all of it.",
						 "reservation %lld is not paid", (long long) reservation_id);
		hold_end(reservation_id, expired, now);
		status = expired ? "expired" : "released";
	}
	else
	{
		bool isnull;

		status = TextDatumGetCString(result_datum(0, 1, &isnull));
	}

	plan_run(&read_refunded, args, NULL);
	values[2] = Int64GetDatum(result_int64(0, 1));
	values[3] = Int64GetDatum(result_int64(0, 2));
	MemoryContextSwitchTo(owner.caller);
	values[0] = Int64GetDatum(reservation_id);
	values[1] = CStringGetTextDatum(status);
	values[0] = answer_row(&cancel_answer, values, nulls);
	owner_end(&owner);
	PG_RETURN_DATUM(values[0]);
}
