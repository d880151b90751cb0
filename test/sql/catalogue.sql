-- Concerts, venues, performances, sections: created, changed, withdrawn.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin
SET search_path = public, ticket;

-- ---------- concerts ----------

SELECT concert_create('Winter tour', 'The Example Band', '2100-01-01', '2100-01-31 23:59', 'seller-1', 'All the songs.',
	'2 hours', 'https://img.example/1.jpg', '{"genre": "rock"}') AS c \gset
SELECT is((SELECT to_jsonb(c) - 'concert_id' - 'created_at' FROM concert c WHERE concert_id = :c),
	'{"name": "Winter tour", "artist": "The Example Band", "starts_at": "2100-01-01T00:00:00+00:00", "ends_at": "2100-01-31T23:59:00+00:00",
	"owner": "seller-1", "description": "All the songs.", "running_time": "02:00:00", "image": "https://img.example/1.jpg",
	"attributes": {"genre": "rock"}, "withdrawn_at": null, "withdrawn_by": null}', 'a concert has what it was created with');
SELECT concert_create('Plain', artist => '', description => '', image => '') AS plain \gset
SELECT is((SELECT count(*) FROM concert WHERE concert_id = :plain AND (artist, starts_at, ends_at, owner, description, running_time, image) IS NULL AND attributes = '{}'),
	1::bigint, 'a name is enough; empty means none');
SELECT count(concert_change(:c, artist => 'Somebody else', running_time => '90 minutes')) AS n \gset
SELECT is((SELECT format('%s, %s, %s, %s', name, artist, running_time, description) FROM concert WHERE concert_id = :c),
	'Winter tour, Somebody else, 01:30:00, All the songs.', 'a change is of what is given');
SELECT count(concert_change(:c, 'Summer tour', '', '-infinity', 'infinity', '', '0', '', '{}')) AS n \gset
SELECT is((SELECT to_jsonb(c) - 'concert_id' - 'created_at' FROM concert c WHERE concert_id = :c),
	'{"name": "Summer tour", "artist": null, "starts_at": null, "ends_at": null, "owner": "seller-1", "description": null, "running_time": null,
	"image": null, "attributes": {}, "withdrawn_at": null, "withdrawn_by": null}', 'an empty value takes away');
SELECT count(concert_change(:c)) AS n \gset
SELECT is((SELECT name FROM concert WHERE concert_id = :c), 'Summer tour', 'a change of nothing changes nothing');

-- ---------- the period ----------

SELECT count(concert_change(:c, starts_at => '2100-01-01', ends_at => '2100-01-31')) AS n, venue_create('Hall', 'Main street 1', '{"rail": true}') AS v \gset
SELECT performance_create(:c, :v, '2100-01-01') AS p1, performance_create(:c, :v, '2100-01-31') AS p2 \gset
SELECT pg_temp.refused(format('SELECT ticket.performance_create(%s, %s, %L)', :c, :v, t), '22023', 'a performance at ' || t)
FROM unnest('{2099-12-31 23:59,2100-01-31 00:00:01,2000-01-01}'::text[]) AS t;
SELECT pg_temp.refused(format('SELECT ticket.concert_change(%s, %s)', :c, change), '22023', 'a period with a performance outside: ' || change)
FROM unnest(ARRAY['starts_at => $$2100-01-02$$', 'ends_at => $$2100-01-30$$', 'ends_at => $$2099-01-01$$']) AS change;
SELECT pg_temp.refused(format('UPDATE ticket.performance SET starts_at = %L WHERE performance_id = %s', '2100-02-01', :p1), '22023', 'nor by hand');
SELECT pg_temp.refused(format('UPDATE ticket.concert SET ends_at = %L WHERE concert_id = %s', '2100-01-02', :c), '22023', 'nor the other way round');
SELECT count(concert_change(:c, ends_at => 'infinity')) AS n, performance_create(:c, :v, '2200-01-01') AS p3 \gset
SELECT ok(:p3 > 0, 'without an end any later time will do');

-- ---------- performances ----------

