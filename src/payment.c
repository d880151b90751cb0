/*
 * payment.c
 *		Paying a reservation with points.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/xact.h"
#include "answer.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "load.h"
#include "metrics.h"
#include "money.h"
#include "miscadmin.h"
#include "outbox.h"
#include "pending.h"
#include "plan.h"
#include "seat.h"
#include "stock.h"
#include "ticket.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

PG_FUNCTION_INFO_V1(ticket_pay_reservation);

static AnswerType payment_answer = {
	5,
	{{"payment_id", INT8OID},
	 {"status", TEXTOID},
	 {"amount", INT8OID},
	 {"balance", INT8OID},
	 {"paid_at", TIMESTAMPTZOID}},
	"payment_state",
};

static SavedPlan find_payment = {
	"SELECT payment_id, status, amount, balance, paid_at FROM ticket.payment"
	" WHERE reservation_id" EQ "$1 AND paid_at IS NOT NULL",
	1,
	{INT8OID},
};

static RowTarget account_row = {.table = REL_ACCOUNT, .row_size = ACCOUNT_ROW_SIZE};

static RowTarget ledger_row = {.table = REL_LEDGER, .row_size = LEDGER_ROW_SIZE};

static RowTarget payment_row = {
	.table = REL_PAYMENT,
	.row_size = PAYMENT_ROW_SIZE,
	.unless = REL_PAYMENT_KEY,
	.conflict = "(user_id, idempotency_key) WHERE idempotency_key IS NOT NULL",
};

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
	int64 pending_payment; /* 0: none */
	const char *status;
	TimestampTz expires_at;
	int n_seats;
	int32 *seat;
	TimestampTz now;
} PayRequest;

/* What has been written. */
typedef struct PointPayment
{
	int64 payment_id;
	int64 balance;
} PointPayment;

/* ---------- the reservation ---------- */

/* What the row says; false: it is another user's. */
static bool
read_reservation(PayRequest *request, RowScan *scan, HeapTuple row)
{
	bool isnull;
	ArrayType *seats;

	if (!text_same(DatumGetTextPP(row_get(scan, row, COL_RESERVATION_USER_ID, &isnull)),
				   request->user))
		return false;
	request->status = TextDatumGetCString(row_get(scan, row, COL_RESERVATION_STATUS, &isnull));
	request->performance_id = row_int64(scan, row, COL_RESERVATION_PERFORMANCE_ID, 0);
	request->amount = row_int64(scan, row, COL_RESERVATION_AMOUNT, 0);
	request->expires_at = row_int64(scan, row, COL_RESERVATION_EXPIRES_AT, 0);
	request->queue_id = row_int64(scan, row, COL_RESERVATION_QUEUE_ID, 0);
	request->place = row_int64(scan, row, COL_RESERVATION_PLACE, 0);
	request->pending_payment = row_int64(scan, row, COL_RESERVATION_PENDING_PAYMENT, 0);
	seats = DatumGetArrayTypePCopy(row_get(scan, row, COL_RESERVATION_SEAT_IDS, &isnull));
	request->n_seats = ArrayGetNItems(ARR_NDIM(seats), ARR_DIMS(seats));
	request->seat = (int32 *) ARR_DATA_PTR(seats);
	return true;
}

/* Reads the reservation and, if it is held, makes it paid; waits for who has it. */
static void
take_reservation(PayRequest *request)
{
	Datum values[RESERVATION_ROW_SIZE] = {[COL_RESERVATION_STATUS] = CStringGetTextDatum("paid")};
	bool nulls[RESERVATION_ROW_SIZE] = {false};
	static const bool replace[RESERVATION_ROW_SIZE] = {[COL_RESERVATION_STATUS] = true};
	bool found;
	bool again;

	do
	{
		RowScan scan;
		HeapTuple row;

		CHECK_FOR_INTERRUPTS();
		found = reservation_find(&scan, request->reservation_id, &row) &&
				read_reservation(request, &scan, row);
		again = false;
		if (found && strcmp(request->status, "held") == 0)
			again = !row_update(&reservation_row, row, values, nulls, replace, true);
		else if (found)
			row_check_snapshot(&scan, row);
		row_scan_end(&scan);
	} while (again);
	if (!found)
		ticket_error(ERROR_NOT_FOUND, NULL, NULL, "the user has no reservation %lld",
					 (long long) request->reservation_id);
}

/*
 * Makes the reservation paid, so that it is ours, and then sees whether it
 * could be: an error undoes it.  False: it had been paid before.
 */
static bool
pay_hold(PayRequest *request)
{
	take_reservation(request);
	request->now = clock_now();
	if (strcmp(request->status, "paid") == 0)
		return false;
	if (strcmp(request->status, "expired") == 0 ||
		(strcmp(request->status, "held") == 0 && request->expires_at <= request->now))
		ticket_error(ERROR_HOLD_EXPIRED,
					 psprintf("It ended at %s.", time_text(request->expires_at)),
					 "Hold the seats again.", "the hold of reservation %lld has ended",
					 (long long) request->reservation_id);
	if (strcmp(request->status, "held") != 0)
		ticket_error(ERROR_WRONG_STATE, psprintf("It is %s.", request->status),
					 "Hold the seats again.", "reservation %lld cannot be paid",
					 (long long) request->reservation_id);
	if (request->pending_payment != 0)
		ticket_error(ERROR_WRONG_STATE,
					 psprintf("It is payment %lld.", (long long) request->pending_payment),
					 "Wait for the provider's answer, or report it with payment_fail.",
					 "a payment of reservation %lld is under way",
					 (long long) request->reservation_id);
	return true;
}

