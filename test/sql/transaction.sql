-- Shared memory follows the transaction: commit, abort, savepoints, a COMMIT
-- that fails, PREPARE TRANSACTION.  Needs max_prepared_transactions above 0.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin
SET search_path = ticket, public;

-- ---------- commit and abort ----------

SELECT queue_create('transaction', capacity => 2, promote_count => 3, promote_interval => '1 day',
	active_ttl => '30 days', idle_ttl => '30 days') AS q \gset
BEGIN;
SELECT is((SELECT status FROM ticket_enqueue(:q, 'a')), 'active', 'one enters');
SELECT is(pg_temp.memory(:q), '0 waiting, 0 active, 1 admitted', 'before commit only its room is taken');
SELECT is((SELECT in_flight FROM queue_memory() WHERE queue_id = :q), 1, 'and memory knows of the transaction');
COMMIT;
SELECT is(pg_temp.memory(:q), '0 waiting, 1 active, 1 admitted', 'commit');
SELECT is((SELECT in_flight FROM queue_memory() WHERE queue_id = :q), 0, 'it has ended');
BEGIN;
SELECT * FROM ticket_enqueue(:q, 'b') \gset b_
SELECT * FROM ticket_enqueue(:q, 'c') \gset c_
SELECT is(:'b_status' || ' ' || :'c_status', 'active waiting', 'two more enter');
SELECT is((SELECT format('%s %s', status, "position") FROM ticket_status(:'c_token')), 'waiting 1', 'one''s own ticket can be asked for before commit');
SELECT is(pg_temp.memory(:q), '0 waiting, 1 active, 2 admitted', 'their room is taken');
ROLLBACK;
SELECT is(pg_temp.memory(:q), '0 waiting, 1 active, 1 admitted', 'abort');
SELECT pg_temp.refused(format('SELECT ticket.ticket_status(%L)', token), 'TK001', 'what was rolled back has no ticket: ' || what)
FROM (VALUES ('active', :'b_token'), ('waiting', :'c_token')) AS v(what, token);
SELECT is((SELECT format('%s %s %s', entered, promoted, ended) FROM queue_memory() WHERE queue_id = :q), '1 1 0', 'and is not counted');
SELECT is((SELECT status FROM ticket_enqueue(:q, 'd')), 'active', 'the room is free again');
UPDATE queue SET capacity = 3 WHERE queue_id = :q;
SELECT token AS e, status AS e_status FROM ticket_enqueue(:q, 'e') \gset
SELECT is(:'e_status'::text, 'active', 'and so is the rate');
SELECT token AS f, status AS f_status FROM ticket_enqueue(:q, 'f') \gset
SELECT is(:'f_status'::text, 'waiting', 'which is used up now');

BEGIN;
SELECT is(ticket_leave(:'e'), true, 'one leaves');
SELECT is(pg_temp.memory(:q), '1 waiting, 3 active, 3 admitted', 'its room is not free before commit');
ROLLBACK;
SELECT is(pg_temp.memory(:q), '1 waiting, 3 active, 3 admitted', 'nor after abort');
SELECT is((SELECT status FROM ticket_status(:'e')), 'active', 'who left stays');
BEGIN;
SELECT is(ticket_leave(:'e'), true, 'one leaves again');
COMMIT;
SELECT is(pg_temp.memory(:q), '1 waiting, 2 active, 2 admitted', 'after commit it is free');

-- The room of one who leaves is there for the same transaction, once.
SELECT queue_create('once', capacity => 1) AS once \gset
SELECT token AS a FROM ticket_enqueue(:once, 'a') \gset
SELECT count(ticket_enqueue(:once, u)) AS n FROM unnest('{b,c,d}'::text[]) AS u \gset
BEGIN;
SELECT is(ticket_leave(:'a'), true, 'one leaves and lets the next in');
SELECT is(ticket_promote(:once), 1, 'whose room it is');
SELECT is(ticket_promote(:once), 0, 'and nobody else''s');
COMMIT;
SELECT is(pg_temp.memory(:once), '2 waiting, 1 active, 1 admitted', 'so that no more are in than may be');

SET ticket.clock_offset = '2d';
DO $$
DECLARE
	q bigint := (SELECT max(queue_id) FROM ticket.queue WHERE name = 'transaction');
BEGIN
	FOR i IN 1 .. 4 LOOP
		BEGIN
			PERFORM ticket.ticket_promote(q);
			RAISE division_by_zero;
		EXCEPTION WHEN division_by_zero THEN
			NULL;
		END;
	END LOOP;
