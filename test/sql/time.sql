-- Elapsed time: what is reckoned, kept and told does not depend on the
-- session's TimeZone.  In New York the clocks go forward on 14 March 2100 at
-- 07:00 UTC; a zone named 'X+100' writes times that nobody can read again.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin
SET search_path = ticket, public;

-- Sets the clock of the sale.
CREATE FUNCTION pg_temp.set_clock(at timestamptz) RETURNS text LANGUAGE sql AS $$
	SELECT set_config('ticket.clock_offset', (1000 * extract(epoch FROM at - clock_timestamp()))::bigint || 'ms', false) $$;
-- The DETAIL of a refusal.
CREATE FUNCTION pg_temp.detail(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	EXECUTE call;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN detail;
END $$;

SELECT is(elapsed('1 mon 2 days 3 h'), '771:00:00'::interval, 'a span in hours');
SELECT is(extract(day FROM elapsed('1 mon 2 days 3 h')), 0::numeric, 'without days');
SELECT pg_temp.refused('SELECT ticket.elapsed(NULL)', '22023', 'a span of nothing');

SET timezone = 'America/New_York';
SELECT pg_temp.set_clock('2100-03-13 20:00Z') AS t, seat_hold_expire() AS n \gset

-- ---------- moving ----------

SELECT performance_create(concert_create('time'), venue_create('time'), '2100-03-13 23:00Z', sale_opens_at => '2100-01-01Z',
	sale_closes_at => '2100-03-13 22:30Z') AS p \gset
SELECT count(performance_move(:p, '2100-03-15 23:00Z')) AS n \gset
SELECT is((SELECT sale_closes_at FROM performance WHERE performance_id = :p), '2100-03-15 22:30Z'::timestamptz, 'the sale closes as long before the start as it did');
SELECT count(performance_move(:p, '2100-03-13 23:00Z')) AS n \gset
SELECT is((SELECT sale_closes_at FROM performance WHERE performance_id = :p), '2100-03-13 22:30Z'::timestamptz, 'and back again');
SELECT count(performance_move(:p, '2100-03-13 23:00Z')) AS n \gset
SELECT is((SELECT count(*) FROM outbox WHERE type = 'performance.moved' AND aggregateid = :'p'), 2::bigint, 'moved to where it is: no news');

-- ---------- holds and payments over a change of clocks ----------

SELECT performance_create(concert_create('time'), venue_create('time'), '2100-07-31 20:00Z', hold_interval => '1 day', payment_interval => '1 day',
	max_hold => '2 days') AS p \gset
SELECT section_create(:p, 's', 10, 1, 10) AS s \gset
SELECT reservation_id AS r, expires_at AS e FROM seat_hold(:p, '{1}', 'time-a') \gset
SELECT reservation_id AS r2, expires_at AS e2 FROM seat_hold(:p, '{2}', 'time-a') \gset
SELECT reservation_id AS r3 FROM seat_hold(:p, '{3}', 'time-a') \gset
SELECT payment_id AS stuck FROM payment_begin(:r3, 'time-a', 'card') \gset
SELECT is((SELECT expires_at - created_at FROM reservation WHERE reservation_id = :r), '24:00:00'::interval, 'a hold of a day has 24 hours');
SELECT pg_temp.set_clock('2100-03-14 19:30Z') AS t \gset
SELECT is((SELECT count(*) FROM payments_stuck('1 day') s WHERE s.payment_id = :stuck), 0::bigint, 'what is half an hour short of a day is not stuck for a day');
SELECT ok((SELECT b.expires_at > :'e'::timestamptz + interval '23:15:00' FROM payment_begin(:r, 'time-a', 'card') b), 'a payment puts the end of its hold off by 24 hours');
SELECT pg_temp.set_clock('2100-03-14 20:15Z') AS t \gset
SELECT is((SELECT count(*) FROM payments_stuck('1 day') s WHERE s.payment_id = :stuck), 1::bigint, 'a quarter of an hour after a day it is');
SELECT reservation_id AS r4 FROM seat_hold(:p, '{4}', 'time-b') \gset
UPDATE reservation SET created_at = '2100-03-12 20:00Z', expires_at = '2100-03-13 20:10Z' WHERE reservation_id = :r4;
UPDATE seat SET held_until = '2100-03-13 20:10Z' WHERE reservation_id = :r4;
SELECT pg_temp.set_clock('2100-03-14 19:40Z') AS t \gset
SELECT is((SELECT ok FROM verify('1 day') WHERE invariant = 'no hold outlives its end'), true, 'verify: a day of grace has 24 hours');
SELECT pg_temp.set_clock('2100-03-14 20:20Z') AS t \gset
SELECT is((SELECT format('%s %s', ok, detail) FROM verify('1 day') WHERE invariant = 'no hold outlives its end'),
	format('f reservation %s should have ended at 2100-03-13 20:10:00+00', :r4), 'and no more; its detail is in UTC');

-- ---------- what cancelling costs ----------

SELECT reservation_id AS r5 FROM seat_hold(:p, '{5}', 'time-c') \gset
SELECT count(point_charge('time-c', 10)) AS n, count(pay_reservation(:r5, 'time-c')) AS m, count(cancel_policy_set(:p, '1 mon')) AS k \gset
SELECT pg_temp.set_clock('2100-07-01 20:30Z') AS t \gset
SELECT is(pg_temp.detail(format('SELECT ticket.reservation_cancel(%s, $$time-c$$)', :r5)), 'It begins at 2100-07-31 20:00:00+00.', 'a month is 30 days, also before July 31');
SELECT pg_temp.set_clock('2100-07-01 19:30Z') AS t \gset
SELECT is((SELECT status FROM reservation_cancel(:r5, 'time-c')), 'cancelled', 'and not more');

-- ---------- what is told ----------

SELECT is(pg_temp.detail(format('SELECT ticket.pay_reservation(%s, $$time-b$$)', :r4)), 'It ended at 2100-03-13 20:10:00+00.', 'errors tell times in UTC');
SELECT is(pg_temp.detail(format('SELECT ticket.seat_release(%s, $$time-b$$)', :r4)), 'no error', 'what is over is released: tidied');
SELECT is(pg_temp.detail(format('SELECT ticket.hold_extend(%s, $$time-b$$, $$1 h$$)', :r4)), 'It ended at 2100-03-13 20:10:00+00.', 'also here');
SELECT count(performance_change(:p, sale_closes_at => '2100-05-01 12:00Z')) AS n \gset
SELECT is(pg_temp.detail(format('SELECT ticket.seat_hold(%s, $${6}$$, $$time-b$$)', :p)), 'It closed at 2100-05-01 12:00:00+00.', 'and here');

-- ---------- what is kept ----------

RESET ticket.clock_offset;
SET timezone = 'X+100';
SELECT performance_create(concert_create('time'), venue_create('time'), '2100-07-31 20:00Z') AS p \gset
SELECT section_create(:p, 's', 10, 1, 10) AS s \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{1}', 'time-x') \gset
SELECT count(performance_move(:p, '2100-08-31 20:00Z')) AS n \gset
SELECT is((SELECT starts_at = '2100-07-31 20:00Z'::timestamp AT TIME ZONE 'UTC' FROM user_reservation(:r, 'time-x')), true,
	'what was agreed can be read, whatever the zone of who changed it');
BEGIN;
SELECT ok(history_extend(40) > 30, 'months of history are made in any zone');
ROLLBACK;
SET timezone = 'UTC';
SELECT is((SELECT was ->> 'starts_at' FROM catalogue_past WHERE kind = 'performance' AND id = :p), '2100-07-31T20:00:00+00:00', 'it is kept in UTC');
SELECT * FROM finish();
