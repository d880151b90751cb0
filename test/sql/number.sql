-- Reservation numbers.
\unset ECHO
\getenv test PG_ABS_SRCDIR
\set begin :test '/sql/begin.psql'
\i :begin

SELECT pg_temp.sale(price => 5) AS p, ticket.point_charge('number', 10) AS balance \gset
SELECT reservation_id AS r FROM ticket.seat_hold(:p, '{1}', 'number') \gset
SELECT ticket.reservation_number(:r) AS number \gset
SELECT ok(:'number' ~ '^[34679ACDEFGHJKMNPQRTWXY]{4}(-[34679ACDEFGHJKMNPQRTWXY]{4}){2}$', 'three groups of four letters');
SELECT is(ticket.reservation_id(:'number'), :r::bigint, 'and back');
SELECT is(ticket.reservation_id(lower(replace(:'number', '-', ' '))), :r::bigint, 'as somebody types it');
SELECT is((SELECT status FROM ticket.pay_reservation(ticket.reservation_id(:'number'), 'number')), 'captured', 'usable where a reservation_id is');
SELECT is((SELECT count(DISTINCT ticket.reservation_number(n)) FROM generate_series(1, 10000) n), 10000::bigint, 'each has one of its own');
SELECT ok((SELECT bool_and(ticket.reservation_id(ticket.reservation_number(n)) = n)
	FROM (SELECT n FROM generate_series(1, 1000) n UNION ALL SELECT 952809757913926 - n FROM generate_series(0, 9) n) n), 'that leads back');
SELECT pg_temp.refused(call, '22023') FROM unnest(ARRAY[
	'SELECT ticket.reservation_number(NULL)', 'SELECT ticket.reservation_number(0)', 'SELECT ticket.reservation_number(-1)',
	'SELECT ticket.reservation_number(952809757913927)', 'SELECT ticket.reservation_number(9223372036854775807)',
	'SELECT ticket.reservation_number(-9223372036854775808)', 'SELECT ticket.reservation_id(NULL)',
	'SELECT ticket.reservation_id($$$$)', 'SELECT ticket.reservation_id($$3333-3333-3334$$)',
	'SELECT ticket.reservation_id($$0000-0000-0000$$)', 'SELECT ticket.reservation_id(repeat($$3$$, 1000000))',
	'SELECT ticket.reservation_id($$3333-3333-333한$$)']) AS call;
-- A key of its own for each database; one that is brought by a restore, which is older, counts at once
SELECT is((SELECT count(*) FROM ticket.number_key), 1::bigint, 'there is one key');
SELECT is((SELECT length(key) FROM ticket.number_key), 16, 'of 16 bytes');
SELECT is(ticket.number_key_make(), false, 'no other is made');
BEGIN;
INSERT INTO ticket.number_key VALUES (decode('000102030405060708090a0b0c0d0e0f', 'hex'), '2000-01-01');
SELECT isnt(ticket.reservation_number(:r), :'number', 'another key makes other numbers');
SELECT ticket.reservation_number(1) AS one \gset
SELECT alike((SELECT detail FROM ticket.verify() WHERE invariant = 'what was agreed is known'), '2 keys of reservation numbers; the one made at 2000-01-01 %', 'two keys are told');
ROLLBACK;
SELECT is(ticket.reservation_number(:r), :'number', 'the old key makes the old ones');
SELECT isnt(ticket.reservation_number(1), :'one', 'not those of a key that is known');
BEGIN;
INSERT INTO ticket.number_key VALUES (decode('000102030405060708090a0b0c0d0e0f', 'hex'), now() + '2 days');
SELECT is(ticket.reservation_number(:r), :'number', 'a later key changes nothing');
DELETE FROM ticket.number_key WHERE made_at < now();
SELECT isnt(ticket.reservation_number(:r), :'number', 'without the old one it does,');
SELECT alike((SELECT detail FROM ticket.verify() WHERE invariant = 'what was agreed is known'), 'the key of reservation numbers was made at %, after reservation %', 'and that is told');
ROLLBACK;
-- With none at all nobody is given a wrong number
BEGIN;
DELETE FROM ticket.number_key;
SELECT pg_temp.refused('SELECT ticket.reservation_number(1)', 'TK009');
SELECT pg_temp.refused('SELECT ticket.reservation_id($$3333-3333-3333$$)', 'TK009');
SELECT is(ticket.number_key_make(), true, 'one can be made');
SELECT isnt(ticket.reservation_number(:r), :'number', 'and makes numbers of its own');
SELECT alike((SELECT detail FROM ticket.verify() WHERE invariant = 'what was agreed is known'), 'the key of reservation numbers was made at %, after reservation %', 'which is told, too');
ROLLBACK;
SELECT is(ticket.reservation_number(:r), :'number', 'rolled back the old one is there');
SELECT * FROM finish();
