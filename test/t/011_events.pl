# Events reach who wants them: through logical decoding (wal2json, pg_recvlogical,
# killed in the middle) and through outbox_fetch by several consumers of which some
# give back and some are killed.  Each at least once, none lost, the order of each
# aggregate kept; also when the clock was set back, and with the trace in the log.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Sale;
use Test::More;

my $seconds = $ENV{FIGHT_SECONDS} // 8;

my $node = sale_node('main', init => { allows_streaming => 'logical' },
	conf => "max_connections = 50\nmax_prepared_transactions = 5\nautovacuum_naptime = 1s");
$node->start;

# Newer minor releases want to be told which decoders are to be trusted.
$node->safe_psql('postgres', q(SELECT 'ALTER SYSTEM SET output_plugin_libraries = wal2json' FROM pg_settings
	WHERE name = 'output_plugin_libraries' \gexec));
$node->reload;
$node->safe_psql('postgres', 'CREATE EXTENSION ticket');
sale_open($node, 'postgres', queue => 0, rows => 2, hold => '30 milliseconds');
$node->safe_psql(
	'postgres', q(
	SELECT ticket.queue_create('busy', capacity => 0, promote_count => 20, promote_interval => '50 milliseconds',
		idle_ttl => '1 hour');
	SELECT count(ticket.ticket_enqueue(1, 'early' || n)) FROM generate_series(1, 5000) AS n;
	UPDATE ticket.queue SET capacity = 100000;
	SELECT pg_create_logical_replication_slot('decoder', 'wal2json');
	CREATE FUNCTION tried(call text) RETURNS bigint LANGUAGE plpgsql AS $$
	DECLARE
		answer bigint;
	BEGIN
		EXECUTE 'SELECT ' || call INTO answer;
		RETURN coalesce(answer, 0);
	EXCEPTION WHEN OTHERS THEN
		RETURN 0;
	END $$));

# --- fans who make events: seats and accounts few, so that they meet

my $script = PostgreSQL::Test::Utils::tempdir . '/fan.sql';
append_to_file(
	$script, q(
\set a random(1, 20)
\set b random(1, 20)
\set fan random(1, 10)
\set what random(1, 10)
\if :what = 1
	SELECT ticket.point_charge('u' || :fan, 100);
\elif :what = 2
	BEGIN;
	SELECT ticket.point_charge('u' || :fan, 100);
	ROLLBACK;
\elif :what = 3
	SELECT tried('ticket.seat_hold_expire()');
\elif :what = 4
	SELECT tried(format('count(ticket.ticket_enqueue(1, %L))', 'u' || random()));
	SELECT tried('ticket.ticket_promote(1)');
\else
	SELECT tried(format('(ticket.seat_hold(1, ARRAY[%s, %s], %L)).reservation_id', :a, :a % 20 + 1, 'u' || :fan)) AS r \gset
	\if :what = 5
		SELECT tried(format('ticket.seat_release(%s, %L)::int', :r, 'u' || :fan));
	\elif :what >= 8
		SELECT tried(format('(ticket.pay_reservation(%s, %L)).payment_id', :r, 'u' || :fan));
		SELECT tried(format('(ticket.reservation_cancel(%s, %L)).refunded', :r, 'u' || :fan));
	\endif
\endif
));
my $fans = IPC::Run::start(
	[ 'pgbench', '-n', '-c', '8', '-j', '2', '-T', $seconds, '-f', $script, '-h', $node->host, '-p', $node->port, 'postgres' ],
	'<', \undef, '>', \my $fans_out, '2>', \my $fans_error);

# --- a decoder, killed in the middle

my $decoded_file = PostgreSQL::Test::Utils::tempdir . '/decoded';
my @decoder = (
	'pg_recvlogical', '-d', $node->connstr('postgres'), '--slot', 'decoder', '--start', '--no-loop',
	'--status-interval', '1', '--fsync-interval', '1', '-o', 'format-version=2', '-o', 'add-tables=ticket.outbox', '-o', 'actions=insert');
