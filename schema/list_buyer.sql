/*
 * list_buyer.sql
 *		Lists for buyers: concerts found in one way or another, and what one has.
 *
 * Every list comes in pages.  `max_count` is the length of a page; `after` is the
 * number in the first column of the last row of the page before, and the next
 * page begins behind it.  The order is one in which a row never moves, so that
 * what is added meanwhile neither hides nor repeats what was there.
 *
 * Each list is one statement, planned once in a session for whatever it is asked
 * (force_generic_plan), and so that the plan is right at any size, analyzed or
 * not: with enable_seqscan off an index is all there is to go by; OFFSET 0 keeps
 * a lookup by key apart, so that it is done for each row of the page, which is
 * short, and never by joining whole tables.  JIT is off: to compile what reads a
 * page takes a hundred times as long as reading it.  test/t/040_plans.pl looks at
 * the plans, test/sql/plan.sql counts what is read.
 */

CREATE FUNCTION ticket.check_limit(max_count int) RETURNS int
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'ticket_check_limit';
COMMENT ON FUNCTION ticket.check_limit(int) IS 'The length of a page, 1 to 1000; 22023 if it is none';

CREATE FUNCTION ticket.name_grams(name text, artist text) RETURNS text[]
	LANGUAGE c IMMUTABLE COST 100 AS 'MODULE_PATHNAME', 'ticket_name_grams';
COMMENT ON FUNCTION ticket.name_grams(text, text) IS
	'The letters and pairs of letters in a name and an artist: what concert_search looks up';
CREATE FUNCTION ticket.search_grams(search text) RETURNS text[]
	LANGUAGE c IMMUTABLE AS 'MODULE_PATHNAME', 'ticket_search_grams';
COMMENT ON FUNCTION ticket.search_grams(text) IS 'The pairs of letters that a name must have to contain the text';

CREATE INDEX concert_grams ON ticket.concert USING gin (ticket.name_grams(name, artist));
CREATE INDEX concert_owner ON ticket.concert (owner, concert_id) WHERE owner IS NOT NULL;
CREATE INDEX performance_starts ON ticket.performance (starts_at, performance_id);

/* ---------- concerts ---------- */

CREATE VIEW ticket.concert_card AS
SELECT c.concert_id, c.name, c.artist, c.image, c.starts_at, c.ends_at, p.performances, p.next_starts_at,
	c.owner AS seller_id
FROM ticket.concert c, LATERAL (
	SELECT count(*) AS performances, min(p.starts_at) FILTER (WHERE p.starts_at > ticket.clock()) AS next_starts_at
	FROM ticket.performance p WHERE p.concert_id = c.concert_id AND p.status = 'scheduled') p
WHERE c.withdrawn_at IS NULL;
COMMENT ON VIEW ticket.concert_card IS 'Concerts as lists show them';
COMMENT ON COLUMN ticket.concert_card.concert_id IS 'Number of the concert';
COMMENT ON COLUMN ticket.concert_card.name IS 'Its name';
COMMENT ON COLUMN ticket.concert_card.artist IS 'Who plays';
COMMENT ON COLUMN ticket.concert_card.image IS 'Where a picture is';
COMMENT ON COLUMN ticket.concert_card.starts_at IS 'Begin of its period';
COMMENT ON COLUMN ticket.concert_card.ends_at IS 'End of its period';
COMMENT ON COLUMN ticket.concert_card.performances IS 'How many dates it has';
COMMENT ON COLUMN ticket.concert_card.next_starts_at IS 'The next of them; NULL: none is to come';
COMMENT ON COLUMN ticket.concert_card.seller_id IS 'Whose concert it is; NULL: the house''s own';

CREATE FUNCTION ticket.concerts(
	max_count int DEFAULT 1000,
	after bigint DEFAULT NULL,
	OUT concert_id bigint, OUT name text, OUT performances bigint, OUT next_starts_at timestamptz
) RETURNS SETOF record LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
	n int := ticket.check_limit(max_count);
