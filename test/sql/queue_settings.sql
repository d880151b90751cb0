-- Settings of a waiting room that change nothing but what is told: poll_after,
-- estimated_wait, events; what happens to those who wait when idle_ttl gets
-- shorter; the figures for the operator.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin
SET search_path = ticket, public;

-- ---------- bad input ----------

SELECT queue_create('bad') AS q \gset
SELECT pg_temp.refused(format('UPDATE ticket.queue SET %s WHERE queue_id = %s', change, :q), code, change)
FROM (VALUES
	('poll_front = NULL', '23502'), ('poll_front = ''0''', '23514'), ('poll_front = ''-1 s''', '23514'),
	('poll_front = ''2 days'', poll_back = ''2 days''', '23514'), ('poll_front = ''31 s''', '23514'),
	('poll_back = NULL', '23502'), ('poll_back = ''0.5 s''', '23514'), ('poll_back = ''25 hours''', '23514'),
	('poll_back_position = NULL', '23502'), ('poll_back_position = 0', '23514'), ('poll_back_position = -1', '23514'),
	('poll_back_position = 2147483648', '22003'),
	('outflow_window = NULL', '23502'), ('outflow_window = ''0''', '23514'), ('outflow_window = ''0.9 s''', '23514'),
	('outflow_window = ''25 hours''', '23514'),
	('wait_step = NULL', '23502'), ('wait_step = ''0''', '23514'), ('wait_step = ''-1 s''', '23514'), ('wait_step = ''25 hours''', '23514'),
	('announce = NULL', '23502')) AS v(change, code);

-- ---------- poll_after ----------

SELECT queue_create('poll', capacity => 0, idle_ttl => '1 day') AS q \gset
SELECT count(ticket_enqueue(:q, 'u' || i)) AS n FROM generate_series(1, 12) AS i \gset
-- As all are told, in order
CREATE FUNCTION pg_temp.told(queue_id bigint, users int[]) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(extract(epoch FROM t.poll_after)::numeric::real::text, ' ' ORDER BY n)
	FROM unnest($2) WITH ORDINALITY AS u(u, n), ticket.ticket_enqueue($1, 'u' || u) AS t $$;
UPDATE queue SET poll_front = '2 s', poll_back = '12 s', poll_back_position = 10 WHERE queue_id = :q;
SELECT is(pg_temp.told(:q, '{1,2,6,10,11,12}'), '2 3 7 11 12 12', 'poll_after grows evenly from front to back');
UPDATE queue SET poll_front = '3 s', poll_back = '3 s', poll_back_position = 2147483647 WHERE queue_id = :q;
SELECT is(pg_temp.told(:q, '{1,12}'), '3 3', 'or is the same for all');
UPDATE queue SET poll_front = '1 ms', poll_back = '1 day', poll_back_position = 1 WHERE queue_id = :q;
SELECT is(pg_temp.told(:q, '{1,2,12}'), '0.001 28800 28800', 'the longest is a third of idle_ttl');
UPDATE queue SET poll_front = '1 hour', idle_ttl = '1 ms' WHERE queue_id = :q;
SELECT is(pg_temp.told(:q, '{1,2}'), '0.001 0.001', 'the shortest a millisecond');
BEGIN;
UPDATE queue SET poll_front = '5 s', poll_back = '5 s', idle_ttl = '1 hour' WHERE queue_id = :q;
SELECT is(pg_temp.told(:q, '{1}'), '0.001', 'a change is not told before commit');
ROLLBACK;
SELECT is(pg_temp.told(:q, '{1}'), '0.001', 'nor after rollback');
UPDATE queue SET poll_front = '5 s', poll_back = '5 s', idle_ttl = '1 hour' WHERE queue_id = :q;
SELECT is(pg_temp.told(:q, '{1}'), '5', 'but after commit');

