# Many at once: pictures of a line as clients in C and in Python read them, on the
# primary and on a standby; rounds that tell that a queue has moved; and calls of
# many users that are killed, which are there as a whole or not at all.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Sale;
use Test::More;

my $root = "$FindBin::RealBin/../..";
my $directory = PostgreSQL::Test::Utils::tempdir;
my $node = sale_node('primary', init => { allows_streaming => 1 }, conf => 'restart_after_crash = on');
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION ticket');
sale_open($node, 'postgres', capacity => 3);

# --- pictures: 10,000 entered, 3 of them straight in; then some gave up, most of
# the second page, all of the third

$node->safe_psql('postgres', q(
	CREATE TABLE mine AS SELECT m.token FROM ticket.ticket_enqueue_many(1, ARRAY(SELECT 'mine-' || i FROM generate_series(1, 10000) AS i)) AS m;
	SELECT count(ticket.ticket_leave(f.token)) FROM ticket.queue_entry AS e, ticket.ticket_find(1, e.user_id) AS f
	WHERE e.place % 7 = 3 OR e.place > 8190 OR e.place BETWEEN 4200 AND 8100));
our @tokens = split /\n/, $node->safe_psql('postgres', 'SELECT token FROM mine');
my $program = "$directory/picture";

is(system('cc', '-std=gnu99', '-Wall', '-Wextra', '-Werror', '-O2', "-I$root/src", '-o', $program, "$root/test/picture.c"), 0,
	'the client in C is compiled');

# What a client tells of all tickets from a picture: positions, separated by blanks.
sub told
{
	my ($picture, @command) = @_;
	my ($out, $error) = ('', '');

	IPC::Run::run(\@command, '<', \join("\n", $picture, @tokens, ''), '>', \$out, '2>', \$error)
	  or return "failed: $error";
	return join ' ', split /\n/, $out;
}

sub pictures_agree
{
	my ($server, $name) = @_;
	my $picture = $server->safe_psql('postgres', 'SELECT ticket.line_picture(1)');
	# Of those who wait; of the others a picture says 0
	my $positions = $server->safe_psql('postgres', q(
		SELECT string_agg(coalesce(position, 0)::text, ' ' ORDER BY n)
		FROM unnest(ticket.ticket_positions(ARRAY(SELECT token FROM mine))) WITH ORDINALITY AS p (position, n)));

	is(told($picture, $program), $positions, "$name: a client in C tells the positions that the server tells");
	is(told($picture, "$root/example/line_picture.py"), $positions, "$name: so does one in Python");
	return $picture;
}

my $picture = pictures_agree($node, 'primary');
{
	local @tokens = ();
	like(told('\x00' . substr($picture, 4), $program), qr/failed: this is no picture/, 'wrong bytes are refused in C');
	like(told(substr($picture, 0, -2), "$root/example/line_picture.py"), qr/failed: .*BadPicture/s, '... and in Python');
}
my $late = enqueue($node, 'postgres', 'late');
{
	local @tokens = ($late);
	is(told($picture, $program), '-1', 'who came later is not in it');
	is(told($picture, "$root/example/line_picture.py"), '-1', '... nor in Python');
}

# --- a standby

$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
$node->safe_psql('postgres', "SELECT ticket.ticket_leave(token) FROM mine OFFSET 5 LIMIT 1");
$node->wait_for_catchup($standby);
pictures_agree($standby, 'standby');
my $many = q(SELECT token, status, position, expires_at FROM ticket.ticket_status_many(ARRAY(SELECT token FROM mine)
	|| ARRAY[NULL, gen_random_uuid()]) OFFSET 0);