BEGIN
	RETURN QUERY
	SELECT d.concert_id, d.name, d.performances, d.next_starts_at
	FROM (SELECT c.concert_id FROM ticket.concert c
			WHERE c.concert_id > coalesce(after, (-9223372036854775808)) AND c.withdrawn_at IS NULL
			ORDER BY c.concert_id LIMIT n) f,
		LATERAL (SELECT * FROM ticket.concert_card d WHERE d.concert_id = f.concert_id OFFSET 0) d
	ORDER BY d.concert_id;
END $$;
COMMENT ON FUNCTION ticket.concerts(int, bigint) IS 'All concerts, with their next date, in the order in which they were entered';

CREATE FUNCTION ticket.concert_search(search text, max_count int DEFAULT 50, after bigint DEFAULT NULL)
	RETURNS SETOF ticket.concert_card LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
	n int := ticket.check_limit(max_count);
	grams text[] := ticket.search_grams(search);
BEGIN
	RETURN QUERY
	-- What the index finds, then its order: who walks in order looks at all there are.
	WITH found AS MATERIALIZED (
		SELECT c.concert_id FROM ticket.concert c
		WHERE ticket.name_grams(c.name, c.artist) @> grams
			AND (strpos(lower(c.name), lower(search)) > 0 OR strpos(lower(c.artist), lower(search)) > 0)
			AND c.withdrawn_at IS NULL
	)
	SELECT d.* FROM (SELECT f.concert_id FROM found f WHERE f.concert_id < coalesce(after, 9223372036854775807)
			ORDER BY f.concert_id DESC LIMIT n) f,
		LATERAL (SELECT * FROM ticket.concert_card d WHERE d.concert_id = f.concert_id OFFSET 0) d
	ORDER BY d.concert_id DESC;
END $$;
COMMENT ON FUNCTION ticket.concert_search(text, int, bigint) IS
	'Concerts in whose name or artist the text occurs, capital letters or small, in the middle of a word or not; newest first';

CREATE FUNCTION ticket.concerts_by_seller(seller_id text, max_count int DEFAULT 50, after bigint DEFAULT NULL)
	RETURNS SETOF ticket.concert_card LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
	n int := ticket.check_limit(max_count);
BEGIN
	RETURN QUERY
	SELECT d.* FROM (SELECT c.concert_id FROM ticket.concert c
			WHERE c.owner = concerts_by_seller.seller_id AND c.withdrawn_at IS NULL
				AND c.concert_id < coalesce(after, 9223372036854775807)
			ORDER BY c.concert_id DESC LIMIT n) f,
		LATERAL (SELECT * FROM ticket.concert_card d WHERE d.concert_id = f.concert_id OFFSET 0) d
	ORDER BY d.concert_id DESC;
END $$;
COMMENT ON FUNCTION ticket.concerts_by_seller(text, int, bigint) IS 'The concerts of a seller, newest first';

CREATE FUNCTION ticket.concerts_by_id(concert_ids bigint[])
	RETURNS SETOF ticket.concert_card LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
BEGIN
	PERFORM ticket.check_argument(cardinality(concert_ids) <= 1000, 'concert_ids must be given and have at most 1000 elements');
	RETURN QUERY
	SELECT d.* FROM (SELECT u.id, min(u.n) AS n FROM unnest(concert_ids) WITH ORDINALITY AS u(id, n) GROUP BY u.id) u,
		LATERAL (SELECT * FROM ticket.concert_card d WHERE d.concert_id = u.id OFFSET 0) d
	ORDER BY u.n;
END $$;
COMMENT ON FUNCTION ticket.concerts_by_id(bigint[]) IS
	'These concerts, up to 1000, in this order; those that are not there, or were withdrawn, are left out';

/* Where the page behind a performance begins, in a list by time. */
CREATE FUNCTION ticket.performance_time(performance_id bigint) RETURNS timestamptz
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	at timestamptz;
BEGIN
	SELECT p.starts_at INTO at FROM ticket.performance p WHERE p.performance_id = $1;
	PERFORM ticket.check_found($1 IS NULL OR at IS NOT NULL, format('there is no performance %s', $1));
	RETURN at;
END $$;
COMMENT ON FUNCTION ticket.performance_time(bigint) IS 'When a performance begins; TK005 when it is not there';

