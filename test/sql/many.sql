-- Many tickets at once: answers as for one by one, in any mix.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin
SET search_path = ticket, public;

-- ---------- ask ----------

-- Two queues: of the first a, b, e and f are active, c has finished, d has left,
-- g to z wait; in the second everybody waits.
SELECT queue_create('many', capacity => 6, promote_count => 1000, idle_ttl => '1 day') AS q,
	queue_create('other', capacity => 0, idle_ttl => '1 day') AS q2 \gset
CREATE TABLE public.many_token AS
SELECT n, chr(96 + n) AS who, queue_id, t.token FROM generate_series(1, 26) AS n, unnest(ARRAY[:q, :q2]) AS queue_id,
	ticket_enqueue(queue_id, 'many-' || chr(96 + n)) AS t;
SELECT pg_temp.sale(queue_id => :q) AS p \gset
SELECT token AS a FROM many_token WHERE who = 'a' AND queue_id = :q \gset
SELECT token AS c FROM many_token WHERE who = 'c' AND queue_id = :q \gset
SELECT token AS g FROM many_token WHERE who = 'g' AND queue_id = :q \gset
SELECT point_charge('many-c', 1000) AS n \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{1}', 'many-c', :'c') \gset
SELECT status AS n FROM pay_reservation(:r, 'many-c') \gset
SELECT ticket_leave(token) AS n FROM many_token WHERE who = 'd' AND queue_id = :q \gset
SELECT is((SELECT string_agg(status, ' ' ORDER BY who) FROM many_token AS t, ticket_status(t.token) WHERE queue_id = :q AND who <= 'h'),
	'active active finished left active active waiting waiting', 'what is asked for differs');

-- As ticket_status answers, one by one.
CREATE FUNCTION pg_temp.one(token uuid) RETURNS ticket_state LANGUAGE plpgsql AS $$
DECLARE
	answer ticket_state;
BEGIN
	SELECT * INTO answer FROM ticket_status(token);
	RETURN answer;
EXCEPTION WHEN SQLSTATE 'TK001' OR SQLSTATE '22023' THEN
	RETURN ROW(token, 'invalid', NULL, NULL, NULL, NULL)::ticket_state;
END $$;
-- Where many answer otherwise than one by one.  What goes by the clock is looked at in whole minutes.
CREATE FUNCTION pg_temp.differing(tokens uuid[]) RETURNS SETOF text LANGUAGE sql AS $$
	WITH many AS MATERIALIZED (SELECT * FROM ticket_status_many($1) WITH ORDINALITY AS m (token, status, place, wait, poll, expires, n)),
		one AS MATERIALIZED (SELECT n, o.* FROM unnest($1) WITH ORDINALITY AS t (token, n), pg_temp.one(t.token) AS o),
		positions AS MATERIALIZED (SELECT * FROM unnest(ticket_positions($1)) WITH ORDINALITY AS p (place, n))
	SELECT format('%s: %s %s', n, m, o) FROM many AS m FULL JOIN one AS o USING (n) FULL JOIN positions AS p USING (n)
	WHERE (m.token, m.status, m.place, m.wait IS NULL, m.expires) IS DISTINCT FROM (o.token, o.status, o.position, o.estimated_wait IS NULL, o.expires_at)
		OR m.wait - o.estimated_wait NOT BETWEEN '-1 minute' AND '1 minute'
		OR date_trunc('minute', m.poll) IS DISTINCT FROM date_trunc('minute', o.poll_after)
		OR p.place IS DISTINCT FROM o.position $$;
CREATE FUNCTION pg_temp.same(tokens uuid[], description text) RETURNS text LANGUAGE sql AS $$
	SELECT is((SELECT string_agg(d, chr(10)) FROM pg_temp.differing($1) AS d), NULL, description) $$;

