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

CREATE FUNCTION ticket.sections(
	performance_id bigint,
	OUT section_id bigint, OUT name text, OUT price bigint, OUT seats bigint, OUT available bigint
) RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER
BEGIN ATOMIC
	SELECT s.section_id, s.name, s.price, s.seat_count::bigint, f.available
	FROM ticket.section s, LATERAL (
		SELECT count(*) FILTER (WHERE e.status = 'free'
			OR (e.status = 'held' AND e.held_until <= ticket.clock())) AS available
		FROM ticket.seat e
		WHERE e.performance_id = s.performance_id
			AND e.seat_id >= s.first_seat_id
			AND e.seat_id < s.first_seat_id + s.seat_count) f
	WHERE s.performance_id = sections.performance_id AND s.withdrawn_at IS NULL
	ORDER BY s.first_seat_id;
END;
COMMENT ON FUNCTION ticket.sections(bigint) IS
	'The sections of a performance with their price and how many seats are to be had';

CREATE FUNCTION ticket.seats(
	performance_id bigint,
	section_id bigint DEFAULT NULL,
	OUT seat_id int, OUT section_id bigint, OUT "row" int, OUT number int, OUT price bigint, OUT status text
) RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER
BEGIN ATOMIC
	SELECT e.seat_id, s.section_id, e.row_no, e.seat_no, s.price,
		CASE WHEN e.status = 'held' AND e.held_until <= ticket.clock() THEN 'free' ELSE e.status END
	FROM ticket.section s JOIN ticket.seat e
		ON e.performance_id = s.performance_id
		AND e.seat_id >= s.first_seat_id
		AND e.seat_id < s.first_seat_id + s.seat_count
	WHERE s.performance_id = $1 AND ($2 IS NULL OR s.section_id = $2)
	ORDER BY e.seat_id;
END;
COMMENT ON FUNCTION ticket.seats(bigint, bigint) IS
	'The seats of a performance, or of one of its sections, with price and state; a hold that is over counts as free';

SELECT ticket.permit('{buyer,seller,operator,auditor}', 'EXECUTE', '{concerts,performances,sections,seats}');