SELECT queue_create('catalogue') AS q \gset
SELECT is((SELECT format('%s %s %s', status, withdrawn_at, withdrawn_by) FROM performance WHERE performance_id = :p1), 'scheduled  ', 'a performance is scheduled');
SELECT count(performance_change(:p1, :q, '2099-01-01', '2099-12-01', '1 minute', 2)) AS n \gset
SELECT is((SELECT format('%s %s %s %s %s', queue_id = :q, sale_opens_at, sale_closes_at, hold_interval, max_seats_per_user) FROM performance
	WHERE performance_id = :p1), 't 2099-01-01 00:00:00+00 2099-12-01 00:00:00+00 00:01:00 2', 'all of it changed');
SELECT count(performance_change(:p1, max_seats_per_user => 3)) AS n \gset
SELECT is((SELECT format('%s %s %s %s %s', queue_id = :q, sale_opens_at, sale_closes_at, hold_interval, max_seats_per_user) FROM performance
	WHERE performance_id = :p1), 't 2099-01-01 00:00:00+00 2099-12-01 00:00:00+00 00:01:00 3', 'one thing changed');
SELECT count(performance_change(:p1, 0, '-infinity', 'infinity')) AS n \gset
SELECT is((SELECT format('%s,%s,%s,%s,%s', queue_id, sale_opens_at, sale_closes_at, hold_interval, max_seats_per_user) FROM performance
	WHERE performance_id = :p1), ',,,00:01:00,3', 'empty values take away');
SELECT is((SELECT payment_interval FROM performance WHERE performance_id = :p1), '10 minutes', 'payment at a provider keeps a hold for ten minutes');
SELECT count(performance_change(:p1, payment_interval => '3 minutes')) AS n \gset
SELECT is((SELECT format('%s,%s', payment_interval, hold_interval) FROM performance WHERE performance_id = :p1), '00:03:00,00:01:00', 'or as long as it is told to');
SELECT count(performance_change(:p1, max_seats_per_user => 3)) AS n, performance_create(:c, :v, '2100-01-01', payment_interval => '1 minute') AS p4 \gset
SELECT is((SELECT array_agg(payment_interval ORDER BY performance_id) FROM performance WHERE performance_id IN (:p1, :p4)), '{3 minutes,1 minute}',
	'what is not given stays; from the beginning, too');

-- ---------- sections ----------

SELECT section_create(:p1, 'Stalls', 100, 2, 3, 'R') AS s1,
	section_create(:p1, 'Balcony', 50, NULL, NULL, plan => E'oo-oo\n-aaa-\n----o\n') AS s2 \gset
SELECT is((SELECT string_agg(format('%s %s %s %s %s %s %s', name, grade, price, first_seat_id, row_count, seats_per_row, seat_count), ', ' ORDER BY section_id)
	FROM section WHERE performance_id = :p1), 'Stalls R 100 1 2 3 6, Balcony  50 7 3 5 8', 'sections with and without gaps');
SELECT is((SELECT string_agg(format('%s:%s/%s%s', seat_id, row_no, seat_no, CASE WHEN accessible THEN '*' END), ' ' ORDER BY seat_id)
	FROM seat WHERE performance_id = :p1), '1:1/1 2:1/2 3:1/3 4:2/1 5:2/2 6:2/3 7:1/1 8:1/2 9:1/4 10:1/5 11:2/2* 12:2/3* 13:2/4* 14:3/5',
	'numbers have gaps, ids have none');
