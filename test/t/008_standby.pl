# A hot standby answers questions from the tables and changes nothing; promoted,
# it goes on where the primary was.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Sale;
use Test::More;

my $primary = sale_node('primary', init => { allows_streaming => 1 });
$primary->start;
$primary->safe_psql('postgres', 'CREATE EXTENSION ticket');
sale_open($primary, 'postgres', capacity => 2);
my @tokens = map { enqueue($primary, 'postgres', $_) } 'a' .. 'h';
my $hold = $primary->safe_psql(
	'postgres', "SELECT ticket.point_charge('a', 1000);
	SELECT reservation_id FROM ticket.seat_hold(1, '{1, 2}', 'a', '$tokens[0]')") =~ s/.*\n//r;

$primary->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'copy', has_streaming => 1);
$standby->start;

# What happens after the backup comes by streaming: c gives up, d's place is the
# first in the line then; b leaves, d is let in.
$primary->safe_psql('postgres', "
	SELECT ticket.ticket_leave('$tokens[2]');
	SELECT ticket.ticket_leave('$tokens[1]');
	SELECT ticket.ticket_promote(1);
	SELECT ticket.outbox_fetch(1)");
$primary->wait_for_catchup($standby);

# --- answers

my $answers = snapshot($primary, 'postgres', @tokens);
is($standby->safe_psql('postgres', 'SELECT pg_is_in_recovery()'), 't', 'the standby is one');
is(snapshot($standby, 'postgres', @tokens), $answers, 'ticket_status answers as on the primary');
like($answers, qr/^1\|[^|]*\|active\|.*^2\|[^|]*\|left\|.*^5\|[^|]*\|waiting\|1\|/ms, '... and has something to say');
refused($standby, 'postgres', "SELECT ticket.ticket_status('@{[ $tokens[0] =~ tr/0-9/1-90/r ]}')",
	'TK001', '... but not to a wrong token');
for my $question (
	'SELECT * FROM ticket.concerts()',
	'SELECT performance_id, venue, starts_at, seats FROM ticket.performances(1)',
	'SELECT section_id, name, price, seats, available FROM ticket.sections(1)',
	'SELECT section_id, available, map FROM ticket.seat_map(1)',
	'SELECT seat_id, row, number, price, status FROM ticket.seats(1)',
	q(SELECT ticket.point_balance('a')),
	q(SELECT token, status, position FROM ticket.ticket_find(1, 'h')),
	'SELECT performance_id, seats, available, held, sold FROM ticket.sale_stats',
	'SELECT * FROM ticket.error_codes',
	'SELECT queue_id, name, mode, capacity FROM ticket.queue_stats')
{
	my ($state, $out, $error) = outcome($standby, 'postgres', $question);
	is("$state $out", '00000 ' . $primary->safe_psql('postgres', $question), "answered: $question")
	  or diag $error;
}
verified($standby, 'postgres', 'standby');

# --- changes nothing

for my $change (
	q(ticket_enqueue(1, 'z')), q(ticket_enqueue(1, 'a')),
	"ticket_leave('$tokens[3]')", 'ticket_promote(1)',
	'ticket_expire()', 'ticket_expire(1)', 'queue_clear(1)', q(queue_create('q')),
	"seat_hold(1, '{5}', 'a', '$tokens[0]')", "seat_release($hold, 'a')",
	'seat_hold_expire()', 'hold_timers_restore()', 'resync()', 'number_key_make()', q(point_charge('a', 1)),
	"pay_reservation($hold, 'a')", "reservation_cancel($hold, 'a')",
	'tick()', 'outbox_fetch(1)', 'outbox_read(1)', q(outbox_ack('{}')), q(user_withdraw('a')), q(user_block('a', 'resale', 'infinity')), q(user_unblock('a')),
	q(venue_create('v')), q(venue_change(1, 'v')), 'venue_withdraw(1)',
	q(venue_section_create(1, 's', 'R', 1, 1)), q(concert_create('c')), q(concert_change(1, 'c')),
	'concert_withdraw(1)', q(performance_create(1, 1, now() + '1 day')),
	q(performance_change(1, hold_interval => '1 minute')), q(performance_move(1, now() + '2 days')),
	'performance_withdraw(1)', q(section_create(1, 's', 1, 1, 1)), q(section_change(1, 's')),
	'section_withdraw(1)', q(cancel_policy_set(1, '1 day', 100)), q(cancel_policy_drop(1, '1 day')),
	q(seller_venue_create('s', 'v')), 'history_extend()', q(history_drop('2000-01-01')))
{
	like(
		refused($standby, 'postgres', "SELECT ticket.$change", 'TK016', "refused: $change"),
		qr/^HINT: .*primary/m, '... and says where to go');
}
refused($standby, 'postgres', q(CALL ticket.run('1 second')), 'TK016', 'refused: run');

refused($standby, 'postgres', 'CALL ticket.performance_cancel(1)', 'TK016', 'refused: performance_cancel');
refused($standby, 'postgres', q(UPDATE ticket.queue SET mode = 'paused'), '25006', 'refused by the server: a statement');

# A session that asked on the standby goes on asking after its promotion.
my $session = $standby->background_psql('postgres', on_error_stop => 0);
my $asks = "SELECT status, position FROM ticket.ticket_status('$tokens[7]')";
is($session->query($asks), 'waiting|4', 'a session asks the standby');

# --- promoted

$primary->wait_for_catchup($standby);
$primary->stop;
$standby->promote;
is(snapshot($standby, 'postgres', @tokens), $answers, 'promoted: every ticket stands where it stood');
is($session->query($asks), 'waiting|4', 'the session goes on');
$session->quit;
memory_agrees($standby, 'postgres', 'promoted');
is($standby->safe_psql('postgres', q(SELECT status, position FROM ticket.ticket_enqueue(1, 'z'))),
	'waiting|5', 'promoted: a new fan is last');
is( $standby->safe_psql(
		'postgres', "SELECT status, amount FROM ticket.pay_reservation($hold, 'a');
		SELECT ticket.ticket_promote(1);
		SELECT status FROM ticket.ticket_status('$tokens[4]')"),
	"captured|200\n1\nactive",
	'promoted: the sale goes on');
memory_agrees($standby, 'postgres', 'promoted and used');
verified($standby, 'postgres', 'promoted');

$standby->stop;
done_testing();
