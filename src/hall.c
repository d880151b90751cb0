/*
 * hall.c
 *		What is shown of a performance: its sections, its seats, its map.
 *
 * States of seats come from memory as far as they are known there (map.c), the
 * rest from the table, read with one snapshot.  Both show one moment: a version
 * is taken before the snapshot and the snapshot before the copy, and when a
 * section has changed in between it is done again.  Where changes never stop
 * the answer may be of several moments, each later than the call.
 */
#include "postgres.h"

#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "compat.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "map.h"
#include "memory.h"
#include "metrics.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "relation.h"
#include "seat.h"
#include "ticket.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(ticket_sections);
PG_FUNCTION_INFO_V1(ticket_seats);
PG_FUNCTION_INFO_V1(ticket_seat_map);

/* Times the moment is looked for that copy and snapshot share. */
#define MAX_TRIES 5

/* Seats read in vain, at most, to save going to the next by the index. */
#define MAX_GAP 8

/* Gaps of more rows or columns are not drawn. */
#define MAX_DRAWN_GAP 1000

static const struct
{
	char shown;
	const char *status;
} seat_states[] = {
	{SEAT_FREE, "free"},
	{SEAT_HELD, "held"},
	{SEAT_SOLD, "sold"},
	{SEAT_BLOCKED, "blocked"},
};

typedef struct HallView
{
	Hall *hall;
	int n_sections;
	SectionView *section;
} HallView;

/* ---------- reading the table ---------- */

typedef struct SeatReader
{
	Hall *hall;
	Relation table;
	Relation index;
	Snapshot snapshot;
	IndexScanDesc scan;
	TupleTableSlot *row;
} SeatReader;

static void
reader_begin(SeatReader *reader, Hall *hall, Snapshot snapshot)
{
	reader->hall = hall;
	reader->snapshot = RegisterSnapshot(snapshot);
	reader->table = table_open(relation_oid(REL_SEAT), AccessShareLock);
	reader->index = index_open(relation_oid(REL_SEAT_PKEY), AccessShareLock);
	reader->row = table_slot_create(reader->table, NULL);
	reader->scan = begin_index_scan(reader->table, reader->index, reader->snapshot, 3);
}

static void
reader_end(SeatReader *reader)
{
	index_endscan(reader->scan);
	ExecDropSingleTupleTableSlot(reader->row);
	index_close(reader->index, AccessShareLock);
	table_close(reader->table, AccessShareLock);
	UnregisterSnapshot(reader->snapshot);
}

char
seat_state_shown(const text *status)
{
	const char *name = VARDATA_ANY(status);
	int length = VARSIZE_ANY_EXHDR(status);

	for (Size i = 0; i < lengthof(seat_states); i++)
		if (strlen(seat_states[i].status) == (Size) length &&
			memcmp(seat_states[i].status, name, length) == 0)
			return seat_states[i].shown;
	elog(ERROR, "a seat is %.*s", length, name);
}

const char *
seat_state_name(char shown)
{
	for (Size i = 0; i < lengthof(seat_states); i++)
		if (seat_states[i].shown == shown)
			return seat_states[i].status;
	elog(ERROR, "a seat is shown as \"%c\"", shown);
}

static bool
image_unread(const SeatImage *image, int32 seat)
{
	return (image->block[seat / SEATMAP_BLOCK].unread >> (seat % SEATMAP_BLOCK)) & 1;
}

/* The first unread seat from `seat` on; n_seats: there is none. */
static int32
next_unread(const SeatImage *image, int32 seat)
{
	while (seat < image->n_seats)
	{
		uint64 unread = image->block[seat / SEATMAP_BLOCK].unread >> (seat % SEATMAP_BLOCK);

		if (unread != 0)
			return seat + pg_rightmost_one_pos64(unread);
		seat += SEATMAP_BLOCK - seat % SEATMAP_BLOCK;
	}
	return image->n_seats;
}

