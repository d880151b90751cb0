--
-- sale.sql
--		What shop.py needs: two roles and one sale.  For psql, as a superuser, in a
--		database of its own:  psql shop -f example/sale.sql
--
\set ON_ERROR_STOP on
BEGIN;
CREATE EXTENSION IF NOT EXISTS ticket;

-- The shop does what buyers do, and nothing else.
CREATE ROLE shop_api LOGIN;
SELECT ticket.grant_role('shop_api', 'buyer');
ALTER ROLE shop_api SET statement_timeout = '5s';

-- Who receives the provider's webhooks may report payments, and nothing else.
CREATE ROLE shop_webhook LOGIN;
GRANT USAGE ON SCHEMA ticket TO shop_webhook;
GRANT EXECUTE ON FUNCTION ticket.payment_confirm(bigint, text), ticket.payment_fail(bigint, text),
	ticket.refund_confirm(bigint, text) TO shop_webhook;

-- A waiting room for 500 at a time; the concert, its hall, one evening.
SELECT ticket.queue_create('Winter tour', capacity => 500) AS queue,
	ticket.concert_create('Winter tour', 'The Example Band') AS concert,
	ticket.venue_create('Town Hall', 'Main Street 1') AS venue \gset
SELECT ticket.venue_section_create(:venue, 'Stalls', 'R', row_count => 10, seats_per_row => 20),
	ticket.venue_section_create(:venue, 'Balcony', 'S', row_count => 5, seats_per_row => 20);
SELECT ticket.performance_create(:concert, :venue, now() + '30 days', :queue,
	prices => '{"R": 9000, "S": 6000}') AS performance \gset

-- Seats may be given back until a day before.
SELECT ticket.cancel_policy_set(:performance, '1 day');

-- Points to pay with; they are charged by an operator, not by the shop.
SELECT ticket.point_charge(name, 50000) FROM unnest('{anna,ben,carl}'::text[]) AS name;
COMMIT;

\echo Waiting room :queue, concert :concert, performance :performance.
