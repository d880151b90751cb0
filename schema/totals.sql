/*
 * totals.sql
 *		What an accountant asks: what was sold, given back and kept, day by day
 *		and section by section, as the ledger has it.
 *
 * A day that is over does not change any more: what is given back later counts
 * on the day on which it is.  refunded is what has gone back, refund_due grows
 * with what a provider must give back and shrinks when it has, so that over all
 * days it comes to what is still owed.  On each day net = paid - refunded -
 * refund_due, which is what the ledger's account sales:PERFORMANCE moves by.
 */

CREATE FUNCTION ticket.totals_by_day(
	seller text, of_concert bigint, of_performance bigint, since timestamptz, until timestamptz, time_zone text,
	OUT day date, OUT concert_id bigint, OUT performance_id bigint, OUT section_id bigint, OUT section text, OUT provider text,
	OUT seats_sold bigint, OUT paid bigint, OUT seats_cancelled bigint, OUT refunded bigint, OUT refund_due bigint,
	OUT kept bigint, OUT net bigint
) RETURNS SETOF record LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
	-- What is of one performance, concert or seller is found by its reservations, else by the time of the movement.
	scope text := concat(' AND c.owner = $1' || left($1, 0), ' AND c.concert_id = $2' || left($2::text, 0),
		' AND d.performance_id = $3' || left($3::text, 0));
	-- By the performance, or from the concert or the seller's concerts on: each row by its key.
	performances text := CASE WHEN $3 IS NULL THEN
		'SELECT d.performance_id FROM ticket.concert c, LATERAL (SELECT * FROM ticket.performance d WHERE d.concert_id = c.concert_id OFFSET 0) d WHERE true'
		ELSE
		'SELECT d.performance_id FROM ticket.performance d, LATERAL (SELECT * FROM ticket.concert c WHERE c.concert_id = d.concert_id OFFSET 0) c WHERE true'
		END || scope;
	within text := concat(' AND %1$s >= $4' || left($4::text, 0), ' AND %1$s < $5' || left($5::text, 0));
