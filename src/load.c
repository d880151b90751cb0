/*
 * load.c
 *		Reading the queues of a database from its tables into shared memory,
 *		and following changes that are made to the tables by hand.
 *
 * After a start or a crash shared memory is empty.  The first call that needs
 * a database's queues reads them, once, under a lock the others wait for; as
 * every function that writes a ticket comes through here first, nobody can
 * have an uncommitted ticket at that moment.  When somebody changed the
 * tables without the functions (a restore, a DELETE in psql), triggers mark
 * the database stale and the next call reads again, this time behind a SHARE
 * lock on queue_entry: whoever still has uncommitted tickets is waited for,
 * and their commit callbacks have run when the lock is got, because those run
 * before a transaction's locks are released.
 */
#include "postgres.h"

#include "load.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/dependency.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "compat.h"
#include "executor/executor.h"
#include "metrics.h"
#include "miscadmin.h"
#include "pending.h"
#include "queue.h"
#include "relation.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "ticket.h"
#include "write_statement.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(ticket_require_primary);
PG_FUNCTION_INFO_V1(ticket_queue_follow);
PG_FUNCTION_INFO_V1(ticket_queue_entry_follow);

/* Who was let in earlier, or not at all: after so many one looks back no further. */
#define LOOK_BACK_EARLIER 100
#define LOOK_BACK_NEVER 10000

static object_access_hook_type prev_object_access_hook = NULL;

/* ---------- advisory locks of our own classes ---------- */

/* Exclusive; until the end of the transaction, or of the session. */
bool
class_lock(int class, uint32 key1, uint32 key2, bool session, bool wait)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, key1, key2, class);
	return LockAcquire(&tag, ExclusiveLock, session, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

void
class_unlock(int class, uint32 key1, uint32 key2, bool session)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, key1, key2, class);
	LockRelease(&tag, ExclusiveLock, session);
}

/* ---------- reading ---------- */

static QueueMode
parse_mode(const char *mode)
{
	if (strcmp(mode, "paused") == 0)
		return MODE_PAUSED;
	if (strcmp(mode, "drain") == 0)
		return MODE_DRAIN;
	if (strcmp(mode, "passthrough") == 0)
		return MODE_PASSTHROUGH;
	return MODE_OPEN;
}

/* A row of ticket.queue, whose columns but opens_at and retention are NOT NULL. */
static int64
read_config(TupleTableSlot *row, QueueConfig *config)
{
	bool isnull;
	Datum value;

	memset(config, 0, sizeof(QueueConfig));
#define COLUMN(n) slot_getattr(row, (n), &isnull)
	config->mode = parse_mode(TextDatumGetCString(COLUMN(COL_QUEUE_MODE)));
	config->rejoin_back = strcmp(TextDatumGetCString(COLUMN(COL_QUEUE_REJOIN)), "back") == 0;
	config->capacity = DatumGetInt32(COLUMN(COL_QUEUE_CAPACITY));
	config->promote_count = DatumGetInt32(COLUMN(COL_QUEUE_PROMOTE_COUNT));
	config->promote_interval = interval_us(DatumGetIntervalP(COLUMN(COL_QUEUE_PROMOTE_INTERVAL)));
	config->active_ttl = interval_us(DatumGetIntervalP(COLUMN(COL_QUEUE_ACTIVE_TTL)));
	config->idle_ttl = interval_us(DatumGetIntervalP(COLUMN(COL_QUEUE_IDLE_TTL)));
	value = COLUMN(COL_QUEUE_OPENS_AT);
	config->opens_at = isnull ? DT_NOBEGIN : DatumGetTimestampTz(value);
	config->poll_front = interval_us(DatumGetIntervalP(COLUMN(COL_QUEUE_POLL_FRONT)));
	config->poll_back = interval_us(DatumGetIntervalP(COLUMN(COL_QUEUE_POLL_BACK)));
	config->poll_back_position = DatumGetInt32(COLUMN(COL_QUEUE_POLL_BACK_POSITION));
	config->outflow_window = interval_us(DatumGetIntervalP(COLUMN(COL_QUEUE_OUTFLOW_WINDOW)));
	config->wait_step = interval_us(DatumGetIntervalP(COLUMN(COL_QUEUE_WAIT_STEP)));
	config->announce = DatumGetBool(COLUMN(COL_QUEUE_ANNOUNCE));
	value = COLUMN(COL_QUEUE_RETENTION);
	config->retention = isnull ? -1 : interval_us(DatumGetIntervalP(value));
	return DatumGetInt64(COLUMN(COL_QUEUE_QUEUE_ID));
#undef COLUMN
}

