/*
 * write.c
 *		Rows of our tables written without the planner and the executor.  See
 *		write.h.
 *
 * What is known of a table (its indexes, its constraints made ready to run,
 * whether anything stands in the way) is kept until the catalogue says that
 * the table has changed.
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
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "commands/trigger.h"
#include "compat.h"
#include "executor/executor.h"
#include "map.h"
#include "miscadmin.h"
#include "nodes/bitmapset.h"
#include "optimizer/optimizer.h"
#include "pending.h"
#include "plan.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

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
	bool valid; /* read to its end, and nothing has changed since it began */
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

static WriteState *states = NULL;

static void
write_forget(Datum arg, Oid relid)
{
	for (WriteState *state = states; state; state = state->next)
		if (relid == InvalidOid || relid == state->table)
		{
			state->valid = false;
			state->changed = true;
		}
}

void
write_init(void)
{
	CacheRegisterRelcacheCallback(write_forget, (Datum) 0);
}

/* ---------- what is known of a table ---------- */

/*
 * Our own statement triggers know of what we write by other ways,
 * final_state only looks at rows that have ended, who writes a hold here sets
 * its timer himself, and an UPDATE OF only looks at updates of its columns.
 * Any other trigger is for the executor to run.
 */
static void
read_triggers(WriteState *state, Relation relation)
{
	/* Looking up their functions may make the relation's own anew. */
	TriggerDesc *triggers = CopyTriggerDesc(relation->trigdesc);
	Oid schema = get_namespace_oid("ticket", false);

	for (int i = 0; triggers && i < triggers->numtriggers; i++)
	{
		Trigger *trigger = &triggers->triggers[i];
		bool ours = get_func_namespace(trigger->tgfoid) == schema;

		if (ours && !TRIGGER_FOR_ROW(trigger->tgtype))
			continue;
		if (ours && strcmp(get_func_name(trigger->tgfoid), "final_state") == 0)
		{
			state->final_column = get_attnum(state->table, "ended_at");
			continue;
		}
		if (ours && strcmp(get_func_name(trigger->tgfoid), "hold_timer_set") == 0)
			continue;
		if (ours && !TRIGGER_FOR_INSERT(trigger->tgtype) && trigger->tgnattr > 0)
		{
			for (int j = 0; j < trigger->tgnattr; j++)
				state->guarded = bms_add_member(state->guarded, trigger->tgattr[j]);
			continue;
		}
		if (TRIGGER_FOR_INSERT(trigger->tgtype))
			state->insert_directly = false;
		if (TRIGGER_FOR_UPDATE(trigger->tgtype) &&
			RI_FKey_trigger_type(trigger->tgfoid) != RI_TRIGGER_FK)
			state->update_directly = false;
		if (TRIGGER_FOR_DELETE(trigger->tgtype))
			state->delete_directly = false;
	}
}

static void
read_foreign_keys(WriteState *state, Relation relation)
{
	ListCell *cell;

	foreach(cell, RelationGetFKeyList(relation))
	{
		ForeignKeyCacheInfo *key = lfirst_node(ForeignKeyCacheInfo, cell);

		for (int i = 0; i < key->nkeys; i++)
			state->guarded = bms_add_member(state->guarded, key->conkey[i]);
	}
}

static bool
plain_index(const IndexInfo *info, Relation index)
{
	return (index->rd_rel->relam == BTREE_AM_OID || index->rd_rel->relam == BRIN_AM_OID) &&
		   info->ii_Expressions == NIL && info->ii_ExclusionOps == NULL &&
		   index->rd_index->indimmediate && info->ii_ReadyForInserts;
}

static void
read_indexes(WriteState *state, Relation relation, Oid unless)
{
	List *indexes = RelationGetIndexList(relation);
	ListCell *cell;

	state->index = palloc0(list_length(indexes) * sizeof(WriteIndex));
	foreach(cell, indexes)
	{
		Relation index = index_open(lfirst_oid(cell), RowExclusiveLock);
		WriteIndex *entry = &state->index[state->n_indexes++];

		entry->oid = RelationGetRelid(index);
		entry->info = BuildIndexInfo(index);
		if (!plain_index(entry->info, index))
			state->insert_directly = state->update_directly = false;
		else if (entry->info->ii_Predicate)
			entry->predicate = ExecInitQual(entry->info->ii_Predicate, NULL);
		if (entry->oid == unless)
		{
			WriteIndex first = *entry;

			BuildSpeculativeIndexInfo(index, first.info);
			*entry = state->index[0];
			state->index[0] = first;
		}
		index_close(index, NoLock);
	}
}

/* Of a column, counted from 0; those that have no bit of their own share one. */
static uint64
column_bit(int column)
{
	return UINT64CONST(1) << Min(column, 63);
}

/*
 * The columns that a CHECK depends on: a row fulfils it as long as these stay
 * as they are.
 */
