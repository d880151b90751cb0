/*
 * map_memory.c
 *		Seat maps in shared memory: who has which slot.
 *
 * A section that somebody has looked at has a slot: its SeatMap and the blocks
 * with the states of its seats (seatmap.h).  ticket.max_map_seats sizes it all;
 * when it is full, sections that nobody has looked at for a while give way, and
 * whoever finds no room reads the table.  So does everyone on a standby, where
 * no transaction would tell us of its changes.
 *
 * What transactions do to it is in map_follow.c, what readers take from it and
 * bring back in map.c.
 *
 * Locks, in order:
 *
 * directory	the hash table, the pool of blocks, which slot is whose.
 *				Shared to look up and to count changes that have no slot,
 *				exclusive to make slots and give them back.
 * content		one of NUM_CONTENT_LOCKS, by slot: its SeatMap and blocks.  A slot
 *				changes hands with both locks held exclusively.
 */
#include "postgres.h"

#include "map_memory.h"

#include "common/hashfn.h"
#include "map.h"
#include "miscadmin.h"
#include "shared_memory.h"
#include "storage/shmem.h"
#include "ticket.h"
#include "utils/hsearch.h"

#define DIRECTORY_LOCK 0
#define FIRST_CONTENT_LOCK 1
#define NUM_CONTENT_LOCKS 64
#define NUM_UNSEEN 1024
#define NUM_WHOLESALE 64

/* Sections that were looked at within this time keep their slots. */
#define KEPT_US (10 * USECS_PER_SEC)

/* Slots that may have to give way for one. */
#define MAX_EVICTIONS 64

typedef struct SlotHashEntry
{
	MapSlotKey key;
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
MapSlot *map_slots = NULL;
static SeatBlock *blocks = NULL;
static SeatPool *pool = NULL;
static HTAB *slot_hash = NULL;
static LWLockPadded *locks = NULL;

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

	size = add_size(size, MAXALIGN(mul_size(block_count(), sizeof(MapSlot))));
	size = add_size(size, MAXALIGN(mul_size(block_count(), sizeof(SeatBlock))));
	return add_size(size, MAXALIGN(offsetof(SeatPool, taken) + block_count() * sizeof(bool)));
}

static int
hash_size(void)
{
	return Max(1, block_count());
}

static Size
hash_room(void)
{
	return hash_estimate_size(hash_size(), sizeof(SlotHashEntry));
}

static int
lock_count(void)
{
	return FIRST_CONTENT_LOCK + NUM_CONTENT_LOCKS;
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
		memset(&map_slots[i], 0, sizeof(MapSlot));
		map_slots[i].next_free = i + 1 < maps->n_slots ? i + 1 : -1;
		pg_atomic_init_u64(&map_slots[i].looked_at, 0);
	}
	seatpool_init(pool, block_count());
}

