-- Operators: seats blocked, performances moved and cancelled; what has been sold
-- stays.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin
SET search_path = public, ticket;

-- ---------- blocking ----------

SELECT pg_temp.sale(price => 10) AS p \gset
SELECT is(seat_block(:p, '{1,2,3}'), 3, 'seats are blocked');
SELECT is(seat_block(:p, '{3,4}'), 1, 'those that were not yet are counted');
SELECT is(pg_temp.seats(:p, 1, 2, 3, 4, 5), 'blocked blocked blocked blocked free', 'and no others');
SELECT is((SELECT available FROM sections(:p)), 6::bigint, 'they are not available');
SELECT pg_temp.refused(format('SELECT ticket.seat_hold(%s, %L, %L)', :p, '{4,5}', 'op-a'), 'TK006', 'nor to be held');
SELECT is(seat_unblock(:p, '{2,3,5}'), 2, 'some are unblocked');
SELECT is(pg_temp.seats(:p, 1, 2, 3, 4, 5), 'blocked free free blocked free', 'and free again');
SELECT is(seat_block(:p, '{1}') + seat_unblock(:p, '{2}'), 0, 'what is so already is no news');
SELECT is((SELECT string_agg(format('%s %s', type, payload -> 'seat_ids'), ', ' ORDER BY id) FROM outbox WHERE aggregatetype = 'performance' AND aggregateid = :'p'),
	'performance.seats_blocked [1, 2, 3], performance.seats_blocked [4], performance.seats_unblocked [2, 3]', 'the rest is');
SELECT is((SELECT string_agg(h.type, ', ') FROM history(performance_id => :p, seat_id => 2) h), 'performance.seats_blocked, performance.seats_unblocked',
	'and in the history of each seat');
SELECT reservation_id AS r FROM seat_hold(:p, '{5,6}', 'op-a') \gset
SELECT reservation_id AS r2 FROM seat_hold(:p, '{7}', 'op-a') \gset
SELECT count(point_charge('op-a', 100)) AS n, count(pay_reservation(:r2, 'op-a')) AS m \gset
SELECT pg_temp.refused(format('SELECT ticket.seat_block(%s, %L)', :p, seats), 'TK006', 'not what is held or sold: ' || seats)
FROM unnest('{"{5}","{2,6}","{7}","{5,7}"}'::text[]) AS seats;
SELECT pg_temp.refused(format('SELECT ticket.seat_block(%s, %L, true)', :p, '{5,7}'), 'TK006', 'what is sold not even when holds are ended');
SELECT is(seat_block(:p, '{2,5}', end_holds => true), 2, 'what is held when holds are ended');
SELECT is(pg_temp.seats(:p, 2, 5, 6, 7), 'blocked blocked free sold', 'with all of the hold');
SELECT is((SELECT status FROM reservation WHERE reservation_id = :r), 'released', 'which has ended');
SELECT is((SELECT type FROM outbox WHERE aggregateid = :'r' ORDER BY id DESC LIMIT 1), 'reservation.released', 'and is told of');
SELECT reservation_id AS r3 FROM seat_hold(:p, '{8}', 'op-a') \gset
SET ticket.clock_offset = '6min';
SELECT is(seat_block(:p, '{8}'), 1, 'a hold that is over is no hindrance');
RESET ticket.clock_offset;
SELECT is((SELECT status FROM reservation WHERE reservation_id = :r3), 'expired', 'it has expired');
SELECT is((SELECT string_agg(invariant, ', ') FROM verify() WHERE NOT ok), NULL, 'every invariant holds');

-- ---------- moving ----------

SELECT concert_create('Moved', starts_at => '2100-01-01', ends_at => '2100-12-31') AS c, venue_create('Here') AS v, venue_create('There') AS v2,
	venue_create('Gone') AS v3 \gset
SELECT venue_withdraw(:v3) AS done,
	performance_create(:c, :v, '2100-06-01 20:00', sale_opens_at => '2100-01-01', sale_closes_at => '2100-06-01 18:00') AS p \gset
SELECT section_create(:p, 's', 10, 1, 10) AS s \gset
-- The state of a performance that moves.
CREATE FUNCTION pg_temp.dates(bigint) RETURNS text LANGUAGE sql AS $$
	SELECT format('%s %s %s %s', v.name, p.starts_at, p.sale_opens_at, p.sale_closes_at)
	FROM ticket.performance p JOIN ticket.venue v USING (venue_id) WHERE p.performance_id = $1 $$;
