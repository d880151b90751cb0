/*
 * cancel.c
 *		Giving back what was paid, whole or in part.
 *
 * The policy of the performance says until when and how much of each seat's
 * price is kept back.  What goes back goes where it came from: points to the
 * account, at once; money of a payment provider becomes a refund that is due.
 */
#include "postgres.h"

#include "access/xact.h"
#include "answer.h"
#include "catalog/pg_type.h"
#include "load.h"
#include "metrics.h"
#include "money.h"
#include "plan.h"
#include "seat.h"
#include "ticket.h"
#include "utils/array.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(ticket_reservation_cancel);

static AnswerType cancel_answer = {
	5,
	{{"reservation_id", INT8OID},
	 {"status", TEXTOID},
	 {"refunded", INT8OID},
	 {"balance", INT8OID},
	 {"refund_due", INT8OID}},
};

/* The last column: these seats were given back before, all of them. */
static SavedPlan lock_reservation = {
	"SELECT status, expires_at, seat_ids, prices, performance_id,"
	" coalesce(given_back OPERATOR(pg_catalog.@>) $3, false) FROM ticket.reservation"
	" WHERE reservation_id" EQ "$1 AND user_id" EQ "$2 FOR NO KEY UPDATE",
	3,
	{INT8OID, TEXTOID, INT4ARRAYOID},
};

/*
 * The step that holds now, and whether there is any; a cancelled date has none.
 * What is before the start is elapsed time: the session's TimeZone decides
 * nothing about money.
 */
static SavedPlan read_policy = {
	"SELECT coalesce(c.kept_permille, 0), coalesce(c.kept_fixed, 0), p.starts_at,"
	" (p.status" EQ "'cancelled') OR (coalesce(c.until, p.starts_at)" GT "$2)"
	" FROM ticket.performance AS p LEFT JOIN LATERAL (SELECT c.kept_permille, c.kept_fixed,"
	" p.starts_at" MINUS "ticket.elapsed(c.before) AS until FROM ticket.cancel_policy AS c"
	" WHERE c.performance_id" EQ "p.performance_id AND p.status" NE "'cancelled'"
	" ORDER BY (p.starts_at" MINUS "ticket.elapsed(c.before)" GT "$2) DESC, c.before DESC LIMIT 1"
	") AS c ON true WHERE p.performance_id" EQ "$1",
	2,
	{INT8OID, TIMESTAMPTZOID},
};

/* Nobody else decides on the refunds of a payment while it is cancelled. */
static SavedPlan lock_payment = {
	"SELECT 1 FROM ticket.payment WHERE reservation_id" EQ "$1 AND paid_at IS NOT NULL"
	" FOR NO KEY UPDATE",
	1,
	{INT8OID},
};

/*
 * Everything a cancellation writes.  $2, $3: what stays of the reservation
 * (NULL: nothing, it ends); $4: the seats given back; $5: their price; $6: what
 * of it is kept back; $8, $9: names of accounts; $10, $11: for each seat of $4
 * its price and what of it goes back.
 */
/* clang-format off */

/* What of it goes back at once, and what a provider has still to give back. */
#define BACK_NOW(p) "CASE WHEN " p ".provider" EQ "'points' THEN $5" MINUS "$6 ELSE 0 END"
#define BACK_LATER(p) "CASE WHEN " p ".provider" EQ "'points' THEN 0 ELSE $5" MINUS "$6 END"

