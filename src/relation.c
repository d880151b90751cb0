/*
 * relation.c
 *		The extension's tables as C sees them.  See relation.h.
 */
#include "postgres.h"

#include "relation.h"

#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "ticket.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

static const char *const relation_name[NUM_RELATIONS] = {
	[REL_QUEUE] = "queue",
	[REL_QUEUE_ENTRY] = "queue_entry",
	[REL_QUEUE_ENTRY_PKEY] = "queue_entry_pkey",
	[REL_QUEUE_ENTRY_LIVE_USER] = "queue_entry_live_user",
	[REL_PERFORMANCE] = "performance",
	[REL_PERFORMANCE_PKEY] = "performance_pkey",
	[REL_SECTION] = "section",
	[REL_SECTION_PKEY] = "section_pkey",
	[REL_SECTION_PERFORMANCE] = "section_performance_id_name_key",
	[REL_SEAT] = "seat",
	[REL_SEAT_PKEY] = "seat_pkey",
	[REL_RESERVATION] = "reservation",
	[REL_RESERVATION_PKEY] = "reservation_pkey",
	[REL_RESERVATION_USER] = "reservation_user_performance",
	[REL_HOLD_TIMER] = "hold_timer",
	[REL_HOLD_TIMER_DUE] = "hold_timer_due",
	[REL_OUTBOX] = "outbox",
	[REL_OUTBOX_PKEY] = "outbox_pkey",
	[REL_USER_BLOCK] = "user_block",
	[REL_USER_BLOCK_PKEY] = "user_block_pkey",
	[REL_NUMBER_KEY] = "number_key",
	[REL_RESERVATION_KEY] = "reservation_idempotency",
	[REL_RESERVATION_NUMBERS] = "reservation_reservation_id_seq",
	[REL_ACCOUNT] = "account",
	[REL_ACCOUNT_PKEY] = "account_pkey",
	[REL_PAYMENT] = "payment",
	[REL_PAYMENT_KEY] = "payment_idempotency",
	[REL_PAYMENT_NUMBERS] = "payment_payment_id_seq",
	[REL_LEDGER] = "ledger",
	[REL_LEDGER_NUMBERS] = "ledger_ledger_id_seq",
	[REL_HISTORY] = "history",
	[REL_HISTORY_DEFAULT] = "history_default",
};

/* Looked up once; forgotten when the catalogue says one of them changed. */
static Oid relation_cache[NUM_RELATIONS];
static Oid owner_cache = InvalidOid;

static void
relation_forget(Datum arg, Oid relid)
{
	bool ours = relid == InvalidOid;

	for (int i = 0; i < NUM_RELATIONS && !ours; i++)
		ours = relation_cache[i] == relid;
	if (ours)
	{
		memset(relation_cache, 0, sizeof(relation_cache));
		owner_cache = InvalidOid;
	}
}

void
relation_init(void)
{
	CacheRegisterRelcacheCallback(relation_forget, (Datum) 0);
}

Oid
relation_oid(TicketRelation which)
{
	if (!OidIsValid(relation_cache[which]))
	{
		Oid oid = get_relname_relid(relation_name[which], get_namespace_oid("ticket", false));

		if (!OidIsValid(oid))
			elog(ERROR, "ticket.%s does not exist", relation_name[which]);
		relation_cache[which] = oid;
	}
	return relation_cache[which];
}

/* The owner of the tables, whom our statements run as. */
Oid
relation_owner(void)
{
	if (!OidIsValid(owner_cache))
	{
		HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation_oid(REL_QUEUE_ENTRY)));

		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for ticket.queue_entry");
		owner_cache = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
		ReleaseSysCache(tuple);
	}
	return owner_cache;
}

/*
 * Reads rows as committed by now (and by this transaction), whatever the
 * isolation level.
 */
void
row_scan_begin(RowScan *scan, TicketRelation table, TicketRelation index, int n_keys,
			   ScanKeyData *keys)
{
	/* In this order: the snapshot must show what a wait for the lock was for. */
	scan->relation = table_open(relation_oid(table), AccessShareLock);
	scan->snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan->scan =
		systable_beginscan(scan->relation, relation_oid(index), true, scan->snapshot, n_keys, keys);
}

/* Reads rows as a snapshot shows them. */
void
row_scan_begin_at(RowScan *scan, TicketRelation table, TicketRelation index, int n_keys,
				  ScanKeyData *keys, Snapshot snapshot)
{
	scan->snapshot = RegisterSnapshot(snapshot);
	scan->relation = table_open(relation_oid(table), AccessShareLock);
	scan->scan =
		systable_beginscan(scan->relation, relation_oid(index), true, scan->snapshot, n_keys, keys);
}

HeapTuple
row_scan_next(RowScan *scan)
{
	return systable_getnext(scan->scan);
}

Datum
row_get(RowScan *scan, HeapTuple row, int column, bool *isnull)
{
	return heap_getattr(row, column, RelationGetDescr(scan->relation), isnull);
}

