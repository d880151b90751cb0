/*
 * outbox.c
 *		Events on their way out.
 */
#include "postgres.h"

#include "outbox.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "funcapi.h"
#include "history.h"
#include "load.h"
#include "memory.h"
#include "metrics.h"
#include "miscadmin.h"
#include "plan.h"
#include "port/pg_bswap.h"
#include "port/atomics.h"
#include "relation.h"
#include "shared_memory.h"
#include "storage/lmgr.h"
#include "tcop/pquery.h"
#include "ticket.h"
#include "token.h"
#include "trace.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"
#include "write.h"

PG_FUNCTION_INFO_V1(ticket_event_id);
PG_FUNCTION_INFO_V1(ticket_event_time);
PG_FUNCTION_INFO_V1(ticket_event_payload);
PG_FUNCTION_INFO_V1(ticket_utc);
PG_FUNCTION_INFO_V1(ticket_outbox_hand_out);
PG_FUNCTION_INFO_V1(ticket_outbox_read);
PG_FUNCTION_INFO_V1(ticket_outbox_ack);

int ticket_outbox_retention = 7 * SECS_PER_DAY;

#define EPOCH_US ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

/* ---------- ids ---------- */

/*
 * A UUID of version 7 (RFC 9562, section 5.7, method 3) has 48 bits of
 * milliseconds, 12 bits of the fraction below, then random bits.  The 60 bits
 * of time are one counter in shared memory that never stands still nor goes
 * back, so ids sort in the order they were given out, over all sessions.
 */
static pg_uuid_t *
id_encode(uint64 stamp)
{
	pg_uuid_t *uuid = palloc(sizeof(pg_uuid_t));
	uint64 half[2];

	half[0] = pg_hton64(((stamp >> 12) << 16) | (UINT64CONST(7) << 12) | (stamp & 0xFFF));
	half[1] = pg_hton64(random_62() | (UINT64CONST(2) << 62));
	memcpy(uuid->data, half, sizeof(half));
	return uuid;
}

/* No id that was given out then or later is lower. */
pg_uuid_t *
event_id_floor(TimestampTz at)
{
	pg_uuid_t *uuid = palloc0(sizeof(pg_uuid_t));
	uint64 half = pg_hton64((uint64) (Max(at + EPOCH_US, 0) / 1000) << 16);

	memcpy(uuid->data, &half, sizeof(half));
	return uuid;
}

/* The 60 bits of time; false: another version of UUID. */
static bool
id_decode(const pg_uuid_t *uuid, uint64 *stamp)
{
	uint64 half;

	memcpy(&half, uuid->data, sizeof(half));
	half = pg_ntoh64(half);
	*stamp = ((half >> 16) << 12) | (half & 0xFFF);
	return ((half >> 12) & 0xF) == 7;
}

bool
event_id_time(const pg_uuid_t *id, TimestampTz *at)
{
	uint64 stamp;

	if (!id_decode(id, &stamp))
		return false;
	/* The fraction was rounded down to its 4096th: up again, so that nothing is lost. */
	*at = (int64) (stamp >> 12) * 1000 + (((stamp & 0xFFF) * 1000 + 4095) >> 12) - EPOCH_US;
	return IS_VALID_TIMESTAMP(*at);
}

/*
 * The clock may be behind what it was when events were written that are still
 * there: it was set back while the server was down, or they come from another
 * server's dump.  So the counter goes on from the highest id in the table,
 * looked for once by each session before its first event.  Any row counts,
 * also one not committed: it may be of a prepared transaction.
 */
