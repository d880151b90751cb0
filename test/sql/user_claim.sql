-- ticket.user_claim: who calls is what the session was authenticated for.
\unset ECHO
\set QUIET on
-- A back office of its own role, for which it is off; connections come before all else
SELECT current_user AS owner, current_database() AS database \gset
CREATE ROLE regress_ticket_backoffice LOGIN;
SELECT ticket.grant_role('regress_ticket_backoffice', 'operator') AS granted \gset
ALTER DATABASE :"database" SET ticket.user_claim = 'claim.subject';
ALTER ROLE regress_ticket_backoffice SET ticket.user_claim = '';
\c - regress_ticket_backoffice
SELECT ticket.point_charge('claim-office', 5) AS charged \gset
\c - :owner
\set VERBOSITY sqlstate
\o /dev/null
SELECT ticket.point_balance('claim-office');
\o
SELECT :'LAST_ERROR_SQLSTATE' AS others \gset
ALTER DATABASE :"database" RESET ticket.user_claim;
DROP OWNED BY regress_ticket_backoffice;
DROP ROLE regress_ticket_backoffice;
\c
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin

SELECT ticket.queue_create('claim') AS q, pg_temp.sale(price => 1) AS p \gset
SELECT reservation_id AS r FROM ticket.seat_hold(:p, '{1}', 'claim-bob') \gset
CREATE TEMP TABLE call (n int GENERATED ALWAYS AS IDENTITY, name text, call text);
INSERT INTO call (name, call) VALUES
	('ticket_enqueue', format('SELECT ticket.ticket_enqueue(%s, %%L)', :q)),
	('seat_hold', format('SELECT ticket.seat_hold(%s, $${2}$$, %%L)', :p)),
	('seat_hold_best', format('SELECT ticket.seat_hold_best(%s, 1, %%L)', :p)),
	('hold_extend', format('SELECT ticket.hold_extend(%s, %%L, $$1 s$$)', :r)),
	('seat_release', format('SELECT ticket.seat_release(%s, %%L)', :r)),
	('point_charge', 'SELECT ticket.point_charge(%L, 1)'),
	('point_balance', 'SELECT ticket.point_balance(%L)'),
	('pay_reservation', format('SELECT ticket.pay_reservation(%s, %%L)', :r)),
	('payment_begin', format('SELECT ticket.payment_begin(%s, %%L, $$card$$)', :r)),
	('reservation_cancel', format('SELECT ticket.reservation_cancel(%s, %%L)', :r)),
	('user_withdraw', 'SELECT ticket.user_withdraw(%L)'),
	('check_user', 'SELECT ticket.check_user(%L)'),
	('user_reservations', 'SELECT ticket.user_reservations(%L)'),
	('user_reservation', format('SELECT ticket.user_reservation(%s, %%L)', :r)),
	('point_history', 'SELECT ticket.point_history(%L)'),
	('own_reservation', format('SELECT ticket.own_reservation(%s, %%L)', :r));
SELECT is((SELECT array_agg(p.proname ORDER BY p.proname) FROM pg_proc p WHERE p.pronamespace = 'ticket'::regnamespace
	AND p.proargnames[1: p.pronargs] @> '{user_id}'
	-- whose user_id is not the caller's
	AND p.proname !~ '^(history|user_block|user_unblock|ticket_find|(sales|operator|seller)_.*)$'), (SELECT array_agg(name::name ORDER BY name) FROM call), 'every function with a user_id is called here');

SELECT is(:'charged'::bigint, 5::bigint, 'a role for which it is off charges whom it likes');
SELECT is(:'others'::text, 'TK013', 'while it is on for others');

-- ---------- a setting ----------

