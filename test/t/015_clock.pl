# ticket.clock_databases: a background worker runs the clock in each database that
# is named.  It is there when the server is, it comes back, it waits for what is not
# there yet, and it lets jobs of pg_cron go first.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Sale;
use Test::More;

my $node = sale_node('main', init => { allows_streaming => 1 });
$node->start;

# Reads what no function of ours is called for.
sub becomes
{
	my ($on, $database, $sql, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	ok($on->poll_query_until($database, $sql), $name);
	return;
}

# Who runs the clock of a database, as the lock says that run() has for all its time.
my $runners = q(SELECT a.backend_type || ' ' || d.datname FROM pg_locks l JOIN pg_stat_activity a USING (pid)
	JOIN pg_database d ON d.oid = l.database WHERE l.locktype = 'advisory' AND l.granted AND a.query LIKE 'CALL ticket.run%'
	AND a.datid = d.oid ORDER BY 1);
my $workers = q(SELECT datname FROM pg_stat_activity WHERE backend_type = 'ticket clock');

sub clock_goes
{
	my ($on, $database, $user, $seat, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$on->safe_psql($database, "SELECT ticket.seat_hold(1, '{$seat}', '$user')");
	becomes($on, $database, "SELECT status = 'expired' FROM ticket.reservation WHERE user_id = '$user'", $name);
	return;
}

sub named
{
	my ($names) = @_;

	$node->safe_psql('postgres', "ALTER SYSTEM SET ticket.clock_databases = $names");
	$node->reload;
	return;
}

# --- named before it is there

is($node->safe_psql('postgres', $workers), '', 'nobody is named, nobody runs');
is(outcome($node, 'postgres', q(ALTER SYSTEM SET ticket.clock_databases = 'a b,')), '22023', 'what is no list of names');
my $from = -s $node->logfile;
named(q('shop, "the Other''s", shop'));
$node->wait_for_log(qr/there is no database "shop"/, $from);
$node->wait_for_log(qr/there is no database "the Other's"/, $from);
pass('a database that does not exist: the log says so');
$node->safe_psql('postgres', 'CREATE DATABASE shop');
becomes($node, 'postgres', "SELECT count(*) = 1 FROM ($workers) w", 'once it is there, so is a worker');

# The schema is somebody's before the extension is.
$node->safe_psql('shop', q(CREATE SCHEMA ticket; CREATE TABLE public.called (by text);
	CREATE PROCEDURE ticket.run(duration interval) LANGUAGE sql AS 'INSERT INTO public.called VALUES (current_user)'));
becomes($node, 'shop', q(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'ticket clock' AND state = 'idle'), 'it waits for the extension');
$node->safe_psql('shop', q(SELECT pg_reload_conf(); SELECT pg_sleep(0)));
is($node->safe_psql('shop', 'SELECT count(*) FROM public.called'), '0', 'what only looks like it is not called');
$node->safe_psql('shop', q(DROP SCHEMA ticket CASCADE; CREATE EXTENSION ticket));
sale_open($node, 'shop', queue => 0, hold => '200 milliseconds', max_seats => 100);
clock_goes($node, 'shop', 'a', 1, 'with the extension the clock goes');
is($node->safe_psql('postgres', $runners), 'ticket clock shop', '... by the worker');
like(scalar(slurp_file($node->logfile, $from)), qr/^(?:(?!there is no database "shop").)*there is no database "shop"(?!.*there is no database "shop")/s,
	'what is not there was told once');

# --- it comes back

my $pid = $node->safe_psql('postgres', q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'ticket clock'));
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid, 180000)");
clock_goes($node, 'shop', 'b', 2, 'terminated, it comes back');
$node->safe_psql('postgres', q(SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE backend_type = 'ticket clock'));
clock_goes($node, 'shop', 'c', 3, 'cancelled, it comes back');
$node->safe_psql('postgres', q(SELECT pg_terminate_backend(pid, 180000) FROM pg_stat_activity WHERE backend_type = 'ticket clock launcher'));
$node->safe_psql('postgres', q(SELECT pg_terminate_backend(pid, 180000) FROM pg_stat_activity WHERE backend_type = 'ticket clock'));
clock_goes($node, 'shop', 'd', 4, 'so does who starts it');
$node->safe_psql('shop', 'SET ticket.allow_drop = on; DROP EXTENSION ticket; CREATE EXTENSION ticket');
sale_open($node, 'shop', queue => 0, hold => '200 milliseconds', max_seats => 100);
clock_goes($node, 'shop', 'e', 5, 'the extension is dropped and made again');
becomes($node, 'shop', q(SELECT n_tup_ins > 0 FROM pg_stat_user_tables WHERE relname = 'outbox'), 'the server is told what it writes');

