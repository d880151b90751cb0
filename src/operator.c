/*
 * operator.c
 *		What operators do to seats that are on sale: block, unblock, and end all
 *		of a performance that does not take place.
 *
 * Buyers are not waited for: seats and reservations are locked as seat_hold
 * locks them, tried one after another.  Where performance_cancel must wait it
 * holds nothing else, so it is never part of a deadlock.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "load.h"
#include "metrics.h"
#include "memory.h"
#include "miscadmin.h"
#include "money.h"
#include "nodes/parsenodes.h"
#include "outbox.h"
#include "plan.h"
#include "relation.h"
#include "seat.h"
#include "ticket.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

PG_FUNCTION_INFO_V1(ticket_seat_block);
PG_FUNCTION_INFO_V1(ticket_seat_unblock);
PG_FUNCTION_INFO_V1(ticket_performance_cancel);
PG_FUNCTION_INFO_V1(ticket_check_performances);

/* Seats named in the DETAIL of a refusal, at most. */
#define MAX_SEATS_NAMED 20

/* Seats looked at in one transaction of performance_cancel. */
#define CANCEL_BATCH 500
#define CANCEL_BATCH_SQL "500"

/* Rounds without anything done, after which something must be wrong. */
#define MAX_IDLE_ROUNDS 100

static Datum
seat_array(const int32 *seat, int n)
{
	Datum *elements = palloc(n * sizeof(Datum));

	for (int i = 0; i < n; i++)
		elements[i] = Int32GetDatum(seat[i]);
	return PointerGetDatum(construct_array(elements, n, INT4OID, 4, true, TYPALIGN_INT));
}

static SavedPlan block_seats = {
	"UPDATE ticket.seat SET status = 'blocked' WHERE performance_id" EQ "$1"
	" AND seat_id" EQ "ANY ($2) AND status" EQ "'free' RETURNING seat_id",
	2,
	{INT8OID, INT4ARRAYOID},
};

/* Blocks those of the seats that are free; returns how many. */
static int64
write_blocked(int64 performance_id, const int32 *seat, int n)
{
	Datum args[2] = {Int64GetDatum(performance_id), seat_array(seat, n)};

	return plan_run(&block_seats, args, NULL);
}

/* ---------- block and unblock ---------- */

static int
compare_seats(const void *a, const void *b)
{
	int32 x = *(const int32 *) a;
	int32 y = *(const int32 *) b;

	return (x > y) - (x < y);
}

/* Tells of the seats of the last result, of which there are n. */
static void
tell_seats(const char *type, int64 performance_id, int n)
{
	int32 *seat = palloc(Max(1, n) * sizeof(int32));
	Event event;
	bool isnull;

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
		seat[i] = DatumGetInt32(result_datum(i, 1, &isnull));
	qsort(seat, n, sizeof(int32), compare_seats);
	event_begin(&event, type, 1);
	event_int64(&event, "performance_id", performance_id);
	event_int32_array(&event, "seat_ids", seat, n);
	event_write(&event, "performance", number_text(performance_id));
}

typedef struct SeatLook
{
	const char *status; /* "unknown": there is no such seat */
	int64 reservation_id;
	TimestampTz held_until;
} SeatLook;

static SeatLook
look_at_seat(int64 performance_id, int32 seat)
{
	SeatLook look = {"unknown", 0, 0};
	RowScan scan;
	ScanKeyData key[2];
	HeapTuple row;
	bool isnull;

	ScanKeyInit(&key[0], COL_SEAT_PERFORMANCE_ID, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(performance_id));
	ScanKeyInit(&key[1], COL_SEAT_SEAT_ID, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(seat));
	row_scan_begin(&scan, REL_SEAT, REL_SEAT_PKEY, 2, key);
	row = row_scan_next(&scan);
	if (row)
	{
		Datum value;

		look.status = TextDatumGetCString(row_get(&scan, row, COL_SEAT_STATUS, &isnull));
		value = row_get(&scan, row, COL_SEAT_RESERVATION_ID, &isnull);
		look.reservation_id = isnull ? 0 : DatumGetInt64(value);
		value = row_get(&scan, row, COL_SEAT_HELD_UNTIL, &isnull);
		look.held_until = isnull ? 0 : DatumGetTimestampTz(value);
	}
	row_scan_end(&scan);
	return look;
}

static void
require_performance(int64 performance_id)
{
	Performance performance;

	if (!performance_get(performance_id, &performance))
		ticket_error(ERROR_NOT_FOUND, NULL, NULL, "there is no performance %lld",
					 (long long) performance_id);
}

