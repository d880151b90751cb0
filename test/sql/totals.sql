-- Totals: by what became of the seats, however they were given back; what has
-- gone back and what is due apart; day by day as the ledger has it.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin
SET search_path = ticket, public;

-- What has become of a performance's seats: state, reservations, seats, amount, paid, refunded, due, kept.
CREATE FUNCTION pg_temp.totals(p bigint) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(format('%s %s %s %s: %s %s %s %s', status, reservations, seats, amount, paid, refunded, refund_due, kept), ', ' ORDER BY status)
	FROM ticket.operator_totals(performance_id => p) $$;
-- Day by day: section, provider, sold, paid, cancelled, refunded, due, kept, net.
CREATE FUNCTION pg_temp.days(p bigint) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(format('%s %s %s: %s %s, %s %s %s %s, %s', day, section, provider, seats_sold, paid, seats_cancelled, refunded, refund_due, kept, net),
		chr(10) ORDER BY day, section, provider)
	FROM ticket.operator_totals_by_day(performance_id => p) $$;
CREATE FUNCTION pg_temp.set_clock(at timestamptz) RETURNS text LANGUAGE sql AS $$
	SELECT set_config('ticket.clock_offset', (1000 * extract(epoch FROM at - clock_timestamp()))::bigint || 'ms', false) $$;

-- ---------- the same, however it was given back ----------

SELECT pg_temp.sale(price => 1000) AS p, pg_temp.sale(price => 1000) AS p2 \gset
SELECT count(point_charge('totals-a', 100000)) AS n, count(cancel_policy_set(:p, '0', 100)) AS m, count(cancel_policy_set(:p2, '0', 100)) AS k \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{1,2,3}', 'totals-a') \gset
SELECT reservation_id AS r2 FROM seat_hold(:p2, '{1,2,3}', 'totals-a') \gset
SELECT is(pg_temp.totals(:p), 'held 1 3 3000: 0 0 0 0', 'held');
SELECT count(pay_reservation(:r, 'totals-a')) AS n, count(pay_reservation(:r2, 'totals-a')) AS m \gset
SELECT is(pg_temp.totals(:p), 'paid 1 3 3000: 3000 0 0 0', 'paid');
SELECT count(reservation_cancel(:r, 'totals-a', '{2}')) AS n, count(reservation_cancel(:r2, 'totals-a')) AS m \gset
SELECT is(pg_temp.totals(:p), 'cancelled 1 1 1000: 1000 900 0 100, paid 1 2 2000: 2000 0 0 0', 'one is given back');
SELECT count(reservation_cancel(:r, 'totals-a')) AS n \gset
SELECT is(pg_temp.totals(:p), 'cancelled 1 3 3000: 3000 2700 0 300', 'and the rest');
SELECT is(pg_temp.totals(:p2), pg_temp.totals(:p), 'all at once comes to the same');

-- ---------- given back while held ----------

SELECT pg_temp.sale(price => 1000) AS p \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{1,2,3}', 'totals-a') \gset
SELECT seat_release(:r, 'totals-a', '{3}') AS done \gset
SELECT is(pg_temp.totals(:p), 'held 1 2 2000: 0 0 0 0, released 1 1 1000: 0 0 0 0', 'given back out of a hold');
SELECT count(pay_reservation(:r, 'totals-a')) AS n, count(reservation_cancel(:r, 'totals-a', '{2}')) AS m \gset
SELECT is(pg_temp.totals(:p), 'cancelled 1 1 1000: 1000 1000 0 0, paid 1 1 1000: 1000 0 0 0, released 1 1 1000: 0 0 0 0', 'each seat by what became of it');
SELECT reservation_id AS r2 FROM seat_hold(:p, '{4,5}', 'totals-b') \gset
SELECT reservation_id AS r3 FROM seat_hold(:p, '{6}', 'totals-c') \gset
SELECT seat_release(:r2, 'totals-b', '{4}') AS done, seat_release(:r2, 'totals-b') AS done2 \gset
SELECT is((SELECT format('%s %s %s', reservations, seats, amount) FROM operator_totals(performance_id => :p) WHERE status = 'released'), '2 3 3000', 'a hold in parts');
SET ticket.clock_offset = '6min';
SELECT is((SELECT format('%s %s %s', reservations, seats, amount) FROM operator_totals(performance_id => :p) WHERE status = 'expired'), '1 1 1000', 'one that is over');
RESET ticket.clock_offset;
SELECT is((SELECT string_agg(format('%s %s %s %s %s', seat_id, status, price, refund, payment_id IS NULL), ', ' ORDER BY seat_id) FROM seat_return WHERE reservation_id = :r),
	'2 cancelled 1000 1000 f, 3 released 1000 0 t', 'what is written down of each seat');

