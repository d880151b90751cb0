-- Lists: what is found, by whom, in which order, page by page; and what was
-- agreed with a buyer, whatever the catalogue says later.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin

-- ---------- a shop ----------

SELECT ticket.seller_venue_create('list-sam', 'List Hall') AS v, ticket.venue_create('Other Hall') AS v2 \gset
SELECT ticket.seller_venue_section_create('list-sam', :v, 'Floor', 'R', 5, 10) AS s1,
	ticket.seller_venue_section_create('list-sam', :v, 'Balcony', 'S', 2, 10) AS s2 \gset
SELECT ticket.seller_concert_create('list-sam', '봄밤 콘서트 List', 'Ünder the Sky') AS c,
	ticket.seller_concert_create('list-sam', 'List Under', 'Nobody') AS c2,
	ticket.concert_create('List 100% _ \ Off', owner => 'list-eve') AS c3 \gset
SELECT ticket.seller_performance_create('list-sam', :c, :v, '2100-05-01 19:00Z', prices => '{"R": 90, "S": 60}', max_seats_per_user => 9) AS p,
	ticket.seller_performance_create('list-sam', :c, :v, '2100-05-02 19:00Z', prices => '{"R": 90, "S": 60}') AS p2,
	ticket.performance_create(:c3, :v2, '2100-05-01 19:00Z') AS p3 \gset
SELECT ticket.section_create(:p3, 'All', 5, 1, 10) AS s3 \gset
SELECT ticket.point_charge('list-a', 1000) AS a, ticket.point_charge('list-b', 1000) AS b \gset
SELECT reservation_id AS r1 FROM ticket.seat_hold(:p, '{1,51}', 'list-a') \gset
SELECT payment_id AS m1 FROM ticket.pay_reservation(:r1, 'list-a') \gset
SELECT reservation_id AS r2 FROM ticket.seat_hold(:p2, '{1}', 'list-a') \gset
SELECT reservation_id AS r3 FROM ticket.seat_hold(:p3, '{1}', 'list-a') \gset
SELECT payment_id AS m3 FROM ticket.pay_reservation(:r3, 'list-a') \gset
SELECT reservation_id AS r4 FROM ticket.seat_hold(:p, '{2}', 'list-b') \gset
SELECT payment_id AS m4 FROM ticket.pay_reservation(:r4, 'list-b') \gset
SELECT count(ticket.reservation_cancel(:r4, 'list-b')) AS n \gset

-- ---------- concerts ----------

SELECT is((SELECT array_agg(concert_id) FROM ticket.concert_search(search)), nullif(found, '{}'), 'concert_search: ' || search)
FROM (VALUES ('list', ARRAY[:c3, :c2, :c]::bigint[]), ('LIST U', ARRAY[:c2]), ('콘서', ARRAY[:c]), ('밤', ARRAY[:c]), ('콘서트 l', ARRAY[:c]),
	('der', ARRAY[:c2, :c]), ('obody', ARRAY[:c2]), ('0% _', ARRAY[:c3]), ('_ \ o', ARRAY[:c3]), ('%list%', '{}'), ('서콘', '{}'), ('list  u', '{}'),
	('skynobody', '{}'), ('under nobody', '{}')) AS v(search, found);
SELECT is((SELECT array_agg(concert_id) FROM ticket.concert_search('list', 2)), ARRAY[:c3, :c2]::bigint[], 'a page');
SELECT is((SELECT array_agg(concert_id) FROM ticket.concert_search('list', 2, :c2)), ARRAY[:c]::bigint[], 'the next');
SELECT is((SELECT count(*) FROM ticket.concert_search('list', 2, :c)), 0::bigint, 'and no more');
SELECT is((SELECT format('%s/%s/%s/%s', name, artist, performances, next_starts_at) FROM ticket.concert_search('봄밤')),
	'봄밤 콘서트 List/Ünder the Sky/2/2100-05-01 19:00:00+00', 'with its dates');
