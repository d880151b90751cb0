/*
 * drop_guard.c
 *		Refuses to drop the extension while there is a sale to lose.
 *
 * DROP EXTENSION takes the tables with it, sold seats and books included; so
 * do DROP SCHEMA ... CASCADE, DROP OWNED and DROP EXTENSION plpgsql CASCADE,
 * which do not even name it.  All of them drop the tables one by one, before
 * the extension itself, and tell the hook of each: there the rows are still to
 * be seen.  DROP DATABASE, pg_dump and pg_upgrade do not drop tables one by
 * one.  No event trigger could do this: it would be dropped along with the
 * rest before it is asked.
 */
#include "postgres.h"

#include "drop_guard.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/dependency.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_class.h"
#include "commands/extension.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

static bool allow_drop = false;
static object_access_hook_type prev_object_access_hook = NULL;

/* What somebody would miss; the catalogue alone can be made again. */
static const char *const guarded[] = {"reservation", "ledger", "queue_entry"};

static bool
is_guarded(Oid table)
{
	Oid extension = getExtensionOfObject(RelationRelationId, table);
	char *name;
	bool found = false;

	if (!OidIsValid(extension) || extension != get_extension_oid("ticket", true))
		return false;
	name = get_rel_name(table);
	for (int i = 0; i < (int) lengthof(guarded) && !found; i++)
		found = name && strcmp(name, guarded[i]) == 0;
	return found;
}

/* Whoever drops a table has locked it; its indexes are gone already. */
static bool
has_rows(Oid table)
{
	Relation relation = table_open(table, NoLock);
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(relation, NULL);
	TableScanDesc scan = table_beginscan(relation, snapshot, 0, NULL);
	bool found = table_scan_getnextslot(scan, ForwardScanDirection, slot);

	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	table_close(relation, NoLock);
	return found;
}

static void
guard_object_access(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	if (prev_object_access_hook)
		prev_object_access_hook(access, class, object, sub, arg);
	if (access != OAT_DROP || class != RelationRelationId || sub != 0 || allow_drop ||
		IsBinaryUpgrade)
		return;
	if (is_guarded(object) && has_rows(object))
		ereport(ERROR, (errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
						errmsg("extension ticket is not dropped: table ticket.%s has rows",
							   get_rel_name(object)),
						errdetail("All reservations, the ledger and all tickets would be lost."),
						errhint("If that is what you want: SET ticket.allow_drop = on;")));
}

void
drop_guard_init(void)
{
	DefineCustomBoolVariable(
		"ticket.allow_drop",
		"Lets DROP EXTENSION ticket delete reservations, the ledger and tickets.", NULL,
		&allow_drop, false, PGC_SUSET, 0, NULL, NULL, NULL);
	prev_object_access_hook = object_access_hook;
	object_access_hook = guard_object_access;
}
