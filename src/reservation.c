/*
 * reservation.c
 *		What its user does with a hold: put it off, give it back.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "load.h"
#include "metrics.h"
#include "miscadmin.h"
#include "outbox.h"
#include "plan.h"
#include "seat.h"
#include "stock.h"
#include "ticket.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(ticket_hold_extend);
PG_FUNCTION_INFO_V1(ticket_seat_release);

static SavedPlan find_reservation = {
	"SELECT 1 FROM ticket.reservation WHERE reservation_id" EQ "$1 AND user_id" EQ "$2",
	2,
	{INT8OID, TEXTOID},
};

/*
 * The user's reservation could not be locked: it is not there, or it is too new
 * for the snapshot of a REPEATABLE READ transaction.
 */
void
reservation_missing(int64 reservation_id, text *user)
{
	Datum args[2] = {Int64GetDatum(reservation_id), PointerGetDatum(user)};

	if (IsolationUsesXactSnapshot() && plan_read_latest(&find_reservation, args, NULL) > 0)
		snapshot_is_old();
	ticket_error(ERROR_NOT_FOUND, NULL, NULL, "the user has no reservation %lld",
				 (long long) reservation_id);
}

pg_attribute_noreturn()
static void
hold_has_ended(int64 reservation_id, TimestampTz expires_at)
{
	ticket_error(ERROR_HOLD_EXPIRED, psprintf("It ended at %s.", time_text(expires_at)),
				 "Hold the seats again.", "the hold of reservation %lld has ended",
				 (long long) reservation_id);
}

/* ---------- what its user does with a hold ---------- */

static SavedPlan lock_reservation = {
	"SELECT status, expires_at, seat_ids, created_at, performance_id, pending_payment,"
	" coalesce(given_back OPERATOR(pg_catalog.@>) $3, false) FROM ticket.reservation"
	" WHERE reservation_id" EQ "$1 AND user_id" EQ "$2 FOR NO KEY UPDATE",
	3,
	{INT8OID, TEXTOID, INT4ARRAYOID},
};

typedef struct Hold
{
	int64 reservation_id;
	TimestampTz now; /* read when the row was locked */
	char *status;
	TimestampTz expires_at;
	TimestampTz created_at;
	int64 performance_id;
	int64 pending_payment; /* at a provider; 0: none */
	bool given_back; /* the seats in question, before */
	int n_seats;
	int32 *seat;
} Hold;

/*
 * Locks the user's reservation, which must not be paid.  asked: an array of
 * some of its seats, or NULL.  As the owner.
 */
static void
hold_lock_row(Hold *hold, text *user, const Datum *asked)
{
	Datum args[3] = {Int64GetDatum(hold->reservation_id), PointerGetDatum(user)};
	ArrayType *seats;
	bool isnull;

	if (asked)
		args[2] = *asked;
	if (plan_run(&lock_reservation, args, asked ? NULL : "  n") == 0)
		reservation_missing(hold->reservation_id, user);
	hold->now = clock_now();
	hold->status = TextDatumGetCString(result_datum(0, 1, &isnull));
	hold->expires_at = result_int64(0, 2);
	seats = DatumGetArrayTypePCopy(result_datum(0, 3, &isnull));
	hold->n_seats = ArrayGetNItems(ARR_NDIM(seats), ARR_DIMS(seats));
	hold->seat = (int32 *) ARR_DATA_PTR(seats);
	hold->created_at = result_int64(0, 4);
	hold->performance_id = result_int64(0, 5);
	hold->pending_payment = result_int64(0, 6);
	hold->given_back = DatumGetBool(result_datum(0, 7, &isnull));
	if (strcmp(hold->status, "paid") == 0)
		ticket_error(ERROR_WRONG_STATE, NULL, "Use reservation_cancel.",
					 "reservation %lld is paid", (long long) hold->reservation_id);
}

static bool
hold_has_seat(const Hold *hold, int32 seat)
{
	for (int i = 0; i < hold->n_seats; i++)
		if (hold->seat[i] == seat)
			return true;
	return false;
}

static SavedPlan release_some = {
	"WITH u AS (SELECT u.seat_id, u.price, u.n FROM ticket.reservation,"
	" ROWS FROM (pg_catalog.unnest(seat_ids), pg_catalog.unnest(prices)) WITH ORDINALITY"
	" AS u(seat_id, price, n) WHERE reservation_id" EQ "$1 AND NOT (u.seat_id" EQ "ANY ($2))),"
	" r AS (UPDATE ticket.reservation SET"
	" seat_ids = (SELECT pg_catalog.array_agg(seat_id ORDER BY n) FROM u),"
	" prices = (SELECT pg_catalog.array_agg(price ORDER BY n) FROM u),"
	" amount = (SELECT pg_catalog.sum(price)::pg_catalog.int8 FROM u),"
	" given_back = given_back" CONCAT "$2"
	" WHERE reservation_id" EQ "$1 AND status" EQ "'held' RETURNING *),"
	" s AS (UPDATE ticket.seat AS seat SET status = 'free', reservation_id = NULL,"
	" held_until = NULL FROM r WHERE seat.performance_id" EQ "r.performance_id"
	" AND seat.seat_id" EQ "ANY ($2) AND seat.reservation_id" EQ "$1 RETURNING 1),"
	" b AS (INSERT INTO ticket.seat_return (reservation_id, seat_id, status, price, returned_at)"
	" SELECT r.reservation_id, u.seat_id, 'released', u.price, $3 FROM r, ticket.reservation AS w,"
	" ROWS FROM (pg_catalog.unnest(w.seat_ids), pg_catalog.unnest(w.prices)) AS u(seat_id, price)"
	" WHERE w.reservation_id" EQ "$1 AND u.seat_id" EQ "ANY ($2))," RESERVATION_EVENT(
		"'reservation.released'",
		", 'released_seat_ids', $2, 'status', r.status") " SELECT pg_catalog.count(*) FROM s",
	3,
	{INT8OID, INT4ARRAYOID, TIMESTAMPTZOID},
};

