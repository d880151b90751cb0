-- The waiting room: enter, ask, leave, promote, expire, modes, changed settings.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin
SET search_path = ticket, public;

-- ---------- create ----------

SELECT queue_create('defaults') AS q \gset
SELECT is(
	(SELECT format('%s %s %s %s %s %s %s %s %s', name, mode, rejoin, capacity, promote_count, promote_interval,
		active_ttl, idle_ttl, opens_at IS NULL) FROM queue WHERE queue_id = :q),
	'defaults open keep 1000 1000 00:00:10 00:10:00 00:02:00 t', 'a queue has its defaults');
SELECT queue_create('given', 7, 8, '9 s', '10 s', '11 s', '2100-01-01 00:00:00+00') AS q \gset
SELECT is(
	(SELECT format('%s %s %s %s %s %s %s %s', name, mode, capacity, promote_count, promote_interval,
		active_ttl, idle_ttl, opens_at = '2100-01-01 00:00:00+00') FROM queue WHERE queue_id = :q),
	'given open 7 8 00:00:09 00:00:10 00:00:11 t', 'a queue has what it was created with');
SELECT is(pg_temp.memory(:q), '0 waiting, 0 active, 0 admitted', 'and a slot in shared memory');

-- ---------- enter, ask, leave ----------

SELECT queue_create('enter', capacity => 2) AS q \gset
SELECT * FROM ticket_enqueue(:q, 'a') \gset a_
SELECT is(format('%s %s %s %s', :'a_status', :'a_position', :'a_estimated_wait', :'a_poll_after'),
	'active 0 00:00:00 00:00:30', 'the first is straight in');
SELECT ok(:'a_expires_at'::timestamptz BETWEEN now() + '9 minutes' AND now() + '10 minutes', 'for active_ttl');
SELECT is(
	(SELECT format('%s %s %s', user_id, status, expires_at = :'a_expires_at') FROM queue_entry WHERE queue_id = :q),
	'a active t', 'and has a row');
SELECT is((SELECT token FROM ticket_enqueue(:q, 'a')), :'a_token', 'who enters twice gets the same ticket, active');
SELECT * FROM ticket_enqueue(:q, 'b') \gset b_
SELECT * FROM ticket_enqueue(:q, 'c') \gset c_
SELECT * FROM ticket_enqueue(:q, 'd') \gset d_
SELECT is(format('%s %s', :'b_status', :'b_position'), 'active 0', 'the second fits as well');
SELECT is(format('%s %s', :'c_status', :'c_position'), 'waiting 1', 'the third waits, and is next');
SELECT is(format('%s %s', :'d_status', :'d_position'), 'waiting 2', 'the fourth waits behind');
SELECT is((SELECT format('%s %s', admitted_at IS NULL, expires_at IS NULL) FROM queue_entry
	WHERE queue_id = :q AND user_id = 'd'), 't t', 'waiting has no end');
SELECT is((SELECT format('%s %s %s', token, status, "position") FROM ticket_enqueue(:q, 'd')),
	format('%s waiting 2', :'d_token'), 'who enters twice gets the same ticket, waiting');
SELECT is((SELECT format('%s %s %s %s', token, status, "position", poll_after) FROM ticket_status(:'d_token')),
	format('%s waiting 2 00:00:01.0029', :'d_token'), 'status: the same ticket, asked for later the farther behind');
SELECT is((SELECT format('%s %s %s', token, status, expires_at) FROM ticket_status(:'a_token')),
	format('%s active %s', :'a_token', :'a_expires_at'), 'status of an active ticket has its end');
SELECT is(pg_temp.memory(:q), '2 waiting, 2 active, 2 admitted', 'shared memory: entered');
SELECT is(ticket_leave(:'c_token'), true, 'one may leave');
SELECT is(ticket_leave(:'c_token'), false, 'once');
SELECT is((SELECT format('%s %s %s %s', status, "position" IS NULL, poll_after IS NULL, expires_at IS NULL)
	FROM ticket_status(:'c_token')), 'left t t t', 'who has left has no position');
SELECT is((SELECT format('%s %s', status, "position") FROM ticket_status(:'d_token')), 'waiting 1',
	'and the next moves up');
