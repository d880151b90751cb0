/*
 * stats.sql
 *		A sale at a glance.
 */

CREATE VIEW ticket.sale_stats AS
SELECT p.performance_id, c.name AS concert, p.starts_at, p.seat_count AS seats,
	n.available, n.held, n.sold, n.blocked, n.overdue, o.outbox_age
FROM ticket.performance p
	JOIN ticket.concert c ON c.concert_id = p.concert_id,
	LATERAL (
		SELECT count(*) FILTER (WHERE e.status = 'free' OR (e.status = 'held' AND e.held_until <= ticket.clock())) AS available,
			count(*) FILTER (WHERE e.status = 'held' AND e.held_until > ticket.clock()) AS held,
			count(*) FILTER (WHERE e.status = 'sold') AS sold,
			count(*) FILTER (WHERE e.status = 'blocked') AS blocked,
			count(*) FILTER (WHERE e.status = 'held' AND e.held_until <= ticket.clock()) AS overdue
		FROM ticket.seat e WHERE e.performance_id = p.performance_id) n,
	(SELECT greatest(clock_timestamp() - (SELECT ticket.event_time(e.id) FROM ticket.outbox e ORDER BY e.id LIMIT 1), '0')
		AS outbox_age) o;
COMMENT ON VIEW ticket.sale_stats IS 'Each performance at a glance';
COMMENT ON COLUMN ticket.sale_stats.performance_id IS 'Number of the performance';
COMMENT ON COLUMN ticket.sale_stats.concert IS 'Name of the concert';
COMMENT ON COLUMN ticket.sale_stats.starts_at IS 'When it begins';
COMMENT ON COLUMN ticket.sale_stats.seats IS 'All its seats';
COMMENT ON COLUMN ticket.sale_stats.available IS 'Seats to be had now, those of overdue holds included';
COMMENT ON COLUMN ticket.sale_stats.held IS 'Seats held';
COMMENT ON COLUMN ticket.sale_stats.sold IS 'Seats sold';
COMMENT ON COLUMN ticket.sale_stats.blocked IS 'Seats kept from sale';
COMMENT ON COLUMN ticket.sale_stats.overdue IS 'Seats of holds that are over and not tidied yet';
COMMENT ON COLUMN ticket.sale_stats.outbox_age IS 'How long the oldest event of all performances has waited to be taken out; 0: none waits. See outbox_stats';

SELECT ticket.permit('{operator,auditor}', 'SELECT', '{sale_stats}');

CREATE FUNCTION ticket.metrics() RETURNS text
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'ticket_metrics';
COMMENT ON FUNCTION ticket.metrics() IS
	'Counters since the server started and the state of the sale, in the text format of OpenMetrics; cheap enough for every second';
SELECT ticket.permit('{operator,auditor}', 'EXECUTE', '{metrics}');
GRANT EXECUTE ON FUNCTION ticket.metrics() TO pg_monitor;