-- Where 12 were promoted within 6 s, the 14th of those left waits 7 s.
SELECT queue_create('fast', capacity => 100, idle_ttl => '1 day') AS q \gset
UPDATE queue SET poll_front = '1 s', poll_back = '1 hour', poll_back_position = 1, mode = 'paused' WHERE queue_id = :q;
SELECT count(ticket_enqueue(:q, 'u' || i)) AS n FROM generate_series(1, 26) AS i \gset
SELECT is(pg_temp.told(:q, '{1,26}'), '1 3600', 'far back one asks seldom');
UPDATE queue SET mode = 'open' WHERE queue_id = :q;
SELECT is(ticket_promote(:q, 12), 12, 'some go in');
SET ticket.clock_offset = '6 s';
SELECT ok(poll_after BETWEEN '3 s' AND '4 s', 'the line moves: one asks after half the wait')
FROM ticket_enqueue(:q, 'u26');
SELECT is(pg_temp.told(:q, '{13,14}'), '1 1', 'but not before poll_front');
RESET ticket.clock_offset;

-- ---------- estimated_wait ----------

-- By the rate configured: 10 in 7 s.
SELECT queue_create('wait', capacity => 0, promote_count => 10, promote_interval => '7 s') AS q \gset
SELECT count(ticket_enqueue(:q, 'u' || i)) AS n FROM generate_series(1, 20) AS i \gset
UPDATE queue SET capacity = 1000 WHERE queue_id = :q;
CREATE FUNCTION pg_temp.waits(queue_id bigint, users int[]) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(extract(epoch FROM t.estimated_wait)::numeric::real::text, ' ' ORDER BY n)
	FROM unnest($2) WITH ORDINALITY AS u(u, n), ticket.ticket_enqueue($1, 'u' || u) AS t $$;
SELECT is(pg_temp.waits(:q, '{1,2,10,11,20}'), '1 2 7 8 14', 'estimated_wait in whole seconds, rounded up');
UPDATE queue SET wait_step = '0.1 s' WHERE queue_id = :q;
SELECT is(pg_temp.waits(:q, '{1,2,10,11,20}'), '0.7 1.4 7 7.7 14', 'in tenths');
UPDATE queue SET wait_step = '1 minute' WHERE queue_id = :q;
SELECT is(pg_temp.waits(:q, '{1,20}'), '60 60', 'in minutes');

-- Measured: 100 in the first ten seconds, then none.
SELECT queue_create('window', capacity => 1000000, promote_count => 1000000, promote_interval => '1 s', idle_ttl => '1 day') AS q \gset
UPDATE queue SET outflow_window = '10 s', wait_step = '1 ms' WHERE queue_id = :q;
SELECT count(ticket_enqueue(:q, 'in' || i)) AS n FROM generate_series(1, 100) AS i \gset
UPDATE queue SET mode = 'paused' WHERE queue_id = :q;
SELECT count(ticket_enqueue(:q, 'u' || i)) AS n FROM generate_series(1, 20) AS i \gset
UPDATE queue SET mode = 'open' WHERE queue_id = :q;
-- Promotions a minute, as shown to the operator
CREATE FUNCTION pg_temp.pace(queue_id bigint) RETURNS numeric LANGUAGE sql AS $$
	SELECT round(promoted_per_minute) FROM ticket.queue_stats s WHERE s.queue_id = $1 $$;
SET ticket.clock_offset = '10s';
SELECT pg_temp.pace(:q) AS pace \gset
-- 100 * exp(-1) / (1 - exp(-1)) in 10 s; the seconds that this test takes lower it a little
SELECT ok(:pace BETWEEN 200 AND 349.2, 'the outflow is measured over outflow_window');
UPDATE queue SET outflow_window = '1 hour' WHERE queue_id = :q;
SELECT ok(abs(pg_temp.pace(:q) - :pace) < 20, 'another window goes on at the rate measured');
SET ticket.clock_offset = '70s';
SELECT ok(pg_temp.pace(:q) BETWEEN :pace / 9 AND :pace / 5, 'and fades more slowly');
UPDATE queue SET outflow_window = '1 s' WHERE queue_id = :q;
SET ticket.clock_offset = '100s';
SELECT is(pg_temp.pace(:q), 0::numeric, 'or faster');
SELECT is((SELECT format('%s %s', "position", estimated_wait IS NULL) FROM ticket_enqueue(:q, 'u1')), '1 t',
	'with no outflow nobody knows how long it takes');
SELECT is((SELECT time_to_empty IS NULL OR time_to_empty > '360 days' FROM queue_stats WHERE queue_id = :q), true, 'nor does the operator');
RESET ticket.clock_offset;

