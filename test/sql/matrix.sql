-- Who may do what with whose things: two sellers, two buyers, an operator, an
-- auditor and an outsider call every function and touch every table.  The API
-- layer has said who they are (ticket.user_claim).
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin

CREATE TEMP TABLE person (n int GENERATED ALWAYS AS IDENTITY, name text, part text);
INSERT INTO person (name, part) VALUES ('sam', 'seller'), ('sue', 'seller'), ('ann', 'buyer'), ('ben', 'buyer'),
	('olga', 'operator'), ('aude', 'auditor'), ('otto', NULL);
DO $$
DECLARE
	p record;
BEGIN
	FOR p IN SELECT * FROM person LOOP
		EXECUTE format('CREATE ROLE %I', 'regress_ticket_' || p.name);
		PERFORM ticket.grant_role('regress_ticket_' || p.name, p.part) WHERE p.part IS NOT NULL;
	END LOOP;
END $$;

-- ---------- what there is ----------

-- Of the house: a waiting room.  Of sam: a hall, a concert, a performance.  Of
-- ann: a ticket, a hold, what she has paid for, a payment under way, a refund due.
SELECT ticket.queue_create('matrix') AS queue, ticket.seller_venue_create('sam', 'Matrix Hall') AS venue,
	ticket.seller_concert_create('sam', 'Matrix', 'Matrix') AS concert \gset
SELECT ticket.seller_venue_section_create('sam', :venue, 'Floor', 'R', 5, 5) AS plan \gset
SELECT ticket.seller_performance_create('sam', :concert, :venue, '2100-01-01', prices => '{"R": 9}') AS performance \gset
SELECT section_id AS section FROM ticket.sections(:performance) \gset
SELECT ticket.performance_change(:performance, max_seats_per_user => 10) AS done,
	ticket.point_charge('ann', 100) AS balance, token FROM ticket.ticket_enqueue(:queue, 'ann') \gset
SELECT reservation_id AS hold FROM ticket.seat_hold(:performance, '{1,2}', 'ann') \gset
SELECT reservation_id AS paid FROM ticket.seat_hold(:performance, '{3,4}', 'ann') \gset
SELECT payment_id AS m FROM ticket.pay_reservation(:paid, 'ann') \gset
SELECT reservation_id AS r FROM ticket.seat_hold(:performance, '{5}', 'ann') \gset
SELECT payment_id AS pending FROM ticket.payment_begin(:r, 'ann', 'card') \gset
SELECT reservation_id AS r2 FROM ticket.seat_hold(:performance, '{6}', 'ann') \gset
SELECT payment_id AS m2 FROM ticket.payment_begin(:r2, 'ann', 'card') \gset
SELECT count(ticket.payment_confirm(:m2, 'matrix')) AS n, count(ticket.reservation_cancel(:r2, 'ann')) AS n2, ticket.seat_block(:performance, '{9}') AS n3 \gset
SELECT refund_id AS refund FROM ticket.refund WHERE payment_id = :m2 \gset
CREATE TEMP TABLE thing AS SELECT * FROM (VALUES ('queue', :'queue'), ('venue', :'venue'), ('concert', :'concert'), ('plan', :'plan'),
	('performance', :'performance'), ('section', :'section'), ('token', quote_literal(:'token')), ('hold', :'hold'), ('paid', :'paid'),
	('pending', :'pending'), ('refund', :'refund'), ('number', quote_literal(ticket.reservation_number(:paid)))) AS t(name, value);
SET ticket.user_claim = 'matrix.person';

-- ---------- functions ----------

