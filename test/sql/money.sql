-- Points, payments, cancellations.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin
SET search_path = ticket, public;

-- The ledger of a user: kind, amount, balance after.
CREATE FUNCTION pg_temp.ledger(user_id text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(format('%s %s %s', l.kind, CASE l.debit WHEN 'user:' || l.user_id THEN -l.amount ELSE l.amount END,
		l.balance_after), ', ' ORDER BY l.ledger_id)
	FROM ticket.ledger l WHERE l.user_id = $1 $$;

-- ---------- charge ----------

SELECT is(point_balance('money-a'), 0::bigint, 'who never had any has 0');
SELECT is(point_charge('money-a', 100), 100::bigint, 'charge: the balance after');
SELECT is(point_charge('money-a', 50), 150::bigint, 'charge: added');
SELECT is(point_balance('money-a'), 150::bigint, 'the balance');
SELECT is(pg_temp.ledger('money-a'), 'charge 100 100, charge 50 150', 'charge: in the ledger');
SELECT is(point_charge('money-a', 7, 'key'), 157::bigint, 'charge with a key');
SELECT is(point_charge('money-a', 3), 160::bigint, 'another without');
SELECT is(point_charge('money-a', 7, 'key'), 157::bigint, 'the same again has the answer of the first');
SELECT is(point_balance('money-a'), 160::bigint, 'and adds nothing');
SELECT pg_temp.refused($$SELECT ticket.point_charge('money-a', 8, 'key')$$, 'TK011', 'the key with another amount');
SELECT is(point_charge('money-b', 8, 'key'), 8::bigint, 'another user''s key is another key');
SELECT is(point_charge('money-full', 1000000000000000), 1000000000000000::bigint, 'a balance goes up to 10^15');
SELECT pg_temp.refused($$SELECT ticket.point_charge('money-full', 1)$$, 'TK008', 'not above');
SELECT pg_temp.refused($$SELECT ticket.point_charge('money-full', 1, 'key')$$, 'TK008', 'not with a key either');
SELECT pg_temp.refused($$SELECT ticket.point_charge('money-new', 1000000000000001)$$, 'TK008', 'not at once');
SET ticket.max_charge = 10;
SET ticket.max_balance = 15;
SELECT pg_temp.refused($$SELECT ticket.point_charge('money-limit', 11)$$, 'TK008', 'not above the limit of a charge');
SELECT is(point_charge('money-limit', 10), 10::bigint, 'up to it');
SELECT pg_temp.refused($$SELECT ticket.point_charge('money-limit', 6)$$, 'TK008', 'not above the limit of a balance');
SELECT pg_temp.refused($$SELECT ticket.point_charge('money-limit', 6, 'key')$$, 'TK008', 'not with a key either');
SELECT is(point_charge('money-limit', 5, 'key'), 15::bigint, 'up to it');
SELECT pg_temp.refused($$SELECT ticket.point_charge('money-limit', 1)$$, 'TK008', 'and no further');
SET ticket.max_balance = 5;
SELECT pg_temp.refused($$SELECT ticket.point_charge('money-limit', 1)$$, 'TK008', 'nor when it has been lowered below the balance');
SELECT pg_temp.refused($$SELECT ticket.point_charge('money-limit-2', 6)$$, 'TK008', 'a first charge has the same limits');
SELECT is(point_charge('money-limit', 5, 'key'), 15::bigint, 'what was charged has its answer all the same');
RESET ticket.max_charge;
RESET ticket.max_balance;
SELECT pg_temp.refused($$SELECT ticket.point_charge('money-full', 9223372036854775807)$$, 'TK008', 'nothing overflows');

-- ---------- pay ----------

SELECT queue_create('money', capacity => 1) AS q \gset
SELECT pg_temp.sale(price => 60, queue_id => :q) AS p \gset
SELECT token AS a FROM ticket_enqueue(:q, 'money-a') \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{3,4}', 'money-a', :'a') \gset
SELECT pg_temp.refused(format('SELECT ticket.pay_reservation(%s, %L)', :r, 'money-b'), 'TK005', 'pay: another user');
SELECT * FROM pay_reservation(:r, 'money-a') \gset pay_
SELECT is(format('%s %s %s', :'pay_status', :'pay_amount', :'pay_balance'), 'captured 120 40', 'pay: taken from the points');
SELECT is((SELECT format('%s %s %s %s %s %s %s', reservation_id = :r, user_id, provider, status, amount, balance, paid_at = :'pay_paid_at')
	FROM payment WHERE payment_id = :pay_payment_id), 't money-a points captured 120 40 t', 'pay: the payment');
SELECT is((SELECT format('%s %s', status, ended_at IS NULL) FROM reservation WHERE reservation_id = :r), 'paid t', 'pay: the reservation');
SELECT is((SELECT array_agg(format('%s %s %s', status, reservation_id = :r, held_until IS NULL)) FROM seat
	WHERE performance_id = :p AND seat_id IN (3, 4)), '{"sold t t","sold t t"}', 'pay: the seats are sold');
SELECT is(point_balance('money-a'), 40::bigint, 'pay: the account');
SELECT is(pg_temp.ledger('money-a'),
	'charge 100 100, charge 50 150, charge 7 157, charge 3 160, payment -120 40', 'pay: the ledger');
SELECT is((SELECT string_agg(format('%s %s %s %s %s', replace(debit, :p::text, 'P'), replace(credit, :p::text, 'P'), amount, balance_before, balance_after),
	', ' ORDER BY ledger_id) FROM ledger WHERE user_id = 'money-a' AND amount IN (7, 120)),
	'charge user:money-a 7 150 157, user:money-a sales:P 120 160 40', 'pay: what leaves an account arrives in another');
SELECT is((SELECT payment_id FROM ledger WHERE user_id = 'money-a' AND kind = 'payment'), :pay_payment_id::bigint,
	'pay: the ledger names the payment');
SELECT is((SELECT status FROM ticket_status(:'a')), 'finished', 'pay: the ticket is finished');
SELECT is(pg_temp.memory(:q), '0 waiting, 0 active, 0 admitted', 'pay: its room is free');
SELECT pg_temp.state() AS state \gset
SELECT is((SELECT format('%s %s %s %s %s', payment_id, status, amount, balance, paid_at) FROM pay_reservation(:r, 'money-a')),
	format('%s captured 120 40 %s', :pay_payment_id, :'pay_paid_at'), 'pay again: the same payment');
SELECT is(pg_temp.state(), :'state', 'pay again: nothing has changed');
SELECT pg_temp.refused(format('SELECT ticket.pay_reservation(%s, %L)', :r, 'money-b'), 'TK005', 'pay again: another user');
SELECT pg_temp.refused(format('SELECT ticket.seat_release(%s, %L)', :r, 'money-a'), 'TK009', 'what is paid is not released');
SELECT pg_temp.refused(format('SELECT ticket.seat_hold(%s, %L, %L, %L)', :p, '{3}', 'money-a', :'a'), 'TK002',
	'with a finished ticket one holds nothing more');

SELECT pg_temp.sale(price => 30) AS p \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{1}', 'money-a') \gset
SELECT reservation_id AS r2 FROM seat_hold(:p, '{2}', 'money-a') \gset
SELECT is((SELECT format('%s %s', amount, balance) FROM pay_reservation(:r, 'money-a', 'key')), '30 10', 'pay with a key');
SELECT is((SELECT format('%s %s', amount, balance) FROM pay_reservation(:r, 'money-a', 'key')), '30 10', 'the same again');
SELECT pg_temp.refused(format('SELECT ticket.pay_reservation(%s, %L, %L)', :r2, 'money-a', 'key'), 'TK011',
	'the key for another reservation');
SELECT pg_temp.refused(format('SELECT ticket.pay_reservation(%s, %L)', :r2, 'money-a'), 'TK010', 'too few points');
SELECT is(pg_temp.seats(:p, 1, 2), 'sold held', 'the seats stay held');
SELECT is(point_charge('money-a', 20), 30::bigint, 'after charging');
SELECT is((SELECT format('%s %s', amount, balance) FROM pay_reservation(:r2, 'money-a')), '30 0', 'the last points will do');

SELECT reservation_id AS r FROM seat_hold(:p, '{5}', 'money-b') \gset
SELECT pg_temp.refused(format('SELECT ticket.pay_reservation(%s, %L)', :r, 'money-b'), 'TK010', 'one point in three is short');
SELECT reservation_id AS r FROM seat_hold(:p, '{6}', 'money-nobody') \gset
SELECT pg_temp.refused(format('SELECT ticket.pay_reservation(%s, %L)', :r, 'money-nobody'), 'TK010', 'nothing at all is short');
SELECT is(seat_release(:r, 'money-nobody'), true, 'given back');
SELECT pg_temp.refused(format('SELECT ticket.pay_reservation(%s, %L)', :r, 'money-nobody'), 'TK009', 'what is released is not paid');

SELECT reservation_id AS r FROM seat_hold(:p, '{7}', 'money-full') \gset
SELECT reservation_id AS r2 FROM seat_hold(:p, '{8}', 'money-full') \gset
SET ticket.clock_offset = '6min';
SELECT pg_temp.refused(format('SELECT ticket.pay_reservation(%s, %L)', :r, 'money-full'), 'TK007', 'pay after expiry');
SELECT count(seat_hold_expire()) AS n \gset
SELECT pg_temp.refused(format('SELECT ticket.pay_reservation(%s, %L)', :r, 'money-full'), 'TK007', 'pay after expiry, tidied');
SELECT is((SELECT status FROM seat_hold(:p, '{7}', 'money-full')), 'held', 'the seat is to be had again');
RESET ticket.clock_offset;

-- Active when it held, over when it pays: the seats are sold all the same.
SELECT queue_create('money short', active_ttl => '1 minute') AS q \gset
SELECT pg_temp.sale(price => 1, queue_id => :q) AS p \gset
SELECT token AS a FROM ticket_enqueue(:q, 'money-full') \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{1}', 'money-full', :'a') \gset
SET ticket.clock_offset = '2min';
SELECT is((SELECT status FROM pay_reservation(:r, 'money-full')), 'captured', 'paying needs the hold, not the ticket');
SELECT is(pg_temp.memory(:q), pg_temp.counted(:q), 'shared memory has what the tables have');
RESET ticket.clock_offset;

-- ---------- for nothing ----------

SELECT pg_temp.sale(price => 0) AS p \gset
SELECT * FROM seat_hold(:p, '{1,2}', 'money-poor') \gset free_
SELECT is(:'free_amount'::bigint, 0::bigint, 'free seats cost nothing');
SELECT is((SELECT format('%s %s %s', status, amount, balance) FROM pay_reservation(:free_reservation_id, 'money-poor')), 'captured 0 0',
	'and can be paid by who has nothing');
SELECT is(pg_temp.ledger('money-poor'), 'payment 0 0', 'the ledger has that as well');
SELECT is((SELECT format('%s %s %s', status, refunded, balance) FROM reservation_cancel(:free_reservation_id, 'money-poor', '{1}')),
	'paid 0 0', 'part of them given back');
SELECT is((SELECT format('%s %s %s', status, refunded, balance) FROM reservation_cancel(:free_reservation_id, 'money-poor')),
	'cancelled 0 0', 'all of them');
SELECT is(pg_temp.seats(:p, 1, 2), 'free free', 'free seats are free');

-- ---------- cancel ----------

SELECT point_charge('money-c', 1000) AS balance \gset
SELECT pg_temp.sale(price => 10) AS p \gset
SELECT section_create(:p, 'dear', 200, 1, 2) AS s \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{1,2,11}', 'money-c') \gset
SELECT payment_id AS payment FROM pay_reservation(:r, 'money-c') \gset
SELECT pg_temp.refused(format('SELECT ticket.reservation_cancel(%s, %L)', :r, 'money-a'), 'TK005', 'cancel: another user');
SELECT pg_temp.refused(format('SELECT ticket.reservation_cancel(%s, %L, %L)', :r, 'money-c', '{1,3}'), 'TK005',
	'cancel: a seat that is not of it');
SELECT is((SELECT format('%s %s %s %s', reservation_id = :r, status, refunded, balance) FROM reservation_cancel(:r, 'money-c', '{11}')),
	't paid 200 980', 'cancel part: its price comes back');
SELECT is(pg_temp.seats(:p, 1, 2, 11), 'sold sold free', 'cancel part: its seat is free, the others are not');
SELECT is((SELECT format('%s %s %s %s %s', seat_ids, prices, amount, status, ended_at IS NULL) FROM reservation WHERE reservation_id = :r),
	'{1,2} {10,10} 20 paid t', 'cancel part: the reservation has the rest');
SELECT is((SELECT format('%s %s %s %s', amount, refunded, status, refunded_at IS NOT NULL) FROM payment WHERE payment_id = :payment),
	'220 200 captured t', 'cancel part: the payment');
SELECT pg_temp.state() AS state \gset
SELECT is((SELECT format('%s %s %s %s', reservation_id = :r, status, refunded, balance) FROM reservation_cancel(:r, 'money-c', '{11}')),
	't paid 200 980', 'cancel part again: the same answer');
SELECT is(pg_temp.state(), :'state', 'cancel part again: nothing has changed');
SELECT pg_temp.refused(format('SELECT ticket.reservation_cancel(%s, %L, %L)', :r, 'money-c', seats), 'TK005',
	'cancel: seats of which it has and has had some: ' || seats) FROM unnest(ARRAY['{1,11}', '{3,11}', '{3}']) AS seats;
SELECT is((SELECT status FROM seat_hold(:p, '{11}', 'money-d')), 'held', 'another may have the seat');
SELECT is((SELECT format('%s %s %s', status, refunded, balance) FROM reservation_cancel(:r, 'money-c')), 'cancelled 220 1000',
	'cancel whole: the rest comes back');
SELECT is((SELECT format('%s %s', status, ended_at IS NOT NULL) FROM reservation WHERE reservation_id = :r), 'cancelled t',
	'cancel whole: it has ended');
SELECT is((SELECT format('%s %s %s', amount, refunded, status) FROM payment WHERE payment_id = :payment), '220 220 refunded',
	'cancel whole: the payment');
SELECT is(pg_temp.seats(:p, 1, 2, 11), 'free free held', 'cancel whole: its seats are free, no others');
SELECT pg_temp.state() AS state \gset
SELECT is((SELECT format('%s %s %s', status, refunded, balance) FROM reservation_cancel(:r, 'money-c')), 'cancelled 220 1000',
	'cancel twice: the same answer');
SELECT is(pg_temp.state(), :'state', 'cancel twice: nothing has changed');
SELECT is(pg_temp.ledger('money-c'), 'charge 1000 1000, payment -220 780, refund 200 980, refund 20 1000', 'cancel: the ledger');
SELECT pg_temp.refused(format('SELECT ticket.pay_reservation(%s, %L)', :r, 'money-c'), 'TK009', 'what is cancelled is not paid');
SELECT reservation_id AS r FROM seat_hold(:p, '{1,2}', 'money-c') \gset
SELECT count(pay_reservation(:r, 'money-c')) AS n \gset
SELECT is((SELECT status FROM reservation_cancel(:r, 'money-c', '{2,1}')), 'cancelled', 'every seat is the whole');
SELECT reservation_id AS r FROM seat_hold(:p, '{1,2}', 'money-c') \gset
SELECT pg_temp.refused(format('SELECT ticket.reservation_cancel(%s, %L, %L)', :r, 'money-c', '{1}'), 'TK009',
	'part of a hold is not cancelled');
SELECT is((SELECT format('%s %s %s', status, refunded, balance) FROM reservation_cancel(:r, 'money-c')), 'released 0 1000',
	'a hold is released');
SELECT reservation_id AS r FROM seat_hold(:p, '{1,2}', 'money-c') \gset
SET ticket.clock_offset = '6min';
SELECT is((SELECT status FROM reservation_cancel(:r, 'money-c')), 'expired', 'a hold that is over has expired');
RESET ticket.clock_offset;
SELECT is(point_balance('money-c'), 1000::bigint, 'all the money is back');

-- ---------- cancel policy ----------

-- Steps: free until 30 days before, a tenth until 7, half and 5 more until 1.
SELECT pg_temp.sale(price => 99) AS p \gset
SELECT cancel_policy_set(:p, '30 days'), cancel_policy_set(:p, '7 days', 100), cancel_policy_set(:p, '1 day', 400, 5),
	cancel_policy_set(:p, '1 day', 500, 5), cancel_policy_set(:p, '2 days', 1000) \gset
SELECT is(cancel_policy_drop(:p, '2 days'), true, 'a step is dropped');
SELECT is(cancel_policy_drop(:p, '2 days'), false, 'once');
SELECT is((SELECT string_agg(format('%s %s %s', extract(day FROM before), kept_permille, kept_fixed), ', ' ORDER BY before) FROM cancel_policy
	WHERE performance_id = :p), '1 500 5, 7 100 0, 30 0 0', 'the others are there, as set last');
SELECT point_charge('money-p', 1000) AS balance \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{1,2,3,4}', 'money-p') \gset
SELECT payment_id AS payment FROM pay_reservation(:r, 'money-p') \gset
SELECT is(point_balance('money-p'), 604::bigint, 'four seats at 99');
SELECT is((SELECT format('%s %s %s', status, refunded, balance) FROM reservation_cancel(:r, 'money-p', '{1}')), 'paid 99 703',
	'early: all of it');
SET ticket.clock_offset = '71d';
SELECT is((SELECT format('%s %s %s', status, refunded, balance) FROM reservation_cancel(:r, 'money-p', '{2}')), 'paid 189 793',
	'later: a tenth is kept, rounded down');
SET ticket.clock_offset = '94d';
SELECT is((SELECT format('%s %s %s', status, refunded, balance) FROM reservation_cancel(:r, 'money-p', '{3}')), 'paid 234 838',
	'late: half and five');
SELECT is((SELECT format('%s %s %s %s', status, amount, refunded, kept) FROM payment WHERE payment_id = :payment), 'captured 396 234 63',
	'the payment knows what was kept');
SET ticket.clock_offset = '2377h';
SELECT pg_temp.refused(format('SELECT ticket.reservation_cancel(%s, %L)', :r, 'money-p'), 'TK019', 'too late');
SELECT pg_temp.refused(format('SELECT ticket.reservation_cancel(%s, %L, %L)', :r, 'money-p', '{4}'), 'TK019', 'in part as well');
SELECT is((SELECT format('%s %s %s', status, refunded, balance) FROM reservation_cancel(:r, 'money-p', '{3,1}')), 'paid 234 838',
	'of seats given back before it is told, too late or not');
SET ticket.clock_offset = '98d';
SELECT is((SELECT format('%s %s %s', status, refunded, balance) FROM reservation_cancel(:r, 'money-p')), 'cancelled 279 883', 'the last one');
RESET ticket.clock_offset;
SELECT is((SELECT format('%s %s %s %s', status, amount, refunded, kept) FROM payment WHERE payment_id = :payment), 'refunded 396 279 117',
	'what was kept stays');
SELECT is((SELECT balance FROM books WHERE account = 'sales:' || :p), 117::numeric, 'in the sales of the performance');
SELECT is((SELECT count(*) FROM seats(:p) WHERE status = 'free'), 10::bigint, 'the seats are all free');
-- A day is 24 hours, whatever the session's clocks do in spring: half an hour
-- after the end of a step it is over, an hour of local time lost or not.
SELECT (d + interval '12 hours') AT TIME ZONE 'Europe/Berlin' AS spring
	FROM generate_series(date_trunc('day', now()::timestamp) + interval '30 days', now()::timestamp + interval '430 days', '1 day') d
	WHERE (d + interval '1 day') AT TIME ZONE 'Europe/Berlin' - d AT TIME ZONE 'Europe/Berlin' = '23 hours' \gset
SELECT pg_temp.sale(price => 99) AS spring_p \gset
SELECT performance_move(:spring_p, :'spring'), cancel_policy_set(:spring_p, '1 day') \gset
SELECT point_charge('money-s', 1000) AS balance \gset
SELECT reservation_id AS r FROM seat_hold(:spring_p, '{1}', 'money-s') \gset
SELECT payment_id AS payment FROM pay_reservation(:r, 'money-s') \gset
SELECT set_config('ticket.clock_offset', round(1000 * extract(epoch FROM :'spring'::timestamptz - interval '23.5 hours' - now()))::text, false) AS clock \gset
SET timezone = 'Europe/Berlin';
SELECT pg_temp.refused(format('SELECT ticket.reservation_cancel(%s, %L)', :r, 'money-s'), 'TK019', 'too late in Berlin');
SET timezone = 'UTC';
SELECT pg_temp.refused(format('SELECT ticket.reservation_cancel(%s, %L)', :r, 'money-s'), 'TK019', 'too late in UTC');
RESET timezone;
RESET ticket.clock_offset;
SELECT cancel_policy_set(:p, '0', 1000, 1000) \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{1}', 'money-p') \gset
SELECT count(pay_reservation(:r, 'money-p')) AS n \gset
SET ticket.clock_offset = '2377h';
SELECT is((SELECT format('%s %s %s', status, refunded, balance) FROM reservation_cancel(:r, 'money-p')), 'cancelled 0 784',
	'never more than the price is kept');
SELECT is((SELECT format('%s %s %s', status, refunded, balance) FROM reservation_cancel(:r, 'money-p')), 'cancelled 0 784', 'nor twice');
RESET ticket.clock_offset;
SELECT reservation_id AS r FROM seat_hold(:p, '{1}', 'money-p') \gset
SET ticket.clock_offset = '101d';
SELECT is((SELECT status FROM reservation_cancel(:r, 'money-p')), 'expired', 'a hold has no policy');
RESET ticket.clock_offset;
SELECT pg_temp.sale(price => 1) AS p \gset
SELECT reservation_id AS begun FROM seat_hold(:p, '{1}', 'money-p') \gset
SELECT count(pay_reservation(:begun, 'money-p')) AS n \gset
SET ticket.clock_offset = '101d';
SELECT pg_temp.refused(format('SELECT ticket.reservation_cancel(%s, %L)', :begun, 'money-p'), 'TK019', 'without a policy: until it begins');
RESET ticket.clock_offset;
SELECT is((SELECT sum(balance) FROM books), 0::numeric, 'the books balance');

-- Parts of any size in any order, odd prices, any policy, points and provider:
-- of each seat what the policy says is kept and all else goes back, whatever
-- seats go together.
CREATE FUNCTION pg_temp.in_parts(n int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	permille int := (ARRAY[0, 1, 333, 500, 667, 999, 1000])[1 + n % 7];
	fixed bigint := (ARRAY[0, 1, 7, 1000000000000])[1 + n % 4];
	p bigint := pg_temp.sale(price => (ARRAY[1, 3, 99, 1000, 999999999999])[1 + n % 5], max_seats => 20);
	r bigint;
	left_over int[];
	part int[];
	expected bigint := 0;
	said bigint;
BEGIN
	PERFORM ticket.section_create(p, 'odd', 333 + n, 1, 6), ticket.section_create(p, 'free', 0, 1, 2);
	PERFORM ticket.cancel_policy_set(p, '0', permille, fixed);
	PERFORM ticket.point_charge('money-parts', 20 * 1000000000000);
	SELECT array_agg(s ORDER BY random()) INTO left_over FROM generate_series(1, 18) AS s WHERE random() < 0.7;
	r := (ticket.seat_hold(p, left_over, 'money-parts')).reservation_id;
	IF n % 2 = 0 THEN
		PERFORM ticket.pay_reservation(r, 'money-parts');
	ELSE
		PERFORM ticket.payment_confirm((ticket.payment_begin(r, 'money-parts', 'card')).payment_id, 'money-parts-' || n);
	END IF;
	WHILE cardinality(left_over) > 0 LOOP
		part := left_over[1:1 + (random() * 4)::int];
		left_over := left_over[cardinality(part) + 1:];
		expected := expected + (SELECT sum(s.price - least(s.price, s.price * permille / 1000 + fixed))
			FROM ticket.seats(p) s WHERE s.seat_id = ANY (part));
		SELECT c.refunded + c.refund_due INTO said FROM ticket.reservation_cancel(r, 'money-parts', part) c;
		IF said <> expected THEN
			RETURN format('%s: refunded %s, expected %s', n, said, expected);
		END IF;
	END LOOP;
	-- What went back, was kept and was paid agree, also in the refunds and the books.
	RETURN (SELECT format('%s: %s of %s refunded, %s kept', n, y.refunded, y.amount, y.kept) FROM ticket.payment y
		WHERE y.reservation_id = r AND (y.refunded + y.refund_due + y.kept <> y.amount OR CASE y.provider WHEN 'points' THEN y.refunded ELSE y.refund_due END <> expected
			OR (y.provider = 'card' AND expected <> (SELECT coalesce(sum(f.amount), 0) FROM ticket.refund f WHERE f.payment_id = y.payment_id))
			OR y.kept <> (SELECT b.balance FROM ticket.books b WHERE b.account = 'sales:' || p)));
END $$;
SELECT setseed(0.5) \gset
SET ticket.max_balance = 1e15;
SELECT is((SELECT string_agg(pg_temp.in_parts(n), '; ') FROM generate_series(1, 40) AS n), NULL, 'refunds in parts lose nothing and make nothing');

-- ---------- what cannot be undone ----------

SELECT pg_temp.refused('UPDATE ticket.ledger SET amount = amount + 1', 'TK009', 'the ledger is not updated');
SELECT pg_temp.refused('DELETE FROM ticket.ledger', 'TK009', 'nor deleted from');
SELECT pg_temp.refused('TRUNCATE ticket.ledger', 'TK009', 'nor truncated');
SELECT pg_temp.refused(format('UPDATE ticket.reservation SET status = %L, ended_at = NULL WHERE reservation_id = %s', to_status, :r),
	'TK009', format('from expired to %s', to_status))
FROM unnest('{held,paid}'::text[]) AS to_status;
SELECT pg_temp.refused(format('UPDATE ticket.reservation SET status = %L WHERE reservation_id = %s', to_status, :r), 'TK009',
	format('from expired to %s', to_status))
FROM unnest('{released,cancelled}'::text[]) AS to_status;
SELECT pg_temp.refused(format($$UPDATE ticket.queue_entry SET status = 'active', ended_at = NULL WHERE queue_id = %s$$, :q),
	'TK009', 'from finished to active');
SELECT pg_temp.refused(format($$UPDATE ticket.reservation SET ended_at = NULL WHERE reservation_id = %s$$, :r), '23514',
	'what has ended says when');
SELECT pg_temp.refused($$UPDATE ticket.account SET balance = -1 WHERE user_id = 'money-c'$$, '23514', 'no balance is negative');
SELECT pg_temp.refused(format('INSERT INTO ticket.payment (reservation_id, user_id, provider, status, amount, paid_at) '
	'SELECT reservation_id, user_id, provider, status, amount, paid_at FROM ticket.payment WHERE payment_id = %s', :payment),
	'23505', 'no second captured payment');
SELECT pg_temp.refused(format('UPDATE ticket.payment SET refunded = amount + 1 WHERE payment_id = %s', :payment), '23514',
	'no refund above the payment');
SELECT pg_temp.refused(format($$INSERT INTO ticket.queue_entry (queue_id, place, user_id, secret, status, entered_at)
	SELECT %s, 1000 + i, 'twice', i, 'waiting', now() FROM generate_series(1, 2) AS i$$, :q), '23505',
	'no second live ticket of a user in a queue');

SELECT is((SELECT string_agg(invariant, ', ') FROM verify() WHERE NOT ok), NULL, 'every invariant holds');
SELECT * FROM finish();