/* The row of reader->row, if it is of this section. */
static void
take_seat(SeatReader *reader, SectionView *view)
{
	const Section *section = view->section;
	Datum *value = reader->row->tts_values - 1;
	int32 seat;
	int64 end;

	slot_getsomeattrs(reader->row, COL_SEAT_ACCESSIBLE);
	seat = DatumGetInt32(value[COL_SEAT_SEAT_ID]) - section->first_seat;
	if (DatumGetInt64(value[COL_SEAT_SECTION_ID]) != section->section_id ||
		!image_unread(&view->image, seat))
		return;
	if (DatumGetInt32(value[COL_SEAT_ROW_NO]) != seat / section->seats_per_row + 1 ||
		DatumGetInt32(value[COL_SEAT_SEAT_NO]) != seat % section->seats_per_row + 1 ||
		DatumGetBool(value[COL_SEAT_ACCESSIBLE]))
		view->image.irregular = true;
	end = reader->row->tts_isnull[COL_SEAT_HELD_UNTIL - 1] ?
			  0 :
			  DatumGetTimestampTz(value[COL_SEAT_HELD_UNTIL]);
	seatimage_put(&view->image, seat, seat_state_shown(DatumGetTextPP(value[COL_SEAT_STATUS])),
				  end);
}

static void
read_range(SeatReader *reader, SectionView *view, int32 first, int32 last)
{
	ScanKeyData key[3];

	for (int32 seat = first; seat <= last; seat = next_unread(&view->image, seat + 1))
		seatimage_put(&view->image, seat, SEAT_NONE, 0);
	section_seats_keys(key, reader->hall->performance_id, view->section->first_seat + first,
					   view->section->first_seat + last);
	index_rescan(reader->scan, key, 3, NULL, 0);
	while (index_getnext_slot(reader->scan, ForwardScanDirection, reader->row))
		take_seat(reader, view);
	for (int32 seat = first; seat <= last; seat = next_unread(&view->image, seat + 1))
		if (view->image.state[seat] == SEAT_NONE)
			view->image.irregular = true;
}

static void
read_section(SeatReader *reader, SectionView *view)
{
	int32 n = view->image.n_seats;
	int32 first = next_unread(&view->image, 0);

	CHECK_FOR_INTERRUPTS();
	view->image.end =
		palloc_extended(seatmap_blocks(n) * SEATMAP_BLOCK * sizeof(int64), MCXT_ALLOC_HUGE);
	while (first < n)
	{
		int32 last = first;
		int32 next;

		while ((next = next_unread(&view->image, last + 1)) < n && next - last <= MAX_GAP)
			last = next;
		read_range(reader, view, first, last);
		first = next;
	}
}

/* ---------- the moment that is shown ---------- */

static void
view_begin(SectionView *view, Section *section)
{
	int32 n_blocks = seatmap_blocks(section->n_seats);

	memset(view, 0, sizeof(SectionView));
	view->section = section;
	view->image.n_seats = section->n_seats;
	view->image.state = palloc_extended(n_blocks * SEATMAP_BLOCK, MCXT_ALLOC_HUGE);
	view->image.block = palloc(n_blocks * sizeof(ImageBlock));
}

/* The sections of a performance, or one of them; false when there is no such. */
static bool
hall_open(HallView *view, int64 performance_id, const int64 *section_id)
{
	view->hall = performance_hall(performance_id);
	view->n_sections = 0;
	if (view->hall == NULL)
		return false;
	view->section = palloc(Max(1, view->hall->n_sections) * sizeof(SectionView));
	for (int i = 0; i < view->hall->n_sections; i++)
		if (section_id == NULL || view->hall->section[i].section_id == *section_id)
			view_begin(&view->section[view->n_sections++], &view->hall->section[i]);
	return section_id == NULL || view->n_sections > 0;
}

