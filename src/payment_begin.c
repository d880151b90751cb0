/*
 * payment_begin.c
 *		Payments at a provider outside the database are begun.
 *
 * No transaction is open while the provider is asked: the reservation says which
 * payment is under way for it, and its hold goes on meanwhile.
 */
#include "postgres.h"

#include "access/xact.h"
#include "answer.h"
#include "catalog/pg_type.h"
#include "load.h"
#include "metrics.h"
#include "money.h"
#include "plan.h"
#include "seat.h"
#include "ticket.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(ticket_payment_begin);

#define MAX_PROVIDER 63
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
	" r.created_at" PLUS "ticket.elapsed(p.hold_interval)" PLUS "ticket.elapsed(p.payment_interval)"
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
	PAYMENT_EVENT("'payment.begun'", ", 'expires_at', ticket.utc($8)") \
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
					 psprintf("It ended at %s.", time_text(result_int64(0, 2))),
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
	/* What was begun before a block may be asked about, as what was paid. */
	if (!result_isnull(0, 4))
		return result_int64(0, 4);
	people_check(request->user);
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
