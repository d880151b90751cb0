/*
 * list_seller.sql
 *		Lists of what was sold: for sellers, of their own concerts; for operators
 *		and auditors, of all.
 *
 * Both are one query, made of the conditions that were asked for, so that each
 * combination has a plan for what it is; list.c keeps the plans.  As in
 * list_buyer.sql, OFFSET 0 keeps lookups by key apart.
 *
 * What is of one user, performance, concert or seller comes in the order of
 * reservation_id, the rest in that of created_at, newest first; `after` is the
 * first column of the last row of the page before.
 */

CREATE INDEX reservation_performance ON ticket.reservation (performance_id, reservation_id);
CREATE INDEX reservation_created ON ticket.reservation (created_at, reservation_id);
/* What pays is found through payment_captured; of the rest there is little. */
CREATE INDEX payment_unpaid ON ticket.payment (reservation_id) WHERE paid_at IS NULL;

/*
 * The query for what is asked for, a text with these parameters: $1 seller,
 * $2 concert_id, $3 performance_id, $4 status, $5 user_id, $6 from, $7 until,
 * $8 after, $9 max_count, $10 now.  Which are NULL is what it goes by.
 */
CREATE FUNCTION ticket.sales_query(
	kind text, seller text, concert_id bigint, performance_id bigint, status text, user_id text,
	since timestamptz, until timestamptz, after bigint
) RETURNS text LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	payments constant boolean := kind = 'payments';
	totals constant boolean := kind = 'totals';
	-- A piece of text || left(argument, 0) is NULL, and so left out, where the argument is.
	own constant text := concat(' AND c.owner = $1' || left(seller, 0), ' AND c.concert_id = $2' || left(concert_id::text, 0));
	-- The row that ended the page before: its reservation, and when that was made
	last constant text := CASE WHEN payments THEN '(SELECT a.reservation_id FROM ticket.payment a WHERE a.payment_id = $8)' ELSE '$8' END;
	last_made constant text := format('(SELECT a.created_at FROM ticket.reservation a WHERE a.reservation_id <= %s
		ORDER BY a.reservation_id DESC LIMIT 1)', last);
	by_time constant boolean := own = '' AND num_nulls(performance_id, user_id) = 2;
	conditions constant text := concat(
		' AND r.created_at >= $6' || left(since::text, 0),
		' AND r.created_at < $7' || left(until::text, 0),
		CASE WHEN NOT payments THEN ' AND ticket.reservation_status(r.status, r.expires_at, $10) = $4' || left(status, 0) END,
		format(CASE WHEN by_time THEN ' AND (r.created_at, r.reservation_id) %s (%s, %s)' ELSE ' AND r.reservation_id %1$s %3$s' END,
			CASE WHEN payments THEN '<=' ELSE '<' END, last_made, last) || left(after::text, 0),
		CASE WHEN payments THEN format(' AND NOT (r.reservation_id = %s AND m.payment_id >= $8)', last) || left(after::text, 0) END);
	-- A reservation, or one and its payments
	columns constant text := 'r.reservation_id, r.created_at' || CASE WHEN payments THEN ', m.payment_id' ELSE '' END;
	paid constant text := CASE WHEN payments THEN concat(', LATERAL (
		SELECT m.payment_id FROM ticket.payment m WHERE m.reservation_id = r.reservation_id AND m.paid_at IS NOT NULL', ' AND m.status = $4' || left(status, 0), '
		UNION ALL
		SELECT m.payment_id FROM ticket.payment m WHERE m.reservation_id = r.reservation_id AND m.paid_at IS NULL', ' AND m.status = $4' || left(status, 0), ') m')
		ELSE '' END;
	sorted constant text := CASE WHEN by_time THEN ' ORDER BY created_at DESC, reservation_id DESC' ELSE ' ORDER BY reservation_id DESC' END
		|| CASE WHEN payments THEN ', payment_id DESC' ELSE '' END;
	limited constant text := CASE WHEN totals THEN '' ELSE sorted || ' LIMIT $9' END;
	of_performance text;
	page text;
