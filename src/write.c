/*
 * write.c
 *		Rows of our tables written without the planner and the executor.  See
 *		write.h.
 *
 * Inserting unless a unique index has the key follows the protocol of INSERT
 * ... ON CONFLICT DO NOTHING (src/backend/executor/README in PostgreSQL's
 * source, "speculative insertion"): look, and wait for whoever is inserting
 * the same key; insert a row that others know may be taken back; enter it into
 * the index; take it back and begin again if the key is there by then.  The
 * first look only saves the row of one who would have to take it back.
 */
#include "postgres.h"

#include "write.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "commands/sequence.h"
#include "compat.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "write_statement.h"
#include "write_table.h"

/* ---------- one row ---------- */

static void
store_row(WriteState *state, const Datum *values, const bool *nulls)
{
	TupleTableSlot *row = state->row;

	ExecClearTuple(row);
	memcpy(row->tts_values, values, row->tts_tupleDescriptor->natts * sizeof(Datum));
	memcpy(row->tts_isnull, nulls, row->tts_tupleDescriptor->natts * sizeof(bool));
	ExecStoreVirtualTuple(row);
	ResetExprContext(state->econtext);
	state->econtext->ecxt_scantuple = row;
	state->values = values;
	state->nulls = nulls;
}

/*
 * Whether NOT NULL and every CHECK let the stored row in, of which these
 * columns are new.
 */
static bool
row_is_valid(WriteState *state, uint64 changed)
{
	TupleDesc columns = state->row->tts_tupleDescriptor;

	for (int i = 0; i < columns->natts; i++)
		if (TupleDescAttr(columns, i)->attisdropped ||
			(TupleDescAttr(columns, i)->attnotnull && state->row->tts_isnull[i]))
			return false;
	for (int i = 0; i < state->n_checks; i++)
		if ((state->check[i].columns & changed) &&
			!ExecCheck(state->check[i].state, state->econtext))
			return false;
	return true;
}

/* Finds out which indexes the stored row goes into. */
static void
choose_indexes(WriteState *state)
{
	for (int i = 0; i < state->n_indexes; i++)
	{
		WriteIndex *index = &state->index[i];

		index->wanted = index->predicate == NULL || ExecQual(index->predicate, state->econtext);
	}
}

/* As FormIndexDatum() does, for an index without expressions. */
static void
index_key(const WriteState *state, const IndexInfo *info, Datum *values, bool *nulls)
{
	for (int i = 0; i < info->ii_NumIndexAttrs; i++)
	{
		int column = info->ii_IndexAttrNumbers[i] - 1;

		values[i] = state->values[column];
		nulls[i] = state->nulls[column];
	}
}

/*
 * What an index has kept for the next insertion points into a relation that may
 * have been altered or closed since; after an error nobody has taken it away.
 */
static Relation
open_index(WriteState *state, const WriteIndex *entry)
{
	entry->info->ii_AmCache = NULL;
	entry->info->ii_Context = state->econtext->ecxt_per_tuple_memory;
	return index_open(entry->oid, RowExclusiveLock);
}

static void
close_index(Relation index, const WriteIndex *entry)
{
	end_index_insert(index, entry->info);
	index_close(index, NoLock);
}

static bool
insert_entry(WriteState *state, Relation relation, Relation index, IndexInfo *info,
			 IndexUniqueCheck check, bool unchanged)
{
	Datum values[INDEX_MAX_KEYS];
	bool nulls[INDEX_MAX_KEYS];

	index_key(state, info, values, nulls);
	return index_insert(index, values, nulls, &state->row->tts_tid, relation, check, unchanged,
						info);
}

static IndexUniqueCheck
unique_check(const IndexInfo *info)
{
	return info->ii_Unique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO;
}

/* False, with `partial`, when the key may be there already. */
static bool
enter_index(WriteState *state, Relation relation, const WriteIndex *entry, bool partial,
			bool unchanged)
{
	Relation index;
	bool ok;

	if (!entry->wanted)
		return true;
	index = open_index(state, entry);
	ok = insert_entry(state, relation, index, entry->info,
					  partial ? UNIQUE_CHECK_PARTIAL : unique_check(entry->info), unchanged);
	close_index(index, entry);
	return ok || !partial;
}

