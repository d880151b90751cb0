-- Who may do what: grant_role's parts, what a stranger gets, and a buyer who
-- sets a trap in the search_path.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin

CREATE ROLE regress_ticket_buyer;
CREATE ROLE regress_ticket_seller;
CREATE ROLE regress_ticket_operator;
CREATE ROLE regress_ticket_auditor;
CREATE ROLE regress_ticket_outsider;
CREATE ROLE regress_ticket_monitor;
GRANT pg_monitor TO regress_ticket_monitor;
SELECT ticket.grant_role('regress_ticket_buyer', 'buyer'), ticket.grant_role('regress_ticket_seller', 'seller'),
	ticket.grant_role('regress_ticket_operator', 'operator'),
	ticket.grant_role('regress_ticket_auditor', 'auditor') \gset
CREATE TEMP TABLE part AS
SELECT n, part, 'regress_ticket_' || part AS role
FROM unnest('{buyer,seller,operator,auditor,outsider,monitor}'::text[]) WITH ORDINALITY AS p(part, n);

-- ---------- who has which privilege ----------

SELECT is((SELECT string_agg(part, ' ' ORDER BY n) FROM part WHERE has_schema_privilege(role, 'ticket', 'USAGE')),
	'buyer seller operator auditor monitor', 'USAGE of the schema');
SELECT is((SELECT string_agg(part, ' ' ORDER BY n) FROM part WHERE has_schema_privilege(role, 'ticket', 'CREATE')),
	NULL, 'nobody may CREATE there');
-- Whoever is not named here may not.
CREATE TEMP TABLE may_execute (function text, parts text);
INSERT INTO may_execute VALUES
	('clock', 'buyer seller operator auditor monitor'), ('ticket_enqueue', 'buyer operator'), ('ticket_status', 'buyer operator'),
	('ticket_leave', 'buyer operator'), ('ticket_positions', 'buyer operator'), ('ticket_status_many', 'buyer operator'), ('ticket_heard', 'buyer operator'), ('ticket_enqueue_many', 'buyer operator'), ('line_picture', 'buyer operator'), ('concerts', 'buyer seller operator auditor'), ('performances', 'buyer seller operator auditor'),
	('sections', 'buyer seller operator auditor'), ('seats', 'buyer seller operator auditor'), ('seat_map', 'buyer seller operator auditor'), ('seat_hold', 'buyer operator'),
	('hold_extend', 'buyer operator'), ('seat_hold_best', 'buyer operator'),
	('seat_release', 'buyer operator'), ('point_balance', 'buyer operator auditor'), ('pay_reservation', 'buyer operator'),
	('reservation_cancel', 'buyer operator'), ('error_code_list', 'buyer seller operator auditor'), ('queue_create', 'operator'),
	('venue_create', 'operator'), ('concert_create', 'operator'), ('performance_create', 'operator'), ('section_create', 'operator'),
	('venue_change', 'operator'), ('venue_withdraw', 'operator'), ('venue_section_create', 'operator'),
	('venue_section_change', 'operator'), ('venue_section_delete', 'operator'), ('concert_change', 'operator'),
	('concert_withdraw', 'operator'), ('performance_change', 'operator'), ('performance_withdraw', 'operator'),
	('section_change', 'operator'), ('section_withdraw', 'operator'), ('seat_block', 'operator'), ('seat_unblock', 'operator'),
	('performance_move', 'operator'), ('performance_cancel', 'operator'),
	('ticket_promote', 'operator'), ('ticket_expire', 'operator'), ('ticket_find', 'operator'), ('queue_clear', 'operator'), ('seat_hold_expire', 'operator'), ('hold_timers_restore', 'operator'), ('point_charge', 'operator'),
	('outbox_fetch', 'operator'), ('outbox_hand_out', 'operator'), ('outbox_read', 'operator'), ('outbox_ack', 'operator'), ('run', 'operator'), ('tick', 'operator'), ('seat_map_memory', 'operator auditor'), ('queue_memory', 'operator auditor monitor'), ('memory_usage', 'operator auditor monitor'),
	('verify', 'operator auditor');
INSERT INTO may_execute VALUES ('cancel_policy_set', 'operator'), ('cancel_policy_drop', 'operator'),
	('payment_begin', 'buyer operator'), ('payment_confirm', 'operator'), ('payment_fail', 'operator'), ('refund_confirm', 'operator'),
	('payments_stuck', 'operator auditor');
-- events
INSERT INTO may_execute VALUES ('metrics', 'operator auditor monitor'), ('event_time', 'operator auditor monitor'),
	('history', 'operator auditor'), ('history_extend', 'operator'), ('history_drop', 'operator');
