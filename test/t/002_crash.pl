# Crashes in the middle of a sale.  Clients enter the queue, hold and pay, and
# keep a log of what they were told.  A backend is killed with SIGKILL, so that
# the postmaster restarts all; the server is stopped at once and started again.
# Each time what was acknowledged must be in the tables, once, and shared memory
# must have what the tables have.
#
# CRASH_ROUNDS in the environment makes it longer (default 4).

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use IPC::Open2;
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Sale;
use Test::More;
use Time::HiRes qw(sleep);

use constant CLIENTS => 6;
# Payments acknowledged before the crash, and after it before the clients stop
use constant BEFORE => 60;
use constant AFTER => 30;

my $rounds = $ENV{CRASH_ROUNDS} // 4;

my $node = sale_node('main', conf => "restart_after_crash = on\nticket.max_waiting = 1000000");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION ticket');
# Queue 1 admits at once; in queue 2 everyone waits, so that positions stay.
sale_open($node, 'postgres', capacity => 1000000, hold => '10 minutes', rows => 1000);
$node->safe_psql('postgres', q(SELECT ticket.queue_create('still', idle_ttl => '1 day');
	UPDATE ticket.queue SET mode = 'paused' WHERE queue_id = 2));
my @early = map { enqueue($node, 'postgres', "early$_", 2) } 1 .. 20;
my $early = snapshot($node, 'postgres', @early);
my $logs = PostgreSQL::Test::Utils::tempdir;

# --- a client, in a process of its own

# Asks psql; returns its answer, '' when that is an error, undef when psql has
# lost the server.
sub ask
{
	my ($psql, $sql) = @_;
	my $answer = '';

	print { $psql->{in} } "$sql;\n\\echo end :ERROR\n" or return undef;
	while (defined(my $line = readline $psql->{out}))
	{
		return $1 eq 'true' ? '' : $answer if $line =~ /^end (\w+)$/;
		chomp($answer = $line);
	}
	return undef;
}

# One fan: every answer goes into the log before the next question is asked.
sub fan
{
	my ($psql, $log, $user) = @_;
	my $note = sub { syswrite $log, join(' ', @_) . "\n" };

	my $seat = 1 + int rand 10000;
	my $answer = ask($psql, "SELECT ticket.point_charge('$user', 150, 'first')") // return 0;
	$note->('charge', $user) if $answer ne '';
	$answer = ask($psql, "SELECT token FROM ticket.ticket_enqueue(2, '$user')") // return 0;
	$note->('wait', $user, $answer) if $answer ne '';
	my $token = ask($psql, "SELECT token FROM ticket.ticket_enqueue(1, '$user')") // return 0;
	return 1 if $token eq '';
	$note->('enter', $user, $token);
	my $hold = ask($psql, "SELECT reservation_id FROM ticket.seat_hold(1, '{$seat}', '$user', '$token')")
	  // return 0;
	return 1 if $hold eq '';
	$note->('hold', $user, $hold, $seat);
	return 1 if rand() < 0.2;
	$answer = ask($psql, "SELECT payment_id FROM ticket.pay_reservation($hold, '$user')") // return 0;
	$note->('pay', $user, $hold, $answer) if $answer ne '';
	return 1;
}

sub client
{
	my ($n) = @_;
	my ($psql, $count) = (undef, 0);

	srand($n);
	open(my $log, '>>', "$logs/$n") or POSIX::_exit(1);
	while (!-e "$logs/stop")
	{
		if (!$psql)
		{
			$psql = {};
			$psql->{pid} = open2($psql->{out}, $psql->{in}, 'psql', '-XAtq', '-d',
				$node->connstr('postgres') . ' application_name=fan');
			$psql->{in}->autoflush(1);
		}
		if (!fan($psql, $log, "c$n.$$." . ++$count))
		{
			close $psql->{$_} for 'in', 'out';
			waitpid $psql->{pid}, 0;
			undef $psql;
			# The server is down: not so fast
			sleep 0.05;
		}
	}
	POSIX::_exit(0);
}

sub start_clients
{
	unlink "$logs/stop";
	return map {
		my $n = $_;
		my $pid = fork // die "cannot fork: $!";
		client($n) if $pid == 0;
		$pid;
	} 1 .. CLIENTS;
}

sub stop_clients
{
	append_to_file("$logs/stop", '');
	waitpid $_, 0 for @_;
	return;
}

# The log of all clients: lines of one kind, split
sub told
{
	my ($kind) = @_;
	return grep { $_->[0] eq $kind } map { [split] } map { split /\n/, slurp_file($_) } glob "$logs/[0-9]*";
}

sub wait_for_payments
{
	my ($n) = @_;
	my $patience = 10 * $PostgreSQL::Test::Utils::timeout_default;

	while (told('pay') < $n)
	{
		die 'the sale stands still' if $patience-- == 0;
		sleep 0.1;
	}
	return;
}

# --- the checks

