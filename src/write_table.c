/*
 * write_table.c
 *		What has to be known of a table to write its rows directly.  See
 *		write_table.h.
 */
#include "postgres.h"

#include "write_table.h"

#include "access/genam.h"
#include "access/sysattr.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "compat.h"
#include "executor/executor.h"
#include "nodes/bitmapset.h"
#include "optimizer/optimizer.h"
#include "plan.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "write_statement.h"

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
	own_write_init();
}

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
uint64
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

/*
 * What is known of the table, as it is now.  What changed while it was being read
 * is for the next call to read, as for the server's own statements, which read it
 * once when they begin: the lock on the table keeps from it what could not wait.
 * To read until nothing changes might never end.
 */
WriteState *
write_state(RowTarget *target, Relation relation)
{
	if (target->state == NULL)
	{
		target->state = MemoryContextAllocZero(TopMemoryContext, sizeof(WriteState));
		target->state->next = states;
		states = target->state;
	}
	if (!target->state->valid || target->state->table != RelationGetRelid(relation))
		read_table(target, target->state, relation);
	return target->state;
}
