-- Payments at a provider: begin, confirm, fail, late confirmations, refunds.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin
SET search_path = ticket, public;

-- What became of a payment and its reservation.
CREATE FUNCTION pg_temp.payment(payment_id bigint) RETURNS text LANGUAGE sql AS $$
	SELECT format('%s %s, refunded %s%s, paid: %s, reservation %s %s', p.status, p.amount, p.refunded,
		', due ' || nullif(p.refund_due, 0), p.paid_at IS NOT NULL,
		r.status, coalesce('pending ' || (r.pending_payment = p.payment_id)::text, 'none pending'))
	FROM ticket.payment p JOIN ticket.reservation r ON r.reservation_id = p.reservation_id WHERE p.payment_id = $1 $$;

-- What the ledger has of it.
CREATE FUNCTION pg_temp.booked(payment_id bigint) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(format('%s %s>%s %s', l.kind, regexp_replace(l.debit, 'sales:\d+', 'sales'), regexp_replace(l.credit, 'sales:\d+', 'sales'),
		l.amount), ', ' ORDER BY l.ledger_id)
	FROM ticket.ledger l WHERE l.payment_id = $1 $$;

-- The types of the events about it, and taking them out.
CREATE FUNCTION pg_temp.events() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(o.type, ' ' ORDER BY o.id) FROM ticket.outbox_fetch(100000) o $$;

-- What other tests have left
SET ticket.clock_offset = '1d';
SELECT count(seat_hold_expire()) AS n \gset
RESET ticket.clock_offset;
SELECT count(pg_temp.events()) AS n \gset
SELECT pg_temp.sale(price => 50, max_seats => 3) AS p \gset
UPDATE performance SET hold_interval = '5 minutes', payment_interval = '10 minutes' WHERE performance_id = :p;

-- ---------- begin, confirm ----------

SELECT reservation_id AS r, expires_at AS held_until FROM seat_hold(:p, '{1,2}', 'pay-a') \gset
SELECT * FROM payment_begin(:r, 'pay-a', 'card') \gset begun_
SELECT is(format('%s %s', :'begun_status', :'begun_amount'), 'pending 100', 'begin: under way');
SELECT ok(:'begun_expires_at'::timestamptz BETWEEN :'held_until'::timestamptz + '4 minutes'::interval AND clock() + '10 minutes'::interval,
	'begin: the hold goes on for the payment interval');
SELECT is((SELECT count(*) FROM seat WHERE reservation_id = :r AND status = 'held' AND held_until = :'begun_expires_at'), 2::bigint,
	'begin: so do its seats');
SELECT is(pg_temp.payment(:begun_payment_id), 'pending 100, refunded 0, paid: f, reservation held pending true', 'begin: what is written');
SELECT is(pg_temp.booked(:begun_payment_id), NULL, 'begin: no money has moved');
SELECT is((SELECT format('%s %s %s %s', payment_id, status, amount, expires_at) FROM payment_begin(:r, 'pay-a', 'card')),
	format('%s pending 100 %s', :begun_payment_id, :'begun_expires_at'), 'begin again: the same payment');
SELECT pg_temp.refused(format('SELECT ticket.payment_begin(%s, %L, %L)', :r, 'pay-a', 'bank'), 'TK009', 'begin at another provider meanwhile');
SELECT pg_temp.refused(format('SELECT ticket.payment_begin(%s, %L, %L)', :r, 'pay-b', 'card'), 'TK005', 'begin: another user');
SELECT point_charge('pay-a', 1000) AS balance \gset
SELECT pg_temp.refused(format('SELECT ticket.pay_reservation(%s, %L)', :r, 'pay-a'), 'TK009', 'points meanwhile');
SELECT pg_temp.refused(format('SELECT ticket.seat_release(%s, %L, %L)', :r, 'pay-a', '{1}'), 'TK009', 'giving part of the seats back meanwhile');
SELECT is((SELECT format('%s %s %s %s', payment_id, status, amount, reservation_id) FROM payment_confirm(:begun_payment_id, 'ref-1')),
	format('%s captured 100 %s', :begun_payment_id, :r), 'confirm');