pg_attribute_noreturn()
static void
seats_not_free(const char *detail, const char *hint)
{
	ticket_error(ERROR_SEAT_UNAVAILABLE, detail, hint, "not all of the seats are free");
}

static void
lock_seats(int64 performance_id, const int32 *seat, int n)
{
	for (int i = 0; i < n; i++)
		if (!class_lock(LOCK_CLASS_SEAT, (uint32) performance_id, (uint32) seat[i], false, false))
			seats_not_free(psprintf("Seat %d is being taken right now.", seat[i]), "Call again.");
}

/*
 * Looks at all the seats; the holds to be ended first go into `hold`.  Returns
 * how many seats are to be blocked: the others are already.
 */
static int
look_at_seats(int64 performance_id, const int32 *seat, int n, bool end_holds, int64 *hold,
			  int *n_holds)
{
	TimestampTz now = clock_now();
	StringInfoData taken;
	int n_taken = 0;
	int wanted = 0;

	initStringInfo(&taken);
	for (int i = 0; i < n; i++)
	{
		SeatLook look = look_at_seat(performance_id, seat[i]);

		if (strcmp(look.status, "unknown") == 0)
			ticket_error(ERROR_NOT_FOUND, NULL, NULL, "performance %lld has no seat %d",
						 (long long) performance_id, seat[i]);
		wanted += strcmp(look.status, "blocked") != 0;
		if (strcmp(look.status, "held") == 0 && (end_holds || look.held_until <= now))
		{
			int j = 0;

			while (j < *n_holds && hold[j] != look.reservation_id)
				j++;
			if (j == *n_holds)
				hold[(*n_holds)++] = look.reservation_id;
		}
		else if (look.reservation_id != 0 && ++n_taken <= MAX_SEATS_NAMED)
			appendStringInfo(&taken, "%sseat %d is %s", n_taken > 1 ? ", " : "", seat[i],
							 look.status);
	}
	if (n_taken > MAX_SEATS_NAMED)
		appendStringInfo(&taken, " and %d more", n_taken - MAX_SEATS_NAMED);
	if (n_taken > 0)
		seats_not_free(psprintf("%c%s.", pg_toupper(taken.data[0]), taken.data + 1),
					   "end_holds ends holds; what is sold must be cancelled first.");
	return wanted;
}

static void
end_holds(const int64 *hold, int n)
{
	for (int i = 0; i < n; i++)
		if (reservation_end_if_over(hold[i], DT_NOEND, clock_now()) != HOLD_ENDED)
			seats_not_free(psprintf("Reservation %lld is being paid or given back right now.",
									(long long) hold[i]),
						   "Call again.");
}

/*
 * seat_block(performance_id bigint, seat_ids int[],
 *			  end_holds boolean default false) -> int
 *
 * Keeps all of the seats from sale, or none; returns how many were not so
 * already.  Seats that are sold are refused, and so are those held unless
 * end_holds is true: then each hold on them ends, with all its seats.
 *
 * Errors: 22023, TK005, TK006 (DETAIL names the seats), TK014, TK016; 40001.
 * Locks: advisory lock of each seat in ascending order (tried), the holds' rows
 * (tried), the seats' rows.
 */
Datum
ticket_seat_block(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	int64 performance_id = arg_id(fcinfo, 0, "performance_id");
	int n;
	int32 *seat = arg_seats(fcinfo, 1, &n);
	int64 *hold = palloc(n * sizeof(int64));
	int n_holds = 0;
	OwnerContext owner;
	int wanted;

	if (PG_ARGISNULL(2))
		ticket_error(ERROR_BAD_ARGUMENT, NULL, NULL, "end_holds must not be NULL");
	refuse_standby();
	require_performance(performance_id);
	lock_seats(performance_id, seat, n);
	wanted = look_at_seats(performance_id, seat, n, PG_GETARG_BOOL(2), hold, &n_holds);
	owner_begin(&owner);
	end_holds(hold, n_holds);
	if (write_blocked(performance_id, seat, n) != wanted)
	{
		if (IsolationUsesXactSnapshot())
			snapshot_is_old();
		seats_not_free("One was taken or given back a moment ago.", "Call again.");
	}
	tell_seats("performance.seats_blocked", performance_id, wanted);
	owner_end(&owner);
	PG_RETURN_INT32(wanted);
}