-- people
INSERT INTO may_execute VALUES
	('user_withdraw', 'buyer operator'), ('reservation_number', 'operator auditor'), ('reservation_status', 'operator auditor'), ('reservation_id', 'buyer seller operator auditor'),
	('user_block', 'operator'), ('user_unblock', 'operator'),
	('concert_search', 'buyer seller operator auditor'), ('concerts_by_seller', 'buyer seller operator auditor'),
	('concerts_by_id', 'buyer seller operator auditor'), ('concerts_by_date', 'buyer seller operator auditor'),
	('user_reservations', 'buyer operator auditor'), ('user_reservation', 'buyer operator auditor'), ('point_history', 'buyer operator auditor'),
	('operator_reservations', 'operator auditor'), ('operator_payments', 'operator auditor'), ('operator_totals', 'operator auditor'), ('operator_totals_by_day', 'operator auditor'),
	('seller_concerts', 'seller'), ('seller_reservations', 'seller'), ('seller_payments', 'seller'), ('seller_totals', 'seller'), ('seller_totals_by_day', 'seller'),
	('seller_venue_create', 'seller'), ('seller_venue_change', 'seller'), ('seller_venue_withdraw', 'seller'),
	('seller_venue_section_create', 'seller'), ('seller_venue_section_change', 'seller'), ('seller_venue_section_delete', 'seller'),
	('seller_concert_create', 'seller'), ('seller_concert_change', 'seller'), ('seller_concert_withdraw', 'seller'),
	('seller_performance_create', 'seller'), ('seller_performance_change', 'seller'), ('seller_performance_withdraw', 'seller'),
	('seller_section_create', 'seller'), ('seller_section_change', 'seller'), ('seller_section_withdraw', 'seller');
SELECT is((SELECT string_agg(function, ', ') FROM may_execute WHERE to_regproc('ticket.' || function) IS NULL), NULL, 'the functions are there');
-- Every function, one by one; what is wrong is named.
SELECT is((SELECT string_agg(format('%s: %s, not %s', f.proname, a.parts, m.parts), '; ')
	FROM pg_proc f LEFT JOIN may_execute m ON m.function = f.proname, LATERAL (SELECT string_agg(p.part, ' ' ORDER BY p.n) AS parts
		FROM part p WHERE has_function_privilege(p.role, f.oid, 'EXECUTE')) a
	WHERE f.pronamespace = 'ticket'::regnamespace AND a.parts IS DISTINCT FROM m.parts), NULL, 'EXECUTE of each function');
SELECT is((SELECT string_agg(format('%s: %s, not %s', c.relname, a.privileges, e.expected), '; ')
	FROM pg_class c, LATERAL (SELECT string_agg(p.part || ' ' || r.privilege, ', ' ORDER BY p.n, r.privilege) AS privileges
			FROM part p, unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) AS r(privilege)
			WHERE has_table_privilege(p.role, c.oid, r.privilege)) a,
		LATERAL (SELECT CASE c.relname
			WHEN 'queue' THEN 'operator SELECT, operator UPDATE, auditor SELECT'
			WHEN 'error_codes' THEN 'buyer SELECT, seller SELECT, operator SELECT, auditor SELECT'
			WHEN 'number_key' THEN NULL
			WHEN 'queue_stats' THEN 'operator SELECT, auditor SELECT, monitor SELECT'
			WHEN 'outbox_stats' THEN 'operator SELECT, auditor SELECT, monitor SELECT'
			WHEN 'memory_stats' THEN 'operator SELECT, auditor SELECT, monitor SELECT'
			WHEN 'sale_stats' THEN 'operator SELECT, auditor SELECT, monitor SELECT'
			ELSE 'operator SELECT, auditor SELECT' END AS expected) e
	WHERE c.relnamespace = 'ticket'::regnamespace AND c.relkind IN ('r', 'v', 'p', 'm', 'f') AND c.relname !~ '^history_\d'
		AND a.privileges IS DISTINCT FROM e.expected), NULL, 'privileges on each table and view');
SELECT is((SELECT string_agg(c.relname || ' ' || p.part, ', ') FROM pg_class c, part p WHERE c.relnamespace = 'ticket'::regnamespace
	AND c.relkind = 'S' AND has_sequence_privilege(p.role, c.oid, 'USAGE, SELECT, UPDATE')), NULL, 'sequences are for nobody');

-- ---------- what they get ----------

