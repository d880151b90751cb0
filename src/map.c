/*
 * map.c
 *		Seat maps for those who read them: copies of sections, single seats, and
 *		what a reader gives back of what it had to read from the table.
 *
 * The protocol is told in seatmap.h and doc/architecture.md; slots and locks
 * are those of map_memory.c, and map_follow.c marks what transactions change.
 */
#include "postgres.h"

#include "map.h"

#include "access/xlog.h"
#include "funcapi.h"
#include "map_memory.h"
#include "memory.h"
#include "miscadmin.h"
#include "ticket.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(ticket_seat_map_memory);

/* ---------- readers ---------- */

/* Whether memory says anything about this database now. */
static bool
map_usable(void)
{
	return pg_atomic_read_u32(map_wholesale_changes(MyDatabaseId)) == 0;
}

static void
slot_looked_at(MapSlot *slot, TimestampTz now)
{
	if (pg_atomic_read_u64(&slot->looked_at) + USECS_PER_SEC < (uint64) now)
		pg_atomic_write_u64(&slot->looked_at, (uint64) now);
}

/* Notes the slot of a section; true when somebody has to see to it. */
static bool
slot_note(SectionView *view, TimestampTz now)
{
	MapSlotKey key = map_slot_key(view->section->section_id);
	int i = map_slot_find(&key);
	bool due;

	view->slot = i;
	if (i < 0)
		return true;
	view->generation = map_slots[i].generation;
	slot_looked_at(&map_slots[i], now);
	LWLockAcquire(map_content_lock(i), LW_SHARED);
	due = !map_slots[i].settled || !map_slot_fits(&map_slots[i], view->section) ||
		  seatmap_lapses_due(&map_slots[i].map, now);
	LWLockRelease(map_content_lock(i));
	return due;
}

/* With its content locked exclusively: no change is in flight without a mark. */
static bool
slot_settle(MapSlot *slot)
{
	if (!slot->settled)
		slot->settled = pg_atomic_read_u32(map_unseen_changes(&slot->key)) == 0;
	return slot->settled;
}

/* Makes the slot of a section if it has none, settles it, counts lapses. */
static void
slot_see_to(SectionView *view, TimestampTz now)
{
	MapSlot *slot;

	if (view->section->n_seats == 0)
		return;
	view->slot = map_slot_create(view->section, now, true, &view->generation);
	if (view->slot < 0)
		return;
	slot = map_slot_acquire(view->slot, view->generation, LW_EXCLUSIVE);
	if (slot == NULL)
		return;
	(void) slot_settle(slot);
	if (seatmap_lapses_due(&slot->map, now) &&
		seatmap_lapse(&slot->map, map_slot_blocks(slot), now))
		slot->map.version = map_next_version();
	map_slot_release(slot);
}

/* Before map_copy: the views' slots, up to the time of the reader. */
void
map_prepare(SectionView *views, int n, TimestampTz now)
{
	bool *due = palloc0(n * sizeof(bool));

	for (int i = 0; i < n; i++)
		views[i].slot = -1;
	if (RecoveryInProgress() || !map_usable())
		return;
	LWLockAcquire(map_directory_lock(), LW_SHARED);
	for (int i = 0; i < n; i++)
		due[i] = slot_note(&views[i], now);
	LWLockRelease(map_directory_lock());
	for (int i = 0; i < n; i++)
		if (due[i])
			slot_see_to(&views[i], now);
	pfree(due);
}

static void
view_copy(SectionView *view, TimestampTz now, int64 since, int64 as_of)
{
	MapSlot *slot =
		view->slot < 0 ? NULL : map_slot_acquire(view->slot, view->generation, LW_SHARED);
	bool known = slot && slot->settled && map_slot_fits(slot, view->section) && map_usable();

	view->unchanged = view->publish = false;
	view->version = 0;
	if (known)
	{
		view->version = slot->map.version;
		view->unchanged =
			since > 0 && since <= as_of && view->version <= since && slot->map.in_flight == 0;
		view->publish = view->version <= as_of;
		if (!view->unchanged)
			seatmap_copy(&slot->map, map_slot_blocks(slot), now, &view->image);
	}
	if (slot)
		map_slot_release(slot);
	if (!known)
		seatimage_blank(&view->image);
}

