/*
 * catalogue.c
 *		Performances and prices as the hot calls read them: from a cache of
 *		each backend.
 *
 * A statement trigger on the tables sends a relcache invalidation, which like
 * every invalidation travels with the commit; the callback empties the cache.
 * It is that of an index, which stands for all of the tables: with those of the
 * tables every backend would also plan again each statement about seats, and
 * read again what write.c knows of them, for each new date that a seller enters.
 * Those of the tables count, too: without triggers, TRUNCATE and ALTER TABLE
 * send no others.
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
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(ticket_catalogue_follow);

typedef struct SectionPrice
{
	int64 section_id;
	int64 price;
} SectionPrice;

/* Emptied when it has grown past this. */
#define MAX_CACHED 10000

#define MAX_CACHED_RUNS 1000000

typedef struct CachedHall
{
	int64 performance_id;
	Hall *hall;
} CachedHall;

static HTAB *performances = NULL;
static HTAB *sections = NULL;
static HTAB *halls = NULL;
static MemoryContext hall_context = NULL; /* the halls' contexts are below */
static int cached_runs = 0;
static bool valid = false;

/* The index whose invalidation says that something of it has changed. */
#define REL_STANDS_FOR_ALL REL_PERFORMANCE_PKEY
static Oid stands_for_all = InvalidOid;

/* What it was filled from. */
static const TicketRelation sources[] = {REL_PERFORMANCE, REL_SECTION, REL_SEAT};
static Oid source_oid[lengthof(sources)];

