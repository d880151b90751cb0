# A crowd that wants the same seats.  5,000 calls for one seat over 64
# connections: one wins, all others are told.  64 clients hold, put off, give
# back, pay, cancel and let expire at random 500 seats, in autocommit and in
# transactions of higher levels; the tables must have what they were told
# (crowd.c has the model).  And 64 clients who leave the choice to us get all
# the seats there are, side by side.
#
# CROWD_SECONDS in the environment makes each run longer (default 6), CROWD_SEED
# another one.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Sale;
use Test::More;

use constant CLIENTS => 64;

my $seconds = $ENV{CROWD_SECONDS} // 6;
my $seed = $ENV{CROWD_SEED} // 20230701;
my $crowd = PostgreSQL::Test::Utils::tempdir . '/crowd';
my $pg_config = $ENV{PG_CONFIG} // 'pg_config';

chomp(my $include = `$pg_config --includedir`);
chomp(my $lib = `$pg_config --libdir`);
is(system('cc', '-std=gnu99', '-Wall', '-Wextra', '-Werror', '-O2', "-I$include", '-o', $crowd,
		"$FindBin::RealBin/../crowd.c", "-L$lib", '-lpq'), 0, 'the crowd is compiled');

my $node = sale_node('main', conf => "max_connections = 100\nmax_prepared_transactions = 0");
$node->start;

sub new_sale
{
	my ($database, $hold, @sections) = @_;

	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, 'CREATE EXTENSION ticket');
	$node->safe_psql($database, "SELECT ticket.performance_create(ticket.concert_create('c'), ticket.venue_create('v'),
		now() + '30 days', hold_interval => '$hold', max_hold => interval '$hold' * 3, max_seats_per_user => 6)");
	$node->safe_psql($database, "SELECT ticket.section_create(1, $_)") for @sections;
	return;
}

# What the crowd prints, its exit status before it
sub run_crowd
{
	my ($database, @arguments) = @_;
	my ($out, $error) = ('', '');

	local $ENV{PGHOST} = $node->host;
	local $ENV{PGPORT} = $node->port;
	local $ENV{PGDATABASE} = $database;
	my $ok = IPC::Run::run([ $crowd, @arguments ], '>', \$out, '2>', \$error);
	note $out;
	diag $error if $error ne '';
	return ($ok, $out);
}

# --- one seat

new_sale('one', '5 min', q('a', 100, 1, 10));
my ($ok, $out) = run_crowd('one', 'rush', CLIENTS, 5000);
is($out, "1 won, 4999 refused, 0 apart, 0 otherwise, 0 unanswered\n", '5,000 calls for one seat: one wins');
is($node->safe_psql('one', 'SELECT count(*), min(seat_ids::text) FROM ticket.reservation'), '1|{7}', 'and has it');
verified($node, 'one', 'one seat');

# --- 500 seats

# Holds last longer where calls have to be made again and again.
my %hold = ('autocommit' => '400 ms', 'repeatable read' => '500 ms', 'serializable' => '2 s');
foreach my $isolation (sort keys %hold)
{
	my $database = 'crowd_' . $isolation =~ s/ /_/r;

	new_sale($database, $hold{$isolation}, q('a', 100, 10, 25), q('b', 200, 10, 25));
	$node->safe_psql($database, "SELECT count(ticket.point_charge('u' || i, 100000000)) FROM generate_series(1, @{[CLIENTS]}) i");
	($ok, $out) = run_crowd($database, 'model', CLIENTS, $seconds, $isolation, $seed);
	ok($ok, "$isolation: the tables have what the clients were told");
	like($out, qr/^0 wrong$/m, "$isolation: nothing is wrong");
	like($out, qr/^verified [1-9]/m, "$isolation: verified while it ran");
	like($out, qr/^$_: [1-9]\d* done/m, "$isolation: some $_") foreach ('hold', 'best', 'extend', 'release', 'release some', 'pay', 'cancel');
	like($out, qr/^hold: .* TK006/m, "$isolation: some came too late");
	like($out, qr/^(extend|pay): .* TK007/m, "$isolation: some let it expire");
	like($out, qr/ 40001/, "$isolation: some tried again") if $isolation ne 'autocommit';
	verified($node, $database, $isolation);
}

# --- the best ones

# A place that is free is not refused because others were faster elsewhere: when
# everyone has been refused no two seats side by side are left.  Rows of odd
# length leave one over, at least.
sub best
{
	my ($database, $seats, @sections) = @_;

	new_sale($database, '5 min', @sections);
	($ok, $out) = run_crowd($database, 'best', CLIENTS, $seats);
	ok($ok, "$database: all were answered");
	is($node->safe_psql($database, "SELECT count(*) FILTER (WHERE cardinality(seat_ids) <> $seats),
			count(*) FILTER (WHERE seat_ids[$seats] - seat_ids[1] <> $seats - 1),
			count(*) FILTER (WHERE (SELECT count(DISTINCT (section_id, row_no)) FROM ticket.seat WHERE seat_id = ANY (seat_ids)) <> 1)
			FROM ticket.reservation"), '0|0|0', "$database: all are side by side");
	is($node->safe_psql($database, "SELECT count(*) FROM (SELECT count(*) FILTER (WHERE status = 'free')
			OVER (PARTITION BY section_id, row_no ORDER BY seat_no ROWS @{[ $seats - 1 ]} PRECEDING) AS n FROM ticket.seat) r
			WHERE n = $seats"), '0', "$database: no place is left");
	verified($node, $database, $database);
	return;
}

best('pairs', 2, q('a', 100, 20, 25), q('b', 200, 20, 24));
best('fours', 4, q('a', 100, 30, 25));
best('singles', 1, q('a', 100, 10, 25));
is($node->safe_psql('singles', q(SELECT count(*) FROM ticket.seat WHERE status <> 'held')), '0', 'singles: every seat');
best('standing', 1, q('floor', 100, 1, 500, kind => 'standing'));

unlike(slurp_file($node->logfile), qr/was terminated by signal|PANIC:|deadlock detected/,
	'no process crashed, none deadlocked');

$node->stop;
done_testing();