static uint64
check_columns(const ConstrCheck *check, Node *expression)
{
	Bitmapset *attributes = NULL;
	uint64 columns = 0;
	int i = -1;

	if (!check->ccvalid || contain_mutable_functions(expression))
		return ALL_COLUMNS;
	pull_varattnos(expression, 1, &attributes);
	while ((i = bms_next_member(attributes, i)) >= 0)
	{
		int column = i + FirstLowInvalidHeapAttributeNumber - 1;

		/* The whole row, or what every row version has anew */
		if (column < 0)
			return ALL_COLUMNS;
		columns |= column_bit(column);
	}
	/* Of no column: what never lets a row in, as long as there is none. */
	return columns ? columns : ALL_COLUMNS;
}

static void
read_checks(WriteState *state, Relation relation)
{
	TupleConstr *constraints = RelationGetDescr(relation)->constr;

	if (constraints == NULL)
		return;
	if (constraints->has_generated_stored)
		state->insert_directly = state->update_directly = false;
	state->check = palloc0(constraints->num_check * sizeof(WriteCheck));
	for (int i = 0; i < constraints->num_check; i++)
		if (check_enforced(&constraints->check[i]))
		{
			Expr *expression = expression_planner(stringToNode(constraints->check[i].ccbin));
			WriteCheck *check = &state->check[state->n_checks++];

			check->state = ExecInitExpr(expression, NULL);
			check->columns = check_columns(&constraints->check[i], (Node *) expression);
		}
}

