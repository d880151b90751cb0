-- The sweep ends holds many together: what it leaves, row by row and event by
-- event, is what ending each by itself would, in the order of the timers.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin
SET search_path = ticket, public;

-- A sweep at a time of the sale's clock: how many holds it ended.
CREATE FUNCTION pg_temp.swept("offset" text, max_count int DEFAULT NULL) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	n int;
BEGIN
	PERFORM set_config('ticket.clock_offset', "offset", false);
	n := seat_hold_expire(max_count);
	PERFORM set_config('ticket.clock_offset', '0', false);
	RETURN n;
END $$;

-- What the sweep is to write, told from the tables before it.
CREATE TEMP TABLE expected (n int, aggregateid text, payload jsonb);
CREATE FUNCTION pg_temp.expect() RETURNS bigint LANGUAGE sql AS $$
	TRUNCATE expected;
	WITH new AS (
		INSERT INTO expected
		SELECT row_number() OVER (ORDER BY t.due_at, r.reservation_id), r.reservation_id, jsonb_strip_nulls(jsonb_build_object(
			'v', 1, 'reservation_id', r.reservation_id, 'performance_id', r.performance_id, 'user_id', r.user_id,
			'seat_ids', r.seat_ids, 'amount', r.amount, 'trace_id', nullif(current_setting('ticket.trace_id'), '')))
		FROM reservation r JOIN hold_timer t ON t.reservation_id = r.reservation_id AND t.due_at = r.expires_at
		WHERE r.status = 'held' RETURNING 1)
	SELECT count(*) FROM new;
$$;
CREATE FUNCTION pg_temp.clear() RETURNS bigint LANGUAGE sql AS $$ WITH gone AS (DELETE FROM outbox RETURNING 1) SELECT count(*) FROM gone $$;
CREATE FUNCTION pg_temp.same_bits(a jsonb, b jsonb) RETURNS boolean LANGUAGE sql AS $$
	SELECT x *= y FROM (SELECT a) x, (SELECT b) y $$;
-- The outbox against it; the payloads to the bit, as the server makes them.
CREATE FUNCTION pg_temp.differences() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(format('%s: %s %s %s %s, not %s %s', coalesce(e.n, o.n), o.aggregatetype, o.type, o.aggregateid, o.payload,
		e.aggregateid, e.payload), chr(10) ORDER BY coalesce(e.n, o.n))
	FROM expected e FULL JOIN (SELECT row_number() OVER (ORDER BY id) AS n, * FROM outbox) o ON o.n = e.n
	WHERE (o.aggregatetype, o.type, o.aggregateid) IS DISTINCT FROM ('reservation', 'reservation.expired', e.aggregateid)
		OR NOT pg_temp.same_bits(o.payload, e.payload) $$;
-- What is left of holds: those that are not over, seats held, timers.
CREATE FUNCTION pg_temp.left_over() RETURNS text LANGUAGE sql AS $$
	SELECT format('%s holds, %s seats, %s timers', (SELECT count(*) FROM reservation WHERE status = 'held'),
		(SELECT count(*) FROM seat WHERE status = 'held'), (SELECT count(*) FROM hold_timer)) $$;

-- What other tests have left
SELECT pg_temp.swept('1d') AS n \gset
SELECT is(pg_temp.left_over(), '0 holds, 0 seats, 0 timers', 'nothing is due');
SELECT count(point_charge('sweep-' || i, 1000000)) AS n FROM generate_series(1, 9) AS i \gset

-- ---------- holds of all kinds ----------

SELECT queue_create('sweep') AS q \gset
SELECT pg_temp.sale(max_seats => 100) AS far \gset
SELECT performance_create(concert_create('sweep'), venue_create('sweep'), now() + '9 days', max_seats_per_user => 100) AS p,
	performance_create(concert_create('sweep'), venue_create('sweep'), now() + '9 days', queue_id => :q) AS queued \gset
SELECT section_create(:p, 'seats', 70, 28, 50) AS s, section_create(:p, 'floor', 9000000000, 1, 20, kind => 'standing') AS floor,
	section_create(:queued, 'seats', 0, 1, 10) AS s2 \gset