-- What was seen in a rehearsal says nothing about the sale; nor do pauses, and those who go straight in.
SELECT queue_create('sale', capacity => 10000, promote_count => 100, promote_interval => '1 s', idle_ttl => '10 days') AS q \gset
UPDATE queue SET wait_step = '1 ms', mode = 'paused' WHERE queue_id = :q;
SELECT count(ticket_enqueue(:q, 'rehearsal' || i)) AS n FROM generate_series(1, 10) AS i \gset
UPDATE queue SET mode = 'open' WHERE queue_id = :q;
SELECT is(ticket_promote(:q), 10, 'a rehearsal');
SET ticket.clock_offset = '1h';
UPDATE queue SET opens_at = clock() + '10 s' WHERE queue_id = :q;
SELECT count(ticket_enqueue(:q, 'u' || i)) AS n FROM generate_series(1, 500) AS i \gset
SELECT ok((SELECT estimated_wait BETWEEN '10 s' AND '15 s' FROM ticket_enqueue(:q, 'u500')), 'before the sale opens: as configured, from then on');
SELECT ok((SELECT time_to_empty BETWEEN '10 s' AND '15 s' FROM queue_stats WHERE queue_id = :q), 'and so the operator');
UPDATE queue SET opens_at = NULL WHERE queue_id = :q;
SELECT is(pg_temp.waits(:q, '{100,500}'), '1 5', 'it opens: as configured');
SELECT is(ticket_promote(:q, 100), 100, 'the first go in');
SELECT is(pg_temp.waits(:q, '{500}'), '4', 'seen for less than a second: as configured');
CREATE FUNCTION pg_temp.estimate(queue_id bigint, user_id text) RETURNS interval LANGUAGE sql AS $$
	SELECT estimated_wait FROM ticket.ticket_enqueue($1, $2) $$;
SET ticket.clock_offset = '3602s';
-- 100 in two seconds
SELECT ok(pg_temp.estimate(:q, 'u500') BETWEEN '8 s' AND '16 s', 'then as seen');
UPDATE queue SET mode = 'paused' WHERE queue_id = :q;
SELECT is(pg_temp.estimate(:q, 'u500'), NULL, 'paused: not known');
SET ticket.clock_offset = '3642s';
UPDATE queue SET mode = 'open' WHERE queue_id = :q;
SELECT ok(pg_temp.estimate(:q, 'u500') BETWEEN '8 s' AND '16 s', 'the time of the pause does not count');
SET ticket.clock_offset = '3643s';
SELECT is(ticket_promote(:q), 100, 'but gives the rate back what it allows, once');
SELECT ok(pg_temp.estimate(:q, 'u500') BETWEEN '4 s' AND '8 s', 'more are seen');
UPDATE queue SET promote_count = 10 WHERE queue_id = :q;
SELECT is(pg_temp.waits(:q, '{500}'), '30', 'never faster than configured');
RESET ticket.clock_offset;
SELECT is(pg_temp.waits(:q, '{500}'), '30', 'nor by a clock that was put back');

SELECT queue_create('straight', capacity => 1000, promote_count => 100, promote_interval => '1 s', idle_ttl => '10 days') AS q \gset
UPDATE queue SET wait_step = '1 ms' WHERE queue_id = :q;
SELECT count(ticket_enqueue(:q, 'in' || i)) AS n FROM generate_series(1, 5) AS i \gset
SET ticket.clock_offset = '30s';
UPDATE queue SET mode = 'paused' WHERE queue_id = :q;
SELECT status FROM ticket_enqueue(:q, 'u1') \gset
UPDATE queue SET mode = 'open' WHERE queue_id = :q;
SELECT is(pg_temp.estimate(:q, 'u1'), '10 ms', 'who went straight in says nothing about the line');
SELECT ok((SELECT promoted_per_minute BETWEEN 1 AND 10 FROM queue_stats WHERE queue_id = :q), 'but is counted by the minute');
SET ticket.clock_offset = '89s';
SELECT is(pg_temp.estimate(:q, 'u1'), '10 ms', 'nobody has been let in: as configured');
SET ticket.clock_offset = '91s';
SELECT is(pg_temp.estimate(:q, 'u1'), NULL, 'nor for a whole window: not known');
RESET ticket.clock_offset;

