/*
 * metrics.c
 *		Counters in shared memory, and metrics(), which prints them with the
 *		state of the sale.
 *
 * What is counted has a number: errors by their place in the table of error.c,
 * the counters of MetricCounter by theirs, functions and types of events by
 * their name, which is given a number, for the whole server, when it first
 * comes up.  Each database has its set of counters, taken when a session of it
 * first counts something and given back by DROP DATABASE; DROP EXTENSION
 * empties it.
 *
 * The lock guards names and which set belongs to whom.  Counters are atomics
 * without a lock: on two cores a call counted is 20 instructions, and two
 * sessions on one counter are not to be told from two on different ones.
 *
 * Calls and refusals are counted where they happen; an event, and what a job
 * has done, when its transaction commits.
 */
#include "postgres.h"

#include "metrics.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "load.h"
#include "mb/pg_wchar.h"
#include "memory.h"
#include "miscadmin.h"
#include "outbox.h"
#include "plan.h"
#include "port/atomics.h"
#include "queue.h"
#include "relation.h"
#include "seat.h"
#include "shared_memory.h"
#include "storage/lwlock.h"
#include "ticket.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(ticket_metrics);

/* Databases beyond these go uncounted, names beyond those as well. */
#define MAX_DATABASES 64
#define MAX_NAMES 192

typedef struct CounterName
{
	NameKind kind;
	char name[NAMEDATALEN];
} CounterName;

typedef struct Counters
{
	Oid database; /* InvalidOid: free */
	pg_atomic_uint64 refusals[MAX_REFUSALS];
	pg_atomic_uint64 counters[NUM_METRIC_COUNTERS];
	pg_atomic_uint64 named[MAX_NAMES];
	pg_atomic_uint64 round_at; /* a TimestampTz; 0: none yet */
	pg_atomic_uint64 hold_lag_us; /* of the batch of holds tidied last */
} Counters;

typedef struct Metrics
{
	int n_names; /* only ever grows; written under the lock */
	CounterName names[MAX_NAMES];
	Counters databases[MAX_DATABASES];
} Metrics;

static Metrics *metrics = NULL;
static LWLock *lock = NULL;
/* Of this session's database; NULL: not looked for yet, or there was no room. */
static Counters *mine = NULL;
static bool attached = false;

/* ---------- shared memory ---------- */

static Size
metrics_size(void)
{
	return sizeof(Metrics);
}

static int
lock_count(void)
{
	return 1;
}

static void
counters_reset(Counters *c)
{
	for (int i = 0; i < MAX_REFUSALS; i++)
		pg_atomic_write_u64(&c->refusals[i], 0);
	for (int i = 0; i < NUM_METRIC_COUNTERS; i++)
		pg_atomic_write_u64(&c->counters[i], 0);
	for (int i = 0; i < MAX_NAMES; i++)
		pg_atomic_write_u64(&c->named[i], 0);
	pg_atomic_write_u64(&c->round_at, 0);
	pg_atomic_write_u64(&c->hold_lag_us, 0);
}

static void
counters_init(Counters *c)
{
	c->database = InvalidOid;
	for (int i = 0; i < MAX_REFUSALS; i++)
		pg_atomic_init_u64(&c->refusals[i], 0);
	for (int i = 0; i < NUM_METRIC_COUNTERS; i++)
		pg_atomic_init_u64(&c->counters[i], 0);
	for (int i = 0; i < MAX_NAMES; i++)
		pg_atomic_init_u64(&c->named[i], 0);
	pg_atomic_init_u64(&c->round_at, 0);
	pg_atomic_init_u64(&c->hold_lag_us, 0);
}

static void
metrics_startup(void *piece, bool found, LWLockPadded *locks)
{
	mine = NULL;
	attached = false;
	metrics = piece;
	lock = &locks->lock;
	if (!found)
	{
		metrics->n_names = 0;
		for (int i = 0; i < MAX_DATABASES; i++)
			counters_init(&metrics->databases[i]);
	}
}

static const SharedPiece metrics_piece = {"ticket metrics", metrics_size, NULL, lock_count,
										  metrics_startup};

/* The set of this session's database, made if there is none. */
static Counters *
counters_get(void)
{
	Counters *unused = NULL;

	if (attached || metrics == NULL || !OidIsValid(MyDatabaseId))
		return mine;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_DATABASES && mine == NULL; i++)
	{
		if (metrics->databases[i].database == MyDatabaseId)
			mine = &metrics->databases[i];
		else if (unused == NULL && !OidIsValid(metrics->databases[i].database))
			unused = &metrics->databases[i];
	}
	if (mine == NULL && unused != NULL)
	{
		counters_reset(unused);
		unused->database = MyDatabaseId;
		mine = unused;
	}
	LWLockRelease(lock);
	attached = true;
	return mine;
}

