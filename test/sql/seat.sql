-- Catalogue and stock: lists, holding seats, giving them back, admission.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin
SET search_path = ticket, public;

-- ---------- catalogue ----------

SELECT venue_create('hall') AS venue, concert_create('band') AS concert \gset
SELECT performance_create(:concert, :venue, now() + '2 days') AS later,
	performance_create(:concert, :venue, now() + '1 day', max_seats_per_user => 3,
		sale_opens_at => now() - interval '1 day', sale_closes_at => now() + '1 h') AS p \gset
SELECT is((SELECT format('%s %s %s', c.name, c.performances, c.next_starts_at = p.starts_at)
	FROM concerts() c, performance p WHERE c.concert_id = :concert AND p.performance_id = :p), 'band 2 t',
	'concerts: name, number of dates, the next one');
SELECT section_create(:p, 'vip', 500, 1, 3) AS vip, section_create(:p, 'stalls', 200, 2, 4) AS stalls \gset
SELECT is((SELECT array_agg(format('%s %s %s %s %s', performance_id = :p, venue, on_sale, seats, max_seats_per_user) ORDER BY starts_at)
	FROM performances(:concert)), '{"t hall t 11 3","f hall t 0 4"}', 'performances: in order of time, with their seats');
SELECT is((SELECT array_agg(format('%s %s %s %s %s', section_id IN (:vip, :stalls), name, price, seats, available))
	FROM sections(:p)), '{"t vip 500 3 3","t stalls 200 8 8"}', 'sections: in order, all free');
SELECT is((SELECT array_agg(format('%s %s/%s %s %s %s', seat_id, "row", number, section_id = :stalls, price, status))
	FROM seats(:p) WHERE seat_id NOT BETWEEN 5 AND 8),
	'{"1 1/1 f 500 free","2 1/2 f 500 free","3 1/3 f 500 free","4 1/1 t 200 free","9 2/2 t 200 free","10 2/3 t 200 free","11 2/4 t 200 free"}',
	'seats: numbered by section, row, number');
SELECT is((SELECT array_agg(seat_id) FROM seats(:p, :vip)), '{1,2,3}', 'seats of a section');
SELECT is((SELECT count(*) FROM seats(:later)), 0::bigint, 'another performance has none of them');
SELECT is((SELECT count(*) FROM seats(:later, :vip)), 0::bigint, 'not even when asked by section');

-- ---------- hold ----------

SELECT * FROM seat_hold(:p, '{2}', 'a') \gset one_
SELECT is(format('%s %s', :'one_status', :'one_amount'), 'held 500', 'one seat is held at its price');
SELECT ok(:'one_expires_at'::timestamptz BETWEEN now() + '4 minutes' AND now() + '5 minutes', 'for hold_interval');
SELECT * FROM seat_hold(:p, '{9,3}', 'a') \gset two_
SELECT is(format('%s %s', :'two_status', :'two_amount'), 'held 700', 'several are held at the sum');
SELECT is(pg_temp.seats(:p, 1, 2, 3, 8, 9), 'free held held free held', 'the list shows it');
SELECT is((SELECT array_agg(format('%s %s', name, available)) FROM sections(:p)), '{"vip 1","stalls 7"}', 'the counts show it');
SELECT is((SELECT format('%s %s %s %s %s', user_id, seat_ids, prices, status, key IS NULL)
	FROM reservation, LATERAL (SELECT idempotency_key AS key) k WHERE reservation_id = :two_reservation_id),
	'a {3,9} {500,200} held t', 'the reservation has its seats in order, with their prices');
SELECT is((SELECT array_agg(format('%s %s %s', seat_id, status, held_until = :'two_expires_at') ORDER BY seat_id) FROM seat
	WHERE reservation_id = :two_reservation_id), '{"3 held t","9 held t"}', 'and the seats have the reservation');
SELECT is((SELECT format('%s %s %s %s %s', seats, available, held, sold, overdue) FROM sale_stats WHERE performance_id = :p),
	'11 8 3 0 0', 'sale_stats shows it');
