/*
 * list_seller.sql
 *		Lists of what was sold: for sellers, of their own concerts; for operators
 *		and auditors, of all.
 *
 * Both are one query, made of the conditions that were asked for, so that each
 * combination is planned for what it is.  The order is that of reservation_id,
 * newest first; `after` is the first column of the last row of the page before.
 */

CREATE INDEX reservation_performance ON ticket.reservation (performance_id, reservation_id);
/* By time: rows are written in its order, so a summary of each few pages will do. */
CREATE INDEX reservation_created ON ticket.reservation USING brin (created_at) WITH (pages_per_range = 16, autosummarize = on);
/* What pays is found through payment_captured; of the rest there is little. */
CREATE INDEX payment_unpaid ON ticket.payment (reservation_id) WHERE paid_at IS NULL;

/*
 * The reservations that are asked for, as the text of a query with these
 * parameters: $1 seller, $2 concert_id, $3 performance_id, $4 status, $5 user_id,
 * $6 from, $7 until, $8 limit (NULL: all), $9 after, $10 now.
 */
CREATE FUNCTION ticket.sales_query(
	seller text, concert_id bigint, performance_id bigint, status text, user_id text,
	"from" timestamptz, until timestamptz, after bigint
) RETURNS text LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	own text := concat(' AND c.owner = $1' || left(seller, 0), ' AND c.concert_id = $2' || left(concert_id::text, 0));
	conditions text := concat(
		' AND r.performance_id = $3' || left(performance_id::text, 0),
		' AND ticket.reservation_status(r.status, r.expires_at, $10) = $4' || left(status, 0),
		-- Where they can use an index
		CASE WHEN status IN ('held', 'paid') THEN ' AND r.ended_at IS NULL AND r.status = $4' END,
		' AND r.user_id = $5' || left(user_id, 0),
		' AND r.created_at >= $6' || left("from"::text, 0),
		' AND r.created_at < $7' || left(until::text, 0),
		' AND r.reservation_id < $9' || left(after::text, 0));
	page constant text := ' ORDER BY r.reservation_id DESC LIMIT $8';