/* A database is gone, or the extension from this one, in which others may be counting. */
void
metrics_clear(Oid database)
{
	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_DATABASES; i++)
	{
		Counters *c = &metrics->databases[i];

		if (c->database != database)
			continue;
		counters_reset(c);
		if (database != MyDatabaseId)
			c->database = InvalidOid;
	}
	LWLockRelease(lock);
}

/* ---------- names ---------- */

/*
 * The number of a name, or -1: there is no room.  Names are only ever added,
 * so those before n_names are read without the lock.  Of a long one what fits
 * is its name.
 */
static int
name_slot(NameKind kind, const char *full_name)
{
	char name[NAMEDATALEN];
	int n;
	int i = 0;

	if (metrics == NULL)
		return -1;
	n = strlen(full_name);
	strlcpy(name, full_name, pg_mbcliplen(full_name, n, NAMEDATALEN - 1) + 1);
	n = *(volatile int *) &metrics->n_names;
	pg_read_barrier();
	for (; i < n; i++)
		if (metrics->names[i].kind == kind && strcmp(metrics->names[i].name, name) == 0)
			return i;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (; i < metrics->n_names; i++)
		if (metrics->names[i].kind == kind && strcmp(metrics->names[i].name, name) == 0)
			break;
	if (i == metrics->n_names && i < MAX_NAMES)
	{
		metrics->names[i].kind = kind;
		strlcpy(metrics->names[i].name, name, NAMEDATALEN);
		pg_write_barrier();
		metrics->n_names = i + 1;
	}
	LWLockRelease(lock);
	return i < MAX_NAMES ? i : -1;
}

/* ---------- counting ---------- */

/* The number of the function, found once in a session, is kept in `slot`. */
static bool
count_function(int *slot, NameKind kind, FunctionCallInfo fcinfo, uint64 n)
{
	Counters *c = counters_get();

	if (c == NULL)
		return false;
	if (*slot < 0)
	{
		char *name = get_func_name(fcinfo->flinfo->fn_oid);

		if (name == NULL || (*slot = name_slot(kind, name)) < 0)
			return false;
		pfree(name);
	}
	pg_atomic_fetch_add_u64(&c->named[*slot], n);
	return true;
}

bool
metrics_call(int *slot, FunctionCallInfo fcinfo)
{
	return count_function(slot, NAME_FUNCTION, fcinfo, 1);
}

void
metrics_fans(int *slot, FunctionCallInfo fcinfo, uint64 n)
{
	(void) count_function(slot, NAME_BATCH, fcinfo, n);
}

void
metrics_refusal(int error)
{
	Counters *c = counters_get();

	if (c)
		pg_atomic_fetch_add_u64(&c->refusals[error], 1);
}

void
metrics_add(MetricCounter counter, uint64 n)
{
	Counters *c = counters_get();

	if (c)
		pg_atomic_fetch_add_u64(&c->counters[counter], n);
}

void
metrics_round(TimestampTz at)
{
	Counters *c = counters_get();

	if (c)
		pg_atomic_write_u64(&c->round_at, (uint64) at);
}

void
metrics_hold_lag(int64 us)
{
	Counters *c = counters_get();

	if (c)
		pg_atomic_write_u64(&c->hold_lag_us, (uint64) Max(us, 0));
}

/* ---------- what has been counted ---------- */

/* How many names there are; for metrics_named(). */
int
metrics_n_names(void)
{
	int n = *(volatile int *) &metrics->n_names;

	pg_read_barrier();
	return n;
}

/* What this database has counted under name i of that kind; 0: nothing. */
uint64
metrics_named(NameKind kind, int i, const char **name)
{
	Counters *c = counters_get();

	*name = metrics->names[i].name;
	return c && metrics->names[i].kind == kind ? pg_atomic_read_u64(&c->named[i]) : 0;
}

uint64
metrics_refusals(int error)
{
	Counters *c = counters_get();

	return c ? pg_atomic_read_u64(&c->refusals[error]) : 0;
}

uint64
metrics_counted(MetricCounter counter)
{
	Counters *c = counters_get();

	return c ? pg_atomic_read_u64(&c->counters[counter]) : 0;
}

/* When the last round ended; 0: there was none. */
TimestampTz
metrics_round_at(void)
{
	Counters *c = counters_get();

	return c ? (TimestampTz) pg_atomic_read_u64(&c->round_at) : 0;
}

