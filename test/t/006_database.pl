# Everything is keyed by database, in shared memory, too: databases with the same
# ids don't see each other, what is dropped gives its memory back, and where
# memory is full only the newcomer is refused.
#
# DROPS in the environment changes how often databases and the extension are
# dropped in mid-flight (default 100 each).

use strict;
use warnings FATAL => 'all';

use FindBin;
use IPC::Run ();
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Sale;
use Test::More;

use constant MAX_WAITING => 60;

my $drops = $ENV{DROPS} // 100;

my $node = sale_node('main',
	conf => "ticket.max_queues = 4\nticket.max_waiting = @{[ MAX_WAITING ]}\ndeadlock_timeout = 5ms\nticket.allow_drop = on");
$node->start;

# --- two databases with the same ids

my %tokens;
for my $database ('one', 'two')
{
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, 'CREATE EXTENSION ticket');
	sale_open($node, $database, capacity => 1);
}
$tokens{one} = [ map { enqueue($node, 'one', $_) } 'a', 'b', 'c', 'd' ];
$tokens{two} = [ map { enqueue($node, 'two', $_) } 'a', 'b' ];

is( $node->safe_psql($_->[0], 'SELECT queue_id, waiting, active FROM ticket.queue_memory()'),
	$_->[1], "$_->[0] counts its own")
  for [ 'one', '1|3|1' ], [ 'two', '1|1|1' ];
refused($node, $_->[1], "SELECT ticket.ticket_status('$tokens{$_->[0]}[1]')",
	'TK001', "a token of $_->[0] is nothing in $_->[1]")
  for [ 'one', 'two' ], [ 'two', 'one' ];
refused($node, 'two', "SELECT ticket.seat_hold(1, '{1}', 'a', '$tokens{one}[0]')",
	'TK001', 'nor does it buy there');
refused($node, 'two', "SELECT ticket.ticket_leave('$tokens{one}[1]')", 'TK001', 'nor can it be given up');
$node->safe_psql('one', "SELECT ticket.ticket_leave('$tokens{one}[0]'); SELECT ticket.ticket_promote(1)");
like(snapshot($node, 'two', @{ $tokens{two} }),
	qr/^1\|[^|]*\|active\|0\|.*\n2\|[^|]*\|waiting\|1\|$/,
	'what moves in one stands still in two');
$node->safe_psql('one', q(UPDATE ticket.queue SET mode = 'drain'));
is($node->safe_psql('two', "SELECT status FROM ticket.ticket_enqueue(1, 'c')"),
	'waiting', 'a mode set in one is not in force in two');

my $kept = snapshot($node, 'two', @{ $tokens{two} });
$node->safe_psql('postgres', 'DROP DATABASE one');
is(snapshot($node, 'two', @{ $tokens{two} }), $kept, 'two goes on without one');
memory_agrees($node, 'two', 'without one');

# --- dropping gives everything back

# Two queues with fans that wait and are active, two thirds of the places there
# are: what isn't given back is missing in the second round.
my $fill = q(
	CREATE EXTENSION ticket;
	SELECT ticket.queue_create('a', capacity => 5), ticket.queue_create('b', capacity => 0);
	SELECT count(e.token) FROM generate_series(1, 40) i, ticket.ticket_enqueue(1 + i % 2, 'u' || i) e;);
my $filled = "1|2\n40";

sub rounds
{
	my ($name, $times, $sql, $expected) = @_;
	my ($state, $out, $error) = outcome($node, 'postgres',
		join "\n", 'SET statement_timeout = 180000;', map { $sql =~ s/%d/$_/gr } 1 .. $times);

	is($state, '00000', "$name, $times times") or diag $error;
	is($out, join("\n", ($expected) x $times), "$name: each time all fans are in");
	return;
}

