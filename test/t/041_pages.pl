# Pages while others sell: somebody turns the pages of every list, over and over,
# each page a transaction of its own, while others add rows to it, take some
# away and roll some back.  What was there from the start comes once, in order.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Sale;
use Test::More;

my $node = sale_node('main');
$node->start;

# A seller's concerts with their dates, and what two buyers have of them.
$node->safe_psql(
	'postgres', q(
	CREATE EXTENSION ticket;
	SET search_path = ticket, public;
	SELECT venue_create('Hall');
	SELECT venue_section_create(1, 'Floor', 'R', 10, 50);
	SELECT performance_create(c, 1, now() + c % 7 * interval '1 day' + '10 days', prices => '{"R": 1}', max_seats_per_user => 500)
	FROM (SELECT concert_create('Concert ' || n, 'The Pages', owner => 'sam') AS c FROM generate_series(1, 40) n) c;
	SELECT performance_create(1, 1, now() + n % 3 * interval '1 day' + '20 days', prices => '{"R": 1}', max_seats_per_user => 500) FROM generate_series(1, 25) n;
	SELECT point_charge('ann', 1000000), point_charge('ann', 1), point_charge('ben', 1000000);
	SELECT count(pay_reservation(h.reservation_id, 'ann')) FROM generate_series(1, 40) p, LATERAL seat_hold(p, '{1,2}', 'ann') h;
	SELECT count(pay_reservation(h.reservation_id, 'ann')) FROM generate_series(3, 42) s, LATERAL seat_hold(1, ARRAY[s], 'ann') h;
	SELECT count(seat_hold(2, ARRAY[s], 'ann')) FROM generate_series(3, 22) s;

	-- A list is there from the start with the ids that it has then; those that
	-- the others take away are not among them.
	CREATE TABLE public.list (n int GENERATED ALWAYS AS IDENTITY, call text, key text, there bigint[]);
	INSERT INTO public.list (call, key) VALUES
		('concerts(3, AFTER)', 'concert_id'),
		('concert_search($$ages$$, 3, AFTER)', 'concert_id'),
		('concerts_by_seller($$sam$$, 3, AFTER)', 'concert_id'),
		('concerts_by_date(max_count => 3, after => AFTER)', 'performance_id'),
		('performances(1, 3, AFTER)', 'performance_id'),
		('user_reservations($$ann$$, 3, AFTER)', 'reservation_id'),
		('point_history($$ann$$, 3, AFTER)', 'ledger_id'),
		('operator_reservations(max_count => 3, after => AFTER)', 'reservation_id'),
		('operator_reservations(since => now() - interval $$1 day$$, max_count => 3, after => AFTER)', 'reservation_id'),
		('operator_reservations(performance_id => 1, max_count => 3, after => AFTER)', 'reservation_id'),
		('operator_reservations(concert_id => 1, max_count => 3, after => AFTER)', 'reservation_id'),
		('operator_reservations(user_id => $$ann$$, max_count => 3, after => AFTER)', 'reservation_id'),
		('operator_reservations(status => $$paid$$, max_count => 3, after => AFTER)', 'reservation_id'),
		('operator_reservations(status => $$held$$, max_count => 3, after => AFTER)', 'reservation_id'),
		('operator_payments(max_count => 3, after => AFTER)', 'payment_id'),
		('operator_payments(concert_id => 1, max_count => 3, after => AFTER)', 'payment_id'),
		('operator_payments(user_id => $$ann$$, max_count => 3, after => AFTER)', 'payment_id'),
		('seller_concerts($$sam$$, 3, AFTER)', 'concert_id'),
		('seller_reservations($$sam$$, max_count => 3, after => AFTER)', 'reservation_id'),
		('seller_reservations($$sam$$, status => $$paid$$, max_count => 3, after => AFTER)', 'reservation_id'),
		('seller_payments($$sam$$, max_count => 3, after => AFTER)', 'payment_id');
	DO $$
	DECLARE
		l record;
	BEGIN
		FOR l IN SELECT * FROM public.list LOOP
			EXECUTE format('UPDATE public.list SET there = ARRAY(SELECT %I FROM %s) WHERE n = %s', l.key,
				replace(replace(replace(l.call, 'AFTER', 'NULL'), '3, NULL', '1000, NULL'), 'max_count => 3', 'max_count => 1000'), l.n);
		END LOOP;
	END $$;

	-- The pages of a list, a transaction each.
	CREATE PROCEDURE public.turn_pages(call text, key text, INOUT ids bigint[]) LANGUAGE plpgsql AS $$
	DECLARE
		page bigint[];
	BEGIN
		ids := '{}';
		LOOP
			EXECUTE format('SELECT array_agg(%I) FROM ticket.%s', key, replace(call, 'AFTER', coalesce(ids[cardinality(ids)]::text, 'NULL'))) INTO page;
			EXIT WHEN page IS NULL OR cardinality(ids) > 100000;
			ids := ids || page;
			COMMIT;
		END LOOP;
	END $$;
	CREATE TABLE public.turned (n int, ids int, wrong text);

	-- Once through all lists; what was there at the start is compared.
	CREATE PROCEDURE public.turn_all() LANGUAGE plpgsql AS $$
	DECLARE
		l record;
		ids bigint[];
		seen bigint[];
	BEGIN
		FOR i IN 1 .. (SELECT max(n) FROM public.list) LOOP
			SELECT * INTO l FROM public.list WHERE n = i;
			CALL public.turn_pages(l.call, l.key, ids);
			seen := ARRAY(SELECT u.id FROM unnest(ids) WITH ORDINALITY AS u(id, n) WHERE u.id = ANY (l.there) ORDER BY u.n);
			INSERT INTO public.turned VALUES (i, cardinality(ids), CASE WHEN seen <> l.there THEN format('%s: %s, not %s', l.call, seen, l.there) END);
			COMMIT;
		END LOOP;
	END $$;
));

