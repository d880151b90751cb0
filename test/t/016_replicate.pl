# To another server by logical replication, in the middle of a sale, with the
# commands of doc/replication.md as they stand there.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Sale;
use Test::More;

my $old = sale_node('old', init => { allows_streaming => 'logical' });
my $new = sale_node('new', init => { allows_streaming => 'logical' });
$_->start for $old, $new;
$_->safe_psql('postgres', 'CREATE DATABASE shop') for $old, $new;
$old->safe_psql('shop', 'CREATE EXTENSION ticket');
sale_open($old, 'shop', capacity => 3);
my @tokens = map { enqueue($old, 'shop', $_) } 'a' .. 'f';

my @connections = (map { $_->[0] => "host=@{[ $_->[1]->host ]} port=@{[ $_->[1]->port ]} dbname=shop" } [ OLD => $old ], [ NEW => $new ]);
my ($begin) = doc_commands('replication.md', 'Beginning');
my ($cut) = doc_commands('replication.md', 'Cutting over');
shell_ok($old, $begin, 'the beginning, as the page says', @connections);

# Somebody looks over there: what shared memory learns now is out of date later.
is($new->safe_psql('shop', 'SELECT count(*) FROM ticket.queue_memory()'), 0, 'the new server has read its tables')
  if $new->safe_psql('shop', 'SELECT count(*) FROM ticket.queue') eq '0';
ok($new->poll_query_until('shop', q(SELECT count(*) > 15 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel)),
	'all tables are there');
my $session = $new->background_psql('shop');
is($session->query_safe('SELECT count(*) FROM ticket.seat_map(1)'), '1', 'a session looks at the map');
$session->query_safe('SELECT count(*) FROM ticket.queue_memory()');

# The sale goes on, all kinds of writes among it.
my $hold = $old->safe_psql(
	'shop', qq(
	SELECT ticket.point_charge('a', 1000) \\gset
	SELECT reservation_id AS paid FROM ticket.seat_hold(1, '{1, 2}', 'a', '$tokens[0]') \\gset
	SELECT count(*) FROM ticket.pay_reservation(:paid, 'a') \\gset
	SELECT ticket.reservation_cancel(:paid, 'a', '{2}') \\gset
	SELECT reservation_id AS gone FROM ticket.seat_hold(1, '{9}', 'c', '$tokens[2]') \\gset
	SELECT ticket.seat_release(:gone, 'c') \\gset
	SELECT count(*) FROM ticket.outbox_fetch(3) \\gset
	SELECT ticket.history_extend() \\gset
	SELECT ticket.ticket_leave('$tokens[4]') \\gset
	SELECT ticket.user_withdraw('c') \\gset
	SELECT ticket.ticket_promote(1) \\gset
	SELECT ticket.queue_create('later'), ticket.seat_hold_expire() \\gset
	SELECT reservation_id FROM ticket.seat_hold(1, '{5}', 'b', '$tokens[1]')));
my $number = $old->safe_psql('shop', "SELECT ticket.reservation_number($hold)");
my $told = snapshot($old, 'shop', @tokens);
verified($old, 'shop', 'old');

# --- the cut-over

shell_ok($new, $cut, 'the cut-over, as the page says', @connections);

my $rows = q(SELECT string_agg(format('%s %s', c.relname,
		(xpath('/row/h/text()', query_to_xml(format('SELECT md5(string_agg(t::text, %L ORDER BY t::text)) AS h FROM %s t', ' ', c.oid::regclass), true, true, '')))[1]),
	chr(10) ORDER BY c.relname) FROM pg_class c WHERE c.relnamespace = 'ticket'::regnamespace AND c.relkind IN ('r', 'p')
	AND c.relname !~ '^history_' AND c.relname <> 'hold_timer');
is($new->safe_psql('shop', $rows), $old->safe_psql('shop', $rows), 'every row is there');
is($new->safe_psql('shop', 'SELECT sequences, hold_timers FROM ticket.resync()'), '0|0', 'resync() had nothing left to do');
is(snapshot($new, 'shop', @tokens), $told, 'every token says what it said');
is($new->safe_psql('shop', "SELECT ticket.reservation_number($hold)"), $number, 'a number leads where it led');
memory_agrees($new, 'shop', 'new');
verified($new, 'shop', 'new');
is($session->query_safe('SELECT available FROM ticket.seat_map(1)'), '98', 'a session from before sees what was sold');

# --- and on

is( $new->safe_psql(
		'shop', qq(
		SELECT ticket.point_charge('b', 100) \\gset
		SELECT status FROM ticket.pay_reservation($hold, 'b');
		SELECT status FROM ticket.ticket_enqueue(1, 'g');
		SELECT status, reservation_id > $hold FROM ticket.seat_hold(1, '{6}', 'd', '$tokens[3]');
		SELECT ticket.queue_create('another') > 2;
		SELECT ticket.history_extend() > 0;
		SELECT count(*) FROM ticket.outbox_fetch(100) HAVING count(*) > 3 \\gset
		SELECT count(*) > 1 FROM ticket.queue_memory())),
	"captured\nactive\nheld|t\nt\nt\nt", 'the sale goes on');
refused($new, 'shop', "SELECT ticket.seat_hold(1, '{1}', 'd', '$tokens[3]')", 'TK006', 'what is sold stays sold');
verified($new, 'shop', 'gone on');
$session->quit;
$_->stop for $new, $old;
done_testing();