static void
load_queues(Relation relation, Snapshot snapshot)
{
	TableScanDesc scan = begin_table_scan(relation, snapshot);
	TupleTableSlot *row = table_slot_create(relation, NULL);

	while (table_scan_getnextslot(scan, ForwardScanDirection, row))
	{
		QueueConfig config;
		int64 queue_id = read_config(row, &config);
		Queue *queue = queue_slot_create(queue_id, &config);

		if (queue)
		{
			/* Nobody else sees it before all of its line is there. */
			queue->creator = MyProcPid;
			queue_release(queue);
		}
		else
			ereport(WARNING,
					(errmsg("no shared memory for queue %lld", (long long) queue_id),
					 errhint("Raise ticket.max_queues and restart the server.")));
	}
	ExecDropSingleTupleTableSlot(row);
	table_endscan(scan);
}

/* Takes a row that lives; returns false when the place does not fit. */
static bool
load_entry(TupleTableSlot *row, TimestampTz now, MemoryFull *full)
{
	bool isnull;
	bool ok;
	int64 queue_id = DatumGetInt64(slot_getattr(row, COL_ENTRY_QUEUE_ID, &isnull));
	int64 place = DatumGetInt64(slot_getattr(row, COL_ENTRY_PLACE, &isnull));
	uint64 secret = DatumGetInt64(slot_getattr(row, COL_ENTRY_SECRET, &isnull));
	TimestampTz admitted_at =
		DatumGetTimestampTz(slot_getattr(row, COL_ENTRY_ADMITTED_AT, &isnull));
	bool active = !isnull;
	TimestampTz expires_at =
		active ? DatumGetTimestampTz(slot_getattr(row, COL_ENTRY_EXPIRES_AT, &isnull)) : 0;
	Queue *queue;

	memory_note_entry(queue_id, DatumGetTextPP(slot_getattr(row, COL_ENTRY_USER_ID, &isnull)));
	queue = queue_acquire(queue_id, LW_EXCLUSIVE);
	if (queue == NULL)
		return true;
	ok = queue_take_place(queue, place, secret, full) != 0;
	if (ok && active)
	{
		line_set(queue_line(queue), memory_pool(), place, LINE_ACTIVE, expires_at);
		queue_note_end(queue, expires_at);
		queue->active++;
		queue->stay_us += Max(0, now - admitted_at);
		queue->stays_at = now;
		/* Whom the rate let in within the last interval has used up its tokens. */
		if (admitted_at > now - queue->config.promote_interval)
			queue->bucket = Max(0, queue->bucket - 1);
	}
	else if (ok)
		line_set(queue_line(queue), memory_pool(), place, LINE_WAITING, now);
	queue_release(queue);
	return ok;
}

