-- The data set: users with points, concerts of one performance each with one
-- section of 50 seats, and one performance more, with 20 such sections.  All
-- numbers run from 1: user, concert, performance and section alike.
--
-- psql variables: users, concerts, history (reservations that have ended).
-- Triggers are off meanwhile: half a million checks of a foreign key to a row
-- that was just written would prove nothing and take longest.
CREATE EXTENSION ticket;

BEGIN;
SET LOCAL session_replication_role = replica;

INSERT INTO ticket.account (user_id, balance)
SELECT u, 1000000000 FROM generate_series(1, :users) AS u;
INSERT INTO ticket.ledger (user_id, kind, debit, credit, amount, balance_before, balance_after, created_at)
SELECT user_id, 'charge', 'charge', 'user:' || user_id, balance, 0, balance, now() FROM ticket.account;

SELECT ticket.number_key_make();
UPDATE ticket.number_key SET made_at = '-infinity';
INSERT INTO ticket.venue (name) VALUES ('Hall');
INSERT INTO ticket.concert (name) SELECT 'Concert ' || c FROM generate_series(1, :concerts + 1) AS c;
INSERT INTO ticket.performance (concert_id, venue_id, starts_at, hold_interval, max_seats_per_user, seat_count)
SELECT c, 1, now() + '30 days', '1 hour', 4, CASE WHEN c > :concerts THEN 1000 ELSE 50 END
FROM generate_series(1, :concerts + 1) AS c;
INSERT INTO ticket.section (performance_id, name, price, first_seat_id, row_count, seats_per_row, seat_count)
SELECT least(s, :concerts + 1), 'Section ' || s, 5000 + s % 100, 1 + 50 * greatest(s - :concerts - 1, 0), 5, 10, 50
FROM generate_series(1, :concerts + 20) AS s;
INSERT INTO ticket.seat (performance_id, seat_id, section_id, row_no, seat_no)
SELECT s.performance_id, s.first_seat_id + i, s.section_id, i / 10 + 1, i % 10 + 1
FROM ticket.section s, generate_series(0, 49) AS i ORDER BY s.section_id, i;

INSERT INTO ticket.reservation (performance_id, user_id, seat_ids, prices, amount, status, created_at,
	expires_at, ended_at)
SELECT 1 + r / 50 % :concerts, 1 + r % :users, ARRAY[1 + r % 50], ARRAY[5000], 5000, 'expired',
	now() - '1 day'::interval, now() - '23 hours'::interval, now() - '23 hours'::interval
FROM generate_series(1, :history) AS r;
COMMIT;

VACUUM (FREEZE, ANALYZE);
