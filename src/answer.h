/*
 * answer.h
 *		Composite results: a row of named columns made without a look into the
 *		catalogue on each call.
 */
#ifndef TICKET_ANSWER_H
#define TICKET_ANSWER_H

#include "postgres.h"

#define MAX_ANSWER_COLUMNS 8

typedef struct AnswerType
{
	int n_columns;
	struct
	{
		const char *name;
		Oid type;
	} column[MAX_ANSWER_COLUMNS];
	struct TupleDescData *descriptor; /* made at first use */
} AnswerType;

extern Datum answer_row(AnswerType *type, Datum *values, bool *nulls);

#endif /* TICKET_ANSWER_H */
