/*
 * resync.sql
 *		After rows have come past the triggers.
 */

/*
 * Logical replication, and a restore with triggers off, bring rows and nothing
 * else.  Sequences are only ever moved forward.  What a statement's trigger
 * tells (to shared memory, to the caches of sessions) it also tells when there
 * is no row.
 */
CREATE FUNCTION ticket.resync(OUT sequences int, OUT hold_timers bigint)
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	item record;
	highest bigint;
BEGIN
	PERFORM ticket.require_primary();
	sequences := 0;
	FOR item IN
		SELECT d.objid::regclass AS sequence, c.oid::regclass AS relation, a.attname AS "column"
		FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attidentity <> ''
			JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.deptype = 'i'
				AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.refobjsubid = a.attnum
		WHERE c.relnamespace = 'ticket'::regnamespace
		ORDER BY c.relname
	LOOP
		EXECUTE format('SELECT max(%I) FROM %s', item."column", item.relation) INTO highest;
		IF highest > coalesce(pg_sequence_last_value(item.sequence), 0) THEN
			PERFORM setval(item.sequence, highest);
			sequences := sequences + 1;
		END IF;
	END LOOP;
	hold_timers := ticket.hold_timers_restore();
	FOR item IN
		SELECT DISTINCT c.relname, c.oid::regclass AS relation
		FROM pg_class c JOIN pg_trigger t ON t.tgrelid = c.oid JOIN pg_proc p ON p.oid = t.tgfoid
		WHERE c.relnamespace = 'ticket'::regnamespace AND p.pronamespace = 'ticket'::regnamespace
			AND p.proname IN ('catalogue_follow', 'seat_follow', 'queue_entry_follow')
		ORDER BY c.relname
	LOOP
		EXECUTE format('DELETE FROM %s WHERE false', item.relation);
	END LOOP;
END $$;
COMMENT ON FUNCTION ticket.resync() IS
	'After rows came past the triggers, by logical replication or a restore with triggers off: sequences moved on to the highest number in their tables, timers set that holds lack, and shared memory and all sessions told to read anew. Returns how many sequences and timers; to be called by the owner of the extension before the first call of the sale';