-- A room of ten, opened a second from now: 200 enter, all stay five minutes of the
-- ten they may.  So it takes 95 minutes; before anybody has left, all of active_ttl counts.
SELECT queue_create('room', capacity => 10, opens_at => clock() + '1 s', idle_ttl => '1 day') AS q \gset
SELECT count(ticket_enqueue(:q, 'u' || i)) AS n FROM generate_series(1, 200) AS i \gset
SELECT ok(pg_temp.estimate(:q, 'u200') BETWEEN '3:09:50' AND '3:10:02', 'room: before it opens');
SET ticket.clock_offset = '1s';
SELECT is(ticket_promote(:q), 10, 'room: it opens');
CREATE FUNCTION pg_temp.is_told(queue_id bigint, first interval, last interval, description text) RETURNS text LANGUAGE sql AS $$
	SELECT ok(min(s.estimated_wait) BETWEEN first - '10 s' AND first + '30 s' AND max(s.estimated_wait) BETWEEN last - '10 s' AND last + '30 s'
		AND max(q.time_to_empty) BETWEEN last - '10 s' AND last + '30 s' AND count(*) = count(s.estimated_wait)
		AND max(q.promoted_per_minute) <= 12,
		description)
	FROM ticket.queue_entry e, LATERAL ticket.ticket_enqueue($1, e.user_id) s, ticket.queue_stats q
	WHERE e.queue_id = $1 AND e.status = 'waiting' AND q.queue_id = $1 $$;
SET ticket.clock_offset = '4s';
SELECT pg_temp.is_told(:q, '00:09:57', '3:09:57', 'room: told at 4 s');
SET ticket.clock_offset = '24s';
SELECT pg_temp.is_told(:q, '00:09:37', '3:09:37', 'room: told at 24 s');
SET ticket.clock_offset = '44s';
SELECT pg_temp.is_told(:q, '00:09:17', '3:09:17', 'room: told at 44 s');
SET ticket.clock_offset = '75s';
SELECT pg_temp.is_told(:q, '00:08:46', '3:08:46', 'room: told at 75 s');
SET ticket.clock_offset = '301s';
CREATE FUNCTION pg_temp.all_leave(queue_id bigint) RETURNS bigint LANGUAGE sql AS $$
	SELECT count(*) FILTER (WHERE ticket.ticket_leave(f.token)) FROM (SELECT e.user_id FROM ticket.queue_entry e
		WHERE e.queue_id = $1 AND e.status = 'active' OFFSET 0) e, LATERAL ticket.ticket_find($1, e.user_id) f $$;
SELECT is(pg_temp.all_leave(:q), 10::bigint, 'room: all leave after five minutes');
SELECT is(ticket_promote(:q), 10, 'room: and ten go in');
SELECT pg_temp.is_told(:q, '30 s', '1:30:00', 'room: told by how long people have stayed');
UPDATE queue SET capacity = 0 WHERE queue_id = :q;
SELECT is(pg_temp.estimate(:q, 'u200'), NULL, 'room: none');
UPDATE queue SET capacity = 20 WHERE queue_id = :q;
SELECT ok(pg_temp.estimate(:q, 'u200') BETWEEN '42 min' AND '43 min', 'room: twice as much');
SELECT ok((SELECT estimated_wait < '1 s' OR estimated_wait = '1 s' FROM ticket_enqueue(:q, 'u21')), 'room: where there is some, the rate counts');
RESET ticket.clock_offset;

-- A room of three, stays of 40 s
SELECT queue_create('three', capacity => 3, active_ttl => '40 s', idle_ttl => '1 day') AS q \gset
SELECT count(ticket_enqueue(:q, 'u' || i)) AS n FROM generate_series(1, 12) AS i \gset
SELECT is(pg_temp.waits(:q, '{4,6,7,12}'), '40 40 80 120', 'room: nobody has left');
SET ticket.clock_offset = '10s';
SELECT is(pg_temp.waits(:q, '{4,6,7,12}'), '30 30 70 110', 'room: nobody has left for ten seconds');
SET ticket.clock_offset = '41s';
SELECT is(ticket_promote(:q), 3, 'room: their time is up');
SELECT is(pg_temp.waits(:q, '{7,9,12}'), '14 40 80', 'room: three in 40 s');
RESET ticket.clock_offset;

-- ---------- the clock put back ----------

