/*
 * enqueue_many.c
 *		ticket_enqueue_many: many users enter a waiting room in one transaction.
 *
 * The steps are those of ticket_enqueue(), each done for all:
 *
 *	1. Who is blocked is refused.  Those who have probably been here lately, as
 *	   the filter in shared memory knows, are looked for in the table together;
 *	   who has a ticket keeps it.
 *	2. The others get places, in the order in which they were given, by the rules
 *	   of ticket_enqueue(): active at once where nobody waits and there is room,
 *	   else at the end of the line.  Behind one of this call who has to wait nobody
 *	   of it goes straight in, though room may come meanwhile.
 *	3. Their rows are written, sorted by user, so that two calls with the same users
 *	   wait for each other at most in one direction: together, or, when one of them
 *	   turns out to have a ticket or has one that must end first, one by one.
 *	4. Places that were not needed are given back, and everybody is told where he
 *	   stands.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "entry.h"
#include "funcapi.h"
#include "load.h"
#include "metrics.h"
#include "miscadmin.h"
#include "pending.h"
#include "plan.h"
#include "relation.h"
#include "stock.h"
#include "storage/lmgr.h"
#include "ticket.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(ticket_enqueue_many);

/* Places that are taken, or told, before others get the queue's lock. */
#define TAKEN_TOGETHER 64

typedef enum EntrantState
{
	ENTRANT_NEW, /* has no ticket that is known of */
	ENTRANT_TAKEN, /* has got a place; the row is to be written, or has been */
	ENTRANT_MET, /* keeps the ticket he has */
	ENTRANT_REFUSED
} EntrantState;

/* A user, however often he was given. */
typedef struct Entrant
{
	text *user;
	EntrantState state;
	TicketError refusal;
	TicketView view; /* unless refused */
	int64 taken; /* place that was set aside for him by this call; 0: none */
	TimestampTz taken_at;
} Entrant;

typedef struct Batch
{
	int64 queue_id;
	bool back; /* who waits goes to the end of the line */
	bool ends; /* somebody's ticket has to end before he gets another */
	int n; /* users */
	Entrant *entrant; /* in the order in which they were given first */
	Entrant **by_user;
	int n_given;
	int *who; /* by element: which user */
} Batch;

/* ---------- who it is about ---------- */

static int
compare_texts(const text *a, const text *b)
{
	int n = VARSIZE_ANY_EXHDR(a);
	int m = VARSIZE_ANY_EXHDR(b);
	int order = memcmp(VARDATA_ANY(a), VARDATA_ANY(b), Min(n, m));

	return order != 0 ? order : (n > m) - (n < m);
}

typedef struct Given
{
	text *user;
	int element;
} Given;

static int
compare_given(const void *a, const void *b)
{
	const Given *x = a;
	const Given *y = b;
	int order = compare_texts(x->user, y->user);

	return order != 0 ? order : (x->element > y->element) - (x->element < y->element);
}

static int
compare_entrants(const void *a, const void *b)
{
	return compare_texts((*(Entrant *const *) a)->user, (*(Entrant *const *) b)->user);
}

/* Each user once. */
static void
batch_init(Batch *batch, int64 queue_id, text **users, int n)
{
	Given *given = palloc(Max(n, 1) * sizeof(Given));
	int *first = palloc(Max(n, 1) * sizeof(int)); /* by element: where its user was given first */

	memset(batch, 0, sizeof(Batch));
	batch->queue_id = queue_id;
	batch->n_given = n;
	batch->entrant = palloc0(Max(n, 1) * sizeof(Entrant));
	batch->by_user = palloc(Max(n, 1) * sizeof(Entrant *));
	batch->who = palloc(Max(n, 1) * sizeof(int));
	for (int i = 0; i < n; i++)
		given[i] = (Given){users[i], i};
	qsort(given, n, sizeof(Given), compare_given);
	for (int i = 0; i < n; i++)
	{
		bool again = i > 0 && compare_texts(given[i - 1].user, given[i].user) == 0;

		first[given[i].element] = again ? first[given[i - 1].element] : given[i].element;
	}
	for (int i = 0; i < n; i++)
	{
		if (first[i] < i)
		{
			batch->who[i] = batch->who[first[i]];
			continue;
		}
		batch->entrant[batch->n].user = users[i];
		batch->entrant[batch->n].view.token.queue_id = queue_id;
		batch->by_user[batch->n] = &batch->entrant[batch->n];
		batch->who[i] = batch->n++;
	}
	qsort(batch->by_user, batch->n, sizeof(Entrant *), compare_entrants);
}

