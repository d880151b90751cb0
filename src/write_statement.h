/*
 * write_statement.h
 *		Writing a row by an SQL statement, where it can't go directly: it fires
 *		triggers, follows rules and row security, and words the errors.  Arguments
 *		are as in write.h, but that arrays begin with column 1.
 */
#ifndef TICKET_WRITE_STATEMENT_H
#define TICKET_WRITE_STATEMENT_H

#include "postgres.h"

#include "access/htup.h"
#include "row_target.h"
#include "utils/relcache.h"

extern bool insert_by_statement(RowTarget *target, Relation relation, Datum *values,
								const bool *nulls, bool unless);
extern bool update_by_statement(RowTarget *target, Relation relation, HeapTuple old,
								const Datum *values, const bool *nulls, const bool *replace,
								bool wait);
extern bool delete_by_statement(Relation relation, ItemPointer old);

/*
 * Around a statement of the extension's own: to triggers of ours, what it writes
 * is not a change by hand.  begin returns what end is to be told.
 */
extern int own_write_begin(void);
extern void own_write_end(int before);
extern bool is_own_write(void);
extern void own_write_init(void);

#endif /* TICKET_WRITE_STATEMENT_H */