/* A key of another payment is refused, also of one at a provider. */
static void
check_key(const PayRequest *request)
{
	ScanKeyData key[2];
	RowScan scan;
	HeapTuple row;
	int64 payment = 0;
	bool same = true;
	bool isnull;

	if (request->key == NULL)
		return;
	ScanKeyInit(&key[0], COL_PAYMENT_USER_ID, BTEqualStrategyNumber, F_TEXTEQ,
				PointerGetDatum(request->user));
	ScanKeyInit(&key[1], COL_PAYMENT_IDEMPOTENCY_KEY, BTEqualStrategyNumber, F_TEXTEQ,
				PointerGetDatum(request->key));
	key[0].sk_collation = key[1].sk_collation = DEFAULT_COLLATION_OID;
	row_scan_begin(&scan, REL_PAYMENT, REL_PAYMENT_KEY, 2, key);
	row = row_scan_next(&scan);
	if (row)
	{
		payment = row_int64(&scan, row, COL_PAYMENT_ID, 0);
		same = row_int64(&scan, row, COL_PAYMENT_RESERVATION_ID, 0) == request->reservation_id &&
			   text_is(row_get(&scan, row, COL_PAYMENT_PROVIDER, &isnull), "points");
	}
	row_scan_end(&scan);
	if (!same)
		ticket_error(ERROR_IDEMPOTENCY_CONFLICT,
					 psprintf("It is of payment %lld.", (long long) payment),
					 "Use a new key for a new payment.",
					 "the idempotency key was used with other arguments");
}

/* ---------- the money ---------- */

pg_attribute_noreturn()
static void
points_short(const PayRequest *request, int64 balance)
{
	ticket_error(ERROR_POINTS_SHORT,
				 psprintf("The balance is %lld, the price is %lld.", (long long) balance,
						  (long long) request->amount),
				 "Charge points and call again before the hold ends.",
				 "the points do not cover the price");
}

/* Takes the points; returns what is left. */
static int64
debit_account(const PayRequest *request)
{
	static const bool replace[ACCOUNT_ROW_SIZE] = {[COL_ACCOUNT_BALANCE] = true};
	bool nulls[ACCOUNT_ROW_SIZE] = {false};
	ScanKeyData key;
	int64 balance;
	bool done;

	ScanKeyInit(&key, COL_ACCOUNT_USER_ID, BTEqualStrategyNumber, F_TEXTEQ,
				PointerGetDatum(request->user));
	key.sk_collation = DEFAULT_COLLATION_OID;
	do
	{
		Datum values[ACCOUNT_ROW_SIZE];
		RowScan scan;
		HeapTuple row;

		CHECK_FOR_INTERRUPTS();
		row_scan_begin(&scan, REL_ACCOUNT, REL_ACCOUNT_PKEY, 1, &key);
		row = row_scan_next(&scan);
		balance = row ? row_int64(&scan, row, COL_ACCOUNT_BALANCE, 0) : 0;
		if (row == NULL || balance < request->amount)
			points_short(request, balance);
		values[COL_ACCOUNT_BALANCE] = Int64GetDatum(balance - request->amount);
		done = row_update(&account_row, row, values, nulls, replace, true);
		row_scan_end(&scan);
	} while (!done);
	return balance - request->amount;
}

static void
write_payment(const PayRequest *request, const PointPayment *payment)
{
	Datum values[PAYMENT_ROW_SIZE] = {
		[COL_PAYMENT_ID] = Int64GetDatum(payment->payment_id),
		[COL_PAYMENT_RESERVATION_ID] = Int64GetDatum(request->reservation_id),
		[COL_PAYMENT_USER_ID] = PointerGetDatum(request->user),
		[COL_PAYMENT_PROVIDER] = CStringGetTextDatum("points"),
		[COL_PAYMENT_STATUS] = CStringGetTextDatum("captured"),
		[COL_PAYMENT_AMOUNT] = Int64GetDatum(request->amount),
		[COL_PAYMENT_BALANCE] = Int64GetDatum(payment->balance),
		[COL_PAYMENT_REFUNDED] = Int64GetDatum(0),
		[COL_PAYMENT_PAID_AT] = TimestampTzGetDatum(request->now),
		[COL_PAYMENT_IDEMPOTENCY_KEY] = PointerGetDatum(request->key),
		[COL_PAYMENT_KEPT] = Int64GetDatum(0),
		[COL_PAYMENT_SUBSTITUTE] = BoolGetDatum(false),
		[COL_PAYMENT_REFUND_DUE] = Int64GetDatum(0),
	};
	bool nulls[PAYMENT_ROW_SIZE] = {
		[COL_PAYMENT_REFUNDED_AT] = true, [COL_PAYMENT_IDEMPOTENCY_KEY] = request->key == NULL,
		[COL_PAYMENT_BEGUN_AT] = true,    [COL_PAYMENT_PROVIDER_REF] = true,
		[COL_PAYMENT_REASON] = true,      [COL_PAYMENT_FORMER_RESERVATION] = true,
	};

	if (request->key == NULL)
		row_insert(&payment_row, values, nulls);
	else if (!row_insert_unless(&payment_row, values, nulls))
	{
		/* The same key has paid something else meanwhile. */
		check_key(request);
		elog(ERROR, "reservation %lld was held and has a payment",
			 (long long) request->reservation_id);
	}
}