static void
refuse(Entrant *entrant, TicketError error)
{
	entrant->state = ENTRANT_REFUSED;
	entrant->refusal = error;
}

static void
refuse_blocked(Batch *batch)
{
	for (int i = 0; i < batch->n; i++)
		if (people_blocked(batch->entrant[i].user))
			refuse(&batch->entrant[i], ERROR_USER_BLOCKED);
}

/* ---------- tickets that they have ---------- */

/* User by user, so that its plan is that for one, whatever the table was when it was made. */
static SavedPlan find_live_entries = {
	"SELECT e.user_id, e.place, e.secret, e.status, e.expires_at"
	" FROM pg_catalog.unnest($2) AS u (user_id), LATERAL ("
	"SELECT q.user_id, q.place, q.secret, q.status, q.expires_at FROM ticket.queue_entry AS q"
	" WHERE q.queue_id" EQ "$1 AND q.user_id" EQ "u.user_id AND q.ended_at IS NULL OFFSET 0) AS e",
	2,
	{INT8OID, TEXTARRAYOID},
};

/* One keeps the ticket that he was found to have, unless it has to end. */
static void
meet(Batch *batch, Entrant *entrant, const TicketView *met, bool active)
{
	TicketView view = *met;

	if (active)
		view_active(&view, view.expires_at, clock_now());
	else
		view.status = "waiting";
	if (active ? !view.live : batch->back && entrant->state != ENTRANT_REFUSED)
	{
		batch->ends |= entrant->state != ENTRANT_REFUSED;
		return;
	}
	entrant->view = view;
	entrant->state = ENTRANT_MET;
}

/* Looks for the tickets of these users in the table. */
static void
find_tickets(Batch *batch, Datum *users, int n)
{
	Datum args[2] = {Int64GetDatum(batch->queue_id)};
	OwnerContext owner;
	int found;

	if (n == 0)
		return;
	args[1] = PointerGetDatum(construct_array(users, n, TEXTOID, -1, false, TYPALIGN_INT));
	owner_begin(&owner);
	found = plan_read_latest(&find_live_entries, args, NULL);
	for (int i = 0; i < found; i++)
	{
		bool isnull;
		Entrant wanted = {.user = DatumGetTextPP(result_datum(i, 1, &isnull))};
		Entrant *key = &wanted;
		Entrant **entrant =
			bsearch(&key, batch->by_user, batch->n, sizeof(Entrant *), compare_entrants);
		TicketView met = {.token = {batch->queue_id, result_int64(i, 2), result_int64(i, 3)},
						  .expires_at = result_int64(i, 5)};

		if (entrant)
			meet(batch, *entrant, &met, result_equals(i, 4, "active"));
	}
	owner_end(&owner);
}

/* Those who have probably been here lately. */
static void
find_known(Batch *batch)
{
	Datum *users = palloc(Max(batch->n, 1) * sizeof(Datum));
	int n = 0;

	for (int i = 0; i < batch->n; i++)
		if (batch->entrant[i].state == ENTRANT_NEW &&
			memory_has_entered(batch->queue_id, batch->entrant[i].user))
			users[n++] = PointerGetDatum(batch->entrant[i].user);
	find_tickets(batch, users, n);
	pfree(users);
}

/* Those for whom there is no place: who is in already keeps what he has. */
static void
find_refused(Batch *batch)
{
	Datum *users = palloc(Max(batch->n, 1) * sizeof(Datum));
	int n = 0;

	for (int i = 0; i < batch->n; i++)
		if (batch->entrant[i].state == ENTRANT_REFUSED &&
			batch->entrant[i].refusal != ERROR_USER_BLOCKED)
			users[n++] = PointerGetDatum(batch->entrant[i].user);
	find_tickets(batch, users, n);
	pfree(users);
}

