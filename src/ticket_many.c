/*
 * ticket_many.c
 *		Questions about many tickets at once, for services that speak for
 *		thousands of fans: ticket_positions, ticket_status_many, ticket_heard.
 *
 * Each ticket is answered as ticket_status() would answer it at that moment.
 * First all are looked for in shared memory, in the order given.  A queue's lock
 * is held for some of them together, but let go at once when somebody waits to
 * change the queue, so that nobody waits longer than for a single question.
 * Those that are not there (they have ended, or are of a transaction that still
 * runs; on a standby all of them) are then looked up in the table together, in
 * the order of its primary key.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "entry.h"
#include "funcapi.h"
#include "load.h"
#include "metrics.h"
#include "miscadmin.h"
#include "pending.h"
#include "stock.h"
#include "ticket.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(ticket_positions);
PG_FUNCTION_INFO_V1(ticket_status_many);
PG_FUNCTION_INFO_V1(ticket_heard);

/* Tickets that share one look at the clock and, when nobody waits, one lock. */
#define ASKED_TOGETHER 64

typedef enum Question
{
	ASK_HEARD, /* nothing; they are only heard of */
	ASK_POSITION, /* view.live and view.position */
	ASK_STATUS /* everything */
} Question;

typedef struct Asked
{
	const pg_uuid_t *uuid; /* NULL: NULL */
	TicketView view; /* status NULL: not found; place 0: no token */
} Asked;

/* ---------- in shared memory ---------- */

/* With the queue lock held.  Whether it waits. */
static bool
look_at(TicketView *view, const Queue *queue, TimestampTz now, Question question)
{
	LineState state;
	LineCell *cell = line_find(queue_line(queue), memory_pool(), view->token.place, &state);

	if (cell == NULL || !token_secret_equal(cell->secret, view->token.secret))
		return false;
	if (state == LINE_ACTIVE)
	{
		view_active(view, cell->time, now);
		return false;
	}
	__atomic_store_n(&cell->time, now, __ATOMIC_RELAXED);
	if (question == ASK_STATUS)
		view_waiting(view, queue, now);
	else
	{
		view->status = "waiting";
		view->live = true;
		if (question == ASK_POSITION)
			view->position = line_rank(queue_line(queue), memory_pool(), view->token.place) +
							 pending_shift(queue, view->token.place);
	}
	return true;
}

/* Notes a sign of life of all that wait; returns how many. */
static int
look_in_memory(Asked *asked, int n, Question question)
{
	Queue *queue = NULL;
	int64 queue_id = 0;
	TimestampTz now = 0;
	int together = 0;
	int waiting = 0;

	for (int i = 0; i < n; i++)
	{
		TicketView *view = &asked[i].view;

		if (view->token.place == 0)
			continue;
		if (queue && queue_is_wanted(queue))
		{
			queue_give_way(queue);
			queue = NULL;
		}
		else if (queue && (view->token.queue_id != queue_id || together == ASKED_TOGETHER))
		{
			queue_release(queue);
			queue = NULL;
		}
		if (queue == NULL)
		{
			CHECK_FOR_INTERRUPTS();
			queue_id = view->token.queue_id;
			now = clock_now();
			queue = queue_open(queue_id, LW_SHARED);
			together = 0;
			if (queue == NULL)
				continue;
		}
		together++;
		waiting += look_at(view, queue, now, question);
	}
	if (queue)
		queue_release(queue);
	return waiting;
}

/* ---------- in the table ---------- */

/* Those that were not found, in the order of the primary key. */
typedef struct Missing
{
	int n;
	Asked **asked;
	int n_keys;
	RowKey *key; /* of them, each once */
	int *first; /* by key: the first of those that have it */
} Missing;

static int
compare_places(const void *a, const void *b)
{
	const Token *x = &(*(Asked *const *) a)->view.token;
	const Token *y = &(*(Asked *const *) b)->view.token;

	if (x->queue_id != y->queue_id)
		return x->queue_id < y->queue_id ? -1 : 1;
	return (x->place > y->place) - (x->place < y->place);
}

