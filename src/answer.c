/*
 * answer.c
 *		Composite results.  See answer.h.
 */
#include "postgres.h"

#include "answer.h"

#include "access/htup_details.h"
#include "access/tupdesc.h"
#include "funcapi.h"
#include "utils/memutils.h"

Datum
answer_row(AnswerType *type, Datum *values, bool *nulls)
{
	if (type->descriptor == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
		TupleDesc descriptor = CreateTemplateTupleDesc(type->n_columns);

		for (int i = 0; i < type->n_columns; i++)
			TupleDescInitEntry(descriptor, i + 1, type->column[i].name, type->column[i].type, -1,
							   0);
		type->descriptor = BlessTupleDesc(descriptor);
		MemoryContextSwitchTo(old);
	}
	return HeapTupleGetDatum(heap_form_tuple(type->descriptor, values, nulls));
}