END $$;
SELECT is(pg_temp.memory(:q), '1 waiting, 2 active, 2 admitted', 'promoted and rolled back, more often than the rate allows');
BEGIN;
SELECT is(ticket_promote(:q), 1, 'one is promoted');
SELECT is(pg_temp.memory(:q), '1 waiting, 2 active, 3 admitted', 'promote: before commit');
ROLLBACK;
SELECT is(pg_temp.memory(:q), '1 waiting, 2 active, 2 admitted', 'promote: abort');
SELECT is((SELECT format('%s %s', status, "position") FROM ticket_status(:'f')), 'waiting 1', 'promote: waits as before');
SELECT is(ticket_promote(:q), 1, 'promote: commit');
SELECT is(pg_temp.memory(:q), '0 waiting, 3 active, 3 admitted', 'promote: after');
SET ticket.clock_offset = '40d';
BEGIN;
SELECT is(ticket_expire(:q), 3, 'all are over');
ROLLBACK;
SELECT is(pg_temp.memory(:q), '0 waiting, 3 active, 3 admitted', 'expire: abort');
SELECT is(ticket_expire(:q), 3, 'expire: commit');
SELECT is(pg_temp.memory(:q), '0 waiting, 0 active, 0 admitted', 'expire: after');
RESET ticket.clock_offset;

SELECT queue_create('paying', capacity => 1) AS q \gset
SELECT pg_temp.sale(price => 1, queue_id => :q) AS p, point_charge('transaction', 10) AS balance \gset
SELECT token AS a FROM ticket_enqueue(:q, 'transaction') \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{1}', 'transaction', :'a') \gset
BEGIN;
SELECT is((SELECT status FROM pay_reservation(:r, 'transaction')), 'captured', 'one pays');
ROLLBACK;
SELECT is(pg_temp.memory(:q), '0 waiting, 1 active, 1 admitted', 'pay: abort');
SELECT is(format('%s %s %s', pg_temp.seats(:p, 1), point_balance('transaction'), (SELECT status FROM ticket_status(:'a'))), 'held 10 active',
	'pay: all as before');
SELECT is((SELECT status FROM pay_reservation(:r, 'transaction')), 'captured', 'pay: commit');
SELECT is(pg_temp.memory(:q), '0 waiting, 0 active, 0 admitted', 'pay: after');

-- Whom the same transaction has let in no longer waits, whatever memory says before it commits.
SELECT queue_create('silent', capacity => 0, idle_ttl => '1 minute') AS q \gset
SELECT count(ticket_enqueue(:q, u)) AS n FROM unnest('{a,b}'::text[]) AS u \gset
UPDATE queue SET capacity = 1 WHERE queue_id = :q;
BEGIN;
SELECT is(ticket_promote(:q), 1, 'one is let in');
SET LOCAL ticket.clock_offset = '2min';
SELECT is(ticket_expire(:q), 1, 'who is silent goes');
COMMIT;
SELECT is((SELECT array_agg(format('%s %s', user_id, status) ORDER BY place) FROM queue_entry WHERE queue_id = :q), '{"a active","b expired"}', 'but not the one who is in');
SELECT is(pg_temp.memory(:q), '0 waiting, 1 active, 1 admitted', 'in memory neither');

-- A queue that comes and goes with its transaction.
BEGIN;
SELECT queue_create('never') AS q \gset
SELECT count(ticket_enqueue(:q, 'u' || i)) AS n FROM generate_series(1, 3) AS i \gset
SELECT is(pg_temp.memory(:q), '0 waiting, 0 active, 3 admitted', 'create: before commit');
ROLLBACK;
SELECT is(pg_temp.memory(:q), NULL, 'create: abort leaves no slot');
SELECT pg_temp.refused(format('SELECT ticket.ticket_enqueue(%s, $$a$$)', :q), 'TK005', 'create: nor a queue');
BEGIN;
SELECT queue_create('ever', capacity => 2) AS q \gset
SELECT count(ticket_enqueue(:q, 'u' || i)) AS n FROM generate_series(1, 3) AS i \gset
COMMIT;
SELECT is(pg_temp.memory(:q), '1 waiting, 2 active, 2 admitted', 'create: commit');

-- ---------- savepoints ----------