my $decoder = IPC::Run::start([ @decoder, '-f', "$decoded_file.1" ], '<', \undef, '>', \my $decoder_out, '2>', \my $decoder_error);

# --- consumers, driven by turns that chance gives

my @consumer = map { { session => undef, open => [] } } 1 .. 4;
my (@delivered, %state, $killed, $given_back, $out_of_turn);

sub connect_consumer
{
	my ($c) = @_;
	$c->{session} = $node->background_psql('postgres', on_error_stop => 0);
	$c->{pid} = $c->{session}->query('SELECT pg_backend_pid()');
	return;
}

# An event is delivered when it is fetched; done when that has committed.
sub fetch
{
	my ($c) = @_;
	my $out = $c->{session}->query(
		q(BEGIN; SELECT id, aggregatetype || ' ' || aggregateid FROM ticket.outbox_fetch(10)));

	for my $line (grep { /\|/ } split /\n/, $out)
	{
		my ($id, $aggregate) = split /\|/, $line;

		push @{ $c->{open} }, [ $id, $aggregate ];
		for my $other (grep { $_ != $c } @consumer)
		{
			$out_of_turn .= "$aggregate $id\n" if grep { $_->[1] eq $aggregate } @{ $other->{open} };
		}
	}
	return scalar @{ $c->{open} };
}

sub finish
{
	my ($c, $how) = @_;

	if ($how eq 'kill')
	{
		$node->safe_psql('postgres', "SELECT pg_terminate_backend($c->{pid}, 10000)");
		eval { $c->{session}->quit };
		$killed++;
		connect_consumer($c);
	}
	else
	{
		$c->{session}->query($how);
		$given_back++ if $how eq 'ROLLBACK' && @{ $c->{open} };
		push @delivered, @{ $c->{open} } if $how eq 'COMMIT';
	}
	$c->{open} = [];
	return;
}

connect_consumer($_) for @consumer;
srand(7);
my $turns = 0;
while ($fans->pumpable)
{
	my $c = $consumer[ int rand @consumer ];
	my $chance = rand;

	$fans->pump_nb;
	if (@{ $c->{open} } == 0) { finish($c, 'COMMIT') unless fetch($c); }
	elsif ($chance < 0.02) { finish($c, 'kill') }
	elsif ($chance < 0.1) { finish($c, 'ROLLBACK') }
	elsif ($chance < 0.7) { finish($c, 'COMMIT') }
	# Half-way through the decoder dies.
	$decoder->signal('KILL') if ++$turns == 100;
}
$fans->finish;
# On a busy machine half-way may not have come.
$decoder->signal('KILL') if $turns < 100;
is($fans->full_result(0), 0, 'the fans had their way') or diag $fans_error;
finish($_, 'ROLLBACK') for @consumer;
1 while fetch($consumer[0]) && do { finish($consumer[0], 'COMMIT'); 1 };
finish($consumer[0], 'COMMIT');
$_->{session}->quit for @consumer;
eval { $decoder->finish };

# --- what has arrived

