/*
 * row_target.h
 *		A table whose rows are written directly, as its owner describes it.
 */
#ifndef TICKET_ROW_TARGET_H
#define TICKET_ROW_TARGET_H

#include "postgres.h"

#include "relation.h"

/* A table with the columns that relation.h has of it. */
typedef struct RowTarget
{
	TicketRelation table;
	int row_size; /* number of columns + 1 */
	TicketRelation unless; /* unique index of row_insert_unless and row_insert_new */
	const char *conflict; /* that index, as ON CONFLICT names it */
	/* What a statement trigger would do of a row updated directly (column 1 first), or NULL. */
	void (*updated)(const Datum *values);
	struct WriteState *state; /* made at first use */
} RowTarget;

#endif /* TICKET_ROW_TARGET_H */
