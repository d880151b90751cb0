/*
 * plan.h
 *		SQL from C, run as the owner of the extension.
 *
 * A statement stands once, in a static SavedPlan of the file that uses it; it is
 * prepared at its first use in a backend and kept.  Text is fully qualified,
 * operators and types included, as it runs with the caller's search_path.
 */
#ifndef TICKET_PLAN_H
#define TICKET_PLAN_H

#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"

#define MAX_PLAN_ARGS 14

/*
 * Operators by their full names; spelled out they would hide the statement.
 * Named so, all bind alike and from the left: mind the parentheses.
 */
#define EQ " OPERATOR(pg_catalog.=) "
#define NE " OPERATOR(pg_catalog.<>) "
#define LT " OPERATOR(pg_catalog.<) "
#define LE " OPERATOR(pg_catalog.<=) "
#define GT " OPERATOR(pg_catalog.>) "
#define GE " OPERATOR(pg_catalog.>=) "
#define PLUS " OPERATOR(pg_catalog.+) "
#define MINUS " OPERATOR(pg_catalog.-) "
#define CONCAT " OPERATOR(pg_catalog.||) "

typedef struct SavedPlan
{
	const char *sql;
	int nargs;
	Oid types[MAX_PLAN_ARGS];
	SPIPlanPtr plan;
} SavedPlan;

typedef struct OwnerContext
{
	Oid user;
	int sec_context;
	MemoryContext caller;
} OwnerContext;

extern void owner_begin(OwnerContext *context);
extern void owner_end(OwnerContext *context);
extern uint64 plan_run(SavedPlan *plan, Datum *values, const char *nulls);
extern uint64 plan_read(SavedPlan *plan, Datum *values, const char *nulls);
extern uint64 plan_read_latest(SavedPlan *plan, Datum *values, const char *nulls);

/* Column `column` (from 1) of row `row` (from 0) of the last result. */
extern Datum result_datum(int row, int column, bool *isnull);
extern int64 result_int64(int row, int column);
extern bool result_isnull(int row, int column);
extern bool result_equals(int row, int column, const char *expected);

#endif /* TICKET_PLAN_H */
