/*
 * history.c
 *		Events that have left the outbox, kept by month.
 *
 * A sale writes its event and nothing else.  Whoever takes the event out of
 * the outbox, a consumer or the retention, puts it into the history in the
 * same transaction; so it is in one or the other, and history() reads both.
 */
#include "postgres.h"

#include "history.h"

#include "catalog/pg_type.h"
#include "metrics.h"
#include "outbox.h"
#include "plan.h"
#include "relation.h"
#include "storage/lmgr.h"
#include "utils/array.h"

/* ---------- partitions ---------- */

/*
 * For who writes: waits until no partition is being attached or dropped, and
 * lets none be until the end of the transaction.
 *
 * history_extend holds history_default while it attaches a month, so who was on
 * the way there waits, and would then write to a table that is not for the
 * month any more (23514), or, had he planned an UPDATE before, would miss the
 * rows that have moved.  So the wait comes first, and the server looks where
 * rows go, or are, afterwards.  In this order, which is DROP TABLE's, too.
 */
void
history_lock(void)
{
	LockRelationOid(relation_oid(REL_HISTORY), RowExclusiveLock);
	LockRelationOid(relation_oid(REL_HISTORY_DEFAULT), RowExclusiveLock);
}

/* ---------- into the history ---------- */

static SavedPlan keep_events = {
	"INSERT INTO ticket.history SELECT h.* FROM ROWS FROM (pg_catalog.unnest($1),"
	" pg_catalog.unnest($2), pg_catalog.unnest($3)) AS g (id, type, payload),"
	" LATERAL ticket.event_history(g.id, g.type, g.payload) AS h",
	3,
	{UUIDARRAYOID, TEXTARRAYOID, JSONBARRAYOID},
};

void
history_flush(HistoryBatch *batch)
{
	Datum args[3] = {PointerGetDatum(construct_array(batch->id, batch->n, UUIDOID, UUID_LEN, false,
													 TYPALIGN_CHAR)),
					 PointerGetDatum(
						 construct_array(batch->type, batch->n, TEXTOID, -1, false, TYPALIGN_INT)),
					 PointerGetDatum(construct_array(batch->payload, batch->n, JSONBOID, -1, false,
													 TYPALIGN_INT))};

	if (batch->n > 0)
	{
		history_lock();
		plan_run(&keep_events, args, NULL);
	}
	batch->n = 0;
}

void
history_add(HistoryBatch *batch, Datum id, Datum type, Datum payload)
{
	batch->id[batch->n] = id;
	batch->type[batch->n] = type;
	batch->payload[batch->n++] = payload;
	if (batch->n == HISTORY_BATCH)
		history_flush(batch);
}

/* ---------- what the clock does ---------- */

static SavedPlan make_partitions = {"SELECT ticket.history_extend()", 0, {0}};

bool
history_round(void)
{
	plan_run(&make_partitions, NULL, NULL);
	return outbox_retire(HISTORY_BATCH) == HISTORY_BATCH;
}
