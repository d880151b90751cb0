/*
 * seed.sql
 *		A shop full of data, for trying things out at size: not part of the
 *		extension, never for a database that sells.
 *
 *		psql -f data/seed.sql
 *		SELECT * FROM ticket_seed.fill();			-- 10,000 concerts, ...
 *		SELECT ticket_seed.stadium(50000);			-- a date of 50,000 seats
 *		DROP SCHEMA ticket_seed CASCADE;			-- the functions, not the data
 *
 * The same arguments give the same rows: whatever looks random is a hash of the
 * seed, of what it is for and of a number.  Times are counted from `at`.
 *
 * fill() adds to what is there, in a few large statements.  It needs a
 * superuser: triggers, which would prove row by row what is right by
 * construction, are off meanwhile.  ticket.verify() finds nothing in the result.
 */
SET client_min_messages = warning;

DROP SCHEMA IF EXISTS ticket_seed CASCADE;
CREATE SCHEMA ticket_seed;
REVOKE ALL ON SCHEMA ticket_seed FROM PUBLIC;

/* ---------- chance ---------- */

-- 0 .. bound - 1
CREATE FUNCTION ticket_seed.pick(seed int, purpose int, n bigint, bound bigint) RETURNS bigint
	LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT (hashint8extended(n, seed::bigint << 16 | purpose) & 9223372036854775807) % bound $$;

/* ---------- names ---------- */

CREATE FUNCTION ticket_seed.word(list text, n bigint) RETURNS text
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
	words text[] := CASE list
	WHEN 'adjective' THEN '{Paper,Silver,Hollow,Velvet,Northern,Quiet,Electric,Crimson,Midnight,Golden,Wandering,Broken,Distant,Neon,Amber,Lonely,Marble,Winter,Scarlet,Gentle,Iron,Painted,Restless,Ivory,Burning,Emerald,Hidden,Crystal,Thirteenth,Salty}'::text[]
	WHEN 'noun' THEN '{Lanterns,Foxes,Harbours,Engines,Sparrows,Orchards,Mirrors,Comets,Arcades,Rivers,Satellites,Tigers,Cathedrals,Postmen,Gardens,Machines,Shadows,Pilots,Letters,Meadows,Wolves,Islands,Clocks,Balloons,Violins,Thieves,Umbrellas,Ghosts,Anchors,Summers}'
	WHEN '형용사' THEN '{푸른,하얀,느린,달콤한,작은,새벽,바람의,은빛,고요한,따뜻한,붉은,여름,먼,투명한,잠든,빛나는,겨울,낯선,조용한,초록,보라,오래된,가벼운,노란,깊은}'
	WHEN '명사' THEN '{고양이,정원,파도,편지,기차,별자리,오후,골목,나무,우체국,구름,등대,거울,소년들,라디오,자전거,노래,강물,언덕,그림자,호수,달력,피아노,창문,계절}'
	WHEN 'tour' THEN '{World Tour,Homecoming,Unplugged,Live in Concert,The Long Way Round,Farewell Tour,Acoustic Night,Anniversary Concert,Open Air,Winter Tour,Encore,New Album Showcase,One Night Only,Symphonic,Summer Nights}'
	WHEN '공연' THEN '{전국 투어,단독 콘서트,첫 번째 이야기,연말 콘서트,소극장 공연,앙코르 콘서트,봄의 노래,팬미팅,여름밤의 꿈,데뷔 기념 공연,오케스트라와 함께,크리스마스 콘서트,마지막 무대,가을 콘서트,신보 쇼케이스}'
	WHEN 'place' THEN '{Seoul,Busan,Incheon,Daegu,Gwangju,Daejeon,Ulsan,Jeju,London,Leeds,Bristol,Glasgow,Dublin,Austin,Portland,Toronto,Melbourne,Auckland}'
	WHEN '도시' THEN '{서울,부산,인천,대구,광주,대전,울산,제주,수원,전주,춘천,강릉,여수,창원,청주,포항}'
	WHEN 'house' THEN '{Town Hall,Arena,Civic Theatre,Olympic Hall,Opera House,Riverside Stage,Convention Centre,Corn Exchange}'
	WHEN '공연장' THEN '{예술의전당,체육관,문화회관,아트센터,올림픽홀,시민회관,아레나,대극장,야외음악당}'
	WHEN 'family' THEN '{kim,lee,park,choi,jung,kang,cho,yoon,jang,lim,han,oh,seo,shin,kwon,smith,jones,brown,taylor,wilson,murphy,evans,walker,young,clark}'
	WHEN 'given' THEN '{minjun,seoyeon,jiho,haeun,dohyun,jiwoo,yuna,junseo,soobin,eunji,taeyang,narae,hyunwoo,dasom,gaon,emma,oliver,amelia,noah,grace,james,ruby,harry,alice,leo}'
	WHEN 'genre' THEN '{rock,ballad,k-pop,jazz,indie,trot,hip-hop,classical,folk,musical}'
	END;