SELECT is(pg_temp.payment(:begun_payment_id), 'captured 100, refunded 0, paid: t, reservation paid none pending', 'confirm: what is written');
SELECT is(pg_temp.seats(:p, 1, 2), 'sold sold', 'confirm: seats sold');
SELECT is(pg_temp.booked(:begun_payment_id), 'payment provider:card>sales 100', 'confirm: the books');
SELECT is(point_balance('pay-a'), 1000::bigint, 'confirm: no points are taken');
SELECT pg_temp.state() AS state \gset
SELECT is((SELECT status FROM payment_confirm(:begun_payment_id, 'ref-1')), 'captured', 'confirm again: the same');
SELECT is((SELECT status FROM payment_fail(:begun_payment_id, 'no')), 'captured', 'fail after that: no');
SELECT is(pg_temp.state(), :'state', 'nothing has changed');
SELECT pg_temp.refused(format('SELECT ticket.payment_confirm(%s, %L)', :begun_payment_id, 'ref-2'), 'TK011', 'confirm with another reference');
SELECT is((SELECT format('%s %s %s', payment_id, status, balance IS NULL) FROM pay_reservation(:r, 'pay-a')), format('%s captured t', :begun_payment_id),
	'pay_reservation answers with that payment');
SELECT pg_temp.refused(format('SELECT ticket.payment_begin(%s, %L, %L)', :r, 'pay-a', 'card'), 'TK009', 'begin: what is paid');
SELECT is(pg_temp.events(), 'reservation.held payment.begun points.charged payment.captured reservation.paid', 'their events');

-- ---------- fail ----------

SELECT reservation_id AS r FROM seat_hold(:p, '{3}', 'pay-a') \gset
SELECT payment_id AS payment, expires_at AS until FROM payment_begin(:r, 'pay-a', 'card', idempotency_key => 'first') \gset
SELECT is((SELECT status FROM payment_fail(:payment, 'card declined')), 'failed', 'fail');
SELECT is(pg_temp.payment(:payment), 'failed 50, refunded 0, paid: f, reservation held none pending', 'fail: the seats stay held');
SELECT is((SELECT format('%s %s', reason, refunded) FROM payment WHERE payment_id = :payment), 'card declined 0', 'fail: why');
SELECT is((SELECT status FROM payment_fail(:payment, 'again')), 'failed', 'fail again: the same');
SELECT is((SELECT format('%s %s', payment_id, status) FROM payment_begin(:r, 'pay-a', 'card', idempotency_key => 'first')),
	format('%s failed', :payment), 'begin again with its key: what has become of it');
SELECT pg_temp.refused(format('SELECT ticket.payment_begin(%s, %L, %L, idempotency_key => %L)', :r, 'pay-a', 'bank', 'first'), 'TK011',
	'its key at another provider');
SELECT pg_temp.refused(format('SELECT ticket.payment_begin(%s, %L, %L, true, %L)', :r, 'pay-a', 'card', 'first'), 'TK011',
	'its key with other arguments');
SELECT pg_temp.refused(format('SELECT ticket.pay_reservation(%s, %L, %L)', :r, 'pay-a', 'first'), 'TK011', 'its key for paying with points');
SELECT payment_id AS second, expires_at AS second_until FROM payment_begin(:r, 'pay-a', 'bank', idempotency_key => 'second') \gset
SELECT isnt(:second, :payment, 'another may be begun');
SELECT ok(:'second_until'::timestamptz <= (SELECT created_at FROM reservation WHERE reservation_id = :r) + '15 minutes'::interval,
	'which keeps the hold no longer than one');
SELECT is((SELECT status FROM payment_confirm(:payment, 'ref-3')), 'captured', 'confirmed after it failed: captured, the hold is there');
SELECT is(pg_temp.payment(:payment), 'captured 50, refunded 0, paid: t, reservation paid pending false', 'the other is still under way');
SELECT is((SELECT status FROM payment_confirm(:second, 'ref-4')), 'refund_due', 'and comes for nothing');
SELECT is(pg_temp.payment(:second), 'refund_due 50, refunded 0, due 50, paid: f, reservation paid none pending', 'it is to be given back');
SELECT is(pg_temp.booked(:second), 'payment provider:bank>sales 50, refund sales>refund:bank 50', 'so the books say');
SELECT pg_temp.refused(format('SELECT ticket.payment_confirm(%s, %L)', :second, 'ref-3'), 'TK011', 'another reference for what is confirmed');
SELECT is(pg_temp.events(), 'reservation.held payment.begun payment.failed payment.begun payment.captured reservation.paid payment.refund_due',
	'their events');
SELECT reservation_id AS r FROM seat_hold(:p, '{4}', 'pay-b') \gset
SELECT payment_id AS payment FROM payment_begin(:r, 'pay-b', 'card') \gset
SELECT pg_temp.refused(format('SELECT ticket.payment_confirm(%s, %L)', :payment, 'ref-3'), 'TK011', 'the reference of another payment');
SELECT is((SELECT status FROM payment_fail(:payment, 'no')), 'failed', 'failed');
SELECT point_charge('pay-b', 50) AS balance \gset
SELECT is((SELECT status FROM pay_reservation(:r, 'pay-b', 'points')), 'captured', 'after failing it can be paid with points');
SELECT is((SELECT status FROM payment_confirm(:payment, 'ref-5')), 'refund_due', 'what the provider took after all goes back');
SELECT is((SELECT reason FROM payment WHERE payment_id = :payment), 'the reservation was paid already', 'and says why');