/* The transaction to wait for that is about to put the key in, or take it out. */
static void
wait_for(SnapshotData *dirty, Relation relation, ItemPointer tid)
{
	TransactionId xid = TransactionIdIsValid(dirty->xmin) ? dirty->xmin : dirty->xmax;

	if (TransactionIdIsValid(dirty->xmin) && dirty->speculativeToken)
		SpeculativeInsertionWait(dirty->xmin, dirty->speculativeToken);
	else
		XactLockTableWait(xid, relation, tid, XLTW_InsertIndex);
}

/*
 * To a REPEATABLE READ transaction a row that came in after its snapshot is a
 * conflict it cannot know of, as with ON CONFLICT DO NOTHING.
 */
static void
check_visible(Relation relation, TupleTableSlot *found)
{
	bool isnull;
	TransactionId xmin;

	if (!IsolationUsesXactSnapshot() ||
		table_tuple_satisfies_snapshot(relation, found, GetTransactionSnapshot()))
		return;
	xmin = DatumGetTransactionId(slot_getsysattr(found, MinTransactionIdAttributeNumber, &isnull));
	if (!TransactionIdIsCurrentTransactionId(xmin))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent update")));
}

/* Whether the key is taken, once everyone who has it in hand has decided. */
static bool
key_taken(WriteState *state, Relation relation)
{
	const WriteIndex *entry = &state->index[0];
	IndexInfo *info = entry->info;
	Relation index = index_open(entry->oid, RowExclusiveLock);
	TupleTableSlot *found = table_slot_create(relation, NULL);
	ScanKeyData keys[INDEX_MAX_KEYS];
	Datum values[INDEX_MAX_KEYS];
	bool nulls[INDEX_MAX_KEYS];
	bool taken = false;
	bool again = true;

	index_key(state, info, values, nulls);
	for (int i = 0; i < info->ii_NumIndexKeyAttrs; i++)
		ScanKeyEntryInitialize(&keys[i], 0, i + 1, info->ii_UniqueStrats[i], InvalidOid,
							   index->rd_indcollation[i], info->ii_UniqueProcs[i], values[i]);
	while (again)
	{
		SnapshotData dirty;
		IndexScanDesc scan;
		ItemPointerData tid;

		InitDirtySnapshot(dirty);
		scan = begin_index_scan(relation, index, &dirty, info->ii_NumIndexKeyAttrs);
		index_rescan(scan, keys, info->ii_NumIndexKeyAttrs, NULL, 0);
		taken = index_getnext_slot(scan, ForwardScanDirection, found);
		tid = found->tts_tid;
		again = taken && (TransactionIdIsValid(dirty.xmin) || TransactionIdIsValid(dirty.xmax));
		if (taken && !again)
			check_visible(relation, found);
		ExecClearTuple(found);
		index_endscan(scan);
		if (again)
			wait_for(&dirty, relation, &tid);
	}
	ExecDropSingleTupleTableSlot(found);
	index_close(index, NoLock);
	return taken;
}

static void
insert_plainly(WriteState *state, Relation relation)
{
	table_tuple_insert(relation, state->row, GetCurrentCommandId(true), 0, NULL);
	for (int i = 0; i < state->n_indexes; i++)
		enter_index(state, relation, &state->index[i], false, false);
}

static bool
insert_speculatively(WriteState *state, Relation relation, bool look)
{
	TransactionId xid = GetCurrentTransactionId();
	bool ok;

	for (;;)
	{
		uint32 token;

		CHECK_FOR_INTERRUPTS();
		if (look && key_taken(state, relation))
			return false;
		token = SpeculativeInsertionLockAcquire(xid);
		table_tuple_insert_speculative(relation, state->row, GetCurrentCommandId(true), 0, NULL,
									   token);
		ok = enter_index(state, relation, &state->index[0], true, false);
		for (int i = 1; ok && i < state->n_indexes; i++)
			enter_index(state, relation, &state->index[i], false, false);
		table_tuple_complete_speculative(relation, state->row, token, ok);
		SpeculativeInsertionLockRelease(xid);
		if (ok)
			return true;
		look = true;
	}
}

/* Makes one of the slots the one that store_row() fills. */
static void
choose_slot(WriteState *state, int i)
{
	if (state->rows[i] == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(state->context);

		state->rows[i] =
			MakeSingleTupleTableSlot(state->rows[0]->tts_tupleDescriptor, &TTSOpsHeapTuple);
		MemoryContextSwitchTo(old);
	}
	state->row = state->rows[i];
}

