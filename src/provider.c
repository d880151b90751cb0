/*
 * provider.c
 *		Payments at a provider outside the database: begun, confirmed, failed,
 *		given back.
 *
 * No transaction is open while the provider is asked.  Its answers come by
 * webhook: any number of times, in any order, late, and at once with the end of
 * the hold.  What may follow what is in doc/payments.md, and the table's trigger
 * holds to it.  What a confirmation says has been paid ends in one of two ways:
 * seats are sold for it, or a refund of it is due.
 */
#include "postgres.h"

#include "access/xact.h"
#include "answer.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "hold.h"
#include "load.h"
#include "metrics.h"
#include "money.h"
#include "plan.h"
#include "seat.h"
#include "ticket.h"
#include "utils/array.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(ticket_payment_begin);
PG_FUNCTION_INFO_V1(ticket_payment_confirm);
PG_FUNCTION_INFO_V1(ticket_payment_fail);
PG_FUNCTION_INFO_V1(ticket_refund_confirm);

#define MAX_PROVIDER 63
/* Choices of other seats that are tried before the money goes back. */
#define SUBSTITUTE_TRIES 10

/* ---------- begin ---------- */

static AnswerType begin_answer = {
	4,
	{{"payment_id", INT8OID},
	 {"status", TEXTOID},
	 {"amount", INT8OID},
	 {"expires_at", TIMESTAMPTZOID}},
};

typedef struct BeginRequest
{
	int64 reservation_id;
	text *user;
	text *provider;
	bool substitute;
	text *key; /* or NULL */
} BeginRequest;

static SavedPlan lock_hold = {
	"SELECT r.status, r.expires_at, r.amount, r.pending_payment, p.payment_interval,"
	" r.created_at" PLUS "p.hold_interval" PLUS "p.payment_interval"
	" FROM ticket.reservation AS r, ticket.performance AS p WHERE r.reservation_id" EQ "$1"
	" AND r.user_id" EQ "$2 AND p.performance_id" EQ "r.performance_id FOR NO KEY UPDATE OF r",
	2,
	{INT8OID, TEXTOID},
};

static SavedPlan find_begun = {
	"SELECT p.payment_id, p.status, p.amount, r.expires_at, p.provider" EQ "$2"
	" FROM ticket.payment AS p, ticket.reservation AS r WHERE p.payment_id" EQ "$1"
	" AND r.reservation_id" EQ "p.reservation_id",
	2,
	{INT8OID, TEXTOID},
};

static SavedPlan find_keyed_begun = {
	"SELECT payment_id, (provider" EQ "$4 AND substitute" EQ "$5 AND"
	" (coalesce(former_reservation, reservation_id)" EQ "$3)) FROM ticket.payment"
	" WHERE user_id" EQ "$1 AND idempotency_key" EQ "$2",
	5,
	{TEXTOID, TEXTOID, INT8OID, TEXTOID, BOOLOID},
};

/* clang-format off */
#define WRITE_BEGUN(on_conflict) \
	"WITH p AS (INSERT INTO ticket.payment (reservation_id, user_id, provider, status, amount," \
	" substitute, begun_at, idempotency_key)" \
	" VALUES ($1, $2, $3, 'pending', $4, $5, $6, $7)" on_conflict " RETURNING *)," \
	" r AS (UPDATE ticket.reservation AS reservation SET pending_payment = p.payment_id," \
	" expires_at = $8 FROM p WHERE reservation.reservation_id" EQ "$1 RETURNING reservation.*)," \
	" s AS (UPDATE ticket.seat AS seat SET held_until = $8 FROM r" \
	" WHERE seat.performance_id" EQ "r.performance_id AND seat.seat_id" EQ "ANY (r.seat_ids)" \
	" AND seat.reservation_id" EQ "$1 AND seat.status" EQ "'held')," \
	PAYMENT_EVENT("'payment.begun'", ", 'expires_at', $8") \
	" SELECT payment_id FROM p"

#define BEGUN_TYPES \
	{INT8OID, TEXTOID, TEXTOID, INT8OID, BOOLOID, TIMESTAMPTZOID, TEXTOID, TIMESTAMPTZOID}

static SavedPlan write_begun = {WRITE_BEGUN(""), 8, BEGUN_TYPES};
static SavedPlan write_keyed_begun = {WRITE_BEGUN(UNUSED_KEY), 8, BEGUN_TYPES};
/* clang-format on */