SELECT pg_temp.refused(format('SELECT ticket.seat_hold(%s, %L, %L)', :p, '{2}', 'b'), 'TK006', 'a held seat is not to be had');
SELECT pg_temp.refused(format('SELECT ticket.seat_hold(%s, %L, %L)', :p, '{4,5,9}', 'b'), 'TK006', 'all or nothing');
SELECT is(pg_temp.seats(:p, 4, 5), 'free free', 'the others stay free');
SELECT pg_temp.refused(format('SELECT ticket.seat_hold(%s, %L, %L)', :p, '{4,12}', 'b'), 'TK005', 'a seat beyond the last one');
SELECT pg_temp.refused(format('SELECT ticket.seat_hold(%s, %L, %L)', :p, '{4}', 'a'), 'TK008', 'one more than the limit');
SELECT pg_temp.refused(format('SELECT ticket.seat_hold(%s, %L, %L)', :p, '{4,5,6,7}', 'b'), 'TK008', 'too many at once');
SELECT is((SELECT status FROM seat_hold(:p, '{4,5,6}', 'b')), 'held', 'exactly the limit is fine');
UPDATE seat SET status = 'blocked' WHERE performance_id = :p AND seat_id = 1;
SELECT pg_temp.refused(format('SELECT ticket.seat_hold(%s, %L, %L)', :p, '{1}', 'c'), 'TK006', 'a blocked seat is not to be had');
SELECT is(pg_temp.seats(:p, 1), 'blocked', 'and is listed so');

-- ---------- give back ----------

SELECT is(seat_release(:one_reservation_id, 'a'), true, 'a hold can be released');
SELECT is(seat_release(:one_reservation_id, 'a'), false, 'once');
SELECT is((SELECT format('%s %s', status, ended_at IS NOT NULL) FROM reservation WHERE reservation_id = :one_reservation_id),
	'released t', 'it has ended');
SELECT is(pg_temp.seats(:p, 2, 3, 9), 'free held held', 'its seats are free, no others');
SELECT pg_temp.refused(format('SELECT ticket.seat_release(%s, %L)', :two_reservation_id, 'b'), 'TK005',
	'somebody else''s hold cannot be released');
SELECT is((SELECT status FROM seat_hold(:p, '{2}', 'c')), 'held', 'another may have the seat');
SELECT is((SELECT status FROM seat_hold(:p, '{7}', 'a')), 'held', 'who released may hold again');

-- ---------- the end of a hold ----------

SELECT pg_temp.sale(max_seats => 3) AS p \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{1,2,3}', 'a') \gset
SET ticket.clock_offset = '290s';
SELECT pg_temp.refused(format('SELECT ticket.seat_hold(%s, %L, %L)', :p, '{3}', 'b'), 'TK006', 'a hold lasts');
SELECT is(seat_hold_expire(), 0, 'there is nothing to tidy');
SET ticket.clock_offset = '310s';
SELECT is(pg_temp.seats(:p, 1, 2, 3), 'free free free', 'a hold that is over is as good as free');
SELECT is((SELECT available FROM sections(:p)), 10::bigint, 'and counted so');
SELECT is((SELECT format('%s %s %s', available, held, overdue) FROM sale_stats WHERE performance_id = :p), '10 0 3',
	'sale_stats: not tidied yet');
SELECT is((SELECT status FROM seat_hold(:p, '{4,5,6}', 'a')), 'held', 'it does not count for the limit');
SELECT reservation_id AS r2 FROM seat_hold(:p, '{3,7}', 'b') \gset
SELECT is((SELECT format('%s %s', status, ended_at IS NOT NULL) FROM reservation WHERE reservation_id = :r), 'expired t',
	'who takes over one of its seats ends it');
SELECT is((SELECT array_agg(format('%s %s %s', seat_id, status, reservation_id = :r2) ORDER BY seat_id)
	FROM seat WHERE performance_id = :p AND seat_id IN (1, 2, 3, 7)),
	'{"1 free ","2 free ","3 held t","7 held t"}', 'the seats are the newcomer''s, the others free');
SELECT is(seat_release(:r, 'a'), false, 'what is over cannot be released');
SELECT is(pg_temp.seats(:p, 3), 'held', 'and takes no seat from the newcomer');
SET ticket.clock_offset = '1000s';
SELECT is(seat_release(:r2, 'b'), false, 'a hold that is over is not released');
SELECT is((SELECT status FROM reservation WHERE reservation_id = :r2), 'expired', 'but has expired');
SELECT count(seat_hold_expire()) AS n \gset
SELECT count(seat_hold(:p, ARRAY[i], 'u' || i)) AS n FROM generate_series(1, 5) AS i \gset
SELECT is((SELECT array_agg(status ORDER BY reservation_id) FROM reservation WHERE performance_id = :p),
	'{expired,expired,expired,held,held,held,held,held}', 'two holds on one overdue reservation end it once');
SET ticket.clock_offset = '2000s';
SELECT is(seat_hold_expire(0), 0, 'max_count 0 tidies nothing');
SELECT is(seat_hold_expire(2), 2, 'max_count is a limit');
SELECT is((SELECT array_agg(user_id ORDER BY reservation_id) FROM reservation WHERE performance_id = :p AND status = 'held'),
	'{u3,u4,u5}', 'the oldest go first');
