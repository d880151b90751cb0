-- Rows that C writes past the planner and the executor: what others have put on
-- the tables (triggers, columns, constraints, indexes, row security) holds all
-- the same.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin
SET search_path = ticket, public;

CREATE TABLE pg_temp.seen (what text);
CREATE FUNCTION pg_temp.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO pg_temp.seen VALUES (concat_ws(' ', TG_TABLE_NAME, TG_WHEN, TG_OP, TG_LEVEL,
		CASE WHEN TG_LEVEL = 'ROW' THEN NEW.user_id END));
	RETURN NEW;
END $$;
CREATE FUNCTION pg_temp.noted() RETURNS text LANGUAGE sql AS $$
	WITH gone AS (DELETE FROM pg_temp.seen RETURNING what) SELECT string_agg(what, ', ' ORDER BY what) FROM gone $$;
-- In a READ ONLY transaction it is refused as any statement that writes.
CREATE FUNCTION pg_temp.read_only(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	was text := pg_temp.state();
	got text := 'no error';
BEGIN
	BEGIN
		SET LOCAL transaction_read_only = on;
		EXECUTE call;
	EXCEPTION WHEN OTHERS THEN
		got := SQLSTATE;
	END;
	RETURN is(got || CASE WHEN pg_temp.state() = was THEN '' ELSE ', and has written' END, '25006',
		substring(call FROM 'ticket\.(\w+)') || ' is refused in a READ ONLY transaction');
END $$;
SELECT queue_create('write') AS q \gset

-- ---------- triggers ----------

BEGIN;
SELECT is((SELECT status FROM ticket_enqueue(:q, 'a')), 'active', 'a ticket, before there is anything');
CREATE TRIGGER note BEFORE INSERT ON queue_entry FOR EACH ROW EXECUTE FUNCTION pg_temp.note();
CREATE TRIGGER note_after AFTER INSERT ON queue_entry FOR EACH ROW EXECUTE FUNCTION pg_temp.note();
CREATE TRIGGER note_statement AFTER INSERT ON queue_entry FOR EACH STATEMENT EXECUTE FUNCTION pg_temp.note();
SELECT is((SELECT status FROM ticket_enqueue(:q, 'b')), 'active', 'a ticket, with triggers');
SELECT is(pg_temp.noted(), 'queue_entry AFTER INSERT ROW b, queue_entry AFTER INSERT STATEMENT, queue_entry BEFORE INSERT ROW b',
	'every one has run');
DROP TRIGGER note ON queue_entry;
DROP TRIGGER note_after ON queue_entry;
DROP TRIGGER note_statement ON queue_entry;
SELECT is((SELECT status FROM ticket_enqueue(:q, 'c')), 'active', 'a ticket, without them');
SELECT is(pg_temp.noted(), NULL, 'none has run');
ROLLBACK;
SELECT is(pg_temp.memory(:q), '0 waiting, 0 active, 0 admitted', 'rolled back, all is as before');

-- ---------- columns ----------

BEGIN;
ALTER TABLE queue_entry ADD COLUMN channel text NOT NULL DEFAULT 'web';
SELECT is((SELECT status FROM ticket_enqueue(:q, 'a')), 'active', 'a ticket, with a column more');
SELECT is((SELECT channel FROM queue_entry WHERE queue_id = :q AND user_id = 'a'), 'web', 'which has its default');
ROLLBACK;
BEGIN;
ALTER TABLE queue_entry ADD COLUMN length int GENERATED ALWAYS AS (length(user_id)) STORED;
SELECT is((SELECT status FROM ticket_enqueue(:q, 'abc')), 'active', 'a ticket, with a generated column');
SELECT is((SELECT length FROM queue_entry WHERE queue_id = :q AND user_id = 'abc'), 3, 'which is generated');
ROLLBACK;

-- ---------- constraints ----------

BEGIN;
ALTER TABLE queue_entry ADD CONSTRAINT queue_entry_decent CHECK (user_id <> 'rude');
SELECT pg_temp.refused(format('SELECT ticket.ticket_enqueue(%s, %L)', :q, 'rude'), '23514', 'a CHECK of the operator''s own refuses');
SELECT is((SELECT status FROM ticket_enqueue(:q, 'polite')), 'active', 'and lets others in');
ROLLBACK;
SELECT is((SELECT status FROM ticket_enqueue(:q, 'rude')), 'active', 'without it all may enter');
BEGIN;
CREATE FUNCTION decent(user_id text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN user_id <> 'rude'; END $$;
REVOKE ALL ON FUNCTION decent FROM PUBLIC;
CREATE ROLE regress_ticket_buyer;
SELECT grant_role('regress_ticket_buyer', 'buyer') AS granted \gset
ALTER TABLE reservation ADD CONSTRAINT reservation_decent CHECK (ticket.decent(user_id)) NOT VALID;
SELECT pg_temp.sale() AS p \gset
SET LOCAL ROLE regress_ticket_buyer;
SELECT status AS s FROM ticket.seat_hold(:p, '{1}', 'decent') \gset
RESET ROLE;
SELECT is(:'s'::text, 'held', 'a CHECK may call what only the owner may call');
ROLLBACK;
BEGIN;
UPDATE queue SET mode = 'paused' WHERE queue_id = :q;
COMMIT;
BEGIN;
DELETE FROM queue_entry;
ALTER TABLE queue_entry ALTER COLUMN expires_at SET NOT NULL;
SELECT pg_temp.refused(format('SELECT ticket.ticket_enqueue(%s, %L)', :q, 'waiter'), '23502', 'so does NOT NULL');
ROLLBACK;
UPDATE queue SET mode = 'open' WHERE queue_id = :q;
SELECT is(pg_temp.memory(:q), pg_temp.counted(:q), 'shared memory has what the table has');

-- ---------- indexes ----------

BEGIN;
DELETE FROM queue_entry;
CREATE UNIQUE INDEX one_each ON queue_entry (lower(user_id)) WHERE ended_at IS NULL;
SELECT is((SELECT status FROM ticket_enqueue(:q, 'Anna')), 'active', 'a ticket, with an index on an expression');
SELECT pg_temp.refused(format('SELECT ticket.ticket_enqueue(%s, %L)', :q, 'anna'), '23505', 'which is unique');
ROLLBACK;
BEGIN;
DELETE FROM queue_entry;
CREATE UNIQUE INDEX one_each ON queue_entry (user_id);
SELECT is((SELECT status FROM ticket_enqueue(:q, 'anna')), 'active', 'a ticket, with an index more');
SELECT queue_create('another') AS r \gset
SELECT pg_temp.refused(format('SELECT ticket.ticket_enqueue(%s, %L)', :r, 'anna'), '23505', 'which is unique');
SELECT is((SELECT count(*) FROM queue_entry WHERE user_id = 'anna'), 1::bigint, 'and finds the ticket');
ROLLBACK;
BEGIN;
CREATE INDEX by_hash ON queue_entry USING hash (user_id);
SELECT is((SELECT status FROM ticket_enqueue(:q, 'anna')), 'active', 'a ticket, with an index of another kind');
SET LOCAL enable_seqscan = off;
SET LOCAL enable_bitmapscan = off;
SELECT is((SELECT count(*) FROM queue_entry WHERE user_id = 'anna'), 1::bigint, 'which finds it');
ROLLBACK;

-- ---------- row security ----------

BEGIN;
ALTER TABLE queue_entry ENABLE ROW LEVEL SECURITY;
SELECT is((SELECT status FROM ticket_enqueue(:q, 'anna')), 'active', 'the owner is not held to row security');
ALTER TABLE queue_entry FORCE ROW LEVEL SECURITY;
CREATE ROLE regress_ticket_owner;
GRANT ALL ON SCHEMA ticket TO regress_ticket_owner;
ALTER TABLE queue_entry OWNER TO regress_ticket_owner;
CREATE POLICY all_of_them ON queue_entry USING (true) WITH CHECK (user_id <> 'loud');
SELECT pg_temp.refused(format('SELECT ticket.ticket_enqueue(%s, %L)', :q, 'loud'), '42501', 'unless it is forced');
SELECT is((SELECT status FROM ticket_enqueue(:q, 'quiet')), 'active', 'which may let others in');
ROLLBACK;

-- ---------- READ ONLY ----------

SELECT pg_temp.sale() AS p \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{1}', 'write-0') \gset
SELECT pg_temp.read_only(format(call, :q, :p, :r)) FROM unnest(ARRAY[
	'SELECT ticket.ticket_enqueue(%1$s, ''reader'')',
	'SELECT ticket.seat_hold(%2$s, ''{2}'', ''reader'')',
	'SELECT ticket.seat_hold_best(%2$s, 1, ''reader'')',
	'SELECT ticket.seat_release(%3$s, ''write-0'')',
	'SELECT ticket.pay_reservation(%3$s, ''write-0'')',
	'SELECT ticket.payment_begin(%3$s, ''write-0'', ''card'')',
	'SELECT ticket.reservation_cancel(%3$s, ''write-0'')',
	'SELECT ticket.point_charge(''write-0'', 5)',
	'SELECT ticket.user_withdraw(''write-0'')',
	'SELECT ticket.outbox_fetch(1)',
	'SELECT ticket.outbox_read(1)',
	'SELECT ticket.outbox_ack(ARRAY[gen_random_uuid()])']) AS call;
BEGIN READ ONLY;
SELECT count(*) FROM seats(:p), sections(:p) \gset
COMMIT;
SET ticket.clock_offset = '1h';
SELECT pg_temp.read_only('SELECT ticket.seat_hold_expire()');
RESET ticket.clock_offset;

-- ---------- isolation ----------

-- What nobody else has touched can be changed under every level.
SELECT pg_temp.sale() AS p \gset
SELECT count(point_charge('write-' || i, 1000)) AS n FROM generate_series(1, 2) AS i \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{1}', 'write-1') \gset
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT is((SELECT status FROM seat_hold(:p, '{2}', 'write-1')), 'held', 'held under REPEATABLE READ');
SELECT is((SELECT status FROM pay_reservation(:r, 'write-1')), 'captured', 'paid under REPEATABLE READ');
SELECT is((SELECT status FROM pay_reservation(:r, 'write-1')), 'captured', 'and again');
COMMIT;
SELECT reservation_id AS r FROM seat_hold(:p, '{3}', 'write-2') \gset
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT is((SELECT status FROM pay_reservation(:r, 'write-2')), 'captured', 'paid under SERIALIZABLE');
COMMIT;
SELECT reservation_id AS r FROM seat_hold(:p, '{4}', 'write-2') \gset
SET ticket.clock_offset = '10 min';
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT throws_ok(format('SELECT pay_reservation(%s, ''write-2'')', :r), 'TK007', NULL, 'what is over is over there, too');
ROLLBACK;
RESET ticket.clock_offset;

SELECT * FROM finish();