SELECT is((SELECT array_agg(concert_id) FROM ticket.concerts_by_seller('list-sam')), ARRAY[:c2, :c]::bigint[], 'by seller');
SELECT is((SELECT array_agg(concert_id) FROM ticket.concerts_by_seller('list-sam', 1, :c2)), ARRAY[:c]::bigint[], 'by seller: the second page');
SELECT is((SELECT array_agg(concert_id) FROM ticket.concerts_by_id(ARRAY[:c3, -1, NULL, :c, :c3])), ARRAY[:c3, :c]::bigint[], 'by id: in the order asked for, each once');
SELECT is((SELECT count(*) FROM ticket.concerts_by_id('{}')), 0::bigint, 'by id: none');
SELECT is((SELECT array_agg(concert_id) FROM ticket.concerts(2, :c - 1)), ARRAY[:c, :c2]::bigint[], 'all: a page');
SELECT is((SELECT format('%s/%s/%s', name, performances, next_starts_at) FROM ticket.concerts(1, :c - 1)),
	'봄밤 콘서트 List/2/2100-05-01 19:00:00+00', 'all: with their dates');
SELECT is((SELECT count(*) FROM ticket.concerts(1, 9223372036854775807)), 0::bigint, 'all: behind the last');
SELECT is((SELECT array_agg(performance_id) FROM ticket.concerts_by_date('2100-05-01', '2100-06-01')), ARRAY[:p, :p3, :p2]::bigint[], 'by date');
SELECT is((SELECT array_agg(performance_id) FROM ticket.concerts_by_date('2100-05-01', '2100-06-01', 2, :p)), ARRAY[:p3, :p2]::bigint[], 'by date: behind one of the same time');
SELECT is((SELECT array_agg(performance_id) FROM ticket.concerts_by_date('2100-05-01 19:00Z', '2100-05-02 19:00Z')), ARRAY[:p, :p3]::bigint[], 'by date: the first moment is in, the last is not');
SELECT is((SELECT string_agg(format('%s/%s/%s', starts_at, name, venue), ', ') FROM ticket.concerts_by_date('2100-05-02', '2100-06-01')),
	'2100-05-02 19:00:00+00/봄밤 콘서트 List/List Hall', 'by date: what, when and where');
SELECT is((SELECT string_agg(format('%s %s %s %s', venue, seats, available, on_sale), ', ') FROM ticket.performances(:c)),
	'List Hall 70 68 t, List Hall 70 69 t', 'performances: with the seats that are left');
SELECT is((SELECT array_agg(performance_id) FROM ticket.performances(:c, 1)), ARRAY[:p]::bigint[], 'performances: a page');
SELECT is((SELECT array_agg(performance_id) FROM ticket.performances(:c, 1, :p)), ARRAY[:p2]::bigint[], 'performances: the next');

-- ---------- a user's own ----------

SELECT is((SELECT string_agg(format('%s %s %s %s', reservation_id = ANY (ARRAY[:r1, :r2, :r3]), status, amount, total), ', ') FROM ticket.user_reservations('list-a')),
	't paid 5 3, t held 90 3, t paid 150 3', 'user_reservations, newest first, with their number');
SELECT is((SELECT array_agg(reservation_id) FROM ticket.user_reservations('list-a', 1, :r3)), ARRAY[:r2]::bigint[], 'a page');
SELECT is((SELECT number FROM ticket.user_reservations('list-a') WHERE reservation_id = :r1), ticket.reservation_number(:r1), 'each has its number');
SELECT is((SELECT count(*) FROM ticket.user_reservations('list-nobody')), 0::bigint, 'one who has none');
SELECT is((SELECT format('%s/%s/%s/%s/%s/%s', concert, artist, venue, starts_at, amount, seats) FROM ticket.user_reservation(:r1, 'list-a')),
	'봄밤 콘서트 List/Ünder the Sky/List Hall/2100-05-01 19:00:00+00/150/[{"row": 1, "grade": "R", "price": 90, "number": 1, "seat_id": 1, "section": "Floor"}, {"row": 1, "grade": "S", "price": 60, "number": 1, "seat_id": 51, "section": "Balcony"}]',
	'user_reservation: what was agreed');
SELECT is((SELECT format('%s %s %s', status, payment_id = :m4, refunded) FROM ticket.user_reservation(ticket.reservation_id(ticket.reservation_number(:r4)), 'list-b')),
	'cancelled t 90', 'by its number, and what became of it');