static void
map_startup(void *piece, bool found, LWLockPadded *piece_locks)
{
	char *at = piece;
	HASHCTL info = {.keysize = sizeof(MapSlotKey), .entrysize = sizeof(SlotHashEntry)};

	maps = (Maps *) at;
	at += MAXALIGN(sizeof(Maps));
	map_slots = (MapSlot *) at;
	at += MAXALIGN(block_count() * sizeof(MapSlot));
	blocks = (SeatBlock *) at;
	at += MAXALIGN(block_count() * sizeof(SeatBlock));
	pool = (SeatPool *) at;
	slot_hash = init_shared_hash("ticket map sections", hash_size(), &info,
								 HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
	locks = piece_locks;
	if (!found)
		init_maps();
}

static const SharedPiece map_piece = {"ticket map", maps_size, hash_room, lock_count, map_startup};

void
map_memory_init(void)
{
	shared_piece(&map_piece);
}

/* False: the library is not preloaded. */
bool
map_attached(void)
{
	return maps != NULL;
}

int
map_n_slots(void)
{
	return maps->n_slots;
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
uint64
map_next_version(void)
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

LWLock *
map_directory_lock(void)
{
	return &locks[DIRECTORY_LOCK].lock;
}

LWLock *
map_content_lock(int slot)
{
	return &locks[FIRST_CONTENT_LOCK + slot % NUM_CONTENT_LOCKS].lock;
}

MapSlotKey
map_slot_key(int64 section_id)
{
	return (MapSlotKey){section_id, MyDatabaseId};
}

pg_atomic_uint32 *
map_unseen_changes(const MapSlotKey *key)
{
	return &maps->unseen[hash_bytes((const unsigned char *) key, sizeof(MapSlotKey)) % NUM_UNSEEN];
}

pg_atomic_uint32 *
map_wholesale_changes(uint64 database)
{
	return &maps->wholesale[database % NUM_WHOLESALE];
}

SeatBlock *
map_slot_blocks(const MapSlot *slot)
{
	return blocks + slot->first_block;
}

/* With the directory lock held. */
int
map_slot_find(const MapSlotKey *key)
{
	SlotHashEntry *entry = hash_search(slot_hash, key, HASH_FIND, NULL);

	return entry ? entry->slot : -1;
}

/* A slot seen before, its content locked, unless it has changed hands since. */
MapSlot *
map_slot_acquire(int i, uint32 generation, LWLockMode mode)
{
	LWLockAcquire(map_content_lock(i), mode);
	if (map_slots[i].generation == generation)
		return &map_slots[i];
	LWLockRelease(map_content_lock(i));
	return NULL;
}

void
map_slot_release(MapSlot *slot)
{
	LWLockRelease(map_content_lock(slot - map_slots));
}

/* With the directory lock held exclusively. */
static void
slot_free(MapSlot *slot)
{
	LWLockAcquire(map_content_lock(slot - map_slots), LW_EXCLUSIVE);
	hash_search(slot_hash, &slot->key, HASH_REMOVE, NULL);
	seatpool_give(pool, slot->first_block, slot->n_blocks);
	slot->key.database = InvalidOid;
	slot->generation++;
	slot->next_free = maps->free_slot;
	maps->free_slot = slot - map_slots;
	LWLockRelease(map_content_lock(slot - map_slots));
}

/*
 * With the directory lock held exclusively: gives back the slot that was not
 * looked at for longest, if that is long enough and nothing is in flight there.
 */
static bool
evict_one(TimestampTz now)
{
	MapSlot *oldest = NULL;
	uint64 before = (uint64) (now - KEPT_US);

	for (int i = 0; i < maps->n_slots; i++)
	{
		uint64 looked_at = pg_atomic_read_u64(&map_slots[i].looked_at);

		/* A mark needs the directory lock: none can come now. */
		if (map_slots[i].key.database == InvalidOid || looked_at >= before ||
			map_slots[i].map.in_flight > 0)
			continue;
		before = looked_at;
		oldest = &map_slots[i];
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

bool
map_slot_fits(const MapSlot *slot, const Section *section)
{
	return slot->map.first_seat == section->first_seat && slot->map.n_seats == section->n_seats;
}

/* With the directory lock held exclusively; -1: there is no room. */
static int
slot_make(const MapSlotKey *key, const Section *section, TimestampTz now, bool evict)
{
	int32 n_blocks = seatmap_blocks(section->n_seats);
	int32 first_block = take_blocks(n_blocks, now, evict);
	SlotHashEntry *entry;
	MapSlot *slot;

	if (first_block < 0)
		return -1;
	/* There are as many slots as blocks, and each has one at least. */
	slot = &map_slots[maps->free_slot];
	LWLockAcquire(map_content_lock(slot - map_slots), LW_EXCLUSIVE);
	maps->free_slot = slot->next_free;
	entry = hash_search(slot_hash, key, HASH_ENTER_NULL, NULL);
	Assert(entry);
	entry->slot = slot - map_slots;
	slot->key = *key;
	slot->generation++;
	slot->first_block = first_block;
	slot->n_blocks = n_blocks;
	slot->settled = false;
	pg_atomic_write_u64(&slot->looked_at, (uint64) now);
	seatmap_init(&slot->map, map_slot_blocks(slot), section->first_seat, section->n_seats,
				 map_next_version());
	LWLockRelease(map_content_lock(slot - map_slots));
	return slot - map_slots;
}

/*
 * A slot for a section, or the one it has; one of other measure is made anew.
 * Returns -1 when there is no room; `evict`: others may give way.
 */
int
map_slot_create(const Section *section, TimestampTz now, bool evict, uint32 *generation)
{
	MapSlotKey key = map_slot_key(section->section_id);
	int i;

	LWLockAcquire(map_directory_lock(), LW_EXCLUSIVE);
	i = map_slot_find(&key);
	if (i >= 0 && !map_slot_fits(&map_slots[i], section) && map_slots[i].map.in_flight == 0)
	{
		slot_free(&map_slots[i]);
		i = -1;
	}
	if (i < 0)
		i = slot_make(&key, section, now, evict);
	if (i >= 0)
		*generation = map_slots[i].generation;
	LWLockRelease(map_directory_lock());
	return i;
}

/* With the directory lock held exclusively; false: there was nothing in flight. */
static bool
slot_forget(MapSlot *slot)
{
	bool marked;

	LWLockAcquire(map_content_lock(slot - map_slots), LW_EXCLUSIVE);
	marked = slot->map.in_flight > 0;
	if (marked)
	{
		seatmap_forget(&slot->map, map_slot_blocks(slot));
		slot->map.version = map_next_version();
	}
	LWLockRelease(map_content_lock(slot - map_slots));
	return marked;
}

/*
 * Gives back the slots of a database; those with marks of other transactions
 * only forget what they have, unless the seats themselves are gone.
 */
void
map_clear_database(uint64 database, bool gone)
{
	LWLockAcquire(map_directory_lock(), LW_EXCLUSIVE);
	for (int i = 0; i < maps->n_slots; i++)
		if (map_slots[i].key.database == database && (gone || !slot_forget(&map_slots[i])))
			slot_free(&map_slots[i]);
	LWLockRelease(map_directory_lock());
}
