-- Events: what is written with which change, in which order, and fetching them.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin
\set document `cat "$PG_ABS_SRCDIR/../doc/events.md"`
SET search_path = ticket, public;

-- What other tests have left
SET ticket.clock_offset = '1d';
SELECT count(seat_hold_expire()) AS n \gset
RESET ticket.clock_offset;
SELECT count(*) AS n FROM outbox_fetch(100000) \gset
SELECT is((SELECT count(*) FROM outbox), 0::bigint, 'fetched events are gone');
SELECT is((SELECT array_agg(format('%s %s', attname, atttypid::regtype) ORDER BY attnum) FROM pg_attribute
	WHERE attrelid = 'outbox'::regclass AND attnum > 0),
	'{"id uuid","aggregatetype text","aggregateid text","type text","payload jsonb"}', 'the columns of Debezium''s outbox event router');

SELECT pg_temp.sale(price => 10) AS p \gset
SELECT queue_create('outbox') AS q \gset
SELECT count(ticket_enqueue(:q, 'a')) AS n \gset
SELECT is((SELECT count(*) FROM outbox), 0::bigint, 'entering a queue is no event');
SELECT point_charge('outbox-a', 100) AS balance \gset
SELECT point_charge('outbox-a', 5, 'key') AS balance \gset
SELECT point_charge('outbox-a', 5, 'key') AS balance \gset
SELECT * FROM seat_hold(:p, '{2,1}', 'outbox-a', NULL, 'key') \gset a_
SELECT * FROM seat_hold(:p, '{2,1}', 'outbox-a', NULL, 'key') \gset a_
SELECT * FROM pay_reservation(:a_reservation_id, 'outbox-a') \gset pay_
SELECT * FROM pay_reservation(:a_reservation_id, 'outbox-a') \gset pay_
SELECT * FROM reservation_cancel(:a_reservation_id, 'outbox-a', '{1}') \gset cancel_
SELECT * FROM reservation_cancel(:a_reservation_id, 'outbox-a') \gset cancel_
SELECT * FROM reservation_cancel(:a_reservation_id, 'outbox-a') \gset cancel_
SELECT * FROM seat_hold(:p, '{3}', 'outbox-b') \gset b_
SELECT seat_release(:b_reservation_id, 'outbox-b') AS released \gset
SELECT seat_release(:b_reservation_id, 'outbox-b') AS released \gset
SELECT * FROM seat_hold(:p, '{4}', 'outbox-b') \gset c_
SET ticket.clock_offset = '6min';
SELECT count(seat_hold_expire()) AS n \gset
RESET ticket.clock_offset;

SELECT is((SELECT array_agg(type ORDER BY id) FROM outbox),
	'{points.charged,points.charged,reservation.held,reservation.paid,reservation.cancelled,reservation.cancelled,reservation.held,reservation.released,reservation.held,reservation.expired}',
	'one event for each change, in the order of id');
SELECT is((SELECT array_agg(DISTINCT substr(id::text, 15, 1)) FROM outbox), '{7}', 'ids are UUIDs of version 7');
SELECT ok((SELECT bool_and(to_timestamp(('x' || left(translate(id::text, '-', ''), 12))::bit(48)::bigint / 1000.0)
	BETWEEN now() - '1 hour'::interval AND now() + '1 minute'::interval) FROM outbox), 'of their time, which no offset moves');
SELECT is((SELECT bool_and(payload ->> 'v' = '1') FROM outbox), true, 'every payload has its version');
SELECT is((SELECT array_agg(format('%s %s %s', aggregatetype, aggregateid, payload) ORDER BY id) FROM outbox WHERE type LIKE 'points.%'),
	ARRAY['points outbox-a {"v": 1, "amount": 100, "balance": 100, "user_id": "outbox-a"}',
		'points outbox-a {"v": 1, "amount": 5, "balance": 105, "user_id": "outbox-a"}'], 'points.charged');
