-- Holds of one seat each, as seat_hold leaves them, numbered from 10,000,001.
--
-- psql variables: users, holds (at most as many as there are seats), ends (when:
-- an interval from now).
SELECT now() + :'ends' AS expires_at \gset

BEGIN;
SET LOCAL session_replication_role = replica;
INSERT INTO ticket.reservation (reservation_id, performance_id, user_id, seat_ids, prices, amount,
	status, created_at, expires_at)
SELECT 10000001 + h, 1 + h / 50, 1 + h % :users, ARRAY[1 + h % 50], ARRAY[s.price], s.price, 'held',
	:'expires_at'::timestamptz - '1 hour'::interval, :'expires_at'
FROM generate_series(0, :holds - 1) AS h JOIN ticket.section s ON s.section_id = 1 + h / 50;
INSERT INTO ticket.hold_timer (due_at, reservation_id)
SELECT :'expires_at', 10000001 + h FROM generate_series(0, :holds - 1) AS h;
UPDATE ticket.seat SET status = 'held', held_until = :'expires_at',
	reservation_id = 10000001 + (performance_id - 1) * 50 + seat_id - 1
WHERE (performance_id - 1) * 50 + seat_id <= :holds;
COMMIT;

VACUUM (FREEZE, ANALYZE);
