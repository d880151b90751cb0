/*
 * map_follow.c
 *		How seat maps follow transactions.
 *
 * Whoever changes a seat marks it before the change can be seen, that is before
 * commit: from then on readers take its state from the table.  The mark stays
 * until the top transaction has ended, also when a savepoint is rolled back.
 * The commit callback, which runs when rows are visible, gives the map a new
 * version and takes the mark back; the seat stays dirty until a reader has
 * published what it read.  The callback puts in no state of its own: those of
 * two transactions on one seat can run in either order.
 *
 * A section without a slot has its changes counted as unseen, by a hash; a new
 * slot takes in nothing before that has been zero once, as changes begun before
 * the slot was there have no marks.  Changes of which nobody knows the seats
 * (TRUNCATE, keys changed by hand) count as wholesale, by database: meanwhile
 * nothing in memory is used, and at commit all slots of the database are given
 * back, or forget what they have where other changes are in flight.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "map.h"
#include "map_memory.h"
#include "memory.h"
#include "miscadmin.h"
#include "relation.h"
#include "ticket.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(ticket_seat_follow);

/* A mark of this transaction. */
typedef enum MarkKind
{
	MARK_BLOCK,
	MARK_SECTION, /* something else of it will be shown differently */
	MARK_UNSEEN,
	MARK_WHOLESALE,
	MARK_GONE /* wholesale: DROP DATABASE */
} MarkKind;

typedef struct Mark
{
	MarkKind kind;
	int slot;
	uint32 generation;
	int32 block;
	MapSlotKey key;
} Mark;

static Mark *marks = NULL;
static int n_marks = 0;
static int max_marks = 0;

static object_access_hook_type prev_object_access_hook = NULL;

/* ---------- marks ---------- */

/* Room for one more; the only thing here that may fail. */
static void
reserve_mark(void)
{
	if (n_marks < max_marks)
		return;
	if (marks == NULL)
	{
		marks = MemoryContextAlloc(TopTransactionContext, 16 * sizeof(Mark));
		max_marks = 16;
	}
	else
	{
		marks = repalloc_huge(marks, (Size) max_marks * 2 * sizeof(Mark));
		max_marks *= 2;
	}
}

static void
mark_unseen(const MapSlotKey *key)
{
	Mark *last = n_marks > 0 ? &marks[n_marks - 1] : NULL;

	if (last && last->kind == MARK_UNSEEN && last->key.section_id == key->section_id)
		return;
	pg_atomic_fetch_add_u32(map_unseen_changes(key), 1);
	marks[n_marks++] = (Mark){.kind = MARK_UNSEEN, .key = *key};
}

static void
mark_seat(int i, int32 seat_id)
{
	MapSlot *slot = &map_slots[i];
	Mark *last = n_marks > 0 ? &marks[n_marks - 1] : NULL;
	int32 seat;
	bool again;

	LWLockAcquire(map_content_lock(i), LW_EXCLUSIVE);
	seat = seat_id - slot->map.first_seat;
	if (seat >= 0 && seat < slot->map.n_seats)
	{
		Mark mark = {MARK_BLOCK, i, slot->generation, seat / SEATMAP_BLOCK, slot->key};

		again = last && last->kind == MARK_BLOCK && last->slot == i &&
				last->generation == mark.generation && last->block == mark.block;
		seatmap_mark(&slot->map, map_slot_blocks(slot), seat, again);
		if (!again)
			marks[n_marks++] = mark;
	}
	else
		/* The section has grown: it will get a slot of other measure. */
		mark_unseen(&slot->key);
	LWLockRelease(map_content_lock(i));
}

static void
mark_section(int i)
{
	MapSlot *slot = &map_slots[i];

	LWLockAcquire(map_content_lock(i), LW_EXCLUSIVE);
	slot->map.in_flight++;
	marks[n_marks++] = (Mark){MARK_SECTION, i, slot->generation, 0, slot->key};
	LWLockRelease(map_content_lock(i));
}

static void
mark(int64 section_id, int32 seat_id, bool seat)
{
	MapSlotKey key = map_slot_key(section_id);
	int i;

	memory_require();
	reserve_mark();
	LWLockAcquire(map_directory_lock(), LW_SHARED);
	i = map_slot_find(&key);
	if (i < 0)
		mark_unseen(&key);
	else if (seat)
		mark_seat(i, seat_id);
	else
		mark_section(i);
	LWLockRelease(map_directory_lock());
}

void
map_seat_changes(int64 section_id, int32 seat_id)
{
	mark(section_id, seat_id, true);
}

/* All seats of a database may change, or will be gone. */
static void
mark_wholesale(MarkKind kind, Oid database)
{
	reserve_mark();
	pg_atomic_fetch_add_u32(map_wholesale_changes(database), 1);
	marks[n_marks++] = (Mark){.kind = kind, .key.database = database};
}

