-- Called again after a lost answer, with something changed between: each
-- function that writes gives the answer of the first call, or a reason that is
-- so, and changes nothing.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin
SET search_path = ticket, public;

-- A shop for one call: names that calls and changes have in braces, and what they stand for.
CREATE FUNCTION pg_temp.shop() RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	c bigint := ticket.concert_create('again');
	v bigint := ticket.venue_create('again');
	q bigint := ticket.queue_create('again', capacity => 1);
	p bigint := ticket.performance_create(c, v, ticket.clock() + '100 days', max_seats_per_user => 20);
	s bigint := ticket.section_create(p, 'A', 100, 2, 10);
	plan bigint := ticket.venue_section_create(v, 'plan', 'R', 1, 2);
	paid bigint;
	card_paid bigint;
	card bigint;
BEGIN
	PERFORM ticket.point_charge('again', 1000), ticket.cancel_policy_set(p, '2 days', 100);
	paid := (ticket.seat_hold(p, '{5,6}', 'again')).reservation_id;
	PERFORM ticket.pay_reservation(paid, 'again');
	card_paid := (ticket.seat_hold(p, '{8,9}', 'again')).reservation_id;
	PERFORM ticket.payment_confirm((ticket.payment_begin(card_paid, 'again', 'card')).payment_id, 'paid');
	PERFORM ticket.reservation_cancel(card_paid, 'again', '{8}');
	card := (ticket.seat_hold(p, '{7}', 'again')).reservation_id;
	PERFORM ticket.seat_block(p, '{19}');
	RETURN jsonb_build_object('concert', c, 'venue', v, 'queue', q, 'performance', p, 'section', s, 'plan', plan, 'paid', paid,
		'card_paid', card_paid, 'card', card, 'payment', (ticket.payment_begin(card, 'again', 'card')).payment_id,
		'refund', (SELECT refund_id FROM ticket.refund ORDER BY refund_id DESC LIMIT 1),
		'held', (ticket.seat_hold(p, '{3,4}', 'again')).reservation_id,
		'token', quote_literal((ticket.ticket_enqueue(q, 'again-queue')).token));
END $$;