SELECT queue_create('put back', promote_count => 2, promote_interval => '10 s', idle_ttl => '10 days') AS q \gset
SET ticket.clock_offset = '1h';
SELECT count(ticket_enqueue(:q, 'in' || i)) AS n FROM generate_series(1, 2) AS i \gset
RESET ticket.clock_offset;
SELECT is((SELECT string_agg(status, ' ') FROM generate_series(1, 2) AS i, ticket_enqueue(:q, 'u' || i)), 'waiting waiting', 'the rate is used up');
SET ticket.clock_offset = '6s';
SELECT is(ticket_promote(:q), 1, 'and comes back by the clock there is now');
RESET ticket.clock_offset;

-- ---------- a shorter idle_ttl ----------

-- Who has been told to ask within the longer one is not sent home for that.
SELECT queue_create('idle', capacity => 0, idle_ttl => '10 minutes') AS q \gset
SELECT token AS a FROM ticket_enqueue(:q, 'a') \gset
SELECT token AS b FROM ticket_enqueue(:q, 'b') \gset
SELECT token AS c FROM ticket_enqueue(:q, 'c') \gset
SET ticket.clock_offset = '2min';
UPDATE queue SET idle_ttl = '10 s' WHERE queue_id = :q;
SELECT is(ticket_expire(:q), 0, 'idle_ttl made shorter ends nobody at once');
SELECT is((SELECT poll_after <= '3.4 s' FROM ticket_status(:'b')), true, 'who asks is told of it');
SET ticket.clock_offset = '3min';
SELECT is(ticket_expire(:q), 1, 'and goes by it');
SELECT is((SELECT array_agg(status ORDER BY place) FROM queue_entry WHERE queue_id = :q), '{waiting,expired,waiting}', 'he alone');
UPDATE queue SET idle_ttl = '5 s', capacity = 1 WHERE queue_id = :q;
SELECT is(ticket_expire(:q), 0, 'made shorter again: the first one counts');
SET ticket.clock_offset = '9min';
SELECT is((SELECT status FROM ticket_status(:'c')), 'waiting', 'another asks within the time');
SET ticket.clock_offset = '11min';
SELECT is(ticket_promote(:q), 0, 'then all have gone silent');
SELECT is((SELECT array_agg(status ORDER BY place) FROM queue_entry WHERE queue_id = :q), '{expired,expired,expired}', 'and are sent home');
UPDATE queue SET idle_ttl = '1 hour', capacity = 0 WHERE queue_id = :q;
SELECT token AS d FROM ticket_enqueue(:q, 'd') \gset
SET ticket.clock_offset = '69min';
SELECT is(ticket_expire(:q), 0, 'made longer it holds for all');
RESET ticket.clock_offset;

-- ---------- rate changed ----------

-- What went by before the change counts at the old rate.
SELECT queue_create('rate', promote_count => 2, promote_interval => '1 day', idle_ttl => '10 days') AS q \gset
SELECT count(ticket_enqueue(:q, 'u' || i)) AS n FROM generate_series(1, 10) AS i \gset
SET ticket.clock_offset = '1h';
UPDATE queue SET promote_count = 100, promote_interval = '100 min' WHERE queue_id = :q;
SELECT is(ticket_promote(:q), 0, 'an hour at the old rate lets nobody in');
SET ticket.clock_offset = '65.5min';
SELECT is(ticket_promote(:q), 5, 'five minutes at the new one five');
RESET ticket.clock_offset;

-- ---------- one's own room ----------