SELECT count(performance_move(:p, '2100-07-01 19:00')) AS n \gset
SELECT is(pg_temp.dates(:p), 'Here 2100-07-01 19:00:00+00 2100-01-01 00:00:00+00 2100-07-01 17:00:00+00', 'the end of the sale moves with the date');
SELECT is((SELECT payload - 'performance_id' - 'venue_id' - 'former_venue_id' FROM outbox WHERE type = 'performance.moved' AND aggregateid = :'p'),
	'{"v": 1, "starts_at": "2100-07-01T19:00:00+00:00", "sale_opens_at": "2100-01-01T00:00:00+00:00", "sale_closes_at": "2100-07-01T17:00:00+00:00",
	"former_starts_at": "2100-06-01T20:00:00+00:00"}', 'and is told of');
SELECT count(performance_move(:p, venue_id => :v2, sale_closes_at => '2100-03-01')) AS n \gset
SELECT is(pg_temp.dates(:p), 'There 2100-07-01 19:00:00+00 2100-01-01 00:00:00+00 2100-03-01 00:00:00+00', 'another place, another end');
SELECT count(performance_move(:p, '2100-08-01', :v, '-infinity', 'infinity')) AS n \gset
SELECT is(pg_temp.dates(:p), 'Here 2100-08-01 00:00:00+00  ', 'without bounds');
SELECT count(performance_move(:p, '2100-09-01')) AS n \gset
SELECT is(pg_temp.dates(:p), 'Here 2100-09-01 00:00:00+00  ', 'none stays none');
SELECT is((SELECT status FROM seat_hold(:p, '{1}', 'op-b')), 'held', 'it is sold on');
SELECT pg_temp.refused(format('SELECT ticket.performance_move(%1$s, ' || arguments || ')', :p, :v3), code, 'moved: ' || arguments) FROM (VALUES
	('NULL', '22023'), ('NULL, NULL, $$2100-01-01$$', '22023'), ('$$2000-01-01$$', '22023'), ('$$infinity$$', '22023'), ('$$2101-01-01$$', '22023'),
	('$$2100-07-01$$, -1', 'TK005'), ('NULL, %2$s', 'TK009'), ('$$2100-07-01$$, NULL, $$2100-07-01$$, $$2100-06-01$$', '22023')) AS x(arguments, code);
SELECT pg_temp.refused(format('SELECT ticket.performance_move(%s, %L)', p, '2100-07-01'), code, 'moved: ' || p) FROM (VALUES
	('NULL', '22023'), ('-1', 'TK005'), ('9223372036854775807', 'TK005')) AS x(p, code);

-- ---------- cancelling ----------

SELECT pg_temp.sale(price => 10, max_seats => 3) AS p \gset
INSERT INTO cancel_policy (performance_id, before, kept_permille, kept_fixed) VALUES (:p, '0', 500, 1);
SELECT count(point_charge('op-c', 100)) AS n, count(point_charge('op-d', 100)) AS m \gset
SELECT reservation_id AS paid FROM seat_hold(:p, '{1,2}', 'op-c') \gset
SELECT reservation_id AS held FROM seat_hold(:p, '{3}', 'op-c') \gset
SELECT reservation_id AS paid2 FROM seat_hold(:p, '{4}', 'op-d') \gset
SELECT reservation_id AS over FROM seat_hold(:p, '{5}', 'op-e') \gset
SELECT reservation_id AS gone FROM seat_hold(:p, '{6}', 'op-e') \gset
SELECT count(pay_reservation(:paid, 'op-c')) AS n, count(pay_reservation(:paid2, 'op-d')) AS m, seat_release(:gone, 'op-e') AS done, seat_block(:p, '{7}') AS k \gset
UPDATE reservation SET created_at = created_at - interval '1 h', expires_at = clock() - interval '1 s' WHERE reservation_id = :over;
UPDATE seat SET held_until = (SELECT expires_at FROM reservation WHERE reservation_id = :over) WHERE reservation_id = :over;
CALL performance_cancel(:p, 'The singer is ill', 'boss');
SELECT is((SELECT status || ' ' || withdrawn_by FROM performance WHERE performance_id = :p), 'cancelled boss', 'a performance is cancelled');
SELECT is((SELECT string_agg(DISTINCT status, ' ') FROM seat WHERE performance_id = :p), 'blocked', 'every seat is blocked');
SELECT is((SELECT string_agg(status, ' ' ORDER BY reservation_id) FROM reservation WHERE performance_id = :p),
	'cancelled released cancelled expired released', 'everything has ended, each in its way');