static SavedPlan lock_performance = {
	"SELECT status FROM ticket.performance WHERE performance_id" EQ "$1 FOR SHARE",
	1,
	{INT8OID},
};

static SavedPlan unblock_seats = {
	"UPDATE ticket.seat SET status = 'free' WHERE performance_id" EQ "$1"
	" AND seat_id" EQ "ANY ($2) AND status" EQ "'blocked' RETURNING seat_id",
	2,
	{INT8OID, INT4ARRAYOID},
};

/*
 * seat_unblock(performance_id bigint, seat_ids int[]) -> int
 *
 * Puts blocked seats on sale again; returns how many were blocked.
 *
 * Errors: 22023, TK005, TK009 (the performance is cancelled), TK014, TK016;
 * 40001.
 * Locks: the performance's row (shared), the seats' rows.
 */
Datum
ticket_seat_unblock(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	int64 performance_id = arg_id(fcinfo, 0, "performance_id");
	int n;
	int32 *seat = arg_seats(fcinfo, 1, &n);
	Datum args[2] = {Int64GetDatum(performance_id), seat_array(seat, n)};
	OwnerContext owner;
	int64 blocked = 0;
	int64 done;

	refuse_standby();
	for (int i = 0; i < n; i++)
	{
		SeatLook look = look_at_seat(performance_id, seat[i]);

		if (strcmp(look.status, "unknown") == 0)
			ticket_error(ERROR_NOT_FOUND, NULL, NULL, "performance %lld has no seat %d",
						 (long long) performance_id, seat[i]);
		blocked += strcmp(look.status, "blocked") == 0;
	}
	owner_begin(&owner);
	if (plan_run(&lock_performance, args, NULL) > 0 && result_equals(0, 1, "cancelled"))
		ticket_error(ERROR_WRONG_STATE, NULL, NULL, "performance %lld is cancelled",
					 (long long) performance_id);
	done = plan_run(&unblock_seats, args, NULL);
	if (done < blocked && IsolationUsesXactSnapshot())
		snapshot_is_old();
	tell_seats("performance.seats_unblocked", performance_id, (int) done);
	owner_end(&owner);
	PG_RETURN_INT32((int32) done);
}

/* ---------- cancelling a performance ---------- */

static SavedPlan mark_cancelled = {
	"WITH p AS (UPDATE ticket.performance SET status = 'cancelled',"
	" withdrawn_at = coalesce(withdrawn_at, $2), withdrawn_by = coalesce(withdrawn_by, $3)"
	" WHERE performance_id" EQ "$1 AND status" NE "'cancelled' RETURNING performance_id),"
	" c AS (INSERT INTO ticket.performance_cancellation (performance_id, requested_at,"
	" requested_by, reason) SELECT performance_id, $2, $3, $4 FROM p),"
	" o AS (INSERT INTO ticket.outbox (aggregatetype, aggregateid, type, payload)"
	" SELECT 'performance', performance_id::pg_catalog.text, 'performance.cancelled',"
	" ticket.event_payload('performance.cancelled',"
	" pg_catalog.jsonb_build_object('v', 1, 'performance_id', performance_id,"
	" 'cancelled_by', $3, 'reason', $4)) FROM p)"
	" SELECT 1 FROM p",
	4,
	{INT8OID, TIMESTAMPTZOID, TEXTOID, TEXTOID},
};

/* First of what a round locks: two callers do their rounds in turns. */
static SavedPlan lock_cancellation = {
	"SELECT 1 FROM ticket.performance_cancellation WHERE performance_id" EQ "$1"
	" FOR NO KEY UPDATE",
	1,
	{INT8OID},
};

static SavedPlan seats_left = {
	"SELECT seat_id, coalesce(reservation_id, 0) FROM ticket.seat WHERE performance_id" EQ "$1"
	" AND seat_id" GE "$2 AND status" NE "'blocked' ORDER BY seat_id LIMIT " CANCEL_BATCH_SQL,
	2,
	{INT8OID, INT4OID},
};

static SavedPlan count_progress = {
	"UPDATE ticket.performance_cancellation SET holds_ended = holds_ended" PLUS "$2,"
	" refunds = refunds" PLUS "$3, refunded = refunded" PLUS
	"$4, seats_blocked = seats_blocked" PLUS "$5 WHERE performance_id" EQ "$1",
	5,
	{INT8OID, INT4OID, INT4OID, INT8OID, INT4OID},
};

static SavedPlan finish_cancellation = {
	"UPDATE ticket.performance_cancellation SET finished_at = $2 WHERE performance_id" EQ "$1"
	" AND finished_at IS NULL",
	2,
	{INT8OID, TIMESTAMPTZOID},
};

