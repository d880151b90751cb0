# Shared memory holds as many places as ticket.max_waiting says, whatever people
# do: somebody enters and leaves again and again, and a few stay, here and there
# in many queues; a full room half of which leaves before it opens, at random and
# all but one in a thousand.  Each time the rest of the places are for others, to
# the last; all are told where they stand; the same after a restart.
#
# VISITS in the environment: how often somebody enters and leaves (default 48,000).

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Sale;
use Test::More;

use constant { MAX_WAITING => 20000, QUEUES => 3 };

my $visits = $ENV{VISITS} // 48000;

my $node = sale_node('main',
	conf => "autovacuum = off\nticket.max_queues = @{[ QUEUES ]}\nticket.max_waiting = @{[ MAX_WAITING ]}");
$node->start;
$node->safe_psql('postgres', 'CREATE DATABASE other');
for my $db ('postgres', 'other')
{
	my $queues = $db eq 'other' ? 1 : QUEUES - 1;
	$node->safe_psql($db, qq(
	CREATE EXTENSION ticket;
	SELECT ticket.queue_create('q' || i, capacity => 10, idle_ttl => '1 day', opens_at => ticket.clock() + '1 hour')
	FROM generate_series(1, $queues) i;
	CREATE TABLE stays (queue_id bigint, user_id text, token uuid);
	CREATE SEQUENCE visitor;
	-- Somebody enters and leaves, so many times; one in \$3 stays.
	CREATE PROCEDURE visit(q bigint, visits int, one_in int) LANGUAGE plpgsql AS \$\$
	DECLARE
		n bigint;
		t uuid;
	BEGIN
		FOR i IN 1 .. visits LOOP
			n := nextval('visitor');
			SELECT token FROM ticket.ticket_enqueue(q, 'v' || n) INTO t;
			IF i % one_in = 0 THEN
				INSERT INTO stays VALUES (q, 'v' || n, t);
			ELSIF i % 50 < 48 THEN
				PERFORM ticket.ticket_leave(t);
			ELSE
				-- Set aside, and given back
				BEGIN
					PERFORM ticket.ticket_enqueue(q, 'w' || n);
					RAISE division_by_zero;
				EXCEPTION WHEN division_by_zero THEN
					PERFORM ticket.ticket_leave(t);
				END;
			END IF;
			IF i % 50 = 0 THEN
				COMMIT;
			END IF;
		END LOOP;
	END \$\$;
	-- How many can enter: all there is room for.
	CREATE FUNCTION fill(q bigint, OUT entered int, OUT detail text, OUT hint text) LANGUAGE plpgsql AS \$\$
	DECLARE
		n bigint;
	BEGIN
		entered := 0;
		LOOP
			BEGIN
				FOR i IN 1 .. 100 LOOP
					n := nextval('visitor');
					INSERT INTO stays SELECT q, 'v' || n, token FROM ticket.ticket_enqueue(q, 'v' || n);
				END LOOP;
				entered := entered + 100;
			EXCEPTION WHEN SQLSTATE 'TK004' THEN
				EXIT;
			END;
		END LOOP;
		LOOP
			BEGIN
				n := nextval('visitor');
				INSERT INTO stays SELECT q, 'v' || n, token FROM ticket.ticket_enqueue(q, 'v' || n);
				entered := entered + 1;
			EXCEPTION WHEN SQLSTATE 'TK004' THEN
				GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
				EXIT;
			END;
		END LOOP;
	END \$\$;
	-- Those who are told another position than counting the table gives.
	CREATE FUNCTION misled() RETURNS bigint LANGUAGE sql AS \$\$
		SELECT count(*) FROM (SELECT queue_id, user_id, row_number() OVER (PARTITION BY queue_id ORDER BY place) AS n
			FROM ticket.queue_entry WHERE ended_at IS NULL) e
		FULL JOIN (SELECT s.queue_id, s.user_id, t.status, t.position FROM stays s, ticket.ticket_status(s.token) t) s
			ON s.queue_id = e.queue_id AND s.user_id = e.user_id
		WHERE s.position IS DISTINCT FROM e.n OR s.status IS DISTINCT FROM 'waiting' \$\$));
}