SELECT token FROM ticket_enqueue(:q, 'sweep-3') \gset

CREATE FUNCTION pg_temp.mixed(p bigint, far bigint, queued bigint, floor bigint, token uuid) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	r bigint;
BEGIN
	PERFORM seat_hold(p, '{400}', 'sweep-1');
	PERFORM seat_hold(p, array_agg(i), 'sweep-2') FROM generate_series(100, 169) AS i;
	PERFORM seat_hold(queued, '{4,3}', 'sweep-3', token);
	PERFORM seat_hold_best(p, 3, 'sweep-4', section_id => floor);
	PERFORM seat_hold(p, '{2,1}', 'sweep-5', idempotency_key => 'key');
	PERFORM seat_hold(far, '{10,1}', E'sweep "6" \\ \u00fc\u4e16 ' || repeat('x', 200));
	-- put off: due last, with two timers
	SELECT reservation_id INTO r FROM seat_hold(p, '{3}', 'sweep-7');
	PERFORM hold_extend(r, 'sweep-7', '30 s');
	PERFORM hold_extend(r, 'sweep-7', '30 s');
	-- of these the timers are left over
	SELECT reservation_id INTO r FROM seat_hold(p, '{4}', 'sweep-8');
	PERFORM pay_reservation(r, 'sweep-8');
	SELECT reservation_id INTO r FROM seat_hold(p, '{5}', 'sweep-8');
	PERFORM seat_release(r, 'sweep-8');
	-- some of it was given back
	SELECT reservation_id INTO r FROM seat_hold(p, '{6,7,8}', 'sweep-9');
	PERFORM seat_release(r, 'sweep-9', '{7}');
	-- numbers far apart
	PERFORM nextval('reservation_reservation_id_seq') FROM generate_series(1, 100);
	-- money under way puts the end off, too
	SELECT reservation_id INTO r FROM seat_hold(p, '{9}', 'sweep-1');
	PERFORM payment_begin(r, 'sweep-1', 'card');
	-- and is over before those that came first
	SELECT reservation_id INTO r FROM seat_hold(far, '{2}', 'sweep-2');
	UPDATE reservation SET expires_at = expires_at - interval '1 minute' WHERE reservation_id = r;
	UPDATE seat SET held_until = held_until - interval '1 minute' WHERE reservation_id = r;
	RETURN 1;
END $$;

SELECT pg_temp.mixed(:p, :far, :queued, :floor, :'token') AS n \gset
SELECT is(pg_temp.left_over(), '10 holds, 85 seats, 16 timers', 'holds of all kinds');
BEGIN;
SELECT pg_temp.clear() AS n \gset
SET LOCAL ticket.trace_id = 'sweep-trace';
SELECT is(pg_temp.expect(), 10::bigint, 'ten holds');
SAVEPOINT s;
SELECT is(pg_temp.swept('1h'), 10, 'are ended');
SELECT is(pg_temp.differences(), NULL, 'with the events that each would have by itself, in the order of the timers');
SELECT is((SELECT count(*) FROM outbox WHERE payload ->> 'trace_id' = 'sweep-trace'), 10::bigint, 'and the trace');
SELECT is((SELECT string_agg(DISTINCT r.status || (r.ended_at >= r.expires_at)::text, ' ') FROM reservation r JOIN expected e ON e.aggregateid = r.reservation_id::text),
	'expiredtrue', 'their rows have ended');
SELECT is(pg_temp.left_over(), '0 holds, 0 seats, 0 timers', 'nothing is left');
SELECT is(pg_temp.seats(:p, 4, 5, 6, 7, 8, 100, 169, 400), 'sold free free free free free free free', 'what was sold is sold');
SELECT is((SELECT string_agg(format('%s: %s', invariant, violations), ', ') FROM verify() WHERE NOT ok), NULL, 'every invariant holds');
ROLLBACK TO s;
SELECT is(pg_temp.left_over(), '10 holds, 85 seats, 16 timers', 'a savepoint undone brings all back');
SELECT is((SELECT count(*) FROM outbox), 0::bigint, 'and takes the events back');
SELECT is(pg_temp.swept('1h', 4), 4, 'some of them');
SELECT is((SELECT array_agg(aggregateid::bigint ORDER BY id) FROM outbox), (SELECT array_agg(aggregateid::bigint ORDER BY n) FROM expected WHERE n <= 4),
	'the longest over first');
