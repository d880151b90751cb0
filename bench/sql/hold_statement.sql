-- seat_hold as one statement: sale window, limit, seat, reservation, event.  It
-- leaves out what it can't do: two calls of one user at the same moment can
-- together exceed the limit, and one who comes too late waits for the winner.
\set n :n + 1
\set k permute(:first + :n * :clients + :client_id, :seats, 1)
\set performance 1 + :k / 50
\set seat 1 + :k % 50
\set user random(1, :users)
WITH s AS (
	UPDATE ticket.seat e SET status = 'held', held_until = now() + p.hold_interval,
		reservation_id = nextval('ticket.reservation_reservation_id_seq')
	FROM ticket.performance p, ticket.section c
	WHERE e.performance_id = :performance AND e.seat_id = :seat AND e.status = 'free'
		AND p.performance_id = :performance AND c.section_id = e.section_id
		AND (p.sale_opens_at IS NULL OR p.sale_opens_at <= now())
		AND coalesce(p.sale_closes_at, p.starts_at) > now() AND p.starts_at > now()
		AND (SELECT coalesce(sum(cardinality(o.seat_ids)), 0) FROM ticket.reservation o
			WHERE o.user_id = :user AND o.performance_id = :performance
				AND (o.status = 'paid' OR o.status = 'held' AND o.expires_at > now())) < p.max_seats_per_user
	RETURNING e.performance_id, e.seat_id, e.reservation_id, e.held_until, c.price
), r AS (
	INSERT INTO ticket.reservation (reservation_id, performance_id, user_id, seat_ids, prices, amount,
		status, created_at, expires_at)
	SELECT reservation_id, performance_id, :user, ARRAY[seat_id], ARRAY[price], price, 'held', now(), held_until
	FROM s
	RETURNING reservation_id, performance_id, user_id, seat_ids, amount, status, expires_at
), t AS (
	INSERT INTO ticket.hold_timer (due_at, reservation_id) SELECT expires_at, reservation_id FROM r
), o AS (
	INSERT INTO ticket.outbox (aggregatetype, aggregateid, type, payload)
	SELECT 'reservation', reservation_id::text, 'reservation.held', jsonb_build_object('v', 1,
		'reservation_id', reservation_id, 'performance_id', performance_id, 'user_id', user_id,
		'seat_ids', seat_ids, 'amount', amount, 'expires_at', expires_at)
	FROM r
)
SELECT reservation_id, status, amount, expires_at FROM r;