-- Of the payloads the common part, then what each type adds.
CREATE FUNCTION pg_temp.event(wanted text, OUT id uuid, OUT common jsonb, OUT more jsonb) RETURNS SETOF record LANGUAGE sql AS $$
	SELECT o.id, o.payload - array(SELECT jsonb_object_keys(m.more)), m.more
	FROM ticket.outbox o, LATERAL (
		SELECT coalesce(jsonb_object_agg(e.key, e.value), '{}') AS more FROM jsonb_each(o.payload) e
		WHERE e.key NOT IN ('v', 'reservation_id', 'performance_id', 'user_id', 'seat_ids', 'amount')) m
	WHERE o.type = wanted ORDER BY o.id $$;
SELECT is(array_agg(aggregatetype || ' ' || (aggregateid = (payload ->> 'reservation_id')) || ' ' || (payload ->> 'user_id') ORDER BY id),
	'{reservation true outbox-a,reservation true outbox-a,reservation true outbox-a,reservation true outbox-a,reservation true outbox-b,reservation true outbox-b,reservation true outbox-b,reservation true outbox-b}',
	'reservation events name their reservation')
FROM outbox WHERE type LIKE 'reservation.%';
SELECT is(common, jsonb_build_object('v', 1, 'reservation_id', :a_reservation_id, 'performance_id', :p, 'user_id', 'outbox-a',
	'seat_ids', '[1, 2]'::jsonb, 'amount', 20), 'reservation.held') FROM pg_temp.event('reservation.held') LIMIT 1;
SELECT is((more ->> 'expires_at')::timestamptz, :'a_expires_at'::timestamptz, 'reservation.held: until when')
FROM pg_temp.event('reservation.held') LIMIT 1;
SELECT is(common, jsonb_build_object('v', 1, 'reservation_id', :a_reservation_id, 'performance_id', :p, 'user_id', 'outbox-a',
	'seat_ids', '[1, 2]'::jsonb, 'amount', 20), 'reservation.paid') FROM pg_temp.event('reservation.paid');
SELECT is(format('%s %s', more ->> 'payment_id', (more ->> 'paid_at')::timestamptz), format('%s %s', :pay_payment_id, :'pay_paid_at'),
	'reservation.paid: by which payment') FROM pg_temp.event('reservation.paid');
SELECT is(array_agg(format('%s %s %s', common -> 'seat_ids', common -> 'amount', more) ORDER BY id),
	ARRAY['[2] 10 {"kept": 0, "status": "paid", "refunded": 10, "refund_due": 0, "cancelled_seat_ids": [1]}',
		'[2] 10 {"kept": 0, "status": "cancelled", "refunded": 10, "refund_due": 0, "cancelled_seat_ids": [2]}'], 'reservation.cancelled')
FROM pg_temp.event('reservation.cancelled');
SELECT is(common, jsonb_build_object('v', 1, 'reservation_id', :b_reservation_id, 'performance_id', :p, 'user_id', 'outbox-b',
	'seat_ids', '[3]'::jsonb, 'amount', 10), 'reservation.released') FROM pg_temp.event('reservation.released');
SELECT is(common, jsonb_build_object('v', 1, 'reservation_id', :c_reservation_id, 'performance_id', :p, 'user_id', 'outbox-b',
	'seat_ids', '[4]'::jsonb, 'amount', 10), 'reservation.expired') FROM pg_temp.event('reservation.expired');

-- ---------- fetching ----------

SELECT array_agg(id ORDER BY id) AS ids FROM outbox \gset
BEGIN;
SELECT is((SELECT array_agg(id) FROM outbox_fetch(3)), (:'ids'::uuid[])[1:3], 'the oldest first, at most max_count');
SELECT is((SELECT array_agg(id) FROM outbox_fetch(3)), (:'ids'::uuid[])[4:6], 'then the next');
ROLLBACK;
SELECT is((SELECT array_agg(id) FROM outbox_fetch()), :'ids'::uuid[], 'rolled back they are all there again, in order');
SELECT is((SELECT count(*) FROM outbox_fetch()), 0::bigint, 'committed they are gone');