-- The active ticket is over and not tidied, the queue is full.
SELECT queue_create('own', capacity => 1, active_ttl => '10 minutes') AS q \gset
SELECT token AS a FROM ticket_enqueue(:q, 'a') \gset
SET ticket.clock_offset = '11min';
SELECT is((SELECT status FROM ticket_enqueue(:q, 'b')), 'waiting', 'for another there is no room before it is tidied');
SELECT is((SELECT "position" FROM ticket_enqueue(:q, 'a')), 2::bigint, 'nor past one who waits, for its owner');
SELECT is(pg_temp.memory(:q), '2 waiting, 0 active, 0 admitted', 'whose room is free then');
SELECT is(ticket_promote(:q), 1, 'for the first');
SELECT is(ticket_leave(t.token), true, 'the other leaves') FROM ticket_enqueue(:q, 'a') AS t;
SET ticket.clock_offset = '25min';
BEGIN;
SELECT is((SELECT status FROM ticket_enqueue(:q, 'b')), 'active', 'with nobody waiting one takes one''s own room again');
SELECT is((SELECT admitted FROM queue_memory() WHERE queue_id = :q), 1::bigint, 'which is never counted twice');
ROLLBACK;
SELECT is(pg_temp.memory(:q), '0 waiting, 1 active, 1 admitted', 'own room: abort');
SELECT is((SELECT status FROM ticket_enqueue(:q, 'b')), 'active', 'own room: commit');
SELECT is(pg_temp.memory(:q), '0 waiting, 1 active, 1 admitted', 'own room: after');
SELECT is(pg_temp.memory(:q), pg_temp.counted(:q), 'own room: as the tables have it');
BEGIN;
SELECT is((SELECT status FROM ticket_enqueue(:q, 'c')), 'waiting', 'another one still waits');
ROLLBACK;
RESET ticket.clock_offset;

-- ---------- queue.promoted ----------

SELECT count(*) AS n FROM outbox_fetch(100000) \gset
SELECT queue_create('announced', capacity => 0, promote_count => 10000) AS q \gset
SELECT count(ticket_enqueue(:q, 'u' || i)) AS n FROM generate_series(1, 2503) AS i \gset
SELECT is((SELECT count(*) FROM outbox), 0::bigint, 'who waits is not announced');
UPDATE queue SET capacity = 3 WHERE queue_id = :q;
BEGIN;
SELECT is(ticket_promote(:q), 3, 'three are promoted');
ROLLBACK;
SELECT is((SELECT count(*) FROM outbox), 0::bigint, 'who is not promoted after all is not announced');
SELECT is(ticket_promote(:q), 3, 'three are promoted again');
SELECT is((SELECT format('%s %s %s', aggregatetype, aggregateid = :'q', type) FROM outbox), 'queue t queue.promoted', 'in one event');
SELECT is((SELECT payload - '{queue_id,expires_at,admitted_at}'::text[] FROM outbox),
	jsonb_build_object('v', 1, 'user_ids', '{u1,u2,u3}'::text[],
		'places', (SELECT jsonb_agg(place ORDER BY place) FROM queue_entry WHERE queue_id = :q AND status = 'active')),
	'which says who');
SELECT is((SELECT format('%s %s %s', payload ->> 'queue_id' = :'q', (payload ->> 'admitted_at')::timestamptz = e.admitted_at,
		(payload ->> 'expires_at')::timestamptz = e.expires_at)
	FROM outbox, queue_entry e WHERE e.queue_id = :q AND e.user_id = 'u1'), 't t t', 'where and how long');
SELECT count(*) AS n FROM outbox_fetch(100000) \gset
UPDATE queue SET capacity = 10000 WHERE queue_id = :q;
SELECT is(ticket_promote(:q), 2500, 'more than an event takes');
SELECT is((SELECT array_agg(jsonb_array_length(payload -> 'user_ids') ORDER BY id) FROM outbox), '{1000,1000,500}', 'stand in several');
SELECT is((SELECT array_agg(u.u ORDER BY o.id, u.n) FROM outbox o, jsonb_array_elements_text(o.payload -> 'user_ids') WITH ORDINALITY AS u(u, n)),
	(SELECT array_agg(user_id ORDER BY place) FROM queue_entry WHERE queue_id = :q AND place > 3 AND status = 'active' AND user_id NOT IN ('u1', 'u2', 'u3')),
	'in the order of the line');
SELECT count(*) AS n FROM outbox_fetch(100000) \gset
SELECT is(ticket_promote(:q), 0, 'nobody is left');
SELECT is((SELECT count(*) FROM outbox), 0::bigint, 'nobody, no event');
UPDATE queue SET announce = false, capacity = 2503 WHERE queue_id = :q;
SELECT count(ticket_enqueue(:q, u)) AS n FROM unnest('{x,y}'::text[]) AS u \gset
UPDATE queue SET capacity = 10000 WHERE queue_id = :q;
SELECT is(ticket_promote(:q), 2, 'a queue need not announce');
SELECT is((SELECT count(*) FROM outbox), 0::bigint, 'then it writes nothing');

