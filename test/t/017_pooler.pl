# PgBouncer in transaction mode: clients share server sessions.  What a client
# sets the recommended way, with SET LOCAL, the next one does not have.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Sale;
use Test::More;

my ($pgbouncer) = grep { -x } '/usr/sbin/pgbouncer', '/usr/bin/pgbouncer';
plan skip_all => 'no pgbouncer' unless $pgbouncer;

my $node = sale_node('main', conf => "ticket.user_claim = 'request.jwt.claims.sub'");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION ticket');
sale_open($node, 'postgres', queue => 0);

# One server session for all
my $dir = PostgreSQL::Test::Utils::tempdir;
my $port = PostgreSQL::Test::Cluster::get_free_port();
my $socket = PostgreSQL::Test::Utils::tempdir_short;
append_to_file("$dir/ini", <<"END");
[databases]
postgres = host=@{[ $node->host ]} port=@{[ $node->port ]}
[pgbouncer]
listen_addr =
listen_port = $port
unix_socket_dir = $socket
auth_type = any
pool_mode = transaction
default_pool_size = 1
logfile = $dir/log
pidfile = $dir/pid
END
# auth_type any logs everybody in as the user of the database's line
my $ini = slurp_file("$dir/ini") =~ s/^(postgres = .*)$/$1 user=@{[ scalar getpwuid $> ]}/mr;
unlink "$dir/ini";
append_to_file("$dir/ini", $ini);
my $through = "host=$socket port=$port dbname=postgres";
my ($pooler, $out, $error);

sub pooler_start
{
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $up = 0;

	$pooler = IPC::Run::start([ $pgbouncer, "$dir/ini" ], '<', \undef, '>', \$out, '2>', \$error);
	while (!$up && $pooler->pumpable)
	{
		$up = IPC::Run::run([ 'psql', '-X', '-At', '-d', $through, '-c', 'SELECT 1' ], '>', \my $one, '2>', \my $no);
		select undef, undef, undef, 0.1 unless $up;
	}
	ok($up, 'pgbouncer answers') or BAIL_OUT($error);
	return;
}

sub pooler_stop
{
	$pooler->signal('TERM');
	$pooler->finish;
	return;
}

pooler_start();

sub client
{
	my ($sql) = @_;
	my ($answer, $complaint);
	IPC::Run::run([ 'psql', '-X', '-q', '-At', '-d', $through, '-v', 'VERBOSITY=verbose' ], '<', \$sql, '>', \$answer, '2>', \$complaint);
	return ($answer . $complaint) =~ s/\n\z//r;
}
my $settings = q(SELECT coalesce(current_setting('request.jwt.claims', true), ''), current_setting('ticket.http_errors'),
	current_setting('ticket.trace_id'));

my $backend = client('SELECT pg_backend_pid()');
is(client('SELECT pg_backend_pid()'), $backend, 'two clients, one session of the server');

# The recommended way: all of it within the transaction of the call
my $call = q(
	BEGIN;
	SET LOCAL ticket.http_errors = on;
	SET LOCAL ticket.trace_id = 'anna-1';
	SELECT set_config('request.jwt.claims', '{"sub": "anna"}', true) IS NULL;
	%s;
	COMMIT;);
like(client(sprintf $call, q(SELECT status FROM ticket.seat_hold(1, '{1}', 'anna'))), qr/^f\nheld$/, 'a call with settings of its own');
is(client($settings), '|off|', 'the next client has none of them');
like(client(sprintf $call, q(SELECT ticket.seat_hold(1, '{2}', 'ben'))), qr/ERROR:  PT403:/, 'a call that is refused');
is(client($settings), '|off|', 'the next client has none of them either');
like(client(q(SELECT ticket.seat_hold(1, '{2}', 'anna'))), qr/ERROR:  TK013:/, 'nor is he anna');
is(client('SELECT pg_backend_pid()'), $backend, 'all in one session');
like($node->safe_psql('postgres', q(SELECT payload ->> 'trace_id' FROM ticket.outbox WHERE type = 'reservation.held')),
	qr/^anna-1$/, 'the event belongs to its trace');

# The other way: this is why
client(q(SET ticket.http_errors = on; SET ticket.trace_id = 'leak'; SET request.jwt.claims = '{"sub": "anna"}'));
is(client($settings), '{"sub": "anna"}|on|leak', 'SET without LOCAL is there for whoever comes next');

# server_reset_query is not asked in transaction mode, unless it is told to be.
pooler_stop();
append_to_file("$dir/ini", "server_reset_query_always = 1\n");
pooler_start();
client(q(SET ticket.http_errors = on; SET ticket.trace_id = 'leak'; SET request.jwt.claims = '{"sub": "anna"}'));
is(client($settings), '|off|', 'with server_reset_query_always it is not');

pooler_stop();
verified($node, 'postgres', 'the sale');
$node->stop;
done_testing();