SELECT is(pg_temp.swept('1h'), 6, 'then the others');
SELECT is(pg_temp.differences(), NULL, 'all in all the same');
ROLLBACK;

-- ---------- more than are ended together ----------

CREATE FUNCTION pg_temp.many(p bigint, n int) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. n LOOP
		-- Seats and ends in another order than reservations
		PERFORM seat_hold(p, ARRAY[1001 + i * 7 % 400], 'sweep-' || i % 50);
		CONTINUE WHEN i % 3 > 0;
		UPDATE reservation r SET expires_at = expires_at - make_interval(secs => i % 60) WHERE r.reservation_id = lastval();
		UPDATE seat s SET held_until = held_until - make_interval(secs => i % 60) WHERE s.reservation_id = lastval();
	END LOOP;
	RETURN pg_temp.clear();
END $$;
BEGIN;
SELECT pg_temp.many(:p, 399) AS n \gset
SELECT is(pg_temp.expect(), 409::bigint, '399 more');
SELECT is(pg_temp.swept('1h'), 409, 'are ended');
SELECT is(pg_temp.differences(), NULL, 'with their events, in order');
SELECT is(pg_temp.left_over(), '0 holds, 0 seats, 0 timers', 'nothing is left');
SET LOCAL enable_seqscan = off;
SELECT is((SELECT count(*) FROM expected e JOIN outbox o ON o.id = (SELECT id FROM outbox WHERE aggregateid = e.aggregateid)
	WHERE o.id >= '00000000-0000-0000-0000-000000000000'), 409::bigint, 'the events can be found by id');
ROLLBACK;

-- ---------- rows that are not as they should be ----------

BEGIN;
-- Timers of nothing; every one twice; a reservation that is gone; seats that two
-- claim, that another has bought, that none has, that were named twice, that are not there.
INSERT INTO hold_timer SELECT now(), n FROM unnest('{-9223372036854775808,-9223372036854775807,9223372036854775807}'::bigint[]) AS n;
INSERT INTO hold_timer SELECT t.* FROM hold_timer t JOIN reservation r USING (reservation_id) WHERE r.status = 'held';
UPDATE seat SET status = 'free', reservation_id = NULL, held_until = NULL WHERE performance_id = :far AND seat_id = 10;
SET LOCAL session_replication_role = replica;
DELETE FROM reservation WHERE user_id = 'sweep-4' AND status = 'held';
UPDATE reservation SET seat_ids = '{400,1,4}', prices = '{1,1,1}' WHERE user_id = 'sweep-1' AND seat_ids = '{400}';
UPDATE reservation SET seat_ids = '{3,3,99999}', prices = '{1,1,1}' WHERE user_id = 'sweep-7' AND status = 'held';
SET LOCAL session_replication_role = origin;
SELECT pg_temp.clear() AS n \gset
SELECT is(pg_temp.expect(), 18::bigint, 'nine holds, with timers twice');
DELETE FROM expected e USING expected f WHERE f.aggregateid = e.aggregateid AND f.n < e.n;
UPDATE expected e SET n = (SELECT count(*) FROM expected f WHERE f.n <= e.n);
SELECT is(pg_temp.swept('1h'), 9, 'each is ended once');
SELECT is(pg_temp.differences(), NULL, 'with one event');
SELECT is(pg_temp.left_over(), '0 holds, 3 seats, 0 timers', 'only seats whose reservation is gone are left');
SELECT is(pg_temp.seats(:p, 1, 2, 3, 4, 400) || ', ' || pg_temp.seats(:far, 1, 2, 10), 'free free free sold free, free free free', 'each seat was freed for who had it');
ROLLBACK;

-- ---------- what others have put on the tables ----------

CREATE TABLE pg_temp.seen (what text, reservation_id text);
CREATE FUNCTION pg_temp.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO pg_temp.seen VALUES (TG_TABLE_NAME, CASE TG_TABLE_NAME WHEN 'outbox' THEN to_jsonb(NEW) ->> 'aggregateid' ELSE to_jsonb(OLD) ->> 'reservation_id' END);
	RETURN NEW;