my $answer = $standby->safe_psql('postgres', "$many LIMIT 10001");
is($answer, $node->safe_psql('postgres', "$many LIMIT 10001"), 'ticket_status_many answers as on the primary');
is($answer =~ s/.*\n//sr, '|invalid||', '... also to NULL');
refused($standby, 'postgres', q(SELECT ticket.ticket_heard('{}')), 'TK016', 'no sign of life there');
refused($standby, 'postgres', q(SELECT * FROM ticket.ticket_enqueue_many(1, '{late}')), 'TK016', 'nobody enters there');
refused($standby, 'postgres', 'SELECT ticket.line_picture(2)', 'TK005', 'no picture of a queue that is not there');
$standby->stop;

# --- rounds that tell

my $notified = qr/notification "ticket_queue" with payload "\{"queue_id": 1, "promoted": 2\}"/;
my $round = q(LISTEN ticket_queue; UPDATE ticket.queue SET capacity = capacity + 2; SELECT ticket.tick());
unlike($node->safe_psql('postgres', $round), $notified, 'a round tells nothing');
like($node->safe_psql('postgres', "SET ticket.notify_moves = on; $round"), $notified, '... unless it is to');
unlike($node->safe_psql('postgres', 'SET ticket.notify_moves = on; LISTEN ticket_queue; SELECT ticket.tick()'), qr/notification/,
	'... and somebody was let in');
unlike(
	$node->safe_psql('postgres', "SET ticket.notify_moves = on; LISTEN ticket_queue;
	SELECT * FROM ticket.ticket_enqueue_many(1, '{quiet-1,quiet-2}'); SELECT ticket.ticket_leave('$late')"),
	qr/notification/, 'a buyer tells nothing');

# --- a call that is terminated while it waits for another

my $other = $node->background_psql('postgres', on_error_stop => 1);
$other->query_safe(q(BEGIN; SELECT * FROM ticket.ticket_enqueue(1, 'end-b')));
my $waiting = IPC::Run::start(
	[ 'psql', '-XAtq', '-d', $node->connstr('postgres') . ' application_name=waiting', '-c', q(SELECT * FROM ticket.ticket_enqueue_many(1, '{end-c,end-b,end-a}')) ],
	'>', \my $out, '2>', \my $error);
$node->poll_query_until('postgres', q(SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'waiting' AND wait_event_type = 'Lock')));
is($node->safe_psql('postgres', q(SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'waiting')), 't', 'a call is terminated');
$waiting->finish;
$other->query_safe('ROLLBACK');
$other->quit;
memory_agrees($node, 'postgres', 'terminated');
is($node->safe_psql('postgres', q(SELECT count(*) FROM ticket.queue_entry WHERE user_id LIKE 'end-%')), '0', 'nobody has entered');

# --- kill -9: each call is there as a whole or not at all, and each that was
# acknowledged is there

use constant { CLIENTS => 3, CALLS => 2000, USERS => 40 };

sub start_clients
{
	my ($name) = @_;
	my @clients;

	for my $client (1 .. CLIENTS)
	{
		my $calls = "$directory/$name.$client.sql";

		# Each third user comes a second time with the next call
		append_to_file($calls, join '', map { my $call = $_;
			"SELECT '$name-$client-$call', count(*), count(token) FROM ticket.ticket_enqueue_many(1, ARRAY["
			  . join(',', map { "'$name-$client-$call-$_'" } 1 .. USERS)
			  . join('', map { ",'$name-$client-@{[ $call - 1 ]}-$_'" } grep { $call > 1 && $_ % 3 == 0 } 1 .. USERS)
			  . "]);\n" } 1 .. CALLS);
		push @clients, IPC::Run::start(
			[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres') . ' application_name=fan', '-f', $calls ],
			'>', "$directory/$name.$client.out", '2>', "$directory/$name.$client.error");
	}
	return @clients;
}

for my $crash ('killed', 'stopped')
{
	my @clients = start_clients($crash);

	$node->poll_query_until('postgres', "SELECT count(*) > 3000 FROM ticket.queue_entry WHERE user_id LIKE '$crash-%'");
	if ($crash eq 'killed')
	{
		my $from = -s $node->logfile;
		my $pid = $node->safe_psql('postgres', q(SELECT pid FROM pg_stat_activity WHERE application_name = 'fan' ORDER BY state <> 'active', random() LIMIT 1));

		kill 'KILL', $pid or die "cannot kill backend $pid: $!";
		$node->wait_for_log(qr/all server processes terminated; reinitializing/, $from);
		$node->poll_query_until('postgres', 'SELECT true') or die 'the server does not come back';
	}
	else
	{
		$node->stop('immediate');
		$node->start;
	}
	for my $client (@clients)
	{
		$client->finish;
		isnt($client->result(0), 0, "$crash: a client has lost the server");
	}

	my @told = map { split /\n/, slurp_file($_) } glob "$directory/$crash.*.out";
	cmp_ok(scalar(@told), '>', 0, "$crash: some calls were acknowledged");
	is(join(' ', grep { !/\|(40\|40|53\|53)$/ } @told), '', "$crash: ... each for all its users");
	is( $node->safe_psql('postgres', "CREATE TEMP TABLE told (call text);\nCOPY told FROM stdin;\n"
			  . join('', map { s/\|.*//r . "\n" } @told)
			  . "\\.\n" . "SELECT call FROM told WHERE (SELECT count(*) FROM ticket.queue_entry WHERE user_id LIKE call || '-%') <> @{[ USERS ]}"),
		'', "$crash: they are there (" . @told . ')');
	is( $node->safe_psql('postgres', "
			SELECT regexp_replace(user_id, '-\\d+\$', '') AS call, count(*) FROM ticket.queue_entry WHERE user_id LIKE '$crash-%'
			GROUP BY 1 HAVING count(*) <> @{[ USERS ]}"),
		'', "$crash: each call is there as a whole or not at all");
	memory_agrees($node, 'postgres', $crash);
	verified($node, 'postgres', $crash);
}

done_testing();
