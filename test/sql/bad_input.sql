-- Bad input: each call is refused with its own SQLSTATE and changes nothing,
-- neither a row nor a counter in shared memory (pg_temp.refused looks).
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin

-- Something to be spoilt: a sale through a queue; a's ticket is active, b's
-- waits; a has held, and has paid; c has an account.
SELECT ticket.queue_create('bad', capacity => 1, idle_ttl => '1 day') AS q, ticket.queue_create('other') AS q2 \gset
SELECT pg_temp.sale(queue_id => :q) AS p, pg_temp.sale(price => 10) AS p2 \gset
SELECT token AS a FROM ticket.ticket_enqueue(:q, 'bad-a') \gset
SELECT token AS b FROM ticket.ticket_enqueue(:q, 'bad-b') \gset
SELECT token AS other FROM ticket.ticket_enqueue(:q2, 'bad-a') \gset
SELECT reservation_id AS held FROM ticket.seat_hold(:p, '{1,2}', 'bad-a', :'a') \gset
SELECT reservation_id AS paid FROM ticket.seat_hold(:p2, '{1,2}', 'bad-a') \gset
SELECT ticket.point_charge('bad-a', 30) AS balance \gset
SELECT count(ticket.pay_reservation(:paid, 'bad-a')) AS n \gset

-- One argument of a call (%s) spoilt in each of several ways.
CREATE FUNCTION pg_temp.each_refused(what text, call text, code text, VARIADIC arguments text[]) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT pg_temp.refused(format(call, argument), code, format('%s: %s', what, left(argument, 40)))
	FROM unnest(arguments) AS argument $$;