int64
metrics_hold_lag_us(void)
{
	Counters *c = counters_get();

	return c ? (int64) pg_atomic_read_u64(&c->hold_lag_us) : 0;
}

/* ---------- what is counted at commit ---------- */

typedef struct Waiting
{
	pg_atomic_uint64 *counter;
	int level; /* of the savepoint it belongs to */
	uint64 n;
} Waiting;

/* In the order they came, so a savepoint's are at the end. */
static Waiting *waiting = NULL;
static int n_waiting = 0;
static int max_waiting = 0;

static void
add_at_commit(pg_atomic_uint64 *counter, uint64 n)
{
	int level = GetCurrentTransactionNestLevel();

	/* Batches count the same thing again and again. */
	for (int i = n_waiting - 1; i >= 0 && waiting[i].level == level; i--)
	{
		if (waiting[i].counter == counter)
		{
			waiting[i].n += n;
			return;
		}
	}
	if (n_waiting == max_waiting)
	{
		int size = Max(8, max_waiting * 2);

		if (waiting == NULL)
			waiting = MemoryContextAlloc(TopTransactionContext, size * sizeof(Waiting));
		else
			waiting = repalloc_huge(waiting, size * sizeof(Waiting));
		max_waiting = size;
	}
	waiting[n_waiting].counter = counter;
	waiting[n_waiting].level = level;
	waiting[n_waiting++].n = n;
}

void
metrics_event(const char *type)
{
	Counters *c = counters_get();
	int slot = c ? name_slot(NAME_EVENT, type) : -1;

	if (slot >= 0)
		add_at_commit(&c->named[slot], 1);
}

void
metrics_add_at_commit(MetricCounter counter, uint64 n)
{
	Counters *c = counters_get();

	if (c && n > 0)
		add_at_commit(&c->counters[counter], n);
}

static void
metrics_xact(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PREPARE:
			for (int i = 0; i < n_waiting; i++)
				pg_atomic_fetch_add_u64(waiting[i].counter, waiting[i].n);
			pg_fallthrough;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
			/* The array goes with TopTransactionContext. */
			waiting = NULL;
			n_waiting = max_waiting = 0;
			break;
		default:
			break;
	}
}

static void
metrics_subxact(SubXactEvent event, SubTransactionId mine_id, SubTransactionId parent, void *arg)
{
	int level = GetCurrentTransactionNestLevel();

	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		while (n_waiting > 0 && waiting[n_waiting - 1].level >= level)
			n_waiting--;
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		for (int i = n_waiting - 1; i >= 0 && waiting[i].level >= level; i--)
			waiting[i].level = level - 1;
	}
}

void
metrics_init(void)
{
	shared_piece(&metrics_piece);
	RegisterXactCallback(metrics_xact, NULL);
	RegisterSubXactCallback(metrics_subxact, NULL);
}

/* ---------- metrics() ---------- */

/*
 * The head of a family; its samples follow at once.  A name that ends in
 * _seconds has its unit told.
 */
void
metrics_family(StringInfo out, const char *name, const char *type, const char *help)
{
	const char *unit = "_seconds";
	size_t length = strlen(name);

	appendStringInfo(out, "# TYPE ticket_%s %s\n", name, type);
	if (length > strlen(unit) && strcmp(name + length - strlen(unit), unit) == 0)
		appendStringInfo(out, "# UNIT ticket_%s seconds\n", name);
	appendStringInfo(out, "# HELP ticket_%s %s\n", name, help);
}

void
metrics_gauge(StringInfo out, const char *name, const char *help, int64 value)
{
	metrics_family(out, name, "gauge", help);
	appendStringInfo(out, "ticket_%s %lld\n", name, (long long) value);
}

void
metrics_gauge_us(StringInfo out, const char *name, const char *help, int64 us)
{
	metrics_family(out, name, "gauge", help);
	appendStringInfo(out, "ticket_%s %.6f\n", name, us / 1e6);
}

static void
metrics_counter(StringInfo out, const char *name, const char *help, uint64 value)
{
	metrics_family(out, name, "counter", help);
	appendStringInfo(out, "ticket_%s_total %llu\n", name, (unsigned long long) value);
}

/* The type of an event may be anything that its writer thought of. */
static void
append_label(StringInfo out, const char *value)
{
	for (; *value; value++)
	{
		if (*value == '\n')
			appendStringInfoString(out, "\\n");
		else
		{
			if (*value == '"' || *value == '\\')
				appendStringInfoChar(out, '\\');
			appendStringInfoChar(out, *value);
		}
	}
}

