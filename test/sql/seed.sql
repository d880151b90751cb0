-- The generator of data/seed.sql: what it makes is in order, and the same again
-- for the same seed.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin
\set seed :test '/../data/seed.sql'
\i :seed

-- What fill() has added, told without ids: they depend on what was there before.
CREATE FUNCTION pg_temp.print() RETURNS text LANGUAGE sql AS $$
	SELECT md5(concat_ws(';',
		(SELECT string_agg(format('%s %s %s %s %s %s', c.name, c.artist, c.starts_at, c.owner, c.running_time, c.attributes), ',' ORDER BY c.concert_id)
			FROM ticket.concert c WHERE c.owner LIKE 'seller.%'),
		(SELECT string_agg(format('%s %s %s %s', c.name, v.name, p.starts_at, p.seat_count), ',' ORDER BY p.performance_id)
			FROM ticket.performance p JOIN ticket.concert c USING (concert_id) JOIN ticket.venue v USING (venue_id) WHERE c.owner LIKE 'seller.%'),
		(SELECT string_agg(format('%s %s %s %s %s %s', s.name, s.grade, s.price, s.first_seat_id, s.row_count, s.seats_per_row), ',' ORDER BY s.section_id)
			FROM ticket.section s JOIN ticket.performance p USING (performance_id) JOIN ticket.concert c USING (concert_id) WHERE c.owner LIKE 'seller.%'),
		(SELECT string_agg(format('%s %s %s %s %s', r.user_id, r.seat_ids, r.prices, r.status, r.created_at), ',' ORDER BY r.reservation_id)
			FROM ticket.reservation r JOIN ticket.performance p USING (performance_id) JOIN ticket.concert c USING (concert_id) WHERE c.owner LIKE 'seller.%'),
		(SELECT string_agg(format('%s %s %s %s', g.user_id, g.kind, g.amount, g.balance_after), ',' ORDER BY g.ledger_id)
			FROM ticket.ledger g WHERE g.user_id LIKE '%.%.0%'))) $$;

BEGIN;
SELECT count(*) AS seats FROM ticket.seat \gset
SELECT is((SELECT string_agg(format('%s %s', f.what, f.rows), ', ') FROM ticket_seed.fill(40, 100, 2345, 5000, 300, 1, '2030-01-01') f
	WHERE f.what NOT LIKE 'reservation%' AND f.what <> 'ledger'), 'venue 2, concert 40, performance 100, seat 2345, user 300', 'as much as was asked for');
SELECT is((SELECT count(*) FROM ticket.seat) - :seats, 2345::bigint, 'of seats as well');
SELECT is((SELECT count(*) FROM ticket.reservation r JOIN ticket.performance p USING (performance_id) JOIN ticket.concert c USING (concert_id)
	WHERE c.owner LIKE 'seller.%'), 5000::bigint, 'and of reservations');
SELECT is((SELECT string_agg(DISTINCT r.status, ' ' ORDER BY r.status) FROM ticket.reservation r JOIN ticket.performance p USING (performance_id)
	JOIN ticket.concert c USING (concert_id) WHERE c.owner LIKE 'seller.%'), 'cancelled expired paid released', 'of all kinds');
SELECT ok(bool_or(c.name ~ '[가-힣]') AND bool_or(c.name ~ '[a-z]'), 'with Korean and English names') FROM ticket.concert c WHERE c.owner LIKE 'seller.%';
SELECT is((SELECT string_agg(invariant || ': ' || detail, ', ') FROM ticket.verify('100 years') WHERE NOT ok), NULL, 'every invariant holds');
SELECT pg_temp.print() AS print \gset
SELECT is((SELECT count(*) FROM ticket_seed.fill(40, 100, 2345, 5000, 300, 1, '2030-01-01') f WHERE f.what = 'user'), 1::bigint, 'it can be filled up again');
SELECT is((SELECT string_agg(invariant || ': ' || detail, ', ') FROM ticket.verify('100 years') WHERE NOT ok), NULL, 'every invariant holds');
-- Ids go on where they were, with the functions as with fill().
SELECT reservation_id AS r FROM ticket.seat_hold(pg_temp.sale(), '{1}', 'seed') \gset
SELECT is((SELECT max(reservation_id) FROM ticket.reservation), :r::bigint, 'what comes after has the next number');
ROLLBACK;
BEGIN;
SELECT count(*) AS n FROM ticket_seed.fill(40, 100, 2345, 5000, 300, 1, '2030-01-01') \gset
SELECT is(pg_temp.print(), :'print', 'the same seed makes the same data');
ROLLBACK;
BEGIN;
SELECT count(*) AS n FROM ticket_seed.fill(40, 100, 2345, 5000, 300, 2, '2030-01-01') \gset
SELECT isnt(pg_temp.print(), :'print', 'another seed other data');
ROLLBACK;
BEGIN;
SELECT count(*) AS n FROM ticket_seed.fill(1, 1, 1, 1, 1) \gset
SELECT is((SELECT string_agg(invariant || ': ' || detail, ', ') FROM ticket.verify('100 years') WHERE NOT ok), NULL, 'one of each is in order');
ROLLBACK;

BEGIN;
SELECT ticket_seed.stadium(2345) AS p \gset
SELECT is((SELECT format('%s %s', seat_count, status) FROM ticket.performance WHERE performance_id = :p), '2345 scheduled', 'a stadium');
SELECT is((SELECT string_agg(format('%s %s %s %s', name, grade, seat_count, seats_per_row), ', ' ORDER BY section_id) FROM ticket.section WHERE performance_id = :p),
	'1구역 VIP 1000 42, 2구역 VIP 1000 42, 3구역 VIP 345 42', 'its blocks');
SELECT is((SELECT count(*) FROM ticket.seat WHERE performance_id = :p AND (seat_no IN (11, 32))), 0::bigint, 'with aisles');
SELECT is((SELECT status FROM ticket.seat_hold(:p, '{2345}', 'seed')), 'held', 'on sale');
SELECT is((SELECT string_agg(invariant || ': ' || detail, ', ') FROM ticket.verify() WHERE NOT ok), NULL, 'every invariant holds');
ROLLBACK;

SELECT pg_temp.refused(call, '22023') FROM unnest(ARRAY['SELECT * FROM ticket_seed.fill(0)', 'SELECT * FROM ticket_seed.fill(10, 9)', 'SELECT * FROM ticket_seed.fill(10, 10, 9)',
	'SELECT * FROM ticket_seed.fill(1, 1, 1000, 10, 999)', 'SELECT * FROM ticket_seed.fill(NULL)', 'SELECT * FROM ticket_seed.fill(1, 1, 1, -1)',
	'SELECT ticket_seed.stadium(0)', 'SELECT ticket_seed.stadium(NULL)', 'SELECT ticket_seed.stadium(1000001)']) AS call;
DROP SCHEMA ticket_seed CASCADE;
SELECT * FROM finish();