END $$;
BEGIN;
SELECT pg_temp.clear() AS n \gset
SELECT is(pg_temp.expect(), 10::bigint, 'ten holds');
SAVEPOINT s;
CREATE TRIGGER note BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION pg_temp.note();
SELECT is(pg_temp.swept('1h'), 10, 'are ended past a trigger of the outbox');
SELECT is((SELECT array_agg(reservation_id) FROM pg_temp.seen), (SELECT array_agg(aggregateid ORDER BY n) FROM expected), 'which sees each event');
SELECT is(pg_temp.differences(), NULL, 'and they are the same');
ROLLBACK TO s;
CREATE TRIGGER note BEFORE UPDATE ON reservation FOR EACH ROW EXECUTE FUNCTION pg_temp.note();
CREATE TRIGGER note BEFORE UPDATE ON seat FOR EACH ROW EXECUTE FUNCTION pg_temp.note();
SELECT is(pg_temp.swept('1h'), 10, 'past triggers of reservation and seat');
SELECT is((SELECT string_agg(what || ' ' || n, ', ' ORDER BY what) FROM (SELECT what, count(*) AS n FROM pg_temp.seen GROUP BY what) s),
	'reservation 10, seat 85', 'which see each row once');
SELECT is(pg_temp.differences(), NULL, 'with the same events');
SELECT is(pg_temp.left_over(), '0 holds, 0 seats, 0 timers', 'nothing is left');
ROLLBACK TO s;
CREATE FUNCTION pg_temp.meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF OLD.seat_ids = '{400}' AND OLD.status = 'held' AND NEW.status = 'expired' THEN
		UPDATE reservation SET user_id = 'sweep-moved' WHERE seat_ids = '{6,8}' AND status = 'held';
		UPDATE reservation SET amount = 7 WHERE seat_ids = '{3,4}' AND status = 'held';
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER meddle BEFORE UPDATE ON reservation FOR EACH ROW EXECUTE FUNCTION pg_temp.meddle();
SELECT is(pg_temp.swept('1h'), 10, 'past a trigger that changes holds which are to be ended next');
SELECT is((SELECT string_agg(concat_ws(' ', payload ->> 'user_id', payload ->> 'amount'), ', ' ORDER BY payload ->> 'user_id') FROM outbox
	WHERE payload ->> 'seat_ids' IN ('[6, 8]', '[3, 4]')), 'sweep-3 7, sweep-moved 140', 'which are ended as they are then');
ROLLBACK TO s;
CREATE INDEX some_events ON outbox (aggregateid) WHERE (payload ->> 'user_id') < 'sweep-5';
CREATE INDEX events_by_hash ON outbox USING hash (type);
SELECT is(pg_temp.swept('1h'), 10, 'with an index of another kind');
SELECT is(pg_temp.differences(), NULL, 'the same');
DROP INDEX events_by_hash;
ROLLBACK TO s;
CREATE INDEX some_events ON outbox (aggregateid) WHERE (payload ->> 'user_id') < 'sweep-5';
SELECT is(pg_temp.swept('1h'), 10, 'with an index on some rows');
SET LOCAL enable_seqscan = off;
SET LOCAL enable_bitmapscan = off;
SELECT is((SELECT count(*) FROM expected e WHERE EXISTS (SELECT FROM outbox o WHERE o.aggregateid = e.aggregateid AND (o.payload ->> 'user_id') < 'sweep-5')),
	(SELECT count(*) FROM expected WHERE payload ->> 'user_id' < 'sweep-5'), 'which has these');