/* ---------- places ---------- */

/* With the queue lock held exclusively.  Whether he goes to the end of the line. */
static bool
take_one(Entrant *entrant, Queue *queue, TimestampTz now, bool behind)
{
	TicketView *view = &entrant->view;
	MemoryFull full; /* of what: all of it is TK004 */

	entrant->taken = queue_take_place(queue, 0, view->token.secret, &full);
	if (entrant->taken == 0)
	{
		refuse(entrant, ERROR_QUEUE_FULL);
		return false;
	}
	entrant->state = ENTRANT_TAKEN;
	entrant->taken_at = now;
	view->token.place = entrant->taken;
	if (queue->config.mode == MODE_PASSTHROUGH ||
		(!behind && queue_line(queue)->n_waiting == 0 && queue_is_open(queue, now) &&
		 queue_room(queue, 0) > 0))
	{
		view_active(view, now + queue->config.active_ttl, now);
		pending_admit(queue, entrant->taken, view->expires_at, false);
		return false;
	}
	view->status = "waiting";
	pending_join(queue, entrant->taken, now);
	return true;
}

/* Sets places aside for those without a ticket, in their order. */
static void
take_places(Batch *batch)
{
	bool behind = false; /* one of them waits */
	int next = 0;

	while (next < batch->n)
	{
		int from = next;
		int n = 0;
		TimestampTz now;
		Queue *queue;
		bool closed;

		CHECK_FOR_INTERRUPTS();
		pending_reserve(TAKEN_TOGETHER);
		for (; next < batch->n && n < TAKEN_TOGETHER; next++)
			if (batch->entrant[next].state == ENTRANT_NEW)
			{
				batch->entrant[next].view.token.secret = random_62();
				n++;
			}
		if (n == 0)
			break;
		queue = queue_acquire(batch->queue_id, LW_EXCLUSIVE);
		if (queue == NULL)
			no_such_queue(batch->queue_id);
		now = clock_now();
		closed = queue->config.mode == MODE_DRAIN || queue->dropping;
		if (!closed)
			queue_refill(queue, now);
		for (int i = from; i < next; i++)
		{
			Entrant *entrant = &batch->entrant[i];

			if (entrant->state != ENTRANT_NEW)
				continue;
			if (closed)
				refuse(entrant, ERROR_QUEUE_CLOSED);
			else if (take_one(entrant, queue, now, behind))
				behind = true;
		}
		queue_release(queue);
	}
}

/* ---------- rows ---------- */

/* All rows together.  False, and nothing done, when one of the users has a ticket. */
static bool
insert_all(Batch *batch, int n)
{
	Datum waiting = CStringGetTextDatum("waiting");
	Datum active = CStringGetTextDatum("active");
	Datum *values =
		MemoryContextAllocHuge(CurrentMemoryContext, n * ENTRY_ROW_SIZE * sizeof(Datum));
	bool *nulls = MemoryContextAllocHuge(CurrentMemoryContext, n * ENTRY_ROW_SIZE * sizeof(bool));
	int k = 0;
	bool done;

	for (int i = 0; i < batch->n; i++)
	{
		const Entrant *entrant = batch->by_user[i];
		const TicketView *view = &entrant->view;
		Datum *value = values + k * ENTRY_ROW_SIZE;
		bool *null = nulls + k * ENTRY_ROW_SIZE;

		if (entrant->state != ENTRANT_TAKEN)
			continue;
		memset(null, false, ENTRY_ROW_SIZE * sizeof(bool));
		value[COL_ENTRY_QUEUE_ID] = Int64GetDatum(batch->queue_id);
		value[COL_ENTRY_PLACE] = Int64GetDatum(entrant->taken);
		value[COL_ENTRY_USER_ID] = PointerGetDatum(entrant->user);
		value[COL_ENTRY_SECRET] = Int64GetDatum(view->token.secret);
		value[COL_ENTRY_STATUS] = view->expires_at != 0 ? active : waiting;
		value[COL_ENTRY_ENTERED_AT] = TimestampTzGetDatum(entrant->taken_at);
		value[COL_ENTRY_ADMITTED_AT] = TimestampTzGetDatum(entrant->taken_at);
		value[COL_ENTRY_EXPIRES_AT] = TimestampTzGetDatum(view->expires_at);
		value[COL_ENTRY_ENDED_AT] = value[COL_ENTRY_END_REASON] = (Datum) 0;
		null[COL_ENTRY_ADMITTED_AT] = null[COL_ENTRY_EXPIRES_AT] = view->expires_at == 0;
		null[COL_ENTRY_ENDED_AT] = null[COL_ENTRY_END_REASON] = true;
		memory_note_entry(batch->queue_id, entrant->user);
		k++;
	}
	done = rows_insert_new(&entry_row, n, values, nulls);
	pfree(values);
	pfree(nulls);
	return done;
}

