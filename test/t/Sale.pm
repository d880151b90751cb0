# Sale.pm
#
# What the TAP tests share: a server with ticket preloaded, a sale to work on,
# and the questions that are asked again and again.

package Sale;

use strict;
use warnings FATAL => 'all';

use Amcheck;
use Exporter 'import';
use FindBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(sale_node sale_open outcome refused enqueue verified
  memory_agrees queue_reads snapshot doc_commands shell_ok);

# A server that isn't started yet.  Options: libraries (default: ticket),
# conf (further lines of postgresql.conf), init (arguments of init()).
sub sale_node
{
	my ($name, %option) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	my $libraries = $option{libraries} // 'ticket';

	$node->init(%{ $option{init} // {} });
	$node->append_conf('postgresql.conf', "shared_preload_libraries = '$libraries'");
	$node->append_conf('postgresql.conf', 'log_statement = none');
	$node->append_conf('postgresql.conf', $option{conf}) if $option{conf};
	return $node;
}

# Queue 1 (unless queue => 0) and performance 1 with 10 rows of 10 seats in a
# database that has the extension and nothing else.
sub sale_open
{
	my ($node, $database, %option) = @_;
	my $queue = $option{queue} // 1;
	my $capacity = $option{capacity} // 1000;
	my $hold = $option{hold} // '5 minutes';
	my $rows = $option{rows} // 10;

	$node->safe_psql($database, "SELECT ticket.queue_create('door', capacity => $capacity,
			promote_count => 1000000, promote_interval => '1 second', idle_ttl => '1 hour')")
	  if $queue;
	$node->safe_psql(
		$database, qq(
		SELECT ticket.venue_create('hall');
		SELECT ticket.concert_create('concert');
		SELECT ticket.performance_create(1, 1, now() + '30 days',
			queue_id => @{[ $queue ? 1 : 'NULL' ]}, hold_interval => '$hold',
			max_seats_per_user => @{[ $option{max_seats} // 4 ]});
		SELECT ticket.section_create(1, 'floor', 100, $rows, 10);));
	return;
}

# How a statement ends: its SQLSTATE, '00000' when it succeeds; in list context
# also what it printed and the whole error.
sub outcome
{
	my ($node, $database, $sql) = @_;
	my ($status, $out, $error) =
	  $node->psql($database, $sql, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	my $state = '00000';

	if ($status != 0)
	{
		$state = $error =~ /(?:ERROR|FATAL|PANIC):  ([0-9A-Z]{5}): / ? $1 : "no SQLSTATE: $error";
	}
	return wantarray ? ($state, $out, $error) : $state;
}

# Tests that a statement ends with an SQLSTATE.
sub refused
{
	my ($node, $database, $sql, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($state, $out, $error) = outcome($node, $database, $sql);

	is($state, $expected, $name) or diag $error;
	return $error;
}

# Enters queue 1, or another one; returns the token.
sub enqueue
{
	my ($node, $database, $user, $queue) = @_;
	$queue //= 1;
	return $node->safe_psql($database, "SELECT token FROM ticket.ticket_enqueue($queue, '$user')");
}

# Tests that verify() finds nothing.
sub verified
{
	my ($node, $database, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is( $node->safe_psql(
			$database, q(
			SELECT count(*) FROM ticket.verify('1 day');
			SELECT invariant, violations, detail FROM ticket.verify('1 day') WHERE ok IS NOT TRUE)),
		$node->safe_psql($database, 'SELECT count(*) FROM ticket.verify()'),
		"$name: every invariant holds");
	return;
}

# Tests that, while nothing runs, shared memory counts what the tables have.
sub memory_agrees
{
	my ($node, $database, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is( $node->safe_psql(
			$database, q(
			SELECT queue_id, waiting, active, admitted, in_flight
			FROM ticket.queue_memory() ORDER BY queue_id)),
		$node->safe_psql(
			$database, q(
			SELECT q.queue_id, count(*) FILTER (WHERE e.status = 'waiting'),
				count(*) FILTER (WHERE e.status = 'active'),
				count(*) FILTER (WHERE e.status = 'active'), 0
			FROM ticket.queue q LEFT JOIN ticket.queue_entry e USING (queue_id)
			GROUP BY q.queue_id ORDER BY q.queue_id)),
		"$name: shared memory has what the tables have");
	return;
}

# How often the queues of this database have been read from the tables: once, and
# again each time that tickets were changed by something else than our functions.
sub queue_reads
{
	my ($node, $database) = @_;
	return $node->safe_psql($database,
		q(SELECT (regexp_match(ticket.metrics(), '^ticket_queue_reads_total (\d+)$', 'n'))[1]));
}

# The shell commands of a page: its ```sh blocks, each one text, in their order,
# from the one with this heading on to the next of its level or above.  What the
# page says is what is run.
sub doc_commands
{
	my ($page, $heading) = @_;
	my $text = slurp_file("$FindBin::RealBin/../../doc/$page");
	my ($level, $section) = $text =~ /^(#+) \Q$heading\E\n(.*)\z/ms or die "$page: no heading $heading";

	$section =~ s/^#{1,@{[ length $level ]}} .*\z//ms;
	my @blocks = $section =~ /^```sh\n(.*?)^```$/msg or die "$page, $heading: no commands";
	return @blocks;
}

# Tests that shell commands succeed, all of them.  Environment: further variables.
sub shell_ok
{
	my ($node, $commands, $name, %environment) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	local @ENV{ 'PGHOST', 'PGPORT', keys %environment } = ($node->host, $node->port, values %environment);
	my ($out, $error);

	ok(IPC::Run::run([ 'bash', '-e', '-o', 'pipefail', '-c', $commands ], '<', \undef, '>', \$out, '2>', \$error), $name)
	  or diag "$commands\n$out\n$error";
	note $error if $error;
	return $out;
}

# What the holders of these tokens are told, to compare before and after.
sub snapshot
{
	my ($node, $database, @tokens) = @_;
	my $list = join ',', @tokens;

	return $node->safe_psql(
		$database, qq(
		SELECT n, s.token, s.status, s.position, extract(epoch FROM s.expires_at)
		FROM unnest('{$list}'::uuid[]) WITH ORDINALITY AS t (token, n),
			LATERAL ticket.ticket_status(t.token) s ORDER BY n));
}

1;