static SavedPlan wait_for_reservation = {
	"SELECT 1 FROM ticket.reservation WHERE reservation_id" EQ "$1 FOR NO KEY UPDATE",
	1,
	{INT8OID},
};

typedef struct CancelRound
{
	int64 performance_id;
	int32 from; /* seats before it have been looked at */
	int n_seats;
	int32 *seat;
	int64 *reservation; /* of each seat; 0: none */
	int holds_ended;
	int refunds;
	int64 refunded;
	int blocked;
} CancelRound;

/* The next seats that are not blocked; false: there are none. */
static bool
read_seats_left(CancelRound *round)
{
	Datum args[2] = {Int64GetDatum(round->performance_id), Int32GetDatum(round->from)};
	int n = (int) plan_run(&seats_left, args, NULL);
	bool isnull;

	round->n_seats = n;
	round->seat = palloc(Max(1, n) * sizeof(int32));
	round->reservation = palloc(Max(1, n) * sizeof(int64));
	for (int i = 0; i < n; i++)
	{
		round->seat[i] = DatumGetInt32(result_datum(i, 1, &isnull));
		round->reservation[i] = result_int64(i, 2);
	}
	if (n > 0)
		round->from = round->seat[n - 1] + 1;
	return n > 0;
}

static int
compare_int64(const void *a, const void *b)
{
	int64 x = *(const int64 *) a;
	int64 y = *(const int64 *) b;

	return (x > y) - (x < y);
}

/* Ends what has the seats, but for what somebody is just working on. */
static void
end_reservations(CancelRound *round)
{
	int64 *id = palloc(round->n_seats * sizeof(int64));

	memcpy(id, round->reservation, round->n_seats * sizeof(int64));
	qsort(id, round->n_seats, sizeof(int64), compare_int64);
	for (int i = 0; i < round->n_seats; i++)
	{
		int64 refunded = 0;

		if (id[i] == 0 || (i > 0 && id[i] == id[i - 1]))
			continue;
		switch (reservation_undo(id[i], &refunded))
		{
			case UNDO_HELD:
				round->holds_ended++;
				break;
			case UNDO_PAID:
				round->refunds++;
				round->refunded += refunded;
				break;
			case UNDO_BUSY:
			case UNDO_ENDED:
				break;
		}
	}
}

/* Blocks those that are free, but for what somebody is just taking. */
static void
block_free(CancelRound *round)
{
	int n = 0;

	for (int i = 0; i < round->n_seats; i++)
		if (class_lock(LOCK_CLASS_SEAT, (uint32) round->performance_id, (uint32) round->seat[i],
					   false, false))
			round->seat[n++] = round->seat[i];
	if (n > 0)
		round->blocked = (int) write_blocked(round->performance_id, round->seat, n);
}

/*
 * One transaction's worth.  Returns 0 at the end of the seats; *done grows by
 * what was done.
 */
static int
cancel_round(int64 performance_id, int32 *from, int64 *done)
{
	CancelRound round = {.performance_id = performance_id, .from = *from};
	Datum args[5];
	OwnerContext owner;

	owner_begin(&owner);
	args[0] = Int64GetDatum(performance_id);
	plan_run(&lock_cancellation, args, NULL);
	if (read_seats_left(&round))
	{
		end_reservations(&round);
		block_free(&round);
		args[1] = Int32GetDatum(round.holds_ended);
		args[2] = Int32GetDatum(round.refunds);
		args[3] = Int64GetDatum(round.refunded);
		args[4] = Int32GetDatum(round.blocked);
		plan_run(&count_progress, args, NULL);
	}
	owner_end(&owner);
	*from = round.from;
	*done += round.holds_ended + round.refunds + round.blocked;
	return round.n_seats;
}

/*
 * When only what others work on is left: waits for the first of them, with no
 * lock held.  True: nothing is left, and the cancellation is finished.
 */
static bool
cancel_wait_or_finish(int64 performance_id)
{
	CancelRound round = {.performance_id = performance_id};
	Datum args[2] = {Int64GetDatum(performance_id), TimestampTzGetDatum(clock_now())};
	OwnerContext owner;
	bool left;

	owner_begin(&owner);
	left = read_seats_left(&round);
	if (!left)
		plan_run(&finish_cancellation, args, NULL);
	else if (round.reservation[0] != 0)
	{
		args[0] = Int64GetDatum(round.reservation[0]);
		plan_run(&wait_for_reservation, args, NULL);
	}
	else
		class_lock(LOCK_CLASS_SEAT, (uint32) performance_id, (uint32) round.seat[0], false, true);
	owner_end(&owner);
	return !left;
}