/* As ticket_enqueue() does: waits for others, meets the ticket he has, or ends it. */
static void
insert_one(Batch *batch, Entrant *entrant)
{
	while (entrant->state == ENTRANT_TAKEN &&
		   !insert_ticket(&entrant->view, entrant->user, entrant->taken_at))
	{
		TicketView met = {.token.queue_id = batch->queue_id};
		bool active;

		CHECK_FOR_INTERRUPTS();
		if (!find_ticket(&met, entrant->user, &active))
			continue;
		meet(batch, entrant, &met, active);
		/* Nothing ends when it has changed meanwhile, and it is met again. */
		if (entrant->state == ENTRANT_TAKEN)
			(void) end_ticket(&met.token, active ? "expired" : "left",
							  active ? "timeout" : "rejoined", clock_now(), !active);
	}
}

static void
write_rows(Batch *batch)
{
	int n = 0;

	for (int i = 0; i < batch->n; i++)
		n += batch->entrant[i].state == ENTRANT_TAKEN;
	if (n > 1 && !batch->ends && insert_all(batch, n))
		return;
	for (int i = 0; i < batch->n; i++)
		insert_one(batch, batch->by_user[i]);
}

/* ---------- what they are told ---------- */

static int
compare_int64(const void *a, const void *b)
{
	int64 x = *(const int64 *) a;
	int64 y = *(const int64 *) b;

	return (x > y) - (x < y);
}

/* Places of users who have been met have been taken for nothing. */
static void
give_back(Batch *batch, int slot)
{
	int64 *places = palloc(Max(batch->n, 1) * sizeof(int64));
	int n = 0;

	for (int i = 0; i < batch->n; i++)
		if (batch->entrant[i].state == ENTRANT_MET && batch->entrant[i].taken != 0)
			places[n++] = batch->entrant[i].taken;
	qsort(places, n, sizeof(int64), compare_int64);
	if (n > 0)
		pending_take_back(slot, places, n);
	pfree(places);
}

static int
compare_entrant_places(const void *a, const void *b)
{
	return compare_int64(&(*(Entrant *const *) a)->view.token.place,
						 &(*(Entrant *const *) b)->view.token.place);
}

/* With the queue lock held.  A ticket that was there before has been heard of. */
static void
tell_one(Entrant *entrant, const Queue *queue, int64 shift, TimestampTz now)
{
	TicketView *view = &entrant->view;
	LineState state;
	LineCell *cell = line_find(queue_line(queue), memory_pool(), view->token.place, &state);

	if (state == LINE_WAITING)
		__atomic_store_n(&cell->time, now, __ATOMIC_RELAXED);
	view_position(view, queue,
				  line_rank(queue_line(queue), memory_pool(), view->token.place) + shift, now);
}

