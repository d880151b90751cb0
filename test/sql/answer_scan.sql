-- Functions that answer with one row, read in FROM: by our own node where it can
-- be, else by the server's.  Whatever the query, the answer is the same and the
-- function is called as often as the server would call it.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin
SET search_path = ticket, public;

SELECT queue_create('scan', capacity => 0) AS q \gset
CREATE TABLE public.scan_token (n int, token uuid);
INSERT INTO public.scan_token SELECT i, t.token FROM generate_series(1, 300) AS i, ticket_enqueue(:q, 'scan-' || i) AS t;
SELECT token AS t1 FROM public.scan_token WHERE n = 1 \gset
SELECT token AS t2 FROM public.scan_token WHERE n = 2 \gset
ANALYZE public.scan_token;

-- Which nodes read the functions of a query: ours, theirs.
CREATE FUNCTION pg_temp.nodes(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	line text;
	nodes text := '';
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS off) ' || query LOOP
		nodes := nodes || CASE WHEN line ~ 'Custom Scan \(TicketAnswer\)' THEN ' ours' WHEN line ~ 'Function Scan' THEN ' theirs' ELSE '' END;
	END LOOP;
	RETURN ltrim(nodes);
END $$;

-- How often a command calls ticket_status.
CREATE FUNCTION pg_temp.calls() RETURNS numeric LANGUAGE sql AS $$
	SELECT coalesce(sum(split_part(line, ' ', 2)::numeric), 0) FROM regexp_split_to_table(ticket.metrics(), '\n') AS line
	WHERE line LIKE 'ticket\_calls\_total{function="ticket\_status"} %' $$;
CREATE FUNCTION pg_temp.called(command text) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
	before numeric := pg_temp.calls();
BEGIN
	EXECUTE command;
	RETURN pg_temp.calls() - before;
END $$;

-- ---------- which queries ----------

CREATE TABLE pg_temp.query (n int GENERATED ALWAYS AS IDENTITY, nodes text, calls int, query text, title text);
INSERT INTO query (nodes, calls, query) VALUES
	('ours', 1, 'SELECT * FROM ticket_status(%1$L)'),
	('ours', 1, 'SELECT "position" FROM ticket_status(%1$L)'),
	('ours', 1, 'SELECT expires_at, token, 2 * "position" FROM ticket_status(%1$L) AS s WHERE s.status = ''waiting'''),
	('ours', 1, 'SELECT * FROM ticket_status(token => %1$L) AS s (a, b, c, d, e, f) WHERE c > 1'),
	('ours', 1, 'SELECT FROM ticket_status(%1$L)'),
	('ours', 1, 'SELECT count(*) FROM ticket_status(%1$L)'),
	('ours', 1, 'SELECT DISTINCT status FROM ticket_status(%1$L) ORDER BY 1 LIMIT 1'),
	('', 0, 'SELECT * FROM ticket_status(%1$L) WHERE false'),
	('ours', 0, 'SELECT * FROM ticket_status(%1$L) LIMIT 0'),
	('ours', 0, 'SELECT * FROM ticket_status(%1$L) WHERE NOT pg_is_in_recovery() AND current_user IS NULL'),
	('ours', 1, 'SELECT (SELECT "position" FROM ticket_status(%1$L))'),
	('ours', 1, 'SELECT "position" FROM ticket_status((SELECT token FROM scan_token WHERE n = 7))'),
	('ours', 1, 'SELECT 1 WHERE EXISTS (SELECT FROM ticket_status(%1$L))'),
	('ours', 1, 'WITH s AS MATERIALIZED (SELECT * FROM ticket_status(%1$L)) SELECT * FROM s, s AS again'),
	('ours', 1, 'SELECT * FROM (SELECT *, random() FROM ticket_status(%1$L) OFFSET 0) AS s'),
	('ours ours', 2, 'SELECT * FROM ticket_status(%1$L) AS a, ticket_status(%2$L) AS b'),
	('ours ours', 2, 'SELECT a.token FROM ticket_status(%1$L) AS a JOIN ticket_status(%2$L) AS b USING (status)'),
	('ours ours', 2, 'SELECT b.token FROM ticket_status(%1$L) AS a, ticket_status(a.token) AS b'),
	('ours', 300, 'SELECT n, s.* FROM scan_token AS t, ticket_status(t.token) AS s ORDER BY n'),
	('ours', 300, 'SELECT n, "position" FROM scan_token AS t LEFT JOIN LATERAL ticket_status(t.token) AS s ON s."position" > 10 ORDER BY n'),
	('ours', 300, 'SELECT n, "position" FROM scan_token AS t, ticket_status(t.token) AS s WHERE "position" = n + 1 - 1 AND status = ''waiting'' ORDER BY 1'),
	('ours', 300, 'SELECT n, (SELECT "position" + t.n FROM ticket_status(t.token)) FROM scan_token AS t ORDER BY n'),
	('ours', 300, 'SELECT sum("position") FROM scan_token AS t, LATERAL (SELECT * FROM ticket_status(t.token) OFFSET 0) AS s'),
	('ours', 1, 'SELECT n, "position" FROM scan_token AS t, ticket_status(%1$L) AS s ORDER BY n'),
	('ours', 1, 'SELECT n, s.token FROM scan_token AS t LEFT JOIN ticket_status(%1$L) AS s ON s."position" = t.n ORDER BY n'),
	-- One call, whatever the row outside that the condition compares it with
	('ours', 1, 'SELECT n, (SELECT count(*) FROM ticket_status(%1$L) WHERE "position" <= t.n) FROM scan_token AS t ORDER BY n'),
	('theirs', 1, 'SELECT s FROM ticket_status(%1$L) AS s'),
	('theirs', 1, 'SELECT "position" FROM ticket_status(%1$L) AS s WHERE s IS NOT DISTINCT FROM s'),
	('theirs', 1, 'SELECT * FROM ticket_status(%1$L) WITH ORDINALITY'),
	('theirs', 1, 'SELECT * FROM ROWS FROM (ticket_status(%1$L), generate_series(1, 2))'),
	('ours', 300, 'SELECT n, (SELECT "position" FROM ticket_status((SELECT t.token WHERE t.n > 0))) FROM scan_token AS t ORDER BY n'),
	('theirs', 300, 'SELECT n, "position" FROM scan_token AS t, ticket_status((SELECT t.token WHERE t.n > 0)) ORDER BY n'),
	('theirs', 1, 'SELECT n FROM scan_token, ticket_status(%1$L) AS s WHERE n = "position" FOR UPDATE OF scan_token'),
	('theirs', 1, 'UPDATE scan_token SET n = n FROM ticket_status(%1$L) AS s WHERE n = "position" RETURNING n, status'),
	('ours', 1, 'INSERT INTO scan_token SELECT 0, token FROM ticket_status(%1$L) RETURNING *'),
	('theirs', 1, 'DELETE FROM scan_token USING ticket_status(%1$L) AS s WHERE n = 1 - "position" RETURNING status'),
	('ours theirs', 1, 'SELECT * FROM ticket_status(%1$L), generate_series(1, 3)'),
	('', 1, 'SELECT (ticket_status(%1$L)).status');
