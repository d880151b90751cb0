-- Lists at size: what a page of each reads is counted, not guessed.  No table
-- that grows is read from end to end, and the rows read are as many as a page
-- needs, not as many as there are.  And paging: what was there from the start
-- comes once, whatever is added meanwhile.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin

BEGIN;
-- 4,000 concerts of 100 sellers with two performances of 8 seats, 32,000
-- reservations of 2,000 users with payments and ledger
INSERT INTO ticket.venue (venue_id, name) VALUES (1000000, 'plan');
INSERT INTO ticket.concert (concert_id, name, artist, owner)
SELECT 1000000 + n, 'plan ' || md5(n::text), CASE n % 50 WHEN 0 THEN '아이유 밴드 ' || n ELSE 'artist ' || n END, 'plan-s' || n % 100
FROM generate_series(1, 4000) n;
INSERT INTO ticket.performance (performance_id, concert_id, venue_id, starts_at, hold_interval, max_seats_per_user, seat_count)
SELECT 1000000 + n, 1000000 + (n + 1) / 2, 1000000, timestamptz '2100-01-01' + n * interval '1 hour', '5 minutes', 4, 8
FROM generate_series(1, 8000) n;
INSERT INTO ticket.section (section_id, performance_id, name, price, first_seat_id, row_count, seats_per_row, seat_count)
SELECT 1000000 + n, 1000000 + n, 'A', 10, 1, 1, 8, 8 FROM generate_series(1, 8000) n;
INSERT INTO ticket.seat (performance_id, seat_id, section_id, row_no, seat_no)
SELECT 1000000 + n, s, 1000000 + n, 1, s FROM generate_series(1, 8000) n, generate_series(1, 8) s;
-- The books refuse what was not paid for, so that is written without triggers.
SET LOCAL session_replication_role = replica;
INSERT INTO ticket.reservation (reservation_id, performance_id, user_id, seat_ids, prices, amount, status, created_at, expires_at, ended_at)
SELECT 1000000 + n, 1000001 + n * 7 % 8000, 'plan-u' || n % 2000, ARRAY[n % 8 + 1], '{10}', 10,
	CASE WHEN n % 10 = 0 THEN 'cancelled' ELSE 'paid' END, timestamptz '2099-01-01' + n * interval '1 minute',
	timestamptz '2099-01-01' + n * interval '1 minute', CASE WHEN n % 10 = 0 THEN timestamptz '2099-06-01' END
FROM generate_series(1, 32000) n;
INSERT INTO ticket.payment (payment_id, reservation_id, user_id, provider, status, amount, refunded, paid_at)
SELECT 1000000 + n, 1000000 + n, 'plan-u' || n % 2000, 'points', CASE WHEN n % 10 = 0 THEN 'refunded' ELSE 'captured' END, 10,
	CASE WHEN n % 10 = 0 THEN 10 ELSE 0 END, timestamptz '2099-01-01' + n * interval '1 minute'
FROM generate_series(1, 32000) n;
INSERT INTO ticket.seat_return (reservation_id, seat_id, status, price, refund, payment_id, returned_at, ledger_id)
SELECT 1000000 + n, n % 8 + 1, 'cancelled', 10, 10, 1000000 + n, timestamptz '2099-06-01', 1000000 + n FROM generate_series(10, 32000, 10) n;
INSERT INTO ticket.ledger (ledger_id, user_id, kind, debit, credit, amount, balance_before, balance_after, created_at)
SELECT 1000000 + n, 'plan-u' || n % 2000, 'charge', 'charge', 'user:plan-u' || n % 2000, 10, 0, 10, timestamptz '2099-01-01'
FROM generate_series(1, 32000) n;
SET LOCAL session_replication_role = origin;
ANALYZE ticket.concert, ticket.performance, ticket.section, ticket.seat, ticket.reservation, ticket.payment, ticket.ledger, ticket.seat_return;

-- What a call does to tables that grow: 'table seq_scan' for each that is read
-- from end to end, and how many rows were fetched in all.
CREATE FUNCTION pg_temp.reads(call text, OUT scanned text, OUT fetched bigint, OUT n bigint) LANGUAGE plpgsql AS $$
DECLARE
	before jsonb;