/* Where those stand who wait. */
static void
tell_places(Batch *batch, int slot)
{
	Entrant **waiting = palloc(Max(batch->n, 1) * sizeof(Entrant *));
	int64 *places = palloc(Max(batch->n, 1) * sizeof(int64));
	int64 *shifts = palloc(Max(batch->n, 1) * sizeof(int64));
	int n = 0;

	for (int i = 0; i < batch->n; i++)
		if (batch->entrant[i].state != ENTRANT_REFUSED && batch->entrant[i].view.expires_at == 0)
			waiting[n++] = &batch->entrant[i];
	qsort(waiting, n, sizeof(Entrant *), compare_entrant_places);
	for (int i = 0; i < n; i++)
		places[i] = waiting[i]->view.token.place;
	pending_shifts(slot, places, n, shifts);
	for (int i = 0; i < n;)
	{
		int end = Min(n, i + TAKEN_TOGETHER);
		TimestampTz now;
		Queue *queue;

		CHECK_FOR_INTERRUPTS();
		queue = queue_acquire(batch->queue_id, LW_SHARED);
		if (queue == NULL)
			no_such_queue(batch->queue_id);
		now = clock_now();
		for (; i < end; i++)
			tell_one(waiting[i], queue, shifts[i], now);
		if (queue_is_wanted(queue))
			queue_give_way(queue);
		else
			queue_release(queue);
	}
}

/* ord, user_id, the columns of ticket_state, sqlstate */
#define ANSWER_COLUMNS (TICKET_VIEW_COLUMNS + 3)

static void
put_answer(ReturnSetInfo *result, int element, const Entrant *entrant)
{
	Datum values[ANSWER_COLUMNS];
	bool nulls[ANSWER_COLUMNS];
	const char *name;

	memset(nulls, true, sizeof(nulls));
	nulls[0] = nulls[1] = false;
	values[0] = Int32GetDatum(element + 1);
	values[1] = PointerGetDatum(entrant->user);
	if (entrant->state == ENTRANT_REFUSED)
	{
		nulls[ANSWER_COLUMNS - 1] = false;
		values[ANSWER_COLUMNS - 1] =
			CStringGetTextDatum(ticket_error_sqlstate(entrant->refusal, &name));
		metrics_refusal(entrant->refusal);
	}
	else
		ticket_view_columns(&entrant->view, values + 2, nulls + 2);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static int
slot_of(int64 queue_id)
{
	Queue *queue = queue_acquire(queue_id, LW_SHARED);
	int slot;

	if (queue == NULL)
		no_such_queue(queue_id);
	slot = queue_slot(queue);
	queue_release(queue);
	return slot;
}

/*
 * ticket_enqueue_many(queue_id bigint, user_ids text[])
 * -> setof (ord int, user_id text, token uuid, status text, position bigint,
 *     estimated_wait interval, poll_after interval, expires_at timestamptz,
 *     sqlstate text)
 *
 * Enters them all in one transaction, as ticket_enqueue() enters one: a row for
 * each element, in their order, with its number.  Who is refused has an SQLSTATE
 * instead of a ticket: TK003 (mode drain), TK004 (shared memory full), TK018
 * (blocked).  A user given twice gets one ticket.  Whose active ticket is over
 * and ends with this call does not get its room at once, as with
 * ticket_enqueue(), but may have to wait until it commits.
 *
 * Errors, and nobody has entered: 22023 (user_ids is NULL, has several
 * dimensions, or an element that ticket_enqueue() would refuse so), TK005 (no
 * such queue), TK004 (the queue has no shared memory), TK013, TK014, TK016.
 * Locks: table queue_entry (ROW EXCLUSIVE), queue lock, then the new rows in the
 * order of users; for a user who is entering by another call it waits for that
 * one to end.
 */
Datum
ticket_enqueue_many(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int64 queue_id = arg_id(fcinfo, 0, "queue_id");
	int n;
	text **users = arg_participants(fcinfo, 1, &n);
	Batch batch;
	int slot;

	COUNT_FANS(n);
	queues_ready();
	batch_init(&batch, queue_id, users, n);
	refuse_blocked(&batch);
	/* Before places are taken: whoever reads the tables anew waits for us. */
	LockRelationOid(relation_oid(REL_QUEUE_ENTRY), RowExclusiveLock);
	slot = slot_of(queue_id);
	batch.back = rejoins_at_back(queue_id);
	find_known(&batch);
	take_places(&batch);
	find_refused(&batch);
	write_rows(&batch);
	give_back(&batch, slot);
	tell_places(&batch, slot);

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < n; i++)
		put_answer(result, i, &batch.entrant[batch.who[i]]);
	return (Datum) 0;
}
