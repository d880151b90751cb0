/*
 * stock.c
 *		Rows of seats, reservations and tickets as the hot calls change them:
 *		found by primary key, changed in place.
 */
#include "postgres.h"

#include "stock.h"

#include "access/htup_details.h"
#include "map.h"
#include "miscadmin.h"
#include "ticket.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

static void
seat_updated(const Datum *values)
{
	map_seat_changes(DatumGetInt64(values[COL_SEAT_SECTION_ID - 1]),
					 DatumGetInt32(values[COL_SEAT_SEAT_ID - 1]));
}

RowTarget seat_row = {
	.table = REL_SEAT,
	.row_size = SEAT_ROW_SIZE,
	.updated = seat_updated,
};

RowTarget reservation_row = {
	.table = REL_RESERVATION,
	.row_size = RESERVATION_ROW_SIZE,
	.unless = REL_RESERVATION_KEY,
	.conflict = "(user_id, idempotency_key) WHERE idempotency_key IS NOT NULL",
};

RowTarget entry_row = {
	.table = REL_QUEUE_ENTRY,
	.row_size = ENTRY_ROW_SIZE,
	.unless = REL_QUEUE_ENTRY_LIVE_USER,
	.conflict = "(queue_id, user_id) WHERE ended_at IS NULL",
};

bool
text_is(Datum value, const char *expected)
{
	text *t = DatumGetTextPP(value);

	return VARSIZE_ANY_EXHDR(t) == strlen(expected) &&
		   memcmp(VARDATA_ANY(t), expected, VARSIZE_ANY_EXHDR(t)) == 0;
}

bool
seat_is(RowScan *scan, HeapTuple row, const SeatState *state)
{
	bool isnull;
	Datum reservation_id = row_get(scan, row, COL_SEAT_RESERVATION_ID, &isnull);

	return (isnull ? 0 : DatumGetInt64(reservation_id)) == state->reservation_id &&
		   text_is(row_get(scan, row, COL_SEAT_STATUS, &isnull), state->status);
}

/* Changes a seat that was read, as writer_update() does. */
bool
seat_row_change(RowWriter *writer, HeapTuple row, const SeatState *to, bool wait)
{
	Datum values[SEAT_ROW_SIZE] = {
		[COL_SEAT_STATUS] = CStringGetTextDatum(to->status),
		[COL_SEAT_RESERVATION_ID] = Int64GetDatum(to->reservation_id),
		[COL_SEAT_HELD_UNTIL] = TimestampTzGetDatum(to->held_until),
	};
	bool nulls[SEAT_ROW_SIZE] = {
		[COL_SEAT_RESERVATION_ID] = to->reservation_id == 0,
		[COL_SEAT_HELD_UNTIL] = to->held_until == 0,
	};
	static const bool replace[SEAT_ROW_SIZE] = {
		[COL_SEAT_STATUS] = true,
		[COL_SEAT_RESERVATION_ID] = true,
		[COL_SEAT_HELD_UNTIL] = true,
	};

	return writer_update(writer, row, values, nulls, replace, wait);
}

/*
 * Changes a seat that is `from`, whose held_until does not count.  False, and
 * nothing done: it is something else; or, without `wait`, somebody has its row
 * locked or has just changed it.
 */
bool
seat_change(int64 performance_id, int32 seat_id, const SeatState *from, const SeatState *to,
			bool wait)
{
	RowWriter writer;
	ScanKeyData key[2];
	bool found;
	bool done;

	ScanKeyInit(&key[0], COL_SEAT_PERFORMANCE_ID, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(performance_id));
	ScanKeyInit(&key[1], COL_SEAT_SEAT_ID, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(seat_id));
	writer_begin(&writer, &seat_row);
	do
	{
		RowScan scan;
		HeapTuple row;

		CHECK_FOR_INTERRUPTS();
		row_scan_begin(&scan, REL_SEAT, REL_SEAT_PKEY, 2, key);
		row = row_scan_next(&scan);
		found = row && seat_is(&scan, row, from);
		done = found && seat_row_change(&writer, row, to, wait);
		row_scan_end(&scan);
	} while (found && !done && wait);
	writer_end(&writer);
	return done;
}

/* Begins a scan that finds the reservation; the caller ends it. */
bool
reservation_find(RowScan *scan, int64 reservation_id, HeapTuple *row)
{
	ScanKeyData key;

	ScanKeyInit(&key, COL_RESERVATION_ID, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(reservation_id));
	row_scan_begin(scan, REL_RESERVATION, REL_RESERVATION_PKEY, 1, &key);
	*row = row_scan_next(scan);
	return *row != NULL;
}

/*
 * Ends the user's active ticket, unless somebody else is ending it, who comes
 * before us in the order of locks.
 */
bool
entry_finish(int64 queue_id, int64 place, const text *user, TimestampTz now)
{
	Datum values[ENTRY_ROW_SIZE] = {
		[COL_ENTRY_STATUS] = CStringGetTextDatum("finished"),
		[COL_ENTRY_ENDED_AT] = TimestampTzGetDatum(now),
		[COL_ENTRY_END_REASON] = CStringGetTextDatum("paid"),
	};
	bool nulls[ENTRY_ROW_SIZE] = {false};
	static const bool replace[ENTRY_ROW_SIZE] = {
		[COL_ENTRY_STATUS] = true,
		[COL_ENTRY_ENDED_AT] = true,
		[COL_ENTRY_END_REASON] = true,
	};
	ScanKeyData key[2];
	RowScan scan;
	HeapTuple row;
	bool isnull;
	bool done;

	ScanKeyInit(&key[0], COL_ENTRY_QUEUE_ID, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(queue_id));
	ScanKeyInit(&key[1], COL_ENTRY_PLACE, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(place));
	row_scan_begin(&scan, REL_QUEUE_ENTRY, REL_QUEUE_ENTRY_PKEY, 2, key);
	row = row_scan_next(&scan);
	done = row && text_is(row_get(&scan, row, COL_ENTRY_STATUS, &isnull), "active") &&
		   text_same(DatumGetTextPP(row_get(&scan, row, COL_ENTRY_USER_ID, &isnull)), user) &&
		   row_update(&entry_row, row, values, nulls, replace, false);
	row_scan_end(&scan);
	return done;
}