SELECT pg_temp.same((SELECT array_agg(token ORDER BY queue_id, n) FROM many_token), 'queue by queue');
SELECT pg_temp.same((SELECT array_agg(token ORDER BY n, queue_id) FROM many_token), 'queues in turn');
SELECT pg_temp.same((SELECT array_agg(token ORDER BY md5(token::text)) FROM many_token), 'in any order');
SELECT pg_temp.same((SELECT array_agg(t ORDER BY md5(t::text || i)) FROM generate_series(1, 3) AS i, (
	SELECT token FROM many_token
	UNION ALL SELECT overlay(token::text PLACING translate(right(token::text, 12), '0123456789abcdef', '123456789abcdef0') FROM 25)::uuid FROM many_token
	UNION ALL SELECT NULL UNION ALL SELECT gen_random_uuid() UNION ALL SELECT '00000000-0000-0000-0000-000000000000'
	UNION ALL SELECT 'ffffffff-ffff-ffff-ffff-ffffffffffff' UNION ALL SELECT overlay(:'a' PLACING 'ffff' FROM 10)::uuid
	UNION ALL SELECT overlay(:'a' PLACING 'ffffffff' FROM 1)::uuid UNION ALL SELECT overlay(:'a' PLACING '00ff' FROM 5)::uuid) AS v (t)),
	'among wrong secrets, NULL, nobody''s places, queues that are not there, each three times');
SELECT pg_temp.same(ARRAY[token], 'one: ' || coalesce(token::text = :'c', false)) FROM (VALUES (:'a'::uuid), (:'c'), (NULL), (:'g')) AS v (token);
SELECT pg_temp.same('{}', 'none');
SELECT pg_temp.same(('[5:7]={' || :'a' || ',NULL,' || :'c' || '}')::uuid[], 'an array that begins elsewhere');
SELECT is(ticket_positions('{}'), '{}'::bigint[], 'no tokens, no positions');
SELECT is(ticket_positions((SELECT array_agg(token ORDER BY n) FROM many_token WHERE queue_id = :q)),
	('{0,0,NULL,NULL,0,0,' || (SELECT string_agg(i::text, ',') FROM generate_series(1, 20) AS i) || '}')::bigint[], 'positions');
SELECT is((SELECT string_agg(status, ' ') FROM ticket_status_many(ARRAY[NULL, :'a', gen_random_uuid(), NULL]::uuid[])), 'invalid active invalid invalid',
	'what is no ticket is invalid');
SELECT is((SELECT string_agg(coalesce(token::text, 'NULL'), ' ') FROM ticket_status_many(('{NULL,00000000-0000-0000-0000-000000000000,' || :'g' || '}')::uuid[])),
	'NULL 00000000-0000-0000-0000-000000000000 ' || :'g', 'each row has the token that was asked for');
-- Overdue, as the clock says, whether or not anybody has tidied
SET ticket.clock_offset = '20min';
SELECT is(ticket_positions((SELECT array_agg(token ORDER BY n) FROM many_token WHERE queue_id = :q AND n <= 7)),
	'{NULL,NULL,NULL,NULL,NULL,NULL,1}', 'who is overdue is not active');
SELECT pg_temp.same((SELECT array_agg(token ORDER BY md5(token::text)) FROM many_token), 'some are overdue');
RESET ticket.clock_offset;
SELECT queue_clear(:q2, max_count => 10) AS n \gset
SELECT pg_temp.same((SELECT array_agg(token ORDER BY md5(token::text)) FROM many_token), 'some were sent home');

-- 100,000: tickets, those that have ended, and others' places
SELECT is((SELECT count(*) || ' ' || count(place) || ' ' || count(*) FILTER (WHERE place = 0) FROM unnest(ticket_positions(
	(SELECT array_agg(token ORDER BY i) FROM generate_series(0, 103999) AS i JOIN many_token AS t ON t.n = 1 + i % 26 AND t.queue_id = :q))) AS place),
	'104000 96000 16000', '104,000 positions');