BEGIN
	RETURN words[1 + n % cardinality(words)];
END $$;

CREATE FUNCTION ticket_seed.artist(seed int, n bigint) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
	SELECT CASE ticket_seed.pick(seed, 1, n, 5)
		WHEN 0 THEN 'The ' || ticket_seed.word('adjective', ticket_seed.pick(seed, 2, n, 30)) || ' ' || ticket_seed.word('noun', ticket_seed.pick(seed, 3, n, 30))
		WHEN 1 THEN ticket_seed.word('adjective', ticket_seed.pick(seed, 2, n, 30)) || ' ' || ticket_seed.word('noun', ticket_seed.pick(seed, 3, n, 30))
		ELSE ticket_seed.word('형용사', ticket_seed.pick(seed, 2, n, 25)) || ' ' || ticket_seed.word('명사', ticket_seed.pick(seed, 3, n, 25)) END $$;

CREATE FUNCTION ticket_seed.concert(seed int, n bigint) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
	SELECT a.artist || CASE WHEN a.artist ~ '^[A-Z]'
		THEN ': ' || ticket_seed.word('tour', ticket_seed.pick(seed, 4, n, 15))
		ELSE ' ' || ticket_seed.word('공연', ticket_seed.pick(seed, 4, n, 15)) END
	FROM (SELECT ticket_seed.artist(seed, n) AS artist) a $$;

CREATE FUNCTION ticket_seed.venue(seed int, n bigint) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
	SELECT CASE WHEN ticket_seed.pick(seed, 5, n, 3) = 0
		THEN ticket_seed.word('place', n) || ' ' || ticket_seed.word('house', n / 18)
		ELSE ticket_seed.word('도시', n) || ' ' || ticket_seed.word('공연장', n / 16) END $$;

-- minjun.kim.000017: the number keeps them apart
CREATE FUNCTION ticket_seed.user_id(seed int, n bigint) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
	SELECT ticket_seed.word('given', ticket_seed.pick(seed, 6, n, 25)) || '.' || ticket_seed.word('family', ticket_seed.pick(seed, 7, n, 25))
		|| '.' || lpad(n::text, 6, '0') $$;

/* ---------- the shop ---------- */

/*
 * concerts, performances and seats are spread evenly.  A seat belongs to a party
 * of one to four neighbours; parties of a performance that sells well have mostly
 * paid.  What is missing to `reservations` are reservations that have ended:
 * expired, released, cancelled and refunded.
 */
CREATE FUNCTION ticket_seed.fill(
	concerts int DEFAULT 10000,
	performances int DEFAULT 20000,
	seats int DEFAULT 500000,
	reservations int DEFAULT 1000000,
	users int DEFAULT 200000,
	seed int DEFAULT 1,
	at timestamptz DEFAULT date_trunc('day', now())
) RETURNS TABLE (what text, rows bigint)
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET session_replication_role = replica SET jit = off
	SET work_mem = '256MB' AS $$
#variable_conflict use_column
DECLARE
	venues int := greatest(1, least(140, concerts / 20));
	size int := seats / performances;
	width int := greatest(5, sqrt(seats / performances)::int);
	lower int := size - size * 2 / 5 / width * width;
	venue0 bigint;
	concert0 bigint;
	performance0 bigint;
	section0 bigint;
	reservation0 bigint;
	payment0 bigint;