BEGIN
	IF user_id IS NOT NULL THEN
		page := concat('SELECT ', columns, ' FROM (SELECT * FROM ticket.reservation r WHERE r.user_id = $5',
			' AND r.performance_id = $3' || left(performance_id::text, 0), ' OFFSET 0) r', paid, ' WHERE true', conditions,
			CASE WHEN own <> '' THEN concat(' AND EXISTS (SELECT FROM ticket.performance p, ticket.concert c
				WHERE p.performance_id = r.performance_id AND c.concert_id = p.concert_id', own, ' OFFSET 0)') END, limited);
	ELSIF performance_id IS NOT NULL THEN
		page := concat('SELECT ', columns, ' FROM ticket.reservation r', paid, ' WHERE r.performance_id = $3', conditions,
			CASE WHEN own <> '' THEN concat(' AND EXISTS (SELECT FROM ticket.performance p, ticket.concert c
				WHERE p.performance_id = $3 AND c.concert_id = p.concert_id', own, ')') END, limited);
	ELSIF own <> '' THEN
		-- Only the performances with the newest rows can have a part in the page.
		of_performance := concat('SELECT ', columns, ' FROM ticket.reservation r', paid, ' WHERE r.performance_id = p.performance_id', conditions,
			CASE WHEN totals THEN ' OFFSET 0' ELSE sorted || ' LIMIT ' END);
		page := concat('(SELECT p.performance_id FROM ticket.concert c, LATERAL (
			SELECT p.performance_id FROM ticket.performance p WHERE p.concert_id = c.concert_id OFFSET 0) p WHERE true', own, ') p');
		page := CASE WHEN totals THEN concat('SELECT f.* FROM ', page, ', LATERAL (', of_performance, ') f')
			ELSE concat('SELECT f.* FROM (SELECT p.performance_id FROM ', page, ', LATERAL (', of_performance, '1) f', limited, ') p,
				LATERAL (', of_performance, '$9) f', limited) END;
	ELSE
		PERFORM ticket.check_argument(NOT totals OR since IS NOT NULL,
			'concert_id, performance_id, user_id or since must be given: totals of all there is would read it all');
		page := concat('SELECT ', columns, ' FROM ', CASE WHEN status = 'held' AND NOT payments
			-- Few are, of all there have been; each has a timer.
			THEN '(SELECT r.* FROM (SELECT DISTINCT t.due_at, t.reservation_id FROM ticket.hold_timer t WHERE t.due_at > $10) t,
				LATERAL (SELECT * FROM ticket.reservation r WHERE r.reservation_id = t.reservation_id OFFSET 0) r
				WHERE r.status = ''held'' AND r.expires_at = t.due_at)' ELSE 'ticket.reservation' END,
			' r', paid, ' WHERE true', conditions, limited);
	END IF;

	RETURN concat(CASE kind
		WHEN 'reservations' THEN 'SELECT d.reservation_id, d.number, d.status, d.user_id, d.concert_id, d.concert, d.performance_id,
				d.starts_at, d.seats, d.amount, d.created_at, d.expires_at, d.ended_at, d.payment_id, d.provider, d.paid_at, d.refunded, d.refund_due
			FROM (' || page || ') k,
				LATERAL (SELECT * FROM ticket.reservation_card d WHERE d.reservation_id = k.reservation_id OFFSET 0) d'
			|| CASE WHEN by_time THEN ' ORDER BY k.created_at DESC, k.reservation_id DESC' ELSE ' ORDER BY k.reservation_id DESC' END
		WHEN 'payments' THEN 'SELECT m.payment_id, r.reservation_id, ticket.reservation_number(r.reservation_id), m.user_id,
				p.concert_id, r.performance_id, m.provider, m.provider_ref, m.status, m.amount, m.refunded, m.kept, m.begun_at,
				m.paid_at, m.refunded_at, m.refund_due
			FROM (' || page || ') k,
				LATERAL (SELECT * FROM ticket.payment m WHERE m.payment_id = k.payment_id OFFSET 0) m,
				LATERAL (SELECT * FROM ticket.reservation r WHERE r.reservation_id = k.reservation_id OFFSET 0) r,
				LATERAL (SELECT * FROM ticket.performance p WHERE p.performance_id = r.performance_id OFFSET 0) p'
			|| CASE WHEN by_time THEN ' ORDER BY k.created_at DESC, k.reservation_id DESC, k.payment_id DESC'
				ELSE ' ORDER BY k.reservation_id DESC, k.payment_id DESC' END
		-- Each seat by what became of it: of the seats a reservation has, of those given back before; then money that got none.
		ELSE 'SELECT s.status, count(DISTINCT k.reservation_id), sum(s.seats)::bigint, sum(s.amount)::bigint, sum(s.paid)::bigint,
				sum(s.refunded)::bigint, sum(s.refund_due)::bigint, sum(s.kept)::bigint
			FROM (' || page || ') k,
				LATERAL (SELECT r.reservation_id, r.status, cardinality(r.seat_ids) AS seats, r.amount,
					ticket.reservation_status(r.status, r.expires_at, $10) AS what
					FROM ticket.reservation r WHERE r.reservation_id = k.reservation_id OFFSET 0) r,
				LATERAL (
					SELECT r.what AS status, r.seats, r.amount, CASE r.status WHEN ''paid'' THEN r.amount ELSE 0 END AS paid,
						0::bigint AS refunded, 0::bigint AS refund_due, 0::bigint AS kept
					WHERE r.status <> ''cancelled''
					UNION ALL
					SELECT b.status, count(*), sum(b.price), coalesce(sum(b.price) FILTER (WHERE b.status = ''cancelled''), 0),
						coalesce(sum(b.refund) FILTER (WHERE f.status IS DISTINCT FROM ''due''), 0),
						coalesce(sum(b.refund) FILTER (WHERE f.status = ''due''), 0),
						coalesce(sum(b.price - b.refund) FILTER (WHERE b.status = ''cancelled''), 0)
					FROM (SELECT * FROM ticket.seat_return b WHERE b.reservation_id = r.reservation_id OFFSET 0) b
						LEFT JOIN LATERAL (SELECT f.status FROM ticket.refund f WHERE f.refund_id = b.refund_id OFFSET 0) f ON true
					GROUP BY b.status
					UNION ALL
					SELECT r.what, 0, 0, m.amount, m.refunded, m.refund_due, 0
					FROM ticket.payment m WHERE m.reservation_id = r.reservation_id AND m.paid_at IS NULL AND m.status IN (''refund_due'', ''refunded'')) s
			GROUP BY 1 ORDER BY 1' END);
END $$;
COMMENT ON FUNCTION ticket.sales_query(text, text, bigint, bigint, text, text, timestamptz, timestamptz, bigint) IS
	'The query for reservations, payments or totals as they are asked for; arguments that are NULL ask for nothing';

/* ---------- operators ---------- */

CREATE FUNCTION ticket.operator_reservations(
	concert_id bigint DEFAULT NULL, performance_id bigint DEFAULT NULL, status text DEFAULT NULL,
	user_id text DEFAULT NULL, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL,
	max_count int DEFAULT 50, after bigint DEFAULT NULL,
	OUT reservation_id bigint, OUT number text, OUT status text, OUT user_id text, OUT concert_id bigint,
	OUT concert text, OUT performance_id bigint, OUT starts_at timestamptz, OUT seats jsonb, OUT amount bigint,
	OUT created_at timestamptz, OUT expires_at timestamptz, OUT ended_at timestamptz, OUT payment_id bigint,
	OUT provider text, OUT paid_at timestamptz, OUT refunded bigint, OUT refund_due bigint
) RETURNS SETOF record LANGUAGE c STABLE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'ticket_operator_reservations';
COMMENT ON FUNCTION ticket.operator_reservations(bigint, bigint, text, text, timestamptz, timestamptz, int, bigint) IS
	'Reservations with what was agreed and how they were paid, newest first; by concert, performance, state, user and when they were made';

CREATE FUNCTION ticket.operator_payments(
	concert_id bigint DEFAULT NULL, performance_id bigint DEFAULT NULL, status text DEFAULT NULL,
	user_id text DEFAULT NULL, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL,
	max_count int DEFAULT 50, after bigint DEFAULT NULL,
	OUT payment_id bigint, OUT reservation_id bigint, OUT number text, OUT user_id text, OUT concert_id bigint,
	OUT performance_id bigint, OUT provider text, OUT provider_ref text, OUT status text, OUT amount bigint,
	OUT refunded bigint, OUT kept bigint, OUT begun_at timestamptz, OUT paid_at timestamptz, OUT refunded_at timestamptz,
	OUT refund_due bigint
) RETURNS SETOF record LANGUAGE c STABLE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'ticket_operator_payments';
COMMENT ON FUNCTION ticket.operator_payments(bigint, bigint, text, text, timestamptz, timestamptz, int, bigint) IS
	'Payments, those of the newest reservations first; by concert, performance, state, user and when the reservation was made';

CREATE FUNCTION ticket.operator_totals(
	concert_id bigint DEFAULT NULL, performance_id bigint DEFAULT NULL, user_id text DEFAULT NULL,
	since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL,
	OUT status text, OUT reservations bigint, OUT seats bigint, OUT amount bigint, OUT paid bigint, OUT refunded bigint,
	OUT refund_due bigint, OUT kept bigint
) RETURNS SETOF record LANGUAGE c STABLE SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'ticket_operator_totals';
COMMENT ON FUNCTION ticket.operator_totals(bigint, bigint, text, timestamptz, timestamptz) IS
	'What became of the seats: how many are in each state and what they come to, what was paid for them, what has gone back, is due to, was kept; of a concert, a performance, a user, or from a time on. A reservation whose seats are in two states counts in both';

/* ---------- sellers ---------- */

CREATE FUNCTION ticket.seller_concerts(
	seller_id text,
	max_count int DEFAULT 50,
	after bigint DEFAULT NULL,
	OUT concert_id bigint, OUT name text, OUT artist text, OUT starts_at timestamptz, OUT ends_at timestamptz,
	OUT performances bigint, OUT seats bigint, OUT withdrawn_at timestamptz, OUT total bigint
) RETURNS SETOF record LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
	seller text := ticket.check_user(seller_id);
	n int := ticket.check_limit(max_count);
BEGIN
	RETURN QUERY
	SELECT c.concert_id, c.name, c.artist, c.starts_at, c.ends_at, p.performances, p.seats, c.withdrawn_at,
		(SELECT count(*) FROM ticket.concert o WHERE o.owner = seller)
	FROM (SELECT * FROM ticket.concert c WHERE c.owner = seller AND c.concert_id < coalesce(after, 9223372036854775807)
			ORDER BY c.concert_id DESC LIMIT n) c,
		LATERAL (SELECT count(*) AS performances, coalesce(sum(p.seat_count), 0)::bigint AS seats
			FROM ticket.performance p WHERE p.concert_id = c.concert_id) p
	ORDER BY c.concert_id DESC;
END $$;
COMMENT ON FUNCTION ticket.seller_concerts(text, int, bigint) IS
	'A seller''s own concerts, withdrawn or not, newest first; total: how many there are in all';

/* The same lists with the seller before their arguments, so that they stay the same. */
DO $do$
DECLARE
	item record;
BEGIN
	FOR item IN
		SELECT w.name, pg_get_function_arguments(p.oid) AS arguments
		FROM (VALUES ('reservations'), ('payments'), ('totals')) AS w(name)
			JOIN pg_catalog.pg_proc p ON p.proname = 'operator_' || w.name AND p.pronamespace = 'ticket'::regnamespace
	LOOP
		EXECUTE format('CREATE FUNCTION ticket.seller_%1$s(seller_id text, %2$s) RETURNS SETOF record LANGUAGE c STABLE
				SET search_path = pg_catalog, pg_temp AS %3$L, %4$L',
			item.name, item.arguments, 'MODULE_PATHNAME', 'ticket_seller_' || item.name);
		EXECUTE format('COMMENT ON FUNCTION ticket.seller_%s IS %L', item.name,
			format('What operator_%s shows, of the seller''s own concerts', item.name));
	END LOOP;
END $do$;

SELECT ticket.permit('{operator,auditor}', 'EXECUTE', '{operator_reservations,operator_payments,operator_totals}');
SELECT ticket.permit('{seller}', 'EXECUTE', '{seller_concerts,seller_reservations,seller_payments,seller_totals}');