SELECT is(seat_hold_expire(), 3, 'then the others');
SELECT is(seat_hold_expire(), 0, 'then none is left');
SELECT is((SELECT format('%s %s', available, overdue) FROM sale_stats WHERE performance_id = :p), '10 0', 'all seats are free');
RESET ticket.clock_offset;

-- ---------- sale window ----------

SELECT performance_create(:concert, :venue, now() + '3 h', sale_opens_at => now() + '1 h', sale_closes_at => now() + '2 h') AS p \gset
SELECT section_create(:p, 's', 1, 1, 3) AS s \gset
SELECT pg_temp.refused(format('SELECT ticket.seat_hold(%s, %L, %L)', :p, '{1}', 'a'), 'TK012', 'before the sale opens');
SELECT is((SELECT on_sale FROM performances(:concert) WHERE performance_id = :p), false, 'the list says so');
SET ticket.clock_offset = '90min';
SELECT is((SELECT status FROM seat_hold(:p, '{1}', 'a')), 'held', 'while it is open');
SELECT is((SELECT on_sale FROM performances(:concert) WHERE performance_id = :p), true, 'the list says so too');
SET ticket.clock_offset = '150min';
SELECT pg_temp.refused(format('SELECT ticket.seat_hold(%s, %L, %L)', :p, '{2}', 'a'), 'TK012', 'after it has closed');
SELECT is((SELECT on_sale FROM performances(:concert) WHERE performance_id = :p), false, 'the list says so again');
RESET ticket.clock_offset;
UPDATE performance SET sale_opens_at = NULL, sale_closes_at = NULL WHERE performance_id = :p;
SELECT is((SELECT status FROM seat_hold(:p, '{2}', 'a')), 'held', 'without a window it is open');
SET ticket.clock_offset = '4h';
SELECT pg_temp.refused(format('SELECT ticket.seat_hold(%s, %L, %L)', :p, '{3}', 'a'), 'TK012', 'until it begins');
RESET ticket.clock_offset;

-- ---------- what counts ----------

SELECT pg_temp.sale(max_seats => 2) AS p \gset
SELECT point_charge('seat-buyer', 200) AS balance \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{1,2}', 'seat-buyer') \gset
SELECT is((SELECT status FROM pay_reservation(:r, 'seat-buyer')), 'captured', 'as many as one may have are bought');
SELECT pg_temp.refused(format('SELECT ticket.seat_hold(%s, %L, %L)', :p, '{3}', 'seat-buyer'), 'TK008', 'which count');
SELECT is((SELECT status FROM reservation_cancel(:r, 'seat-buyer', '{2}')), 'paid', 'one is given back');
SELECT is((SELECT status FROM seat_hold(:p, '{3}', 'seat-buyer')), 'held', 'for which another may be had');
SELECT pg_temp.refused(format('SELECT ticket.seat_hold(%s, %L, %L)', :p, '{4}', 'seat-buyer'), 'TK008', 'what is left and what is held count together');

-- ---------- changed catalogue ----------

SELECT pg_temp.sale(price => 10) AS p \gset
SELECT is((SELECT amount FROM seat_hold(:p, '{1}', 'a')), 10::bigint, 'the price');
UPDATE section SET price = 20 WHERE performance_id = :p;
SELECT is((SELECT amount FROM seat_hold(:p, '{2}', 'a')), 20::bigint, 'a changed price is in force at once');
BEGIN;
UPDATE section SET price = 30 WHERE performance_id = :p;
UPDATE performance SET max_seats_per_user = 1 WHERE performance_id = :p;
ROLLBACK;
SELECT is((SELECT amount FROM seat_hold(:p, '{3}', 'a')), 20::bigint, 'one rolled back is not');
UPDATE performance SET max_seats_per_user = 3 WHERE performance_id = :p;
SELECT pg_temp.refused(format('SELECT ticket.seat_hold(%s, %L, %L)', :p, '{4}', 'a'), 'TK008', 'nor is an old limit');
SELECT is((SELECT array_agg(amount ORDER BY amount) FROM reservation WHERE performance_id = :p), '{10,20,20}',
	'what was agreed stays');

-- ---------- idempotency ----------

SELECT pg_temp.sale(max_seats => 2) AS p, pg_temp.sale() AS p2 \gset
SELECT * FROM seat_hold(:p, '{2,1}', 'a', NULL, 'key') \gset k_
SELECT is((SELECT h::text FROM seat_hold(:p, '{1,2}', 'a', NULL, 'key') h),
	format('(%s,held,200,"%s")', :k_reservation_id, :'k_expires_at'), 'the same call with the same key has the same answer');
