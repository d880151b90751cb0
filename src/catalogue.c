/*
 * catalogue.c
 *		Performances and prices as the hot calls read them: from a cache of
 *		each backend.
 *
 * A statement trigger on the tables sends a relcache invalidation, which like
 * every invalidation travels with the commit; the callback empties the cache.
 * It is filled from the latest committed rows, never from a transaction's old
 * snapshot, so what a backend has is never older than the last message.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "commands/trigger.h"
#include "relation.h"
#include "seat.h"
#include "ticket.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(ticket_catalogue_follow);

typedef struct SectionPrice
{
	int64 section_id;
	int64 price;
} SectionPrice;

/* Emptied when it has grown past this. */
#define MAX_CACHED 10000

static HTAB *performances = NULL;
static HTAB *sections = NULL;
static bool valid = false;

/* The tables it was filled from, to know their invalidations by. */
static Oid performance_oid = InvalidOid;
static Oid section_oid = InvalidOid;

static void
catalogue_forget(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == performance_oid || relid == section_oid)
		valid = false;
}

void
catalogue_init(void)
{
	CacheRegisterRelcacheCallback(catalogue_forget, (Datum) 0);
}

static HTAB *
make_cache(const char *name, Size entry_size)
{
	HASHCTL info = {.keysize = sizeof(int64), .entrysize = entry_size, .hcxt = TopMemoryContext};

	return hash_create(name, 64, &info, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
ensure_caches(void)
{
	if (valid && hash_get_num_entries(performances) < MAX_CACHED &&
		hash_get_num_entries(sections) < MAX_CACHED)
		return;
	if (performances)
		hash_destroy(performances);
	if (sections)
		hash_destroy(sections);
	performances = sections = NULL;
	performances = make_cache("ticket performances", sizeof(Performance));
	sections = make_cache("ticket sections", sizeof(SectionPrice));
	performance_oid = relation_oid(REL_PERFORMANCE);
	section_oid = relation_oid(REL_SECTION);
	valid = true;
}

static int64
column_int64(RowScan *scan, HeapTuple row, int column, int64 if_null)
{
	bool isnull;
	Datum value = row_get(scan, row, column, &isnull);

	return isnull ? if_null : DatumGetInt64(value);
}

static bool
performance_read(int64 performance_id, Performance *performance)
{
	RowScan scan;
	ScanKeyData key;
	HeapTuple row;
	bool isnull;

	ScanKeyInit(&key, COL_PERFORMANCE_ID, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(performance_id));
	row_scan_begin(&scan, REL_PERFORMANCE, REL_PERFORMANCE_PKEY, 1, &key);
	row = row_scan_next(&scan);
	if (row)
	{
		performance->performance_id = performance_id;
		performance->queue_id = column_int64(&scan, row, COL_PERFORMANCE_QUEUE_ID, 0);
		performance->starts_at = column_int64(&scan, row, COL_PERFORMANCE_STARTS_AT, 0);
		performance->sale_opens_at =
			column_int64(&scan, row, COL_PERFORMANCE_SALE_OPENS_AT, DT_NOBEGIN);
		performance->sale_closes_at =
			column_int64(&scan, row, COL_PERFORMANCE_SALE_CLOSES_AT, DT_NOEND);
		performance->hold_us = interval_us(
			DatumGetIntervalP(row_get(&scan, row, COL_PERFORMANCE_HOLD_INTERVAL, &isnull)));
		performance->max_hold_us =
			interval_us(DatumGetIntervalP(row_get(&scan, row, COL_PERFORMANCE_MAX_HOLD, &isnull)));
		performance->max_seats =
			DatumGetInt32(row_get(&scan, row, COL_PERFORMANCE_MAX_SEATS, &isnull));
		performance->scheduled =
			strcmp(TextDatumGetCString(row_get(&scan, row, COL_PERFORMANCE_STATUS, &isnull)),
				   "scheduled") == 0;
	}
	row_scan_end(&scan);
	return row != NULL;
}

bool
performance_get(int64 performance_id, Performance *performance)
{
	Performance *cached;

	ensure_caches();
	cached = hash_search(performances, &performance_id, HASH_FIND, NULL);
	if (cached)
	{
		*performance = *cached;
		return true;
	}
	if (!performance_read(performance_id, performance))
		return false;
	/* Reading may have taken in an invalidation: then keep nothing. */
	if (valid)
	{
		bool found;

		cached = hash_search(performances, &performance_id, HASH_ENTER, &found);
		*cached = *performance;
	}
	return true;
}

/* The price of its seats, or SECTION_WITHDRAWN. */
int64
section_price(int64 section_id)
{
	SectionPrice *cached;
	RowScan scan;
	ScanKeyData key;
	HeapTuple row;
	int64 price;

	ensure_caches();
	cached = hash_search(sections, &section_id, HASH_FIND, NULL);
	if (cached)
		return cached->price;

	ScanKeyInit(&key, COL_SECTION_ID, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(section_id));
	row_scan_begin(&scan, REL_SECTION, REL_SECTION_PKEY, 1, &key);
	row = row_scan_next(&scan);
	if (row == NULL)
		elog(ERROR, "section %lld does not exist", (long long) section_id);
	price = column_int64(&scan, row, COL_SECTION_PRICE, 0);
	if (column_int64(&scan, row, COL_SECTION_WITHDRAWN_AT, DT_NOEND) != DT_NOEND)
		price = SECTION_WITHDRAWN;
	row_scan_end(&scan);
	if (valid)
	{
		bool found;

		cached = hash_search(sections, &section_id, HASH_ENTER, &found);
		cached->price = price;
	}
	return price;
}

/*
 * Trigger of ticket.performance and ticket.section, after each statement:
 * tells every backend, at commit, to read them again.
 */
Datum
ticket_catalogue_follow(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "catalogue_follow() was not called by trigger manager");
	CacheInvalidateRelcache(trigger->tg_relation);
	return PointerGetDatum(NULL);
}