static void
cancel_rounds(int64 performance_id)
{
	int idle = 0;
	bool finished = false;

	while (!finished)
	{
		int32 from = 0;
		int64 done = 0;
		int n;

		do
		{
			CHECK_FOR_INTERRUPTS();
			n = cancel_round(performance_id, &from, &done);
			SPI_commit();
		} while (n > 0);
		idle = done > 0 ? 0 : idle + 1;
		if (idle > MAX_IDLE_ROUNDS)
			ticket_error(ERROR_WRONG_STATE, NULL, "See what ticket.verify() says of it.",
						 "performance %lld has seats that cannot be given back",
						 (long long) performance_id);
		finished = cancel_wait_or_finish(performance_id);
		SPI_commit();
	}
}

/* From here on nothing is sold. */
static void
cancel_begin(int64 performance_id, text *actor, text *reason)
{
	Datum args[4] = {Int64GetDatum(performance_id), TimestampTzGetDatum(clock_now()),
					 PointerGetDatum(actor), PointerGetDatum(reason)};
	OwnerContext owner;

	owner_begin(&owner);
	plan_run(&mark_cancelled, args, reason ? NULL : "   n");
	owner_end(&owner);
}

/*
 * performance_cancel(performance_id bigint, reason text default null,
 *					  actor text default null)
 *
 * A procedure: the performance does not take place.  It goes off sale at once,
 * with the event performance.cancelled; then, in transactions of some hundred
 * seats, every hold ends, everything paid goes back in full whatever the cancel
 * policy says, and every seat is blocked.  performance_cancellation tells how
 * far it is.  What was interrupted is continued by calling it again; on what is
 * finished it does nothing.  Not inside a transaction block.
 *
 * Errors: 22023, 2D000 (inside a transaction), TK005, TK009, TK013, TK014, TK016.
 * Locks: the performance's row; then, per transaction, the cancellation's row,
 * reservations by number (tried), their seats, payments and accounts, advisory
 * locks of the seats (tried).  It waits for a hold or payment in progress only
 * while it holds nothing.
 */
Datum
ticket_performance_cancel(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	bool atomic = !(fcinfo->context && IsA(fcinfo->context, CallContext) &&
					!castNode(CallContext, fcinfo->context)->atomic);
	int64 performance_id = arg_id(fcinfo, 0, "performance_id");
	text *reason = PG_ARGISNULL(1) ? NULL : arg_name(fcinfo, 1, "reason");
	text *actor = arg_actor(fcinfo, 2);

	refuse_standby();
	require_performance(performance_id);
	if (atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("ticket.performance_cancel cannot be called inside a transaction"),
				 errhint("CALL it by itself.")));
	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	cancel_begin(performance_id, actor, reason);
	SPI_commit();
	cancel_rounds(performance_id);
	SPI_finish();
	PG_RETURN_VOID();
}

/* ---------- the whole of a concert ---------- */

static SavedPlan concert_performances = {
	"SELECT pg_catalog.array_agg(performance_id::pg_catalog.text OPERATOR(pg_catalog.||) ' '"
	" OPERATOR(pg_catalog.||) starts_at::pg_catalog.text ORDER BY performance_id)::pg_catalog.text"
	" FROM ticket.performance WHERE concert_id" EQ "$1",
	1,
	{INT8OID},
};

/*
 * check_performances(concert_id bigint) -> void
 *
 * For one who has locked a concert and goes by all its performances: under
 * REPEATABLE READ the transaction must see those there are.
 *
 * Errors: 40001.  Locks: none.
 */
Datum
ticket_check_performances(PG_FUNCTION_ARGS)
{
	Datum args[1] = {Int64GetDatum(arg_id(fcinfo, 0, "concert_id"))};
	OwnerContext owner;

	memory_require();
	if (IsolationUsesXactSnapshot())
	{
		const char *seen;

		owner_begin(&owner);
		plan_run(&concert_performances, args, NULL);
		seen = result_isnull(0, 1) ? "" :
									 SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
		plan_read_latest(&concert_performances, args, NULL);
		if (result_isnull(0, 1) ? *seen != '\0' : !result_equals(0, 1, seen))
			snapshot_is_old();
		owner_end(&owner);
	}
	PG_RETURN_VOID();
}