/* Enters rows that have just been put into the table. */
static void
enter_rows(WriteState *state, Relation relation, const WriteIndex *entry, int n,
		   const Datum *values, const bool *nulls, int row_size)
{
	Relation index = open_index(state, entry);

	for (int i = 0; i < n; i++)
	{
		choose_slot(state, i);
		state->values = values + i * row_size;
		state->nulls = nulls + i * row_size;
		state->econtext->ecxt_scantuple = state->row;
		if (entry->predicate == NULL || ExecQual(entry->predicate, state->econtext))
			insert_entry(state, relation, index, entry->info, unique_check(entry->info), false);
	}
	close_index(index, entry);
}

/*
 * Up to ROWS_TOGETHER rows with one call of the table.  False, and nothing
 * done, when one of them would be refused.
 */
static bool
insert_together(WriteState *state, Relation relation, int n, const Datum *values, const bool *nulls,
				int row_size)
{
	bool valid = true;

	for (int i = 0; i < n && valid; i++)
	{
		choose_slot(state, i);
		store_row(state, values + i * row_size, nulls + i * row_size);
		valid = row_is_valid(state, ALL_COLUMNS);
	}
	if (valid)
	{
		table_multi_insert(relation, state->rows, n, GetCurrentCommandId(true), 0, NULL);
		for (int i = 0; i < state->n_indexes; i++)
			enter_rows(state, relation, &state->index[i], n, values, nulls, row_size);
	}
	choose_slot(state, 0);
	return valid;
}

/* ---------- for the callers ---------- */

typedef enum InsertMode
{
	INSERT_PLAINLY,
	INSERT_UNLESS, /* the key is there */
	INSERT_NEW /* the same, and most likely it is not */
} InsertMode;

static bool
write_insert(RowTarget *target, Datum *values, bool *nulls, InsertMode mode)
{
	Relation relation = table_open(relation_oid(target->table), RowExclusiveLock);
	WriteState *state;
	Oid user;
	int sec_context;
	bool done = true;

	values++;
	nulls++;
	PreventCommandIfReadOnly("INSERT");
	GetUserIdAndSecContext(&user, &sec_context);
	SetUserIdAndSecContext(relation_owner(), sec_context | SECURITY_LOCAL_USERID_CHANGE);
	state = write_state(target, relation);
	if (state->insert_directly)
		store_row(state, values, nulls);
	if (!state->insert_directly || !row_is_valid(state, ALL_COLUMNS))
		done = insert_by_statement(target, relation, values, nulls, mode != INSERT_PLAINLY);
	else
	{
		choose_indexes(state);
		if (mode != INSERT_PLAINLY && state->index[0].wanted)
			done = insert_speculatively(state, relation, mode == INSERT_UNLESS);
		else
			insert_plainly(state, relation);
	}
	SetUserIdAndSecContext(user, sec_context);
	table_close(relation, NoLock);
	CommandCounterIncrement();
	return done;
}

void
row_insert(RowTarget *target, Datum *values, bool *nulls)
{
	(void) write_insert(target, values, nulls, INSERT_PLAINLY);
}

/* False, and nothing done, when the unique index `unless` has the key. */
bool
row_insert_unless(RowTarget *target, Datum *values, bool *nulls)
{
	return write_insert(target, values, nulls, INSERT_UNLESS);
}

/*
 * The same where the key is most likely not there: it is not looked for first.
 * If it is there all the same, a row was written and taken back.
 */
bool
row_insert_new(RowTarget *target, Datum *values, bool *nulls)
{
	return write_insert(target, values, nulls, INSERT_NEW);
}

/*
 * Inserts rows, given one behind the other, as long as they can go directly.
 * Returns how many have.
 */
static int
insert_directly(RowTarget *target, int n, Datum *values, bool *nulls)
{
	Relation relation = table_open(relation_oid(target->table), RowExclusiveLock);
	int done = 0;
	Oid user;
	int sec_context;

	PreventCommandIfReadOnly("INSERT");
	GetUserIdAndSecContext(&user, &sec_context);
	SetUserIdAndSecContext(relation_owner(), sec_context | SECURITY_LOCAL_USERID_CHANGE);
	while (done < n)
	{
		WriteState *state = write_state(target, relation);
		int some = Min(n - done, ROWS_TOGETHER);
		int first = done * target->row_size;

		CHECK_FOR_INTERRUPTS();
		if (!state->insert_directly || !insert_together(state, relation, some, values + first + 1,
														nulls + first + 1, target->row_size))
			break;
		done += some;
	}
	SetUserIdAndSecContext(user, sec_context);
	table_close(relation, NoLock);
	CommandCounterIncrement();
	return done;
}

