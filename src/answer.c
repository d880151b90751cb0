/*
 * answer.c
 *		Composite results.  See answer.h.
 */
#include "postgres.h"

#include "answer.h"

#include "access/htup_details.h"
#include "access/tupdesc.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "funcapi.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

static TupleDesc
record_columns(AnswerType *type)
{
	if (type->descriptor == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
		TupleDesc descriptor = CreateTemplateTupleDesc(type->n_columns);

		for (int i = 0; i < type->n_columns; i++)
			TupleDescInitEntry(descriptor, i + 1, type->column[i].name, type->column[i].type, -1,
							   0);
		finish_descriptor(descriptor);
		type->descriptor = BlessTupleDesc(descriptor);
		MemoryContextSwitchTo(old);
	}
	return type->descriptor;
}

/* Somebody may have altered the type: what we return would be read as what it is not. */
static void
check_columns(const AnswerType *type, TupleDesc columns)
{
	bool same = columns->natts == type->n_columns;

	for (int i = 0; i < type->n_columns && same; i++)
		same = TupleDescAttr(columns, i)->atttypid == type->column[i].type &&
			   !TupleDescAttr(columns, i)->attisdropped;
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("type ticket.%s has been altered", type->row_type),
				 errdetail("Functions of the extension return the columns that it was made with."),
				 errhint("Give it these columns again.")));
}

/*
 * The server's cache forgets the columns when the type is changed or dropped,
 * and gives them a new number when it reads them again; its entry stays where
 * it is.
 */
static TupleDesc
type_columns(AnswerType *type)
{
	TypeCacheEntry *entry = type->type_entry;

	if (entry == NULL || entry->tupDesc == NULL)
	{
		Oid oid = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum(type->row_type),
								  ObjectIdGetDatum(get_namespace_oid("ticket", false)));

		if (!OidIsValid(oid))
			elog(ERROR, "ticket.%s does not exist", type->row_type);
		entry = type->type_entry = lookup_type_cache(oid, TYPECACHE_TUPDESC);
		if (entry->tupDesc == NULL)
			elog(ERROR, "ticket.%s is not a row type", type->row_type);
	}
	if (type->type_version != entry->tupDesc_identifier)
	{
		check_columns(type, entry->tupDesc);
		type->type_version = entry->tupDesc_identifier;
	}
	return entry->tupDesc;
}

Datum
answer_row(AnswerType *type, Datum *values, bool *nulls)
{
	TupleDesc columns = type->row_type ? type_columns(type) : record_columns(type);

	return HeapTupleGetDatum(heap_form_tuple(columns, values, nulls));
}

/* By its address a function knows its own. */
static const char slot_name[] = "ticket answer";

Node *
answer_slot_init(AnswerSlot *slot)
{
	slot->node.type = T_ExtensibleNode;
	slot->node.extnodename = slot_name;
	return (Node *) slot;
}

/*
 * The function's result: the row, or straight its columns where answer_scan.c
 * has called it.  The columns must be in the memory that the function was
 * called with.
 */
Datum
answer_return(FunctionCallInfo fcinfo, AnswerType *type, Datum *values, bool *nulls)
{
	Node *slot = fcinfo->resultinfo;

	if (slot && IsA(slot, ExtensibleNode) && ((ExtensibleNode *) slot)->extnodename == slot_name)
	{
		AnswerSlot *answer = (AnswerSlot *) slot;

		if (type->row_type)
			(void) type_columns(type);
		memcpy(answer->values, values, type->n_columns * sizeof(Datum));
		memcpy(answer->nulls, nulls, type->n_columns * sizeof(bool));
		answer->filled = true;
		return (Datum) 0;
	}
	return answer_row(type, values, nulls);
}
