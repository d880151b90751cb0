/*
 * memory.c
 *		Layout and life of the shared memory.  See memory.h for the locks.
 *
 * One allocation, sized by ticket.max_queues and ticket.max_waiting at server
 * start: the filter of users, the header, the Database entries, the Queue slots,
 * a Line for each slot, the pool of pages.  Beside it a hash table from
 * (database, queue_id) to slot.
 */
#include "postgres.h"

#include "memory.h"

#include "common/hashfn.h"
#include "compat.h"
#include "filter.h"
#include "miscadmin.h"
#include "shared_memory.h"
#include "storage/shmem.h"
#include "ticket.h"
#include "utils/hsearch.h"

#define DIRECTORY_LOCK 0
#define POOL_LOCK 1
#define FIRST_QUEUE_LOCK 2

/* How long one who asks for many lets others go first, at most. */
#define GIVE_WAY_NAPS 20
#define GIVE_WAY_NAP_US 10

typedef struct Memory
{
	int max_queues;
	int64 max_places;
	uint32 n_pages;
	pg_atomic_uint64 places; /* taken, over all queues */
} Memory;

typedef struct QueueHashEntry
{
	QueueKey key;
	int slot;
} QueueHashEntry;

static Memory *memory = NULL;
static Filter *entered = NULL;
static Database *databases = NULL;
static Queue *queues = NULL;
static char *lines = NULL;
static LinePool *pool = NULL;
static HTAB *queue_hash = NULL;
static LWLockPadded *locks = NULL;
static pg_atomic_uint32 *wanted = NULL; /* by slot: how many wait to change the queue */

/* ---------- start ---------- */

/* A line has at most one page that is not as full as the others: see line.h. */
static uint32
page_count(void)
{
	return line_max_pages(ticket_max_waiting) - 1 + ticket_max_queues;
}

/* One queue may have all the places, and pages of every era. */
static uint32
line_max_entries(void)
{
	return line_max_pages(ticket_max_waiting) + (uint32) (LINE_MAX_PLACE >> 32);
}

static Size
line_stride(void)
{
	return MAXALIGN(line_size(line_max_entries()));
}

/* Twice as many users as may be in: most will not be forgotten while they are. */
static uint64
filter_room(void)
{
	return (uint64) ticket_max_waiting * 2;
}

static Size
memory_size(void)
{
	Size size = add_size(filter_size(filter_room()), MAXALIGN(sizeof(Memory)));

	size = add_size(size, MAXALIGN(mul_size(ticket_max_queues, sizeof(Database))));
	size = add_size(size, MAXALIGN(mul_size(ticket_max_queues, sizeof(Queue))));
	size = add_size(size, MAXALIGN(mul_size(ticket_max_queues, sizeof(pg_atomic_uint32))));
	size = add_size(size, mul_size(ticket_max_queues, line_stride()));
	return add_size(size, line_pool_size(page_count()));
}

static Size
hash_size(void)
{
	return hash_estimate_size(ticket_max_queues, sizeof(QueueHashEntry));
}

static int
lock_count(void)
{
	return FIRST_QUEUE_LOCK + ticket_max_queues;
}