CREATE FUNCTION ticket.concerts_by_date(
	since timestamptz DEFAULT NULL,
	until timestamptz DEFAULT 'infinity',
	max_count int DEFAULT 50,
	after bigint DEFAULT NULL,
	OUT performance_id bigint, OUT starts_at timestamptz, OUT concert_id bigint, OUT name text, OUT artist text,
	OUT venue text, OUT image text, OUT seller_id text
) RETURNS SETOF record LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
	n int := ticket.check_limit(max_count);
	start timestamptz := coalesce(since, ticket.clock());
	last timestamptz := ticket.performance_time(after);
	behind bigint := CASE WHEN last >= start THEN after ELSE -9223372036854775808 END;
BEGIN
	start := greatest(start, last);
	RETURN QUERY
	SELECT p.performance_id, p.starts_at, c.concert_id, c.name, c.artist, v.name, c.image, c.owner
	FROM (SELECT * FROM ticket.performance p
			WHERE (p.starts_at, p.performance_id) > (start, behind) AND p.starts_at < coalesce(until, 'infinity') AND p.status = 'scheduled'
			ORDER BY p.starts_at, p.performance_id LIMIT n) p,
		LATERAL (SELECT * FROM ticket.concert c WHERE c.concert_id = p.concert_id OFFSET 0) c,
		LATERAL (SELECT * FROM ticket.venue v WHERE v.venue_id = p.venue_id OFFSET 0) v
	ORDER BY p.starts_at, p.performance_id;
END $$;
COMMENT ON FUNCTION ticket.concerts_by_date(timestamptz, timestamptz, int, bigint) IS
	'What is on, by date: every performance from now or `since` on and before `until`, with its concert';

CREATE FUNCTION ticket.performances(
	concert_id bigint,
	max_count int DEFAULT 1000,
	after bigint DEFAULT NULL,
	OUT performance_id bigint, OUT venue text, OUT starts_at timestamptz, OUT queue_id bigint,
	OUT sale_opens_at timestamptz, OUT sale_closes_at timestamptz, OUT on_sale boolean,
	OUT seats int, OUT max_seats_per_user int, OUT available bigint
) RETURNS SETOF record LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
	n int := ticket.check_limit(max_count);
	start timestamptz := coalesce(ticket.performance_time(after), '-infinity');
	behind bigint := coalesce(after, -9223372036854775808);
	now timestamptz := ticket.clock();
BEGIN
	PERFORM ticket.check_argument(concert_id IS NOT NULL, 'concert_id must not be NULL');
	RETURN QUERY
	SELECT p.performance_id, v.name, p.starts_at, p.queue_id, p.sale_opens_at, p.sale_closes_at,
		p.status = 'scheduled' AND (p.sale_opens_at IS NULL OR p.sale_opens_at <= now)
			AND coalesce(p.sale_closes_at, p.starts_at) > now AND p.starts_at > now,
		p.seat_count, p.max_seats_per_user,
		(SELECT coalesce(sum(s.available), 0)::bigint FROM ticket.sections(p.performance_id) s)
	FROM (SELECT * FROM ticket.performance p
			WHERE p.concert_id = performances.concert_id AND (p.starts_at, p.performance_id) > (start, behind)
			ORDER BY p.starts_at, p.performance_id LIMIT n) p,
		LATERAL (SELECT * FROM ticket.venue v WHERE v.venue_id = p.venue_id OFFSET 0) v
	ORDER BY p.starts_at, p.performance_id;
END $$;
COMMENT ON FUNCTION ticket.performances(bigint, int, bigint) IS 'The dates of a concert, in order, with the seats that are left';

/* ---------- what was agreed ---------- */

/* A hold that is over is expired, tidied or not. */
CREATE FUNCTION ticket.reservation_status(status text, expires_at timestamptz, at timestamptz) RETURNS text
	LANGUAGE sql IMMUTABLE
BEGIN ATOMIC
	SELECT CASE WHEN $1 = 'held' AND $2 <= $3 THEN 'expired' ELSE $1 END;
END;
COMMENT ON FUNCTION ticket.reservation_status(text, timestamptz, timestamptz) IS
	'What a reservation is at that time: a hold that is over is expired, tidied or not';

