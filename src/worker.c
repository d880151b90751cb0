/*
 * worker.c
 *		The clock without a job: ticket.clock_databases names databases, and in
 *		each of them a background worker calls run(), as a job of pg_cron would.
 *
 * A launcher, which belongs to no database, is there as soon as the server
 * takes writes, so also the moment a standby is promoted.  It starts a worker
 * for each database, ends those whose database is no longer named, and starts
 * anew, after a pause, what has ended.  So a worker may simply end with any
 * error, and it has to know nothing about the others.
 *
 * run() has one runner per database.  Where a job or a session runs it, the
 * worker asks again each second, and takes over when that one ends.
 *
 * DROP DATABASE is refused while anybody is connected; it ends our worker first.
 */
#include "postgres.h"

#include "worker.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "compat.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "ticket.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/varlena.h"
#include "utils/wait_event.h"

#define LIBRARY "ticket"
#define WORKER_TYPE "ticket clock"
#define LAUNCHER_TYPE "ticket clock launcher"

/* What cannot be, or has just ended, is tried again after this. */
#define PAUSE_MS 1000
/* One call of run(); between two a worker tells the server what it has done. */
#define CALL_US (10 * USECS_PER_SEC)

static char *ticket_clock_databases = NULL;
static object_access_hook_type prev_object_access_hook = NULL;

/* What the launcher knows of a database that has been named. */
typedef struct Clock
{
	char name[NAMEDATALEN];
	bool wanted; /* it is named now */
	bool complained; /* that it cannot be */
	BackgroundWorkerHandle *worker; /* NULL: none was started, or it has ended */
	TimestampTz not_before; /* the next start */
} Clock;

PGDLLEXPORT void ticket_clock_launcher(Datum arg);
PGDLLEXPORT void ticket_clock_worker(Datum arg);

/* The names that are set; false: they are no list of names. */
static bool
split_names(const char *setting, List **names)
{
	return SplitIdentifierString(pstrdup(setting), ',', names);
}

static bool
check_clock_databases(char **value, void **extra, GucSource source)
{
	List *names;

	if (split_names(*value, &names))
		return true;
	GUC_check_errdetail("It must be a list of names, separated by commas.");
	return false;
}

/* ---------- a worker ---------- */

/*
 * The procedure run() of the extension, or InvalidOid where there is no
 * extension.  A schema of that name may be anybody's before there is one, and
 * we are a superuser.
 */
static Oid
run_procedure(void)
{
	Oid extension = get_extension_oid("ticket", true);
	Oid types[] = {INTERVALOID};
	Oid procedure;

	if (!OidIsValid(extension))
		return InvalidOid;
	procedure = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum("run"),
								PointerGetDatum(buildoidvector(types, lengthof(types))),
								ObjectIdGetDatum(get_namespace_oid("ticket", true)));
	if (!OidIsValid(procedure) || getExtensionOfObject(ProcedureRelationId, procedure) != extension)
		return InvalidOid;
	return procedure;
}

/* CALL ticket.run(); false where there is no extension. */
static bool
call_run(void)
{
	CallContext *context = makeNode(CallContext);
	LOCAL_FCINFO(fcinfo, 1);
	FmgrInfo function;
	Interval *duration;
	Oid procedure;

	context->atomic = false;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	procedure = run_procedure();
	if (!OidIsValid(procedure))
	{
		CommitTransactionCommand();
		return false;
	}
	/* What it needs must outlast the transactions that it ends. */
	fmgr_info_cxt(procedure, &function, TopMemoryContext);
	duration = us_interval(CALL_US);
	InitFunctionCallInfoData(*fcinfo, &function, 1, InvalidOid, (Node *) context, NULL);
	fcinfo->args[0].value = IntervalPGetDatum(duration);
	fcinfo->args[0].isnull = false;
	FunctionCallInvoke(fcinfo);
	CommitTransactionCommand();
	return true;
}

/*
 * The main function of a worker; its argument is the database.  It ends with
 * any error; the launcher starts another.
 */