SELECT reservation_id AS r FROM seat_hold(:p, '{9,10}', 'pay-b') \gset
SELECT payment_id AS payment FROM payment_begin(:r, 'pay-b', 'card') \gset
SELECT is((SELECT status FROM payment_fail(:payment, 'no')), 'failed', 'failed');
SELECT is(seat_release(:r, 'pay-b', '{9}'), true, 'after failing part may be given back');
SELECT is((SELECT status FROM payment_confirm(:payment, 'ref-6')), 'refund_due', 'what the provider took for all of it goes back');
SELECT is((SELECT format('%s, %s', p.reason, r.status) FROM payment p JOIN reservation r USING (reservation_id) WHERE payment_id = :payment),
	'some of the seats were given back, held', 'and says why');
SELECT is(seat_release(:r, 'pay-b'), true, 'the rest may be given back, too');

-- ---------- too late ----------

SELECT count(pg_temp.events()) AS n \gset
-- over, and nobody was there
SELECT reservation_id AS r FROM seat_hold(:p, '{5}', 'pay-c') \gset
SELECT payment_id AS payment FROM payment_begin(:r, 'pay-c', 'card') \gset
SET ticket.clock_offset = '11min';
SELECT is((SELECT format('%s %s', status, reservation_id = :r) FROM payment_confirm(:payment, 'late-1')), 'captured t', 'over, but not tidied: captured');
RESET ticket.clock_offset;
-- over and tidied
SELECT reservation_id AS r FROM seat_hold(:p, '{6,7}', 'pay-c') \gset
SELECT payment_id AS payment FROM payment_begin(:r, 'pay-c', 'card', idempotency_key => 'late') \gset
SET ticket.clock_offset = '11min';
SELECT count(seat_hold_expire()) AS n \gset
SELECT is((SELECT status FROM reservation WHERE reservation_id = :r), 'expired', 'the hold has ended');
SELECT pg_temp.refused(format('SELECT ticket.payment_begin(%s, %L, %L)', :r, 'pay-c', 'card'), 'TK007', 'begin: what has ended');
SELECT is((SELECT format('%s %s', status, reservation_id <> :r) FROM payment_confirm(:payment, 'late-2')), 'captured t',
	'its seats are taken back, by a new reservation');
SELECT is((SELECT format('%s %s %s %s', r.seat_ids, r.prices, r.status, p.former_reservation = :r) FROM payment p JOIN reservation r USING (reservation_id)
	WHERE p.payment_id = :payment), '{6,7} {50,50} paid t', 'with the same seats at the same price');
SELECT is((SELECT status FROM reservation WHERE reservation_id = :r), 'expired', 'the old one has ended for good');
SELECT is(pg_temp.seats(:p, 6, 7), 'sold sold', 'the seats are sold');
SELECT is((SELECT payment_id FROM payment_begin(:r, 'pay-c', 'card', idempotency_key => 'late')), :payment::bigint,
	'the key of its beginning finds it');
SELECT is(pg_temp.events(),
	'reservation.held payment.begun payment.captured reservation.paid reservation.held payment.begun reservation.expired reservation.held payment.captured reservation.paid',
	'their events');
RESET ticket.clock_offset;
-- the seats are gone, nothing else will do
SELECT pg_temp.sale(price => 50, max_seats => 3) AS p \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{1,2}', 'pay-d') \gset
SELECT payment_id AS payment FROM payment_begin(:r, 'pay-d', 'card') \gset
SELECT reservation_id AS r2 FROM seat_hold(:p, '{6,7}', 'pay-d2') \gset
SELECT payment_id AS payment2 FROM payment_begin(:r2, 'pay-d2', 'card', true) \gset
SET ticket.clock_offset = '16min';
SELECT reservation_id AS taken FROM seat_hold(:p, '{2}', 'pay-e') \gset
SELECT is((SELECT format('%s %s', status, reservation_id = :r) FROM payment_confirm(:payment, 'late-3')), 'refund_due t',
	'seats gone: refund');
SELECT is(pg_temp.payment(:payment), 'refund_due 100, refunded 0, due 100, paid: f, reservation expired none pending', 'which is written down');
SELECT is((SELECT format('%s %s %s', f.status, f.amount, p.reason) FROM refund f JOIN payment p USING (payment_id) WHERE payment_id = :payment),
	'due 100 the seats were gone', 'with the reason');
