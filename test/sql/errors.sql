-- The error codes: the view, its documentation, and what is sent with
-- ticket.http_errors on.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin
\set document `cat "$PG_ABS_SRCDIR/../doc/errors.md"`

SELECT results_eq('SELECT * FROM ticket.error_codes', 'SELECT * FROM ticket.error_code_list()', 'the view shows the list');
SELECT results_eq('SELECT sqlstate, name, http_status FROM ticket.error_codes', $$VALUES
	('TK001', 'token_invalid', 401), ('TK002', 'not_admitted', 403), ('TK003', 'queue_closed', 403),
	('TK004', 'queue_full', 503), ('TK005', 'not_found', 404), ('TK006', 'seat_unavailable', 409),
	('TK007', 'hold_expired', 410), ('TK008', 'limit_reached', 409), ('TK009', 'wrong_state', 409),
	('TK010', 'points_short', 402), ('TK011', 'idempotency_conflict', 409), ('TK012', 'sale_closed', 403),
	('TK013', 'identity_mismatch', 403), ('TK014', 'not_loaded', 503), ('TK015', 'two_phase_refused', 500),
	('TK016', 'standby', 503), ('TK017', 'scheduler_missing', 503),
	('TK018', 'user_blocked', 403), ('TK019', 'too_late', 409), ('TK020', 'seats_not_together', 409), ('22023', 'bad_argument', 400)$$,
	'every code with its name and HTTP status');
SELECT is((SELECT count(DISTINCT sqlstate) FROM ticket.error_codes), 21::bigint, 'each SQLSTATE once');
SELECT is((SELECT count(DISTINCT name) FROM ticket.error_codes), 21::bigint, 'each name once');
SELECT is((SELECT string_agg(sqlstate, ' ') FROM ticket.error_codes WHERE meaning IS NULL OR meaning !~ '^\w.*\.$' OR meaning ~ '\n'),
	NULL, 'each meaning is a sentence');
SELECT is((SELECT string_agg(sqlstate, ' ') FROM ticket.error_codes e WHERE NOT EXISTS (
	SELECT FROM regexp_split_to_table(:'document', '\n') AS line
	WHERE line ~ ('\m' || e.sqlstate || '\M') AND line ~ ('\m' || e.name || '\M') AND line ~ ('\m' || e.http_status || '\M'))),
	NULL, 'each has a line in doc/errors.md with name and HTTP status');
SELECT is((SELECT array_agg(DISTINCT code[1]) FROM regexp_matches(:'document', '\m(TK\d{3})\M', 'g') AS code),
	(SELECT array_agg(sqlstate ORDER BY sqlstate) FROM ticket.error_codes WHERE sqlstate LIKE 'TK%'), 'doc/errors.md has no others');

-- ---------- what is sent ----------

-- How a call fails: SQLSTATE and DETAIL up to its first colon.
CREATE FUNCTION pg_temp.sent(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	code text;
	detail text;
BEGIN
	EXECUTE call;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' ', code, split_part(detail, ':', 1));
END $$;

SELECT ticket.queue_create('errors', capacity => 0) AS q \gset
SELECT pg_temp.sale(queue_id => :q) AS queued, pg_temp.sale(max_seats => 2) AS p, pg_temp.sale(price => 0) AS p2 \gset
SELECT reservation_id AS held FROM ticket.seat_hold(:p, '{1}', 'errors', NULL, 'key') \gset
SELECT reservation_id AS paid FROM ticket.seat_hold(:p2, '{1}', 'errors') \gset
SELECT count(ticket.pay_reservation(:paid, 'errors')) AS n, count(ticket.ticket_enqueue(:q, 'errors')) AS m \gset
SELECT reservation_id AS released FROM ticket.seat_hold(:p2, '{2}', 'errors') \gset
SELECT ticket.seat_release(:released, 'errors') AS done, ticket.queue_create('drain') AS drain,
	ticket.queue_create('live', capacity => 0) AS live \gset
