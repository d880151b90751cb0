-- pay_reservation as one statement.  Too few points violate the check of the
-- account's balance, which undoes it all.
\set n :n + 1
\set k permute(:first + :n * :clients + :client_id, :seats, 1)
\set reservation 10000001 + :k
\set user 1 + :k % :users
WITH r AS (
	UPDATE ticket.reservation SET status = 'paid'
	WHERE reservation_id = :reservation AND user_id = :user AND status = 'held' AND expires_at > clock_timestamp()
	RETURNING reservation_id, performance_id, user_id, seat_ids, amount
), s AS (
	UPDATE ticket.seat e SET status = 'sold', held_until = NULL FROM r
	WHERE e.performance_id = r.performance_id AND e.seat_id = ANY (r.seat_ids)
), a AS (
	UPDATE ticket.account a SET balance = a.balance - r.amount FROM r WHERE a.user_id = r.user_id
	RETURNING a.balance
), p AS (
	INSERT INTO ticket.payment (reservation_id, user_id, provider, status, amount, balance, paid_at)
	SELECT r.reservation_id, r.user_id, 'points', 'captured', r.amount, a.balance, now() FROM r, a
	RETURNING payment_id, status, amount, balance, paid_at
), l AS (
	INSERT INTO ticket.ledger (user_id, kind, debit, credit, amount, balance_before, balance_after, payment_id, created_at)
	SELECT :user, 'payment', 'user:' || r.user_id, 'sales:' || r.performance_id, p.amount, p.balance + p.amount, p.balance,
		p.payment_id, p.paid_at
	FROM r, p
), o AS (
	INSERT INTO ticket.outbox (aggregatetype, aggregateid, type, payload)
	SELECT 'reservation', r.reservation_id::text, 'reservation.paid', jsonb_build_object('v', 1,
		'reservation_id', r.reservation_id, 'performance_id', r.performance_id, 'user_id', r.user_id,
		'seat_ids', r.seat_ids, 'amount', r.amount, 'payment_id', p.payment_id, 'paid_at', p.paid_at)
	FROM r, p
)
SELECT * FROM p;
