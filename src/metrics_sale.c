/*
 * metrics_sale.c
 *		What metrics() says of money under way and of seats on sale.
 *
 * All of it is bounded: so many payments and refunds are counted, of so many
 * performances the seats, whose states are in shared memory.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "metrics.h"
#include "plan.h"
#include "seat.h"
#include "ticket.h"

/* More than these are not counted: "so many or more". */
#define MAX_COUNTED "1000"
/* As payments_stuck() has it, if it is not told otherwise. */
#define STUCK_AFTER (15 * USECS_PER_MINUTE)
/* Performances whose seats are told, the next to begin. */
#define MAX_PERFORMANCES 50

static SavedPlan pending_payments = {
	"SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE begun_at" LE "$1),"
	" pg_catalog.min(begun_at) FROM (SELECT begun_at FROM ticket.payment"
	" WHERE status" EQ "'pending' ORDER BY begun_at LIMIT " MAX_COUNTED ") AS p",
	1,
	{TIMESTAMPTZOID},
};

static SavedPlan due_refunds = {
	"SELECT pg_catalog.count(*), pg_catalog.min(created_at) FROM (SELECT created_at"
	" FROM ticket.refund WHERE status" EQ "'due' ORDER BY created_at LIMIT " MAX_COUNTED ") AS f",
	0,
	{0},
};

static SavedPlan performances_on_sale = {
	"SELECT performance_id FROM ticket.performance WHERE queue_id IS NOT NULL"
	" AND status" EQ "'scheduled' AND starts_at" GT "$1"
	" AND (sale_opens_at IS NULL OR sale_opens_at" LE "$1)"
	" AND (sale_closes_at IS NULL OR sale_closes_at" GT "$1)"
	" ORDER BY starts_at, performance_id LIMIT $2",
	2,
	{TIMESTAMPTZOID, INT4OID},
};

/* How long ago the time in a column of the last result was; 0: there is none. */
static int64
result_age(int column, TimestampTz now)
{
	return result_isnull(0, column) ? 0 : Max(0, now - result_int64(0, column));
}

static void
print_money(StringInfo out)
{
	TimestampTz now = clock_now();
	Datum args[1] = {TimestampTzGetDatum(now - STUCK_AFTER)};
	OwnerContext owner;
	int64 pending;
	int64 stuck;
	int64 pending_age;
	int64 due;
	int64 due_age;

	owner_begin(&owner);
	plan_run(&pending_payments, args, NULL);
	pending = result_int64(0, 1);
	stuck = result_int64(0, 2);
	pending_age = result_age(3, now);
	plan_run(&due_refunds, NULL, NULL);
	due = result_int64(0, 1);
	due_age = result_age(2, now);
	owner_end(&owner);

	metrics_gauge(out, "payments_pending",
				  "Payments that a provider has not answered, up to " MAX_COUNTED ".", pending);
	metrics_gauge(out, "payments_stuck",
				  "Those of them begun more than 15 minutes ago; see payments_stuck().", stuck);
	metrics_gauge_us(out, "payment_pending_seconds", "Age of the oldest of them.", pending_age);
	metrics_gauge(out, "refunds_due",
				  "Refunds that providers have not reported as done, up to " MAX_COUNTED ".", due);
	metrics_gauge_us(out, "refund_due_seconds", "Age of the oldest of them.", due_age);
}

static int
on_sale(int64 *performance_id)
{
	Datum args[2] = {TimestampTzGetDatum(clock_now()), Int32GetDatum(MAX_PERFORMANCES)};
	OwnerContext owner;
	int n;

	owner_begin(&owner);
	n = plan_run(&performances_on_sale, args, NULL);
	for (int i = 0; i < n; i++)
		performance_id[i] = result_int64(i, 1);
	owner_end(&owner);
	return n;
}

static void
print_seats(StringInfo out)
{
	int64 performance_id[MAX_PERFORMANCES];
	int n = on_sale(performance_id);

	metrics_family(
		out, "seats", "gauge",
		"Seats of performances on sale through a waiting room, of those that begin next.");
	for (int i = 0; i < n; i++)
	{
		SeatCounts counts;
		long long id = performance_id[i];

		if (!performance_counts(performance_id[i], &counts))
			continue;
		appendStringInfo(out,
						 "ticket_seats{performance=\"%lld\",status=\"free\"} %lld\n"
						 "ticket_seats{performance=\"%lld\",status=\"held\"} %lld\n"
						 "ticket_seats{performance=\"%lld\",status=\"sold\"} %lld\n"
						 "ticket_seats{performance=\"%lld\",status=\"blocked\"} %lld\n",
						 id, (long long) counts.free, id, (long long) counts.held, id,
						 (long long) counts.sold, id, (long long) counts.blocked);
	}
}

/* On a standby no memory has the seats: to read them all is not cheap enough. */
void
metrics_sale(StringInfo out)
{
	print_money(out);
	if (!RecoveryInProgress())
		print_seats(out);
}