# --- DROP DATABASE; names that are taken out

$node->safe_psql('postgres', qq(CREATE DATABASE "the Other's"));
becomes($node, 'postgres', "SELECT count(*) = 2 FROM ($workers) w", 'a second database, a second worker');
is(outcome($node, 'postgres', qq(DROP DATABASE "the Other's")), '00000', 'DROP DATABASE does not wait for it');
is($node->safe_psql('postgres', $workers), 'shop', '... and it is gone');
$node->safe_psql('postgres', qq(CREATE DATABASE "the Other's"));
becomes($node, 'postgres', "SELECT count(*) = 2 FROM ($workers) w", '... until the name is there again');
named(q('shop'));
becomes($node, 'postgres', "SELECT count(*) = 1 FROM ($workers) w", 'who is no longer named ends');
named(q(''));
becomes($node, 'postgres', "SELECT count(*) = 0 FROM ($workers) w", '... each of them');
named(q('shop'));
clock_goes($node, 'shop', 'f', 6, 'named again, it goes again');

# --- beside jobs

my $session = $node->background_psql('shop', on_error_stop => 0);
named(q(''));
becomes($node, 'postgres', "SELECT count(*) = 0 FROM ($workers) w", 'nobody runs it');
$session->query_until(qr/^started$/m, "\\echo started\nCALL ticket.run('1 hour');\n");
becomes($node, 'postgres', "SELECT count(*) = 1 FROM ($runners) r", 'a session runs it');
$from = -s $node->logfile;
named(q('shop'));
becomes($node, 'shop', q(SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'ticket clock' AND state = 'idle'), 'the worker steps aside');
clock_goes($node, 'shop', 'g', 7, 'the clock goes on');
is($node->safe_psql('postgres', $runners), 'client backend shop', '... by the session');
unlike(slurp_file($node->logfile, $from), qr/another session/, '... and nobody complains');
$node->safe_psql('shop', q(SELECT pg_terminate_backend(pid, 180000) FROM pg_stat_activity WHERE backend_type = 'client backend' AND query LIKE 'CALL ticket.run%'));
$session->{run}->finish;
clock_goes($node, 'shop', 'h', 8, 'when that one ends, the worker takes over');
is($node->safe_psql('postgres', $runners), 'ticket clock shop', '... by itself');

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'ticket,pg_cron'\ncron.database_name = 'shop'\ncron.host = '@{[ $node->host ]}'");
$node->restart;
becomes($node, 'postgres', "SELECT count(*) = 1 FROM ($runners) r", 'the clock goes when the server does');
$node->safe_psql('shop', 'CREATE EXTENSION pg_cron; SELECT ticket.schedule_jobs()');
becomes($node, 'shop', q(SELECT count(*) > 0 FROM cron.job_run_details WHERE command = 'CALL ticket.run()' AND status <> 'starting'), 'pg_cron calls it as well');
clock_goes($node, 'shop', 'i', 9, 'the clock goes on');
is($node->safe_psql('postgres', "SELECT count(*) FROM ($runners) r"), '1', '... by one of them');
is($node->safe_psql('shop', q(SELECT count(*) FROM cron.job_run_details WHERE status = 'failed')), '0', 'no job fails for it');
$node->safe_psql('shop', 'SELECT ticket.unschedule_jobs()');
verified($node, 'shop', 'all of it');

# --- promotion

$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->append_conf('postgresql.conf', "shared_preload_libraries = 'ticket'");
$standby->start;
$node->safe_psql('shop', 'UPDATE ticket.performance SET hold_interval = $$1 hour$$');
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', q(SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'ticket%')), '0', 'on a standby there is no clock');
$node->safe_psql('shop', q(UPDATE ticket.performance SET hold_interval = '200 milliseconds'));
named(q(''));
becomes($node, 'postgres', "SELECT count(*) = 0 FROM ($workers) w", 'the primary has stopped its clock');
$node->safe_psql('shop', q(SELECT ticket.seat_hold(1, '{10}', 'j')));
$node->wait_for_catchup($standby);
$node->stop;
$standby->promote;
becomes($standby, 'shop', q(SELECT status = 'expired' FROM ticket.reservation WHERE user_id = 'j'), 'promoted, the clock goes');
becomes($standby, 'postgres', "SELECT count(*) = 1 FROM ($runners) r", '... by a worker');
verified($standby, 'shop', 'promoted');

$standby->stop('fast');
unlike(slurp_file($_->logfile), qr/was terminated by signal|PANIC:|TRAP:/, $_->name . ': no process crashed') for $node, $standby;

done_testing();