/* Where the rows stand that live, as their index has it, in the order of the table. */
static ItemPointerData *
find_live(Relation relation, Snapshot snapshot, int64 *n)
{
	Relation index = index_open(relation_oid(REL_QUEUE_ENTRY_LIVE_USER), AccessShareLock);
	IndexScanDesc scan = begin_index_scan(relation, index, snapshot, 0);
	int64 size = 1024;
	ItemPointerData *rows = palloc(size * sizeof(ItemPointerData));
	ItemPointer row;

	*n = 0;
	index_rescan(scan, NULL, 0, NULL, 0);
	while ((row = index_getnext_tid(scan, ForwardScanDirection)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (*n == size)
		{
			size *= 2;
			rows = repalloc_huge(rows, size * sizeof(ItemPointerData));
		}
		rows[(*n)++] = *row;
	}
	index_endscan(scan);
	index_close(index, AccessShareLock);
	qsort(rows, *n, sizeof(ItemPointerData),
		  (int (*)(const void *, const void *)) ItemPointerCompare);
	return rows;
}

/* Reads the rows that live, page by page; those that have ended are not touched. */
static void
load_entries(Relation relation, Snapshot snapshot, TimestampTz now)
{
	TupleTableSlot *row = table_slot_create(relation, NULL);
	IndexFetchTableData *fetch = table_index_fetch_begin(relation);
	int64 n;
	ItemPointerData *rows = find_live(relation, snapshot, &n);
	MemoryFull full;
	bool ok = true;

	for (int64 i = 0; ok && i < n; i++)
	{
		bool again = false;

		CHECK_FOR_INTERRUPTS();
		if (table_index_fetch_tuple(fetch, &rows[i], snapshot, row, &again, NULL))
			ok = load_entry(row, now, &full);
	}
	table_index_fetch_end(fetch);
	ExecDropSingleTupleTableSlot(row);
	pfree(rows);
	if (!ok)
		memory_full_error(&full, "the tickets in ticket.queue_entry do not fit into shared memory");
}

/* What rows that have ended say of a queue. */
typedef struct EndedRows
{
	int64 last_place; /* the last given out, to whomever */
	double used; /* tokens used by those let in within the interval who are out again */
} EndedRows;

/*
 * Looks back from those who wait at who was let in before, in the order of places,
 * which is that of being let in, but for those who were passed over.  It goes no
 * further than it has to: to whom was let in before the interval, or as far as
 * there are tokens.  Where very many left without being let in, it takes the
 * tokens as used rather than read them all.
 */
static void
read_ended(Relation relation, Snapshot snapshot, int64 queue_id, int64 before, TimestampTz since,
		   double tokens, EndedRows *ended)
{
	Relation index = index_open(relation_oid(REL_QUEUE_ENTRY_PKEY), AccessShareLock);
	TupleDesc columns = RelationGetDescr(relation);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple row;
	int earlier = 0;
	int never = 0;

	memset(ended, 0, sizeof(EndedRows));
	ScanKeyInit(&key[0], COL_ENTRY_QUEUE_ID, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(queue_id));
	ScanKeyInit(&key[1], COL_ENTRY_PLACE, BTLessStrategyNumber, F_INT8LT, Int64GetDatum(before));
	scan = systable_beginscan_ordered(relation, index, snapshot, 1, key);
	row = systable_getnext_ordered(scan, BackwardScanDirection);
	if (row)
	{
		bool isnull;

		ended->last_place = DatumGetInt64(heap_getattr(row, COL_ENTRY_PLACE, columns, &isnull));
	}
	systable_endscan_ordered(scan);

	scan = systable_beginscan_ordered(relation, index, snapshot, 2, key);
	while (ended->used < tokens && earlier < LOOK_BACK_EARLIER &&
		   (row = systable_getnext_ordered(scan, BackwardScanDirection)) != NULL)
	{
		bool waited;
		bool lives;
		TimestampTz admitted_at =
			DatumGetTimestampTz(heap_getattr(row, COL_ENTRY_ADMITTED_AT, columns, &waited));

		CHECK_FOR_INTERRUPTS();
		(void) heap_getattr(row, COL_ENTRY_ENDED_AT, columns, &lives);
		if (waited)
			never++;
		else if (admitted_at <= since)
			earlier++;
		else
		{
			never = earlier = 0;
			ended->used += lives ? 0 : 1;
		}
		if (never == LOOK_BACK_NEVER)
			ended->used = tokens;
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
}

/* Which places have been given out, and what is left of the rate, queue by queue. */
static void
load_ended(Relation relation, Snapshot snapshot, TimestampTz now)
{
	int n;
	int64 *ids = queue_ids(&n);

	for (int i = 0; i < n; i++)
	{
		Queue *queue = queue_acquire(ids[i], LW_SHARED);
		EndedRows ended;
		TimestampTz since;
		int64 first;
		double tokens;

		if (queue == NULL)
			continue;
		first = line_next(queue_line(queue), memory_pool(), LINE_WAITING, 0);
		since = now - queue->config.promote_interval;
		tokens = queue->bucket;
		queue_release(queue);
		read_ended(relation, snapshot, ids[i], first ? first : PG_INT64_MAX, since, tokens, &ended);
		queue = queue_acquire(ids[i], LW_EXCLUSIVE);
		if (queue == NULL)
			continue;
		queue_line(queue)->next_place = Max(queue_line(queue)->next_place, ended.last_place + 1);
		queue->bucket = Max(0, queue->bucket - ended.used);
		queue_release(queue);
	}
}

/*
 * Reads the tables, unless another did meanwhile.  Their locks come before the
 * loader's: whoever holds up the SHARE lock, having written by hand, may be
 * about to come here himself.
 */
static void
load_database(bool stale)
{
	LOCKMODE mode = stale ? ShareLock : AccessShareLock;
	Relation queue = table_open(relation_oid(REL_QUEUE), mode);
	Relation entry = table_open(relation_oid(REL_QUEUE_ENTRY), mode);
	bool stale_now;

	class_lock(LOCK_CLASS_LOAD, 0, 0, false, true);
	if ((!database_loaded(&stale_now) || stale_now) && (stale || !stale_now))
	{
		uint64 changes = database_begin_load();
		Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
		TimestampTz now = clock_now();

		database_clear(MyDatabaseId, false);
		/*
		 * Others wait for this, so a timeout of the one who happens to read waits
		 * until it is done: else each would begin anew, and nobody get in.
		 */
		HOLD_CANCEL_INTERRUPTS();
		load_queues(queue, snapshot);
		load_entries(entry, snapshot, now);
		load_ended(entry, snapshot, now);
		database_end_load(changes);
		RESUME_CANCEL_INTERRUPTS();
		metrics_add(METRIC_QUEUE_READS, 1);
		UnregisterSnapshot(snapshot);
	}
	class_unlock(LOCK_CLASS_LOAD, 0, 0, false);
	table_close(entry, mode);
	table_close(queue, mode);
}

void
refuse_standby(void)
{
	memory_require();
	if (RecoveryInProgress())
		ticket_error(ERROR_STANDBY, NULL, "Send it to the primary.",
					 "this server is a standby and changes nothing");
}

/* require_primary() -> void; TK016 on a standby, TK014.  No locks. */
Datum
ticket_require_primary(PG_FUNCTION_ARGS)
{
	refuse_standby();
	PG_RETURN_VOID();
}

/* Whether this transaction may have written tickets, or is about to. */
static bool
locks_entries(void)
{
	Relation entry = RelationIdGetRelation(relation_oid(REL_QUEUE_ENTRY));
	bool locks;

	/* The extension is just being dropped. */
	if (!RelationIsValid(entry))
		return false;
	locks = CheckRelationLockedByMe(entry, RowExclusiveLock, false);
	RelationClose(entry);
	return locks;
}

/*
 * To be called before shared memory of queues is used.  A transaction that
 * has changes of its own pending goes on with what is there: its own rows
 * would be read as if they had committed.  So does one that has locked the table
 * to write: two such would wait for each other.
 */
void
queues_ready(void)
{
	bool stale;

	memory_require();
	while (!database_loaded(&stale) || (stale && !pending_any() && !locks_entries()))
	{
		refuse_standby();
		load_database(stale);
	}
}

/*
 * The queue, locked, or NULL when it has no slot.  While the tables are read
 * again it has none either: that is waited for.
 */
Queue *
queue_open(int64 queue_id, LWLockMode mode)
{
	Queue *queue;
	uint64 loads;

	queues_ready();
	queue = queue_acquire(queue_id, mode);
	if (queue)
		return queue;
	do
	{
		CHECK_FOR_INTERRUPTS();
		loads = database_loads();
		queues_ready();
		queue = queue_acquire(queue_id, mode);
	} while (queue == NULL && loads != database_loads());
	return queue;
}

/* ---------- following changes made by hand ---------- */

static bool
has_entries(int64 queue_id)
{
	ScanKeyData key;
	RowScan scan;
	bool found;

	ScanKeyInit(&key, COL_ENTRY_QUEUE_ID, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(queue_id));
	row_scan_begin(&scan, REL_QUEUE_ENTRY, REL_QUEUE_ENTRY_PKEY, 1, &key);
	found = HeapTupleIsValid(row_scan_next(&scan));
	row_scan_end(&scan);
	return found;
}

/*
 * Trigger of ticket.queue: after each row, after TRUNCATE, and before a DELETE
 * statement, so that what lives is known while the rows are still there.
 *
 * Settings reach shared memory at commit; a new queue takes its slot now, so
 * that a full memory is told to who creates it (TK004).  A queue with live
 * tickets cannot be deleted (TK009), nor its number changed (TK009); those
 * that have ended are deleted with it.
 */
Datum
ticket_queue_follow(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TupleTableSlot *row;
	QueueConfig config;
	bool stale;
	int64 queue_id;

	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "queue_follow() was not called by trigger manager");
	memory_require();
	if (TRIGGER_FIRED_BEFORE(trigger->tg_event))
	{
		/* Of a DELETE: whether tickets live must be known before rows go. */
		queues_ready();
		return PointerGetDatum(NULL);
	}
	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
	{
		pending_stale();
		return PointerGetDatum(NULL);
	}
	/* What is not in memory yet will be read with this change. */
	if (!database_loaded(&stale))
	{
		pending_stale();
		return PointerGetDatum(NULL);
	}

	row = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newslot : trigger->tg_trigslot;
	queue_id = read_config(row, &config);
	/* Rows show before callbacks run: so that the last change is applied last. */
	class_lock(LOCK_CLASS_CONFIG, (uint32) queue_id, 0, false, true);
	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
	{
		pending_new_queue(queue_id, &config);
		/* Its tickets may have been restored before it. */
		if (has_entries(queue_id))
			pending_stale();
	}
	else if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
	{
		int64 live;
		int busy;

		if (!pending_drop_queue(queue_id, &live, &busy))
			ticket_error(ERROR_WRONG_STATE,
						 psprintf("%lld wait or are active, %d transactions are changing it.",
								  (long long) live, busy),
						 "Set mode to 'drain' and wait, or send everybody home with queue_clear.",
						 "queue %lld still has live tickets", (long long) queue_id);
		queue_prune_all(queue_id);
	}
	else
	{
		QueueConfig old;

		if (read_config(trigger->tg_trigslot, &old) != queue_id)
			ticket_error(ERROR_WRONG_STATE, NULL, NULL, "the number of a queue cannot be changed");
		pending_config(queue_id, &config);
	}
	return PointerGetDatum(NULL);
}

/*
 * Trigger of ticket.queue_entry, after each statement: one that is not ours
 * makes the index in shared memory stale.
 */
Datum
ticket_queue_entry_follow(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "queue_entry_follow() was not called by trigger manager");
	memory_require();
	if (!is_own_write())
		pending_stale();
	return PointerGetDatum(NULL);
}

/* DROP DATABASE and DROP EXTENSION give the slots back when they commit. */
static void
load_object_access(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	if (prev_object_access_hook)
		prev_object_access_hook(access, class, object, sub, arg);
	if (access != OAT_DROP || !ticket_preloaded)
		return;
	if (class == DatabaseRelationId)
		pending_drop_database(object);
	else if (class == ExtensionRelationId && object == get_extension_oid("ticket", true))
		pending_drop_database(MyDatabaseId);
}

void
load_init(void)
{
	prev_object_access_hook = object_access_hook;
	object_access_hook = load_object_access;
}