static void
gather_missing(Asked *asked, int n, Missing *missing)
{
	missing->n = missing->n_keys = 0;
	missing->asked = palloc(n * sizeof(Asked *));
	for (int i = 0; i < n; i++)
		if (asked[i].view.token.place != 0 && asked[i].view.status == NULL)
			missing->asked[missing->n++] = &asked[i];
	if (missing->n == 0)
		return;
	qsort(missing->asked, missing->n, sizeof(Asked *), compare_places);
	missing->key = palloc(missing->n * sizeof(RowKey));
	missing->first = palloc((missing->n + 1) * sizeof(int));
	for (int i = 0; i < missing->n; i++)
	{
		const Token *token = &missing->asked[i]->view.token;

		if (i > 0 && compare_places(&missing->asked[i - 1], &missing->asked[i]) == 0)
			continue;
		missing->first[missing->n_keys] = i;
		missing->key[missing->n_keys++] = (RowKey){token->queue_id, token->place};
	}
	missing->first[missing->n_keys] = missing->n;
}

/* What the row says; where one waits, the position is still to be found. */
static void
view_row(TicketView *view, RowScan *scan, HeapTuple row, TimestampTz now)
{
	static const char *const states[] = {"waiting", "active", "finished", "left", "expired"};
	bool isnull;
	Datum status = row_get(scan, row, COL_ENTRY_STATUS, &isnull);

	for (int i = 0; i < (int) lengthof(states); i++)
		if (text_is(status, states[i]))
			view->status = states[i];
	if (view->status == NULL)
		view->status = TextDatumGetCString(status);
	view->expires_at = row_int64(scan, row, COL_ENTRY_EXPIRES_AT, 0);
	if (strcmp(view->status, "active") == 0)
		view_active(view, view->expires_at, now);
}

static void
read_missing(Missing *missing)
{
	TimestampTz now = clock_now();
	RowSearch search;
	HeapTuple row;
	int i;

	row_search_begin(&search, REL_QUEUE_ENTRY, REL_QUEUE_ENTRY_PKEY, missing->key, missing->n_keys);
	while ((row = row_search_next(&search, &i)) != NULL)
	{
		uint64 secret = row_int64(&search.row, row, COL_ENTRY_SECRET, 0);

		CHECK_FOR_INTERRUPTS();
		for (int k = missing->first[i]; k < missing->first[i + 1]; k++)
		{
			TicketView *view = &missing->asked[k]->view;

			if (token_secret_equal(secret, view->token.secret))
				view_row(view, &search.row, row, now);
		}
	}
	row_search_end(&search);
}

static bool
waits(const TicketView *view)
{
	return view->status != NULL && strcmp(view->status, "waiting") == 0;
}

/* Tickets of transactions that have not committed, or have just: as ticket_status() does. */
static void
rank_missing(Missing *missing)
{
	for (int i = 0; i < missing->n; i++)
	{
		TicketView *view = &missing->asked[i]->view;
		Queue *queue;

		if (!waits(view))
			continue;
		CHECK_FOR_INTERRUPTS();
		queue = queue_open(view->token.queue_id, LW_SHARED);
		if (queue == NULL)
			no_such_queue(view->token.queue_id);
		view_waiting(view, queue, clock_now());
		queue_release(queue);
	}
}

/*
 * On a standby: counts who waits before each of those from `first` to `last`,
 * all of one queue, with one scan of it.
 */
static void
count_before(Missing *missing, int first, int last)
{
	RowScan scan;
	ScanKeyData key[2];
	HeapTuple row;
	bool isnull;
	int64 before = 0;
	int i = first;

	ScanKeyInit(&key[0], COL_ENTRY_QUEUE_ID, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(missing->asked[last]->view.token.queue_id));
	ScanKeyInit(&key[1], COL_ENTRY_PLACE, BTLessStrategyNumber, F_INT8LT,
				Int64GetDatum(missing->asked[last]->view.token.place));
	row_scan_begin(&scan, REL_QUEUE_ENTRY, REL_QUEUE_ENTRY_PKEY, 2, key);
	do
	{
		int64 place;

		CHECK_FOR_INTERRUPTS();
		row = row_scan_next(&scan);
		place = row ? row_int64(&scan, row, COL_ENTRY_PLACE, 0) : LINE_MAX_PLACE + 1;
		for (; i <= last && missing->asked[i]->view.token.place <= place; i++)
		{
			TicketView *view = &missing->asked[i]->view;

			if (!waits(view))
				continue;
			view->live = true;
			view->position = before + 1;
			view->wait_us = -1;
			view->poll_us = POLL_REST_US;
		}
		if (row)
			before += text_is(row_get(&scan, row, COL_ENTRY_STATUS, &isnull), "waiting");
	} while (row);
	row_scan_end(&scan);
}