static void
read_table(RowTarget *target, WriteState *state, Relation relation)
{
	TupleDesc columns = RelationGetDescr(relation);
	MemoryContext old;

	/* An error on the way, such as a wait for a lock cancelled, leaves it invalid. */
	state->valid = state->changed = false;
	if (state->context)
		MemoryContextDelete(state->context);
	state->context = NULL;
	state->context = AllocSetContextCreate(TopMemoryContext, "ticket table", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(state->context);
	state->table = RelationGetRelid(relation);
	state->insert_directly = state->update_directly = state->delete_directly =
		relation->rd_rel->relkind == RELKIND_RELATION && columns->natts == target->row_size - 1 &&
		!relation->rd_rel->relhasrules && !relation->rd_rel->relforcerowsecurity &&
		!relation->rd_rel->relispartition;
	state->final_column = 0;
	state->guarded = NULL;
	state->n_indexes = state->n_checks = 0;
	read_triggers(state, relation);
	read_foreign_keys(state, relation);
	read_indexes(state, relation, target->conflict ? relation_oid(target->unless) : InvalidOid);
	read_checks(state, relation);
	state->econtext = CreateStandaloneExprContext();
	/* Of the kind that keeps the tuple made of it: an insertion asks for it twice. */
	state->row = MakeSingleTupleTableSlot(CreateTupleDescCopyConstr(columns), &TTSOpsHeapTuple);
	memset(state->rows, 0, sizeof(state->rows));
	state->rows[0] = state->row;
	state->valid = !state->changed;
	MemoryContextSwitchTo(old);
}

static WriteState *
write_state(RowTarget *target, Relation relation)
{
	if (target->state == NULL)
	{
		target->state = MemoryContextAllocZero(TopMemoryContext, sizeof(WriteState));
		target->state->next = states;
		states = target->state;
	}
	while (!target->state->valid || target->state->table != RelationGetRelid(relation))
		read_table(target, target->state, relation);
	return target->state;
}

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
	index = index_open(entry->oid, RowExclusiveLock);
	ok = insert_entry(state, relation, index, entry->info,
					  partial ? UNIQUE_CHECK_PARTIAL : unique_check(entry->info), unchanged);
	end_index_insert(index, entry->info);
	index_close(index, NoLock);
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
	Relation index = index_open(entry->oid, RowExclusiveLock);

	for (int i = 0; i < n; i++)
	{
		choose_slot(state, i);
		state->values = values + i * row_size;
		state->nulls = nulls + i * row_size;
		state->econtext->ecxt_scantuple = state->row;
		if (entry->predicate == NULL || ExecQual(entry->predicate, state->econtext))
			insert_entry(state, relation, index, entry->info, unique_check(entry->info), false);
	}
	end_index_insert(index, entry->info);
	index_close(index, NoLock);
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

/* ---------- the same by a statement ---------- */

static uint64
execute(const char *sql, int n, Oid *types, Datum *values, const char *nulls)
{
	uint64 rows;
	int before;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	before = pending_own_write_begin();
	if (SPI_execute_with_args(sql, n, types, values, nulls, false, 0) < 0)
		elog(ERROR, "SPI_execute failed: %s", sql);
	pending_own_write_end(before);
	rows = SPI_processed;
	SPI_finish();
	return rows;
}

/* Columns that are given: those of relation.h, whatever has been added since. */
static void
describe_columns(int n_columns, Relation relation, const bool *nulls, Oid *types, char *null_marks)
{
	for (int i = 0; i < n_columns; i++)
	{
		types[i] = TupleDescAttr(RelationGetDescr(relation), i)->atttypid;
		null_marks[i] = nulls[i] ? 'n' : ' ';
	}
}

static bool
insert_by_statement(RowTarget *target, Relation relation, Datum *values, const bool *nulls,
					bool unless)
{
	int n_columns = target->row_size - 1;
	StringInfoData sql;
	Oid types[MAX_ROW_COLUMNS + 1];
	char null_marks[MAX_ROW_COLUMNS + 1];

	describe_columns(n_columns, relation, nulls, types, null_marks);
	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO ticket.%s (", RelationGetRelationName(relation));
	for (int i = 0; i < n_columns; i++)
		appendStringInfo(&sql, "%s%s", i > 0 ? ", " : "",
						 quote_identifier(
							 NameStr(TupleDescAttr(RelationGetDescr(relation), i)->attname)));
	appendStringInfoString(&sql, ") VALUES (");
	for (int i = 0; i < n_columns; i++)
		appendStringInfo(&sql, "%s$%d", i > 0 ? ", " : "", i + 1);
	appendStringInfoChar(&sql, ')');
	if (unless)
		appendStringInfo(&sql, " ON CONFLICT %s DO NOTHING", target->conflict);
	return execute(sql.data, n_columns, types, values, null_marks) == 1;
}

static bool
update_by_statement(RowTarget *target, Relation relation, HeapTuple old, const Datum *values,
					const bool *nulls, const bool *replace, bool wait)
{
	int n_columns = target->row_size - 1;
	const char *table = RelationGetRelationName(relation);
	StringInfoData sql;
	Oid types[MAX_ROW_COLUMNS + 1];
	char null_marks[MAX_ROW_COLUMNS + 1];
	Datum args[MAX_ROW_COLUMNS + 1];
	int tid = n_columns;
	const char *separator = "";

	describe_columns(n_columns, relation, nulls, types, null_marks);
	memcpy(args, values, n_columns * sizeof(Datum));
	types[tid] = TIDOID;
	null_marks[tid] = ' ';
	args[tid] = PointerGetDatum(&old->t_self);
	for (int i = 0; i < n_columns; i++)
		if (!replace[i])
			null_marks[i] = 'n';

	initStringInfo(&sql);
	appendStringInfo(&sql,
					 "WITH l AS MATERIALIZED (SELECT ctid FROM ticket.%s WHERE ctid" EQ
					 "$%d FOR NO KEY UPDATE%s) UPDATE ticket.%s AS t SET ",
					 table, tid + 1, wait ? "" : " SKIP LOCKED", table);
	for (int i = 0; i < n_columns; i++)
		if (replace[i])
		{
			appendStringInfo(&sql, "%s%s = $%d", separator,
							 quote_identifier(
								 NameStr(TupleDescAttr(RelationGetDescr(relation), i)->attname)),
							 i + 1);
			separator = ", ";
		}
	appendStringInfoString(&sql, " FROM l WHERE t.ctid" EQ "l.ctid");
	return execute(sql.data, tid + 1, types, args, null_marks) == 1;
}

static bool
delete_by_statement(Relation relation, ItemPointer old)
{
	Oid type = TIDOID;
	Datum tid = PointerGetDatum(old);

	return execute(psprintf("WITH l AS MATERIALIZED (SELECT ctid FROM ticket.%1$s WHERE ctid" EQ
							"$1 FOR UPDATE SKIP LOCKED)"
							" DELETE FROM ticket.%1$s AS t USING l WHERE t.ctid" EQ "l.ctid",
							RelationGetRelationName(relation)),
				   1, &type, &tid, NULL) == 1;
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
 * Inserts n rows, given one behind the other.  Where they can't go directly,
 * one by one.
 */
void
rows_insert(RowTarget *target, int n, Datum *values, bool *nulls)
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
	for (; done < n; done++)
		row_insert(target, values + done * target->row_size, nulls + done * target->row_size);
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
	result = update_tuple(relation, &old->t_self, state->row, GetCurrentCommandId(true),
						  repeatable ? GetTransactionSnapshot() : InvalidSnapshot,
						  wait || locked_by_us(old), &failure, &mode, &indexes, &summarizing_only);
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
	int n_columns = target->row_size - 1;
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
	done = can_update_directly(state, relation, old, replace, n_columns);
	if (done)
	{
		Datum all[MAX_ROW_COLUMNS];
		bool all_nulls[MAX_ROW_COLUMNS];
		uint64 changed = 0;

		heap_deform_tuple(old, RelationGetDescr(relation), all, all_nulls);
		for (int i = 0; i < n_columns; i++)
			if (replace[i])
			{
				all[i] = values[i];
				all_nulls[i] = nulls[i];
				changed |= column_bit(i);
			}
		store_row(state, all, all_nulls);
		done = row_is_valid(state, changed);
		/* As the statement trigger would. */
		if (done && target->table == REL_SEAT)
			map_seat_changes(DatumGetInt64(all[COL_SEAT_SECTION_ID - 1]),
							 DatumGetInt32(all[COL_SEAT_SEAT_ID - 1]));
	}
	if (done)
		done = update_directly(state, relation, old, replace, wait);
	else
		done = update_by_statement(target, relation, old, values, nulls, replace, wait);
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
	TM_FailureData failure;
	TM_Result result;

	CheckCmdReplicaIdentity(relation, CMD_DELETE);
	result = table_tuple_delete(relation, old, GetCurrentCommandId(true), InvalidSnapshot,
								InvalidSnapshot, false, &failure, false);
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
