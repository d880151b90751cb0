/*
 * payment.c
 *		Paying a reservation with points.
 */
#include "postgres.h"

#include "access/xact.h"
#include "answer.h"
#include "catalog/pg_type.h"
#include "load.h"
#include "metrics.h"
#include "money.h"
#include "pending.h"
#include "plan.h"
#include "seat.h"
#include "ticket.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(ticket_pay_reservation);

static AnswerType payment_answer = {
	5,
	{{"payment_id", INT8OID},
	 {"status", TEXTOID},
	 {"amount", INT8OID},
	 {"balance", INT8OID},
	 {"paid_at", TIMESTAMPTZOID}},
};

static SavedPlan lock_reservation = {
	"SELECT status, expires_at, amount, queue_id, place, pg_catalog.cardinality(seat_ids),"
	" performance_id, pending_payment FROM ticket.reservation WHERE reservation_id" EQ
	"$1 AND user_id" EQ "$2"
	" FOR NO KEY UPDATE",
	2,
	{INT8OID, TEXTOID},
};

static SavedPlan find_payment = {
	"SELECT payment_id, status, amount, balance, paid_at FROM ticket.payment"
	" WHERE reservation_id" EQ "$1 AND paid_at IS NOT NULL",
	1,
	{INT8OID},
};

static SavedPlan find_keyed_payment = {
	"SELECT reservation_id FROM ticket.payment WHERE user_id" EQ "$1 AND idempotency_key" EQ "$2",
	2,
	{TEXTOID, TEXTOID},
};

/*
 * All that paying writes.  The ticket ends with SKIP LOCKED, as that row comes
 * before the reservation in the order of locks: whoever has it is ending it.
 */
/* clang-format off */
#define WRITE_PAYMENT(on_conflict) \
	"WITH r AS (UPDATE ticket.reservation SET status = 'paid'" \
	" WHERE reservation_id" EQ "$1 AND status" EQ "'held' RETURNING *)," \
	" s AS (UPDATE ticket.seat AS seat SET status = 'sold', held_until = NULL FROM r" \
	" WHERE seat.performance_id" EQ "r.performance_id AND seat.seat_id" EQ "ANY (r.seat_ids)" \
	" AND seat.reservation_id" EQ "$1 AND seat.status" EQ "'held' RETURNING 1)," \
	" a AS (UPDATE ticket.account SET balance = balance" MINUS "$3 WHERE user_id" EQ "$2" \
	" AND balance" GE "$3 RETURNING balance)," \
	" p AS (INSERT INTO ticket.payment (reservation_id, user_id, provider, status, amount," \
	" balance, paid_at, idempotency_key)" \
	" SELECT $1, $2, 'points', 'captured', $3, balance, $4, $5 FROM a" on_conflict \
	" RETURNING payment_id, balance)," \
	" l AS (INSERT INTO ticket.ledger (user_id, kind, debit, credit, amount, balance_before," \
	" balance_after, payment_id, created_at)" \
	" SELECT $2, 'payment', $8, $9, $3, balance" PLUS "$3, balance, payment_id, $4 FROM p)," \
	" t AS (SELECT queue_id, place FROM ticket.queue_entry WHERE queue_id" EQ "$6" \
	" AND place" EQ "$7 AND user_id" EQ "$2 AND status" EQ "'active'" \
	" FOR NO KEY UPDATE SKIP LOCKED)," \
	" e AS (UPDATE ticket.queue_entry AS entry SET status = 'finished', ended_at = $4 FROM t" \
	" WHERE entry.queue_id" EQ "t.queue_id AND entry.place" EQ "t.place RETURNING 1)," \
	RESERVATION_EVENT("'reservation.paid'", \
					  ", 'payment_id', (SELECT payment_id FROM p), 'paid_at', $4") \
	" SELECT p.payment_id, p.balance, (SELECT pg_catalog.count(*) FROM s)," \
	" (SELECT pg_catalog.count(*) FROM e) FROM p"

#define PAYMENT_TYPES \
	{INT8OID, TEXTOID, INT8OID, TIMESTAMPTZOID, TEXTOID, INT8OID, INT8OID, TEXTOID, TEXTOID}