SELECT isnt((SELECT token FROM ticket_enqueue(:q, 'c')), :'c_token', 'who comes again has another ticket');
SELECT is(pg_temp.memory(:q), '2 waiting, 2 active, 2 admitted', 'shared memory: left and entered again');
SELECT is(ticket_leave(:'a_token'), true, 'an active ticket may be given up');
SELECT is((SELECT format('%s %s', status, ended_at IS NOT NULL) FROM queue_entry WHERE queue_id = :q AND user_id = 'a'),
	'left t', 'it has ended');
SELECT is((SELECT format('%s %s', status, "position") FROM ticket_enqueue(:q, 'e')), 'waiting 3',
	'who comes while others wait goes behind them, room or not');
SELECT is(ticket_promote(:q), 1, 'the room is for the line');
SELECT is((SELECT status FROM ticket_status(:'d_token')), 'active', 'for its first');
SELECT is(pg_temp.memory(:q), pg_temp.counted(:q), 'shared memory has what the tables have');
BEGIN;
SELECT count(ticket_status(:'d_token')), pg_current_xact_id_if_assigned() IS NULL AS reads \gset
COMMIT;
SELECT ok(:'reads', 'status writes nothing');
SELECT is((SELECT array_agg(DISTINCT substr(t.token::text, 15, 1)) FROM (VALUES (:'a_token'), (:'d_token')) AS t(token)),
	'{8}', 'tokens are UUIDs of version 8');
SELECT is((SELECT count(DISTINCT secret) FROM queue_entry WHERE queue_id = :q),
	(SELECT count(*) FROM queue_entry WHERE queue_id = :q), 'no two with the same secret');

-- ---------- order, capacity, max_count ----------

SELECT queue_create('order', capacity => 0, promote_count => 10, promote_interval => '10 s') AS q \gset
SELECT count(ticket_enqueue(:q, 'u' || i)) AS n FROM generate_series(1, 6) AS i \gset
SELECT is((SELECT array_agg(format('%s %s', "position", estimated_wait) ORDER BY i)
	FROM generate_series(1, 6) AS i, ticket_enqueue(:q, 'u' || i)),
	'{"1 ","2 ","3 ","4 ","5 ","6 "}', 'position; without capacity nobody knows the wait');
UPDATE queue SET capacity = 6 WHERE queue_id = :q;
SELECT is((SELECT array_agg(format('%s %s', "position", estimated_wait) ORDER BY i)
	FROM generate_series(1, 6) AS i, ticket_enqueue(:q, 'u' || i)),
	'{1 00:00:01,2 00:00:02,3 00:00:03,4 00:00:04,5 00:00:05,6 00:00:06}',
	'position and wait by the configured rate');
UPDATE queue SET capacity = 0 WHERE queue_id = :q;
SELECT is(ticket_promote(:q), 0, 'nobody goes into a queue without capacity');
UPDATE queue SET capacity = 5 WHERE queue_id = :q;
SELECT is(ticket_promote(:q, 0), 0, 'max_count 0 promotes nobody');
SELECT is(ticket_promote(:q, 2), 2, 'max_count is a limit');
SELECT is((SELECT array_agg(user_id ORDER BY place) FROM queue_entry WHERE queue_id = :q AND status = 'active'),
	'{u1,u2}', 'the first are promoted first');
SELECT is(ticket_promote(:q), 3, 'the capacity is a limit');
SELECT is((SELECT array_agg(user_id ORDER BY place) FROM queue_entry WHERE queue_id = :q AND status = 'active'),
	'{u1,u2,u3,u4,u5}', 'in order');
SELECT is(ticket_promote(:q), 0, 'a full queue promotes nobody');
UPDATE queue SET capacity = 3 WHERE queue_id = :q;
SELECT count(ticket_leave(t.token)) AS n FROM generate_series(1, 2) AS i, ticket_enqueue(:q, 'u' || i) AS t \gset
SELECT is(ticket_promote(:q), 0, 'with a smaller capacity room comes later');
SELECT is(pg_temp.memory(:q), '1 waiting, 3 active, 3 admitted', 'shared memory: promoted');
SELECT is((SELECT format('%s %s %s', entered, promoted, ended) FROM queue_memory() WHERE queue_id = :q), '6 5 2',
	'shared memory: what has been counted');
