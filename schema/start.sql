/*
 * start.sql
 *		What everything else stands on: loading, time, errors, who may do what.
 *
 * The files of schema/ are joined into ticket--1.0.sql in the order that the
 * Makefile names: one file per noun, with its tables, triggers, functions,
 * views and who may use them.
 *
 * Functions written in SQL that run as the owner have bodies parsed when they
 * are created (BEGIN ATOMIC), so no search_path of a caller can bend them;
 * those in PL/pgSQL set their own search_path.
 */
\echo Use "CREATE EXTENSION ticket" to load this file. \quit

COMMENT ON SCHEMA ticket IS 'Concert sale inside the database: waiting room, seats, holds, points, payments, events';

CREATE FUNCTION ticket.require_preload() RETURNS void
	LANGUAGE c AS 'MODULE_PATHNAME', 'ticket_require_preload';
COMMENT ON FUNCTION ticket.require_preload() IS
	'Raises TK014 unless the library was loaded through shared_preload_libraries';
SELECT ticket.require_preload();

CREATE FUNCTION ticket.require_primary() RETURNS void
	LANGUAGE c AS 'MODULE_PATHNAME', 'ticket_require_primary';
COMMENT ON FUNCTION ticket.require_primary() IS
	'Raises TK016 on a standby, which functions that write would otherwise be told by the server in its own words; TK014 like require_preload';

CREATE FUNCTION ticket.clock() RETURNS timestamptz
	LANGUAGE c VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'ticket_clock';
COMMENT ON FUNCTION ticket.clock() IS
	'The time the sale goes by: the wall clock now (not at transaction start) plus ticket.clock_offset';

CREATE FUNCTION ticket.elapsed(span interval) RETURNS interval
	LANGUAGE c IMMUTABLE AS 'MODULE_PATHNAME', 'ticket_elapsed';
COMMENT ON FUNCTION ticket.elapsed(interval) IS
	'The same span in hours alone, 24 for a day and 30 days for a month: added to a time it does not depend on TimeZone';

CREATE FUNCTION ticket.error_code_list(
	OUT sqlstate text, OUT name text, OUT http_status int, OUT meaning text
) RETURNS SETOF record LANGUAGE c IMMUTABLE AS 'MODULE_PATHNAME', 'ticket_error_code_list';
COMMENT ON FUNCTION ticket.error_code_list() IS 'The rows of ticket.error_codes';

CREATE FUNCTION ticket.raise_error(name text, message text, detail text DEFAULT NULL, hint text DEFAULT NULL)
	RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'ticket_raise_error';
COMMENT ON FUNCTION ticket.raise_error(text, text, text, text) IS
	'Raises the error of that name (view error_codes)';

CREATE FUNCTION ticket.check_argument(ok boolean, message text) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF ok IS NOT TRUE THEN
		PERFORM ticket.raise_error('bad_argument', message);
	END IF;
END $$;
COMMENT ON FUNCTION ticket.check_argument(boolean, text) IS
	'Raises 22023 with the message unless ok is true';

CREATE FUNCTION ticket.check_found(ok boolean, message text) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF ok IS NOT TRUE THEN
		PERFORM ticket.raise_error('not_found', message);
	END IF;
END $$;
COMMENT ON FUNCTION ticket.check_found(boolean, text) IS
	'Raises TK005 with the message unless ok is true';

CREATE FUNCTION ticket.actor(actor text) RETURNS text
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'ticket_actor';
COMMENT ON FUNCTION ticket.actor(text) IS
	'Who does something: the authenticated user, else the name given, else the database role';

CREATE FUNCTION ticket.check_user(user_id text) RETURNS text
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'ticket_check_user';
COMMENT ON FUNCTION ticket.check_user(text) IS
	'The user a call is for: user_id, or the claim where ticket.user_claim is set; TK013 when they differ';

CREATE VIEW ticket.error_codes AS SELECT sqlstate, name, http_status, meaning FROM ticket.error_code_list();
COMMENT ON VIEW ticket.error_codes IS 'Every error the extension raises';
COMMENT ON COLUMN ticket.error_codes.sqlstate IS 'SQLSTATE';
COMMENT ON COLUMN ticket.error_codes.name IS 'Name for programs';
COMMENT ON COLUMN ticket.error_codes.http_status IS 'HTTP status an API should answer with';
COMMENT ON COLUMN ticket.error_codes.meaning IS 'What it means';

/*
 * A final state is never left.
 */
CREATE FUNCTION ticket.final_state() RETURNS trigger
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM ticket.raise_error('wrong_state', format('%s is final', OLD.status),
		format('The row is of table %I.%I.', TG_TABLE_SCHEMA, TG_TABLE_NAME));
	RETURN NULL;
END $$;
COMMENT ON FUNCTION ticket.final_state() IS 'Trigger: refuses to bring back what has ended';

CREATE TABLE ticket.permission (
	part		text NOT NULL CHECK (part IN ('buyer', 'seller', 'operator', 'auditor')),
	privilege	text NOT NULL CHECK (privilege IN ('EXECUTE', 'SELECT', 'UPDATE')),
	object		text NOT NULL,
	PRIMARY KEY (part, privilege, object)
);
COMMENT ON TABLE ticket.permission IS 'What grant_role hands out to each part';
COMMENT ON COLUMN ticket.permission.part IS 'buyer, seller, operator or auditor';
COMMENT ON COLUMN ticket.permission.privilege IS 'EXECUTE on a function, SELECT or UPDATE on a table or view';
COMMENT ON COLUMN ticket.permission.object IS 'Name within the schema; functions are not overloaded';

/* While the extension is created: adds to the table; grant.sql drops it. */
CREATE FUNCTION ticket.permit(parts text[], privilege text, objects text[]) RETURNS void
	LANGUAGE sql
BEGIN ATOMIC
	INSERT INTO ticket.permission
	SELECT part, $2, object FROM unnest($1) AS part, unnest($3) AS object;
END;

SELECT ticket.permit('{buyer,seller,operator,auditor}', 'EXECUTE', '{clock,error_code_list}');
SELECT ticket.permit('{buyer,seller,operator,auditor}', 'SELECT', '{error_codes}');
SELECT ticket.permit('{operator,auditor}', 'SELECT', '{permission}');