/* A bigint or a timestamptz. */
int64
row_int64(RowScan *scan, HeapTuple row, int column, int64 if_null)
{
	bool isnull;
	Datum value = row_get(scan, row, column, &isnull);

	return isnull ? if_null : DatumGetInt64(value);
}

/*
 * For a REPEATABLE READ transaction that is about to act on what the row says:
 * a row that came to say so after its snapshot is a conflict.
 */
void
row_check_snapshot(RowScan *scan, HeapTuple row)
{
	if (IsolationUsesXactSnapshot() &&
		!table_tuple_satisfies_snapshot(scan->relation, scan->scan->slot,
										GetTransactionSnapshot()) &&
		!TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(row->t_data)))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent update")));
}

void
row_scan_end(RowScan *scan)
{
	systable_endscan(scan->scan);
	UnregisterSnapshot(scan->snapshot);
	table_close(scan->relation, AccessShareLock);
}

/* ---------- many rows by their keys ---------- */

/* Numbers further apart than this are looked up in the index anew. */
#define MAX_GAP 16

/*
 * Reads rows as committed by now, as row_scan_begin() does.  What commits while
 * the search goes on is not seen; what this transaction does is.
 */
void
row_search_begin(RowSearch *search, TicketRelation table, TicketRelation index, const RowKey *key,
				 int n_keys)
{
	search->row.relation = table_open(relation_oid(table), AccessShareLock);
	search->row.snapshot = RegisterSnapshot(GetLatestSnapshot());
	search->row.scan = NULL;
	search->index = index_open(relation_oid(index), AccessShareLock);
	search->slot = table_slot_create(search->row.relation, NULL);
	search->scan = begin_index_scan(search->row.relation, search->index, search->row.snapshot,
									search->index->rd_index->indnkeyatts + 1);
	/* Entries are passed over by what they say, without a look at their rows. */
	search->scan->xs_want_itup = true;
	search->key = key;
	search->n_keys = n_keys;
	search->next = search->run_end = 0;
}

static bool
is_bigint(const RowSearch *search, int column)
{
	return TupleDescAttr(RelationGetDescr(search->index), column - 1)->atttypid == INT8OID;
}

/* A scan for the next key and those near behind it. */
static void
begin_run(RowSearch *search)
{
	int number = search->index->rd_index->indnkeyatts;
	bool wide = is_bigint(search, number);
	const RowKey *first = &search->key[search->next];
	const RowKey *last = first;
	const RowKey *end = search->key + search->n_keys;
	ScanKeyData key[3];

	while (last + 1 < end && last[1].within == first->within &&
		   (uint64) last[1].number - (uint64) last->number <= MAX_GAP)
		last++;
	search->run_end = last + 1 - search->key;
	if (number > 1)
		ScanKeyInit(&key[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(first->within));
	ScanKeyInit(&key[number - 1], number, BTGreaterEqualStrategyNumber, wide ? F_INT8GE : F_INT4GE,
				wide ? Int64GetDatum(first->number) : Int32GetDatum(first->number));
	ScanKeyInit(&key[number], number, BTLessEqualStrategyNumber, wide ? F_INT8LE : F_INT4LE,
				wide ? Int64GetDatum(last->number) : Int32GetDatum(last->number));
	index_rescan(search->scan, key, number + 1, NULL, 0);
}

/* The number that the index entry the scan is at has in its last column. */
static int64
entry_number(const RowSearch *search)
{
	int number = search->index->rd_index->indnkeyatts;
	bool isnull;
	Datum value =
		index_getattr(search->scan->xs_itup, number, RelationGetDescr(search->index), &isnull);

	return is_bigint(search, number) ? DatumGetInt64(value) : DatumGetInt32(value);
}

/*
 * The next row there is, and which key it has; NULL: there are no more.  A key
 * may have none that can be seen; whoever must know looks it up by itself.
 */
HeapTuple
row_search_next(RowSearch *search, int *i)
{
	while (search->next < search->n_keys)
	{
		int64 number;

		if (search->next >= search->run_end)
			begin_run(search);
		if (index_getnext_tid(search->scan, ForwardScanDirection) == NULL)
		{
			search->next = search->run_end;
			continue;
		}
		number = entry_number(search);
		while (search->next < search->run_end && search->key[search->next].number < number)
			search->next++;
		if (search->next >= search->run_end || search->key[search->next].number != number)
			continue;
		search->row.snapshot->curcid = GetCurrentCommandId(false);
		if (index_fetch_heap(search->scan, search->slot))
		{
			*i = search->next++;
			return ExecFetchSlotHeapTuple(search->slot, false, NULL);
		}
	}
	return NULL;
}

void
row_search_end(RowSearch *search)
{
	index_endscan(search->scan);
	ExecDropSingleTupleTableSlot(search->slot);
	index_close(search->index, AccessShareLock);
	UnregisterSnapshot(search->row.snapshot);
	table_close(search->row.relation, AccessShareLock);
}
