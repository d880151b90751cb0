-- What its user does with a hold: put its end off, give some of it back.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin
SET search_path = ticket, public;

-- A hold as it stands, and whether its seats say the same.
CREATE FUNCTION pg_temp.hold(id bigint, OUT is text) LANGUAGE sql AS $$
	SELECT format('%s %s %s %s, %s', r.status, r.seat_ids, r.prices, r.amount,
		(SELECT coalesce(bool_and(e.status = 'held' AND e.held_until = r.expires_at), false)
			AND count(*) = cardinality(r.seat_ids) FROM ticket.seat e WHERE e.reservation_id = id))
	FROM ticket.reservation r WHERE r.reservation_id = id $$;

-- ---------- putting the end off ----------

SELECT pg_temp.sale() AS p \gset
SELECT is((SELECT max_hold FROM performance WHERE performance_id = :p), '15 minutes', 'a hold lasts 15 minutes at most');
SELECT * FROM seat_hold(:p, '{1,2}', 'a') \gset h_
SELECT is(hold_extend(:h_reservation_id, 'a', '2 minutes'), :'h_expires_at'::timestamptz + interval '2 minutes', 'by so much');
SELECT is((SELECT expires_at FROM reservation WHERE reservation_id = :h_reservation_id),
	:'h_expires_at'::timestamptz + interval '2 minutes', 'the reservation has it');
SELECT is(pg_temp.hold(:h_reservation_id), 'held {1,2} {100,100} 200, t', 'and so have the seats');
SELECT is(hold_extend(:h_reservation_id, 'a', '1 millisecond'), :'h_expires_at'::timestamptz + interval '120.001 s', 'little by little');
SET ticket.clock_offset = '6min';
SELECT count(seat_hold_expire()) AS n \gset
SELECT is(pg_temp.hold(:h_reservation_id), 'held {1,2} {100,100} 200, t', 'it lives on past its first end');
SELECT pg_temp.refused(format('SELECT ticket.seat_hold(%s, %L, %L)', :p, '{2}', 'b'), 'TK006', 'its seats are not to be had');
SELECT is((SELECT status FROM seat_hold(:p, '{3}', 'a')), 'held', 'its user may have more');
SELECT is(hold_extend(:h_reservation_id, 'a', '366 days'), :'h_expires_at'::timestamptz + interval '10 minutes', 'up to 15 minutes in all');
SELECT is(hold_extend(:h_reservation_id, 'a', '1 day'), :'h_expires_at'::timestamptz + interval '10 minutes', 'and no further');
SELECT is(pg_temp.hold(:h_reservation_id), 'held {1,2} {100,100} 200, t', 'it is as it was');
SET ticket.clock_offset = '14min';
SELECT is((SELECT status FROM reservation WHERE reservation_id = :h_reservation_id AND expires_at > clock()), 'held', 'still there');
SET ticket.clock_offset = '16min';
SELECT pg_temp.refused(format('SELECT ticket.hold_extend(%s, %L, %L)', :h_reservation_id, 'a', '1 s'), 'TK007', 'what is over is not revived');
SELECT is((SELECT status FROM seat_hold(:p, '{2}', 'b')), 'held', 'another may have the seat');
SELECT pg_temp.refused(format('SELECT ticket.hold_extend(%s, %L, %L)', :h_reservation_id, 'a', '1 s'), 'TK007', 'and has it');
RESET ticket.clock_offset;
SELECT is((SELECT array_agg(format('%s %s', (payload ->> 'expires_at')::timestamptz - :'h_expires_at'::timestamptz, payload -> 'seat_ids') ORDER BY id)
	FROM outbox WHERE type = 'reservation.extended' AND aggregateid = :'h_reservation_id'),
	'{"00:02:00 [1, 2]","00:02:00.001 [1, 2]","00:10:00 [1, 2]"}', 'an event for each new end');

SELECT pg_temp.sale() AS p \gset
UPDATE performance SET hold_interval = '1 h', max_hold = '1 min' WHERE performance_id = :p;
SELECT * FROM seat_hold(:p, '{1}', 'a') \gset h_
SELECT is(hold_extend(:h_reservation_id, 'a', '1 s'), :'h_expires_at'::timestamptz, 'a limit below hold_interval shortens nothing');
UPDATE performance SET max_hold = '2 h' WHERE performance_id = :p;
SELECT is(hold_extend(:h_reservation_id, 'a', '2 h'), :'h_expires_at'::timestamptz + interval '1 h', 'a changed limit is in force at once');
SELECT performance_create(concert_create('c'), venue_create('v'), '2100-01-01', max_hold => '7 min') AS p2 \gset
SELECT is((SELECT max_hold FROM performance WHERE performance_id = :p2), '7 min', 'performance_create: max_hold');

