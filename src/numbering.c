/*
 * numbering.c
 *		reservation_number and reservation_id: the key of number.c and its SQL.
 *
 * The key is a row of ticket.number_key, which pg_dump saves: numbers that
 * were given out stay what they are.  It is not made by CREATE EXTENSION but
 * with the first performance, so that a restore finds the table empty and
 * needs no trigger to bring the key.  Were there another key all the same, the
 * oldest counts, and verify() tells.  A backend reads it once and hears of a
 * new one (a restore) through the invalidation that the table's trigger sends.
 */
#include "postgres.h"

#include "load.h"
#include "memory.h"
#include "number.h"
#include "numbering.h"
#include "plan.h"
#include "relation.h"
#include "storage/lmgr.h"
#include "ticket.h"
#include "utils/builtins.h"
#include "utils/inval.h"

PG_FUNCTION_INFO_V1(ticket_number_key_make);
PG_FUNCTION_INFO_V1(ticket_reservation_number);
PG_FUNCTION_INFO_V1(ticket_reservation_id);

static SavedPlan read_key = {"SELECT key FROM ticket.number_key ORDER BY made_at, key LIMIT 1",
							 0,
							 {0}};
static SavedPlan make_key =
	{"INSERT INTO ticket.number_key (key, after_reservation)"
	 " SELECT $1, COALESCE(pg_catalog.max(reservation_id), 0) FROM ticket.reservation",
	 1,
	 {BYTEAOID}};

static NumberKey key;
static Oid key_oid = InvalidOid;
static uint64 changes = 1;
static uint64 changes_read = 0;

static void
key_forget(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == key_oid)
		changes++;
}

void
numbering_init(void)
{
	CacheRegisterRelcacheCallback(key_forget, (Datum) 0);
}

static const NumberKey *
number_key(void)
{
	uint64 seen;
	OwnerContext owner;
	bytea *bytes;
	bool isnull;

	AcceptInvalidationMessages();
	if (changes_read == changes)
		return &key;
	seen = changes;
	key_oid = relation_oid(REL_NUMBER_KEY);
	owner_begin(&owner);
	if (plan_read_latest(&read_key, NULL, NULL) == 0)
		ticket_error(ERROR_WRONG_STATE, "The table ticket.number_key is empty.",
					 "Restore its row from the dump; where no number was ever given out, SELECT "
					 "ticket.number_key_make().",
					 "there is no key of reservation numbers");
	bytes = DatumGetByteaPP(result_datum(0, 1, &isnull));
	memcpy(&key, VARDATA_ANY(bytes), sizeof(key));
	owner_end(&owner);
	changes_read = seen;
	return &key;
}

/*
 * number_key_make() -> boolean
 *
 * Makes the key of this database unless there is one; whether it did.
 *
 * Errors: 58000 without random numbers, TK014, TK016.
 * Locks: number_key (SHARE ROW EXCLUSIVE) where there is no key.
 */
Datum
ticket_number_key_make(PG_FUNCTION_ARGS)
{
	OwnerContext owner;
	bool made;

	memory_require();
	refuse_standby();
	owner_begin(&owner);
	made = plan_read_latest(&read_key, NULL, NULL) == 0;
	if (made)
	{
		/* One at a time; who had to wait looks again. */
		LockRelationOid(relation_oid(REL_NUMBER_KEY), ShareRowExclusiveLock);
		made = plan_read_latest(&read_key, NULL, NULL) == 0;
	}
	if (made)
	{
		bytea *bytes = palloc(VARHDRSZ + sizeof(NumberKey));
		Datum arg = PointerGetDatum(bytes);

		SET_VARSIZE(bytes, VARHDRSZ + sizeof(NumberKey));
		if (!pg_strong_random(VARDATA(bytes), sizeof(NumberKey)))
			ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR), errmsg("no random numbers")));
		plan_run(&make_key, &arg, NULL);
	}
	owner_end(&owner);
	PG_RETURN_BOOL(made);
}

/*
 * reservation_number(reservation_id bigint) -> text
 *
 * The number of a reservation, whether or not there is one.
 *
 * Errors: 22023, TK009 without a key, TK014.  Locks: none.  Algorithm: number.c.
 */
Datum
ticket_reservation_number(PG_FUNCTION_ARGS)
{
	int64 reservation_id = arg_id(fcinfo, 0, "reservation_id");
	char number[NUMBER_SIZE];

	memory_require();
	if (reservation_id < 1 || (uint64) reservation_id >= NUMBER_VALUES)
		ticket_error(ERROR_BAD_ARGUMENT, psprintf("It is %lld.", (long long) reservation_id), NULL,
					 "reservation_id must be between 1 and %lld", (long long) NUMBER_VALUES - 1);
	number_write(number_permute(number_key(), reservation_id, true), number);
	PG_RETURN_TEXT_P(cstring_to_text(number));
}

/*
 * reservation_id(number text) -> bigint
 *
 * The other way round, for every function that takes a reservation_id.
 * Whether there is such a reservation, and whose it is, that function says.
 *
 * Errors: 22023, TK009 without a key, TK014.  Locks: none.  Algorithm: number.c.
 */
Datum
ticket_reservation_id(PG_FUNCTION_ARGS)
{
	const char *wrong;
	uint64 value;
	text *number;

	memory_require();
	if (PG_ARGISNULL(0))
		ticket_error(ERROR_BAD_ARGUMENT, NULL, NULL, "number must not be NULL");
	number = PG_GETARG_TEXT_PP(0);
	wrong = number_read(VARDATA_ANY(number), VARSIZE_ANY_EXHDR(number), &value);
	if (wrong)
		ticket_error(ERROR_BAD_ARGUMENT, wrong, "Ask for it again, letter by letter.",
					 "this is not a reservation number");
	PG_RETURN_INT64(number_permute(number_key(), value, false));
}