/* Gives back some of the seats of a hold, whose row is locked. */
static void
hold_release_some(const Hold *hold, Datum seats, int n_seats)
{
	Datum args[3] = {Int64GetDatum(hold->reservation_id), seats, TimestampTzGetDatum(hold->now)};

	plan_run(&release_some, args, NULL);
	if (result_int64(0, 1) != n_seats)
		elog(ERROR, "reservation %lld and its seats do not agree",
			 (long long) hold->reservation_id);
}

/*
 * seat_release(reservation_id bigint, user_id text,
 *				seat_ids int[] default null) -> boolean
 *
 * Gives the seats of a hold back, all or these, of which the rest stays held
 * until the same time; false if the hold had ended, or all of these had been
 * given back, before.
 *
 * Errors: 22023, TK005 (also: a seat that is not of the hold), TK009 (it is
 * paid: cancel it), TK013, TK014, TK016.
 * Locks: the reservation's row (waits for a payment of it), the seats' rows.
 */
Datum
ticket_seat_release(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	Hold hold = {.reservation_id = arg_id(fcinfo, 0, "reservation_id")};
	text *user = arg_user(fcinfo, 1);
	int n_seats = 0;
	int32 *seat = PG_ARGISNULL(2) ? NULL : arg_seats(fcinfo, 2, &n_seats);
	OwnerContext owner;
	bool live;

	refuse_standby();
	owner_begin(&owner);
	hold_lock_row(&hold, user, seat ? &PG_GETARG_DATUM(2) : NULL);
	live = strcmp(hold.status, "held") == 0 && !hold.given_back;
	if (live && hold.expires_at <= hold.now)
	{
		hold_end(hold.reservation_id, hold.now);
		live = false;
	}
	for (int i = 0; live && i < n_seats; i++)
		if (!hold_has_seat(&hold, seat[i]))
			ticket_error(ERROR_NOT_FOUND, NULL, NULL, "seat %d is not of reservation %lld", seat[i],
						 (long long) hold.reservation_id);
	if (live && seat && n_seats < hold.n_seats && hold.pending_payment != 0)
		ticket_error(ERROR_WRONG_STATE,
					 psprintf("It is payment %lld.", (long long) hold.pending_payment),
					 "Release all of the seats, or wait for the provider's answer.",
					 "a payment of reservation %lld is under way",
					 (long long) hold.reservation_id);
	if (live && seat && n_seats < hold.n_seats)
		hold_release_some(&hold, PG_GETARG_DATUM(2), n_seats);
	else if (live)
		hold_end(hold.reservation_id, hold.now);
	owner_end(&owner);
	PG_RETURN_BOOL(live);
}

static SavedPlan extend_hold = {
	"WITH r AS (UPDATE ticket.reservation SET expires_at = $2"
	" WHERE reservation_id" EQ "$1 AND status" EQ "'held' RETURNING *),"
	" s AS (UPDATE ticket.seat AS seat SET held_until = $2 FROM r"
	" WHERE seat.performance_id" EQ "r.performance_id AND seat.seat_id" EQ "ANY (r.seat_ids)"
	" AND seat.reservation_id" EQ "$1 RETURNING 1)," RESERVATION_EVENT(
		"'reservation.extended'",
		", 'expires_at', ticket.utc(r.expires_at)") " SELECT pg_catalog.count(*) FROM s",
	2,
	{INT8OID, TIMESTAMPTZOID},
};

/*
 * hold_extend(reservation_id bigint, user_id text, by interval) -> timestamptz
 *
 * Moves the end of a hold, to max_hold of the performance after the seats were
 * held at the latest, and returns it.  A hold that has reached that stays as
 * it is; one that is over is not revived.
 *
 * Errors: 22023, TK005, TK007, TK009, TK013, TK014, TK016.
 * Locks: the reservation's row (waits for a payment of it), the seats' rows.
 */
Datum
ticket_hold_extend(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	Hold hold = {.reservation_id = arg_id(fcinfo, 0, "reservation_id")};
	text *user = arg_user(fcinfo, 1);
	int64 by = interval_us(arg_interval(fcinfo, 2, "by"));
	Performance performance;
	OwnerContext owner;
	TimestampTz end;

	refuse_standby();
	owner_begin(&owner);
	hold_lock_row(&hold, user, NULL);
	if (strcmp(hold.status, "held") == 0 ? hold.expires_at <= hold.now :
										   strcmp(hold.status, "expired") == 0)
		hold_has_ended(hold.reservation_id, hold.expires_at);
	if (strcmp(hold.status, "held") != 0)
		ticket_error(ERROR_WRONG_STATE, psprintf("It is %s.", hold.status),
					 "Hold the seats again.", "reservation %lld cannot be extended",
					 (long long) hold.reservation_id);
	if (!performance_get(hold.performance_id, &performance))
		elog(ERROR, "performance %lld does not exist", (long long) hold.performance_id);
	end = Min(hold.expires_at + by, hold.created_at + performance.max_hold_us);
	if (end > hold.expires_at)
	{
		Datum args[2] = {Int64GetDatum(hold.reservation_id), TimestampTzGetDatum(end)};

		plan_run(&extend_hold, args, NULL);
		if (result_int64(0, 1) != hold.n_seats)
			elog(ERROR, "reservation %lld and its seats do not agree",
				 (long long) hold.reservation_id);
	}
	owner_end(&owner);
	PG_RETURN_TIMESTAMPTZ(Max(end, hold.expires_at));
}
