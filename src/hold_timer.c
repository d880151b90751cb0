/*
 * hold_timer.c
 *		Holds that end by themselves.
 *
 * Whoever sets the end of a hold leaves a timer: a row that says when to look
 * at it.  Nobody but the sweep here reads timers or deletes them.  It finds the
 * hold over and ends it; or paid, given back or put off, which its timer need
 * not know.  So no index of reservations says what is held, and paying or
 * ending one is an update that stays on its page.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "commands/trigger.h"
#include "load.h"
#include "metrics.h"
#include "miscadmin.h"
#include "seat.h"
#include "stock.h"
#include "ticket.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(ticket_hold_timer_set);
PG_FUNCTION_INFO_V1(ticket_seat_hold_expire);

/* Due timers that are acted on at once: what they lead to fits into a processor's cache. */
#define HOLDS_TOGETHER 256

static RowTarget timer_row = {.table = REL_HOLD_TIMER, .row_size = TIMER_ROW_SIZE};

/* The hold is to be looked at when it ends. */
void
hold_timer_set(int64 reservation_id, TimestampTz expires_at)
{
	Datum values[TIMER_ROW_SIZE] = {
		[COL_TIMER_DUE_AT] = TimestampTzGetDatum(expires_at),
		[COL_TIMER_RESERVATION_ID] = Int64GetDatum(reservation_id),
	};
	bool nulls[TIMER_ROW_SIZE] = {false};

	row_insert(&timer_row, values, nulls);
}

static bool
timer_is_set(int64 reservation_id, TimestampTz expires_at)
{
	RowScan scan;
	ScanKeyData key[2];
	bool set;

	ScanKeyInit(&key[0], COL_TIMER_DUE_AT, BTEqualStrategyNumber, F_TIMESTAMPTZ_EQ,
				TimestampTzGetDatum(expires_at));
	ScanKeyInit(&key[1], COL_TIMER_RESERVATION_ID, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(reservation_id));
	row_scan_begin(&scan, REL_HOLD_TIMER, REL_HOLD_TIMER_DUE, 2, key);
	set = row_scan_next(&scan) != NULL;
	row_scan_end(&scan);
	return set;
}

/*
 * Trigger of reservation, for rows that are held: one whose end is set by an
 * SQL statement has a timer, too.  It may have it already, as when a dump is
 * restored or the statement leaves the end as it was.
 */
Datum
ticket_hold_timer_set(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TupleDesc columns;
	HeapTuple row;
	int64 reservation_id;
	TimestampTz expires_at;
	bool isnull;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		TRIGGER_FIRED_BY_DELETE(trigger->tg_event) ||
		RelationGetRelid(trigger->tg_relation) != relation_oid(REL_RESERVATION))
		elog(ERROR, "hold_timer_set is a trigger of reservation");
	columns = RelationGetDescr(trigger->tg_relation);
	row = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
	reservation_id = DatumGetInt64(heap_getattr(row, COL_RESERVATION_ID, columns, &isnull));
	expires_at =
		DatumGetTimestampTz(heap_getattr(row, COL_RESERVATION_EXPIRES_AT, columns, &isnull));
	if (!timer_is_set(reservation_id, expires_at))
		hold_timer_set(reservation_id, expires_at);
	PG_RETURN_POINTER(NULL);
}

/* Timers in the order of their times, from one to another. */
static void
due_begin(RowScan *scan, TimestampTz from, TimestampTz until)
{
	ScanKeyData key[2];

	ScanKeyInit(&key[0], COL_TIMER_DUE_AT, BTGreaterEqualStrategyNumber, F_TIMESTAMPTZ_GE,
				TimestampTzGetDatum(from));
	ScanKeyInit(&key[1], COL_TIMER_DUE_AT, BTLessEqualStrategyNumber, F_TIMESTAMPTZ_LE,
				TimestampTzGetDatum(until));
	row_scan_begin(scan, REL_HOLD_TIMER, REL_HOLD_TIMER_DUE, 2, key);
}

/* Timers that are acted on together, in the order in which they are due. */
typedef struct Batch
{
	int n;
	HoldDue hold[HOLDS_TOGETHER];
	ItemPointerData timer[HOLDS_TOGETHER];
} Batch;

/*
 * Up to max timers from the scan, of which the first has been read.  Returns
 * the one behind them, or NULL: there are no more.
 */