static SavedPlan write_cancel = {
	"WITH r AS (UPDATE ticket.reservation SET"
	" status = CASE WHEN $2 IS NULL THEN 'cancelled' ELSE status END,"
	" ended_at = CASE WHEN $2 IS NULL THEN $7 END,"
	" seat_ids = coalesce($2, seat_ids), prices = coalesce($3, prices),"
	" given_back = CASE WHEN $2 IS NULL THEN given_back ELSE given_back" CONCAT "$4 END,"
	" amount = CASE WHEN $2 IS NULL THEN amount ELSE amount" MINUS "$5 END"
	" WHERE reservation_id" EQ "$1 AND status" EQ "'paid' RETURNING *),"
	" s AS (UPDATE ticket.seat AS seat SET status = 'free', reservation_id = NULL FROM r"
	" WHERE seat.performance_id" EQ "r.performance_id AND seat.seat_id" EQ "ANY ($4)"
	" AND seat.reservation_id" EQ "r.reservation_id RETURNING 1),"
	" p AS (UPDATE ticket.payment AS payment SET kept = payment.kept" PLUS "$6,"
	" refunded = payment.refunded" PLUS "(" BACK_NOW("payment") "),"
	" refund_due = payment.refund_due" PLUS "(" BACK_LATER("payment") "),"
	" refunded_at = CASE WHEN (" BACK_NOW("payment") ")" GT "0 THEN $7 ELSE payment.refunded_at END,"
	" status = CASE"
	" WHEN $2 IS NOT NULL THEN payment.status"
	" WHEN payment.provider" EQ "'points' THEN 'refunded'"
	" WHEN $5" GT "$6 OR EXISTS (SELECT FROM ticket.refund AS d"
	" WHERE d.payment_id" EQ "payment.payment_id AND " STILL_DUE("d") ") THEN 'refund_due'"
	" ELSE 'refunded' END"
	" FROM r WHERE payment.reservation_id" EQ "r.reservation_id AND payment.paid_at IS NOT NULL"
	" RETURNING payment.*),"
	" a AS (UPDATE ticket.account AS account SET balance = account.balance" PLUS "($5" MINUS "$6)"
	" FROM p WHERE p.provider" EQ "'points' AND account.user_id" EQ "p.user_id"
	" RETURNING account.balance, p.payment_id),"
	" d AS (INSERT INTO ticket.refund (payment_id, provider, status, amount, created_at)"
	" SELECT payment_id, provider, 'due', $5" MINUS "$6, $7 FROM p"
	" WHERE provider" NE "'points' AND $5" GT "$6 RETURNING refund_id, amount),"
	" l AS (INSERT INTO ticket.ledger (user_id, kind, debit, credit, amount, balance_before,"
	" balance_after, payment_id, created_at)"
	" SELECT p.user_id, 'refund', $8, CASE WHEN p.provider" EQ "'points' THEN $9"
	" ELSE 'refund:'" CONCAT "p.provider END, $5" MINUS "$6, a.balance" MINUS "($5" MINUS "$6),"
	" a.balance, p.payment_id, $7 FROM p LEFT JOIN a ON a.payment_id" EQ "p.payment_id"
	" RETURNING ledger_id),"
	" b AS (INSERT INTO ticket.seat_return (reservation_id, seat_id, status, price, refund, payment_id,"
	" refund_id, returned_at, ledger_id) SELECT r.reservation_id, u.seat_id, 'cancelled', u.price,"
	" u.refund, p.payment_id, d.refund_id, $7, l.ledger_id FROM r, l, p LEFT JOIN d ON true,"
	" ROWS FROM (pg_catalog.unnest($4), pg_catalog.unnest($10), pg_catalog.unnest($11))"
	" AS u(seat_id, price, refund)),"
	RESERVATION_EVENT("'reservation.cancelled'", ", 'cancelled_seat_ids', $4,"
					  " 'refunded', (SELECT " BACK_NOW("p") " FROM p),"
					  " 'refund_due', (SELECT " BACK_LATER("p") " FROM p),"
					  " 'kept', $6, 'status', r.status") ","
	REFUND_EVENT("'payment.refund_due'", ", 'reason', 'seats were given back'")
	" SELECT (SELECT pg_catalog.count(*) FROM s) FROM r",
	11,
	{INT8OID, INT4ARRAYOID, INT8ARRAYOID, INT4ARRAYOID, INT8OID, INT8OID, TIMESTAMPTZOID, TEXTOID,
	 TEXTOID, INT8ARRAYOID, INT8ARRAYOID},
};
/* clang-format on */

static SavedPlan read_refunded = {
	"SELECT coalesce(p.refunded, 0), a.balance, coalesce(p.refund_due, 0) FROM ticket.reservation AS r"
	" LEFT JOIN ticket.payment AS p ON p.reservation_id" EQ "r.reservation_id"
	" AND p.paid_at IS NOT NULL"
	" LEFT JOIN ticket.account AS a ON a.user_id" EQ "r.user_id WHERE r.reservation_id" EQ "$1",
	1,
	{INT8OID},
};

/* What of a paid reservation is given back and what stays. */
typedef struct Cancellation
{
	int64 reservation_id;
	int64 performance_id;
	text *user;
	int32 *seat; /* given back; NULL: all */
	int n_seats;
	int n_back;
	int n_stay;
	Datum *back;
	int64 *back_price;
	int64 *back_kept; /* of that */
	Datum *stay;
	Datum *stay_price;
	int kept_permille;
	int64 kept_fixed;
	int64 price; /* of the seats given back */
	int64 kept; /* of that */
	TimestampTz now;
} Cancellation;

static bool
seat_listed(int32 seat, const int32 *seats, int n)
{
	for (int i = 0; i < n; i++)
		if (seats[i] == seat)
			return true;
	return false;
}