static void
catalogue_forget(Datum arg, Oid relid)
{
	bool ours = relid == InvalidOid || relid == stands_for_all;

	for (int i = 0; i < (int) lengthof(sources) && !ours; i++)
		ours = relid == source_oid[i];
	if (ours)
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
forget_table(HTAB **table)
{
	HTAB *old = *table;

	*table = NULL;
	if (old)
		hash_destroy(old);
}

static void
forget_caches(void)
{
	forget_table(&performances);
	forget_table(&sections);
	forget_table(&halls);
	if (hall_context)
		MemoryContextDelete(hall_context);
	hall_context = NULL;
	cached_runs = 0;
}

static void
ensure_caches(void)
{
	if (valid && hash_get_num_entries(performances) < MAX_CACHED &&
		hash_get_num_entries(sections) < MAX_CACHED && hash_get_num_entries(halls) < MAX_CACHED &&
		cached_runs < MAX_CACHED_RUNS)
		return;
	/* An error on the way leaves them to be made by who comes next. */
	valid = false;
	forget_caches();
	performances = make_cache("ticket performances", sizeof(Performance));
	sections = make_cache("ticket sections", sizeof(SectionPrice));
	halls = make_cache("ticket halls", sizeof(CachedHall));
	hall_context = AllocSetContextCreate(TopMemoryContext, "ticket halls", ALLOCSET_SMALL_SIZES);
	stands_for_all = relation_oid(REL_STANDS_FOR_ALL);
	for (int i = 0; i < (int) lengthof(sources); i++)
		source_oid[i] = relation_oid(sources[i]);
	valid = true;
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
		performance->queue_id = row_int64(&scan, row, COL_PERFORMANCE_QUEUE_ID, 0);
		performance->starts_at = row_int64(&scan, row, COL_PERFORMANCE_STARTS_AT, 0);
		performance->sale_opens_at =
			row_int64(&scan, row, COL_PERFORMANCE_SALE_OPENS_AT, DT_NOBEGIN);
		performance->sale_closes_at =
			row_int64(&scan, row, COL_PERFORMANCE_SALE_CLOSES_AT, DT_NOEND);
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

	/* The caller may have opened no table since it began, or since it waited. */
	AcceptInvalidationMessages();
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
	price = row_int64(&scan, row, COL_SECTION_PRICE, 0);
	if (row_int64(&scan, row, COL_SECTION_WITHDRAWN_AT, DT_NOEND) != DT_NOEND)
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

/* ---------- what is shown of a performance's seats ---------- */

static int
compare_sections(const void *a, const void *b)
{
	const Section *x = a;
	const Section *y = b;

	if (x->first_seat != y->first_seat)
		return x->first_seat < y->first_seat ? -1 : 1;
	return (x->section_id > y->section_id) - (x->section_id < y->section_id);
}

static bool
hall_exists(int64 performance_id, Snapshot snapshot)
{
	RowScan scan;
	ScanKeyData key;
	bool exists;

	ScanKeyInit(&key, COL_PERFORMANCE_ID, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(performance_id));
	row_scan_begin_at(&scan, REL_PERFORMANCE, REL_PERFORMANCE_PKEY, 1, &key, snapshot);
	exists = row_scan_next(&scan) != NULL;
	row_scan_end(&scan);
	return exists;
}

static void
add_section(Hall *hall, RowScan *scan, HeapTuple row)
{
	Section *section = &hall->section[hall->n_sections++];
	Datum grade;
	bool isnull;

	memset(section, 0, sizeof(Section));
	section->section_id = row_int64(scan, row, COL_SECTION_ID, 0);
	section->price = row_int64(scan, row, COL_SECTION_PRICE, 0);
	section->name = DatumGetTextPCopy(row_get(scan, row, COL_SECTION_NAME, &isnull));
	section->kind = DatumGetTextPCopy(row_get(scan, row, COL_SECTION_KIND, &isnull));
	grade = row_get(scan, row, COL_SECTION_GRADE, &isnull);
	section->grade = isnull ? NULL : DatumGetTextPCopy(grade);
	section->first_seat = DatumGetInt32(row_get(scan, row, COL_SECTION_FIRST_SEAT_ID, &isnull));
	section->seats_per_row = DatumGetInt32(row_get(scan, row, COL_SECTION_SEATS_PER_ROW, &isnull));
	section->n_seats = DatumGetInt32(row_get(scan, row, COL_SECTION_SEAT_COUNT, &isnull));
	(void) row_get(scan, row, COL_SECTION_WITHDRAWN_AT, &isnull);
	section->withdrawn = !isnull;
}

static void
read_sections(Hall *hall, Snapshot snapshot)
{
	int max_sections = 8;
	RowScan scan;
	ScanKeyData key;
	HeapTuple row;

	hall->section = palloc(max_sections * sizeof(Section));
	ScanKeyInit(&key, COL_SECTION_PERFORMANCE_ID, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(hall->performance_id));
	row_scan_begin_at(&scan, REL_SECTION, REL_SECTION_PERFORMANCE, 1, &key, snapshot);
	while ((row = row_scan_next(&scan)) != NULL)
	{
		if (hall->n_sections == max_sections)
			hall->section = repalloc(hall->section, (max_sections *= 2) * sizeof(Section));
		add_section(hall, &scan, row);
	}
	row_scan_end(&scan);
	qsort(hall->section, hall->n_sections, sizeof(Section), compare_sections);
}

/* NULL: there is no such performance. */
static Hall *
hall_read(int64 performance_id, MemoryContext context)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	MemoryContext old = MemoryContextSwitchTo(context);
	Hall *hall = palloc0(sizeof(Hall));

	hall->performance_id = performance_id;
	hall->context = context;
	read_sections(hall, snapshot);
	if (hall->n_sections == 0 && !hall_exists(performance_id, snapshot))
		hall = NULL;
	MemoryContextSwitchTo(old);
	UnregisterSnapshot(snapshot);
	return hall;
}

/*
 * The sections of a performance, NULL when there is no such.  Good until the
 * next call of anything here.
 */
Hall *
performance_hall(int64 performance_id)
{
	MemoryContext context;
	CachedHall *cached;
	Hall *hall;
	bool found;

	/* The answer may come from memory alone, which opens no table. */
	AcceptInvalidationMessages();
	ensure_caches();
	cached = hash_search(halls, &performance_id, HASH_FIND, NULL);
	if (cached)
		return cached->hall;
	context = AllocSetContextCreate(CurrentMemoryContext, "ticket hall", ALLOCSET_SMALL_SIZES);
	hall = hall_read(performance_id, context);
	if (hall && valid)
	{
		cached = hash_search(halls, &performance_id, HASH_ENTER, &found);
		cached->hall = hall;
		MemoryContextSetParent(context, hall_context);
	}
	return hall;
}

/* The same, if this backend has it, without a look at a table; else NULL. */
Hall *
performance_hall_cached(int64 performance_id)
{
	CachedHall *cached;

	AcceptInvalidationMessages();
	ensure_caches();
	cached = hash_search(halls, &performance_id, HASH_FIND, NULL);
	return cached ? cached->hall : NULL;
}

/* The section with a seat of that number, or NULL. */
Section *
hall_section(const Hall *hall, int32 seat_id)
{
	int low = 0;
	int high = hall->n_sections;

	while (low < high)
	{
		int middle = (low + high) / 2;

		if (hall->section[middle].first_seat <= seat_id)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0 || seat_id - hall->section[low - 1].first_seat >= hall->section[low - 1].n_seats)
		return NULL;
	return &hall->section[low - 1];
}

/* Rows of seats_per_row seats each, numbered from 1. */
void
section_runs_regular(Hall *hall, Section *section)
{
	int32 width = section->seats_per_row;
	int n = section->n_seats / width + (section->n_seats % width > 0);
	SeatRun *run = MemoryContextAlloc(hall->context, Max(1, n) * sizeof(SeatRun));

	for (int i = 0; i < n; i++)
		run[i] = (SeatRun){.first = i * width,
						   .count = Min(width, section->n_seats - i * width),
						   .row_no = i + 1,
						   .seat_no = 1};
	section->n_runs = n;
	section->run = run;
	cached_runs += n;
}

/* Rows as the table has them. */
void
section_runs_read(Hall *hall, Section *section)
{
	int max_runs = 16;
	int n = 0;
	SeatRun *run = MemoryContextAlloc(hall->context, max_runs * sizeof(SeatRun));
	RowScan scan;
	ScanKeyData key[3];
	HeapTuple row;

	section_seats_keys(key, hall->performance_id, section->first_seat,
					   section->first_seat + section->n_seats - 1);
	row_scan_begin(&scan, REL_SEAT, REL_SEAT_PKEY, 3, key);
	while ((row = row_scan_next(&scan)) != NULL)
	{
		bool isnull;
		int32 row_no = DatumGetInt32(row_get(&scan, row, COL_SEAT_ROW_NO, &isnull));
		int32 seat_no = DatumGetInt32(row_get(&scan, row, COL_SEAT_SEAT_NO, &isnull));
		bool accessible = DatumGetBool(row_get(&scan, row, COL_SEAT_ACCESSIBLE, &isnull));
		int32 seat =
			DatumGetInt32(row_get(&scan, row, COL_SEAT_SEAT_ID, &isnull)) - section->first_seat;

		if (DatumGetInt64(row_get(&scan, row, COL_SEAT_SECTION_ID, &isnull)) != section->section_id)
			continue;
		if (n > 0 && run[n - 1].row_no == row_no && run[n - 1].first + run[n - 1].count == seat &&
			(int64) run[n - 1].seat_no + run[n - 1].count == seat_no &&
			run[n - 1].accessible == accessible)
		{
			run[n - 1].count++;
			continue;
		}
		if (n == max_runs)
			run = repalloc_huge(run, (Size) (max_runs *= 2) * sizeof(SeatRun));
		run[n++] = (SeatRun){.first = seat,
							 .count = 1,
							 .row_no = row_no,
							 .seat_no = seat_no,
							 .accessible = accessible};
	}
	row_scan_end(&scan);
	section->n_runs = n;
	section->run = run;
	cached_runs += n;
}

/* Keys of seat_pkey for the seats from first to last of a performance. */
void
section_seats_keys(ScanKeyData *key, int64 performance_id, int32 first, int32 last)
{
	ScanKeyInit(&key[0], COL_SEAT_PERFORMANCE_ID, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(performance_id));
	ScanKeyInit(&key[1], COL_SEAT_SEAT_ID, BTGreaterEqualStrategyNumber, F_INT4GE,
				Int32GetDatum(first));
	ScanKeyInit(&key[2], COL_SEAT_SEAT_ID, BTLessEqualStrategyNumber, F_INT4LE,
				Int32GetDatum(last));
}

/*
 * Trigger of ticket.performance, ticket.section and ticket.seat (where seats
 * come, go or get other places), and of other tables that backends keep rows
 * of, after each statement: tells every backend, at commit, to read them again.
 */
Datum
ticket_catalogue_follow(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	bool ours = false;

	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "catalogue_follow() was not called by trigger manager");
	for (int i = 0; i < (int) lengthof(sources) && !ours; i++)
		ours = RelationGetRelid(trigger->tg_relation) == relation_oid(sources[i]);
	if (ours)
		CacheInvalidateRelcacheByRelid(relation_oid(REL_STANDS_FOR_ALL));
	else
		CacheInvalidateRelcache(trigger->tg_relation);
	return PointerGetDatum(NULL);
}