/* Inserts n rows.  Where they can't go directly, one by one. */
void
rows_insert(RowTarget *target, int n, Datum *values, bool *nulls)
{
	for (int done = insert_directly(target, n, values, nulls); done < n; done++)
		row_insert(target, values + done * target->row_size, nulls + done * target->row_size);
}

/*
 * Inserts n rows whose keys are most likely not there, sorted by the unique index
 * `unless`.  False, and nothing done, when it has one of the keys, or when they
 * can't all go directly.
 *
 * The rows go in as those of an ordinary INSERT, in a savepoint: whoever has a
 * key in hand is waited for before it is entered.  So two who insert the same
 * keys don't wait for each other: who waits for a key has entered lower ones
 * alone, and who has it is past it.
 */
bool
rows_insert_new(RowTarget *target, int n, Datum *values, bool *nulls)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner resources = CurrentResourceOwner;
	volatile bool done = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		done = insert_directly(target, n, values, nulls) == n;
		if (done)
			ReleaseCurrentSubTransaction();
		else
			RollbackAndReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		if (error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION)
			ReThrowError(error);
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = resources;
	return done;
}

/* Of these columns one is in the index, or in its predicate. */
static bool
index_changed(const IndexInfo *info, const bool *replace)
{
	for (int i = 0; i < info->ii_NumIndexAttrs; i++)
		if (replace[info->ii_IndexAttrNumbers[i] - 1])
			return true;
	return info->ii_Predicate != NIL;
}

/* Whether the executor is needed to change these columns. */
static bool
can_update_directly(WriteState *state, Relation relation, HeapTuple old, const bool *replace,
					int n_columns)
{
	if (!state->update_directly)
		return false;
	if (state->final_column &&
		!heap_attisnull(old, state->final_column, RelationGetDescr(relation)))
		return false;
	for (int i = 0; i < n_columns; i++)
		if (replace[i] && bms_is_member(i + 1, state->guarded))
			return false;
	return true;
}

/* Locked by this transaction, which then has nobody to wait for. */
static bool
locked_by_us(HeapTuple row)
{
	uint16 info = row->t_data->t_infomask;

	return !(info & (HEAP_XMAX_INVALID | HEAP_XMAX_IS_MULTI)) &&
		   TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetRawXmax(row->t_data));
}

#ifdef USE_ASSERT_CHECKING
/*
 * heap_update() knows what to answer who does not wait for a row that is locked,
 * and says so in a comment, but has an assertion that nobody is so.  On a server
 * that checks it the row is locked first; elsewhere the lock would only be one
 * more record in the WAL for each row.  True: the row is ours.
 */
static bool
lock_for_assertion(Relation relation, HeapTuple row)
{
	TupleTableSlot *locked = table_slot_create(relation, NULL);
	ItemPointerData tid = row->t_self;
	TM_FailureData failure;
	TM_Result result =
		table_tuple_lock(relation, &tid, InvalidSnapshot, locked, GetCurrentCommandId(true),
						 LockTupleNoKeyExclusive, LockWaitSkip, 0, &failure);

	ExecDropSingleTupleTableSlot(locked);
	return result != TM_WouldBlock;
}
#endif

static bool
update_directly(WriteState *state, Relation relation, HeapTuple old, const bool *replace, bool wait)
{
	bool repeatable = IsolationUsesXactSnapshot();
	TM_FailureData failure;
	LockTupleMode mode;
	bool indexes;
	bool summarizing_only;
	TM_Result result;

	CheckCmdReplicaIdentity(relation, CMD_UPDATE);
	wait = wait || locked_by_us(old);
#ifdef USE_ASSERT_CHECKING
	if (!wait && !lock_for_assertion(relation, old))
		return false;
	wait = true;
#endif
	result = update_tuple(relation, &old->t_self, state->row, GetCurrentCommandId(true),
						  repeatable ? GetTransactionSnapshot() : InvalidSnapshot, wait, &failure,
						  &mode, &indexes, &summarizing_only);
	if (result == TM_Updated || result == TM_Deleted)
	{
		if (repeatable)
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("could not serialize access due to concurrent update")));
		return false;
	}
	if (result == TM_BeingModified && !wait)
		return false;
	if (result != TM_Ok)
		elog(ERROR, "unexpected result of an update: %d", (int) result);
	if (indexes)
		choose_indexes(state);
	for (int i = 0; indexes && i < state->n_indexes; i++)
		if (!summarizing_only || index_summarizes(state->index[i].info))
			enter_index(state, relation, &state->index[i], false,
						!index_changed(state->index[i].info, replace));
	return true;
}