SELECT is((SELECT count(*) FROM reservation WHERE performance_id = :p), 1::bigint, 'and holds nothing more');
SELECT pg_temp.refused(format('SELECT ticket.seat_hold(%s, %L, %L, NULL, %L)', :p, '{1}', 'a', 'key'), 'TK011', 'key used for other seats');
SELECT pg_temp.refused(format('SELECT ticket.seat_hold(%s, %L, %L, NULL, %L)', :p2, '{1,2}', 'a', 'key'), 'TK011',
	'key used for another performance');
SELECT is((SELECT status FROM seat_hold(:p2, '{1,2}', 'b', NULL, 'key')), 'held', 'another user''s key is another key');
SELECT is(seat_release(:k_reservation_id, 'a'), true, 'the hold is released');
SELECT is((SELECT format('%s %s', reservation_id = :k_reservation_id, status) FROM seat_hold(:p, '{1,2}', 'a', NULL, 'key')),
	't released', 'the key still has its first answer');
SELECT is(pg_temp.seats(:p, 1, 2), 'free free', 'and takes no seat');
SELECT is((SELECT status FROM seat_hold(:p, '{1,2}', 'a', NULL, 'key 2')), 'held', 'a new key holds');
SELECT reservation_id AS r FROM reservation WHERE user_id = 'a' AND idempotency_key = 'key 2' \gset
SELECT point_charge('a', 200) AS balance \gset
SELECT count(pay_reservation(:r, 'a')) AS n, count(reservation_cancel(:r, 'a', '{1}')) AS n \gset
SELECT is((SELECT format('%s %s %s', reservation_id = :r, status, amount) FROM seat_hold(:p, '{1,2}', 'a', NULL, 'key 2')),
	't paid 100', 'and has its answer also when seats have been given back since');

-- ---------- admission ----------

SELECT queue_create('sale', capacity => 2, active_ttl => '10 minutes', idle_ttl => '1 day') AS q,
	queue_create('other') AS q2 \gset
SELECT pg_temp.sale(queue_id => :q) AS p \gset
SELECT token AS a FROM ticket_enqueue(:q, 'a') \gset
SELECT token AS b FROM ticket_enqueue(:q, 'b') \gset
SELECT token AS c FROM ticket_enqueue(:q, 'c') \gset
SELECT token AS o FROM ticket_enqueue(:q2, 'c') \gset
SELECT format('SELECT ticket.seat_hold(%s, %L, %%L, %%L)', :p, '{1}') AS hold \gset
SELECT pg_temp.refused(format(:'hold', 'a', NULL), 'TK002', 'no token');
SELECT pg_temp.refused(format(:'hold', 'a', :'b'), 'TK002', 'a token of another user');
SELECT pg_temp.refused(format(:'hold', 'c', :'c'), 'TK002', 'a token that waits');
SELECT pg_temp.refused(format(:'hold', 'c', :'o'), 'TK002', 'a token of another queue');
SELECT pg_temp.refused(format(:'hold', 'a', gen_random_uuid()), 'TK001', 'a random uuid');
SELECT pg_temp.refused(format(:'hold', 'a', overlay(:'a' PLACING CASE right(:'a', 1) WHEN '0' THEN '1' ELSE '0' END FROM 36)),
	'TK001', 'the right place with a wrong secret');
SELECT is((SELECT status FROM seat_hold(:p, '{1}', 'a', :'a')), 'held', 'an active token of one''s own');
SELECT is((SELECT status FROM seat_hold(:p, '{2}', 'a', :'a')), 'held', 'as often as one likes');
SELECT is((SELECT format('%s %s', queue_id = :q, place IS NOT NULL) FROM reservation WHERE performance_id = :p LIMIT 1), 't t',
	'the reservation knows its ticket');
SELECT is(ticket_leave(:'b'), true, 'one leaves');
SELECT pg_temp.refused(format(:'hold', 'b', :'b'), 'TK002', 'a token given up');
SET ticket.clock_offset = '11min';
SELECT pg_temp.refused(format(:'hold', 'a', :'a'), 'TK002', 'an active token that is over');
RESET ticket.clock_offset;
SELECT is((SELECT status FROM seat_hold(pg_temp.sale(), '{1}', 'a', :'a')), 'held', 'where there is no waiting room a token does no harm');

SELECT is((SELECT string_agg(invariant, ', ') FROM verify() WHERE NOT ok), NULL, 'every invariant holds');
SELECT * FROM finish();