SELECT pg_temp.refused(format('SELECT ticket.user_reservation(%s, $$list-b$$)', :r1), 'TK005', 'somebody else''s is not there');
SET ticket.clock_offset = '1h';
SELECT is((SELECT status FROM ticket.user_reservation(:r2, 'list-a')), 'expired', 'a hold that is over is expired, tidied or not');
RESET ticket.clock_offset;
SELECT is((SELECT string_agg(format('%s %s %s %s', kind, amount, balance, total), ', ') FROM ticket.point_history('list-a')),
	'payment -5 845 3, payment -150 850 3, charge 1000 1000 3', 'point_history: what came and went, with balances');
SELECT is((SELECT string_agg(format('%s %s', kind, amount), ', ') FROM ticket.point_history('list-b', 2)), 'refund 90, payment -90', 'point_history: a page');
SELECT is((SELECT string_agg(kind, ', ') FROM ticket.point_history('list-b', 2, (SELECT min(ledger_id) FROM ticket.point_history('list-b', 2)))), 'charge', 'point_history: the next');

-- ---------- what was agreed stays ----------

SELECT count(ticket.seller_concert_change('list-sam', :c, name => '가을 List', artist => 'Over the Moon')) AS n,
	count(ticket.seller_venue_change('list-sam', :v, name => 'New List Hall')) AS m \gset
SELECT section_id AS floor FROM ticket.sections(:p) WHERE name = 'Floor' \gset
SELECT count(ticket.seller_section_change('list-sam', :floor, name => 'Stalls', grade => 'A')) AS n \gset
UPDATE ticket.performance SET starts_at = '2100-05-03 20:00Z', venue_id = :v2 WHERE performance_id = :p;
SELECT is((SELECT format('%s/%s/%s/%s/%s', concert, artist, venue, starts_at, seats -> 0) FROM ticket.user_reservation(:r1, 'list-a')),
	'봄밤 콘서트 List/Ünder the Sky/List Hall/2100-05-01 19:00:00+00/{"row": 1, "grade": "R", "price": 90, "number": 1, "seat_id": 1, "section": "Floor"}',
	'a reservation keeps what was agreed');
SELECT is((SELECT format('%s/%s', now_venue, now_starts_at) FROM ticket.user_reservation(:r1, 'list-a')), 'Other Hall/2100-05-03 20:00:00+00',
	'and says when and where it is by now');
SELECT is((SELECT format('%s/%s', now_venue, now_starts_at) FROM ticket.user_reservations('list-a') WHERE reservation_id = :r1),
	'Other Hall/2100-05-03 20:00:00+00', 'in the list, too');
SELECT reservation_id AS r5 FROM ticket.seat_hold(:p, '{3}', 'list-b') \gset
SELECT is((SELECT format('%s/%s/%s/%s/%s', concert, artist, venue, starts_at, seats -> 0) FROM ticket.user_reservation(:r5, 'list-b')),
	'가을 List/Over the Moon/Other Hall/2100-05-03 20:00:00+00/{"row": 1, "grade": "A", "price": 90, "number": 3, "seat_id": 3, "section": "Stalls"}',
	'one made later has what was agreed then');
SELECT count(ticket.seller_concert_change('list-sam', :c, artist => '')) AS n \gset
SELECT is((SELECT format('%s/%s', concert, artist) FROM ticket.user_reservation(:r5, 'list-b')), '가을 List/Over the Moon', 'and keeps it');
SELECT is((SELECT format('%s/%s', concert, artist) FROM ticket.user_reservation(:r1, 'list-a')), '봄밤 콘서트 List/Ünder the Sky', 'as the first does');
UPDATE ticket.performance SET seat_count = seat_count WHERE performance_id = :p;
UPDATE ticket.concert SET image = 'x' WHERE concert_id = :c;
SELECT is((SELECT string_agg(format('%s %s', kind, n), ', ') FROM (SELECT kind, count(*) AS n FROM ticket.catalogue_past
	WHERE (kind, id) IN (('concert', :c), ('venue', :v), ('performance', :p), ('section', :floor)) GROUP BY kind ORDER BY kind) k),
	'concert 2, performance 1, section 1, venue 1', 'a row for each change that a buyer would see, and no other');

-- ---------- sellers and operators ----------