SELECT is((SELECT string_agg(status || ' ' || n, ', ') FROM (SELECT status, count(*) AS n FROM ticket_status_many(
	(SELECT array_agg(token ORDER BY i) FROM generate_series(0, 103999) AS i JOIN many_token AS t ON t.n = 1 + i % 26 AND t.queue_id = :q)) GROUP BY 1 ORDER BY 1) AS s),
	'active 16000, finished 4000, left 4000, waiting 80000', '104,000 rows');
SELECT is((SELECT count(*) || ' ' || count(place) FROM unnest(ticket_positions((SELECT array_agg(gen_random_uuid()) FROM generate_series(1, 100000)))) AS place),
	'100000 0', '100,000 that are no tickets');

-- In a transaction: what it has done itself is seen, as by one
BEGIN;
SELECT token AS mine FROM ticket_enqueue(:q2, 'many-mine') \gset
SELECT count(ticket_leave(token)) AS n FROM many_token WHERE who = 'z' \gset
SELECT pg_temp.same((SELECT array_agg(t ORDER BY md5(t::text)) FROM (SELECT token FROM many_token UNION ALL SELECT :'mine') AS v (t)), 'in a transaction that has changed them');
SELECT is((ticket_positions(ARRAY[:'mine']::uuid[]))[1], (SELECT count(*) + 1 FROM queue_entry WHERE queue_id = :q2 AND status = 'waiting' AND user_id <> 'many-mine'),
	'one''s own, not yet committed');
SELECT is(ticket_heard(ARRAY[:'mine']::uuid[]), 0, 'which is heard of at its commit');
ROLLBACK;
SELECT is(ticket_positions(ARRAY[:'mine']::uuid[]), '{NULL}', 'and is none after a rollback');

-- Signs of life: three are heard of, each in another way, the fourth is not
SELECT queue_create('heard', capacity => 0, idle_ttl => '1 min') AS q3 \gset
CREATE TABLE public.many_heard AS SELECT n, t.token FROM generate_series(1, 4) AS n, ticket_enqueue(:q3, 'heard-' || n) AS t;
SET ticket.clock_offset = '50s';
SELECT is(ticket_heard((SELECT array_agg(token) || ARRAY[NULL, :'a', :'c', gen_random_uuid()]::uuid[] FROM many_heard, generate_series(1, 2) WHERE n = 1)), 2,
	'heard of: elements that wait');
SELECT ticket_positions((SELECT array_agg(token) FROM many_heard WHERE n = 2)) AS n \gset
SELECT count(*) AS n FROM ticket_status_many((SELECT array_agg(token) FROM many_heard WHERE n = 3)) \gset
SET ticket.clock_offset = '100s';
SELECT is(ticket_expire(:q3), 1, 'who is not heard of is sent home');
SELECT is((SELECT string_agg(status, ' ') FROM ticket_status_many((SELECT array_agg(token ORDER BY n) FROM many_heard))), 'waiting waiting waiting expired', 'the others stay');
RESET ticket.clock_offset;
SELECT is(ticket_heard('{}'), 0, 'nobody is heard of');

-- ---------- enter ----------

-- One call's answer, without what differs each time.
CREATE FUNCTION pg_temp.entered(queue_id bigint, VARIADIC user_ids text[]) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(':', ord, user_id, status, position, sqlstate) || CASE WHEN token IS NULL AND sqlstate IS NULL
		OR (status = 'active') <> (expires_at IS NOT NULL) OR (status IS NULL) <> (poll_after IS NULL) THEN '?' ELSE '' END, ' ')
	FROM ticket.ticket_enqueue_many($1, $2) $$;
-- What verify() and the counters say of it.
CREATE FUNCTION pg_temp.sound(queue_id bigint, description text) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT is(pg_temp.memory($1), pg_temp.counted($1), 'memory has what the table has: ' || description)
	UNION ALL SELECT is((SELECT string_agg(invariant || ' ' || detail, chr(10)) FROM verify() WHERE NOT ok), NULL, 'verify(): ' || description) $$;

