-- A lint of the catalogue: what C believes of the tables, comments, PUBLIC,
-- SECURITY DEFINER, arguments, what pg_dump saves.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin
\set header `cat "$PG_ABS_SRCDIR/../src/relation.h"`
\set source `cat "$PG_ABS_SRCDIR/../src/relation.c"`

-- ---------- the tables as C sees them ----------

-- The enums of relation.h: COL_<prefix>_<column>, each starting at 1.
CREATE TEMP TABLE c_column AS
SELECT e.n AS enum, c.attnum, c.name
FROM regexp_matches(:'header', 'enum\s*\{([^}]*COL_[^}]*)\}', 'g') WITH ORDINALITY AS e(body, n),
	LATERAL regexp_matches(e.body[1], '\mCOL_(\w+)', 'g') WITH ORDINALITY AS m(match, attnum),
	LATERAL (SELECT m.attnum, m.match[1] AS name) c;
CREATE TEMP TABLE c_table (prefix text, relname text);
INSERT INTO c_table VALUES ('QUEUE', 'queue'), ('ENTRY', 'queue_entry'), ('PERFORMANCE', 'performance'),
	('SECTION', 'section'), ('SEAT', 'seat'), ('RESERVATION', 'reservation'),
	('ACCOUNT', 'account'), ('PAYMENT', 'payment'), ('LEDGER', 'ledger'), ('OUTBOX', 'outbox'),
	('BLOCK', 'user_block'), ('TIMER', 'hold_timer');
SELECT is((SELECT count(DISTINCT enum) FROM c_column), (SELECT count(*) FROM c_table), 'relation.h has the columns of each table that C reads');
SELECT is((SELECT count(*) FROM regexp_matches(:'header', '\mCOL_\w+ = 1,', 'g')), (SELECT count(*) FROM c_table), 'numbered from 1');
SELECT is((SELECT count(*) FROM regexp_matches(:'header', '\mCOL_\w+ =', 'g')), (SELECT count(*) FROM c_table), 'without a jump');
-- COL_SEAT_ID would be seat_id, COL_PERFORMANCE_MAX_SEATS is max_seats_per_user.
SELECT is(string_agg(format('%s is %s', c.name, a.attname), ', ' ORDER BY c.attnum), NULL, format('columns of %s', t.relname))
FROM c_table t JOIN c_column c ON c.name LIKE t.prefix || '\_%'
	LEFT JOIN pg_attribute a ON a.attrelid = format('ticket.%I', t.relname)::regclass AND a.attnum = c.attnum
		AND a.attname IN (lower(substr(c.name, length(t.prefix) + 2)), replace(lower(c.name), 'max_seats', 'max_seats_per_user'),
			replace(lower(c.name), 'performance_max_seats', 'max_seats_per_user'))
WHERE a.attname IS NULL OR c.attnum IS NULL
GROUP BY t.relname
UNION ALL
SELECT is(count(*), (SELECT count(*) FROM c_column), 'each of them was looked at')
FROM c_table t JOIN c_column c ON c.name LIKE t.prefix || '\_%';
-- X_ROW_SIZE is one more than the columns there are: else rows are written the slow way.
SELECT is((SELECT string_agg(format('%s has %s', t.relname, n.natts), ', ') FROM c_table t
		JOIN regexp_matches(:'header', '\m(\w+)_ROW_SIZE$', 'gn') AS m(match) ON t.prefix = m.match[1],
	LATERAL (SELECT count(*) AS natts FROM pg_attribute a WHERE a.attrelid = format('ticket.%I', t.relname)::regclass AND a.attnum > 0) n
	WHERE n.natts <> (SELECT count(*) FROM c_column c WHERE c.name LIKE t.prefix || '\_%')), NULL, 'those that C writes have no other columns');
SELECT is((SELECT string_agg(m.match[1], ', ') FROM regexp_matches(:'source', '\[REL_\w+\] = "(\w+)"', 'g') AS m(match)
	WHERE to_regclass('ticket.' || m.match[1]) IS NULL), NULL, 'every table and index that relation.c names is there');