static uint64
highest_stamp(void)
{
	Relation table = table_open(relation_oid(REL_OUTBOX), AccessShareLock);
	Relation index = index_open(relation_oid(REL_OUTBOX_PKEY), AccessShareLock);
	SysScanDesc scan = systable_beginscan_ordered(table, index, SnapshotAny, 0, NULL);
	HeapTuple row;
	uint64 stamp = 0;

	while ((row = systable_getnext_ordered(scan, BackwardScanDirection)) != NULL)
	{
		bool isnull;
		Datum id = heap_getattr(row, COL_OUTBOX_ID, RelationGetDescr(table), &isnull);

		if (id_decode(DatumGetUUIDP(id), &stamp))
			break;
		stamp = 0;
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(table, AccessShareLock);
	return stamp;
}

/* Unix time some microseconds ago; a 4096th of a millisecond is one step. */
static uint64
stamp_before(int64 ago)
{
	int64 us = Max(GetCurrentTimestamp() + EPOCH_US - ago, 0);

	return ((uint64) (us / 1000) << 12) | (us % 1000 * 4096 / 1000);
}

/* The last stamp given out, by any session of any database. */
static pg_atomic_uint64 *last_stamp = NULL;

static Size
stamp_size(void)
{
	return sizeof(pg_atomic_uint64);
}

static void
stamp_startup(void *piece, bool found, LWLockPadded *locks)
{
	last_stamp = piece;
	if (!found)
		pg_atomic_init_u64(last_stamp, 0);
}

static const SharedPiece stamp_piece = {"ticket events", stamp_size, NULL, NULL, stamp_startup};

void
event_init(void)
{
	shared_piece(&stamp_piece);
}

/* A stamp above all given before and not below at_least. */
static uint64
next_stamp(uint64 at_least)
{
	uint64 last = pg_atomic_read_u64(last_stamp);
	uint64 next;

	do
		next = Max(last + 1, at_least);
	while (!pg_atomic_compare_exchange_u64(last_stamp, &last, next));
	return next;
}

pg_uuid_t *
event_next_id(void)
{
	static bool looked = false;
	uint64 floor = 0;
	uint64 now;

	memory_require();
	if (!looked)
	{
		floor = highest_stamp();
		looked = true;
	}
	now = stamp_before(0);
	return id_encode(next_stamp(Max(now, floor + 1)));
}

/*
 * event_id() -> uuid
 *
 * The default of outbox.id: a UUID of version 7, above every one before.
 *
 * Errors: TK014.  Locks: none (one atomic).
 */
Datum
ticket_event_id(PG_FUNCTION_ARGS)
{
	return UUIDPGetDatum(event_next_id());
}

/*
 * event_time(id uuid) -> timestamptz
 *
 * When an event was written, by its id; NULL for NULL and for an id that is
 * no UUID of version 7.  By the server's clock: ticket.clock_offset does not
 * move it.  Raises nothing, takes no locks.
 */
Datum
ticket_event_time(PG_FUNCTION_ARGS)
{
	TimestampTz at;

	if (PG_ARGISNULL(0) || !event_id_time(PG_GETARG_UUID_P(0), &at))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(at);
}

/* ---------- payloads ---------- */

void
event_begin(Event *event, const char *type, int version)
{
	event->type = type;
	payload_begin(&event->payload);
	payload_int64(&event->payload, "v", version);
}

void
event_int64(Event *event, const char *key, int64 value)
{
	payload_int64(&event->payload, key, value);
}

void
event_text(Event *event, const char *key, const text *value)
{
	if (value)
		payload_string(&event->payload, key, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
	else
		payload_null(&event->payload, key);
}

/*
 * ISO 8601 in UTC.  In the caller's time zone one moment would be as many texts
 * as there are callers, of which receivers, and the server itself, cannot read
 * all: TimeZone may be 'X+100'.
 */
static char *
utc_text(TimestampTz value)
{
	int utc = 0;

	return JsonEncodeDateTime(NULL, TimestampTzGetDatum(value), TIMESTAMPTZOID, &utc);
}

void
event_time(Event *event, const char *key, TimestampTz value)
{
	char *s = utc_text(value);

	payload_string(&event->payload, key, s, strlen(s));
}

void
event_int32_array(Event *event, const char *key, const int32 *values, int n)
{
	payload_array(&event->payload, key, n);
	for (int i = 0; i < n; i++)
		payload_add_int64(&event->payload, values[i]);
	payload_array_end(&event->payload);
}

void
event_int64_array(Event *event, const char *key, const int64 *values, int n)
{
	payload_array(&event->payload, key, n);
	for (int i = 0; i < n; i++)
		payload_add_int64(&event->payload, values[i]);
	payload_array_end(&event->payload);
}

void
event_text_array(Event *event, const char *key, const Datum *values, int n)
{
	payload_array(&event->payload, key, n);
	for (int i = 0; i < n; i++)
	{
		text *value = DatumGetTextPP(values[i]);

		payload_add_string(&event->payload, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
	}
	payload_array_end(&event->payload);
}

void
event_begin_reservation(Event *event, const char *type, int64 reservation_id, int64 performance_id,
						const text *user, const int32 *seats, int n_seats, int64 amount)
{
	event_begin(event, type, 1);
	event_int64(event, "reservation_id", reservation_id);
	event_int64(event, "performance_id", performance_id);
	event_text(event, "user_id", user);
	event_int32_array(event, "seat_ids", seats, n_seats);
	event_int64(event, "amount", amount);
}

Datum
event_end(Event *event)
{
	char buffer[TRACE_SIZE];
	const char *trace = trace_current(buffer);

	if (trace)
		payload_string(&event->payload, "trace_id", trace, strlen(trace));
	metrics_event(event->type);
	return JsonbPGetDatum(payload_end(&event->payload));
}

/*
 * utc(at timestamptz) -> text
 *
 * For times of events written in SQL: as event_time() writes them; NULL
 * for NULL.  Raises nothing, takes no locks.
 */
Datum
ticket_utc(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(CStringGetTextDatum(utc_text(PG_GETARG_TIMESTAMPTZ(0))));
}

/*
 * event_payload(type text, payload jsonb) -> jsonb
 *
 * For events written in SQL: the payload, with the trace if there is one; the
 * event counts as written.  Raises 22023 for NULLs.  Takes no locks.
 */
Datum
ticket_event_payload(PG_FUNCTION_ARGS)
{
	char buffer[TRACE_SIZE];
	const char *trace;
	Payload more;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ticket_error(ERROR_BAD_ARGUMENT, NULL, NULL, "type and payload must not be NULL");
	metrics_event(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	trace = trace_current(buffer);
	if (trace == NULL)
		return PG_GETARG_DATUM(1);
	payload_begin(&more);
	payload_string(&more, "trace_id", trace, strlen(trace));
	return DirectFunctionCall2(jsonb_concat, PG_GETARG_DATUM(1),
							   JsonbPGetDatum(payload_end(&more)));
}

/* ---------- rows ---------- */

static RowTarget outbox_row = {.table = REL_OUTBOX, .row_size = OUTBOX_ROW_SIZE};

static void
event_row(Event *event, const char *aggregatetype, Datum aggregateid, Datum *values)
{
	values[COL_OUTBOX_ID] = UUIDPGetDatum(event_next_id());
	values[COL_OUTBOX_AGGREGATETYPE] = CStringGetTextDatum(aggregatetype);
	values[COL_OUTBOX_AGGREGATEID] = aggregateid;
	values[COL_OUTBOX_TYPE] = CStringGetTextDatum(event->type);
	values[COL_OUTBOX_PAYLOAD] = event_end(event);
}

void
event_write(Event *event, const char *aggregatetype, Datum aggregateid)
{
	Datum values[OUTBOX_ROW_SIZE];
	bool nulls[OUTBOX_ROW_SIZE] = {false};

	event_row(event, aggregatetype, aggregateid, values);
	row_insert(&outbox_row, values, nulls);
}

void
event_batch_init(EventBatch *batch, int max)
{
	batch->n = 0;
	batch->max = max;
	batch->values = palloc(max * OUTBOX_ROW_SIZE * sizeof(Datum));
	batch->nulls = palloc0(max * OUTBOX_ROW_SIZE * sizeof(bool));
}

void
event_batch_add(EventBatch *batch, Event *event, const char *aggregatetype, Datum aggregateid)
{
	Assert(batch->n < batch->max);
	event_row(event, aggregatetype, aggregateid, batch->values + batch->n * OUTBOX_ROW_SIZE);
	batch->n++;
}

void
event_batch_write(EventBatch *batch)
{
	rows_insert(&outbox_row, batch->n, batch->values, batch->nulls);
	batch->n = 0;
}

/* ---------- taking events out ---------- */

/*
 * Taking events goes through the table by id, past every row that another
 * session has locked or is taking out, and past all later ones of the same
 * aggregate: so that, with any number of consumers, no event is handed to one
 * while an older one of its aggregate is with another that has not committed.
 *
 * Nor can an older one be unseen: it was committed before the younger was
 * written (the aggregate's row lock), so a snapshot that has the younger has
 * it too.
 */

/* Aggregates of which an older event is somebody else's, by their hash. */
static HTAB *
passed_over(void)
{
	HASHCTL info = {.keysize = sizeof(uint64), .entrysize = sizeof(uint64)};

	info.hcxt = CurrentMemoryContext;
	return hash_create("ticket aggregates passed over", 64, &info,
					   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Two aggregates of one hash only wait for each other. */
static uint64
aggregate_hash(Relation table, HeapTuple row)
{
	uint64 hash = 0;

	for (int column = COL_OUTBOX_AGGREGATETYPE; column <= COL_OUTBOX_AGGREGATEID; column++)
	{
		bool isnull;
		text *value = DatumGetTextPP(heap_getattr(row, column, RelationGetDescr(table), &isnull));

		hash = hash_bytes_extended((const unsigned char *) VARDATA_ANY(value),
								   VARSIZE_ANY_EXHDR(value), hash);
	}
	return hash;
}

/* Whether an event was got; if not, somebody else has it, or it is gone. */
static bool
row_got(TM_Result result)
{
	switch (result)
	{
		case TM_Ok:
			return true;
		case TM_SelfModified:
		case TM_Deleted:
		case TM_Updated:
		case TM_BeingModified:
		case TM_WouldBlock:
			return false;
		default:
			elog(ERROR, "event cannot be taken");
	}
	return false;
}

static bool
delete_row(Relation table, HeapTuple row, Snapshot snapshot, bool wait)
{
	TM_FailureData failure;

	return row_got(table_tuple_delete(table, &row->t_self, GetCurrentCommandId(true), snapshot,
									  InvalidSnapshot, wait, &failure, false));
}

/* Deletes the row if nobody has it. */
static bool
take_row(Relation table, HeapTuple row, Snapshot snapshot)
{
	return delete_row(table, row, snapshot, false);
}

/* Locks the row until the end of the transaction, if nobody else has it. */
static bool
lock_row(Relation table, HeapTuple row, Snapshot snapshot)
{
	TupleTableSlot *slot = table_slot_create(table, NULL);
	TM_FailureData failure;
	TM_Result result =
		table_tuple_lock(table, &row->t_self, snapshot, slot, GetCurrentCommandId(false),
						 LockTupleExclusive, LockWaitSkip, 0, &failure);

	ExecDropSingleTupleTableSlot(slot);
	return row_got(result);
}

/*
 * Deletes a row that this transaction has locked, if it still has: a lock goes
 * with its savepoint.  Who must not wait is refused by his own lock, too, so the
 * deletion may; having the lock, it will not.
 */
static bool
take_locked_row(Relation table, HeapTuple row, Snapshot snapshot)
{
	return lock_row(table, row, snapshot) && delete_row(table, row, snapshot, true);
}

/*
 * Goes through up to max_count events that are to be had, those of `before` and
 * later excepted (0: none): get() locks or deletes each, got() has it then.
 * Returns how many.
 */
static int
walk_events(int max_count, uint64 before, bool (*get)(Relation, HeapTuple, Snapshot),
			void (*got)(Relation, HeapTuple, void *), void *arg)
{
	Relation table = table_open(relation_oid(REL_OUTBOX), RowExclusiveLock);
	Relation index = index_open(relation_oid(REL_OUTBOX_PKEY), AccessShareLock);
	Snapshot snapshot = RegisterSnapshot(GetTransactionSnapshot());
	SysScanDesc scan = systable_beginscan_ordered(table, index, snapshot, 0, NULL);
	HTAB *passed = passed_over();
	HeapTuple row;
	int n = 0;

	PreventCommandIfReadOnly("DELETE");
	while (n < max_count && (row = systable_getnext_ordered(scan, ForwardScanDirection)) != NULL)
	{
		uint64 hash = aggregate_hash(table, row);
		uint64 stamp;
		bool isnull;

		CHECK_FOR_INTERRUPTS();
		if (before > 0 &&
			id_decode(DatumGetUUIDP(
						  heap_getattr(row, COL_OUTBOX_ID, RelationGetDescr(table), &isnull)),
					  &stamp) &&
			stamp >= before)
			break;
		if (hash_search(passed, &hash, HASH_FIND, NULL))
			continue;
		if (get(table, row, snapshot))
		{
			got(table, row, arg);
			n++;
		}
		else
			(void) hash_search(passed, &hash, HASH_ENTER, NULL);
	}
	systable_endscan_ordered(scan);
	UnregisterSnapshot(snapshot);
	hash_destroy(passed);
	index_close(index, AccessShareLock);
	table_close(table, RowExclusiveLock);
	CommandCounterIncrement();
	return n;
}

static void
into_history(Relation table, HeapTuple row, void *history)
{
	HeapTuple copy = heap_copytuple(row);
	TupleDesc columns = RelationGetDescr(table);
	bool isnull;

	history_add(history, heap_getattr(copy, COL_OUTBOX_ID, columns, &isnull),
				heap_getattr(copy, COL_OUTBOX_TYPE, columns, &isnull),
				heap_getattr(copy, COL_OUTBOX_PAYLOAD, columns, &isnull));
}

typedef struct HandOut
{
	int n;
	int next; /* as many have been handed out */
	HeapTuple *row;
	TupleDesc columns;
} HandOut;

static void
hand_out_row(Relation table, HeapTuple row, void *arg)
{
	HandOut *out = arg;

	out->row[out->n++] = heap_copytuple(row);
}

static void
hand_out_begin(FuncCallContext *call, int max_count)
{
	HandOut *out = palloc0(sizeof(HandOut));
	Relation table = table_open(relation_oid(REL_OUTBOX), AccessShareLock);

	out->row = MemoryContextAllocHuge(CurrentMemoryContext, max_count * sizeof(HeapTuple));
	out->columns = CreateTupleDescCopy(RelationGetDescr(table));
	table_close(table, AccessShareLock);
	(void) walk_events(max_count, 0, lock_row, hand_out_row, out);
	call->user_fctx = out;
}

/* Takes out what has been handed out.  Runs once, also when the query ends early. */
static void
hand_out_end(Datum arg)
{
	HandOut *out = (HandOut *) DatumGetPointer(arg);
	Relation table;
	OwnerContext owner;
	HistoryBatch *history;
	int n = 0;

	if (out->next == 0)
		return;
	owner_begin(&owner);
	/* At the end of a query its own is gone. */
	PushActiveSnapshot(GetTransactionSnapshot());
	history = palloc0(sizeof(HistoryBatch));
	table = table_open(relation_oid(REL_OUTBOX), RowExclusiveLock);
	for (int i = 0; i < out->next; i++)
	{
		/* Who fetches twice at a time in one transaction may have it twice. */
		if (!take_locked_row(table, out->row[i], GetActiveSnapshot()))
			continue;
		into_history(table, out->row[i], history);
		n++;
	}
	table_close(table, RowExclusiveLock);
	CommandCounterIncrement();
	history_flush(history);
	PopActiveSnapshot();
	owner_end(&owner);
	out->next = 0;
	metrics_add_at_commit(METRIC_EVENTS_FETCHED, n);
}

/*
 * At commit the server reads what is left of a cursor WITH HOLD, and of a query
 * that a procedure is just looping over, and keeps it for later.  Nobody has
 * seen that by then, and nobody may ever.
 */
static void
refuse_to_be_held(void)
{
	if (ActivePortal && ActivePortal->strategy == PORTAL_ONE_SELECT &&
		(ActivePortal->holdStore || (ActivePortal->cursorOptions & CURSOR_OPT_HOLD)))
		ticket_error(ERROR_WRONG_STATE, NULL,
					 "Commit when all of them are read, or use outbox_read and outbox_ack.",
					 "events that are fetched cannot be kept beyond the transaction");
}

/*
 * outbox_hand_out(max_count int) -> setof ticket.outbox
 *
 * What outbox_fetch is made of.  It locks the oldest events, hands them out one
 * by one as the query reads them, and when that ends takes out those it has
 * handed out: so what a LIMIT, or a cursor that is closed early, has not read
 * stays.  outbox_fetch is an SQL function that the planner puts into the query,
 * where this one stands in a target list: a function in FROM would be read to
 * its end before the first row goes out.
 *
 * Errors: 22023, TK009 (a cursor that outlives the transaction), TK014, TK016.
 * Locks: rows of outbox in order of id (those that others have are passed
 * over); then new rows of history.
 */
Datum
ticket_outbox_hand_out(PG_FUNCTION_ARGS)
{
	FuncCallContext *call;
	HandOut *out;
	Datum row;

	if (SRF_IS_FIRSTCALL())
	{
		COUNT_CALL();
		int max_count = arg_count(fcinfo, 0, "max_count", 1, 100000);
		ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
		MemoryContext caller;

		refuse_standby();
		call = SRF_FIRSTCALL_INIT();
		caller = MemoryContextSwitchTo(call->multi_call_memory_ctx);
		hand_out_begin(call, max_count);
		MemoryContextSwitchTo(caller);
		RegisterExprContextCallback(result->econtext, hand_out_end,
									PointerGetDatum(call->user_fctx));
	}
	call = SRF_PERCALL_SETUP();
	out = call->user_fctx;
	refuse_to_be_held();
	if (out->next == out->n)
	{
		UnregisterExprContextCallback(((ReturnSetInfo *) fcinfo->resultinfo)->econtext,
									  hand_out_end, PointerGetDatum(out));
		hand_out_end(PointerGetDatum(out));
		SRF_RETURN_DONE(call);
	}
	row = heap_copy_tuple_as_datum(out->row[out->next++], out->columns);
	SRF_RETURN_NEXT(call, row);
}

static void
show_row(Relation table, HeapTuple row, void *result)
{
	tuplestore_puttuple(((ReturnSetInfo *) result)->setResult, row);
}

/*
 * outbox_read(max_count int default 100) -> setof ticket.outbox
 *
 * The oldest events, in order, locked until the end of the transaction: others
 * get different ones, and none while an older one of the same aggregate is
 * here.  They stay until outbox_ack names them.
 *
 * Errors: 22023, TK014, TK016.  Locks: rows of outbox in order of id (those
 * that others have are passed over).
 */
Datum
ticket_outbox_read(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	int max_count = arg_count(fcinfo, 0, "max_count", 1, 100000);

	refuse_standby();
	InitMaterializedSRF(fcinfo, 0);
	(void) walk_events(max_count, 0, lock_row, show_row, fcinfo->resultinfo);
	return (Datum) 0;
}

/* Takes an event out; false: it is gone, or somebody else has it. */
static bool
ack(RowScan *scan, Datum id, HistoryBatch *history)
{
	ScanKeyData key;
	HeapTuple row;
	bool got = false;

	ScanKeyInit(&key, COL_OUTBOX_ID, BTEqualStrategyNumber, F_UUID_EQ, id);
	row_scan_begin(scan, REL_OUTBOX, REL_OUTBOX_PKEY, 1, &key);
	if ((row = row_scan_next(scan)) != NULL && take_locked_row(scan->relation, row, scan->snapshot))
	{
		into_history(scan->relation, row, history);
		got = true;
	}
	row_scan_end(scan);
	return got;
}

/*
 * outbox_ack(ids uuid[]) -> int
 *
 * Takes out events that have been handed on, in this transaction or before;
 * they are gone when it commits.  Returns how many: those that are gone, or
 * that another consumer has, do not count.
 *
 * Errors: 22023, TK014, TK016.  Locks: those rows of outbox; then new rows of
 * history.
 */
Datum
ticket_outbox_ack(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	ArrayType *ids = PG_ARGISNULL(0) ? NULL : PG_GETARG_ARRAYTYPE_P(0);
	Datum *id;
	int n_ids;
	int n = 0;
	OwnerContext owner;
	HistoryBatch *history;

	if (ids == NULL || ARR_NDIM(ids) > 1 || array_contains_nulls(ids))
		ticket_error(ERROR_BAD_ARGUMENT, NULL, NULL,
					 "ids must be an array of one dimension without NULLs");
	refuse_standby();
	PreventCommandIfReadOnly("DELETE");
	deconstruct_array(ids, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &id, NULL, &n_ids);
	LockRelationOid(relation_oid(REL_OUTBOX), RowExclusiveLock);
	owner_begin(&owner);
	history = palloc0(sizeof(HistoryBatch));
	for (int i = 0; i < n_ids; i++)
	{
		RowScan scan;

		CHECK_FOR_INTERRUPTS();
		n += ack(&scan, id[i], history);
	}
	CommandCounterIncrement();
	history_flush(history);
	owner_end(&owner);
	metrics_add_at_commit(METRIC_EVENTS_FETCHED, n);
	PG_RETURN_INT32(n);
}

/*
 * Takes up to max_count events out that nobody has taken for
 * ticket.outbox_retention.  Runs as the owner, connected to SPI.
 */
int
outbox_retire(int max_count)
{
	HistoryBatch *history;
	int n;

	if (ticket_outbox_retention < 0)
		return 0;
	history = palloc0(sizeof(HistoryBatch));
	n = walk_events(max_count, stamp_before(ticket_outbox_retention * USECS_PER_SEC), take_row,
					into_history, history);
	history_flush(history);
	pfree(history);
	metrics_add_at_commit(METRIC_EVENTS_RETIRED, n);
	return n;
}

void
outbox_init(void)
{
	DefineCustomIntVariable("ticket.outbox_retention",
							"How long events wait in the outbox for a consumer.",
							"Then they are only in the history. -1: for ever.",
							&ticket_outbox_retention, 7 * SECS_PER_DAY, -1, INT_MAX, PGC_SUSET,
							GUC_UNIT_S, NULL, NULL, NULL);
}
