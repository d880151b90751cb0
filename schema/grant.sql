/*
 * grant.sql
 *		Who may do what, and what pg_dump saves: last, as it goes over all there is.
 */

DROP FUNCTION ticket.permit(text[], text, text[]);

CREATE FUNCTION ticket.grant_role(role name, part text) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	item record;
BEGIN
	PERFORM ticket.check_argument(role IS NOT NULL, 'role must not be NULL');
	PERFORM ticket.check_found(EXISTS (SELECT FROM pg_roles r WHERE r.rolname = role),
		format('there is no role %I', role));
	PERFORM ticket.check_argument(part IN (SELECT p.part FROM ticket.permission p),
		'part must be buyer, seller, operator or auditor');
	EXECUTE format('GRANT USAGE ON SCHEMA ticket TO %I', role);
	FOR item IN
		SELECT p.privilege, CASE WHEN p.privilege <> 'EXECUTE' THEN format('TABLE ticket.%I', p.object)
			ELSE (SELECT format('ROUTINE ticket.%I(%s)', f.proname, pg_get_function_identity_arguments(f.oid))
				FROM pg_proc f WHERE f.pronamespace = 'ticket'::regnamespace AND f.proname = p.object) END AS object
		FROM ticket.permission p WHERE p.part = part
	LOOP
		EXECUTE format('GRANT %s ON %s TO %I', item.privilege, item.object, role);
	END LOOP;
END $$;
COMMENT ON FUNCTION ticket.grant_role(name, text) IS
	'Grants a role exactly what a buyer, a seller, an operator or an auditor needs; to be called by the owner of the extension';

REVOKE ALL ON ALL ROUTINES IN SCHEMA ticket FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA ticket FROM PUBLIC;
GRANT USAGE ON SCHEMA ticket TO pg_monitor;
GRANT SELECT ON ticket.queue_stats, ticket.memory_stats, ticket.sale_stats TO pg_monitor;
GRANT EXECUTE ON FUNCTION ticket.queue_memory(), ticket.memory_usage(), ticket.clock() TO pg_monitor;

DO $$
DECLARE
	relation regclass;
BEGIN
	FOR relation IN
		SELECT c.oid FROM pg_catalog.pg_class c
		WHERE c.relnamespace = 'ticket'::regnamespace AND c.relkind IN ('r', 'S') AND c.relname <> 'permission'
		ORDER BY c.oid
	LOOP
		PERFORM pg_catalog.pg_extension_config_dump(relation, '');
	END LOOP;
	FOR relation IN
		SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relnamespace = 'ticket'::regnamespace AND c.relkind = 'S'
	LOOP
		EXECUTE format('COMMENT ON SEQUENCE %s IS %L', relation, 'Numbers that the table''s rows are given');
	END LOOP;
END $$;