static SavedPlan write_payment = {WRITE_PAYMENT(""), 9, PAYMENT_TYPES};
static SavedPlan write_keyed_payment = {WRITE_PAYMENT(UNUSED_KEY), 9, PAYMENT_TYPES};
/* clang-format on */

/* What is to be paid, by whom: all that paying needs to know. */
typedef struct PayRequest
{
	int64 reservation_id;
	int64 performance_id;
	text *user;
	text *key; /* or NULL */
	int64 amount;
	int64 queue_id; /* 0: came through none */
	int64 place;
	int64 n_seats;
	TimestampTz now;
} PayRequest;

/* What has been written. */
typedef struct Payment
{
	int64 payment_id;
	int64 balance;
} Payment;

/* Locks the reservation; true: it can be paid now; false: it has been. */
static bool
lock_and_check(PayRequest *request)
{
	Datum args[2] = {Int64GetDatum(request->reservation_id), PointerGetDatum(request->user)};
	bool isnull;

	if (plan_run(&lock_reservation, args, NULL) == 0)
		reservation_missing(request->reservation_id, request->user);
	request->now = clock_now();
	if (result_equals(0, 1, "paid"))
		return false;
	if (result_equals(0, 1, "expired") ||
		(result_equals(0, 1, "held") && result_int64(0, 2) <= request->now))
		ticket_error(ERROR_HOLD_EXPIRED,
					 psprintf("It ended at %s.", timestamptz_to_str(result_int64(0, 2))),
					 "Hold the seats again.", "the hold of reservation %lld has ended",
					 (long long) request->reservation_id);
	if (!result_equals(0, 1, "held"))
		ticket_error(ERROR_WRONG_STATE,
					 psprintf("It is %s.", TextDatumGetCString(result_datum(0, 1, &isnull))),
					 "Hold the seats again.", "reservation %lld cannot be paid",
					 (long long) request->reservation_id);
	if (!result_isnull(0, 8))
		ticket_error(ERROR_WRONG_STATE,
					 psprintf("It is payment %lld.", (long long) result_int64(0, 8)),
					 "Wait for the provider's answer, or report it with payment_fail.",
					 "a payment of reservation %lld is under way",
					 (long long) request->reservation_id);
	request->amount = result_int64(0, 3);
	request->queue_id = result_int64(0, 4);
	request->place = result_int64(0, 5);
	request->n_seats = DatumGetInt32(result_datum(0, 6, &isnull));
	request->performance_id = result_int64(0, 7);
	return true;
}

/* A key that paid something else before is refused. */
static void
check_key(const PayRequest *request)
{
	Datum args[2] = {PointerGetDatum(request->user), PointerGetDatum(request->key)};

	if (request->key == NULL)
		return;
	if (plan_read_latest(&find_keyed_payment, args, NULL) > 0 &&
		result_int64(0, 1) != request->reservation_id)
		ticket_error(ERROR_IDEMPOTENCY_CONFLICT,
					 psprintf("It paid reservation %lld.", (long long) result_int64(0, 1)),
					 "Use a new key for a new payment.",
					 "the idempotency key was used with other arguments");
}

pg_attribute_noreturn()
static void
points_short(const PayRequest *request)
{
	Datum args[1] = {PointerGetDatum(request->user)};
	int64 balance = plan_read_latest(&account_balance, args, NULL) ? result_int64(0, 1) : 0;

	ticket_error(ERROR_POINTS_SHORT,
				 psprintf("The balance is %lld, the price is %lld.", (long long) balance,
						  (long long) request->amount),
				 "Charge points and call again before the hold ends.",
				 "the points do not cover the price");
}

/*
 * A ticket has been finished: its room is free when this commits.  Recorded
 * here, as that can fail; the commit only does it.
 */
void
ticket_finished(int64 queue_id, int64 place)
{
	Queue *queue;

	pending_reserve(1);
	queue = queue_acquire(queue_id, LW_EXCLUSIVE);
	if (queue)
	{
		pending_end(queue, place, true);
		queue_release(queue);
	}
}