SELECT is((SELECT seat_count FROM performance WHERE performance_id = :p1), 14, 'all are counted');
SELECT is((SELECT string_agg(format('%s %s %s', name, seats, available), ', ') FROM sections(:p1)), 'Stalls 6 6, Balcony 8 8', 'sections() counts them');
SELECT is((SELECT string_agg(format('%s %s %s', name, grade, kind), ', ') FROM sections(:p1)), 'Stalls R seated, Balcony  seated', 'with grade and kind');
SELECT is((SELECT array_agg(seat_id) FROM seats(:p1) WHERE accessible), '{11,12,13}', 'seats() says where one can get to in a wheelchair');
UPDATE seat SET accessible = seat_id = 5 WHERE performance_id = :p1 AND seat_id IN (5, 12);
SELECT is((SELECT array_agg(seat_id) FROM seats(:p1) WHERE accessible), '{5,11,13}', 'also when that has changed');
SELECT is((SELECT string_agg(map, '/' ORDER BY section_id) FROM seat_map(:p1)), E'...\n.../.. ..\n ...\n    .', 'which the map does not show');
UPDATE seat SET accessible = seat_id = 12 WHERE performance_id = :p1 AND seat_id IN (5, 12);
SELECT is((SELECT string_agg(format('%s:%s/%s', seat_id, "row", number), ' ') FROM seats(:p1, :s2)), '7:1/1 8:1/2 9:1/4 10:1/5 11:2/2 12:2/3 13:2/4 14:3/5',
	'seats() has the numbers');
SELECT is((SELECT amount FROM seat_hold(:p1, '{6,7}', 'cat-a')), 150::bigint, 'each seat at its section''s price');
SELECT count(section_change(:s1, price => 120, name => 'Parquet', grade => '')) AS n \gset
SELECT is((SELECT format('%s %s %s', name, grade, price) FROM section WHERE section_id = :s1), 'Parquet  120', 'a section changed');
SELECT is((SELECT amount FROM seat_hold(:p1, '{1}', 'cat-b')), 120::bigint, 'the new price is for those who come now');
SELECT is((SELECT prices FROM reservation WHERE user_id = 'cat-a'), '{100,50}', 'who holds keeps the price agreed');
SELECT is((SELECT section_withdraw(:s1, 'boss')), true, 'a section is withdrawn');
SELECT is((SELECT section_withdraw(:s1, 'other')), false, 'once');
SELECT is((SELECT jsonb_agg(payload) FROM outbox WHERE aggregatetype = 'performance' AND aggregateid = :'p1' AND type LIKE '%withdrawn'),
	jsonb_build_array(jsonb_build_object('v', 1, 'performance_id', :p1, 'section_id', :s1, 'withdrawn_by', 'boss')), 'which is told');
SELECT is((SELECT format('%s %s', withdrawn_by, withdrawn_at <= clock()) FROM section WHERE section_id = :s1), 'boss t', 'when and by whom is kept');
SELECT pg_temp.refused(format('SELECT ticket.seat_hold(%s, %L, %L)', :p1, '{2}', 'cat-b'), 'TK006', 'its seats are not to be had');
SELECT pg_temp.refused(format('SELECT ticket.section_change(%s, price => 1)', :s1), 'TK009', 'it is not changed any more');
SELECT pg_temp.refused(format('UPDATE ticket.section SET withdrawn_at = NULL, withdrawn_by = NULL WHERE section_id = %s', :s1), 'TK009', 'nor brought back by hand');
SELECT is((SELECT string_agg(name, ' ') FROM sections(:p1)), 'Balcony', 'sections() has it no more');
SELECT is((SELECT array_agg(status ORDER BY user_id) FROM reservation WHERE performance_id = :p1), '{held,held}', 'holds stay');
SELECT is((SELECT status FROM seat_hold(:p1, '{8}', 'cat-b')), 'held', 'other sections are sold');

-- Loading data with triggers off may begin like this.
BEGIN;
SELECT is((SELECT count(*) FROM seat_hold_best(:p1, 1, 'cat-d', :s2)), 1::bigint, 'a section that is known');
SET LOCAL session_replication_role = replica;
TRUNCATE ticket.section CASCADE;
SELECT pg_temp.refused(format('SELECT ticket.seat_hold_best(%s, 1, %L, %s)', :p1, 'cat-d', :s2), 'TK005', 'and emptied without triggers');
ROLLBACK;

-- ---------- what others have to do over ----------

