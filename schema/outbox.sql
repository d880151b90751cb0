/*
 * outbox.sql
 *		Events for the world outside.
 */

CREATE FUNCTION ticket.event_id() RETURNS uuid
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'ticket_event_id';
COMMENT ON FUNCTION ticket.event_id() IS
	'A UUID (version 7) greater than every one given out before on this server: outbox rows sort in the order they were written';

CREATE TABLE ticket.outbox (
	id				uuid PRIMARY KEY DEFAULT ticket.event_id(),
	aggregatetype	text NOT NULL,
	aggregateid		text NOT NULL,
	type			text NOT NULL,
	payload			jsonb NOT NULL
);
COMMENT ON TABLE ticket.outbox IS
	'Events for the world outside, in the columns of Debezium''s outbox event router; written with the change they tell of, taken out by outbox_fetch';
COMMENT ON COLUMN ticket.outbox.id IS 'Time-ordered UUID: order of id is the order of events';
COMMENT ON COLUMN ticket.outbox.aggregatetype IS 'What changed: queue, reservation, payment, points';
COMMENT ON COLUMN ticket.outbox.aggregateid IS 'Which one';
COMMENT ON COLUMN ticket.outbox.type IS 'What happened to it, for example reservation.held';
COMMENT ON COLUMN ticket.outbox.payload IS 'The figures; v is the version of the format';

CREATE FUNCTION ticket.outbox_fetch(max_count int DEFAULT 100) RETURNS SETOF ticket.outbox
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM ticket.require_preload();
	PERFORM ticket.check_argument(max_count BETWEEN 1 AND 100000, 'max_count must be between 1 and 100000');
	RETURN QUERY
	WITH next AS MATERIALIZED (
		SELECT o.id FROM ticket.outbox o ORDER BY o.id LIMIT max_count FOR UPDATE SKIP LOCKED
	), gone AS (
		DELETE FROM ticket.outbox o USING next n WHERE o.id = n.id RETURNING o.*
	)
	SELECT * FROM gone g ORDER BY g.id;
END $$;
COMMENT ON FUNCTION ticket.outbox_fetch(int) IS
	'Takes the oldest events out and returns them, in order; they are gone when the caller commits and back when it does not';

SELECT ticket.permit('{operator}', 'EXECUTE', '{outbox_fetch}');
SELECT ticket.permit('{operator,auditor}', 'SELECT', '{outbox}');
