# The jobs, through a real pg_cron: registered once, run each minute, from the
# database that pg_cron lives in and from another one.

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

# --- without pg_cron

$node->safe_psql('postgres', 'CREATE EXTENSION ticket');
like(refused($node, 'postgres', 'SELECT ticket.schedule_jobs()', 'TK017', 'pg_cron is not loaded'),
	qr/^HINT: .*shared_preload_libraries.*ticket\.tick\(\)/m, '... and what to do');
is($node->safe_psql('postgres', 'SELECT ticket.unschedule_jobs()'), '0', 'nothing to unschedule');

# --- with it

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'ticket,pg_cron'");
$node->append_conf('postgresql.conf', "cron.database_name = 'postgres'");
$node->append_conf('postgresql.conf', "cron.host = '@{[ $node->host ]}'");
$node->restart;
like(
	refused($node, 'postgres', 'SELECT ticket.schedule_jobs()', 'TK017', 'pg_cron is loaded but not created'),
	qr/^HINT: .*CREATE EXTENSION pg_cron/m, '... and what to do');
$node->safe_psql('postgres', 'CREATE EXTENSION pg_cron');

my $jobs = 'SELECT jobid, jobname, schedule, command, database, active FROM cron.job ORDER BY jobid';
my $job = $node->safe_psql('postgres', 'SELECT ticket.schedule_jobs()');
my $registered = $node->safe_psql('postgres', $jobs);
like($registered, qr/^$job\|[^|]+\|\* \* \* \* \*\|CALL ticket\.run\(\)\|postgres\|t$/m, 'run is registered');
like($registered, qr/\|DELETE FROM cron\.job_run_details\b.*\|postgres\|t$/m, '... and a purge of the log');
is(scalar(split /\n/, $registered), 2, '... and that is all');
is($node->safe_psql('postgres', 'SELECT ticket.schedule_jobs()'), $job, 'once more: the same job');
is($node->safe_psql('postgres', $jobs), $registered, '... and nothing new');

# From another database the way is the one that the hint says.
$node->safe_psql('postgres', q(CREATE DATABASE "the Other's"));
my $other = q(the Other's);
$node->safe_psql($other, 'CREATE EXTENSION ticket');
my $error = refused($node, $other, 'SELECT ticket.schedule_jobs()', 'TK017', 'pg_cron lives in another database');
like($error, qr/^DETAIL: .*cron\.database_name is "postgres"/m, '... says which');
my ($home, $command) = $error =~ /^HINT:  In database "([^"]+)": (SELECT cron\.schedule_in_database\(.*\);)$/m;
is($home, 'postgres', '... and the command');
is(outcome($node, $home, $command), '00000', 'the command of the hint works');
is($node->safe_psql('postgres', 'SELECT command FROM cron.job WHERE database = $$' . $other . '$$ AND active'),
	'CALL ticket.run()', '... and registers run there');

# --- they run

my %token;
for my $database ('postgres', $other)
{
	sale_open($node, $database, capacity => 1, hold => '200 milliseconds');
	$token{$database} = enqueue($node, $database, 'a');
	enqueue($node, $database, 'b');
}

# Tables only: no call of ours does what the job should do.
ok( $node->poll_query_until(
		'postgres', q(
		SELECT count(DISTINCT datname) = 2 FROM pg_stat_activity
		WHERE query LIKE 'CALL ticket.run()%' AND pid <> pg_backend_pid())),
	'run is started in both databases');
for my $database ('postgres', $other)
{
	$node->safe_psql($database, "SELECT ticket.seat_hold(1, '{1, 2}', 'a', '$token{$database}')");
	ok( $node->poll_query_until($database, q(SELECT status = 'expired' FROM ticket.reservation)),
		"$database: a hold that is over is tidied");
	is($node->safe_psql($database, 'SELECT count(*) FROM ticket.seat WHERE status <> $$free$$'),
		'0', '... and its seats are free');
	$node->safe_psql($database, "SELECT ticket.ticket_leave('$token{$database}')");
	ok( $node->poll_query_until($database, q(SELECT status = 'active' FROM ticket.queue_entry WHERE user_id = 'b')),
		"$database: who waits is let in");
	verified($node, $database, $database);
}
is($node->safe_psql('postgres', q(SELECT count(*) FROM cron.job_run_details WHERE status = 'failed')),
	'0', 'no run has failed');

# --- and are taken out

is($node->safe_psql('postgres', 'SELECT ticket.unschedule_jobs()'), '2', 'unschedule_jobs takes both out');
is($node->safe_psql('postgres', 'SELECT database FROM cron.job'), $other, "... and leaves the other database's");
is($node->safe_psql('postgres', 'SELECT ticket.unschedule_jobs()'), '0', 'once more: nothing to do');
isnt($node->safe_psql('postgres', 'SELECT ticket.schedule_jobs()'), $job, 'they can be registered anew');

$node->stop;
done_testing();