SELECT is((SELECT format('%s %s %s %s %s %s %s', name, mode, waiting, active, capacity, entered, ended)
	FROM queue_stats WHERE queue_id = :q), 'order open 1 3 3 6 2', 'queue_stats shows it');

SELECT queue_create('polls', capacity => 0, idle_ttl => '1.5 s') AS q \gset
SELECT is((SELECT poll_after FROM ticket_enqueue(:q, 'a')), '0.5 s', 'one is told to poll three times per idle_ttl');

-- ---------- rate ----------

SELECT queue_create('rate', promote_count => 2, promote_interval => '1 minute', idle_ttl => '1 day') AS q \gset
SELECT is((SELECT array_agg(t.status ORDER BY i) FROM generate_series(1, 8) AS i, ticket_enqueue(:q, 'u' || i) AS t),
	'{active,active,waiting,waiting,waiting,waiting,waiting,waiting}', 'the rate is a limit on entering');
SELECT is(ticket_promote(:q), 0, 'and on promoting');
SET ticket.clock_offset = '31s';
SELECT is(ticket_promote(:q), 1, 'half the interval later there is room for half of promote_count');
SELECT is(ticket_promote(:q), 0, 'once');
SET ticket.clock_offset = '100s';
SELECT is(ticket_promote(:q), 2, 'a whole interval later for all of it');
SET ticket.clock_offset = '1h';
SELECT is(ticket_promote(:q), 2, 'what was not used is not saved up');
SELECT is((SELECT array_agg(user_id ORDER BY place) FROM queue_entry WHERE queue_id = :q AND status = 'waiting'),
	'{u8}', 'in order');
RESET ticket.clock_offset;

-- ---------- expire: active ----------

SELECT queue_create('active', capacity => 1, active_ttl => '10 minutes', idle_ttl => '1 day') AS q \gset
SELECT token AS a FROM ticket_enqueue(:q, 'a') \gset
SELECT token AS b FROM ticket_enqueue(:q, 'b') \gset
SET ticket.clock_offset = '9min';
SELECT is(ticket_expire(:q), 0, 'an active ticket lasts');
SELECT is((SELECT status FROM ticket_status(:'a')), 'active', 'and says so');
SET ticket.clock_offset = '11min';
SELECT is((SELECT format('%s %s', status, "position" IS NULL) FROM ticket_status(:'a')), 'expired t',
	'until active_ttl is over, tidied or not');
SELECT is((SELECT status FROM queue_entry WHERE queue_id = :q AND user_id = 'a'), 'active', 'not tidied yet');
SELECT is(ticket_expire(:q), 1, 'then it is');
SELECT is((SELECT format('%s %s', status, ended_at > expires_at) FROM queue_entry WHERE queue_id = :q AND user_id = 'a'),
	'expired t', 'and has ended');
SELECT is(ticket_expire(:q), 0, 'once');
SELECT is(pg_temp.memory(:q), '1 waiting, 0 active, 0 admitted', 'shared memory: expired');
SELECT is(ticket_promote(:q), 1, 'its room is free');
SELECT is((SELECT format('%s %s', status, expires_at - clock() BETWEEN '9 minutes' AND '10 minutes') FROM ticket_status(:'b')),
	'active t', 'for the next, for active_ttl from now');
SET ticket.clock_offset = '30min';
SELECT token AS c FROM ticket_enqueue(:q, 'c') \gset
SELECT is((SELECT status FROM ticket_status(:'c')), 'waiting', 'a ticket that is over still has its room');
SELECT is(ticket_promote(:q), 1, 'until promote ends it in passing');
SELECT is((SELECT array_agg(status ORDER BY place) FROM queue_entry WHERE queue_id = :q), '{expired,expired,active}',
	'one out, one in');
SET ticket.clock_offset = '50min';
UPDATE queue SET capacity = 2 WHERE queue_id = :q;
SELECT is((SELECT format('%s %s', token <> :'c', status) FROM ticket_enqueue(:q, 'c')), 't active',
	'who enters again after the end has a new ticket');
SELECT is((SELECT array_agg(status ORDER BY place) FROM queue_entry WHERE queue_id = :q AND user_id = 'c'),
	'{expired,active}', 'and the old one has ended');
SELECT is(pg_temp.memory(:q), pg_temp.counted(:q), 'shared memory has what the tables have: active');
RESET ticket.clock_offset;

