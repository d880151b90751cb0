-- What somebody has altered that functions in C know from before: an index, the
-- type of a row, a table whose rows they return.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin
SET search_path = ticket, public;

SELECT queue_create('altered') AS q \gset

-- ---------- an index ----------

-- What BRIN keeps from one row to the next would point into what is gone.  It
-- keeps something only for a page that has its summary, and what is gone is gone
-- only when the index is not of this transaction.
SELECT count(i) AS n FROM generate_series(1, 3) AS i, ticket_enqueue(:q, 'many-' || i) \gset
CREATE INDEX by_entry ON queue_entry USING brin (queue_id, place, user_id) WITH (pages_per_range = 1);
CREATE INDEX by_id ON outbox USING brin (id, type) WITH (pages_per_range = 1);
SELECT is((SELECT status FROM ticket_enqueue(:q, 'a')), 'active', 'a ticket, with a BRIN index');
ALTER INDEX by_entry SET (autosummarize = on);
ALTER INDEX by_id SET (autosummarize = on);
-- Memory that was given back is used for something else.
SELECT count(*) AS n FROM pg_class c, pg_get_indexdef(c.oid) WHERE c.relkind = 'i' \gset
SELECT is((SELECT status FROM ticket_enqueue(:q, 'b')), 'active', 'a ticket, when the index has been altered');
SELECT count(i) AS n FROM generate_series(1, 100) AS i, ticket_enqueue(:q, 'more-' || i) \gset
SET enable_seqscan = off;
SELECT is((SELECT count(*) FROM queue_entry WHERE queue_id = :q AND user_id IN ('a', 'b', 'more-100')), 3::bigint, 'each row is there');
RESET enable_seqscan;
DROP INDEX by_entry, by_id;
-- Nor what it kept when a row was refused on the way.
BEGIN;
DELETE FROM queue_entry;
CREATE INDEX by_entry ON queue_entry USING brin (place) WITH (pages_per_range = 1);
CREATE UNIQUE INDEX one_each ON queue_entry (user_id);
SELECT is((SELECT status FROM ticket_enqueue(:q, 'c')), 'active', 'a ticket, with a BRIN index and one more');
SELECT queue_create('altered too') AS r \gset
SELECT throws_ok(format('SELECT ticket_enqueue(%s, ''c'')', :r), '23505', NULL, 'which refuses a row');
SELECT is((SELECT status FROM ticket_enqueue(:q, 'd')), 'active', 'and lets the next one in');
ROLLBACK;

-- ---------- a row type ----------

SELECT token AS t FROM ticket_enqueue(:q, 'typed') \gset
SELECT pg_temp.sale(price => 1) AS p \gset
SELECT reservation_id AS held FROM seat_hold(:p, '{1}', 'typed') \gset
SELECT reservation_id AS paid FROM seat_hold(:p, '{2}', 'typed') \gset
SELECT count(point_charge('typed', 5)) AS n, count(pay_reservation(:paid, 'typed')) AS m \gset
CREATE TABLE pg_temp.call (type text, call text);
INSERT INTO call VALUES
	('ticket_state', format('ticket_status(%L)', :'t')),
	('hold_state', format('seat_hold(%s, ''{3}'', ''typed'')', :p)),
	('best_hold_state', format('seat_hold_best(%s, 1, ''typed'')', :p)),
	('payment_state', format('pay_reservation(%s, ''typed'')', :paid));

-- How a call ends as a row and as columns, before, while and after the type is altered.
CREATE FUNCTION pg_temp.attempt(query text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	BEGIN
		EXECUTE query;
		RAISE division_by_zero;
	EXCEPTION
		WHEN division_by_zero THEN RETURN 'answers';
		WHEN OTHERS THEN RETURN SQLSTATE;
	END;
END $$;
CREATE FUNCTION pg_temp.attempts(call text) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(', ', pg_temp.attempt('SELECT * FROM ' || call), pg_temp.attempt('SELECT ' || call),
		pg_temp.attempt('SELECT status FROM ' || call), pg_temp.attempt('SELECT s::text FROM ' || call || ' AS s')) $$;
CREATE FUNCTION pg_temp.with_altered(type text, call text, change text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text := pg_temp.attempts(call);
BEGIN
	BEGIN
		EXECUTE format('ALTER TYPE ticket.%I %s', type, change);
		result := result || '; ' || pg_temp.attempts(call);
		RAISE division_by_zero;
	EXCEPTION WHEN division_by_zero THEN
	END;
	RETURN result || '; ' || pg_temp.attempts(call);
END $$;
SELECT is(pg_temp.with_altered(type, call, change),
	'answers, answers, answers, answers; 42804, 42804, 42804, 42804; answers, answers, answers, answers', type || ': ' || change)
FROM call, unnest('{ADD ATTRIBUTE more text,ALTER ATTRIBUTE status TYPE int,DROP ATTRIBUTE expires_at}'::text[]) AS change
WHERE NOT (type = 'payment_state' AND change ~ 'expires_at') ORDER BY type, change;
SELECT is(pg_temp.with_altered(type, call, 'ALTER ATTRIBUTE amount TYPE text'),
	'answers, answers, answers, answers; 42804, 42804, 42804, 42804; answers, answers, answers, answers', type || ': a number as text')
FROM call WHERE type <> 'ticket_state' ORDER BY type;
SELECT is(pg_temp.with_altered('ticket_state', call, 'RENAME ATTRIBUTE expires_at TO until'),
	'answers, answers, answers, answers; answers, answers, answers, answers; answers, answers, answers, answers', 'another name does no harm')
FROM call WHERE type = 'ticket_state';

-- A query prepared before is held to it, too.
PREPARE poll AS SELECT status FROM ticket_status($1);
EXECUTE poll(:'t') \gset before_
BEGIN;
ALTER TYPE ticket_state ALTER ATTRIBUTE "position" TYPE text;
SELECT is(pg_temp.attempt(format('EXECUTE poll(%L)', :'t')), '42804', 'a prepared query is refused');
ROLLBACK;
EXECUTE poll(:'t') \gset after_
SELECT is(:'after_status'::text, 'active', 'and answers again');

-- ---------- a table whose rows are returned ----------

BEGIN;
DELETE FROM outbox;
SELECT count(point_charge('typed', 5)) AS n \gset
ALTER TABLE outbox ADD COLUMN sent timestamptz;
SELECT is((SELECT type FROM outbox_fetch(1)), 'points.charged', 'an event, with a column more in its table');
ROLLBACK;
SELECT is(pg_temp.memory(:q), pg_temp.counted(:q), 'shared memory has what the tables have');

SELECT * FROM finish();