SET ticket.user_claim = 'claim.subject';
SELECT pg_temp.refused(format(call, 'claim-bob'), 'TK013', name || ': no claim') FROM call ORDER BY n;
SELECT pg_temp.refused(format(call, NULL), 'TK013', name || ': no claim, no user_id') FROM call ORDER BY n;
SET claim.subject = '';
SELECT pg_temp.refused(format(call, 'claim-bob'), 'TK013', name || ': an empty claim') FROM call ORDER BY n;
SET claim.subject = 'claim-alice';
SELECT pg_temp.refused(format(call, 'claim-bob'), 'TK013', name || ': somebody else') FROM call ORDER BY n;
SELECT pg_temp.refused(format(call, ''), 'TK013', name || ': an empty user_id') FROM call ORDER BY n;
SELECT pg_temp.refused(format(call, 'claim-alic'), 'TK013', name || ': part of the name') FROM call ORDER BY n;
SELECT pg_temp.refused(format(call, NULL), 'TK005', name || ': bob''s reservation is not found') FROM call
WHERE name IN ('user_reservation', 'own_reservation', 'hold_extend', 'seat_release', 'pay_reservation', 'payment_begin', 'reservation_cancel') ORDER BY n;
SELECT is(ticket.point_charge('claim-alice', 7), 7::bigint, 'one''s own name may be given');
SELECT is(ticket.point_balance(NULL), 7::bigint, 'or left out');
SELECT is(ticket.check_user(NULL), 'claim-alice', 'check_user answers with the claim');
SELECT reservation_id AS r FROM ticket.seat_hold(:p, '{2}', NULL) \gset
SELECT is((SELECT user_id FROM ticket.reservation WHERE reservation_id = :r), 'claim-alice', 'seat_hold is for the claim');
SELECT is((SELECT balance FROM ticket.pay_reservation(:r, NULL)), 6::bigint, 'pay_reservation too');
SELECT is((SELECT balance FROM ticket.reservation_cancel(:r, NULL)), 7::bigint, 'reservation_cancel too');
SELECT count(ticket.ticket_enqueue(:q, NULL)) AS n \gset
SELECT is((SELECT user_id FROM ticket.queue_entry WHERE queue_id = :q), 'claim-alice', 'ticket_enqueue too');
SELECT set_config('claim.subject', repeat('x', 256), false) AS claim \gset
SELECT pg_temp.refused(format(call, NULL), '22023', name || ': a claim too long') FROM call ORDER BY n;

-- ---------- a key of a JSON object, as PostgREST has it ----------

SET ticket.user_claim = 'request.jwt.claims.sub';
SELECT pg_temp.refused('SELECT ticket.point_balance($$claim-alice$$)', 'TK013', 'no claims');
SELECT pg_temp.refused('SELECT ticket.point_balance($$claim-alice$$) FROM set_config($$request.jwt.claims$$, ' || quote_literal(claims) || ', true)',
	'TK013', 'claims without it: ' || claims)
FROM unnest(ARRAY['', '{}', '{"sub": null}', '{"role": "claim-alice"}', '{"claims": {"sub": "claim-alice"}}', '["sub"]', '"sub"']) AS claims;
SELECT ok(pg_temp.refusal('SELECT ticket.point_balance($$claim-alice$$) FROM set_config($$request.jwt.claims$$, $${"sub$$, true)')
	IN ('TK013', '22P02'), 'claims that are not JSON');
SET request.jwt.claims = '{"role": "web", "sub": "claim-alice", "aud": ["sub"]}';
SELECT is(ticket.point_balance(NULL), 7::bigint, 'the claim is the user');
SELECT is(ticket.point_balance('claim-alice'), 7::bigint, 'who may be named');
SELECT pg_temp.refused('SELECT ticket.point_balance($$claim-bob$$)', 'TK013', 'nobody else');
SET request.jwt.claims = '{"sub": "claim-\u0061lice"}';
SELECT is(ticket.point_balance('claim-alice'), 7::bigint, 'however it is written');
SELECT set_config('request.jwt.claims.sub', 'claim-carol', false) AS claim \gset
SELECT is(ticket.point_balance('claim-carol'), 0::bigint, 'a setting of the whole name comes first');

-- ---------- whose setting it is ----------

CREATE ROLE regress_ticket_claim;
SELECT ticket.grant_role('regress_ticket_claim', 'buyer') AS granted \gset
SET ROLE regress_ticket_claim;
SET ticket.user_claim = '';
SELECT :'LAST_ERROR_SQLSTATE' AS unset \gset
SELECT set_config('ticket.clock_offset', '1h', false) AS offset \gset
SELECT :'LAST_ERROR_SQLSTATE' AS moved \gset
RESET ROLE;
SELECT is(:'unset'::text, '42501', 'a buyer cannot unset it');
SELECT is(:'moved'::text, '42501', 'nor move the clock');
RESET ticket.user_claim;
DROP OWNED BY regress_ticket_claim;
DROP ROLE regress_ticket_claim;
SELECT is(ticket.point_balance('claim-bob'), 0::bigint, 'without it user_id is what the caller says');

SELECT * FROM finish();