/* Splits the reservation of the last result into what goes back and what stays. */
static void
split_reservation(Cancellation *c)
{
	bool isnull;
	ArrayType *all = DatumGetArrayTypePCopy(result_datum(0, 3, &isnull));
	ArrayType *prices = DatumGetArrayTypePCopy(result_datum(0, 4, &isnull));
	int n = ArrayGetNItems(ARR_NDIM(all), ARR_DIMS(all));
	int32 *seat = (int32 *) ARR_DATA_PTR(all);
	int64 *price = (int64 *) ARR_DATA_PTR(prices);

	c->back = palloc(n * sizeof(Datum));
	c->back_price = palloc(n * sizeof(int64));
	c->back_kept = palloc0(n * sizeof(int64));
	c->stay = palloc(n * sizeof(Datum));
	c->stay_price = palloc(n * sizeof(Datum));
	for (int i = 0; i < c->n_seats; i++)
		if (!seat_listed(c->seat[i], seat, n))
			ticket_error(ERROR_NOT_FOUND, NULL, NULL, "seat %d is not of reservation %lld",
						 c->seat[i], (long long) c->reservation_id);
	for (int i = 0; i < n; i++)
	{
		if (c->seat == NULL || seat_listed(seat[i], c->seat, c->n_seats))
		{
			c->back[c->n_back] = Int32GetDatum(seat[i]);
			c->back_price[c->n_back++] = price[i];
			c->price += price[i];
		}
		else
		{
			c->stay[c->n_stay] = Int32GetDatum(seat[i]);
			c->stay_price[c->n_stay++] = Int64GetDatum(price[i]);
		}
	}
}

/* What is kept back of seats given back now; TK019 when it is too late. */
static void
check_policy(Cancellation *c)
{
	Datum args[2] = {Int64GetDatum(c->performance_id), TimestampTzGetDatum(c->now)};
	bool isnull;

	if (plan_read_latest(&read_policy, args, NULL) == 0)
		elog(ERROR, "there is no performance %lld", (long long) c->performance_id);
	if (!DatumGetBool(result_datum(0, 4, &isnull)))
		ticket_error(ERROR_TOO_LATE,
					 psprintf("It begins at %s.", time_text(result_int64(0, 3))), NULL,
					 "seats of performance %lld are not taken back any more",
					 (long long) c->performance_id);
	c->kept_permille = DatumGetInt32(result_datum(0, 1, &isnull));
	c->kept_fixed = result_int64(0, 2);
}

/* Of one seat; a price is at most 10^12, so nothing overflows. */
static int64
kept_of(const Cancellation *c, int64 price)
{
	return Min(price, price * c->kept_permille / 1000 + c->kept_fixed);
}