SELECT is((SELECT count(*) FROM regexp_matches(:'source', '\[REL_\w+\] = "\w+"', 'g')),
	(SELECT count(*) - 1 FROM regexp_matches(substring(:'header' FROM 'enum TicketRelation\s*\{([^}]*)\}'), '\w+', 'g')),
	'every one of relation.h has a name');

-- ---------- comments ----------

CREATE TEMP TABLE member AS
SELECT d.classid, d.objid, pg_describe_object(d.classid, d.objid, 0) AS what
FROM pg_depend d JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
WHERE e.extname = 'ticket' AND d.deptype = 'e'
	-- From 17 on the row types of tables are members, too; they have no comment of their own.
	AND NOT EXISTS (SELECT FROM pg_type t LEFT JOIN pg_type i ON i.oid = t.typelem
		WHERE d.classid = 'pg_type'::regclass AND t.oid = d.objid AND coalesce(nullif(t.typrelid, 0), i.typrelid) > 0);
SELECT ok((SELECT count(*) FROM member) > 60, 'the members of the extension');
SELECT is((SELECT count(*) FROM pg_class c WHERE c.relnamespace = 'ticket'::regnamespace AND c.relkind IN ('r', 'v', 'S', 'p') AND c.relname !~ '^history_\d'
	AND NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_class'::regclass AND m.objid = c.oid))
	+ (SELECT count(*) FROM pg_proc p WHERE p.pronamespace = 'ticket'::regnamespace
	AND NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_proc'::regclass AND m.objid = p.oid)), 0::bigint,
	'whatever is in the schema is one');
SELECT is((SELECT string_agg(what, ', ' ORDER BY what) FROM member m WHERE coalesce(obj_description(m.objid, m.classid::regclass::name), '') = ''),
	NULL, 'each has a comment');
SELECT is((SELECT string_agg(format('%s.%s', c.relname, a.attname), ', ' ORDER BY c.relname, a.attnum)
	FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
	WHERE c.relnamespace = 'ticket'::regnamespace AND c.relkind IN ('r', 'v', 'p', 'c') AND coalesce(col_description(c.oid, a.attnum), '') = ''),
	NULL, 'and so has each column of a table, view or type');
SELECT ok(obj_description('ticket'::regnamespace, 'pg_namespace') IS NOT NULL, 'and the schema');
-- An argument is named before =>, where no word of class C (row, position) may stand; a column may have one.
CREATE TEMP VIEW name_used AS
SELECT p.oid::regprocedure::text AS whose, n.name, n.mode IN ('o', 't') AS is_column
FROM pg_proc p, LATERAL unnest(p.proargnames, coalesce(p.proargmodes, array_fill('i'::"char", ARRAY[p.pronargs::int]))) AS n(name, mode)
WHERE p.pronamespace = 'ticket'::regnamespace
UNION ALL SELECT c.relname, a.attname, true
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'ticket'::regnamespace AND c.relkind IN ('r', 'v', 'p', 'c');
SELECT ok(count(*) FILTER (WHERE is_column) > 200 AND count(*) FILTER (WHERE NOT is_column) > 200, 'there are names') FROM name_used;
SELECT is((SELECT string_agg(DISTINCT format('%s of %s', u.name, u.whose), ', ') FROM name_used u LEFT JOIN pg_get_keywords() k ON k.word = u.name
	WHERE u.name !~ '^[a-z_][a-z0-9_]*$' OR k.catcode = 'R' OR k.catcode = CASE WHEN u.is_column THEN 'T' ELSE 'C' END), NULL,
	'no argument and no column needs quotes');
SELECT lives_ok($$PREPARE unquoted AS SELECT (SELECT count(x.row) FROM (SELECT row FROM ticket.seats(NULL) WHERE row > 0 ORDER BY row) x),
	(SELECT count(position) FROM ticket.ticket_status(NULL) WHERE position > 0)$$, 'such as these');
SELECT is((SELECT string_agg(name, ', ') FROM pg_settings WHERE name LIKE 'ticket.%' AND coalesce(short_desc, '') !~ '^[A-Z].*\.$'), NULL,
	'each has a short description');
SELECT set_eq($$SELECT name, context FROM pg_settings WHERE name LIKE 'ticket.%'$$, $$VALUES
	('ticket.allow_drop', 'superuser'),
	('ticket.clock_databases', 'sighup'),
	('ticket.clock_offset', 'superuser'),
	('ticket.http_errors', 'user'),
	('ticket.log_refusals', 'superuser'),
	('ticket.max_balance', 'superuser'),
	('ticket.max_charge', 'superuser'),
	('ticket.max_map_seats', 'postmaster'), ('ticket.max_queues', 'postmaster'),
	('ticket.max_waiting', 'postmaster'),
	('ticket.notify_moves', 'superuser'),
	('ticket.outbox_retention', 'superuser'),
	('ticket.trace_id', 'user'),
	('ticket.user_claim', 'superuser'),
	('ticket.withdraw_points', 'superuser')$$, 'the settings, each in the right hands');

-- ---------- PUBLIC ----------

SELECT is((SELECT string_agg(p.oid::regprocedure::text, ', ') FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
	WHERE p.pronamespace = 'ticket'::regnamespace AND a.grantee = 0), NULL, 'no function is for PUBLIC');
SELECT is((SELECT string_agg(c.relname, ', ') FROM pg_class c,
		aclexplode(coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, c.relowner))) a
	WHERE c.relnamespace = 'ticket'::regnamespace AND a.grantee = 0), NULL, 'no table, view or sequence is');