-- How a call ends for a role: 'no error' or the SQLSTATE.
CREATE FUNCTION pg_temp.called_by(role text, call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('role', role, true);
	EXECUTE call;
	PERFORM set_config('role', 'none', true);
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END $$;

SELECT ticket.queue_create('permission') AS q, pg_temp.sale(price => 1) AS p, ticket.point_charge('permission', 10) AS balance \gset
SELECT token AS t FROM ticket.ticket_enqueue(:q, 'permission-t') \gset
SELECT reservation_id AS card_1 FROM ticket.seat_hold(:p, '{9}', 'permission-d') \gset
SELECT reservation_id AS card_2 FROM ticket.seat_hold(:p, '{10}', 'permission-d') \gset
SELECT payment_id AS refunded FROM ticket.payment_begin(:card_1, 'permission-d', 'card') \gset
SELECT payment_id AS pending FROM ticket.payment_begin(:card_2, 'permission-d', 'card') \gset
SELECT count(ticket.payment_confirm(:refunded, 'permission')) AS n, count(ticket.reservation_cancel(:card_1, 'permission-d')) AS m \gset
SELECT refund_id AS refund FROM ticket.refund WHERE payment_id = :refunded \gset
CREATE TEMP TABLE call (n int GENERATED ALWAYS AS IDENTITY, call text, parts text);
INSERT INTO call (call, parts) VALUES
	('SELECT ticket.ticket_enqueue(%1$s, $$permission-%3$s$$)', 'buyer operator'),
	('SELECT ticket.ticket_status(%4$L)', 'buyer operator'),
	('SELECT ticket.ticket_positions(ARRAY[%4$L]::uuid[])', 'buyer operator'), ('SELECT * FROM ticket.ticket_status_many(ARRAY[%4$L]::uuid[])', 'buyer operator'),
	('SELECT ticket.ticket_heard(ARRAY[%4$L]::uuid[])', 'buyer operator'), ('SELECT * FROM ticket.ticket_enqueue_many(%1$s, $${permission-%3$s-many}$$)', 'buyer operator'),
	('SELECT ticket.line_picture(%1$s)', 'buyer operator'),
	('SELECT * FROM ticket.concerts()', 'buyer seller operator auditor'),
	('SELECT * FROM ticket.performances(1)', 'buyer seller operator auditor'),
	('SELECT * FROM ticket.sections(%2$s)', 'buyer seller operator auditor'),
	('SELECT * FROM ticket.seats(%2$s)', 'buyer seller operator auditor'),
	('SELECT * FROM ticket.seat_map(%2$s)', 'buyer seller operator auditor'),
	('SELECT ticket.seat_release(h.reservation_id, $$permission$$) FROM ticket.seat_hold(%2$s, $${1}$$, $$permission$$) h', 'buyer operator'),
	('SELECT ticket.seat_release(h.reservation_id, $$permission$$) FROM ticket.seat_hold_best(%2$s, 2, $$permission$$) h', 'buyer operator'),
	('SELECT ticket.seat_release(h.reservation_id, $$permission$$, $${1}$$), ticket.hold_extend(h.reservation_id, $$permission$$, $$1 s$$), ticket.seat_release(h.reservation_id, $$permission$$) FROM ticket.seat_hold(%2$s, $${1,2}$$, $$permission$$) h', 'buyer operator'),
	('SELECT ticket.reservation_cancel(h.reservation_id, $$permission$$) FROM ticket.seat_hold(%2$s, $${1}$$, $$permission$$) h', 'buyer operator'),
	('SELECT ticket.point_charge($$permission$$, 1)', 'operator'),
	('SELECT ticket.pay_reservation(h.reservation_id, $$permission$$) FROM ticket.seat_hold(%2$s, ARRAY[2 + %5$s], $$permission$$) h', 'buyer operator'),
	('SELECT ticket.point_balance($$permission$$)', 'buyer operator auditor'),
	('SELECT * FROM ticket.error_codes', 'buyer seller operator auditor'),
	('SELECT ticket.queue_create($$q$$)', 'operator'),
	('SELECT ticket.performance_create(ticket.concert_create($$c$$), ticket.venue_create($$v$$), $$2100-01-01$$)', 'operator'),
	('SELECT ticket.section_create(%2$s, $$%3$s$$, 1, 1, 1)', 'operator'),
	('UPDATE ticket.queue SET capacity = 5 WHERE queue_id = %1$s', 'operator'),
	('DELETE FROM ticket.queue WHERE queue_id = -1', ''),
	('SELECT ticket.ticket_promote(%1$s)', 'operator'),
	('SELECT ticket.ticket_find(%1$s, ''nobody'')', 'operator'),
	('SELECT ticket.queue_clear(%1$s, max_count => 0)', 'operator'),
	('SELECT ticket.ticket_expire(%1$s)', 'operator'),
	('SELECT ticket.seat_hold_expire(1)', 'operator'),
	('SELECT ticket.hold_timers_restore()', 'operator'),
	('SELECT * FROM ticket.outbox_fetch(1)', 'operator'),
	('SELECT * FROM ticket.tick()', 'operator'),
	('SELECT * FROM ticket.verify()', 'operator auditor'),
	('SELECT ticket.metrics()', 'operator auditor monitor'),
	('SELECT * FROM ticket.event_types', 'operator auditor'),
	('SELECT ticket.event_time(id) FROM ticket.outbox', 'operator auditor'),
	('SELECT * FROM ticket.outbox_stats', 'operator auditor monitor'),
	('SELECT * FROM ticket.history', 'operator auditor'),
	('SELECT * FROM ticket.history($$permission$$)', 'operator auditor'),
	('SELECT * FROM ticket.history_default', 'operator auditor'),
	('SELECT ticket.history_extend()', 'operator'),
	('SELECT ticket.history_drop($$2000-01-01$$)', 'operator'),
	('SELECT ticket.event_payload($$x$$, $${}$$)', ''),
	('SELECT * FROM ticket.queue_stats', 'operator auditor monitor'),
	('SELECT * FROM ticket.memory_stats', 'operator auditor monitor'),
	('SELECT * FROM ticket.sale_stats', 'operator auditor monitor'),
	('SELECT * FROM ticket.queue_memory()', 'operator auditor monitor'),
	('SELECT user_id FROM ticket.queue_entry', 'operator auditor'),
	('SELECT secret FROM ticket.queue_entry', 'operator auditor'),
	('SELECT * FROM ticket.account', 'operator auditor'),
	('SELECT * FROM ticket.books', 'operator auditor'),
	('SELECT ticket.payment_begin(h.reservation_id, $$permission-c$$, $$card$$) FROM ticket.seat_hold(%2$s, ARRAY[6 + %5$s], $$permission-c$$) h', 'buyer operator'),
	('SELECT ticket.payment_confirm(%6$s, $$card-%6$s$$)', 'operator'),
	('SELECT ticket.payment_fail(%6$s, $$no$$)', 'operator'),
	('SELECT ticket.refund_confirm(%7$s, $$refund-%7$s$$)', 'operator'),
	('SELECT * FROM ticket.payments_stuck()', 'operator auditor'),
	('SELECT ticket.cancel_policy_set(%2$s, $$1 day$$)', 'operator'),
	('SELECT ticket.cancel_policy_drop(%2$s, $$1 day$$)', 'operator'),
	('SELECT ticket.grant_role($$regress_ticket_outsider$$, $$buyer$$)', ''),
	('SELECT ticket.check_argument(true, $$$$)', '');
-- people
INSERT INTO call (call, parts) VALUES
	('SELECT ticket.user_withdraw($$permission-w$$)', 'buyer operator'),
	('SELECT ticket.user_block($$permission-w$$, $$test$$)', 'operator'),
	('SELECT ticket.user_unblock($$permission-w$$)', 'operator'),
	('SELECT ticket.check_user($$permission$$)', ''),
	('SELECT * FROM ticket.concert_search($$c$$)', 'buyer seller operator auditor'),
	('SELECT * FROM ticket.concerts_by_seller($$permission$$)', 'buyer seller operator auditor'),
	('SELECT * FROM ticket.concerts_by_id($${1}$$)', 'buyer seller operator auditor'),
	('SELECT * FROM ticket.concerts_by_date()', 'buyer seller operator auditor'),
	('SELECT * FROM ticket.user_reservations($$permission$$)', 'buyer operator auditor'),
	('SELECT ticket.user_reservation(u.reservation_id, $$permission$$) FROM ticket.user_reservations($$permission$$) u', 'buyer operator auditor'),
	('SELECT * FROM ticket.point_history($$permission$$)', 'buyer operator auditor'),
	('SELECT * FROM ticket.operator_reservations()', 'operator auditor'),
	('SELECT * FROM ticket.operator_payments()', 'operator auditor'),
	('SELECT * FROM ticket.operator_totals(1)', 'operator auditor'),
	('SELECT * FROM ticket.operator_totals_by_day(1)', 'operator auditor'),
	('SELECT * FROM ticket.seller_totals_by_day($$permission$$)', 'seller'),
	('SELECT * FROM ticket.totals_by_day($$permission$$, 1, 1, NULL, NULL, $$UTC$$)', ''),
	('SELECT * FROM ticket.seller_concerts($$permission$$)', 'seller'),
	('SELECT * FROM ticket.seller_reservations($$permission$$)', 'seller'),
	('SELECT * FROM ticket.seller_payments($$permission$$)', 'seller'),
	('SELECT * FROM ticket.seller_totals($$permission$$)', 'seller'),
	('SELECT ticket.seller_section_create($$permission$$, ticket.seller_performance_create($$permission$$, ticket.seller_concert_create($$permission$$, $$c$$),
		ticket.seller_venue_create($$permission$$, $$v$$), $$2100-01-01$$), $$s$$, 1, 1, 1)', 'seller'),
	('SELECT ticket.sales_query($$totals$$, NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL)', ''),
	('SELECT ticket.reservation_number(1)', 'operator auditor'),
	('SELECT ticket.reservation_id(r.number) FROM ticket.user_reservations($$permission$$) r', 'buyer operator auditor'),
	('SELECT key FROM ticket.number_key', ''),
	('SELECT * FROM ticket.reservation_card', 'operator auditor'),
	('SELECT * FROM ticket.catalogue_past', 'operator auditor');
