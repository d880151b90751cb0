/*
 * list.c
 *		Lists of what was sold, whose plans are kept.
 *
 * Which query answers a call depends on which arguments are given: each
 * combination has one made for it (sales_query in schema/list_seller.sql), and
 * with some hundred combinations PL/pgSQL would plan on each call.  Here a
 * backend keeps the plan of every combination that it has met.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "compat.h"
#include "funcapi.h"
#include "memory.h"
#include "plan.h"
#include "ticket.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(ticket_check_limit);
PG_FUNCTION_INFO_V1(ticket_operator_reservations);
PG_FUNCTION_INFO_V1(ticket_operator_payments);
PG_FUNCTION_INFO_V1(ticket_operator_totals);
PG_FUNCTION_INFO_V1(ticket_seller_reservations);
PG_FUNCTION_INFO_V1(ticket_seller_payments);
PG_FUNCTION_INFO_V1(ticket_seller_totals);

#define MAX_PAGE 1000

/* The parameters of every query, and which of them a kind of list takes. */
enum
{
	SELLER,
	CONCERT,
	PERFORMANCE,
	STATUS,
	USER,
	SINCE,
	UNTIL,
	AFTER,
	N_CONDITIONS,
	MAX_COUNT = N_CONDITIONS,
	NOW,
	N_PARAMETERS
};

typedef struct SalesKind
{
	const char *name;
	int n_parameters;
	int parameter[N_PARAMETERS]; /* behind the seller */
	const char *status[6];
} SalesKind;

enum
{
	RESERVATIONS,
	PAYMENTS,
	TOTALS,
	N_KINDS
};

static const SalesKind kinds[N_KINDS] = {
	{"reservations",
	 8,
	 {CONCERT, PERFORMANCE, STATUS, USER, SINCE, UNTIL, MAX_COUNT, AFTER},
	 {"held", "paid", "released", "expired", "cancelled"}},
	{"payments",
	 8,
	 {CONCERT, PERFORMANCE, STATUS, USER, SINCE, UNTIL, MAX_COUNT, AFTER},
	 {"pending", "captured", "failed", "refund_due", "refunded"}},
	{"totals", 5, {CONCERT, PERFORMANCE, USER, SINCE, UNTIL}, {NULL}},
};

/* Behind the kind: which parameters are given, and the status, from 1. */
static SavedPlan *plans[N_KINDS][1 << N_CONDITIONS][6];

static SavedPlan sales_query = {
	"SELECT ticket.sales_query($11, $1, $2, $3, $4, $5, $6, $7, $8)",
	N_PARAMETERS + 1,
	{TEXTOID, INT8OID, INT8OID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID, INT4OID,
	 TIMESTAMPTZOID, TEXTOID},
};

/* From 1; 0: none is given. */
static int
status_number(const SalesKind *kind, Datum status, bool isnull)
{
	StringInfoData known;
	char *given;
	int i;

	if (isnull)
		return 0;
	given = TextDatumGetCString(status);
	initStringInfo(&known);
	for (i = 0; kind->status[i]; i++)
	{
		if (strcmp(given, kind->status[i]) == 0)
			return i + 1;
		appendStringInfo(&known, "%s%s", i ? ", " : "", kind->status[i]);
	}
	ticket_error(ERROR_BAD_ARGUMENT, NULL, NULL, "status must be one of %s", known.data);
}

/* The query for what is given, prepared when it is met first. */
static SavedPlan *
query_for(int kind, int status, Datum *values, char *nulls)
{
	SavedPlan **slot;
	int given = 0;

	for (int i = 0; i < N_CONDITIONS; i++)
		if (nulls[i] != 'n')
			given |= 1 << i;
	slot = &plans[kind][given][status];
	if (*slot == NULL)
	{
		SavedPlan *plan;
		Datum arguments[N_PARAMETERS + 1];
		char absent[N_PARAMETERS + 2];

		memcpy(arguments, values, sizeof(Datum) * N_PARAMETERS);
		memcpy(absent, nulls, N_PARAMETERS);
		arguments[N_PARAMETERS] = CStringGetTextDatum(kinds[kind].name);
		absent[N_PARAMETERS] = ' ';
		absent[N_PARAMETERS + 1] = '\0';
		plan_read(&sales_query, arguments, absent);
		plan = MemoryContextAllocZero(TopMemoryContext, sizeof(SavedPlan));
		plan->sql = MemoryContextStrdup(TopMemoryContext, SPI_getvalue(SPI_tuptable->vals[0],
																	   SPI_tuptable->tupdesc, 1));
		plan->nargs = N_PARAMETERS;
		memcpy(plan->types, sales_query.types, sizeof(Oid) * N_PARAMETERS);
		*slot = plan;
	}
	return *slot;
}