-- Whoever does not read to the end has not taken the rest out.
CREATE FUNCTION pg_temp.charged(n int) RETURNS void LANGUAGE sql AS $$
	DELETE FROM ticket.outbox; SELECT count(ticket.point_charge('outbox-' || i, 1)) FROM generate_series(1, $1) AS i $$;
CREATE FUNCTION pg_temp.waiting() RETURNS text LANGUAGE sql AS $$ SELECT string_agg(substr(aggregateid, 8), ' ' ORDER BY id) FROM ticket.outbox $$;
SELECT pg_temp.charged(8) \g /dev/null
SELECT is((SELECT string_agg(substr(aggregateid, 8), ' ') FROM (SELECT * FROM (SELECT * FROM outbox_fetch(7)) x LIMIT 3) y), '1 2 3', 'a LIMIT around it');
SELECT is(pg_temp.waiting(), '4 5 6 7 8', '... the rest waits');
BEGIN;
DECLARE c CURSOR FOR SELECT substr(aggregateid, 8) AS n FROM outbox_fetch(5);
FETCH 2 FROM c \g /dev/null
SELECT is((SELECT count(*) FROM outbox), 5::bigint, 'a cursor');
COMMIT;
SELECT is(pg_temp.waiting(), '6 7 8', '... that is read in part when the transaction commits');
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM outbox_fetch(5);
FETCH 1 FROM c \g /dev/null
CLOSE c;
SELECT is(pg_temp.waiting(), '7 8', '... or closed before');
SELECT is((SELECT string_agg(substr(aggregateid, 8), ' ') FROM outbox_fetch()), '7 8', '... the next in the same transaction gets what it left');
ROLLBACK;
SELECT is(pg_temp.waiting(), '6 7 8', '... or rolled back');
\set FETCH_COUNT 2
SELECT * FROM outbox_fetch(3) \g /dev/null
\unset FETCH_COUNT
SELECT is(pg_temp.waiting(), NULL, 'FETCH_COUNT of psql: all are read');
SELECT pg_temp.charged(5) \g /dev/null
SELECT outbox_fetch(5) LIMIT 2 \g /dev/null
SELECT is(pg_temp.waiting(), '3 4 5', 'in a target list');
PREPARE fetched(int) AS SELECT * FROM outbox_fetch($1) LIMIT 1;
EXECUTE fetched(5) \g /dev/null
EXECUTE fetched(5) \g /dev/null
SELECT is(pg_temp.waiting(), '5', 'prepared');
SELECT pg_temp.charged(3) \g /dev/null
DO $$ DECLARE c refcursor; r record; BEGIN
	OPEN c FOR SELECT * FROM ticket.outbox_fetch(3); FETCH c INTO r;
	BEGIN FETCH c INTO r; RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END;
END $$;
SELECT is(pg_temp.waiting(), '3', 'a savepoint that is rolled back has been read in');
SELECT is((SELECT count(*) FROM (SELECT f.id FROM generate_series(1, 2) g, LATERAL outbox_fetch(g + 1) f) x), 1::bigint, 'run again in a join: nobody gets it twice');
SELECT is(pg_temp.waiting(), NULL, '... and it is gone');
SELECT pg_temp.charged(3) \g /dev/null
BEGIN;
DECLARE c CURSOR WITH HOLD FOR SELECT * FROM outbox_fetch(3);
COMMIT;
SELECT is(:'LAST_ERROR_SQLSTATE'::text, 'TK009', 'a cursor WITH HOLD is refused: at commit it would read what nobody has seen');
CREATE PROCEDURE pg_temp.looping() LANGUAGE plpgsql AS $$ DECLARE r record; BEGIN FOR r IN SELECT * FROM ticket.outbox_fetch(3) LOOP COMMIT; END LOOP; END $$;
CALL pg_temp.looping();
SELECT is(:'LAST_ERROR_SQLSTATE'::text, 'TK009', 'so is a loop that commits');
SELECT is(pg_temp.waiting(), '1 2 3', 'and nothing is lost');