SELECT queue_create('enter', capacity => 2, idle_ttl => '1 day') AS e \gset
SELECT is(pg_temp.entered(:e, 'c', 'a', 'd', 'b'), '1:c:active:0 2:a:active:0 3:d:waiting:1 4:b:waiting:2', 'in the order in which they were given');
SELECT is((SELECT string_agg(user_id, ' ' ORDER BY place) FROM queue_entry WHERE queue_id = :e), 'c a d b', 'the places, too');
SELECT is(pg_temp.entered(:e, 'x', 'd', 'x', 'c', 'y', 'd'), '1:x:waiting:3 2:d:waiting:1 3:x:waiting:3 4:c:active:0 5:y:waiting:4 6:d:waiting:1',
	'who is in keeps the ticket; one who is given twice gets one');
SELECT is((SELECT count(DISTINCT token) || ' ' || count(*) FROM ticket_enqueue_many(:e, '{x,x,x}')), '1 3', 'the same one');
SELECT is((SELECT string_agg((m.token = s.token AND m.position = s.position AND m.estimated_wait IS NOT DISTINCT FROM s.estimated_wait)::text, ' ')
	FROM ticket_enqueue_many(:e, '{y,b,x,d}') AS m, ticket_enqueue(:e, m.user_id) AS s), 'true true true true', 'as ticket_enqueue says');
SELECT is((SELECT count(*) FROM ticket_enqueue_many(:e, '{}')), 0::bigint, 'nobody enters');
SELECT is(pg_temp.entered(:e, 'z'), '1:z:waiting:5', 'one enters');
SELECT pg_temp.sound(:e, 'entered');
-- Behind one who waits nobody of the same call goes straight in, nor of a later one
UPDATE queue SET capacity = 100, promote_count = 100 WHERE queue_id = :e;
SELECT is(pg_temp.entered(:e, 'm', 'n'), '1:m:waiting:6 2:n:waiting:7', 'behind those who wait, though there is room');
SELECT ticket_promote(:e) AS n \gset
SELECT is(pg_temp.entered(:e, 'o', 'p'), '1:o:active:0 2:p:active:0', 'straight in when nobody waits');
SELECT queue_create('rate', promote_count => 3, promote_interval => '1 day', capacity => 5) AS rate \gset
SELECT is(pg_temp.entered(:rate, VARIADIC array_agg('r' || i)), '1:r1:active:0 2:r2:active:0 3:r3:active:0 4:r4:waiting:1 5:r5:waiting:2', 'no more than the rate allows')
FROM generate_series(1, 5) AS i;
UPDATE queue SET mode = 'passthrough' WHERE queue_id = :rate;
SELECT is(pg_temp.entered(:rate, 'r6', 'r7'), '1:r6:active:0 2:r7:active:0', 'passthrough');
SELECT pg_temp.sound(:rate, 'rate');
-- Refused: blocked, closed
SELECT user_block('many-bot', 'test') AS n \gset
SELECT is(pg_temp.entered(:e, 'q', 'many-bot', 'o', 'many-bot', 'r'), '1:q:active:0 2:many-bot:TK018 3:o:active:0 4:many-bot:TK018 5:r:active:0', 'who is blocked spoils nothing');
SELECT user_unblock('many-bot') AS n \gset
UPDATE queue SET mode = 'drain' WHERE queue_id = :e;
SELECT is(pg_temp.entered(:e, 's', 'q', 't'), '1:s:TK003 2:q:active:0 3:t:TK003', 'closed: who is in keeps the ticket');
UPDATE queue SET mode = 'open', opens_at = now() + '1 day' WHERE queue_id = :e;
SELECT is(pg_temp.entered(:e, 'u', 'q'), '1:u:waiting:1 2:q:active:0', 'not open yet');
-- An active ticket that is over ends; who waits goes to the end where the queue is so
SET ticket.clock_offset = '20min';
SELECT is(pg_temp.entered(:e, 'v', 'q', 'w'), '1:v:waiting:2 2:q:waiting:3 3:w:waiting:4', 'whose ticket is over enters again');
RESET ticket.clock_offset;
SELECT is((SELECT string_agg(status, ' ' ORDER BY place) FROM queue_entry WHERE queue_id = :e AND user_id = 'q'), 'expired waiting', 'and the old one has ended');
UPDATE queue SET rejoin = 'back' WHERE queue_id = :e;
SELECT is(pg_temp.entered(:e, 'v', 'k', 'u', 'v', 'c'), '1:v:waiting:3 2:k:waiting:4 3:u:waiting:5 4:v:waiting:3 5:c:active:0', 'back to the end of the line');
SELECT is((SELECT string_agg(user_id, ' ' ORDER BY place) FROM queue_entry WHERE queue_id = :e AND status = 'waiting'), 'q w v k u', 'in which they stand so');
SELECT pg_temp.sound(:e, 'back');
UPDATE queue SET rejoin = 'keep' WHERE queue_id = :e;
-- Memory forgets who has been here: one of many has a ticket all the same.  The
-- filter of a user whom memory has never seen is that of a row written by hand.
INSERT INTO queue_entry (queue_id, place, user_id, secret, status, entered_at) VALUES (:e, 1000, 'by-hand', 7, 'waiting', now());
SELECT is(pg_temp.entered(:e, 'i1', 'by-hand', 'i2'), '1:i1:waiting:7 2:by-hand:waiting:6 3:i2:waiting:8', 'whose ticket was made by hand keeps it');
SELECT pg_temp.sound(:e, 'by hand');
-- More than a page of places, in and out of a transaction, with a trigger of somebody's
SELECT queue_create('long', capacity => 0, idle_ttl => '1 day') AS l \gset
SELECT is((SELECT count(*) || ' ' || count(DISTINCT token) || ' ' || bool_and(ord = position AND user_id = 'long-' || ord)
	FROM ticket_enqueue_many(:l, ARRAY(SELECT 'long-' || i FROM generate_series(1, 5000) AS i))), '5000 5000 true', '5,000 at once');
