-- seat_hold_best: which seats one gets who leaves it to us.  How they are chosen
-- is tested in test/unit/choice_test.c; here that it is so through SQL.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin
SET search_path = ticket, public;

-- A performance with one section for each plan (o: seat, x: seat that is
-- blocked, -: none).
CREATE FUNCTION pg_temp.house(VARIADIC plans text[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	p bigint := ticket.performance_create(ticket.concert_create('concert'), ticket.venue_create('venue'), now() + '100 days',
		max_seats_per_user => 100);
	s bigint;
BEGIN
	FOR i IN 1 .. cardinality(plans) LOOP
		s := ticket.section_create(p, 'section ' || i, 100 * i, NULL, NULL, plan => replace(plans[i], 'x', 'o'));
		UPDATE ticket.seat e SET status = 'blocked'
		FROM string_to_table(plans[i], E'\n') WITH ORDINALITY AS line(chars, row_no)
		WHERE e.section_id = s AND e.row_no = line.row_no AND substr(line.chars, e.seat_no, 1) = 'x';
	END LOOP;
	RETURN p;
END $$;
-- What a call gets: 'status amount seats'.
CREATE FUNCTION pg_temp.best(p bigint, n int, fan text, VARIADIC more text[] DEFAULT '{}') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	EXECUTE format('SELECT format(''%%s %%s %%s'', status, amount, seat_ids) FROM ticket.seat_hold_best(%s, %s, %L%s)', p, n, fan,
		(SELECT string_agg(', ' || m, '') FROM unnest(more) m)) INTO answer;
	RETURN answer;
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END $$;

-- ---------- side by side ----------

SELECT pg_temp.house(E'ooooooo\nooooooo') AS p \gset
SELECT * FROM seat_hold_best(:p, 3, 'a') \gset h_
SELECT is(format('%s %s %s', :'h_status', :'h_amount', :'h_seat_ids'), 'held 300 {3,4,5}', 'the middle of the front row');
SELECT is((SELECT format('%s %s %s %s %s', user_id, seat_ids, prices, status, expires_at = :'h_expires_at') FROM reservation
	WHERE reservation_id = :h_reservation_id), 'a {3,4,5} {100,100,100} held t', 'a reservation as any other');
SELECT is((SELECT array_agg(format('%s %s', seat_id, held_until = :'h_expires_at') ORDER BY seat_id) FROM seat
	WHERE reservation_id = :h_reservation_id), '{"3 t","4 t","5 t"}', 'with its seats');
SELECT is((SELECT payload -> 'seat_ids' FROM outbox WHERE type = 'reservation.held' AND aggregateid = :'h_reservation_id'), '[3, 4, 5]',
	'and its event');
SELECT is(pg_temp.best(:p, 3, 'b'), 'held 300 {10,11,12}', 'then the middle of the next row');
SELECT is(pg_temp.best(:p, 2, 'c'), 'held 200 {1,2}', 'then what is left in front');
SELECT is(pg_temp.best(:p, 3, 'd'), 'TK020', 'no three are left side by side');
SELECT is(pg_temp.best(:p, 7, 'd'), 'TK006', 'nor seven in all');
SELECT is(seat_release(:h_reservation_id, 'a', '{3}'), true, 'one comes back');
SELECT is(pg_temp.best(:p, 1, 'd'), 'held 100 {3}', 'a single one leaves no other single one');
SELECT is(seat_release(:h_reservation_id, 'a'), true, 'two come back');
SELECT is(pg_temp.best(:p, 4, 'd'), 'held 400 {4,5,6,7}', 'with what is beside them');
SELECT is(pg_temp.best(pg_temp.house(E'oo-oo\n-ooo-'), 3, 'a'), 'held 300 {5,6,7}', 'not across a gap');
SELECT is(pg_temp.best(pg_temp.house(E'xoxox\nxxoox'), 2, 'a'), 'held 200 {8,9}', 'not across a blocked seat');

-- ---------- a hold that is over ----------

SELECT pg_temp.house('oooo') AS p \gset
SELECT reservation_id AS r1 FROM seat_hold(:p, '{1,2}', 'a') \gset
SELECT reservation_id AS r2 FROM seat_hold(:p, '{3,4}', 'b') \gset
SET ticket.clock_offset = '299s';
SELECT is(pg_temp.best(:p, 3, 'c'), 'TK006', 'what is held is not free');
SET ticket.clock_offset = '301s';
SELECT is(pg_temp.best(:p, 4, 'c'), 'held 400 {1,2,3,4}', 'a hold that is over is');
SELECT is((SELECT array_agg(status) FROM reservation WHERE reservation_id IN (:r1, :r2)), '{expired,expired}', 'and ends');
RESET ticket.clock_offset;

-- ---------- when they are not side by side ----------

SELECT pg_temp.house(E'xoox\nxoox\nooxx') AS p \gset
SELECT is(pg_temp.best(:p, 4, 'a'), 'TK020', 'four are not side by side');
SELECT is(pg_temp.best(:p, 4, 'a', 'fallback => $$together$$'), 'TK020', 'said so');
SELECT is(pg_temp.best(:p, 4, 'a', 'fallback => $$two_rows$$'), 'held 400 {2,3,6,7}', 'but in two rows');
SELECT is(pg_temp.best(:p, 2, 'a', 'fallback => $$any$$'), 'held 200 {9,10}', 'side by side is better, whatever is allowed');
SELECT pg_temp.house(E'xoxox\nxxxxx\nxoxxo') AS p \gset
SELECT is(pg_temp.best(:p, 3, 'a', 'fallback => $$two_rows$$'), 'TK020', 'with a row between them');
SELECT is(pg_temp.best(:p, 3, 'a', 'fallback => $$any$$'), 'held 300 {2,4,12}', 'anywhere, near the front and the middle');
SELECT is(pg_temp.best(:p, 2, 'a', 'fallback => $$any$$'), 'TK006', 'one is left');

-- ---------- sections ----------

SELECT pg_temp.house('xxo', E'oo\noo') AS p \gset
SELECT array_agg(section_id ORDER BY section_id) AS s FROM section WHERE performance_id = :p \gset
SELECT is(pg_temp.best(:p, 2, 'a', format('section_id => (%L::bigint[])[1]', :'s')), 'TK006', 'the first section has one only');
SELECT is(pg_temp.best(:p, 2, 'a'), 'held 400 {4,5}', 'the first section that has two');
SELECT is(pg_temp.best(:p, 1, 'a', format('section_id => (%L::bigint[])[2]', :'s')), 'held 200 {6}', 'the section that is asked for');
SELECT is(pg_temp.best(:p, 2, 'a', 'fallback => $$two_rows$$'), 'TK020', 'no two rows over two sections');
SELECT is(pg_temp.best(:p, 2, 'a', 'fallback => $$any$$'), 'held 300 {3,7}', 'but any, at the price of each');
SELECT pg_temp.house('oo', 'oo') AS p \gset
SELECT section_withdraw(min(section_id)) AS withdrawn FROM section WHERE performance_id = :p \gset
SELECT is(pg_temp.best(:p, 2, 'a'), 'held 400 {3,4}', 'none of a section that was withdrawn');
SELECT is(pg_temp.best(:p, 1, 'a'), 'TK006', 'not even at last');
SELECT is(pg_temp.best(performance_create(concert_create('c'), venue_create('v'), '2100-01-01'), 1, 'a'), 'TK006', 'no section at all');

-- ---------- seats for wheelchairs ----------

SELECT performance_create(concert_create('c'), venue_create('v'), '2100-01-01') AS p \gset
SELECT count(section_create(:p, 's', 100, NULL, NULL, plan => E'oaaoo')) AS n \gset
SELECT is(pg_temp.best(:p, 2, 'a'), 'held 200 {4,5}', 'best: not those for wheelchairs');
SELECT pg_temp.refused(format('SELECT ticket.seat_hold_best(%s, 2, $$b$$, fallback => $$any$$)', :p), 'TK006', 'not even when there are no others');
SELECT is((SELECT status FROM seat_hold(:p, '{2}', 'b')), 'held', 'who chooses one has it');

-- ---------- standing ----------

SELECT performance_create(concert_create('c'), venue_create('v'), '2100-01-01', max_seats_per_user => 1000) AS p \gset
SELECT section_create(:p, 'floor', 50, 1, 5000, kind => 'standing') AS floor, section_create(:p, 'seats', 100, 1, 2) AS seats \gset
SELECT is((SELECT string_agg(format('%s %s', name, kind), ', ') FROM sections(:p)), 'floor standing, seats seated', 'a section of standing places');
SELECT is(pg_temp.best(:p, 3, 'a'), 'held 150 {1,2,3}', 'standing: in order');
SELECT is(pg_temp.best(:p, 2, 'b'), 'held 100 {4,5}', 'the next');
SELECT is((SELECT count(seat_release(reservation_id, 'a', '{2}')) FROM reservation WHERE performance_id = :p AND user_id = 'a'), 1::bigint, 'one comes back');
SELECT is(pg_temp.best(:p, 2, 'c', 'section_id => ' || :floor), 'held 100 {2,6}', 'the first ones that are free, beside each other or not');
SELECT is((SELECT count(seat_hold_best(:p, 1000, 'd' || i)) FROM generate_series(1, 4) AS i), 4::bigint, 'a thousand at once');
SELECT is(pg_temp.best(:p, 995, 'e', 'section_id => ' || :floor), 'TK006', 'until there are not enough');
SELECT is(pg_temp.best(:p, 994, 'e', 'section_id => ' || :floor), 'held 49700 ' || (SELECT array_agg(i)::text FROM generate_series(4007, 5000) i), 'the last ones');
SELECT is(pg_temp.best(:p, 1, 'e'), 'held 100 {5001}', 'seats when there is no standing room');

-- ---------- with a key ----------

SELECT pg_temp.house('oooooo') AS p \gset
SELECT * FROM seat_hold_best(:p, 2, 'a', idempotency_key => 'best') \gset k_
SELECT is((SELECT h::text FROM seat_hold_best(:p, 2, 'a', idempotency_key => 'best') h),
	format('(%s,held,200,"%s","%s")', :k_reservation_id, :'k_expires_at', :'k_seat_ids'), 'the same call with the same key has the same answer');
SELECT is((SELECT count(*) FROM reservation WHERE performance_id = :p), 1::bigint, 'and holds nothing more');
SELECT format('SELECT ticket.seat_hold_best(%s, %%s, idempotency_key => $$best$$)', :p) AS keyed \gset
SELECT pg_temp.refused(format(:'keyed', arguments), 'TK011', 'other arguments: ' || arguments)
FROM unnest(ARRAY['3, $$a$$', '2, $$a$$, fallback => $$any$$', '2, $$a$$, 1']) AS arguments;
SELECT pg_temp.refused(format('SELECT ticket.seat_hold(%s, %L, $$a$$, NULL, $$best$$)', :p, :'k_seat_ids'), 'TK011', 'nor is it a call of seat_hold');
SELECT is(seat_release(:k_reservation_id, 'a'), true, 'it is released');
SELECT is((SELECT format('%s %s', reservation_id = :k_reservation_id, status) FROM seat_hold_best(:p, 2, 'a', idempotency_key => 'best')),
	't released', 'the key still has its first answer');
SELECT is((SELECT count(*) FROM seat WHERE performance_id = :p AND status = 'held'), 0::bigint, 'and takes no seat');
SELECT is((SELECT status FROM seat_hold_best(:p, 2, 'b', idempotency_key => 'best')), 'held', 'another user''s key is another key');

-- ---------- who may ----------

SELECT pg_temp.house('oooooo') AS p \gset
UPDATE performance SET max_seats_per_user = 3 WHERE performance_id = :p;
SELECT is(pg_temp.best(:p, 4, 'a'), 'TK008', 'more than a user may have');
SELECT is(pg_temp.best(:p, 2, 'a'), 'held 200 {3,4}', 'two of three');
SELECT is(pg_temp.best(:p, 2, 'a'), 'TK008', 'two more are too many');
UPDATE performance SET sale_opens_at = now() + '1 h' WHERE performance_id = :p;
SELECT is(pg_temp.best(:p, 1, 'b'), 'TK012', 'before the sale');
SELECT queue_create('best', capacity => 1, idle_ttl => '1 day') AS q \gset
UPDATE performance SET sale_opens_at = NULL, queue_id = :q WHERE performance_id = :p;
SELECT token AS a FROM ticket_enqueue(:q, 'a') \gset
SELECT token AS b FROM ticket_enqueue(:q, 'b') \gset
SELECT is(pg_temp.best(:p, 1, 'b'), 'TK002', 'without a ticket');
SELECT is(pg_temp.best(:p, 1, 'b', format('token => %L', :'b')), 'TK002', 'with one that waits');
SELECT is(pg_temp.best(:p, 1, 'a', format('token => %L', gen_random_uuid())), 'TK001', 'with one that is none');
SELECT is(pg_temp.best(:p, 1, 'a', format('token => %L', :'a')), 'held 100 {2}', 'with an active one');

-- ---------- in a transaction ----------

SELECT pg_temp.house('oooooo') AS p \gset
BEGIN;
SELECT is(pg_temp.best(:p, 2, 'a'), 'held 200 {3,4}', 'the best two');
SAVEPOINT s;
SELECT is(pg_temp.best(:p, 2, 'a'), 'held 200 {1,2}', 'then the next two');
ROLLBACK TO s;
SELECT is(pg_temp.best(:p, 2, 'b'), 'held 200 {1,2}', 'which are free again after a rollback');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT is(pg_temp.best(:p, 2, 'c'), 'held 200 {5,6}', 'under SERIALIZABLE');
COMMIT;

-- ---------- what it reads ----------

-- The rows of seats that a call reads, once somebody has looked at the map.
CREATE FUNCTION pg_temp.rows_read(call text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	before bigint := coalesce((SELECT idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relid = 'ticket.seat'::regclass), 0);
BEGIN
	EXECUTE call;
	RETURN (SELECT idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relid = 'ticket.seat'::regclass) - before;
END $$;
SELECT pg_temp.house(rtrim(repeat(repeat('x', 50) || E'\n', 20), E'\n'), 'xx' || repeat('o', 998)) AS p \gset
SELECT section_create(:p, 'floor', 50, 1, 2000, kind => 'standing') AS floor \gset
UPDATE seat SET status = 'blocked' WHERE section_id = :floor AND seat_no <= 1500;
SELECT is((SELECT string_agg(available::text, ' ' ORDER BY section_id) FROM seat_map(:p)), '0 998 500', 'a large hall, partly sold');
SELECT ok(pg_temp.rows_read(format('SELECT pg_temp.best(%s, 4, ''a'')', :p)) BETWEEN 4 AND 20, 'the best are found without reading the hall');
SELECT ok(pg_temp.rows_read(format('SELECT pg_temp.best(%s, 4, ''b'', ''section_id => %s'')', :p, :floor)) BETWEEN 4 AND 20,
	'nor what is sold of a standing section');

-- ---------- bad input ----------

SELECT format('SELECT ticket.seat_hold_best(%%s)', :p) AS best \gset
SELECT pg_temp.refused(format(:'best', replace(arguments, '%p', :'p')), code, arguments) FROM (VALUES
	('NULL, 1, $$a$$', '22023'), ('0, 1, $$a$$', 'TK005'), ('-1, 1, $$a$$', 'TK005'), ('9223372036854775807, 1, $$a$$', 'TK005'),
	('%p, NULL, $$a$$', '22023'), ('%p, 0, $$a$$', '22023'), ('%p, -1, $$a$$', '22023'), ('%p, 1001, $$a$$', '22023'), ('%p, 2147483647, $$a$$', '22023'),
	('%p, 1, NULL', '22023'), ('%p, 1, $$$$', '22023'), ('%p, 1, repeat($$x$$, 256)', '22023'),
	('%p, 1, $$a$$, 0', 'TK005'), ('%p, 1, $$a$$, -1', 'TK005'), ('%p, 1, $$a$$, 9223372036854775807', 'TK005'),
	('%p, 1, $$a$$, (SELECT min(section_id) FROM ticket.section WHERE performance_id <> %p)', 'TK005'),
	('%p, 1, $$a$$, idempotency_key => $$$$', '22023'), ('%p, 1, $$a$$, idempotency_key => repeat($$x$$, 256)', '22023'),
	('%p, 1, $$a$$, fallback => NULL', '22023'), ('%p, 1, $$a$$, fallback => $$$$', '22023'), ('%p, 1, $$a$$, fallback => $$Any$$', '22023')
) AS v(arguments, code);

SELECT is((SELECT string_agg(invariant, ', ') FROM verify() WHERE NOT ok), NULL, 'every invariant holds');
SELECT * FROM finish();
