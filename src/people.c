/*
 * people.c
 *		Who may take part, and taking leave: the blocklist and user_withdraw.
 *
 * A blocklist is short, and nearly everybody who is looked up is not on it, so
 * each backend keeps the whole list.  A statement trigger on the table sends a
 * relcache invalidation, which like every invalidation travels with the
 * commit.  A list too long to keep is looked up by its index instead.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/xact.h"
#include "answer.h"
#include "catalog/pg_collation.h"
#include "common/hashfn.h"
#include "common/string.h"
#include "history.h"
#include "load.h"
#include "memory.h"
#include "metrics.h"
#include "miscadmin.h"
#include "outbox.h"
#include "pending.h"
#include "plan.h"
#include "relation.h"
#include "ticket.h"
#include "write_statement.h"
#include "token.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(ticket_user_withdraw);
PG_FUNCTION_INFO_V1(ticket_user_withdrawing);

/* ---------- the blocklist ---------- */

/* Users a backend keeps; from here on it asks the table. */
#define MAX_KEPT 1000

typedef struct UserBlock
{
	text *user;
	TimestampTz until; /* DT_NOEND: for good */
} UserBlock;

static MemoryContext block_context = NULL;
static UserBlock *blocks = NULL; /* in the order of compare_blocks */
static int n_blocks = 0;
static bool too_many = false;

/* What was read is good while nothing has been changed since. */
static Oid block_oid = InvalidOid;
static uint64 changes = 1;
static uint64 changes_read = 0;

static void
blocks_forget(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == block_oid)
		changes++;
}

void
people_init(void)
{
	CacheRegisterRelcacheCallback(blocks_forget, (Datum) 0);
}

static int
compare_users(const text *a, const text *b)
{
	int n = VARSIZE_ANY_EXHDR(a);
	int m = VARSIZE_ANY_EXHDR(b);
	int order = memcmp(VARDATA_ANY(a), VARDATA_ANY(b), Min(n, m));

	return order != 0 ? order : n - m;
}

static int
compare_blocks(const void *a, const void *b)
{
	return compare_users(((const UserBlock *) a)->user, ((const UserBlock *) b)->user);
}

static TimestampTz
block_until(RowScan *scan, HeapTuple row)
{
	bool isnull;
	Datum until = row_get(scan, row, COL_BLOCK_UNTIL, &isnull);

	return isnull ? DT_NOEND : DatumGetTimestampTz(until);
}

