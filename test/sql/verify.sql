-- verify(): a small sale is in order; each invariant, broken by hand with
-- triggers and constraints out of the way, is found, and no other; but what is
-- wrong with money shows in each of the books it should be in.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin

-- The invariants that do not hold, with how often.
CREATE FUNCTION pg_temp.broken() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(format('%s: %s', v.invariant, v.violations), ', ')
	FROM ticket.verify() WITH ORDINALITY AS v(invariant, ok, violations, detail, n)
	WHERE NOT v.ok OR v.violations <> 0 OR coalesce(v.detail, '') <> '' $$;

-- A line of pgTAP for the statements, which are undone again.
CREATE FUNCTION pg_temp.breaks(statements text, expected text, description text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	found text;
BEGIN
	BEGIN
		SET LOCAL session_replication_role = replica;
		EXECUTE statements;
		found := pg_temp.broken();
		RAISE division_by_zero;
	EXCEPTION WHEN division_by_zero THEN
		NULL;
	END;
	RETURN is(found, expected, description);
END $$;

-- What other tests have left
SET ticket.clock_offset = '10d';
SELECT count(ticket.seat_hold_expire()) AS n, count(ticket.ticket_expire()) AS m \gset
RESET ticket.clock_offset;

-- The sale: a has paid, holds and has released; b has cancelled; c waits, d too.
SELECT ticket.queue_create('verify', capacity => 2, idle_ttl => '1 day') AS q \gset
SELECT pg_temp.sale(price => 10, queue_id => :q) AS p, pg_temp.sale(price => 10) AS p2 \gset
SELECT token AS a FROM ticket.ticket_enqueue(:q, 'verify-a') \gset
SELECT token AS b FROM ticket.ticket_enqueue(:q, 'verify-b') \gset
SELECT token AS c FROM ticket.ticket_enqueue(:q, 'verify-c') \gset
SELECT token AS d FROM ticket.ticket_enqueue(:q, 'verify-d') \gset
SELECT ticket.point_charge('verify-a', 100) AS balance, ticket.point_charge('verify-b', 100) AS balance \gset
SELECT reservation_id AS paid FROM ticket.seat_hold(:p, '{1,2}', 'verify-a', :'a') \gset
SELECT reservation_id AS held FROM ticket.seat_hold(:p2, '{3,4}', 'verify-a') \gset
SELECT reservation_id AS released FROM ticket.seat_hold(:p2, '{5}', 'verify-a') \gset
SELECT reservation_id AS cancelled FROM ticket.seat_hold(:p2, '{6}', 'verify-b') \gset
SELECT payment_id AS payment FROM ticket.pay_reservation(:paid, 'verify-a') \gset
SELECT payment_id AS refunded FROM ticket.pay_reservation(:cancelled, 'verify-b') \gset
SELECT reservation_id AS card FROM ticket.seat_hold(:p2, '{7,8}', 'verify-b') \gset
SELECT reservation_id AS asked FROM ticket.seat_hold(:p2, '{9}', 'verify-b') \gset
SELECT payment_id AS card_payment FROM ticket.payment_begin(:card, 'verify-b', 'verify') \gset
SELECT payment_id AS asked_payment FROM ticket.payment_begin(:asked, 'verify-b', 'verify') \gset
SELECT count(ticket.payment_confirm(:card_payment, 'verify')) AS n, count(ticket.reservation_cancel(:card, 'verify-b', '{7}')) AS m \gset
SELECT count(ticket.refund_confirm(refund_id, 'verify')) AS n FROM ticket.refund WHERE payment_id = :card_payment \gset
SELECT count(ticket.reservation_cancel(:card, 'verify-b')) AS n \gset
SELECT ticket.seat_release(:released, 'verify-a') AS done, count(ticket.reservation_cancel(:cancelled, 'verify-b')) AS n \gset

SELECT is((SELECT array_agg(invariant) FROM ticket.verify()), ARRAY[
	'a seat has one live reservation and its state', 'a live reservation has all its seats', 'sold and held seats fit the house',
	'users stay within their limit', 'a balance is the sum of its ledger', 'no balance is negative',
	'a paid reservation has one captured payment', 'refunds do not exceed captures', 'every payment is in the ledger',
	'final states are final', 'no hold outlives its end', 'active tickets fit the capacity', 'one live ticket per user and queue',
	'shared memory agrees with the tables', 'nothing is orphaned', 'sales and providers have what the books say',
	'a payment under way is known to its reservation', 'what is to be given back is written down', 'money and seats are the same user''s',
	'a section has the seats it says', 'performances fit their concert', 'nothing is left of what was cancelled', 'what was agreed is known',
	'blocked users get nothing', 'nothing is left of users who withdrew', 'every hold has a timer', 'seat maps agree with the table', 'events are as documented',
	'an event waits or is history'], 'every invariant is looked at');
SELECT is(pg_temp.broken(), NULL, 'every invariant holds');
SELECT is((SELECT array_agg(DISTINCT format('%s %s %s', ok, violations, detail IS NULL)) FROM ticket.verify()), '{"t 0 t"}', 'and says so');
SELECT pg_temp.breaks('SELECT 1', NULL, 'nothing broken');

-- ---------- seats ----------

SELECT pg_temp.breaks(format($$UPDATE ticket.seat s SET status = 'held', reservation_id = r.reservation_id, held_until = r.expires_at
	FROM ticket.reservation r WHERE r.reservation_id = %s AND s.performance_id = %s AND s.seat_id = 7$$, :held, :p2),
	'a seat has one live reservation and its state: 1', 'a seat held for a reservation that has not got it');
SELECT pg_temp.breaks(format($$UPDATE ticket.seat SET status = 'sold', reservation_id = -1, held_until = NULL
	WHERE performance_id = %s AND seat_id = 7$$, :p2),
	'a seat has one live reservation and its state: 1', 'a seat sold to nobody');
SELECT pg_temp.breaks(format($$UPDATE ticket.seat SET status = 'sold', reservation_id = %s WHERE performance_id = %s AND seat_id = 5$$, :released, :p2),
	'a seat has one live reservation and its state: 1', 'a seat sold to a reservation that has ended');
SELECT pg_temp.breaks(format($$UPDATE ticket.seat SET status = 'held', held_until = now() WHERE reservation_id = %s$$, :paid),
	'a seat has one live reservation and its state: 2', 'paid, but only held');
SELECT pg_temp.breaks(format($$UPDATE ticket.seat SET status = 'sold', held_until = NULL WHERE reservation_id = %s$$, :held),
	'a seat has one live reservation and its state: 2', 'sold, but only held');
SELECT pg_temp.breaks(format($$UPDATE ticket.seat SET held_until = held_until + interval '1 s' WHERE reservation_id = %s$$, :held),
	'a seat has one live reservation and its state: 2', 'held longer than its reservation');
SELECT pg_temp.breaks(format($$UPDATE ticket.seat SET status = 'free', reservation_id = NULL, held_until = NULL WHERE performance_id = %s AND seat_id = 3$$, :p2),
	'a live reservation has all its seats: 1', 'held, but free');
SELECT pg_temp.breaks(format($$DELETE FROM ticket.seat WHERE performance_id = %1$s AND seat_id = 2;
	UPDATE ticket.performance SET seat_count = 9 WHERE performance_id = %1$s$$, :p),
	'a live reservation has all its seats: 1, a section has the seats it says: 1', 'sold, and not there');
SELECT pg_temp.breaks(format($$INSERT INTO ticket.reservation (performance_id, user_id, seat_ids, prices, amount, status, created_at, expires_at)
	SELECT performance_id, 'verify-b', seat_ids, prices, amount, status, created_at, expires_at
	FROM ticket.reservation WHERE reservation_id = %s;
	SELECT ticket.hold_timers_restore()$$, :held),
	'a live reservation has all its seats: 2', 'two live reservations of the same seats');
SELECT pg_temp.breaks(format($$UPDATE ticket.performance SET seat_count = seat_count - 1 WHERE performance_id = %s$$, :p),
	'sold and held seats fit the house: 1', 'more seats than the house has');
SELECT pg_temp.breaks(format($$DELETE FROM ticket.seat WHERE performance_id = %s AND seat_id = 10$$, :p),
	'sold and held seats fit the house: 1, a section has the seats it says: 1', 'fewer seats than the house has');
SELECT pg_temp.breaks(format($$UPDATE ticket.performance SET max_seats_per_user = 1 WHERE performance_id IN (%s, %s)$$, :p, :p2),
	'users stay within their limit: 2', 'more seats than a user may have');
SELECT count(ticket.performance_change(id, max_seats_per_user => 1)) AS n FROM unnest(ARRAY[:p, :p2]) AS id \gset
SELECT is(pg_temp.broken(), NULL, 'who had more when fewer came to be allowed keeps them');
SELECT count(ticket.performance_change(id, max_seats_per_user => 4)) AS n FROM unnest(ARRAY[:p, :p2]) AS id \gset
SELECT pg_temp.breaks(format($$UPDATE ticket.reservation SET seat_ids = '{1,2,3,4,5}', prices = '{1,1,1,1,1}' WHERE reservation_id = %s$$, :held),
	'a live reservation has all its seats: 3, users stay within their limit: 1', 'more than ever were allowed');
SELECT pg_temp.breaks(format($$UPDATE ticket.reservation SET created_at = created_at - interval '1 h', expires_at = ticket.clock() - interval '10 minutes' WHERE reservation_id = %1$s;
	UPDATE ticket.seat SET held_until = (SELECT expires_at FROM ticket.reservation WHERE reservation_id = %1$s) WHERE reservation_id = %1$s;
	SELECT ticket.hold_timers_restore()$$, :held),
	'no hold outlives its end: 1', 'a hold long over');
SELECT pg_temp.breaks(format($$UPDATE ticket.reservation SET created_at = created_at - interval '1 h', expires_at = ticket.clock() - interval '4 minutes' WHERE reservation_id = %1$s;
	UPDATE ticket.seat SET held_until = (SELECT expires_at FROM ticket.reservation WHERE reservation_id = %1$s) WHERE reservation_id = %1$s;
	SELECT ticket.hold_timers_restore()$$, :held),
	NULL, 'a hold just over is within the grace');
SELECT pg_temp.breaks(format($$DELETE FROM ticket.hold_timer WHERE reservation_id = %s$$, :held),
	'every hold has a timer: 1', 'a hold without a timer');
SELECT pg_temp.breaks(format($$UPDATE ticket.hold_timer SET due_at = due_at + interval '1 us' WHERE reservation_id = %s$$, :held),
	'every hold has a timer: 1', 'a timer that goes off too late');
SELECT pg_temp.breaks(format($$INSERT INTO ticket.hold_timer SELECT now() + i * interval '1 s', %s FROM generate_series(-3, 3) AS i$$, :paid),
	NULL, 'timers too many');

-- ---------- money ----------

SELECT pg_temp.breaks($$UPDATE ticket.account SET balance = balance + 1 WHERE user_id = 'verify-a'$$,
	'a balance is the sum of its ledger: 1', 'points from nowhere');
SELECT pg_temp.breaks($$DELETE FROM ticket.account WHERE user_id = 'verify-a'$$,
	'a balance is the sum of its ledger: 1', 'an account gone');
SELECT pg_temp.breaks($$INSERT INTO ticket.account (user_id, balance) VALUES ('verify-z', 1)$$,
	'a balance is the sum of its ledger: 1', 'an account without a ledger');
SELECT pg_temp.breaks($$DELETE FROM ticket.ledger WHERE user_id = 'verify-a' AND kind = 'charge'$$,
	'a balance is the sum of its ledger: 1', 'a charge gone from the ledger');
SELECT pg_temp.breaks($$UPDATE ticket.ledger SET balance_before = balance_before + 1, balance_after = balance_after + 1
	WHERE user_id = 'verify-a' AND kind = 'payment'$$,
	'a balance is the sum of its ledger: 2', 'a movement that does not begin where the one before ended');
SELECT pg_temp.breaks($$ALTER TABLE ticket.ledger DROP CONSTRAINT ledger_balance;
	UPDATE ticket.ledger SET amount = amount + 1 WHERE user_id = 'verify-a' AND kind = 'charge'$$,
	'a balance is the sum of its ledger: 1', 'a movement of more than it makes');
SELECT pg_temp.breaks($$UPDATE ticket.ledger SET credit = 'user:verify-b' WHERE user_id = 'verify-a' AND kind = 'charge'$$,
	'a balance is the sum of its ledger: 1', 'points on another user''s account');
SELECT pg_temp.breaks($$UPDATE ticket.ledger SET debit = 'sales:1' WHERE user_id = 'verify-a' AND kind = 'charge'$$,
	'a balance is the sum of its ledger: 1', 'charged from what a performance took in');
SELECT pg_temp.breaks(format($$UPDATE ticket.ledger SET credit = 'user:verify-b' WHERE payment_id = %s AND kind = 'settlement'$$, :card_payment),
	'a balance is the sum of its ledger: 1, sales and providers have what the books say: 2', 'points that no balance tells of');
SELECT pg_temp.breaks($$DELETE FROM ticket.ledger WHERE user_id = 'verify-a'$$,
	'a balance is the sum of its ledger: 1, every payment is in the ledger: 1', 'a user gone from the ledger');
SELECT pg_temp.breaks($$UPDATE ticket.ledger SET credit = 'sales:-1' WHERE user_id = 'verify-a' AND kind = 'payment'$$,
	'sales and providers have what the books say: 1', 'paid to somebody else');
SELECT pg_temp.breaks($$ALTER TABLE ticket.account DROP CONSTRAINT account_balance;
	ALTER TABLE ticket.ledger DROP CONSTRAINT ledger_balance, DROP CONSTRAINT ledger_balance_after;
	INSERT INTO ticket.ledger (user_id, kind, debit, credit, amount, balance_before, balance_after, created_at)
	VALUES ('verify-a', 'payout', 'user:verify-a', 'payout', 81, 80, -1, now());
	UPDATE ticket.account SET balance = -1 WHERE user_id = 'verify-a'$$,
	'no balance is negative: 1', 'less than nothing');
SELECT pg_temp.breaks(format($$UPDATE ticket.payment SET paid_at = NULL WHERE payment_id = %s$$, :payment),
	'a paid reservation has one captured payment: 1, what is to be given back is written down: 1',
	'paid without a payment');
SELECT pg_temp.breaks(format($$DROP INDEX ticket.payment_captured;
	INSERT INTO ticket.payment (reservation_id, user_id, provider, status, amount, paid_at) VALUES (%s, 'verify-a', 'card', 'captured', 0, now())$$, :paid),
	'a paid reservation has one captured payment: 1, every payment is in the ledger: 1', 'paid twice');
SELECT pg_temp.breaks(format($$UPDATE ticket.reservation SET amount = amount - 1 WHERE reservation_id = %s$$, :paid),
	'a paid reservation has one captured payment: 1', 'paid more than it costs');
SELECT pg_temp.breaks(format($$INSERT INTO ticket.payment (reservation_id, user_id, provider, status, amount, paid_at)
	VALUES (%s, 'verify-a', 'card', 'captured', 5, now())$$, :released),
	'a paid reservation has one captured payment: 1, every payment is in the ledger: 1, sales and providers have what the books say: 1',
	'money for what was released');
SELECT pg_temp.breaks(format($$ALTER TABLE ticket.payment DROP CONSTRAINT payment_refunded;
	UPDATE ticket.payment SET refunded = amount + 1 WHERE payment_id = %s$$, :refunded),
	'refunds do not exceed captures: 1, every payment is in the ledger: 1, what is to be given back is written down: 1',
	'more refunded than paid');
SELECT pg_temp.breaks(format($$ALTER TABLE ticket.payment DROP CONSTRAINT payment_refunded;
	INSERT INTO ticket.payment (reservation_id, user_id, provider, status, amount, refunded) VALUES (%s, 'verify-a', 'card', 'failed', 0, -1)$$, :released),
	'refunds do not exceed captures: 2, every payment is in the ledger: 1', 'less refunded than nothing');
SELECT pg_temp.breaks(format($$UPDATE ticket.ledger SET amount = amount - 1, balance_after = balance_after + 1 WHERE payment_id = %s;
	UPDATE ticket.account SET balance = balance + 1 WHERE user_id = 'verify-a'$$, :payment),
	'every payment is in the ledger: 1', 'less taken than paid');
SELECT pg_temp.breaks(format($$DELETE FROM ticket.ledger WHERE payment_id = %s;
	UPDATE ticket.account SET balance = balance + 20 WHERE user_id = 'verify-a'$$, :payment),
	'every payment is in the ledger: 1', 'nothing taken');

-- At the provider: paid 20, 10 have been given back, 10 are due; another 10 are asked for.
SELECT pg_temp.breaks(format($$UPDATE ticket.refund SET amount = amount - 1 WHERE payment_id = %s AND status = 'due'$$, :card_payment),
	'refunds do not exceed captures: 1, sales and providers have what the books say: 1', 'less is due than was given back');
SELECT pg_temp.breaks(format($$UPDATE ticket.refund SET amount = amount + 1 WHERE payment_id = %s AND status = 'done'$$, :card_payment),
	'refunds do not exceed captures: 1, sales and providers have what the books say: 1', 'the provider gave more than it should');
SELECT pg_temp.breaks(format($$UPDATE ticket.refund SET status = 'due', done_at = NULL, provider_ref = NULL WHERE payment_id = %s$$, :card_payment),
	'refunds do not exceed captures: 1, sales and providers have what the books say: 2', 'given back, but due');
SELECT pg_temp.breaks(format($$UPDATE ticket.refund SET status = 'done', done_at = now(), provider_ref = 'x' WHERE payment_id = %s AND status = 'due'$$, :card_payment),
	'refunds do not exceed captures: 1, sales and providers have what the books say: 2, what is to be given back is written down: 1', 'due, but given back');
SELECT pg_temp.breaks(format($$UPDATE ticket.payment SET refunded = refunded + refund_due, refund_due = 0 WHERE payment_id = %s$$, :card_payment),
	'refunds do not exceed captures: 1', 'said to be given back, but due');
SELECT pg_temp.breaks(format($$DELETE FROM ticket.seat_return WHERE payment_id = %s$$, :card_payment),
	'what is to be given back is written down: 2', 'seats given back that are not written down');
SELECT pg_temp.breaks(format($$UPDATE ticket.seat_return SET refund = refund - 1 WHERE payment_id = %s AND seat_id = 7$$, :card_payment),
	'what is to be given back is written down: 1', 'less for a seat than went back');
SELECT pg_temp.breaks(format($$INSERT INTO ticket.seat_return (reservation_id, seat_id, status, price, returned_at) VALUES (%s, 3, 'released', 10, now())$$, :held),
	'what is to be given back is written down: 1', 'a seat given back that is held');
SELECT pg_temp.breaks(format($$UPDATE ticket.ledger SET debit = 'provider:other' WHERE payment_id = %s AND kind = 'payment'$$, :card_payment),
	'sales and providers have what the books say: 2', 'paid by another provider');
SELECT pg_temp.breaks(format($$DELETE FROM ticket.ledger WHERE payment_id = %s AND kind = 'settlement'$$, :card_payment),
	'sales and providers have what the books say: 2', 'given back, but not in the books');
SELECT pg_temp.breaks(format($$UPDATE ticket.payment SET status = 'refunded' WHERE payment_id = %s$$, :card_payment),
	'what is to be given back is written down: 1', 'refunded, but something is due');
SELECT pg_temp.breaks(format($$UPDATE ticket.payment SET status = 'failed' WHERE payment_id = %s$$, :asked_payment),
	'a payment under way is known to its reservation: 1', 'failed, but under way');
SELECT pg_temp.breaks(format($$UPDATE ticket.reservation SET pending_payment = NULL WHERE reservation_id = %s$$, :asked),
	'a payment under way is known to its reservation: 1', 'under way, and nobody knows');
SELECT pg_temp.breaks(format($$UPDATE ticket.payment SET status = 'captured' WHERE payment_id = %s$$, :asked_payment),
	'every payment is in the ledger: 1, sales and providers have what the books say: 1, a payment under way is known to its reservation: 1, what is to be given back is written down: 1',
	'captured, but for nothing');

SELECT pg_temp.breaks(format($$UPDATE ticket.refund SET provider = 'other' WHERE payment_id = %s AND status = 'due'$$, :card_payment),
	'refunds do not exceed captures: 1, sales and providers have what the books say: 2', 'due from another provider');

-- ---------- whose it is ----------

SELECT pg_temp.breaks(format($$UPDATE ticket.payment SET user_id = 'verify-z' WHERE payment_id = %s$$, :asked_payment),
	'money and seats are the same user''s: 1', 'one pays for another''s seats');
SELECT pg_temp.breaks(format($$UPDATE ticket.ledger SET user_id = 'verify-z' WHERE payment_id = %s AND kind = 'settlement'$$, :card_payment),
	'money and seats are the same user''s: 1', 'given back to somebody else');
SELECT pg_temp.breaks(format($$UPDATE ticket.ledger SET user_id = 'verify-z' WHERE payment_id = %s AND kind = 'payment'$$, :card_payment),
	'sales and providers have what the books say: 1', 'another''s money');

-- ---------- ends ----------

SELECT pg_temp.breaks(format($$ALTER TABLE ticket.reservation DROP CONSTRAINT reservation_live, DROP CONSTRAINT reservation_seats;
	UPDATE ticket.reservation SET ended_at = NULL, seat_ids = '{}', prices = '{}' WHERE reservation_id = %s$$, :released),
	'final states are final: 1', 'released without an end');
SELECT pg_temp.breaks(format($$ALTER TABLE ticket.reservation DROP CONSTRAINT reservation_live;
	INSERT INTO ticket.reservation (performance_id, user_id, seat_ids, prices, amount, status, created_at, expires_at, ended_at)
	SELECT performance_id, user_id, seat_ids, prices, amount, status, created_at, expires_at, now()
	FROM ticket.reservation WHERE reservation_id = %s$$, :held),
	'final states are final: 1', 'held after its end');
SELECT pg_temp.breaks(format($$ALTER TABLE ticket.queue_entry DROP CONSTRAINT queue_entry_live;
	UPDATE ticket.queue_entry SET ended_at = NULL WHERE queue_id = %s AND status = 'finished'$$, :q),
	'final states are final: 1', 'a finished ticket without an end');

-- ---------- waiting room ----------

SELECT pg_temp.breaks(format($$UPDATE ticket.queue SET capacity = 0 WHERE queue_id = %s$$, :q),
	'active tickets fit the capacity: 1', 'more active than there is room');
SELECT pg_temp.breaks(format($$UPDATE ticket.queue SET capacity = 0, mode = 'passthrough' WHERE queue_id = %s$$, :q),
	NULL, 'passthrough has no capacity');
-- Who is in stays when fewer come to be allowed.
SELECT ticket.queue_create('verify-lowered', capacity => 3) AS q2 \gset
SELECT count(ticket.ticket_enqueue(:q2, u)) AS n FROM unnest('{a,b,c}'::text[]) AS u \gset
UPDATE ticket.queue SET capacity = 1 WHERE queue_id = :q2;
SELECT pg_temp.breaks(format($$UPDATE ticket.queue SET name = 'x' WHERE queue_id = %s$$, :q2), NULL, 'more than now allowed, from before');
SELECT pg_temp.breaks(format($$UPDATE ticket.queue_entry SET admitted_at = ticket.clock() WHERE queue_id = %s AND user_id = 'a'$$, :q2),
	'active tickets fit the capacity: 1', 'more than allowed, one let in since');
UPDATE ticket.queue SET mode = 'passthrough' WHERE queue_id = :q2;
SELECT count(ticket.ticket_enqueue(:q2, 'd')) AS n \gset
UPDATE ticket.queue SET mode = 'open' WHERE queue_id = :q2;
SELECT pg_temp.breaks(format($$UPDATE ticket.queue SET name = 'x' WHERE queue_id = %s$$, :q2), NULL, 'more than allowed, all let through before');
SELECT pg_temp.breaks(format($$UPDATE ticket.queue_entry SET admitted_at = ticket.clock() WHERE queue_id = %s AND user_id = 'a'$$, :q2),
	'active tickets fit the capacity: 1', 'all let through, and one since');
SELECT ticket.queue_clear(:q2, true) AS n \gset
SELECT pg_temp.breaks(format($$DROP INDEX ticket.queue_entry_live_user;
	UPDATE ticket.queue_entry SET user_id = 'verify-c' WHERE queue_id = %s AND user_id = 'verify-d'$$, :q),
	'one live ticket per user and queue: 1', 'two live tickets');
SELECT pg_temp.breaks(format($$UPDATE ticket.queue_entry SET status = 'left', ended_at = now() WHERE queue_id = %s AND user_id = 'verify-c'$$, :q),
	'shared memory agrees with the tables: 1', 'one who waits, but only in memory');
SELECT pg_temp.breaks(format($$UPDATE ticket.queue_entry SET status = 'expired', ended_at = now() WHERE queue_id = %s AND status = 'active'$$, :q),
	'shared memory agrees with the tables: 1', 'one who is active, but only in memory');
SELECT pg_temp.breaks(format($$UPDATE ticket.queue SET capacity = 3 WHERE queue_id = %1$s;
	INSERT INTO ticket.queue_entry (queue_id, place, user_id, secret, status, entered_at)
	VALUES (%1$s, 1000, 'verify-z', 1, 'waiting', now())$$, :q),
	'shared memory agrees with the tables: 1', 'one who waits, but not in memory');
SELECT pg_temp.breaks(format($$UPDATE ticket.queue_entry SET expires_at = expires_at - interval '1 hour' WHERE queue_id = %s AND status = 'active'$$, :q),
	'shared memory agrees with the tables: 1', 'one who is over before memory looks for it');

-- ---------- events ----------

SELECT pg_temp.breaks(format('INSERT INTO ticket.outbox (aggregatetype, aggregateid, type, payload) VALUES (%L, 1, %L, %L)', a, t, p),
	'events are as documented: 1', what)
FROM (VALUES ('points', 'points.lost', '{"v": 1}', 'an event of no type'),
	('queue', 'points.charged', '{"v": 1, "amount": 1, "balance": 1, "user_id": "a"}', 'an event of another aggregate'),
	('points', 'points.charged', '{"v": 2, "amount": 1, "balance": 1, "user_id": "a"}', 'an event of another version'),
	('points', 'points.charged', '{"amount": 1, "balance": 1, "user_id": "a"}', 'an event without a version'),
	('points', 'points.charged', '{"v": 1, "balance": 1, "user_id": "a"}', 'an event without one of its keys')) AS v(a, t, p, what);
SELECT pg_temp.breaks($$INSERT INTO ticket.outbox (aggregatetype, aggregateid, type, payload)
	VALUES ('points', 'a', 'points.charged', '{"v": 1, "amount": 1, "balance": 1, "user_id": "a", "trace_id": "x"}')$$, NULL, 'an event may have a trace');
SELECT pg_temp.breaks('INSERT INTO ticket.history SELECT h.* FROM ticket.outbox o, ticket.event_history(o.id, o.type, o.payload) h ORDER BY o.id DESC LIMIT 1',
	'an event waits or is history: 1', 'an event in the outbox and in the history');

-- ---------- orphans ----------

SELECT pg_temp.breaks($$INSERT INTO ticket.queue_entry (queue_id, place, user_id, secret, status, entered_at)
	VALUES (4194303, 1, 'verify-z', 1, 'waiting', now())$$, 'nothing is orphaned: 1', 'a ticket without a queue');
SELECT pg_temp.breaks(format($$UPDATE ticket.reservation SET performance_id = -1 WHERE reservation_id = %s$$, :released),
	'nothing is orphaned: 1', 'a reservation without a performance');
SELECT pg_temp.breaks(format($$UPDATE ticket.seat SET section_id = (SELECT section_id FROM ticket.section WHERE performance_id = %s)
	WHERE performance_id = %s AND seat_id = 10$$, :p2, :p), 'nothing is orphaned: 1, a section has the seats it says: 1',
	'a seat of another performance''s section');
SELECT pg_temp.breaks(format($$INSERT INTO ticket.seat (performance_id, seat_id, section_id, row_no, seat_no) VALUES (%s, 11, -1, 1, 11)$$, :p),
	'sold and held seats fit the house: 1, nothing is orphaned: 1', 'a seat of no section');
SELECT pg_temp.breaks(format($$UPDATE ticket.payment SET reservation_id = -1 WHERE payment_id = %s$$, :refunded),
	'nothing is orphaned: 1', 'a payment without a reservation');
SELECT pg_temp.breaks($$INSERT INTO ticket.refund (payment_id, provider, status, amount, created_at) VALUES (-1, 'verify', 'due', 5, now());
	UPDATE ticket.refund SET amount = 5 WHERE payment_id <> -1 AND provider = 'verify' AND status = 'due'$$,
	'refunds do not exceed captures: 1, nothing is orphaned: 1', 'a refund without a payment');
SELECT pg_temp.breaks($$INSERT INTO ticket.ledger (user_id, kind, debit, credit, amount, balance_before, balance_after, payment_id, created_at)
	VALUES ('verify-a', 'payment', 'user:verify-a', 'sales:1', 0, 80, 80, -1, now())$$, 'nothing is orphaned: 1', 'a movement without a payment');

-- ---------- catalogue ----------

SELECT concert_id AS c FROM ticket.performance WHERE performance_id = :p \gset
SELECT pg_temp.breaks(format($$UPDATE ticket.section SET %s WHERE performance_id = %s$$, change, :p), 'a section has the seats it says: 1', 'a section with another ' || change)
FROM unnest('{seat_count = 9,row_count = 1,seats_per_row = 4,first_seat_id = 2}'::text[]) AS change
WHERE change <> 'row_count = 1' AND change <> 'seats_per_row = 4'
UNION ALL
SELECT pg_temp.breaks(format($$ALTER TABLE ticket.section DROP CONSTRAINT section_seats; UPDATE ticket.section SET %s WHERE performance_id = %s$$, change, :p),
	'a section has the seats it says: 1', 'a section with another ' || change)
FROM unnest('{row_count = 1,seats_per_row = 4}'::text[]) AS change;
SELECT pg_temp.breaks(format($$UPDATE ticket.seat SET seat_id = 12 WHERE performance_id = %s AND seat_id = 10$$, :p),
	'a section has the seats it says: 1', 'a seat_id left out');
SELECT pg_temp.breaks(format($$ALTER TABLE ticket.seat DROP CONSTRAINT seat_numbers;
	UPDATE ticket.seat SET seat_no = 0 WHERE performance_id = %s AND seat_id = 10$$, :p),
	'a section has the seats it says: 1', 'a seat without a number');
SELECT pg_temp.breaks(format($$UPDATE ticket.concert SET ends_at = '2000-01-01' WHERE concert_id = %s$$, :c),
	'performances fit their concert: 1', 'a concert that has ended before');
SELECT pg_temp.breaks(format($$UPDATE ticket.concert SET withdrawn_at = now(), withdrawn_by = 'x' WHERE concert_id = %s$$, :c),
	'performances fit their concert: 1', 'a date of a concert that was withdrawn');
SELECT pg_temp.breaks(format($$UPDATE ticket.performance SET status = 'cancelled', withdrawn_at = now(), withdrawn_by = 'x' WHERE performance_id = %s$$, :p),
	'nothing is left of what was cancelled: 1', 'cancelled without a cancellation');
SELECT pg_temp.breaks(format($$INSERT INTO ticket.performance_cancellation (performance_id, requested_at, requested_by) VALUES (%s, now(), 'x')$$, :p),
	'nothing is left of what was cancelled: 1', 'a cancellation of what is not cancelled');
SELECT pg_temp.breaks(format($$UPDATE ticket.performance SET status = 'cancelled', withdrawn_at = now(), withdrawn_by = 'x' WHERE performance_id = %1$s;
	INSERT INTO ticket.performance_cancellation (performance_id, requested_at, requested_by, finished_at) VALUES (%1$s, now(), 'x', now())$$, :p),
	'nothing is left of what was cancelled: 1', 'seats left of what was cancelled');
SELECT pg_temp.breaks(format($$UPDATE ticket.performance SET status = 'cancelled', withdrawn_at = now(), withdrawn_by = 'x' WHERE performance_id = %1$s;
	INSERT INTO ticket.performance_cancellation (performance_id, requested_at, requested_by) VALUES (%1$s, now(), 'x')$$, :p),
	NULL, 'while it goes on there may be');

-- ---------- people, numbers, what was agreed ----------

SELECT pg_temp.breaks('DELETE FROM ticket.number_key', 'what was agreed is known: 1', 'no key to reservation numbers');
SELECT pg_temp.breaks(format($$INSERT INTO ticket.catalogue_past (kind, id, until, was) VALUES ('%s', %s, now(), '%s')$$, kind, id, was),
	CASE WHEN good THEN NULL ELSE 'what was agreed is known: 1' END, description)
FROM (VALUES ('concert', :c, '{"name": "x", "artist": null}', true, 'what a concert was called'),
	('concert', -1, '{"name": "x", "artist": null}', false, 'what a concert was called that there never was'),
	('concert', :c, '{"name": "x"}', false, 'a concert without an artist'),
	('performance', :p, '{"starts_at": "2100-01-01", "venue_id": 1}', false, 'a date without a concert'),
	('venue', (SELECT venue_id FROM ticket.performance WHERE performance_id = :p), '{}', false, 'a venue without a name'),
	('section', (SELECT section_id FROM ticket.section WHERE performance_id = :p), '{"name": "x"}', false, 'a section without a grade'))
	AS v(kind, id, was, good, description);
SELECT pg_temp.breaks($$INSERT INTO ticket.user_block (user_id, reason, blocked_at) VALUES ('verify-a', 'x', now() - interval '1 hour')$$,
	'blocked users get nothing: 4', 'a ticket and three reservations of a blocked user');
SELECT pg_temp.breaks($$INSERT INTO ticket.user_block (user_id, reason, blocked_at, until)
	VALUES ('verify-a', 'x', now() - interval '2 hours', now() - interval '1 hour')$$, NULL, 'a block that is over');
SELECT pg_temp.breaks($$INSERT INTO ticket.user_block (user_id, reason) VALUES ('verify-a', 'x')$$, NULL, 'what was there before the block stays');
SELECT pg_temp.breaks(format($$INSERT INTO ticket.user_block (user_id, reason, blocked_at) VALUES ('verify-b', 'x', now() - interval '1 hour');
	UPDATE ticket.queue_entry SET entered_at = now() - interval '2 hours' WHERE user_id = 'verify-b';
	UPDATE ticket.reservation SET created_at = now() - interval '2 hours' WHERE user_id = 'verify-b' AND reservation_id <> %s;
	UPDATE ticket.payment SET former_reservation = -1 WHERE reservation_id = %s$$, :card, :card),
	NULL, 'seats for money that was taken before');

-- One who withdrew has another id; what that may have and may not
SELECT format('withdrawn-%s', repeat('0', 32)) AS gone \gset
SELECT pg_temp.breaks(format($$UPDATE ticket.reservation SET user_id = %L WHERE reservation_id = %s$$, :'gone', id), expected, description)
FROM (VALUES (:released, NULL, 'a reservation that has ended'),
	(:held, 'nothing is left of users who withdrew: 1', 'seats held')) AS v(id, expected, description);
SELECT pg_temp.breaks(format($$UPDATE ticket.reservation SET user_id = %L, idempotency_key = 'verify', asked = 'x' WHERE reservation_id = %s$$, :'gone', :released),
	'nothing is left of users who withdrew: 1', 'the key of a call');
SELECT pg_temp.breaks(format($$UPDATE ticket.payment SET user_id = %1$L, idempotency_key = 'verify' WHERE payment_id = %2$s;
	UPDATE ticket.reservation SET user_id = %1$L WHERE reservation_id = %3$s$$, :'gone', :asked_payment, :asked),
	'nothing is left of users who withdrew: 2', 'seats held, and the key of a payment');
SELECT pg_temp.breaks(format($$UPDATE ticket.ledger SET idempotency_key = 'verify' WHERE user_id = 'verify-a' AND kind = 'charge';
	UPDATE ticket.ledger SET user_id = %1$L, credit = 'user:' || %1$L WHERE user_id = 'verify-a' AND kind = 'charge';
	UPDATE ticket.ledger SET user_id = %1$L, debit = 'user:' || %1$L WHERE user_id = 'verify-a' AND kind = 'payment';
	UPDATE ticket.account SET user_id = %1$L WHERE user_id = 'verify-a';
	UPDATE ticket.payment SET user_id = %1$L WHERE user_id = 'verify-a';
	UPDATE ticket.reservation SET user_id = %1$L WHERE user_id = 'verify-a' AND status = 'paid'$$, :'gone'),
	'nothing is left of users who withdrew: 1', 'the key of a charge');
SELECT pg_temp.breaks(format($$UPDATE ticket.queue_entry SET user_id = %L WHERE queue_id = %s AND user_id = 'verify-c'$$, :'gone', :q),
	'nothing is left of users who withdrew: 1', 'a ticket that waits');
SELECT pg_temp.breaks(format($$INSERT INTO ticket.outbox (aggregatetype, aggregateid, type, payload)
	VALUES ('user', 'verify-a', 'user.withdrawn', '{"v": 1, "user_id": "verify-a", "points": 0, "settlement": "payout"}');
	%s$$, change), expected, description)
FROM (VALUES ('SELECT 1', NULL, 'what a user has who came again is new'),
	($$UPDATE ticket.reservation SET created_at = now() - interval '1 hour' WHERE user_id = 'verify-a'$$,
		'nothing is left of users who withdrew: 3', 'reservations from before'),
	($$UPDATE ticket.ledger SET created_at = now() - interval '1 hour' WHERE user_id = 'verify-a'$$,
		'nothing is left of users who withdrew: 2', 'movements from before'),
	($$UPDATE ticket.queue_entry SET entered_at = now() - interval '1 hour' WHERE user_id = 'verify-a'$$,
		'nothing is left of users who withdrew: 1', 'a ticket from before'),
	($$INSERT INTO ticket.history (at, event_id, type, user_id, details) VALUES (now() - interval '1 hour', gen_random_uuid(), 'x', 'verify-a', '{}')$$,
		'nothing is left of users who withdrew: 1', 'history from before')) AS v(change, expected, description);

-- ---------- what it says ----------

SELECT pg_temp.breaks(format($$UPDATE ticket.seat SET status = 'free', reservation_id = NULL, held_until = NULL WHERE performance_id = %s AND seat_id = 3;
	UPDATE ticket.account SET balance = balance + 1 WHERE user_id = 'verify-a'$$, :p2),
	'a live reservation has all its seats: 1, a balance is the sum of its ledger: 1', 'two at once');
BEGIN;
SET LOCAL session_replication_role = replica;
UPDATE ticket.account SET balance = balance + 1 WHERE user_id = 'verify-a';
SELECT detail AS said FROM ticket.verify() WHERE NOT ok \gset
ROLLBACK;
SELECT is(:'said'::text, 'user verify-a has 81, the ledger says 80', 'it names what it has found');
SET ticket.clock_offset = '10min';
SELECT is((SELECT format('%s %s', ok, violations) FROM ticket.verify() WHERE invariant = 'no hold outlives its end'), 'f 1',
	'a hold five minutes over has outlived its end');
SELECT is((SELECT format('%s %s', ok, violations) FROM ticket.verify('1 hour') WHERE invariant = 'no hold outlives its end'), 't 0',
	'with a longer grace it has not');
RESET ticket.clock_offset;
SELECT is(pg_temp.broken(), NULL, 'every invariant holds');

-- ---------- seat maps ----------

SELECT count(*) AS n FROM ticket.seat_map(:p2) \gset
SELECT is(pg_temp.broken(), NULL, 'in memory, seat maps agree');
BEGIN;
UPDATE ticket.seat SET status = 'blocked' WHERE performance_id = :p2 AND seat_id = 9;
SELECT is(pg_temp.broken(), NULL, 'a map that is being changed is not compared');
ROLLBACK;
SELECT count(*) AS n FROM ticket.seat_map(:p2) \gset
SELECT pg_temp.breaks(format($$UPDATE ticket.seat SET status = 'blocked' WHERE performance_id = %s AND seat_id = 9$$, :p2),
	'seat maps agree with the table: 1', 'a seat changed without the map being told');

SELECT * FROM finish();