$node->safe_psql('postgres', 'CREATE DATABASE changing');
rounds('DROP DATABASE', 10, "
	CREATE DATABASE d%d;
	\\c d%d
	$fill
	\\c postgres
	DROP DATABASE d%d;", $filled);
rounds('DROP EXTENSION', 10, "\\c changing\n$fill DROP EXTENSION ticket;", $filled);
rounds('DROP EXTENSION CASCADE in the transaction that made it', 10,
	"\\c changing\nBEGIN; $fill DROP EXTENSION ticket CASCADE; COMMIT;", $filled);
rounds('CREATE EXTENSION rolled back', 10, "\\c changing\nBEGIN; $fill ROLLBACK;", $filled);
rounds('CREATE EXTENSION rolled back to a savepoint', 10,
	"\\c changing\nBEGIN; SAVEPOINT s; $fill ROLLBACK TO s; COMMIT;", $filled);
rounds('DROP DATABASE from under a runner', 10, "
	CREATE DATABASE r%d;
	\\c r%d
	CREATE EXTENSION ticket;
	SELECT ticket.queue_create('a');
	\\! psql -XAtq -d 'dbname=r%d' -c \"CALL ticket.run('1 hour')\" >/dev/null 2>&1 &
	DO \$\$BEGIN
		WHILE NOT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'CALL ticket.run%'
			AND datname = current_database() AND wait_event_type = 'Extension')
		LOOP PERFORM pg_stat_clear_snapshot(), pg_sleep(0.01); END LOOP;
	END\$\$;
	\\c postgres
	DROP DATABASE r%d WITH (FORCE);", '1');

# --- in mid-flight

# Fans, promoters and operators go on until what they work on is gone, and come
# back as soon as it is there again.
my $turmoil = PostgreSQL::Test::Utils::tempdir;
append_to_file("$turmoil/script", q(
	SELECT to_regnamespace('ticket') IS NOT NULL AS there \gset
	\if :there
	SELECT count(t) FROM generate_series(1, 5) i, ticket.ticket_enqueue(1, 'u' || random()) t;
	BEGIN;
	SELECT ticket.ticket_leave(t.token) FROM ticket.ticket_enqueue(1, 'a') t;
	SAVEPOINT s;
	SELECT count(t) FROM generate_series(1, 5) i, ticket.ticket_enqueue(1, 'v' || random()) t;
	ROLLBACK TO s;
	SELECT ticket.ticket_promote(1);
	COMMIT;
	BEGIN;
	UPDATE ticket.queue SET capacity = 1 + capacity % 10;
	SELECT ticket.ticket_status(t.token) FROM ticket.ticket_enqueue(1, 'b') t;
	ROLLBACK;
	UPDATE ticket.queue SET capacity = 1 + capacity % 10;
	UPDATE ticket.queue_entry SET status = 'left', ended_at = now() WHERE place % 3 = 0 AND ended_at IS NULL;
	SELECT ticket.tick();
	SELECT * FROM ticket.queue_stats;
	\else
	SELECT pg_sleep(0.01);
	\endif
) x 50);

sub turmoil
{
	my ($database) = @_;
	my $connstr = $node->connstr($database);
	return map {
		IPC::Run::start([ 'sh', '-c', "until [ -e $turmoil/stop.$database ]; do
				psql -Xq -d \"$connstr\" -f $turmoil/script || sleep 0.05; done" ],
			'>', '/dev/null', '2>&1')
	} 1 .. 3;
}

# Drops what they work on again and again; memory must be as before each time.
sub dropped_under_them
{
	my ($database, $times, $create, $drop) = @_;
	my $usage = 'SELECT queues, places, pages FROM ticket.memory_stats;';
	my $before = $node->safe_psql('two', $usage);
	my $places = (split /\|/, $before)[1];
	my @clients = turmoil($database);
	my ($state, $out, $error) = outcome($node, 'two', 'SET statement_timeout = 180000;' . qq(
		$create
		\\c two
		DO \$\$BEGIN
			WHILE (SELECT places < $places + 3 FROM ticket.memory_stats)
			LOOP PERFORM pg_sleep(0.001); END LOOP;
		END\$\$;
		$drop
		\\c two
		$usage) x $times);

	append_to_file("$turmoil/stop.$database", '');
	$_->finish for @clients;
	is($state, '00000', "$database is dropped from under its fans, $times times") or diag $error;
	is($out, join("\n", ($before) x $times), "$database: memory is as before each time");
	return;
}

$node->safe_psql('postgres', 'CREATE DATABASE template_of_d');
$node->safe_psql('template_of_d', q(CREATE EXTENSION ticket; SELECT ticket.queue_create('a', capacity => 3)));
dropped_under_them('d', $drops, 'CREATE DATABASE d TEMPLATE template_of_d;', 'DROP DATABASE d WITH (FORCE);');
$node->safe_psql('postgres', 'DROP DATABASE template_of_d');
# Where it meets them in a deadlock, one of both has to give way.
dropped_under_them('changing', $drops, q(
		\c changing
		CREATE EXTENSION ticket;
		SELECT queue FROM (SELECT ticket.queue_create('a', capacity => 3)) q (queue) WHERE queue <> 1;), q(
		\c changing
		DO $$BEGIN
			LOOP
				BEGIN
					DROP EXTENSION ticket;
					RETURN;
				EXCEPTION WHEN deadlock_detected THEN
					NULL;
				END;
			END LOOP;
		END$$;));

is(snapshot($node, 'two', @{ $tokens{two} }), $kept, 'two stood still all that time');
verified($node, 'two', 'two');

# DROP EXTENSION that is taken back changes nothing.
$node->safe_psql('two', 'BEGIN; DROP EXTENSION ticket; ROLLBACK');
is(snapshot($node, 'two', @{ $tokens{two} }), $kept, 'DROP EXTENSION rolled back');
is( $node->safe_psql(
		'two', qq(
		BEGIN;
		SAVEPOINT s;
		DROP EXTENSION ticket;
		ROLLBACK TO s;
		SELECT status FROM ticket.ticket_enqueue(1, 'after');
		COMMIT;)),
	'waiting',
	'DROP EXTENSION rolled back to a savepoint');
memory_agrees($node, 'two', 'DROP EXTENSION rolled back');

# A session that worked before DROP and CREATE EXTENSION works after.
my $session = $node->background_psql('changing', on_error_stop => 0);
$session->query_safe('CREATE EXTENSION ticket');
$session->query_safe("SELECT ticket.queue_create('x')");
$session->query_safe("SELECT ticket.ticket_enqueue(1, 'x')");
$node->safe_psql('changing', q(DROP EXTENSION ticket; CREATE EXTENSION ticket;
	SELECT ticket.queue_create('y', capacity => 0)));
is($session->query("SELECT status, position FROM ticket.ticket_enqueue(1, 'x')"),
	'waiting|1', 'a session goes on after DROP and CREATE EXTENSION by another');
$session->quit;
memory_agrees($node, 'changing', 'made anew');
$node->safe_psql('changing', 'DROP EXTENSION ticket');

# --- no more queues

# 'two' has one of the four.
$node->safe_psql('postgres', 'CREATE DATABASE crowded');
$node->safe_psql('crowded', q(CREATE EXTENSION ticket;
	SELECT ticket.queue_create('q' || i) FROM generate_series(1, 3) i));
like(refused($node, 'crowded', q(SELECT ticket.queue_create('q4')), 'TK004', 'the fifth queue is refused'),
	qr/DETAIL: .*max_queues is 4.*HINT: .*max_queues/s, '... with figures and a hint');
refused($node, 'two', q(SELECT ticket.queue_create('q2')), 'TK004', '... in any database');
refused($node, 'two', q(INSERT INTO ticket.queue SELECT 7, 'byhand', mode, rejoin, capacity, promote_count,
		promote_interval, active_ttl, idle_ttl FROM ticket.queue),
	'TK004', '... also by hand');
is($node->safe_psql('crowded', 'SELECT count(*) FROM ticket.queue'), '3', '... and leaves no row');
is($node->safe_psql('crowded', q(SELECT status FROM ticket.ticket_enqueue(3, 'a'))),
	'active', 'those there are serve');
$node->safe_psql('postgres', 'CREATE DATABASE third');
$node->safe_psql('third', 'CREATE EXTENSION ticket');
refused($node, 'third', q(SELECT ticket.queue_create('q1')), 'TK004', 'a new database is refused');
$node->safe_psql('crowded', 'DELETE FROM ticket.queue WHERE queue_id = 2');
is($node->safe_psql('third', q(SELECT ticket.queue_create('q1') IS NOT NULL)),
	't', 'a queue deleted makes room for another');
refused($node, 'crowded', q(DELETE FROM ticket.queue WHERE queue_id = 3),
	'TK009', 'one with live tickets stays');
$node->safe_psql('postgres', 'DROP DATABASE third');
$node->safe_psql('postgres', 'DROP DATABASE crowded');

# --- no more places

my $places = $node->safe_psql('two', 'SELECT count(*) FROM ticket.queue_entry WHERE ended_at IS NULL');
my $room = MAX_WAITING - $places;
is( $node->safe_psql('two', "SELECT count(e.token) FROM generate_series(1, $room - 1) i,
		ticket.ticket_enqueue(1, 'f' || i) e"),
	$room - 1, 'all places but one are given out');
my $last = enqueue($node, 'two', 'last');
like(refused($node, 'two', q(SELECT ticket.ticket_enqueue(1, 'late')), 'TK004', 'the next fan is refused'),
	qr/DETAIL: .*max_waiting is @{[ MAX_WAITING ]}.*HINT: .*max_waiting/s,
	'... with figures and a hint');
refused($node, 'two', q(BEGIN; SELECT ticket.ticket_enqueue(1, 'late')), 'TK004', '... in a transaction, too');
is((outcome($node, 'two', q(SELECT token FROM ticket.ticket_enqueue(1, 'last'))))[1],
	$last, 'who is in gets the same ticket');
is($node->safe_psql('two', "SELECT position FROM ticket.ticket_status('$last')"),
	MAX_WAITING - 1, '... is served');
is($node->safe_psql('two', "SELECT status FROM ticket.seat_hold(1, '{1}', 'a', '$tokens{two}[0]')"),
	'held', '... and buys');
$node->safe_psql('two', "BEGIN; SELECT ticket.ticket_leave('$last'); ROLLBACK");
refused($node, 'two', q(SELECT ticket.ticket_enqueue(1, 'late')), 'TK004', 'a leave rolled back makes no room');
$node->safe_psql('two', "SELECT ticket.ticket_leave('$last')");
is($node->safe_psql('two', q(SELECT status FROM ticket.ticket_enqueue(1, 'late'))),
	'waiting', 'one who leaves makes room for one');
refused($node, 'two', q(SELECT ticket.ticket_enqueue(1, 'later')), 'TK004', '... and no more');
$node->safe_psql('two', q(
	SELECT ticket.point_charge('a', 100);
	SELECT ticket.pay_reservation(reservation_id, 'a') FROM ticket.reservation WHERE user_id = 'a'));
is($node->safe_psql('two', q(SELECT status FROM ticket.ticket_enqueue(1, 'later'))),
	'waiting', 'so does one who has paid');
memory_agrees($node, 'two', 'full');
$kept = snapshot($node, 'two', $tokens{two}[1], $last);
$node->restart;
is(snapshot($node, 'two', $tokens{two}[1], $last), $kept, 'a full house fits again after a restart');
refused($node, 'two', q(SELECT ticket.ticket_enqueue(1, 'latest')), 'TK004', '... and is full');
verified($node, 'two', 'full');

$node->stop;
done_testing();