static void
count_missing(Missing *missing)
{
	int first = 0;

	while (first < missing->n)
	{
		int64 queue_id = missing->asked[first]->view.token.queue_id;
		int last = -1;
		int next = first;

		for (; next < missing->n && missing->asked[next]->view.token.queue_id == queue_id; next++)
			if (waits(&missing->asked[next]->view))
				last = next;
		if (last >= 0)
			count_before(missing, first, last);
		first = next;
	}
}

/* ---------- for the callers ---------- */

static Asked *
asked_tokens(FunctionCallInfo fcinfo, int *n)
{
	ArrayType *array = arg_array(fcinfo, 0, "tokens", n);
	const pg_uuid_t *uuid = (const pg_uuid_t *) ARR_DATA_PTR(array);
	const bits8 *nulls = ARR_NULLBITMAP(array);
	Asked *asked = MemoryContextAllocExtended(CurrentMemoryContext, Max(*n, 1) * sizeof(Asked),
											  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);

	for (int i = 0; i < *n; i++)
	{
		if (nulls && !(nulls[i / 8] & (1 << (i % 8))))
			continue;
		asked[i].uuid = uuid++;
		if (!token_decode(asked[i].uuid, &asked[i].view.token))
			asked[i].view.token.place = 0;
	}
	return asked;
}

static Asked *
ask(FunctionCallInfo fcinfo, Question question, int *n)
{
	Asked *asked = asked_tokens(fcinfo, n);
	bool standby = RecoveryInProgress();
	Missing missing;

	memory_require();
	if (!standby)
		look_in_memory(asked, *n, question);
	gather_missing(asked, *n, &missing);
	if (missing.n > 0)
	{
		read_missing(&missing);
		if (standby)
			count_missing(&missing);
		else
			rank_missing(&missing);
	}
	return asked;
}

/*
 * ticket_positions(tokens uuid[]) -> bigint[]
 *
 * The position of each ticket, in their order: 1 and more: waits; 0: is active;
 * NULL: anything else, which ticket_status() tells (it has ended, there is no
 * such ticket, the token is NULL).  All that wait are heard of.
 *
 * Errors: 22023 (tokens is NULL, or has several dimensions), TK014.
 * Locks: queue locks, shared, one at a time.  What is not in memory is read from
 * its table.
 */
Datum
ticket_positions(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	int n;
	int lower = 1;
	Asked *asked = ask(fcinfo, ASK_POSITION, &n);
	Datum *positions = palloc(Max(n, 1) * sizeof(Datum));
	bool *nulls = palloc(Max(n, 1) * sizeof(bool));

	COUNT_FANS(n);
	if (n == 0)
		PG_RETURN_ARRAYTYPE_P(construct_empty_array(INT8OID));
	for (int i = 0; i < n; i++)
	{
		nulls[i] = !asked[i].view.live;
		positions[i] = Int64GetDatum(asked[i].view.position);
	}
	PG_RETURN_ARRAYTYPE_P(construct_md_array(positions, nulls, 1, &n, &lower, INT8OID,
											 sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/*
 * ticket_status_many(tokens uuid[]) -> setof (as ticket_status)
 *
 * A row for each element, in their order, as ticket_status() would answer; what
 * is no valid ticket, NULL too, has the status 'invalid'.  All that wait are
 * heard of.
 *
 * Errors: 22023 (tokens is NULL, or has several dimensions), TK014.
 * Locks: as ticket_positions.
 */
Datum
ticket_status_many(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int n;
	Asked *asked = ask(fcinfo, ASK_STATUS, &n);

	COUNT_FANS(n);
	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < n; i++)
	{
		Datum values[TICKET_VIEW_COLUMNS];
		bool nulls[TICKET_VIEW_COLUMNS];
		bool found = asked[i].view.status != NULL;

		if (!found)
			asked[i].view.status = "invalid";
		ticket_view_columns(&asked[i].view, values, nulls);
		nulls[0] = asked[i].uuid == NULL;
		values[0] = UUIDPGetDatum(asked[i].uuid);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/*
 * ticket_heard(tokens uuid[]) -> int
 *
 * Signs of life alone: as if ticket_status() had been asked for each.  Returns
 * how many of the elements wait, and so have been heard of; the others need no
 * sign of life, or there is no such ticket.
 *
 * Errors: 22023 (tokens is NULL, or has several dimensions), TK014, TK016.
 * Locks: queue locks, shared, one at a time.
 */
Datum
ticket_heard(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	int n;
	Asked *asked = asked_tokens(fcinfo, &n);

	COUNT_FANS(n);
	refuse_standby();
	PG_RETURN_INT32(look_in_memory(asked, n, ASK_HEARD));
}
