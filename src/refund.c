/*
 * refund.c
 *		A provider has given money back.
 */
#include "postgres.h"

#include "access/xact.h"
#include "answer.h"
#include "catalog/pg_type.h"
#include "load.h"
#include "metrics.h"
#include "money.h"
#include "plan.h"
#include "provider.h"
#include "ticket.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(ticket_refund_confirm);

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
	" FROM ticket.refund AS o WHERE o.provider" EQ "d.provider AND o.provider_ref" EQ "$2),"
	" d.provider"
	" FROM ticket.refund AS d WHERE d.refund_id" EQ "$1",
	2,
	{INT8OID, TEXTOID},
};

/* clang-format off */
static SavedPlan write_refund_done = {
	"WITH d AS (UPDATE ticket.refund SET status = 'done', done_at = $2, provider_ref = $3"
	" WHERE refund_id" EQ "$1 AND done_at IS NULL RETURNING *),"
	" p AS (UPDATE ticket.payment AS payment SET refunded = payment.refunded" PLUS "d.amount,"
	" refund_due = payment.refund_due" MINUS "d.amount, refunded_at = $2, status = CASE"
	" WHEN payment.status" EQ "'refund_due' AND NOT EXISTS (SELECT FROM ticket.refund AS o"
	" WHERE o.payment_id" EQ "payment.payment_id AND " STILL_DUE("o") " AND o.refund_id" NE "$1)"
	" THEN 'refunded' ELSE payment.status END FROM d WHERE payment.payment_id" EQ "d.payment_id"
	" RETURNING payment.*),"
	" l AS (INSERT INTO ticket.ledger (user_id, kind, debit, credit, amount, payment_id, created_at)"
	" SELECT p.user_id, 'settlement', 'refund:'" CONCAT "p.provider, 'provider:'" CONCAT
	"p.provider, d.amount, p.payment_id, $2 FROM p, d),"
	REFUND_EVENT("'payment.refunded'", ", 'refund_ref', d.provider_ref")
	" SELECT 1 FROM p",
	3,
	{INT8OID, TIMESTAMPTZOID, TEXTOID},
};
/* clang-format on */

/*
 * refund_confirm(refund_id bigint, provider_ref text)
 * -> (refund_id bigint, payment_id bigint, status text, amount bigint)
 *
 * The provider has given a refund back; provider_ref is what it calls that.
 * Called again with the same provider_ref it gives the same answer.
 *
 * Errors: 22023, TK005, TK011 (done with another provider_ref, or that one was
 * another refund), TK014, TK016; 40001.
 * Locks: the payment's row, advisory lock of the reference, the refund's row.
 */
Datum
ticket_refund_confirm(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	int64 refund_id = arg_id(fcinfo, 0, "refund_id");
	text *provider_ref = arg_name(fcinfo, 1, "provider_ref");
	Datum args[3] = {Int64GetDatum(refund_id), PointerGetDatum(provider_ref),
					 PointerGetDatum(provider_ref)};
	text *provider;
	OwnerContext owner;
	Datum values[4];
	bool nulls[4];
	bool done;
	bool isnull;
	Datum answer;

	refuse_standby();
	owner_begin(&owner);
	if (plan_read_latest(&find_refund, args, NULL) == 0)
		ticket_error(ERROR_NOT_FOUND, NULL, NULL, "there is no refund %lld", (long long) refund_id);
	provider = DatumGetTextPCopy(result_datum(0, 7, &isnull));
	if (plan_run(&lock_refund_payment, args, NULL) == 0)
		snapshot_is_old();
	provider_reference_lock(provider, provider_ref);
	plan_read_latest(&find_refund, args, NULL);
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