SELECT is((SELECT string_agg(format('%s %s %s', user_id, status, amount), ', ') FROM ticket.seller_reservations('list-sam')),
	'list-b held 90, list-b cancelled 90, list-a held 90, list-a paid 150', 'a seller sees the sales of his concerts');
SELECT is((SELECT string_agg(format('%s %s %s', user_id, status, amount), ', ') FROM ticket.seller_reservations('list-eve')), 'list-a paid 5', 'another his own');
SELECT is((SELECT count(*) FROM ticket.seller_reservations('list-a')), 0::bigint, 'a buyer none');
SELECT is((SELECT array_agg(reservation_id) FROM ticket.seller_reservations('list-sam', concert_id => :c, status => 'held')), ARRAY[:r5, :r2]::bigint[], 'by concert and state');
SELECT is((SELECT count(*) FROM ticket.seller_reservations('list-eve', concert_id => :c)), 0::bigint, 'not of another''s concert');
SELECT is((SELECT count(*) FROM ticket.seller_reservations('list-eve', performance_id => :p)), 0::bigint, 'nor performance');
SELECT is((SELECT array_agg(reservation_id) FROM ticket.seller_reservations('list-eve', user_id => 'list-a')), ARRAY[:r3]::bigint[], 'nor of a user, what he has elsewhere');
SELECT is((SELECT array_agg(reservation_id) FROM ticket.seller_reservations('list-sam', max_count => 2)), ARRAY[:r5, :r4]::bigint[], 'a page');
SELECT is((SELECT array_agg(reservation_id) FROM ticket.seller_reservations('list-sam', max_count => 2, after => :r4)), ARRAY[:r2, :r1]::bigint[], 'the next');
SELECT is((SELECT array_agg(reservation_id) FROM ticket.operator_reservations(performance_id => :p)), ARRAY[:r5, :r4, :r1]::bigint[], 'an operator: by performance');
SELECT is((SELECT array_agg(reservation_id) FROM ticket.operator_reservations(user_id => 'list-a')), ARRAY[:r3, :r2, :r1]::bigint[], 'by user');
SELECT is((SELECT array_agg(reservation_id) FROM ticket.operator_reservations(user_id => 'list-a', status => 'paid', concert_id => :c)), ARRAY[:r1]::bigint[], 'by user, state and concert');
SELECT is((SELECT array_agg(o.reservation_id) FROM ticket.reservation r, ticket.operator_reservations(since => r.created_at, max_count => 1000) o WHERE r.reservation_id = :r3 AND o.user_id LIKE 'list-%'),
	ARRAY[:r5, :r4, :r3]::bigint[], 'by time: from');
SELECT is((SELECT array_agg(o.reservation_id) FROM ticket.reservation r, ticket.operator_reservations(until => r.created_at, max_count => 2) o WHERE r.reservation_id = :r3),
	ARRAY[:r2, :r1]::bigint[], 'by time: until');
SELECT is((SELECT string_agg(format('%s %s %s %s', user_id, status, amount, refunded), ', ') FROM ticket.seller_payments('list-sam')),
	'list-b refunded 90 90, list-a captured 150 0', 'payments of a seller');
SELECT is((SELECT array_agg(payment_id) FROM ticket.seller_payments('list-sam', max_count => 1, after => :m4)), ARRAY[:m1]::bigint[], 'the second page');
SELECT is((SELECT array_agg(payment_id) FROM ticket.operator_payments(user_id => 'list-a')), ARRAY[:m3, :m1]::bigint[], 'payments of a user');
SELECT is((SELECT array_agg(payment_id) FROM ticket.operator_payments(concert_id => :c, status => 'refunded')), ARRAY[:m4]::bigint[], 'by concert and state');
SELECT is((SELECT string_agg(format('%s %s %s %s %s %s', status, reservations, seats, amount, paid, refunded), ', ') FROM ticket.seller_totals('list-sam')),
	'cancelled 1 1 90 90 90, held 2 2 180 0 0, paid 1 2 150 150 0', 'totals of a seller');
