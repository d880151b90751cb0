/*
 * map_memory.h
 *		The slots of seat maps in shared memory, for map.c (who reads) and
 *		map_follow.c (what transactions change).
 */
#ifndef TICKET_MAP_MEMORY_H
#define TICKET_MAP_MEMORY_H

#include "postgres.h"

#include "port/atomics.h"
#include "seat.h"
#include "seatmap.h"
#include "storage/lwlock.h"
#include "utils/timestamp.h"

typedef struct MapSlotKey
{
	int64 section_id;
	uint64 database; /* an Oid; wide, so that no byte is left undefined */
} MapSlotKey;

typedef struct MapSlot
{
	MapSlotKey key; /* database InvalidOid: slot is free */
	uint32 generation; /* grows each time the slot changes hands */
	int next_free; /* slot, of free ones; -1: the last */
	int32 first_block;
	int32 n_blocks;
	bool settled; /* every change in flight has its mark */
	pg_atomic_uint64 looked_at;
	SeatMap map;
} MapSlot;

/* As many as map_n_slots(). */
extern MapSlot *map_slots;

extern void map_memory_init(void);
extern bool map_attached(void);
extern int map_n_slots(void);
extern uint64 map_next_version(void);

/* In this order; the content lock is that of a slot. */
extern LWLock *map_directory_lock(void);
extern LWLock *map_content_lock(int slot);

/* Changes in flight of a section without a slot; of a whole database. */
extern pg_atomic_uint32 *map_unseen_changes(const MapSlotKey *key);
extern pg_atomic_uint32 *map_wholesale_changes(uint64 database);

extern MapSlotKey map_slot_key(int64 section_id);
extern int map_slot_find(const MapSlotKey *key);
extern MapSlot *map_slot_acquire(int i, uint32 generation, LWLockMode mode);
extern void map_slot_release(MapSlot *slot);
extern SeatBlock *map_slot_blocks(const MapSlot *slot);
extern bool map_slot_fits(const MapSlot *slot, const Section *section);
extern int map_slot_create(const Section *section, TimestampTz now, bool evict, uint32 *generation);
extern void map_clear_database(uint64 database, bool gone);

#endif /* TICKET_MAP_MEMORY_H */
