/*
 * runner.c
 *		The clock of a database: run() and tick().
 *
 * A round tidies holds, expires tickets, promotes; now and then what nobody took
 * out of the outbox goes into the history.  run() does rounds and sleeps on its
 * latch until the next thing is due; commits that make something due earlier
 * wake it (pending.c).  Nothing depends on it but the speed with which a sale
 * moves on.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "answer.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "history.h"
#include "load.h"
#include "memory.h"
#include "metrics.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "plan.h"
#include "queue.h"
#include "seat.h"
#include "storage/ipc.h"
#include "ticket.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timeout.h"
#include "utils/wait_event.h"

PG_FUNCTION_INFO_V1(ticket_run);
PG_FUNCTION_INFO_V1(ticket_tick);

/* Holds tidied in one transaction of run() or tick(). */
#define HOLDS_PER_ROUND 1000
/* Who is woken waits this long for more, so that wake-ups gather. */
#define MIN_PAUSE_US 1000
/* Nor later, as somebody may have moved the clock. */
#define MAX_PAUSE_US (1000 * 1000)
/* For holds that are over, but locked by somebody. */
#define LOCKED_PAUSE_US (10 * 1000)
/* Timers that should be done with are looked at again this often. */
#define ALL_TIMERS_PAUSE_US USECS_PER_SEC
/* After a round that failed. */
#define ERROR_PAUSE_US (500 * 1000)
/* The outbox and the history are looked at this often. */
#define HISTORY_PAUSE_US (10 * USECS_PER_SEC)

static AnswerType tick_answer = {
	4,
	{{"promoted", INT4OID},
	 {"expired_tickets", INT4OID},
	 {"expired_holds", INT4OID},
	 {"more", BOOLOID}},
};

typedef struct Round
{
	int promoted;
	int expired_tickets;
	int expired_holds;
	bool more; /* holds or tickets are left over */
	bool locked; /* holds are left to whoever has them locked */
	bool more_events; /* to be retired from the outbox */
	TimestampTz timers_from; /* for this round; when it is over, for the next */
	TimestampTz next_due; /* when the next is due */
} Round;

/*
 * Tells whoever listens, when the round commits, that a queue has moved and so
 * many were let in.  Only rounds do: NOTIFY holds a lock of the whole server from
 * there to the end of the commit, which no buyer is to wait for.
 */
static void
notify_move(int64 queue_id, int promoted)
{
	Async_Notify("ticket_queue", psprintf("{\"queue_id\": %lld, \"promoted\": %d}",
										  (long long) queue_id, promoted));
}

static void
sale_round(Round *round)
{
	TimestampTz timers_from = round->timers_from;
	OwnerContext owner;
	HoldSweep sweep;
	int n_queues;
	int64 *ids;

	memset(round, 0, sizeof(Round));
	queues_ready();
	owner_begin(&owner);
	holds_expire(timers_from, HOLDS_PER_ROUND, HOLDS_PER_ROUND, &sweep);
	round->expired_holds = sweep.ended;
	round->more = sweep.more;
	round->locked = sweep.locked;
	round->timers_from = sweep.next;
	ids = queue_ids(&n_queues);
	for (int i = 0; i < n_queues; i++)
	{
		int before = round->promoted;

		queue_round(ids[i], &round->promoted, &round->expired_tickets, &round->more);
		if (ticket_notify_moves && round->promoted > before)
			notify_move(ids[i], round->promoted - before);
	}
	owner_end(&owner);
}

/* Tells metrics() of a round that began at start. */
static void
round_count(TimestampTz start, bool ok)
{
	TimestampTz now = GetCurrentTimestamp();

	metrics_add(ok ? METRIC_ROUNDS : METRIC_ROUND_FAILURES, 1);
	metrics_add(METRIC_ROUND_US, Max(0, now - start));
	if (ok)
		metrics_round(now);
}

/* What has time: a batch of the outbox and the history. */
static void
history_work(Round *round)
{
	OwnerContext owner;

	owner_begin(&owner);
	round->more_events = history_round();
	owner_end(&owner);
}