SELECT is((SELECT string_agg(format('%s %s', status, reservations), ', ') FROM ticket.operator_totals(performance_id => :p3)), 'paid 1', 'of a performance');
SELECT is((SELECT string_agg(format('%s %s', status, reservations), ', ') FROM ticket.operator_totals(user_id => 'list-a')), 'held 1, paid 2', 'of a user');
SELECT is((SELECT string_agg(format('%s %s', t.status, t.reservations), ', ') FROM ticket.reservation a, ticket.reservation b,
	ticket.operator_totals(since => a.created_at, until => b.created_at) t WHERE a.reservation_id = :r1 AND b.reservation_id = :r4), 'held 1, paid 2', 'of a time');
SELECT is((SELECT array_agg(payment_id) FROM ticket.operator_payments(max_count => 2, after => :m4)), ARRAY[:m3, :m1]::bigint[], 'payments of all, the second page');
SELECT is((SELECT array_agg(reservation_id) FROM ticket.operator_reservations(max_count => 2, after => :r4)), ARRAY[:r3, :r2]::bigint[], 'reservations of all, the second page');
SELECT is((SELECT array_agg(o.reservation_id) FROM ticket.reservation r, ticket.operator_reservations(status => 'held', until => r.created_at) o
	WHERE r.reservation_id = :r4 AND o.user_id LIKE 'list-%'), ARRAY[:r2]::bigint[], 'by time and state');
SELECT is((SELECT string_agg(format('%s %s %s', performances, seats, total), ', ') FROM ticket.seller_concerts('list-sam')), '0 0 2, 2 140 2', 'a seller''s concerts');

-- ---------- a seller's own ----------

SELECT pg_temp.refused(call, 'TK005', regexp_replace(call, '-?\d+(?=[,)])', 'n', 'g')) FROM (SELECT format(call, :c, :p, :floor, :v, :s1, :v2) AS call FROM unnest(ARRAY[
	'SELECT ticket.seller_concert_change($$list-eve$$, %1$s, name => $$x$$)', 'SELECT ticket.seller_concert_withdraw($$list-eve$$, %1$s)',
	'SELECT ticket.seller_performance_create($$list-eve$$, %1$s, %6$s, $$2100-01-01$$)',
	'SELECT ticket.seller_performance_change($$list-eve$$, %2$s, max_seats_per_user => 1)', 'SELECT ticket.seller_performance_withdraw($$list-eve$$, %2$s)',
	'SELECT ticket.seller_section_create($$list-eve$$, %2$s, $$x$$, 1, 1, 1)', 'SELECT ticket.seller_section_change($$list-eve$$, %3$s, price => 1)',
	'SELECT ticket.seller_section_withdraw($$list-eve$$, %3$s)', 'SELECT ticket.seller_venue_change($$list-eve$$, %4$s, name => $$x$$)',
	'SELECT ticket.seller_venue_withdraw($$list-eve$$, %4$s)', 'SELECT ticket.seller_venue_section_create($$list-eve$$, %4$s, $$x$$, $$A$$, 1, 1)',
	'SELECT ticket.seller_venue_section_change($$list-eve$$, %5$s, name => $$x$$)', 'SELECT ticket.seller_venue_section_delete($$list-eve$$, %5$s)',
	'SELECT ticket.seller_performance_create($$list-eve$$, ticket.seller_concert_create($$list-eve$$, $$x$$), %4$s, $$2100-01-01$$)',
	'SELECT ticket.seller_concert_change($$list-eve$$, -1, name => $$x$$)', 'SELECT ticket.seller_venue_change($$list-sam$$, %6$s, name => $$x$$)'])
	AS call) c(call);