/*
 * OFFSET 0 keeps the parts apart: each is looked up once, by its key, and the
 * planner need not look for an order of ten joins, which takes longer than to
 * read a page.
 */
CREATE VIEW ticket.reservation_card AS
SELECT r.reservation_id, ticket.reservation_number(r.reservation_id) AS number,
	ticket.reservation_status(r.status, r.expires_at, ticket.clock()) AS status, r.user_id,
	a.concert_id, n.concert, n.artist, n.venue, r.performance_id, a.starts_at,
	(SELECT jsonb_agg(jsonb_build_object('seat_id', u.seat_id,
			'section', CASE WHEN s.was IS NULL THEN s.name ELSE s.was ->> 'name' END,
			'grade', CASE WHEN s.was IS NULL THEN s.grade ELSE s.was ->> 'grade' END,
			'row', s.row_no, 'number', s.seat_no, 'price', u.price) ORDER BY u.seat_id)
		FROM unnest(r.seat_ids, r.prices) AS u(seat_id, price) LEFT JOIN LATERAL (
			SELECT e.row_no, e.seat_no, s.name, s.grade, (SELECT h.was FROM ticket.catalogue_past h
				WHERE h.kind = 'section' AND h.id = s.section_id AND h.until > r.created_at
				ORDER BY h.until LIMIT 1) AS was
			FROM ticket.seat e JOIN ticket.section s ON s.section_id = e.section_id
			WHERE e.performance_id = r.performance_id AND e.seat_id = u.seat_id OFFSET 0) s ON true) AS seats,
	r.amount, r.created_at, r.expires_at, r.ended_at, m.payment_id, m.provider, m.paid_at, m.refunded,
	a.now_starts_at, n.now_venue, m.refund_due
FROM ticket.reservation r
	LEFT JOIN LATERAL (SELECT * FROM ticket.payment m
		WHERE m.reservation_id = r.reservation_id AND m.paid_at IS NOT NULL OFFSET 0) m ON true,
	LATERAL (
		SELECT CASE WHEN p.was IS NULL THEN p.starts_at ELSE (p.was ->> 'starts_at')::timestamptz END AS starts_at,
			CASE WHEN p.was IS NULL THEN p.concert_id ELSE (p.was ->> 'concert_id')::bigint END AS concert_id,
			CASE WHEN p.was IS NULL THEN p.venue_id ELSE (p.was ->> 'venue_id')::bigint END AS venue_id,
			p.starts_at AS now_starts_at, p.venue_id AS now_venue_id
		FROM (SELECT p.starts_at, p.concert_id, p.venue_id, (SELECT h.was FROM ticket.catalogue_past h
				WHERE h.kind = 'performance' AND h.id = p.performance_id AND h.until > r.created_at
				ORDER BY h.until LIMIT 1) AS was
			FROM ticket.performance p WHERE p.performance_id = r.performance_id OFFSET 0) p OFFSET 0) a,
	LATERAL (
		SELECT CASE WHEN c.was IS NULL THEN c.name ELSE c.was ->> 'name' END AS concert,
			CASE WHEN c.was IS NULL THEN c.artist ELSE c.was ->> 'artist' END AS artist,
			CASE WHEN v.was IS NULL THEN v.name ELSE v.was ->> 'name' END AS venue,
			CASE WHEN a.now_venue_id = a.venue_id THEN v.name
				ELSE (SELECT w.name FROM ticket.venue w WHERE w.venue_id = a.now_venue_id) END AS now_venue
		FROM (SELECT c.name, c.artist, (SELECT h.was FROM ticket.catalogue_past h
				WHERE h.kind = 'concert' AND h.id = c.concert_id AND h.until > r.created_at
				ORDER BY h.until LIMIT 1) AS was
			FROM ticket.concert c WHERE c.concert_id = a.concert_id OFFSET 0) c,
			(SELECT v.name, (SELECT h.was FROM ticket.catalogue_past h
				WHERE h.kind = 'venue' AND h.id = v.venue_id AND h.until > r.created_at
				ORDER BY h.until LIMIT 1) AS was
			FROM ticket.venue v WHERE v.venue_id = a.venue_id OFFSET 0) v OFFSET 0) n;