/* Writes the payment of a reservation that lock_and_check let pass. */
static void
pay(const PayRequest *request, Payment *payment)
{
	Datum args[9] = {Int64GetDatum(request->reservation_id), PointerGetDatum(request->user),
					 Int64GetDatum(request->amount),         TimestampTzGetDatum(request->now),
					 PointerGetDatum(request->key),          Int64GetDatum(request->queue_id),
					 Int64GetDatum(request->place),          ledger_user(request->user),
					 ledger_sales(request->performance_id)};
	char nulls[9];

	memset(nulls, ' ', sizeof(nulls));
	if (request->key == NULL)
		nulls[4] = 'n';
	if (request->queue_id == 0)
		nulls[5] = nulls[6] = 'n';
	/* Who gets something for nothing may never have had an account. */
	if (request->amount == 0)
		plan_run(&account_open, &args[1], NULL);
	if (plan_run(request->key ? &write_keyed_payment : &write_payment, args, nulls) == 0)
	{
		/* The same key may have paid something else meanwhile. */
		check_key(request);
		points_short(request);
	}
	if (result_int64(0, 3) != request->n_seats)
		elog(ERROR, "reservation %lld and its seats do not agree",
			 (long long) request->reservation_id);
	payment->payment_id = result_int64(0, 1);
	payment->balance = result_int64(0, 2);
	if (result_int64(0, 4) > 0)
		ticket_finished(request->queue_id, request->place);
}

/* The answer to a call that comes after the reservation was paid. */
static Datum
answer_found(int64 reservation_id, MemoryContext caller)
{
	Datum args[1] = {Int64GetDatum(reservation_id)};
	Datum values[5];
	bool nulls[5];

	if (plan_read_latest(&find_payment, args, NULL) == 0)
		elog(ERROR, "reservation %lld is paid and has no payment", (long long) reservation_id);
	for (int i = 0; i < 5; i++)
		values[i] = result_datum(0, i + 1, &nulls[i]);
	MemoryContextSwitchTo(caller);
	return answer_row(&payment_answer, values, nulls);
}

static Datum
answer_written(const PayRequest *request, const Payment *payment, MemoryContext caller)
{
	Datum values[5];
	bool nulls[5] = {false};

	MemoryContextSwitchTo(caller);
	values[0] = Int64GetDatum(payment->payment_id);
	values[1] = CStringGetTextDatum("captured");
	values[2] = Int64GetDatum(request->amount);
	values[3] = Int64GetDatum(payment->balance);
	values[4] = TimestampTzGetDatum(request->now);
	return answer_row(&payment_answer, values, nulls);
}

/*
 * pay_reservation(reservation_id bigint, user_id text,
 *				   idempotency_key text default null)
 * -> (payment_id bigint, status text, amount bigint, balance bigint,
 *	   paid_at timestamptz)
 *
 * Pays a held reservation with points: seats sold, points taken, ledger and
 * event written, the active ticket finished, in one transaction, durable
 * whatever synchronous_commit.  Called again, it answers with the payment.
 * While a payment at a provider is under way (payment_begin) it is refused.
 *
 * Errors: 22023, TK005, TK007, TK009, TK010, TK011, TK013, TK014, TK016,
 * TK018.
 * Locks: the reservation's row (waits for whoever pays, releases or tidies
 * it), the seats' rows, the account's row, the ticket's row (tried); then the
 * queue lock.
 */
Datum
ticket_pay_reservation(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	PayRequest request = {.reservation_id = arg_id(fcinfo, 0, "reservation_id")};
	Payment payment;
	OwnerContext owner;
	Datum answer;
	bool due;

	request.user = arg_user(fcinfo, 1);
	request.key = arg_key(fcinfo, 2);
	refuse_standby();
	queues_ready();
	people_check(request.user);
	owner_begin(&owner);
	due = lock_and_check(&request);
	check_key(&request);
	if (due)
	{
		pay(&request, &payment);
		ForceSyncCommit();
		answer = answer_written(&request, &payment, owner.caller);
	}
	else
		answer = answer_found(request.reservation_id, owner.caller);
	owner_end(&owner);
	PG_RETURN_DATUM(answer);
}
