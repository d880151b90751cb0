/*
 * verify.sql
 *		The books are checked.
 */

/*
 * Every invariant in one statement, so in one snapshot.  Shared memory is read
 * before and after; a queue in which something moved meanwhile is not compared,
 * since a commit shows in the tables a moment before it shows in memory.
 */
CREATE FUNCTION ticket.verify(
	grace interval DEFAULT '5 minutes',
	OUT invariant text, OUT ok boolean, OUT violations bigint, OUT detail text
) RETURNS SETOF record
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	-- Whole tables are compared: also with no statistics that must not be done row by row.
	SET enable_nestloop = off SET enable_hashjoin = on SET enable_mergejoin = on
	SET enable_sort = on SET enable_hashagg = on SET enable_material = on SET jit = off AS $$
#variable_conflict use_column
DECLARE
	t timestamptz;
	before jsonb;
	maps_before jsonb;
BEGIN
	PERFORM ticket.check_argument(grace >= '0', 'grace must not be negative');
	SELECT jsonb_object_agg(m.queue_id, m.changes) FILTER (WHERE m.in_flight = 0)
	FROM ticket.queue_memory() m INTO before;
	SELECT jsonb_object_agg(m.section_id, m.version) FILTER (WHERE m.in_flight = 0)
	FROM ticket.seat_map_memory() m INTO maps_before;
	t := ticket.clock();

	RETURN QUERY
	WITH later AS MATERIALIZED (
		/* What is over by then may have been over in the snapshot. */
		SELECT ticket.clock() AS t
	), live AS MATERIALIZED (
		SELECT r.reservation_id, r.performance_id, r.user_id, r.status, r.expires_at, s.seat_id
		FROM ticket.reservation r, unnest(r.seat_ids) AS s(seat_id) WHERE r.ended_at IS NULL
	), entries AS MATERIALIZED (
		SELECT e.queue_id, count(*) FILTER (WHERE e.status = 'waiting') AS waiting,
			count(*) FILTER (WHERE e.status = 'active') AS active,
			count(*) FILTER (WHERE e.status = 'active' AND e.expires_at > (SELECT later.t FROM later)) AS unexpired
		FROM ticket.queue_entry e WHERE e.ended_at IS NULL GROUP BY e.queue_id
	), memory AS MATERIALIZED (
		SELECT m.* FROM ticket.queue_memory() m
		WHERE (SELECT count(*) FROM entries) >= 0 AND m.in_flight = 0
			AND (before -> m.queue_id::text)::bigint = m.changes
	), books AS MATERIALIZED (
		SELECT * FROM ticket.books
	), expected (account, balance) AS (
		SELECT 'sales:' || r.performance_id, sum(p.amount - p.refunded)
		FROM ticket.payment p JOIN ticket.reservation r ON r.reservation_id = p.reservation_id
		WHERE p.paid_at IS NOT NULL GROUP BY r.performance_id
		UNION ALL
		SELECT 'refund:' || f.provider, sum(f.amount) FROM ticket.refund f WHERE f.status = 'due' GROUP BY f.provider
		UNION ALL
		SELECT 'provider:' || m.provider, sum(m.amount)
		FROM (SELECT p.provider, -p.amount AS amount FROM ticket.payment p
				WHERE p.provider <> 'points' AND p.status NOT IN ('pending', 'failed')
			UNION ALL
			SELECT f.provider, f.amount FROM ticket.refund f WHERE f.status = 'done') AS m GROUP BY m.provider
	), drawn AS MATERIALIZED (
		SELECT e.section_id, count(*) FILTER (WHERE e.status = 'free') AS free,
			string_agg(CASE e.status WHEN 'free' THEN '.' WHEN 'held' THEN 'h' WHEN 'sold' THEN 'X' ELSE '-' END, ''
				ORDER BY e.seat_id) AS states
		FROM ticket.seat e WHERE e.section_id IN (SELECT k::bigint FROM jsonb_object_keys(maps_before) AS k)
		GROUP BY e.section_id
	), maps AS MATERIALIZED (
		SELECT m.* FROM ticket.seat_map_memory() m
		WHERE (SELECT count(*) FROM drawn) >= 0 AND m.in_flight = 0 AND m.unread = 0
			AND (maps_before -> m.section_id::text)::bigint = m.version
	), invariants (ord, invariant) AS (VALUES
		(1, 'a seat has one live reservation and its state'),
		(2, 'a live reservation has all its seats'),
		(3, 'sold and held seats fit the house'),
		(4, 'users stay within their limit'),
		(5, 'a balance is the sum of its ledger'),
		(6, 'no balance is negative'),
		(7, 'a paid reservation has one captured payment'),
		(8, 'refunds do not exceed captures'),
		(9, 'every payment is in the ledger'),
		(10, 'final states are final'),
		(11, 'no hold outlives its end'),
		(12, 'active tickets fit the capacity'),
		(13, 'one live ticket per user and queue'),
		(14, 'shared memory agrees with the tables'),
		(15, 'nothing is orphaned'),
		(16, 'sales and providers have what the books say'),
		(17, 'a payment under way is known to its reservation'),
		(18, 'what is to be given back is written down'),
		(20, 'a section has the seats it says'),
		(21, 'performances fit their concert'),
		(22, 'nothing is left of what was cancelled'),
		(30, 'seat maps agree with the table'),
		(40, 'events are as documented'),
		(41, 'an event waits or is history')
	), violation (ord, what) AS (
		SELECT 1, format('performance %s seat %s is %s for reservation %s', e.performance_id, e.seat_id,
			e.status, e.reservation_id)
		FROM ticket.seat e LEFT JOIN live l ON l.reservation_id = e.reservation_id
			AND l.performance_id = e.performance_id AND l.seat_id = e.seat_id
		WHERE e.reservation_id IS NOT NULL AND (l.reservation_id IS NULL
			OR e.status <> CASE l.status WHEN 'paid' THEN 'sold' ELSE 'held' END
			OR (e.status = 'held' AND e.held_until <> l.expires_at))
		UNION ALL
		SELECT 2, format('reservation %s has performance %s seat %s, the seat has %s', l.reservation_id,
			l.performance_id, l.seat_id, coalesce(e.reservation_id::text, e.status, 'no row'))
		FROM live l LEFT JOIN ticket.seat e ON e.performance_id = l.performance_id AND e.seat_id = l.seat_id
		WHERE e.reservation_id IS DISTINCT FROM l.reservation_id
		UNION ALL
		SELECT 3, format('performance %s has %s seats, %s taken, of %s', p.performance_id, p.seats, p.taken, p.seat_count)
		FROM (SELECT p.performance_id, p.seat_count, coalesce(e.seats, 0) AS seats, coalesce(e.taken, 0) AS taken
			FROM ticket.performance p LEFT JOIN (
				SELECT performance_id, count(*) AS seats, count(reservation_id) AS taken
				FROM ticket.seat GROUP BY performance_id) e ON e.performance_id = p.performance_id) AS p
		WHERE p.seats <> p.seat_count OR p.taken > p.seat_count
		UNION ALL
		SELECT 4, format('user %s has %s seats of performance %s', l.user_id, count(*), l.performance_id)
		FROM live l JOIN ticket.performance p ON p.performance_id = l.performance_id
		WHERE l.status = 'paid' OR l.expires_at > (SELECT later.t FROM later)
		GROUP BY l.user_id, l.performance_id, p.max_seats_per_user
		HAVING count(*) > p.max_seats_per_user
		UNION ALL
		SELECT 5, format('user %s has %s, the ledger says %s', coalesce(a.user_id, g.user_id), a.balance, g.amount)
		FROM ticket.account a FULL JOIN (
			SELECT substr(b.account, 6) AS user_id, b.balance AS amount FROM books b WHERE b.account LIKE 'user:%'
		) g ON g.user_id = a.user_id
		WHERE coalesce(a.balance, 0) <> coalesce(g.amount, 0)
		UNION ALL
		SELECT 5, format('user %s: movement %s begins with %s after %s', g.user_id, g.ledger_id, g.balance_before, g.former)
		FROM (SELECT l.user_id, l.ledger_id, l.balance_before,
				lag(l.balance_after, 1, 0::bigint) OVER (PARTITION BY l.user_id ORDER BY l.ledger_id) AS former
			FROM ticket.ledger l WHERE l.balance_after IS NOT NULL) AS g
		WHERE g.balance_before <> g.former
		UNION ALL
		SELECT 6, format('user %s has %s', a.user_id, a.balance) FROM ticket.account a WHERE a.balance < 0
		UNION ALL
		SELECT 7, format('reservation %s is %s and has %s captured payments', r.reservation_id, r.status, coalesce(n.captured, 0))
		FROM ticket.reservation r LEFT JOIN (
			SELECT reservation_id, count(*) AS captured, sum(amount - refunded - kept) AS used
			FROM ticket.payment WHERE paid_at IS NOT NULL GROUP BY reservation_id
		) n ON n.reservation_id = r.reservation_id
		WHERE (r.status = 'paid' AND (n.captured IS DISTINCT FROM 1 OR n.used IS DISTINCT FROM r.amount))
			OR (r.status <> 'paid' AND n.used > 0)
		UNION ALL
		SELECT 8, format('payment %s of %s has refunded %s and kept %s', p.payment_id, p.amount, p.refunded, p.kept)
		FROM ticket.payment p WHERE p.refunded > p.amount - p.kept OR p.refunded < 0 OR p.kept < 0
		UNION ALL
		SELECT 8, format('payment %s has refunded %s, its refunds come to %s', p.payment_id, p.refunded, coalesce(f.amount, 0))
		FROM ticket.payment p LEFT JOIN (
			SELECT payment_id, sum(amount) AS amount FROM ticket.refund GROUP BY payment_id) f ON f.payment_id = p.payment_id
		WHERE f.amount IS DISTINCT FROM nullif(CASE p.provider WHEN 'points' THEN 0 ELSE p.refunded END, 0)
		UNION ALL
		SELECT 9, format('payment %s: the ledger has %s paid and %s refunded, the payment %s and %s', p.payment_id,
			coalesce(g.paid, 0), coalesce(g.refunded, 0), p.amount, p.refunded)
		FROM ticket.payment p LEFT JOIN (
			SELECT payment_id, sum(amount) FILTER (WHERE kind = 'payment') AS paid,
				sum(amount) FILTER (WHERE kind = 'refund') AS refunded
			FROM ticket.ledger WHERE payment_id IS NOT NULL GROUP BY payment_id) g ON g.payment_id = p.payment_id
		WHERE coalesce(g.paid, 0) <> CASE WHEN p.status IN ('pending', 'failed') THEN 0 ELSE p.amount END
			OR coalesce(g.refunded, 0) <> p.refunded OR (g.paid IS NULL) <> (p.status IN ('pending', 'failed'))
		UNION ALL
		SELECT 10, format('reservation %s is %s and ended at %s', r.reservation_id, r.status, r.ended_at)
		FROM ticket.reservation r WHERE (r.status IN ('held', 'paid')) <> (r.ended_at IS NULL)
		UNION ALL
		SELECT 10, format('ticket %s of queue %s is %s and ended at %s', e.place, e.queue_id, e.status, e.ended_at)
		FROM ticket.queue_entry e WHERE (e.status IN ('waiting', 'active')) <> (e.ended_at IS NULL)
		UNION ALL
		SELECT 11, format('reservation %s should have ended at %s', r.reservation_id, r.expires_at)
		FROM ticket.reservation r WHERE r.status = 'held' AND r.expires_at <= t - grace
		UNION ALL
		SELECT 12, format('queue %s has %s active, capacity %s', q.queue_id, e.unexpired, q.capacity)
		FROM ticket.queue q JOIN entries e ON e.queue_id = q.queue_id
		WHERE q.mode <> 'passthrough' AND e.unexpired > q.capacity
		UNION ALL
		SELECT 13, format('user %s has %s tickets of queue %s', e.user_id, count(*), e.queue_id)
		FROM ticket.queue_entry e WHERE e.ended_at IS NULL GROUP BY e.queue_id, e.user_id HAVING count(*) > 1
		UNION ALL
		SELECT 14, format('queue %s: memory has %s waiting, %s active, %s admitted; tables %s, %s', m.queue_id,
			m.waiting, m.active, m.admitted, coalesce(e.waiting, 0), coalesce(e.active, 0))
		FROM memory m LEFT JOIN entries e ON e.queue_id = m.queue_id
		WHERE (m.waiting, m.active, m.admitted) IS DISTINCT FROM
			(coalesce(e.waiting, 0), coalesce(e.active, 0), coalesce(e.active, 0))
		UNION ALL
		SELECT 15, format('ticket %s: no queue %s', e.place, e.queue_id) FROM ticket.queue_entry e
		WHERE e.ended_at IS NULL AND NOT EXISTS (SELECT FROM ticket.queue q WHERE q.queue_id = e.queue_id)
		UNION ALL
		SELECT 15, format('reservation %s: no performance %s', r.reservation_id, r.performance_id) FROM ticket.reservation r
		WHERE NOT EXISTS (SELECT FROM ticket.performance p WHERE p.performance_id = r.performance_id)
		UNION ALL
		SELECT 15, format('seat %s: no section %s of performance %s', e.seat_id, e.section_id, e.performance_id) FROM ticket.seat e
		WHERE NOT EXISTS (SELECT FROM ticket.section s WHERE s.section_id = e.section_id AND s.performance_id = e.performance_id)
		UNION ALL
		SELECT 15, format('payment %s: no reservation %s', p.payment_id, p.reservation_id) FROM ticket.payment p
		WHERE NOT EXISTS (SELECT FROM ticket.reservation r WHERE r.reservation_id = p.reservation_id)
		UNION ALL
		SELECT 15, format('ledger %s: no payment %s', g.ledger_id, g.payment_id) FROM ticket.ledger g
		WHERE g.payment_id IS NOT NULL
			AND NOT EXISTS (SELECT FROM ticket.payment p WHERE p.payment_id = g.payment_id)
		UNION ALL
		SELECT 15, format('refund %s: no payment %s', f.refund_id, f.payment_id) FROM ticket.refund f
		WHERE NOT EXISTS (SELECT FROM ticket.payment p WHERE p.payment_id = f.payment_id)
		UNION ALL
		SELECT 16, format('%s should have %s, the books say %s', coalesce(e.account, b.account), coalesce(e.balance, 0),
			coalesce(b.balance, 0))
		FROM expected e FULL JOIN (SELECT * FROM books WHERE account NOT LIKE 'user:%' AND account NOT IN ('charge', 'payout', 'forfeit')) b
			ON b.account = e.account
		WHERE coalesce(e.balance, 0) <> coalesce(b.balance, 0)
		UNION ALL
		SELECT 17, format('payment %s is %s, reservation %s has payment %s under way', p.payment_id, p.status, r.reservation_id,
			r.pending_payment)
		FROM (SELECT * FROM ticket.payment WHERE status = 'pending') p
			FULL JOIN (SELECT * FROM ticket.reservation WHERE pending_payment IS NOT NULL) r
			ON r.pending_payment = p.payment_id AND r.reservation_id = p.reservation_id
		WHERE p.payment_id IS NULL OR r.reservation_id IS NULL
		UNION ALL
		SELECT 20, format('section %s has %s seats from %s to %s in %s rows of up to %s; it says %s from %s, %s, %s', s.section_id,
			coalesce(e.n, 0), e.first, e.last, e.rows, e.width, s.seat_count, s.first_seat_id, s.row_count, s.seats_per_row)
		FROM ticket.section s LEFT JOIN (
			SELECT section_id, performance_id, count(*) AS n, min(seat_id) AS first, max(seat_id) AS last, max(row_no) AS rows, max(seat_no) AS width,
				least(min(row_no), min(seat_no)) AS least
			FROM ticket.seat GROUP BY section_id, performance_id) e ON e.section_id = s.section_id AND e.performance_id = s.performance_id
		WHERE (e.n, e.first, e.last) IS DISTINCT FROM (s.seat_count::bigint, s.first_seat_id, s.first_seat_id + s.seat_count - 1)
			OR e.rows > s.row_count OR e.width > s.seats_per_row OR e.least < 1
		UNION ALL
		SELECT 21, format('performance %s is %s at %s; concert %s is from %s to %s, withdrawn at %s', p.performance_id, p.status, p.starts_at,
			c.concert_id, c.starts_at, c.ends_at, c.withdrawn_at)
		FROM ticket.performance p JOIN ticket.concert c ON c.concert_id = p.concert_id
		WHERE p.status = 'scheduled' AND (p.starts_at < c.starts_at OR p.starts_at > c.ends_at OR c.withdrawn_at IS NOT NULL)
		UNION ALL
		SELECT 22, format('performance %s is %s, its cancellation finished at %s, %s seats are not blocked', p.performance_id, p.status,
			c.finished_at, coalesce(e.n, 0))
		FROM ticket.performance p FULL JOIN ticket.performance_cancellation c ON c.performance_id = p.performance_id
			LEFT JOIN (SELECT performance_id, count(*) AS n FROM ticket.seat WHERE status <> 'blocked' GROUP BY performance_id) e
			ON e.performance_id = p.performance_id
		WHERE (p.status = 'cancelled') IS DISTINCT FROM (c.performance_id IS NOT NULL) OR (c.finished_at IS NOT NULL AND e.n > 0)
		UNION ALL
		SELECT 18, format('payment %s is %s and has %s refunds due', p.payment_id, p.status, coalesce(f.due, 0))
		FROM ticket.payment p LEFT JOIN (
			SELECT payment_id, count(*) AS due FROM ticket.refund WHERE status = 'due' GROUP BY payment_id) f ON f.payment_id = p.payment_id
		WHERE CASE p.status WHEN 'captured' THEN p.paid_at IS NULL WHEN 'refund_due' THEN f.due IS NULL ELSE f.due > 0 END
		UNION ALL
		SELECT 40, format('event %s: %s %s', o.id, o.type, o.payload)
		FROM ticket.outbox o LEFT JOIN (
			SELECT type, aggregatetype, to_jsonb(v) AS v, array(SELECT jsonb_object_keys(example)) AS keys
			FROM ticket.event_types) t ON t.type = o.type AND t.aggregatetype = o.aggregatetype
		WHERE t.type IS NULL OR o.payload -> 'v' IS DISTINCT FROM t.v OR NOT o.payload ?& t.keys
		UNION ALL
		SELECT 30, format('section %s: memory has %s free, the table %s', m.section_id, m.free, coalesce(d.free, 0))
		FROM maps m LEFT JOIN drawn d ON d.section_id = m.section_id
		WHERE replace(m.states, ' ', '') <> coalesce(d.states, '') OR m.free <> coalesce(d.free, 0)
		UNION ALL
		SELECT 41, format('event %s is in the outbox and in the history', o.id)
		FROM ticket.outbox o JOIN ticket.history h ON h.event_id = o.id
		WHERE h.at >= (SELECT min(ticket.event_time(w.id)) FROM ticket.outbox w)
	), counted AS (
		SELECT ord, count(*) AS n, (array_agg(what ORDER BY what))[1:5] AS first FROM violation GROUP BY ord
	)
	SELECT i.invariant, c.n IS NULL, coalesce(c.n, 0), array_to_string(c.first, '; ')
	FROM invariants i LEFT JOIN counted c ON c.ord = i.ord ORDER BY i.ord;
END $$;
COMMENT ON FUNCTION ticket.verify(interval) IS
	'Checks every invariant in one snapshot; grace is how long a hold that is over may wait to be tidied';

SELECT ticket.permit('{operator,auditor}', 'EXECUTE', '{verify}');