-- ---------- due and done ----------

SELECT pg_temp.sale(price => 100) AS p \gset
SELECT count(cancel_policy_set(:p, '0', 200)) AS n, section_create(:p, 'balcony', 70, 1, 5) AS s \gset
SELECT pg_temp.set_clock('2100-01-01 23:00Z') AS t, count(performance_move(:p, '2100-02-01')) AS n \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{1,2,11}', 'totals-d') \gset
SELECT payment_id AS card FROM payment_begin(:r, 'totals-d', 'card') \gset
SELECT reservation_id AS r2 FROM seat_hold(:p, '{3}', 'totals-d') \gset
SELECT payment_id AS late FROM payment_begin(:r2, 'totals-d', 'bank') \gset
SELECT reservation_id AS r3 FROM seat_hold(:p, '{12,13}', 'totals-a') \gset
SELECT count(payment_confirm(:card, 'totals-1')) AS n, count(pay_reservation(:r3, 'totals-a')) AS k, count(seat_release(:r2, 'totals-d')) AS l \gset
SELECT is(pg_temp.totals(:p), 'paid 2 5 410: 410 0 0 0, released 1 1 100: 0 0 0 0', 'bought at two providers');
SELECT pg_temp.set_clock('2100-01-03 01:00Z') AS t \gset
SELECT is((SELECT format('%s %s %s', status, refunded, refund_due) FROM reservation_cancel(:r, 'totals-d', '{1,11}')), 'paid 0 136', 'a provider''s refund is due');
SELECT is((SELECT format('%s %s', refunded, refund_due) FROM reservation_cancel(:r, 'totals-d', '{1,11}')), '0 136', 'told again');
SELECT is((SELECT format('%s %s %s', refunded, refund_due, refunded_at) FROM payment WHERE payment_id = :card), '0 136 ', 'not refunded');
SELECT is((SELECT format('%s %s', refunded, refund_due) FROM user_reservation(:r, 'totals-d')), '0 136', 'as the user sees it');
SELECT is((SELECT format('%s %s', refunded, refund_due) FROM user_reservations('totals-d') WHERE reservation_id = :r), '0 136', 'in the list, too');
SELECT is((SELECT format('%s %s %s', refunded, refund_due, refunded_at) FROM operator_payments(performance_id => :p) WHERE payment_id = :card), '0 136 ', 'as the operator does');
SELECT is((SELECT format('%s %s', refunded, refund_due) FROM operator_reservations(performance_id => :p) WHERE reservation_id = :r), '0 136', 'in both lists');
SELECT is((SELECT format('%s %s %s', payload -> 'refunded', payload -> 'refund_due', payload -> 'kept') FROM outbox
	WHERE type = 'reservation.cancelled' AND aggregateid = :'r'), '0 136 34', 'and the event');
SELECT count(payment_confirm(:late, 'totals-2')) AS n, count(reservation_cancel(:r3, 'totals-a', '{13}')) AS m \gset
SELECT is(pg_temp.totals(:p), 'cancelled 2 3 240: 240 56 136 48, paid 2 2 170: 170 0 0 0, released 1 1 100: 100 0 100 0',
	'what is due, what has gone back; money that came for what was released');
SELECT pg_temp.set_clock('2100-01-04 12:00Z') AS t \gset
SELECT count(refund_confirm(refund_id, 'totals-3')) AS n FROM refund WHERE payment_id = :card \gset
SELECT is((SELECT format('%s %s %s', refunded, refund_due, refunded_at::date) FROM payment WHERE payment_id = :card), '136 0 2100-01-04', 'refunded when it has gone back');
SELECT is(pg_temp.totals(:p), 'cancelled 2 3 240: 240 192 0 48, paid 2 2 170: 170 0 0 0, released 1 1 100: 100 0 100 0', 'no longer due');
SELECT is((SELECT format('%s %s', refunded, refund_due) FROM reservation_cancel(:r, 'totals-d', '{1,11}')), '136 0', 'told again then');

-- ---------- day by day ----------