static void
blocks_read(void)
{
	uint64 seen = changes;
	RowScan scan;
	HeapTuple row;
	bool isnull;

	if (block_context == NULL)
		block_context =
			AllocSetContextCreate(TopMemoryContext, "ticket blocklist", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(block_context);
	n_blocks = 0;
	too_many = false;
	blocks = MemoryContextAlloc(block_context, MAX_KEPT * sizeof(UserBlock));

	block_oid = relation_oid(REL_USER_BLOCK);
	row_scan_begin(&scan, REL_USER_BLOCK, REL_USER_BLOCK_PKEY, 0, NULL);
	while (!too_many && (row = row_scan_next(&scan)) != NULL)
	{
		MemoryContext caller;

		too_many = n_blocks == MAX_KEPT;
		if (too_many)
			break;
		caller = MemoryContextSwitchTo(block_context);
		blocks[n_blocks].user = DatumGetTextPCopy(row_get(&scan, row, COL_BLOCK_USER_ID, &isnull));
		MemoryContextSwitchTo(caller);
		blocks[n_blocks++].until = block_until(&scan, row);
	}
	row_scan_end(&scan);
	qsort(blocks, n_blocks, sizeof(UserBlock), compare_blocks);
	/* Reading may have taken in an invalidation: then it is read again. */
	changes_read = seen;
}

/* When the user's block ends; DT_NOBEGIN: there is none. */
static TimestampTz
block_find(text *user)
{
	TimestampTz until = DT_NOBEGIN;

	if (too_many)
	{
		RowScan scan;
		ScanKeyData key;
		HeapTuple row;

		ScanKeyInit(&key, COL_BLOCK_USER_ID, BTEqualStrategyNumber, F_TEXTEQ,
					PointerGetDatum(user));
		key.sk_collation = DEFAULT_COLLATION_OID;
		row_scan_begin(&scan, REL_USER_BLOCK, REL_USER_BLOCK_PKEY, 1, &key);
		row = row_scan_next(&scan);
		if (row)
			until = block_until(&scan, row);
		row_scan_end(&scan);
	}
	else if (n_blocks > 0)
	{
		UserBlock wanted = {.user = user};
		UserBlock *found = bsearch(&wanted, blocks, n_blocks, sizeof(UserBlock), compare_blocks);

		if (found)
			until = found->until;
	}
	return until;
}

/*
 * Whether the user is blocked now; `until` is when that ends, DT_NOEND: never.
 * Costs nothing that shows while the list is short: no table is touched until
 * somebody changes it.
 */
static bool
is_blocked(text *user, TimestampTz *until)
{
	/* What has been committed by now counts, in the middle of a transaction too. */
	AcceptInvalidationMessages();
	if (changes_read != changes)
		blocks_read();
	*until = block_find(user);
	return *until != DT_NOBEGIN && *until > clock_now();
}

bool
people_blocked(text *user)
{
	TimestampTz until;

	return is_blocked(user, &until);
}

/* Refuses a user who is blocked now: TK018. */
void
people_check(text *user)
{
	TimestampTz until;

	if (!is_blocked(user, &until))
		return;
	ticket_error(ERROR_USER_BLOCKED,
				 until == DT_NOEND ? "The block has no end."
								   : psprintf("The block ends at %s.", time_text(until)),
				 "Only an operator can lift it.", "the user is blocked");
}

/* ---------- taking leave ---------- */

static AnswerType withdraw_answer = {
	4,
	{{"tickets_left", INT4OID},
	 {"holds_released", INT4OID},
	 {"points", INT8OID},
	 {"settlement", TEXTOID}},
};

static SavedPlan live_tickets = {
	"SELECT e.queue_id, e.place, e.secret FROM ticket.queue AS q JOIN ticket.queue_entry AS e"
	" ON e.queue_id" EQ "q.queue_id AND e.user_id" EQ "$1 AND e.ended_at IS NULL"
	" ORDER BY e.queue_id, e.place",
	1,
	{TEXTOID},
};

static SavedPlan leave_ticket = {"SELECT ticket.ticket_leave($1)", 1, {UUIDOID}};

static SavedPlan lock_reservations = {
	"SELECT reservation_id, status FROM ticket.reservation WHERE user_id" EQ "$1"
	" AND ended_at IS NULL ORDER BY reservation_id FOR NO KEY UPDATE",
	1,
	{TEXTOID},
};

static SavedPlan release_hold = {"SELECT ticket.seat_release($1, $2)", 2, {INT8OID, TEXTOID}};

static SavedPlan lock_account = {
	"SELECT balance FROM ticket.account WHERE user_id" EQ "$1 FOR UPDATE",
	1,
	{TEXTOID},
};

/* $2 is 'payout' or 'forfeit'. */
static SavedPlan settle_account = {
	"WITH a AS (UPDATE ticket.account SET balance = 0 WHERE user_id" EQ "$1)"
	" INSERT INTO ticket.ledger (user_id, kind, debit, credit, amount, balance_before,"
	" balance_after, created_at) VALUES ($1, $2, pg_catalog.concat('user:', $1), $2, $3, $3, 0, $4)",
	4,
	{TEXTOID, TEXTOID, INT8OID, TIMESTAMPTZOID},
};

/*
 * Everything that has the user's id ($1) and has to stay gets the pseudonym
 * ($2), in the order of locks.  Keys that callers chose may contain the id.
 *
 * Nothing is read from end to end, as any buyer may withdraw, and again and
 * again: each table has an index by user, of those rows only that are not
 * written in the rush of a sale, the outbox apart.
 */
#define RENAME_TYPES \
	2, \
	{ \
		TEXTOID, TEXTOID \
	}

static SavedPlan rename_plan[] = {
	/* A ticket got in the last moment is one got after. */
	{"UPDATE ticket.queue_entry SET user_id = $2 WHERE user_id" EQ "$1 AND ended_at IS NOT NULL",
	 RENAME_TYPES},
	/* A hold that was made in the last moment is one made after. */
	{"UPDATE ticket.reservation SET user_id = $2, idempotency_key = NULL, asked = NULL"
	 " WHERE user_id" EQ "$1 AND status" NE "'held'",
	 RENAME_TYPES},
	{"UPDATE ticket.account SET user_id = $2 WHERE user_id" EQ "$1", RENAME_TYPES},
	/* Those that paid and those that did not have an index each; an array keeps it at that. */
	{"UPDATE ticket.payment SET user_id = $2, idempotency_key = NULL WHERE user_id" EQ "$1"
	 " AND payment_id" EQ "ANY (ARRAY(SELECT m.payment_id FROM ticket.reservation AS r, LATERAL ("
	 "SELECT c.payment_id FROM ticket.payment AS c"
	 " WHERE c.reservation_id" EQ "r.reservation_id AND c.paid_at IS NOT NULL"
	 " UNION ALL SELECT u.payment_id FROM ticket.payment AS u"
	 " WHERE u.reservation_id" EQ "r.reservation_id AND u.paid_at IS NULL OFFSET 0) AS m"
	 " WHERE r.user_id" EQ "$2))",
	 RENAME_TYPES},
	{"UPDATE ticket.ledger SET user_id = $2, idempotency_key = NULL,"
	 " debit = CASE WHEN debit" EQ "pg_catalog.concat('user:', $1)"
	 " THEN pg_catalog.concat('user:', $2) ELSE debit END,"
	 " credit = CASE WHEN credit" EQ "pg_catalog.concat('user:', $1)"
	 " THEN pg_catalog.concat('user:', $2) ELSE credit END WHERE user_id" EQ "$1",
	 RENAME_TYPES},
};

static SavedPlan rename_history = {"UPDATE ticket.history SET user_id = $2 WHERE user_id" EQ "$1",
								   RENAME_TYPES};

/*
 * When anything was first written that has the user's id; NULL: nothing has.
 * OFFSET 0: each by its index, whatever the planner thinks of a minimum.
 */
static SavedPlan first_trace = {
	"SELECT pg_catalog.min(t.at) FROM ("
	"SELECT entered_at AS at FROM ticket.queue_entry WHERE user_id" EQ "$1 AND ended_at IS NOT NULL"
	" UNION ALL SELECT created_at FROM ticket.reservation WHERE user_id" EQ "$1"
	" UNION ALL SELECT created_at FROM ticket.ledger WHERE user_id" EQ "$1"
	" UNION ALL SELECT withdrawn_at FROM ticket.concert WHERE withdrawn_by" EQ "$1"
	" UNION ALL SELECT withdrawn_at FROM ticket.performance WHERE withdrawn_by" EQ "$1"
	" UNION ALL SELECT requested_at FROM ticket.performance_cancellation WHERE requested_by" EQ "$1"
	" UNION ALL SELECT withdrawn_at FROM ticket.section WHERE withdrawn_by" EQ "$1 OFFSET 0) AS t",
	1,
	{TEXTOID},
};

/*
 * Events about the user that nobody has taken out: where a user stands in an
 * event of that aggregate, and nowhere else.  Rows of the outbox are never
 * updated.  One that a consumer is just taking out is waited for: then it is
 * history, which comes last.
 *
 * An index by user would be paid for by each event.  But events have an order,
 * and those about the user are no older than the first row that has the id: so
 * they are read from there ($3) on.  Who withdraws again right after it, or
 * comes anew and withdraws, has next to nothing to read.
 */
static SavedPlan rename_events = {
	"WITH mine AS MATERIALIZED (SELECT id FROM ticket.outbox WHERE id" GE "$3"
	" AND type" NE "'user.withdrawn' AND CASE"
	" WHEN aggregatetype" EQ "ANY ('{points,reservation,payment}')"
	" THEN (payload OPERATOR(pg_catalog.->>) 'user_id')" EQ "$1"
	" WHEN aggregatetype" EQ "ANY ('{concert,performance}')"
	" THEN $1" EQ "ANY (ARRAY[payload OPERATOR(pg_catalog.->>) 'withdrawn_by',"
	" payload OPERATOR(pg_catalog.->>) 'cancelled_by'])"
	" WHEN aggregatetype" EQ "'queue'"
	" THEN (payload OPERATOR(pg_catalog.->) 'user_ids') OPERATOR(pg_catalog.?) $1 END FOR UPDATE),"
	" gone AS (DELETE FROM ticket.outbox"
	" WHERE id" EQ "ANY (ARRAY(SELECT mine.id FROM mine)) RETURNING *)"
	" INSERT INTO ticket.outbox (id, aggregatetype, aggregateid, type, payload)"
	" SELECT id, aggregatetype,"
	" CASE WHEN aggregatetype" EQ "'points' THEN $2 ELSE aggregateid END, type,"
	" (SELECT pg_catalog.jsonb_object_agg(key,"
	" CASE WHEN key" EQ "ANY ('{user_id,withdrawn_by,cancelled_by}')"
	" AND value" EQ "pg_catalog.to_jsonb($1) THEN pg_catalog.to_jsonb($2)"
	" WHEN key" EQ "'user_ids' THEN (SELECT pg_catalog.jsonb_agg("
	"CASE WHEN u.id" EQ "$1 THEN $2 ELSE u.id END ORDER BY u.n)"
	" FROM pg_catalog.jsonb_array_elements_text(value) WITH ORDINALITY AS u(id, n))"
	" ELSE value END) FROM pg_catalog.jsonb_each(payload)) FROM gone",
	3,
	{TEXTOID, TEXTOID, UUIDOID},
};

/* What a seller or an operator has done; a statement that changes nothing would still empty caches. */
static SavedPlan find_in_catalogue = {
	"SELECT 1 FROM ticket.venue WHERE owner" EQ "$1"
	" UNION ALL SELECT 1 FROM ticket.venue WHERE withdrawn_by" EQ "$1"
	" UNION ALL SELECT 1 FROM ticket.concert WHERE owner" EQ "$1"
	" UNION ALL SELECT 1 FROM ticket.concert WHERE withdrawn_by" EQ "$1"
	" UNION ALL SELECT 1 FROM ticket.performance WHERE withdrawn_by" EQ "$1"
	" UNION ALL SELECT 1 FROM ticket.performance_cancellation WHERE requested_by" EQ "$1"
	" UNION ALL SELECT 1 FROM ticket.section WHERE withdrawn_by" EQ "$1 LIMIT 1",
	1,
	{TEXTOID},
};

static SavedPlan rename_actor_plan[] = {
	{"UPDATE ticket.venue SET owner = $2 WHERE owner" EQ "$1", RENAME_TYPES},
	{"UPDATE ticket.venue SET withdrawn_by = $2 WHERE withdrawn_by" EQ "$1", RENAME_TYPES},
	{"UPDATE ticket.concert SET owner = $2 WHERE owner" EQ "$1", RENAME_TYPES},
	{"UPDATE ticket.concert SET withdrawn_by = $2 WHERE withdrawn_by" EQ "$1", RENAME_TYPES},
	{"UPDATE ticket.performance SET withdrawn_by = $2 WHERE withdrawn_by" EQ "$1", RENAME_TYPES},
	{"UPDATE ticket.performance_cancellation SET requested_by = $2 WHERE requested_by" EQ "$1",
	 RENAME_TYPES},
	{"UPDATE ticket.section SET withdrawn_by = $2 WHERE withdrawn_by" EQ "$1", RENAME_TYPES},
};

/* Of a block that is over nothing has to stay. */
static SavedPlan find_block = {"SELECT 1 FROM ticket.user_block WHERE user_id" EQ "$1",
							   1,
							   {TEXTOID}};
static SavedPlan drop_block = {"DELETE FROM ticket.user_block WHERE user_id" EQ "$1", 1, {TEXTOID}};

static SavedPlan tell_withdrawn = {
	"INSERT INTO ticket.outbox (aggregatetype, aggregateid, type, payload)"
	" VALUES ('user', $1, 'user.withdrawn', ticket.event_payload('user.withdrawn',"
	" pg_catalog.jsonb_build_object('v', 1, 'user_id', $1, 'points', $2, 'settlement', $3)))",
	3,
	{TEXTOID, INT8OID, TEXTOID},
};

/* True while the statements above run: the ledger lets nobody else change it. */
static bool withdrawing = false;

static char *
new_pseudonym(void)
{
	uint64 random[2];

	if (!pg_strong_random(random, sizeof(random)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate a random number")));
	return psprintf(PSEUDONYM_PREFIX "%016llx%016llx", (unsigned long long) random[0],
					(unsigned long long) random[1]);
}

static int
leave_tickets(text *user)
{
	Datum args[1] = {PointerGetDatum(user)};
	int n = plan_read_latest(&live_tickets, args, NULL);
	Token *token = palloc(n * sizeof(Token));
	int left = 0;

	for (int i = 0; i < n; i++)
	{
		token[i].queue_id = result_int64(i, 1);
		token[i].place = result_int64(i, 2);
		token[i].secret = result_int64(i, 3);
	}
	for (int i = 0; i < n; i++)
	{
		bool isnull;

		args[0] = UUIDPGetDatum(token_encode(&token[i]));
		plan_run(&leave_ticket, args, NULL);
		left += DatumGetBool(result_datum(0, 1, &isnull));
	}
	return left;
}

/*
 * Locks the user's live reservations and gives back what is not paid; *released
 * grows by what had not ended by itself.  Returns how many were held.
 */
static int
release_some_holds(text *user, int *released)
{
	Datum args[2] = {PointerGetDatum(user), PointerGetDatum(user)};
	int n = plan_run(&lock_reservations, args, NULL);
	int64 *held = palloc(n * sizeof(int64));
	int n_held = 0;

	for (int i = 0; i < n; i++)
		if (result_equals(i, 2, "held"))
			held[n_held++] = result_int64(i, 1);
	for (int i = 0; i < n_held; i++)
	{
		bool isnull;

		args[0] = Int64GetDatum(held[i]);
		plan_run(&release_hold, args, NULL);
		*released += DatumGetBool(result_datum(0, 1, &isnull));
	}
	return n_held;
}

/* All of them, also those made while others were waited for. */
static int
release_holds(text *user)
{
	int released = 0;

	while (release_some_holds(user, &released) > 0)
		CHECK_FOR_INTERRUPTS();
	return released;
}

/* Empties the account; returns what was on it. */
static int64
settle(text *user, const char *settlement)
{
	Datum args[4] = {PointerGetDatum(user)};
	int64 balance = plan_run(&lock_account, args, NULL) > 0 ? result_int64(0, 1) : 0;

	if (balance > 0)
	{
		args[1] = CStringGetTextDatum(settlement);
		args[2] = Int64GetDatum(balance);
		args[3] = TimestampTzGetDatum(clock_now());
		plan_run(&settle_account, args, NULL);
	}
	return balance;
}

static uint64
rename_user(SavedPlan *plan, int n_plans, text *user, const char *pseudonym)
{
	Datum args[2] = {PointerGetDatum(user), CStringGetTextDatum(pseudonym)};
	uint64 n = 0;

	withdrawing = true;
	PG_TRY();
	{
		for (int i = 0; i < n_plans; i++)
			n += plan_run(&plan[i], args, NULL);
	}
	PG_FINALLY();
	{
		withdrawing = false;
	}
	PG_END_TRY();
	return n;
}

/*
 * The lowest id that an event about the user can have; NULL: there is none.
 * Rows have the time of the sale, ids that of the server, whose clock may have
 * been set back a little since.
 */
static pg_uuid_t *
first_event(text *user)
{
	Datum args[1] = {PointerGetDatum(user)};
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz at;

	plan_read_latest(&first_trace, args, NULL);
	if (result_isnull(0, 1))
		return NULL;
	at = result_int64(0, 1);
	at = Min(at, at - (int64) (ticket_clock_offset * 1000));
	return event_id_floor(Min(at, now) - USECS_PER_MINUTE);
}

static void
rename_in_events(text *user, const char *pseudonym, pg_uuid_t *from)
{
	Datum args[3] = {PointerGetDatum(user), CStringGetTextDatum(pseudonym), UUIDPGetDatum(from)};

	plan_run(&rename_events, args, NULL);
}

/* What hardly anybody has. */
static uint64
rename_rest(text *user, const char *pseudonym)
{
	Datum args[1] = {PointerGetDatum(user)};
	uint64 n = 0;

	if (plan_run(&find_in_catalogue, args, NULL) > 0)
		n += rename_user(rename_actor_plan, lengthof(rename_actor_plan), user, pseudonym);
	if (plan_run(&find_block, args, NULL) > 0)
		n += plan_run(&drop_block, args, NULL);
	return n;
}

/*
 * user_withdraw(user_id text)
 * -> (tickets_left int, holds_released int, points bigint, settlement text)
 *
 * The user takes leave: tickets are given up, holds released, the points paid
 * out or forfeited (ticket.withdraw_points), and the id gives way to a random
 * pseudonym, kept nowhere beside it, in everything that has to stay.  Who comes
 * under the same id again begins with nothing.  Called again, it finds nothing
 * and changes nothing.  The event user.withdrawn is the last that has the id.
 *
 * Errors: 22023, TK013, TK014, TK016, TK018 (a block is not escaped so).
 * Locks: the user's tickets, the live reservations in order of their ids with
 * the seats of each hold, all reservations, the account; then payments,
 * ledger, outbox (who is just fetching is waited for, and waits for nobody),
 * history, what a seller has in the catalogue, blocklist.
 */
Datum
ticket_user_withdraw(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	text *user = arg_participant(fcinfo, 0);
	const char *settlement = ticket_withdraw_points == WITHDRAW_PAYOUT ? "payout" : "forfeit";
	OwnerContext owner;
	char *pseudonym;
	Datum values[4];
	bool nulls[4] = {false};
	int64 points;
	uint64 renamed;
	int own_write;
	pg_uuid_t *from;

	refuse_standby();
	queues_ready();
	people_check(user);
	owner_begin(&owner);
	pseudonym = new_pseudonym();
	values[0] = Int32GetDatum(leave_tickets(user));
	from = first_event(user);
	own_write = own_write_begin();
	renamed = rename_user(&rename_plan[0], 1, user, pseudonym);
	own_write_end(own_write);
	values[1] = Int32GetDatum(release_holds(user));
	renamed += rename_user(&rename_plan[1], 1, user, pseudonym);
	/* A payment's confirmation that was waited for may have held seats anew. */
	renamed += rename_user(&rename_plan[1], 1, user, pseudonym);
	points = settle(user, settlement);
	renamed += rename_user(&rename_plan[2], lengthof(rename_plan) - 2, user, pseudonym);
	if (from)
		rename_in_events(user, pseudonym, from);
	history_lock();
	renamed += rename_user(&rename_history, 1, user, pseudonym);
	renamed += rename_rest(user, pseudonym);
	if (renamed > 0)
	{
		Datum args[3] = {PointerGetDatum(user), Int64GetDatum(points),
						 CStringGetTextDatum(settlement)};

		plan_run(&tell_withdrawn, args, NULL);
		ForceSyncCommit();
	}
	MemoryContextSwitchTo(owner.caller);
	values[2] = Int64GetDatum(points);
	values[3] = CStringGetTextDatum(settlement);
	values[0] = answer_row(&withdraw_answer, values, nulls);
	owner_end(&owner);
	PG_RETURN_DATUM(values[0]);
}

/*
 * user_withdrawing() -> boolean
 *
 * True while user_withdraw replaces an id: for the trigger that guards the
 * ledger.  Raises nothing, no locks.
 */
Datum
ticket_user_withdrawing(PG_FUNCTION_ARGS)
{
	memory_require();
	PG_RETURN_BOOL(withdrawing);
}