BEGIN;
SELECT is((SELECT string_agg(m.position::text, ' ' ORDER BY m.ord) FROM ticket_enqueue_many(:l, ARRAY['long-1'] || ARRAY(SELECT 'more-' || i FROM generate_series(1, 1500) AS i)) AS m
	WHERE m.ord IN (1, 2, 1501)), '1 5001 6500', 'in a transaction');
SAVEPOINT s;
SELECT is((SELECT min(position) || ' ' || max(position) FROM ticket_enqueue_many(:l, ARRAY(SELECT 'lost-' || i FROM generate_series(1, 1000) AS i))), '6501 7500', 'in a savepoint');
ROLLBACK TO s;
SELECT is((SELECT string_agg(position::text, ' ') FROM ticket_enqueue_many(:l, '{kept-1,more-1,kept-2}')), '6501 5001 6502', 'which has been rolled back');
COMMIT;
SELECT pg_temp.sound(:l, 'a savepoint rolled back');
BEGIN;
SELECT count(*) AS n FROM ticket_enqueue_many(:l, ARRAY(SELECT 'undone-' || i FROM generate_series(1, 500) AS i)) \gset
ROLLBACK;
SELECT is(pg_temp.entered(:l, 'undone-1'), '1:undone-1:waiting:6503', 'after a rollback nothing is left');
SELECT pg_temp.sound(:l, 'a rollback');
CREATE FUNCTION public.many_trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER many_row BEFORE INSERT ON queue_entry FOR EACH ROW EXECUTE FUNCTION public.many_trigger();
SELECT is(pg_temp.entered(:l, 'row-1', 'undone-1', 'row-2'), '1:row-1:waiting:6504 2:undone-1:waiting:6503 3:row-2:waiting:6505', 'where rows are written by statements');
DROP TRIGGER many_row ON queue_entry;
DROP FUNCTION public.many_trigger;
SELECT pg_temp.sound(:l, 'by statements');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT is(pg_temp.entered(:l, 'rr-2', 'undone-1', 'rr-1'), '1:rr-2:waiting:6506 2:undone-1:waiting:6503 3:rr-1:waiting:6507', 'under REPEATABLE READ');
COMMIT;
-- A user claimed
SET ticket.user_claim = 'app.subject';
SET app.subject = 'claimed';
SELECT is(pg_temp.entered(:l, 'claimed'), '1:claimed:waiting:6508', 'who the session is for');
SELECT pg_temp.refused(format($$SELECT * FROM ticket.ticket_enqueue_many(%s, '{claimed,other}')$$, :l), 'TK013', 'nobody else');
RESET ticket.user_claim;