/*
 * Copies what memory has of the sections; `since`, if not 0, is the version the
 * reader has.  as_of is what map_version() said before the reader took the
 * snapshot it will read the rest with.  True when no change has come in
 * between, so that copies and snapshot show one moment.  Changes that have come
 * in may have made seats dirty that the snapshot shows as they were: what is
 * read then is published to nobody.
 */
bool
map_copy(SectionView *views, int n, TimestampTz now, int64 since, int64 as_of)
{
	bool exact = true;

	for (int i = 0; i < n; i++)
	{
		view_copy(&views[i], now, since, as_of);
		exact &= views[i].version <= as_of;
		/* Asked again with this version, the reader gets what came after as_of. */
		views[i].version = Min(views[i].version, as_of);
	}
	return exact;
}

/* Gives memory what was read for the views. */
void
map_publish(SectionView *views, int n, TimestampTz now)
{
	for (int i = 0; i < n; i++)
	{
		SectionView *view = &views[i];
		MapSlot *slot;

		if (view->unchanged || !view->publish || !view->image.unread)
			continue;
		slot = map_slot_acquire(view->slot, view->generation, LW_EXCLUSIVE);
		if (slot == NULL)
			continue;
		seatmap_publish(&slot->map, map_slot_blocks(slot), &view->image, now);
		map_slot_release(slot);
	}
}

/* ---------- single seats ---------- */

/*
 * The state of a seat as it is committed now, a hold that is over being free;
 * SEAT_NONE: memory does not know it.
 */
char
map_seat_state(const Section *section, int32 seat_id, TimestampTz now)
{
	MapSlotKey key = map_slot_key(section->section_id);
	char state = SEAT_NONE;
	int i;

	LWLockAcquire(map_directory_lock(), LW_SHARED);
	i = map_slot_find(&key);
	if (i >= 0)
	{
		slot_looked_at(&map_slots[i], now);
		LWLockAcquire(map_content_lock(i), LW_SHARED);
		if (map_slots[i].settled && map_slot_fits(&map_slots[i], section) && map_usable())
			state =
				seatmap_state(map_slot_blocks(&map_slots[i]), seat_id - section->first_seat, now);
		LWLockRelease(map_content_lock(i));
	}
	LWLockRelease(map_directory_lock());
	return state;
}

/* What a settled slot says before the seat is read; false: it would not listen. */
static bool
slot_look(int i, const Section *section, SeatGlance *glance)
{
	MapSlot *slot = &map_slots[i];

	glance->slot = i;
	glance->generation = slot->generation;
	if (!slot->settled || !map_slot_fits(slot, section))
		return false;
	glance->block = seatmap_look(map_slot_blocks(slot), glance->seat);
	return glance->block.quiet;
}

/*
 * To be called before the snapshot is taken with which a seat is read, so that
 * memory can be told of it.  False: memory would not take it, as seats beside
 * it are just changing, or there is no room.
 */
bool
map_seat_look(const Section *section, int32 seat_id, TimestampTz now, SeatGlance *glance)
{
	MapSlotKey key = map_slot_key(section->section_id);
	bool wanted = false;
	bool settled = false;
	MapSlot *slot;
	int i;

	if (RecoveryInProgress() || !map_usable())
		return false;
	glance->seat = seat_id - section->first_seat;
	LWLockAcquire(map_directory_lock(), LW_SHARED);
	i = map_slot_find(&key);
	if (i >= 0)
	{
		LWLockAcquire(map_content_lock(i), LW_SHARED);
		settled = map_slots[i].settled;
		wanted = slot_look(i, section, glance);
		LWLockRelease(map_content_lock(i));
	}
	LWLockRelease(map_directory_lock());
	if (settled)
		return wanted;

	glance->slot = map_slot_create(section, now, false, &glance->generation);
	slot =
		glance->slot < 0 ? NULL : map_slot_acquire(glance->slot, glance->generation, LW_EXCLUSIVE);
	if (slot == NULL)
		return false;
	wanted = slot_settle(slot) && slot_look(glance->slot, section, glance);
	map_slot_release(slot);
	return wanted;
}

