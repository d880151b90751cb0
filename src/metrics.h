/*
 * metrics.h
 *		What is counted, for metrics().
 *
 * Counters are in shared memory, by database, and begin anew with the server.
 * They are atomics: to count takes no lock, never fails and waits for nobody.
 */
#ifndef TICKET_METRICS_H
#define TICKET_METRICS_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "lib/stringinfo.h"

/* Kinds of errors that are counted: more than there are. */
#define MAX_REFUSALS 48

typedef enum MetricCounter
{
	METRIC_ROUNDS, /* rounds of the clock that were done */
	METRIC_ROUND_FAILURES, /* and that failed */
	METRIC_ROUND_US, /* microseconds they took */
	METRIC_EVENTS_FETCHED, /* events that consumers took out */
	METRIC_EVENTS_RETIRED, /* events that nobody took in time */
	METRIC_QUEUE_READS, /* times that the queues were read from the tables */
	NUM_METRIC_COUNTERS
} MetricCounter;

/* What has a name that is counted. */
typedef enum NameKind
{
	NAME_FUNCTION,
	NAME_EVENT,
	NAME_BATCH /* a function, by those whom its calls were about */
} NameKind;

extern void metrics_init(void);

/*
 * Counts a call of the SQL function it stands in: the first of its declarations,
 * so that a call with bad arguments counts as well.
 */
#define COUNT_CALL() \
	static int metrics_slot = -1; \
	bool metrics_counted pg_attribute_unused() = metrics_call(&metrics_slot, fcinfo)
extern bool metrics_call(int *slot, FunctionCallInfo fcinfo);

/* Counts whom a call for many is about. */
#define COUNT_FANS(n) \
	do \
	{ \
		static int metrics_fans_slot = -1; \
		metrics_fans(&metrics_fans_slot, fcinfo, (n)); \
	} while (0)
extern void metrics_fans(int *slot, FunctionCallInfo fcinfo, uint64 n);

/* At once. */
extern void metrics_refusal(int error);
extern void metrics_add(MetricCounter counter, uint64 n);
extern void metrics_round(TimestampTz at);
extern void metrics_hold_lag(int64 us);

/* When the transaction commits. */
extern void metrics_event(const char *type);
extern void metrics_add_at_commit(MetricCounter counter, uint64 n);

/* What has been counted in this database since the server started. */
extern int metrics_n_names(void);
extern uint64 metrics_named(NameKind kind, int i, const char **name);
extern uint64 metrics_refusals(int error);
extern uint64 metrics_counted(MetricCounter counter);
extern TimestampTz metrics_round_at(void);
extern int64 metrics_hold_lag_us(void);

/* Forgets a database; called at commit. */
extern void metrics_clear(Oid database);

/* Printing: the head of a family; one with a single sample, plain or in seconds. */
extern void metrics_family(StringInfo out, const char *name, const char *type, const char *help);
extern void metrics_gauge(StringInfo out, const char *name, const char *help, int64 value);
extern void metrics_gauge_us(StringInfo out, const char *name, const char *help, int64 us);

/* metrics_sale.c */
extern void metrics_sale(StringInfo out);

#endif /* TICKET_METRICS_H */
