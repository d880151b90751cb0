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
#include "relation.h"
#include "ticket.h"
#include "token.h"
#include "trace.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/json.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"
#include "write.h"

PG_FUNCTION_INFO_V1(ticket_event_id);
PG_FUNCTION_INFO_V1(ticket_event_time);
PG_FUNCTION_INFO_V1(ticket_event_payload);
PG_FUNCTION_INFO_V1(ticket_outbox_fetch);

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
	return id_encode(memory_next_event(Max(now, floor + 1)));
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

/* As jsonb_build_object writes it: ISO 8601, in the session's time zone. */
void
event_time(Event *event, const char *key, TimestampTz value)
{
	char *s = JsonEncodeDateTime(NULL, TimestampTzGetDatum(value), TIMESTAMPTZOID, NULL);

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

/* Deletes the row if nobody else has it. */
static bool
take_row(Relation table, HeapTuple row, Snapshot snapshot)
{
	switch (delete_tuple(table, &row->t_self, GetCurrentCommandId(true), snapshot))
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
			elog(ERROR, "event cannot be deleted");
	}
	return false;
}

/*
 * Takes up to max_count events out, those of `before` and later excepted (0:
 * none), and hands each to take().  Returns how many.
 */
static int
take_events(int max_count, uint64 before, void (*take)(Relation, HeapTuple, void *), void *arg)
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
		if (take_row(table, row, snapshot))
		{
			take(table, row, arg);
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

/* What is done with each event that is taken out. */
typedef struct Taken
{
	ReturnSetInfo *result; /* where to return it; NULL: nowhere */
	HistoryBatch history;
} Taken;

static void
take_event(Relation table, HeapTuple row, void *arg)
{
	Taken *taken = arg;
	HeapTuple copy = heap_copytuple(row);
	TupleDesc columns = RelationGetDescr(table);
	bool isnull;

	if (taken->result)
		tuplestore_puttuple(taken->result->setResult, copy);
	history_add(&taken->history, heap_getattr(copy, COL_OUTBOX_ID, columns, &isnull),
				heap_getattr(copy, COL_OUTBOX_TYPE, columns, &isnull),
				heap_getattr(copy, COL_OUTBOX_PAYLOAD, columns, &isnull));
}

/*
 * outbox_fetch(max_count int default 100) -> setof ticket.outbox
 *
 * Takes the oldest events out and returns them, in order; they are gone when
 * the caller commits and back when it does not.  Several consumers get
 * different events, and never one while an older one of the same aggregate is
 * with another.
 *
 * Errors: 22023, TK014, TK016.  Locks: rows of outbox in order of id (those
 * that others have are passed over); then new rows of history.
 */
Datum
ticket_outbox_fetch(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	int max_count = arg_count(fcinfo, 0, "max_count", 1, 100000);
	Taken *taken;
	OwnerContext owner;
	int n;

	refuse_standby();
	InitMaterializedSRF(fcinfo, 0);
	owner_begin(&owner);
	taken = palloc0(sizeof(Taken));
	taken->result = (ReturnSetInfo *) fcinfo->resultinfo;
	n = take_events(max_count, 0, take_event, taken);
	history_flush(&taken->history);
	owner_end(&owner);
	metrics_add_at_commit(METRIC_EVENTS_FETCHED, n);
	return (Datum) 0;
}

/*
 * Takes up to max_count events out that nobody has taken for
 * ticket.outbox_retention.  Runs as the owner, connected to SPI.
 */
int
outbox_retire(int max_count)
{
	Taken *taken;
	int n;

	if (ticket_outbox_retention < 0)
		return 0;
	taken = palloc0(sizeof(Taken));
	n = take_events(max_count, stamp_before(ticket_outbox_retention * USECS_PER_SEC), take_event,
					taken);
	history_flush(&taken->history);
	pfree(taken);
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