/* What was read since map_seat_look(); `regular`: its row and number are those of its place. */
void
map_seat_learn(const SeatGlance *glance, char state, TimestampTz end, bool regular, TimestampTz now)
{
	MapSlot *slot = map_slot_acquire(glance->slot, glance->generation, LW_EXCLUSIVE);

	if (slot == NULL)
		return;
	slot->map.irregular |= !regular;
	seatmap_learn(&slot->map, map_slot_blocks(slot), glance->seat, &glance->block, state, end, now);
	map_slot_release(slot);
}

/* ---------- what is in memory ---------- */

typedef struct SlotReport
{
	int64 section_id;
	SeatMap map;
	bool settled;
	SeatImage image;
} SlotReport;

/* Copies slot i, if it is of this database; palloc'd before it is locked. */
static bool
slot_report(int i, SlotReport *report)
{
	int32 n_seats = map_slots[i].map.n_seats;
	int32 n_blocks = seatmap_blocks(n_seats);
	bool ours;

	if (map_slots[i].key.database != MyDatabaseId || n_blocks <= 0 || n_blocks > map_n_slots())
		return false;
	report->image.n_seats = n_seats;
	report->image.state = palloc_extended(n_blocks * SEATMAP_BLOCK, MCXT_ALLOC_HUGE);
	report->image.block = palloc(n_blocks * sizeof(ImageBlock));
	LWLockAcquire(map_content_lock(i), LW_SHARED);
	ours = map_slots[i].key.database == MyDatabaseId && map_slots[i].map.n_seats == n_seats;
	if (ours)
	{
		report->section_id = map_slots[i].key.section_id;
		report->map = map_slots[i].map;
		report->settled = map_slots[i].settled;
		seatmap_copy(&map_slots[i].map, map_slot_blocks(&map_slots[i]), DT_NOBEGIN, &report->image);
	}
	LWLockRelease(map_content_lock(i));
	return ours;
}

/* The states of the seats, '?' where they are not known. */
static text *
report_states(SlotReport *report)
{
	for (int32 seat = 0; seat < report->image.n_seats; seat++)
		if (report->image.block[seat / SEATMAP_BLOCK].unread >> (seat % SEATMAP_BLOCK) & 1)
			report->image.state[seat] = '?';
	return cstring_to_text_with_len(report->image.state, report->image.n_seats);
}

/*
 * seat_map_memory()
 * -> setof (section_id bigint, version bigint, in_flight int, unread int,
 *			 free int, states text)
 *
 * What shared memory has of this database's seats: of each section that was
 * looked at the version, the marks of transactions in progress, the seats whose
 * state is to be read from the table, how many are known to be free, and the
 * states as seat_map draws them, '?' where they are to be read.
 *
 * Errors: TK014.
 * Locks: map content, shared, one at a time.
 */
Datum
ticket_seat_map_memory(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	memory_require();
	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < map_n_slots(); i++)
	{
		SlotReport report;
		Datum values[6];
		bool nulls[6] = {false};

		if (!slot_report(i, &report))
			continue;
		values[0] = Int64GetDatum(report.section_id);
		values[1] = Int64GetDatum((int64) report.map.version);
		nulls[1] = !report.settled;
		values[2] = Int32GetDatum((int32) report.map.in_flight);
		values[3] = Int32GetDatum(report.map.n_dirty);
		values[4] = Int32GetDatum(report.map.n_free);
		values[5] = PointerGetDatum(report_states(&report));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