SELECT is(pg_temp.seats(:p, 1, 2), 'free held', 'the seat that was free stays so');
-- the seats are gone, others will do: side by side, as near as can be
SELECT reservation_id AS taken2 FROM seat_hold(:p, '{7}', 'pay-e') \gset
SELECT reservation_id AS taken3 FROM seat_hold(:p, '{9}', 'pay-e') \gset
SELECT is((SELECT status FROM payment_confirm(:payment2, 'late-4')), 'captured', 'seats gone: others');
SELECT is((SELECT format('%s %s %s', r.seat_ids, r.amount, r.prices) FROM payment p JOIN reservation r USING (reservation_id) WHERE p.payment_id = :payment2),
	'{3,4} 100 {50,50}', 'side by side though not in the same row, at the agreed price');
RESET ticket.clock_offset;
-- none side by side are left
SELECT pg_temp.sale(price => 50, max_seats => 4) AS p \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{1,2}', 'pay-f') \gset
SELECT payment_id AS payment FROM payment_begin(:r, 'pay-f', 'card', true) \gset
SELECT reservation_id AS r2 FROM seat_hold(:p, '{5,7}', 'pay-g') \gset
SELECT payment_id AS payment2 FROM payment_begin(:r2, 'pay-g', 'card', true) \gset
SET ticket.clock_offset = '16min';
SELECT count(seat_hold(:p, '{2,4,7,9}', 'pay-h')) AS n \gset
SELECT is((SELECT status FROM payment_confirm(:payment, 'late-5')), 'refund_due', 'none like them: refund');
SELECT is((SELECT reason FROM payment WHERE payment_id = :payment), 'the seats were gone, and others like them', 'with the reason');
SELECT is((SELECT status FROM payment_confirm(:payment2, 'late-6')), 'captured', 'who had none side by side takes any');
SELECT is((SELECT r.seat_ids FROM payment p JOIN reservation r USING (reservation_id) WHERE p.payment_id = :payment2), '{1,5}', 'what is left of these, and the nearest');
RESET ticket.clock_offset;
-- the seats beside it are for wheelchairs
SELECT pg_temp.sale(price => 50) AS p \gset
UPDATE seat SET accessible = true WHERE performance_id = :p AND seat_id IN (1, 3);
SELECT reservation_id AS r FROM seat_hold(:p, '{2}', 'pay-w') \gset
SELECT payment_id AS payment FROM payment_begin(:r, 'pay-w', 'card', true) \gset
SET ticket.clock_offset = '16min';
SELECT count(seat_hold(:p, '{2}', 'pay-h')) AS n \gset
SELECT is((SELECT status FROM payment_confirm(:payment, 'late-w')), 'captured', 'others that are near');
SELECT is((SELECT r.seat_ids FROM payment p JOIN reservation r USING (reservation_id) WHERE p.payment_id = :payment), '{4}', 'but none for a wheelchair');
RESET ticket.clock_offset;
-- two sections
SELECT pg_temp.sale(price => 50) AS p \gset
SELECT section_create(:p, 'dear', 70, 1, 4) AS s \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{1,11}', 'pay-i') \gset
SELECT payment_id AS payment FROM payment_begin(:r, 'pay-i', 'card', true) \gset
SET ticket.clock_offset = '16min';
SELECT count(seat_hold(:p, '{11}', 'pay-h')) AS n \gset
SELECT is((SELECT status FROM payment_confirm(:payment, 'late-7')), 'refund_due', 'seats of two sections have no others like them');
RESET ticket.clock_offset;
-- the user has others, the seats were given back, the date has begun, is withdrawn, is cancelled
SELECT pg_temp.sale(price => 50, max_seats => 1) AS p \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{1}', 'pay-j') \gset
SELECT payment_id AS payment FROM payment_begin(:r, 'pay-j', 'card') \gset
SET ticket.clock_offset = '16min';
SELECT reservation_id AS r2 FROM seat_hold(:p, '{2}', 'pay-j') \gset
SELECT is((SELECT status FROM payment_confirm(:payment, 'late-8')), 'refund_due', 'one who has other seats by now');
SELECT count(seat_hold_expire()) AS n \gset
RESET ticket.clock_offset;
SELECT reservation_id AS r FROM seat_hold(:p, '{3}', 'pay-k') \gset
SELECT payment_id AS payment FROM payment_begin(:r, 'pay-k', 'card') \gset
SELECT is((SELECT status FROM reservation_cancel(:r, 'pay-k')), 'released', 'a hold may be cancelled while it is being paid');
SELECT is(pg_temp.seats(:p, 3), 'free', 'its seat is free at once');
SELECT is((SELECT status FROM payment_confirm(:payment, 'late-9')), 'refund_due', 'what comes then goes back');
SELECT is((SELECT string_agg(DISTINCT reason, ', ' ORDER BY reason) FROM payment WHERE provider_ref IN ('late-8', 'late-9')),
	'the hold was released, the user has other seats by now', 'each with its reason');
