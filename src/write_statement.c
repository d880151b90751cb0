/*
 * write_statement.c
 *		Writing a row by an SQL statement, where it can't go directly.  See
 *		write_statement.h.
 */
#include "postgres.h"

#include "write_statement.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "plan.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"

/* How deep in triggers those of our own statement are; 0: there is none. */
static int own_write = 0;

/* How many triggers are at work, each fired by a statement of the one before. */
static int
trigger_depth(void)
{
	return DatumGetInt32(DirectFunctionCall1(pg_trigger_depth, (Datum) 0));
}

int
own_write_begin(void)
{
	int before = own_write;

	own_write = trigger_depth() + 1;
	return before;
}

void
own_write_end(int before)
{
	own_write = before;
}

/* To a trigger: whether our own statement fired it, and not another trigger's. */
bool
is_own_write(void)
{
	return own_write == trigger_depth();
}

/* An error has left the statement without own_write_end(). */
static void
own_write_xact(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE)
		own_write = 0;
}

static void
own_write_subxact(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		own_write = 0;
}

void
own_write_init(void)
{
	RegisterXactCallback(own_write_xact, NULL);
	RegisterSubXactCallback(own_write_subxact, NULL);
}

static uint64
execute(const char *sql, int n, Oid *types, Datum *values, const char *nulls)
{
	uint64 rows;
	int before;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	before = own_write_begin();
	if (SPI_execute_with_args(sql, n, types, values, nulls, false, 0) < 0)
		elog(ERROR, "SPI_execute failed: %s", sql);
	own_write_end(before);
	rows = SPI_processed;
	SPI_finish();
	return rows;
}

/* Columns that are given: those of relation.h, whatever has been added since. */
static void
describe_columns(int n_columns, Relation relation, const bool *nulls, Oid *types, char *null_marks)
{
	for (int i = 0; i < n_columns; i++)
	{
		types[i] = TupleDescAttr(RelationGetDescr(relation), i)->atttypid;
		null_marks[i] = nulls[i] ? 'n' : ' ';
	}
}

bool
insert_by_statement(RowTarget *target, Relation relation, Datum *values, const bool *nulls,
					bool unless)
{
	int n_columns = target->row_size - 1;
	StringInfoData sql;
	Oid types[MAX_ROW_COLUMNS + 1];
	char null_marks[MAX_ROW_COLUMNS + 1];

	describe_columns(n_columns, relation, nulls, types, null_marks);
	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO ticket.%s (", RelationGetRelationName(relation));
	for (int i = 0; i < n_columns; i++)
		appendStringInfo(&sql, "%s%s", i > 0 ? ", " : "",
						 quote_identifier(
							 NameStr(TupleDescAttr(RelationGetDescr(relation), i)->attname)));
	appendStringInfoString(&sql, ") VALUES (");
	for (int i = 0; i < n_columns; i++)
		appendStringInfo(&sql, "%s$%d", i > 0 ? ", " : "", i + 1);
	appendStringInfoChar(&sql, ')');
	if (unless)
		appendStringInfo(&sql, " ON CONFLICT %s DO NOTHING", target->conflict);
	return execute(sql.data, n_columns, types, values, null_marks) == 1;
}

bool
update_by_statement(RowTarget *target, Relation relation, HeapTuple old, const Datum *values,
					const bool *nulls, const bool *replace, bool wait)
{
	int n_columns = target->row_size - 1;
	const char *table = RelationGetRelationName(relation);
	StringInfoData sql;
	Oid types[MAX_ROW_COLUMNS + 1];
	char null_marks[MAX_ROW_COLUMNS + 1];
	Datum args[MAX_ROW_COLUMNS + 1];
	int tid = n_columns;
	const char *separator = "";

	describe_columns(n_columns, relation, nulls, types, null_marks);
	memcpy(args, values, n_columns * sizeof(Datum));
	types[tid] = TIDOID;
	null_marks[tid] = ' ';
	args[tid] = PointerGetDatum(&old->t_self);
	for (int i = 0; i < n_columns; i++)
		if (!replace[i])
			null_marks[i] = 'n';

	initStringInfo(&sql);
	appendStringInfo(&sql,
					 "WITH l AS MATERIALIZED (SELECT ctid FROM ticket.%s WHERE ctid" EQ
					 "$%d FOR NO KEY UPDATE%s) UPDATE ticket.%s AS t SET ",
					 table, tid + 1, wait ? "" : " SKIP LOCKED", table);
	for (int i = 0; i < n_columns; i++)
		if (replace[i])
		{
			appendStringInfo(&sql, "%s%s = $%d", separator,
							 quote_identifier(
								 NameStr(TupleDescAttr(RelationGetDescr(relation), i)->attname)),
							 i + 1);
			separator = ", ";
		}
	appendStringInfoString(&sql, " FROM l WHERE t.ctid" EQ "l.ctid");
	return execute(sql.data, tid + 1, types, args, null_marks) == 1;
}

bool
delete_by_statement(Relation relation, ItemPointer old)
{
	Oid type = TIDOID;
	Datum tid = PointerGetDatum(old);

	return execute(psprintf("WITH l AS MATERIALIZED (SELECT ctid FROM ticket.%1$s WHERE ctid" EQ
							"$1 FOR UPDATE SKIP LOCKED)"
							" DELETE FROM ticket.%1$s AS t USING l WHERE t.ctid" EQ "l.ctid",
							RelationGetRelationName(relation)),
				   1, &type, &tid, NULL) == 1;
}
