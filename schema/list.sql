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

SELECT ticket.permit('{buyer,seller,operator,auditor}', 'EXECUTE', '{concerts,performances}');
