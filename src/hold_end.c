/*
 * hold_end.c
 *		The end of a hold: its reservation, its seats, the event.  One by one, or
 *		many together for the sweep.
 *
 * Many together are found in the order of the tables' keys, first all the
 * reservations and then all their seats, and their events are written at once,
 * in the order in which the holds were named.  That is only faster: what cannot
 * be done so (a row that was changed meanwhile, a seat that somebody has
 * locked, whatever is not as expected) is done as for a single hold.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "outbox.h"
#include "seat.h"
#include "stock.h"
#include "ticket.h"
#include "utils/array.h"
#include "utils/builtins.h"

/* What is left to do, and to tell, when the row of a hold has been ended. */
typedef struct EndedHold
{
	int64 reservation_id;
	int64 performance_id;
	text *user; /* NULL: it has not been */
	bool expired; /* else released */
	int n_seats;
	int32 *seat;
	int64 amount;
} EndedHold;

static bool
is_held(RowScan *scan, HeapTuple row)
{
	bool isnull;
	Datum status = row_get(scan, row, COL_RESERVATION_STATUS, &isnull);

	return text_is(status, "held");
}

/*
 * Ends the row of a hold, which says whether it has expired or is released.
 * False, and nothing done, when it has been changed since it was read or,
 * without `wait`, somebody has it locked.
 */
static bool
end_row(RowWriter *writer, RowScan *scan, HeapTuple row, TimestampTz now, bool wait,
		EndedHold *ended)
{
	static const bool replace[RESERVATION_ROW_SIZE] = {
		[COL_RESERVATION_STATUS] = true,
		[COL_RESERVATION_ENDED_AT] = true,
	};
	bool expired = row_int64(scan, row, COL_RESERVATION_EXPIRES_AT, 0) <= now;
	Datum values[RESERVATION_ROW_SIZE] = {
		[COL_RESERVATION_STATUS] = CStringGetTextDatum(expired ? "expired" : "released"),
		[COL_RESERVATION_ENDED_AT] = TimestampTzGetDatum(now),
	};
	bool nulls[RESERVATION_ROW_SIZE] = {false};
	ArrayType *seats;
	bool isnull;

	if (!writer_update(writer, row, values, nulls, replace, wait))
		return false;
	seats = DatumGetArrayTypePCopy(row_get(scan, row, COL_RESERVATION_SEAT_IDS, &isnull));
	ended->seat = (int32 *) ARR_DATA_PTR(seats);
	ended->n_seats = ArrayGetNItems(ARR_NDIM(seats), ARR_DIMS(seats));
	ended->reservation_id = row_int64(scan, row, COL_RESERVATION_ID, 0);
	ended->performance_id = row_int64(scan, row, COL_RESERVATION_PERFORMANCE_ID, 0);
	ended->user = DatumGetTextPCopy(row_get(scan, row, COL_RESERVATION_USER_ID, &isnull));
	ended->expired = expired;
	ended->amount = row_int64(scan, row, COL_RESERVATION_AMOUNT, 0);
	return true;
}

static void
free_seat(const EndedHold *hold, int32 seat)
{
	SeatState held = {.status = "held", .reservation_id = hold->reservation_id};
	SeatState unheld = {.status = "free"};

	seat_change(hold->performance_id, seat, &held, &unheld, true);
}

static void
begin_event(Event *event, const EndedHold *hold)
{
	event_begin_reservation(event, hold->expired ? "reservation.expired" : "reservation.released",
							hold->reservation_id, hold->performance_id, hold->user, hold->seat,
							hold->n_seats, hold->amount);
	if (!hold->expired)
	{
		event_int32_array(event, "released_seat_ids", hold->seat, hold->n_seats);
		event_text(event, "status", cstring_to_text("released"));
	}
}

/* ---------- one hold ---------- */