-- ---------- expire: idle ----------

SELECT queue_create('idle', capacity => 0, idle_ttl => '2 minutes') AS q \gset
SELECT token AS a FROM ticket_enqueue(:q, 'a') \gset
SELECT token AS b FROM ticket_enqueue(:q, 'b') \gset
SELECT token AS c FROM ticket_enqueue(:q, 'c') \gset
SET ticket.clock_offset = '90s';
SELECT is(ticket_expire(:q), 0, 'one may be silent for a while');
SELECT is((SELECT "position" FROM ticket_status(:'b')), 2::bigint, 'one asks');
SELECT is((SELECT token FROM ticket_enqueue(:q, 'c')), :'c', 'one enters again');
SET ticket.clock_offset = '150s';
SELECT is(ticket_expire(:q), 1, 'who was silent for idle_ttl goes');
SELECT is((SELECT array_agg(format('%s %s', user_id, status) ORDER BY place) FROM queue_entry WHERE queue_id = :q),
	'{"a expired","b waiting","c waiting"}', 'who was heard stays');
UPDATE queue SET capacity = 1 WHERE queue_id = :q;
SET ticket.clock_offset = '200s';
SELECT is((SELECT "position" FROM ticket_status(:'c')), 2::bigint, 'one asks again');
SET ticket.clock_offset = '300s';
SELECT is(ticket_promote(:q), 1, 'promote passes over the silent');
SELECT is((SELECT array_agg(format('%s %s', user_id, status) ORDER BY place) FROM queue_entry WHERE queue_id = :q),
	'{"a expired","b expired","c active"}', 'and sends them home');
SELECT is(pg_temp.memory(:q), pg_temp.counted(:q), 'shared memory has what the tables have: idle');
RESET ticket.clock_offset;

-- ---------- modes ----------

SELECT queue_create('modes', capacity => 1) AS q \gset
UPDATE queue SET mode = 'paused' WHERE queue_id = :q;
SELECT token AS a FROM ticket_enqueue(:q, 'a') \gset
SELECT is((SELECT format('%s %s %s', status, "position", estimated_wait IS NULL) FROM ticket_status(:'a')),
	'waiting 1 t', 'paused: everyone waits, nobody knows how long');
SELECT is(ticket_promote(:q), 0, 'paused: nobody is promoted');
UPDATE queue SET mode = 'drain' WHERE queue_id = :q;
SELECT pg_temp.refused(format('SELECT ticket.ticket_enqueue(%s, %L)', :q, 'b'), 'TK003', 'drain: nobody new enters');
SELECT is((SELECT format('%s %s', token = :'a', status) FROM ticket_enqueue(:q, 'a')), 't waiting',
	'drain: who is in keeps the ticket');
SELECT is(ticket_promote(:q), 1, 'drain: who waits is promoted');
SELECT is((SELECT format('%s %s', token = :'a', status) FROM ticket_enqueue(:q, 'a')), 't active',
	'drain: and is told so');
UPDATE queue SET mode = 'open', capacity = 0 WHERE queue_id = :q;
SELECT token AS b FROM ticket_enqueue(:q, 'b') \gset
UPDATE queue SET mode = 'passthrough', promote_count = 1, promote_interval = '1 day' WHERE queue_id = :q;
SELECT is((SELECT array_agg(t.status) FROM generate_series(1, 3) AS i, ticket_enqueue(:q, 'p' || i) AS t),
	'{active,active,active}', 'passthrough: straight in, without capacity and rate');
SELECT is(ticket_promote(:q), 1, 'passthrough: who waited is promoted');
SELECT is((SELECT status FROM ticket_status(:'b')), 'active', 'passthrough: is active');
UPDATE queue SET mode = 'open', capacity = 10, promote_count = 10, promote_interval = '1 ms' WHERE queue_id = :q;
SELECT is((SELECT status FROM ticket_enqueue(:q, 'n')), 'active', 'open again');

-- ---------- opens_at ----------

SELECT queue_create('opens', opens_at => now() + '1 hour', idle_ttl => '1 day') AS q \gset
SELECT token AS a FROM ticket_enqueue(:q, 'a') \gset
SELECT is((SELECT format('%s %s %s', status, "position", estimated_wait BETWEEN '59 minutes' AND '61 minutes')
	FROM ticket_status(:'a')), 'waiting 1 t', 'before opens_at one waits for it');
