# pg_dump in the middle of a sale, and going on with what was restored: in another
# database, on another server, in pieces, and in a database that was in use.

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
my $elsewhere = sale_node('elsewhere');
$elsewhere->start;
my $dumps = PostgreSQL::Test::Utils::tempdir;

# --- a sale in full swing

$node->safe_psql('postgres', 'CREATE DATABASE sale');
$node->safe_psql('sale', 'CREATE EXTENSION ticket');
sale_open($node, 'sale', capacity => 4);
$node->safe_psql('sale', q(SELECT ticket.queue_create('side', opens_at => now() + '1 day')));
# a has paid, b gave up, d paid and cancelled; c, e and f are active, g to l wait, m
# gave up waiting.
my @tokens = map { enqueue($node, 'sale', $_) } 'a' .. 'd';
my ($hold, $given, $cancelled) = split /\n/, $node->safe_psql(
	'sale', qq(
	CREATE FUNCTION pg_temp.hold(seats int[], fan text, token uuid) RETURNS bigint LANGUAGE sql AS
		'SELECT reservation_id FROM ticket.seat_hold(1, seats, fan, token)';
	SELECT count(ticket.point_charge(u, 1000, 'gift')) FROM unnest('{a,b,c}'::text[]) u \\gset
	SELECT pg_temp.hold('{1, 2}', 'a', '$tokens[0]') AS paid \\gset
	SELECT count(ticket.pay_reservation(:paid, 'a', 'till')) \\gset
	SELECT pg_temp.hold('{7}', 'b', '$tokens[1]') AS given \\gset
	SELECT count(ticket.seat_release(:given, 'b')) \\gset
	SELECT count(ticket.ticket_leave('$tokens[1]')) \\gset
	SELECT pg_temp.hold('{8}', 'd', '$tokens[3]') AS cancelled \\gset
	SELECT pg_temp.hold('{3, 4}', 'c', '$tokens[2]') AS held \\gset
	SELECT :held, :given, :cancelled;)) =~ s/\|/\n/gr;
push @tokens, map { enqueue($node, 'sale', $_) } 'e' .. 'm';
push @tokens, enqueue($node, 'sale', 'a', 2), enqueue($node, 'sale', 'b', 2);
$node->safe_psql(
	'sale', qq(
	SELECT ticket.ticket_leave('$tokens[12]');
	SELECT ticket.point_charge('d', 100);
	SELECT ticket.pay_reservation($cancelled, 'd');
	SELECT ticket.reservation_cancel($cancelled, 'd');
	SELECT ticket.outbox_fetch(4);
	SELECT ticket.history_extend();
	UPDATE ticket.outbox SET id = '017f22e2-79b0-7cc3-98c4-dc0c0c07398f' WHERE id = (SELECT id FROM ticket.outbox ORDER BY id LIMIT 1);
	SELECT ticket.outbox_fetch(1)));
# A plan, a date made from it that was cancelled, a concert that was withdrawn
$node->safe_psql(
	'sale', q(
	SELECT ticket.venue_section_create(1, 'pit', 'S', plan => 'oo-a');
	SELECT ticket.performance_create(1, 1, now() + '20 days', prices => '{"S": 5}') AS p \\gset
	SELECT ticket.concert_create('off', starts_at => now(), ends_at => now() + '1 year') AS c \\gset
	SELECT count(ticket.performance_create(:c, 1, now() + '10 days')), ticket.concert_withdraw(:c), ticket.venue_withdraw(ticket.venue_create('gone'));
	CALL ticket.performance_cancel(:p, 'rain')));

# A provider's money that came too late, and what is kept back of a date
$node->safe_psql(
	'sale', q(
	SELECT ticket.performance_create(1, 1, now() + '30 days') AS p \\gset
	SELECT ticket.section_create(:p, 'late', 5, 1, 5), ticket.cancel_policy_set(:p, '1 day', 100);
	SELECT reservation_id AS r FROM ticket.seat_hold(:p, '{1}', 'z') \\gset
	SELECT payment_id AS m FROM ticket.payment_begin(:r, 'z', 'card') \\gset
	SELECT ticket.seat_release(:r, 'z');
	SELECT ticket.payment_confirm(:m, 'late')));