static void
print_names(StringInfo out, NameKind kind, const char *name, const char *label)
{
	int n = metrics_n_names();

	for (int i = 0; i < n; i++)
	{
		const char *value_of;
		uint64 value = metrics_named(kind, i, &value_of);

		/* Another database may have given the name its number. */
		if (value > 0)
		{
			appendStringInfo(out, "ticket_%s_total{%s=\"", name, label);
			append_label(out, value_of);
			appendStringInfo(out, "\"} %llu\n", (unsigned long long) value);
		}
	}
}

static void
print_counters(StringInfo out)
{
	TimestampTz round_at = metrics_round_at();

	metrics_family(out, "calls", "counter", "Calls of functions, whatever came of them.");
	print_names(out, NAME_FUNCTION, "calls", "function");
	metrics_family(out, "fans", "counter", "Whom the calls for many at once were about.");
	print_names(out, NAME_BATCH, "fans", "function");
	metrics_family(out, "refusals", "counter", "Calls that ended with an error of ours.");
	for (int i = 0; i < NUM_TICKET_ERRORS; i++)
	{
		const char *name;
		const char *sqlstate = ticket_error_sqlstate(i, &name);

		appendStringInfo(out, "ticket_refusals_total{sqlstate=\"%s\",name=\"%s\"} %llu\n", sqlstate,
						 name, (unsigned long long) metrics_refusals(i));
	}
	metrics_family(out, "events", "counter", "Events written and committed.");
	print_names(out, NAME_EVENT, "events", "type");

	metrics_counter(out, "rounds", "Rounds of run() and tick().", metrics_counted(METRIC_ROUNDS));
	metrics_counter(out, "round_failures",
					"Rounds of run() that ended with an error, told in the log.",
					metrics_counted(METRIC_ROUND_FAILURES));
	metrics_family(out, "round_seconds", "counter", "Time spent in rounds.");
	appendStringInfo(out, "ticket_round_seconds_total %.6f\n",
					 metrics_counted(METRIC_ROUND_US) / 1e6);
	metrics_family(out, "round_timestamp_seconds", "gauge",
				   "When the last round ended, in Unix time; 0 when there was none.");
	appendStringInfo(out, "ticket_round_timestamp_seconds %.6f\n",
					 round_at == 0 ?
						 0.0 :
						 round_at / 1e6 +
							 (double) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY);
	metrics_gauge_us(out, "hold_lag_seconds",
					 "How late the holds that were tidied last were, the latest of them.",
					 metrics_hold_lag_us());
	metrics_counter(out, "outbox_fetched", "Events that consumers took out.",
					metrics_counted(METRIC_EVENTS_FETCHED));
	metrics_counter(out, "outbox_retired",
					"Events that nobody took within ticket.outbox_retention.",
					metrics_counted(METRIC_EVENTS_RETIRED));
	metrics_counter(out, "queue_reads", "Times that the queues were read from the tables.",
					metrics_counted(METRIC_QUEUE_READS));
}

typedef struct QueueSample
{
	int64 queue_id;
	int64 waiting;
	int64 active;
	int64 capacity;
	int64 entered;
	int64 promoted;
	int64 ended;
	int64 overdue_us;
} QueueSample;

/*
 * When the first of the active tickets that are over ended; none is: now.  With
 * the queue lock held.  Many may be active, and mostly it is known without a look
 * at them that none is over.
 */
static TimestampTz
first_end(const Queue *queue, TimestampTz now)
{
	TimestampTz first = now;
	int64 place = 0;

	while (queue->ends_at <= now &&
		   (place = line_next(queue_line(queue), memory_pool(), LINE_ACTIVE, place)) != 0)
		first = Min(first, place_time(queue, place));
	return first;
}

static QueueSample *
sample_queues(int *n_samples)
{
	TimestampTz now = clock_now();
	int n_queues;
	int64 *ids = queue_ids(&n_queues);
	QueueSample *samples = palloc(Max(n_queues, 1) * sizeof(QueueSample));
	int n = 0;

	for (int i = 0; i < n_queues; i++)
	{
		Queue *queue = queue_open(ids[i], LW_SHARED);
		QueueSample *sample = &samples[n];

		if (queue == NULL)
			continue;
		sample->queue_id = ids[i];
		sample->waiting = queue_line(queue)->n_waiting;
		sample->active = queue_line(queue)->n_active;
		sample->capacity = queue->config.capacity;
		sample->entered = queue->entered;
		sample->promoted = queue->promoted;
		sample->ended = queue->ended;
		sample->overdue_us = now - first_end(queue, now);
		queue_release(queue);
		n++;
	}
	*n_samples = n;
	return samples;
}