static HeapTuple
batch_fill(Batch *batch, RowScan *scan, HeapTuple first, int max)
{
	HeapTuple timer = first;

	batch->n = 0;
	while (timer != NULL && batch->n < max)
	{
		batch->hold[batch->n].reservation_id = row_int64(scan, timer, COL_TIMER_RESERVATION_ID, 0);
		batch->hold[batch->n].at = row_int64(scan, timer, COL_TIMER_DUE_AT, 0);
		batch->timer[batch->n++] = timer->t_self;
		timer = row_scan_next(scan);
	}
	return timer;
}

/*
 * Acts on timers that are due.  A hold that is put off has another timer for
 * its later end, so those that are not over are done with.
 */
static void
batch_end(Batch *batch, TimestampTz now, HoldSweep *sweep)
{
	RowWriter writer;

	holds_end_if_over(batch->hold, batch->n, now);
	writer_begin(&writer, &timer_row);
	for (int i = 0; i < batch->n; i++)
	{
		const HoldDue *hold = &batch->hold[i];

		if (hold->ending == HOLD_ENDED && sweep->ended++ == 0)
			metrics_hold_lag(now - hold->at);
		if (hold->ending == HOLD_LOCKED)
		{
			sweep->locked = true;
			sweep->next = Min(sweep->next, hold->at);
		}
		else
			sweep->timers += writer_delete(&writer, &batch->timer[i]);
	}
	writer_end(&writer);
}

/*
 * Ends up to max_ended holds that are over, the longest over first, and is done
 * with up to max_timers timers.  Holds that others have locked are passed over.
 *
 * Timers before `from` are left out.  Whoever sweeps again and again begins
 * where the last sweep, once committed, says: in front of it are only index
 * entries of timers deleted, until vacuum comes.  And now and then from the
 * beginning: a hold may be committed after its end, and a sweep of another
 * session undone.
 */
void
holds_expire(TimestampTz from, int max_ended, int max_timers, HoldSweep *sweep)
{
	TimestampTz now = clock_now();
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "ticket hold", ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = CurrentMemoryContext;
	Batch *batch = palloc(sizeof(Batch));
	RowScan scan;
	HeapTuple timer;

	memset(sweep, 0, sizeof(HoldSweep));
	sweep->next = now;
	due_begin(&scan, from, now);
	timer = row_scan_next(&scan);
	while (timer != NULL)
	{
		int max = Min(max_ended - sweep->ended, max_timers - sweep->timers);

		if (max <= 0)
		{
			sweep->more = true;
			sweep->next = Min(sweep->next, row_int64(&scan, timer, COL_TIMER_DUE_AT, 0));
			break;
		}
		timer = batch_fill(batch, &scan, timer, Min(max, HOLDS_TOGETHER));
		MemoryContextSwitchTo(context);
		batch_end(batch, now, sweep);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(context);
	}
	row_scan_end(&scan);
	pfree(batch);
	MemoryContextDelete(context);
}

/* When the next hold ends whose timer is set to between these times; else DT_NOEND. */
TimestampTz
holds_next_due(TimestampTz from, TimestampTz until)
{
	TimestampTz due = DT_NOEND;
	RowScan scan;
	HeapTuple timer;

	due_begin(&scan, from, until);
	while (due == DT_NOEND && (timer = row_scan_next(&scan)) != NULL)
	{
		TimestampTz at = row_int64(&scan, timer, COL_TIMER_DUE_AT, 0);

		if (reservation_is_over(row_int64(&scan, timer, COL_TIMER_RESERVATION_ID, 0), at))
			due = at;
	}
	row_scan_end(&scan);
	return due;
}

/*
 * seat_hold_expire(max_count int default null) -> int
 *
 * Tidies holds that are over, oldest first; returns how many.  A sale is
 * correct without it.
 *
 * Errors: 22023, TK014, TK016.
 * Locks: by up to 256 holds, in order of their ends: rows of their reservations
 * in order of id (those locked by others are passed over), their seats' rows in
 * order of performance and seat_id, their timers (passed over likewise).
 */
Datum
ticket_seat_hold_expire(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	int max_count = arg_max_count(fcinfo, 0, PG_INT32_MAX);
	HoldSweep sweep;

	refuse_standby();
	holds_expire(DT_NOBEGIN, max_count, PG_INT32_MAX, &sweep);
	PG_RETURN_INT32(sweep.ended);
}