my $states = $node->safe_psql(
	'sale', q(
	SELECT string_agg(DISTINCT status, ' ' ORDER BY status) FROM ticket.queue_entry;
	SELECT string_agg(DISTINCT status, ' ' ORDER BY status) FROM ticket.reservation;
	SELECT string_agg(DISTINCT kind, ' ' ORDER BY kind) FROM ticket.ledger;
	SELECT count(*) > 2 FROM ticket.outbox));
is($states, "active finished left waiting\ncancelled held paid released\ncharge payment refund\nt",
	'something in every state to dump');

# --- what must be the same afterwards

# Every row of every table and every sequence of the extension
sub contents
{
	my ($server, $database) = @_;
	my @relations = split /\n/, $server->safe_psql(
		$database, q(
		SELECT c.relkind, c.oid::regclass FROM pg_class c
		WHERE c.relnamespace = 'ticket'::regnamespace AND c.relkind IN ('r', 'S') ORDER BY c.relname));

	return join "\n", map {
		my ($kind, $name) = split /\|/;
		"$name: " . $server->safe_psql($database,
			$kind eq 'r'
			? "SELECT count(*), md5(string_agg(t::text, ' ' ORDER BY t::text)) FROM $name t"
			: "SELECT last_value, is_called FROM $name");
	} @relations;
}

my $rows = contents($node, 'sale');
my $answers = snapshot($node, 'sale', @tokens);
like($rows, qr/^ticket\.$_: [1-9]/m, "$_ has something to compare")
  for qw(venue venue_section concert performance performance_cancellation section seat queue queue_entry reservation account payment refund cancel_policy ledger outbox history_\d+_\d+ history_default);