BEGIN
	PERFORM ticket.require_preload();
	PERFORM ticket.check_argument($6 IS NOT NULL, 'time_zone must not be NULL');
	-- Refused by the server when there is no such zone
	PERFORM ticket.clock() AT TIME ZONE $6;
	PERFORM ticket.check_argument(scope <> '' OR $4 IS NOT NULL,
		'concert_id, performance_id or since must be given: totals of all there is would read it all');
	RETURN QUERY EXECUTE concat('WITH ', CASE WHEN scope = '' THEN format('
		moved AS MATERIALIZED (
			SELECT l.ledger_id, l.kind, l.amount, l.payment_id, l.created_at
			FROM ticket.ledger l WHERE l.kind IN (''payment'', ''refund'')%1$s),
		settled AS MATERIALIZED (SELECT f.* FROM ticket.refund f WHERE f.status = ''done''%2$s),
		pay AS MATERIALIZED (
			SELECT p.payment_id, p.provider, p.paid_at, r.reservation_id, r.performance_id, r.status, r.seat_ids, r.prices
			FROM (SELECT m.payment_id FROM moved m UNION SELECT f.payment_id FROM settled f) i,
				LATERAL (SELECT * FROM ticket.payment p WHERE p.payment_id = i.payment_id OFFSET 0) p,
				LATERAL (SELECT * FROM ticket.reservation r WHERE r.reservation_id = p.reservation_id OFFSET 0) r),
		', format(within, 'l.created_at'), format(within, 'f.done_at'))
	ELSE format('
		pay AS MATERIALIZED (
			SELECT p.payment_id, p.user_id, p.provider, p.paid_at, r.reservation_id, r.performance_id, r.status, r.seat_ids, r.prices
			FROM (%1$s OFFSET 0) d,
				LATERAL (SELECT * FROM ticket.reservation r WHERE r.performance_id = d.performance_id OFFSET 0) r,
				LATERAL (SELECT * FROM ticket.payment p WHERE p.reservation_id = r.reservation_id AND p.paid_at IS NOT NULL
					UNION ALL
					SELECT * FROM ticket.payment p WHERE p.reservation_id = r.reservation_id AND p.paid_at IS NULL
						AND p.status NOT IN (''pending'', ''failed'')) p),
		moved AS MATERIALIZED (
			SELECT l.ledger_id, l.kind, l.amount, l.payment_id, l.created_at FROM pay p, LATERAL (
				SELECT * FROM ticket.ledger l WHERE l.user_id = p.user_id AND l.payment_id = p.payment_id
					AND l.kind IN (''payment'', ''refund'')%2$s OFFSET 0) l),
		settled AS MATERIALIZED (
			SELECT f.* FROM pay p, LATERAL (
				SELECT * FROM ticket.refund f WHERE f.payment_id = p.payment_id AND f.status = ''done''%3$s OFFSET 0) f),
		', performances, format(within, 'l.created_at'), format(within, 'f.done_at')) END, '
		line AS (
			SELECT m.created_at AS at, p.performance_id, s.seat_id, p.provider, CASE WHEN s.seat_id IS NULL THEN 0 ELSE 1 END AS sold,
				coalesce(s.price, m.amount) AS paid, 0 AS cancelled, 0::bigint AS refunded, 0::bigint AS refund_due, 0::bigint AS kept
			FROM moved m JOIN pay p ON p.payment_id = m.payment_id LEFT JOIN LATERAL (
				SELECT u.seat_id, u.price FROM unnest(p.seat_ids, p.prices) AS u(seat_id, price) WHERE p.status = ''paid''
				UNION ALL
				SELECT b.seat_id, b.price FROM ticket.seat_return b
				WHERE b.reservation_id = p.reservation_id AND b.payment_id = p.payment_id) s ON p.paid_at IS NOT NULL
			WHERE m.kind = ''payment''
			UNION ALL
			SELECT m.created_at, p.performance_id, s.seat_id, p.provider, 0, 0, CASE WHEN s.seat_id IS NULL THEN 0 ELSE 1 END,
				CASE p.provider WHEN ''points'' THEN coalesce(s.refund, m.amount) ELSE 0 END,
				CASE p.provider WHEN ''points'' THEN 0 ELSE coalesce(s.refund, m.amount) END, coalesce(s.price - s.refund, 0)
			FROM moved m JOIN pay p ON p.payment_id = m.payment_id
				LEFT JOIN LATERAL (SELECT * FROM ticket.seat_return b
					WHERE b.reservation_id = p.reservation_id AND b.ledger_id = m.ledger_id OFFSET 0) s ON true
			WHERE m.kind = ''refund''
			UNION ALL
			SELECT f.done_at, p.performance_id, s.seat_id, p.provider, 0, 0, 0, coalesce(s.refund, f.amount),
				-coalesce(s.refund, f.amount), 0
			FROM settled f JOIN pay p ON p.payment_id = f.payment_id
				LEFT JOIN LATERAL (SELECT * FROM ticket.seat_return b
					WHERE b.reservation_id = p.reservation_id AND b.refund_id = f.refund_id OFFSET 0) s ON true)
		SELECT (l.at AT TIME ZONE $6)::date, d.concert_id, l.performance_id, s.section_id, s.name, l.provider,
			sum(l.sold)::bigint, sum(l.paid)::bigint, sum(l.cancelled)::bigint, sum(l.refunded)::bigint, sum(l.refund_due)::bigint,
			sum(l.kept)::bigint, sum(l.paid - l.refunded - l.refund_due)::bigint
		FROM line l CROSS JOIN LATERAL (
				SELECT * FROM ticket.performance d WHERE d.performance_id = l.performance_id OFFSET 0) d
			LEFT JOIN LATERAL (
				SELECT * FROM ticket.seat e WHERE e.performance_id = l.performance_id AND e.seat_id = l.seat_id OFFSET 0) e ON true
			LEFT JOIN LATERAL (SELECT * FROM ticket.section s WHERE s.section_id = e.section_id OFFSET 0) s ON true
		GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 3, 4, 6') USING $1, $2, $3, $4, $5, $6;
END $$;
COMMENT ON FUNCTION ticket.totals_by_day(text, bigint, bigint, timestamptz, timestamptz, text) IS
	'What operator_totals_by_day shows; with a seller of that seller''s concerts';

CREATE FUNCTION ticket.operator_totals_by_day(
	concert_id bigint DEFAULT NULL, performance_id bigint DEFAULT NULL,
	since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL, time_zone text DEFAULT 'UTC',
	OUT day date, OUT concert_id bigint, OUT performance_id bigint, OUT section_id bigint, OUT section text, OUT provider text,
	OUT seats_sold bigint, OUT paid bigint, OUT seats_cancelled bigint, OUT refunded bigint, OUT refund_due bigint,
	OUT kept bigint, OUT net bigint
) RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER
BEGIN ATOMIC
	SELECT * FROM ticket.totals_by_day(NULL, $1, $2, $3, $4, $5);
END;
COMMENT ON FUNCTION ticket.operator_totals_by_day(bigint, bigint, timestamptz, timestamptz, text) IS
	'What the ledger says of each day, section and provider: seats sold and paid, given back, what has gone back and what is due, what was kept; of a concert, a performance, or from a time on. section NULL: money that got no seats. Days are those of time_zone';

CREATE FUNCTION ticket.seller_totals_by_day(
	seller_id text,
	concert_id bigint DEFAULT NULL, performance_id bigint DEFAULT NULL,
	since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL, time_zone text DEFAULT 'UTC',
	OUT day date, OUT concert_id bigint, OUT performance_id bigint, OUT section_id bigint, OUT section text, OUT provider text,
	OUT seats_sold bigint, OUT paid bigint, OUT seats_cancelled bigint, OUT refunded bigint, OUT refund_due bigint,
	OUT kept bigint, OUT net bigint
) RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER
BEGIN ATOMIC
	SELECT * FROM ticket.totals_by_day(ticket.check_user($1), $2, $3, $4, $5, $6);
END;
COMMENT ON FUNCTION ticket.seller_totals_by_day(text, bigint, bigint, timestamptz, timestamptz, text) IS
	'What operator_totals_by_day shows, of the seller''s own concerts';

SELECT ticket.permit('{operator,auditor}', 'EXECUTE', '{operator_totals_by_day}');
SELECT ticket.permit('{seller}', 'EXECUTE', '{seller_totals_by_day}');