static void
read_hall(HallView *view, int64 since)
{
	TimestampTz now = clock_now();
	Snapshot snapshot;
	int tries = 0;
	bool exact;
	bool unread = false;

	map_prepare(view->section, view->n_sections, now);
	do
	{
		int64 as_of = map_version();

		snapshot = GetLatestSnapshot();
		exact = map_copy(view->section, view->n_sections, now, since, as_of);
	} while (!exact && ++tries < MAX_TRIES);

	for (int i = 0; i < view->n_sections; i++)
		unread |= !view->section[i].unchanged && view->section[i].image.unread;
	if (!unread)
		return;
	{
		SeatReader reader;

		reader_begin(&reader, view->hall, snapshot);
		for (int i = 0; i < view->n_sections; i++)
			if (!view->section[i].unchanged && view->section[i].image.unread)
				read_section(&reader, &view->section[i]);
		reader_end(&reader);
	}
	map_publish(view->section, view->n_sections, now);
	for (int i = 0; i < view->n_sections; i++)
		if (!view->section[i].unchanged)
			seatimage_finish(&view->section[i].image, now);
}

/* What has been withdrawn is not to be had. */
static void
hide_withdrawn(HallView *view)
{
	for (int i = 0; i < view->n_sections; i++)
	{
		SeatImage *image = &view->section[i].image;

		if (!view->section[i].section->withdrawn || view->section[i].unchanged)
			continue;
		image->available = 0;
		for (int32 seat = 0; seat < image->n_seats; seat++)
			if (image->state[seat] == SEAT_FREE)
				image->state[seat] = SEAT_BLOCKED;
	}
}

static void
hall_look(HallView *view, int64 since)
{
	read_hall(view, since);
	hide_withdrawn(view);
}

/* How the seats stand in their rows. */
static void
ensure_runs(const HallView *view, const SectionView *section)
{
	if (section->section->run)
		return;
	if (section->image.irregular)
		section_runs_read(view->hall, section->section);
	else
		section_runs_regular(view->hall, section->section);
}

/*
 * One section: its rows and the states of its seats.  False: there is no such.
 * Good until the next call of anything in catalogue.c.
 */
bool
section_look(int64 performance_id, int64 section_id, SectionView *section)
{
	HallView view;

	if (!hall_open(&view, performance_id, &section_id))
		return false;
	hall_look(&view, 0);
	ensure_runs(&view, &view.section[0]);
	*section = view.section[0];
	return true;
}

/* ---------- answers ---------- */

static ReturnSetInfo *
begin_rows(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	bool expected = result && IsA(result, ReturnSetInfo) && result->expectedDesc;

	/* Cheaper than looking the columns up on each call. */
	InitMaterializedSRF(fcinfo, expected ? MAT_SRF_USE_EXPECTED_DESC : 0);
	return result;
}

static void
put_version(const SectionView *view, Datum *value, bool *isnull)
{
	*value = Int64GetDatum(view->version);
	*isnull = view->version == 0;
}

/* A version that the caller has; 0: none. */
static int64
arg_since(FunctionCallInfo fcinfo, int argno)
{
	int64 since = PG_ARGISNULL(argno) ? 0 : PG_GETARG_INT64(argno);

	if (since < 0)
		ticket_error(ERROR_BAD_ARGUMENT, NULL, NULL, "since must not be negative");
	return since;
}

/*
 * sections(performance_id bigint, since bigint default null)
 * -> setof (section_id bigint, name text, price bigint, seats bigint,
 *			 available bigint, version bigint, grade text, kind text)
 *
 * The sections of a performance in order, but those withdrawn; none when there
 * is no such.  With `since` those only that have changed after that version.
 * version is NULL where it is not known (a standby, no room in shared memory).
 *
 * Errors: 22023, TK014.
 * Locks: map directory, then map content, shared; exclusive to keep what was
 * read from the table.
 */