SELECT is((SELECT array_agg(point_balance(u)) FROM unnest('{op-c,op-d}'::text[]) AS u), '{100,100}', 'all money is back, whatever the policy says');
SELECT is((SELECT format('%s %s %s %s %s %s %s', requested_by, reason, holds_ended, refunds, refunded, seats_blocked, finished_at IS NOT NULL)
	FROM performance_cancellation WHERE performance_id = :p), 'boss The singer is ill 2 2 30 9 t', 'the figures');
SELECT is((SELECT payload FROM outbox WHERE type = 'performance.cancelled' AND aggregateid = :'p'),
	jsonb_build_object('v', 1, 'performance_id', :p, 'cancelled_by', 'boss', 'reason', 'The singer is ill'), 'the world is told');
SELECT is((SELECT count(*) FROM outbox WHERE type = 'reservation.cancelled' AND aggregateid IN (:'paid', :'paid2')), 2::bigint, 'and so is each buyer');
SELECT count(*) AS events FROM outbox \gset
CALL performance_cancel(:p, 'again', 'somebody');
SELECT is((SELECT count(*) FROM outbox), :events::bigint, 'called again it does nothing');
SELECT is((SELECT format('%s %s %s', requested_by, reason, refunds) FROM performance_cancellation WHERE performance_id = :p), 'boss The singer is ill 2', 'and keeps what it was');
SELECT pg_temp.refused(format(call, :p), code, call) FROM (VALUES
	('SELECT ticket.seat_hold(%s, $${1}$$, $$op-f$$)', 'TK012'), ('SELECT ticket.seat_unblock(%s, $${1}$$)', 'TK009'),
	('SELECT ticket.performance_move(%s, $$2100-01-01$$)', 'TK009'), ('SELECT ticket.performance_change(%s, max_seats_per_user => 1)', 'TK009'),
	('UPDATE ticket.performance SET status = $$withdrawn$$ WHERE performance_id = %s', 'TK009')) AS x(call, code);
SELECT is(performance_withdraw(:p), false, 'it is not withdrawn any more');
SELECT is((SELECT status FROM reservation_cancel(:paid, 'op-c')), 'cancelled', 'a buyer who cancels is told what has happened');

-- More seats than one transaction takes, one reservation across two of them;
-- withdrawn before.
SELECT pg_temp.sale(price => 1, max_seats => 10) AS p \gset
SELECT section_create(:p, 'large', 1, 20, 60) AS s \gset
SELECT count(seat_hold(:p, ARRAY[i, i + 1], 'op-g' || i)) AS n FROM generate_series(300, 800, 2) AS i \gset
SELECT count(seat_hold(:p, '{100,1200}', 'op-h')) AS n, performance_withdraw(:p, 'first') AS done \gset
CALL performance_cancel(:p);
SELECT is((SELECT format('%s %s', status, withdrawn_by) FROM performance WHERE performance_id = :p), 'cancelled first', 'who withdrew it stays');
SELECT is((SELECT format('%s %s %s', requested_by, reason, holds_ended) FROM performance_cancellation WHERE performance_id = :p),
	current_user || '  252', 'a large one');
SELECT is((SELECT format('%s %s', count(*), count(*) FILTER (WHERE status = 'blocked')) FROM seat WHERE performance_id = :p), '1210 1210', 'all of it');

-- A cancellation that was interrupted goes on.
SELECT pg_temp.sale(price => 1) AS p \gset
SELECT count(seat_hold(:p, '{1,2}', 'op-j')) AS n \gset
UPDATE performance SET status = 'cancelled', withdrawn_at = clock(), withdrawn_by = 'crash' WHERE performance_id = :p;
INSERT INTO performance_cancellation (performance_id, requested_at, requested_by, holds_ended) VALUES (:p, clock(), 'crash', 7);
CALL performance_cancel(:p);
SELECT is((SELECT format('%s %s %s', requested_by, holds_ended, finished_at IS NOT NULL) FROM performance_cancellation WHERE performance_id = :p), 'crash 8 t', 'one that was interrupted goes on');
SELECT is((SELECT string_agg(DISTINCT status, ' ') FROM seat WHERE performance_id = :p), 'blocked', 'to the end');

