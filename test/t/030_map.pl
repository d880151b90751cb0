# Seat maps: what a client has been told of is never shown as it was before, with
# many writers and readers at once; a client that only asks for what has changed
# ends with the whole; restart, crash, a memory that is full, DROP DATABASE,
# standby and promotion.
#
# FIGHT_SECONDS in the environment makes the fight longer (default 8).

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Sale;
use Test::More;

my $seconds = $ENV{FIGHT_SECONDS} // 8;

my $node = sale_node('main', conf => 'max_connections = 60', init => { allows_streaming => 1 });
$node->start;

# What the table has, drawn as seat_map draws it.
my $painted = q(
	CREATE FUNCTION painted(OUT section_id bigint, OUT map text) RETURNS SETOF record LANGUAGE sql AS $$
		SELECT section_id, string_agg(line, E'\n' ORDER BY row_no) FROM (
			SELECT section_id, row_no, string_agg(CASE WHEN status = 'held' AND held_until <= ticket.clock() THEN '.'
				ELSE translate(left(status, 1), 'fhsb', '.hX-') END, '' ORDER BY seat_no) AS line
			FROM ticket.seat GROUP BY section_id, row_no) l
		GROUP BY section_id ORDER BY section_id $$;);

sub maps_agree
{
	my ($at, $database, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is($at->safe_psql($database, 'SELECT section_id, map FROM ticket.seat_map(1)'),
		$at->safe_psql($database, 'SELECT * FROM painted()'), "$name: the map is as the table");
	is( $at->safe_psql($database, 'SELECT section_id, available FROM ticket.sections(1)'),
		$at->safe_psql($database, q(SELECT section_id, length(map) - length(replace(map, '.', '')) FROM painted())),
		"$name: so are the counts");
	return;
}

# --- writers and readers

$node->safe_psql('postgres', 'CREATE DATABASE fight');
$node->safe_psql('fight', "CREATE EXTENSION ticket; $painted");
sale_open($node, 'fight', queue => 0, rows => 10, max_seats => 1000);
$node->safe_psql('fight', q(
	SELECT ticket.section_create(1, 'balcony', 100, 3, 100);
	SELECT count(ticket.point_charge('u' || i, 100000000)) FROM generate_series(1, 50) i;

	-- Seat 1 of the fan's own: nobody else can take it away.
	CREATE FUNCTION shown(seat int) RETURNS text LANGUAGE sql AS $$
		SELECT substr(replace(m.map, E'\n', ''), seat - m.first_seat_id + 1, 1)
		FROM ticket.seat_map(1) m WHERE seat BETWEEN m.first_seat_id AND m.first_seat_id + 299
		ORDER BY m.first_seat_id DESC LIMIT 1 $$;
	CREATE FUNCTION try_hold(seats int[], fan text) RETURNS bigint LANGUAGE plpgsql AS $$
	BEGIN
		RETURN reservation_id FROM ticket.seat_hold(1, seats, fan);
	EXCEPTION WHEN SQLSTATE 'TK006' THEN
		RETURN 0;
	END $$;
	CREATE FUNCTION must_show(seat int, state text) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		drawn text := shown(seat);
	BEGIN
		IF drawn IS DISTINCT FROM state THEN
			RAISE 'seat % is shown as "%", it is "%"', seat, drawn, state;
		END IF;
	END $$;

	-- What a client has that asks only for what has changed.
	CREATE UNLOGGED TABLE client (client int, section_id bigint, map text, PRIMARY KEY (client, section_id));
	CREATE UNLOGGED TABLE client_version (client int PRIMARY KEY, version bigint);
	CREATE FUNCTION poll(client int) RETURNS bigint LANGUAGE plpgsql AS $$
	#variable_conflict use_column
	DECLARE
		latest bigint;
	BEGIN
		WITH news AS MATERIALIZED (
			SELECT * FROM ticket.seat_map(1, since => (SELECT version FROM client_version v WHERE v.client = poll.client))
		), kept AS (
			INSERT INTO client SELECT poll.client, section_id, map FROM news
			ON CONFLICT (client, section_id) DO UPDATE SET map = EXCLUDED.map
		)
		SELECT max(version) FROM news INTO latest;
		IF latest IS NOT NULL THEN
			INSERT INTO client_version VALUES (poll.client, latest)
			ON CONFLICT (client) DO UPDATE SET version = greatest(client_version.version, EXCLUDED.version);
		END IF;
		RETURN latest;
	END $$;

	-- A map between two looks at the table, of seats that only go forward.
	CREATE FUNCTION between_looks() RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		before int[] := ARRAY(SELECT array_position('{free,held,sold}'::text[], status) FROM ticket.seat WHERE section_id = 2 ORDER BY seat_id);
		seen int[] := ARRAY(SELECT position(c IN '.hX') FROM regexp_split_to_table(
			(SELECT replace(map, E'\n', '') FROM ticket.seat_map(1, 2)), '') AS c);
		after int[] := ARRAY(SELECT array_position('{free,held,sold}'::text[], status) FROM ticket.seat WHERE section_id = 2 ORDER BY seat_id);
		counted bigint := (SELECT available FROM ticket.sections(1) s WHERE s.section_id = 2);
		finally bigint := (SELECT count(*) FROM ticket.seat WHERE section_id = 2 AND status = 'free');
	BEGIN
		IF cardinality(seen) <> 300 OR EXISTS (SELECT FROM unnest(before, seen, after) AS u(b, s, a) WHERE NOT s BETWEEN b AND a) THEN
			RAISE 'the map has what the table had not';
		END IF;
		IF NOT counted BETWEEN finally AND (SELECT count(*) FROM unnest(after) a WHERE a = 1) THEN
			RAISE '% are counted, between % and %', counted, (SELECT count(*) FROM unnest(after) a WHERE a = 1), finally;
		END IF;
	END $$;));

# Floor: seats change hands.  Balcony: they are only ever sold.
my $fan = '\set fan :client_id';
$node->pgbench("-n -c 24 -j 2 -T $seconds fight",
	0,
	[qr/number of failed transactions: 0 /],
	[qr/^(?!.*(error|abort))/s],
	'the fight was fought',
	{
		'fight.floor@20' => qq(
			$fan
			\\set a random(1, 100)
			\\set what random(1, 6)
			SELECT try_hold(ARRAY[:a], 'u' || :fan + 1) AS r \\gset
			\\if :r > 0
				SELECT must_show(:a, 'h');
				\\if :what = 1
					BEGIN;
					SELECT ticket.seat_release(:r, 'u' || :fan + 1);
					SELECT must_show(:a, '.');
					ROLLBACK;
					SELECT must_show(:a, 'h');
				\\endif
				\\if :what < 4
					SELECT ticket.seat_release(:r, 'u' || :fan + 1);
				\\else
					SELECT ticket.pay_reservation(:r, 'u' || :fan + 1);
					SELECT must_show(:a, 'X');
					SELECT ticket.reservation_cancel(:r, 'u' || :fan + 1);
				\\endif
			\\endif),
		'fight.balcony@1' => qq(
			$fan
			\\set a random(101, 400)
			\\set b random(101, 400)
			SELECT try_hold(CASE WHEN :a <> :b THEN ARRAY[:a, :b] ELSE ARRAY[:a] END, 'u' || :fan + 1) AS r \\gset
			\\if :r > 0
				SELECT must_show(:b, 'h');
				SELECT ticket.pay_reservation(:r, 'u' || :fan + 1);
				SELECT must_show(:a, 'X');
			\\endif),
		'fight.look@5' => 'SELECT between_looks();',
		'fight.poll@10' => "$fan\nSELECT poll(:fan);",
		'fight.verify@1' => q(
			SELECT 1 / (count(*) = 0)::int FROM ticket.verify('1 day') WHERE NOT ok;),
	});
cmp_ok($node->safe_psql('fight', q(SELECT count(*) FROM ticket.seat WHERE status = 'sold')), '>', 20, 'much was sold');
maps_agree($node, 'fight', 'after the fight');
is($node->safe_psql('fight', 'SELECT sum(in_flight), sum(unread) FROM ticket.seat_map_memory()'), '0|0',
	'no transaction is still marked');
$node->safe_psql('fight', 'SELECT poll(client) FROM client_version');
is( $node->safe_psql('fight', q(
		SELECT count(*) FROM client c JOIN painted() p USING (section_id) WHERE c.map <> p.map;
		SELECT count(*) > 10 FROM client_version)), "0\nt", 'whoever asked for what had changed has it all');
verified($node, 'fight', 'after the fight');

# --- restart, crash

my $version = $node->safe_psql('fight', 'SELECT max(version) FROM ticket.seat_map(1)');
is($node->safe_psql('fight', "SELECT count(*) FROM ticket.seat_map(1, since => $version)"), '0', 'nothing has changed');
$node->restart;
is($node->safe_psql('fight', 'SELECT count(*) FROM ticket.seat_map_memory()'), '0', 'after a restart memory is empty');
is($node->safe_psql('fight', "SELECT count(*) FROM ticket.seat_map(1, since => $version)"), '2',
	'what clients have from before the restart is not taken for the latest');
maps_agree($node, 'fight', 'after a restart');
is($node->safe_psql('fight', 'SELECT count(*) FROM ticket.seat_map_memory() WHERE unread = 0'), '2', 'and memory has it');
$version = $node->safe_psql('fight', 'SELECT max(version) FROM ticket.seat_map(1)');
$node->stop('immediate');
$node->start;
is($node->safe_psql('fight', "SELECT count(*) FROM ticket.seat_map(1, since => $version)"), '2', 'so it is after a crash');
maps_agree($node, 'fight', 'after a crash');

# --- standby and promotion

$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
$node->safe_psql('fight', q(UPDATE ticket.seat SET status = 'blocked' WHERE seat_id = 400 AND status = 'free'));
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
maps_agree($standby, 'fight', 'on a standby');
is( $standby->safe_psql('fight', qq(
		SELECT DISTINCT version IS NULL FROM ticket.seat_map(1);
		SELECT count(*) FROM ticket.seat_map(1, since => $version);
		SELECT count(*) FROM ticket.seat_map_memory())), "t\n2\n0", '... nothing is known of versions, all is sent');
$node->stop;
$standby->promote;
maps_agree($standby, 'fight', 'promoted');
is($standby->safe_psql('fight', "SELECT count(*) FROM ticket.seat_map(1, since => $version)"), '2',
	'what clients have from the other server is not taken for the latest');
$version = $standby->safe_psql('fight', 'SELECT max(version) FROM ticket.seat_map(1)');
is($standby->safe_psql('fight', "SELECT count(*) FROM ticket.seat_map(1, since => $version)"), '0', 'from then on versions are');
$standby->stop;

# --- a small memory: room for two sections of 64

my $small = sale_node('small', conf => "ticket.max_map_seats = 128\nmax_prepared_transactions = 5");
$small->start;
for my $database (qw(one two))
{
	$small->safe_psql('postgres', "CREATE DATABASE $database");
	$small->safe_psql($database, "CREATE EXTENSION ticket; $painted");
	$small->safe_psql($database, q(
		SELECT ticket.venue_create('hall');
		SELECT ticket.concert_create('concert');
		SELECT ticket.performance_create(1, 1, now() + '30 days');
		SELECT ticket.section_create(1, s, 100, 2, 32) FROM unnest('{a,b,c}'::text[]) AS s;));
}
my $known = 'SELECT string_agg(section_id::text, $$,$$ ORDER BY section_id) FROM ticket.sections(1) WHERE version IS NOT NULL';
is($small->safe_psql('one', $known), '1,2', 'full: two sections are in memory');
maps_agree($small, 'one', 'full');
$small->safe_psql('one', q(SELECT ticket.seat_hold(1, '{1,65,129}', 'ann')));
maps_agree($small, 'one', 'full, after a hold');
is($small->safe_psql('two', $known), '', 'full: another database has no room');
maps_agree($small, 'two', 'full, another database');
verified($small, 'two', 'full');
# What nobody has looked at for a while gives way to what is looked at.
is($small->safe_psql('two', "SET ticket.clock_offset = '1min'; $known"), '1,2', 'later the other database has it');
is($small->safe_psql('one', 'SELECT count(*) FROM ticket.seat_map_memory()'), '0', 'and the first has none');
maps_agree($small, 'one', 'given way');
$small->safe_psql('postgres', 'DROP DATABASE two');
is($small->safe_psql('one', $known), '1,2', 'DROP DATABASE gives room back');
$small->safe_psql('one', 'SET ticket.allow_drop = on; DROP EXTENSION ticket CASCADE; DROP FUNCTION IF EXISTS painted()');
$small->safe_psql('postgres', 'CREATE DATABASE three');
$small->safe_psql('three', "CREATE EXTENSION ticket; $painted");
sale_open($small, 'three', queue => 0, rows => 6);
is($small->safe_psql('three', $known), '1', 'so does DROP EXTENSION');
# A section that is larger than memory.
$small->safe_psql('three', q(SELECT ticket.section_create(1, 'large', 100, 10, 20)));
is($small->safe_psql('three', $known), '1', 'a section larger than memory is read from the table');
maps_agree($small, 'three', 'larger than memory');
verified($small, 'three', 'a small memory');
$small->stop;

# --- no memory at all

$small->append_conf('postgresql.conf', 'ticket.max_map_seats = 0');
$small->start;
is($small->safe_psql('three', $known), '', 'without memory nothing is known');
maps_agree($small, 'three', 'without memory');
$small->safe_psql('three', q(SELECT ticket.seat_hold(1, '{1,60,61}', 'ann')));
maps_agree($small, 'three', 'without memory, after a hold');
verified($small, 'three', 'without memory');
$small->stop;

done_testing();