Datum
ticket_sections(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	int64 performance_id = arg_id(fcinfo, 0, "performance_id");
	int64 since = arg_since(fcinfo, 1);
	ReturnSetInfo *result;
	HallView view;

	memory_require();
	result = begin_rows(fcinfo);
	if (!hall_open(&view, performance_id, NULL))
		return (Datum) 0;
	hall_look(&view, since);
	for (int i = 0; i < view.n_sections; i++)
	{
		const SectionView *section = &view.section[i];
		Datum values[8];
		bool nulls[8] = {false};

		if (section->unchanged || section->section->withdrawn)
			continue;
		values[0] = Int64GetDatum(section->section->section_id);
		values[1] = PointerGetDatum(section->section->name);
		values[2] = Int64GetDatum(section->section->price);
		values[3] = Int64GetDatum(section->section->n_seats);
		values[4] = Int64GetDatum(section->image.available);
		put_version(section, &values[5], &nulls[5]);
		values[6] = PointerGetDatum(section->section->grade);
		nulls[6] = section->section->grade == NULL;
		values[7] = PointerGetDatum(section->section->kind);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* How many seats of a performance are what; false: there is no such. */
bool
performance_counts(int64 performance_id, SeatCounts *counts)
{
	HallView view;

	memset(counts, 0, sizeof(SeatCounts));
	if (!hall_open(&view, performance_id, NULL))
		return false;
	hall_look(&view, 0);
	for (int i = 0; i < view.n_sections; i++)
	{
		const SeatImage *image = &view.section[i].image;

		for (int32 seat = 0; seat < image->n_seats; seat++)
		{
			counts->free += image->state[seat] == SEAT_FREE;
			counts->held += image->state[seat] == SEAT_HELD;
			counts->sold += image->state[seat] == SEAT_SOLD;
			counts->blocked += image->state[seat] == SEAT_BLOCKED;
		}
	}
	return true;
}

static void
put_seats(ReturnSetInfo *result, const SectionView *view, Datum *status)
{
	const Section *section = view->section;
	Datum values[7];
	bool nulls[7] = {false};

	values[1] = Int64GetDatum(section->section_id);
	values[4] = Int64GetDatum(section->price);
	for (int r = 0; r < section->n_runs; r++)
		for (int32 i = 0; i < section->run[r].count; i++)
		{
			const SeatRun *run = &section->run[r];
			unsigned char state = view->image.state[run->first + i];

			if (state == SEAT_NONE)
				continue;
			if (status[state] == (Datum) 0)
				status[state] = CStringGetTextDatum(seat_state_name(state));
			values[0] = Int32GetDatum(section->first_seat + run->first + i);
			values[2] = Int32GetDatum(run->row_no);
			values[3] = Int32GetDatum(run->seat_no + i);
			values[5] = status[state];
			values[6] = BoolGetDatum(run->accessible);
			tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		}
}

/*
 * seats(performance_id bigint, section_id bigint default null)
 * -> setof (seat_id int, section_id bigint, row int, number int, price bigint,
 *			 status text, accessible boolean)
 *
 * The seats of a performance, or of one of its sections, in order; none when
 * there is no such.  A hold that is over counts as free; what is free of a
 * section withdrawn is blocked.
 *
 * Errors: 22023, TK014.
 * Locks: as sections().
 */
Datum
ticket_seats(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	int64 performance_id = arg_id(fcinfo, 0, "performance_id");
	int64 section_id = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1);
	Datum status[UCHAR_MAX + 1] = {(Datum) 0};
	ReturnSetInfo *result;
	HallView view;

	memory_require();
	result = begin_rows(fcinfo);
	if (!hall_open(&view, performance_id, PG_ARGISNULL(1) ? NULL : &section_id))
		return (Datum) 0;
	hall_look(&view, 0);
	for (int i = 0; i < view.n_sections; i++)
	{
		ensure_runs(&view, &view.section[i]);
		put_seats(result, &view.section[i], status);
	}
	return (Datum) 0;
}

/*
 * The first number of a section's rows, which is drawn in the first column; -1
 * when the rows are too far apart for gaps to be drawn.
 */
static int32
first_column(const Section *section)
{
	int32 first = PG_INT32_MAX;
	int64 last = PG_INT32_MIN;
	int64 seats = 0;

	for (int r = 0; r < section->n_runs; r++)
	{
		first = Min(first, section->run[r].seat_no);
		last = Max(last, (int64) section->run[r].seat_no + section->run[r].count - 1);
		seats = Max(seats, section->run[r].count);
	}
	return first < 0 || last - first > seats + MAX_DRAWN_GAP ? -1 : first;
}

/* Rows that the plan has not got are drawn as empty lines. */
static void
end_rows(StringInfo out, int32 row_no, int32 next_row_no)
{
	int64 n = (int64) next_row_no - row_no;

	if (n < 1 || n > MAX_DRAWN_GAP)
		n = 1;
	for (int64 i = 0; i < n; i++)
		appendStringInfoChar(out, '\n');
}

/* A line per row, a character per seat, spaces where there is none. */
static text *
draw_map(const SectionView *view, StringInfo out)
{
	const Section *section = view->section;
	int32 first = first_column(section);
	int64 column = 0;

	resetStringInfo(out);
	for (int r = 0; r < section->n_runs; r++)
	{
		const SeatRun *run = &section->run[r];

		if (r == 0 || run->row_no != run[-1].row_no)
		{
			if (r > 0)
				end_rows(out, run[-1].row_no, run->row_no);
			column = first;
		}
		if (first >= 0 && run->seat_no > column)
			appendStringInfoSpaces(out, run->seat_no - column);
		appendBinaryStringInfo(out, view->image.state + run->first, run->count);
		column = (int64) run->seat_no + run->count;
	}
	return cstring_to_text_with_len(out->data, out->len);
}

/*
 * seat_map(performance_id bigint, section_id bigint default null,
 *			since bigint default null)
 * -> setof (section_id bigint, first_seat_id int, version bigint,
 *			 available bigint, map text)
 *
 * The state of every seat, drawn: a line for each row and a character for each
 * seat, '.' free, 'h' held, 'X' sold, '-' blocked, spaces where the plan has a
 * gap.  The n-th seat drawn is first_seat_id + n - 1.  With `since`, a version
 * from an earlier answer, only sections that have changed after it; with the
 * greatest of an answer's versions the whole answer is asked again.  version is
 * NULL where it is not known: such sections always come.
 *
 * Errors: 22023, TK005, TK014.
 * Locks: as sections().
 */
Datum
ticket_seat_map(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	int64 performance_id = arg_id(fcinfo, 0, "performance_id");
	int64 section_id = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1);
	int64 since = arg_since(fcinfo, 2);
	StringInfoData out;
	ReturnSetInfo *result;
	HallView view;

	memory_require();
	result = begin_rows(fcinfo);
	if (!hall_open(&view, performance_id, PG_ARGISNULL(1) ? NULL : &section_id))
		ticket_error(ERROR_NOT_FOUND, NULL, NULL,
					 view.hall ? "the performance has no section %lld"
							   : "there is no performance %lld",
					 (long long) (view.hall ? section_id : performance_id));
	hall_look(&view, since);
	initStringInfo(&out);
	for (int i = 0; i < view.n_sections; i++)
	{
		const SectionView *section = &view.section[i];
		Datum values[5];
		bool nulls[5] = {false};

		if (section->unchanged)
			continue;
		ensure_runs(&view, section);
		values[0] = Int64GetDatum(section->section->section_id);
		values[1] = Int32GetDatum(section->section->first_seat);
		put_version(section, &values[2], &nulls[2]);
		values[3] = Int64GetDatum(section->image.available);
		values[4] = PointerGetDatum(draw_map(section, &out));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