-- How a call ends for a person: the number of rows, '-' when it is not for him,
-- or the SQLSTATE.  Nothing of it stays.
CREATE FUNCTION pg_temp.called_by(person text, call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	n bigint := 1;
BEGIN
	PERFORM set_config('matrix.person', person, true), set_config('role', 'regress_ticket_' || person, true);
	IF call ~ '^(CALL|SELECT) ' THEN
		EXECUTE regexp_replace(call, '^\w+ ', '\&ticket.');
	ELSE
		EXECUTE format('SELECT count(*) FROM (SELECT * FROM ticket.%s) AS x', call) INTO n;
	END IF;
	RAISE EXCEPTION USING ERRCODE = 'ENDED', MESSAGE = n::text;
EXCEPTION WHEN OTHERS THEN
	-- A procedure that commits has begun its work when it finds that it cannot here.
	RETURN CASE SQLSTATE WHEN 'ENDED' THEN SQLERRM WHEN '42501' THEN '-' WHEN '2D000' THEN '1' ELSE SQLSTATE END;
END $$;

-- What is written in {} is a thing from above, or the caller: {me}.
CREATE TEMP TABLE matrix (n int GENERATED ALWAYS AS IDENTITY, call text,
	sam text, sue text, ann text, ben text, olga text, aude text, otto text);
INSERT INTO matrix (call, sam, sue, ann, ben, olga, aude, otto) VALUES
	--                                                  sam      sue      ann      ben      olga     aude     otto
	-- the waiting room: a token is good for whoever has it
	('ticket_enqueue({queue}, {me})',                   '-',     '-',     '1',     '1',     '1',     '-',     '-'),
	('ticket_status({token})',                          '-',     '-',     '1',     '1',     '1',     '-',     '-'),
	('ticket_positions(ARRAY[{token}]::uuid[])',         '-',     '-',     '1',     '1',     '1',     '-',     '-'),
	('ticket_status_many(ARRAY[{token}]::uuid[])',       '-',     '-',     '1',     '1',     '1',     '-',     '-'),
	('ticket_heard(ARRAY[{token}]::uuid[])',             '-',     '-',     '1',     '1',     '1',     '-',     '-'),
	('ticket_enqueue_many({queue}, ARRAY[{me}])',        '-',     '-',     '1',     '1',     '1',     '-',     '-'),
	('line_picture({queue})',                            '-',     '-',     '1',     '1',     '1',     '-',     '-'),
	('ticket_leave({token})',                           '-',     '-',     '1',     '1',     '1',     '-',     '-'),
	('queue_create($$matrix$$)',                        '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('ticket_promote({queue})',                         '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('ticket_expire({queue})',                          '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('ticket_find({queue}, $$ann$$)',                   '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('queue_clear({queue})',                            '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('queue_memory() WHERE queue_id = {queue}',         '-',     '-',     '-',     '-',     '1',     '1',     '-'),
	('memory_usage()',                                  '-',     '-',     '-',     '-',     '1',     '1',     '-'),
	-- what is on: for all but strangers
	('concerts(1000, {concert} - 1)',                   '1',     '1',     '1',     '1',     '1',     '1',     '-'),
	('concert_search($$matrix$$)',                      '1',     '1',     '1',     '1',     '1',     '1',     '-'),
	('concerts_by_seller($$sam$$)',                     '1',     '1',     '1',     '1',     '1',     '1',     '-'),
	('concerts_by_id(ARRAY[{concert}])',                '1',     '1',     '1',     '1',     '1',     '1',     '-'),
	('concerts_by_date() WHERE concert_id = {concert}', '1',     '1',     '1',     '1',     '1',     '1',     '-'),
	('performances({concert})',                         '1',     '1',     '1',     '1',     '1',     '1',     '-'),
	('sections({performance})',                         '1',     '1',     '1',     '1',     '1',     '1',     '-'),
	('seats({performance})',                            '25',    '25',    '25',    '25',    '25',    '25',    '-'),
	('seat_map({performance})',                         '1',     '1',     '1',     '1',     '1',     '1',     '-'),
	('clock()',                                         '1',     '1',     '1',     '1',     '1',     '1',     '-'),
	('error_code_list() WHERE name = $$not_found$$',    '1',     '1',     '1',     '1',     '1',     '1',     '-'),
	-- holding: the user's own, whoever calls
	('seat_hold({performance}, ARRAY[20], {me})',       '-',     '-',     '1',     '1',     '1',     '-',     '-'),
	('seat_hold_best({performance}, 2, {me})',          '-',     '-',     '1',     '1',     '1',     '-',     '-'),
	('hold_extend({hold}, {me}, $$1 s$$)',              '-',     '-',     '1',     'TK005', 'TK005', '-',     '-'),
	('seat_release({hold}, {me})',                      '-',     '-',     '1',     'TK005', 'TK005', '-',     '-'),
	('hold_timers_restore()',                           '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('seat_hold_expire()',                              '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('seat_block({performance}, ARRAY[21])',            '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('seat_unblock({performance}, ARRAY[9])',           '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('seat_map_memory() WHERE section_id = {section}',  '-',     '-',     '-',     '-',     '1',     '1',     '-'),
	-- money
	('point_balance({me})',                             '-',     '-',     '1',     '1',     '1',     '1',     '-'),
	('point_charge({me}, 5)',                           '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('pay_reservation({hold}, {me})',                   '-',     '-',     '1',     'TK005', 'TK005', '-',     '-'),
	('payment_begin({hold}, {me}, $$card$$)',           '-',     '-',     '1',     'TK005', 'TK005', '-',     '-'),
	('payment_confirm({pending}, $$matrix-2$$)',        '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('payment_fail({pending}, $$no$$)',                 '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('refund_confirm({refund}, $$matrix-3$$)',          '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('payments_stuck($$0$$) WHERE refund_id = {refund}', '-',    '-',     '-',     '-',     '1',     '1',     '-'),
	('reservation_cancel({paid}, {me})',                '-',     '-',     '1',     'TK005', 'TK005', '-',     '-'),
	('cancel_policy_set({performance}, $$1 day$$)',     '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('cancel_policy_drop({performance}, $$1 day$$)',    '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	-- what one has
	('user_reservations({me})',                         '-',     '-',     '4',     '0',     '0',     '0',     '-'),
	('user_reservation({paid}, {me})',                  '-',     '-',     '1',     'TK005', 'TK005', 'TK005', '-'),
	('point_history({me})',                             '-',     '-',     '2',     '0',     '0',     '0',     '-'),
	('reservation_id({number})',                        '1',     '1',     '1',     '1',     '1',     '1',     '-'),
	('reservation_number({paid})',                      '-',     '-',     '-',     '-',     '1',     '1',     '-'),
	('reservation_status($$held$$, now(), now())',      '-',     '-',     '-',     '-',     '1',     '1',     '-'),
	-- what was sold: of all for the operator and the auditor, of his own for a seller
	('operator_reservations(concert_id => {concert})',  '-',     '-',     '-',     '-',     '4',     '4',     '-'),
	('operator_payments(concert_id => {concert})',      '-',     '-',     '-',     '-',     '3',     '3',     '-'),
	('operator_totals(concert_id => {concert})',        '-',     '-',     '-',     '-',     '3',     '3',     '-'),
	('operator_totals_by_day({concert})',               '-',     '-',     '-',     '-',     '2',     '2',     '-'),
	('seller_concerts({me})',                           '1',     '0',     '-',     '-',     '-',     '-',     '-'),
	('seller_reservations({me})',                       '4',     '0',     '-',     '-',     '-',     '-',     '-'),
	('seller_reservations({me}, {concert})',            '4',     '0',     '-',     '-',     '-',     '-',     '-'),
	('seller_reservations({me}, performance_id => {performance})', '4', '0', '-',  '-',     '-',     '-',     '-'),
	('seller_reservations({me}, user_id => $$ann$$)',   '4',     '0',     '-',     '-',     '-',     '-',     '-'),
	('seller_payments({me})',                           '3',     '0',     '-',     '-',     '-',     '-',     '-'),
	('seller_totals({me})',                             '3',     '0',     '-',     '-',     '-',     '-',     '-'),
	('seller_totals_by_day({me})',                      '2',     '0',     '-',     '-',     '-',     '-',     '-'),
	('seller_totals_by_day({me}, {concert})',           '2',     '0',     '-',     '-',     '-',     '-',     '-'),
	('seller_totals_by_day({me}, performance_id => {performance})', '2', '0', '-', '-',     '-',     '-',     '-'),
	-- the catalogue, by its functions for operators
	('venue_create($$x$$)',                             '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('venue_change({venue}, $$x$$)',                    '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('venue_section_create({venue}, $$x$$, NULL, 1, 1)', '-',    '-',     '-',     '-',     '1',     '-',     '-'),
	('venue_section_change({plan}, $$x$$)',             '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('venue_section_delete({plan})',                    '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('venue_withdraw({venue})',                         '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('concert_create($$x$$)',                           '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('concert_change({concert}, $$x$$)',                '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('concert_withdraw({concert})',                     '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('performance_create({concert}, {venue}, $$2100-01-01$$)', '-', '-',  '-',     '-',     '1',     '-',     '-'),
	('performance_change({performance}, max_seats_per_user => 9)', '-', '-', '-',  '-',     '1',     '-',     '-'),
	('performance_move({performance}, $$2100-01-02$$)', '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('performance_withdraw({performance})',             '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('CALL performance_cancel({performance})',          '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('section_create({performance}, $$x$$, 1, 1, 1)',   '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('section_change({section}, $$x$$)',                '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('section_withdraw({section})',                     '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	-- the catalogue, by its functions for sellers: to sue what is sam's is not there
	('seller_venue_create({me}, $$x$$)',                '1',     '1',     '-',     '-',     '-',     '-',     '-'),
	('seller_venue_change({me}, {venue}, $$x$$)',       '1',     'TK005', '-',     '-',     '-',     '-',     '-'),
	('seller_venue_section_create({me}, {venue}, $$x$$, NULL, 1, 1)', '1', 'TK005', '-', '-', '-',   '-',     '-'),
	('seller_venue_section_change({me}, {plan}, $$x$$)', '1',    'TK005', '-',     '-',     '-',     '-',     '-'),
	('seller_venue_section_delete({me}, {plan})',       '1',     'TK005', '-',     '-',     '-',     '-',     '-'),
	('seller_venue_withdraw({me}, {venue})',            '1',     'TK005', '-',     '-',     '-',     '-',     '-'),
	('seller_concert_create({me}, $$x$$)',              '1',     '1',     '-',     '-',     '-',     '-',     '-'),
	('seller_concert_change({me}, {concert}, $$x$$)',   '1',     'TK005', '-',     '-',     '-',     '-',     '-'),
	('seller_concert_withdraw({me}, {concert})',        '1',     'TK005', '-',     '-',     '-',     '-',     '-'),
	('seller_performance_create({me}, {concert}, {venue}, $$2100-01-01$$)', '1', 'TK005', '-', '-',  '-',     '-',     '-'),
	('seller_performance_change({me}, {performance}, max_seats_per_user => 9)', '1', 'TK005', '-', '-', '-',  '-',     '-'),
	('seller_performance_withdraw({me}, {performance})', '1',    'TK005', '-',     '-',     '-',     '-',     '-'),
	('seller_section_create({me}, {performance}, $$x$$, 1, 1, 1)', '1', 'TK005', '-', '-',  '-',     '-',     '-'),
	('seller_section_change({me}, {section}, $$x$$)',   '1',     'TK005', '-',     '-',     '-',     '-',     '-'),
	('seller_section_withdraw({me}, {section})',        '1',     'TK005', '-',     '-',     '-',     '-',     '-'),
	-- people
	('user_withdraw({me})',                             '-',     '-',     '1',     '1',     '1',     '-',     '-'),
	('user_block($$ben$$, $$x$$)',                      '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('user_unblock($$ben$$)',                           '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	-- running it
	('CALL run($$1 ms$$)',                              '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('tick()',                                          '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('outbox_fetch(1)',                                 '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('outbox_hand_out(1)',                              '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('outbox_read(1)',                                  '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('outbox_ack($${}$$)',                              '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('event_time(gen_random_uuid())',                   '-',     '-',     '-',     '-',     '1',     '1',     '-'),
	('history($$nobody$$)',                             '-',     '-',     '-',     '-',     '0',     '0',     '-'),
	('history_extend()',                                '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('history_drop($$2000-01-01$$)',                    '-',     '-',     '-',     '-',     '1',     '-',     '-'),
	('metrics()',                                       '-',     '-',     '-',     '-',     '1',     '1',     '-'),
	('verify() WHERE invariant ~ $$negative$$',         '-',     '-',     '-',     '-',     '1',     '1',     '-');
-- For the owner of the extension only.
INSERT INTO matrix (call, sam, sue, ann, ben, olga, aude, otto)
SELECT format('SELECT %s(%s)', p.proname, (SELECT string_agg(format('NULL::%s', format_type(a.type, NULL)), ', ' ORDER BY a.n)
		FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY AS a(type, n))), '-', '-', '-', '-', '-', '-', '-'
FROM unnest('{actor,append_only,catalogue_follow,catalogue_remember,check_argument,check_attributes,check_found,check_limit,check_owner,elapsed,
	check_performances,check_user,concert_check,event_history,event_id,event_payload,final_state,grant_role,hold_timer_set,name_grams,number_key_make,
	outbox_order,own_reservation,payment_state,performance_check,performance_fill,performance_lock,performance_time,plan_picture,plan_seats,
	plan_size,queue_entry_follow,queue_follow,raise_error,require_preload,require_primary,resync,sales_query,schedule_jobs,search_grams,seat_follow,section_check,
	section_stays,sold_stays,totals_by_day,unschedule_jobs,user_withdrawing,utc,venue_check,venue_lock,venue_section_check,withdrawn_final}'::text[]) AS f(name)
	JOIN pg_proc p ON p.proname = f.name AND p.pronamespace = 'ticket'::regnamespace;

SELECT is((SELECT string_agg(p.proname, ', ' ORDER BY p.proname) FROM pg_proc p WHERE p.pronamespace = 'ticket'::regnamespace
	AND NOT EXISTS (SELECT FROM matrix m WHERE m.call ~ ('^((CALL|SELECT) )?' || p.proname || '\('))), NULL, 'every function has its line');
CREATE FUNCTION pg_temp.filled(call text, me text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	t record;
BEGIN
	FOR t IN SELECT * FROM thing LOOP
		call := replace(call, '{' || t.name || '}', t.value);
	END LOOP;
	RETURN replace(call, '{me}', quote_literal(me));
END $$;
CREATE TEMP TABLE ended AS
SELECT m.n, m.call, p.n AS person, p.name, to_jsonb(m) ->> p.name AS expected, pg_temp.called_by(p.name, pg_temp.filled(m.call, p.name)) AS own,
	-- The same in the name of the first seller, the first buyer
	CASE WHEN m.call ~ '{me}' THEN pg_temp.called_by(p.name, pg_temp.filled(m.call, CASE WHEN m.call ~ '^seller' THEN 'sam' ELSE 'ann' END)) END AS other
FROM matrix m CROSS JOIN person p;
SELECT is((SELECT string_agg(format('%s: %s', e.name, e.own), ', ' ORDER BY e.person) FROM ended e WHERE e.n = m.n AND e.own IS DISTINCT FROM e.expected),
	NULL, m.call) FROM matrix m WHERE m.call !~ '^SELECT ' ORDER BY m.n;
SELECT is((SELECT string_agg(format('%s %s: %s', e.call, e.name, e.own), ', ' ORDER BY e.n, e.person) FROM ended e WHERE e.call ~ '^SELECT ' AND e.own <> '-'),
	NULL, 'what is for the owner is for nobody else');
SELECT is((SELECT string_agg(format('%s: %s', e.name, e.other), ', ' ORDER BY e.person) FROM ended e
	WHERE e.n = m.n AND e.other <> CASE WHEN e.expected = '-' OR e.name = CASE WHEN m.call ~ '^seller' THEN 'sam' ELSE 'ann' END THEN e.expected ELSE 'TK013' END),
	NULL, 'in another''s name: ' || m.call) FROM matrix m WHERE m.call ~ '{me}' ORDER BY m.n;

-- ---------- tables and views ----------

-- Who may; whoever is not named may not.
CREATE TEMP TABLE may (relations text[], "select" text, "insert" text, "update" text, "delete" text);
INSERT INTO may VALUES
	('{error_codes}',	'sam sue ann ben olga aude', '', '', ''),
	('{queue}',			'olga aude', '', 'olga', ''),
	('{number_key}',	'', '', '', ''),
	('{venue,venue_section,concert,performance,section,seat,catalogue_past,performance_cancellation}', 'olga aude', '', '', ''),
	('{queue_entry,reservation,hold_timer,account,ledger,payment,refund,cancel_policy,seat_return,user_block,outbox,history,history_default,permission}', 'olga aude', '', '', ''),
	('{concert_card,reservation_card,books,event_types,queue_stats,memory_stats,sale_stats,outbox_stats}', 'olga aude', '', '', '');
CREATE TEMP TABLE relation AS
SELECT c.oid, c.relname, (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = 1) AS "column"
FROM pg_class c WHERE c.relnamespace = 'ticket'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND c.relname !~ '^history_\d';
SELECT is((SELECT string_agg(r.relname, ', ' ORDER BY r.relname) FROM relation r WHERE NOT EXISTS (SELECT FROM may WHERE r.relname = ANY (relations))),
	NULL, 'every table and view has its line');
CREATE FUNCTION pg_temp.touched_by(person text, statement text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('role', 'regress_ticket_' || person, true);
	EXECUTE statement;
	RAISE EXCEPTION USING ERRCODE = 'ENDED';
EXCEPTION
	WHEN insufficient_privilege OR object_not_in_prerequisite_state THEN
		RETURN false;
	-- Refused for another reason, he has come that far.
	WHEN OTHERS THEN
		RETURN true;
END $$;
CREATE FUNCTION pg_temp.touchers(relname name, "column" name, verb text) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(p.name, ' ' ORDER BY p.n), '') FROM person p WHERE pg_temp.touched_by(p.name, format(CASE verb
		WHEN 'select' THEN 'SELECT * FROM ticket.%1$I LIMIT 1'
		WHEN 'insert' THEN 'INSERT INTO ticket.%1$I DEFAULT VALUES'
		WHEN 'update' THEN 'UPDATE ticket.%1$I SET %2$I = DEFAULT WHERE false'
		WHEN 'delete' THEN 'DELETE FROM ticket.%1$I WHERE false' END, relname, "column")) $$;
SELECT is((SELECT string_agg(format('%s: %s', v.verb, pg_temp.touchers(r.relname, r."column", v.verb)), '; ')
	FROM may m, (VALUES ('select'), ('insert'), ('update'), ('delete')) AS v(verb)
	WHERE r.relname = ANY (m.relations) AND pg_temp.touchers(r.relname, r."column", v.verb) <> to_jsonb(m) ->> v.verb), NULL, r.relname::text)
FROM relation r ORDER BY r.relname;

RESET ticket.user_claim;
SELECT is((SELECT format('%s %s', status, amount) FROM ticket.reservation WHERE reservation_id = :hold), 'held 18', 'nothing of it has stayed');
SELECT count(ticket.payment_fail(:pending, 'done')) AS n, count(ticket.refund_confirm(:refund, 'matrix')) AS n2 \gset
DO $$
DECLARE
	p record;
BEGIN
	FOR p IN SELECT * FROM person LOOP
		EXECUTE format('DROP OWNED BY %1$I; DROP ROLE %1$I', 'regress_ticket_' || p.name);
	END LOOP;
END $$;
SELECT is((SELECT string_agg(invariant, ', ') FROM ticket.verify() WHERE NOT ok), NULL, 'every invariant holds');
SELECT * FROM finish();