BEGIN
	SELECT jsonb_object_agg(relname, jsonb_build_array(seq_scan, coalesce(idx_tup_fetch, 0))) INTO before
	FROM pg_stat_xact_user_tables WHERE schemaname = 'ticket';
	EXECUTE 'SELECT count(*) FROM ' || call INTO n;
	SELECT string_agg(relname, ', ') FILTER (WHERE seq_scan > (before -> relname::text ->> 0)::bigint),
		sum(coalesce(idx_tup_fetch, 0) - (before -> relname::text ->> 1)::bigint)
	INTO scanned, fetched
	FROM pg_stat_xact_user_tables
	WHERE schemaname = 'ticket' AND relname IN ('concert', 'performance', 'section', 'seat', 'reservation', 'payment', 'ledger',
		'queue_entry', 'outbox', 'account', 'catalogue_past', 'seat_return', 'refund');
END $$;

CREATE TEMP TABLE list (n int GENERATED ALWAYS AS IDENTITY, call text, page bigint, reads bigint);
INSERT INTO list (call, page, reads) VALUES
	('ticket.concert_search($$%아이유%$$)', 0, 10),
	('ticket.concert_search($$아이유$$)', 50, 400),
	('ticket.concert_search($$artist 37$$)', 50, 1500),
	('ticket.concert_search(md5($$7$$))', 1, 500),
	('ticket.concerts_by_seller($$plan-s7$$, 10)', 10, 100),
	('ticket.concerts_by_seller($$plan-s7$$, 10, 1002007)', 10, 100),
	('ticket.concerts_by_id(ARRAY[1000001, 1003999])', 2, 10),
	('ticket.concerts_by_date($$2100-02-01$$)', 50, 200),
	('ticket.concerts_by_date($$2100-02-01$$, $$2100-03-01$$, 50, 1000800)', 50, 200),
	('ticket.performances(1000007)', 2, 40),
	('ticket.user_reservations($$plan-u7$$)', 16, 400),
	('ticket.user_reservation(1000007, $$plan-u7$$)', 1, 50),
	('ticket.point_history($$plan-u7$$, 10)', 10, 50),
	('ticket.operator_reservations()', 50, 1250),
	('ticket.operator_reservations(after => 1010000)', 50, 1250),
	('ticket.operator_reservations(status => $$cancelled$$)', 50, 1750),
	('ticket.operator_reservations(status => $$held$$, concert_id => 1000777)', 0, 50),
	('ticket.operator_reservations(performance_id => 1000777)', 4, 120),
	('ticket.operator_reservations(concert_id => 1000777)', 8, 220),
	('ticket.operator_reservations(user_id => $$plan-u7$$)', 16, 400),
	('ticket.operator_reservations(user_id => $$plan-u7$$, concert_id => 1000777)', 0, 100),
	('ticket.operator_reservations(since => $$2099-01-10$$, until => $$2099-01-10 00:30$$)', 30, 750),
	('ticket.operator_reservations(until => $$2099-01-10$$)', 50, 1250),
	('ticket.operator_reservations(status => $$paid$$, since => $$2099-01-10$$, until => $$2099-01-11$$)', 50, 1500),
	('ticket.operator_payments(until => $$2099-01-10$$)', 50, 600),
	('ticket.operator_payments()', 50, 600),
	('ticket.operator_payments(concert_id => 1000777)', 8, 120),
	('ticket.operator_payments(user_id => $$plan-u7$$)', 16, 250),
	('ticket.operator_payments(after => 1010000)', 50, 600),
	('ticket.operator_totals(concert_id => 1000777)', 1, 120),
	('ticket.operator_totals(since => $$2099-01-10$$, until => $$2099-01-10 00:30$$)', 2, 200),
	('ticket.seller_reservations($$plan-s7$$)', 50, 2000),
	('ticket.seller_reservations($$plan-s7$$, concert_id => 1000007)', 8, 220),
	('ticket.seller_payments($$plan-s7$$)', 50, 2000),
	('ticket.seller_concerts($$plan-s7$$, 10)', 10, 150);
CREATE TEMP TABLE measured AS SELECT l.*, r.scanned, r.fetched, r.n AS rows FROM list l, LATERAL pg_temp.reads(l.call) r;
SELECT is(rows, page, call || ': the page') FROM measured ORDER BY n;
SELECT is(scanned, NULL, call || ': no table is read from end to end') FROM measured ORDER BY n;
SELECT ok(fetched <= reads, call || ': reads what a page needs') || CASE WHEN fetched > reads THEN format(' (%s)', fetched) ELSE '' END FROM measured ORDER BY n;

