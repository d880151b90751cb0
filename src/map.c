/*
 * map.c
 *		Shared memory of seat maps, and how it follows transactions.
 *
 * A section that somebody has looked at has a slot: its SeatMap and the blocks
 * with the states of its seats (seatmap.h).  ticket.max_map_seats sizes it all;
 * when it is full, sections that nobody has looked at for a while give way, and
 * whoever finds no room reads the table.  So does everyone on a standby, where
 * no transaction would tell us of its changes.
 *
 * Whoever changes a seat marks it before the change can be seen, that is before
 * commit: from then on readers take its state from the table.  The mark stays
 * until the top transaction has ended, also when a savepoint is rolled back.
 * The commit callback, which runs when rows are visible, gives the map a new
 * version and takes the mark back; the seat stays dirty until a reader has
 * published what it read.  The callback puts in no state of its own: those of
 * two transactions on one seat can run in either order.
 *
 * A section without a slot has its changes counted in `unseen`, by a hash; a
 * new slot takes in nothing before that has been zero once, as changes begun
 * before the slot was there have no marks.  Changes of which nobody knows the
 * seats (TRUNCATE, keys changed by hand) count in `wholesale`, by database:
 * meanwhile nothing in memory is used, and at commit all slots of the database
 * are given back, or forget what they have where other changes are in flight.
 *
 * Locks, in order:
 *
 * directory	the hash table, the pool of blocks, which slot is whose.
 *				Shared to look up and to count in `unseen`, exclusive to make
 *				slots and give them back.
 * content		one of NUM_CONTENT_LOCKS, by slot: its SeatMap and blocks.  A slot
 *				changes hands with both locks held exclusively.
 */
#include "postgres.h"

#include "map.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/dependency.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "memory.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "relation.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "ticket.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(ticket_seat_follow);
PG_FUNCTION_INFO_V1(ticket_seat_map_memory);

#define TRANCHE "ticket map"
#define DIRECTORY_LOCK 0
#define FIRST_CONTENT_LOCK 1
#define NUM_CONTENT_LOCKS 64
#define NUM_UNSEEN 1024
#define NUM_WHOLESALE 64

/* Sections that were looked at within this time keep their slots. */
#define KEPT_US (10 * USECS_PER_SEC)

/* Slots that may have to give way for one. */
#define MAX_EVICTIONS 64

typedef struct SlotKey
{
	int64 section_id;
	uint64 database; /* an Oid; wide, so that no byte is left undefined */
} SlotKey;

typedef struct Slot
{
	SlotKey key; /* database InvalidOid: slot is free */
	uint32 generation; /* grows each time the slot changes hands */
	int next_free; /* slot, of free ones; -1: the last */
	int32 first_block;
	int32 n_blocks;
	bool settled; /* every change in flight has its mark */
	pg_atomic_uint64 looked_at;
	SeatMap map;
} Slot;

typedef struct SlotHashEntry
{
	SlotKey key;
	int slot;
} SlotHashEntry;

typedef struct Maps
{
	int n_slots;
	int free_slot; /* -1: none */
	pg_atomic_uint64 version; /* the last one given out */
	pg_atomic_uint32 unseen[NUM_UNSEEN];
	pg_atomic_uint32 wholesale[NUM_WHOLESALE];
} Maps;

static Maps *maps = NULL;
static Slot *slots = NULL;
static SeatBlock *blocks = NULL;
static SeatPool *pool = NULL;
static HTAB *slot_hash = NULL;
static LWLockPadded *locks = NULL;

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;
static object_access_hook_type prev_object_access_hook = NULL;

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
	SlotKey key;
} Mark;

static Mark *marks = NULL;
static int n_marks = 0;
static int max_marks = 0;

/* ---------- start ---------- */

static int
block_count(void)
{
	return seatmap_blocks(ticket_max_map_seats);
}