-- ---------- the rows of a promotion ----------

SELECT queue_create('rows', capacity => 0, promote_count => 10000) AS q \gset
SELECT count(ticket_enqueue(:q, 'u' || i)) AS n FROM generate_series(1, 1000) AS i \gset
SELECT min(place) - 1 AS first FROM queue_entry WHERE queue_id = :q \gset
-- Places 1, 65, 130 and 131 are a stretch of the index, as far apart as that goes, and further; so are 900 and 1000.
SELECT count(ticket_leave(t.token)) AS n FROM generate_series(1, 1000) AS i, ticket_enqueue(:q, 'u' || i) AS t
WHERE i <> ALL ('{1,65,130,131,500,900,1000}'::int[]) \gset
UPDATE queue SET capacity = 6 WHERE queue_id = :q;
SELECT count(*) AS n FROM outbox_fetch(100000) \gset
SELECT is(ticket_promote(:q), 6, 'who stand far apart are promoted together');
SELECT is((SELECT array_agg(user_id ORDER BY place) FROM queue_entry WHERE queue_id = :q AND status = 'active'),
	'{u1,u65,u130,u131,u500,u900}', 'they and nobody else');
SELECT is((SELECT payload -> 'user_ids' FROM outbox), '["u1", "u65", "u130", "u131", "u500", "u900"]', 'and announced so');
SELECT is(pg_temp.memory(:q), pg_temp.counted(:q), 'shared memory has what the tables have');
SET ticket.clock_offset = '1h';
SELECT is(ticket_expire(:q), 7, 'and all of them expire, with the silent one');
SELECT is((SELECT count(*) FROM queue_entry WHERE queue_id = :q AND status = 'expired'), 7::bigint, 'in their rows');
SELECT is(pg_temp.memory(:q), '0 waiting, 0 active, 0 admitted', 'and in shared memory');
RESET ticket.clock_offset;

-- A page has room for its rows a second time.
SELECT count(ticket_enqueue(:q, 'v' || i)) AS n FROM generate_series(1, 1000) AS i \gset
UPDATE queue SET capacity = 1000 WHERE queue_id = :q;
BEGIN;
SELECT pg_stat_get_xact_tuples_updated('queue_entry'::regclass) AS updated, pg_stat_get_xact_tuples_hot_updated('queue_entry'::regclass) AS hot \gset
SELECT is(ticket_promote(:q), 994, 'many are promoted in one transaction');
SELECT ok(pg_stat_get_xact_tuples_updated('queue_entry'::regclass) - :updated = 994
	AND pg_stat_get_xact_tuples_hot_updated('queue_entry'::regclass) - :hot > 900, 'without a new entry in an index, but for the page that others had begun');
ROLLBACK;

-- ---------- for the operator ----------

SELECT queue_create('stats', capacity => 2, promote_count => 60, promote_interval => '1 minute', idle_ttl => '1 day') AS q \gset
SELECT is((SELECT format('%s %s %s %s %s', waiting, oldest_wait IS NULL, ended_per_minute, round(promoted_per_minute), time_to_empty)
	FROM queue_stats WHERE queue_id = :q), '0 t 0 0 00:00:00', 'queue_stats of an empty queue');
SELECT token AS a FROM ticket_enqueue(:q, 'a') \gset
SELECT token AS b FROM ticket_enqueue(:q, 'b') \gset
SELECT token AS c FROM ticket_enqueue(:q, 'c') \gset
SET ticket.clock_offset = '10min';
SELECT token AS d FROM ticket_enqueue(:q, 'd') \gset
SELECT is((SELECT format('%s %s', waiting, oldest_wait BETWEEN '10 minutes' AND '11 minutes') FROM queue_stats WHERE queue_id = :q),
	'2 t', 'the first in line has waited longest');
SELECT ticket_leave(:'c') AS left \gset
SELECT ok((SELECT oldest_wait < '1 minute' FROM queue_stats WHERE queue_id = :q), 'then the next');
SELECT ticket_leave(:'a') AS left \gset
SET ticket.clock_offset = '11min';
-- Two within the last minute; a window of a minute keeps exp(-1) of them
SELECT ok((SELECT ended_per_minute BETWEEN 0.8 AND 1.2 FROM queue_stats WHERE queue_id = :q), 'who is gone is counted by the minute');
RESET ticket.clock_offset;