UPDATE query SET query = format(query, :'t1', :'t2');
UPDATE query SET title = regexp_replace(query, '''0[-0-9a-f]+''', 'X', 'g');
SELECT is(pg_temp.nodes(query), nodes, 'read by ' || coalesce(nullif(nodes, ''), 'none') || ': ' || title) FROM query ORDER BY n;
SELECT is(pg_temp.called(query), calls::numeric, calls || ' calls: ' || title) FROM query ORDER BY n;

-- The same function in another schema is left to the server.
CREATE FUNCTION public.server_status(token uuid) RETURNS ticket_state LANGUAGE c VOLATILE AS '$libdir/ticket', 'ticket_status';
CREATE FUNCTION pg_temp.rows(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE format('SELECT concat_ws('' '', count(*), string_agg(r::text, '' '')) FROM (%s) AS r', query) INTO result;
	RETURN result;
END $$;
SELECT is(pg_temp.nodes(replace(query, 'ticket_status(', 'server_status(')), 'theirs', 'another schema: ' || title)
FROM query ORDER BY n LIMIT 2;
SELECT is(pg_temp.rows(query), pg_temp.rows(replace(query, 'ticket_status(', 'server_status(')), 'the same rows: ' || title)
FROM query WHERE query ~ '^(SELECT|WITH)' AND query !~ 'random' ORDER BY n;
SELECT is((SELECT string_agg(format('%s %s %s', s."position", s.status, s.token = t.token), ' ' ORDER BY t.n)
	FROM scan_token AS t, ticket_status(t.token) AS s), (SELECT string_agg(n || ' waiting t', ' ' ORDER BY n) FROM scan_token),
	'300 rows of 300 calls');
SELECT is((SELECT format('%s %s', a."position", b."position") FROM ticket_status(:'t1') AS a, ticket_status(:'t2') AS b), '1 2',
	'two calls are not mixed up');
SELECT is((SELECT "position" FROM ticket_status((SELECT s.token FROM ticket_status(:'t2') AS s))), 2::bigint,
	'nor is one whose argument is the answer of another');
SELECT is((SELECT "position" FROM ticket_status((ticket_status(:'t2')).token)), 2::bigint, 'in the same expression');

-- ---------- read again ----------

SET enable_material = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
CREATE TABLE pg_temp.again AS SELECT format(query, :'t1') AS query FROM (VALUES
	('SELECT n, s.* FROM scan_token AS t LEFT JOIN ticket_status(%L) AS s ON t.n <> s."position" + 1'),
	('SELECT n, s.status || s.token FROM scan_token AS t LEFT JOIN (SELECT * FROM ticket_status(%L) WHERE status = ''waiting'') AS s ON t.n > s."position"')) AS v (query);
SELECT is(pg_temp.nodes(query), 'ours', 'the inner side of a join that reads it again and again') FROM again;
SELECT is(pg_temp.called(query), 1::numeric, 'is called once') FROM again;
SELECT is(pg_temp.rows(query), pg_temp.rows(replace(query, 'ticket_status(', 'server_status(')), 'and has the same rows') FROM again;
RESET enable_material;
RESET enable_hashjoin;
RESET enable_mergejoin;

-- ---------- cursors ----------

SELECT pg_temp.calls() AS before \gset
BEGIN;
DECLARE there CURSOR FOR SELECT status FROM ticket_status(:'t1');
FETCH ALL FROM there;
FETCH ALL FROM there;
FETCH BACKWARD ALL FROM there;
FETCH BACKWARD ALL FROM there;
FETCH NEXT FROM there;
FETCH PRIOR FROM there;
DECLARE scroll SCROLL CURSOR FOR SELECT "position", status FROM ticket_status(:'t2') WHERE "position" > 1;
FETCH LAST FROM scroll;
FETCH ABSOLUTE 1 FROM scroll;
FETCH RELATIVE 0 FROM scroll;
FETCH ABSOLUTE 2 FROM scroll;
FETCH BACKWARD 1 FROM scroll;
DECLARE held SCROLL CURSOR WITH HOLD FOR SELECT "position" FROM ticket_status(:'t2');
FETCH 1 FROM held;
COMMIT;
MOVE BACKWARD ALL FROM held;
FETCH ALL FROM held;
CLOSE held;
SELECT is(pg_temp.calls() - :before, 3::numeric, 'three cursors, three calls');

-- ---------- plans that are kept ----------

PREPARE kept (uuid) AS SELECT "position" FROM ticket_status($1);
SET plan_cache_mode = force_generic_plan;
SELECT is(pg_temp.nodes(format('EXECUTE kept (%L)', :'t1')), 'ours', 'a prepared statement');
SELECT pg_temp.calls() AS before \gset
EXECUTE kept (:'t1');
EXECUTE kept (:'t2');
SELECT is(pg_temp.calls() - :before, 2::numeric, 'two executions, two calls');
RESET plan_cache_mode;
CREATE FUNCTION pg_temp.loop(tokens uuid[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text := '';
	one uuid;
	answer ticket_state;
BEGIN
	FOREACH one IN ARRAY tokens LOOP
		SELECT * INTO answer FROM ticket_status(one);
		result := result || answer."position" || ' ';
	END LOOP;
	FOR answer IN SELECT s.* FROM unnest(tokens) AS t, ticket_status(t) AS s LOOP
		result := result || answer."position" || ' ';
	END LOOP;
	RETURN result;
END $$;
SELECT is(pg_temp.loop(ARRAY(SELECT token FROM scan_token WHERE n <= 12 ORDER BY n)),
	repeat((SELECT string_agg(n || ' ', '' ORDER BY n) FROM scan_token WHERE n <= 12), 2), 'in PL/pgSQL');
CREATE VIEW public.scan_view AS SELECT t.n, s.* FROM public.scan_token AS t, ticket_status(t.token) AS s;
SELECT is((SELECT status FROM scan_view WHERE n = 9), 'waiting', 'in a view');
SELECT is(pg_temp.called('SELECT status FROM scan_view WHERE n = 9'), 1::numeric, 'which calls for the rows it shows');
COPY (SELECT "position", status, expires_at FROM ticket_status((SELECT token FROM scan_token WHERE n = 3))) TO STDOUT;
CREATE TABLE pg_temp.made AS SELECT * FROM ticket_status(:'t1');
INSERT INTO made SELECT * FROM ticket_status(:'t2');
UPDATE made SET status = 'updated' FROM ticket_status(:'t2') AS s WHERE made.token = s.token;
SELECT is((SELECT string_agg("position" || ' ' || status, ', ' ORDER BY "position") FROM made), '1 waiting, 2 updated',
	'in statements that write');
SELECT is(pg_temp.called(format('EXPLAIN SELECT * FROM ticket_status(%L)', :'t1')), 0::numeric, 'EXPLAIN calls nothing');
SELECT is(pg_temp.called(format('EXPLAIN ANALYZE SELECT * FROM ticket_status(%L)', :'t1')), 1::numeric, 'EXPLAIN ANALYZE does');
EXPLAIN (COSTS off) SELECT * FROM ticket_status('80000000-0000-0000-0000-000000000000') WHERE status = 'active';
EXPLAIN (COSTS off, VERBOSE) SELECT n, "position" FROM scan_token AS t, ticket_status(t.token) WHERE status = 'active';
SET track_functions = 'all';
BEGIN;
SELECT count(*) AS n FROM scan_token, ticket_status(token) \gset
SELECT is(pg_stat_get_xact_function_calls('ticket_status(uuid)'::regprocedure), 300::bigint, 'track_functions counts calls');
COMMIT;
RESET track_functions;

-- ---------- the columns of a result ----------

-- A result that is the function's row or part of it: more of them than a session
-- keeps the descriptions of, each several times, one open all the while.
SELECT status, "position" AS "Place", status AS again FROM ticket_status(:'t2');
SELECT d FROM ticket_status(:'t2') AS t (a, b, c, d, e, f) WHERE false;
SELECT status AS open, "position" FROM ticket_status(:'t2');
BEGIN;
DECLARE there CURSOR FOR SELECT status AS open, "position" FROM ticket_status(:'t2');
CREATE FUNCTION pg_temp.made(n int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE format('CREATE TABLE pg_temp.as_%1$s AS SELECT %2$s AS "c %4$s", token AS x FROM ticket_status(%3$L)', n,
		(ARRAY['status', '"position"', 'expires_at'])[n % 3 + 1], (SELECT token FROM scan_token WHERE scan_token.n = 2), n / 2);
	SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod) || CASE WHEN attcollation <> 0 THEN ' collated' ELSE '' END, ', ' ORDER BY attnum) INTO result
	FROM pg_attribute WHERE attrelid = format('pg_temp.as_%s', n)::regclass AND attnum > 0;
	EXECUTE format('DROP TABLE pg_temp.as_%s', n);
	RETURN result;
END $$;
SELECT is(pg_temp.made(n), format('c %s %s, x uuid', n / 2,
	(ARRAY['text collated', 'bigint', 'timestamp with time zone'])[n % 3 + 1]), 'columns ' || n || ', round ' || round)
FROM generate_series(1, 2) AS round, generate_series(1, 10) AS n ORDER BY round, n;
FETCH ALL FROM there;
COMMIT;
EXECUTE kept (:'t2');
EXPLAIN (COSTS off, VERBOSE) SELECT status, "position" AS "Place" FROM ticket_status('80000000-0000-0000-0000-000000000000');
SELECT is(pg_temp.rows('SELECT s.* FROM ticket_status((SELECT token FROM scan_token WHERE n = 3)) AS s'),
	pg_temp.rows('SELECT s.* FROM server_status((SELECT token FROM scan_token WHERE n = 3)) AS s'), 'an argument from a subquery');
CREATE TYPE public.scan_c AS (token uuid, status text COLLATE "C", "position" bigint, estimated_wait interval, poll_after interval,
	expires_at timestamptz);
CREATE FUNCTION ticket.scan_c(token uuid) RETURNS scan_c LANGUAGE c AS '$libdir/ticket', 'ticket_status';
CREATE TABLE pg_temp.collated AS SELECT status AS c FROM ticket_status(:'t1');
CREATE TABLE pg_temp.collated_c AS SELECT status AS c FROM scan_c(:'t1');
SELECT is((SELECT string_agg(c.collname, ' ' ORDER BY a.attrelid::regclass::text) FROM pg_attribute AS a JOIN pg_collation AS c ON c.oid = a.attcollation
	WHERE a.attrelid IN ('collated'::regclass, 'collated_c'::regclass) AND a.attname = 'c'), 'default C', 'of the same name and type, and another collation');
DROP FUNCTION ticket.scan_c(uuid);
DROP TYPE public.scan_c;
CREATE FUNCTION pg_temp.table_of(token uuid) RETURNS TABLE (p bigint, s text) LANGUAGE sql AS
	'SELECT "position", status FROM ticket.ticket_status(token)';
CREATE FUNCTION pg_temp.row_of(token uuid) RETURNS ticket_state LANGUAGE sql AS 'SELECT * FROM ticket.ticket_status(token)';
SELECT is((SELECT format('%s %s', p, s) FROM pg_temp.table_of(:'t2')), '2 waiting', 'in a function that returns a table');
SELECT is((pg_temp.row_of(:'t2'))."position", 2::bigint, 'in one that returns the row');

-- ---------- errors and rights ----------

SELECT pg_temp.refused('SELECT * FROM ticket.ticket_status(NULL)', '22023', 'NULL');
SELECT pg_temp.refused('SELECT * FROM ticket.ticket_status(gen_random_uuid())', 'TK001', 'no token');
SELECT pg_temp.refused('SELECT n FROM scan_token, ticket_status(token) WHERE 1 / (n - "position") < 9', '22012', 'an error in a condition');
CREATE ROLE scan_buyer;
CREATE ROLE scan_nobody;
SELECT grant_role('scan_buyer', 'buyer') IS NULL AS n \gset
GRANT USAGE ON SCHEMA ticket TO scan_nobody;
SET ROLE scan_buyer;
SELECT status FROM ticket.ticket_status(:'t1');
EXECUTE kept (:'t1');
SET ROLE scan_nobody;
SELECT status FROM ticket.ticket_status(:'t1');
EXECUTE kept (:'t1');
RESET ROLE;

-- ---------- other functions ----------

SELECT is(pg_temp.nodes(format('SELECT * FROM ticket_enqueue(%s, $$scan-1$$)', :q)), 'ours', 'ticket_enqueue');
SELECT is((SELECT token FROM ticket_enqueue(:q, 'scan-1')), :'t1', 'enters once');
SELECT is((SELECT string_agg(e."position"::text, ' ' ORDER BY i) FROM generate_series(1, 3) AS i, ticket_enqueue(:q, 'scan-new-' || i) AS e),
	'301 302 303', 'enters three times');

SELECT is((SELECT format('%s %s', status IS NULL, token IS NULL) FROM ticket_find(:q, 'nobody')), 't t', 'no row is a row of NULLs');
-- Rows that the function makes whole; rows that are not what the query takes them for; NULL
CREATE TYPE public.scan_tick AS (promoted int, expired_tickets int, expired_holds int, more boolean);
CREATE TYPE public.scan_tock AS (promoted bigint, expired_tickets bigint, expired_holds int, more boolean, no int);
CREATE FUNCTION ticket.scan_tick() RETURNS scan_tick LANGUAGE c AS '$libdir/ticket', 'ticket_tick';
CREATE FUNCTION ticket.scan_tock() RETURNS scan_tock LANGUAGE c AS '$libdir/ticket', 'ticket_tick';
CREATE FUNCTION ticket.scan_strict(token uuid) RETURNS ticket_state LANGUAGE c STRICT AS '$libdir/ticket', 'ticket_status';
SELECT is(pg_temp.nodes('SELECT more FROM scan_tick()'), 'ours', 'a row that is made whole');
SELECT is((SELECT format('%s %s', promoted, expired_tickets) FROM scan_tick()), '0 0', 'is read');
SELECT is((SELECT string_agg(promoted::text, ' ') FROM generate_series(1, 3) AS i, LATERAL (SELECT * FROM scan_tick() WHERE i > 0) AS s), '0 0 0',
	'again and again');
SELECT pg_temp.refused('SELECT promoted FROM ticket.scan_tock()', '42804', 'a column of another type');
SELECT pg_temp.refused('SELECT no FROM ticket.scan_tock()', '42804', 'a column too many');
SELECT is(pg_temp.nodes('SELECT status FROM scan_strict((SELECT NULL::uuid))'), 'ours', 'a strict function');
SELECT is((SELECT format('%s %s', status IS NULL, token IS NULL) FROM scan_strict((SELECT NULL::uuid))), 't t', 'NULL is a row of NULLs');
SELECT is((SELECT string_agg(coalesce(s."position"::text, 'NULL'), ' ' ORDER BY n) FROM
	(VALUES (1, :'t2'), (2, NULL), (3, :'t1')) AS v (n, t), scan_strict(t::uuid) AS s), '2 NULL 1', 'row by row');
DROP FUNCTION scan_tick(), scan_tock(), scan_strict(uuid);
DROP TYPE public.scan_tick, public.scan_tock;

DROP VIEW public.scan_view;
DROP FUNCTION public.server_status(uuid);
DROP TABLE public.scan_token;
DROP OWNED BY scan_buyer, scan_nobody;
DROP ROLE scan_buyer, scan_nobody;
SELECT * FROM finish();
