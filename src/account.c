/*
 * account.c
 *		Points: charge and balance.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "load.h"
#include "memory.h"
#include "plan.h"
#include "ticket.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(ticket_point_charge);
PG_FUNCTION_INFO_V1(ticket_point_balance);

#define MAX_BALANCE INT64CONST(1000000000000000) /* 10^15 */
#define MAX_BALANCE_SQL "1000000000000000"

static SavedPlan read_balance = {"SELECT balance FROM ticket.account WHERE user_id" EQ "$1",
								 1,
								 {TEXTOID}};

static SavedPlan open_account = {
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
	"SELECT balance, kind" EQ "'charge' AND amount" EQ "$3 FROM ticket.ledger"
	" WHERE user_id" EQ "$1 AND idempotency_key" EQ "$2",
	3,
	{TEXTOID, TEXTOID, INT8OID},
};

static SavedPlan write_charge = {
	"WITH a AS (INSERT INTO ticket.account AS account (user_id, balance) VALUES ($1, $2)"
	" ON CONFLICT (user_id) DO UPDATE SET balance = account.balance" PLUS "$2"
	" WHERE account.balance" LE "(" MAX_BALANCE_SQL MINUS "$2)"
	" RETURNING account.user_id, account.balance),"
	" l AS (INSERT INTO ticket.ledger (user_id, kind, amount, balance, created_at, idempotency_key)"
	" SELECT user_id, 'charge', $2, balance, $3, $4 FROM a RETURNING *),"
	" o AS (INSERT INTO ticket.outbox (aggregatetype, aggregateid, type, payload)"
	" SELECT 'points', user_id, 'points.charged', pg_catalog.jsonb_build_object('v', 1,"
	" 'user_id', user_id, 'amount', amount, 'balance', balance) FROM l)"
	" SELECT balance FROM a",
	4,
	{TEXTOID, INT8OID, TIMESTAMPTZOID, TEXTOID},
};

/*
 * point_charge(user_id text, amount bigint, idempotency_key text default null)
 * -> balance bigint
 *
 * Adds points.  With a key, the same call again gets the balance the first
 * one got.  Durable when it returns from COMMIT, whatever synchronous_commit.
 *
 * Errors: 22023, TK008 (balance above 10^15), TK011, TK013, TK014, TK016.
 * Locks: the account's row, then new rows of ledger and outbox.
 */
Datum
ticket_point_charge(PG_FUNCTION_ARGS)
{
	text *user = arg_user(fcinfo, 0);
	int64 amount = arg_amount(fcinfo, 1, "amount");
	text *key = arg_key(fcinfo, 2);
	OwnerContext owner;
	int64 balance;

	refuse_standby();
	if (amount > MAX_BALANCE)
		ticket_error(ERROR_LIMIT_REACHED,
					 psprintf("It is %lld; a balance is at most %lld.", (long long) amount,
							  (long long) MAX_BALANCE),
					 NULL, "amount is too large");
	owner_begin(&owner);
	if (key)
	{
		Datum args[3] = {PointerGetDatum(user), PointerGetDatum(key), Int64GetDatum(amount)};
		bool isnull;

		/* The account's lock makes calls with the same key one after another. */
		plan_run(&open_account, args, NULL);
		plan_run(&lock_account, args, NULL);
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
	{
		Datum args[4] = {PointerGetDatum(user), Int64GetDatum(amount),
						 TimestampTzGetDatum(clock_now()), PointerGetDatum(key)};

		if (plan_run(&write_charge, args, key ? NULL : "   n") == 0)
			ticket_error(ERROR_LIMIT_REACHED,
						 psprintf("A balance is at most %lld.", (long long) MAX_BALANCE), NULL,
						 "the balance would be too large");
	}
	balance = result_int64(0, 1);
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
	Datum args[1] = {PointerGetDatum(arg_user(fcinfo, 0))};
	OwnerContext owner;
	int64 balance;

	memory_require();
	owner_begin(&owner);
	balance = plan_run(&read_balance, args, NULL) ? result_int64(0, 1) : 0;
	owner_end(&owner);
	PG_RETURN_INT64(balance);
}