SELECT reservation_id AS r FROM seat_hold(:p, '{4}', 'pay-l') \gset
SELECT payment_id AS payment FROM payment_begin(:r, 'pay-l', 'card') \gset
SELECT reservation_id AS r2 FROM seat_hold(:p, '{5}', 'pay-m') \gset
SELECT payment_id AS payment2 FROM payment_begin(:r2, 'pay-m', 'card') \gset
SELECT reservation_id AS r3 FROM seat_hold(:p, '{6}', 'pay-n') \gset
SELECT payment_id AS payment3 FROM payment_begin(:r3, 'pay-n', 'card') \gset
SET ticket.clock_offset = '101d';
SELECT is((SELECT status FROM payment_confirm(:payment, 'late-10')), 'refund_due', 'the performance has begun');
SET ticket.clock_offset = '16min';
UPDATE performance SET status = 'withdrawn', withdrawn_at = now(), withdrawn_by = 'x' WHERE performance_id = :p;
SELECT is((SELECT status FROM payment_confirm(:payment2, 'late-11')), 'refund_due', 'the performance is withdrawn, the hold over');
RESET ticket.clock_offset;
CALL performance_cancel(:p);
SELECT is((SELECT status FROM payment_confirm(:payment3, 'late-12')), 'refund_due', 'the performance is cancelled');
-- A limit that was lowered since: what was agreed holds, tidied or not.
SELECT pg_temp.sale(price => 50, max_seats => 4) AS p \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{1,2}', 'pay-limit-a') \gset
SELECT payment_id AS payment FROM payment_begin(:r, 'pay-limit-a', 'card') \gset
SELECT reservation_id AS r2 FROM seat_hold(:p, '{3,4}', 'pay-limit-b') \gset
SELECT payment_id AS payment2 FROM payment_begin(:r2, 'pay-limit-b', 'card') \gset
SELECT reservation_id AS r3 FROM seat_hold(:p, '{5,6}', 'pay-limit-c') \gset
SELECT payment_id AS payment3 FROM payment_begin(:r3, 'pay-limit-c', 'card') \gset
SELECT reservation_id AS r4 FROM seat_hold(:p, '{7,8}', 'pay-limit-c') \gset
SELECT payment_id AS payment4 FROM payment_begin(:r4, 'pay-limit-c', 'card') \gset
SELECT count(performance_change(:p, max_seats_per_user => 1)) AS n \gset
SET ticket.clock_offset = '16min';
SELECT is((SELECT status FROM payment_confirm(:payment, 'limit-1')), 'captured', 'a limit lowered since: what was agreed holds');
SELECT count(seat_hold_expire()) AS n \gset
SELECT is((SELECT status FROM payment_confirm(:payment2, 'limit-2')), 'captured', 'also when the hold has been tidied');
SELECT is((SELECT status FROM payment_confirm(:payment3, 'limit-3')), 'captured', 'and of one who has others');
SELECT is((SELECT status FROM payment_confirm(:payment4, 'limit-4')), 'captured', 'that were agreed, too');
RESET ticket.clock_offset;
SELECT pg_temp.sale(price => 50, max_seats => 2) AS p \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{1,2}', 'pay-limit-d') \gset
SELECT payment_id AS payment FROM payment_begin(:r, 'pay-limit-d', 'card') \gset
SET ticket.clock_offset = '16min';
SELECT count(seat_hold(:p, '{3}', 'pay-limit-d')) AS n \gset
SELECT count(performance_change(:p, max_seats_per_user => 1)) AS n \gset
SELECT is((SELECT status FROM payment_confirm(:payment, 'limit-5')), 'refund_due', 'not above what was agreed');
SELECT is((SELECT reason FROM payment WHERE payment_id = :payment), 'the user has other seats by now', 'for a reason that is so');
RESET ticket.clock_offset;
-- A section that has been withdrawn: as a performance that has.
SELECT pg_temp.sale(price => 50) AS p \gset
SELECT section_id AS s FROM sections(:p) \gset
SELECT section_create(:p, 'other', 50, 1, 4) AS s2 \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{1,2}', 'pay-section-a') \gset
SELECT payment_id AS payment FROM payment_begin(:r, 'pay-section-a', 'card', true) \gset
SELECT reservation_id AS r2 FROM seat_hold(:p, '{3,11}', 'pay-section-b') \gset
SELECT payment_id AS payment2 FROM payment_begin(:r2, 'pay-section-b', 'card', true) \gset
SELECT reservation_id AS r3 FROM seat_hold(:p, '{4}', 'pay-section-c') \gset
SELECT payment_id AS payment3 FROM payment_begin(:r3, 'pay-section-c', 'card') \gset
SELECT reservation_id AS r4 FROM seat_hold(:p, '{12}', 'pay-section-d') \gset
SELECT payment_id AS payment4 FROM payment_begin(:r4, 'pay-section-d', 'card') \gset
SELECT section_withdraw(:s) AS done \gset
SELECT is((SELECT status FROM payment_confirm(:payment3, 'section-1')), 'captured', 'a withdrawn section: a hold that lives is sold');
SET ticket.clock_offset = '16min';
SELECT is((SELECT status FROM payment_confirm(:payment, 'section-2')), 'refund_due', 'one that is over is not');
SELECT count(seat_hold_expire()) AS n \gset
SELECT is((SELECT status FROM payment_confirm(:payment2, 'section-3')), 'refund_due', 'nor one that has been tidied, with a seat of another');
SELECT is((SELECT string_agg(DISTINCT reason, ', ') FROM payment WHERE payment_id IN (:payment, :payment2)), 'the section was withdrawn', 'for one reason');
SELECT is((SELECT status FROM payment_confirm(:payment4, 'section-4')), 'captured', 'other sections are sold on');
RESET ticket.clock_offset;