# These leave.
sub leave
{
	my ($db, $who) = @_;
	return $node->safe_psql($db,
		"WITH gone AS (DELETE FROM stays WHERE $who RETURNING token) SELECT count(*) FILTER (WHERE ticket.ticket_leave(token)) FROM gone");
}

sub taken
{
	return $node->safe_psql('postgres', 'SELECT places FROM ticket.memory_stats');
}

sub all_is_well
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	for my $db ('postgres', 'other')
	{
		is($node->safe_psql($db, 'SELECT misled()'), 0, "$what: all in $db are told where they stand");
		verified($node, $db, $what);
	}
	return;
}

# --- one comes again and again, a few stay

for my $round (1 .. 4)
{
	$node->safe_psql($_->[0], "CALL visit($_->[1], $visits / 12, 1000)") for ['postgres', 1], ['postgres', 2], ['other', 1];
}
my $patient = $node->safe_psql('postgres', 'SELECT count(*) FROM stays') + $node->safe_psql('other', 'SELECT count(*) FROM stays');
is($patient, int($visits / 12 / 1000) * 12, 'they stay');
is(taken(), $patient, 'their places are all that is taken');
all_is_well('visits');

my ($entered, $detail, $hint) = split /\|/, $node->safe_psql('other', 'SELECT * FROM fill(1)');
is($entered, MAX_WAITING - $patient, 'the room is for others, to the last place');
my $here = $entered + $patient / 3;
like($detail, qr/^ticket\.max_waiting is @{[ MAX_WAITING ]}: so many places are taken, $here of them in this queue\.$/,
	'who comes then is told what has run out');
like($hint, qr/queue_clear.*max_waiting/, '... and what can be done');
is( $node->safe_psql('postgres', 'SELECT places = max_places, pages <= max_pages FROM ticket.memory_stats'),
	't|t', 'so are those who watch');
is( $node->safe_psql('postgres', q(SELECT substring(ticket.metrics() FROM '\nticket_memory_places (\d+)\n'))),
	MAX_WAITING, '... by the metrics, too');
all_is_well('full');

# --- a room full of people, half of whom leave before it opens

my @room = (['postgres', 1], ['postgres', 2], ['other', 1]);
for my $round (0 .. 5)
{
	my ($db, $queue) = @{ $room[$round % 3] };
	my $keep = (2, 1000, 2, 3000, 17, 2)[$round];
	my $who = ("right(user_id, 1) IN ('0', '2', '4', '6', '8')", "hashtext(user_id) % $keep <> 0")[$round % 2];

	leave($_, $who) for 'postgres', 'other';
	my $room = MAX_WAITING - taken();
	($entered) = split /\|/, $node->safe_psql($db, "SELECT * FROM fill($queue)");
	is($entered, $room, "round $round: as many enter as have left");
}
all_is_well('half of them left');

# --- they are read from the tables, in no order

$node->safe_psql('postgres', q(
	CREATE TABLE heap AS SELECT * FROM ticket.queue_entry;
	BEGIN;
	TRUNCATE ticket.queue_entry;
	INSERT INTO ticket.queue_entry SELECT * FROM heap ORDER BY hashint8(place);
	COMMIT));
$node->restart;
all_is_well('restart');
is(taken(), MAX_WAITING, 'all are back');
($entered) = split /\|/, $node->safe_psql('postgres', 'SELECT * FROM fill(1)');
is($entered, 0, 'and full it is');
for my $where (@room)
{
	my ($db, $queue) = @$where;
	$node->safe_psql($db, "SELECT ticket.queue_clear($queue)");
	$node->safe_psql($db, "DELETE FROM stays WHERE queue_id = $queue");
}
is($node->safe_psql('postgres', 'SELECT places, pages FROM ticket.memory_stats'), '0|0', 'all of it is given back');
($entered) = split /\|/, $node->safe_psql('postgres', 'SELECT * FROM fill(2)');
is($entered, MAX_WAITING, 'and can be had again');
all_is_well('again');

$node->stop;
done_testing();