static Size
maps_size(void)
{
	Size size = MAXALIGN(sizeof(Maps));

	size = add_size(size, MAXALIGN(mul_size(block_count(), sizeof(Slot))));
	size = add_size(size, MAXALIGN(mul_size(block_count(), sizeof(SeatBlock))));
	return add_size(size, MAXALIGN(offsetof(SeatPool, taken) + block_count() * sizeof(bool)));
}

static int
hash_size(void)
{
	return Max(1, block_count());
}

static void
map_request(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	RequestAddinShmemSpace(maps_size());
	RequestAddinShmemSpace(hash_estimate_size(hash_size(), sizeof(SlotHashEntry)));
	RequestNamedLWLockTranche(TRANCHE, FIRST_CONTENT_LOCK + NUM_CONTENT_LOCKS);
}

static void
init_maps(void)
{
	memset(maps, 0, sizeof(Maps));
	maps->n_slots = block_count();
	maps->free_slot = maps->n_slots > 0 ? 0 : -1;
	pg_atomic_init_u64(&maps->version, 0);
	for (int i = 0; i < NUM_UNSEEN; i++)
		pg_atomic_init_u32(&maps->unseen[i], 0);
	for (int i = 0; i < NUM_WHOLESALE; i++)
		pg_atomic_init_u32(&maps->wholesale[i], 0);
	for (int i = 0; i < maps->n_slots; i++)
	{
		memset(&slots[i], 0, sizeof(Slot));
		slots[i].next_free = i + 1 < maps->n_slots ? i + 1 : -1;
		pg_atomic_init_u64(&slots[i].looked_at, 0);
	}
	seatpool_init(pool, block_count());
}

