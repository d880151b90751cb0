/*
 * prune.c
 *		Takes away the rows of tickets that ended long ago, so that a queue is
 *		as fast with its ten-millionth ticket as with its first.
 *
 * A round looks at some rows of a queue, in the order of their places, and goes
 * on from there in the next.  Having come to the end it waits until the first
 * row that it had to leave can be old enough.  This needs no index but the
 * primary key, so those who enter and leave pay nothing for it.
 *
 * The row with the highest place stays: after a restart it says which places
 * have been given out.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "load.h"
#include "miscadmin.h"
#include "queue.h"
#include "relation.h"
#include "ticket.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* Rows looked at in one round. */
#define PRUNE_STEP 1000
/* From the start of one search to the next at least this, or a tenth of retention. */
#define PRUNE_PAUSE_US USECS_PER_SEC

/* A part of a search through the rows of a queue. */
typedef struct PruneStep
{
	int64 queue_id;
	int64 after; /* looks at the places after this one */
	int max; /* that many */
	TimestampTz ended; /* may go: what ended by then */
	TimestampTz admitted; /* and had not been let in after that */
	bool through; /* no row is left */
	TimestampTz oldest; /* end of the first to end of those that stay */
	int n_deleted;
} PruneStep;

/* Rows that have ended do not change; one that does all the same is left alone. */
static bool
delete_row(Relation relation, ItemPointer row, Snapshot snapshot)
{
	return delete_tuple(relation, row, GetCurrentCommandId(true), snapshot) == TM_Ok;
}

/* Whether a row may go; of one that has ended and stays notes when that was. */
static bool
may_go(PruneStep *step, Relation relation, HeapTuple row)
{
	bool lives;
	bool waited;
	TimestampTz ended = DatumGetTimestampTz(
		heap_getattr(row, COL_ENTRY_ENDED_AT, RelationGetDescr(relation), &lives));
	TimestampTz admitted = DatumGetTimestampTz(
		heap_getattr(row, COL_ENTRY_ADMITTED_AT, RelationGetDescr(relation), &waited));

	if (lives)
		return false;
	if (ended <= step->ended && (waited || admitted <= step->admitted))
		return true;
	step->oldest = Min(step->oldest, ended);
	return false;
}

/*
 * Deletes what may go.  A row is deleted when one with a higher place has been
 * seen, so that the last one stays, unless `last` may go as well.
 */
static void
prune_rows(PruneStep *step, bool last)
{
	Relation relation = table_open(relation_oid(REL_QUEUE_ENTRY), RowExclusiveLock);
	Relation index = index_open(relation_oid(REL_QUEUE_ENTRY_PKEY), AccessShareLock);
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple row;
	ItemPointerData before;
	int64 place = step->after;
	bool goes = false;

	ScanKeyInit(&keys[0], COL_ENTRY_QUEUE_ID, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(step->queue_id));
	ScanKeyInit(&keys[1], COL_ENTRY_PLACE, BTGreaterStrategyNumber, F_INT8GT,
				Int64GetDatum(step->after));
	scan = systable_beginscan_ordered(relation, index, snapshot, 2, keys);
	for (int n = 0; n < step->max; n++)
	{
		bool isnull;

		CHECK_FOR_INTERRUPTS();
		row = systable_getnext_ordered(scan, ForwardScanDirection);
		step->through = !HeapTupleIsValid(row);
		if (goes && (last || !step->through) && delete_row(relation, &before, snapshot))
			step->n_deleted++;
		if (step->through)
			break;
		/* The last one seen will be seen again. */
		step->after = place;
		place =
			DatumGetInt64(heap_getattr(row, COL_ENTRY_PLACE, RelationGetDescr(relation), &isnull));
		before = row->t_self;
		goes = may_go(step, relation, row);
	}
	systable_endscan_ordered(scan);
	UnregisterSnapshot(snapshot);
	index_close(index, AccessShareLock);
	table_close(relation, RowExclusiveLock);
}

/* Takes all rows of a queue away, which must have ended. */
void
queue_prune_all(int64 queue_id)
{
	PruneStep step = {.queue_id = queue_id,
					  .max = PG_INT32_MAX,
					  .ended = DT_NOEND,
					  .admitted = DT_NOEND};

	prune_rows(&step, true);
}

/* Prepares a step of the search through a queue, if one is due. */
static bool
prune_is_due(PruneStep *step)
{
	Queue *queue = queue_acquire(step->queue_id, LW_SHARED);
	TimestampTz now = clock_now();
	bool due;

	if (queue == NULL)
		return false;
	due = queue->config.retention >= 0 && now >= queue->prune_due;
	step->after = queue->prune_place;
	step->ended = now - queue->config.retention;
	/* Who was let in within promote_interval counts for the rate, after a restart, too. */
	step->admitted = now - queue->config.promote_interval;
	queue_release(queue);
	return due;
}

/* Notes how far the search has come, and when the next one is due. */
static void
prune_note(const PruneStep *step)
{
	Queue *queue = queue_acquire(step->queue_id, LW_EXCLUSIVE);

	if (queue == NULL)
		return;
	if (queue->prune_place == 0)
	{
		queue->prune_began = clock_now();
		queue->prune_oldest = queue->prune_began;
	}
	queue->prune_place = step->after;
	queue->prune_oldest = Min(queue->prune_oldest, step->oldest);
	if (step->through)
	{
		int64 retention = queue->config.retention;

		queue->prune_place = 0;
		queue->prune_due = Max(queue->prune_oldest + retention,
							   queue->prune_began + Max(PRUNE_PAUSE_US, retention / 10));
	}
	queue_release(queue);
}

/*
 * Takes away some rows of tickets that ended longer than retention ago.  One
 * session at a time does a queue.  If the transaction is undone, they wait for
 * the next search.
 */
int
queue_prune(int64 queue_id)
{
	PruneStep step = {.queue_id = queue_id, .max = PRUNE_STEP, .oldest = DT_NOEND};

	if (!prune_is_due(&step) || !class_lock(LOCK_CLASS_EXPIRE, (uint32) queue_id, 0, false, false))
		return 0;
	prune_rows(&step, false);
	prune_note(&step);
	if (step.n_deleted == 0)
		class_unlock(LOCK_CLASS_EXPIRE, (uint32) queue_id, 0, false);
	return step.n_deleted;
}