-- ---------- refunds ----------

SELECT count(pg_temp.events()) AS n \gset
SELECT pg_temp.sale(price => 100) AS p \gset
SELECT count(cancel_policy_set(:p, '0', 100)) AS n \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{1,2,3}', 'pay-o') \gset
SELECT payment_id AS payment FROM payment_begin(:r, 'pay-o', 'card') \gset
SELECT is((SELECT status FROM payment_confirm(:payment, 'refund-1')), 'captured', 'paid by card');
SELECT is((SELECT format('%s %s %s %s', status, refunded, refund_due, balance) FROM reservation_cancel(:r, 'pay-o', '{2}')), 'paid 0 90 0',
	'part given back: no points for it');
SELECT is(pg_temp.payment(:payment), 'captured 300, refunded 0, due 90, paid: t, reservation paid none pending', 'the payment stands');
SELECT refund_id AS f1 FROM refund WHERE payment_id = :payment \gset
SELECT is(pg_temp.booked(:payment), 'payment provider:card>sales 300, refund sales>refund:card 90', 'the provider owes that');
SELECT is((SELECT format('%s %s %s', status, refunded, refund_due) FROM reservation_cancel(:r, 'pay-o', '{1}')), 'paid 0 180', 'another part');
SELECT is((SELECT refunded_at FROM payment WHERE payment_id = :payment), NULL, 'nothing has gone back yet');
SELECT refund_id AS f2 FROM refund WHERE payment_id = :payment AND refund_id <> :f1 \gset
SELECT is((SELECT format('%s %s %s %s', refund_id, payment_id, status, amount) FROM refund_confirm(:f1, 'back-1')),
	format('%s %s done 90', :f1, :payment), 'the provider has given the first back');
SELECT pg_temp.state() AS state \gset
SELECT is((SELECT status FROM refund_confirm(:f1, 'back-1')), 'done', 'told again: the same');
SELECT is(pg_temp.state(), :'state', 'and nothing has changed');
SELECT pg_temp.refused(format('SELECT ticket.refund_confirm(%s, %L)', :f1, 'back-x'), 'TK011', 'done otherwise');
SELECT pg_temp.refused(format('SELECT ticket.refund_confirm(%s, %L)', :f2, 'back-1'), 'TK011', 'one refund for two');
SELECT is((SELECT format('%s %s', status, refunded_at = (SELECT done_at FROM refund WHERE refund_id = :f1)) FROM payment WHERE payment_id = :payment),
	'captured t', 'the payment stands');
