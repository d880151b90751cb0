/*
 * glance.c
 *		Seats seen from shared memory, for those who come too late.
 *
 * When thousands want one seat all but one are refused, and what a refusal
 * costs is what the rush costs.  Whoever is refused after a look at the table
 * leaves in the seat map what was seen there; who comes next is told from it,
 * without a lock that another could wait for and without a look at a table.
 * What the map knows of a seat is what is committed at that moment
 * (map_follow.c), so the answer is the one that the table would have given.
 * Only refusals come from here: whether a seat is to be had is decided by its
 * row.
 */
#include "postgres.h"

#include "glance.h"

#include "map.h"
#include "relation.h"
#include "seat.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

/*
 * True when memory knows the states of all the seats and one of them at least
 * is not to be had; status gets them.
 */
bool
seats_taken(int64 performance_id, const int32 *seat, int n, TimestampTz now, const char **status)
{
	const Hall *hall = performance_hall_cached(performance_id);
	bool taken = false;

	if (hall == NULL)
		return false;
	for (int i = 0; i < n; i++)
	{
		const Section *section = hall_section(hall, seat[i]);
		char state;

		if (section == NULL || section->withdrawn)
			return false;
		state = map_seat_state(section, seat[i], now);
		if (state == SEAT_NONE)
			return false;
		status[i] = seat_state_name(state);
		taken |= state != SEAT_FREE;
	}
	return taken;
}

static void
remember_row(const Section *section, const SeatGlance *glance, RowScan *scan, HeapTuple row,
			 TimestampTz now)
{
	bool isnull;
	text *status = DatumGetTextPP(row_get(scan, row, COL_SEAT_STATUS, &isnull));
	int32 row_no = DatumGetInt32(row_get(scan, row, COL_SEAT_ROW_NO, &isnull));
	int32 seat_no = DatumGetInt32(row_get(scan, row, COL_SEAT_SEAT_NO, &isnull));
	bool accessible = DatumGetBool(row_get(scan, row, COL_SEAT_ACCESSIBLE, &isnull));
	Datum end = row_get(scan, row, COL_SEAT_HELD_UNTIL, &isnull);

	map_seat_learn(glance, seat_state_shown(status), isnull ? 0 : DatumGetTimestampTz(end),
				   row_no == glance->seat / section->seats_per_row + 1 &&
					   seat_no == glance->seat % section->seats_per_row + 1 && !accessible,
				   now);
}

static void
remember_seat(int64 performance_id, const Section *section, int32 seat, TimestampTz now)
{
	SeatGlance glance;
	RowScan scan;
	ScanKeyData key[2];
	HeapTuple row;
	bool isnull;

	/* Before the snapshot: what commits in between is noticed. */
	if (!map_seat_look(section, seat, now, &glance))
		return;
	ScanKeyInit(&key[0], COL_SEAT_PERFORMANCE_ID, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(performance_id));
	ScanKeyInit(&key[1], COL_SEAT_SEAT_ID, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(seat));
	row_scan_begin(&scan, REL_SEAT, REL_SEAT_PKEY, 2, key);
	row = row_scan_next(&scan);
	if (row &&
		DatumGetInt64(row_get(&scan, row, COL_SEAT_SECTION_ID, &isnull)) == section->section_id)
		remember_row(section, &glance, &scan, row, now);
	row_scan_end(&scan);
}

/* Reads the seats from the table for all who come after. */
void
seats_remember(int64 performance_id, const int32 *seat, int n, TimestampTz now)
{
	const Hall *hall = performance_hall(performance_id);

	for (int i = 0; hall && i < n; i++)
	{
		const Section *section = hall_section(hall, seat[i]);

		if (section)
			remember_seat(performance_id, section, seat[i], now);
	}
}
