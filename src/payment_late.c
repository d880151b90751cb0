/*
 * payment_late.c
 *		Seats for money that a provider has taken: those of the hold, or, when
 *		that is over, the same ones anew or others as good.
 *
 * Nobody is waited for: who has a seat has it, and then the money goes back.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "plan.h"
#include "provider.h"
#include "seat.h"
#include "ticket.h"

/* Choices of other seats that are tried before the money goes back. */
#define SUBSTITUTE_TRIES 10

/*
 * Seats as good as those of reservation $1 but for $2: as many, of the same
 * section, beside each other in one row where those were, and otherwise the
 * nearest, of these seats what is left first; none for wheelchairs but those it
 * had.  None when they were of several sections.
 */
/* clang-format off */
static SavedPlan choose_substitutes = {
	"WITH mine AS MATERIALIZED (SELECT e.performance_id, e.section_id, e.row_no, e.seat_no, e.seat_id"
	" FROM ticket.reservation AS r, ticket.seat AS e WHERE r.reservation_id" EQ "$1"
	" AND e.performance_id" EQ "r.performance_id AND e.seat_id" EQ "ANY (r.seat_ids)),"
	" wish AS MATERIALIZED (SELECT pg_catalog.min(performance_id) AS performance_id,"
	" pg_catalog.min(section_id) AS section_id, pg_catalog.min(row_no) AS row_no,"
	" pg_catalog.min(seat_no) AS seat_no, pg_catalog.count(*)::pg_catalog.int4 AS n,"
	" (pg_catalog.min(row_no)" EQ "pg_catalog.max(row_no)) AND"
	" (pg_catalog.max(seat_no)" MINUS "pg_catalog.min(seat_no)" EQ "(pg_catalog.count(*)" MINUS "1))"
	" AS adjacent, pg_catalog.array_agg(seat_id) AS seat_ids FROM mine HAVING pg_catalog.min(section_id)" EQ "pg_catalog.max(section_id)),"
	" free AS MATERIALIZED (SELECT e.seat_id, e.row_no, e.seat_no, e.seat_id" EQ "ANY (w.seat_ids) AS own,"
	" pg_catalog.abs(e.row_no" MINUS "w.row_no) AS rows_off,"
	" pg_catalog.abs(e.seat_no" MINUS "w.seat_no) AS seats_off"
	" FROM wish AS w, ticket.seat AS e WHERE e.performance_id" EQ "w.performance_id"
	" AND e.section_id" EQ "w.section_id AND (e.status" EQ "'free' OR"
	" (e.status" EQ "'held' AND e.held_until" LE "$3)) AND e.seat_id" NE "ALL ($2)"
	" AND (NOT e.accessible OR e.seat_id" EQ "ANY (w.seat_ids))),"
	" first AS MATERIALIZED (SELECT f.row_no, f.seat_no, w.n FROM wish AS w, free AS f"
	" WHERE w.adjacent AND (SELECT pg_catalog.count(*) FROM free AS g"
	" WHERE g.row_no" EQ "f.row_no AND g.seat_no" GE "f.seat_no"
	" AND g.seat_no" LT "(f.seat_no" PLUS "w.n))" EQ "w.n"
	" ORDER BY f.rows_off, f.seats_off, f.seat_id LIMIT 1)"
	" SELECT pg_catalog.array_agg(c.seat_id ORDER BY c.seat_id) FROM ("
	"(SELECT g.seat_id FROM first AS f, free AS g WHERE g.row_no" EQ "f.row_no"
	" AND g.seat_no" GE "f.seat_no AND g.seat_no" LT "(f.seat_no" PLUS "f.n))"
	" UNION ALL (SELECT f.seat_id FROM free AS f WHERE NOT (SELECT adjacent FROM wish)"
	" ORDER BY f.own DESC, f.rows_off, f.seats_off, f.seat_id LIMIT (SELECT n FROM wish))) AS c"
	" HAVING pg_catalog.count(*)" EQ "(SELECT n FROM wish)",
	3,
	{INT8OID, INT4ARRAYOID, TIMESTAMPTZOID},
};
/* clang-format on */

static AnswerType held_answer = {
	4,
	{{"reservation_id", INT8OID},
	 {"status", TEXTOID},
	 {"amount", INT8OID},
	 {"expires_at", TIMESTAMPTZOID}},
};

/*
 * Holds these seats for the payment, at the prices that were agreed; false:
 * one of them is not to be had.  Nobody is waited for, and nothing is written
 * before all of them are certain.
 */
static bool
hold_anew(Payment *payment, const ArrayType *seats)
{
	HoldRequest *hold = &payment->hold;
	Datum held;
	bool isnull;

	hold->seat = (int32 *) ARR_DATA_PTR(seats);
	hold->n_seats = ArrayGetNItems(ARR_NDIM(seats), ARR_DIMS(seats));
	hold->answer = &held_answer;
	if (hold_lock(hold) < hold->n_seats || hold_look(hold, clock_now()) > 0 ||
		!hold_take_over(hold))
		return false;
	memcpy(hold->price, ARR_DATA_PTR(payment->prices), hold->n_seats * sizeof(int64));
	hold->amount = payment->amount;
	held = hold_finish(hold);
	payment->reservation_id =
		DatumGetInt64(GetAttributeByNum(DatumGetHeapTupleHeader(held), 1, &isnull));
	return true;
}