# The others: buy, charge, give back, come to nothing; enter concerts and dates,
# and take away again what they have entered.
$node->safe_psql(
	'postgres', q(
	CREATE FUNCTION public.sell_one(what int, p bigint) RETURNS void LANGUAGE plpgsql SET search_path = ticket, public AS $$
	DECLARE
		seat int := 100 + random() * 400;
		c bigint;
		r record;
	BEGIN
		CASE what
			WHEN 0 THEN
				SELECT * INTO r FROM seat_hold(p, ARRAY[seat], 'ann');
				PERFORM pay_reservation(r.reservation_id, 'ann');
			WHEN 1 THEN
				PERFORM seat_hold(1, ARRAY[seat], 'ben');
			WHEN 2 THEN
				PERFORM performance_create(concert_create('New pages', 'The Pages', owner => 'sam'), 1, now() + p * interval '6 hours' + '10 days');
			WHEN 3 THEN
				PERFORM performance_create(1, 1, now() + p * interval '1 hour' + '20 days'), point_charge('ann', 1);
			WHEN 4 THEN
				PERFORM concert_withdraw(t.concert_id) FROM (SELECT concert_id FROM concert WHERE name = 'New pages' AND withdrawn_at IS NULL LIMIT 1) t;
				PERFORM performance_withdraw(t.performance_id) FROM (SELECT performance_id FROM performance WHERE performance_id > 65 AND status = 'scheduled' LIMIT 1) t;
			WHEN 5 THEN
				PERFORM seat_release(t.reservation_id, 'ben') FROM (SELECT reservation_id FROM reservation WHERE user_id = 'ben' AND status = 'held' LIMIT 2) t;
				DELETE FROM reservation WHERE user_id = 'ben' AND status = 'released';
			WHEN 6 THEN
				PERFORM point_charge('ann', 1), seat_hold(p, ARRAY[seat], 'ann'), concert_create('New pages', 'The Pages', owner => 'sam');
				RAISE EXCEPTION 'and all of it comes to nothing';
		END CASE;
	EXCEPTION WHEN OTHERS THEN
		NULL;		-- a seat is taken, a row is gone
	END $$;
	CREATE PROCEDURE public.sell(n int) LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. n LOOP
			PERFORM public.sell_one(i % 7, 1 + (random() * 39)::int);
			COMMIT;
		END LOOP;
	END $$;
));
# Others sell while we turn the pages of each list, three times.
my $rounds = 0;
while ($rounds < 3)
{
	my @writers;
	for (1 .. 2)
	{
		my ($out, $error) = ('', '');
		push @writers, IPC::Run::start([ 'psql', '-Xq', '-d', $node->connstr('postgres'), '-c', 'CALL public.sell(350)' ], '>', \$out, '2>', \$error);
	}
	$node->safe_psql('postgres', 'CALL public.turn_all()');
	$rounds++;
	$_->finish foreach @writers;
}

is($node->safe_psql('postgres', q(SELECT string_agg(call, ', ') FROM public.list WHERE cardinality(there) < 20)), '', 'every list has some pages');
is($node->safe_psql('postgres', 'SELECT count(*) FROM public.turned'), $rounds * $node->safe_psql('postgres', 'SELECT count(*) FROM public.list'), 'all of them were turned');
is($node->safe_psql('postgres', 'SELECT DISTINCT wrong FROM public.turned WHERE wrong IS NOT NULL'), '', 'what was there comes once, in order');
cmp_ok($node->safe_psql('postgres', 'SELECT count(DISTINCT ids) FROM (SELECT n, max(ids) - min(ids) AS ids FROM public.turned GROUP BY n) t'), '>', 3,
	'while the lists changed');
verified($node, 'postgres', 'in the end');
$node->stop;
done_testing();