BEGIN
	IF num_nulls(concerts, performances, seats, reservations, users, seed, at) > 0
		OR least(concerts, performances, seats, reservations, users) <= 0 OR performances < concerts OR seats < performances THEN
		RAISE EXCEPTION 'each concert needs a performance, each performance a seat, and all of it must be more than nothing'
			USING ERRCODE = '22023';
	END IF;
	IF users < size THEN
		RAISE EXCEPTION 'a performance of % seats needs as many users', size USING ERRCODE = '22023';
	END IF;
	CREATE TEMP TABLE seed_user ON COMMIT DROP AS
	SELECT u AS buyer, ticket_seed.user_id(seed, u) AS user_id FROM generate_series(0, users - 1) AS u;
	ANALYZE seed_user;
	LOCK TABLE ticket.venue, ticket.concert, ticket.performance, ticket.section, ticket.seat, ticket.reservation,
		ticket.account, ticket.payment, ticket.ledger IN SHARE ROW EXCLUSIVE MODE;
	SELECT coalesce(max(v.venue_id), 0) INTO venue0 FROM ticket.venue v;
	SELECT coalesce(max(c.concert_id), 0) INTO concert0 FROM ticket.concert c;
	SELECT coalesce(max(p.performance_id), 0) INTO performance0 FROM ticket.performance p;
	SELECT coalesce(max(s.section_id), 0) INTO section0 FROM ticket.section s;
	SELECT coalesce(max(r.reservation_id), 0) INTO reservation0 FROM ticket.reservation r;

	INSERT INTO ticket.venue (venue_id, name, address, attributes)
	SELECT venue0 + i, ticket_seed.venue(seed, i), i || ' Harbour Street', '{"parking": true}' FROM generate_series(1, venues) AS i;
	INSERT INTO ticket.venue_section (venue_id, name, grade, row_count, seats_per_row, seat_count, plan)
	SELECT v.venue_id, x.name, x.grade, z.row_count, z.seats_per_row, z.seat_count, x.plan
	FROM ticket.venue v, (VALUES ('1층', 'R', repeat(repeat('o', 20) || chr(10), 19) || repeat('o', 8) || 'aaaa' || repeat('o', 8)),
		('2층', 'S', repeat(repeat('o', 8) || '--' || repeat('o', 8) || chr(10), 9) || repeat('o', 8) || '--' || repeat('o', 8))) AS x(name, grade, plan),
		ticket.plan_size(x.plan) z
	WHERE v.venue_id > venue0 ORDER BY 1, 2;

	-- Each runs for thirty days; two of three are still to come.
	INSERT INTO ticket.concert (concert_id, name, artist, starts_at, ends_at, owner, description, running_time, image, attributes, created_at)
	SELECT concert0 + i, ticket_seed.concert(seed, i), ticket_seed.artist(seed, i), d.day, d.day + '30 days'::interval,
		'seller.' || 1 + ticket_seed.pick(seed, 8, i, greatest(1, concerts / 50)),
		'A concert by ' || ticket_seed.artist(seed, i) || '.',
		make_interval(mins => 60 + 10 * ticket_seed.pick(seed, 9, i, 13)::int),
		'https://img.example/concert/' || i || '.jpg',
		jsonb_build_object('genre', ticket_seed.word('genre', ticket_seed.pick(seed, 10, i, 10)), 'age', 12 + 7 * ticket_seed.pick(seed, 11, i, 2)),
		d.day - '60 days'::interval
	FROM generate_series(1, concerts) AS i,
		LATERAL (SELECT at + make_interval(days => ticket_seed.pick(seed, 12, i, 270)::int - 90) AS day) d;

	-- Reservations of former times go by it, too.
	PERFORM ticket.number_key_make();
	UPDATE ticket.number_key SET made_at = '-infinity';
	INSERT INTO ticket.performance (performance_id, concert_id, venue_id, starts_at, sale_opens_at, hold_interval, max_seats_per_user, seat_count, created_at)
	SELECT performance0 + i, c.concert_id, venue0 + 1 + ticket_seed.pick(seed, 13, i, venues),
		c.starts_at + make_interval(days => ticket_seed.pick(seed, 14, i, 29)::int, hours => 19),
		c.starts_at - '45 days'::interval, '5 minutes', 4, size + (i <= seats - size::bigint * performances)::int, c.created_at
	FROM generate_series(1, performances) AS i JOIN ticket.concert c ON c.concert_id = concert0 + 1 + (i - 1) % concerts
	ORDER BY i;

	-- A lower and, in larger houses, an upper circle, in rows of the same width.
	INSERT INTO ticket.section (section_id, performance_id, name, price, first_seat_id, row_count, seats_per_row, seat_count, grade)
	SELECT section0 + row_number() OVER (ORDER BY p.performance_id, x.first), p.performance_id, x.name,
		1000 * (x.cheap + ticket_seed.pick(seed, 15, p.performance_id - performance0, 60)), x.first, (x.n + width - 1) / width, least(width, x.n), x.n, x.grade
	FROM ticket.performance p, LATERAL (VALUES ('1층', 'R', 60, 1, CASE WHEN lower = size THEN p.seat_count ELSE lower END),
		('2층', 'S', 30, lower + 1, p.seat_count - lower)) AS x(name, grade, cheap, first, n)
	WHERE p.performance_id > performance0 AND x.n > 0 AND (x.first = 1 OR lower < size);

	ANALYZE ticket.concert, ticket.performance, ticket.section;

	-- Parties: of ten seats, two, one, four and three sit together.
	CREATE TEMP TABLE seed_party ON COMMIT DROP AS
	SELECT p.performance_id, s.section_id, s.price, g.first_seat_id, least(g.last_seat_id, s.first_seat_id + s.seat_count - 1) AS last_seat_id,
		(g.first_seat_id * 7919::bigint + ticket_seed.pick(seed, 16, p.performance_id - performance0, users)) % users AS buyer,
		s.first_seat_id - 1 AS before,
		p.starts_at, p.sale_opens_at,
		-- From nobody to everybody, as popular as the date is
		ticket_seed.pick(seed, 17, (p.performance_id - performance0) * 1000003 + g.first_seat_id, 100) < ticket_seed.pick(seed, 18, p.performance_id - performance0, 110) AS sold
	FROM ticket.performance p JOIN ticket.section s ON s.performance_id = p.performance_id,
		LATERAL (SELECT s.first_seat_id + i * 10 + x.a AS first_seat_id, s.first_seat_id + i * 10 + x.b AS last_seat_id
			FROM generate_series(0, (s.seat_count - 1) / 10) AS i, (VALUES (0, 1), (2, 2), (3, 6), (7, 9)) AS x(a, b)) g
	WHERE p.performance_id > performance0 AND g.first_seat_id < s.first_seat_id + s.seat_count
		AND p.sale_opens_at < at;
	-- No more reservations than were asked for.
	DELETE FROM seed_party x USING (
		SELECT y.ctid FROM seed_party y WHERE y.sold ORDER BY y.performance_id, y.first_seat_id OFFSET reservations) over
	WHERE x.ctid = over.ctid;
	ANALYZE seed_party;
	-- Bought between the opening and the concert, but not after `at`.
	CREATE TEMP TABLE seed_reservation ON COMMIT DROP AS
	SELECT row_number() OVER (ORDER BY x.made, x.performance_id, x.first_seat_id, x.kind) AS n, x.*
	FROM (
		SELECT x.performance_id, x.first_seat_id, x.last_seat_id, x.price, x.buyer, 0 AS kind,
			x.sale_opens_at + (least(at, x.starts_at) - x.sale_opens_at) * (ticket_seed.pick(seed, 19, x.performance_id * 1000003 + x.first_seat_id, 9990) / 10000.0) AS made
		FROM seed_party x WHERE x.sold
		UNION ALL
		-- 1, 2: expired; 3: released; 4: cancelled
		SELECT x.performance_id, x.first_seat_id, x.last_seat_id, x.price,
			ticket_seed.pick(seed, 20, k.i, users), 1 + k.i % 4,
			x.sale_opens_at + (least(at, x.starts_at) - x.sale_opens_at) * (ticket_seed.pick(seed, 21, k.i, 9990) / 10000.0)
		FROM (SELECT k.i, 1 + k.i % nullif((SELECT count(*) FROM seed_party), 0) AS party
			FROM generate_series(1, reservations - (SELECT count(*) FROM seed_party WHERE sold)) AS k(i)) k
			JOIN (SELECT row_number() OVER (ORDER BY y.performance_id, y.first_seat_id) AS party, y.* FROM seed_party y) x ON x.party = k.party
	) x;
	ANALYZE seed_reservation;

	INSERT INTO ticket.reservation (reservation_id, performance_id, user_id, seat_ids, prices, amount, status, created_at, expires_at, ended_at)
	SELECT reservation0 + x.n, x.performance_id, u.user_id,
		ARRAY(SELECT generate_series(x.first_seat_id, x.last_seat_id)),
		array_fill(x.price, ARRAY[x.last_seat_id - x.first_seat_id + 1]), x.price * (x.last_seat_id - x.first_seat_id + 1),
		(ARRAY['paid', 'expired', 'expired', 'released', 'cancelled'])[x.kind + 1], x.made, x.made + '5 minutes'::interval,
		CASE x.kind WHEN 0 THEN NULL WHEN 3 THEN x.made + '1 minute'::interval WHEN 4 THEN x.made + '4 minutes'::interval ELSE x.made + '5 minutes'::interval END
	FROM seed_reservation x JOIN seed_user u ON u.buyer = x.buyer ORDER BY x.n;

	INSERT INTO ticket.seat (performance_id, seat_id, section_id, row_no, seat_no, status, reservation_id, accessible)
	SELECT s.performance_id, s.first_seat_id + i, s.section_id, i / s.seats_per_row + 1, i % s.seats_per_row + 1,
		CASE WHEN x.n IS NULL THEN 'free' ELSE 'sold' END, reservation0 + x.n, i % 50 = 49
	FROM ticket.section s CROSS JOIN LATERAL generate_series(0, s.seat_count - 1) AS i
		LEFT JOIN (SELECT x.n, x.performance_id, t.seat_id FROM seed_reservation x, generate_series(x.first_seat_id, x.last_seat_id) AS t(seat_id) WHERE x.kind = 0) x
			ON x.performance_id = s.performance_id AND x.seat_id = s.first_seat_id + i
	WHERE s.section_id > section0 ORDER BY 1, 2;

	-- Who pays has charged enough a minute before the first purchase; the rest have not come to it yet.
	CREATE TEMP TABLE seed_movement ON COMMIT DROP AS
	SELECT x.n, x.performance_id, x.buyer, v.kind, CASE v.kind WHEN 'payment' THEN -x.amount ELSE x.amount END AS amount, x.made + v.later AS made
	FROM (SELECT x.n, x.performance_id, x.buyer, x.kind, x.made, x.price * (x.last_seat_id - x.first_seat_id + 1) AS amount FROM seed_reservation x WHERE x.kind IN (0, 4)) x,
		(VALUES ('payment', '2 minutes'::interval), ('refund', '4 minutes')) AS v(kind, later)
	WHERE v.kind = 'payment' OR x.kind = 4;
	INSERT INTO seed_movement
	SELECT 0, 0, u, 'charge', coalesce(m.spent, 0) / 10000 * 10000 + 10000 * (1 + ticket_seed.pick(seed, 22, u, 20)), coalesce(m.made, at) - '3 minutes'::interval
	FROM generate_series(0, users - 1) AS u LEFT JOIN (
		SELECT y.buyer, sum(-y.amount) FILTER (WHERE y.kind = 'payment') AS spent, min(y.made) AS made FROM seed_movement y GROUP BY y.buyer) m ON m.buyer = u;
	-- A user of another fill has an account already: what was there goes on top.
	CREATE TEMP TABLE seed_ledger ON COMMIT DROP AS
	SELECT row_number() OVER (ORDER BY m.made, m.n, m.kind, m.buyer) AS ledger, m.*, u.user_id,
		coalesce(a.balance, 0) + sum(m.amount) OVER (PARTITION BY m.buyer ORDER BY m.made, m.n, m.kind) AS balance
	FROM seed_movement m JOIN seed_user u ON u.buyer = m.buyer LEFT JOIN ticket.account a ON a.user_id = u.user_id;
	ANALYZE seed_ledger;
	INSERT INTO ticket.account AS a (user_id, balance)
	SELECT DISTINCT ON (m.buyer) m.user_id, m.balance FROM seed_ledger m ORDER BY m.buyer, m.ledger DESC
	ON CONFLICT (user_id) DO UPDATE SET balance = excluded.balance;
	SELECT coalesce(max(p.payment_id), 0) INTO payment0 FROM ticket.payment p;
	INSERT INTO ticket.payment (payment_id, reservation_id, user_id, provider, status, amount, balance, refunded, paid_at, refunded_at)
	SELECT payment0 + m.n, reservation0 + m.n, m.user_id, 'points', CASE WHEN r.n IS NULL THEN 'captured' ELSE 'refunded' END,
		-m.amount, m.balance, coalesce(r.amount, 0), m.made, r.made
	FROM seed_ledger m LEFT JOIN seed_ledger r ON r.n = m.n AND r.kind = 'refund'
	WHERE m.kind = 'payment' ORDER BY m.n;
	INSERT INTO ticket.ledger (user_id, kind, debit, credit, amount, balance_before, balance_after, payment_id, created_at)
	SELECT m.user_id, m.kind,
		CASE m.kind WHEN 'charge' THEN 'charge' WHEN 'payment' THEN 'user:' || m.user_id ELSE 'sales:' || m.performance_id END,
		CASE m.kind WHEN 'payment' THEN 'sales:' || m.performance_id ELSE 'user:' || m.user_id END,
		abs(m.amount), m.balance - m.amount, m.balance, CASE WHEN m.kind <> 'charge' THEN payment0 + m.n END, m.made
	FROM seed_ledger m ORDER BY m.ledger;
	INSERT INTO ticket.seat_return (reservation_id, seat_id, status, price, refund, payment_id, returned_at, ledger_id)
	SELECT r.reservation_id, u.seat_id, 'cancelled', u.price, u.price, p.payment_id, l.created_at, l.ledger_id
	FROM ticket.ledger l JOIN ticket.payment p ON p.payment_id = l.payment_id JOIN ticket.reservation r ON r.reservation_id = p.reservation_id,
		unnest(r.seat_ids, r.prices) AS u(seat_id, price)
	WHERE l.kind = 'refund' AND l.payment_id > payment0;

	PERFORM setval(pg_get_serial_sequence('ticket.venue', 'venue_id'), (SELECT max(v.venue_id) FROM ticket.venue v)),
		setval(pg_get_serial_sequence('ticket.concert', 'concert_id'), (SELECT max(c.concert_id) FROM ticket.concert c)),
		setval(pg_get_serial_sequence('ticket.performance', 'performance_id'), (SELECT max(p.performance_id) FROM ticket.performance p)),
		setval(pg_get_serial_sequence('ticket.section', 'section_id'), (SELECT max(s.section_id) FROM ticket.section s)),
		setval(pg_get_serial_sequence('ticket.reservation', 'reservation_id'), (SELECT max(r.reservation_id) FROM ticket.reservation r)),
		setval(pg_get_serial_sequence('ticket.payment', 'payment_id'), (SELECT max(p.payment_id) FROM ticket.payment p));
	DROP TABLE seed_user, seed_party, seed_movement;
	RETURN QUERY
	SELECT 'venue', venues::bigint UNION ALL SELECT 'concert', concerts UNION ALL SELECT 'performance', performances
	UNION ALL SELECT 'seat', (SELECT sum(p.seat_count) FROM ticket.performance p WHERE p.performance_id > performance0)
	UNION ALL SELECT 'reservation ' || r.status, count(*) FROM ticket.reservation r WHERE r.reservation_id > reservation0 GROUP BY r.status
	UNION ALL SELECT 'user', users UNION ALL SELECT 'ledger', (SELECT count(*) FROM seed_ledger);
	DROP TABLE seed_reservation, seed_ledger;