SELECT is((SELECT string_agg(format('%s: %s, not %s', c.call, a.ended, c.parts), '; ' ORDER BY c.n)
	FROM call c, LATERAL (SELECT coalesce(string_agg(p.part || CASE ended WHEN 'no error' THEN '' ELSE ' ' || ended END, ' ' ORDER BY p.n), '') AS ended
		FROM part p, LATERAL pg_temp.called_by(p.role, format(c.call, :q, :p, p.part, :'t', p.n, :pending, :refund)) AS ended WHERE ended <> '42501') a
	WHERE a.ended <> c.parts), NULL, 'each call as each');
SELECT is((SELECT array_agg(DISTINCT t.user_id) FROM ticket.queue_entry t WHERE t.queue_id = :q),
	'{permission-buyer,permission-buyer-many,permission-operator,permission-operator-many,permission-t}', 'what they did has been done');

-- ---------- a trap ----------

-- Everything that our SQL could mean by an unqualified name, in a schema that
-- comes first: whoever runs it raises EVIL1.
CREATE SCHEMA evil AUTHORIZATION regress_ticket_buyer;
GRANT USAGE ON SCHEMA evil TO PUBLIC;
SET ROLE regress_ticket_buyer;
DO $$
DECLARE
	item record;
BEGIN
	-- Operators on the types our tables have
	FOR item IN
		SELECT o.oprname, format_type(o.oprleft, NULL) AS l, format_type(o.oprright, NULL) AS r,
			format_type(o.oprresult, NULL) AS result, row_number() OVER () AS n
		FROM pg_operator o
		WHERE o.oprname IN ('=', '<>', '<', '<=', '>', '>=', '+', '-', '*', '/', '%', '||', '~', '!~', '~~', '->', '->>', '@>')
			AND o.oprright IN ('int4'::regtype, 'int8'::regtype, 'text'::regtype, 'timestamptz'::regtype, 'interval'::regtype,
				'uuid'::regtype, 'bool'::regtype, 'name'::regtype, 'oid'::regtype, 'jsonb'::regtype, 'float8'::regtype, 'anyarray'::regtype)
			AND (o.oprleft = 0 OR o.oprleft IN ('int4'::regtype, 'int8'::regtype, 'text'::regtype, 'timestamptz'::regtype,
				'interval'::regtype, 'uuid'::regtype, 'bool'::regtype, 'name'::regtype, 'oid'::regtype, 'jsonb'::regtype, 'float8'::regtype, 'anyarray'::regtype))
			AND o.oprresult <> 0
	LOOP
		EXECUTE format('CREATE FUNCTION evil.operator_%s(%s) RETURNS %s LANGUAGE plpgsql AS %L', item.n,
			concat_ws(', ', nullif(item.l, '-'), item.r), item.result, 'BEGIN RAISE EXCEPTION ''evil'' USING ERRCODE = ''EVIL1''; END');
		EXECUTE format('CREATE OPERATOR evil.%s (%s RIGHTARG = %s, FUNCTION = evil.operator_%s)', item.oprname,
			CASE WHEN item.l <> '-' THEN format('LEFTARG = %s,', item.l) ELSE '' END, item.r, item.n);
	END LOOP;
	-- Functions of pg_catalog and of ours
	FOR item IN
		SELECT p.proname, array_to_string(ARRAY(SELECT format_type(a, NULL) FROM unnest(p.proargtypes) AS a), ', ') AS arguments
		FROM pg_proc p
		WHERE p.prokind = 'f' AND NOT p.proargtypes::oid[] && ARRAY['"any"'::regtype, 'internal'::regtype, 'cstring'::regtype]::oid[]
			AND (p.pronamespace = 'ticket'::regnamespace
			OR p.pronamespace = 'pg_catalog'::regnamespace AND p.proname IN ('length', 'isfinite', 'now', 'cardinality', 'array_length',
				'current_setting', 'set_config', 'clock_timestamp', 'int4', 'int8', 'text', 'timestamptz', 'make_interval', 'quote_ident',
				'array_to_string', 'gen_random_uuid', 'to_regclass', 'lower', 'upper', 'generate_series', 'unnest',
				'current_database', 'pg_get_function_identity_arguments'))
	LOOP
		EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS void LANGUAGE plpgsql AS %L', item.proname, item.arguments,
			'BEGIN RAISE EXCEPTION ''evil'' USING ERRCODE = ''EVIL1''; END');
	END LOOP;
	-- Tables and types
	FOR item IN SELECT relname FROM pg_class WHERE relnamespace = 'ticket'::regnamespace AND relkind IN ('r', 'v') LOOP
		EXECUTE format('CREATE TABLE evil.%I ()', item.relname);
		EXECUTE format('CREATE TEMP TABLE %I ()', item.relname);
	END LOOP;
	CREATE DOMAIN evil.text AS pg_catalog.text CHECK (false);
	CREATE DOMAIN evil.uuid AS pg_catalog.uuid CHECK (false);
	CREATE DOMAIN evil.int8 AS pg_catalog.int8 CHECK (false);
	CREATE DOMAIN evil.jsonb AS pg_catalog.jsonb CHECK (false);
	CREATE DOMAIN evil.timestamptz AS pg_catalog.timestamptz CHECK (false);