-- Read, hand on, acknowledge
SELECT is((SELECT string_agg(substr(aggregateid, 8), ' ' ORDER BY id) FROM outbox_read(2)), '1 2', 'outbox_read: the oldest, in order');
SELECT is((SELECT string_agg(substr(aggregateid, 8), ' ' ORDER BY id) FROM outbox_read()), '1 2 3', 'what is not acknowledged comes again');
SELECT array_agg(id ORDER BY id) AS ids FROM outbox \gset
BEGIN;
SELECT is((SELECT outbox_ack((:'ids'::uuid[])[2:3])), 2, 'outbox_ack: how many were taken out');
SELECT is((SELECT string_agg(substr(aggregateid, 8), ' ') FROM outbox_read()), '1', 'they are gone');
ROLLBACK;
SELECT is((SELECT count(*) FROM outbox_read()), 3::bigint, 'rolled back they are not');
SELECT is(outbox_ack(ARRAY[(:'ids'::uuid[])[3], gen_random_uuid(), (:'ids'::uuid[])[3]]), 1, 'one that is not there, or named twice, does not count');
SELECT is(outbox_ack('{}'), 0, 'none');
BEGIN;
SELECT count(*) AS n FROM outbox_read() \gset
SELECT is(outbox_ack(:'ids'), 2, 'read and acknowledged in one transaction');
COMMIT;
SELECT is(pg_temp.waiting(), NULL, 'they are gone');
SELECT pg_temp.charged(2000) \g /dev/null
SELECT is((SELECT outbox_ack(array_agg(id)) FROM outbox_read(2000)), 2000, 'many');
SELECT reservation_id AS h FROM seat_hold(:p, '{7}', 'outbox-h') \gset
SELECT count(outbox_ack(ARRAY[id])) AS n FROM outbox_read() \gset
SELECT reservation_id AS h2 FROM seat_hold(:p, '{8}', 'outbox-h') \gset
SELECT count(*) AS n FROM outbox_fetch(1) LIMIT 1 \gset
SELECT is((SELECT array_agg(reservation_id ORDER BY reservation_id) FROM ticket.history h WHERE user_id = 'outbox-h'), ARRAY[:h, :h2]::bigint[],
	'what is acknowledged, or fetched, is in the history');

BEGIN;
SELECT point_charge('outbox-a', 1) AS balance \gset
SELECT is((SELECT count(*) FROM outbox), 1::bigint, 'an event is written with its change');
ROLLBACK;
SELECT is((SELECT count(*) FROM outbox), 0::bigint, 'and goes with it');
SELECT ok(bool_and(id > before), '1000 ids in a row grow') FROM (
	SELECT id, lag(id) OVER (ORDER BY i) AS before FROM (SELECT i, event_id() AS id FROM generate_series(1, 1000) AS i) e) f;

-- ---------- an event's time ----------

SELECT is(event_time('017f22e2-79b0-7cc3-98c4-dc0c0c07398f'), '2022-02-22 19:22:22.000798Z', 'event_time: the example of RFC 9562, with its fraction of a millisecond');
SELECT is(event_time(id), NULL, 'event_time: ' || coalesce(id::text, 'NULL')) FROM (VALUES (NULL::uuid),
	('00000000-0000-0000-0000-000000000000'), ('ffffffff-ffff-ffff-ffff-ffffffffffff'), ('919108f7-52d1-4320-9bac-f847db4148a8')) AS v(id);
-- Two of one microsecond: the second is a step ahead of the clock.
SELECT ok(bool_and(event_time(id) BETWEEN before - '1ms'::interval AND clock_timestamp() + '1ms'::interval), 'event_time: of an id just given out')
FROM (SELECT clock_timestamp() AS before, event_id() AS id FROM generate_series(1, 100) OFFSET 0) AS e;

-- ---------- types ----------