/* The rows of the last result are those of the function. */
static void
put_rows(ReturnSetInfo *result, uint64 n)
{
	TupleDesc found = SPI_tuptable->tupdesc;

	if (found->natts != result->setDesc->natts)
		elog(ERROR, "a list has %d columns, not %d", found->natts, result->setDesc->natts);
	for (int i = 0; i < found->natts; i++)
		if (TupleDescAttr(found, i)->atttypid != TupleDescAttr(result->setDesc, i)->atttypid)
			elog(ERROR, "column %d of a list is of another type", i + 1);
	for (uint64 i = 0; i < n; i++)
		tuplestore_puttuple(result->setResult, SPI_tuptable->vals[i]);
}

static Datum
sales(FunctionCallInfo fcinfo, int kind, bool of_seller)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum values[N_PARAMETERS] = {0};
	char nulls[N_PARAMETERS + 1] = "nnnnnnnnnn";
	int status;
	OwnerContext owner;

	memory_require();
	if (of_seller)
	{
		values[SELLER] = PointerGetDatum(arg_user(fcinfo, 0));
		nulls[SELLER] = ' ';
	}
	for (int i = 0; i < kinds[kind].n_parameters; i++)
	{
		int parameter = kinds[kind].parameter[i];
		int argno = i + of_seller;

		if (parameter == MAX_COUNT)
			arg_count(fcinfo, argno, "max_count", 1, MAX_PAGE);
		if (!PG_ARGISNULL(argno))
		{
			values[parameter] = PG_GETARG_DATUM(argno);
			nulls[parameter] = ' ';
		}
	}
	status = status_number(&kinds[kind], values[STATUS], nulls[STATUS] == 'n');
	values[NOW] = TimestampTzGetDatum(clock_now());
	nulls[NOW] = ' ';

	InitMaterializedSRF(fcinfo, 0);
	owner_begin(&owner);
	put_rows(result, plan_read(query_for(kind, status, values, nulls), values, nulls));
	owner_end(&owner);
	return (Datum) 0;
}

/*
 * operator_reservations(concert_id bigint, performance_id bigint, status text,
 *						 user_id text, since timestamptz, until timestamptz,
 *						 max_count int, after bigint)
 * operator_payments(the same)
 * operator_totals(concert_id bigint, performance_id bigint, user_id text,
 *				   since timestamptz, until timestamptz)
 *
 * A page of reservations or payments with what was agreed, or sums by state;
 * NULL asks for nothing.  Totals want something that bounds what is added up.
 *
 * Errors: 22023, TK014.  Locks: none.
 */
Datum
ticket_operator_reservations(PG_FUNCTION_ARGS)
{
	return sales(fcinfo, RESERVATIONS, false);
}

Datum
ticket_operator_payments(PG_FUNCTION_ARGS)
{
	return sales(fcinfo, PAYMENTS, false);
}

Datum
ticket_operator_totals(PG_FUNCTION_ARGS)
{
	return sales(fcinfo, TOTALS, false);
}

/*
 * seller_reservations, seller_payments, seller_totals(seller_id text, ...)
 *
 * The same of one seller's concerts.
 *
 * Errors: 22023, TK013, TK014.  Locks: none.
 */
Datum
ticket_seller_reservations(PG_FUNCTION_ARGS)
{
	return sales(fcinfo, RESERVATIONS, true);
}

Datum
ticket_seller_payments(PG_FUNCTION_ARGS)
{
	return sales(fcinfo, PAYMENTS, true);
}

Datum
ticket_seller_totals(PG_FUNCTION_ARGS)
{
	return sales(fcinfo, TOTALS, true);
}

/*
 * check_limit(max_count int) -> int
 *
 * The length of a page.
 *
 * Errors: 22023.  Locks: none.
 */
Datum
ticket_check_limit(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(arg_count(fcinfo, 0, "max_count", 1, MAX_PAGE));
}