DELETE FROM outbox WHERE (payload ->> 'user_id') < 'sweep-5';
SELECT ok((SELECT count(*) FROM outbox) BETWEEN 1 AND 9, 'and not the others');
ROLLBACK TO s;
ALTER TABLE outbox ADD CONSTRAINT outbox_small CHECK (aggregatetype <> 'reservation' OR payload -> 'seat_ids' <> '[400]');
SELECT pg_temp.refused('SELECT pg_temp.swept(''1h'')', '23514', 'a CHECK that refuses one event undoes all');
RESET ticket.clock_offset;
ALTER TABLE outbox DROP CONSTRAINT outbox_small;
ALTER TABLE outbox ADD CONSTRAINT outbox_closed CHECK (false);
SELECT pg_temp.refused('SELECT pg_temp.swept(''1h'')', '23514', 'so does one that lets nothing in');
RESET ticket.clock_offset;
ALTER TABLE outbox DROP CONSTRAINT outbox_closed;
CREATE UNIQUE INDEX one_event ON outbox (type);
SELECT pg_temp.refused('SELECT pg_temp.swept(''1h'')', '23505', 'so does a unique index');
RESET ticket.clock_offset;
DROP INDEX one_event;
SELECT is(pg_temp.left_over(), '10 holds, 85 seats, 16 timers', 'nothing has changed');
ALTER TABLE reservation ADD CONSTRAINT reservation_short CHECK (ended_at IS NULL OR user_id <> 'sweep-1');
SELECT pg_temp.refused('SELECT pg_temp.swept(''1h'')', '23514', 'a CHECK that has to do with what changes');
RESET ticket.clock_offset;
ALTER TABLE reservation DROP CONSTRAINT reservation_short;
ALTER TABLE reservation ADD CONSTRAINT reservation_short CHECK (user_id <> 'sweep-1') NOT VALID;
SELECT pg_temp.refused('SELECT pg_temp.swept(''1h'')', '23514', 'one that rows need not fulfil already');
RESET ticket.clock_offset;
ALTER TABLE reservation DROP CONSTRAINT reservation_short;
CREATE FUNCTION pg_temp.flag(text) RETURNS boolean LANGUAGE sql STABLE AS $$ SELECT current_setting('sweep.flag', true) IS DISTINCT FROM $1 $$;
ALTER TABLE reservation ADD CONSTRAINT reservation_flag CHECK (pg_temp.flag(user_id));
SET LOCAL sweep.flag = 'sweep-1';
SELECT pg_temp.refused('SELECT pg_temp.swept(''1h'')', '23514', 'one that can come to say otherwise');
RESET ticket.clock_offset;
ALTER TABLE reservation DROP CONSTRAINT reservation_flag;
CREATE FUNCTION pg_temp.fine(r reservation) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN RETURN r.ended_at IS NULL OR r.user_id <> 'sweep-1'; END $$;
ALTER TABLE reservation ADD CONSTRAINT reservation_whole CHECK (pg_temp.fine(reservation));
SELECT pg_temp.refused('SELECT pg_temp.swept(''1h'')', '23514', 'one of the whole row');
RESET ticket.clock_offset;
ALTER TABLE reservation DROP CONSTRAINT reservation_whole;
ALTER TABLE seat ADD CONSTRAINT seat_row CHECK (row_no < 1000);
SELECT is(pg_temp.swept('1h'), 10, 'one that has nothing to do with it');
SELECT is(pg_temp.differences(), NULL, 'the same events');
ROLLBACK;

-- ---------- the isolation level ----------

BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pg_temp.clear() AS n \gset
SELECT is(pg_temp.expect(), 10::bigint, 'under REPEATABLE READ');
SELECT is(pg_temp.swept('1h'), 10, 'they are ended, too');
SELECT is(pg_temp.differences(), NULL, 'with the same events');
COMMIT;
SELECT is(pg_temp.left_over(), '0 holds, 0 seats, 0 timers', 'nothing is left');
SELECT is(pg_temp.seats(:p, 3, 4, 6, 400), 'free sold free free', 'the maps show it');
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT count(seat_hold(:p, '{17,18}', 'sweep-1')) + pg_temp.clear() * 0 AS n \gset
SELECT is(pg_temp.swept('1h'), 1, 'under SERIALIZABLE');
COMMIT;
SELECT pg_temp.refused('SELECT ticket.seat_hold_expire(-1)', '22023', 'fewer than none');
SELECT is(seat_hold_expire(), 0, 'nothing is due');
SELECT is((SELECT string_agg(format('%s: %s', invariant, violations), ', ') FROM verify() WHERE NOT ok), NULL, 'every invariant holds');

SELECT * FROM finish();
