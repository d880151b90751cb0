-- seat_hold as an application does it: four statements in a transaction.
\set n :n + 1
\set k permute(:first + :n * :clients + :client_id, :seats, 1)
\set performance 1 + :k / 50
\set seat 1 + :k % 50
\set user random(1, :users)
BEGIN;
SELECT c.price, (extract(epoch FROM p.hold_interval))::int AS hold_s,
	(p.sale_opens_at IS NULL OR p.sale_opens_at <= now()) AND coalesce(p.sale_closes_at, p.starts_at) > now()
		AND p.starts_at > now() AND (SELECT coalesce(sum(cardinality(o.seat_ids)), 0) FROM ticket.reservation o
			WHERE o.user_id = :user AND o.performance_id = :performance
				AND (o.status = 'paid' OR o.status = 'held' AND o.expires_at > now())) < p.max_seats_per_user AS may
FROM ticket.performance p JOIN ticket.seat e ON e.performance_id = p.performance_id
	JOIN ticket.section c ON c.section_id = e.section_id
WHERE p.performance_id = :performance AND e.seat_id = :seat
\gset
WITH r AS (
	INSERT INTO ticket.reservation (performance_id, user_id, seat_ids, prices, amount, status, created_at, expires_at)
	VALUES (:performance, :user, ARRAY[:seat]::int[], ARRAY[:price]::bigint[], :price, 'held', now(),
		now() + make_interval(secs => :hold_s))
	RETURNING reservation_id, expires_at
), t AS (
	INSERT INTO ticket.hold_timer (due_at, reservation_id) SELECT expires_at, reservation_id FROM r
)
SELECT reservation_id FROM r
\gset
UPDATE ticket.seat SET status = 'held', reservation_id = :reservation_id, held_until = now() + make_interval(secs => :hold_s)
WHERE performance_id = :performance AND seat_id = :seat AND status = 'free' AND :may;
INSERT INTO ticket.outbox (aggregatetype, aggregateid, type, payload)
VALUES ('reservation', :reservation_id, 'reservation.held', jsonb_build_object('v', 1,
	'reservation_id', :reservation_id::bigint, 'performance_id', :performance::bigint, 'user_id', :user::text,
	'seat_ids', ARRAY[:seat]::int[], 'amount', :price::bigint,
	'expires_at', now() + make_interval(secs => :hold_s)));
COMMIT;
