/*
 * compat.h
 *		Every difference between server versions, and nothing else.
 */
#ifndef TICKET_COMPAT_H
#define TICKET_COMPAT_H

#include "postgres.h"

#include "access/genam.h"
#include "access/tableam.h"
#include "commands/explain.h"
#include "nodes/execnodes.h"

/* 16 put the macros of variable-length values into a header of their own. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 18 cut the header of EXPLAIN into three. */
#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"
#include "commands/explain_state.h"
#endif

/* 18 made the noreturn marker a prefix. */
#ifndef pg_attribute_noreturn
#define pg_attribute_noreturn() __attribute__((noreturn))
#endif

/* 17 gave intervals an infinity. */
#ifndef INTERVAL_NOT_FINITE
#define INTERVAL_NOT_FINITE(i) false
#endif

/* 18 knows constraints that are not enforced. */
static inline bool
check_enforced(const ConstrCheck *check)
{
#if PG_VERSION_NUM >= 180000
	return check->ccenforced;
#else
	return true;
#endif
}

/* 18 counts searches. */
static inline IndexScanDesc
begin_index_scan(Relation table, Relation index, Snapshot snapshot, int n_keys)
{
#if PG_VERSION_NUM >= 180000
	return index_beginscan(table, index, snapshot, NULL, n_keys, 0);
#else
	return index_beginscan(table, index, snapshot, n_keys, 0);
#endif
}

/* 17 lets indexes keep something from one insertion to the next. */
static inline void
end_index_insert(Relation index, struct IndexInfo *info)
{
#if PG_VERSION_NUM >= 170000
	index_insert_cleanup(index, info);
#endif
}

/*
 * `indexes`: the row needs new entries.  Since 16 an update may need them in
 * summarizing indexes (BRIN) alone.
 */
static inline TM_Result
update_tuple(Relation table, ItemPointer tid, TupleTableSlot *row, CommandId command,
			 Snapshot crosscheck, bool wait, TM_FailureData *failure, LockTupleMode *mode,
			 bool *indexes, bool *summarizing_only)
{
#if PG_VERSION_NUM >= 160000
	TU_UpdateIndexes update = TU_None;
	TM_Result result = table_tuple_update(table, tid, row, command, InvalidSnapshot, crosscheck,
										  wait, failure, mode, &update);

	*indexes = update != TU_None;
	*summarizing_only = update == TU_Summarizing;
	return result;
#else
	*summarizing_only = false;
	return table_tuple_update(table, tid, row, command, InvalidSnapshot, crosscheck, wait, failure,
							  mode, indexes);
#endif
}

static inline bool
index_summarizes(const IndexInfo *info)
{
#if PG_VERSION_NUM >= 160000
	return info->ii_Summarizing;
#else
	return false;
#endif
}

#endif /* TICKET_COMPAT_H */
