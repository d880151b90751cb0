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
#include "storage/shmem.h"
#include "utils/backend_status.h"
#include "utils/hsearch.h"

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

/* 19 takes no comment for a case that falls through. */
#ifndef pg_fallthrough
#define pg_fallthrough __attribute__((fallthrough))
#endif

/* 19 hands the planner's hook what EXPLAIN was asked for. */
#if PG_VERSION_NUM >= 190000
#define PLANNER_EXPLAIN , ExplainState *explain
#define PLANNER_EXPLAIN_ARG , explain
#else
#define PLANNER_EXPLAIN
#define PLANNER_EXPLAIN_ARG
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

/* 16 gave it another name. */
static inline LocalPgBackendStatus *
local_backend_entry(int number)
{
#if PG_VERSION_NUM >= 160000
	return pgstat_get_local_beentry_by_index(number);
#else
	return pgstat_fetch_stat_local_beentry(number);
#endif
}

/* 19 wants a descriptor that was made by hand to be closed. */
static inline void
finish_descriptor(TupleDesc descriptor)
{
#if PG_VERSION_NUM >= 190000
	TupleDescFinalize(descriptor);
#endif
}

/* 19 lets a hash table in shared memory have one size. */
static inline HTAB *
init_shared_hash(const char *name, int64 size, HASHCTL *info, int flags)
{
#if PG_VERSION_NUM >= 190000
	return ShmemInitHash(name, size, info, flags);
#else
	return ShmemInitHash(name, size, size, info, flags);
#endif
}

/* 19 takes options for a scan of a table. */
static inline TableScanDesc
begin_table_scan(Relation table, Snapshot snapshot)
{
#if PG_VERSION_NUM >= 190000
	return table_beginscan(table, snapshot, 0, NULL, SO_NONE);
#else
	return table_beginscan(table, snapshot, 0, NULL);
#endif
}

/* 19 takes options, and no longer whether the row moves to another partition. */
static inline TM_Result
delete_tuple(Relation table, ItemPointer tid, CommandId command, Snapshot snapshot)
{
	TM_FailureData failure;

#if PG_VERSION_NUM >= 190000
	return table_tuple_delete(table, tid, command, 0, snapshot, InvalidSnapshot, false, &failure);
#else
	return table_tuple_delete(table, tid, command, snapshot, InvalidSnapshot, false, &failure,
							  false);
#endif
}

/* 18 counts searches, 19 takes options. */
static inline IndexScanDesc
begin_index_scan(Relation table, Relation index, Snapshot snapshot, int n_keys)
{
#if PG_VERSION_NUM >= 190000
	return index_beginscan(table, index, snapshot, NULL, n_keys, 0, SO_NONE);
#elif PG_VERSION_NUM >= 180000
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
#if PG_VERSION_NUM >= 190000
	TM_Result result = table_tuple_update(table, tid, row, command, 0, InvalidSnapshot, crosscheck,
										  wait, failure, mode, &update);
#else
	TM_Result result = table_tuple_update(table, tid, row, command, InvalidSnapshot, crosscheck,
										  wait, failure, mode, &update);
#endif

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
