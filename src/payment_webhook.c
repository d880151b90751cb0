/*
 * payment_webhook.c
 *		What a provider says of a payment: confirmed, failed.
 *
 * Its webhooks come any number of times, in any order, late, and at once with
 * the end of the hold.  What may follow what is in doc/payments.md, and the
 * table's trigger holds to it.  What a confirmation says has been paid ends in
 * one of two ways: seats are sold for it, or a refund of it is due.
 */
#include "postgres.h"

#include "access/xact.h"
#include "answer.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "load.h"
#include "metrics.h"
#include "money.h"
#include "plan.h"
#include "provider.h"
#include "seat.h"
#include "stock.h"
#include "ticket.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(ticket_payment_confirm);
PG_FUNCTION_INFO_V1(ticket_payment_fail);

static AnswerType payment_answer = {
	4,
	{{"payment_id", INT8OID},
	 {"status", TEXTOID},
	 {"amount", INT8OID},
	 {"reservation_id", INT8OID}},
};

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
	"SELECT status, provider, provider_ref, amount, substitute, user_id FROM ticket.payment"
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
 * reservation, the payment.  A confirmation that we have waited for may have
 * found it another reservation; then it has also got another state, and nothing
 * is done here any more.  A user who has withdrawn meanwhile goes by another id.
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
	payment->hold.user = result_text(6);
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
	RESERVATION_EVENT("'reservation.paid'", ", 'payment_id', $1, 'paid_at', ticket.utc($3)") ","
	PAYMENT_EVENT("'payment.captured'",
				  ", 'provider_ref', p.provider_ref, 'former_reservation_id', p.former_reservation")
	" SELECT (SELECT pg_catalog.count(*) FROM s)" EQ "pg_catalog.cardinality(r.seat_ids),"
	" r.queue_id, r.place, r.user_id FROM r, p",
	5,
	{INT8OID, INT8OID, TIMESTAMPTZOID, TEXTOID, TEXTOID},
};

static SavedPlan write_refund_due = {
	"WITH r AS (UPDATE ticket.reservation SET pending_payment = NULL"
	" WHERE reservation_id" EQ "$2 AND pending_payment" EQ "$1),"
	" p AS (UPDATE ticket.payment SET status = 'refund_due', provider_ref = $4, reason = $6,"
	" refund_due = amount WHERE payment_id" EQ "$1 RETURNING *),"
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

/*
 * Whoever reports the same thing of the provider at the same moment waits: the
 * second then finds the reference used.
 */
void
provider_reference_lock(const text *provider, const text *provider_ref)
{
	class_lock(LOCK_CLASS_REFERENCE,
			   hash_bytes((const unsigned char *) VARDATA_ANY(provider),
						  VARSIZE_ANY_EXHDR(provider)),
			   hash_bytes((const unsigned char *) VARDATA_ANY(provider_ref),
						  VARSIZE_ANY_EXHDR(provider_ref)),
			   false, true);
}

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
	if (!payment_open(payment))
		return;
	provider_reference_lock(payment->provider, provider_ref);
	if (plan_read_latest(&find_reference, args, NULL) > 0)
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
	Datum queue_id;
	int64 place;
	text *user;
	bool isnull;

	if (reason)
	{
		plan_run(&write_refund_due, args, NULL);
		return;
	}
	if (plan_run(&write_captured, args, NULL) == 0 || !DatumGetBool(result_datum(0, 1, &isnull)))
		elog(ERROR, "reservation %lld and its seats do not agree",
			 (long long) payment->reservation_id);
	queue_id = result_datum(0, 2, &isnull);
	if (isnull)
		return;
	place = result_int64(0, 3);
	user = DatumGetTextPCopy(result_datum(0, 4, &isnull));
	if (entry_finish(DatumGetInt64(queue_id), place, user, payment->now))
		ticket_finished(DatumGetInt64(queue_id), place);
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
 * payment's row, advisory lock of the reference, advisory locks of seats to be
 * taken back (tried), the seats' rows, the ticket's row (tried).
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

/* Not said as the index payment_pending says it: see STILL_DUE. */
static SavedPlan write_failed = {
	"WITH r AS (UPDATE ticket.reservation SET pending_payment = NULL"
	" WHERE reservation_id" EQ "$2 AND pending_payment" EQ "$1),"
	" p AS (UPDATE ticket.payment SET status = 'failed', reason = $3 WHERE payment_id" EQ "$1"
	" AND status" CONCAT "''" EQ
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