SELECT is(ticket_promote(:q), 0, 'and nobody is promoted');
SET ticket.clock_offset = '2h';
SELECT is(ticket_promote(:q), 1, 'from then on');
RESET ticket.clock_offset;

-- ---------- the operator's hand: find, clear ----------

SELECT queue_create('desk', capacity => 2, idle_ttl => '1 minute') AS q \gset
SELECT token AS a FROM ticket_enqueue(:q, 'a') \gset
SELECT count(ticket_enqueue(:q, u)) AS n FROM unnest('{b,c,d,e}'::text[]) AS u \gset
SELECT token AS d FROM ticket_enqueue(:q, 'd') \gset
SELECT is((SELECT format('%s %s %s', token = :'a', status, "position") FROM ticket_find(:q, 'a')), 't active 0', 'find: one who is active');
SELECT is((SELECT format('%s %s %s', token = :'d', status, "position") FROM ticket_find(:q, 'd')), 't waiting 2', 'find: one who waits');
SELECT is((SELECT ticket_find(:q, 'nobody') IS NULL), true, 'find: nobody');
SET ticket.clock_offset = '59s';
SELECT is((SELECT status FROM ticket_status(:'d')), 'waiting', 'one asks in time');
SELECT is((SELECT status FROM ticket_find(:q, 'e')), 'waiting', 'the operator asks for another');
SET ticket.clock_offset = '61s';
SELECT is(ticket_expire(:q), 2, 'which is no sign of life');
SELECT is((SELECT format('%s %s %s', status, "position" IS NULL, end_reason) FROM ticket_find(:q, 'e')), 'expired t silent', 'find: a ticket that has ended');
RESET ticket.clock_offset;
SELECT count(ticket_enqueue(:q, u)) AS n FROM unnest('{f,g}'::text[]) AS u \gset
SELECT is((SELECT ticket_leave(token) FROM ticket_find(:q, 'f')), true, 'find: to end it');

BEGIN;
SELECT is(queue_clear(:q), 2, 'clear: who waits');
SELECT is(queue_clear(:q), 0, 'clear: once');
ROLLBACK;
SELECT is(pg_temp.memory(:q), '2 waiting, 2 active, 2 admitted', 'clear: abort');
SELECT is(queue_clear(:q, max_count => 0), 0, 'clear: nobody');
SELECT is(queue_clear(:q, max_count => 1), 1, 'clear: the first');
SELECT is((SELECT status FROM ticket_status(:'d')), 'expired', 'clear: is told');
SELECT is(pg_temp.memory(:q), '1 waiting, 2 active, 2 admitted', 'clear: commit');
SELECT is(queue_clear(:q, true, 2), 2, 'clear: who waits, then who is active');
SELECT is(pg_temp.memory(:q), '0 waiting, 1 active, 1 admitted', 'clear: in that order');
SELECT is(queue_clear(:q), 0, 'clear: nobody waits');
SELECT is(queue_clear(:q, true), 1, 'clear: who is active');
SELECT is(pg_temp.memory(:q), pg_temp.counted(:q), 'clear: as the tables have it');
SELECT is((SELECT status FROM ticket_enqueue(:q, 'd')), 'active', 'one may come again');
UPDATE queue SET mode = 'drain' WHERE queue_id = :q;
SELECT is(queue_clear(:q, true), 1, 'clear: drained');
SELECT pg_temp.refused(format('SELECT ticket.ticket_enqueue(%s, $$d$$)', :q), 'TK003', 'unless it lets nobody in');
DELETE FROM queue WHERE queue_id = :q;
SELECT is((SELECT count(*) FROM queue_entry WHERE queue_id = :q), 0::bigint, 'an empty queue can be deleted');
-- More than is done at a time
SELECT queue_create('crowd', capacity => 5000, promote_count => 5000) AS q \gset
SELECT count(ticket_enqueue(:q, 'u' || i)) AS n FROM generate_series(1, 17000) AS i \gset
SELECT is(queue_clear(:q, true), 17000, 'clear: a crowd');
SELECT is(pg_temp.memory(:q), '0 waiting, 0 active, 0 admitted', 'clear: all of it');