SELECT is((SELECT string_agg(a.attname, ', ') FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
	WHERE c.relnamespace = 'ticket'::regnamespace AND a.attacl IS NOT NULL), NULL, 'no column has rights of its own');
SELECT is((SELECT count(*) FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a
	WHERE n.nspname = 'ticket' AND a.grantee = 0), 0::bigint, 'nor is the schema');

-- ---------- functions ----------

SELECT is((SELECT string_agg(p.oid::regprocedure::text, ', ') FROM pg_proc p WHERE p.pronamespace = 'ticket'::regnamespace AND p.prosecdef
	AND p.prosqlbody IS NULL AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS c WHERE c = 'search_path=pg_catalog, pg_temp')), NULL,
	'SECURITY DEFINER functions have a parsed body or a search_path of their own');
SELECT ok((SELECT count(*) FROM pg_proc p WHERE p.pronamespace = 'ticket'::regnamespace AND p.prosecdef) > 5, 'and there are some');
SELECT is((SELECT string_agg(p.oid::regprocedure::text, ', ') FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
	WHERE p.pronamespace = 'ticket'::regnamespace AND l.lanname <> 'c'
	AND p.prosqlbody IS NULL AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS c WHERE c = 'search_path=pg_catalog, pg_temp')), NULL,
	'so have the others that are not C');
SELECT is((SELECT string_agg(p.oid::regprocedure::text, ', ') FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
	WHERE p.pronamespace = 'ticket'::regnamespace AND l.lanname = 'c' AND (p.prosecdef OR p.probin <> '$libdir/ticket')), NULL,
	'those in C become the owner by themselves');
SELECT is((SELECT string_agg(proname, ', ') FROM (SELECT proname FROM pg_proc WHERE pronamespace = 'ticket'::regnamespace
	GROUP BY proname HAVING count(*) > 1) p), NULL, 'no function is overloaded');
SELECT is((SELECT string_agg(p.oid::regprocedure::text, ', ') FROM pg_proc p WHERE p.pronamespace = 'ticket'::regnamespace
	AND (cardinality(coalesce(p.proallargtypes, p.proargtypes)) <> coalesce(cardinality(p.proargnames), 0) OR '' = ANY (p.proargnames))), NULL,
	'every argument has a name');
SELECT is((SELECT string_agg(p.oid::regprocedure::text, ', ') FROM pg_proc p WHERE p.pronamespace = 'ticket'::regnamespace
	AND (p.proisstrict OR p.proparallel = 's' AND p.proname <> 'clock')), NULL,
	'none answers NULL to NULL, none runs in a parallel worker');
SELECT is((SELECT string_agg(DISTINCT c.relname || '.' || t.tgname, ', ') FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
	WHERE c.relnamespace = 'ticket'::regnamespace AND t.tgenabled <> 'O'), NULL, 'every trigger is enabled');

