/*
 * answer.h
 *		Composite results: a row of named columns made without a look into the
 *		catalogue on each call.
 *
 * Functions that are called all the time return a composite type of the schema.
 * Of one with OUT arguments the executor reads the columns out of the catalogue
 * whenever a query calls it, which costs more than ticket_status itself.
 */
#ifndef TICKET_ANSWER_H
#define TICKET_ANSWER_H

#include "postgres.h"

#include "fmgr.h"
#include "nodes/extensible.h"

#define MAX_ANSWER_COLUMNS 8

typedef struct AnswerType
{
	int n_columns;
	struct
	{
		const char *name;
		Oid type;
	} column[MAX_ANSWER_COLUMNS];
	const char *row_type; /* type of the schema that has the columns; NULL: record */
	struct TupleDescData *descriptor; /* of a record, made at first use */
	struct TypeCacheEntry *type_entry; /* of row_type, found at first use */
	uint64 type_version; /* that it had when its columns were compared */
} AnswerType;

/*
 * Where answer_scan.c wants the columns.  It comes to the function as
 * fcinfo->resultinfo.
 */
typedef struct AnswerSlot
{
	ExtensibleNode node;
	bool filled;
	Datum values[MAX_ANSWER_COLUMNS];
	bool nulls[MAX_ANSWER_COLUMNS];
} AnswerSlot;

extern Node *answer_slot_init(AnswerSlot *slot);
extern Datum answer_return(FunctionCallInfo fcinfo, AnswerType *type, Datum *values, bool *nulls);
extern Datum answer_row(AnswerType *type, Datum *values, bool *nulls);

#endif /* TICKET_ANSWER_H */
