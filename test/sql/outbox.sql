-- Events: what is written with which change, in which order, and fetching them.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin
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
	ARRAY['[2] 10 {"kept": 0, "status": "paid", "refunded": 10, "cancelled_seat_ids": [1]}',
		'[2] 10 {"kept": 0, "status": "cancelled", "refunded": 10, "cancelled_seat_ids": [2]}'], 'reservation.cancelled')
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
BEGIN;
SELECT point_charge('outbox-a', 1) AS balance \gset
SELECT is((SELECT count(*) FROM outbox), 1::bigint, 'an event is written with its change');
ROLLBACK;
SELECT is((SELECT count(*) FROM outbox), 0::bigint, 'and goes with it');
SELECT ok(bool_and(id > before), '1000 ids in a row grow') FROM (
	SELECT id, lag(id) OVER (ORDER BY i) AS before FROM (SELECT i, event_id() AS id FROM generate_series(1, 1000) AS i) e) f;

SELECT * FROM finish();
