/*
 * reservation.c
 *		The end of holds: released, expired.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "load.h"
#include "miscadmin.h"
#include "plan.h"
#include "seat.h"
#include "ticket.h"
#include "utils/builtins.h"

/* Holds ended by one statement, at most; a constant, so that plans fit it. */
#define EXPIRE_BATCH 1000
#define EXPIRE_BATCH_SQL "1000"

PG_FUNCTION_INFO_V1(ticket_seat_release);
PG_FUNCTION_INFO_V1(ticket_seat_hold_expire);

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

/* Ends a hold whose row is locked.  Runs as the owner, connected to SPI. */
void
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