sub same
{
	my ($server, $database, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is(contents($server, $database), $rows, "$name: every row and sequence");
	is(snapshot($server, $database, @tokens), $answers, "$name: every token says what it said");
	memory_agrees($server, $database, $name);
	verified($server, $database, $name);
	return;
}

# The sale goes on; leaves the database changed.
sub goes_on
{
	my ($server, $database, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $oldest = $server->safe_psql($database, 'SELECT id FROM ticket.outbox ORDER BY id LIMIT 1');
	my $newest = $server->safe_psql($database, 'SELECT id FROM ticket.outbox ORDER BY id DESC LIMIT 1');

	my $out = $server->safe_psql(
		$database, qq(
		SELECT status, amount, balance FROM ticket.pay_reservation($hold, 'c');
		SELECT status FROM ticket.ticket_status('$tokens[2]');
		SELECT ticket.ticket_promote(1) > 0;
		SELECT ticket.point_charge('a', 1000, 'gift'), ticket.point_balance('a');
		SELECT status FROM ticket.ticket_enqueue(1, 'new');
		SELECT status FROM ticket.seat_hold(1, '{10}', 'e', '$tokens[4]');
		SELECT ticket.queue_create('q'), ticket.venue_create('v'), ticket.concert_create('c');
		SELECT ticket.performance_create(1, 1, now() + '1 day');
		SELECT ticket.section_create(1, 'balcony', 1, 1, 1);
		SELECT count(*) FROM ticket.reservation r JOIN ticket.payment p USING (reservation_id)
			JOIN ticket.ledger l USING (payment_id) WHERE r.reservation_id = $hold;
		SELECT bool_and(id > '$newest') FROM ticket.outbox WHERE payload->>'payment_id' =
			(SELECT payment_id::text FROM ticket.payment WHERE reservation_id = $hold);));
	is($out, "captured|200|800\nfinished\nt\n1000|800\nwaiting\nheld\n3|3|3\n5\n4\n1\nt", "$name: the sale goes on");
	refused($server, $database, "SELECT ticket.seat_hold(1, '{1}', 'e', '$tokens[4]')",
		'TK006', "$name: what is sold stays sold");
	is($server->safe_psql($database, 'SELECT id FROM ticket.outbox_fetch(1)'),
		$oldest, "$name: events go on with the oldest");
	memory_agrees($server, $database, "$name, gone on");
	verified($server, $database, "$name, gone on");
	return;
}

# --- dump

for ([ 'all', '-Fp' ], [ 'custom', '-Fc' ], [ 'schema', '--schema-only' ], [ 'data', '--data-only' ],
	[ 'inserts', '--inserts', '--data-only' ])
{
	my ($name, @options) = @$_;
	$node->command_ok([ 'pg_dump', @options, '-f', "$dumps/$name", 'sale' ], "pg_dump @options");
}

sub load
{
	my ($server, $database, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$server->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dumps/$name", $database ],
		"$name loads into $database");
	return;
}

# --- and restore

# Whole, in the same cluster: beside the sale, with the same ids
$node->safe_psql('postgres', 'CREATE DATABASE whole');
load($node, 'whole', 'all');
same($node, 'whole', 'whole');
goes_on($node, 'whole', 'whole');
same($node, 'sale', 'the original');

# On another server.  Not with pg_restore -j, which knows nothing of the foreign
# keys between the tables of an extension.
$elsewhere->safe_psql('postgres', 'CREATE DATABASE custom');
$elsewhere->command_ok([ 'pg_restore', '-d', 'custom', "$dumps/custom" ], 'pg_restore');
same($elsewhere, 'custom', 'custom');
$elsewhere->restart;
same($elsewhere, 'custom', 'custom, restarted');
goes_on($elsewhere, 'custom', 'custom');

# In pieces; nothing is read in between
$elsewhere->safe_psql('postgres', 'CREATE DATABASE pieces');
load($elsewhere, 'pieces', 'schema');
is($elsewhere->safe_psql('pieces', 'SELECT count(*) FROM ticket.seat'), '0', 'schema: no rows');
load($elsewhere, 'pieces', 'data');
same($elsewhere, 'pieces', 'pieces');

# Into a database that was in use: what a session knows is out of date, and so
# is shared memory.
$elsewhere->safe_psql('postgres', 'CREATE DATABASE used');
$elsewhere->safe_psql('used', 'CREATE EXTENSION ticket; SELECT ticket.history_extend()');
my $session = $elsewhere->background_psql('used', on_error_stop => 0);
$session->query_safe(q(SELECT ticket.queue_create('door', capacity => 1), ticket.queue_create('side')));
$session->query_safe(q(SELECT count(ticket.ticket_enqueue(1, 'u' || i)) FROM generate_series(1, 30) i));
$session->query_safe(q(UPDATE ticket.queue_entry SET status = 'left', ended_at = now()));
$session->query_safe(q(SELECT ticket.queue_memory()));
$session->query_safe(q(DELETE FROM ticket.queue; DELETE FROM ticket.queue_entry));
load($elsewhere, 'used', 'inserts');
is($session->query("SELECT status, position FROM ticket.ticket_status('$tokens[7]')"),
	'waiting|2', 'used: a session from before answers anew');
same($elsewhere, 'used', 'used');
is( $session->query("SELECT status FROM ticket.seat_hold(1, '{20}', 'e', '$tokens[4]')"),
	'held', 'used: a session from before sells');
$session->quit;

# Restored in one transaction, which is rolled back; then for good
$elsewhere->safe_psql('postgres', 'CREATE DATABASE again');
$elsewhere->safe_psql('again', 'CREATE EXTENSION ticket; SELECT ticket.history_extend()');
$elsewhere->safe_psql('again', "SELECT ticket.queue_memory(); BEGIN;\n"
	  . slurp_file("$dumps/inserts") . "\nSELECT count(*) FROM ticket.queue_memory(); ROLLBACK");
is($elsewhere->safe_psql('again', 'SELECT count(*) FROM ticket.queue_memory()'),
	'0', 'rolled back: nothing is left');
$elsewhere->command_ok(
	[ 'psql', '-X', '-q', '-1', '-v', 'ON_ERROR_STOP=1', '-f', "$dumps/data", 'again' ], 'data in one transaction');
same($elsewhere, 'again', 'again');
goes_on($elsewhere, 'again', 'again');

# A dump of what was restored is the dump.
sub comparable
{
	my ($server, $database) = @_;
	my ($out, $error) = run_command([ 'pg_dump', '-d', $server->connstr($database) ]);
	return $out =~ s/^\\(un)?restrict .*\n//mgr;
}
my $dump = comparable($node, 'sale');
$node->safe_psql('postgres', 'CREATE DATABASE twin');
load($node, 'twin', 'all');
is(comparable($node, 'twin'), $dump, 'a dump of what was restored is the same dump');

$node->stop;
$elsewhere->stop;
done_testing();
