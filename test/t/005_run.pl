# The clock of a database: CALL ticket.run().  Holds are tidied and waiting fans
# let in without any other call; one runner at a time, and however one ends, the
# next can start at once.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Sale;
use Test::More;

my $node = sale_node('main');
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION ticket');
sale_open($node, 'postgres', capacity => 1, hold => '300 milliseconds');

# Starts a runner in a session of its own; returns the session and its pid once
# the runner runs.
my $runners = 0;

sub start_runner
{
	my $name = 'runner' . ++$runners;
	my $session = $node->background_psql('postgres', on_error_stop => 0);

	$session->query_until(
		qr/^started$/m, qq(
		\\set VERBOSITY verbose
		SET application_name = '$name';
		\\echo started
		CALL ticket.run('1 hour');
		\\echo ended
	));
	$node->poll_query_until(
		'postgres', qq(
		SELECT count(*) = 1 FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		WHERE l.locktype = 'advisory' AND l.granted AND a.application_name = '$name'
			AND a.query LIKE '%ticket.run%'))
	  or die "$name does not start";
	return ($session,
		$node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE application_name = '$name'"));
}

sub runner_ends
{
	my ($session, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	pump_until($session->{run}, $session->{timeout}, \$session->{stderr}, $expected);
	like($session->{stderr}, $expected, $name);
	$session->{stderr} = '';
	return;
}

# Reads a table, which no function is called for
sub becomes
{
	my ($sql, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	ok($node->poll_query_until('postgres', $sql), $name);
	return;
}

# Whom nobody lets in waits, also when there is room.
my $a = enqueue($node, 'postgres', 'a');
my $b = enqueue($node, 'postgres', 'b');
my $c = enqueue($node, 'postgres', 'c');
my $late = $node->safe_psql('postgres', "SELECT reservation_id FROM ticket.seat_hold(1, '{1}', 'a', '$a')");
becomes("SELECT expires_at < clock_timestamp() FROM ticket.reservation WHERE reservation_id = $late",
	'a hold ends');
$node->safe_psql('postgres', "SELECT ticket.ticket_leave('$a')");
is( $node->safe_psql(
		'postgres', qq(
		SELECT status FROM ticket.ticket_status('$b');
		SELECT status FROM ticket.reservation WHERE reservation_id = $late)),
	"waiting\nheld",
	'without a runner nothing moves by itself');

my ($session, $pid) = start_runner();

becomes("SELECT status = 'expired' FROM ticket.reservation WHERE reservation_id = $late",
	'the runner tidies what it finds');
becomes("SELECT status = 'active' FROM ticket.queue_entry WHERE user_id = 'b'",
	'... and lets in who waits');

my $hold = $node->safe_psql('postgres', "SELECT reservation_id FROM ticket.seat_hold(1, '{2, 3}', 'b', '$b')");
becomes("SELECT status = 'expired' FROM ticket.reservation WHERE reservation_id = $hold",
	'a hold made while it runs is tidied');

# A hold that is over but locked by somebody: the runner waits meanwhile, round
# by round, and is back at once.
my $locker = $node->background_psql('postgres');
my ($held, $locked) = ('');
$node->safe_psql('postgres', q(UPDATE ticket.performance SET hold_interval = '1 second'));
while ($held ne 'held')
{
	$locked = $node->safe_psql('postgres', "SELECT reservation_id FROM ticket.seat_hold(1, '{4}', 'b', '$b')");
	$held = $locker->query_safe("BEGIN; SELECT status FROM ticket.reservation WHERE reservation_id = $locked FOR UPDATE");
	$locker->query_safe('ROLLBACK') unless $held eq 'held';
}
my $rounds = q((regexp_match(ticket.metrics(), 'ticket_rounds_total (\d+)'))[1]::int);
becomes("SELECT expires_at < clock_timestamp() FROM ticket.reservation WHERE reservation_id = $locked",
	'a hold is over while somebody has it locked');
my $before = $node->safe_psql('postgres', "SELECT $rounds");
becomes("SELECT $rounds > $before + 2 AND wait_event_type = 'Extension' FROM pg_stat_activity WHERE pid = $pid",
	'... the runner comes back to it, and sleeps in between');
$locker->query_safe('ROLLBACK');
$locker->quit;
becomes("SELECT status = 'expired' FROM ticket.reservation WHERE reservation_id = $locked",
	'... and tidies it when it is let go');
$node->safe_psql('postgres', q(UPDATE ticket.performance SET hold_interval = '300 milliseconds'));

# A hold that is committed after its end, when the runner has gone on
my $tardy = $node->background_psql('postgres');
my ($late_hold, $ends) = split /\|/,
  $tardy->query_safe("BEGIN; SELECT reservation_id, expires_at FROM ticket.seat_hold(1, '{5}', 'b', '$b')");
becomes("SELECT clock_timestamp() > '$ends'", 'a hold ends before it is committed');
$before = $node->safe_psql('postgres', "SELECT $rounds");
becomes("SELECT $rounds > $before + 1", '... and the runner goes on');
$tardy->query_safe('COMMIT');
$tardy->quit;
becomes("SELECT status = 'expired' FROM ticket.reservation WHERE reservation_id = $late_hold", '... and comes back to it');
is($node->safe_psql('postgres', "SELECT count(*) FROM ticket.seat WHERE status <> 'free'"),
	'0', '... and its seats are free');
is($node->safe_psql('postgres', "SELECT status FROM ticket.queue_entry WHERE user_id = 'c'"),
	'waiting', 'nobody is let in above the capacity');
$node->safe_psql('postgres', "SELECT ticket.ticket_leave('$b')");
becomes("SELECT status = 'active' FROM ticket.queue_entry WHERE user_id = 'c'",
	'room that falls free is given to the next');
$node->safe_psql('postgres', q(UPDATE ticket.queue SET active_ttl = '200 milliseconds', capacity = 2));
enqueue($node, 'postgres', $_) for 'd', 'e', 'f';
$node->safe_psql('postgres', "SELECT ticket.ticket_leave('$c')");
becomes(
	q(SELECT count(*) = 3 FROM ticket.queue_entry WHERE user_id IN ('d', 'e', 'f') AND status = 'expired'
		AND admitted_at IS NOT NULL),
	'tickets whose time is up end and make room for the next');

# One at a time
my ($state, $out, $notice) = outcome($node, 'postgres', q(CALL ticket.run('1 hour')));
is($state, '00000', 'a second runner returns');
like($notice, qr/NOTICE: .*another session runs this database's clock/, '... and says why');
is($node->safe_psql('postgres', "SELECT query LIKE '%ticket.run%' AND state = 'active'
		FROM pg_stat_activity WHERE pid = $pid"),
	't', '... while the first goes on');
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', 'CREATE EXTENSION ticket');
($state, $out, $notice) = outcome($node, 'other', q(CALL ticket.run('10 milliseconds')));
is("$state$notice", '00000', 'another database has its own');

# Who leaves wakes the runner for the next in line.  By itself it comes once in a
# while, as does that of a database in which nothing happens: the rounds of that
# one are the time that fifty would have to wait for.
my $idle = $node->background_psql('other', on_error_stop => 0);
$idle->query_until(qr/^started$/m, "\\echo started\nCALL ticket.run('1 hour');\n");
$node->poll_query_until('other', "SELECT $rounds > 1") or die 'the idle one does not run';
$before = $node->safe_psql('other', "SELECT $rounds");
$node->safe_psql('postgres', q(
	UPDATE ticket.queue SET active_ttl = '1 hour', capacity = 1, announce = false;
	CREATE PROCEDURE one_by_one() LANGUAGE plpgsql AS $$
	DECLARE
		token uuid[] := array(SELECT t.token FROM generate_series(1, 51) i, ticket.ticket_enqueue(1, 'one' || i) t);
	BEGIN
		FOR i IN 2 .. 51 LOOP
			COMMIT;
			WHILE (SELECT s.status <> 'active' FROM ticket.ticket_status(token[i - 1]) s) LOOP
				PERFORM pg_sleep(0.001);
			END LOOP;
			PERFORM ticket.ticket_leave(token[i - 1]);
		END LOOP;
	END $$));
$node->safe_psql('postgres', 'CALL one_by_one()');
cmp_ok($node->safe_psql('other', "SELECT $rounds") - $before, '<', 20, 'who leaves wakes it for the next');
$node->safe_psql('other', q(SELECT pg_terminate_backend(pid, 180000) FROM pg_stat_activity
	WHERE datname = 'other' AND query LIKE 'CALL ticket.run%'));
$idle->{run}->finish;
$node->safe_psql('postgres', 'SELECT ticket.queue_clear(1, true)');

# A rehearsal with the clock an hour ahead: put back, silence is looked for at once.
$node->safe_psql('other', q(SELECT ticket.queue_create('rehearsed', capacity => 0, idle_ttl => '1 millisecond');
	SET ticket.clock_offset = '1h'; SELECT ticket.tick()));
enqueue($node, 'other', 'silent');
ok($node->poll_query_until('other', 'SELECT (ticket.tick()).expired_tickets = 1'), 'the clock put back: silence is looked for');

# Not inside a transaction, and not from a function
refused($node, 'postgres', q(BEGIN; CALL ticket.run('1 second')), '2D000',
	'run is refused inside a transaction block');
refused($node, 'postgres', "CREATE FUNCTION run_it() RETURNS void LANGUAGE plpgsql AS
		\$\$BEGIN CALL ticket.run('1 second'); END\$\$; SELECT run_it()",
	'2D000', '... and in a function');
refused($node, 'postgres', "CALL ticket.run($_)", '22023', "run($_) is refused")
  for 'NULL', q('-1 second');

# However it ends, the next one can start.
sub next_can_start
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($state, $out, $error) = outcome($node, 'postgres', q(CALL ticket.run('10 milliseconds')));

	is("$state$error", '00000', "$name: the next can start");
	return;
}

is($node->safe_psql('postgres', "SELECT pg_terminate_backend($pid, 180000)"), 't', 'terminate the runner');
next_can_start('terminated');
runner_ends($session, qr/57P01/, 'terminated: it says so');
$session->{run}->finish;

($session, $pid) = start_runner();
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
runner_ends($session, qr/57014/, 'cancelled: it says so');
next_can_start('cancelled');
is($session->query_safe('SELECT 1'), "ended\n1", 'cancelled: its session goes on');
$session->quit;

# Timeouts that role or database set are for clients: a runner that has waited for
# a lock for longer goes on.
$node->safe_psql('postgres', q(ALTER DATABASE postgres SET statement_timeout = '300ms';
	ALTER DATABASE postgres SET lock_timeout = '100ms'));
($session, $pid) = start_runner();
my $from = -s $node->logfile;
$node->safe_psql('postgres', "SELECT ticket.queue_clear(1, true)");
my $patient = enqueue($node, 'postgres', 'patient');
$locker = $node->background_psql('postgres');
$locker->query_safe('SET statement_timeout = 0; SET lock_timeout = 0;
	BEGIN; LOCK TABLE ticket.hold_timer IN ACCESS EXCLUSIVE MODE');
becomes("SELECT clock_timestamp() > waitstart + '300 milliseconds' FROM pg_locks WHERE pid = $pid AND NOT granted",
	'a runner waits for a lock for longer than its timeouts');
$locker->query_safe('COMMIT');
$locker->quit;
$hold = $node->safe_psql('postgres', "SELECT reservation_id FROM ticket.seat_hold(1, '{6}', 'patient', '$patient')");
becomes("SELECT status = 'expired' FROM ticket.reservation WHERE reservation_id = $hold", '... and does its work then');
is($node->safe_psql('postgres', "SELECT query LIKE '%ticket.run%' AND state = 'active' FROM pg_stat_activity WHERE pid = $pid"),
	't', '... in the same CALL');
unlike(substr(slurp_file($node->logfile), $from), qr/timeout|a round of ticket.run failed/, '... without a failure');

# What fails only when a round is committed does not end it, either.
$from = -s $node->logfile;
$node->safe_psql('postgres', q(
	CREATE FUNCTION not_now() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'not now'; END$$;
	CREATE CONSTRAINT TRIGGER not_now AFTER UPDATE ON ticket.queue_entry DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW WHEN (NEW.user_id = 'late') EXECUTE FUNCTION not_now()));
enqueue($node, 'postgres', 'late');
$node->safe_psql('postgres', "SELECT ticket.ticket_leave('$patient')");
$node->wait_for_log(qr/a round of ticket.run failed: not now/, $from);
$node->safe_psql('postgres', 'DROP TRIGGER not_now ON ticket.queue_entry');
becomes("SELECT status <> 'waiting' FROM ticket.queue_entry WHERE user_id = 'late'", 'a commit that failed is tried again');
is($node->safe_psql('postgres', "SELECT query LIKE '%ticket.run%' AND state = 'active' FROM pg_stat_activity WHERE pid = $pid"),
	't', '... in the same CALL');
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
runner_ends($session, qr/57014/, 'cancelled under timeouts: it says so');
is($session->query_safe('SHOW statement_timeout; SHOW lock_timeout'), "ended\n300ms\n100ms", '... and they hold again');
$session->quit;
$node->safe_psql('postgres', 'ALTER DATABASE postgres RESET ALL; SELECT ticket.queue_clear(1, true)');

($session, $pid) = start_runner();
$session->{run}->signal('KILL');
$session->{run}->finish;
is($node->safe_psql('postgres', "SELECT pg_terminate_backend($pid, 180000)"), 't', 'a client that is gone');
next_can_start('a client that is gone');

# One that can't do its work goes on trying, and says so in the log.
($session, $pid) = start_runner();
$from = -s $node->logfile;
$node->safe_psql('postgres', q(ALTER TABLE ticket.reservation ADD CONSTRAINT broken CHECK (status <> 'expired') NOT VALID;
	SELECT ticket.queue_create('second')));
enqueue($node, 'postgres', 'g', 2);
my $g = enqueue($node, 'postgres', 'g', 2);
$node->safe_psql('postgres', qq(UPDATE ticket.performance SET queue_id = 2;
	SELECT ticket.seat_hold(1, '{4}', 'g', '$g')));
$node->wait_for_log(qr/a round of ticket.run failed: .*broken/, $from);
$node->safe_psql('postgres', 'ALTER TABLE ticket.reservation DROP CONSTRAINT broken');
becomes("SELECT status = 'expired' FROM ticket.reservation WHERE user_id = 'g'",
	'a round that failed is tried again');

# It keeps nobody from going on.
is(outcome($node, 'postgres', 'SET ticket.allow_drop = on; DROP EXTENSION ticket'), '00000', 'DROP EXTENSION while it runs');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid, 180000)")
  if $node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid");
$session->{run}->finish;
$node->safe_psql('postgres', 'CREATE EXTENSION ticket');
next_can_start('created anew');
verified($node, 'postgres', 'created anew');

# A fast shutdown doesn't wait for it.
($session, $pid) = start_runner();
$node->stop('fast');
runner_ends($session, qr/57P01/, 'shutdown: it says so');
$session->{run}->finish;
unlike(slurp_file($node->logfile), qr/was terminated by signal|PANIC:/, 'no process crashed');

done_testing();