-- ---------- the picture of a line ----------

CREATE FUNCTION pg_temp.number(bytes bytea, at int, length int) RETURNS bigint LANGUAGE sql AS $$
	SELECT sum(get_byte($1, $2 + i)::bigint << 8 * i)::bigint FROM generate_series(0, $3 - 1) AS i $$;
-- Who waits by it, in order, read byte by byte as client/line_picture.h says.
CREATE FUNCTION pg_temp.pictured(picture bytea) RETURNS SETOF bigint LANGUAGE plpgsql AS $$
DECLARE
	at int := pg_temp.number(picture, 6, 2);
	n int;
	first bigint;
BEGIN
	FOR page IN 1 .. pg_temp.number(picture, 12, 4) LOOP
		first := pg_temp.number(picture, at, 4) * 4096;
		n := pg_temp.number(picture, at + 4, 2);
		IF pg_temp.number(picture, at + 6, 2) = 0 THEN
			RETURN QUERY SELECT first + i FROM generate_series(0, 4095) AS i WHERE get_bit(picture, (at + 8) * 8 + i) = 1 ORDER BY i;
			at := at + 8 + 512;
		ELSE
			RETURN QUERY SELECT first + pg_temp.number(picture, at + 8 + 2 * i, 2) FROM generate_series(0, n - 1) AS i ORDER BY i;
			at := at + 8 + 2 * n;
		END IF;
	END LOOP;
	IF at <> length(picture) THEN
		RAISE EXCEPTION '% bytes of %', at, length(picture);
	END IF;
END $$;
CREATE FUNCTION pg_temp.pictured_as_told(queue_id bigint) RETURNS text LANGUAGE sql AS $$
	WITH p AS MATERIALIZED (SELECT ticket.line_picture($1) AS picture), place AS MATERIALIZED (SELECT * FROM p, pg_temp.pictured(p.picture) WITH ORDINALITY AS w (place, position)),
		e AS MATERIALIZED (SELECT e.place, f.position FROM ticket.queue_entry AS e, ticket.ticket_find($1, e.user_id) AS f WHERE e.queue_id = $1 AND e.status = 'waiting')
	SELECT format('%s waiting, queue %s, next place %s, %s pages, %s otherwise', pg_temp.number(picture, 40, 8), pg_temp.number(picture, 16, 8) = $1,
		pg_temp.number(picture, 32, 8) - (SELECT max(q.place) FROM ticket.queue_entry AS q WHERE q.queue_id = $1), pg_temp.number(picture, 12, 4),
		(SELECT count(*) FROM place FULL JOIN e USING (place) WHERE place.position IS DISTINCT FROM e.position)) FROM p $$;

SELECT is(pg_temp.pictured_as_told(:l), '6508 waiting, queue t, next place 1, 2 pages, 0 otherwise', 'a long line');
SELECT count(ticket_leave(f.token)) AS n FROM queue_entry AS e, ticket_find(:l, e.user_id) AS f
	WHERE e.queue_id = :l AND e.status = 'waiting' AND (e.place > 4500 OR e.place % 3 = 0) AND e.place % 500 <> 7 \gset
SELECT is(pg_temp.pictured_as_told(:l), (SELECT count(*) FROM queue_entry WHERE queue_id = :l AND status = 'waiting') || ' waiting, queue t, next place 1, 2 pages, 0 otherwise',
	'one with gaps');