SELECT is((SELECT format('%s %s %s', status, refunded, refund_due) FROM reservation_cancel(:r, 'pay-o')), 'cancelled 90 180', 'the rest');
SELECT is(pg_temp.payment(:payment), 'refund_due 300, refunded 90, due 180, paid: t, reservation cancelled none pending', 'it is to be given back');
SELECT is((SELECT status FROM refund_confirm(:f2, 'back-2')), 'done', 'the second');
SELECT is((SELECT status FROM payment WHERE payment_id = :payment), 'refund_due', 'one is due yet');
SELECT is((SELECT count(refund_confirm(refund_id, 'back-3')) FROM refund WHERE payment_id = :payment AND status = 'due'), 1::bigint, 'the last');
SELECT is(pg_temp.payment(:payment), 'refunded 300, refunded 270, paid: t, reservation cancelled none pending', 'refunded');
SELECT is(pg_temp.booked(:payment), 'payment provider:card>sales 300, refund sales>refund:card 90, refund sales>refund:card 90, '
	'settlement refund:card>provider:card 90, refund sales>refund:card 90, settlement refund:card>provider:card 90, '
	'settlement refund:card>provider:card 90', 'the books have it all');
SELECT is((SELECT status FROM payment_confirm(:payment, 'refund-1')), 'refunded', 'confirmed again after all that: nothing');
SELECT is(pg_temp.events(), 'reservation.held payment.begun payment.captured reservation.paid payment.refund_due reservation.cancelled '
	'payment.refund_due reservation.cancelled payment.refunded payment.refund_due reservation.cancelled payment.refunded payment.refunded',
	'their events');
SELECT reservation_id AS r FROM seat_hold(:p, '{1}', 'pay-o') \gset
SELECT payment_id AS payment FROM payment_begin(:r, 'pay-o', 'card') \gset
SELECT count(payment_confirm(:payment, 'refund-2')) AS n \gset
SELECT count(cancel_policy_set(:p, '0', 1000)) AS n \gset
SELECT is((SELECT format('%s %s', status, refunded) FROM reservation_cancel(:r, 'pay-o')), 'cancelled 0', 'all is kept');
SELECT is(pg_temp.payment(:payment), 'refunded 100, refunded 0, paid: t, reservation cancelled none pending', 'nothing is due');
-- a date that does not take place
SELECT reservation_id AS r FROM seat_hold(:p, '{1}', 'pay-o') \gset
SELECT payment_id AS payment FROM payment_begin(:r, 'pay-o', 'card') \gset
SELECT count(payment_confirm(:payment, 'refund-3')) AS n \gset
CALL performance_cancel(:p);
SELECT is((SELECT format('%s %s %s', status, refunded, refund_due) FROM reservation_cancel(:r, 'pay-o')), 'cancelled 0 100',
	'a performance that is cancelled keeps nothing back');
SELECT is(pg_temp.payment(:payment), 'refund_due 100, refunded 0, due 100, paid: t, reservation cancelled none pending', 'it is to be given back');

-- ---------- who came through a queue ----------

SELECT queue_create('payment', capacity => 1) AS q \gset
SELECT pg_temp.sale(price => 5, queue_id => :q) AS p \gset
SELECT token AS t FROM ticket_enqueue(:q, 'pay-q') \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{1}', 'pay-q', :'t') \gset
SELECT payment_id AS payment FROM payment_begin(:r, 'pay-q', 'card') \gset
SELECT is((SELECT status FROM ticket_status(:'t')), 'active', 'while it is being paid the ticket goes on');
SELECT is((SELECT status FROM payment_confirm(:payment, 'queue-1')), 'captured', 'paid');
SELECT is((SELECT status FROM ticket_status(:'t')), 'finished', 'the ticket is finished');
SELECT is(pg_temp.memory(:q), '0 waiting, 0 active, 0 admitted', 'its room is free');
SELECT is((SELECT format('%s entered, %s ended', entered, ended) FROM queue_memory() WHERE queue_id = :q), '1 entered, 1 ended',
	'the line was not read from the tables anew');

-- ---------- what the operator must ask ----------

SELECT is((SELECT count(*) FROM payments_stuck('0') WHERE status = 'pending'), 0::bigint, 'no payment is under way');
SELECT pg_temp.sale(price => 5) AS p \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{1}', 'pay-s') \gset
SELECT payment_id AS payment FROM payment_begin(:r, 'pay-s', 'card') \gset
SELECT is((SELECT count(*) FROM payments_stuck() WHERE status = 'pending'), 0::bigint, 'not stuck yet');
SET ticket.clock_offset = '16min';
SELECT is((SELECT format('%s %s %s %s %s %s', payment_id, refund_id, reservation_id, user_id, provider, amount) FROM payments_stuck() WHERE status = 'pending'),
	format('%s  %s pay-s card 5', :payment, :r), 'stuck: no answer');
SET ticket.clock_offset = '102d';
SELECT is((SELECT array_agg(DISTINCT provider_ref ORDER BY provider_ref) FROM payments_stuck('0') WHERE status = 'refund_due' AND provider_ref LIKE 'late%'),
	'{late-10,late-11,late-12,late-3,late-5,late-7,late-8,late-9}', 'refunds due, with what the provider calls the payment');