CREATE TEMP TABLE documented AS
SELECT m[1] AS type, m[2] AS aggregatetype, m[3]::int AS v, m[4] AS meaning, m[5]::jsonb AS example
FROM regexp_matches(:'document', '\n### (\S+)\n\n`(\w+)`, version (\d+)\. ([^\n]+)\n\n```json\n([^\n]+)\n```\n', 'g') AS m;
SELECT set_eq('SELECT * FROM documented', 'SELECT * FROM event_types', 'doc/events.md has what event_types has');
SELECT is((SELECT count(*) FROM regexp_matches(:'document', '\n### ', 'g')), (SELECT count(*) FROM event_types), 'and no others');
SELECT is((SELECT string_agg(type, ', ') FROM event_types WHERE split_part(type, '.', 1) <> aggregatetype OR v IS NULL OR v < 1
	OR meaning !~ '^[A-Z].*\.$' OR example ? 'trace_id'), NULL, 'each is of its aggregate, has a version and a sentence');

-- One of each, in a trace: whoever adds a type adds here what writes it.
CREATE FUNCTION pg_temp.one_of_each(ref text DEFAULT 'outbox-each') RETURNS void LANGUAGE plpgsql SET search_path = ticket, public AS $$
DECLARE
	p bigint := pg_temp.sale(price => 10);
	r bigint;
BEGIN
	PERFORM point_charge('outbox-each', 100);
	r := (seat_hold(p, '{1,2}', 'outbox-each')).reservation_id;
	PERFORM pay_reservation(r, 'outbox-each');
	PERFORM reservation_cancel(r, 'outbox-each', '{1}');
	r := (seat_hold(p, '{5,6}', 'outbox-each')).reservation_id;
	PERFORM hold_extend(r, 'outbox-each', '1 minute');
	PERFORM seat_release(r, 'outbox-each', '{6}');
	PERFORM seat_release(r, 'outbox-each');
	PERFORM seat_hold(p, '{4}', 'outbox-each');
	PERFORM set_config('ticket.clock_offset', '6min', true);
	PERFORM seat_hold_expire();
	PERFORM set_config('ticket.clock_offset', '0', true);
	r := (seat_hold(p, '{7}', 'outbox-each')).reservation_id;
	PERFORM payment_fail((payment_begin(r, 'outbox-each', 'card')).payment_id, 'no');
	PERFORM payment_confirm((payment_begin(r, 'outbox-each', 'card')).payment_id, ref);
	PERFORM reservation_cancel(r, 'outbox-each');
	PERFORM refund_confirm((SELECT max(refund_id) FROM refund), ref);
	PERFORM point_charge('outbox-leaves', 100);
	PERFORM user_withdraw('outbox-leaves');
	PERFORM performance_move(p, clock() + interval '1 year', sale_opens_at => clock(), sale_closes_at => clock() + interval '1 day');
	PERFORM seat_block(p, '{8,9}'), seat_unblock(p, '{9,10}');
	PERFORM section_withdraw(section_id, 'outbox-each') FROM section WHERE performance_id = p;
	PERFORM performance_withdraw(p, 'outbox-each');
	PERFORM concert_withdraw((SELECT concert_id FROM performance WHERE performance_id = p), 'outbox-each');
END $$;
SELECT queue_create('outbox-each', capacity => 0) AS q \gset
SELECT count(ticket_enqueue(:q, 'outbox-' || n)) AS n FROM generate_series(1, 2) AS n \gset
UPDATE queue SET capacity = 1 WHERE queue_id = :q;
BEGIN;
SET LOCAL ticket.trace_id = 'outbox:each';
SELECT count(pg_temp.one_of_each()) AS n \gset
SELECT ticket_promote(:q) AS promoted \gset
COMMIT;
SET ticket.trace_id = 'outbox:each';
CALL performance_cancel(pg_temp.sale(), 'outbox-each', 'outbox-each');
RESET ticket.trace_id;
SELECT is((SELECT string_agg(t.type, ', ') FROM event_types t WHERE NOT EXISTS (SELECT FROM outbox o WHERE o.type = t.type)), NULL,
	'every type is written');
SELECT is((SELECT string_agg(DISTINCT o.type, ', ') FROM outbox o WHERE NOT EXISTS (SELECT FROM event_types t WHERE o.type = t.type)), NULL,
	'none is written that is not in event_types');