-- What the first in line waits for
SELECT queue_create('held up', capacity => 1, promote_count => 1, promote_interval => '1 day', active_ttl => '1 hour', idle_ttl => '10 days') AS q \gset
CREATE FUNCTION pg_temp.held_up_by(queue_id bigint) RETURNS text LANGUAGE sql AS $$
	SELECT held_up_by FROM ticket.queue_stats s WHERE s.queue_id = $1 $$;
SELECT token AS a FROM ticket_enqueue(:q, 'a') \gset
SELECT is(pg_temp.held_up_by(:q), NULL, 'held_up_by: nobody waits');
SELECT is((SELECT memory_bytes > 0 FROM queue_stats WHERE queue_id = :q), true, 'a ticket takes a page');
SELECT count(ticket_enqueue(:q, 'b')) AS n \gset
SELECT is(pg_temp.held_up_by(:q), 'capacity', 'held_up_by: capacity');
SET ticket.clock_offset = '61min';
SELECT is(pg_temp.held_up_by(:q), 'runner', 'held_up_by: somebody active is overdue');
RESET ticket.clock_offset;
SELECT ticket_leave(:'a') AS left \gset
SELECT is(pg_temp.held_up_by(:q), 'rate', 'held_up_by: rate');
UPDATE queue SET mode = 'paused' WHERE queue_id = :q;
SELECT is(pg_temp.held_up_by(:q), 'paused', 'held_up_by: paused');
UPDATE queue SET mode = 'passthrough' WHERE queue_id = :q;
SELECT is(pg_temp.held_up_by(:q), 'runner', 'held_up_by: passthrough');
UPDATE queue SET mode = 'open', opens_at = clock() + '2 days' WHERE queue_id = :q;
SELECT is((SELECT format('%s %s', held_up_by, opens_at > clock()) FROM queue_stats WHERE queue_id = :q), 'opens_at t', 'held_up_by: not open yet');
SET ticket.clock_offset = '3d';
SELECT is(pg_temp.held_up_by(:q), 'runner', 'held_up_by: there is room');
SELECT is(ticket_promote(:q), 1, 'for one');
SELECT is(pg_temp.held_up_by(:q), NULL, 'held_up_by: nobody waits any more');
SELECT is(ticket_expire(:q), 0, 'nobody is overdue');
SET ticket.clock_offset = '5d';
SELECT is(ticket_expire(:q), 1, 'until the time is up');
SELECT is((SELECT memory_bytes FROM queue_stats WHERE queue_id = :q), 0::bigint, 'an empty queue takes no page');
RESET ticket.clock_offset;

SELECT places, queues, pages FROM memory_stats \gset before_
SELECT is((SELECT format('%s %s %s %s', max_queues, max_places, max_pages, bytes > max_places * 16) FROM memory_stats),
	format('%s %s %s t', current_setting('ticket.max_queues'), current_setting('ticket.max_waiting'),
		current_setting('ticket.max_waiting')::int / 1920 + current_setting('ticket.max_queues')::int), 'memory_stats: what there is');
BEGIN;
SELECT queue_create('memory') AS q \gset
SELECT count(ticket_enqueue(:q, 'u' || i)) AS n FROM generate_series(1, 4096) AS i \gset
SELECT is((SELECT format('%s %s %s', places - :before_places, queues - :before_queues, pages - :before_pages) FROM memory_stats),
	'4096 1 2', 'memory_stats: what is used, transactions included');
SELECT is((SELECT format('%s %s %s', places, pages, max_pages) FROM queue_memory() WHERE queue_id = :q), '4096 2 3', 'queue_memory: and of this queue');
ROLLBACK;
SELECT is((SELECT format('%s %s %s', places - :before_places, queues - :before_queues, pages - :before_pages) FROM memory_stats),
	'0 0 0', 'memory_stats: given back');

SELECT is(
	(SELECT string_agg(format('%s: %s, tables %s', queue_id, pg_temp.memory(queue_id), pg_temp.counted(queue_id)), '; ')
	FROM queue WHERE pg_temp.memory(queue_id) IS DISTINCT FROM pg_temp.counted(queue_id)),
	NULL, 'shared memory has what the tables have, in every queue');

SELECT * FROM finish();
