/*
 * clock.c
 *		The one place where the time is read.
 */
#include "postgres.h"

#include "memory.h"
#include "miscadmin.h"
#include "ticket.h"
#include "utils/datetime.h"

PG_FUNCTION_INFO_V1(ticket_clock);
PG_FUNCTION_INFO_V1(ticket_elapsed);

/*
 * Now, in the time the sale goes by: read anew each time, so that a caller
 * who has just waited for a row lock gets the time after the wait.
 */
TimestampTz
clock_now(void)
{
	return GetCurrentTimestamp() + (int64) (ticket_clock_offset * 1000.0);
}

/*
 * Microseconds of a span, of one for which 64 bits are enough; a month counts 30
 * days, as in justify_days().  Its parts may be more: they are added modulo 2^64.
 */
int64
interval_us(const Interval *span)
{
	int64 days = (int64) span->month * DAYS_PER_MONTH + span->day;

	return (int64) ((uint64) days * USECS_PER_DAY + (uint64) span->time);
}

Interval *
us_interval(int64 us)
{
	Interval *span = palloc0(sizeof(Interval));

	span->time = us;
	return span;
}

/* A finite time as errors tell it: in UTC, whatever the session's zone. */
const char *
time_text(TimestampTz at)
{
	struct pg_tm tm;
	fsec_t fsec;
	char *text = palloc(MAXDATELEN + 1);

	if (timestamp2tm(at, NULL, &tm, &fsec, NULL, NULL) != 0)
		elog(ERROR, "timestamp out of range");
	tm.tm_isdst = 0;
	EncodeDateTime(&tm, fsec, true, 0, NULL, USE_ISO_DATES, text);
	return text;
}

/*
 * elapsed(span interval) -> interval
 *
 * The same span in hours alone; see interval_us().  To add days or months to a
 * timestamptz goes by the session's TimeZone, to add hours does not.
 *
 * Errors: 22023.  Locks: none.
 */
Datum
ticket_elapsed(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		ticket_error(ERROR_BAD_ARGUMENT, NULL, NULL, "span must not be NULL");
	PG_RETURN_INTERVAL_P(us_interval(interval_us(PG_GETARG_INTERVAL_P(0))));
}

/*
 * clock() -> timestamptz
 *
 * clock_now() for SQL.  Errors: TK014 (so does all that is written in SQL and
 * reads the time).  No locks.
 */
Datum
ticket_clock(PG_FUNCTION_ARGS)
{
	memory_require();
	PG_RETURN_TIMESTAMPTZ(clock_now());
}