BEGIN
	IF own = '' THEN
		RETURN concat('SELECT r.* FROM ticket.reservation r WHERE true', conditions, page);
	ELSIF performance_id IS NOT NULL OR user_id IS NOT NULL THEN
		RETURN concat('SELECT r.* FROM ticket.reservation r WHERE EXISTS (SELECT FROM ticket.performance p
			JOIN ticket.concert c ON c.concert_id = p.concert_id WHERE p.performance_id = r.performance_id', own, ')',
			conditions, page);
	END IF;
	-- A page of each performance, of which the newest rows make the page.
	RETURN concat('SELECT r.* FROM ticket.concert c JOIN ticket.performance p ON p.concert_id = c.concert_id,
		LATERAL (SELECT r.* FROM ticket.reservation r WHERE r.performance_id = p.performance_id', conditions, page, ') r
		WHERE true', own, page);
END $$;
COMMENT ON FUNCTION ticket.sales_query(text, bigint, bigint, text, text, timestamptz, timestamptz, bigint) IS
	'The query for the reservations that are asked for; parameters that are NULL ask for nothing';

CREATE FUNCTION ticket.check_sales(status text, "limit" int, statuses text[]) RETURNS void
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM ticket.require_preload();
	PERFORM ticket.check_argument(status IS NULL OR status = ANY (statuses),
		format('status must be one of %s', array_to_string(statuses, ', ')));
	PERFORM ticket.check_limit("limit");
END $$;
COMMENT ON FUNCTION ticket.check_sales(text, int, text[]) IS 'Raises 22023 unless status and limit are what lists of sales take';

CREATE FUNCTION ticket.sales_reservations(
	seller text, by_concert bigint, by_performance bigint, by_status text, by_user text,
	"from" timestamptz, until timestamptz, "limit" int, after bigint,
	OUT reservation_id bigint, OUT number text, OUT status text, OUT user_id text, OUT concert_id bigint,
	OUT concert text, OUT performance_id bigint, OUT starts_at timestamptz, OUT seats jsonb, OUT amount bigint,
	OUT created_at timestamptz, OUT expires_at timestamptz, OUT ended_at timestamptz, OUT payment_id bigint,
	OUT provider text, OUT paid_at timestamptz, OUT refunded bigint
) RETURNS SETOF record LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
	-- Also with no statistics, or a state that is rare, the index has the order.
	SET enable_seqscan = off SET jit = off AS $$
BEGIN
	PERFORM ticket.check_sales($4, $8, '{held,paid,released,expired,cancelled}');
	RETURN QUERY EXECUTE concat('SELECT r.reservation_id, ticket.reservation_number(r.reservation_id),
			ticket.reservation_status(r.status, r.expires_at, $10), r.user_id, t.concert_id, t.concert, r.performance_id,
			t.starts_at, t.seats, r.amount, r.created_at, r.expires_at, r.ended_at, m.payment_id, m.provider, m.paid_at,
			m.refunded
		FROM (', ticket.sales_query($1, $2, $3, $4, $5, $6, $7, $9), ') r
			JOIN ticket.reservation_terms t ON t.reservation_id = r.reservation_id
			LEFT JOIN ticket.payment m ON m.reservation_id = r.reservation_id AND m.paid_at IS NOT NULL
		ORDER BY r.reservation_id DESC')
		USING $1, $2, $3, $4, $5, $6, $7, $8, $9, ticket.clock();
END $$;
COMMENT ON FUNCTION ticket.sales_reservations(text, bigint, bigint, text, text, timestamptz, timestamptz, int, bigint) IS
	'A page of reservations: what operator_reservations and seller_reservations show';

CREATE FUNCTION ticket.sales_payments(
	seller text, by_concert bigint, by_performance bigint, by_status text, by_user text,
	"from" timestamptz, until timestamptz, "limit" int, after bigint,
	OUT payment_id bigint, OUT reservation_id bigint, OUT number text, OUT user_id text, OUT concert_id bigint,
	OUT performance_id bigint, OUT provider text, OUT provider_ref text, OUT status text, OUT amount bigint,
	OUT refunded bigint, OUT kept bigint, OUT begun_at timestamptz, OUT paid_at timestamptz, OUT refunded_at timestamptz
) RETURNS SETOF record LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
DECLARE
	behind bigint;
BEGIN
	PERFORM ticket.check_sales($4, $8, '{pending,captured,failed,refund_due,refunded}');
	-- Payments of one reservation stay together: the page begins with it, or behind it.
	SELECT p.reservation_id INTO behind FROM ticket.payment p WHERE p.payment_id = $9;
	RETURN QUERY EXECUTE concat('SELECT m.payment_id, r.reservation_id, ticket.reservation_number(r.reservation_id), m.user_id,
			p.concert_id, r.performance_id, m.provider, m.provider_ref, m.status, m.amount, m.refunded, m.kept, m.begun_at,
			m.paid_at, m.refunded_at
		FROM (', ticket.sales_query($1, $2, $3, NULL, $5, $6, $7, behind + 1), ') r,
			LATERAL (SELECT * FROM ticket.payment m WHERE m.reservation_id = r.reservation_id AND m.paid_at IS NOT NULL
				UNION ALL SELECT * FROM ticket.payment m WHERE m.reservation_id = r.reservation_id AND m.paid_at IS NULL) m,
			ticket.performance p
		WHERE p.performance_id = r.performance_id AND ($4 IS NULL OR m.status = $4)
			AND ($11 IS NULL OR (r.reservation_id, m.payment_id) < ($11, $12))
		ORDER BY r.reservation_id DESC, m.payment_id DESC LIMIT $13')
		USING $1, $2, $3, $4, $5, $6, $7, NULL::int, behind + 1, ticket.clock(), behind, $9, $8;
END $$;
COMMENT ON FUNCTION ticket.sales_payments(text, bigint, bigint, text, text, timestamptz, timestamptz, int, bigint) IS
	'A page of payments: what operator_payments and seller_payments show';

CREATE FUNCTION ticket.sales_totals(
	seller text, by_concert bigint, by_performance bigint, by_user text, "from" timestamptz, until timestamptz,
	OUT status text, OUT reservations bigint, OUT seats bigint, OUT amount bigint, OUT paid bigint, OUT refunded bigint
) RETURNS SETOF record LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
BEGIN
	PERFORM ticket.require_preload();
	RETURN QUERY EXECUTE concat('SELECT ticket.reservation_status(r.status, r.expires_at, $10), count(*),
			sum(cardinality(r.seat_ids))::bigint, sum(r.amount)::bigint, coalesce(sum(m.amount), 0)::bigint,
			coalesce(sum(m.refunded), 0)::bigint
		FROM (', ticket.sales_query($1, $2, $3, NULL, $4, $5, $6, NULL), ') r
			LEFT JOIN ticket.payment m ON m.reservation_id = r.reservation_id AND m.paid_at IS NOT NULL
		GROUP BY 1 ORDER BY 1')
		USING $1, $2, $3, NULL::text, $4, $5, $6, NULL::int, NULL::bigint, ticket.clock();
END $$;
COMMENT ON FUNCTION ticket.sales_totals(text, bigint, bigint, text, timestamptz, timestamptz) IS
	'Reservations by state, with sums: what operator_totals and seller_totals show';

/* ---------- operators ---------- */

CREATE FUNCTION ticket.operator_reservations(
	concert_id bigint DEFAULT NULL, performance_id bigint DEFAULT NULL, status text DEFAULT NULL,
	user_id text DEFAULT NULL, "from" timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL,
	"limit" int DEFAULT 50, after bigint DEFAULT NULL,
	OUT reservation_id bigint, OUT number text, OUT status text, OUT user_id text, OUT concert_id bigint,
	OUT concert text, OUT performance_id bigint, OUT starts_at timestamptz, OUT seats jsonb, OUT amount bigint,
	OUT created_at timestamptz, OUT expires_at timestamptz, OUT ended_at timestamptz, OUT payment_id bigint,
	OUT provider text, OUT paid_at timestamptz, OUT refunded bigint
) RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER SET jit = off
BEGIN ATOMIC
	SELECT * FROM ticket.sales_reservations(NULL, $1, $2, $3, $4, $5, $6, $7, $8);
END;
COMMENT ON FUNCTION ticket.operator_reservations(bigint, bigint, text, text, timestamptz, timestamptz, int, bigint) IS
	'Reservations with what was agreed and how they were paid, newest first; by concert, performance, state, user and when they were made';

CREATE FUNCTION ticket.operator_payments(
	concert_id bigint DEFAULT NULL, performance_id bigint DEFAULT NULL, status text DEFAULT NULL,
	user_id text DEFAULT NULL, "from" timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL,
	"limit" int DEFAULT 50, after bigint DEFAULT NULL,
	OUT payment_id bigint, OUT reservation_id bigint, OUT number text, OUT user_id text, OUT concert_id bigint,
	OUT performance_id bigint, OUT provider text, OUT provider_ref text, OUT status text, OUT amount bigint,
	OUT refunded bigint, OUT kept bigint, OUT begun_at timestamptz, OUT paid_at timestamptz, OUT refunded_at timestamptz
) RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER SET jit = off
BEGIN ATOMIC
	SELECT * FROM ticket.sales_payments(NULL, $1, $2, $3, $4, $5, $6, $7, $8);
END;
COMMENT ON FUNCTION ticket.operator_payments(bigint, bigint, text, text, timestamptz, timestamptz, int, bigint) IS
	'Payments, those of the newest reservations first; by concert, performance, state, user and when the reservation was made';

CREATE FUNCTION ticket.operator_totals(
	concert_id bigint DEFAULT NULL, performance_id bigint DEFAULT NULL, user_id text DEFAULT NULL,
	"from" timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL,
	OUT status text, OUT reservations bigint, OUT seats bigint, OUT amount bigint, OUT paid bigint, OUT refunded bigint
) RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER SET jit = off
BEGIN ATOMIC
	SELECT * FROM ticket.sales_totals(NULL, $1, $2, $3, $4, $5);
END;
COMMENT ON FUNCTION ticket.operator_totals(bigint, bigint, text, timestamptz, timestamptz) IS
	'How many reservations and seats are in each state, what they come to, what was paid and what went back';

/* ---------- sellers ---------- */

CREATE FUNCTION ticket.seller_concerts(
	seller_id text,
	"limit" int DEFAULT 50,
	after bigint DEFAULT NULL,
	OUT concert_id bigint, OUT name text, OUT artist text, OUT starts_at timestamptz, OUT ends_at timestamptz,
	OUT performances bigint, OUT seats bigint, OUT withdrawn_at timestamptz, OUT total bigint
) RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER SET jit = off
BEGIN ATOMIC
	SELECT c.concert_id, c.name, c.artist, c.starts_at, c.ends_at, p.performances, p.seats, c.withdrawn_at,
		(SELECT count(*) FROM ticket.concert n WHERE n.owner = (SELECT ticket.check_user($1)))
	FROM (SELECT * FROM ticket.concert c
			WHERE c.owner = (SELECT ticket.check_user($1)) AND c.concert_id < coalesce($3, 9223372036854775807)
			ORDER BY c.concert_id DESC LIMIT (SELECT ticket.check_limit($2))) c,
		LATERAL (SELECT count(*) AS performances, coalesce(sum(p.seat_count), 0)::bigint AS seats
			FROM ticket.performance p WHERE p.concert_id = c.concert_id) p
	ORDER BY c.concert_id DESC;
END;
COMMENT ON FUNCTION ticket.seller_concerts(text, int, bigint) IS
	'A seller''s own concerts, withdrawn or not, newest first; total: how many there are in all';

CREATE FUNCTION ticket.seller_reservations(
	seller_id text,
	concert_id bigint DEFAULT NULL, performance_id bigint DEFAULT NULL, status text DEFAULT NULL,
	user_id text DEFAULT NULL, "from" timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL,
	"limit" int DEFAULT 50, after bigint DEFAULT NULL,
	OUT reservation_id bigint, OUT number text, OUT status text, OUT user_id text, OUT concert_id bigint,
	OUT concert text, OUT performance_id bigint, OUT starts_at timestamptz, OUT seats jsonb, OUT amount bigint,
	OUT created_at timestamptz, OUT expires_at timestamptz, OUT ended_at timestamptz, OUT payment_id bigint,
	OUT provider text, OUT paid_at timestamptz, OUT refunded bigint
) RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER SET jit = off
BEGIN ATOMIC
	SELECT * FROM ticket.sales_reservations(ticket.check_user($1), $2, $3, $4, $5, $6, $7, $8, $9);
END;
COMMENT ON FUNCTION ticket.seller_reservations(text, bigint, bigint, text, text, timestamptz, timestamptz, int, bigint) IS
	'What operator_reservations shows, of the seller''s own concerts';

CREATE FUNCTION ticket.seller_payments(
	seller_id text,
	concert_id bigint DEFAULT NULL, performance_id bigint DEFAULT NULL, status text DEFAULT NULL,
	user_id text DEFAULT NULL, "from" timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL,
	"limit" int DEFAULT 50, after bigint DEFAULT NULL,
	OUT payment_id bigint, OUT reservation_id bigint, OUT number text, OUT user_id text, OUT concert_id bigint,
	OUT performance_id bigint, OUT provider text, OUT provider_ref text, OUT status text, OUT amount bigint,
	OUT refunded bigint, OUT kept bigint, OUT begun_at timestamptz, OUT paid_at timestamptz, OUT refunded_at timestamptz
) RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER SET jit = off
BEGIN ATOMIC
	SELECT * FROM ticket.sales_payments(ticket.check_user($1), $2, $3, $4, $5, $6, $7, $8, $9);
END;
COMMENT ON FUNCTION ticket.seller_payments(text, bigint, bigint, text, text, timestamptz, timestamptz, int, bigint) IS
	'What operator_payments shows, of the seller''s own concerts';

CREATE FUNCTION ticket.seller_totals(
	seller_id text,
	concert_id bigint DEFAULT NULL, performance_id bigint DEFAULT NULL, user_id text DEFAULT NULL,
	"from" timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL,
	OUT status text, OUT reservations bigint, OUT seats bigint, OUT amount bigint, OUT paid bigint, OUT refunded bigint
) RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER SET jit = off
BEGIN ATOMIC
	SELECT * FROM ticket.sales_totals(ticket.check_user($1), $2, $3, $4, $5, $6);
END;
COMMENT ON FUNCTION ticket.seller_totals(text, bigint, bigint, text, timestamptz, timestamptz) IS
	'What operator_totals shows, of the seller''s own concerts';

SELECT ticket.permit('{operator,auditor}', 'EXECUTE', '{operator_reservations,operator_payments,operator_totals}');
SELECT ticket.permit('{seller}', 'EXECUTE', '{seller_concerts,seller_reservations,seller_payments,seller_totals}');
