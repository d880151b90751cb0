-- People: the blocklist, and taking leave.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin

-- What is left of a user: rows that have the id, by table and column.
CREATE FUNCTION pg_temp.traces(id text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	item record;
	n bigint;
	found text[] := '{}';
BEGIN
	FOR item IN
		SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		WHERE c.relnamespace = 'ticket'::regnamespace AND c.relkind IN ('r', 'p') AND a.atttypid IN ('text'::regtype, 'jsonb'::regtype)
		ORDER BY c.relname, a.attnum
	LOOP
		EXECUTE format('SELECT count(*) FROM ticket.%I WHERE strpos(%I::text, $1) > 0', item.relname, item.attname) INTO n USING id;
		IF n > 0 THEN
			found := found || format('%s.%s %s', item.relname, item.attname, n);
		END IF;
	END LOOP;
	RETURN array_to_string(found, ', ');
END $$;

-- How a call fails: SQLSTATE and DETAIL.
CREATE FUNCTION pg_temp.failure(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	EXECUTE call;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN SQLSTATE || ' ' || detail;
END $$;

-- ---------- blocklist ----------

SELECT ticket.queue_create('people', capacity => 3) AS q, pg_temp.sale(price => 10) AS p, ticket.point_charge('people-b', 100) AS balance \gset
SELECT pg_temp.sale(price => 10, queue_id => :q) AS queued \gset
SELECT reservation_id AS r FROM ticket.seat_hold(:p, '{1}', 'people-b') \gset
CREATE TEMP TABLE call (n int GENERATED ALWAYS AS IDENTITY, call text);
INSERT INTO call (call) VALUES
	(format('SELECT ticket.ticket_enqueue(%s, $$people-b$$)', :q)),
	(format('SELECT ticket.seat_hold(%s, $${2}$$, $$people-b$$)', :p)),
	(format('SELECT ticket.pay_reservation(%s, $$people-b$$)', :r));
CREATE FUNCTION pg_temp.outcomes() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	item record;
	code text;
	codes text;
BEGIN
	FOR item IN SELECT c.call FROM pg_temp.call c ORDER BY c.n LOOP
		code := 'no error';
		BEGIN
			EXECUTE item.call;
			RAISE division_by_zero;
		EXCEPTION WHEN division_by_zero THEN
			NULL;
		WHEN OTHERS THEN
			code := SQLSTATE;
		END;
		codes := concat_ws(', ', codes, code);
	END LOOP;
	RETURN codes;
END $$;
SELECT is(pg_temp.outcomes(), 'no error, no error, no error', 'enqueue, hold and pay before');
SELECT ok(ticket.user_block('people-b', 'resale', '2100-01-01'), 'user_block: new on the list');
SELECT is(pg_temp.outcomes(), 'TK018, TK018, TK018', 'enqueue, hold and pay are refused');
SELECT pg_temp.refused(call, 'TK018', regexp_replace(call, '\d+', 'n')) FROM call ORDER BY n;
SELECT is(pg_temp.failure(format('SELECT ticket.ticket_enqueue(%s, $$people-b$$)', :q)),
	'TK018 The block ends at 2100-01-01 00:00:00+00.', 'and told until when, not why');
SELECT is(ticket.user_block('people-b', 'resale again'), false, 'user_block: changed');
SELECT is(pg_temp.failure(format('SELECT ticket.seat_hold(%s, $${2}$$, $$people-b$$)', :p)),
	'TK018 The block has no end.', 'a block for good');
SELECT is((SELECT format('%s %s', reason, until) FROM ticket.user_block WHERE user_id = 'people-b'), 'resale again ', 'the list has reason and end');
SELECT is((SELECT status FROM ticket.seat_hold(:p, '{5}', 'people-bb')), 'held', 'a user of a longer name is not concerned');
SELECT is(ticket.point_balance('people-b'), 100::bigint, 'a blocked user still has his points');
SELECT pg_temp.refused('SELECT ticket.user_withdraw($$people-b$$)', 'TK018', 'a block is not escaped by withdrawing');
BEGIN;
SELECT ticket.user_unblock('people-b') AS done \gset
SELECT is(pg_temp.outcomes(), 'no error, no error, no error', 'unblocked within a transaction');
ROLLBACK;
SELECT is(pg_temp.outcomes(), 'TK018, TK018, TK018', 'which did not commit');
BEGIN;
SAVEPOINT s;
UPDATE ticket.user_block SET until = '2001-01-01' WHERE user_id = 'people-b';
SELECT is(pg_temp.outcomes(), 'no error, no error, no error', 'a block that is over');
ROLLBACK TO s;
SELECT is(pg_temp.outcomes(), 'TK018, TK018, TK018', 'nor a savepoint');
COMMIT;
SELECT ok(ticket.user_unblock('people-b'), 'user_unblock: was on the list');
SELECT ok(NOT ticket.user_unblock('people-b'), 'user_unblock: was not');
SELECT is(pg_temp.outcomes(), 'no error, no error, no error', 'enqueue, hold and pay afterwards');

-- The end of a block comes by itself
SELECT ticket.user_block('people-b', 'a while', now() + '1 hour') AS fresh \gset
SELECT is(pg_temp.outcomes(), 'TK018, TK018, TK018', 'blocked for an hour');
SET ticket.clock_offset = '3h';
SELECT is((SELECT status FROM ticket.ticket_enqueue(:q, 'people-b')), 'active', 'after it one may enter');
RESET ticket.clock_offset;
DELETE FROM ticket.queue_entry WHERE user_id = 'people-b';

-- A list too long to keep
INSERT INTO ticket.user_block (user_id, reason) SELECT 'people-many-' || n, 'many' FROM generate_series(1, 1500) n;
SELECT is(pg_temp.outcomes(), 'TK018, TK018, TK018', 'a long list: blocked');
SELECT is((SELECT string_agg(pg_temp.refusal(format('SELECT ticket.seat_hold(%s, $${2}$$, $$people-many-%s$$)', :p, n)), ', ' ORDER BY n)
	FROM unnest('{1,1000,1001,1500}'::int[]) n), 'TK018, TK018, TK018, TK018', 'a long list: each of them');
SELECT is((SELECT count(*) FROM ticket.seat_hold(:p, '{6}', 'people-many-0')), 1::bigint, 'a long list: not blocked');
SELECT ticket.user_unblock('people-b') AS done \gset
SELECT is(pg_temp.outcomes(), 'no error, no error, no error', 'a long list: unblocked');
DELETE FROM ticket.user_block WHERE user_id LIKE 'people-many-%';
SELECT is((SELECT count(*) FROM ticket.seat_hold(:p, '{7}', 'people-many-1500')), 1::bigint, 'a short one again');
INSERT INTO ticket.user_block (user_id, reason) SELECT 'people-many-' || n, 'many' FROM generate_series(1, 1000) n;
SELECT is((SELECT string_agg(pg_temp.refusal(format('SELECT ticket.seat_hold(%s, $${2}$$, $$people-many-%s$$)', :p, n)), ', ' ORDER BY n)
	FROM unnest('{1,500,999,1000}'::int[]) n), 'TK018, TK018, TK018, TK018', 'as long as is kept: each of them');
TRUNCATE ticket.user_block;
SELECT is((SELECT count(*) FROM ticket.seat_hold(:p, '{8}', 'people-many-1')), 1::bigint, 'an empty one');

-- Bad input
SELECT pg_temp.refused(call, '22023') FROM unnest(ARRAY[
	'SELECT ticket.user_block(NULL, $$r$$)', 'SELECT ticket.user_block($$$$, $$r$$)',
	'SELECT ticket.user_block(repeat($$x$$, 256), $$r$$)', 'SELECT ticket.user_block($$u$$, NULL)',
	'SELECT ticket.user_block($$u$$, $$$$)', 'SELECT ticket.user_block($$u$$, repeat($$x$$, 1001))',
	'SELECT ticket.user_block($$u$$, $$r$$, $$infinity$$)', 'SELECT ticket.user_block($$u$$, $$r$$, $$-infinity$$)',
	'SELECT ticket.user_block($$u$$, $$r$$, $$2001-01-01$$)', 'SELECT ticket.user_unblock(NULL)',
	'SELECT ticket.user_unblock($$$$)', 'SELECT ticket.user_withdraw(NULL)', 'SELECT ticket.user_withdraw($$$$)',
	'SELECT ticket.user_withdraw(repeat($$x$$, 256))', 'SELECT ticket.check_user(NULL)', 'SELECT ticket.check_user($$$$)']) AS call;
SELECT is(ticket.check_user('people-b'), 'people-b', 'check_user without a claim');

-- ---------- taking leave ----------

-- w waits in one queue and is active in another, has paid, cancelled, released and holds twice
SELECT ticket.queue_create('people-full', capacity => 0) AS full \gset
SELECT pg_temp.sale(price => 10, max_seats => 9) AS p2, ticket.point_charge('people-w', 100, 'people-w-key') AS balance,
	ticket.point_charge('people-x', 100) AS other \gset
SELECT token AS waiting FROM ticket.ticket_enqueue(:full, 'people-w') \gset
SELECT token AS left FROM ticket.ticket_enqueue(:q, 'people-w') \gset
SELECT ticket.ticket_leave(:'left') AS done \gset
SELECT token AS active FROM ticket.ticket_enqueue(:q, 'people-w') \gset
SELECT reservation_id AS paid FROM ticket.seat_hold(:p2, '{1,2}', 'people-w', NULL, 'people-w-1') \gset
SELECT payment_id AS payment FROM ticket.pay_reservation(:paid, 'people-w', 'people-w-2') \gset
SELECT reservation_id AS cancelled FROM ticket.seat_hold(:p2, '{3}', 'people-w') \gset
SELECT count(ticket.pay_reservation(:cancelled, 'people-w')) AS n, count(ticket.reservation_cancel(:cancelled, 'people-w')) AS m \gset
SELECT reservation_id AS held FROM ticket.seat_hold(:p2, '{4,5}', 'people-w') \gset
SELECT reservation_id AS held2 FROM ticket.seat_hold(:queued, '{1}', 'people-w', :'active') \gset
SELECT reservation_id AS x FROM ticket.seat_hold(:p2, '{6}', 'people-x') \gset
INSERT INTO ticket.user_block (user_id, reason, until) VALUES ('people-w', 'over', '2001-01-01');
SELECT ok(pg_temp.traces('people-w') <> '', 'the id is all over the place');
CREATE TEMP TABLE books AS
SELECT ledger_id, kind, amount, balance_before, balance_after, payment_id, created_at FROM ticket.ledger WHERE user_id = 'people-w';
SELECT is((SELECT string_agg(format('%s %s %s', user_id = 'people-w', count, points), ' ' ORDER BY user_id)
	FROM (SELECT user_id, count(*), sum(amount) AS points FROM ticket.ledger WHERE user_id IN ('people-w', 'people-x') GROUP BY user_id) u),
	't 4 140 f 1 100', 'before: the books');

INSERT INTO ticket.outbox (aggregatetype, aggregateid, type, payload)
VALUES ('queue', '1', 'queue.promoted', '{"v": 1, "queue_id": 1, "places": [1, 2, 3], "user_ids": ["people-v", "people-w", "people-x"],
	"admitted_at": "2100-01-01T00:00:00+00:00", "expires_at": "2100-01-01T00:00:00+00:00"}');
SELECT results_eq('SELECT * FROM ticket.user_withdraw($$people-w$$)', $$VALUES (2, 2, 80::bigint, 'payout')$$, 'user_withdraw');
SELECT is((SELECT regexp_replace(payload ->> 'user_ids', 'withdrawn-\w+', 'gone') FROM ticket.outbox WHERE payload -> 'user_ids' ? 'people-v'),
	'["people-v", "gone", "people-x"]', 'in the middle of an event, too');
SELECT is(pg_temp.traces('people-w'), 'outbox.aggregateid 1, outbox.payload 1', 'the id is nowhere but in one event');
SELECT is((SELECT payload::text FROM ticket.outbox WHERE aggregateid = 'people-w'),
	'{"v": 1, "points": 80, "user_id": "people-w", "settlement": "payout"}', 'the last one');
SELECT is((SELECT type || ' ' || aggregatetype FROM ticket.outbox ORDER BY id DESC LIMIT 1), 'user.withdrawn user', 'user.withdrawn');
SELECT is((SELECT string_agg(status, ' ' ORDER BY reservation_id) FROM ticket.reservation
	WHERE reservation_id IN (:paid, :cancelled, :held, :held2)), 'paid cancelled released released', 'holds are released, what is paid stays');
SELECT is(pg_temp.seats(:p2, 1, 2, 3, 4, 5, 6), 'sold sold free free free held', 'and so do the seats');
SELECT user_id AS pseudonym FROM ticket.reservation WHERE reservation_id = :paid \gset
SELECT ok(:'pseudonym' ~ '^withdrawn-[0-9a-f]{32}$', 'a pseudonym');
SELECT is((SELECT array_agg(DISTINCT user_id) FROM (
	SELECT user_id FROM ticket.reservation WHERE reservation_id IN (:paid, :cancelled, :held, :held2)
	UNION ALL SELECT user_id FROM ticket.payment WHERE payment_id = :payment
	UNION ALL SELECT user_id FROM ticket.ledger JOIN books USING (ledger_id)
	UNION ALL SELECT user_id FROM ticket.account WHERE user_id = :'pseudonym'
	UNION ALL SELECT user_id FROM ticket.queue_entry WHERE queue_id = :full) u), ARRAY[:'pseudonym'], 'the same everywhere');
SELECT results_eq('SELECT l.ledger_id, l.kind, l.amount, l.balance_before, l.balance_after, l.payment_id, l.created_at FROM ticket.ledger l JOIN books USING (ledger_id) ORDER BY 1',
	'SELECT * FROM books ORDER BY 1', 'what the ledger said it still says');
SELECT is((SELECT string_agg(format('%s %s %s', kind, amount, balance_after), ', ' ORDER BY ledger_id) FROM ticket.ledger WHERE user_id = :'pseudonym'),
	'charge 100 100, payment 20 80, payment 10 70, refund 10 80, payout 80 0', 'the books end at nothing');
SELECT is((SELECT count(*) FROM ticket.outbox WHERE payload ->> 'user_id' = :'pseudonym' AND type = 'reservation.paid'), 2::bigint,
	'events not yet fetched have it as well');
SELECT is((SELECT string_agg(type, ' ' ORDER BY id) FROM ticket.outbox WHERE payload ->> 'reservation_id' = :'paid'),
	'reservation.held reservation.paid', 'in their order');
SELECT is((SELECT string_agg(status, ' ') FROM (VALUES (:'waiting'::uuid), (:'active'), (:'left')) v(token), ticket.ticket_status(v.token)), 'left left left',
	'the tickets are left');
SELECT is(pg_temp.memory(:full), '0 waiting, 0 active, 0 admitted', 'in shared memory, too');
SELECT is(ticket.point_balance('people-x'), 100::bigint, 'others keep what they have');
SELECT is((SELECT user_id FROM ticket.reservation WHERE reservation_id = :x), 'people-x', 'and who they are');

-- Again: nothing
SELECT pg_temp.state() AS before \gset
SELECT results_eq('SELECT * FROM ticket.user_withdraw($$people-w$$)', $$VALUES (0, 0, 0::bigint, 'payout')$$, 'withdrawn again');
SELECT is(pg_temp.state(), :'before', 'changes nothing');
SELECT results_eq('SELECT * FROM ticket.user_withdraw($$people-nobody$$)', $$VALUES (0, 0, 0::bigint, 'payout')$$, 'nor does one who never was');
SELECT is(pg_temp.state(), :'before', 'nothing either');

-- Anew
SELECT is(ticket.point_balance('people-w'), 0::bigint, 'who comes back has nothing');
SELECT pg_temp.refused(format('SELECT ticket.pay_reservation(%s, $$people-w$$)', :paid), 'TK005', 'not the reservations');
SELECT is((SELECT status FROM ticket.ticket_enqueue(:full, 'people-w')), 'waiting', 'and may enter');
SELECT is(ticket.point_charge('people-w', 5, 'people-w-key'), 5::bigint, 'charge, with the same key');
SELECT reservation_id AS r FROM ticket.seat_hold(:p2, '{4}', 'people-w', NULL, 'people-w-1') \gset
SELECT ok(:r > :paid, 'hold, with the same key');

-- A refund to one who has left goes to the pseudonym's account
SELECT is((SELECT refunded FROM ticket.reservation_cancel(:paid, :'pseudonym')), 20::bigint, 'what is cancelled later is refunded');
SELECT is((SELECT balance FROM ticket.account WHERE user_id = :'pseudonym'), 20::bigint, 'to an account that nobody has');

-- A seller: what is his stays, withdrawn or not
SELECT ticket.concert_create('c', owner => 'people-s') AS c, ticket.venue_create('v', owner => 'people-s') AS v \gset
SELECT ticket.performance_create(:c, :v, '2100-01-01') AS p3 \gset
SELECT ticket.section_create(:p3, 's', 1, 1, 1) AS s \gset
SELECT ticket.section_withdraw(:s, 'people-s') AS s1, ticket.performance_withdraw(:p3, 'people-s') AS s2,
	ticket.concert_withdraw(:c, 'people-s') AS s3, ticket.venue_withdraw(:v, 'people-s') AS s4 \gset
SELECT results_eq('SELECT * FROM ticket.user_withdraw($$people-s$$)', $$VALUES (0, 0, 0::bigint, 'payout')$$, 'a seller withdraws');
SELECT is(pg_temp.traces('people-s'), 'outbox.aggregateid 1, outbox.payload 1', 'and is in the catalogue no more');
SELECT is((SELECT count(DISTINCT w) FROM (SELECT owner FROM ticket.concert WHERE concert_id = :c
	UNION ALL SELECT withdrawn_by FROM ticket.concert WHERE concert_id = :c
	UNION ALL SELECT owner FROM ticket.venue WHERE venue_id = :v UNION ALL SELECT withdrawn_by FROM ticket.venue WHERE venue_id = :v
	UNION ALL SELECT withdrawn_by FROM ticket.performance WHERE concert_id = :c
	UNION ALL SELECT withdrawn_by FROM ticket.section WHERE section_id = :s) x(w)), 1::bigint, 'but for the pseudonym');

-- Forfeited
SET ticket.withdraw_points = 'forfeit';
SELECT results_eq('SELECT * FROM ticket.user_withdraw($$people-w$$)', $$VALUES (1, 1, 5::bigint, 'forfeit')$$, 'points forfeited');
RESET ticket.withdraw_points;
SELECT is((SELECT string_agg(kind, ' ' ORDER BY ledger_id) FROM (SELECT * FROM ticket.ledger ORDER BY ledger_id DESC LIMIT 2) l), 'refund forfeit', 'say the books');
SELECT pg_temp.refused('SET ticket.withdraw_points = keep', '22023', 'no third way');

-- Undone
SELECT ticket.point_charge('people-y', 5) AS balance, pg_temp.state() AS before \gset
BEGIN;
SELECT count(ticket.user_withdraw('people-y')) AS n, count(ticket.user_withdraw('people-x')) AS m \gset
ROLLBACK;
SELECT is(pg_temp.state(), :'before', 'rolled back, all is as it was');
SELECT pg_temp.refused('UPDATE ticket.ledger SET user_id = $$people-z$$', 'TK009', 'the ledger lets nobody else rename');
-- An error in the middle leaves the ledger guarded
CREATE FUNCTION pg_temp.fail() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE division_by_zero; END';
CREATE TRIGGER fail BEFORE UPDATE ON ticket.account FOR EACH ROW EXECUTE FUNCTION pg_temp.fail();
SELECT pg_temp.refused('SELECT ticket.user_withdraw($$people-y$$)', '22012', 'an error in the middle');
DROP TRIGGER fail ON ticket.account;
CREATE TRIGGER fail AFTER UPDATE ON ticket.ledger FOR EACH ROW EXECUTE FUNCTION pg_temp.fail();
SELECT pg_temp.refused('SELECT ticket.user_withdraw($$people-y$$)', '22012', 'or late');
DROP TRIGGER fail ON ticket.ledger;
SELECT pg_temp.refused('UPDATE ticket.ledger SET user_id = $$people-z$$', 'TK009', 'leaves the ledger guarded');

SELECT is((SELECT string_agg(invariant, ', ') FROM ticket.verify() WHERE NOT ok), NULL, 'every invariant holds');
-- ---------- every way to hold and to pay ----------

SELECT pg_temp.sale(price => 10) AS p \gset
SELECT reservation_id AS r FROM ticket.seat_hold(:p, '{1}', 'people-p') \gset
SELECT ticket.user_block('people-p', 'resale') AS blocked \gset
SELECT pg_temp.refused(format('SELECT ticket.payment_begin(%s, $$people-p$$, $$card$$)', :r), 'TK018', 'no payment begins at a provider');
SELECT pg_temp.refused(format('SELECT ticket.seat_hold_best(%s, 1, $$people-p$$)', :p), 'TK018', 'nor are the best seats held');
SELECT ok(ticket.seat_release(:r, 'people-p'), 'what is held may be given back');
SELECT ticket.user_unblock('people-p') AS done, ticket.point_charge('people-p', 100) AS balance \gset
SELECT reservation_id AS r FROM ticket.seat_hold(:p, '{2}', 'people-p') \gset
SELECT reservation_id AS r2 FROM ticket.seat_hold(:p, '{3}', 'people-p') \gset
SELECT pay::text AS pay FROM ticket.pay_reservation(:r, 'people-p', 'key') AS pay \gset
SELECT reservation_id AS r3 FROM ticket.seat_hold(:p, '{4}', 'people-p') \gset
SELECT payment_id AS begun FROM ticket.payment_begin(:r3, 'people-p', 'card') \gset
SELECT ticket.user_block('people-p', 'resale') AS blocked \gset
SELECT is((SELECT pay::text FROM ticket.pay_reservation(:r, 'people-p') AS pay), :'pay', 'who paid before he was blocked gets his payment');
SELECT is((SELECT pay::text FROM ticket.pay_reservation(:r, 'people-p', 'key') AS pay), :'pay', 'with the key, too');
SELECT is((SELECT payment_id FROM ticket.payment_begin(:r3, 'people-p', 'card')), :begun::bigint, 'as who has begun to pay gets that');
SELECT pg_temp.refused(format('SELECT ticket.payment_begin(%s, $$people-p$$, $$card$$)', :r2), 'TK018', 'and begins no other');
SELECT pg_temp.refused(format('SELECT ticket.pay_reservation(%s, $$people-p$$)', :r2), 'TK018', 'and pays no more');
SELECT is((SELECT status FROM ticket.reservation WHERE reservation_id = :r2), 'held', 'what he holds he holds');
SELECT is((SELECT status FROM ticket.reservation_cancel(:r, 'people-p')), 'cancelled', 'what he has he may give back');

-- ---------- names that stand for users who have withdrawn ----------

SELECT pg_temp.refused(format(call, name), '22023', regexp_replace(call, '\d+', 'n') || ' ' || name) FROM (VALUES
	(format('SELECT ticket.ticket_enqueue(%s, %%L)', :q)), (format('SELECT ticket.seat_hold(%s, $${9}$$, %%L)', :p)),
	(format('SELECT ticket.seat_hold_best(%s, 1, %%L)', :p)), ('SELECT ticket.point_charge(%L, 1)'), ('SELECT ticket.user_withdraw(%L)')) AS c(call),
	unnest(ARRAY['withdrawn-', 'withdrawn-' || repeat('0', 32), 'withdrawn-bob']) AS n(name);
SELECT is(ticket.point_charge(name, 1), 1::bigint, 'no such name: ' || name) FROM unnest('{withdrawn,withdrawn_bob,Withdrawn-bob,bob-withdrawn-}'::text[]) AS name;
-- An operator gives back what one who has withdrawn had bought
SELECT ticket.point_charge('people-gone', 10) AS balance \gset
SELECT reservation_id AS r FROM ticket.seat_hold(:p, '{10}', 'people-gone') \gset
SELECT count(ticket.pay_reservation(:r, 'people-gone')) AS n, count(ticket.user_withdraw('people-gone')) AS m \gset
SELECT user_id AS pseudonym FROM ticket.reservation WHERE reservation_id = :r \gset
SELECT is((SELECT format('%s %s', status, refunded) FROM ticket.reservation_cancel(:r, :'pseudonym')), 'cancelled 10', 'under its name it can be given back');
SELECT is((SELECT string_agg(invariant, ', ') FROM ticket.verify() WHERE NOT ok), NULL, 'every invariant holds');

-- ---------- whose id is something else's number or name, too ----------

SELECT pg_temp.sale(price => 10) AS p \gset
SELECT reservation_id AS other FROM ticket.seat_hold(:p, '{1}', 'people-other') \gset
SELECT payment_id AS m FROM ticket.payment_begin(:other, 'people-other', 'card') \gset
CREATE FUNCTION pg_temp.events_of(id text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(o::text, chr(10) ORDER BY o.id) FROM ticket.outbox o WHERE o.payload ->> 'user_id' = $1 $$;
SELECT pg_temp.events_of('people-other') AS before \gset
SELECT count(ticket.point_charge(id, 30)) AS n FROM unnest(ARRAY[:'other', 'card', 'provider', 'performance_id']) AS id \gset
SELECT r.reservation_id AS mine FROM ticket.seat_hold(:p, '{2}', 'card') r \gset
SELECT count(ticket.payment_confirm((ticket.payment_begin(:mine, 'card', 'card')).payment_id, 'people-card')) AS n \gset
SELECT count(ticket.user_withdraw(:'other')) AS n \gset
SELECT is(pg_temp.events_of('people-other'), :'before', 'a user called as a reservation leaves: the reservation''s events stay as they are');
SELECT is((SELECT string_agg(DISTINCT type, ' ') FROM ticket.outbox WHERE aggregatetype IN ('points', 'user') AND aggregateid = :'other'),
	'user.withdrawn', 'and his are renamed');
SELECT count(ticket.user_withdraw('card')) AS n \gset
SELECT is((SELECT string_agg(format('%s %s %s', type, payload ->> 'provider', payload ->> 'user_id' LIKE 'withdrawn-%'), ', ' ORDER BY id)
	FROM ticket.outbox WHERE payload ->> 'reservation_id' = :'mine' AND aggregatetype = 'payment'),
	'payment.begun card t, payment.captured card t', 'one called as a provider, too: the provider stays in the payload');
SELECT is(pg_temp.events_of('card') ~ 'user.withdrawn', true, 'his id is in the event that he left');
SELECT is((SELECT count(*) FROM ticket.outbox WHERE payload ->> 'user_id' = 'card'), 1::bigint, 'and in no other');
SELECT is(pg_temp.events_of('people-other'), :'before', 'who pays there, too, is not concerned');
SELECT ticket.concert_create('c', owner => 'people-o') AS c, ticket.venue_create('v') AS v \gset
SELECT ticket.performance_create(:c, :v, '2100-01-01') AS p3, ticket.performance_create(:c, :v, '2100-01-02') AS p4 \gset
CALL ticket.performance_cancel(:p3, 'people-a', 'people-a');
SELECT ticket.performance_withdraw(:p4, 'people-a') AS done \gset
SELECT results_eq('SELECT * FROM ticket.user_withdraw($$people-a$$)', $$VALUES (0, 0, 0::bigint, 'payout')$$, 'who has cancelled and withdrawn performances');
SELECT is((SELECT string_agg(format('%s %s %s', type, payload ->> 'cancelled_by' LIKE 'withdrawn-%', payload ->> 'withdrawn_by' LIKE 'withdrawn-%'), ', ' ORDER BY id)
	FROM ticket.outbox WHERE aggregatetype = 'performance' AND aggregateid IN (:'p3', :'p4')),
	'performance.cancelled t , performance.withdrawn  t', 'is not known as the one who did it');
SELECT is((SELECT format('%s %s', requested_by LIKE 'withdrawn-%', reason) FROM ticket.performance_cancellation WHERE performance_id = :p3),
	't people-a', 'nor in the table; what was written as a reason is a reason');

-- ---------- what leaving reads ----------

INSERT INTO ticket.outbox (id, aggregatetype, aggregateid, type, payload)
SELECT ('017f22e2-' || lpad(to_hex(n), 4, '0') || '-7cc3-98c4-dc0c0c07398f')::uuid, 'points', 'people-many', 'points.charged',
	'{"v": 1, "amount": 1, "balance": 1, "user_id": "people-many"}' FROM generate_series(1, 3000) AS n;
SELECT ticket.queue_create('people-many', capacity => 0) AS many \gset
SELECT count(ticket.ticket_enqueue(:many, 'people-many-' || n)) AS n FROM generate_series(1, 2000) AS n \gset
SELECT ticket.queue_clear(:many) AS n \gset
SELECT count(ticket.concert_create('people-many')) AS n FROM generate_series(1, 1500) \gset
ANALYZE ticket.outbox, ticket.queue_entry, ticket.concert, ticket.performance, ticket.section;
-- Rows that a statement has read of tables that grow
CREATE FUNCTION pg_temp.rows_read(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	before jsonb;
	after jsonb;
	rows_read CONSTANT text := 'SELECT jsonb_object_agg(relname, seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_xact_all_tables
		WHERE schemaname = ''ticket'' AND relname IN (''outbox'', ''queue_entry'', ''concert'', ''performance'', ''section'', ''venue'', ''reservation'', ''ledger'')';
BEGIN
	EXECUTE rows_read INTO before;
	EXECUTE call;
	EXECUTE rows_read INTO after;
	RETURN coalesce((SELECT string_agg(format('%s %s', a.key, a.value::bigint - (before ->> a.key)::bigint), ', ' ORDER BY a.key)
		FROM jsonb_each_text(after) a WHERE a.value::bigint - (before ->> a.key)::bigint > 1000), 'few');
END $$;
SELECT token AS t FROM ticket.ticket_enqueue(:many, 'people-r') \gset
SELECT ticket.ticket_leave(:'t') AS done, ticket.point_charge('people-r', 5) AS balance \gset
SELECT reservation_id AS r FROM ticket.seat_hold(:p, '{5}', 'people-r') \gset
SELECT is(pg_temp.rows_read('SELECT ticket.user_withdraw($$people-r$$)'), 'few', 'leaving reads few rows of other people''s');
SELECT is(pg_temp.traces('people-r'), 'outbox.aggregateid 1, outbox.payload 1', 'and leaves nothing behind');
SELECT is(pg_temp.rows_read('SELECT ticket.user_withdraw($$people-r$$)'), 'few', 'leaving again does, too');
SELECT is(pg_temp.rows_read('SELECT ticket.user_withdraw($$people-nobody$$)'), 'few', 'and leaving without having come');
-- A clock that has been moved
SET ticket.clock_offset = '6min';
SELECT ticket.point_charge('people-ahead', 5) AS balance \gset
SELECT count(ticket.user_withdraw('people-ahead')) AS n \gset
SELECT is(pg_temp.traces('people-ahead'), 'outbox.aggregateid 1, outbox.payload 1', 'a clock ahead');
SELECT ticket.point_charge('people-right', 5) AS balance \gset
SET ticket.clock_offset = '-1d';
SELECT ticket.point_charge('people-behind', 5) AS balance \gset
RESET ticket.clock_offset;
SELECT count(ticket.user_withdraw('people-right')) AS n, count(ticket.user_withdraw('people-behind')) AS m \gset
SELECT is(pg_temp.traces('people-right'), 'outbox.aggregateid 1, outbox.payload 1', '... and put right meanwhile');
SELECT is(pg_temp.traces('people-behind'), 'outbox.aggregateid 1, outbox.payload 1', 'a clock behind');

-- verify() sees what is not right
CREATE FUNCTION pg_temp.broken(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	found text;
BEGIN
	BEGIN
		EXECUTE statement;
		SELECT string_agg(invariant, ', ') FROM ticket.verify('0') WHERE NOT ok INTO found;
		RAISE division_by_zero;
	EXCEPTION WHEN division_by_zero THEN
		RETURN found;
	END;
END $$;
SELECT is(pg_temp.broken('SELECT 1'), NULL, 'every invariant holds');
SELECT is(pg_temp.broken('UPDATE ticket.outbox SET aggregateid = $$withdrawn-x$$ WHERE id = (SELECT min(id::text)::uuid FROM ticket.outbox)'),
	'events are as documented', 'an event of another aggregate than its payload''s');
SELECT is(pg_temp.broken($$INSERT INTO ticket.outbox VALUES ('017f22e2-79b0-7cc3-98c4-dc0c0c07398f', 'points', 'people-right', 'points.charged',
	'{"v": 1, "amount": 1, "balance": 1, "user_id": "people-right"}')$$), 'nothing is left of users who withdrew', 'an event with the id of one who has left');
DELETE FROM ticket.outbox WHERE aggregateid = 'people-many';

SELECT * FROM finish();