SELECT queue_create('savepoints', capacity => 2) AS q \gset
BEGIN;
SELECT count(ticket_enqueue(:q, 'a')) AS n \gset
SAVEPOINT s1;
SELECT count(ticket_enqueue(:q, 'b')) AS n \gset
SAVEPOINT s2;
SELECT count(ticket_enqueue(:q, 'c')) AS n \gset
SAVEPOINT s3;
SELECT count(ticket_enqueue(:q, 'd')) AS n \gset
RELEASE s3;
ROLLBACK TO s2;
SELECT count(ticket_enqueue(:q, 'e')) AS n \gset
RELEASE s1;
SELECT count(ticket_enqueue(:q, 'f')) AS n \gset
COMMIT;
SELECT is((SELECT array_agg(format('%s %s', user_id, status) ORDER BY place) FROM queue_entry WHERE queue_id = :q),
	'{"a active","b active","e waiting","f waiting"}', 'what was rolled back to is not there');
SELECT is(pg_temp.memory(:q), '2 waiting, 2 active, 2 admitted', 'nor in memory');
SELECT is((SELECT array_agg(t."position" ORDER BY u) FROM unnest('{e,f}'::text[]) AS u, ticket_enqueue(:q, u) AS t), '{1,2}', 'nor in the line');
BEGIN;
SAVEPOINT s1;
SELECT count(ticket_leave(t.token)) AS n FROM ticket_enqueue(:q, 'a') AS t \gset
SAVEPOINT s2;
SELECT count(ticket_leave(t.token)) AS n FROM ticket_enqueue(:q, 'e') AS t \gset
RELEASE s2;
ROLLBACK TO s1;
SELECT count(ticket_leave(t.token)) AS n FROM ticket_enqueue(:q, 'b') AS t \gset
COMMIT;
SELECT is(pg_temp.memory(:q), '2 waiting, 1 active, 1 admitted', 'released and then rolled back from outside');
DO $$
DECLARE
	q bigint := (SELECT max(queue_id) FROM ticket.queue WHERE name = 'savepoints');
BEGIN
	FOR i IN 1 .. 4 LOOP
		BEGIN
			PERFORM ticket.ticket_enqueue(q, 'loop ' || i);
			IF i % 2 = 0 THEN
				RAISE division_by_zero;
			END IF;
		EXCEPTION WHEN division_by_zero THEN
			NULL;
		END;
	END LOOP;
END $$;
SELECT is(pg_temp.memory(:q), '4 waiting, 1 active, 1 admitted', 'blocks with EXCEPTION are savepoints too');
BEGIN;
SELECT count(ticket_enqueue(:q, 'error')) AS n \gset
SELECT 1 / 0;
COMMIT;
SELECT is(pg_temp.memory(:q), '4 waiting, 1 active, 1 admitted', 'after an error COMMIT is an abort');
SELECT is(pg_temp.memory(:q), pg_temp.counted(:q), 'memory has what the tables have');

-- Rolled back to a savepoint, the room is there for the next in the same transaction.
SELECT queue_create('room', capacity => 1) AS q \gset
BEGIN;
SAVEPOINT s;
SELECT is((SELECT status FROM ticket_enqueue(:q, 'a')), 'active', 'the only room');
ROLLBACK TO s;
SELECT is((SELECT status FROM ticket_enqueue(:q, 'b')), 'active', 'is free again');
COMMIT;
SELECT is(pg_temp.memory(:q), '0 waiting, 1 active, 1 admitted', 'and used once');

-- ---------- a COMMIT that fails ----------

CREATE TABLE transaction_late (fail boolean, queue_id bigint);
CREATE FUNCTION transaction_late() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.fail THEN
		RAISE EXCEPTION 'too late';
	END IF;
	PERFORM ticket.ticket_enqueue(NEW.queue_id, 'late');
	RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON transaction_late DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION transaction_late();
SELECT queue_create('late', capacity => 1) AS q \gset
BEGIN;
SELECT count(ticket_enqueue(:q, u)) AS n FROM unnest('{a,b}'::text[]) AS u \gset
UPDATE queue SET capacity = 5 WHERE queue_id = :q;
INSERT INTO transaction_late VALUES (true, :q);
COMMIT;
SELECT is(:'LAST_ERROR_SQLSTATE'::text, 'P0001', 'a COMMIT fails');
SELECT is(pg_temp.memory(:q), '0 waiting, 0 active, 0 admitted', 'and nothing has happened');
SELECT is((SELECT array_agg(t.status) FROM unnest('{c,d}'::text[]) AS u, ticket_enqueue(:q, u) AS t), '{active,waiting}',
	'with the capacity that was');
