/*
 * write.h
 *		Rows of our tables written without the planner and the executor.
 *
 * The hot calls write one row whose columns they know.  For a table that is as
 * the extension made it (or has more indexes of the ordinary kind, or other
 * CHECKs) the row goes straight to the table and its indexes; NOT NULL, CHECK
 * and unique constraints hold as ever (a CHECK of which no column changes is
 * known to).  Where somebody has put a trigger, a
 * column, row security or the like on the table, or where the row would be
 * refused, the same row goes through an SQL statement instead, which does all
 * of that and words the errors.
 *
 * Many rows of one table are written with a RowWriter, or with rows_insert() and
 * rows_insert_new(), which put them in together.
 *
 * As SQL statements do, each of these runs as the owner, is refused in a READ
 * ONLY transaction (25006) and lets what follows see what it wrote.  Values,
 * nulls and what is to be replaced stand in arrays by number of column; element
 * 0 is not used.
 */
#ifndef TICKET_WRITE_H
#define TICKET_WRITE_H

#include "postgres.h"

#include "access/htup.h"
#include "relation.h"
#include "row_target.h"

/* A table that is kept open while many of its rows are written. */
typedef struct RowWriter
{
	RowTarget *target;
	Relation relation;
} RowWriter;

extern void row_insert(RowTarget *target, Datum *values, bool *nulls);
extern bool row_insert_unless(RowTarget *target, Datum *values, bool *nulls);
extern bool row_insert_new(RowTarget *target, Datum *values, bool *nulls);
extern bool row_update(RowTarget *target, HeapTuple old, Datum *values, bool *nulls,
					   const bool *replace, bool wait);

/* Many rows of one table. */
extern void writer_begin(RowWriter *writer, RowTarget *target);
extern bool writer_update(RowWriter *writer, HeapTuple old, Datum *values, bool *nulls,
						  const bool *replace, bool wait);
extern bool writer_delete(RowWriter *writer, ItemPointer old);
extern void writer_end(RowWriter *writer);
extern void rows_insert(RowTarget *target, int n, Datum *values, bool *nulls);
extern bool rows_insert_new(RowTarget *target, int n, Datum *values, bool *nulls);

extern int64 row_number(TicketRelation sequence);

#endif /* TICKET_WRITE_H */
