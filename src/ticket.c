/*
 * ticket.c
 *		Module start and settings.
 */
#include "ticket.h"

#include <float.h>
#include <limits.h>

#include "answer_scan.h"
#include "drop_guard.h"
#include "load.h"
#include "map.h"
#include "memory.h"
#include "metrics.h"
#include "miscadmin.h"
#include "numbering.h"
#include "outbox.h"
#include "pending.h"
#include "relation.h"
#include "seat.h"
#include "trace.h"
#include "utils/guc.h"
#include "worker.h"
#include "write_table.h"

PG_MODULE_MAGIC;

bool ticket_preloaded = false;
int ticket_max_queues = 128;
int ticket_max_waiting = 1000000;
int ticket_max_map_seats = 1000000;
double ticket_clock_offset = 0;
char *ticket_user_claim = NULL;
bool ticket_http_errors = false;
double ticket_max_charge = 1e15;
double ticket_max_balance = 1e15;
int ticket_withdraw_points = WITHDRAW_PAYOUT;
bool ticket_notify_moves = false;

static const struct config_enum_entry withdraw_points[] = {{"payout", WITHDRAW_PAYOUT, false},
														   {"forfeit", WITHDRAW_FORFEIT, false},
														   {NULL, 0, false}};

PG_FUNCTION_INFO_V1(ticket_require_preload);

void
memory_require(void)
{
	if (!ticket_preloaded)
		ticket_error(ERROR_NOT_LOADED, NULL,
					 "Set shared_preload_libraries = 'ticket' in postgresql.conf and restart the server.",
					 "ticket must be loaded through shared_preload_libraries");
}

/* require_preload() -> void; TK014 unless shared memory is there. */
Datum
ticket_require_preload(PG_FUNCTION_ARGS)
{
	memory_require();
	PG_RETURN_VOID();
}

static void
define_settings(void)
{
	DefineCustomIntVariable("ticket.max_queues",
							"Waiting rooms that shared memory has slots for, over all databases.",
							NULL, &ticket_max_queues, 128, 1, 100000, PGC_POSTMASTER, 0, NULL, NULL,
							NULL);
	DefineCustomIntVariable(
		"ticket.max_waiting",
		"Places of waiting and active tickets that shared memory holds, over all queues.",
		"Each takes about 26 bytes.", &ticket_max_waiting, 1000000, 1, 1000000000, PGC_POSTMASTER,
		0, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"ticket.max_map_seats",
		"Seats whose states shared memory holds, over all databases; others are read from the table.",
		"Each takes about 12 bytes.", &ticket_max_map_seats, 1000000, 0, 100000000, PGC_POSTMASTER,
		0, NULL, NULL, NULL);
	DefineCustomRealVariable("ticket.clock_offset",
							 "Moves the clock of the sale, for tests and rehearsals.", NULL,
							 &ticket_clock_offset, 0, -3.2e13, 3.2e13, PGC_SUSET, GUC_UNIT_MS, NULL,
							 NULL, NULL);
	DefineCustomStringVariable(
		"ticket.user_claim",
		"Setting that holds the authenticated user, for example request.jwt.claims.sub.",
		"When set, a user_id that differs from it is refused.", &ticket_user_claim, "", PGC_SUSET,
		0, NULL, NULL, NULL);
	DefineCustomBoolVariable(
		"ticket.http_errors",
		"Sends errors as SQLSTATE PTnnn, which PostgREST turns into an HTTP status.", NULL,
		&ticket_http_errors, false, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomRealVariable("ticket.max_charge",
							 "Points that one call of point_charge adds, at most.", NULL,
							 &ticket_max_charge, 1e15, 1, 1e15, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomRealVariable("ticket.max_balance",
							 "Points that charging brings a user to, at most.",
							 "Refunds go beyond it.", &ticket_max_balance, 1e15, 1, 1e15, PGC_SUSET,
							 0, NULL, NULL, NULL);
	trace_init();
	DefineCustomEnumVariable(
		"ticket.withdraw_points", "What becomes of the points of a user who withdraws.",
		"payout: they are taken out and the event user.withdrawn says how many; forfeit: they lapse.",
		&ticket_withdraw_points, WITHDRAW_PAYOUT, withdraw_points, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable(
		"ticket.notify_moves", "Rounds of run() and tick() tell that they have let somebody in.",
		"NOTIFY ticket_queue, with the queue and how many, at most once a round and queue.",
		&ticket_notify_moves, false, PGC_SUSET, 0, NULL, NULL, NULL);
	outbox_init();
	drop_guard_init();
	worker_init();
	MarkGUCPrefixReserved("ticket");
}

/*
 * Without shared_preload_libraries there is no shared memory; the functions
 * say so one by one, so that a wrong configuration does not keep anybody from
 * looking at tables.
 */
void _PG_init(void);

void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	ticket_preloaded = true;
	define_settings();
	event_init();
	memory_init();
	metrics_init();
	pending_init();
	map_init();
	relation_init();
	load_init();
	catalogue_init();
	write_init();
	people_init();
	numbering_init();
	answer_scan_init();
}
