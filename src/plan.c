/*
 * plan.c
 *		SQL from C, run as the owner of the extension.  See plan.h.
 */
#include "postgres.h"

#include "plan.h"

#include "access/xact.h"
#include "jit/jit.h"
#include "miscadmin.h"
#include "optimizer/cost.h"
#include "relation.h"
#include "ticket.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

/*
 * Connects to SPI and becomes the owner.  After an error there is nothing to
 * undo: abort restores the user and disconnects.
 */
void
owner_begin(OwnerContext *context)
{
	context->caller = CurrentMemoryContext;
	GetUserIdAndSecContext(&context->user, &context->sec_context);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	SetUserIdAndSecContext(relation_owner(), context->sec_context | SECURITY_LOCAL_USERID_CHANGE);
}

void
owner_end(OwnerContext *context)
{
	SetUserIdAndSecContext(context->user, context->sec_context);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
}

/*
 * One plan for all values: our statements go by keys, and planning would cost
 * more than running them.
 */
static SPIPlanPtr
plan_get(SavedPlan *plan)
{
	if (plan->plan == NULL)
	{
		SPIPlanPtr prepared =
			SPI_prepare_cursor(plan->sql, plan->nargs, plan->types, CURSOR_OPT_GENERIC_PLAN);

		if (prepared == NULL)
			elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
		if (SPI_keepplan(prepared) != 0)
			elog(ERROR, "SPI_keepplan failed");
		plan->plan = prepared;
	}
	return plan->plan;
}

/*
 * Executes, with sequential scans out of favour.  A plan is made once, perhaps
 * while a table is empty, and must still be right when a million came in and
 * nobody has analyzed it yet: our statements have an index for what they look
 * for.  A planner setting is all that a plan's making can be told by.
 * Compiling a statement takes longer than running it.
 */
static int
plan_execute(SPIPlanPtr plan, Datum *values, const char *nulls, Snapshot snapshot, bool read_only)
{
	volatile int rc = 0;
	bool seqscan = enable_seqscan;
	bool jit = jit_enabled;

	enable_seqscan = false;
	jit_enabled = false;
	PG_TRY();
	{
		if (snapshot)
			rc = SPI_execute_snapshot(plan, values, nulls, snapshot, InvalidSnapshot, false, false,
									  0);
		else
			rc = SPI_execute_plan(plan, values, nulls, read_only, 0);
	}
	PG_FINALLY();
	{
		enable_seqscan = seqscan;
		jit_enabled = jit;
	}
	PG_END_TRY();
	return rc;
}

static uint64
plan_check(int rc)
{
	if (rc < 0)
		elog(ERROR, "SPI_execute failed: %s", SPI_result_code_string(rc));
	return SPI_processed;
}

/* Runs a statement that may write; it sees all that has committed by now. */
uint64
plan_run(SavedPlan *plan, Datum *values, const char *nulls)
{
	return plan_check(plan_execute(plan_get(plan), values, nulls, NULL, false));
}

/*
 * Runs a question that must see what has committed by now also under
 * REPEATABLE READ, where a decision made on the transaction's own snapshot
 * would be made on the past.
 */
uint64
plan_read_latest(SavedPlan *plan, Datum *values, const char *nulls)
{
	SPIPlanPtr prepared = plan_get(plan);
	Snapshot snapshot;
	int rc;

	if (!IsolationUsesXactSnapshot())
		return plan_check(plan_execute(prepared, values, nulls, NULL, false));

	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	rc = plan_execute(prepared, values, nulls, snapshot, false);
	UnregisterSnapshot(snapshot);
	return plan_check(rc);
}

/* Runs a question of a list: it sees what the caller's statement sees. */
uint64
plan_read(SavedPlan *plan, Datum *values, const char *nulls)
{
	return plan_check(plan_execute(plan_get(plan), values, nulls, NULL, true));
}

Datum
result_datum(int row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);
}

int64
result_int64(int row, int column)
{
	bool isnull;
	Datum value = result_datum(row, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

bool
result_isnull(int row, int column)
{
	bool isnull;

	(void) result_datum(row, column, &isnull);
	return isnull;
}

bool
result_equals(int row, int column, const char *expected)
{
	bool isnull;
	Datum value = result_datum(row, column, &isnull);

	return !isnull && strcmp(TextDatumGetCString(value), expected) == 0;
}