static bool
hold_substitutes(Payment *payment)
{
	int n = ArrayGetNItems(ARR_NDIM(payment->seats), ARR_DIMS(payment->seats));
	Datum *refused = palloc(SUBSTITUTE_TRIES * n * sizeof(Datum));
	int n_refused = 0;

	for (int i = 0; i < SUBSTITUTE_TRIES; i++)
	{
		Datum args[3] = {Int64GetDatum(payment->reservation_id),
						 PointerGetDatum(
							 construct_array(refused, n_refused, INT4OID, 4, true, TYPALIGN_INT)),
						 TimestampTzGetDatum(payment->now)};
		ArrayType *seats;
		bool isnull;

		if (plan_read_latest(&choose_substitutes, args, NULL) == 0)
			return false;
		seats = DatumGetArrayTypePCopy(result_datum(0, 1, &isnull));
		if (hold_anew(payment, seats))
			return true;
		for (int k = 0; k < n; k++)
			refused[n_refused++] = Int32GetDatum(((int32 *) ARR_DATA_PTR(seats))[k]);
	}
	return false;
}

/* What the seats of the reservation cost: some may have been given back. */
static int64
sum_of_prices(const Payment *payment)
{
	int64 sum = 0;

	for (int i = 0; i < ArrayGetNItems(ARR_NDIM(payment->prices), ARR_DIMS(payment->prices)); i++)
		sum += ((int64 *) ARR_DATA_PTR(payment->prices))[i];
	return sum;
}

/* How many seats one user might have when the seats were held. */
static SavedPlan read_agreed = {
	"SELECT (h.was OPERATOR(pg_catalog.->>) 'max_seats_per_user')::pg_catalog.int4"
	" FROM ticket.reservation AS r, ticket.catalogue_past AS h WHERE r.reservation_id" EQ "$1"
	" AND h.kind" EQ "'performance' AND h.id" EQ "r.performance_id AND h.until" GT "r.created_at"
	" ORDER BY h.until LIMIT 1",
	1,
	{INT8OID},
};

/*
 * Whether the user has taken others meanwhile and may not have these as well.
 * What was agreed holds: a limit that has been lowered since is not counted.
 */
static bool
has_too_many(const Payment *payment, int n)
{
	Datum id = Int64GetDatum(payment->reservation_id);
	int max = payment->hold.performance.max_seats;
	bool waited;
	bool isnull;
	int64 has = hold_user_seats(&payment->hold, payment->now, &waited);

	if (has == 0 || has + n <= max)
		return false;
	if (plan_read_latest(&read_agreed, &id, NULL) > 0)
		max = Max(max, DatumGetInt32(result_datum(0, 1, &isnull)));
	return has + n > max;
}

/* Whether a section of the seats is off sale by now. */
static bool
section_withdrawn(Payment *payment)
{
	HoldRequest *hold = &payment->hold;

	hold->seat = (int32 *) ARR_DATA_PTR(payment->seats);
	hold->n_seats = ArrayGetNItems(ARR_NDIM(payment->seats), ARR_DIMS(payment->seats));
	hold_look(hold, payment->now);
	for (int i = 0; i < hold->n_seats; i++)
		if (strcmp(hold->status[i], "withdrawn") == 0)
			return true;
	return false;
}

/*
 * Sees to it that the payment's reservation is a hold that can be sold.  NULL,
 * or why it cannot be.  Of a hold that is over the answer is the same whether it
 * has been tidied or not.
 */
const char *
payment_find_seats(Payment *payment)
{
	int n = ArrayGetNItems(ARR_NDIM(payment->seats), ARR_DIMS(payment->seats));
	bool held = strcmp(payment->reservation_status, "held") == 0;

	if (payment->cancelled)
		return "the performance is cancelled";
	if (strcmp(payment->reservation_status, "paid") == 0)
		return "the reservation was paid already";
	if (strcmp(payment->reservation_status, "released") == 0)
		return "the hold was released";
	if (!held && strcmp(payment->reservation_status, "expired") != 0)
		return "the seats were given back";
	if (sum_of_prices(payment) != payment->amount)
		return "some of the seats were given back";
	if (held && payment->expires_at > payment->now)
		return NULL;
	if (payment->hold.performance.starts_at <= payment->now)
		return "the performance has begun";
	if (!payment->hold.performance.scheduled)
		return "the performance was withdrawn";
	if (section_withdrawn(payment))
		return "the section was withdrawn";
	if (has_too_many(payment, n))
		return "the user has other seats by now";
	/* Over, but nobody has taken the seats: while we have its row nobody can. */
	if (held)
		return NULL;
	if (hold_anew(payment, payment->seats))
		return NULL;
	if (!payment->substitute)
		return "the seats were gone";
	return hold_substitutes(payment) ? NULL : "the seats were gone, and others like them";
}
