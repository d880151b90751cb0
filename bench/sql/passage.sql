-- One waiting room that a crowd passes through, and :standing who stay in line.
CREATE EXTENSION ticket;
SELECT ticket.queue_create('passage', capacity => 0, idle_ttl => '1 day');
UPDATE ticket.queue SET retention = '1 second';
SELECT count(t) FROM generate_series(1, :standing) AS i, LATERAL ticket.ticket_enqueue(1, 'standing' || i) AS t;

-- A hundred enter, each by a call of his own, then they leave.  The CPU time of
-- the session, in ms, is noted where the system tells it.
CREATE SCHEMA bench;
CREATE TABLE bench.cpu (part int, ms numeric);
CREATE PROCEDURE bench.pass(part int, crowd int, n int) LANGUAGE plpgsql AS $$
DECLARE
	tokens uuid[];
BEGIN
	FOR batch IN 1 .. n / 100 LOOP
		tokens := ARRAY(SELECT t.token FROM generate_series(1, 100) AS i,
			LATERAL ticket.ticket_enqueue(1, part || '/' || crowd || '/' || batch || '/' || i) AS t);
		COMMIT;
		PERFORM ticket.ticket_leave(t) FROM unnest(tokens) AS t;
		COMMIT;
	END LOOP;
	INSERT INTO bench.cpu
	VALUES (part, split_part(pg_read_file('/proc/self/schedstat', 0, 100, true), ' ', 1)::numeric / 1e6);
END $$;