-- ---------- rejoin ----------

SELECT queue_create('rejoin', capacity => 1) AS q \gset
UPDATE queue SET rejoin = 'back' WHERE queue_id = :q;
SELECT token AS a FROM ticket_enqueue(:q, 'a') \gset
SELECT token AS b FROM ticket_enqueue(:q, 'b') \gset
SELECT token AS c FROM ticket_enqueue(:q, 'c') \gset
SELECT is((SELECT format('%s %s', token = :'a', status) FROM ticket_enqueue(:q, 'a')), 't active',
	'back: an active ticket is kept');
SELECT is((SELECT format('%s %s %s', token = :'b', status, "position") FROM ticket_enqueue(:q, 'b')), 'f waiting 2',
	'back: who waits goes to the end of the line');
SELECT is((SELECT status FROM ticket_status(:'b')), 'left', 'back: the old ticket is gone');
SELECT is((SELECT "position" FROM ticket_status(:'c')), 1::bigint, 'back: the others move up');
SELECT is(pg_temp.memory(:q), '2 waiting, 1 active, 1 admitted', 'back: shared memory');

-- ---------- changed settings ----------

SELECT queue_create('live', capacity => 1) AS q \gset
SELECT count(ticket_enqueue(:q, 'u' || i)) AS n FROM generate_series(1, 5) AS i \gset
BEGIN;
UPDATE queue SET capacity = 5 WHERE queue_id = :q;
SELECT is(ticket_promote(:q), 0, 'a changed setting is not in force before commit');
ROLLBACK;
SELECT is(ticket_promote(:q), 0, 'nor after rollback');
BEGIN;
SAVEPOINT s;
UPDATE queue SET capacity = 5 WHERE queue_id = :q;
ROLLBACK TO s;
UPDATE queue SET name = 'renamed' WHERE queue_id = :q;
COMMIT;
SELECT is(ticket_promote(:q), 0, 'nor when its savepoint was rolled back');
BEGIN;
UPDATE queue SET capacity = 100 WHERE queue_id = :q;
UPDATE queue SET capacity = 3 WHERE queue_id = :q;
COMMIT;
SELECT is(ticket_promote(:q), 2, 'after commit it is, the last one');
SELECT pg_temp.refused(format('UPDATE ticket.queue SET queue_id = queue_id + 1000 WHERE queue_id = %s', :q), 'TK009',
	'the number of a queue cannot be changed');

-- ---------- end of a queue ----------

SELECT queue_create('end', capacity => 1) AS q \gset
SELECT token AS a FROM ticket_enqueue(:q, 'a') \gset
SELECT token AS b FROM ticket_enqueue(:q, 'b') \gset
SELECT pg_temp.refused(format('DELETE FROM ticket.queue WHERE queue_id = %s', :q), 'TK009',
	'a queue with live tickets cannot be deleted');
SELECT is(ticket_leave(:'b'), true, 'one leaves');
SELECT pg_temp.refused(format('DELETE FROM ticket.queue WHERE queue_id = %s', :q), 'TK009', 'an active one is enough');
SELECT is(ticket_leave(:'a'), true, 'the other leaves');
BEGIN;
DELETE FROM queue WHERE queue_id = :q;
ROLLBACK;
SELECT is(pg_temp.memory(:q), '0 waiting, 0 active, 0 admitted', 'rolled back it is still there');
DELETE FROM queue WHERE queue_id = :q;
SELECT is(pg_temp.memory(:q), NULL, 'deleted it is gone from shared memory');
SELECT pg_temp.refused(format('SELECT ticket.ticket_enqueue(%s, %L)', :q, 'c'), 'TK005', 'and nobody enters');
SELECT is((SELECT string_agg(invariant, ', ') FROM verify() WHERE NOT ok), NULL, 'and nothing is left behind');

-- ---------- savepoints ----------

SELECT queue_create('savepoint', capacity => 1) AS q \gset
BEGIN;
SELECT is((SELECT status FROM ticket_enqueue(:q, 'a')), 'active', 'one is in');
SAVEPOINT s;
SELECT is((SELECT status FROM ticket_enqueue(:q, 'b')), 'waiting', 'one waits');
ROLLBACK TO s;
COMMIT;
SELECT is(pg_temp.memory(:q), '0 waiting, 1 active, 1 admitted', 'what a savepoint took back did not happen');
SELECT is((SELECT "position" FROM ticket_enqueue(:q, 'c')), 1::bigint, 'the next in line is the first');