SELECT count(ticket.ticket_enqueue(:live, 'errors')) AS n \gset
UPDATE ticket.queue SET mode = 'drain' WHERE queue_id = :drain;
SELECT ticket.performance_create(ticket.concert_create('c'), ticket.venue_create('v'), '2100-01-01') AS narrow \gset
SELECT ticket.section_create(:narrow, 'one a row', 1, 2, 1) AS s \gset
SELECT ticket.user_block('errors-blocked', 'test') AS blocked \gset
CREATE TEMP TABLE call (n int GENERATED ALWAYS AS IDENTITY, sqlstate text, call text);
INSERT INTO call (sqlstate, call) VALUES
	('TK001', 'SELECT ticket.ticket_status(gen_random_uuid())'),
	('TK002', format('SELECT ticket.seat_hold(%s, $${1}$$, $$errors$$)', :queued)),
	('TK003', format('SELECT ticket.ticket_enqueue(%s, $$errors$$)', :drain)),
	('TK004', 'SELECT ticket.queue_create($$q$$) FROM generate_series(0, current_setting($$ticket.max_queues$$)::int)'),
	('TK005', 'SELECT ticket.pay_reservation(-1, $$errors$$)'),
	('TK005', 'SELECT ticket.performance_create(-1, -1, $$2100-01-01$$)'),
	('TK006', format('SELECT ticket.seat_hold(%s, $${1}$$, $$other$$)', :p)),
	('TK007', format('SELECT ticket.pay_reservation(%s, $$errors$$) FROM set_config($$ticket.clock_offset$$, $$1h$$, true)', :held)),
	('TK008', format('SELECT ticket.seat_hold(%s, $${3,4}$$, $$errors$$)', :p)),
	('TK009', format('SELECT ticket.seat_release(%s, $$errors$$)', :paid)),
	('TK009', 'DELETE FROM ticket.ledger'),
	('TK009', format('DELETE FROM ticket.queue WHERE queue_id = %s', :live)),
	('TK009', format('UPDATE ticket.reservation SET status = $$held$$, ended_at = NULL WHERE reservation_id = %s', :released)),
	('TK010', format('SELECT ticket.pay_reservation(%s, $$errors$$)', :held)),
	('TK011', format('SELECT ticket.seat_hold(%s, $${2}$$, $$errors$$, NULL, $$key$$)', :p)),
	('TK012', format('SELECT ticket.seat_hold(%s, $${2}$$, $$errors$$) FROM set_config($$ticket.clock_offset$$, $$200d$$, true)', :p)),
	('TK013', 'SELECT ticket.point_balance($$errors$$) FROM set_config($$ticket.user_claim$$, $$no.claim$$, true)'),
	('TK017', 'SELECT ticket.schedule_jobs()'),
	('TK018', 'SELECT ticket.ticket_enqueue(1, $$errors-blocked$$)'),
	('TK019', format('SELECT ticket.reservation_cancel(%s, $$errors$$) FROM set_config($$ticket.clock_offset$$, $$200d$$, true)', :paid)),
	('TK020', format('SELECT ticket.seat_hold_best(%s, 2, $$errors$$)', :narrow)),
	('22023', 'SELECT ticket.point_charge($$errors$$, 0)'),
	('22023', 'SELECT ticket.venue_create(NULL)');

-- Those that need another server or session are raised in other tests.
SELECT is((SELECT array_agg(sqlstate) FROM ticket.error_codes WHERE sqlstate NOT IN (SELECT sqlstate FROM call)),
	'{TK014,TK015,TK016}', 'every other code is raised here');
SELECT is(left(pg_temp.sent(call), 5), sqlstate, format('%s raises %s', regexp_replace(call, '\d+(?=[, ]|$)', 'n', 'g'), sqlstate))
FROM call ORDER BY n;
SET ticket.http_errors = on;
SELECT is(pg_temp.sent(call), format('PT%s %s', e.http_status, e.name), format('http_errors: %s', e.name))
FROM call JOIN ticket.error_codes e USING (sqlstate) ORDER BY n;
RESET ticket.http_errors;

SELECT * FROM finish();