static void
end_unseen(const Mark *mark, bool committed)
{
	int i;

	LWLockAcquire(map_directory_lock(), LW_SHARED);
	/* A slot made since has shown the section without this change. */
	i = committed ? map_slot_find(&mark->key) : -1;
	if (i >= 0)
	{
		LWLockAcquire(map_content_lock(i), LW_EXCLUSIVE);
		map_slots[i].map.version = map_next_version();
		LWLockRelease(map_content_lock(i));
	}
	pg_atomic_fetch_sub_u32(map_unseen_changes(&mark->key), 1);
	LWLockRelease(map_directory_lock());
}

static void
end_slot(const Mark *mark, bool committed)
{
	MapSlot *slot = map_slot_acquire(mark->slot, mark->generation, LW_EXCLUSIVE);

	if (slot == NULL)
		return;
	if (mark->kind == MARK_SECTION)
		slot->map.in_flight--;
	else
		seatmap_unmark(&slot->map, map_slot_blocks(slot), mark->block, committed);
	if (committed)
		slot->map.version = map_next_version();
	map_slot_release(slot);
}

/* The transaction has ended. */
static void
end_marks(bool committed)
{
	for (int i = 0; i < n_marks; i++)
	{
		const Mark *mark = &marks[i];

		switch (mark->kind)
		{
			case MARK_BLOCK:
			case MARK_SECTION:
				end_slot(mark, committed);
				break;
			case MARK_UNSEEN:
				end_unseen(mark, committed);
				break;
			case MARK_WHOLESALE:
			case MARK_GONE:
				if (committed)
					map_clear_database(mark->key.database, mark->kind == MARK_GONE);
				pg_atomic_fetch_sub_u32(map_wholesale_changes(mark->key.database), 1);
				break;
		}
	}
	/* The array goes with TopTransactionContext. */
	marks = NULL;
	n_marks = max_marks = 0;
}

static void
map_xact(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
			end_marks(true);
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
			end_marks(false);
			break;
		case XACT_EVENT_PRE_PREPARE:
			if (n_marks > 0)
				ticket_error(ERROR_TWO_PHASE_REFUSED,
							 "COMMIT PREPARED runs in another session, which does not know of the changes.",
							 "Use an ordinary COMMIT.",
							 "cannot PREPARE a transaction that has changed seats");
			break;
		default:
			break;
	}
}

/* ---------- following statements ---------- */

static void
mark_row(TupleTableSlot *row, bool seats)
{
	if (seats)
	{
		slot_getsomeattrs(row, COL_SEAT_SECTION_ID);
		mark(DatumGetInt64(row->tts_values[COL_SEAT_SECTION_ID - 1]),
			 DatumGetInt32(row->tts_values[COL_SEAT_SEAT_ID - 1]), true);
	}
	else
	{
		slot_getsomeattrs(row, COL_SECTION_ID);
		mark(DatumGetInt64(row->tts_values[COL_SECTION_ID - 1]), 0, false);
	}
}

static void
mark_rows(Relation relation, Tuplestorestate *rows)
{
	bool seats = RelationGetRelid(relation) == relation_oid(REL_SEAT);
	TupleTableSlot *row = MakeSingleTupleTableSlot(RelationGetDescr(relation), &TTSOpsMinimalTuple);
	int pointer = tuplestore_alloc_read_pointer(rows, EXEC_FLAG_REWIND);

	tuplestore_select_read_pointer(rows, pointer);
	tuplestore_rescan(rows);
	while (tuplestore_gettupleslot(rows, true, false, row))
		mark_row(row, seats);
	ExecDropSingleTupleTableSlot(row);
}

/*
 * Trigger of ticket.seat and ticket.section, after each statement: marks the
 * seats, or the sections, of its rows; where it is not given them, all of the
 * database.
 */
Datum
ticket_seat_follow(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "seat_follow() was not called by trigger manager");
	memory_require();
	if (trigger->tg_newtable)
		mark_rows(trigger->tg_relation, trigger->tg_newtable);
	else if (trigger->tg_oldtable)
		mark_rows(trigger->tg_relation, trigger->tg_oldtable);
	else
		mark_wholesale(MARK_WHOLESALE, MyDatabaseId);
	return PointerGetDatum(NULL);
}

/* DROP DATABASE and DROP EXTENSION give the slots back when they commit. */
static void
map_object_access(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	if (prev_object_access_hook)
		prev_object_access_hook(access, class, object, sub, arg);
	if (access != OAT_DROP || !map_attached())
		return;
	if (class == DatabaseRelationId)
		mark_wholesale(MARK_GONE, object);
	/* May yet be undone, to a savepoint; until then nobody else has marks. */
	else if (class == ExtensionRelationId && object == get_extension_oid("ticket", true))
		mark_wholesale(MARK_WHOLESALE, MyDatabaseId);
}

void
map_init(void)
{
	map_memory_init();
	prev_object_access_hook = object_access_hook;
	object_access_hook = map_object_access;
	RegisterXactCallback(map_xact, NULL);
}