SELECT is(
	(SELECT string_agg(format('%s: %s, tables %s', queue_id, pg_temp.memory(queue_id), pg_temp.counted(queue_id)), '; ')
	FROM queue WHERE pg_temp.memory(queue_id) IS DISTINCT FROM pg_temp.counted(queue_id)),
	NULL, 'shared memory has what the tables have, in every queue');

-- ---------- why was I thrown out ----------

SELECT queue_create('why', capacity => 10, active_ttl => '10 minutes') AS q \gset
SELECT venue_create('why') AS v, concert_create('why') AS c \gset
SELECT performance_create(:c, :v, now() + '30 days', :q) AS p \gset
SELECT section_create(:p, 'why', 0, 1, 4) AS s \gset
CREATE FUNCTION pg_temp.why(queue_id bigint, fan text) RETURNS text LANGUAGE sql AS $$
	SELECT format('%s %s %s %s', f.status, f.end_reason, f.ended_at = e.ended_at, f.token = s.token AND s.status = f.status)
	FROM ticket_find(queue_id, fan) f, LATERAL ticket_status(f.token) s, LATERAL (
		SELECT e.ended_at FROM queue_entry e WHERE e.queue_id = $1 AND e.user_id = fan ORDER BY place DESC LIMIT 1) e $$;
SELECT token AS a FROM ticket_enqueue(:q, 'a') \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{1}', 'a', :'a') \gset
SELECT status AS done FROM pay_reservation(:r, 'a') \gset
SELECT is(pg_temp.why(:q, 'a'), 'finished paid t t', 'why: paid');
SELECT ticket_leave(token) AS done FROM ticket_enqueue(:q, 'b') \gset
SELECT is(pg_temp.why(:q, 'b'), 'left left t t', 'why: gave up');
SELECT count(ticket_enqueue(:q, u)) AS n FROM unnest('{c,d}'::text[]) AS u \gset
SET ticket.clock_offset = '601s';
SELECT is((SELECT format('%s %s %s %s', status, end_reason, ended_at = expires_at, ticket_leave(token)) FROM ticket_find(:q, 'c')),
	'expired timeout t t', 'why: was active too long, and nobody has tidied');
SELECT is(ticket_expire(:q), 1, 'tidy');
SELECT is(pg_temp.why(:q, 'd'), 'expired timeout t t', 'why: was active too long');
UPDATE queue SET capacity = 0, rejoin = 'back' WHERE queue_id = :q;
SELECT count(ticket_enqueue(:q, u)) AS n FROM unnest('{e,f,g,e}'::text[]) AS u \gset
SELECT is((SELECT array_agg(format('%s %s', status, end_reason) ORDER BY place) FROM queue_entry WHERE queue_id = :q AND user_id = 'e'),
	'{left rejoined,"waiting "}', 'why: went to the end of the line');
SELECT is((SELECT format('%s %s %s', status, "position", end_reason) FROM ticket_find(:q, 'e')), 'waiting 3 ', 'who is in again is not thrown out');
SELECT is(queue_clear(:q, max_count => 1), 1, 'clear one');
SELECT is(pg_temp.why(:q, 'f'), 'expired cleared t t', 'why: was sent home');
SET ticket.clock_offset = '722s';
SELECT is(ticket_expire(:q), 2, 'nobody asks');
SELECT is(pg_temp.why(:q, 'g'), 'expired silent t t', 'why: stayed silent');
SELECT is((SELECT ticket_find(:q, 'nobody') IS NULL), true, 'why: never came');
SELECT is((SELECT count(*) FROM queue_entry WHERE queue_id = :q AND (end_reason IS NULL) <> (ended_at IS NULL)), 0::bigint, 'each end has its reason');
UPDATE queue SET mode = 'passthrough' WHERE queue_id = :q;
SELECT count(ticket_enqueue(:q, 'b')) AS n \gset
SELECT is((SELECT format('%s %s', status, end_reason) FROM ticket_find(:q, 'b')), 'active ', 'why: in again');
RESET ticket.clock_offset;

SELECT * FROM finish();
