/*
 * verify.sql
 *		The books are checked.
 */

/*
 * Every invariant in one statement, so in one snapshot.  Shared memory is read
 * before and after; a queue in which something moved meanwhile is not compared,
 * since a commit shows in the tables a moment before it shows in memory.
 *
 * No account of the ledger is summed up to be compared with what it should be:
 * each movement is right by itself, those of a user follow each other and end
 * with the balance, and those of a payment are on its accounts and come to what
 * the payment says.  The sums follow from that, at half the cost.
 */
CREATE FUNCTION ticket.verify(
	grace interval DEFAULT '5 minutes',
	OUT invariant text, OUT ok boolean, OUT violations bigint, OUT detail text
) RETURNS SETOF record
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	-- Whole tables are compared: also with no statistics that must not be done row by row.
	SET enable_nestloop = off SET enable_hashjoin = on SET enable_mergejoin = on
	SET enable_sort = on SET enable_hashagg = on SET enable_material = on SET jit = off
	SET work_mem = '64MB' SET timezone = 'UTC' AS $$
#variable_conflict use_column
DECLARE
	t timestamptz;
	before jsonb;
	maps_before jsonb;
	-- What user_withdraw puts in the place of an id
	pseudonym text := 'withdrawn-' || repeat('_', 32);
BEGIN
	PERFORM ticket.check_argument(grace BETWEEN '0' AND '1000 years', 'grace must be between 0 and 1000 years');
	grace := ticket.elapsed(grace);
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
		/* And what else should be: that is among the questions. */
		SELECT r.reservation_id, r.performance_id, r.user_id, r.status, r.expires_at, r.ended_at, r.seat_ids, r.pending_payment
		FROM ticket.reservation r WHERE r.ended_at IS NULL OR r.status IN ('held', 'paid') OR r.pending_payment IS NOT NULL
	), house AS MATERIALIZED (
		/* What the seats of each section come to. */
		SELECT e.section_id, e.performance_id, count(*) AS n, count(e.reservation_id) AS taken,
			count(*) FILTER (WHERE e.status <> 'blocked') AS unblocked, min(e.seat_id) AS first, max(e.seat_id) AS last,
			max(e.row_no) AS rows, max(e.seat_no) AS width, least(min(e.row_no), min(e.seat_no)) AS least
		FROM ticket.seat e GROUP BY e.section_id, e.performance_id
	), outside AS MATERIALIZED (
		/* Money that never was points. */
		SELECT l.ledger_id, l.kind, l.user_id, l.debit, l.credit, l.amount, l.payment_id
		FROM ticket.ledger l WHERE l.balance_after IS NULL
	), entries AS MATERIALIZED (
		SELECT e.queue_id, count(*) FILTER (WHERE e.status = 'waiting') AS waiting,
			count(*) FILTER (WHERE e.status = 'active') AS active,
			count(*) FILTER (WHERE e.status = 'active' AND e.expires_at > (SELECT later.t FROM later)) AS unexpired,
			max(e.admitted_at) AS admitted_at,
			min(e.expires_at) AS expires_at
		FROM ticket.queue_entry e WHERE e.ended_at IS NULL GROUP BY e.queue_id
	), rooms AS MATERIALIZED (
		SELECT m.* FROM ticket.queue_memory() m WHERE (SELECT count(*) FROM entries) >= 0
	), memory AS (
		SELECT m.* FROM rooms m WHERE m.in_flight = 0 AND (before -> m.queue_id::text)::bigint = m.changes
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
	), withdrawn AS MATERIALIZED (
		/* Who has come again under the same id since begins with nothing. */
		SELECT o.payload ->> 'user_id' AS user_id, ticket.event_time(o.id) - grace AS before
		FROM ticket.outbox o WHERE o.type = 'user.withdrawn'
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
		(19, 'money and seats are the same user''s'),
		(20, 'a section has the seats it says'),
		(21, 'performances fit their concert'),
		(22, 'nothing is left of what was cancelled'),
		(23, 'what was agreed is known'),
		(24, 'blocked users get nothing'),
		(25, 'nothing is left of users who withdrew'),
		(26, 'every hold has a timer'),
		(30, 'seat maps agree with the table'),
		(40, 'events are as documented'),
		(41, 'an event waits or is history')
	), large (ord, what) AS (
		/*
		 * Of tables that grow with the sale: each is read as few times as can
		 * be, and all that is wrong with a row is told in one go.
		 */
		SELECT v.ord, v.what
		FROM (SELECT e.performance_id, e.seat_id, e.reservation_id, e.status,
				l.performance_id AS of_performance, l.seat_id AS of_seat, l.reservation_id AS of_reservation
			FROM (SELECT performance_id, seat_id, reservation_id, status, held_until FROM ticket.seat
				WHERE reservation_id IS NOT NULL OR status IN ('held', 'sold')) e
			FULL JOIN (SELECT reservation_id, performance_id, status, expires_at, unnest(seat_ids) AS seat_id
				FROM live WHERE ended_at IS NULL) l
				ON l.performance_id = e.performance_id AND l.seat_id = e.seat_id AND l.reservation_id = e.reservation_id
			WHERE e.seat_id IS NULL OR l.seat_id IS NULL OR e.status <> CASE l.status WHEN 'paid' THEN 'sold' ELSE 'held' END
				OR (e.status = 'held' AND e.held_until <> l.expires_at)) s, LATERAL (VALUES
			(1, s.seat_id IS NOT NULL, format('performance %s seat %s is %s for reservation %s', s.performance_id, s.seat_id,
				s.status, s.reservation_id)),
			(2, s.seat_id IS NULL, format('reservation %s has performance %s seat %s, the seat has %s', s.of_reservation,
				s.of_performance, s.of_seat, coalesce((SELECT coalesce(e.reservation_id::text, e.status) FROM ticket.seat e
					WHERE e.performance_id = s.of_performance AND e.seat_id = s.of_seat), 'no row')))) AS v(ord, wrong, what)
		WHERE v.wrong
		UNION ALL
		SELECT v.ord, v.what
		FROM (SELECT p.performance_id, p.status, p.seat_count, c.performance_id AS cancelled, c.finished_at, coalesce(e.n, 0) AS n,
				coalesce(e.taken, 0) AS taken, coalesce(e.unblocked, 0) AS unblocked
			FROM ticket.performance p FULL JOIN ticket.performance_cancellation c ON c.performance_id = p.performance_id
			LEFT JOIN (SELECT performance_id, sum(n) AS n, sum(taken) AS taken, sum(unblocked) AS unblocked
				FROM house GROUP BY performance_id) e ON e.performance_id = p.performance_id
			WHERE coalesce(e.n, 0) <> p.seat_count OR e.taken > p.seat_count
				OR (p.status = 'cancelled') IS DISTINCT FROM (c.performance_id IS NOT NULL) OR c.finished_at IS NOT NULL) p, LATERAL (VALUES
			(3, p.n <> p.seat_count OR p.taken > p.seat_count, format('performance %s has %s seats, %s taken, of %s', p.performance_id,
				p.n, p.taken, p.seat_count)),
			(22, (p.status = 'cancelled') IS DISTINCT FROM (p.cancelled IS NOT NULL) OR (p.finished_at IS NOT NULL AND p.unblocked > 0),
				format('performance %s is %s, its cancellation finished at %s, %s seats are not blocked', p.performance_id, p.status,
					p.finished_at, p.unblocked))) AS v(ord, wrong, what)
		WHERE v.wrong
		UNION ALL
		SELECT CASE WHEN s.section_id IS NULL THEN 15 ELSE 20 END, CASE WHEN s.section_id IS NULL
			THEN format('%s seats: no section %s of performance %s', e.n, e.section_id, e.performance_id)
			ELSE format('section %s has %s seats from %s to %s in %s rows of up to %s; it says %s from %s, %s, %s', s.section_id,
				coalesce(e.n, 0), e.first, e.last, e.rows, e.width, s.seat_count, s.first_seat_id, s.row_count, s.seats_per_row) END
		FROM ticket.section s FULL JOIN house e ON e.section_id = s.section_id AND e.performance_id = s.performance_id
		WHERE (e.n, e.first, e.last) IS DISTINCT FROM (s.seat_count::bigint, s.first_seat_id, s.first_seat_id + s.seat_count - 1)
			OR e.rows > s.row_count OR e.width > s.seats_per_row OR e.least < 1
		UNION ALL
		SELECT v.ord, v.what
		FROM (SELECT c.*, a.user_id AS of_user, a.balance
			/* Each user's last movement, and those that are wrong: then sums need not be taken. */
			FROM (SELECT * FROM (
				SELECT l.user_id, l.ledger_id, l.kind, l.debit, l.credit, l.amount, l.balance_before, l.balance_after,
					CASE l.kind WHEN 'payment' THEN l.debit = 'user:' || l.user_id AND l.balance_before - l.balance_after = l.amount
						WHEN 'refund' THEN l.credit = 'user:' || l.user_id AND l.balance_after - l.balance_before = l.amount
						WHEN 'charge' THEN l.credit = 'user:' || l.user_id AND l.debit = 'charge' AND l.balance_after - l.balance_before = l.amount
						ELSE l.debit = 'user:' || l.user_id AND l.credit = l.kind AND l.balance_before - l.balance_after = l.amount END AS right,
					lag(l.balance_after, 1, 0::bigint) OVER of_user AS former, lead(true) OVER of_user IS NULL AS last
				FROM ticket.ledger l WHERE l.balance_after IS NOT NULL
				WINDOW of_user AS (PARTITION BY l.user_id ORDER BY l.ledger_id)) AS l
				WHERE l.last OR l.balance_before IS DISTINCT FROM l.former OR l.right IS NOT TRUE) AS c
			FULL JOIN ticket.account a ON a.user_id = CASE WHEN c.last THEN c.user_id END
			WHERE NOT c.last OR c.balance_before IS DISTINCT FROM c.former OR c.right IS NOT TRUE
				OR coalesce(c.balance_after, 0) <> coalesce(a.balance, 0) OR a.balance < 0) c, LATERAL (VALUES
			(5, (c.last IS NULL OR c.last) AND coalesce(c.balance_after, 0) <> coalesce(c.balance, 0), format('user %s has %s, the ledger says %s',
				coalesce(c.of_user, c.user_id), c.balance, c.balance_after)),
			(5, c.balance_before IS DISTINCT FROM c.former, format('user %s: movement %s begins with %s after %s', c.user_id, c.ledger_id,
				c.balance_before, c.former)),
			(5, c.ledger_id IS NOT NULL AND c.right IS NOT TRUE, format('user %s: %s %s of %s from %s to %s makes %s of %s', c.user_id, c.kind,
				c.ledger_id, c.amount, c.debit, c.credit, c.balance_after, c.balance_before)),
			(6, c.balance < 0, format('user %s has %s', c.of_user, c.balance))) AS v(ord, wrong, what)
		WHERE v.wrong
		UNION ALL
		SELECT 5, format('%s %s from %s to %s tells no balance', l.kind, l.ledger_id, l.debit, l.credit)
		FROM outside l WHERE (starts_with(l.debit, 'user:') OR starts_with(l.credit, 'user:'))
		UNION ALL
		SELECT 7, format('reservation %s is %s and has %s captured payments', r.reservation_id, r.status,
			(SELECT count(*) FROM ticket.payment p WHERE p.reservation_id = r.reservation_id AND p.paid_at IS NOT NULL))
		FROM (SELECT r.reservation_id, r.status
				FROM (SELECT reservation_id FROM ticket.payment WHERE paid_at IS NOT NULL GROUP BY reservation_id HAVING count(*) > 1) p
					JOIN ticket.reservation r ON r.reservation_id = p.reservation_id
			UNION ALL SELECT r.reservation_id, r.status FROM live r
				WHERE r.status = 'paid' AND NOT EXISTS (
					SELECT FROM ticket.payment p WHERE p.paid_at IS NOT NULL AND p.reservation_id = r.reservation_id)) r
		UNION ALL
		SELECT v.ord, v.what
		FROM (SELECT p.*, r.reservation_id AS of_reservation, r.status AS of_status, r.user_id AS of_user,
				p.paid_at IS NOT NULL AND CASE r.status WHEN 'paid' THEN p.amount - p.back - p.kept <> r.amount
					ELSE p.amount > p.back + p.kept END AND r.reservation_id IS NOT NULL AS unequal, r.performance_id,
				g.payment_id AS entered, g.paid, g.returned, g.first, g.last,
				f.amount AS given_back, coalesce(f.due, 0) AS due, coalesce(f.owed, 0) AS owed,
				coalesce(b.price, 0) AS returned_price, coalesce(b.refund, 0) AS returned_refund, f.first_provider, f.last_provider
			FROM (SELECT p.*, p.refunded + p.refund_due AS back FROM ticket.payment p) p
				LEFT JOIN ticket.reservation r ON r.reservation_id = p.reservation_id
			FULL JOIN (
				SELECT payment_id, sum(amount) FILTER (WHERE kind = 'payment') AS paid, sum(amount) FILTER (WHERE kind = 'refund') AS returned,
					min(user_id || ' ' || CASE kind WHEN 'payment' THEN credit WHEN 'refund' THEN debit END COLLATE "C") AS first,
					max(user_id || ' ' || CASE kind WHEN 'payment' THEN credit WHEN 'refund' THEN debit END COLLATE "C") AS last
				FROM ticket.ledger WHERE payment_id IS NOT NULL GROUP BY payment_id) g ON g.payment_id = p.payment_id
			LEFT JOIN (
				SELECT payment_id, sum(amount) AS amount, count(*) FILTER (WHERE status = 'due') AS due,
					sum(amount) FILTER (WHERE status = 'due') AS owed,
					min(provider) AS first_provider, max(provider) AS last_provider
				FROM ticket.refund GROUP BY payment_id) f ON f.payment_id = p.payment_id
			LEFT JOIN (
				SELECT payment_id, sum(price) AS price, sum(refund) AS refund
				FROM ticket.seat_return WHERE status = 'cancelled' GROUP BY payment_id) b ON b.payment_id = p.payment_id
			WHERE p.payment_id IS NULL OR r.reservation_id IS NULL
				OR (p.paid_at IS NOT NULL AND CASE r.status WHEN 'paid' THEN p.amount - p.back - p.kept <> r.amount
					ELSE p.amount > p.back + p.kept END)
				OR p.back > p.amount - p.kept OR p.refunded < 0 OR p.refund_due < 0 OR p.kept < 0
				OR coalesce(f.amount, 0) <> CASE p.provider WHEN 'points' THEN p.refund_due ELSE p.back END
				OR coalesce(f.owed, 0) <> p.refund_due
				OR coalesce(b.price, 0) <> CASE WHEN p.paid_at IS NULL THEN 0 ELSE p.back + p.kept END
				OR coalesce(b.refund, 0) <> CASE WHEN p.paid_at IS NULL THEN 0 ELSE p.back END
				OR f.first_provider <> p.provider OR f.last_provider <> p.provider
				OR coalesce(g.paid, 0) <> CASE WHEN p.status IN ('pending', 'failed') THEN 0 ELSE p.amount END
				OR coalesce(g.returned, 0) <> p.back OR (g.paid IS NULL) <> (p.status IN ('pending', 'failed'))
				OR g.first <> p.user_id || ' sales:' || r.performance_id OR g.last <> g.first
				OR CASE p.status WHEN 'captured' THEN p.paid_at IS NULL WHEN 'refund_due' THEN coalesce(f.due, 0) = 0 ELSE f.due > 0 END
				OR r.user_id <> p.user_id
				OR (p.idempotency_key IS NOT NULL AND p.user_id LIKE pseudonym)) s, LATERAL (VALUES
			(7, s.unequal, format('reservation %s is %s and has %s captured payments', s.reservation_id, s.of_status,
				(SELECT count(*) FROM ticket.payment p WHERE p.reservation_id = s.reservation_id AND p.paid_at IS NOT NULL))),
			(8, s.back > s.amount - s.kept OR s.refunded < 0 OR s.refund_due < 0 OR s.kept < 0, format('payment %s of %s has refunded %s, %s are due, kept %s',
				s.payment_id, s.amount, s.refunded, s.refund_due, s.kept)),
			(8, coalesce(s.given_back, 0) <> CASE s.provider WHEN 'points' THEN s.refund_due ELSE s.back END OR s.owed <> s.refund_due,
				format('payment %s has refunded %s and %s are due, its refunds come to %s, of which %s are due', s.payment_id, s.refunded,
					s.refund_due, coalesce(s.given_back, 0), s.owed)),
			(18, s.returned_price <> CASE WHEN s.paid_at IS NULL THEN 0 ELSE s.back + s.kept END
				OR s.returned_refund <> CASE WHEN s.paid_at IS NULL THEN 0 ELSE s.back END,
				format('payment %s has given back %s and kept %s, its seats given back cost %s, of which %s go back', s.payment_id, s.back, s.kept,
					s.returned_price, s.returned_refund)),
			(8, s.first_provider <> s.provider OR s.last_provider <> s.provider, format('payment %s was made at %s, refunds are of %s and %s',
				s.payment_id, s.provider, s.first_provider, s.last_provider)),
			(9, coalesce(s.paid, 0) <> CASE WHEN s.status IN ('pending', 'failed') THEN 0 ELSE s.amount END
				OR coalesce(s.returned, 0) <> s.back OR (s.paid IS NULL) <> (s.status IN ('pending', 'failed')),
				format('payment %s: the ledger has %s paid and %s refunded, the payment %s and %s', s.payment_id, coalesce(s.paid, 0),
					coalesce(s.returned, 0), s.amount, s.back)),
			(15, s.of_reservation IS NULL AND s.payment_id IS NOT NULL, format('payment %s: no reservation %s', s.payment_id, s.reservation_id)),
			(15, s.payment_id IS NULL, format('ledger: no payment %s', s.entered)),
			(16, s.first <> s.user_id || ' sales:' || s.performance_id OR s.last <> s.first,
				format('payment %s of user %s should be with sales:%s, the ledger has it with %s and %s', s.payment_id, s.user_id,
					s.performance_id, s.first, s.last)),
			(18, CASE s.status WHEN 'captured' THEN s.paid_at IS NULL WHEN 'refund_due' THEN s.due = 0 ELSE s.due > 0 END,
				format('payment %s is %s and has %s refunds due', s.payment_id, s.status, s.due)),
			(19, s.of_user <> s.user_id, format('payment %s is of user %s, reservation %s of %s', s.payment_id, s.user_id, s.reservation_id,
				s.of_user)),
			(25, s.idempotency_key IS NOT NULL AND s.user_id LIKE pseudonym, format('payment %s has a key', s.payment_id))) AS v(ord, wrong, what)
		WHERE v.wrong
		UNION ALL
		SELECT 18, format('reservation %s: seats %s were given back, %s are written down', coalesce(r.reservation_id, b.reservation_id),
			coalesce(r.seat_ids, '{}'), coalesce(b.seat_ids, '{}'))
		FROM (SELECT reservation_id, status, given_back || CASE status WHEN 'cancelled' THEN seat_ids END AS seat_ids
				FROM ticket.reservation WHERE given_back IS NOT NULL OR status = 'cancelled') r
			FULL JOIN (SELECT reservation_id, array_agg(seat_id) AS seat_ids FROM ticket.seat_return GROUP BY reservation_id) b
				ON b.reservation_id = r.reservation_id
		WHERE (b.seat_ids @> r.seat_ids AND b.seat_ids <@ r.seat_ids) IS NOT TRUE
		UNION ALL
		SELECT 10, format('reservation %s is %s and ended at %s', l.reservation_id, l.status, l.ended_at)
		FROM live l WHERE (l.status IN ('held', 'paid')) <> (l.ended_at IS NULL)
		UNION ALL
		SELECT 11, format('reservation %s should have ended at %s', l.reservation_id, l.expires_at)
		FROM live l WHERE l.status = 'held' AND l.expires_at <= t - grace
		UNION ALL
		SELECT 26, format('reservation %s is held until %s', l.reservation_id, l.expires_at)
		FROM live l LEFT JOIN ticket.hold_timer d ON d.due_at = l.expires_at AND d.reservation_id = l.reservation_id
		WHERE l.status = 'held' AND l.ended_at IS NULL AND d.reservation_id IS NULL
		UNION ALL
		SELECT 25, format('reservation %s is held', l.reservation_id) FROM live l WHERE l.status = 'held' AND l.user_id LIKE pseudonym
		UNION ALL
		SELECT 25, format('reservation %s has a key', r.reservation_id)
		FROM ticket.reservation r WHERE r.idempotency_key IS NOT NULL AND r.user_id LIKE pseudonym
		UNION ALL
		SELECT 25, format('ledger %s has a key', l.ledger_id) FROM ticket.ledger l
		WHERE l.idempotency_key IS NOT NULL AND l.user_id LIKE pseudonym
		UNION ALL
		SELECT 15, format('%s reservations: no performance %s', r.n, r.performance_id)
		FROM (SELECT performance_id, count(*) AS n FROM ticket.reservation GROUP BY performance_id) r
		WHERE NOT EXISTS (SELECT FROM ticket.performance p WHERE p.performance_id = r.performance_id)
		UNION ALL
		SELECT 17, format('payment %s is %s, reservation %s has payment %s under way', p.payment_id, p.status, r.reservation_id,
			r.pending_payment)
		FROM (SELECT * FROM ticket.payment WHERE status = 'pending') p
			FULL JOIN (SELECT * FROM live WHERE pending_payment IS NOT NULL) r
			ON r.pending_payment = p.payment_id AND r.reservation_id = p.reservation_id
		WHERE p.payment_id IS NULL OR r.reservation_id IS NULL
		UNION ALL
		SELECT 16, format('%s should have %s, the books say %s', coalesce(e.account, b.account), coalesce(e.balance, 0),
			coalesce(b.balance, 0))
		FROM (SELECT m.account, sum(m.amount) AS balance
			FROM (SELECT 'refund:' || f.provider AS account, f.amount FROM ticket.refund f WHERE f.status = 'due'
				UNION ALL SELECT 'provider:' || p.provider, -p.amount FROM ticket.payment p
					WHERE p.provider <> 'points' AND p.status NOT IN ('pending', 'failed')
				UNION ALL SELECT 'provider:' || f.provider, f.amount FROM ticket.refund f WHERE f.status = 'done') m GROUP BY m.account) e
		FULL JOIN (SELECT m.account, sum(m.amount) AS balance
			FROM (SELECT l.debit AS account, -l.amount AS amount FROM outside l
				UNION ALL SELECT l.credit, l.amount FROM outside l) m
			WHERE NOT starts_with(m.account, 'sales:') GROUP BY m.account) b ON b.account = e.account
		WHERE coalesce(e.balance, 0) <> coalesce(b.balance, 0)
		UNION ALL
		SELECT 19, format('ledger %s is of user %s, payment %s of %s', l.ledger_id, l.user_id, p.payment_id, p.user_id)
		FROM outside l JOIN ticket.payment p ON p.payment_id = l.payment_id WHERE l.kind = 'settlement' AND l.user_id <> p.user_id
		UNION ALL
		SELECT 10, format('ticket %s of queue %s is %s and ended at %s', e.place, e.queue_id, e.status, e.ended_at)
		FROM ticket.queue_entry e WHERE (e.status IN ('waiting', 'active')) <> (e.ended_at IS NULL)
		UNION ALL
		SELECT 13, format('user %s has %s tickets of queue %s', e.user_id, count(*), e.queue_id)
		FROM ticket.queue_entry e WHERE e.ended_at IS NULL GROUP BY e.queue_id, e.user_id HAVING count(*) > 1
		UNION ALL
		SELECT 25, format('ticket %s of queue %s is %s', e.place, e.queue_id, e.status)
		FROM ticket.queue_entry e WHERE e.ended_at IS NULL AND e.user_id LIKE pseudonym
	), violation (ord, what) AS (
		SELECT * FROM large
		UNION ALL
		SELECT 4, format('user %s has %s seats of performance %s', u.user_id, u.n, u.performance_id)
		FROM (SELECT r.user_id, r.performance_id, sum(cardinality(r.seat_ids)) AS n FROM live r
				WHERE r.ended_at IS NULL AND (r.status = 'paid' OR r.expires_at > (SELECT later.t FROM later))
				GROUP BY r.user_id, r.performance_id) u
			JOIN ticket.performance p ON p.performance_id = u.performance_id
		/* Who had more when fewer came to be allowed keeps them. */
		WHERE CASE WHEN u.n > p.max_seats_per_user THEN u.n > coalesce((SELECT max((c.was ->> 'max_seats_per_user')::int)
			FROM ticket.catalogue_past c WHERE c.kind = 'performance' AND c.id = p.performance_id), 0) END
		UNION ALL
		SELECT 12, format('queue %s has %s active, capacity %s', q.queue_id, e.unexpired, q.capacity)
		FROM ticket.queue q JOIN entries e ON e.queue_id = q.queue_id LEFT JOIN rooms m ON m.queue_id = q.queue_id
		/* Where fewer came to be allowed who is in stays, and nobody has gone in since. */
		WHERE q.mode <> 'passthrough' AND e.unexpired > q.capacity
			AND (m.limits_at IS NULL OR e.admitted_at > m.limits_at)
		UNION ALL
		SELECT 14, format('queue %s: memory has %s waiting, %s active, %s admitted; tables %s, %s', m.queue_id,
			m.waiting, m.active, m.admitted, coalesce(e.waiting, 0), coalesce(e.active, 0))
		FROM memory m LEFT JOIN entries e ON e.queue_id = m.queue_id
		WHERE (m.waiting, m.active, m.admitted) IS DISTINCT FROM
			(coalesce(e.waiting, 0), coalesce(e.active, 0), coalesce(e.active, 0))
		UNION ALL
		SELECT 14, format('queue %s: memory has none over before %s, one is at %s', m.queue_id, m.ends_at, e.expires_at)
		FROM memory m JOIN entries e ON e.queue_id = m.queue_id WHERE m.ends_at > e.expires_at
		UNION ALL
		/* Places or pages that are never given back would fill it. */
		SELECT 14, format('queue %s: memory has %s waiting, %s active in %s places, %s pages', m.queue_id, m.waiting, m.active,
			m.places, m.pages)
		FROM memory m WHERE m.places <> m.waiting + m.active OR m.pages > m.max_pages
		UNION ALL
		SELECT 15, format('queue %s: %s tickets, and no queue', e.queue_id, e.waiting + e.active) FROM entries e
		WHERE NOT EXISTS (SELECT FROM ticket.queue q WHERE q.queue_id = e.queue_id)
		UNION ALL
		SELECT 15, format('refund %s: no payment %s', f.refund_id, f.payment_id) FROM ticket.refund f
		WHERE NOT EXISTS (SELECT FROM ticket.payment p WHERE p.payment_id = f.payment_id)
		UNION ALL
		SELECT 21, format('performance %s is %s at %s; concert %s is from %s to %s, withdrawn at %s', p.performance_id, p.status, p.starts_at,
			c.concert_id, c.starts_at, c.ends_at, c.withdrawn_at)
		FROM ticket.performance p JOIN ticket.concert c ON c.concert_id = p.concert_id
		WHERE p.status = 'scheduled' AND (p.starts_at < c.starts_at OR p.starts_at > c.ends_at OR c.withdrawn_at IS NOT NULL)
		UNION ALL
		SELECT 23, format('%s %s until %s: %s', c.kind, c.id, c.until, c.was)
		FROM ticket.catalogue_past c LEFT JOIN (
			SELECT 'venue' AS kind, v.venue_id AS id, '{name}'::text[] AS keys FROM ticket.venue v
			UNION ALL SELECT 'concert', v.concert_id, '{name,artist}' FROM ticket.concert v
			UNION ALL SELECT 'performance', v.performance_id, '{concert_id,venue_id,starts_at,max_seats_per_user}' FROM ticket.performance v
			UNION ALL SELECT 'section', v.section_id, '{name,grade}' FROM ticket.section v) k ON k.kind = c.kind AND k.id = c.id
		WHERE k.id IS NULL OR NOT c.was ?& k.keys
		UNION ALL
		SELECT 23, 'the key of reservation numbers is gone' WHERE NOT EXISTS (SELECT FROM ticket.number_key)
			AND EXISTS (SELECT FROM ticket.reservation)
		UNION ALL
		SELECT 23, format('%s keys of reservation numbers; the one made at %s counts', count(*), min(k.made_at))
		FROM ticket.number_key k HAVING count(*) > 1
		UNION ALL
		/* A day for a clock of the sale that was set back, in a rehearsal say */
		SELECT 23, format('the key of reservation numbers was made at %s, after reservation %s of %s: its number is another than it was',
			k.made_at, r.reservation_id, r.created_at)
		FROM (SELECT made_at, after_reservation FROM ticket.number_key ORDER BY made_at, key LIMIT 1) k,
			(SELECT reservation_id, created_at FROM ticket.reservation ORDER BY reservation_id LIMIT 1) r
		WHERE r.reservation_id <= k.after_reservation OR r.created_at < k.made_at - interval '1 day'
		UNION ALL
		SELECT 24, format('reservation %s was made at %s by a user blocked since %s', r.reservation_id, r.created_at, b.blocked_at)
		FROM ticket.user_block b JOIN ticket.reservation r ON r.user_id = b.user_id
		WHERE r.created_at > b.blocked_at + grace AND r.created_at < coalesce(b.until, 'infinity')
			/* Seats for money that had been taken before */
			AND NOT EXISTS (SELECT FROM ticket.payment p WHERE p.reservation_id = r.reservation_id AND p.former_reservation IS NOT NULL)
		UNION ALL
		SELECT 24, format('ticket %s of queue %s was given out at %s to a user blocked since %s', e.place, e.queue_id, e.entered_at, b.blocked_at)
		FROM ticket.user_block b JOIN ticket.queue_entry e ON e.user_id = b.user_id
		WHERE e.entered_at > b.blocked_at + grace AND e.entered_at < coalesce(b.until, 'infinity')
		UNION ALL
		SELECT 25, format('reservation %s', r.reservation_id) FROM withdrawn w JOIN ticket.reservation r ON r.user_id = w.user_id
		WHERE r.created_at < w.before
		UNION ALL
		SELECT 25, format('ledger %s', l.ledger_id) FROM withdrawn w JOIN ticket.ledger l ON l.user_id = w.user_id
		WHERE l.created_at < w.before
		UNION ALL
		SELECT 25, format('ticket %s of queue %s', e.place, e.queue_id) FROM withdrawn w JOIN ticket.queue_entry e ON e.user_id = w.user_id
		WHERE e.entered_at < w.before
		UNION ALL
		SELECT 25, format('history of event %s', h.event_id) FROM withdrawn w JOIN ticket.history h ON h.user_id = w.user_id
		WHERE h.at < w.before
		UNION ALL
		SELECT 25, format('event %s', o.id) FROM withdrawn w JOIN ticket.outbox o ON o.payload ->> 'user_id' = w.user_id
		WHERE ticket.event_time(o.id) < w.before AND o.type <> 'user.withdrawn'
		UNION ALL
		/* The number or name of an event's aggregate is a key of it, too. */
		SELECT 40, format('event %s: %s %s %s', o.id, o.type, o.aggregateid, o.payload)
		FROM ticket.outbox o LEFT JOIN (
			SELECT type, aggregatetype, to_jsonb(v) AS v, array(SELECT jsonb_object_keys(example)) AS keys,
				CASE WHEN aggregatetype IN ('points', 'user') THEN 'user_id' ELSE aggregatetype || '_id' END AS id
			FROM ticket.event_types) t ON t.type = o.type AND t.aggregatetype = o.aggregatetype
		WHERE t.type IS NULL OR o.payload -> 'v' IS DISTINCT FROM t.v OR NOT o.payload ?& t.keys
			OR o.aggregateid IS DISTINCT FROM o.payload ->> t.id
		UNION ALL
		SELECT 30, format('section %s: memory has %s free, the table %s', m.section_id, m.free, coalesce(d.free, 0))
		FROM maps m LEFT JOIN drawn d ON d.section_id = m.section_id
		WHERE replace(m.states, ' ', '') <> coalesce(d.states, '') OR m.free <> coalesce(d.free, 0)
		UNION ALL
		SELECT 41, format('event %s is in the outbox and in the history', o.id)
		FROM ticket.outbox o JOIN ticket.history h ON h.event_id = o.id
		WHERE h.at >= (SELECT min(ticket.event_time(w.id)) FROM ticket.outbox w)
	), counted AS (
		SELECT ord, count(*) AS n, (array_agg(what ORDER BY what))[1:5] AS first
		FROM (SELECT DISTINCT ord, what FROM violation) v GROUP BY ord
	)
	SELECT i.invariant, c.n IS NULL, coalesce(c.n, 0), array_to_string(c.first, '; ')
	FROM invariants i LEFT JOIN counted c ON c.ord = i.ord ORDER BY i.ord;
END $$;
COMMENT ON FUNCTION ticket.verify(interval) IS
	'Checks every invariant in one snapshot; grace is how long a hold that is over may wait to be tidied';

SELECT ticket.permit('{operator,auditor}', 'EXECUTE', '{verify}');