static void
memory_startup(void *piece, bool found, LWLockPadded *piece_locks)
{
	char *at = piece; /* it begins at a cache line */
	HASHCTL info = {.keysize = sizeof(QueueKey), .entrysize = sizeof(QueueHashEntry)};

	entered = (Filter *) at;
	at += filter_size(filter_room());
	memory = (Memory *) at;
	at += MAXALIGN(sizeof(Memory));
	databases = (Database *) at;
	at += MAXALIGN(ticket_max_queues * sizeof(Database));
	queues = (Queue *) at;
	at += MAXALIGN(ticket_max_queues * sizeof(Queue));
	wanted = (pg_atomic_uint32 *) at;
	at += MAXALIGN(ticket_max_queues * sizeof(pg_atomic_uint32));
	lines = at;
	at += ticket_max_queues * line_stride();
	pool = (LinePool *) at;
	queue_hash = init_shared_hash("ticket queues", ticket_max_queues, &info,
								  HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
	locks = piece_locks;

	if (!found)
	{
		filter_init(entered, filter_room());
		memset(memory, 0, sizeof(Memory));
		memory->max_queues = ticket_max_queues;
		memory->max_places = ticket_max_waiting;
		memory->n_pages = page_count();
		pg_atomic_init_u64(&memory->places, 0);
		memset(databases, 0, ticket_max_queues * sizeof(Database));
		memset(queues, 0, ticket_max_queues * sizeof(Queue));
		for (int i = 0; i < ticket_max_queues; i++)
			pg_atomic_init_u32(&wanted[i], 0);
		line_pool_init(pool, page_count());
	}
}

static const SharedPiece memory_piece = {"ticket", memory_size, hash_size, lock_count,
										 memory_startup};

void
memory_init(void)
{
	shared_piece(&memory_piece);
}

/* ---------- slots ---------- */

static LWLock *
directory_lock(void)
{
	return &locks[DIRECTORY_LOCK].lock;
}

static LWLock *
slot_lock(int slot)
{
	return &locks[FIRST_QUEUE_LOCK + slot].lock;
}

/* Who has to wait in order to change a queue is counted: see queue_is_wanted(). */
static void
lock_slot(int slot, LWLockMode mode)
{
	if (mode == LW_SHARED)
		LWLockAcquire(slot_lock(slot), LW_SHARED);
	else if (!LWLockConditionalAcquire(slot_lock(slot), mode))
	{
		pg_atomic_fetch_add_u32(&wanted[slot], 1);
		LWLockAcquire(slot_lock(slot), mode);
		pg_atomic_fetch_sub_u32(&wanted[slot], 1);
	}
}

LinePool *
memory_pool(void)
{
	return pool;
}

int
memory_max_queues(void)
{
	return memory->max_queues;
}

Queue *
memory_queue(int slot)
{
	return &queues[slot];
}

int
queue_slot(const Queue *queue)
{
	return queue - queues;
}

Line *
queue_line(const Queue *queue)
{
	return (Line *) (lines + queue_slot(queue) * line_stride());
}

/* The slot of a key, or -1. */
static int
find_slot(const QueueKey *key)
{
	QueueHashEntry *entry;
	int slot;

	LWLockAcquire(directory_lock(), LW_SHARED);
	entry = hash_search(queue_hash, key, HASH_FIND, NULL);
	slot = entry ? entry->slot : -1;
	LWLockRelease(directory_lock());
	return slot;
}

/*
 * The queue of this database, locked, or NULL when it has no slot.  A session
 * asks for the same queue again and again: its slot is looked for when it is no
 * longer where it was, so that polls don't meet at the directory.
 */
Queue *
queue_acquire(int64 queue_id, LWLockMode mode)
{
	static int slot = 0;
	QueueKey key = {MyDatabaseId, (uint32) queue_id};

	if (queue_id < 1 || queue_id > MAX_QUEUE_ID)
		return NULL;
	for (int attempt = 0; attempt < 2; attempt++)
	{
		Queue *queue = &queues[slot];

		lock_slot(slot, mode);
		if (queue->key.database == key.database && queue->key.queue_id == key.queue_id &&
			(queue->creator == 0 || queue->creator == MyProcPid))
			return queue;
		LWLockRelease(slot_lock(slot));
		if (attempt == 0)
		{
			int found = find_slot(&key);

			if (found < 0)
				return NULL;
			slot = found;
		}
	}
	return NULL;
}

/* A slot seen before, unless it has changed hands since. */
Queue *
queue_acquire_slot(int slot, uint32 generation, LWLockMode mode)
{
	lock_slot(slot, mode);
	if (queues[slot].generation == generation && OidIsValid(queues[slot].key.database))
		return &queues[slot];
	LWLockRelease(slot_lock(slot));
	return NULL;
}

void
queue_release(Queue *queue)
{
	LWLockRelease(slot_lock(queue_slot(queue)));
}

/*
 * Whether somebody waits to change the queue.  Who asks for many tickets holds
 * its lock again and again, shared, and would hardly leave a gap for him: a lock
 * that is free is taken by who is there, not by who is being woken.
 */
bool
queue_is_wanted(const Queue *queue)
{
	return pg_atomic_read_u32(&wanted[queue_slot(queue)]) > 0;
}

/* Releases the queue and lets whoever waits to change it do so, for a millisecond or so. */
void
queue_give_way(Queue *queue)
{
	int slot = queue_slot(queue);

	LWLockRelease(slot_lock(slot));
	for (int i = 0; i < GIVE_WAY_NAPS && pg_atomic_read_u32(&wanted[slot]) > 0; i++)
		pg_usleep(GIVE_WAY_NAP_US);
}

/* A slot for a queue, or the one it has, locked exclusively; NULL when none is left. */
Queue *
queue_slot_create(int64 queue_id, const QueueConfig *config)
{
	QueueKey key = {MyDatabaseId, (uint32) queue_id};
	QueueHashEntry *entry;
	Queue *queue = NULL;
	bool found;

	LWLockAcquire(directory_lock(), LW_EXCLUSIVE);
	entry = hash_search(queue_hash, &key, HASH_FIND, NULL);
	if (entry)
		queue = &queues[entry->slot];
	for (int slot = 0; queue == NULL && slot < memory->max_queues; slot++)
		if (!OidIsValid(queues[slot].key.database))
			queue = &queues[slot];
	if (queue)
	{
		LWLockAcquire(slot_lock(queue_slot(queue)), LW_EXCLUSIVE);
		if (!entry)
		{
			uint32 generation = queue->generation;

			entry = hash_search(queue_hash, &key, HASH_ENTER_NULL, &found);
			Assert(entry && !found);
			entry->slot = queue_slot(queue);
			memset(queue, 0, sizeof(Queue));
			queue->key = key;
			queue->generation = generation + 1;
			line_init(queue_line(queue), line_max_entries());
			queue->bucket = config->promote_count;
			queue->bucket_at = DT_NOBEGIN;
			queue->ends_at = queue->ends_since = DT_NOEND;
		}
		queue->config = *config;
	}
	LWLockRelease(directory_lock());
	return queue;
}

/* With the directory lock and the slot's lock held exclusively. */
static void
slot_clear(Queue *queue)
{
	uint32 page;
	uint64 places = queue_line(queue)->n_taken;

	LWLockAcquire(&locks[POOL_LOCK].lock, LW_EXCLUSIVE);
	while ((page = line_pop_page(queue_line(queue), pool)) != LINE_NO_PAGE)
		line_pool_give(pool, page);
	LWLockRelease(&locks[POOL_LOCK].lock);
	pg_atomic_fetch_sub_u64(&memory->places, places);
	hash_search(queue_hash, &queue->key, HASH_REMOVE, NULL);
	queue->key.database = InvalidOid;
	queue->generation++;
}

void
queue_slot_free(int slot, uint32 generation)
{
	LWLockAcquire(directory_lock(), LW_EXCLUSIVE);
	LWLockAcquire(slot_lock(slot), LW_EXCLUSIVE);
	if (queues[slot].generation == generation && OidIsValid(queues[slot].key.database))
		slot_clear(&queues[slot]);
	LWLockRelease(slot_lock(slot));
	LWLockRelease(directory_lock());
}

/* ---------- places ---------- */

/* What is free again goes back before it is counted as free. */
static void
give_pages(uint32 pages)
{
	if (pages == LINE_NO_PAGE)
		return;
	LWLockAcquire(&locks[POOL_LOCK].lock, LW_EXCLUSIVE);
	line_pool_give(pool, pages);
	LWLockRelease(&locks[POOL_LOCK].lock);
}

/*
 * Makes room for a place in the line; false: no page is left.  That does not
 * happen as long as memory->places is within its bound (line.h, page_count).
 */
static bool
make_room(Line *line, int64 place)
{
	uint32 freed = LINE_NO_PAGE;
	bool room = line_make_room(line, pool, place, &freed);

	give_pages(freed);
	if (!room)
	{
		uint32 page;

		LWLockAcquire(&locks[POOL_LOCK].lock, LW_EXCLUSIVE);
		page = line_pool_take(pool);
		LWLockRelease(&locks[POOL_LOCK].lock);
		room = page != LINE_NO_PAGE && line_add_page(line, pool, place, page);
		if (!room)
			give_pages(page);
	}
	return room;
}

/*
 * Takes a place, the next one if place is 0.  Returns it, or 0, and `full` says
 * why there is none.
 */
int64
queue_take_place(Queue *queue, int64 place, uint64 secret, MemoryFull *full)
{
	Line *line = queue_line(queue);

	if (place == 0)
		place = line->next_place;
	*full = (MemoryFull){.queue_places = line->n_taken};
	if (place < 1 || place > LINE_MAX_PLACE)
	{
		full->shortage = SHORT_OF_NUMBERS;
		return 0;
	}
	full->places = pg_atomic_fetch_add_u64(&memory->places, 1);
	if (full->places < memory->max_places)
	{
		if (make_room(line, place))
		{
			line_take(line, pool, place, secret);
			return place;
		}
		full->shortage = SHORT_OF_PAGES;
	}
	pg_atomic_fetch_sub_u64(&memory->places, 1);
	return 0;
}

/* TK004: says what has run out, and who can do what about it. */
void
memory_full_error(const MemoryFull *full, const char *message)
{
	switch (full->shortage)
	{
		case SHORT_OF_PLACES:
			ticket_error(
				ERROR_QUEUE_FULL,
				psprintf("ticket.max_waiting is %lld: so many places are taken, %lld of them in this queue.",
						 (long long) memory->max_places, (long long) full->queue_places),
				"Try again later; the operator can end what is over with queue_clear, or raise ticket.max_waiting and restart the server.",
				"%s", message);
		case SHORT_OF_PAGES:
			ticket_error(
				ERROR_QUEUE_FULL,
				psprintf("All %u pages of shared memory are in use, for %lld places; ticket.max_waiting is %lld.",
						 memory->n_pages, (long long) full->places,
						 (long long) memory->max_places),
				"The operator can raise ticket.max_waiting and restart the server.", "%s", message);
		case SHORT_OF_NUMBERS:
			ticket_error(ERROR_QUEUE_FULL,
						 psprintf("Places have numbers up to %lld, and the last is given out.",
								  (long long) LINE_MAX_PLACE),
						 "The operator can create another queue.", "%s", message);
	}
	pg_unreachable();
}

/* For TK004 where there is no slot: how many queues there are, and where. */
char *
memory_queues_detail(void)
{
	int used = 0;
	int others = 0;

	LWLockAcquire(directory_lock(), LW_SHARED);
	for (int slot = 0; slot < memory->max_queues; slot++)
	{
		used += OidIsValid(queues[slot].key.database);
		others +=
			OidIsValid(queues[slot].key.database) && queues[slot].key.database != MyDatabaseId;
	}
	LWLockRelease(directory_lock());
	return psprintf("ticket.max_queues is %d: %d have a slot, %d of them in other databases.",
					memory->max_queues, used, others);
}

void
queue_drop_place(Queue *queue, int64 place)
{
	bool dropped;

	give_pages(line_drop(queue_line(queue), pool, place, &dropped));
	if (dropped)
		pg_atomic_fetch_sub_u64(&memory->places, 1);
}

/*
 * Applies that a place waits or is active; if its end has been applied before,
 * that was all.
 */
void
queue_set_place(Queue *queue, int64 place, LineState state, TimestampTz time)
{
	if (line_ended_early(queue_line(queue), pool, place))
		queue_drop_place(queue, place);
	else
		line_set(queue_line(queue), pool, place, state, time);
}

/* One has become active until then. */
void
queue_note_end(Queue *queue, TimestampTz ends_at)
{
	queue->ends_at = Min(queue->ends_at, ends_at);
	queue->ends_since = Min(queue->ends_since, ends_at);
}

/* Applies the end of a place, perhaps before what led to `expected`. */
void
queue_end_place(Queue *queue, int64 place, LineState expected)
{
	bool dropped;

	give_pages(line_end(queue_line(queue), pool, place, expected, &dropped));
	if (dropped)
		pg_atomic_fetch_sub_u64(&memory->places, 1);
}

/* ---------- users ---------- */

static uint64
user_hash(int64 queue_id, const text *user)
{
	return hash_bytes_extended((const unsigned char *) VARDATA_ANY(user), VARSIZE_ANY_EXHDR(user),
							   (uint64) MyDatabaseId << 32 | (uint32) queue_id);
}

/*
 * Whether the user has probably entered the queue lately.  No lock: it is only
 * good for what is right either way.
 */
bool
memory_has_entered(int64 queue_id, const text *user)
{
	return filter_has(entered, user_hash(queue_id, user));
}

void
memory_note_entry(int64 queue_id, const text *user)
{
	filter_add(entered, user_hash(queue_id, user));
}

/* ---------- databases ---------- */

/* With the directory lock held; NULL when there is none and (or no room to) add. */
static Database *
database_entry(Oid database, bool add)
{
	Database *unused = NULL;

	for (int i = 0; i < memory->max_queues; i++)
	{
		if (databases[i].database == database)
			return &databases[i];
		if (!unused && !OidIsValid(databases[i].database))
			unused = &databases[i];
	}
	if (!add || !unused)
		return NULL;
	memset(unused, 0, sizeof(Database));
	unused->database = database;
	return unused;
}

/* Where this database's entry has been; read without the lock. */
static volatile Database *my_entry = NULL;

/*
 * Whether this database's queues have been read.  That they have, and need not
 * be again, is seen without the lock.
 */
bool
database_loaded(bool *stale)
{
	Database *entry;
	bool loaded;

	*stale = false;
	if (my_entry && my_entry->database == MyDatabaseId && my_entry->loaded && !my_entry->stale)
		return true;
	LWLockAcquire(directory_lock(), LW_SHARED);
	entry = database_entry(MyDatabaseId, false);
	loaded = entry && entry->loaded;
	*stale = entry && entry->stale;
	my_entry = entry;
	LWLockRelease(directory_lock());
	return loaded;
}

/* Changes whenever the queues of this database go from memory or are back. */
uint64
database_loads(void)
{
	Database *entry;
	uint64 loads;

	LWLockAcquire(directory_lock(), LW_SHARED);
	entry = database_entry(MyDatabaseId, false);
	loads = entry ? entry->loads : 0;
	LWLockRelease(directory_lock());
	return loads;
}

/*
 * Before the tables are read: sees that there is an entry.  Returns how often
 * they have been changed by hand; to be told to database_end_load().
 */
uint64
database_begin_load(void)
{
	Database *entry;
	uint64 changes = 0;

	LWLockAcquire(directory_lock(), LW_EXCLUSIVE);
	entry = database_entry(MyDatabaseId, true);
	if (entry)
		changes = entry->hand_changes;
	LWLockRelease(directory_lock());
	if (!entry)
		ticket_error(ERROR_QUEUE_FULL,
					 psprintf("ticket.max_queues is %d, and so many databases use the extension.",
							  memory->max_queues),
					 "Raise ticket.max_queues and restart the server.",
					 "no shared memory for another database");
	return changes;
}

/*
 * Shows all others what has been read.  If there have been more changes by now,
 * the tables may have been read too early.
 */
void
database_end_load(uint64 changes)
{
	Database *entry;

	LWLockAcquire(directory_lock(), LW_EXCLUSIVE);
	for (int slot = 0; slot < memory->max_queues; slot++)
	{
		if (queues[slot].key.database != MyDatabaseId)
			continue;
		LWLockAcquire(slot_lock(slot), LW_EXCLUSIVE);
		queues[slot].creator = 0;
		LWLockRelease(slot_lock(slot));
	}
	entry = database_entry(MyDatabaseId, false);
	if (entry)
	{
		entry->loads++;
		entry->loaded = true;
		entry->stale = entry->hand_changes != changes;
	}
	LWLockRelease(directory_lock());
}

void
database_set_stale(void)
{
	Database *entry;

	LWLockAcquire(directory_lock(), LW_EXCLUSIVE);
	entry = database_entry(MyDatabaseId, false);
	if (entry)
	{
		entry->hand_changes++;
		entry->stale = true;
	}
	LWLockRelease(directory_lock());
}

/* Gives back every slot of a database; with forget, its entry as well. */
void
database_clear(Oid database, bool forget)
{
	Database *entry;

	LWLockAcquire(directory_lock(), LW_EXCLUSIVE);
	for (int slot = 0; slot < memory->max_queues; slot++)
	{
		if (queues[slot].key.database != database)
			continue;
		LWLockAcquire(slot_lock(slot), LW_EXCLUSIVE);
		slot_clear(&queues[slot]);
		LWLockRelease(slot_lock(slot));
	}
	entry = database_entry(database, false);
	if (entry)
	{
		entry->loads++;
		entry->loaded = false;
		if (forget)
			entry->database = InvalidOid;
	}
	LWLockRelease(directory_lock());
}

/*
 * Tells commits whom to wake for what is due before `wakes`; NULL: nobody
 * any more.  A runner that was terminated leaves its latch here, which does
 * no harm: latches are never freed, and the next runner sets its own.
 */
void
database_set_runner(Latch *latch, TimestampTz wakes)
{
	Database *entry;

	LWLockAcquire(directory_lock(), LW_EXCLUSIVE);
	entry = database_entry(MyDatabaseId, latch != NULL);
	if (entry)
	{
		entry->runner = latch;
		entry->runner_wakes = wakes;
		if (latch == NULL && !entry->loaded)
			entry->database = InvalidOid;
	}
	LWLockRelease(directory_lock());
}

/*
 * Wakes the runner if it would sleep past due.  Runs in commit callbacks.  That
 * it need not be woken is seen without the lock: a runner first says that it
 * is about to sleep, then looks at what this transaction has changed by now.
 */
void
database_wake_runner(TimestampTz due)
{
	Database *entry;
	Latch *latch = NULL;

	if (my_entry && my_entry->database == MyDatabaseId &&
		(!my_entry->runner || due >= my_entry->runner_wakes))
		return;
	LWLockAcquire(directory_lock(), LW_SHARED);
	entry = database_entry(MyDatabaseId, false);
	if (entry && due < entry->runner_wakes)
		latch = entry->runner;
	LWLockRelease(directory_lock());
	if (latch)
		SetLatch(latch);
}

/* ---------- usage ---------- */

MemoryUsage
memory_usage(void)
{
	MemoryUsage usage = {.max_queues = memory->max_queues,
						 .places = pg_atomic_read_u64(&memory->places),
						 .max_places = memory->max_places,
						 .max_pages = memory->n_pages,
						 .bytes = memory_size()};

	LWLockAcquire(directory_lock(), LW_SHARED);
	usage.queues = hash_get_num_entries(queue_hash);
	LWLockRelease(directory_lock());
	LWLockAcquire(&locks[POOL_LOCK].lock, LW_SHARED);
	usage.pages = memory->n_pages - pool->n_free;
	LWLockRelease(&locks[POOL_LOCK].lock);
	return usage;
}