static void
print_queues(StringInfo out)
{
	static const struct
	{
		const char *name;
		const char *type;
		const char *help;
		size_t value;
	} column[] = {
		{"queue_waiting", "gauge", "Tickets that wait.", offsetof(QueueSample, waiting)},
		{"queue_active", "gauge", "Tickets that are active.", offsetof(QueueSample, active)},
		{"queue_capacity", "gauge", "How many may be active.", offsetof(QueueSample, capacity)},
		{"queue_entered", "counter", "Tickets given out.", offsetof(QueueSample, entered)},
		{"queue_promoted", "counter", "Tickets made active.", offsetof(QueueSample, promoted)},
		{"queue_ended", "counter", "Tickets finished, left or expired.",
		 offsetof(QueueSample, ended)},
	};
	int n;
	QueueSample *samples = sample_queues(&n);

	for (int i = 0; i < (int) lengthof(column); i++)
	{
		metrics_family(out, column[i].name, column[i].type, column[i].help);
		for (int k = 0; k < n; k++)
			appendStringInfo(out, "ticket_%s%s{queue=\"%lld\"} %lld\n", column[i].name,
							 strcmp(column[i].type, "counter") == 0 ? "_total" : "",
							 (long long) samples[k].queue_id,
							 (long long) *(int64 *) ((char *) &samples[k] + column[i].value));
	}
	metrics_family(out, "queue_overdue_seconds", "gauge",
				   "How long the active ticket that was over first has not been tidied.");
	for (int k = 0; k < n; k++)
		appendStringInfo(out, "ticket_queue_overdue_seconds{queue=\"%lld\"} %.6f\n",
						 (long long) samples[k].queue_id, samples[k].overdue_us / 1e6);
}

static void
print_memory(StringInfo out)
{
	MemoryUsage usage = memory_usage();

	metrics_gauge(out, "memory_queues", "Queues in shared memory, of all databases.", usage.queues);
	metrics_gauge(out, "memory_queues_max", "Queues that shared memory has room for.",
				  usage.max_queues);
	metrics_gauge(out, "memory_places", "Places taken in shared memory, of all databases.",
				  usage.places);
	metrics_gauge(out, "memory_places_max", "Places there may be; then nobody can enter.",
				  usage.max_places);
}

static SavedPlan oldest_event = {"SELECT id FROM ticket.outbox ORDER BY id LIMIT 1", 0, {0}};

static SavedPlan outbox_rows = {
	"SELECT pg_catalog.pg_stat_get_live_tuples($1)",
	1,
	{OIDOID},
};

static void
print_tables(StringInfo out)
{
	Datum args[1] = {ObjectIdGetDatum(relation_oid(REL_OUTBOX))};
	TimestampTz now = clock_now();
	TimestampTz due;
	TimestampTz oldest;
	TimestampTz wall = GetCurrentTimestamp();
	bool isnull;
	OwnerContext owner;
	int64 rows;
	int64 age = 0;

	owner_begin(&owner);
	due = holds_next_due(DT_NOBEGIN, now);
	plan_run(&outbox_rows, args, NULL);
	rows = result_int64(0, 1);
	if (plan_run(&oldest_event, NULL, NULL) > 0 &&
		event_id_time(DatumGetUUIDP(result_datum(0, 1, &isnull)), &oldest))
		age = Max(0, wall - oldest);
	owner_end(&owner);

	metrics_gauge_us(out, "hold_overdue_seconds",
					 "How long the oldest hold that is over has not been tidied.",
					 Max(0, due < now ? now - due : 0));
	metrics_gauge(out, "outbox_rows", "Events nobody has taken out, as the statistics have it.",
				  rows);
	metrics_gauge_us(out, "outbox_oldest_seconds", "Age of the oldest of them.", age);
}

/*
 * metrics() -> text
 *
 * Counters of this database since the server started, and its state, in the
 * text format of OpenMetrics 1.0
 * (https://github.com/OpenObservability/OpenMetrics).  No label holds a user.
 * It reads shared memory and so many entries of a few indexes, and scans no table.
 *
 * Errors: TK014.  Locks: each queue lock in turn, shared; as sections().
 */
Datum
ticket_metrics(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	StringInfoData out;

	memory_require();
	if (!RecoveryInProgress())
		queues_ready();
	initStringInfo(&out);
	print_counters(&out);
	print_queues(&out);
	print_memory(&out);
	print_tables(&out);
	metrics_sale(&out);
	appendStringInfoString(&out, "# EOF");
	PG_RETURN_TEXT_P(cstring_to_text_with_len(out.data, out.len));
}