/* Ends a hold by its row, with all that belongs to it; false as end_row(). */
static bool
end_hold(RowScan *scan, HeapTuple row, TimestampTz now, bool wait)
{
	RowWriter writer;
	EndedHold hold;
	Event event;
	bool done;

	writer_begin(&writer, &reservation_row);
	done = end_row(&writer, scan, row, now, wait, &hold);
	writer_end(&writer);
	if (!done)
		return false;
	for (int i = 0; i < hold.n_seats; i++)
		free_seat(&hold, hold.seat[i]);
	begin_event(&event, &hold);
	event_write(&event, "reservation", number_text(hold.reservation_id));
	return true;
}

/* Ends a hold whose row is locked. */
void
hold_end(int64 reservation_id, TimestampTz now)
{
	RowScan scan;
	HeapTuple row;

	if (reservation_find(&scan, reservation_id, &row) && is_held(&scan, row))
		end_hold(&scan, row, now, true);
	row_scan_end(&scan);
}

/*
 * Ends the hold if it was over at a time that is past, or, with DT_NOEND, over
 * or not; waits for nobody.
 */
HoldEnding
reservation_end_if_over(int64 reservation_id, TimestampTz at, TimestampTz now)
{
	HoldEnding ending = HOLD_NOT_OVER;
	RowScan scan;
	HeapTuple row;

	if (reservation_find(&scan, reservation_id, &row) && is_held(&scan, row) &&
		row_int64(&scan, row, COL_RESERVATION_EXPIRES_AT, 0) <= at)
		ending = end_hold(&scan, row, now, false) ? HOLD_ENDED : HOLD_LOCKED;
	row_scan_end(&scan);
	return ending;
}

/* Whether this is a hold that is over at a time. */
bool
reservation_is_over(int64 reservation_id, TimestampTz at)
{
	RowScan scan;
	HeapTuple row;
	bool over;

	over = reservation_find(&scan, reservation_id, &row) && is_held(&scan, row) &&
		   row_int64(&scan, row, COL_RESERVATION_EXPIRES_AT, 0) <= at;
	row_scan_end(&scan);
	return over;
}

/* ---------- many holds ---------- */

/* Something that is to be looked up by the key of a row. */
typedef struct Wanted
{
	RowKey key;
	int hold; /* number of it */
	bool done;
} Wanted;

/* The same, in the order of their keys. */
typedef struct WantedList
{
	int n;
	Wanted *wanted;
	int n_keys;
	RowKey *key; /* all different */
	int *first; /* wanted by a key: those from here to that of the next key */
} WantedList;

static int
wanted_compare(const void *a, const void *b)
{
	const Wanted *x = a;
	const Wanted *y = b;

	if (x->key.within != y->key.within)
		return x->key.within < y->key.within ? -1 : 1;
	if (x->key.number != y->key.number)
		return x->key.number < y->key.number ? -1 : 1;
	return (x->hold > y->hold) - (x->hold < y->hold);
}

static void
wanted_init(WantedList *list, int max)
{
	list->n = list->n_keys = 0;
	list->wanted = palloc(max * sizeof(Wanted));
	list->key = palloc(max * sizeof(RowKey));
	list->first = palloc((max + 1) * sizeof(int));
}

static void
wanted_add(WantedList *list, int64 within, int64 number, int hold)
{
	list->wanted[list->n++] = (Wanted){{within, number}, hold, false};
}

static void
wanted_sort(WantedList *list)
{
	qsort(list->wanted, list->n, sizeof(Wanted), wanted_compare);
	for (int i = 0; i < list->n; i++)
	{
		RowKey key = list->wanted[i].key;

		if (i > 0 && key.within == list->wanted[i - 1].key.within &&
			key.number == list->wanted[i - 1].key.number)
			continue;
		list->key[list->n_keys] = key;
		list->first[list->n_keys++] = i;
	}
	list->first[list->n_keys] = list->n;
}

/*
 * Ends the row of a hold if it is over for one of those who named it: a hold
 * that was put off has been named for each of its ends.
 */
