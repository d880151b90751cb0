-- Numbers at the edge of their type, names longer than a name, a log that never ends.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin
SET search_path = ticket, public;

-- ---------- seats ----------

SELECT pg_temp.sale() AS p \gset
SELECT section_id AS s FROM section WHERE performance_id = :p \gset
PREPARE seat_insert AS INSERT INTO seat (performance_id, seat_id, section_id, row_no, seat_no) VALUES (:p, $1, :s, $2, $3);
SELECT throws_ok(format('EXECUTE seat_insert(%s, %s, %s)', seat_id, row_no, seat_no), '23514', NULL,
	format('no seat %s in row %s, number %s', seat_id, row_no, seat_no))
FROM (VALUES (0, 1, 1), (-2147483648, 1, 1), (2147483647, 1, 1), (1000000001, 1, 1), (11, 0, 1), (11, 2000001, 1), (11, -2147483648, 1),
	(11, 2147483647, 1), (11, 1, 0), (11, 1, 2000001), (11, 1, -2147483648), (11, 1, 2147483647)) AS v (seat_id, row_no, seat_no);
PREPARE section_insert AS INSERT INTO section (performance_id, name, price, first_seat_id, row_count, seats_per_row, seat_count)
	VALUES (:p, 'extreme', 1, $1, $2, $3, 1);
SELECT throws_ok(format('EXECUTE section_insert(%s, %s, %s)', first_seat_id, row_count, seats_per_row), '23514', NULL,
	format('no section from seat %s of %s rows of %s', first_seat_id, row_count, seats_per_row))
FROM (VALUES (0, 1, 1), (-2147483648, 1, 1), (2147483647, 1, 1), (11, 2147483647, 1), (11, 1, 2147483647)) AS v (first_seat_id, row_count, seats_per_row);

-- What is allowed is computed with: the choice of seats, the map, blocking.
BEGIN;
INSERT INTO section (performance_id, name, price, first_seat_id, row_count, seats_per_row, seat_count)
VALUES (:p, 'far', 1, 1000000000, 2000000, 2000000, 3) RETURNING section_id AS far \gset
INSERT INTO seat (performance_id, seat_id, section_id, row_no, seat_no) VALUES
	(:p, 1000000000 - 2, :far, 1, 1), (:p, 1000000000 - 1, :far, 2000000, 1), (:p, 1000000000, :far, 2000000, 2000000);
UPDATE section SET first_seat_id = 1000000000 - 2 WHERE section_id = :far;
SELECT is((SELECT seat_ids FROM seat_hold_best(:p, 1, 'extreme', section_id => :far)), ARRAY[1000000000 - 2], 'the front row is chosen, though the next one is far');
SELECT is((SELECT seat_ids FROM seat_hold_best(:p, 2, 'extreme-2', section_id => :far, fallback => 'any')),
	ARRAY[1000000000 - 1, 1000000000], 'then what is left');
SELECT is(seat_unblock(:p, ARRAY[1000000000]), 0, 'none is blocked');
SELECT is((SELECT array_agg(status ORDER BY seat_id) FROM seats(:p, :far)), '{held,held,held}', 'all are shown');
ROLLBACK;
SELECT throws_ok(format('SELECT seat_hold(%s, %L, ''extreme'')', :p, ids), 'TK005', NULL, format('seats %s are not there', ids))
FROM unnest(ARRAY['{-2147483648}', '{2147483647}', '{-2147483648,2147483647}', '{2147483647,1,-2147483648}']) AS ids;

-- ---------- names ----------

-- Each long name has one counter, however often it comes: the table of names has room for 192.
BEGIN;
SELECT count(ticket.event_payload(repeat('x', 64), '{}')) AS n FROM generate_series(1, 200) \gset
SELECT count(ticket.event_payload(repeat('y', 100), '{}')) AS n FROM generate_series(1, 200) \gset
SELECT count(ticket.event_payload(repeat('é', 40), '{}')) AS n FROM generate_series(1, 200) \gset
SELECT count(ticket.event_payload(E'say "a\\b"\n', '{}')) AS n \gset
COMMIT;
SELECT is((SELECT array_agg(m[1] || ' ' || m[2] ORDER BY m[1]) FROM regexp_matches(ticket.metrics(), '\{type="([xy]+|é+)"\} (\d+)', 'g') AS m),
	ARRAY[repeat('x', 63) || ' 200', repeat('y', 63) || ' 200', repeat('é', 31) || ' 200'], 'long names are counted by what fits');
SELECT is((SELECT m[1] FROM regexp_matches(ticket.metrics(), '\{type="(say [^\n]*)"\} 1\n', 'g') AS m), 'say \"a\\b\"\n',
	'what would end a label is escaped');

-- ---------- the log ----------

-- Memory of errors is emptied by the next error; a session that only logs has none.
CREATE FUNCTION pg_temp.error_memory() RETURNS bigint LANGUAGE sql AS $$
	SELECT used_bytes FROM pg_backend_memory_contexts WHERE name = 'ErrorContext' $$;
CREATE FUNCTION pg_temp.log_lines(n int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. n LOOP
		RAISE LOG 'a line of a trace';
	END LOOP;
	RETURN n;
END $$;
SET ticket.trace_id = 'extreme';
SELECT pg_temp.log_lines(1) AS n, pg_temp.error_memory() AS before \gset
SELECT pg_temp.log_lines(500) AS n \gset
SELECT is(pg_temp.error_memory(), :before::bigint, 'a traced line of the log leaves nothing in memory');
RESET ticket.trace_id;

SELECT * FROM finish();