-- ---------- what pg_dump saves ----------

SELECT is((SELECT string_agg(c.relname, ', ' ORDER BY c.relname) FROM pg_class c
	WHERE c.relnamespace = 'ticket'::regnamespace AND c.relkind IN ('r', 'S') AND c.relname !~ '^history_\d'
	AND NOT EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'ticket' AND c.oid = ANY (e.extconfig))), 'permission',
	'every table and sequence but permission');
SELECT is((SELECT array_agg(DISTINCT condition) FROM pg_extension e, unnest(e.extcondition) AS condition WHERE e.extname = 'ticket'), '{""}',
	'with all rows');
SELECT is((SELECT format('%s %s', n.nspname, e.extrelocatable) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
	WHERE e.extname = 'ticket'), 'ticket f', 'the schema is fixed');

-- ---------- coming and going ----------

SELECT ticket.history_extend() >= 0 AS extended \gset

-- Not while there is a sale to lose, by whatever way
SELECT pg_temp.refused(call, '2BP01') FROM unnest('{DROP EXTENSION ticket, DROP EXTENSION ticket CASCADE,
	DROP SCHEMA ticket CASCADE, DROP EXTENSION plpgsql CASCADE}'::text[]) AS call;
BEGIN;
ALTER TABLE ticket.ledger DISABLE TRIGGER USER;
TRUNCATE ticket.reservation, ticket.queue_entry;
SELECT pg_temp.refused('DROP EXTENSION ticket', '2BP01', 'a ledger is one');
TRUNCATE ticket.ledger;
SAVEPOINT s;
DROP EXTENSION ticket;
SELECT ok(NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'ticket'), 'a catalogue alone is none');
ROLLBACK TO s;
SELECT count(*) AS n FROM ticket.ticket_enqueue(ticket.queue_create('dropped'), 'a') \gset
SELECT pg_temp.refused('DROP EXTENSION ticket', '2BP01', 'somebody in a waiting room is one');
ROLLBACK;
BEGIN;
SELECT pg_temp.sale() AS p \gset
ALTER TABLE ticket.ledger DISABLE TRIGGER USER;
TRUNCATE ticket.reservation, ticket.ledger, ticket.queue_entry;
SELECT count(*) AS n FROM ticket.seat_hold(:p, '{1}', 'a') \gset
SELECT pg_temp.refused('DROP EXTENSION ticket', '2BP01', 'a hold is one');
ROLLBACK;
-- What has the same name is somebody else's
CREATE SCHEMA other;
CREATE TABLE other.reservation AS SELECT 1;
SELECT lives_ok('DROP SCHEMA other CASCADE', 'nobody else''s tables are guarded');

BEGIN;
SET LOCAL ticket.allow_drop = on;
DROP EXTENSION ticket;
SELECT count(*) AS objects FROM pg_class WHERE relnamespace = to_regnamespace('ticket') \gset
SELECT ok(:objects = 0, 'DROP EXTENSION leaves nothing behind');
ROLLBACK;
SELECT ticket.queue_create('dropped') AS q \gset
SELECT count(ticket.ticket_enqueue(:q, 'a')) AS n \gset
SELECT is(pg_temp.memory(:q), '0 waiting, 1 active, 1 admitted', 'rolled back all is there');
SET ticket.allow_drop = on;
DROP EXTENSION ticket;
RESET ticket.allow_drop;
CREATE EXTENSION ticket;
SELECT is((SELECT count(*) FROM ticket.queue_memory()), 0::bigint, 'dropped and made again, shared memory is empty');
SELECT ticket.queue_create('again') AS q \gset
SELECT is((SELECT status FROM ticket.ticket_enqueue(:q, 'a')), 'active', 'the same session goes on');
SELECT is((SELECT status FROM ticket.seat_hold(pg_temp.sale(), '{1}', 'a')), 'held', 'with holds as well');
SELECT is(pg_temp.memory(:q), '0 waiting, 1 active, 1 admitted', 'and counts');
SELECT is((SELECT string_agg(invariant, ', ') FROM ticket.verify() WHERE NOT ok), NULL, 'every invariant holds');

SELECT * FROM finish();
