/*
 * account.c
 *		Points: charge and balance.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "load.h"
#include "memory.h"
#include "metrics.h"
#include "money.h"
#include "plan.h"
#include "ticket.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(ticket_point_charge);
PG_FUNCTION_INFO_V1(ticket_point_balance);

SavedPlan account_balance = {"SELECT balance FROM ticket.account WHERE user_id" EQ "$1",
							 1,
							 {TEXTOID}};

SavedPlan account_open = {
	"INSERT INTO ticket.account (user_id, balance) VALUES ($1, 0) ON CONFLICT (user_id) DO NOTHING",
	1,
	{TEXTOID},
};

static SavedPlan lock_account = {
	"SELECT balance FROM ticket.account WHERE user_id" EQ "$1 FOR NO KEY UPDATE",
	1,
	{TEXTOID},
};

static SavedPlan find_keyed_entry = {
	"SELECT balance_after, kind" EQ "'charge' AND amount" EQ "$3 FROM ticket.ledger"
	" WHERE user_id" EQ "$1 AND idempotency_key" EQ "$2",
	3,
	{TEXTOID, TEXTOID, INT8OID},
};

static SavedPlan write_charge = {
	"WITH a AS (INSERT INTO ticket.account AS account (user_id, balance) VALUES ($1, $2)"
	" ON CONFLICT (user_id) DO UPDATE SET balance = account.balance" PLUS "$2"
	" WHERE account.balance" LE "$5 RETURNING account.user_id, account.balance),"
	" l AS (INSERT INTO ticket.ledger (user_id, kind, debit, credit, amount, balance_before,"
	" balance_after, created_at, idempotency_key)"
	" SELECT user_id, 'charge', 'charge', $6, $2, balance" MINUS "$2, balance, $3, $4 FROM a"
	" RETURNING *),"
	" o AS (INSERT INTO ticket.outbox (aggregatetype, aggregateid, type, payload)"
	" SELECT 'points', user_id, 'points.charged',"
	" ticket.event_payload('points.charged', pg_catalog.jsonb_build_object('v', 1,"
	" 'user_id', user_id, 'amount', amount, 'balance', balance_after)) FROM l)"
	" SELECT balance FROM a",
	6,
	{TEXTOID, INT8OID, TIMESTAMPTZOID, TEXTOID, INT8OID, TEXTOID},
};

/* The name of a user's account: user:ID */
Datum
ledger_user(const text *user)
{
	int length = VARSIZE_ANY_EXHDR(user);
	text *name = palloc(VARHDRSZ + 5 + length);

	SET_VARSIZE(name, VARHDRSZ + 5 + length);
	memcpy(VARDATA(name), "user:", 5);
	memcpy(VARDATA(name) + 5, VARDATA_ANY(user), length);
	return PointerGetDatum(name);
}

/* The name of what a performance takes in: sales:ID */
Datum
ledger_sales(int64 performance_id)
{
	return CStringGetTextDatum(psprintf("sales:%lld", (long long) performance_id));
}

/* Adds points, within the limits. */
static int64
add_points(text *user, int64 amount, text *key)
{
	int64 max_charge = (int64) ticket_max_charge;
	int64 max_balance = (int64) ticket_max_balance;
	Datum args[6] = {PointerGetDatum(user),
					 Int64GetDatum(amount),
					 TimestampTzGetDatum(clock_now()),
					 PointerGetDatum(key),
					 Int64GetDatum(max_balance - amount),
					 ledger_user(user)};

	if (amount > max_charge)
		ticket_error(ERROR_LIMIT_REACHED,
					 psprintf("It is %lld; at most %lld are charged at once.", (long long) amount,
							  (long long) max_charge),
					 NULL, "amount is too large");
	if (amount > max_balance || plan_run(&write_charge, args, key ? NULL : "   n  ") == 0)
		ticket_error(ERROR_LIMIT_REACHED,
					 psprintf("A balance is at most %lld.", (long long) max_balance), NULL,
					 "the balance would be too large");
	return result_int64(0, 1);
}

/*
 * point_charge(user_id text, amount bigint, idempotency_key text default null)
 * -> balance bigint
 *
 * Adds points.  With a key, the same call again gets the balance the first
 * one got.  Durable when it returns from COMMIT, whatever synchronous_commit.
 *
 * Errors: 22023, TK008 (above ticket.max_charge, or the balance above
 * ticket.max_balance), TK011, TK013, TK014, TK016.
 * Locks: the account's row, then new rows of ledger and outbox.
 */
Datum
ticket_point_charge(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	text *user = arg_participant(fcinfo, 0);
	int64 amount = arg_amount(fcinfo, 1, "amount");
	text *key = arg_key(fcinfo, 2);
	OwnerContext owner;
	int64 balance;

	refuse_standby();
	owner_begin(&owner);
	if (key)
	{
		Datum args[3] = {PointerGetDatum(user), PointerGetDatum(key), Int64GetDatum(amount)};
		bool isnull;

		/*
		 * The account's lock makes calls with the same key one after another.
		 * The account that was there may have gone with a user who withdrew.
		 */
		do
			plan_run(&account_open, args, NULL);
		while (plan_run(&lock_account, args, NULL) == 0);
		if (plan_run(&find_keyed_entry, args, NULL) > 0)
		{
			if (!DatumGetBool(result_datum(0, 2, &isnull)))
				ticket_error(ERROR_IDEMPOTENCY_CONFLICT, NULL, "Use a new key for a new charge.",
							 "the idempotency key was used with other arguments");
			balance = result_int64(0, 1);
			owner_end(&owner);
			PG_RETURN_INT64(balance);
		}
	}
	balance = add_points(user, amount, key);
	ForceSyncCommit();
	owner_end(&owner);
	PG_RETURN_INT64(balance);
}

/*
 * point_balance(user_id text) -> bigint
 *
 * Points left; 0 for one who never had any.
 *
 * Errors: 22023, TK013.  Locks: none.
 */
Datum
ticket_point_balance(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	Datum args[1] = {PointerGetDatum(arg_user(fcinfo, 0))};
	OwnerContext owner;
	int64 balance;

	memory_require();
	owner_begin(&owner);
	balance = plan_run(&account_balance, args, NULL) ? result_int64(0, 1) : 0;
	owner_end(&owner);
	PG_RETURN_INT64(balance);
}
