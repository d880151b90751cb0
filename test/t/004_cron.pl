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

# A copy of a server brings jobs that log in to the original, to a database that
# is not here, or as somebody who is not; a job of this server's other database
# and a stranger's stay.
my $host = $node->host;
my $port = $node->port;
$node->safe_psql(
	'postgres', qq(
	INSERT INTO cron.job (schedule, command, nodename, nodeport, database, username, jobname) VALUES
		('* * * * *', 'CALL ticket.run()', '$host', $port + 1, 'shop', 'postgres', 'ticket run in shop'),
		('17 * * * *', 'DELETE FROM cron.job_run_details', 'db1.example', $port, 'postgres', 'postgres', 'ticket run in shop (purge)'),
		('* * * * *', 'CALL ticket.run()', '$host', $port, 'gone', 'postgres', 'ticket run in gone'),
		('* * * * *', 'CALL ticket.run()', '$host', $port, 'postgres', 'nobody', 'ticket run in postgres'),
		('* * * * *', 'CALL ticket.run()', '$host', $port, 'template1', 'postgres', 'ticket run in template1'),
		('\@yearly', 'SELECT 1', 'db1.example', $port, 'postgres', 'postgres', 'somebody else''s');
	UPDATE cron.job SET nodeport = $port + 1 WHERE jobid = $job));
$job = $node->safe_psql('postgres', 'SELECT ticket.schedule_jobs()');
is( $node->safe_psql('postgres', 'SELECT jobname, nodename, nodeport, database FROM cron.job ORDER BY jobname'),
	join("\n", "somebody else's|db1.example|$port|postgres", (map { "ticket run in $_|$host|$port|postgres" } 'postgres', 'postgres (purge)'),
		"ticket run in template1|$host|$port|template1"),
	'jobs of another server are replaced');
$node->safe_psql('postgres', q(DELETE FROM cron.job WHERE jobname NOT LIKE 'ticket run in postgres%'));

# The purge takes what never ended and what never began, its own runs included.
$node->safe_psql(
	'postgres', q(
	INSERT INTO cron.job_run_details (jobid, runid, command, status, start_time, end_time)
	SELECT 1, n, c, s, b, e FROM (SELECT command AS p FROM cron.job WHERE jobname LIKE '%(purge)') j, LATERAL (VALUES
		(-9, 'CALL ticket.run()', 'failed', NULL::timestamptz, NULL::timestamptz),
		(-8, 'CALL ticket.run()', 'failed', now() - interval '3 days', NULL),
		(-7, p, 'succeeded', now() - interval '2 days', now() - interval '2 days'),
		(-6, 'SELECT 1', 'succeeded', now() - interval '2 days', now() - interval '2 days'),
		(-5, 'CALL ticket.run()', 'succeeded', now() - interval '2 days', now() - interval '2 days'),
		(-4, 'CALL ticket.run()', 'failed', NULL, NULL),
		(-3, 'CALL ticket.run()', 'succeeded', now(), now()),
		(-2, 'CALL ticket.run()', 'running', now(), NULL)) AS v (n, c, s, b, e)));
$node->safe_psql('postgres', $node->safe_psql('postgres', q(SELECT command FROM cron.job WHERE jobname LIKE '%(purge)')));
is($node->safe_psql('postgres', q(SELECT string_agg(runid::text, ' ' ORDER BY runid) FROM cron.job_run_details WHERE runid < 0)),
	'-6 -4 -3 -2', 'the purge takes the rows of a day ago, with or without an end');
$node->safe_psql('postgres', 'DELETE FROM cron.job_run_details');

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
