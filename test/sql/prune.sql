-- Tickets that ended longer than retention ago are taken away by tick().
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin
SET search_path = ticket, public;

-- What other tests have left is kept, so that a tick() below is about the queue it is for.
UPDATE queue SET retention = NULL;
SELECT queue_create('bad') AS q \gset
SELECT is((SELECT retention FROM queue WHERE queue_id = :q), '1 day', 'retention has a default');
SELECT pg_temp.refused(format('UPDATE ticket.queue SET %s WHERE queue_id = %s', change, :q), '23514', change)
FROM (VALUES ('retention = ''-1 s'''), ('retention = ''11 years''')) AS v(change);
UPDATE queue SET retention = NULL WHERE queue_id = :q;

-- Users of a queue that still have a row, in the order of their places
CREATE FUNCTION pg_temp.rows(queue_id bigint) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(e.user_id, ' ' ORDER BY e.place) FROM ticket.queue_entry e WHERE e.queue_id = $1 $$;

SELECT queue_create('prune', capacity => 2, promote_interval => '1 s', active_ttl => '1 day', idle_ttl => '1 day') AS q \gset
UPDATE queue SET retention = '1 hour' WHERE queue_id = :q;
SELECT token AS a FROM ticket_enqueue(:q, 'a') \gset
SELECT token AS b FROM ticket_enqueue(:q, 'b') \gset
SELECT token AS c FROM ticket_enqueue(:q, 'c') \gset
SELECT token AS d FROM ticket_enqueue(:q, 'd') \gset
SELECT token AS e FROM ticket_enqueue(:q, 'e') \gset
SELECT max(place) AS highest FROM queue_entry WHERE queue_id = :q \gset
SELECT ticket_leave(:'a') AS left, ticket_leave(:'d') AS left, count(tick()) AS n \gset
SELECT is(pg_temp.rows(:q), 'a b c d e', 'who has just left is kept');
SET ticket.clock_offset = '30min';
SELECT ticket_leave(:'e') AS left, count(tick()) AS n \gset
SELECT is((SELECT status FROM ticket_status(:'a')), 'left', 'and can be asked for');
SET ticket.clock_offset = '61min';
BEGIN;
SELECT count(tick()) AS n \gset
SELECT is(pg_temp.rows(:q), 'b c e', 'after retention the rows go');
ROLLBACK;
SELECT is(pg_temp.rows(:q), 'a b c d e', 'rolled back they are there');
UPDATE queue SET retention = '59 min' WHERE queue_id = :q;
SELECT count(tick()) AS n \gset
SELECT is(pg_temp.rows(:q), 'b c e', 'another retention begins the search anew');
SELECT pg_temp.refused(format('SELECT ticket.%s(%L)', call, :'a'), 'TK001', 'the token is not valid any more: ' || call)
FROM (VALUES ('ticket_status'), ('ticket_leave')) AS v(call);
SELECT is(pg_temp.memory(:q), '0 waiting, 2 active, 2 admitted', 'who lives is not touched');
SELECT is((SELECT string_agg(status, ' ') FROM unnest(ARRAY[:'b', :'c']::uuid[]) AS t, ticket_status(t)), 'active active', 'and can be asked for');
SET ticket.clock_offset = '10h';
SELECT count(tick()) AS n \gset
SELECT is(pg_temp.rows(:q), 'b c e', 'the highest place is kept');
SELECT ticket_leave(:'b') AS left, ticket_leave(:'c') AS left \gset
SET ticket.clock_offset = '20h';
SELECT count(tick()) AS n \gset
SELECT is(pg_temp.rows(:q), 'e', 'the highest place alone');
-- The index is read anew: the next place is still behind
BEGIN;
INSERT INTO queue_entry (queue_id, place, user_id, secret, status, entered_at) VALUES (:q, 1, 'hand', 1, 'waiting', clock());
DELETE FROM queue_entry WHERE queue_id = :q AND user_id = 'hand';
COMMIT;
SELECT count(ticket_enqueue(:q, 'f')) AS n \gset
SELECT is((SELECT place - :highest FROM queue_entry WHERE queue_id = :q AND user_id = 'f'), 1::bigint, 'no place is given out twice');
UPDATE queue SET retention = NULL WHERE queue_id = :q;
SET ticket.clock_offset = '100h';
SELECT count(tick()) AS n \gset
SELECT is(pg_temp.rows(:q), 'e f', 'without retention all are kept');
RESET ticket.clock_offset;