END $$;
RESET ROLE;
SELECT ok((SELECT count(*) FROM pg_operator WHERE oprnamespace = 'evil'::regnamespace) > 80, 'the trap is set: operators');
SELECT ok((SELECT count(*) FROM pg_proc WHERE pronamespace = 'evil'::regnamespace) > 100, 'the trap is set: functions');
SELECT ok((SELECT count(*) FROM pg_class WHERE relnamespace = 'evil'::regnamespace) > 12, 'the trap is set: tables');
-- How a call ends for one who walks by.
CREATE FUNCTION pg_temp.passed_by(role text, call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_catalog.set_config('role', role, true);
	PERFORM pg_catalog.set_config('search_path', 'pg_temp, evil, ticket, pg_catalog', true);
	EXECUTE call;
	PERFORM pg_catalog.set_config('search_path', 'public', true);
	PERFORM pg_catalog.set_config('role', 'none', true);
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END $$;
SELECT is(pg_temp.passed_by('regress_ticket_buyer', call), code, 'the trap works: ' || call) FROM (VALUES
	('SELECT 1 + 1', 'EVIL1'), ('SELECT 1::bigint = 1::bigint', 'EVIL1'), ('SELECT now()', 'EVIL1'),
	('SELECT queue_id FROM queue', '42703'), ($$SELECT 'x'::text$$, '23514')) AS v(call, code);

SET search_path = public;
SELECT ticket.queue_create('evil', capacity => 3, idle_ttl => '1 day') AS q \gset
SELECT pg_temp.sale(price => 1, queue_id => :q) AS p, pg_temp.sale(price => 1, max_seats => 10) AS p2 \gset
SELECT token AS t FROM ticket.ticket_enqueue(:q, 'evil') \gset
SELECT token AS gone FROM ticket.ticket_enqueue(:q, 'evil-gone') \gset
SELECT pg_temp.sale(price => 1) AS p3 \gset
SELECT reservation_id AS card FROM ticket.seat_hold(:p3, '{1}', 'evil-card') \gset
SELECT reservation_id AS card_late FROM ticket.seat_hold(:p3, '{2,3}', 'evil-card') \gset
SELECT payment_id AS late FROM ticket.payment_begin(:card_late, 'evil-card', 'card', true) \gset
SELECT count(ticket.point_charge('evil', 10)) AS n \gset
SELECT reservation_id AS r1 FROM ticket.seat_hold(:p2, '{1}', 'evil') \gset
SELECT reservation_id AS r2 FROM ticket.seat_hold(:p2, '{2,3}', 'evil') \gset
SELECT is(pg_temp.passed_by('regress_ticket_buyer', format(call, :q, :p, :p2, :'t', :'gone', :r1, :r2, :card)), 'no error',
	'a buyer passes: ' || regexp_replace(call, '%\d\$\w', '...', 'g'))
FROM (VALUES
	('SELECT ticket.ticket_enqueue(%1$s, $$evil-2$$)'),
	('SELECT ticket.ticket_enqueue(%1$s, $$evil-2$$)'),
	('SELECT ticket.ticket_enqueue(%1$s, $$evil-3$$)'),
	('SELECT ticket.ticket_status(%4$L)'),
	('SELECT ticket.ticket_positions(ARRAY[%4$L, %5$L]::pg_catalog.uuid[])'),
	('SELECT * FROM ticket.ticket_status_many(ARRAY[%4$L, %5$L]::pg_catalog.uuid[])'),
	('SELECT * FROM ticket.ticket_enqueue_many(%1$s, $${evil-2,evil-4,evil-5}$$)'),
	('SELECT ticket.line_picture(%1$s)'),
	('SELECT ticket.ticket_leave(%5$L)'),
	('SELECT ticket.ticket_status(%5$L)'),
	('SELECT * FROM ticket.concerts()'),
	('SELECT * FROM ticket.performances(1)'),
	('SELECT * FROM ticket.sections(%2$s)'),
	('SELECT * FROM ticket.seats(%2$s)'),
	('SELECT * FROM ticket.seat_map(%2$s)'),
	('SELECT ticket.seat_hold(%2$s, $${4,5}$$, $$evil$$, %4$L)'),
	('SELECT ticket.seat_hold(%3$s, $${4,5}$$, $$evil$$, NULL, $$key$$)'),
	('SELECT ticket.seat_hold(%3$s, $${4,5}$$, $$evil$$, NULL, $$key$$)'),
	('SELECT ticket.seat_hold_best(%3$s, 2, $$evil$$, NULL, NULL, $$best$$, $$any$$)'),
	('SELECT ticket.seat_hold_best(%3$s, 2, $$evil$$, NULL, NULL, $$best$$, $$any$$)'),
	('SELECT ticket.hold_extend(%6$s, $$evil$$, $$1 min$$)'),
	('SELECT ticket.seat_release(%6$s, $$evil$$)'),
	('SELECT ticket.seat_release(reservation_id, $$evil$$, $${9}$$) FROM ticket.seat_hold(%3$s, $${9,10}$$, $$evil$$)'),
	('SELECT ticket.pay_reservation(%7$s, $$evil$$, $$key$$)'),
	('SELECT ticket.pay_reservation(%7$s, $$evil$$, $$key$$)'),
	('SELECT ticket.payment_begin(%8$s, $$evil-card$$, $$card$$, true, $$key$$)'),
	('SELECT ticket.payment_begin(%8$s, $$evil-card$$, $$card$$, true, $$key$$)'),
	('SELECT ticket.reservation_cancel(%7$s, $$evil$$, $${2}$$)'),
	('SELECT ticket.reservation_cancel(%7$s, $$evil$$)'),
	('SELECT ticket.point_balance($$evil$$)'),
	('SELECT * FROM ticket.error_codes')) AS v(call);
SELECT is((SELECT array_agg(r.status || ' ' || array_to_string(r.seat_ids, ' ') ORDER BY r.reservation_id)
	FROM ticket.reservation r WHERE r.user_id = 'evil'), '{"released 1","cancelled 3","held 4 5","held 4 5","held 6 7","held 10"}', 'and gets what he asked for');
SET ticket.clock_offset = '6min';
SELECT is(pg_temp.passed_by('regress_ticket_buyer', format('SELECT ticket.seat_hold(%s, $${4}$$, $$evil-4$$)', :p2)), 'no error',
	'a buyer passes: taking over a hold');
SELECT payment_id AS payment FROM ticket.payment WHERE reservation_id = :card \gset
SELECT is(pg_temp.passed_by('regress_ticket_operator', format('SELECT ticket.payment_confirm(%s, $$evil-1$$)', :payment)), 'no error',
	'an operator passes: a confirmation');
SELECT is(pg_temp.passed_by('regress_ticket_operator', format('SELECT ticket.payment_fail(%s, $$no$$)', :payment)), 'no error',
	'an operator passes: a failure');
SELECT is(pg_temp.passed_by('regress_ticket_buyer', format('SELECT ticket.reservation_cancel(%s, $$evil-card$$)', :card)), 'no error',
	'a buyer passes: giving back what was paid by card');
SELECT refund_id AS refund FROM ticket.refund WHERE payment_id = :payment \gset
SELECT is(pg_temp.passed_by('regress_ticket_operator', format('SELECT ticket.refund_confirm(%s, $$evil-1$$)', :refund)), 'no error',
	'an operator passes: a refund');
SET ticket.clock_offset = '16min';
SELECT is(pg_temp.passed_by('regress_ticket_buyer', format('SELECT ticket.seat_hold(%s, $${2}$$, $$evil-5$$)', :p3)), 'no error',
	'a buyer passes: taking over a hold that is being paid');
SELECT is(pg_temp.passed_by('regress_ticket_operator', format('SELECT ticket.payment_confirm(%s, $$evil-2$$)', :late)), 'no error',
	'an operator passes: a confirmation that finds other seats');
SELECT is(pg_temp.passed_by('regress_ticket_operator', 'SELECT * FROM ticket.payments_stuck()'), 'no error', 'an operator passes: what is stuck');
SELECT is(pg_temp.passed_by('regress_ticket_operator', format(call, :q)), 'no error', 'an operator passes: ' || regexp_replace(call, '%\d\$\w', '...', 'g'))
FROM (VALUES
	('SELECT ticket.queue_create($$evil$$, 1, 1, $$1 s$$, $$1 s$$, $$1 s$$, $$2100-01-01$$)'),
	('SELECT ticket.performance_create(ticket.concert_create($$c$$), ticket.venue_create($$v$$), $$2100-01-01$$, %1$s, $$2099-01-01$$, $$2099-02-01$$)'),
	('SELECT ticket.section_create(ticket.performance_create(ticket.concert_create($$c$$), ticket.venue_create($$v$$), $$2100-01-01$$), $$s$$, 1, 2, 3)'),
	('UPDATE ticket.queue SET capacity = 4 WHERE queue_id OPERATOR(pg_catalog.=) %1$s'),
	('SELECT ticket.ticket_promote(%1$s)'),
	('SELECT ticket.ticket_expire(%1$s)'),
	('SELECT ticket.ticket_expire()'),
	('SELECT ticket.seat_hold_expire(1)'),
	('SELECT ticket.seat_hold_expire()'),
	('SELECT ticket.hold_timers_restore()'),
	('SELECT ticket.tick()'),
	('SELECT ticket.point_charge($$evil$$, 1, $$key$$)'),
	('SELECT ticket.point_charge($$evil$$, 1, $$key$$)'),
	('SELECT ticket.cancel_policy_set(1, $$1 day$$, 1, 2)'),
	('SELECT ticket.cancel_policy_set(1, $$1 day$$, 2, 3)'),
	('SELECT ticket.cancel_policy_drop(1, $$1 day$$)'),
	('SELECT * FROM ticket.books'),
	('SELECT ticket.user_block($$evil$$, $$test$$)'),
	('SELECT ticket.user_unblock($$evil$$)'),
	('SELECT ticket.user_withdraw($$evil$$)'),
	('SELECT * FROM ticket.outbox_fetch(1)'),
	('SELECT * FROM ticket.history($$evil$$)'),
	('SELECT ticket.history_extend(2)'),
	('SELECT ticket.history_drop($$2000-01-01$$)'),
	('SELECT * FROM ticket.outbox_stats'),
	('SELECT ticket.metrics()'),
	('SELECT * FROM ticket.verify()'),
	('SELECT * FROM ticket.queue_stats'),
	('SELECT * FROM ticket.sale_stats'),
	('SELECT * FROM ticket.queue_memory()')) AS v(call);
RESET ticket.clock_offset;
SELECT is(pg_temp.passed_by(current_user, call), code, 'the owner passes: ' || call) FROM (VALUES
	('SELECT ticket.grant_role($$regress_ticket_outsider$$, $$buyer$$)', 'no error'),
	('SELECT ticket.schedule_jobs()', 'TK017'), ('SELECT ticket.unschedule_jobs()', 'no error'),
	('DELETE FROM ticket.ledger', 'TK009')) AS v(call, code);

DROP SCHEMA evil CASCADE;
DROP OWNED BY regress_ticket_buyer, regress_ticket_seller, regress_ticket_operator, regress_ticket_auditor, regress_ticket_outsider, regress_ticket_monitor;
DROP ROLE regress_ticket_buyer, regress_ticket_seller, regress_ticket_operator, regress_ticket_auditor, regress_ticket_outsider, regress_ticket_monitor;
SELECT is((SELECT string_agg(invariant, ', ') FROM ticket.verify() WHERE NOT ok), NULL, 'every invariant holds');
SELECT * FROM finish();