# Tests that a query over what was acknowledged finds nothing.
sub nothing
{
	my ($kind, $columns, $query, $name) = @_;
	my @rows = map { join("\t", @$_[1 .. $#$_]) . "\n" } told($kind);

	is( $node->safe_psql('postgres', "CREATE TEMP TABLE told ($columns);\nCOPY told FROM stdin;\n"
			  . join('', @rows) . "\\.\n$query"),
		'', "$name (" . @rows . ' acknowledged)');
	cmp_ok(scalar(@rows), '>', 0, "$name: there were some");
	return;
}

sub check
{
	my ($name) = @_;

	nothing('pay', 'user_id text, reservation_id bigint, payment_id bigint', q(
		SELECT t.* FROM told t
			LEFT JOIN ticket.payment p USING (payment_id, reservation_id, user_id)
			LEFT JOIN ticket.reservation r USING (reservation_id)
			LEFT JOIN ticket.ledger l ON l.payment_id = t.payment_id AND l.kind = 'payment'
			LEFT JOIN ticket.seat s ON s.performance_id = 1 AND s.seat_id = r.seat_ids[1]
		WHERE (p.status, r.status, l.amount, s.status, s.reservation_id)
			IS DISTINCT FROM ('captured', 'paid', 100, 'sold', t.reservation_id)
		UNION ALL
		SELECT 'twice', reservation_id, count(*) FROM ticket.payment GROUP BY reservation_id HAVING count(*) > 1
		UNION ALL
		SELECT 'twice', payment_id, count(*) FROM ticket.ledger WHERE kind = 'payment'
		GROUP BY payment_id HAVING count(*) > 1),
		"$name: payments are there, once");
	nothing('charge', 'user_id text', q(
		SELECT t.user_id FROM told t LEFT JOIN ticket.ledger l ON l.user_id = t.user_id AND l.kind = 'charge'
		GROUP BY t.user_id HAVING count(l.amount) <> 1 OR sum(l.amount) <> 150),
		"$name: charges are there, once");
	nothing('hold', 'user_id text, reservation_id bigint, seat_id int', q(
		SELECT t.* FROM told t LEFT JOIN ticket.seat s ON s.performance_id = 1 AND s.seat_id = t.seat_id
			LEFT JOIN ticket.reservation r ON r.reservation_id = t.reservation_id
		WHERE (s.reservation_id, r.user_id) IS DISTINCT FROM (t.reservation_id, t.user_id)),
		"$name: holds are there");
	nothing('wait', 'user_id text, token uuid', q(
		SELECT t.user_id, s.* FROM told t
			LEFT JOIN (SELECT user_id, row_number() OVER (ORDER BY place) AS n FROM ticket.queue_entry
				WHERE queue_id = 2 AND status = 'waiting') e USING (user_id),
			LATERAL ticket.ticket_status(t.token) s
		WHERE (s.status, s.position) IS DISTINCT FROM ('waiting', e.n)),
		"$name: who waits has his position");
	nothing('enter', 'user_id text, token uuid', q(
		SELECT t.user_id, s.status FROM told t
			LEFT JOIN ticket.reservation r ON r.user_id = t.user_id AND r.status = 'paid',
			LATERAL ticket.ticket_status(t.token) s
		WHERE s.status IS DISTINCT FROM CASE WHEN r.reservation_id IS NULL THEN 'active' ELSE 'finished' END),
		"$name: who was admitted is");
	is(snapshot($node, 'postgres', @early), $early, "$name: the first in line are");
	memory_agrees($node, 'postgres', $name);
	verified($node, 'postgres', $name);
	return;
}

# --- the crashes

sub kill_a_backend
{
	my $pid = $node->safe_psql('postgres', q(
		SELECT pid FROM pg_stat_activity WHERE application_name = 'fan'
		ORDER BY state <> 'active', random() LIMIT 1));
	my $from = -s $node->logfile;

	kill 'KILL', $pid or die "cannot kill backend $pid: $!";
	$node->wait_for_log(qr/all server processes terminated; reinitializing/, $from);
	$node->poll_query_until('postgres', 'SELECT true') or die 'the server does not come back';
	return;
}

sub stop_at_once
{
	$node->stop('immediate');
	$node->start;
	return;
}

my @crashes = ([ 'kill -9 of a backend', \&kill_a_backend ], [ 'immediate stop', \&stop_at_once ]);

for my $round (1 .. $rounds)
{
	my ($what, $crash) = @{ $crashes[$round % 2] };
	my @clients = start_clients();

	wait_for_payments(told('pay') + BEFORE);
	$crash->();
	wait_for_payments(told('pay') + AFTER);
	stop_clients(@clients);
	check("round $round, $what");
}

# With nobody about, everything is exactly as before.
my @tokens = map { $_->[2] } told('wait'), told('enter');
my $before = snapshot($node, 'postgres', @tokens);
stop_at_once();
is(snapshot($node, 'postgres', @tokens), $before, 'quiet: immediate stop changes nothing');
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_safe(q(SET application_name = 'fan'; BEGIN; SELECT count(ticket.ticket_enqueue(2, 'u' || i))
	FROM generate_series(1, 5000) i));
kill_a_backend();
$session->{run}->finish;
is(snapshot($node, 'postgres', @tokens), $before, 'quiet: a killed transaction leaves nothing');
memory_agrees($node, 'postgres', 'quiet');
verified($node, 'postgres', 'quiet');

$node->stop;
done_testing();
