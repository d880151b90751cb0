-- What a round of the clock does with queues: of thousands in which nothing
-- happens it locks none, of many tickets it ends and lets in some.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin
SET search_path = ticket, public;

-- The advisory locks that this transaction has of a queue, by class (load.h).
CREATE FUNCTION pg_temp.locks(queue_id bigint) RETURNS int[] LANGUAGE sql AS $$
	SELECT array_agg(objsubid::int ORDER BY objsubid) FROM pg_locks
	WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND classid = $1 $$;

-- ---------- nothing to do ----------

SELECT queue_create('round: idle', capacity => 1) AS idle, queue_create('round: busy', capacity => 1) AS busy \gset
SELECT count(ticket_enqueue(:busy, u)) AS n FROM unnest('{a,b}'::text[]) AS u \gset
SELECT token AS t FROM ticket_enqueue(:idle, 'a') \gset
SELECT count(tick()) AS n \gset
BEGIN;
SELECT count(tick()) AS n \gset
SELECT is(pg_temp.locks(:idle), NULL, 'where nobody waits and nobody is over nothing is locked');
SELECT is(pg_temp.locks(:busy), NULL, 'nor where somebody waits who cannot be let in');
COMMIT;
BEGIN;
SELECT is(ticket_promote(:idle) + ticket_expire(:idle) + ticket_promote(:busy) + ticket_expire(:busy), 0, 'nor by who asks for these queues');
SELECT is(pg_temp.locks(:idle), pg_temp.locks(:busy), 'where there is nothing to do');
COMMIT;
UPDATE queue SET capacity = 2 WHERE queue_id = :busy;
BEGIN;
SELECT is(ticket_promote(:busy), 1, 'somebody is let in');
SELECT is(pg_temp.locks(:busy), '{17}', 'then it is for one session until that has committed');
SELECT is(ticket_promote(:busy) + ticket_promote(:busy), 0, 'also when it looks again');
SELECT is(pg_temp.locks(:busy), '{17}', 'and finds nothing');
COMMIT;
SET ticket.clock_offset = '11min';
BEGIN;
SELECT is(ticket_expire(:idle), 1, 'somebody is over');
SELECT is(pg_temp.locks(:idle), '{21}', 'then this is');
COMMIT;
RESET ticket.clock_offset;

-- ---------- very much to do ----------

SELECT queue_create('round: many', capacity => 0, idle_ttl => '1 hour') AS q \gset
SELECT count(ticket_enqueue(:q, 'u' || i)) AS n FROM generate_series(1, 10003) AS i \gset
SELECT is((SELECT more FROM tick()), false, 'ten thousand who only wait are nothing to come back for');
UPDATE queue SET mode = 'passthrough' WHERE queue_id = :q;
SELECT is((SELECT format('%s %s', promoted >= 10000, more) FROM tick()), 't t', 'a round lets ten thousand in and says that there are more');
SELECT is(pg_temp.memory(:q), '3 waiting, 10000 active, 10000 admitted', 'the others wait');
SELECT is((SELECT more FROM tick()), false, 'for the next');
SELECT is(pg_temp.memory(:q), '0 waiting, 10003 active, 10003 admitted', 'which lets them in');
SET ticket.clock_offset = '20min';
SELECT is((SELECT format('%s %s', expired_tickets >= 10000, more) FROM tick()), 't t', 'a round ends ten thousand that are over');
SELECT is(pg_temp.memory(:q), '0 waiting, 3 active, 3 admitted', 'there are more');
SELECT is((SELECT more FROM tick()), false, 'for the next');
SELECT is(pg_temp.memory(:q), '0 waiting, 0 active, 0 admitted', 'which ends them');
RESET ticket.clock_offset;
UPDATE queue SET mode = 'open' WHERE queue_id = :q;
SELECT count(ticket_enqueue(:q, 'u' || i)) AS n FROM generate_series(1, 10003) AS i \gset
SELECT count(tick()) AS n \gset
SET ticket.clock_offset = '2h';
SELECT is((SELECT more FROM tick()), true, 'a round ends ten thousand that are silent');
SELECT is(pg_temp.memory(:q), '3 waiting, 0 active, 0 admitted', 'and says that there are more');
SELECT is((SELECT more FROM tick()), false, 'which are not left for the next search, minutes later');
SELECT is(pg_temp.memory(:q), '0 waiting, 0 active, 0 admitted', 'but end in the next round');
RESET ticket.clock_offset;
DELETE FROM queue WHERE queue_id = :q;
SELECT * FROM finish();
