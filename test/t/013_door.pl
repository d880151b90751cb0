# What those at the door are told at any moment: while tickets changed by hand are
# being read again, and while shared memory is full to the last place.
#
# DOOR_SECONDS in the environment makes each part longer (default 5).

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Sale;
use Test::More;

use constant MAX_WAITING => 20000;

my $seconds = $ENV{DOOR_SECONDS} // 5;

my $node = sale_node('main', conf => 'ticket.max_waiting = ' . MAX_WAITING);
$node->start;

# Runs scripts, each with its weight; one that fails ends its client.
sub crowd
{
	my ($clients, $name, %scripts) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$node->pgbench("-n -c $clients -j 2 -T $seconds postgres",
		0, [qr/number of failed transactions: 0 /], [qr/^(?!.*(error|abort))/s], $name, \%scripts);
	return;
}

$node->safe_psql('postgres', q(
	CREATE EXTENSION ticket;
	CREATE FUNCTION same(what text, told text, expected text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF told IS DISTINCT FROM expected THEN
			RAISE EXCEPTION '%: % instead of %', what, told, expected;
		END IF;
	END $$;
));

# --- tickets changed by hand

my $n = MAX_WAITING - 1000;
$node->safe_psql('postgres', qq(
	SELECT ticket.queue_create('line', capacity => 0, idle_ttl => '1 hour');
	SELECT count(ticket.ticket_enqueue(1, 'u' || i)) FROM generate_series(1, $n) AS i;
	UPDATE ticket.queue SET rejoin = 'keep'));
my $last = enqueue($node, 'postgres', "u$n");
my $line = 'SELECT same($$line$$, (SELECT format($$%s %s$$, waiting, active) FROM ticket.queue_stats WHERE queue_id = 1),
	$$' . $n . ' 0$$);';

crowd(8, 'polls while the tables are read again',
	'hand@1' => 'UPDATE ticket.queue_entry SET status = status WHERE false;',
	'poll@20' => qq(SELECT same('poll', (SELECT format('%s %s', status, position) FROM ticket.ticket_status('$last')), 'waiting $n');),
	'again@5' => qq(SELECT same('again', (SELECT format('%s %s', status, position) FROM ticket.ticket_enqueue(1, 'u$n')), 'waiting $n');),
	'look@2' => $line,
	'promote@2' => q(SELECT same('promote', ticket.ticket_promote(1)::text, '0');));
memory_agrees($node, 'postgres', 'read again');

# --- full

# One place is left, or none: who is in and goes to the end of the line is never
# refused, whoever comes and goes meanwhile.
$n = $node->safe_psql('postgres', q(SELECT max_places - places - 1 FROM ticket.memory_stats));
$node->safe_psql('postgres', qq(
	SELECT ticket.queue_create('back', capacity => 0, idle_ttl => '1 hour');
	UPDATE ticket.queue SET rejoin = 'back' WHERE queue_id = 2;
	SELECT count(ticket.ticket_enqueue(2, 'u' || i)) FROM generate_series(1, $n) AS i));
$node->safe_psql('postgres', q(
	CREATE FUNCTION come_and_go(name text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM ticket.ticket_leave((ticket.ticket_enqueue(2, name)).token);
	EXCEPTION WHEN SQLSTATE 'TK004' THEN
		RETURN;
	END $$));
crowd(8, 'going to the end of the line while every place is taken',
	'back@1' => qq(\\set u random(1, $n)
		SELECT same('back', (SELECT status FROM ticket.ticket_enqueue(2, 'u' || :u)), 'waiting');),
	'other@3' => q(SELECT come_and_go('other' || :client_id);));
memory_agrees($node, 'postgres', 'full');
verified($node, 'postgres', 'full');

$node->stop;
done_testing();