-- ---------- pages while rows are added ----------

-- All pages of a list, each after a round of new rows; the ids in order.
CREATE FUNCTION pg_temp.pages(call text, id text, grow text) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
	page bigint[];
	ids bigint[] := '{}';
	last bigint;
BEGIN
	LOOP
		EXECUTE format('SELECT array_agg(%s) FROM %s', id, replace(call, 'AFTER', coalesce(last::text, 'NULL'))) INTO page;
		EXIT WHEN page IS NULL OR cardinality(ids) > 500;
		ids := ids || page;
		last := page[cardinality(page)];
		EXECUTE grow;
	END LOOP;
	RETURN ids;
END $$;
SET LOCAL session_replication_role = replica;
SELECT is((SELECT string_agg(id::text, ' ' ORDER BY n) FROM unnest(pg_temp.pages(call, key, grow)) WITH ORDINALITY AS p(id, n) WHERE id = ANY (there)),
	(SELECT string_agg(id::text, ' ' ORDER BY n) FROM unnest(there) WITH ORDINALITY AS t(id, n)), what || ': all that was there, once, in order')
FROM (VALUES
	('user_reservations', 'ticket.user_reservations($$plan-u7$$, 3, AFTER)', 'reservation_id',
		'INSERT INTO ticket.reservation (performance_id, user_id, seat_ids, prices, amount, status, created_at, expires_at)
		 SELECT 1000001, $$plan-u7$$, $${1}$$, $${10}$$, 10, $$paid$$, now(), now() FROM generate_series(1, 2)',
		ARRAY(SELECT reservation_id FROM ticket.reservation WHERE user_id = 'plan-u7' ORDER BY 1 DESC)),
	('operator_reservations of a concert', 'ticket.operator_reservations(concert_id => 1000777, max_count => 3, after => AFTER)', 'reservation_id',
		'INSERT INTO ticket.reservation (performance_id, user_id, seat_ids, prices, amount, status, created_at, expires_at)
		 SELECT 1001553, $$plan-new$$, $${1}$$, $${10}$$, 10, $$paid$$, now(), now() FROM generate_series(1, 2)',
		ARRAY(SELECT reservation_id FROM ticket.reservation WHERE performance_id IN (1001553, 1001554) ORDER BY 1 DESC)),
	('concerts_by_seller', 'ticket.concerts_by_seller($$plan-s8$$, 3, AFTER)', 'concert_id',
		'INSERT INTO ticket.concert (name, owner) VALUES ($$plan new$$, $$plan-s8$$)',
		ARRAY(SELECT concert_id FROM ticket.concert WHERE owner = 'plan-s8' ORDER BY 1 DESC)),
	('concert_search', 'ticket.concert_search($$아이유$$, 7, AFTER)', 'concert_id',
		'INSERT INTO ticket.concert (name, artist) VALUES ($$plan new$$, $$아이유$$)',
		ARRAY(SELECT concert_id FROM ticket.concert WHERE artist LIKE '아이유%' ORDER BY 1 DESC)),
	('concerts_by_date', 'ticket.concerts_by_date($$2100-02-01$$, $$2100-02-03$$, 5, AFTER)', 'performance_id',
		'INSERT INTO ticket.performance (concert_id, venue_id, starts_at, hold_interval, max_seats_per_user)
		 SELECT 1000001, 1000000, timestamptz $$2100-02-01$$ + n * interval $$7 hours$$, $$5 minutes$$, 4 FROM generate_series(0, 6) n',
		ARRAY(SELECT performance_id FROM ticket.performance WHERE starts_at >= '2100-02-01' AND starts_at < '2100-02-03' ORDER BY starts_at, performance_id)),
	('point_history', 'ticket.point_history($$plan-u9$$, 3, AFTER)', 'ledger_id',
		'INSERT INTO ticket.ledger (ledger_id, user_id, kind, debit, credit, amount, balance_before, balance_after, created_at)
		 SELECT 2000000 + max(ledger_id), $$plan-u9$$, $$charge$$, $$charge$$, $$user:plan-u9$$, 10, 0, 10, now() FROM ticket.ledger',
		ARRAY(SELECT ledger_id FROM ticket.ledger WHERE user_id = 'plan-u9' ORDER BY 1 DESC))) AS v(what, call, key, grow, there);
SELECT * FROM finish();
ROLLBACK;