/*
 * tick() -> (promoted int, expired_tickets int, expired_holds int, more boolean)
 *
 * One round, for those with a scheduler of their own: it tidies as much as a
 * round of run(), so that no transaction gets long; `more` says that holds,
 * tickets or events are left over for a call at once.
 *
 * Errors: TK014, TK016.  Locks: as seat_hold_expire, then ticket_expire and
 * ticket_promote queue by queue, outbox_fetch, history_extend.
 */
Datum
ticket_tick(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	Round round = {.timers_from = DT_NOBEGIN};
	Datum values[4];
	bool nulls[4] = {false};
	TimestampTz start = GetCurrentTimestamp();

	refuse_standby();
	sale_round(&round);
	history_work(&round);
	round_count(start, true);
	values[0] = Int32GetDatum(round.promoted);
	values[1] = Int32GetDatum(round.expired_tickets);
	values[2] = Int32GetDatum(round.expired_holds);
	values[3] = BoolGetDatum(round.more || round.more_events);
	PG_RETURN_DATUM(answer_row(&tick_answer, values, nulls));
}

/* Notes when the round after this one is due, by the sale's clock. */
static void
find_next_due(Round *round)
{
	TimestampTz now = clock_now();
	OwnerContext owner;
	TimestampTz due;
	int n_queues;
	int64 *ids;

	queues_ready();
	owner_begin(&owner);
	due = holds_next_due(round->timers_from, now + MAX_PAUSE_US);
	/* The one who has it locked may take long. */
	if (round->locked && due <= now)
		due = now + LOCKED_PAUSE_US;
	ids = queue_ids(&n_queues);
	for (int i = 0; i < n_queues; i++)
	{
		TimestampTz queue_due = queue_next_due(ids[i], now);

		due = Min(due, queue_due);
	}
	owner_end(&owner);
	round->next_due = due;
}

/*
 * No timeout of the role or the database holds in what follows, up to the end of
 * the transaction: they are meant for clients who wait for an answer.
 */
static void
suspend_timeouts(void)
{
	static const char *const timeouts[] =
	{ "statement_timeout",
	  "lock_timeout",
#if PG_VERSION_NUM >= 170000
	  "transaction_timeout",
#endif
	};

	for (int i = 0; i < (int) lengthof(timeouts); i++)
		(void) set_config_option(timeouts[i], "0", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL,
								 true, 0, false);
	/* The clock that was started with our CALL. */
	if (get_timeout_active(STATEMENT_TIMEOUT))
		disable_timeout(STATEMENT_TIMEOUT, false);
}

/*
 * Tells the log of an error, so that it can be tried again; but to be cancelled
 * or terminated is not a failure, and is passed on.
 */
static void
log_failure(ErrorData *error)
{
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED || error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
		ReThrowError(error);
	ereport(LOG,
			(errcode(error->sqlerrcode), errmsg("a round of ticket.run failed: %s", error->message)));
	FreeErrorData(error);
}

/* Commits what has been done; SPI_commit() begins anew also where that fails. */
static bool
guarded_commit(MemoryContext context)
{
	ErrorData *volatile error = NULL;

	PG_TRY();
	{
		SPI_commit();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	if (error)
		log_failure(error);
	return error == NULL;
}

/*
 * A piece of work in a transaction of its own: one that fails, at its commit
 * too, is told to the log and tried again later, so that no single row stops the
 * clock.
 */
static bool
guarded(void (*work)(Round *), Round *round)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner resources = CurrentResourceOwner;
	ErrorData *volatile error = NULL;
	bool committed;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		work(round);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = resources;
	if (error)
		log_failure(error);
	committed = guarded_commit(context);
	MemoryContextSwitchTo(context);
	suspend_timeouts();
	return error == NULL && committed;
}