SELECT is(pg_temp.days(:p), E'2100-01-01 balcony card: 1 70, 0 0 0 0, 70\n2100-01-01 balcony points: 2 140, 0 0 0 0, 140\n2100-01-01 section card: 2 200, 0 0 0 0, 200\n'
	'2100-01-03 balcony card: 0 0, 1 0 56 14, -56\n2100-01-03 balcony points: 0 0, 1 56 0 14, -56\n2100-01-03 section card: 0 0, 1 0 80 20, -80\n2100-01-03  bank: 0 100, 0 0 100 0, 0\n'
	'2100-01-04 balcony card: 0 0, 0 56 -56 0, 0\n2100-01-04 section card: 0 0, 0 80 -80 0, 0', 'what was sold, given back and kept, by day, section and provider');
SELECT is((SELECT sum(net) FROM operator_totals_by_day(performance_id => :p)), (SELECT balance FROM books WHERE account = 'sales:' || :p), 'net: what the books have');
SELECT is((SELECT format('%s %s %s', sum(paid), sum(refunded), sum(refund_due)) FROM operator_totals_by_day(performance_id => :p)),
	(SELECT format('%s %s %s', sum(paid), sum(refunded), sum(refund_due)) FROM operator_totals(performance_id => :p)), 'all days: the totals');
SELECT is((SELECT format('%s %s %s', sum(paid), sum(refunded), sum(refund_due)) FROM operator_totals_by_day(since => '2100-01-03', until => '2100-01-04')), '100 56 236', 'of a time');
SELECT is((SELECT format('%s %s %s', sum(paid), sum(refunded), sum(refund_due)) FROM operator_totals_by_day(since => '2100-01-04', until => '2100-01-05')), '0 136 -136', 'another');
SELECT is((SELECT string_agg(t::text, ', ') FROM operator_totals_by_day(since => '2100-01-03', until => '2100-01-05') t),
	(SELECT string_agg(t::text, ', ') FROM operator_totals_by_day(performance_id => :p, since => '2100-01-03', until => '2100-01-05') t), 'found by the time or by the performance');
SELECT is((SELECT min(day) FROM operator_totals_by_day(performance_id => :p, time_zone => 'Asia/Seoul')), '2100-01-02'::date, 'days of another zone');
SELECT is((SELECT string_agg(t::text, ', ') FROM operator_totals_by_day((SELECT concert_id FROM performance WHERE performance_id = :p)) t),
	(SELECT string_agg(t::text, ', ') FROM operator_totals_by_day(performance_id => :p) t), 'of a concert');
SELECT is((SELECT string_agg(t::text, ', ') FROM operator_totals_by_day(-1) t), NULL, 'of none');
SELECT count(CASE WHEN n = 1 THEN reservation_cancel(:r, 'totals-d') END) AS n FROM generate_series(1, 1) AS n \gset
SELECT is((SELECT string_agg(format('%s %s %s', day, section, seats_sold), ', ' ORDER BY section) FROM operator_totals_by_day(performance_id => :p) WHERE day = '2100-01-01' AND provider = 'card'),
	'2100-01-01 balcony 1, 2100-01-01 section 2', 'a day that is over does not change');
SELECT pg_temp.refused(format('SELECT * FROM ticket.%s', call), code, call) FROM (VALUES ('operator_totals_by_day()', '22023'),
	('operator_totals_by_day(until => now())', '22023'), ('operator_totals_by_day(1, time_zone => NULL)', '22023'), ('operator_totals_by_day(1, time_zone => $$x$$)', '22023'),
	('seller_totals_by_day(NULL)', '22023')) AS c(call, code);
RESET ticket.clock_offset;

-- ---------- a performance that is cancelled ----------

SELECT pg_temp.sale(price => 100) AS p \gset
SELECT count(cancel_policy_set(:p, '0', 500)) AS n \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{1,2}', 'totals-a') \gset
SELECT count(pay_reservation(:r, 'totals-a')) AS n, count(reservation_cancel(:r, 'totals-a', '{1}')) AS m \gset
CALL performance_cancel(:p);
SELECT is(pg_temp.totals(:p), 'cancelled 1 2 200: 200 150 0 50', 'what was kept before stays kept, the rest goes back in full');
SELECT is((SELECT string_agg(invariant || ': ' || detail, '; ') FROM verify() WHERE NOT ok), NULL, 'every invariant holds');
SELECT * FROM finish();