my $end = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
command_ok([ @decoder, '--endpos', $end, '-f', "$decoded_file.2" ], 'the decoder goes on where it was');
my (@decoded, %decoded);
for my $line (map { -e $_ ? split(/\n/, slurp_file($_)) : () } "$decoded_file.1", "$decoded_file.2")
{
	# What was cut off when it was killed comes again.
	my $change = eval { decode_json($line) } or next;
	my %column = map { $_->{name} => $_->{value} } @{ $change->{columns} // [] };

	next unless $change->{action} eq 'I' && $change->{table} eq 'outbox';
	next if $decoded{ $column{id} }++;
	push @decoded, [ $column{id}, "$column{aggregatetype} $column{aggregateid}", $column{type}, decode_json($column{payload}) ];
}

# That each aggregate's ids grow in this order
sub in_order
{
	my ($events, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my (%last, @wrong);

	for (@$events)
	{
		push @wrong, "$_->[1]: $_->[0] after $last{$_->[1]}" if ($last{ $_->[1] } // '') ge $_->[0];
		$last{ $_->[1] } = $_->[0];
	}
	is("@wrong[0 .. ($#wrong > 3 ? 3 : $#wrong)]", '', $name);
	return;
}

note sprintf '%d events, %d delivered, %d consumers killed, %d batches given back', scalar @decoded, scalar @delivered, $killed // 0,
  $given_back // 0;
cmp_ok(scalar @decoded, '>', 1000, 'events were decoded');
cmp_ok($killed // 0, '>', 0, 'consumers were killed');
cmp_ok($given_back // 0, '>', 0, 'and gave back');
is($out_of_turn // '', '', 'no event went out while an older one of its aggregate was with another');
is(join("\n", sort map { $_->[0] } @delivered), join("\n", sort map { $_->[0] } @decoded), 'consumers got every event that was decoded, each once for good');
in_order(\@delivered, 'in the order of each aggregate');
in_order(\@decoded, 'so did the decoder, in the order of commits');
my %types = map { $_->[2] => 1 } @decoded;
is(join(' ', sort keys %types),
	'points.charged queue.promoted reservation.cancelled reservation.expired reservation.held reservation.paid reservation.released',
	'of every kind that the fans could make');

# The events tell what the tables tell.
my %last;
$last{ $_->[3]{reservation_id} } = $_->[2] =~ s/.*\.//r for grep { $_->[3]{reservation_id} && $_->[1] =~ /^reservation/ } @decoded;
is(join("\n", map { "$_|$last{$_}" } sort { $a <=> $b } keys %last),
	$node->safe_psql('postgres', 'SELECT reservation_id, status FROM ticket.reservation ORDER BY 1'),
	'the last event of each reservation is its state');
is(eval { my %sum; $sum{ $_->[3]{user_id} } += $_->[3]{amount} for grep { $_->[2] eq 'points.charged' } @decoded;
		join "\n", map { "$_|$sum{$_}" } sort keys %sum },
	$node->safe_psql('postgres', q(SELECT user_id, sum(amount) FROM ticket.ledger WHERE kind = 'charge' GROUP BY 1 ORDER BY user_id COLLATE "C")),
	'every charge is an event');
is( $node->safe_psql('postgres', q(SELECT count(*), count(DISTINCT event_id) FROM ticket.history)),
	join('|', (scalar grep { $_->[1] =~ /^reservation/ } @decoded) x 2), 'and the history has each once, of what is about reservations');
is($node->safe_psql('postgres', q(SELECT substring(ticket.metrics() FROM 'ticket_outbox_fetched_total (\d+)'))), scalar @delivered,
	'those taken for good are counted');
verified($node, 'postgres', 'afterwards');

# --- the clock was set back

my $future = '0fffffff-0000-7000-8000-000000000000';
my $insert = sub { "INSERT INTO ticket.outbox VALUES ('$_[0]', 'points', 'x', 'points.charged', '{\"v\": 1, \"user_id\": \"x\", \"amount\": 1, \"balance\": 1}')" };
$node->safe_psql('postgres', $insert->($future));
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', "SELECT ticket.event_id() > '$future'"), 't', 'ids go on above the highest there is, after a crash as well');
$node->safe_psql('postgres', 'BEGIN; ' . $insert->('1fffffff-0000-7000-8000-000000000000') . "; PREPARE TRANSACTION 'p'");
$node->restart;
$node->safe_psql('postgres', "SELECT ticket.point_charge('x', 1)");
$node->safe_psql('postgres', "COMMIT PREPARED 'p'");
is($node->safe_psql('postgres', q(SELECT array_agg(left(id::text, 8) ORDER BY id) FROM ticket.outbox WHERE aggregateid = 'x')),
	'{0fffffff,1fffffff,1fffffff}', 'one that waits for COMMIT PREPARED counts, too');
is($node->safe_psql('postgres', q(SELECT payload ? 'balance' AND id <> '1fffffff-0000-7000-8000-000000000000' FROM ticket.outbox ORDER BY id DESC LIMIT 1)), 't',
	'the charge comes after it');

# --- traces in the log

my $log = -s $node->logfile;
$node->psql('postgres', q(SET ticket.trace_id = 'click:7'; SELECT ticket.seat_hold(1, '{1000}', 'traced')));
$node->psql('postgres', q(SET ticket.trace_id = 'click:8'; SELECT 1 / 0));
$node->psql('postgres', q(SET request.headers = '{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}'; DO $$BEGIN RAISE LOG 'hello'; END$$));
$node->psql('postgres', q(SELECT 1 / 0 AS untraced));
# refusals without a trace are kept from it, unless one wants them
for my $setting ('DEFAULT', 'none', 'all')
{
	# ALL is a word of SQL
	my $value = $setting eq 'DEFAULT' ? $setting : "'$setting'";
	$node->psql('postgres', qq(SET ticket.log_refusals = $value; SELECT ticket.seat_hold(1, '{1001}', 'untraced');
		SET ticket.http_errors = on; SELECT ticket.seat_hold(1, '{1002}', 'untraced')), on_error_stop => 0);
	$node->psql('postgres', qq(SET ticket.trace_id = 'click:9'; SET ticket.log_refusals = $value;
		SELECT ticket.seat_hold(1, '{1003}', 'traced')));
	$node->psql('postgres', 'SELECT ticket.seat_hold(NULL, NULL, NULL) AS mistake');
	my $round = -s $node->logfile;
	# whatever SQLSTATE is sent: refusals have the HTTP status of mistakes, too
	$node->psql('postgres', qq(SET ticket.log_refusals = $value; SET ticket.http_errors = on;
		SET ticket.user_claim = 'shop.buyer'; SET shop.buyer = 'ben';
		SELECT ticket.point_balance('anna') AS another_user;
		SELECT ticket.seat_hold(1, NULL, 'ben') AS http_mistake;
		SELECT ticket.seat_hold(1, '{1004}', 'ben') AS http_refusal), on_error_stop => 0);
	my $seen = slurp_file($node->logfile, $log);
	is(scalar(() = $seen =~ /no seat 100[12]\n/g), $setting eq 'all' ? 2 : 0, "log_refusals $setting: refusals");
	is(scalar(() = $seen =~ /no seat 1003\n/g), {DEFAULT => 1, none => 1, all => 2}->{$setting}, '... with a trace');
	like($seen, qr/STATEMENT:  SELECT ticket\.seat_hold\(NULL, NULL, NULL\) AS mistake/, '... mistakes are always there');
	is(join(' ', slurp_file($node->logfile, $round) =~ /AS (another_user|http_\w+)/g), 'another_user http_mistake' . ($setting eq 'all' ? ' http_refusal' : ''),
		'... with ticket.http_errors, too, and so is an identity that is not one\'s own');
}
$log = slurp_file($node->logfile, $log);
like($log, qr/performance 1 has no seat 1000\n.*HINT:  .*\n.*CONTEXT:  trace click:7\n/, 'a refusal has its trace in the log');
like($log, qr/division by zero\n.*CONTEXT:  trace click:8\n/, 'so has any error');
like($log, qr/LOG:  hello\n.*CONTEXT:  PL\/pgSQL function .*\n.*trace 0af7651916cd43dd8448eb211c80319c\n/, 'and any line');
like($log, qr/division by zero\n[^\n]*STATEMENT:  SELECT 1 \/ 0 AS untraced/, 'but no other session');

$node->stop;
done_testing();
