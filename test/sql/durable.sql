-- What concerns money is durable when COMMIT returns, whatever synchronous_commit
-- says: the log has been written out as far as the call had written it.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin
SET search_path = ticket, public;
SET synchronous_commit = off;


SELECT pg_temp.sale(price => 50, max_seats => 10) AS p \gset

BEGIN;
SELECT point_charge('durable', 1000) AS n \gset
SELECT pg_current_wal_insert_lsn() AS lsn \gset
COMMIT;
SELECT ok(pg_current_wal_flush_lsn() >= :'lsn', 'point_charge');

SELECT reservation_id AS r FROM seat_hold(:p, '{1,2}', 'durable') \gset
BEGIN;
SELECT payment_id AS n FROM pay_reservation(:r, 'durable') \gset
SELECT pg_current_wal_insert_lsn() AS lsn \gset
COMMIT;
SELECT ok(pg_current_wal_flush_lsn() >= :'lsn', 'pay_reservation');

BEGIN;
SELECT refunded AS n FROM reservation_cancel(:r, 'durable', '{2}') \gset
SELECT pg_current_wal_insert_lsn() AS lsn \gset
COMMIT;
SELECT ok(pg_current_wal_flush_lsn() >= :'lsn', 'reservation_cancel, in part');

BEGIN;
SELECT refunded AS n FROM reservation_cancel(:r, 'durable') \gset
SELECT pg_current_wal_insert_lsn() AS lsn \gset
COMMIT;
SELECT ok(pg_current_wal_flush_lsn() >= :'lsn', 'reservation_cancel');

SELECT reservation_id AS r FROM seat_hold(:p, '{3}', 'durable') \gset
BEGIN;
SELECT payment_id AS d FROM payment_begin(:r, 'durable', 'card') \gset
SELECT pg_current_wal_insert_lsn() AS lsn \gset
COMMIT;
SELECT ok(pg_current_wal_flush_lsn() >= :'lsn', 'payment_begin');

BEGIN;
SELECT status AS n FROM payment_fail(:d, 'declined') \gset
SELECT pg_current_wal_insert_lsn() AS lsn \gset
COMMIT;
SELECT ok(pg_current_wal_flush_lsn() >= :'lsn', 'payment_fail');

BEGIN;
SELECT status AS n FROM payment_confirm(:d, 'durable-1') \gset
SELECT pg_current_wal_insert_lsn() AS lsn \gset
COMMIT;
SELECT ok(pg_current_wal_flush_lsn() >= :'lsn', 'payment_confirm');

SELECT count(*) AS n FROM reservation_cancel(:r, 'durable') \gset
SELECT refund_id AS f FROM refund WHERE payment_id = :d \gset
BEGIN;
SELECT status AS n FROM refund_confirm(:f, 'durable-2') \gset
SELECT pg_current_wal_insert_lsn() AS lsn \gset
COMMIT;
SELECT ok(pg_current_wal_flush_lsn() >= :'lsn', 'refund_confirm');

BEGIN;
SELECT points AS n FROM user_withdraw('durable') \gset
SELECT pg_current_wal_insert_lsn() AS lsn \gset
COMMIT;
SELECT ok(pg_current_wal_flush_lsn() >= :'lsn', 'user_withdraw');

SELECT * FROM finish();