COMMENT ON VIEW ticket.reservation_card IS
	'Reservations as lists show them: with what was agreed when the seats were held, whatever the catalogue says now';
COMMENT ON COLUMN ticket.reservation_card.reservation_id IS 'Number of the reservation';
COMMENT ON COLUMN ticket.reservation_card.number IS 'The same as it is printed and read out';
COMMENT ON COLUMN ticket.reservation_card.status IS 'held, paid, released, expired or cancelled; a hold that is over is expired, tidied or not';
COMMENT ON COLUMN ticket.reservation_card.user_id IS 'Whose it is';
COMMENT ON COLUMN ticket.reservation_card.concert_id IS 'The concert';
COMMENT ON COLUMN ticket.reservation_card.concert IS 'Its name';
COMMENT ON COLUMN ticket.reservation_card.artist IS 'Who plays';
COMMENT ON COLUMN ticket.reservation_card.venue IS 'Where';
COMMENT ON COLUMN ticket.reservation_card.performance_id IS 'The performance';
COMMENT ON COLUMN ticket.reservation_card.starts_at IS 'When';
COMMENT ON COLUMN ticket.reservation_card.seats IS 'A JSON array of the seats it has now: seat_id, section, grade, row, number, price of each';
COMMENT ON COLUMN ticket.reservation_card.amount IS 'What they come to';
COMMENT ON COLUMN ticket.reservation_card.created_at IS 'When the seats were held';
COMMENT ON COLUMN ticket.reservation_card.expires_at IS 'When the hold ends, or would have';
COMMENT ON COLUMN ticket.reservation_card.ended_at IS 'When it ended; NULL: it is held or paid';
COMMENT ON COLUMN ticket.reservation_card.payment_id IS 'The payment that paid for it';
COMMENT ON COLUMN ticket.reservation_card.provider IS 'Where the money came from';
COMMENT ON COLUMN ticket.reservation_card.paid_at IS 'When it was paid';
COMMENT ON COLUMN ticket.reservation_card.refunded IS 'How much has gone back';
COMMENT ON COLUMN ticket.reservation_card.refund_due IS 'How much the provider has still to give back';
COMMENT ON COLUMN ticket.reservation_card.now_starts_at IS 'When it takes place by now: it may have been moved since';
COMMENT ON COLUMN ticket.reservation_card.now_venue IS 'Where it takes place by now, by the name that the venue has now';

/* ---------- what a user has ---------- */

CREATE FUNCTION ticket.user_reservations(
	user_id text,
	max_count int DEFAULT 50,
	after bigint DEFAULT NULL,
	OUT reservation_id bigint, OUT number text, OUT status text, OUT concert_id bigint, OUT concert text,
	OUT artist text, OUT venue text, OUT starts_at timestamptz, OUT performance_id bigint, OUT seats jsonb,
	OUT amount bigint, OUT created_at timestamptz, OUT expires_at timestamptz, OUT paid_at timestamptz,
	OUT refunded bigint, OUT total bigint, OUT now_starts_at timestamptz, OUT now_venue text, OUT refund_due bigint
) RETURNS SETOF record LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
	caller text := ticket.check_user(user_id);
	n int := ticket.check_limit(max_count);
BEGIN
	RETURN QUERY
	WITH mine AS MATERIALIZED (
		SELECT r.reservation_id FROM ticket.reservation r WHERE r.user_id = caller
	)
	SELECT d.reservation_id, d.number, d.status, d.concert_id, d.concert, d.artist, d.venue, d.starts_at, d.performance_id,
		d.seats, d.amount, d.created_at, d.expires_at, d.paid_at, d.refunded, (SELECT count(*) FROM mine),
		d.now_starts_at, d.now_venue, d.refund_due
	FROM (SELECT m.reservation_id FROM mine m WHERE m.reservation_id < coalesce(after, 9223372036854775807)
			ORDER BY m.reservation_id DESC LIMIT n) m,
		LATERAL (SELECT * FROM ticket.reservation_card d WHERE d.reservation_id = m.reservation_id OFFSET 0) d
	ORDER BY d.reservation_id DESC;