BEGIN;
INSERT INTO transaction_late VALUES (false, :q);
COMMIT;
SELECT is(pg_temp.memory(:q), '2 waiting, 1 active, 1 admitted', 'what a COMMIT does itself is there');
SELECT is(pg_temp.memory(:q), pg_temp.counted(:q), 'in the tables too');
DROP TABLE transaction_late;
DROP FUNCTION transaction_late;

-- ---------- two-phase commit ----------

SELECT queue_create('two-phase', capacity => 1) AS q \gset
BEGIN;
SELECT count(ticket_enqueue(:q, u)) AS n FROM unnest('{a,b}'::text[]) AS u \gset
PREPARE TRANSACTION 'regress_ticket';
SELECT is(:'LAST_ERROR_SQLSTATE'::text, 'TK015', 'PREPARE is refused to one who has entered');
SELECT is(pg_temp.memory(:q), '0 waiting, 0 active, 0 admitted', 'and nothing has happened');
SELECT count(ticket_enqueue(:q, u)) AS n FROM unnest('{a,b}'::text[]) AS u \gset
BEGIN;
SELECT count(ticket_leave(t.token)) AS n FROM ticket_enqueue(:q, 'a') AS t \gset
PREPARE TRANSACTION 'regress_ticket';
SELECT is(:'LAST_ERROR_SQLSTATE'::text, 'TK015', 'to one who has left');
BEGIN;
UPDATE queue SET capacity = 2 WHERE queue_id = :q;
PREPARE TRANSACTION 'regress_ticket';
SELECT is(:'LAST_ERROR_SQLSTATE'::text, 'TK015', 'to one who has changed a queue');
BEGIN;
SELECT queue_create('prepared') AS q2 \gset
PREPARE TRANSACTION 'regress_ticket';
SELECT is(:'LAST_ERROR_SQLSTATE'::text, 'TK015', 'to one who has created a queue');
SELECT is(pg_temp.memory(:q), '1 waiting, 1 active, 1 admitted', 'all is as it was');
SELECT is(pg_temp.memory(:q2), NULL, 'no queue has come');
SELECT is(ticket_promote(:q), 0, 'no capacity has come');
BEGIN;
SAVEPOINT s;
SELECT count(ticket_enqueue(:q, 'c')) AS n \gset
ROLLBACK TO s;
SELECT point_charge('two-phase', 5) AS balance \gset
PREPARE TRANSACTION 'regress_ticket';
SELECT is((SELECT count(*) FROM pg_prepared_xacts WHERE gid = 'regress_ticket'), 1::bigint, 'who has changed no waiting room may');
SELECT is(point_balance('two-phase'), 0::bigint, 'and the points come');
COMMIT PREPARED 'regress_ticket';
SELECT is(point_balance('two-phase'), 5::bigint, 'with COMMIT PREPARED');
SELECT is((SELECT count(*) FROM pg_prepared_xacts WHERE gid = 'regress_ticket'), 0::bigint, 'nothing is left prepared');
-- Seat maps follow transactions, too: COMMIT PREPARED would not tell them.
SELECT pg_temp.sale(price => 5) AS p \gset
BEGIN;
SELECT reservation_id AS r FROM seat_hold(:p, '{1,2}', 'two-phase') \gset
PREPARE TRANSACTION 'regress_ticket';
SELECT is(:'LAST_ERROR_SQLSTATE'::text, 'TK015', 'PREPARE is refused to one who holds seats, waiting room or not');
SELECT is((SELECT count(*) FROM pg_prepared_xacts WHERE gid = 'regress_ticket'), 0::bigint, 'it is not prepared');
SELECT is(pg_temp.seats(:p, 1, 2), 'free free', 'the seats are free');
SELECT is((SELECT status FROM seat_hold(:p, '{1,2}', 'other')), 'held', 'for another to hold');
-- Paying changes a waiting room as well.
SELECT queue_create('two-phase sale', capacity => 5) AS q2 \gset
SELECT pg_temp.sale(price => 1, queue_id => :q2) AS p \gset
SELECT token AS t FROM ticket_enqueue(:q2, 'two-phase') \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{1}', 'two-phase', :'t') \gset
SELECT point_charge('two-phase', 5) AS balance \gset
BEGIN;
SELECT status FROM pay_reservation(:r, 'two-phase') \gset
PREPARE TRANSACTION 'regress_ticket';
SELECT is(:'LAST_ERROR_SQLSTATE'::text, 'TK015', 'PREPARE is refused to one who has paid and so left the room');
SELECT is(pg_temp.memory(:q2), '0 waiting, 1 active, 1 admitted', 'who is in as before');