static void
write_ledger(const PayRequest *request, const PointPayment *payment)
{
	Datum values[LEDGER_ROW_SIZE] = {
		[COL_LEDGER_ID] = Int64GetDatum(row_number(REL_LEDGER_NUMBERS)),
		[COL_LEDGER_USER_ID] = PointerGetDatum(request->user),
		[COL_LEDGER_KIND] = CStringGetTextDatum("payment"),
		[COL_LEDGER_DEBIT] = ledger_user(request->user),
		[COL_LEDGER_CREDIT] = ledger_sales(request->performance_id),
		[COL_LEDGER_AMOUNT] = Int64GetDatum(request->amount),
		[COL_LEDGER_BALANCE_BEFORE] = Int64GetDatum(payment->balance + request->amount),
		[COL_LEDGER_BALANCE_AFTER] = Int64GetDatum(payment->balance),
		[COL_LEDGER_PAYMENT_ID] = Int64GetDatum(payment->payment_id),
		[COL_LEDGER_CREATED_AT] = TimestampTzGetDatum(request->now),
	};
	bool nulls[LEDGER_ROW_SIZE] = {[COL_LEDGER_IDEMPOTENCY_KEY] = true};

	row_insert(&ledger_row, values, nulls);
}

static void
open_account(const PayRequest *request)
{
	Datum args[1] = {PointerGetDatum(request->user)};
	OwnerContext owner;

	owner_begin(&owner);
	plan_run(&account_open, args, NULL);
	owner_end(&owner);
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

/* Writes the payment of a reservation that pay_hold has made paid. */
static void
pay(const PayRequest *request, PointPayment *payment)
{
	SeatState held = {.status = "held", .reservation_id = request->reservation_id};
	SeatState sold = {.status = "sold", .reservation_id = request->reservation_id};
	Event event;

	for (int i = 0; i < request->n_seats; i++)
		if (!seat_change(request->performance_id, request->seat[i], &held, &sold, true))
			elog(ERROR, "reservation %lld and its seats do not agree",
				 (long long) request->reservation_id);
	/* Who gets something for nothing may never have had an account. */
	if (request->amount == 0)
		open_account(request);
	payment->balance = debit_account(request);
	payment->payment_id = row_number(REL_PAYMENT_NUMBERS);
	write_payment(request, payment);
	write_ledger(request, payment);
	if (request->queue_id != 0 &&
		entry_finish(request->queue_id, request->place, request->user, request->now))
		ticket_finished(request->queue_id, request->place);
	event_begin_reservation(&event, "reservation.paid", request->reservation_id,
							request->performance_id, request->user, request->seat, request->n_seats,
							request->amount);
	event_int64(&event, "payment_id", payment->payment_id);
	event_time(&event, "paid_at", request->now);
	event_write(&event, "reservation", number_text(request->reservation_id));
}

/* The answer to a call that comes after the reservation was paid. */
static Datum
answer_found(int64 reservation_id)
{
	Datum args[1] = {Int64GetDatum(reservation_id)};
	OwnerContext owner;
	Datum values[5];
	bool nulls[5];
	Datum answer;

	owner_begin(&owner);
	if (plan_read_latest(&find_payment, args, NULL) == 0)
		elog(ERROR, "reservation %lld is paid and has no payment", (long long) reservation_id);
	for (int i = 0; i < 5; i++)
		values[i] = result_datum(0, i + 1, &nulls[i]);
	MemoryContextSwitchTo(owner.caller);
	answer = answer_row(&payment_answer, values, nulls);
	owner_end(&owner);
	return answer;
}

static Datum
answer_written(const PayRequest *request, const PointPayment *payment)
{
	Datum values[5];
	bool nulls[5] = {false};

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
	PointPayment payment;
	bool due;

	request.user = arg_user(fcinfo, 1);
	request.key = arg_key(fcinfo, 2);
	refuse_standby();
	queues_ready();
	due = pay_hold(&request);
	check_key(&request);
	/* What was paid before a block stays paid, and may be asked about. */
	if (!due)
		PG_RETURN_DATUM(answer_found(request.reservation_id));
	people_check(request.user);
	pay(&request, &payment);
	ForceSyncCommit();
	PG_RETURN_DATUM(answer_written(&request, &payment));
}