-- Keys and the kinds of their values: null stands for any.
CREATE FUNCTION pg_temp.shape(payload jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_object_agg(e.key, jsonb_typeof(e.value)) FROM jsonb_each(payload) e $$;
SELECT is((SELECT string_agg(DISTINCT format('%s %s %s', o.type, o.aggregatetype, o.payload), '; ') FROM outbox o JOIN event_types t ON t.type = o.type
	WHERE o.aggregatetype <> t.aggregatetype OR (o.payload -> 'v')::int <> t.v
	OR pg_temp.shape(jsonb_strip_nulls(o.payload - 'trace_id')) <> pg_temp.shape(t.example
		- ARRAY(SELECT e.key FROM jsonb_each(o.payload) e WHERE e.value = 'null'))), NULL,
	'each with the aggregate, the version and the keys of its example');
SELECT is((SELECT count(*) FROM outbox WHERE payload ->> 'trace_id' = 'outbox:each' ), (SELECT count(*) FROM outbox), 'and with its trace');

-- ---------- times ----------

-- Whatever the caller's time zone is, of which the server can not read every one.
CREATE FUNCTION pg_temp.times_in(zone text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
	kept text := current_setting('timezone');
BEGIN
	BEGIN
		DELETE FROM ticket.outbox;
		PERFORM set_config('timezone', zone, true);
		PERFORM pg_temp.one_of_each('outbox-zone');
		PERFORM set_config('timezone', kept, true);
		SELECT string_agg(DISTINCT format('%s.%s', o.type, e.key), ' ' ORDER BY format('%s.%s', o.type, e.key))
		FROM ticket.outbox o, jsonb_each_text(o.payload) e
		WHERE e.key ~ '_at$' AND e.value ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?\+00:00$'
			AND e.value::timestamptz BETWEEN now() - '1 hour'::interval AND now() + '2 years'::interval INTO result;
		RAISE division_by_zero;
	EXCEPTION WHEN division_by_zero THEN
		RETURN result;
	END;
END $$;
SELECT is(pg_temp.times_in(zone), (SELECT string_agg(format('%s.%s', t.type, k), ' ' ORDER BY format('%s.%s', t.type, k))
	FROM event_types t, jsonb_object_keys(t.example) k WHERE k ~ '_at$' AND t.type <> 'queue.promoted'), 'times in events are UTC: ' || zone)
FROM unnest('{UTC,Asia/Seoul,America/St_Johns,<X>+100,<X>-100,X+100}'::text[]) AS zone;
SET timezone = '<X>+100';
SELECT queue_create('outbox-zone', capacity => 0) AS q \gset
SELECT count(ticket_enqueue(:q, 'outbox-zone')) AS n \gset
UPDATE queue SET capacity = 1 WHERE queue_id = :q;
SELECT ticket_promote(:q) AS promoted \gset
SELECT is((SELECT bool_and(payload ->> 'admitted_at' ~ '\+00:00$' AND payload ->> 'expires_at' ~ '\+00:00$') FROM outbox WHERE aggregatetype = 'queue' AND aggregateid = :'q'), true,
	'those of promotions, too');
SELECT is(utc('2026-11-21 12:00:00.25+00'), '2026-11-21T12:00:00.25+00:00', 'utc: a time as events have it');
SELECT is(utc(NULL), NULL, 'utc: none');
SELECT history_extend() AS made \gset
SELECT is((SELECT count(*) FROM pg_inherits WHERE inhparent = 'ticket.history'::regclass), 3::bigint, 'history_extend there');
-- What the catalogue was is read again by who buys.
SELECT pg_temp.sale() AS moved \gset
SELECT count(performance_move(:moved, '2100-05-05 20:00+00')) AS n \gset
RESET timezone;
SET timezone = 'UTC';
SELECT history_drop('9999-01-01') AS n \gset
SELECT is((SELECT string_agg(was ->> 'starts_at', ' ') FROM catalogue_past WHERE kind = 'performance' AND id = :moved) ~ '\+00:00$', true,
	'what was is kept in UTC');

-- ---------- traces ----------

DELETE FROM outbox;
CREATE FUNCTION pg_temp.traced() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	r bigint;
	seen jsonb;
BEGIN
	PERFORM ticket.point_charge('outbox-trace', 1);
	SELECT reservation_id FROM ticket.seat_hold(pg_temp.sale(), '{1}', 'outbox-trace') INTO r;
	SELECT jsonb_agg(DISTINCT o.payload -> 'trace_id') FROM ticket.outbox o WHERE o.payload ->> 'user_id' = 'outbox-trace' INTO seen;
	DELETE FROM ticket.outbox;
	RETURN nullif(seen ->> 0, '') || CASE WHEN jsonb_array_length(seen) > 1 THEN ' and others' ELSE '' END;
END $$;
SELECT is(pg_temp.traced(), NULL, 'no trace, no key');
SELECT is((SELECT context FROM pg_settings WHERE name = 'ticket.trace_id'), 'user', 'anyone may set a trace');
SET ticket.trace_id = 'Az09._:/=+@-';
SELECT is(pg_temp.traced(), 'Az09._:/=+@-', 'the characters a trace may have');
SELECT set_config('ticket.trace_id', repeat('x', 128), false) AS trace \gset
SELECT is(pg_temp.traced(), repeat('x', 128), 'and how many');
SELECT is(left(pg_temp.refusal(format('SET ticket.trace_id = %L', trace)), 5), '22023', format('not a trace: %s', left(translate(quote_literal(trace), E'\n\t', '  '), 20)))
FROM unnest(ARRAY[repeat('x', 129), ' ', 'a b', 'a"b', E'a\nb', 'a''b', 'a\b', '{}', 'ä', E'\t', 'a;b', 'a,b', '%s']) AS trace;
SELECT is(pg_temp.traced(), repeat('x', 128), 'what was refused changes nothing');
BEGIN;
SET LOCAL ticket.trace_id = 'local';
SELECT is(pg_temp.traced(), 'local', 'for one transaction');
COMMIT;
SELECT is(pg_temp.traced(), repeat('x', 128), 'then the session''s again');
SET ticket.trace_id = '';
SET request.headers = '{"host": "x", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "accept": "*/*"}';
SELECT is(pg_temp.traced(), '0af7651916cd43dd8448eb211c80319c', 'the traceparent of the request''s headers');
SET ticket.trace_id = 'mine';
SELECT is(pg_temp.traced(), 'mine', 'ticket.trace_id goes before it');
RESET ticket.trace_id;
CREATE FUNCTION pg_temp.traced_with(headers text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('request.headers', headers, true);
	RETURN pg_temp.traced();
END $$;
SELECT is(pg_temp.traced_with(headers), '0af7651916cd43dd8448eb211c80319c', 'a traceparent in ' || replace(headers, E'\n', ' '))
FROM (VALUES
	('{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}'),
	(E'{"traceparent"\n :\t "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}'),
	('{"traceparent":"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more"}'),
	('{"x":"traceparent","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}'),
	('{"x":"\"traceparent","y":"\"traceparent\":\"00-11111111111111111111111111111111-1111111111111111-01\"","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}')) AS v(headers);
SELECT is(pg_temp.traced_with(headers), NULL, 'no traceparent in ' || headers)
FROM (VALUES (''), ('{}'), ('null'), ('"traceparent"'), ('{"traceparent"'), ('{"traceparent":'), ('{"traceparent":"'), ('{"traceparent":null}'), ('not json'),
	('{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0'),
	('{"traceparent":"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}'),
	('{"traceparent":"00-00000000000000000000000000000000-b7ad6b7169203331-01"}'),
	('{"traceparent":"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01"}'),
	('{"traceparent":"00-0af7651916cd43dd8448eb211c8031!c-b7ad6b7169203331-01"}'),
	('{"traceparent":"00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}'),
	('{"x":"\"traceparent\":\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\""}')) AS v(headers);
RESET request.headers;

SELECT * FROM finish();