SELECT is(pg_temp.pictured_as_told(:e), '8 waiting, queue t, next place 1, 1 pages, 0 otherwise', 'a short one');
SELECT is((SELECT encode(substring(line_picture(:q3) FOR 12), 'hex')), '544b4c5001003000' || '00000100', 'its head');
SELECT is(pg_temp.number(line_picture(:rate), 40, 8), 2::bigint, 'who is active is not in it');
SELECT queue_clear(:rate) AS n \gset
SELECT is(pg_temp.number(line_picture(:rate), 12, 4) || ' ' || length(line_picture(:rate)), '0 48', 'nobody waits');
SELECT ok(abs(pg_temp.number(line_picture(:rate), 24, 8) / 1e6 - extract(epoch FROM ticket.clock())) < 60, 'it tells when it was taken');
BEGIN;
SELECT count(*) AS n FROM ticket_enqueue_many(:rate, '{uncommitted}') \gset
SELECT is(pg_temp.number(line_picture(:rate), 40, 8), 0::bigint, 'it has what is committed');
ROLLBACK;

-- ---------- bad input ----------

SELECT pg_temp.refused(format('SELECT * FROM ticket.ticket_enqueue_many(%s, %s)', :e, argument), '22023', 'ticket_enqueue_many: ' || left(argument, 40))
FROM unnest(ARRAY['NULL', $$'{new,NULL}'$$, $$'{new,""}'$$, $$'{{new},{other}}'$$, $$ARRAY['new', repeat('x', 256)]$$, $$'{new,withdrawn-1}'$$]) AS argument;
SELECT pg_temp.refused(format($$SELECT * FROM ticket.ticket_enqueue_many(%s, '{new}')$$, argument), code, 'ticket_enqueue_many: ' || argument)
FROM (VALUES ('NULL', '22023'), ('0', 'TK005'), ('-1', 'TK005'), ('4194303', 'TK005'), ('4294967297', 'TK005')) AS v (argument, code);
SELECT pg_temp.refused(format('SELECT ticket.line_picture(%s)', argument), code, 'line_picture: ' || argument)
FROM (VALUES ('NULL', '22023'), ('0', 'TK005'), ('-1', 'TK005'), ('4194303', 'TK005'), ('4294967297', 'TK005')) AS v (argument, code);
SELECT pg_temp.refused(format('SELECT * FROM ticket.%s(%s)', function, argument), '22023', format('%s: %s', function, argument))
FROM unnest('{ticket_positions,ticket_status_many,ticket_heard}'::text[]) AS function,
	unnest(ARRAY['NULL', $$'{{00000000-0000-0000-0000-000000000000}}'$$, $$'{{NULL},{NULL}}'$$]) AS argument;

-- Counted as one call, and by whom it was about
CREATE FUNCTION pg_temp.fans(function text) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', (regexp_match(m, format('ticket_calls_total{function="%s"} (\d+)', $1)))[1], (regexp_match(m, format('ticket_fans_total{function="%s"} (\d+)', $1)))[1])
	FROM ticket.metrics() AS m $$;
CREATE FUNCTION pg_temp.counts(function text, call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	before bigint[] := string_to_array(pg_temp.fans(function), ' ');
	after bigint[];
BEGIN
	EXECUTE 'SELECT count(*) FROM ' || call;
	after := string_to_array(pg_temp.fans(function), ' ');
	RETURN (after[1] - before[1]) || ' ' || (after[2] - before[2]);
END $$;
SELECT is(pg_temp.counts(function, format('ticket.%s(array_fill(NULL::uuid, ARRAY[7]))', function)), '1 7', 'one call about seven: ' || function)
FROM unnest('{ticket_positions,ticket_status_many,ticket_heard}'::text[]) AS function;
SELECT is(pg_temp.counts('ticket_enqueue_many', format($$ticket.ticket_enqueue_many(%s, '{f1,f2,f1}')$$, :l)), '1 3', 'one call about three: ticket_enqueue_many');

DROP TABLE public.many_token, public.many_heard;
SELECT * FROM finish();
