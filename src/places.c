/*
 * places.c
 *		Places that were picked from a queue's line, and the rows of their
 *		tickets.  See places.h.
 */
#include "postgres.h"

#include "places.h"

#include "access/stratnum.h"
#include "miscadmin.h"
#include "relation.h"
#include "stock.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"
#include "write.h"

/* Places further apart than this are looked up in the index anew. */
#define MAX_GAP 64

void
places_init(Places *places, int max)
{
	places->n = 0;
	places->max = max;
	places->place = palloc(Max(max, 1) * sizeof(int64));
}

/* When a waiting place was last heard of, or an active one ends. */
TimestampTz
place_time(const Queue *queue, int64 place)
{
	LineState state;
	LineCell *cell = line_find(queue_line(queue), memory_pool(), place, &state);

	return __atomic_load_n(&cell->time, __ATOMIC_RELAXED);
}

/* Active ones whose time is up, or waiting ones that have gone silent. */
bool
place_is_due(const Queue *queue, LineState state, TimestampTz time, TimestampTz now)
{
	return state == LINE_ACTIVE ? time <= now : queue_is_silent(queue, time, now);
}

/* Whether the ticket is still as it was when its place was picked. */
static bool
row_is_as_picked(RowScan *scan, HeapTuple row, TimestampTz ends_by)
{
	bool lives;
	bool waits;

	(void) row_get(scan, row, COL_ENTRY_ENDED_AT, &lives);
	(void) row_get(scan, row, COL_ENTRY_ADMITTED_AT, &waits);
	if (!lives || waits != (ends_by == DT_NOBEGIN))
		return false;
	return waits || row_int64(scan, row, COL_ENTRY_EXPIRES_AT, 0) <= ends_by;
}

/*
 * Writes the rows of the places from number `i` to `last`, and moves those that
 * were written to the front, behind the first n.  Returns how many are there.
 *
 * The snapshot is what a statement would have: under REPEATABLE READ who has
 * come after it is left for the next transaction.
 */
static int
write_run(Places *places, int i, int last, int n, PlacesChange *change)
{
	bool nulls[ENTRY_ROW_SIZE] = {false};
	ScanKeyData key[3];
	RowScan scan;
	HeapTuple row;

	ScanKeyInit(&key[0], COL_ENTRY_QUEUE_ID, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(change->queue_id));
	ScanKeyInit(&key[1], COL_ENTRY_PLACE, BTGreaterEqualStrategyNumber, F_INT8GE,
				Int64GetDatum(places->place[i]));
	ScanKeyInit(&key[2], COL_ENTRY_PLACE, BTLessEqualStrategyNumber, F_INT8LE,
				Int64GetDatum(places->place[last]));
	row_scan_begin_at(&scan, REL_QUEUE_ENTRY, REL_QUEUE_ENTRY_PKEY, 3, key,
					  GetTransactionSnapshot());
	while ((row = row_scan_next(&scan)) != NULL)
	{
		int64 place = row_int64(&scan, row, COL_ENTRY_PLACE, 0);
		bool isnull;

		CHECK_FOR_INTERRUPTS();
		while (i <= last && places->place[i] < place)
			i++;
		if (i > last || places->place[i] != place ||
			!row_is_as_picked(&scan, row, change->ends_by) ||
			!row_update(&entry_row, row, change->values, nulls, change->replace, false))
			continue;
		if (change->users)
			change->users[n] =
				datumCopy(row_get(&scan, row, COL_ENTRY_USER_ID, &isnull), false, -1);
		places->place[n++] = place;
		i++;
	}
	row_scan_end(&scan);
	return n;
}

/*
 * Writes a change into the rows of these places, and leaves in `places` those
 * that it was written to: rows that somebody has locked, or that are no longer
 * as they were when they were picked, are passed over.
 */
void
places_write(Places *places, PlacesChange *change)
{
	int n = 0;

	for (int first = 0, last; first < places->n; first = last + 1)
	{
		last = first;
		while (last + 1 < places->n && places->place[last + 1] - places->place[last] <= MAX_GAP)
			last++;
		n = write_run(places, first, last, n, change);
	}
	places->n = n;
}
