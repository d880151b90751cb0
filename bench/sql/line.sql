-- Two waiting rooms: queue 1 with psql variable waiting in line (first is one more), queue 2 with
-- 1,000.  Their users are numbered like their places.
CREATE EXTENSION ticket;

SELECT ticket.queue_create(name, capacity => 1000000, promote_count => 1000000,
	promote_interval => '1 second', active_ttl => '1 day', idle_ttl => '1 day')
FROM (VALUES ('long'), ('short')) AS q (name);
INSERT INTO ticket.queue_entry (queue_id, place, user_id, secret, status, entered_at)
SELECT q, place, place, (random() * 4e18)::bigint, 'waiting', now()
FROM (VALUES (1, :waiting), (2, 1000)) AS v (q, n), generate_series(1, n) AS place;

-- What a ticket is compared with: a row of the same columns and indexes, pages
-- as full, its place from a sequence; no triggers, no checks.
CREATE SCHEMA bench;
SELECT format('CREATE TABLE bench.entry (LIKE ticket.queue_entry INCLUDING INDEXES) WITH (%s)',
	array_to_string(reloptions, ', '))
FROM pg_class WHERE oid = 'ticket.queue_entry'::regclass \gexec
CREATE SEQUENCE bench.place START WITH :first;
ALTER TABLE bench.entry ALTER place SET DEFAULT nextval('bench.place');
INSERT INTO bench.entry SELECT * FROM ticket.queue_entry;

VACUUM (FREEZE, ANALYZE);