/*
 * Directly, or by a statement where that is needed.  The whole new row stands
 * here: indexes are entered from it until update_directly() has returned.
 */
static bool
update_row(WriteState *state, RowTarget *target, Relation relation, HeapTuple old,
		   const Datum *values, const bool *nulls, const bool *replace, bool wait)
{
	Datum all[MAX_ROW_COLUMNS];
	bool all_nulls[MAX_ROW_COLUMNS];
	int n_columns = target->row_size - 1;
	uint64 changed = 0;

	if (!can_update_directly(state, relation, old, replace, n_columns))
		return update_by_statement(target, relation, old, values, nulls, replace, wait);
	heap_deform_tuple(old, RelationGetDescr(relation), all, all_nulls);
	for (int i = 0; i < n_columns; i++)
		if (replace[i])
		{
			all[i] = values[i];
			all_nulls[i] = nulls[i];
			changed |= column_bit(i);
		}
	store_row(state, all, all_nulls);
	if (!row_is_valid(state, changed))
		return update_by_statement(target, relation, old, values, nulls, replace, wait);
	if (target->updated)
		target->updated(all);
	return update_directly(state, relation, old, replace, wait);
}

void
writer_begin(RowWriter *writer, RowTarget *target)
{
	writer->target = target;
	writer->relation = table_open(relation_oid(target->table), RowExclusiveLock);
}

void
writer_end(RowWriter *writer)
{
	table_close(writer->relation, NoLock);
}

/*
 * Replaces columns of a row that was read.  False, and nothing done, when the
 * row has been changed since, or, without `wait`, when somebody has it locked.
 * In a REPEATABLE READ transaction a row changed since its snapshot is a
 * serialization failure (40001), as with UPDATE.
 */
bool
writer_update(RowWriter *writer, HeapTuple old, Datum *values, bool *nulls, const bool *replace,
			  bool wait)
{
	RowTarget *target = writer->target;
	Relation relation = writer->relation;
	WriteState *state;
	Oid user;
	int sec_context;
	bool done;

	values++;
	nulls++;
	replace++;
	PreventCommandIfReadOnly("UPDATE");
	GetUserIdAndSecContext(&user, &sec_context);
	SetUserIdAndSecContext(relation_owner(), sec_context | SECURITY_LOCAL_USERID_CHANGE);
	state = write_state(target, relation);
	done = update_row(state, target, relation, old, values, nulls, replace, wait);
	SetUserIdAndSecContext(user, sec_context);
	CommandCounterIncrement();
	return done;
}

bool
row_update(RowTarget *target, HeapTuple old, Datum *values, bool *nulls, const bool *replace,
		   bool wait)
{
	RowWriter writer;
	bool done;

	writer_begin(&writer, target);
	done = writer_update(&writer, old, values, nulls, replace, wait);
	writer_end(&writer);
	return done;
}

static bool
delete_directly(Relation relation, ItemPointer old)
{
	TM_Result result;

	CheckCmdReplicaIdentity(relation, CMD_DELETE);
	result = delete_tuple(relation, old, GetCurrentCommandId(true), InvalidSnapshot);
	if (result == TM_Invisible)
		elog(ERROR, "unexpected result of a delete: %d", (int) result);
	return result == TM_Ok;
}

/*
 * Deletes a row that was read.  False, and nothing done, when somebody else
 * has it locked, has changed or deleted it.
 */
bool
writer_delete(RowWriter *writer, ItemPointer old)
{
	Oid user;
	int sec_context;
	bool done;

	PreventCommandIfReadOnly("DELETE");
	GetUserIdAndSecContext(&user, &sec_context);
	SetUserIdAndSecContext(relation_owner(), sec_context | SECURITY_LOCAL_USERID_CHANGE);
	if (write_state(writer->target, writer->relation)->delete_directly)
		done = delete_directly(writer->relation, old);
	else
		done = delete_by_statement(writer->relation, old);
	SetUserIdAndSecContext(user, sec_context);
	CommandCounterIncrement();
	return done;
}

/* The next number of an identity column. */
int64
row_number(TicketRelation sequence)
{
	return nextval_internal(relation_oid(sequence), false);
}