/* Runs at server start and again, with fresh memory, after a crash. */
static void
map_startup(void)
{
	bool found;
	char *at;
	HASHCTL info = {.keysize = sizeof(SlotKey), .entrysize = sizeof(SlotHashEntry)};

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	maps = NULL;
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	at = ShmemInitStruct(TRANCHE, maps_size(), &found);
	maps = (Maps *) at;
	at += MAXALIGN(sizeof(Maps));
	slots = (Slot *) at;
	at += MAXALIGN(block_count() * sizeof(Slot));
	blocks = (SeatBlock *) at;
	at += MAXALIGN(block_count() * sizeof(SeatBlock));
	pool = (SeatPool *) at;
	slot_hash = ShmemInitHash("ticket map sections", hash_size(), hash_size(), &info,
							  HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
	locks = GetNamedLWLockTranche(TRANCHE);
	if (!found)
		init_maps();
	LWLockRelease(AddinShmemInitLock);
}

/* ---------- versions ---------- */

/* The last version given out: changes not applied yet will have later ones. */
int64
map_version(void)
{
	return (int64) pg_atomic_read_u64(&maps->version);
}

/*
 * Versions come from the clock, so that they go on growing after a restart, a
 * promotion, or when a slot has changed hands.
 */
static uint64
next_version(void)
{
	uint64 now = (uint64) GetCurrentTimestamp();
	uint64 last = pg_atomic_read_u64(&maps->version);
	uint64 next;

	do
		next = Max(last + 1, now);
	while (!pg_atomic_compare_exchange_u64(&maps->version, &last, next));
	return next;
}

/* ---------- slots ---------- */

static LWLock *
directory_lock(void)
{
	return &locks[DIRECTORY_LOCK].lock;
}

static LWLock *
content_lock(int slot)
{
	return &locks[FIRST_CONTENT_LOCK + slot % NUM_CONTENT_LOCKS].lock;
}

static SlotKey
slot_key(int64 section_id)
{
	return (SlotKey){section_id, MyDatabaseId};
}

static pg_atomic_uint32 *
unseen_changes(const SlotKey *key)
{
	return &maps->unseen[hash_bytes((const unsigned char *) key, sizeof(SlotKey)) % NUM_UNSEEN];
}

static pg_atomic_uint32 *
wholesale_changes(uint64 database)
{
	return &maps->wholesale[database % NUM_WHOLESALE];
}

static SeatBlock *
slot_blocks(const Slot *slot)
{
	return blocks + slot->first_block;
}

/* With the directory lock held. */
static int
slot_find(const SlotKey *key)
{
	SlotHashEntry *entry = hash_search(slot_hash, key, HASH_FIND, NULL);

	return entry ? entry->slot : -1;
}

/* A slot seen before, its content locked, unless it has changed hands since. */
static Slot *
slot_acquire(int i, uint32 generation, LWLockMode mode)
{
	LWLockAcquire(content_lock(i), mode);
	if (slots[i].generation == generation)
		return &slots[i];
	LWLockRelease(content_lock(i));
	return NULL;
}

static void
slot_release(Slot *slot)
{
	LWLockRelease(content_lock(slot - slots));
}

/* With the directory lock held exclusively. */
static void
slot_free(Slot *slot)
{
	LWLockAcquire(content_lock(slot - slots), LW_EXCLUSIVE);
	hash_search(slot_hash, &slot->key, HASH_REMOVE, NULL);
	seatpool_give(pool, slot->first_block, slot->n_blocks);
	slot->key.database = InvalidOid;
	slot->generation++;
	slot->next_free = maps->free_slot;
	maps->free_slot = slot - slots;
	LWLockRelease(content_lock(slot - slots));
}

/*
 * With the directory lock held exclusively: gives back the slot that was not
 * looked at for longest, if that is long enough and nothing is in flight there.
 */
static bool
evict_one(TimestampTz now)
{
	Slot *oldest = NULL;
	uint64 before = (uint64) (now - KEPT_US);

	for (int i = 0; i < maps->n_slots; i++)
	{
		uint64 looked_at = pg_atomic_read_u64(&slots[i].looked_at);

		/* A mark needs the directory lock: none can come now. */
		if (slots[i].key.database == InvalidOid || looked_at >= before ||
			slots[i].map.in_flight > 0)
			continue;
		before = looked_at;
		oldest = &slots[i];
	}
	if (oldest == NULL)
		return false;
	slot_free(oldest);
	return true;
}

/* With the directory lock held exclusively; -1: there is no room. */
static int32
take_blocks(int32 n, TimestampTz now, bool evict)
{
	int32 first;
	int evictions = 0;

	if (n > pool->n_blocks)
		return -1;
	while ((first = seatpool_take(pool, n)) < 0 && evictions++ < MAX_EVICTIONS)
		if (!evict || !evict_one(now))
			return -1;
	return first;
}

static bool
slot_fits(const Slot *slot, const Section *section)
{
	return slot->map.first_seat == section->first_seat && slot->map.n_seats == section->n_seats;
}

/* With the directory lock held exclusively; -1: there is no room. */
static int
slot_make(const SlotKey *key, const Section *section, TimestampTz now, bool evict)
{
	int32 n_blocks = seatmap_blocks(section->n_seats);
	int32 first_block = take_blocks(n_blocks, now, evict);
	SlotHashEntry *entry;
	Slot *slot;

	if (first_block < 0)
		return -1;
	/* There are as many slots as blocks, and each has one at least. */
	slot = &slots[maps->free_slot];
	LWLockAcquire(content_lock(slot - slots), LW_EXCLUSIVE);
	maps->free_slot = slot->next_free;
	entry = hash_search(slot_hash, key, HASH_ENTER_NULL, NULL);
	Assert(entry);
	entry->slot = slot - slots;
	slot->key = *key;
	slot->generation++;
	slot->first_block = first_block;
	slot->n_blocks = n_blocks;
	slot->settled = false;
	pg_atomic_write_u64(&slot->looked_at, (uint64) now);
	seatmap_init(&slot->map, slot_blocks(slot), section->first_seat, section->n_seats,
				 next_version());
	LWLockRelease(content_lock(slot - slots));
	return slot - slots;
}

/*
 * A slot for a section, or the one it has; one of other measure is made anew.
 * Returns -1 when there is no room; `evict`: others may give way.
 */
static int
slot_create(const Section *section, TimestampTz now, bool evict, uint32 *generation)
{
	SlotKey key = slot_key(section->section_id);
	int i;

	LWLockAcquire(directory_lock(), LW_EXCLUSIVE);
	i = slot_find(&key);
	if (i >= 0 && !slot_fits(&slots[i], section) && slots[i].map.in_flight == 0)
	{
		slot_free(&slots[i]);
		i = -1;
	}
	if (i < 0)
		i = slot_make(&key, section, now, evict);
	if (i >= 0)
		*generation = slots[i].generation;
	LWLockRelease(directory_lock());
	return i;
}

/* With the directory lock held exclusively; false: there was nothing in flight. */
static bool
slot_forget(Slot *slot)
{
	bool marked;

	LWLockAcquire(content_lock(slot - slots), LW_EXCLUSIVE);
	marked = slot->map.in_flight > 0;
	if (marked)
	{
		seatmap_forget(&slot->map, slot_blocks(slot));
		slot->map.version = next_version();
	}
	LWLockRelease(content_lock(slot - slots));
	return marked;
}

/*
 * Gives back the slots of a database; those with marks of other transactions
 * only forget what they have, unless the seats themselves are gone.
 */
static void
clear_database(uint64 database, bool gone)
{
	LWLockAcquire(directory_lock(), LW_EXCLUSIVE);
	for (int i = 0; i < maps->n_slots; i++)
		if (slots[i].key.database == database && (gone || !slot_forget(&slots[i])))
			slot_free(&slots[i]);
	LWLockRelease(directory_lock());
}

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
mark_unseen(const SlotKey *key)
{
	Mark *last = n_marks > 0 ? &marks[n_marks - 1] : NULL;

	if (last && last->kind == MARK_UNSEEN && last->key.section_id == key->section_id)
		return;
	pg_atomic_fetch_add_u32(unseen_changes(key), 1);
	marks[n_marks++] = (Mark){.kind = MARK_UNSEEN, .key = *key};
}

static void
mark_seat(int i, int32 seat_id)
{
	Slot *slot = &slots[i];
	Mark *last = n_marks > 0 ? &marks[n_marks - 1] : NULL;
	int32 seat;
	bool again;

	LWLockAcquire(content_lock(i), LW_EXCLUSIVE);
	seat = seat_id - slot->map.first_seat;
	if (seat >= 0 && seat < slot->map.n_seats)
	{
		Mark mark = {MARK_BLOCK, i, slot->generation, seat / SEATMAP_BLOCK, slot->key};

		again = last && last->kind == MARK_BLOCK && last->slot == i &&
				last->generation == mark.generation && last->block == mark.block;
		seatmap_mark(&slot->map, slot_blocks(slot), seat, again);
		if (!again)
			marks[n_marks++] = mark;
	}
	LWLockRelease(content_lock(i));
}

static void
mark_section(int i)
{
	Slot *slot = &slots[i];

	LWLockAcquire(content_lock(i), LW_EXCLUSIVE);
	slot->map.in_flight++;
	marks[n_marks++] = (Mark){MARK_SECTION, i, slot->generation, 0, slot->key};
	LWLockRelease(content_lock(i));
}

static void
mark(int64 section_id, int32 seat_id, bool seat)
{
	SlotKey key = slot_key(section_id);
	int i;

	memory_require();
	reserve_mark();
	LWLockAcquire(directory_lock(), LW_SHARED);
	i = slot_find(&key);
	if (i < 0)
		mark_unseen(&key);
	else if (seat)
		mark_seat(i, seat_id);
	else
		mark_section(i);
	LWLockRelease(directory_lock());
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
	pg_atomic_fetch_add_u32(wholesale_changes(database), 1);
	marks[n_marks++] = (Mark){.kind = kind, .key.database = database};
}

static void
end_unseen(const Mark *mark, bool committed)
{
	int i;

	LWLockAcquire(directory_lock(), LW_SHARED);
	/* A slot made since has shown the section without this change. */
	i = committed ? slot_find(&mark->key) : -1;
	if (i >= 0)
	{
		LWLockAcquire(content_lock(i), LW_EXCLUSIVE);
		slots[i].map.version = next_version();
		LWLockRelease(content_lock(i));
	}
	pg_atomic_fetch_sub_u32(unseen_changes(&mark->key), 1);
	LWLockRelease(directory_lock());
}

static void
end_slot(const Mark *mark, bool committed)
{
	Slot *slot = slot_acquire(mark->slot, mark->generation, LW_EXCLUSIVE);

	if (slot == NULL)
		return;
	if (mark->kind == MARK_SECTION)
		slot->map.in_flight--;
	else
		seatmap_unmark(&slot->map, slot_blocks(slot), mark->block, committed);
	if (committed)
		slot->map.version = next_version();
	slot_release(slot);
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
					clear_database(mark->key.database, mark->kind == MARK_GONE);
				pg_atomic_fetch_sub_u32(wholesale_changes(mark->key.database), 1);
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
	if (access != OAT_DROP || maps == NULL)
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
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = map_request;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = map_startup;
	prev_object_access_hook = object_access_hook;
	object_access_hook = map_object_access;
	RegisterXactCallback(map_xact, NULL);
}

/* ---------- readers ---------- */

/* Whether memory says anything about this database now. */
static bool
map_usable(void)
{
	return pg_atomic_read_u32(wholesale_changes(MyDatabaseId)) == 0;
}

static void
slot_looked_at(Slot *slot, TimestampTz now)
{
	if (pg_atomic_read_u64(&slot->looked_at) + USECS_PER_SEC < (uint64) now)
		pg_atomic_write_u64(&slot->looked_at, (uint64) now);
}

/* Notes the slot of a section; true when somebody has to see to it. */
static bool
slot_note(SectionView *view, TimestampTz now)
{
	SlotKey key = slot_key(view->section->section_id);
	int i = slot_find(&key);
	bool due;

	view->slot = i;
	if (i < 0)
		return true;
	view->generation = slots[i].generation;
	slot_looked_at(&slots[i], now);
	LWLockAcquire(content_lock(i), LW_SHARED);
	due = !slots[i].settled || !slot_fits(&slots[i], view->section) ||
		  seatmap_lapses_due(&slots[i].map, now);
	LWLockRelease(content_lock(i));
	return due;
}

/* With its content locked exclusively: no change is in flight without a mark. */
static bool
slot_settle(Slot *slot)
{
	if (!slot->settled)
		slot->settled = pg_atomic_read_u32(unseen_changes(&slot->key)) == 0;
	return slot->settled;
}

/* Makes the slot of a section if it has none, settles it, counts lapses. */
static void
slot_see_to(SectionView *view, TimestampTz now)
{
	Slot *slot;

	if (view->section->n_seats == 0)
		return;
	view->slot = slot_create(view->section, now, true, &view->generation);
	if (view->slot < 0)
		return;
	slot = slot_acquire(view->slot, view->generation, LW_EXCLUSIVE);
	if (slot == NULL)
		return;
	(void) slot_settle(slot);
	if (seatmap_lapses_due(&slot->map, now) && seatmap_lapse(&slot->map, slot_blocks(slot), now))
		slot->map.version = next_version();
	slot_release(slot);
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
	LWLockAcquire(directory_lock(), LW_SHARED);
	for (int i = 0; i < n; i++)
		due[i] = slot_note(&views[i], now);
	LWLockRelease(directory_lock());
	for (int i = 0; i < n; i++)
		if (due[i])
			slot_see_to(&views[i], now);
	pfree(due);
}

static void
view_copy(SectionView *view, TimestampTz now, int64 since, int64 as_of)
{
	Slot *slot = view->slot < 0 ? NULL : slot_acquire(view->slot, view->generation, LW_SHARED);
	bool known = slot && slot->settled && slot_fits(slot, view->section) && map_usable();

	view->unchanged = view->publish = false;
	view->version = 0;
	if (known)
	{
		view->version = slot->map.version;
		view->unchanged =
			since > 0 && since <= as_of && view->version <= since && slot->map.in_flight == 0;
		view->publish = view->version <= as_of;
		if (!view->unchanged)
			seatmap_copy(&slot->map, slot_blocks(slot), now, &view->image);
	}
	if (slot)
		slot_release(slot);
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
		Slot *slot;

		if (view->unchanged || !view->publish || !view->image.unread)
			continue;
		slot = slot_acquire(view->slot, view->generation, LW_EXCLUSIVE);
		if (slot == NULL)
			continue;
		seatmap_publish(&slot->map, slot_blocks(slot), &view->image, now);
		slot_release(slot);
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
	SlotKey key = slot_key(section->section_id);
	char state = SEAT_NONE;
	int i;

	LWLockAcquire(directory_lock(), LW_SHARED);
	i = slot_find(&key);
	if (i >= 0)
	{
		slot_looked_at(&slots[i], now);
		LWLockAcquire(content_lock(i), LW_SHARED);
		if (slots[i].settled && slot_fits(&slots[i], section) && map_usable())
			state = seatmap_state(slot_blocks(&slots[i]), seat_id - section->first_seat, now);
		LWLockRelease(content_lock(i));
	}
	LWLockRelease(directory_lock());
	return state;
}

/* What a settled slot says before the seat is read; false: it would not listen. */
static bool
slot_look(int i, const Section *section, SeatGlance *glance)
{
	Slot *slot = &slots[i];

	glance->slot = i;
	glance->generation = slot->generation;
	if (!slot->settled || !slot_fits(slot, section))
		return false;
	glance->block = seatmap_look(slot_blocks(slot), glance->seat);
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
	SlotKey key = slot_key(section->section_id);
	bool wanted = false;
	bool settled = false;
	Slot *slot;
	int i;

	if (RecoveryInProgress() || !map_usable())
		return false;
	glance->seat = seat_id - section->first_seat;
	LWLockAcquire(directory_lock(), LW_SHARED);
	i = slot_find(&key);
	if (i >= 0)
	{
		LWLockAcquire(content_lock(i), LW_SHARED);
		settled = slots[i].settled;
		wanted = slot_look(i, section, glance);
		LWLockRelease(content_lock(i));
	}
	LWLockRelease(directory_lock());
	if (settled)
		return wanted;

	glance->slot = slot_create(section, now, false, &glance->generation);
	slot = glance->slot < 0 ? NULL : slot_acquire(glance->slot, glance->generation, LW_EXCLUSIVE);
	if (slot == NULL)
		return false;
	wanted = slot_settle(slot) && slot_look(glance->slot, section, glance);
	slot_release(slot);
	return wanted;
}

/* What was read since map_seat_look(); `regular`: its row and number are those of its place. */
void
map_seat_learn(const SeatGlance *glance, char state, TimestampTz end, bool regular, TimestampTz now)
{
	Slot *slot = slot_acquire(glance->slot, glance->generation, LW_EXCLUSIVE);

	if (slot == NULL)
		return;
	slot->map.irregular |= !regular;
	seatmap_learn(&slot->map, slot_blocks(slot), glance->seat, &glance->block, state, end, now);
	slot_release(slot);
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
	int32 n_seats = slots[i].map.n_seats;
	int32 n_blocks = seatmap_blocks(n_seats);
	bool ours;

	if (slots[i].key.database != MyDatabaseId || n_blocks <= 0 || n_blocks > maps->n_slots)
		return false;
	report->image.n_seats = n_seats;
	report->image.state = palloc_extended(n_blocks * SEATMAP_BLOCK, MCXT_ALLOC_HUGE);
	report->image.block = palloc(n_blocks * sizeof(ImageBlock));
	LWLockAcquire(content_lock(i), LW_SHARED);
	ours = slots[i].key.database == MyDatabaseId && slots[i].map.n_seats == n_seats;
	if (ours)
	{
		report->section_id = slots[i].key.section_id;
		report->map = slots[i].map;
		report->settled = slots[i].settled;
		seatmap_copy(&slots[i].map, slot_blocks(&slots[i]), DT_NOBEGIN, &report->image);
	}
	LWLockRelease(content_lock(i));
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
	for (int i = 0; i < maps->n_slots; i++)
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