/* The name of a provider: lower case letters, digits, '_', '-', '.'. */
static text *
arg_provider(FunctionCallInfo fcinfo, int argno)
{
	text *provider = arg_name(fcinfo, argno, "provider");
	const char *name = text_to_cstring(provider);

	if (strlen(name) > MAX_PROVIDER ||
		strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-.") != strlen(name))
		ticket_error(ERROR_BAD_ARGUMENT, NULL, NULL,
					 "provider must be at most %d of a-z, 0-9, '_', '-' and '.'", MAX_PROVIDER);
	if (strcmp(name, "points") == 0)
		ticket_error(ERROR_BAD_ARGUMENT, NULL, "Use pay_reservation.",
					 "points are not paid at a provider");
	return provider;
}

/* A payment that was begun before with this key; 0: none. */
static int64
payment_of_key(const BeginRequest *request)
{
	Datum args[5] = {PointerGetDatum(request->user), PointerGetDatum(request->key),
					 Int64GetDatum(request->reservation_id), PointerGetDatum(request->provider),
					 BoolGetDatum(request->substitute)};
	bool isnull;

	if (request->key == NULL || plan_read_latest(&find_keyed_begun, args, NULL) == 0)
		return 0;
	if (!DatumGetBool(result_datum(0, 2, &isnull)))
		ticket_error(ERROR_IDEMPOTENCY_CONFLICT, NULL, "Use a new key for a new payment.",
					 "the idempotency key was used with other arguments");
	return result_int64(0, 1);
}

/* The hold of the last result must be there to be paid. */
static void
check_hold(const BeginRequest *request, TimestampTz now)
{
	bool isnull;

	if (result_equals(0, 1, "expired") ||
		(result_equals(0, 1, "held") && result_int64(0, 2) <= now))
		ticket_error(ERROR_HOLD_EXPIRED,
					 psprintf("It ended at %s.", timestamptz_to_str(result_int64(0, 2))),
					 "Hold the seats again.", "the hold of reservation %lld has ended",
					 (long long) request->reservation_id);
	if (!result_equals(0, 1, "held"))
		ticket_error(ERROR_WRONG_STATE,
					 psprintf("It is %s.", TextDatumGetCString(result_datum(0, 1, &isnull))), NULL,
					 "reservation %lld cannot be paid", (long long) request->reservation_id);
	if (result_int64(0, 3) == 0)
		ticket_error(ERROR_WRONG_STATE, NULL, "Use pay_reservation.",
					 "reservation %lld costs nothing", (long long) request->reservation_id);
}

/*
 * Until when the hold of the last result goes on: the performance's
 * payment_interval from now, but no longer than that after the hold would have
 * ended by itself, however often payments are begun.
 */
static TimestampTz
hold_until(TimestampTz now)
{
	bool isnull;
	int64 span = interval_us(DatumGetIntervalP(result_datum(0, 5, &isnull)));

	return Max(result_int64(0, 2), Min(now + span, result_int64(0, 6)));
}

/* Begins a payment of the hold of the last result; 0: its key is another's. */
static int64
begin_write(const BeginRequest *request, TimestampTz now)
{
	Datum args[8] = {Int64GetDatum(request->reservation_id), PointerGetDatum(request->user),
					 PointerGetDatum(request->provider),     Int64GetDatum(result_int64(0, 3)),
					 BoolGetDatum(request->substitute),      TimestampTzGetDatum(now),
					 PointerGetDatum(request->key),          TimestampTzGetDatum(hold_until(now))};

	if (plan_run(request->key ? &write_keyed_begun : &write_begun, args,
				 request->key ? NULL : "      n ") == 0)
		return 0;
	return result_int64(0, 1);
}

/* The payment that this call begins, or that was begun before. */
static int64
begin_or_find(const BeginRequest *request)
{
	Datum args[2] = {Int64GetDatum(request->reservation_id), PointerGetDatum(request->user)};
	int64 payment_id = payment_of_key(request);
	TimestampTz now;

	if (payment_id != 0)
		return payment_id;
	if (plan_run(&lock_hold, args, NULL) == 0)
		reservation_missing(request->reservation_id, request->user);
	now = clock_now();
	check_hold(request, now);
	if (!result_isnull(0, 4))
		return result_int64(0, 4);
	payment_id = begin_write(request, now);
	/* The same key may have begun or paid something else meanwhile. */
	return payment_id != 0 ? payment_id : payment_of_key(request);
}

/*
 * payment_begin(reservation_id bigint, user_id text, provider text,
 *				 substitute boolean default false,
 *				 idempotency_key text default null)
 * -> (payment_id bigint, status text, amount bigint, expires_at timestamptz)
 *
 * A payment of a held reservation is under way at a provider.  The hold goes on
 * until the performance's payment_interval from now, and at most as long after
 * it would first have ended.  Called again it answers with the payment under
 * way.  With substitute other seats of the section will do, should these be
 * gone when the confirmation comes.
 *
 * Errors: 22023, TK005, TK007, TK009 (not held, free of charge, or under way at
 * another provider), TK011, TK013, TK014, TK016, TK018; 40001.
 * Locks: the reservation's row, the new payment, the seats' rows.
 */
Datum
ticket_payment_begin(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	BeginRequest request = {.reservation_id = arg_id(fcinfo, 0, "reservation_id")};
	OwnerContext owner;
	Datum args[2];
	Datum values[4];
	bool nulls[4];
	bool isnull;
	Datum answer;

	request.user = arg_user(fcinfo, 1);
	people_check(request.user);
	request.provider = arg_provider(fcinfo, 2);
	if (PG_ARGISNULL(3))
		ticket_error(ERROR_BAD_ARGUMENT, NULL, NULL, "substitute must not be NULL");
	request.substitute = PG_GETARG_BOOL(3);
	request.key = arg_key(fcinfo, 4);
	refuse_standby();
	owner_begin(&owner);
	args[0] = Int64GetDatum(begin_or_find(&request));
	args[1] = PointerGetDatum(request.provider);
	if (plan_read_latest(&find_begun, args, NULL) == 0)
		elog(ERROR, "there is no payment %lld", (long long) DatumGetInt64(args[0]));
	if (!DatumGetBool(result_datum(0, 5, &isnull)))
		ticket_error(ERROR_WRONG_STATE, psprintf("It is payment %lld.", (long long) result_int64(0, 1)),
					 "Wait for that provider's answer, or report it with payment_fail.",
					 "a payment of reservation %lld is under way at another provider",
					 (long long) request.reservation_id);
	for (int i = 0; i < 4; i++)
		values[i] = result_datum(0, i + 1, &nulls[i]);
	ForceSyncCommit();
	MemoryContextSwitchTo(owner.caller);
	answer = answer_row(&begin_answer, values, nulls);
	owner_end(&owner);
	PG_RETURN_DATUM(answer);
}

/* ---------- what a webhook is about ---------- */

static AnswerType payment_answer = {
	4,
	{{"payment_id", INT8OID},
	 {"status", TEXTOID},
	 {"amount", INT8OID},
	 {"reservation_id", INT8OID}},
};

/* A payment, with the reservation it is for. */
typedef struct Payment
{
	int64 payment_id;
	const char *status;
	text *provider;
	text *provider_ref; /* or NULL */
	int64 amount;
	bool substitute;

	int64 reservation_id;
	const char *reservation_status;
	TimestampTz expires_at;
	ArrayType *seats;
	ArrayType *prices;
	bool cancelled; /* the performance does not take place */

	/* To hold seats for it anew; all that concerns the user is in here. */
	HoldRequest hold;
	TimestampTz now;
} Payment;

static SavedPlan find_payment = {
	"SELECT p.reservation_id, p.user_id, r.performance_id, r.place, d.status" EQ "'cancelled'"
	" FROM ticket.payment AS p, ticket.reservation AS r, ticket.performance AS d"
	" WHERE p.payment_id" EQ "$1 AND r.reservation_id" EQ "p.reservation_id"
	" AND d.performance_id" EQ "r.performance_id AND p.begun_at IS NOT NULL",
	1,
	{INT8OID},
};

static SavedPlan lock_reservation = {
	"SELECT status, expires_at, seat_ids, prices FROM ticket.reservation"
	" WHERE reservation_id" EQ "$1 FOR NO KEY UPDATE",
	1,
	{INT8OID},
};

static SavedPlan lock_payment = {
	"SELECT status, provider, provider_ref, amount, substitute FROM ticket.payment"
	" WHERE payment_id" EQ "$1 FOR NO KEY UPDATE",
	1,
	{INT8OID},
};

static SavedPlan read_payment = {
	"SELECT payment_id, status, amount, reservation_id FROM ticket.payment WHERE payment_id" EQ
	"$1",
	1,
	{INT8OID},
};

static text *
result_text(int column)
{
	bool isnull;
	Datum value = result_datum(0, column, &isnull);

	return isnull ? NULL : DatumGetTextPCopy(value);
}

/*
 * Finds a payment and locks: the user (whose seats may be counted), the
 * reservation, the payment.  Payment and user never part, but a confirmation
 * that we have waited for may have found it another reservation; then it has
 * also got another state, and nothing is done here any more.
 */
static void
payment_lock(Payment *payment, int64 payment_id)
{
	Datum id = Int64GetDatum(payment_id);
	int64 performance_id;
	bool isnull;

	memset(payment, 0, sizeof(Payment));
	if (plan_read_latest(&find_payment, &id, NULL) == 0)
		ticket_error(ERROR_NOT_FOUND, NULL, NULL, "there is no payment %lld at a provider",
					 (long long) payment_id);
	payment->payment_id = payment_id;
	payment->reservation_id = result_int64(0, 1);
	payment->hold.user = result_text(2);
	performance_id = result_int64(0, 3);
	payment->hold.token.place = result_int64(0, 4);
	payment->cancelled = DatumGetBool(result_datum(0, 5, &isnull));
	if (!performance_get(performance_id, &payment->hold.performance))
		elog(ERROR, "there is no performance %lld", (long long) performance_id);
	hold_lock_user(&payment->hold);

	id = Int64GetDatum(payment->reservation_id);
	if (plan_run(&lock_reservation, &id, NULL) == 0)
		snapshot_is_old();
	payment->reservation_status = TextDatumGetCString(result_datum(0, 1, &isnull));
	payment->expires_at = result_int64(0, 2);
	payment->seats = DatumGetArrayTypePCopy(result_datum(0, 3, &isnull));
	payment->prices = DatumGetArrayTypePCopy(result_datum(0, 4, &isnull));

	id = Int64GetDatum(payment_id);
	if (plan_run(&lock_payment, &id, NULL) == 0)
		snapshot_is_old();
	payment->status = TextDatumGetCString(result_datum(0, 1, &isnull));
	payment->provider = result_text(2);
	payment->provider_ref = result_text(3);
	payment->amount = result_int64(0, 4);
	payment->substitute = DatumGetBool(result_datum(0, 5, &isnull));
	payment->now = clock_now();
}

static bool
payment_open(const Payment *payment)
{
	return strcmp(payment->status, "pending") == 0 || strcmp(payment->status, "failed") == 0;
}

static Datum
payment_tell(int64 payment_id, MemoryContext caller)
{
	Datum id = Int64GetDatum(payment_id);
	Datum values[4];
	bool nulls[4];

	plan_run(&read_payment, &id, NULL);
	for (int i = 0; i < 4; i++)
		values[i] = result_datum(0, i + 1, &nulls[i]);
	MemoryContextSwitchTo(caller);
	return answer_row(&payment_answer, values, nulls);
}

/* ---------- seats for money that came late ---------- */

/*
 * Seats as good as those of reservation $1 but for $2: as many, of the same
 * section, beside each other in one row where those were, and otherwise the
 * nearest, of these seats what is left first.  None when they were of several
 * sections.
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
	" (e.status" EQ "'held' AND e.held_until" LE "$3)) AND e.seat_id" NE "ALL ($2)),"
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

/*
 * Sees to it that the payment's reservation is a hold that can be sold.  NULL,
 * or why it cannot be.
 */
static const char *
payment_find_seats(Payment *payment)
{
	int n = ArrayGetNItems(ARR_NDIM(payment->seats), ARR_DIMS(payment->seats));
	bool held = strcmp(payment->reservation_status, "held") == 0;

	if (payment->cancelled)
		return "the performance is cancelled";
	if (strcmp(payment->reservation_status, "paid") == 0)
		return "the reservation was paid already";
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
	if (hold_user_seats(&payment->hold, payment->now) + n > payment->hold.performance.max_seats)
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

/* ---------- confirm ---------- */

/* clang-format off */
static SavedPlan write_captured = {
	"WITH r AS (UPDATE ticket.reservation SET status = 'paid',"
	" pending_payment = CASE WHEN pending_payment" NE "$1 THEN pending_payment END"
	" WHERE reservation_id" EQ "$2 AND status" EQ "'held' RETURNING *),"
	" f AS (UPDATE ticket.reservation AS former SET pending_payment = NULL FROM ticket.payment AS p"
	" WHERE p.payment_id" EQ "$1 AND former.reservation_id" EQ "p.reservation_id"
	" AND former.reservation_id" NE "$2 AND former.pending_payment" EQ "$1),"
	SELL_SEATS ","
	" p AS (UPDATE ticket.payment AS payment SET status = 'captured', paid_at = $3,"
	" provider_ref = $4, reason = NULL, reservation_id = r.reservation_id, former_reservation ="
	" CASE WHEN payment.reservation_id" NE "r.reservation_id THEN payment.reservation_id END"
	" FROM r WHERE payment.payment_id" EQ "$1 RETURNING payment.*),"
	" l AS (INSERT INTO ticket.ledger (user_id, kind, debit, credit, amount, payment_id, created_at)"
	" SELECT user_id, 'payment', 'provider:'" CONCAT "provider, $5, amount, payment_id, $3 FROM p),"
	FINISH_TICKETS("$3") ","
	RESERVATION_EVENT("'reservation.paid'", ", 'payment_id', $1, 'paid_at', $3") ","
	PAYMENT_EVENT("'payment.captured'",
				  ", 'provider_ref', p.provider_ref, 'former_reservation_id', p.former_reservation")
	" SELECT (SELECT pg_catalog.count(*) FROM s)" EQ "pg_catalog.cardinality(r.seat_ids),"
	" (SELECT pg_catalog.count(*) FROM e), r.queue_id, r.place FROM r, p",
	5,
	{INT8OID, INT8OID, TIMESTAMPTZOID, TEXTOID, TEXTOID},
};

static SavedPlan write_refund_due = {
	"WITH r AS (UPDATE ticket.reservation SET pending_payment = NULL"
	" WHERE reservation_id" EQ "$2 AND pending_payment" EQ "$1),"
	" p AS (UPDATE ticket.payment SET status = 'refund_due', provider_ref = $4, reason = $6,"
	" refunded = amount, refunded_at = $3 WHERE payment_id" EQ "$1 RETURNING *),"
	" d AS (INSERT INTO ticket.refund (payment_id, provider, status, amount, created_at)"
	" SELECT payment_id, provider, 'due', amount, $3 FROM p RETURNING refund_id, amount),"
	" l AS (INSERT INTO ticket.ledger (user_id, kind, debit, credit, amount, payment_id, created_at)"
	" SELECT p.user_id, m.kind, m.debit, m.credit, p.amount, p.payment_id, $3 FROM p,"
	" LATERAL (VALUES ('payment', 'provider:'" CONCAT "p.provider, $5),"
	" ('refund', $5, 'refund:'" CONCAT "p.provider)) AS m (kind, debit, credit)),"
	REFUND_EVENT("'payment.refund_due'", ", 'reason', p.reason")
	" SELECT 1 FROM p",
	6,
	{INT8OID, INT8OID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID},
};
/* clang-format on */

static SavedPlan find_reference = {
	"SELECT payment_id FROM ticket.payment WHERE provider" EQ "$1 AND provider_ref" EQ "$2",
	2,
	{TEXTOID, TEXTOID},
};

/* One thing that the provider did is one payment here. */
static void
check_reference(const Payment *payment, text *provider_ref)
{
	Datum args[2] = {PointerGetDatum(payment->provider), PointerGetDatum(provider_ref)};

	if (!payment_open(payment) && !text_same(payment->provider_ref, provider_ref))
		ticket_error(ERROR_IDEMPOTENCY_CONFLICT,
					 psprintf("It was confirmed as %s.", text_show(payment->provider_ref)),
					 "If the provider took the money twice, it must give one back.",
					 "payment %lld was confirmed with another provider_ref",
					 (long long) payment->payment_id);
	if (payment_open(payment) && plan_read_latest(&find_reference, args, NULL) > 0)
		ticket_error(ERROR_IDEMPOTENCY_CONFLICT,
					 psprintf("It confirmed payment %lld.", (long long) result_int64(0, 1)), NULL,
					 "the provider_ref was used for another payment");
}

/* The money is there: seats are sold for it, or it is to be given back. */
static void
payment_settle(Payment *payment, text *provider_ref)
{
	int64 from = payment->reservation_id;
	const char *reason = payment_find_seats(payment);
	Datum args[6] = {Int64GetDatum(payment->payment_id),
					 Int64GetDatum(reason ? from : payment->reservation_id),
					 TimestampTzGetDatum(payment->now),
					 PointerGetDatum(provider_ref),
					 ledger_sales(payment->hold.performance.performance_id),
					 reason ? CStringGetTextDatum(reason) : (Datum) 0};
	bool isnull;

	if (reason)
	{
		plan_run(&write_refund_due, args, NULL);
		return;
	}
	if (plan_run(&write_captured, args, NULL) == 0 || !DatumGetBool(result_datum(0, 1, &isnull)))
		elog(ERROR, "reservation %lld and its seats do not agree",
			 (long long) payment->reservation_id);
	if (result_int64(0, 2) > 0)
		ticket_finished(result_int64(0, 3), result_int64(0, 4));
}

/*
 * payment_confirm(payment_id bigint, provider_ref text)
 * -> (payment_id bigint, status text, amount bigint, reservation_id bigint)
 *
 * The provider says that the money is there.  The seats are sold, if need be
 * taken back or replaced; where there are none the status is refund_due.
 * Called again with the same provider_ref it answers with what has become of
 * the payment.
 *
 * Errors: 22023, TK005, TK011 (another provider_ref, or one of another
 * payment), TK014, TK016; 40001.
 * Locks: advisory lock of user and performance, the reservation's row, the
 * payment's row, advisory locks of seats to be taken back (tried), the seats'
 * rows, the ticket's row (tried).
 */
Datum
ticket_payment_confirm(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	int64 payment_id = arg_id(fcinfo, 0, "payment_id");
	text *provider_ref = arg_name(fcinfo, 1, "provider_ref");
	OwnerContext owner;
	Payment payment;
	Datum answer;

	refuse_standby();
	queues_ready();
	owner_begin(&owner);
	payment_lock(&payment, payment_id);
	check_reference(&payment, provider_ref);
	if (payment_open(&payment))
		payment_settle(&payment, provider_ref);
	ForceSyncCommit();
	answer = payment_tell(payment_id, owner.caller);
	owner_end(&owner);
	PG_RETURN_DATUM(answer);
}

/* ---------- fail ---------- */

static SavedPlan write_failed = {
	"WITH r AS (UPDATE ticket.reservation SET pending_payment = NULL"
	" WHERE reservation_id" EQ "$2 AND pending_payment" EQ "$1),"
	" p AS (UPDATE ticket.payment SET status = 'failed', reason = $3 WHERE payment_id" EQ "$1"
	" AND status" EQ
	"'pending' RETURNING *)," PAYMENT_EVENT("'payment.failed'",
											", 'reason', p.reason") " SELECT 1 FROM p",
	3,
	{INT8OID, INT8OID, TEXTOID},
};

/*
 * payment_fail(payment_id bigint, reason text)
 * -> (payment_id bigint, status text, amount bigint, reservation_id bigint)
 *
 * The provider says that it will not pay.  The hold goes on until it ends, and
 * may be paid otherwise.  Changes nothing when the payment was confirmed.
 *
 * Errors: 22023, TK005, TK014, TK016; 40001.
 * Locks: as payment_confirm, but none of seats.
 */
Datum
ticket_payment_fail(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	int64 payment_id = arg_id(fcinfo, 0, "payment_id");
	text *reason = arg_name(fcinfo, 1, "reason");
	OwnerContext owner;
	Payment payment;
	Datum answer;

	refuse_standby();
	owner_begin(&owner);
	payment_lock(&payment, payment_id);
	if (strcmp(payment.status, "pending") == 0)
	{
		Datum args[3] = {Int64GetDatum(payment_id), Int64GetDatum(payment.reservation_id),
						 PointerGetDatum(reason)};

		plan_run(&write_failed, args, NULL);
		ForceSyncCommit();
	}
	answer = payment_tell(payment_id, owner.caller);
	owner_end(&owner);
	PG_RETURN_DATUM(answer);
}

/* ---------- refunds ---------- */

static AnswerType refund_answer = {
	4,
	{{"refund_id", INT8OID}, {"payment_id", INT8OID}, {"status", TEXTOID}, {"amount", INT8OID}},
};

static SavedPlan lock_refund_payment = {
	"SELECT p.payment_id FROM ticket.payment AS p, ticket.refund AS d"
	" WHERE d.refund_id" EQ "$1 AND p.payment_id" EQ "d.payment_id FOR NO KEY UPDATE OF p",
	1,
	{INT8OID},
};

/* What one provider calls one refund is one refund here. */
static SavedPlan find_refund = {
	"SELECT d.refund_id, d.payment_id, d.status, d.amount, d.provider_ref" EQ
	"$2, (SELECT o.refund_id"
	" FROM ticket.refund AS o WHERE o.provider" EQ "d.provider AND o.provider_ref" EQ "$2)"
	" FROM ticket.refund AS d WHERE d.refund_id" EQ "$1",
	2,
	{INT8OID, TEXTOID},
};

static SavedPlan write_refund_done = {
	"WITH d AS (UPDATE ticket.refund SET status = 'done', done_at = $2, provider_ref = $3"
	" WHERE refund_id" EQ "$1 AND status" EQ "'due' RETURNING *),"
	" p AS (UPDATE ticket.payment AS payment SET status = CASE"
	" WHEN payment.status" EQ "'refund_due' AND NOT EXISTS (SELECT FROM ticket.refund AS o"
	" WHERE o.payment_id" EQ "payment.payment_id AND o.status" EQ "'due' AND o.refund_id" NE "$1)"
	" THEN 'refunded' ELSE payment.status END FROM d WHERE payment.payment_id" EQ "d.payment_id"
	" RETURNING payment.*),"
	" l AS (INSERT INTO ticket.ledger (user_id, kind, debit, credit, amount, payment_id, created_at)"
	" SELECT p.user_id, 'settlement', 'refund:'" CONCAT "p.provider, 'provider:'" CONCAT
	"p.provider, d.amount, p.payment_id, $2 FROM p, d)," REFUND_EVENT(
		"'payment.refunded'", ", 'refund_ref', d.provider_ref") " SELECT 1 FROM p",
	3,
	{INT8OID, TIMESTAMPTZOID, TEXTOID},
};

/*
 * refund_confirm(refund_id bigint, provider_ref text)
 * -> (refund_id bigint, payment_id bigint, status text, amount bigint)
 *
 * The provider has given a refund back; provider_ref is what it calls that.
 * Called again with the same provider_ref it gives the same answer.
 *
 * Errors: 22023, TK005, TK011 (done with another provider_ref, or that one was
 * another refund), TK014, TK016; 40001.
 * Locks: the payment's row, the refund's row.
 */
Datum
ticket_refund_confirm(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	int64 refund_id = arg_id(fcinfo, 0, "refund_id");
	text *provider_ref = arg_name(fcinfo, 1, "provider_ref");
	Datum args[3] = {Int64GetDatum(refund_id), PointerGetDatum(provider_ref),
					 PointerGetDatum(provider_ref)};
	OwnerContext owner;
	Datum values[4];
	bool nulls[4];
	bool done;
	bool isnull;
	Datum answer;

	refuse_standby();
	owner_begin(&owner);
	if (plan_read_latest(&find_refund, args, NULL) > 0 &&
		plan_run(&lock_refund_payment, args, NULL) == 0)
		snapshot_is_old();
	if (plan_read_latest(&find_refund, args, NULL) == 0)
		ticket_error(ERROR_NOT_FOUND, NULL, NULL, "there is no refund %lld", (long long) refund_id);
	done = result_equals(0, 3, "done");
	if (done && !DatumGetBool(result_datum(0, 5, &isnull)))
		ticket_error(ERROR_IDEMPOTENCY_CONFLICT, NULL, NULL,
					 "refund %lld was done with another provider_ref", (long long) refund_id);
	if (!done && !result_isnull(0, 6))
		ticket_error(ERROR_IDEMPOTENCY_CONFLICT,
					 psprintf("It was refund %lld.", (long long) result_int64(0, 6)), NULL,
					 "the provider_ref was used for another refund");
	if (!done)
	{
		args[1] = TimestampTzGetDatum(clock_now());
		plan_run(&write_refund_done, args, NULL);
		ForceSyncCommit();
		args[1] = PointerGetDatum(provider_ref);
		plan_run(&find_refund, args, NULL);
	}
	for (int i = 0; i < 4; i++)
		values[i] = result_datum(0, i + 1, &nulls[i]);
	MemoryContextSwitchTo(owner.caller);
	answer = answer_row(&refund_answer, values, nulls);
	owner_end(&owner);
	PG_RETURN_DATUM(answer);
}