SELECT format('SELECT ticket.hold_extend(%s, %%L, %%L)', :h_reservation_id) AS extend \gset
SELECT pg_temp.refused(format(:'extend', 'b', '1 s'), 'TK005', 'not for another''s hold');
SELECT pg_temp.refused(format(:'extend', user_id, '1 s'), '22023', 'user_id: ' || left(user_id, 5)) FROM unnest(ARRAY['', repeat('x', 256)]) AS user_id;
SELECT pg_temp.refused(format(:'extend', NULL, '1 s'), '22023', 'user_id: NULL');
SELECT pg_temp.refused(format(:'extend', 'a', by), '22023', 'by: ' || coalesce(by, 'NULL'))
FROM unnest('{NULL,0,-1 s,999 us,367 days,100000 years,-1 month 1 day}'::text[]) AS by;
SELECT pg_temp.refused(format('SELECT ticket.hold_extend(%s, $$a$$, $$1 s$$)', id), code, 'reservation_id: ' || id)
FROM (VALUES ('NULL', '22023'), ('0', 'TK005'), ('-1', 'TK005'), ('9223372036854775807', 'TK005')) AS v(id, code);
SELECT point_charge('a', 1000) AS balance \gset
SELECT count(pay_reservation(:h_reservation_id, 'a')) AS n \gset
SELECT pg_temp.refused(format(:'extend', 'a', '1 s'), 'TK009', 'not what is paid');
SELECT reservation_id AS r FROM seat_hold(:p, '{2}', 'a') \gset
SELECT is(seat_release(:r, 'a'), true, 'released');
SELECT pg_temp.refused(format('SELECT ticket.hold_extend(%s, $$a$$, $$1 s$$)', :r), 'TK009', 'not what is given back');
SELECT reservation_id AS r FROM seat_hold(:p, '{2}', 'a') \gset
BEGIN;
SELECT expires_at AS ends FROM reservation WHERE reservation_id = :r \gset
SELECT count(hold_extend(:r, 'a', '1 min')) AS n \gset
ROLLBACK;
SELECT is((SELECT expires_at FROM reservation WHERE reservation_id = :r), :'ends'::timestamptz, 'rolled back it ends when it did');

-- ---------- giving some back ----------

SELECT pg_temp.sale(max_seats => 5) AS p \gset
SELECT section_create(:p, 'dear', 300, 1, 5) AS dear \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{2,1,3,11,12}', 'a') \gset
SELECT is(pg_temp.hold(:r), 'held {1,2,3,11,12} {100,100,100,300,300} 900, t', 'five seats');
SELECT is(seat_release(:r, 'a', '{11,2}'), true, 'two are given back');
SELECT is(pg_temp.hold(:r), 'held {1,3,12} {100,100,300} 500, t', 'the rest stays, at its price');
SELECT is(pg_temp.seats(:p, 1, 2, 3, 11, 12), 'held free held free held', 'what was given back is free');
SELECT is((SELECT status FROM seat_hold(:p, '{2,4}', 'a')), 'held', 'and does not count for the limit');
SELECT is((SELECT status FROM seat_hold(:p, '{11}', 'b')), 'held', 'another may have the other');
SELECT is((SELECT format('%s %s %s %s', payload -> 'seat_ids', payload -> 'released_seat_ids', payload -> 'amount', payload ->> 'status')
	FROM outbox WHERE type = 'reservation.released' AND aggregateid = :'r'), '[1, 3, 12] [11, 2] 500 held', 'an event tells which');
SELECT format('SELECT ticket.seat_release(%s, $$a$$, %%s)', :r) AS release \gset
SELECT pg_temp.refused(format(:'release', seats), 'TK005', 'not a seat of it: ' || seats)
FROM unnest(ARRAY[$$'{4}'$$, $$'{1,4}'$$, $$'{1,2}'$$, $$'{2,4}'$$, $$'{0}'$$, $$'{-1}'$$, $$'{2147483647}'$$]) AS seats;
SELECT pg_temp.refused(format(:'release', seats), '22023', 'bad seats: ' || seats)
FROM unnest(ARRAY[$$'{}'$$, $$'{NULL}'$$, $$'{1,NULL}'$$, $$'{1,1}'$$, $$'{{1,3}}'$$, 'ARRAY(SELECT generate_series(1, 1001))']) AS seats;
SELECT pg_temp.refused(format('SELECT ticket.seat_release(%s, $$b$$, $${1}$$)', :r), 'TK005', 'not another''s');
SELECT is((SELECT given_back FROM reservation WHERE reservation_id = :r), '{11,2}', 'what was given back is remembered');
SELECT pg_temp.state() AS state \gset
SELECT is((SELECT array_agg(seat_release(:r, 'a', seats::int[])) FROM unnest(ARRAY['{2,11}', '{11}', '[3:3]={2}']) AS seats), '{f,f,f}',
	'called again for the same seats: they had been given back before');