-- Whom the rate let in within promote_interval still counts for it.
SELECT queue_create('rate', promote_count => 2, promote_interval => '10 h') AS q \gset
UPDATE queue SET retention = '1 s' WHERE queue_id = :q;
SELECT token AS a FROM ticket_enqueue(:q, 'a') \gset
SELECT token AS b FROM ticket_enqueue(:q, 'b') \gset
SELECT ticket_leave(:'a') AS left, ticket_leave(:'b') AS left \gset
SELECT count(ticket_leave(t.token)) AS n FROM ticket_enqueue(:q, 'c') AS t \gset
SET ticket.clock_offset = '1h';
SELECT count(tick()) AS n \gset
SELECT is(pg_temp.rows(:q), 'a b c', 'who counts for the rate is kept');
BEGIN;
INSERT INTO queue_entry (queue_id, place, user_id, secret, status, entered_at) VALUES (:q, 1000, 'hand', 1, 'waiting', clock());
DELETE FROM queue_entry WHERE queue_id = :q AND user_id = 'hand';
COMMIT;
SELECT is((SELECT status FROM ticket_enqueue(:q, 'd')), 'waiting', 'and counts when the tables are read anew');
SET ticket.clock_offset = '11h';
SELECT count(tick()) AS n \gset
SELECT is(pg_temp.rows(:q), 'd', 'until the interval is over');
RESET ticket.clock_offset;
UPDATE queue SET retention = NULL WHERE queue_id = :q;

-- More than one step, with some who stay in between.
SELECT queue_create('many', capacity => 0, idle_ttl => '10 days') AS q \gset
SELECT count(ticket_enqueue(:q, 'u' || i)) AS n FROM generate_series(1, 3500) AS i \gset
SELECT count(ticket_leave(t.token)) AS n FROM generate_series(1, 3500) AS i, ticket_enqueue(:q, 'u' || i) AS t WHERE i % 7 > 0 \gset
UPDATE queue SET retention = '1 minute' WHERE queue_id = :q;
SET ticket.clock_offset = '2min';
SELECT count(tick()) AS n \gset
SELECT is((SELECT count(*) FROM queue_entry WHERE queue_id = :q), 2643::bigint, 'a round goes some way');
SELECT count(tick()) AS n \gset
SELECT count(tick()) AS n \gset
SELECT count(tick()) AS n \gset
SELECT is((SELECT count(*) FROM queue_entry WHERE queue_id = :q), 500::bigint, 'some go all the way');
SELECT is((SELECT count(*) FROM queue_entry WHERE queue_id = :q AND status = 'waiting'), 500::bigint, 'those who wait stay');
SELECT count(ticket_leave(t.token)) AS n FROM generate_series(7, 3500, 7) AS i, ticket_enqueue(:q, 'u' || i) AS t \gset
SELECT count(tick()) AS n \gset
SELECT is((SELECT count(*) FROM queue_entry WHERE queue_id = :q), 500::bigint, 'until they have gone');
SET ticket.clock_offset = '4min';
SELECT count(tick()) AS n \gset
SELECT is((SELECT count(*) FROM queue_entry WHERE queue_id = :q), 1::bigint, 'and retention is over');
RESET ticket.clock_offset;
SELECT is(pg_temp.memory(:q), pg_temp.counted(:q), 'shared memory has what the tables have');

-- A queue takes its ended tickets with it.
SELECT is((SELECT count(*) FROM queue_entry WHERE queue_id = :q), 1::bigint, 'a queue with one that has ended');
BEGIN;
DELETE FROM queue WHERE queue_id = :q;
SELECT is((SELECT count(*) FROM queue_entry WHERE queue_id = :q), 0::bigint, 'deleted, they go with it');
ROLLBACK;
SELECT is((SELECT count(*) FROM queue_entry WHERE queue_id = :q), 1::bigint, 'and come back with it');
DELETE FROM queue WHERE queue_id = :q;
INSERT INTO queue (queue_id, name, capacity, promote_count, promote_interval, active_ttl, idle_ttl)
VALUES (:q, 'again', 1, 1, '1 s', '1 day', '1 day');
SELECT is((SELECT status FROM ticket_enqueue(:q, 'u1')), 'active', 'its number may be used again');

-- Tickets that are there before their queue, as a restore may have it.
SELECT max(queue_id) + 1000 AS q FROM queue \gset
INSERT INTO queue_entry (queue_id, place, user_id, secret, status, entered_at)
SELECT :q, i, 'u' || i, 1, 'waiting', clock() FROM generate_series(1, 3) AS i;
SELECT count(*) AS n FROM queue_memory() \gset
INSERT INTO queue (queue_id, name, capacity, promote_count, promote_interval, active_ttl, idle_ttl)
VALUES (:q, 'restored', 0, 1, '1 s', '1 day', '1 day');
SELECT is((SELECT "position" FROM ticket_enqueue(:q, 'u4')), 4::bigint, 'a queue finds the tickets it has');

SELECT is((SELECT string_agg(invariant, ', ') FROM verify() WHERE NOT ok), NULL, 'every invariant holds');
SELECT * FROM finish();
