# performance_cancel is interrupted on its way (cancelled, killed, the server
# stopped at once) and called again: it goes on where it was, and everything is
# given back exactly once.  A payment in progress keeps it from coming to its end
# before it is interrupted.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Sale;
use Test::More;

use constant PARTIES => 1500;

my $node = sale_node('main', conf => 'restart_after_crash = on');
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION ticket');
sale_open($node, 'postgres', queue => 0, hold => '1 day', rows => 400);
# Parties of two; two of three have paid.
$node->safe_psql('postgres', qq(
	SELECT count(ticket.point_charge('u' || i, 1000)) FROM generate_series(1, @{[PARTIES]}) AS i;
	SELECT count(ticket.seat_hold(1, ARRAY[2 * i, 2 * i + 1], 'u' || i)) FROM generate_series(1, @{[PARTIES]}) AS i;
	SELECT count(ticket.pay_reservation(reservation_id, user_id)) FROM ticket.reservation WHERE reservation_id % 3 > 0;));

sub one { return $node->safe_psql('postgres', shift) }

# A session that goes on while the test does something else.
sub session
{
	my ($name, $sql) = @_;
	my $session = { in => '', out => '', err => '' };
	$session->{run} = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $node->connstr('postgres') . " application_name=$name", '-c', $sql ],
		'<', \$session->{in}, '>', \$session->{out}, '2>', \$session->{err});
	return $session;
}

# Starts a cancellation behind a payment that stays in progress, waits until it
# has done some more and has to wait, and interrupts it.
sub interrupted
{
	my ($what, $interrupt) = @_;
	my $payer = session('payer', 'BEGIN; SELECT reservation_id FROM ticket.reservation WHERE reservation_id = 1500 FOR UPDATE;
		SELECT pg_sleep(600)');
	$node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_stat_activity
		WHERE application_name = 'payer' AND wait_event = 'PgSleep')) or die "$what: no payer";
	my $caller = session('caller', q(CALL ticket.performance_cancel(1, 'ill', 'boss')));
	$node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_stat_activity
		WHERE application_name = 'caller' AND wait_event_type = 'Lock')) or die "$what: it does not wait";
	$interrupt->();
	IPC::Run::finish($_->{run}) for $caller, $payer;
	$node->poll_query_until('postgres', 'SELECT true') or die "$what: the server is not back";
	is(one('SELECT finished_at IS NULL FROM ticket.performance_cancellation'), 't', "$what: it is not finished");
	is(one('SELECT status FROM ticket.performance'), 'cancelled', "$what: but off sale");
	verified($node, 'postgres', $what);
	return;
}

sub pid_of { return one("SELECT pid FROM pg_stat_activity WHERE application_name = '$_[0]'") }

interrupted('cancelled', sub {
	one(q(SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'caller'));
	$node->poll_query_until('postgres', q(SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'caller'));
	one(q(SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'payer')); });
my $done = one('SELECT refunds + holds_ended FROM ticket.performance_cancellation');
cmp_ok($done, '>', PARTIES / 2, 'most of it is done');
cmp_ok($done, '<', PARTIES, 'but not all');
interrupted('killed', sub { kill 'KILL', pid_of('caller') });
interrupted('stopped', sub { $node->stop('immediate'); $node->start; });

one(q(CALL ticket.performance_cancel(1)));
is(one('SELECT holds_ended, refunds, refunded, seats_blocked, finished_at IS NOT NULL FROM ticket.performance_cancellation'),
	join('|', PARTIES / 3, PARTIES * 2 / 3, PARTIES * 2 / 3 * 200, 4000, 't'), 'called again it goes on to the end, each counted once');
is(one('SELECT count(*), min(balance), max(balance) FROM ticket.account'), join('|', PARTIES, 1000, 1000), 'all money is back');
is(one(q(SELECT count(*), count(DISTINCT payment_id) FROM ticket.ledger WHERE kind = 'refund')),
	join('|', PARTIES * 2 / 3, PARTIES * 2 / 3), 'once');
is(one('SELECT string_agg(DISTINCT status, $$ $$) FROM ticket.seat'), 'blocked', 'every seat is blocked');
is(one(q(SELECT count(*) FROM ticket.outbox WHERE type = 'performance.cancelled')), '1', 'told of once');
verified($node, 'postgres', 'at the end');

done_testing();
