-- What data/run does once seed.sql is there: fills, counts, checks.  Variables:
-- concerts, performances, seats, reservations, users, stadium, seed.
\pset footer off
\echo == filling
SELECT * FROM ticket_seed.fill(:concerts, :performances, :seats, :reservations, :users, :seed);
SELECT ticket_seed.stadium(:stadium, :seed) AS "performance_id of the stadium" WHERE :stadium > 0;
VACUUM (ANALYZE);
\echo == ticket.verify()
SELECT invariant, detail FROM ticket.verify() WHERE NOT ok;
DO $$
BEGIN
	IF EXISTS (SELECT FROM ticket.verify() WHERE NOT ok) THEN
		RAISE EXCEPTION 'verify() has found something';
	END IF;
END $$;
