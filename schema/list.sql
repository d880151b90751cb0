/*
 * list.sql
 *		What buyers are shown.
 */

CREATE FUNCTION ticket.concerts(
	OUT concert_id bigint, OUT name text, OUT performances bigint, OUT next_starts_at timestamptz
) RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER
BEGIN ATOMIC
	SELECT c.concert_id, c.name, count(p.performance_id),
		min(p.starts_at) FILTER (WHERE p.starts_at > ticket.clock())
	FROM ticket.concert c LEFT JOIN ticket.performance p ON p.concert_id = c.concert_id AND p.status = 'scheduled'
	WHERE c.withdrawn_at IS NULL
	GROUP BY c.concert_id
	ORDER BY c.concert_id;
END;
COMMENT ON FUNCTION ticket.concerts() IS 'All concerts, with their next date';

CREATE FUNCTION ticket.performances(
	concert_id bigint,
	OUT performance_id bigint, OUT venue text, OUT starts_at timestamptz, OUT queue_id bigint,
	OUT sale_opens_at timestamptz, OUT sale_closes_at timestamptz, OUT on_sale boolean,
	OUT seats int, OUT max_seats_per_user int
) RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER
BEGIN ATOMIC
	SELECT p.performance_id, v.name, p.starts_at, p.queue_id, p.sale_opens_at, p.sale_closes_at,
		p.status = 'scheduled' AND (p.sale_opens_at IS NULL OR p.sale_opens_at <= ticket.clock())
			AND coalesce(p.sale_closes_at, p.starts_at) > ticket.clock()
			AND p.starts_at > ticket.clock(),
		p.seat_count, p.max_seats_per_user
	FROM ticket.performance p JOIN ticket.venue v ON v.venue_id = p.venue_id
	WHERE p.concert_id = performances.concert_id
	ORDER BY p.starts_at, p.performance_id;
END;
COMMENT ON FUNCTION ticket.performances(bigint) IS 'The dates of a concert, in order';

SELECT ticket.permit('{buyer,seller,operator,auditor}', 'EXECUTE', '{concerts,performances}');