-- ---------- tables changed by hand ----------

SELECT queue_create('hand', capacity => 1) AS q \gset
SELECT count(ticket_enqueue(:q, u)) AS n FROM unnest('{a,b,c}'::text[]) AS u \gset
SELECT token AS c FROM ticket_enqueue(:q, 'c') \gset
BEGIN;
DELETE FROM queue_entry WHERE queue_id = :q AND user_id = 'b';
ROLLBACK;
SELECT is(pg_temp.memory(:q), '2 waiting, 1 active, 1 admitted', 'DELETE: abort');
DELETE FROM queue_entry WHERE queue_id = :q AND user_id = 'b';
SELECT is(pg_temp.memory(:q), '1 waiting, 1 active, 1 admitted', 'DELETE: commit');
SELECT is((SELECT "position" FROM ticket_status(:'c')), 1::bigint, 'DELETE: the next moves up');
UPDATE queue_entry SET status = 'expired', ended_at = clock() WHERE queue_id = :q AND user_id = 'a';
SELECT is(pg_temp.memory(:q), '1 waiting, 0 active, 0 admitted', 'UPDATE: commit');
SELECT is(ticket_promote(:q), 1, 'UPDATE: the room is free');
INSERT INTO queue_entry (queue_id, place, user_id, secret, status, entered_at) VALUES (:q, 1000, 'z', 1, 'waiting', clock());
SELECT is(pg_temp.memory(:q), '1 waiting, 1 active, 1 admitted', 'INSERT: commit');
SELECT count(ticket_enqueue(:q, 'y')) AS n \gset
SELECT is((SELECT array_agg(user_id ORDER BY place) FROM queue_entry WHERE queue_id = :q AND status = 'waiting'), '{z,y}',
	'INSERT: later places are behind');

-- What has been read goes on like what was there before.
SELECT queue_create('read', capacity => 1, active_ttl => '10 minutes') AS q \gset
SELECT count(ticket_enqueue(:q, 'a')) AS n \gset
UPDATE queue_entry SET status = status WHERE queue_id = :q;
SET ticket.clock_offset = '9min';
SELECT is(ticket_expire(:q), 0, 'read: who is active stays');
SET ticket.clock_offset = '11min';
SELECT is(ticket_expire(:q), 1, 'read: until the time is up');
RESET ticket.clock_offset;

-- What somebody's trigger does to tickets is done by hand, though a statement of ours fires it.
SELECT queue_create('triggered', capacity => 0) AS q \gset
SELECT token AS a FROM ticket_enqueue(:q, 'a') \gset
SELECT count(ticket_enqueue(:q, u)) AS n FROM unnest('{a-guest,b}'::text[]) AS u \gset
SELECT token AS b FROM ticket_enqueue(:q, 'b') \gset
CREATE FUNCTION public.guest_leaves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE ticket.queue_entry e SET status = 'left', ended_at = NEW.ended_at
	WHERE e.queue_id = NEW.queue_id AND e.user_id = NEW.user_id || '-guest' AND e.ended_at IS NULL;
	RETURN NEW;
END $$;
CREATE TRIGGER guest_leaves AFTER UPDATE OF ended_at ON queue_entry FOR EACH ROW EXECUTE FUNCTION public.guest_leaves();
SELECT is(ticket_leave(:'a'), true, 'one leaves, and a trigger takes another out');
SELECT is((SELECT "position" FROM ticket_status(:'b')), 1::bigint, 'trigger: both are gone');
SELECT is(pg_temp.memory(:q), '1 waiting, 0 active, 0 admitted', 'trigger: commit');
DROP TRIGGER guest_leaves ON queue_entry;
DROP FUNCTION public.guest_leaves();

SELECT is(
	(SELECT string_agg(format('%s: %s, tables %s', queue_id, pg_temp.memory(queue_id), pg_temp.counted(queue_id)), '; ')
	FROM queue WHERE pg_temp.memory(queue_id) IS DISTINCT FROM pg_temp.counted(queue_id)),
	NULL, 'memory has what the tables have, in every queue');
SELECT is((SELECT count(*) FROM queue_memory()), (SELECT count(*) FROM queue), 'and knows no other queue');
SELECT is((SELECT sum(in_flight) FROM queue_memory()), 0::bigint, 'no transaction is still counted');
SELECT * FROM finish();