-- The other way round: what is just still allowed.
CREATE FUNCTION pg_temp.each_allowed(what text, call text, VARIADIC arguments text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	argument text;
BEGIN
	FOREACH argument IN ARRAY arguments LOOP
		EXECUTE format(call, argument);
		RETURN NEXT pass(format('%s: %s', what, left(argument, 40)));
	END LOOP;
END $$;

-- ---------- waiting room ----------

SELECT pg_temp.each_refused('queue_create, ' || what, call, '22023', VARIADIC arguments) FROM (VALUES
	('name', 'SELECT ticket.queue_create(%s)', ARRAY['NULL', $$''$$, $$repeat('x', 256)$$]),
	('capacity', 'SELECT ticket.queue_create($$q$$, capacity => %s)', ARRAY['NULL', '-1']),
	('promote_count', 'SELECT ticket.queue_create($$q$$, promote_count => %s)', ARRAY['NULL', '0', '-1']),
	('promote_interval', 'SELECT ticket.queue_create($$q$$, promote_interval => %s)',
		ARRAY['NULL', $$'0'$$, $$'-1 s'$$, $$'999 us'$$, $$'367 days'$$, $$'100000 years'$$, $$'-1 month 1 day'$$]),
	('active_ttl', 'SELECT ticket.queue_create($$q$$, active_ttl => %s)', ARRAY['NULL', $$'0'$$, $$'-1 s'$$, $$'367 days'$$, $$'-2147483648 mons'$$, $$'-2147483648 mons -1288637400:11:24.588032'$$]),
	('idle_ttl', 'SELECT ticket.queue_create($$q$$, idle_ttl => %s)', ARRAY['NULL', $$'0'$$, $$'-1 s'$$, $$'367 days'$$]),
	('opens_at', 'SELECT ticket.queue_create($$q$$, opens_at => %s)', ARRAY[$$'infinity'$$, $$'-infinity'$$])
) AS v(what, call, arguments);
-- PostgreSQL has infinite intervals from version 17 on; before it does not read them.
SELECT ok(pg_temp.refusal(format($$SELECT ticket.queue_create('q', %s => 'infinity')$$, name)) IN ('22007', '22023'),
	format('queue_create, %s: infinite', name))
FROM unnest('{promote_interval,active_ttl,idle_ttl}'::text[]) AS name;
SELECT pg_temp.each_allowed('queue_create', 'SELECT ticket.queue_create(%s)',
	$$repeat('x', 255)$$, $$repeat('ü', 255)$$, $$'q', capacity => 0$$, $$'q', idle_ttl => '1 ms'$$, $$'q', idle_ttl => '366 days'$$,
	$$'q', idle_ttl => '12201 mons -366000 days'$$);
SELECT pg_temp.each_refused('UPDATE queue', format('UPDATE ticket.queue SET %%s WHERE queue_id = %s', :q), '23514',
	'capacity = -1', 'promote_count = 0', $$promote_interval = '0'$$, $$active_ttl = '-1 s'$$, $$idle_ttl = '0'$$,
	$$opens_at = 'infinity'$$, $$mode = 'closed'$$, $$rejoin = 'front'$$, $$name = ''$$, 'queue_id = 4194304', 'queue_id = 0');

SELECT pg_temp.each_refused('ticket_enqueue, queue_id', 'SELECT ticket.ticket_enqueue(%s, $$x$$)', '22023', 'NULL');
SELECT pg_temp.each_refused('ticket_enqueue, queue_id', 'SELECT ticket.ticket_enqueue(%s, $$x$$)', 'TK005',
	'0', '-1', '4194303', '4194304', '4294967297', '9223372036854775807');
SELECT pg_temp.each_refused('ticket_enqueue, user_id', format('SELECT ticket.ticket_enqueue(%s, %%s)', :q), '22023',
	'NULL', $$''$$, $$repeat('x', 256)$$, $$repeat('ü', 256)$$);
SELECT pg_temp.each_allowed('ticket_enqueue, user_id', format('SELECT ticket.ticket_enqueue(%s, %%s)', :q2),
	$$'x'$$, $$repeat('x', 255)$$, $$repeat('ü', 255)$$);

-- The token of a place nobody has, of a queue that is not there (as one of
-- another database would be), with another secret.
SELECT overlay(:'a' PLACING 'ffff' FROM 10) AS nobody, overlay(:'a' PLACING 'ffffffff' FROM 1) AS nowhere,
	overlay(:'a' PLACING translate(right(:'a', 12), '0123456789abcdef', '123456789abcdef0') FROM 25) AS guessed \gset
SELECT pg_temp.each_refused('ticket_status', 'SELECT ticket.ticket_status(%s)', '22023', 'NULL');
SELECT pg_temp.refused(format('SELECT ticket.ticket_status(%L)', token), 'TK001', 'ticket_status: ' || what)
FROM (VALUES ('random', gen_random_uuid()::text), ('zero', '00000000-0000-0000-0000-000000000000'),
	('all ones', 'ffffffff-ffff-ffff-ffff-ffffffffffff'), ('nobody''s place', :'nobody'), ('no queue', :'nowhere'), ('wrong secret', :'guessed')) AS v(what, token);
SELECT pg_temp.each_refused('ticket_leave', 'SELECT ticket.ticket_leave(%s)', '22023', 'NULL');
SELECT pg_temp.refused(format('SELECT ticket.ticket_leave(%L)', token), 'TK001', 'ticket_leave: ' || what)
FROM (VALUES ('random', gen_random_uuid()::text), ('zero', '00000000-0000-0000-0000-000000000000'),
	('all ones', 'ffffffff-ffff-ffff-ffff-ffffffffffff'), ('nobody''s place', :'nobody'), ('no queue', :'nowhere'), ('wrong secret', :'guessed')) AS v(what, token);
SELECT pg_temp.each_refused('ticket_find, queue_id', 'SELECT ticket.ticket_find(%s, $$a$$)', '22023', 'NULL');
SELECT pg_temp.each_refused('ticket_find, queue_id', 'SELECT ticket.ticket_find(%s, $$a$$)', 'TK005', '0', '-1', '4194303', '4294967297');
SELECT pg_temp.each_refused('ticket_find, user_id', format('SELECT ticket.ticket_find(%s, %%s)', :q), '22023', 'NULL', $$''$$, 'repeat($$x$$, 256)');
SELECT pg_temp.each_refused('queue_clear, queue_id', 'SELECT ticket.queue_clear(%s)', '22023', 'NULL');
SELECT pg_temp.each_refused('queue_clear, queue_id', 'SELECT ticket.queue_clear(%s)', 'TK005', '0', '-1', '4194303', '4294967297');
SELECT pg_temp.each_refused('queue_clear', format('SELECT ticket.queue_clear(%s, %%s)', :q), '22023', 'NULL', 'true, -1');
SELECT pg_temp.each_refused('ticket_promote, queue_id', 'SELECT ticket.ticket_promote(%s)', '22023', 'NULL');
SELECT pg_temp.each_refused('ticket_promote, queue_id', 'SELECT ticket.ticket_promote(%s)', 'TK005', '0', '-1', '4194303', '4294967297');
SELECT pg_temp.each_refused('ticket_promote, max_count', format('SELECT ticket.ticket_promote(%s, %%s)', :q), '22023', '-1');
SELECT pg_temp.each_refused('ticket_expire, queue_id', 'SELECT ticket.ticket_expire(%s)', 'TK005', '0', '-1', '4194303', '4294967297');

-- ---------- catalogue ----------

SELECT pg_temp.each_refused(function, format('SELECT ticket.%s(%%s)', function), '22023', 'NULL', $$''$$, $$repeat('x', 256)$$)
FROM unnest('{venue_create,concert_create}'::text[]) AS function;
SELECT ticket.concert_create('c') AS c, ticket.venue_create('v') AS v \gset
SELECT format('SELECT ticket.performance_create(%s, %s, $$2100-01-01$$, %%s)', :c, :v) AS create \gset
SELECT pg_temp.each_refused('performance_create', :'create', '22023',
	$$sale_opens_at => 'infinity'$$, $$sale_closes_at => '-infinity'$$,
	$$sale_opens_at => '2099-01-01', sale_closes_at => '2098-01-01'$$, $$sale_opens_at => '2099-01-01', sale_closes_at => '2099-01-01'$$,
	'hold_interval => NULL', $$hold_interval => '0'$$, $$hold_interval => '-1 s'$$, $$hold_interval => '367 days'$$,
	'max_seats_per_user => NULL', 'max_seats_per_user => 0', 'max_seats_per_user => -1', 'max_seats_per_user => 1001');
SELECT pg_temp.each_refused('performance_create', :'create', 'TK005', 'queue_id => 0', 'queue_id => 4194303');
SELECT pg_temp.each_refused('performance_create, concert_id', format('SELECT ticket.performance_create(%%s, %s, $$2100-01-01$$)', :v), 'TK005', '0', '-1');
SELECT pg_temp.each_refused('performance_create, venue_id', format('SELECT ticket.performance_create(%s, %%s, $$2100-01-01$$)', :c), 'TK005', '0', '-1');
SELECT pg_temp.each_refused('performance_create, concert_id', format('SELECT ticket.performance_create(%%s, %s, $$2100-01-01$$)', :v), '22023', 'NULL');
SELECT pg_temp.each_refused('performance_create, venue_id', format('SELECT ticket.performance_create(%s, %%s, $$2100-01-01$$)', :c), '22023', 'NULL');
SELECT pg_temp.each_refused('performance_create, starts_at', format('SELECT ticket.performance_create(%s, %s, %%s)', :c, :v), '22023',
	'NULL', $$'infinity'$$, $$'-infinity'$$);
SELECT pg_temp.each_refused('section_create, ' || what, format(call, :p), code, VARIADIC arguments) FROM (VALUES
	('performance_id', 'SELECT ticket.section_create(%%s, $$s$$, 1, 1, 1)', '22023', ARRAY['NULL']),
	('performance_id', 'SELECT ticket.section_create(%%s, $$s$$, 1, 1, 1)', 'TK005', '{0,-1,9223372036854775807}'),
	('name', 'SELECT ticket.section_create(%s, %%s, 1, 1, 1)', '22023', ARRAY['NULL', $$''$$, $$repeat('x', 256)$$, $$'section'$$]),
	('price', 'SELECT ticket.section_create(%s, $$s$$, %%s, 1, 1)', '22023', ARRAY['NULL', '-1', '1000000000001', '9223372036854775807']),
	('row_count', 'SELECT ticket.section_create(%s, $$s$$, 1, %%s, 1)', '22023', ARRAY['NULL', '0', '-1', '1000001']),
	('seats_per_row', 'SELECT ticket.section_create(%s, $$s$$, 1, 1, %%s)', '22023', ARRAY['NULL', '0', '-1', '1000001']),
	('both', 'SELECT ticket.section_create(%s, $$s$$, 1, %%s)', '22023', ARRAY['1000, 1001', '2147483647, 2147483647', '-2, -2'])
) AS v(what, call, code, arguments);
SELECT is((SELECT count(*) FROM ticket.seats(-1)) + (SELECT count(*) FROM ticket.sections(-1)) +
	(SELECT count(*) FROM ticket.performances(-1)) + (SELECT count(*) FROM ticket.seats(:p, -1)), 0::bigint, 'lists of nothing are empty');

-- ---------- seats ----------

SELECT format('SELECT ticket.seat_hold(%s, %%s, $$bad-a$$, %L)', :p, :'a') AS hold \gset
SELECT pg_temp.each_refused('seat_hold, seat_ids', :'hold', '22023', 'NULL', $$'{}'$$, $$'{NULL}'$$, $$'{3,NULL}'$$, $$'{3,3}'$$, $$'{4,3,4}'$$,
	$$'{{3,4},{5,6}}'$$, $$'{{3}}'$$, 'ARRAY(SELECT generate_series(1, 1001))', 'ARRAY(SELECT generate_series(1, 10000))');
SELECT pg_temp.each_refused('seat_hold, seat_ids', :'hold', 'TK005', $$'{0}'$$, $$'{-1}'$$, $$'{11}'$$, $$'{3,11}'$$, $$'{2147483647}'$$, $$'{-2147483648}'$$);
SELECT pg_temp.each_refused('seat_hold, performance_id', format('SELECT ticket.seat_hold(%%s, $${3}$$, $$bad-a$$, %L)', :'a'), '22023', 'NULL');
SELECT pg_temp.each_refused('seat_hold, performance_id', format('SELECT ticket.seat_hold(%%s, $${3}$$, $$bad-a$$, %L)', :'a'), 'TK005',
	'0', '-1', '2147483648', '9223372036854775807');
SELECT pg_temp.each_refused('seat_hold, user_id', format('SELECT ticket.seat_hold(%s, $${3}$$, %%s, %L)', :p, :'a'), '22023',
	'NULL', $$''$$, $$repeat('x', 256)$$);
SELECT pg_temp.each_refused('seat_hold, idempotency_key', format('SELECT ticket.seat_hold(%s, $${3}$$, $$bad-a$$, %L, %%s)', :p, :'a'), '22023',
	$$''$$, $$repeat('x', 256)$$);
SELECT pg_temp.refused(format('SELECT ticket.seat_hold(%s, $${3}$$, %L, %L)', :p, user_id, token), code, 'seat_hold, token: ' || what)
FROM (VALUES ('none', 'bad-a', NULL, 'TK002'), ('another user''s', 'bad-b', :'a', 'TK002'), ('waiting', 'bad-b', :'b', 'TK002'),
	('another queue''s', 'bad-a', :'other', 'TK002'), ('random', 'bad-a', gen_random_uuid()::text, 'TK001'),
	('nobody''s place', 'bad-a', :'nobody', 'TK001'), ('wrong secret', 'bad-a', :'guessed', 'TK001')) AS v(what, user_id, token, code);
SELECT pg_temp.each_refused('seat_release, reservation_id', 'SELECT ticket.seat_release(%s, $$bad-a$$)', '22023', 'NULL');
SELECT pg_temp.each_refused('seat_release, reservation_id', 'SELECT ticket.seat_release(%s, $$bad-a$$)', 'TK005', '0', '-1', '9223372036854775807');
SELECT pg_temp.each_refused('seat_release, user_id', format('SELECT ticket.seat_release(%s, %%s)', :held), '22023', 'NULL', $$''$$, $$repeat('x', 256)$$);
SELECT pg_temp.each_refused('seat_release, user_id', format('SELECT ticket.seat_release(%s, %%s)', :held), 'TK005', $$'bad-b'$$);
SELECT pg_temp.each_refused('seat_release of what is paid', format('SELECT ticket.seat_release(%s, %%s)', :paid), 'TK009', $$'bad-a'$$);
SELECT pg_temp.each_refused('seat_hold_expire, max_count', 'SELECT ticket.seat_hold_expire(%s)', '22023', '-1');

-- ---------- money ----------

SELECT pg_temp.each_refused('point_charge, user_id', 'SELECT ticket.point_charge(%s, 1)', '22023', 'NULL', $$''$$, $$repeat('x', 256)$$);
SELECT pg_temp.each_refused('point_charge, amount', 'SELECT ticket.point_charge($$bad-a$$, %s)', '22023', 'NULL', '0', '-1', '-9223372036854775808');
SELECT pg_temp.each_refused('point_charge, amount', 'SELECT ticket.point_charge($$bad-a$$, %s)', 'TK008',
	'1000000000000000', '1000000000000001', '9223372036854775807');
SELECT pg_temp.each_refused('point_charge, idempotency_key', 'SELECT ticket.point_charge($$bad-a$$, 1, %s)', '22023', $$''$$, $$repeat('x', 256)$$);
SELECT pg_temp.each_refused('point_balance', 'SELECT ticket.point_balance(%s)', '22023', 'NULL', $$''$$, $$repeat('x', 256)$$);
SELECT pg_temp.each_refused('pay_reservation, reservation_id', 'SELECT ticket.pay_reservation(%s, $$bad-a$$)', '22023', 'NULL');
SELECT pg_temp.each_refused('pay_reservation, reservation_id', 'SELECT ticket.pay_reservation(%s, $$bad-a$$)', 'TK005', '0', '-1', '9223372036854775807');
SELECT pg_temp.each_refused('pay_reservation, user_id', format('SELECT ticket.pay_reservation(%s, %%s)', :held), '22023', 'NULL', $$''$$, $$repeat('x', 256)$$);
SELECT pg_temp.each_refused('pay_reservation, user_id', format('SELECT ticket.pay_reservation(%s, %%s)', :held), 'TK005', $$'bad-b'$$);
SELECT pg_temp.each_refused('pay_reservation, points', format('SELECT ticket.pay_reservation(%s, %%s)', :held), 'TK010', $$'bad-a'$$);
SELECT pg_temp.each_refused('pay_reservation, idempotency_key', format('SELECT ticket.pay_reservation(%s, $$bad-a$$, %%s)', :held), '22023', $$''$$, $$repeat('x', 256)$$);
SET ticket.clock_offset = '6min';
SELECT pg_temp.each_refused('pay_reservation after expiry', format('SELECT ticket.pay_reservation(%s, %%s)', :held), 'TK007', $$'bad-a'$$);
RESET ticket.clock_offset;
SELECT reservation_id AS begun FROM ticket.seat_hold(:p2, '{4}', 'bad-a') \gset
SELECT pg_temp.sale(price => 0) AS free \gset
SELECT reservation_id AS free FROM ticket.seat_hold(:free, '{1}', 'bad-a') \gset
SELECT pg_temp.each_refused('payment_begin, reservation_id', 'SELECT ticket.payment_begin(%s, $$bad-a$$, $$card$$)', '22023', 'NULL');
SELECT pg_temp.each_refused('payment_begin, reservation_id', 'SELECT ticket.payment_begin(%s, $$bad-a$$, $$card$$)', 'TK005', '0', '-1', '9223372036854775807');
SELECT pg_temp.each_refused('payment_begin, user_id', format('SELECT ticket.payment_begin(%s, %%s, $$card$$)', :begun), '22023', 'NULL', $$''$$, $$repeat('x', 256)$$);
SELECT pg_temp.each_refused('payment_begin, user_id', format('SELECT ticket.payment_begin(%s, %%s, $$card$$)', :begun), 'TK005', $$'bad-b'$$);
SELECT pg_temp.each_refused('payment_begin, provider', format('SELECT ticket.payment_begin(%s, $$bad-a$$, %%s)', :begun), '22023',
	'NULL', $$''$$, $$'points'$$, $$'Card'$$, $$'a b'$$, $$'a:b'$$, $$'ü'$$, $$repeat('x', 64)$$);
SELECT pg_temp.each_refused('payment_begin, substitute', format('SELECT ticket.payment_begin(%s, $$bad-a$$, $$card$$, %%s)', :begun), '22023', 'NULL');
SELECT pg_temp.each_refused('payment_begin, idempotency_key', format('SELECT ticket.payment_begin(%s, $$bad-a$$, $$card$$, false, %%s)', :begun), '22023',
	$$''$$, $$repeat('x', 256)$$);
SELECT pg_temp.each_refused('payment_begin, what is paid', 'SELECT ticket.payment_begin(%s, $$bad-a$$, $$card$$)', 'TK009', :'paid');
SELECT pg_temp.each_refused('payment_begin, what costs nothing', 'SELECT ticket.payment_begin(%s, $$bad-a$$, $$card$$)', 'TK009', :'free');
SELECT payment_id AS payment FROM ticket.payment_begin(:begun, 'bad-a', 'card', idempotency_key => 'begin') \gset
SELECT pg_temp.each_refused('payment_begin, its key for another reservation', 'SELECT ticket.payment_begin(%s, $$bad-a$$, $$card$$, false, $$begin$$)', 'TK011', :'held');
SELECT pg_temp.each_refused('pay_reservation, the key of a payment_begin', 'SELECT ticket.pay_reservation(%s, $$bad-a$$, $$begin$$)', 'TK011', :'held');
SELECT pg_temp.each_refused(f || ', payment_id', format('SELECT ticket.%s(%%s, $$x$$)', f), '22023', 'NULL') FROM unnest('{payment_confirm,payment_fail}'::text[]) AS f;
SELECT pg_temp.each_refused(f || ', payment_id', format('SELECT ticket.%s(%%s, $$x$$)', f), 'TK005', '0', '-1', '9223372036854775807',
	(SELECT payment_id::text FROM ticket.payment WHERE reservation_id = :paid)) FROM unnest('{payment_confirm,payment_fail}'::text[]) AS f;
SELECT pg_temp.each_refused('payment_confirm, provider_ref', format('SELECT ticket.payment_confirm(%s, %%s)', :payment), '22023',
	'NULL', $$''$$, $$repeat('x', 256)$$);
SELECT pg_temp.each_refused('payment_fail, reason', format('SELECT ticket.payment_fail(%s, %%s)', :payment), '22023', 'NULL', $$''$$, $$repeat('x', 256)$$);
SELECT is((SELECT status FROM ticket.payment_confirm(:payment, repeat('ü', 255))), 'captured', 'payment_confirm, provider_ref: 255 characters are allowed');
SELECT count(ticket.reservation_cancel(:begun, 'bad-a')) AS n \gset
SELECT refund_id AS refund FROM ticket.refund WHERE payment_id = :payment \gset
SELECT pg_temp.each_refused('refund_confirm, refund_id', 'SELECT ticket.refund_confirm(%s, $$x$$)', '22023', 'NULL');
SELECT pg_temp.each_refused('refund_confirm, refund_id', 'SELECT ticket.refund_confirm(%s, $$x$$)', 'TK005', '0', '-1', '9223372036854775807');
SELECT pg_temp.each_refused('refund_confirm, provider_ref', format('SELECT ticket.refund_confirm(%s, %%s)', :refund), '22023', 'NULL', $$''$$, $$repeat('x', 256)$$);
SELECT pg_temp.each_refused('payments_stuck, older_than', 'SELECT ticket.payments_stuck(%s)', '22023', 'NULL', $$'-1 second'$$, $$'3661 days'$$);
SELECT pg_temp.each_refused('cancel_policy_set, performance_id', 'SELECT ticket.cancel_policy_set(%s, $$1 day$$)', '22023', 'NULL');
SELECT pg_temp.each_refused('cancel_policy_set, performance_id', 'SELECT ticket.cancel_policy_set(%s, $$1 day$$)', 'TK005', '0', '-1', '9223372036854775807');
SELECT pg_temp.each_refused('cancel_policy_set, before', format('SELECT ticket.cancel_policy_set(%s, %%s)', :p), '22023',
	'NULL', $$'-1 second'$$, $$'3661 days'$$);
SELECT pg_temp.each_refused('cancel_policy_set, kept_permille', format('SELECT ticket.cancel_policy_set(%s, $$1 day$$, kept_permille => %%s)', :p), '22023',
	'NULL', '-1', '1001', '2147483647');
SELECT pg_temp.each_refused('cancel_policy_set, kept_fixed', format('SELECT ticket.cancel_policy_set(%s, $$1 day$$, kept_fixed => %%s)', :p), '22023',
	'NULL', '-1', '1000000000001', '9223372036854775807');
SELECT pg_temp.each_refused('cancel_policy_drop, performance_id', 'SELECT ticket.cancel_policy_drop(%s, $$1 day$$)', '22023', 'NULL');
SELECT pg_temp.each_refused('cancel_policy_drop, before', format('SELECT ticket.cancel_policy_drop(%s, %%s)', :p), '22023', 'NULL');
SELECT pg_temp.each_refused('reservation_cancel, reservation_id', 'SELECT ticket.reservation_cancel(%s, $$bad-a$$)', '22023', 'NULL');
SELECT pg_temp.each_refused('reservation_cancel, reservation_id', 'SELECT ticket.reservation_cancel(%s, $$bad-a$$)', 'TK005', '0', '-1', '9223372036854775807');
SELECT pg_temp.each_refused('reservation_cancel, user_id', format('SELECT ticket.reservation_cancel(%s, %%s)', :paid), '22023', 'NULL', $$''$$, $$repeat('x', 256)$$);
SELECT pg_temp.each_refused('reservation_cancel, user_id', format('SELECT ticket.reservation_cancel(%s, %%s)', :paid), 'TK005', $$'bad-b'$$);
SELECT pg_temp.each_refused('reservation_cancel, seat_ids', format('SELECT ticket.reservation_cancel(%s, $$bad-a$$, %%s)', :paid), '22023',
	$$'{}'$$, $$'{NULL}'$$, $$'{1,NULL}'$$, $$'{1,1}'$$, $$'{{1,2}}'$$, 'ARRAY(SELECT generate_series(1, 10000))');
SELECT pg_temp.each_refused('reservation_cancel, seat_ids', format('SELECT ticket.reservation_cancel(%s, $$bad-a$$, %%s)', :paid), 'TK005',
	$$'{3}'$$, $$'{1,3}'$$, $$'{0}'$$, $$'{-1}'$$);

-- ---------- the rest ----------

SELECT pg_temp.each_refused('history_extend', 'SELECT ticket.history_extend(%s)', '22023', 'NULL', '-1', '121');
SELECT pg_temp.each_refused('history_drop', 'SELECT ticket.history_drop(%s)', '22023', 'NULL', $$'infinity'$$, $$'-infinity'$$);
SELECT pg_temp.each_refused('history', 'SELECT ticket.history(%s)', '22023', '', 'NULL', 'seat_id => 1', $$since => now()$$,
	$$'a', max_count => NULL$$, $$'a', max_count => 0$$, $$'a', max_count => 100001$$, $$'a', seat_id => 1$$, 'reservation_id => 1, seat_id => 1');
SELECT pg_temp.each_allowed('history', 'SELECT count(*) FROM ticket.history(%s)', $$''$$, $$repeat('x', 300)$$, 'reservation_id => -1', 'performance_id => 9223372036854775807',
	'performance_id => 1, seat_id => -1', $$'a', since => 'infinity', until => '-infinity'$$, $$'a', max_count => 100000$$);
SELECT pg_temp.refused('SELECT ticket.event_payload(NULL, $${}$$)', '22023');
SELECT pg_temp.refused('SELECT ticket.event_payload($$x$$, NULL)', '22023');
SELECT pg_temp.each_refused('outbox_fetch', 'SELECT * FROM ticket.outbox_fetch(%s)', '22023', 'NULL', '0', '-1', '100001');
SELECT pg_temp.each_refused('outbox_read', 'SELECT * FROM ticket.outbox_read(%s)', '22023', 'NULL', '0', '-1', '100001');
SELECT pg_temp.each_refused('outbox_hand_out', 'SELECT * FROM ticket.outbox_hand_out(%s)', '22023', 'NULL', '0', '-1', '100001');
SELECT pg_temp.each_refused('outbox_ack', 'SELECT ticket.outbox_ack(%s)', '22023', 'NULL', $$'{NULL}'$$, $$ARRAY[gen_random_uuid(), NULL]$$,
	$$ARRAY[ARRAY[gen_random_uuid()]]$$);
SELECT pg_temp.each_refused('run', 'CALL ticket.run(%s)', '22023', 'NULL', $$'0'$$, $$'-1 s'$$, $$'367 days'$$,
	-- In microseconds this is an hour, modulo 2^64.
	$$'-2147483648 mons -1288637400:11:24.588032'$$);
SELECT pg_temp.each_refused('run in a transaction', 'CALL ticket.run(%s)', '2D000', $$'1 s'$$);
SELECT pg_temp.each_refused('verify', 'SELECT * FROM ticket.verify(%s)', '22023', 'NULL', $$'-1 s'$$, $$'1001 years'$$, $$'100000 years'$$);
SELECT pg_temp.each_refused('grant_role, role', 'SELECT ticket.grant_role(%s, $$buyer$$)', 'TK005', $$''$$, $$'regress_ticket_nobody'$$);
SELECT pg_temp.each_refused('grant_role, role', 'SELECT ticket.grant_role(%s, $$buyer$$)', '22023', 'NULL');
SELECT pg_temp.each_refused('grant_role, part', 'SELECT ticket.grant_role(current_user, %s)', '22023', 'NULL', $$''$$, $$'owner'$$);

-- ---------- full ----------

SELECT pg_temp.refused($$SELECT count(ticket.queue_create('q' || i))
	FROM generate_series(1, current_setting('ticket.max_queues')::int + 1) AS i$$, 'TK004', 'no slot for another queue');
SELECT pg_temp.refused(format($$SELECT count(ticket.ticket_enqueue(%s, 'full-' || i))
	FROM generate_series(1, current_setting('ticket.max_waiting')::int + 1) AS i$$, :q), 'TK004', 'no place for another ticket');
-- Full to the last place, everyone else is served.
CREATE TEMP TABLE filled (token uuid);
CREATE FUNCTION pg_temp.fill(queue_id bigint) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	n int := 0;
BEGIN
	LOOP
		PERFORM ticket.ticket_enqueue(queue_id, 'full-' || n + 1);
		n := n + 1;
	END LOOP;
EXCEPTION WHEN SQLSTATE 'TK004' THEN
	INSERT INTO filled SELECT t.token FROM generate_series(1, n) AS i, ticket.ticket_enqueue(queue_id, 'full-' || i) AS t;
	RETURN n;
END $$;
SELECT ticket.queue_create('full', capacity => 0) AS q \gset
SELECT pg_temp.fill(:q) AS places \gset
SELECT is(pg_temp.memory(:q), format('%s waiting, 0 active, 0 admitted', :places), 'every place is used');
SELECT pg_temp.refused(format('SELECT ticket.ticket_enqueue(%s, $$x$$)', :q), 'TK004', 'full: one more');
SELECT is((SELECT "position" FROM ticket.ticket_enqueue(:q, 'full-2')), 2::bigint, 'full: who is in keeps the ticket');
UPDATE ticket.queue SET rejoin = 'back' WHERE queue_id = :q;
SELECT is((SELECT format('%s %s', "position", token = (SELECT token FROM filled OFFSET 2 LIMIT 1)) FROM ticket.ticket_enqueue(:q, 'full-3')), '3 t',
	'full: also where one would go to the end of the line');
UPDATE ticket.queue SET rejoin = 'keep' WHERE queue_id = :q;
SELECT is((SELECT status FROM ticket.ticket_status(:'a')), 'active', 'full: and is told');
UPDATE ticket.queue SET capacity = 1 WHERE queue_id = :q;
SELECT is(ticket.ticket_promote(:q), 1, 'full: is promoted');
SELECT is((SELECT ticket.ticket_leave(token) FROM filled LIMIT 1), true, 'full: may leave');
SELECT * FROM ticket.ticket_enqueue(:q, 'x') \gset x_
SELECT is(:x_position::bigint, :places::bigint, 'whose place is for another');
SELECT pg_temp.refused(format('SELECT ticket.ticket_enqueue(%s, $$y$$)', :q), 'TK004', 'one other');
SELECT is((SELECT count(*) FILTER (WHERE ticket.ticket_leave(token)) FROM (TABLE filled UNION ALL SELECT :'x_token') t), :places::bigint,
	'all of them leave');
SELECT is(pg_temp.memory(:q), '0 waiting, 0 active, 0 admitted', 'and nothing is left behind');
BEGIN;
SELECT pg_temp.fill(:q) AS again \gset
ROLLBACK;
SELECT is(:again, :places, 'so that all the places can be used again');

SELECT is((SELECT string_agg(invariant, ', ') FROM ticket.verify() WHERE NOT ok), NULL, 'every invariant holds');
SELECT * FROM finish();