SELECT is((SELECT sum(amount) FROM payments_stuck('0') WHERE refund_id IS NOT NULL), (SELECT sum(balance) FROM books WHERE account LIKE 'refund:%'),
	'all that is owed');
RESET ticket.clock_offset;

-- ---------- how long a hold goes on ----------

SELECT pg_temp.sale(price => 5) AS again_p \gset
UPDATE performance SET hold_interval = '5 minutes', payment_interval = '10 minutes' WHERE performance_id = :again_p;
SELECT reservation_id AS again FROM seat_hold(:again_p, '{1}', 'pay-again') \gset
SET ticket.clock_offset = '4min';
SELECT payment_id AS again_payment FROM payment_begin(:again, 'pay-again', 'card') \gset
SELECT is(payment_fail(:again_payment, 'declined')::text LIKE '%failed%', true, 'a first payment fails');
SET ticket.clock_offset = '13min';
SELECT payment_id AS again_payment FROM payment_begin(:again, 'pay-again', 'card') \gset
SELECT is((SELECT expires_at - created_at FROM reservation WHERE reservation_id = :again), '15 minutes'::interval,
	'a second keeps the hold no longer than the payment interval after its own');

-- ---------- a performance that is being cancelled ----------

BEGIN;
UPDATE performance SET status = 'cancelled', withdrawn_at = now(), withdrawn_by = 'x' WHERE performance_id = :again_p;
SELECT is((SELECT status FROM payment_confirm(:again_payment, 'again-1')), 'refund_due', 'nothing is sold of it, though the hold still stands');
SELECT is((SELECT reason FROM payment WHERE payment_id = :again_payment), 'the performance is cancelled', 'and says why');
ROLLBACK;
SELECT is((SELECT status FROM payment_confirm(:again_payment, 'again-1')), 'captured', 'else it is');
RESET ticket.clock_offset;

-- ---------- a price that has changed meanwhile ----------

SELECT pg_temp.sale(price => 5) AS again_p \gset
SELECT reservation_id AS again FROM seat_hold(:again_p, '{2,3}', 'pay-agreed') \gset
SELECT payment_id AS again_payment FROM payment_begin(:again, 'pay-agreed', 'card') \gset
SELECT section_change(section_id, price => 7) AS changed FROM section WHERE performance_id = :again_p \gset
SET ticket.clock_offset = '1h';
SELECT count(seat_hold_expire()) AS n \gset
SELECT reservation_id AS anew FROM payment_confirm(:again_payment, 'again-2') \gset
SELECT is((SELECT format('%s %s %s %s', status, reservation_id <> :again, prices, amount) FROM reservation WHERE reservation_id = :anew),
	'paid t {5,5} 10', 'what is held anew costs what was agreed');
RESET ticket.clock_offset;

-- ---------- what may not follow what ----------

SELECT is((SELECT string_agg(format('%s>%s', o.status, n.status), ' ' ORDER BY o.n, n.n)
	FROM unnest('{pending,failed,captured,refund_due,refunded}'::text[]) WITH ORDINALITY AS o(status, n),
		unnest('{pending,failed,captured,refund_due,refunded}'::text[]) WITH ORDINALITY AS n(status, n)
	WHERE o.status <> n.status AND pg_temp.refusal(format(
		'INSERT INTO ticket.payment (payment_id, reservation_id, user_id, provider, status, amount) VALUES (-1, -1, $$x$$, $$card$$, %L, 1);
		UPDATE ticket.payment SET status = %L WHERE payment_id = -1; DELETE FROM ticket.payment WHERE payment_id = -1', o.status, n.status)) = 'no error'),
	'pending>failed pending>captured pending>refund_due failed>captured failed>refund_due captured>refund_due captured>refunded refund_due>refunded',
	'what may follow what');
SELECT pg_temp.refused(format('UPDATE ticket.refund SET status = %L, done_at = NULL, provider_ref = NULL WHERE refund_id = %s', 'due', :f1), 'TK009',
	'a refund that was done');
SELECT pg_temp.refused(format($$INSERT INTO ticket.payment (reservation_id, user_id, provider, status, amount) VALUES (%s, 'pay-s', 'card', 'pending', 5)$$, :r),
	'23505', 'no second payment under way');

SELECT is((SELECT sum(balance) FROM books), 0::numeric, 'the books balance');
SELECT is((SELECT string_agg(invariant || ': ' || detail, ', ') FROM verify() WHERE NOT ok), NULL, 'every invariant holds');
SELECT * FROM finish();
