/*
 * write_table.h
 *		What has to be known of a table to write its rows directly: its indexes,
 *		its constraints made ready to run, whether anything stands in the way.
 *
 * Kept until the catalogue says that the table has changed.
 */
#ifndef TICKET_WRITE_TABLE_H
#define TICKET_WRITE_TABLE_H

#include "postgres.h"

#include "nodes/execnodes.h"
#include "row_target.h"

/* Rows that are put into a table at once: a few pages full. */
#define ROWS_TOGETHER 64

typedef struct WriteIndex
{
	Oid oid;
	IndexInfo *info;
	ExprState *predicate; /* or NULL */
	bool wanted; /* the row goes into it */
} WriteIndex;

typedef struct WriteCheck
{
	ExprState *state;
	uint64 columns; /* that it depends on, as column_bit() */
} WriteCheck;

#define ALL_COLUMNS PG_UINT64_MAX

typedef struct WriteState
{
	struct WriteState *next; /* of all there are */
	MemoryContext context; /* of what is below */
	bool valid; /* for the next call, too: nothing has changed since reading began */
	bool changed; /* since it began */
	Oid table;
	bool insert_directly;
	bool update_directly;
	bool delete_directly;
	AttrNumber final_column; /* not NULL: the row is final; 0: no such column */
	Bitmapset *guarded; /* columns of foreign keys and of UPDATE OF triggers of ours */
	int n_indexes;
	WriteIndex *index; /* the one of row_insert_unless first */
	int n_checks;
	WriteCheck *check;
	ExprContext *econtext;
	TupleTableSlot *row; /* one of rows */
	TupleTableSlot *rows[ROWS_TOGETHER]; /* made when needed */
	const Datum *values; /* of the row, where the caller has them */
	const bool *nulls;
} WriteState;

extern void write_init(void);
extern uint64 column_bit(int column);
extern WriteState *write_state(RowTarget *target, Relation relation);

#endif /* TICKET_WRITE_TABLE_H */