END $$;

/* ---------- a stadium ---------- */

-- One date in a stadium of so many seats, through the catalogue's own functions; returns performance_id.
CREATE FUNCTION ticket_seed.stadium(seats int DEFAULT 50000, seed int DEFAULT 1, queue_id bigint DEFAULT NULL) RETURNS bigint
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	venue bigint;
	block int := 0;
	n int;
BEGIN
	IF seats IS NULL OR seats NOT BETWEEN 1 AND 1000000 THEN
		RAISE EXCEPTION 'a stadium has between 1 and 1000000 seats' USING ERRCODE = '22023';
	END IF;
	venue := ticket.venue_create('서울 올림픽주경기장', '서울특별시 송파구 올림픽로 25');
	WHILE seats > 0 LOOP
		block := block + 1;
		n := least(seats, 1000);
		-- 25 rows of 40, an aisle after the tenth seat and the thirtieth; the last block is what is left
		PERFORM ticket.venue_section_create(venue, format('%s구역', block), CASE WHEN block <= 4 THEN 'VIP' WHEN block <= 14 THEN 'R' WHEN block <= 30 THEN 'S' ELSE 'A' END,
			plan => (SELECT string_agg(overlay(overlay(repeat(CASE WHEN r = 0 THEN 'a' ELSE 'o' END, least(40, n - r * 40)) || repeat('-', 40 - least(40, n - r * 40))
				PLACING '-' FROM 31 FOR 0) PLACING '-' FROM 11 FOR 0), chr(10) ORDER BY r) FROM generate_series(0, (n - 1) / 40) AS r));
		seats := seats - n;
	END LOOP;
	RETURN ticket.performance_create(
		ticket.concert_create(ticket_seed.concert(seed, 0), ticket_seed.artist(seed, 0), running_time => '150 minutes'),
		venue, date_trunc('day', now()) + '90 days 19 hours'::interval, queue_id, prices =>
			(SELECT jsonb_object_agg(grade, price) FROM (VALUES ('VIP', 198000), ('R', 165000), ('S', 143000), ('A', 99000)) AS p(grade, price)
			WHERE grade IN (SELECT s.grade FROM ticket.venue_section s WHERE s.venue_id = venue)));
END $$;