SELECT pg_temp.refused(format('CALL ticket.performance_cancel(' || arguments || ')', :p), code, 'performance_cancel: ' || left(arguments, 30)) FROM (VALUES
	('NULL', '22023'), ('-1', 'TK005'), ('9223372036854775807', 'TK005'), ('%1$s, $$$$', '22023'), ('%1$s, repeat($$x$$, 256)', '22023'),
	('%1$s, NULL, $$$$', '22023'), ('%1$s', '2D000')) AS x(arguments, code);
SELECT pg_temp.refused(format('SELECT ticket.seat_block(' || arguments || ')', :p), code, 'seat_block: ' || left(arguments, 30)) FROM (VALUES
	('NULL, $${1}$$', '22023'), ('-1, $${1}$$', 'TK005'), ('%1$s, NULL', '22023'), ('%1$s, $${}$$', '22023'), ('%1$s, $${1,1}$$', '22023'),
	('%1$s, $${NULL}$$', '22023'), ('%1$s, $${11}$$', 'TK005'), ('%1$s, $${0}$$', 'TK005'), ('%1$s, $${1}$$, NULL', '22023'),
	('%1$s, ARRAY(SELECT generate_series(1, 1001))', '22023')) AS x(arguments, code);
SELECT pg_temp.refused(format('SELECT ticket.seat_unblock(' || arguments || ')', :p), code, 'seat_unblock: ' || left(arguments, 30)) FROM (VALUES
	('NULL, $${1}$$', '22023'), ('-1, $${1}$$', 'TK005'), ('%1$s, NULL', '22023'), ('%1$s, $${}$$', '22023'), ('%1$s, $${11}$$', 'TK005')) AS x(arguments, code);

-- ---------- what has been sold stays ----------

SELECT pg_temp.sale(price => 10) AS p, pg_temp.sale() AS p2 \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{1,2}', 'op-k') \gset
SELECT pg_temp.refused(format(call, :p, :r), code, regexp_replace(call, '%\d\$s', '...', 'g')) FROM (VALUES
	('DELETE FROM ticket.seat WHERE performance_id = %1$s AND seat_id = 1', 'TK009'),
	('DELETE FROM ticket.seat WHERE performance_id = %1$s', 'TK009'),
	('UPDATE ticket.seat SET seat_no = 7 WHERE performance_id = %1$s AND seat_id = 1', 'TK009'),
	('UPDATE ticket.seat SET section_id = 1, row_no = 1 WHERE performance_id = %1$s AND seat_id = 1', 'TK009'),
	('DELETE FROM ticket.section WHERE performance_id = %1$s', 'TK009'),
	('UPDATE ticket.section SET section_id = -1 WHERE performance_id = %1$s', 'TK009'),
	('UPDATE ticket.section SET performance_id = 1, name = $$op$$ WHERE performance_id = %1$s', 'TK009'),
	('DELETE FROM ticket.performance WHERE performance_id = %1$s', 'TK009'),
	('DELETE FROM ticket.reservation WHERE reservation_id = %2$s', 'TK009'),
	('UPDATE ticket.reservation SET prices = $${1,1}$$, amount = 2 WHERE reservation_id = %2$s', 'TK009'),
	('DELETE FROM ticket.concert WHERE concert_id = (SELECT concert_id FROM ticket.performance WHERE performance_id = %1$s)', '23503')) AS x(call, code);
SELECT lives_ok(format('DELETE FROM ticket.seat WHERE performance_id = %1$s; DELETE FROM ticket.section WHERE performance_id = %1$s;
	DELETE FROM ticket.performance WHERE performance_id = %1$s', :p2), 'what nobody has bought can be deleted');
BEGIN;
TRUNCATE ticket.section;
SELECT is((SELECT count(*) FROM ticket.seat), 0::bigint, 'without sections there are no seats');
ROLLBACK;
BEGIN;
SELECT lives_ok('TRUNCATE ticket.seat, ticket.section', 'both can be emptied in one');
ROLLBACK;

SELECT is((SELECT string_agg(invariant || ': ' || detail, ', ') FROM verify() WHERE NOT ok), NULL, 'every invariant holds');
SELECT * FROM finish();
