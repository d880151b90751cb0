-- Reading: sections with counts, seats, the drawn map, 'changed since?'.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin
SET search_path = ticket, public;

-- A performance with two sections: 2 rows of 5, 3 rows of 70.
CREATE FUNCTION pg_temp.hall() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	id bigint := pg_temp.sale(max_seats => 1000);
BEGIN
	PERFORM ticket.section_create(id, 'wide', 200, 3, 70);
	RETURN id;
END $$;
-- The map of a performance on one line: sections by '|', rows by '/'.
CREATE FUNCTION pg_temp.drawn(performance_id bigint, since bigint DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(replace(map, E'\n', '/'), '|' ORDER BY first_seat_id) FROM ticket.seat_map($1, since => $2) $$;
-- What the table has, as the map must draw it where rows are regular.
CREATE FUNCTION pg_temp.painted(performance_id bigint) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(s, '|' ORDER BY section_id) FROM (
		SELECT section_id, string_agg(r, '/' ORDER BY row_no) AS s FROM (
			SELECT section_id, row_no, string_agg(CASE WHEN status = 'held' AND held_until <= ticket.clock() THEN '.'
				ELSE translate(left(status, 1), 'fhsb', '.hX-') END, '' ORDER BY seat_no) AS r
			FROM ticket.seat WHERE performance_id = $1 GROUP BY section_id, row_no) AS r
		GROUP BY section_id) AS s $$;
-- Counts by the functions, and by the table.
CREATE FUNCTION pg_temp.counts(performance_id bigint) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(format('%s of %s', available, seats), ', ' ORDER BY section_id) FROM ticket.sections($1) $$;
CREATE FUNCTION pg_temp.version(performance_id bigint) RETURNS bigint LANGUAGE sql AS $$
	SELECT max(version) FROM ticket.sections($1) $$;

SELECT pg_temp.hall() AS p, pg_temp.hall() AS other \gset
SELECT point_charge('map', 1000000) AS balance \gset

-- ---------- states ----------

SELECT is((SELECT map FROM seat_map(:p) LIMIT 1), E'.....\n.....', 'a line per row, a dot per free seat');
SELECT is((SELECT array_agg(format('%s %s %s', first_seat_id, available, length(map)) ORDER BY first_seat_id) FROM seat_map(:p)), '{"1 10 11","11 210 212"}',
	'one row per section: first seat, seats to be had');
SELECT section_id AS wide FROM sections(:p) WHERE name = 'wide' \gset
SELECT is((SELECT array_agg(first_seat_id) FROM seat_map(:p, :wide)), '{11}', 'of one section');
SELECT is(pg_temp.counts(:p), '10 of 10, 210 of 210', 'counts');
SELECT reservation_id AS r FROM seat_hold(:p, '{2,3,11,100,218}', 'map') \gset
SELECT is((SELECT map FROM seat_map(:p) LIMIT 1), E'.hh..\n.....', 'held');
SELECT is(pg_temp.drawn(:p), pg_temp.painted(:p), 'the map is what the table has');
SELECT is(pg_temp.drawn(:p), pg_temp.painted(:p), 'so it is again, from memory');
SELECT is(pg_temp.counts(:p), '8 of 10, 207 of 210', 'held seats are not to be had');
SELECT count(*) AS n FROM pay_reservation(:r, 'map') \gset
SELECT is((SELECT map FROM seat_map(:p) LIMIT 1), E'.XX..\n.....', 'sold');
UPDATE seat SET status = 'blocked' WHERE performance_id = :p AND seat_id IN (10, 219);
SELECT is((SELECT map FROM seat_map(:p) LIMIT 1), E'.XX..\n....-', 'blocked by hand');
SELECT is(pg_temp.counts(:p), '7 of 10, 206 of 210', 'nor are sold and blocked ones');
SELECT count(*) AS n FROM reservation_cancel(:r, 'map', '{3,100}') \gset
SELECT is((SELECT map FROM seat_map(:p) LIMIT 1), E'.X...\n....-', 'cancelled');
SELECT reservation_id AS r2 FROM seat_hold(:p, '{4,5}', 'map') \gset
SELECT seat_release(:r2, 'map') AS released \gset
SELECT is(pg_temp.drawn(:p), pg_temp.painted(:p), 'released');
SELECT is((SELECT array_agg(format('%s %s %s %s %s %s', seat_id, section_id = :wide, "row", number, price, status) ORDER BY seat_id)
	FROM seats(:p) WHERE seat_id IN (1, 2, 10, 11, 80, 81, 219)),
	'{"1 f 1 1 100 free","2 f 1 2 100 sold","10 f 2 5 100 blocked","11 t 1 1 200 sold","80 t 1 70 200 free","81 t 2 1 200 free","219 t 3 69 200 blocked"}',
	'seats: where, what for, in which state');
SELECT is((SELECT count(*) FROM seats(:p)), 220::bigint, 'all of them');
SELECT is((SELECT array_agg(seat_id) FROM seats(:p, :wide)), (SELECT array_agg(n) FROM generate_series(11, 220) AS n), 'of one section, in order');
SELECT is((SELECT string_agg(CASE status WHEN 'free' THEN '.' WHEN 'held' THEN 'h' WHEN 'sold' THEN 'X' ELSE '-' END, '' ORDER BY seat_id) FROM seats(:p)),
	regexp_replace(pg_temp.painted(:p), '[/|]', '', 'g'), 'as the map has them');

-- ---------- changed since? ----------

SELECT pg_temp.version(:p) AS v, max(version) AS v_first FROM seat_map(:p) WHERE first_seat_id = 1 \gset
SELECT is(pg_temp.drawn(:p, :v), NULL, 'nothing has changed');
SELECT is((SELECT count(*) FROM sections(:p, :v)), 0::bigint, 'no count either');
SELECT reservation_id AS r FROM seat_hold(:p, '{220}', 'map') \gset
SELECT is((SELECT array_agg(section_id) FROM seat_map(:p, since => :v)), ARRAY[:wide]::bigint[], 'the section of the seat');
SELECT is((SELECT array_agg(section_id) FROM sections(:p, :v)), ARRAY[:wide]::bigint[], 'its count');
SELECT is(pg_temp.version(:other) > 0 AND pg_temp.drawn(:other, pg_temp.version(:other)) IS NULL, true, 'no other performance');
SELECT is((SELECT version FROM seat_map(:p) WHERE first_seat_id = 1), :v_first, 'the other section has its version still');
SELECT ok(pg_temp.version(:p) > :v, 'the version has grown');
SELECT pg_temp.version(:p) AS v \gset
SELECT is(pg_temp.drawn(:p, :v), NULL, 'and nothing has changed since');
BEGIN;
SELECT seat_release(:r, 'map') AS released \gset
SELECT is((SELECT array_agg(section_id) FROM seat_map(:p, since => :v)), ARRAY[:wide]::bigint[], 'what one does oneself one sees');
SELECT is((SELECT right(map, 1) FROM seat_map(:p, :wide)), '.', 'as it will be');
ROLLBACK;
SELECT is(pg_temp.drawn(:p, :v), NULL, 'rolled back, nothing has changed');
SELECT is((SELECT right(map, 1) FROM seat_map(:p, :wide)), 'h', 'the map is as it was');
BEGIN;
SAVEPOINT s;
SELECT seat_release(:r, 'map') AS released \gset
ROLLBACK TO s;
SELECT is((SELECT right(map, 1) FROM seat_map(:p, :wide)), 'h', 'nor has a savepoint that is rolled back');
COMMIT;
SELECT is(pg_temp.drawn(:p), pg_temp.painted(:p), 'the map is as the table');
SELECT is(pg_temp.drawn(:p, 9223372036854775807), pg_temp.drawn(:p), 'since a version that is yet to come: everything');

-- ---------- holds end by the clock ----------

SELECT pg_temp.version(:p) AS v \gset
SET ticket.clock_offset = '4min';
SELECT is(pg_temp.drawn(:p, :v), NULL, 'a minute before its end the hold stands');
SET ticket.clock_offset = '6min';
SELECT is((SELECT array_agg(format('%s %s', section_id = :wide, right(map, 1))) FROM seat_map(:p, since => :v)), '{"t ."}', 'its end is a change');
SELECT is(pg_temp.drawn(:p), pg_temp.painted(:p), 'the seat is drawn free');
SELECT is((SELECT status FROM seats(:p) WHERE seat_id = 220), 'free', 'listed free');
SELECT is(pg_temp.counts(:p), '8 of 10, 207 of 210', 'and counted');
SELECT pg_temp.version(:p) AS v \gset
SELECT is(pg_temp.drawn(:p, :v), NULL, 'it is told once');
RESET ticket.clock_offset;
SELECT is((SELECT array_agg(format('%s %s', section_id = :wide, right(map, 1))) FROM seat_map(:p, since => :v)), '{"t h"}', 'by another clock it stands again');
SET ticket.clock_offset = '6min';
SELECT reservation_id AS r2 FROM seat_hold(:p, '{220,1}', 'map2') \gset
SELECT is(pg_temp.drawn(:p), pg_temp.painted(:p), 'taken over');
RESET ticket.clock_offset;
SELECT count(seat_release(:r2, 'map2')) AS n \gset

-- ---------- plans with gaps ----------

-- Seats keep their places: to have others they are taken away and put in again.
CREATE FUNCTION pg_temp.move(section_id bigint, row_no text, seat_no text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('WITH gone AS (DELETE FROM ticket.seat WHERE section_id = %s RETURNING *)
		INSERT INTO ticket.seat (performance_id, seat_id, section_id, row_no, seat_no)
		SELECT performance_id, seat_id, section_id, %s, %s FROM gone', section_id, row_no, seat_no);
END $$;
SELECT section_create(:other, 'plan', 5, NULL, NULL, plan => E'oo--o\n-----\n-ooo-') AS plan \gset
SELECT is((SELECT format('%s %s', available, map) FROM seat_map(:other, :plan)), E'6 ..  .\n\n ...', 'a plan is drawn with its gaps');
SELECT section_id AS small FROM sections(:other) WHERE name = 'section' \gset
SELECT count(*) AS n FROM seat_map(:other) \gset
SELECT pg_temp.move(:small, 'row_no', 'seat_no + CASE WHEN seat_no > 3 THEN 2 ELSE 0 END') AS n \gset
SELECT is((SELECT map FROM seat_map(:other, :small)), E'...  ..\n...  ..', 'an aisle');
SELECT is((SELECT string_agg(format('%s/%s', "row", number), ' ' ORDER BY seat_id) FROM seats(:other, :small)),
	'1/1 1/2 1/3 1/6 1/7 2/1 2/2 2/3 2/6 2/7', 'seats have the numbers');
SELECT pg_temp.move(:small, 'row_no * 3 - 2', 'seat_no + row_no * 10 - 10') AS n \gset
SELECT is((SELECT map FROM seat_map(:other, :small)), E'...  ..\n\n\n          ...  ..', 'a row that stands apart');
-- Not even without the constraint is a sum too large for its type.
SELECT pg_get_constraintdef(oid) AS numbers FROM pg_constraint WHERE conname = 'seat_numbers' \gset
ALTER TABLE seat DROP CONSTRAINT seat_numbers;
SELECT pg_temp.move(:small, 'row_no + 2147483600', 'seat_no + 100') AS n \gset
SELECT is((SELECT map FROM seat_map(:other, :small)), E'...  ..\n\n\n          ...  ..', 'the first column is the lowest number');
SELECT pg_temp.move(:small, 'CASE WHEN row_no < 2147483604 THEN 1 ELSE row_no END', 'seat_no') AS n \gset
SELECT is((SELECT map FROM seat_map(:other, :small)), E'...  ..\n          ...  ..', 'rows out of all proportion are drawn without gaps');
SELECT pg_temp.move(:small, 'row_no', 'CASE seat_id WHEN 10 THEN 2147483647 ELSE seat_no END') AS n \gset
SELECT is((SELECT map FROM seat_map(:other, :small)), E'.....\n.....', 'numbers out of all proportion are drawn without gaps');
SELECT pg_temp.move(:small, 'row_no', 'CASE seat_id WHEN 10 THEN -5 ELSE seat_no END') AS n \gset
SELECT is((SELECT map FROM seat_map(:other, :small)), E'.....\n.....', 'so are such below zero');
SELECT pg_temp.move(:small, '(seat_id - 1) / 5 + 1', '(seat_id - 1) % 5 + 1') AS n \gset
ALTER TABLE seat ADD CONSTRAINT seat_numbers :numbers;
DELETE FROM seat WHERE performance_id = :other AND seat_id = 3;
SELECT is((SELECT format('%s %s', available, map) FROM seat_map(:other, :small)), E'9 .. ..\n.....', 'a seat that is gone');
SELECT is((SELECT count(*) FROM seats(:other, :small)), 9::bigint, 'is listed no more');
INSERT INTO seat (performance_id, seat_id, section_id, row_no, seat_no, status) VALUES (:other, 3, :small, 1, 3, 'blocked');
SELECT is((SELECT format('%s %s', available, map) FROM seat_map(:other, :small)), E'9 ..-..\n.....', 'and is back');
SELECT is(pg_temp.counts(:other), '9 of 10, 210 of 210, 6 of 6', 'counted as well');

-- ---------- the catalogue changes ----------

UPDATE section SET price = 7, name = 'cheap' WHERE section_id = :small;
SELECT is((SELECT format('%s %s', name, price) FROM sections(:other) WHERE section_id = :small), 'cheap 7', 'name and price are the latest');
SELECT is((SELECT DISTINCT price FROM seats(:other, :small)), 7::bigint, 'of seats, too');
BEGIN;
SELECT section_create(:other, 'more', 5, 1, 3) AS more \gset
SELECT is(pg_temp.counts(:other), '9 of 10, 210 of 210, 6 of 6, 3 of 3', 'a new section, to who makes it');
ROLLBACK;
SELECT is(pg_temp.counts(:other), '9 of 10, 210 of 210, 6 of 6', 'rolled back');
SELECT section_create(:other, 'more', 5, 1, 3) AS more \gset
SELECT is((SELECT map FROM seat_map(:other, :more)), '...', 'committed');

SELECT pg_temp.version(:other) AS v \gset
SELECT section_change(:more, price => 6) AS n \gset
SELECT is((SELECT array_agg(format('%s %s', name, price)) FROM sections(:other, :v)), '{"more 6"}', 'a price is a change');
BEGIN;
SELECT pg_temp.version(:other) AS v \gset
SELECT section_withdraw(:more) AS done \gset
SELECT is((SELECT array_agg(format('%s %s', available, map)) FROM seat_map(:other, since => :v)), '{"0 ---"}', 'withdrawn, to who does it');
ROLLBACK;
SELECT is(pg_temp.drawn(:other, :v), NULL, 'rolled back');
SELECT section_withdraw(:more) AS done \gset
SELECT is((SELECT array_agg(format('%s %s', available, map)) FROM seat_map(:other, since => :v)), '{"0 ---"}', 'withdrawn');
SELECT is((SELECT DISTINCT status FROM seats(:other, :more)), 'blocked', 'its seats are listed so');
SELECT is(pg_temp.counts(:other), '9 of 10, 210 of 210, 6 of 6', 'and counted no more');

-- ---------- known from a refusal ----------

-- What is looked at for one who comes too late is all that memory has of it.
SELECT section_create(:other, 'ramp', 5, NULL, NULL, plan => 'ooa') AS ramp \gset
SELECT seat_id AS ramp_seat FROM seat WHERE section_id = :ramp AND accessible \gset
SELECT reservation_id AS r3 FROM seat_hold(:other, ARRAY[:ramp_seat], 'map') \gset
-- How a hold is refused: the DETAIL.
CREATE FUNCTION pg_temp.why(performance_id bigint, seat_ids int[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	why text;
BEGIN
	PERFORM ticket.seat_hold(performance_id, seat_ids, 'late');
	RETURN NULL;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS why = PG_EXCEPTION_DETAIL;
	RETURN why;
END $$;
SELECT is(pg_temp.why(:other, ARRAY[:ramp_seat]), format('Seat %s is held.', :ramp_seat), 'too late');
SELECT is((SELECT states FROM seat_map_memory() WHERE section_id = :ramp), '??h', 'the next is told from memory');
SELECT is(pg_temp.why(:other, ARRAY[:ramp_seat]), format('Seat %s is held.', :ramp_seat), 'the same');
SELECT is((SELECT array_agg(seat_id) FROM seats(:other, :ramp) WHERE accessible), ARRAY[:ramp_seat],
	'that it is one for wheelchairs has not been forgotten');
SELECT is(section_withdraw(:ramp), true, 'the section is withdrawn');
SELECT is(pg_temp.why(:other, ARRAY[:ramp_seat]), format('Seat %s is withdrawn.', :ramp_seat), 'which is told before that it is held');
SELECT is(pg_temp.why(:other, ARRAY[:ramp_seat]), format('Seat %s is withdrawn.', :ramp_seat), 'each time');

-- ---------- what is not there ----------

SELECT pg_temp.refused(format('SELECT * FROM ticket.seat_map(%s)', a), '22023') FROM unnest('{"NULL","1, since => -1","1, since => -9223372036854775808"}'::text[]) AS a;
SELECT pg_temp.refused(format('SELECT * FROM ticket.%s(NULL)', f), '22023') FROM unnest('{sections,seats}'::text[]) AS f;
SELECT pg_temp.refused('SELECT * FROM ticket.sections(1, -1)', '22023');
SELECT pg_temp.refused(format('SELECT * FROM ticket.seat_map(%s)', a), 'TK005') FROM unnest('{-1,0,9223372036854775807}'::text[]) AS a;
SELECT pg_temp.refused(format('SELECT * FROM ticket.seat_map(%s, %s)', :p, a), 'TK005', 'a section of no or of another performance') FROM unnest(ARRAY['-1', '0', :'small']) AS a;
SELECT performance_create(concert_create('c'), venue_create('v'), '2100-01-01') AS bare \gset
SELECT is((SELECT count(*) FROM seat_map(:bare)) + (SELECT count(*) FROM sections(:bare)) + (SELECT count(*) FROM seats(:bare)), 0::bigint,
	'a performance without sections has an empty map');

-- ---------- prepared transactions ----------

BEGIN;
SELECT count(*) AS n FROM seat_hold(:p, '{6}', 'map') \gset
PREPARE TRANSACTION 'regress_ticket_map';
SELECT is(:'LAST_ERROR_SQLSTATE'::text, 'TK015', 'PREPARE is refused to one who holds seats');
BEGIN;
UPDATE seat SET status = 'blocked' WHERE performance_id = :p AND seat_id = 6;
PREPARE TRANSACTION 'regress_ticket_map';
SELECT is(:'LAST_ERROR_SQLSTATE'::text, 'TK015', 'to one who changes them by hand');
SELECT pg_temp.version(:p) AS v \gset
SELECT is(pg_temp.drawn(:p, :v), NULL, 'and nothing is left in flight');
SELECT is(pg_temp.drawn(:p), pg_temp.painted(:p), 'the map is as the table');

-- ---------- gone ----------

BEGIN;
TRUNCATE seat CASCADE;
SELECT is((SELECT sum(available) FROM sections(:p)), 0::numeric, 'emptied, to who does it');
ROLLBACK;
SELECT is(pg_temp.drawn(:p), pg_temp.painted(:p), 'rolled back, all is there');
SELECT ok(pg_temp.version(:p) > 0, 'and known');
BEGIN;
SET LOCAL ticket.allow_drop = on;
DROP EXTENSION ticket;
ROLLBACK;
SELECT is(pg_temp.drawn(:p), pg_temp.painted(:p), 'the extension has not gone after all');

SELECT * FROM finish();