/*
 * Sleeps until due, or until a commit wakes us; the shared entry tells commits
 * from when on they need not.  Returns at once when something has become due
 * between the round and now: the entry is set first and the tables looked at
 * after.  False: it could not look.
 */
static bool
sleep_until_due(Round *round, TimestampTz end)
{
	TimestampTz now = clock_now();
	TimestampTz due;

	database_set_runner(MyLatch, DT_NOEND);
	ResetLatch(MyLatch);
	if (!guarded(find_next_due, round))
		return false;
	due = Min(round->next_due, Min(end, now + MAX_PAUSE_US));
	database_set_runner(MyLatch, due);
	now = clock_now();
	if (due <= now + MIN_PAUSE_US)
		pg_usleep(Max(0, Min(due - now, MIN_PAUSE_US)));
	else if (WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					   Max(1, (due - now) / 1000), PG_WAIT_EXTENSION) &
			 WL_LATCH_SET)
		pg_usleep(MIN_PAUSE_US);
	CHECK_FOR_INTERRUPTS();
	return true;
}

static pg_noinline void
run_rounds(TimestampTz end)
{
	Round round = {0};
	TimestampTz history_at = 0;
	TimestampTz all_timers_at = 0;

	suspend_timeouts();
	do
	{
		TimestampTz start = GetCurrentTimestamp();
		bool ok;

		if (start >= all_timers_at)
		{
			round.timers_from = DT_NOBEGIN;
			all_timers_at = start + ALL_TIMERS_PAUSE_US;
		}
		ok = guarded(sale_round, &round);
		round_count(start, ok);
		if (start >= history_at)
		{
			bool done = guarded(history_work, &round);

			history_at = done && round.more_events ? 0 : start + HISTORY_PAUSE_US;
		}
		if (!ok)
			pg_usleep(ERROR_PAUSE_US);
		if ((!ok || !(round.more || round.more_events)) && !sleep_until_due(&round, end))
		{
			ok = false;
			pg_usleep(ERROR_PAUSE_US);
		}
		if (!ok)
			all_timers_at = 0;
		CHECK_FOR_INTERRUPTS();
	} while (clock_now() < end && !RecoveryInProgress());
}

/* Whether it was called such that it may end transactions. */
static bool
may_commit(FunctionCallInfo fcinfo)
{
	return fcinfo->context && IsA(fcinfo->context, CallContext) &&
		   !castNode(CallContext, fcinfo->context)->atomic;
}

static void
runner_unlock(void)
{
	database_set_runner(NULL, DT_NOBEGIN);
	class_unlock(LOCK_CLASS_RUNNER, 0, 0, true);
}

/* With the lock of the runner, which goes however it ends. */
static void
run_and_unlock(TimestampTz end)
{
	PG_TRY();
	{
		if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
			elog(ERROR, "SPI_connect failed");
		run_rounds(end);
		SPI_finish();
	}
	PG_CATCH();
	{
		runner_unlock();
		PG_RE_THROW();
	}
	PG_END_TRY();
	runner_unlock();
}

/*
 * run(duration interval default '1 minute')
 *
 * A procedure: rounds for that long, each its own transaction.  One runner per
 * database: a second returns at once.  Not inside a transaction block.
 * statement_timeout and lock_timeout do not hold in it; what fails is told to the
 * log and tried again.
 *
 * Errors: 22023, 2D000 (inside a transaction), TK014, TK016.
 * Locks: advisory lock of the database's runner for its whole time (tried);
 * in each round as tick().
 */
Datum
ticket_run(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	TimestampTz end;

	end = clock_now() + interval_us(arg_interval(fcinfo, 0, "duration"));
	refuse_standby();
	if (!may_commit(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("ticket.run cannot be called inside a transaction"),
				 errhint("CALL it by itself.")));
	if (!class_lock(LOCK_CLASS_RUNNER, 0, 0, true, false))
	{
		ereport(NOTICE, (errmsg("another session runs this database's clock")));
		PG_RETURN_VOID();
	}
	run_and_unlock(end);
	PG_RETURN_VOID();
}