SELECT is(pg_temp.state(), :'state', 'and nothing has changed');
SELECT is(seat_release(:r, 'a', '[7:7]={3}'), true, 'once more');
SELECT is(pg_temp.hold(:r), 'held {1,12} {100,300} 400, t', 'two are left');
SELECT is(seat_release(:r, 'a', '{3,2}'), false, 'given back one after another');
SELECT point_charge('a', 1000) AS balance \gset
SELECT is((SELECT amount FROM pay_reservation(:r, 'a')), 400::bigint, 'what is left is paid');
SELECT pg_temp.refused(format(:'release', $$'{1}'$$), 'TK009', 'and no longer a hold');
SELECT reservation_id AS r2 FROM seat_hold(:p, '{5,6}', 'b') \gset
SELECT is(seat_release(:r2, 'b', '{6,5}'), true, 'all of them, one by one named');
SELECT is((SELECT format('%s %s', status, seat_ids) FROM reservation WHERE reservation_id = :r2), 'released {5,6}', 'are all of it');
SELECT is(seat_release(:r2, 'b', '{6}'), false, 'it had ended before');
SELECT reservation_id AS r2 FROM seat_hold(:p, '{5,6}', 'b') \gset
SET ticket.clock_offset = '6min';
SELECT is(seat_release(:r2, 'b', '{6}'), false, 'of what is over nothing is given back');
SELECT is((SELECT format('%s %s', status, seat_ids) FROM reservation WHERE reservation_id = :r2), 'expired {5,6}', 'it has expired');
RESET ticket.clock_offset;

-- With a key
SELECT reservation_id AS r FROM seat_hold(:p, '{7,8}', 'k', NULL, 'key') \gset
SELECT is(seat_release(:r, 'k', '{7}'), true, 'one of two held with a key');
SELECT is((SELECT format('%s %s %s', reservation_id = :r, status, amount) FROM seat_hold(:p, '{8,7}', 'k', NULL, 'key')), 't held 100',
	'the same call again gets what is left');
SELECT pg_temp.refused(format('SELECT ticket.seat_hold(%s, $${8}$$, $$k$$, NULL, $$key$$)', :p), 'TK011', 'it is not the call for that');

-- ---------- several former holds ----------

SELECT pg_temp.sale(max_seats => 6) AS p \gset
SELECT reservation_id AS r1 FROM seat_hold(:p, '{1,2}', 'a') \gset
SELECT reservation_id AS r2 FROM seat_hold(:p, '{3,4}', 'b') \gset
SELECT reservation_id AS r3 FROM seat_hold(:p, '{5,6,7}', 'c') \gset
SELECT reservation_id AS r4 FROM seat_hold(:p, '{8}', 'c') \gset
SELECT is(hold_extend(:r4, 'c', '5 min') IS NULL, false, 'one of them lasts longer');
SET ticket.clock_offset = '6min';
SELECT pg_temp.refused(format('SELECT ticket.seat_hold(%s, %L, %L)', :p, '{2,7,8}', 'c'), 'TK006', 'with one that is not over there is nothing to be had');
SELECT is((SELECT status FROM seat_hold(:p, '{2,3,4,6,9}', 'c')), 'held', 'seats of three holds that are over, one of them one''s own');
SELECT is((SELECT array_agg(format('%s %s', user_id, status) ORDER BY reservation_id) FROM reservation WHERE performance_id = :p),
	'{"a expired","b expired","c expired","c held","c held"}', 'each has ended');
SELECT is(pg_temp.seats(:p, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10), 'free held held held free held free held held free', 'with all its seats');
SELECT is((SELECT array_agg(format('%s %s', type, aggregateid) ORDER BY aggregateid::bigint) FROM outbox
	WHERE aggregateid IN (:'r1', :'r2', :'r3') AND type = 'reservation.expired'),
	ARRAY['reservation.expired ' || :r1, 'reservation.expired ' || :r2, 'reservation.expired ' || :r3], 'and its event');
RESET ticket.clock_offset;

SELECT pg_temp.refused(format('UPDATE ticket.reservation SET expires_at = created_at - interval ''1 us'' WHERE reservation_id = %s', :r1), '23514',
	'no hold ends before it begins');

-- ---------- rounds ----------

SELECT performance_create(concert_create('rounds'), venue_create('rounds'), now() + '100 days') AS p \gset
SELECT section_create(:p, 'rounds', 1, 40, 60) AS n \gset
SET ticket.clock_offset = '1h';
SELECT seat_hold_expire() AS n \gset
RESET ticket.clock_offset;
SELECT count(seat_hold(:p, ARRAY[n], 'rounds-' || n)) AS n FROM generate_series(1, 2300) AS n \gset
SET ticket.clock_offset = '1h';
SELECT is((SELECT format('%s %s', expired_holds, more) FROM tick()), '1000 t', 'a round tidies a thousand holds and says that there are more');
SELECT is(seat_hold_expire(200), 200, 'as many as one wants');
SELECT is((SELECT expired_holds FROM tick()), 1000, 'another round');
SELECT is(seat_hold_expire(1000), 100, 'the rest');
SELECT is((SELECT expired_holds FROM tick()), 0, 'nothing is left');
RESET ticket.clock_offset;

SELECT is((SELECT string_agg(invariant, ', ') FROM verify() WHERE NOT ok), NULL, 'every invariant holds');
SELECT * FROM finish();