static void
end_if_over(RowWriter *writer, RowScan *scan, HeapTuple row, TimestampTz now, Wanted *wanted,
			int n_wanted, HoldDue *due, EndedHold *ended)
{
	TimestampTz expires_at = row_int64(scan, row, COL_RESERVATION_EXPIRES_AT, 0);
	HoldEnding again = HOLD_NOT_OVER;
	bool tried = !is_held(scan, row);

	for (int i = 0; i < n_wanted; i++)
	{
		HoldDue *hold = &due[wanted[i].hold];

		wanted[i].done = true;
		hold->ending = HOLD_NOT_OVER;
		if (expires_at > hold->at)
			continue;
		hold->ending = again;
		if (tried)
			continue;
		tried = true;
		if (end_row(writer, scan, row, now, false, &ended[wanted[i].hold]))
			hold->ending = HOLD_ENDED;
		else
			hold->ending = again = HOLD_LOCKED;
	}
}

static void
end_rows(HoldDue *due, int n, TimestampTz now, EndedHold *ended)
{
	WantedList list;
	RowWriter writer;
	RowSearch search;
	HeapTuple row;
	int k;

	wanted_init(&list, n);
	for (int i = 0; i < n; i++)
		wanted_add(&list, 0, due[i].reservation_id, i);
	wanted_sort(&list);

	writer_begin(&writer, &reservation_row);
	row_search_begin(&search, REL_RESERVATION, REL_RESERVATION_PKEY, list.key, list.n_keys);
	while ((row = row_search_next(&search, &k)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		end_if_over(&writer, &search.row, row, now, &list.wanted[list.first[k]],
					list.first[k + 1] - list.first[k], due, ended);
	}
	row_search_end(&search);
	writer_end(&writer);

	for (int i = 0; i < n; i++)
	{
		HoldDue *hold = &due[list.wanted[i].hold];

		if (!list.wanted[i].done)
			hold->ending = reservation_end_if_over(hold->reservation_id, hold->at, now);
	}
}

static void
free_seats(const EndedHold *ended, int n)
{
	SeatState unheld = {.status = "free"};
	WantedList list;
	RowWriter writer;
	RowSearch search;
	HeapTuple row;
	int n_seats = 0;
	int k;

	for (int i = 0; i < n; i++)
		n_seats += ended[i].n_seats;
	wanted_init(&list, n_seats);
	for (int i = 0; i < n; i++)
		for (int j = 0; j < ended[i].n_seats; j++)
			wanted_add(&list, ended[i].performance_id, ended[i].seat[j], i);
	wanted_sort(&list);

	writer_begin(&writer, &seat_row);
	row_search_begin(&search, REL_SEAT, REL_SEAT_PKEY, list.key, list.n_keys);
	while ((row = row_search_next(&search, &k)) != NULL)
	{
		Wanted *wanted = &list.wanted[list.first[k]];
		SeatState held = {"held", ended[wanted->hold].reservation_id, 0};

		CHECK_FOR_INTERRUPTS();
		wanted->done =
			seat_is(&search.row, row, &held) && seat_row_change(&writer, row, &unheld, false);
	}
	row_search_end(&search);
	writer_end(&writer);

	for (int i = 0; i < list.n; i++)
		if (!list.wanted[i].done)
			free_seat(&ended[list.wanted[i].hold], (int32) list.wanted[i].key.number);
}

/*
 * Ends those of n holds that are over, as reservation_end_if_over() does, and
 * tells of each what came of it.  Allocates in the current memory context.
 */
void
holds_end_if_over(HoldDue *due, int n, TimestampTz now)
{
	EndedHold *ended = palloc0(n * sizeof(EndedHold));
	EventBatch events;

	end_rows(due, n, now, ended);
	free_seats(ended, n);
	event_batch_init(&events, n);
	for (int i = 0; i < n; i++)
	{
		Event event;

		if (ended[i].user == NULL)
			continue;
		begin_event(&event, &ended[i]);
		event_batch_add(&events, &event, "reservation", number_text(ended[i].reservation_id));
	}
	event_batch_write(&events);
}