-- How often a call after a change reads what triggers the tables have, as who
-- must get to know them again; the least of some tries, as autovacuum may tell
-- of a table, too.
CREATE FUNCTION pg_temp.read_again(change text, call text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	before bigint;
	fewest bigint;
BEGIN
	FOR try IN 1 .. 3 LOOP
		EXECUTE call;
		EXECUTE format(change, try);
		before := (SELECT idx_scan FROM pg_stat_xact_sys_tables WHERE relid = 'pg_trigger'::regclass);
		EXECUTE call;
		fewest := least(fewest, (SELECT idx_scan FROM pg_stat_xact_sys_tables WHERE relid = 'pg_trigger'::regclass) - before);
	END LOOP;
	RETURN fewest;
END $$;
SELECT pg_temp.sale() AS p3 \gset
SELECT reservation_id AS r3 FROM seat_hold(:p3, '{1}', 'cat-z') \gset
SELECT is(pg_temp.read_again(change, format('SELECT ticket.hold_extend(%s, ''cat-z'', ''1 ms'')', :r3)), 0::bigint, what)
FROM (VALUES (format('SELECT ticket.section_create(%s, ''more %%s'', 10, 1, 1)', :p3), 'new seats: nobody learns the tables anew'),
	(format('SELECT ticket.section_change(section_id, price => 10 + %%s) FROM ticket.section WHERE performance_id = %s', :p3), 'nor for a new price'),
	(format('SELECT ticket.performance_change(%s, max_seats_per_user => 10 + %%s)', :p3), 'nor for a new limit')) AS v(change, what);

-- ---------- withdrawn ----------

SELECT reservation_id AS r FROM reservation WHERE user_id = 'cat-a' \gset
SELECT is(performance_withdraw(:p1, 'boss'), true, 'a performance is withdrawn');
SELECT is(performance_withdraw(:p1, 'other'), false, 'once');
SELECT is((SELECT format('%s %s', status, withdrawn_by) FROM performance WHERE performance_id = :p1), 'withdrawn boss', 'by whom is kept');
SELECT is((SELECT payload FROM outbox WHERE type = 'performance.withdrawn'), jsonb_build_object('v', 1, 'performance_id', :p1, 'withdrawn_by', 'boss'), 'and told');
SELECT pg_temp.refused(format('SELECT ticket.seat_hold(%s, %L, %L)', :p1, '{9}', 'cat-c'), 'TK012', 'it is not on sale');
SELECT pg_temp.refused(format(call, :p1), 'TK009', 'nor changed: ' || call) FROM unnest(ARRAY['SELECT ticket.performance_change(%s, max_seats_per_user => 1)',
	'SELECT ticket.section_create(%s, $$s$$, 1, 1, 1)']) AS call;
SELECT pg_temp.refused(format('SELECT ticket.section_change(%s, price => 1)', :s2), 'TK009', 'nor are its sections');
SELECT count(performance_move(:p1, starts_at + interval '1 day')) AS n FROM performance WHERE performance_id = :p1 \gset
SELECT is((SELECT (payload ->> 'starts_at')::timestamptz - (payload ->> 'former_starts_at')::timestamptz FROM outbox
	WHERE type = 'performance.moved' AND aggregateid = :'p1'), '1 day', 'but it takes place, and may be moved');
SELECT count(performance_move(:p1, starts_at - interval '1 day')) AS n FROM performance WHERE performance_id = :p1 \gset
SELECT pg_temp.refused(format('UPDATE ticket.performance SET status = %L, withdrawn_at = NULL, withdrawn_by = NULL WHERE performance_id = %s', 'scheduled', :p1),
	'TK009', 'nor brought back by hand');
SELECT is((SELECT bool_or(on_sale) FROM performances(:c) WHERE performance_id = :p1), false, 'performances() says so');
SELECT count(point_charge('cat-a', 200)) AS n \gset
SELECT is((SELECT status FROM pay_reservation(:r, 'cat-a')), 'captured', 'who held before may pay');
SELECT is(concert_withdraw(:c, 'boss'), true, 'a concert is withdrawn');
SELECT is(concert_withdraw(:c), false, 'once');
SELECT is((SELECT string_agg(DISTINCT status || ' ' || withdrawn_by, ', ') FROM performance WHERE concert_id = :c), 'withdrawn boss', 'with its performances');
SELECT pg_temp.refused(format('SELECT ticket.performance_create(%s, %s, %L)', :c, :v, '2100-01-02'), 'TK009', 'it gets no new ones');
SELECT pg_temp.refused(format('SELECT ticket.concert_change(%s, %L)', :c, 'x'), 'TK009', 'nor is it changed');
SELECT is((SELECT count(*) FROM concerts() WHERE concert_id = :c), 0::bigint, 'concerts() has it no more');
SELECT is((SELECT array_agg(status ORDER BY reservation_id) FROM reservation WHERE performance_id = :p1), '{paid,held,held}', 'reservations stay as they were');
SELECT is((SELECT status FROM reservation_cancel(:r, 'cat-a')), 'cancelled', 'and can be given back');
SELECT pg_temp.refused(format('SELECT ticket.seat_hold(%s, %L, %L)', :p1, '{7}', 'cat-c'), 'TK012', 'without coming on sale again');

-- ---------- venues and their plans ----------

SELECT venue_section_create(:v, 'Stalls', 'VIP', 2, 3) AS vs1,
	venue_section_create(:v, 'Balcony', 'S', plan => E'\r\n' || E'aa--oo\r\n' || E'------\r\n' || E'oooo\r\n') AS vs2,
	venue_section_create(:v, 'Boxes', row_count => 1, seats_per_row => 2, kind => 'standing') AS vs3,
	concert_create('Plans') AS c \gset
SELECT is((SELECT string_agg(format('%s %s %s %s %s %s', name, grade, row_count, seats_per_row, seat_count, replace(plan, chr(10), '|')), ', ' ORDER BY venue_section_id)
	FROM venue_section WHERE venue_id = :v), 'Stalls VIP 2 3 6 ooo|ooo, Balcony S 3 6 8 aa--oo|------|oooo, Boxes  1 2 2 oo', 'a seat plan');
SELECT performance_create(:c, :v, '2100-01-01', prices => '{"VIP": 300, "S": 100, "Boxes": 1000000000000}') AS p,
	performance_create(:c, :v, '2100-01-02', prices => '{"VIP": 0, "S": 100, "Balcony": 70, "Boxes": null}') AS p2 \gset
SELECT is((SELECT string_agg(format('%s %s %s %s+%s %sx%s %s', name, grade, price, first_seat_id, seat_count, row_count, seats_per_row, kind), ', ' ORDER BY section_id)
	FROM section WHERE performance_id = :p), 'Stalls VIP 300 1+6 2x3 seated, Balcony S 100 7+8 3x6 seated, Boxes  1000000000000 15+2 1x2 standing', 'copied into a performance');
SELECT is((SELECT string_agg(format('%s:%s/%s%s', seat_id, row_no, seat_no, CASE WHEN accessible THEN '*' END), ' ' ORDER BY seat_id)
	FROM seat WHERE performance_id = :p), '1:1/1 2:1/2 3:1/3 4:2/1 5:2/2 6:2/3 7:1/1* 8:1/2* 9:1/5 10:1/6 11:3/1 12:3/2 13:3/3 14:3/4 15:1/1 16:1/2', 'with its seats');
SELECT is((SELECT string_agg(format('%s %s %s+%s', name, price, first_seat_id, seat_count), ', ' ORDER BY section_id)
	FROM section WHERE performance_id = :p2), 'Stalls 0 1+6, Balcony 70 7+8', 'a section''s own price goes before its grade''s, null leaves it out');
SELECT is((SELECT array_agg(seat_count ORDER BY performance_id) FROM performance WHERE concert_id = :c), '{16,14}', 'seats are counted');
SELECT count(venue_section_change(:vs2, 'Gallery', '', plan => 'ooo')) AS n, count(venue_section_change(:vs1, grade => 'R')) AS m,
	count(venue_section_change(:vs3, row_count => 2, seats_per_row => 1, kind => 'seated')) AS k \gset
SELECT is((SELECT string_agg(format('%s %s %s %s', name, grade, replace(plan, chr(10), '|'), kind), ', ' ORDER BY venue_section_id)
	FROM venue_section WHERE venue_id = :v), 'Stalls R ooo|ooo seated, Gallery  ooo seated, Boxes  o|o seated', 'the plan changed');
SELECT is(venue_section_delete(:vs3), true, 'and one section is gone');
SELECT is(venue_section_delete(:vs3), false, 'once');
SELECT is((SELECT string_agg(name || ' ' || seat_count, ', ' ORDER BY section_id) FROM section WHERE performance_id = :p), 'Stalls 6, Balcony 8, Boxes 2',
	'a performance made before stays as it is');
SELECT count(venue_change(:v, 'New hall', '', '{}')) AS n \gset
SELECT is((SELECT format('%s,%s,%s', name, address, attributes) FROM venue WHERE venue_id = :v), 'New hall,,{}', 'a venue changed');
SELECT is(venue_withdraw(:v), true, 'a venue is withdrawn');
SELECT is(venue_withdraw(:v), false, 'once');
SELECT is((SELECT withdrawn_by FROM venue WHERE venue_id = :v), current_user::text, 'by the role, where nobody is named');
SELECT pg_temp.refused(format(call, :v, :c, :vs1), 'TK009', 'withdrawn: ' || call) FROM unnest(ARRAY['SELECT ticket.performance_create(%2$s, %1$s, $$2100-01-01$$)',
	'SELECT ticket.venue_change(%1$s, $$x$$)', 'SELECT ticket.venue_section_create(%1$s, $$x$$, NULL, 1, 1)',
	'SELECT ticket.venue_section_change(%3$s, $$x$$)', 'SELECT ticket.venue_section_delete(%3$s)']) AS call;
SELECT is((SELECT status FROM seat_hold(:p, '{16}', 'cat-a')), 'held', 'what takes place there is sold all the same');

-- ---------- by whom ----------

SELECT performance_create(:c, venue_create('v'), '2100-01-01') AS p3 \gset
SET ticket.user_claim = 'claim.subject';
SELECT is(performance_withdraw(:p3), true, 'without a claim the role it is');
SET claim.subject = 'cat-boss';
SELECT pg_temp.refused(format('SELECT ticket.concert_withdraw(%s, %L)', :c, 'somebody'), 'TK013', 'nobody signs for another');
SELECT is(concert_withdraw(:c), true, 'the authenticated user');
RESET ticket.user_claim;
SELECT is((SELECT withdrawn_by FROM concert WHERE concert_id = :c), 'cat-boss', 'is who it was');
SELECT is((SELECT withdrawn_by FROM performance WHERE performance_id = :p3), current_user::text, 'what was withdrawn before keeps its name');

-- ---------- bad input ----------

SELECT concert_create('Bad', starts_at => '2100-01-01', ends_at => '2100-12-31') AS c, venue_create('Bad') AS v, queue_create('bad') AS q2 \gset
SELECT venue_section_create(:v, 'A', 'R', 1, 2) AS vs, venue_section_create(:v, 'B', NULL, 1, 2) AS vs2,
	performance_create(:c, :v, '2100-06-01', sale_opens_at => '2100-01-01', sale_closes_at => '2100-02-01', prices => '{"R": 1, "B": 2}') AS p \gset
SELECT min(section_id) AS s, max(section_id) AS s2 FROM section WHERE performance_id = :p \gset
SELECT pg_temp.refused(format(call, argument, :c, :v, :vs, :p, :s), code, format('%s: %s', regexp_replace(call, '%\d\$s', '...', 'g'), left(argument, 40)))
FROM (VALUES
	('SELECT ticket.concert_create(%s)', '22023', ARRAY['NULL', $$''$$, $$repeat('x', 256)$$]),
	('SELECT ticket.concert_create($$c$$, %s)', '22023', ARRAY[$$artist => repeat('x', 256)$$, $$owner => ''$$, $$owner => repeat('x', 256)$$,
		$$starts_at => 'infinity'$$, $$ends_at => '-infinity'$$, $$starts_at => '2100-01-02', ends_at => '2100-01-01'$$,
		$$description => repeat('x', 65537)$$, $$running_time => '0'$$, $$running_time => '-1 hour'$$, $$running_time => '367 days'$$,
		$$image => repeat('x', 2049)$$, 'attributes => NULL', $$attributes => '[]'$$, $$attributes => '"x"'$$, $$attributes => 'null'$$,
		$$attributes => jsonb_build_object('x', repeat('x', 65536))$$]),
	('SELECT ticket.concert_change(%2$s, %1$s)', '22023', ARRAY[$$name => ''$$, $$name => repeat('x', 256)$$, $$artist => repeat('x', 256)$$,
		$$starts_at => '2101-01-01'$$, $$ends_at => '2099-01-01'$$, $$running_time => '-1 s'$$, $$attributes => '1'$$]),
	('SELECT ticket.concert_change(%s)', '22023', ARRAY['NULL']),
	('SELECT ticket.concert_change(%s)', 'TK005', '{0,-1,9223372036854775807}'),
	('SELECT ticket.concert_withdraw(%s)', '22023', ARRAY['NULL']),
	('SELECT ticket.concert_withdraw(%s)', 'TK005', '{0,-1,9223372036854775807}'),
	('SELECT ticket.concert_withdraw(%2$s, %1$s)', '22023', ARRAY[$$''$$, $$repeat('x', 256)$$]),
	('SELECT ticket.venue_create($$v$$, %s)', '22023', ARRAY[$$address => repeat('x', 1001)$$, $$attributes => '[]'$$, 'attributes => NULL', $$owner => ''$$]),
	('SELECT ticket.venue_change(%3$s, %1$s)', '22023', ARRAY[$$name => ''$$, $$address => repeat('x', 1001)$$, $$attributes => '[]'$$]),
	('SELECT ticket.venue_change(%s)', '22023', ARRAY['NULL']),
	('SELECT ticket.venue_change(%s)', 'TK005', '{0,-1,9223372036854775807}'),
	('SELECT ticket.venue_withdraw(%s)', '22023', ARRAY['NULL']),
	('SELECT ticket.venue_withdraw(%s)', 'TK005', '{0,-1,9223372036854775807}'),
	('SELECT ticket.venue_withdraw(%3$s, %1$s)', '22023', ARRAY[$$''$$, $$repeat('x', 256)$$]),
	('SELECT ticket.venue_section_create(%s, $$C$$, NULL, 1, 1)', '22023', ARRAY['NULL']),
	('SELECT ticket.venue_section_create(%s, $$C$$, NULL, 1, 1)', 'TK005', '{0,-1,9223372036854775807}'),
	('SELECT ticket.venue_section_create(%3$s, %1$s, NULL, 1, 1)', '22023', ARRAY['NULL', $$''$$, $$'A'$$, $$repeat('x', 256)$$]),
	('SELECT ticket.venue_section_create(%3$s, $$C$$, %1$s, 1, 1)', '22023', ARRAY[$$repeat('x', 51)$$]),
	('SELECT ticket.venue_section_create(%3$s, $$C$$, NULL, 1, 1, kind => %1$s)', '22023', ARRAY['NULL', $$'sitting'$$]),
	('SELECT ticket.venue_section_create(%3$s, $$C$$, NULL, %1$s)', '22023', '{"NULL, 1","1, NULL","NULL, NULL","0, 1","1, 0","-1, -1","1000001, 1","1000, 1001","2147483647, 2147483647"}'),
	('SELECT ticket.venue_section_create(%3$s, $$C$$, NULL, %1$s)', '22023', ARRAY[$$1, 1, 'o'$$, $$NULL, 1, 'o'$$, $$plan => ''$$, $$plan => '--'$$,
		$$plan => 'oxo'$$, $$plan => 'OO'$$, $$plan => 'o o'$$, $$plan => E'oo\n\noo'$$, $$plan => 'ö'$$, $$plan => repeat('o', 1000001)$$, $$plan => repeat('o-', 1000001)$$]),
	('SELECT ticket.venue_section_change(%4$s, %1$s)', '22023', ARRAY[$$''$$, $$'B'$$, $$grade => repeat('x', 51)$$, 'row_count => 1', 'seats_per_row => 1',
		$$row_count => 1, plan => 'o'$$, $$plan => '-'$$]),
	('SELECT ticket.venue_section_change(%s)', '22023', ARRAY['NULL']),
	('SELECT ticket.venue_section_change(%s)', 'TK005', '{0,-1,9223372036854775807}'),
	('SELECT ticket.venue_section_delete(%s)', '22023', ARRAY['NULL']),
	('SELECT ticket.performance_create(%2$s, %3$s, $$2100-06-01$$, prices => %1$s)', '22023', ARRAY[$$'{}'$$, $$'[]'$$, $$'1'$$, $$'null'$$, $$'{"R": 1}'$$, $$'{"B": 1}'$$,
		$$'{"R": 1, "B": 1, "C": 1}'$$, $$'{"R": -1, "B": 1}'$$, $$'{"R": 1.5, "B": 1}'$$, $$'{"R": "1", "B": 1}'$$, $$'{"R": 1000000000001, "B": 1}'$$,
		$$'{"R": 1e30, "B": 1}'$$, $$'{"R": {}, "B": 1}'$$, $$'{"R": true, "B": 1}'$$, $$'{"R": null, "B": null}'$$, $$'{"R": 99999999999999999999, "B": 1}'$$]),
	('SELECT ticket.performance_change(%s)', '22023', ARRAY['NULL']),
	('SELECT ticket.performance_change(%s)', 'TK005', '{0,-1,9223372036854775807}'),
	('SELECT ticket.performance_change(%5$s, %1$s)', '22023', ARRAY[$$sale_opens_at => '2100-02-01'$$, $$sale_closes_at => '2100-01-01'$$, $$hold_interval => '0'$$,
		$$hold_interval => '367 days'$$, 'max_seats_per_user => 0', 'max_seats_per_user => 1001', 'max_seats_per_user => -1',
		$$payment_interval => '0'$$, $$payment_interval => '-1 minute'$$, $$payment_interval => '367 days'$$]),
	('SELECT ticket.performance_create(%2$s, %3$s, $$2100-06-01$$, payment_interval => %1$s)', '22023', ARRAY['NULL', $$'0'$$, $$'-1 minute'$$, $$'367 days'$$]),
	('SELECT ticket.performance_change(%5$s, %1$s)', 'TK005', '{-1,4194303,9223372036854775807}'),
	('SELECT ticket.performance_withdraw(%s)', '22023', ARRAY['NULL']),
	('SELECT ticket.performance_withdraw(%s)', 'TK005', '{0,-1,9223372036854775807}'),
	('SELECT ticket.performance_withdraw(%5$s, %1$s)', '22023', ARRAY[$$''$$, $$repeat('x', 256)$$]),
	('SELECT ticket.section_create(%5$s, $$C$$, 1, %1$s)', '22023', ARRAY['NULL, NULL', $$1, 1, plan => 'o'$$, $$1, 1, repeat('x', 51)$$, $$NULL, NULL, plan => '-'$$]),
	('SELECT ticket.section_change(%s)', '22023', ARRAY['NULL']),
	('SELECT ticket.section_change(%s)', 'TK005', '{0,-1,9223372036854775807}'),
	('SELECT ticket.section_change(%6$s, %1$s)', '22023', ARRAY[$$''$$, $$'B'$$, $$repeat('x', 256)$$, 'price => -1', 'price => 1000000000001', $$grade => repeat('x', 51)$$]),
	('SELECT ticket.section_withdraw(%s)', '22023', ARRAY['NULL']),
	('SELECT ticket.section_withdraw(%s)', 'TK005', '{0,-1,9223372036854775807}')
) AS v(call, code, arguments), unnest(arguments) AS argument;

SELECT is((SELECT string_agg(invariant, ', ') FROM verify() WHERE NOT ok), NULL, 'every invariant holds');
SELECT * FROM finish();