void
ticket_clock_worker(Datum arg)
{
	MemoryContext call_context;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid, 0);
	/* To be told that somebody else runs the clock, each second, is not news. */
	SetConfigOption("client_min_messages", "warning", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("log_min_messages", "warning", PGC_SUSET, PGC_S_OVERRIDE);
	pgstat_report_appname(WORKER_TYPE);
	call_context = AllocSetContextCreate(TopMemoryContext, WORKER_TYPE, ALLOCSET_DEFAULT_SIZES);

	for (;;)
	{
		TimestampTz began = GetCurrentTimestamp();

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		pgstat_report_activity(STATE_RUNNING, "CALL ticket.run()");
		MemoryContextSwitchTo(call_context);
		call_run();
		MemoryContextSwitchTo(TopMemoryContext);
		MemoryContextReset(call_context);
		pgstat_report_stat(false);
		pgstat_report_activity(STATE_IDLE, NULL);

		/* It has returned at once: no extension, or another runner. */
		if (GetCurrentTimestamp() - began < CALL_US / 2)
		{
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, PAUSE_MS,
							 PG_WAIT_EXTENSION);
			ResetLatch(MyLatch);
		}
	}
}

/* ---------- the launcher ---------- */

/* Says why a clock does not go, once. */
static void
complain(Clock *clock, const char *reason)
{
	if (!clock->complained)
		ereport(LOG, (errmsg("ticket.clock_databases: %s", reason)));
	clock->complained = true;
}

static void
start_clock(Clock *clock)
{
	BackgroundWorker worker = {0};
	Oid database = InvalidOid;
	bool connectable = false;
	Relation relation;
	TableScanDesc scan;
	HeapTuple tuple;

	/* Read from end to end: without a database there are no indexes. */
	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	relation = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(relation, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database row = (Form_pg_database) GETSTRUCT(tuple);

		if (strcmp(NameStr(row->datname), clock->name) == 0)
		{
			database = row->oid;
			connectable = row->datallowconn;
		}
	}
	table_endscan(scan);
	table_close(relation, AccessShareLock);
	CommitTransactionCommand();
	if (!connectable)
	{
		complain(clock, psprintf(OidIsValid(database) ? "database \"%s\" takes no connections" :
														"there is no database \"%s\"",
								 clock->name));
		return;
	}

	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, LIBRARY, BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "ticket_clock_worker", BGW_MAXLEN);
	snprintf(worker.bgw_name, BGW_MAXLEN, WORKER_TYPE " of %s", clock->name);
	strlcpy(worker.bgw_type, WORKER_TYPE, BGW_MAXLEN);
	worker.bgw_main_arg = ObjectIdGetDatum(database);
	worker.bgw_notify_pid = MyProcPid;
	if (RegisterDynamicBackgroundWorker(&worker, &clock->worker))
		clock->complained = false;
	else
	{
		clock->worker = NULL;
		complain(clock, psprintf("no free worker for database \"%s\", see max_worker_processes",
								 clock->name));
	}
}

/* The clocks that are named, and those that still run. */
static List *
named_clocks(List *clocks)
{
	List *names;
	ListCell *cell;

	foreach(cell, clocks)
		((Clock *) lfirst(cell))->wanted = false;
	if (!split_names(ticket_clock_databases, &names))
		return clocks; /* the check of the setting saw to it */
	foreach(cell, names)
	{
		const char *name = lfirst(cell);
		Clock *clock = NULL;
		ListCell *known;

		foreach(known, clocks)
			if (strcmp(((Clock *) lfirst(known))->name, name) == 0)
				clock = lfirst(known);
		if (clock == NULL)
		{
			MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

			clock = palloc0(sizeof(Clock));
			strlcpy(clock->name, name, NAMEDATALEN);
			clocks = lappend(clocks, clock);
			MemoryContextSwitchTo(old);
		}
		clock->wanted = true;
		clock->complained = false;
	}
	return clocks;
}