-- The statement with everything in braces replaced.
CREATE FUNCTION pg_temp.filled(statement text, names jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	item record;
BEGIN
	FOR item IN SELECT * FROM jsonb_each_text(names) LOOP
		statement := replace(statement, '{' || item.key || '}', item.value);
	END LOOP;
	RETURN statement;
END $$;

-- How many rows this transaction has added, and the counters of shared memory.
CREATE FUNCTION pg_temp.added() RETURNS text LANGUAGE sql AS $$
	SELECT format('%s %s', sum(n_tup_ins), pg_temp.shared())
	FROM pg_stat_xact_user_tables WHERE schemaname = 'ticket' $$;

-- What the second call gives: 'same', the SQLSTATE of its refusal, or a short
-- answer; NULL where the change is refused after the first.
CREATE FUNCTION pg_temp.again(call text, change text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	names jsonb;
	first text;
	second text;
	before text;
	result text;
	reason text;
BEGIN
	BEGIN
		names := pg_temp.shop();
		EXECUTE pg_temp.filled(format('SELECT x::text FROM ticket.%s AS x', call), names) INTO first;
		BEGIN
			EXECUTE pg_temp.filled(change, names);
		EXCEPTION WHEN SQLSTATE 'TK009' THEN
			RAISE division_by_zero;
		END;
		before := pg_temp.added();
		BEGIN
			EXECUTE pg_temp.filled(format('SELECT x::text FROM ticket.%s AS x', call), names) INTO second;
			result := CASE WHEN second IS NOT DISTINCT FROM first THEN 'same' WHEN second ~ '^(true|false|0)$' THEN second ELSE 'another' END
				|| CASE WHEN pg_temp.added() <> before THEN ', something is added' ELSE '' END;
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS result = RETURNED_SQLSTATE, reason = MESSAGE_TEXT;
			result := result || CASE WHEN result IN ('22023', 'TK009') THEN ' ' || regexp_replace(reason, '\d+', 'N', 'g') ELSE '' END;
		END;
		RAISE division_by_zero;
	EXCEPTION WHEN division_by_zero THEN
		NULL;
	END;
	RETURN result;
END $$;

CREATE TEMP TABLE change (n int GENERATED ALWAYS AS IDENTITY, name text, statement text);
INSERT INTO change (name, statement) VALUES
	('nothing', 'SELECT 1'),
	('limit', 'SELECT ticket.performance_change({performance}, max_seats_per_user => 1)'),
	('price', 'SELECT ticket.section_change({section}, price => 7)'),
	('intervals', 'SELECT ticket.performance_change({performance}, hold_interval => ''1 s'', max_hold => ''1 s'', payment_interval => ''1 s'')'),
	('policy', 'SELECT ticket.cancel_policy_set({performance}, ''3660 days'', 1000), ticket.cancel_policy_drop({performance}, ''2 days'')'),
	('section withdrawn', 'SELECT ticket.section_withdraw({section})'),
	('withdrawn', 'SELECT ticket.performance_withdraw({performance})'),
	('concert withdrawn', 'SELECT ticket.concert_withdraw({concert})'),
	('cancelled', 'WITH c AS (INSERT INTO ticket.performance_cancellation (performance_id, requested_at, requested_by)
		VALUES ({performance}, ticket.clock(), ''again''))
		UPDATE ticket.performance SET status = ''cancelled'', withdrawn_at = ticket.clock(), withdrawn_by = ''again'' WHERE performance_id = {performance}'),
	('blocked', 'SELECT ticket.user_block(''again'', ''again''), ticket.user_block(''again-queue'', ''again'')'),
	('closed', 'SELECT ticket.performance_change({performance}, sale_closes_at => ticket.clock() - ''1 s''::interval)'),
	('charges', 'SELECT set_config(''ticket.max_charge'', ''1'', true), set_config(''ticket.max_balance'', ''1'', true)'),
	('queue closed', 'UPDATE ticket.queue SET mode = ''drain'', capacity = 0 WHERE queue_id = {queue}'),
	('holds over', 'SELECT set_config(''ticket.clock_offset'', ''1h'', true)'),
	('holds swept', 'SELECT set_config(''ticket.clock_offset'', ''1h'', true), ticket.seat_hold_expire()'),
	('begun', 'SELECT set_config(''ticket.clock_offset'', ''101d'', true)'),
	('given back', 'SELECT ticket.reservation_cancel({held}, ''again''), ticket.reservation_cancel({paid}, ''again'')'),
	('moved', 'SELECT ticket.performance_move({performance}, ''2099-01-01'')');

-- What each gives where only the call is repeated, and where that is not so.
CREATE TEMP TABLE call (n int GENERATED ALWAYS AS IDENTITY, call text, usual text, unless jsonb);
INSERT INTO call (call, usual, unless) VALUES
	-- Whoever has a ticket is asked whether he is blocked, as he may not buy.
	('ticket_enqueue({queue}, ''again'')', 'same', '{"blocked": "TK018"}'),
	('ticket_enqueue_many({queue}, ''{again}'')', 'same', '{"blocked": "another"}'),
	('ticket_leave({token})', 'false', '{}'),
	-- What became of the hold is told, tidied or not.
	('seat_hold({performance}, ''{1,2}'', ''again'', idempotency_key => ''key'')', 'same', '{"holds over": "another", "holds swept": "another", "begun": "another"}'),
	('seat_hold_best({performance}, 2, ''again'', idempotency_key => ''key'')', 'same', '{"holds over": "another", "holds swept": "another", "begun": "another"}'),
	('seat_hold_best({performance}, 2, ''again'', section_id => {section}, idempotency_key => ''key'')', 'same',
		'{"holds over": "another", "holds swept": "another", "begun": "another"}'),
	-- Without a key it is another request: the seats are held, by whom is not told.
	('seat_hold({performance}, ''{1,2}'', ''again'')', 'TK006', '{"withdrawn": "TK012", "concert withdrawn": "TK012", "cancelled": "TK012", "blocked": "TK018",
		"closed": "TK012", "begun": "TK012", "holds over": "another, something is added", "holds swept": "another, something is added"}'),
	('hold_extend({held}, ''again'', ''20 minutes'')', 'same', '{"holds over": "TK007", "holds swept": "TK007", "begun": "TK007",
		"given back": "TK009 reservation N cannot be extended"}'),
	('seat_release({held}, ''again'')', 'false', '{}'),
	('seat_release({held}, ''again'', ''{3}'')', 'false', '{}'),
	('point_charge(''again'', 5, ''key'')', 'same', '{}'),
	('pay_reservation({held}, ''again'')', 'same', '{"given back": "TK009 reservation N cannot be paid"}'),
	('pay_reservation({held}, ''again'', ''key'')', 'same', '{"given back": "TK009 reservation N cannot be paid"}'),
	('payment_begin({held}, ''again'', ''card'')', 'same', '{"holds over": "TK007", "holds swept": "TK007", "begun": "TK007",
		"given back": "TK009 reservation N cannot be paid"}'),
	('payment_begin({held}, ''again'', ''card'', idempotency_key => ''key'')', 'same', '{}'),
	('payment_confirm({payment}, ''ref'')', 'same', '{}'),
	('payment_fail({payment}, ''declined'')', 'same', '{}'),
	('refund_confirm({refund}, ''ref'')', 'same', '{}'),
	('reservation_cancel({paid}, ''again'')', 'same', '{}'),
	-- What has gone back in all, and the balance of now.
	('reservation_cancel({paid}, ''again'', ''{5}'')', 'same', '{"given back": "another"}'),
	('reservation_cancel({card_paid}, ''again'')', 'same', '{"given back": "another"}'),
	('reservation_cancel({held}, ''again'')', 'same', '{"given back": "another"}'),
	('cancel_policy_set({performance}, ''5 days'', 50)', 'same', '{}'),
	('cancel_policy_drop({performance}, ''2 days'')', 'false', '{}'),
	('seat_block({performance}, ''{20}'')', '0', '{}'),
	('seat_block({performance}, ''{3}'', end_holds => true)', '0', '{}'),
	('seat_unblock({performance}, ''{19}'')', '0', '{"cancelled": "TK009 performance N is cancelled"}'),
	('performance_change({performance}, max_seats_per_user => 9)', 'same', '{"withdrawn": "TK009 performance N is withdrawn",
		"concert withdrawn": "TK009 performance N is withdrawn", "cancelled": "TK009 performance N is cancelled"}'),
	('performance_move({performance}, ''2100-01-01 20:00Z'')', 'same', '{"cancelled": "TK009 performance N is cancelled", "moved": "same, something is added"}'),
	('performance_withdraw({performance})', 'false', '{}'),
	('section_create({performance}, ''B'', 5, 1, 2)', '22023 performance N already has a section of this name', '{"withdrawn": "TK009 performance N is withdrawn",
		"concert withdrawn": "TK009 performance N is withdrawn", "cancelled": "TK009 performance N is cancelled"}'),
	('section_change({section}, price => 9)', 'same', '{"section withdrawn": "TK009 this section has been withdrawn", "withdrawn": "TK009 performance N is withdrawn",
		"concert withdrawn": "TK009 performance N is withdrawn", "cancelled": "TK009 performance N is cancelled"}'),
	('section_withdraw({section})', 'false', '{}'),
	('concert_change({concert}, name => ''other'')', 'same', '{"concert withdrawn": "TK009 this concert has been withdrawn"}'),
	('concert_withdraw({concert})', 'false', '{}'),
	('venue_change({venue}, name => ''other'')', 'same', '{}'),
	('venue_withdraw({venue})', 'false', '{}'),
	('venue_section_create({venue}, ''B'', ''S'', 1, 2)', '22023 venue N already has a section of this name', '{}'),
	('venue_section_change({plan}, name => ''other'')', 'same', '{}'),
	('venue_section_delete({plan})', 'false', '{}'),
	-- The reason and the time are those of the last call.
	('user_block(''again-c'', ''why'')', 'false', '{}'),
	('user_unblock(''again-c'')', 'same', '{}'),
	('user_withdraw(''again-queue'')', 'another', '{"blocked": "TK018"}');
SELECT is((SELECT string_agg(format('%s: %s', f.name, f.result), ', ' ORDER BY f.n) FROM (
		SELECT h.n, h.name, pg_temp.again(c.call, h.statement) AS result FROM change h) f
	WHERE f.result <> coalesce(c.unless ->> f.name, c.usual)), NULL, c.call) FROM call c ORDER BY c.n;

-- Every function that writes and is called by a client is there; those that do what is to be done at the
-- moment, and those that enter one thing more with each call, have no answer to repeat.
SELECT is((SELECT string_agg(p.proname, ', ' ORDER BY p.proname) FROM pg_proc p
	WHERE p.pronamespace = 'ticket'::regnamespace AND p.provolatile = 'v' AND p.prorettype <> 'trigger'::regtype
		AND p.proname IN (SELECT object FROM permission WHERE privilege = 'EXECUTE' AND part IN ('buyer', 'operator'))
		AND NOT EXISTS (SELECT FROM call c WHERE starts_with(c.call, p.proname || '('))
		AND p.proname <> ALL ('{clock,concert_create,event_time,history,history_drop,history_extend,hold_timers_restore,line_picture,metrics,outbox_ack,outbox_fetch,outbox_hand_out,outbox_read,payments_stuck,performance_create,
			performance_cancel,point_balance,queue_clear,queue_create,queue_memory,memory_usage,run,seat_hold_expire,seat_map,seat_map_memory,seats,sections,tick,ticket_expire,
			ticket_find,ticket_heard,ticket_positions,ticket_promote,ticket_status,ticket_status_many,venue_create,verify}')), NULL, 'every function that writes');
SELECT * FROM finish();