END $$;
COMMENT ON FUNCTION ticket.user_reservations(text, int, bigint) IS
	'The reservations of a user, newest first, with what was agreed, and when and where it is by now; total: how many there are in all';

CREATE FUNCTION ticket.own_reservation(reservation_id bigint, user_id text) RETURNS ticket.reservation_card
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
	caller text := ticket.check_user(user_id);
	card ticket.reservation_card;
BEGIN
	PERFORM ticket.check_argument($1 IS NOT NULL, 'reservation_id must not be NULL');
	SELECT * INTO card FROM ticket.reservation_card d WHERE d.reservation_id = $1 AND d.user_id = caller;
	PERFORM ticket.check_found(FOUND, format('the user has no reservation %s', $1));
	RETURN card;
END $$;
COMMENT ON FUNCTION ticket.own_reservation(bigint, text) IS 'A reservation, if it is the user''s own; else TK005';

CREATE FUNCTION ticket.user_reservation(
	reservation_id bigint,
	user_id text,
	OUT reservation_id bigint, OUT number text, OUT status text, OUT concert_id bigint, OUT concert text,
	OUT artist text, OUT venue text, OUT starts_at timestamptz, OUT performance_id bigint, OUT seats jsonb,
	OUT amount bigint, OUT created_at timestamptz, OUT expires_at timestamptz, OUT ended_at timestamptz,
	OUT payment_id bigint, OUT provider text, OUT paid_at timestamptz, OUT refunded bigint,
	OUT now_starts_at timestamptz, OUT now_venue text, OUT refund_due bigint
) LANGUAGE sql STABLE SECURITY DEFINER
BEGIN ATOMIC
	SELECT d.reservation_id, d.number, d.status, d.concert_id, d.concert, d.artist, d.venue, d.starts_at, d.performance_id,
		d.seats, d.amount, d.created_at, d.expires_at, d.ended_at, d.payment_id, d.provider, d.paid_at, d.refunded,
		d.now_starts_at, d.now_venue, d.refund_due
	FROM ticket.own_reservation($1, $2) d;
END;
COMMENT ON FUNCTION ticket.user_reservation(bigint, text) IS
	'One reservation of a user: what was agreed, what became of it, how it was paid; when and where it is by now';

CREATE FUNCTION ticket.point_history(
	user_id text,
	max_count int DEFAULT 50,
	after bigint DEFAULT NULL,
	OUT ledger_id bigint, OUT kind text, OUT amount bigint, OUT balance bigint, OUT created_at timestamptz,
	OUT payment_id bigint, OUT reservation_id bigint, OUT total bigint
) RETURNS SETOF record LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	SET enable_seqscan = off SET jit = off SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
	caller text := ticket.check_user(user_id);
	n int := ticket.check_limit(max_count);
BEGIN
	RETURN QUERY
	SELECT g.ledger_id, g.kind, g.balance_after - g.balance_before, g.balance_after, g.created_at, g.payment_id,
		(SELECT p.reservation_id FROM ticket.payment p WHERE p.payment_id = g.payment_id),
		(SELECT count(*) FROM ticket.ledger n WHERE n.user_id = caller AND n.balance_after IS NOT NULL)
	FROM ticket.ledger g
	WHERE g.user_id = caller AND g.balance_after IS NOT NULL AND g.ledger_id < coalesce(after, 9223372036854775807)
	ORDER BY g.ledger_id DESC LIMIT n;
END $$;
COMMENT ON FUNCTION ticket.point_history(text, int, bigint) IS
	'The movements of a user''s points, newest first: what came or went and the balance right after; total: how many there are in all';

SELECT ticket.permit('{buyer,seller,operator,auditor}', 'EXECUTE',
	'{concerts,concert_search,concerts_by_seller,concerts_by_id,concerts_by_date,performances}');
SELECT ticket.permit('{buyer,operator,auditor}', 'EXECUTE', '{user_reservations,user_reservation,point_history}');
/* The views call it as whoever reads them. */
SELECT ticket.permit('{operator,auditor}', 'EXECUTE', '{reservation_status}');
SELECT ticket.permit('{operator,auditor}', 'SELECT', '{concert_card,reservation_card}');