/* Whether a worker is there that was started; of one that has ended we let go. */
static bool
clock_runs(Clock *clock, TimestampTz now)
{
	pid_t pid;

	if (clock->worker == NULL)
		return false;
	if (GetBackgroundWorkerPid(clock->worker, &pid) != BGWH_STOPPED)
		return true;
	pfree(clock->worker);
	clock->worker = NULL;
	clock->not_before = now + PAUSE_MS * INT64CONST(1000);
	return false;
}

/* Brings what runs to what is wanted; milliseconds until the next look, -1: none is needed. */
static long
tend_clocks(List **clocks)
{
	TimestampTz now = GetCurrentTimestamp();
	long pause = -1;
	ListCell *cell;

	foreach(cell, *clocks)
	{
		Clock *clock = lfirst(cell);

		if (clock_runs(clock, now))
		{
			if (!clock->wanted)
				TerminateBackgroundWorker(clock->worker);
		}
		else if (!clock->wanted)
		{
			*clocks = foreach_delete_current(*clocks, cell);
			pfree(clock);
		}
		else
		{
			if (now >= clock->not_before)
			{
				start_clock(clock);
				clock->not_before = now + PAUSE_MS * INT64CONST(1000);
			}
			if (clock->worker == NULL)
				pause = PAUSE_MS;
		}
	}
	return pause;
}

void
ticket_clock_launcher(Datum arg)
{
	MemoryContext round = NULL;
	List *clocks = NIL;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	/* Without a database it sees what all have in common. */
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	round = AllocSetContextCreate(TopMemoryContext, LAUNCHER_TYPE, ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(round);
	clocks = named_clocks(clocks);

	for (;;)
	{
		long pause;

		MemoryContextSwitchTo(TopMemoryContext);
		pause = tend_clocks(&clocks);
		MemoryContextSwitchTo(round);
		MemoryContextReset(round);
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (pause >= 0 ? WL_TIMEOUT : 0), pause,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			clocks = named_clocks(clocks);
		}
	}
}

/* ---------- DROP DATABASE ---------- */

/* Tells the worker of a database to end; the next can connect only when the drop is over. */
static void
end_worker_of(Oid database)
{
	int n = pgstat_fetch_stat_numbackends();

	for (int i = 1; i <= n; i++)
	{
		PgBackendStatus *backend = &local_backend_entry(i)->backendStatus;
		const char *type;

		if (backend->st_databaseid != database || backend->st_backendType != B_BG_WORKER)
			continue;
		type = GetBackgroundWorkerTypeByPid(backend->st_procpid);
		if (type && strcmp(type, WORKER_TYPE) == 0)
			kill(backend->st_procpid, SIGTERM);
	}
}

static void
worker_object_access(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	if (prev_object_access_hook)
		prev_object_access_hook(access, class, object, sub, arg);
	if (access == OAT_DROP && class == DatabaseRelationId)
		end_worker_of(object);
}

void
worker_init(void)
{
	BackgroundWorker launcher = {0};

	DefineCustomStringVariable("ticket.clock_databases",
							   "Databases in which a background worker runs the clock of the sale.",
							   "Names, separated by commas. Empty: jobs do, see schedule_jobs().",
							   &ticket_clock_databases, "", PGC_SIGHUP, GUC_LIST_INPUT,
							   check_clock_databases, NULL, NULL);
	prev_object_access_hook = object_access_hook;
	object_access_hook = worker_object_access;
	/* Nobody else may write while pg_upgrade does. */
	if (IsBinaryUpgrade)
		return;
	launcher.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	launcher.bgw_start_time = BgWorkerStart_RecoveryFinished;
	launcher.bgw_restart_time = 1;
	strlcpy(launcher.bgw_library_name, LIBRARY, BGW_MAXLEN);
	strlcpy(launcher.bgw_function_name, "ticket_clock_launcher", BGW_MAXLEN);
	strlcpy(launcher.bgw_name, LAUNCHER_TYPE, BGW_MAXLEN);
	strlcpy(launcher.bgw_type, LAUNCHER_TYPE, BGW_MAXLEN);
	RegisterBackgroundWorker(&launcher);
}