static Datum
amount_array(Datum *amount, int n)
{
	return PointerGetDatum(
		construct_array(amount, n, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

static void
cancel_write(const Cancellation *c)
{
	bool whole = c->n_stay == 0;
	Datum *price = palloc(c->n_back * sizeof(Datum));
	Datum *refund = palloc(c->n_back * sizeof(Datum));
	Datum id = Int64GetDatum(c->reservation_id);
	Datum args[11] = {Int64GetDatum(c->reservation_id),
					  PointerGetDatum(
						  construct_array(c->stay, c->n_stay, INT4OID, 4, true, TYPALIGN_INT)),
					  amount_array(c->stay_price, c->n_stay),
					  PointerGetDatum(
						  construct_array(c->back, c->n_back, INT4OID, 4, true, TYPALIGN_INT)),
					  Int64GetDatum(c->price),
					  Int64GetDatum(c->kept),
					  TimestampTzGetDatum(c->now),
					  ledger_sales(c->performance_id),
					  ledger_user(c->user)};

	for (int i = 0; i < c->n_back; i++)
	{
		price[i] = Int64GetDatum(c->back_price[i]);
		refund[i] = Int64GetDatum(c->back_price[i] - c->back_kept[i]);
	}
	args[9] = amount_array(price, c->n_back);
	args[10] = amount_array(refund, c->n_back);
	plan_run(&lock_payment, &id, NULL);
	if (plan_run(&write_cancel, args, whole ? " nn        " : NULL) == 0 ||
		result_int64(0, 1) != c->n_back)
		elog(ERROR, "reservation %lld and its seats do not agree", (long long) c->reservation_id);
}

/* Gives back what was paid; returns what becomes of the reservation. */
static const char *
cancel_paid(Cancellation *c)
{
	split_reservation(c);
	check_policy(c);
	for (int i = 0; i < c->n_back; i++)
	{
		c->back_kept[i] = kept_of(c, c->back_price[i]);
		c->kept += c->back_kept[i];
	}
	cancel_write(c);
	ForceSyncCommit();
	return c->n_stay == 0 ? "cancelled" : "paid";
}

static SavedPlan try_lock_reservation = {
	"SELECT status, expires_at, seat_ids, prices, performance_id, user_id FROM ticket.reservation"
	" WHERE reservation_id" EQ "$1 FOR NO KEY UPDATE SKIP LOCKED",
	1,
	{INT8OID},
};

/*
 * For a performance that does not take place: ends a reservation whoever's it
 * is; what was paid goes back in full, whatever the policy says.  Nothing
 * happens when another session has its row.  Runs as the owner, connected to SPI.
 */
ReservationUndo
reservation_undo(int64 reservation_id, int64 *refunded)
{
	Cancellation c = {.reservation_id = reservation_id};
	Datum args[1] = {Int64GetDatum(reservation_id)};
	bool isnull;

	if (plan_run(&try_lock_reservation, args, NULL) == 0)
		return UNDO_BUSY;
	c.now = clock_now();
	if (result_equals(0, 1, "held"))
	{
		hold_end(reservation_id, c.now);
		return UNDO_HELD;
	}
	if (!result_equals(0, 1, "paid"))
		return UNDO_ENDED;
	c.performance_id = result_int64(0, 5);
	c.user = DatumGetTextPCopy(result_datum(0, 6, &isnull));
	split_reservation(&c);
	cancel_write(&c);
	ForceSyncCommit();
	*refunded = c.price;
	return UNDO_PAID;
}

/* Gives back what was only held. */
static const char *
cancel_held(const Cancellation *c)
{
	bool expired = result_int64(0, 2) <= c->now;

	if (c->seat != NULL)
		ticket_error(ERROR_WRONG_STATE, NULL, "Release the hold, or cancel all of it.",
					 "reservation %lld is not paid", (long long) c->reservation_id);
	hold_end(c->reservation_id, c->now);
	return expired ? "expired" : "released";
}

/*
 * reservation_cancel(reservation_id bigint, user_id text,
 *					  seat_ids int[] default null)
 * -> (reservation_id bigint, status text, refunded bigint, balance bigint,
 *	   refund_due bigint)
 *
 * Gives a paid reservation, or some of its seats, back: seats free, and of the
 * money what the cancel policy does not keep back, in one transaction.  A hold
 * is released; money of a provider that comes for it later is refunded.  Called
 * again on what has ended, or for seats given back before, it changes nothing
 * and tells what was refunded.  refunded is the sum of all that has gone back of
 * the reservation, refund_due of what a provider has still to give back.
 *
 * Errors: 22023, TK005, TK009, TK013, TK014, TK016, TK019.
 * Locks: the reservation's row (waits for a payment of it), the seats' rows,
 * the payment's, the account's.
 */
Datum
ticket_reservation_cancel(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	Cancellation c = {.reservation_id = arg_id(fcinfo, 0, "reservation_id")};
	Datum args[3];
	OwnerContext owner;
	const char *status;
	bool again;
	bool isnull;
	Datum values[5];
	bool nulls[5] = {false};
	Datum answer;

	c.user = arg_user(fcinfo, 1);
	if (!PG_ARGISNULL(2))
		c.seat = arg_seats(fcinfo, 2, &c.n_seats);
	refuse_standby();
	owner_begin(&owner);
	args[0] = Int64GetDatum(c.reservation_id);
	args[1] = PointerGetDatum(c.user);
	args[2] = PG_GETARG_DATUM(2);
	if (plan_run(&lock_reservation, args, c.seat ? NULL : "  n") == 0)
		reservation_missing(c.reservation_id, c.user);
	c.now = clock_now();
	c.performance_id = result_int64(0, 5);
	status = TextDatumGetCString(result_datum(0, 1, &isnull));
	again = DatumGetBool(result_datum(0, 6, &isnull));
	if (strcmp(status, "paid") == 0 && !again)
		status = cancel_paid(&c);
	else if (strcmp(status, "held") == 0)
		status = cancel_held(&c);

	plan_run(&read_refunded, args, NULL);
	values[2] = Int64GetDatum(result_int64(0, 1));
	values[3] = Int64GetDatum(result_int64(0, 2));
	values[4] = Int64GetDatum(result_int64(0, 3));
	MemoryContextSwitchTo(owner.caller);
	values[0] = Int64GetDatum(c.reservation_id);
	values[1] = CStringGetTextDatum(status);
	answer = answer_row(&cancel_answer, values, nulls);
	owner_end(&owner);
	PG_RETURN_DATUM(answer);
}