SELECT ticket.seller_concert_create('list-eve', 'List Eve') AS c4, ticket.seller_performance_create('list-sam', :c2, :v2, '2100-01-01') AS p4 \gset
SELECT is((SELECT owner FROM ticket.concert WHERE concert_id = :c4), 'list-eve', 'what a seller creates is his');
SELECT is((SELECT concert_id FROM ticket.performance WHERE performance_id = :p4), :c2::bigint, 'a house''s own hall is for every seller');
SELECT ok(ticket.seller_concert_withdraw('list-sam', :c2), 'a seller withdraws his own');
SELECT is((SELECT withdrawn_by FROM ticket.concert WHERE concert_id = :c2), 'list-sam', 'and it is known who did');
SELECT is((SELECT array_agg(concert_id) FROM ticket.concerts_by_seller('list-sam')), ARRAY[:c]::bigint[], 'buyers do not see it any more');
SELECT is((SELECT count(*) FROM ticket.seller_concerts('list-sam')), 2::bigint, 'the seller does');
SET ticket.user_claim = 'list.subject';
SET list.subject = 'list-eve';
SELECT pg_temp.refused(call, 'TK013', regexp_replace(call, '\d+(?=,)', 'n')) FROM unnest(ARRAY['SELECT ticket.seller_concerts($$list-sam$$)', 'SELECT ticket.seller_reservations($$list-sam$$)',
	'SELECT ticket.seller_payments($$list-sam$$)', 'SELECT ticket.seller_totals($$list-sam$$)', 'SELECT ticket.seller_concert_create($$list-sam$$, $$x$$)',
	'SELECT ticket.user_reservations($$list-a$$)', format('SELECT ticket.user_reservation(%s, $$list-a$$)', :r1), 'SELECT ticket.point_history($$list-a$$)']) AS call;
SELECT is((SELECT count(*) FROM ticket.seller_reservations(NULL)), 1::bigint, 'the claim is the seller');
RESET ticket.user_claim;

-- ---------- bad input ----------

SELECT pg_temp.refused(call, '22023') FROM (SELECT format('SELECT * FROM ticket.%s', call) AS call FROM unnest(ARRAY[
	'concert_search(NULL)', 'concert_search($$$$)', 'concert_search(repeat($$x$$, 256))', 'concert_search($$x$$, 0)', 'concert_search($$x$$, 1001)',
	'concert_search($$x$$, NULL)', 'concert_search($$x$$, -1)', 'concerts_by_seller($$list-sam$$, 0)', 'concerts_by_id(NULL)',
	'concerts_by_id(array_fill(1::bigint, ARRAY[1001]))', 'concerts_by_date(max_count => 0)', 'performances(1, 0)', 'performances(NULL)', 'user_reservations(NULL)',
	'user_reservations($$$$)', 'user_reservations($$list-a$$, 0)', 'user_reservations($$list-a$$, 1001)', 'user_reservation(NULL, $$list-a$$)',
	'user_reservation(1, NULL)', 'point_history(NULL)', 'point_history($$list-a$$, 0)', 'operator_reservations(max_count => 0)',
	'operator_reservations(max_count => NULL)', 'operator_reservations(status => $$gone$$)', 'operator_payments(status => $$held$$)',
	'operator_payments(max_count => 1001)', 'seller_reservations(NULL)', 'seller_reservations($$$$)', 'seller_payments(NULL)', 'seller_totals(NULL)',
	'seller_concerts(NULL)', 'seller_concerts($$list-sam$$, 0)', 'seller_concert_create(NULL, $$x$$)', 'seller_concert_change($$list-sam$$, NULL)',
	'seller_section_withdraw($$list-sam$$, NULL)']) AS call) c;
SELECT pg_temp.refused(call, '22023') FROM (SELECT format('SELECT * FROM ticket.%s', call) AS call FROM unnest(ARRAY[
	'concerts(0)', 'concerts(NULL)', 'concerts(1001)', 'operator_totals()', 'operator_totals(until => now())', 'seller_payments($$list-sam$$, status => $$paid$$)']) AS call) c;
SELECT pg_temp.refused(call, 'TK005', call || ': a place that is not there') FROM (SELECT format('SELECT * FROM ticket.%s', call) AS call FROM unnest(ARRAY[
	'concerts_by_date(after => -1)', 'performances(1, after => -1)']) AS call) c;
SELECT is((SELECT count(*) FROM ticket.concert_search('list', 1000, -9223372036854775808)), 0::bigint, 'after: below everything');
SELECT is((SELECT count(*) FROM ticket.concerts_by_date('-infinity', 'infinity', 1)), 1::bigint, 'an infinite time is one');
SELECT is((SELECT count(*) FROM ticket.concerts_by_date(NULL, NULL, 1)), 1::bigint, 'no time is no bound');
SELECT is((SELECT count(*) FROM ticket.operator_reservations(concert_id => -1)), 0::bigint, 'what is not there has nothing');

SELECT is((SELECT string_agg(invariant, ', ') FROM ticket.verify() WHERE NOT ok), NULL, 'every invariant holds');
SELECT * FROM finish();
