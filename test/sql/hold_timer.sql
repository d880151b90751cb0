-- Timers: whoever sets the end of a hold leaves one, by whatever way; the sweep
-- ends what is over and deletes every timer that is due, and no other.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin
SET search_path = ticket, public;

-- The timers of a reservation, as minutes after it was made.
CREATE FUNCTION pg_temp.timers(reservation_id bigint) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(round(extract(epoch FROM t.due_at - r.created_at) / 60, 1)::text, ' ' ORDER BY t.due_at), 'none')
	FROM hold_timer t JOIN reservation r USING (reservation_id) WHERE r.reservation_id = $1 $$;
-- A sweep at a time of the sale's clock: how many holds it ended.
CREATE FUNCTION pg_temp.swept("offset" text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	n int;
BEGIN
	PERFORM set_config('ticket.clock_offset', "offset", false);
	n := seat_hold_expire();
	PERFORM set_config('ticket.clock_offset', '0', false);
	RETURN n;
END $$;
CREATE FUNCTION pg_temp.status(reservation_id bigint) RETURNS text LANGUAGE sql AS $$
	SELECT status FROM reservation r WHERE r.reservation_id = $1 $$;

-- What other tests have left
SELECT pg_temp.swept('1d') AS n \gset
SELECT is((SELECT count(*) FROM hold_timer), 0::bigint, 'nothing is due');
SELECT pg_temp.sale() AS p, count(point_charge('timer', 1000)) AS n \gset

-- ---------- who sets an end ----------

SELECT reservation_id AS r FROM seat_hold(:p, '{1,2}', 'timer') \gset
SELECT is(pg_temp.timers(:r), '5.0', 'seat_hold sets one');
SELECT is(pg_temp.swept('290 s'), 0, 'before its time');
SELECT is(pg_temp.timers(:r), '5.0', 'it stays');
SELECT hold_extend(:r, 'timer', '2 minutes') > now() AS more \gset
SELECT is(pg_temp.timers(:r), '5.0 7.0', 'hold_extend sets another');
SELECT is(pg_temp.swept('310 s'), 0, 'the first is due: the hold was put off');
SELECT is(pg_temp.timers(:r), '7.0', 'it is deleted');
SELECT is(pg_temp.status(:r), 'held', 'and the hold stays');
SELECT is(seat_release(:r, 'timer', '{2}'), true, 'some seats go');
SELECT is(pg_temp.timers(:r), '7.0', 'which is no new end');
SELECT is(pg_temp.swept('430 s'), 1, 'the second is due: the hold is over');
SELECT is(pg_temp.status(:r), 'expired', 'it has ended');
SELECT is(pg_temp.timers(:r), 'none', 'with its timer');

SELECT reservation_id AS best FROM seat_hold_best(:p, 1, 'timer') \gset
SELECT is(pg_temp.timers(:best), '5.0', 'seat_hold_best sets one');
SELECT payment_id AS payment FROM payment_begin(:best, 'timer', 'card') \gset
SELECT is((SELECT string_agg(format('%s', t.due_at = r.expires_at), ' ' ORDER BY t.due_at) FROM hold_timer t JOIN reservation r USING (reservation_id)
	WHERE reservation_id = :best), 'f t', 'payment_begin sets one for the end it gives');
SELECT reservation_id AS key FROM seat_hold(:p, '{10}', 'timer', idempotency_key => 'timer') \gset
SELECT is(pg_temp.timers(:key), '5.0', 'a call with a key sets one');
SELECT count(seat_hold(:p, '{10}', 'timer', idempotency_key => 'timer')) AS n \gset
SELECT is(pg_temp.timers(:key), '5.0', 'its repetition sets none');
SELECT is(seat_release(:key, 'timer'), true, 'given back');
SELECT is(pg_temp.timers(:key), '5.0', 'the timer is left to the sweep');
SELECT reservation_id AS paid FROM seat_hold(:p, '{9}', 'timer') \gset
SELECT is((SELECT status FROM pay_reservation(:paid, 'timer')), 'captured', 'paid');
SELECT is(pg_temp.timers(:paid), '5.0', 'likewise');
SELECT is((SELECT status FROM payment_confirm(:payment, 'timer')), 'captured', 'confirmed');
SELECT is(pg_temp.swept('1h'), 0, 'there is nothing to end');
SELECT is((SELECT count(*) FROM hold_timer), 0::bigint, 'all of them are gone');
SELECT is(pg_temp.status(:paid) || ' ' || pg_temp.status(:best) || ' ' || pg_temp.status(:key), 'paid paid released', 'and nothing else');

-- ---------- rows written by hand ----------

INSERT INTO reservation (performance_id, user_id, seat_ids, prices, amount, status, created_at, expires_at)
SELECT :p, 'timer-hand', '{5}', '{1}', 1, 'held', now(), now() + interval '5 minutes' RETURNING reservation_id AS hand \gset
UPDATE seat s SET status = 'held', reservation_id = :hand, held_until = r.expires_at FROM reservation r
WHERE r.reservation_id = :hand AND s.performance_id = :p AND s.seat_id = 5;
SELECT is(pg_temp.timers(:hand), '5.0', 'a hold that is inserted has one');
UPDATE reservation SET expires_at = expires_at, amount = 2 WHERE reservation_id = :hand;
SELECT is(pg_temp.timers(:hand), '5.0', 'the same end needs no other');
BEGIN;
UPDATE reservation SET expires_at = expires_at - interval '3 minutes' WHERE reservation_id = :hand;
SELECT is(pg_temp.timers(:hand), '2.0 5.0', 'an earlier end does');
SELECT is(pg_temp.swept('150 s'), 1, 'and it is over then');
ROLLBACK;
SELECT is(pg_temp.timers(:hand), '5.0', 'rolled back, all is as before');
BEGIN;
DELETE FROM hold_timer;
SELECT is((SELECT string_agg(invariant || ' ' || violations, ', ') FROM verify() WHERE NOT ok), 'every hold has a timer 1', 'without it verify() complains');
SELECT is(hold_timers_restore(), 1::bigint, 'this restores it');
SELECT is(hold_timers_restore(), 0::bigint, 'once');
SELECT is(pg_temp.timers(:hand), '5.0', 'for its end');
ROLLBACK;
INSERT INTO hold_timer VALUES (now(), :hand), (now(), :hand), (now(), -1), ('-infinity', :paid);
SELECT is(pg_temp.swept('1 s'), 0, 'timers too many, of no hold, of one that is paid');
SELECT is((SELECT count(*) FROM hold_timer), 1::bigint, 'do no harm');
SELECT is(pg_temp.swept('310 s'), 1, 'the one that is right is right');
INSERT INTO reservation (performance_id, user_id, seat_ids, prices, amount, status, created_at, expires_at, ended_at)
SELECT :p, 'timer-past', '{5}', '{1}', 1, 'expired', now(), now(), now();
SELECT is((SELECT count(*) FROM hold_timer), 0::bigint, 'what is not held has none');

-- ---------- as much as was asked for ----------

SELECT pg_temp.sale() AS p \gset
SELECT count(seat_hold(:p, ARRAY[i], 'timer-' || i)) AS n FROM generate_series(6, 9) AS i \gset
SELECT count(seat_release(r.reservation_id, 'timer-7')) AS n FROM reservation r WHERE user_id = 'timer-7' \gset
SET ticket.clock_offset = '1h';
SELECT is(seat_hold_expire(0), 0, 'nothing was asked for');
SELECT is((SELECT count(*) FROM hold_timer), 4::bigint, 'nothing was done');
SELECT is(seat_hold_expire(2), 2, 'two were asked for');
SELECT is((SELECT string_agg(user_id, ' ') FROM reservation r JOIN hold_timer t USING (reservation_id)), 'timer-9',
	'the first two, past one that was given back');
SELECT is((SELECT format('%s %s', expired_holds, more) FROM tick()), '1 f', 'tick() does the rest');
SELECT is((SELECT format('%s %s', expired_holds, more) FROM tick()), '0 f', 'which was all');
-- Those of holds that were given back count, too: a round stays short.
INSERT INTO hold_timer SELECT clock() - interval '1 min', max(reservation_id) FROM reservation, generate_series(1, 1500)
WHERE ended_at IS NOT NULL GROUP BY generate_series;
SELECT is((SELECT format('%s %s', expired_holds, more) FROM tick()), '0 t', 'a round does not do all of many timers');
SELECT is((SELECT count(*) FROM hold_timer), 500::bigint, 'but 1,000');
SELECT is((SELECT format('%s %s', expired_holds, more) FROM tick()), '0 f', 'and the next one the rest');
SELECT is((SELECT count(*) FROM hold_timer), 0::bigint, 'of which there is none');
RESET ticket.clock_offset;

-- ---------- what others have put on the tables ----------

BEGIN;
CREATE TABLE pg_temp.seen (what text);
CREATE FUNCTION pg_temp.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO pg_temp.seen VALUES (concat_ws(' ', TG_TABLE_NAME, TG_OP));
	RETURN coalesce(NEW, OLD);
END $$;
CREATE TRIGGER note BEFORE INSERT OR UPDATE ON reservation FOR EACH ROW EXECUTE FUNCTION pg_temp.note();
SELECT reservation_id AS r FROM seat_hold(:p, '{6}', 'timer-6') \gset
SELECT is((SELECT count(DISTINCT due_at) FROM hold_timer WHERE reservation_id = :r), 1::bigint, 'a hold past a trigger has its timer');
CREATE TRIGGER note BEFORE DELETE ON hold_timer FOR EACH ROW EXECUTE FUNCTION pg_temp.note();
SELECT is(pg_temp.swept('310 s'), 1, 'it ends');
SELECT is((SELECT count(*) FROM hold_timer), 0::bigint, 'and its timers go');
SELECT is((SELECT string_agg(DISTINCT what, ', ' ORDER BY what) FROM pg_temp.seen), 'hold_timer DELETE, reservation INSERT, reservation UPDATE', 'past the triggers');
ROLLBACK;

BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) AS n FROM reservation \gset
SELECT reservation_id AS r FROM seat_hold(:p, '{6}', 'timer-6') \gset
SAVEPOINT s;
SELECT is(pg_temp.swept('310 s'), 1, 'under REPEATABLE READ');
ROLLBACK TO s;
SELECT is(pg_temp.timers(:r), '5.0', 'a savepoint undone brings it back');
COMMIT;
SELECT is(pg_temp.swept('310 s'), 1, 'to be ended');
SELECT is((SELECT count(*) FROM hold_timer), 0::bigint, 'nothing is left');
SELECT is((SELECT string_agg(invariant, ', ') FROM verify() WHERE NOT ok), NULL, 'every invariant holds');

SELECT * FROM finish();
