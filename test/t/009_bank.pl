# The bank: 64 clients charge, hold, pay, cancel, begin, confirm and fail at
# random, on 20 accounts and 200 seats (test/bank.c).  Every read of the books
# while they run is balanced.  Clients are killed between sending a call and its
# answer, and their successors ask again; then backends are killed with SIGKILL
# and the server is stopped at once in the middle of it.  In the end every
# acknowledged charge and payment is there, none twice.
#
# BANK_SECONDS in the environment makes the first part longer (default 12),
# BANK_ROUNDS the second (default 6).

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Sale;
use Test::More;
use Time::HiRes qw(sleep time);

use constant { CLIENTS => 64, USERS => 20, SEATS => 200 };

my $seconds = $ENV{BANK_SECONDS} // 12;
my $rounds = $ENV{BANK_ROUNDS} // 6;
my $directory = PostgreSQL::Test::Utils::tempdir;
my $bank = "$directory/bank";

my $include = `pg_config --includedir`;
chomp $include;
system_or_bail('cc', '-O2', "-I$include", '-o', $bank, "$FindBin::RealBin/../bank.c", '-lpq');

my $node = sale_node('main', conf => "restart_after_crash = on\nmax_connections = 100");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION ticket');
sale_open($node, 'postgres', queue => 0, rows => SEATS / 10, hold => '200 milliseconds', max_seats => 12);
# Half of the payments outside come too late; who cancels loses a tenth and 3.
$node->safe_psql('postgres', q(
	UPDATE ticket.performance SET payment_interval = '200 milliseconds';
	SELECT ticket.cancel_policy_set(1, '1 day', 100, 3)));

# Acknowledged is durable whatever the sessions say.
my $bank_run = IPC::Run::start(
	[ $bank, $node->connstr('postgres') . q( application_name=bank options='-c synchronous_commit=off'),
		$directory, CLIENTS, USERS, SEATS ],
	'>' => "$directory/out", '2>' => "$directory/err");

# --- reading the books

# One statement, one snapshot: the books, what accounts hold, what was sold.
my $books = q(
	SELECT 'books', (SELECT sum(balance) FROM ticket.books) WHERE (SELECT sum(balance) FROM ticket.books) <> 0
	UNION ALL
	SELECT 'points', (SELECT sum(balance) FROM ticket.account)
	WHERE (SELECT coalesce(sum(balance), 0) FROM ticket.account)
		<> (SELECT coalesce(sum(balance), 0) FROM ticket.books WHERE account LIKE 'user:%')
	UNION ALL
	SELECT 'sales', (SELECT sum(amount) FROM ticket.reservation WHERE status = 'paid')
	WHERE (SELECT coalesce(sum(balance), 0) FROM ticket.books WHERE account LIKE 'sales:%')
		<> (SELECT coalesce(sum(amount), 0) FROM ticket.reservation WHERE status = 'paid')
			+ (SELECT coalesce(sum(kept), 0) FROM ticket.payment)
	UNION ALL
	SELECT invariant || ': ' || detail, violations FROM ticket.verify('1 day') WHERE ok IS NOT TRUE);

my $end = time + $seconds;
my ($reads, $unbalanced) = (0, '');
while (time < $end)
{
	$unbalanced .= $node->safe_psql('postgres', $books);
	$reads++;
	# Holds are tidied, too, so that confirmations find seats gone.
	$node->safe_psql('postgres', 'SELECT ticket.tick()');
}
is($unbalanced, '', 'every read of the books is balanced');
cmp_ok($reads, '>', 0, "there were some ($reads)");

# --- crashes

# The log of all clients: the answers to one kind of call, as rows to COPY.
sub told
{
	my ($kind) = @_;
	return grep { $_->[0] eq $kind } map { [ split /\t/ ] } map { split /\n/, slurp_file($_) } glob "$directory/*.log";
}

sub alive
{
	my $size = 0;
	$size += -s $_ for glob "$directory/*.log";
	return $size;
}

sub kill_a_backend
{
	my $from = -s $node->logfile;
	my $pid;

	# One of a client that is killed meanwhile may be gone.
	do
	{
		$pid = $node->safe_psql('postgres', q(
			SELECT pid FROM pg_stat_activity WHERE application_name = 'bank'
			ORDER BY state <> 'active', random() LIMIT 1));
	} until $pid && kill 'KILL', $pid;
	$node->wait_for_log(qr/all server processes terminated; reinitializing/, $from);
	$node->poll_query_until('postgres', 'SELECT true') or die 'the server does not come back';
	return;
}

for my $round (1 .. $rounds)
{
	my $size = alive();

	# Not before the clients have got something done again
	for (my $patience = 1800; alive() < $size + 5000; $patience--)
	{
		die 'the bank stands still' if $patience == 0;
		sleep 0.1;
	}
	if ($round % 2)
	{
		kill_a_backend();
	}
	else
	{
		$node->stop('immediate');
		$node->start;
	}
	$unbalanced .= $node->safe_psql('postgres', $books);
}
is($unbalanced, '', "balanced after each of $rounds crashes");
append_to_file("$directory/stop", '');
$bank_run->finish;
is($bank_run->result(0), 0, 'the clients ended in peace') or diag slurp_file("$directory/err");
my $out = slurp_file("$directory/out");
like($out, qr/^[1-9]\d* clients were killed$/, 'and some of them did not') or diag $out;

# --- what they were told

# Every call was answered with success or an error of ours.
my %ended;
for my $row (map { [ split /\t/ ] } map { split /\n/, slurp_file($_) } glob "$directory/*.log")
{
	$ended{ $row->[0] . ' ' . ($row->[2] =~ /^!(.*)/ ? $1 : '00000') }++;
}
note explain \%ended;
is(join(' ', grep { !/ (00000|TK\d\d\d)$/ } sort keys %ended), '', 'nobody was told anything but success and TK...');
cmp_ok($ended{"$_ 00000"} // 0, '>', 0, "some: $_") for qw(charge hold pay begin confirm fail cancel refund);

# Of the calls of one kind that succeeded: parts of what was asked and answered.
sub acknowledged
{
	my ($kind, $asked, $answered) = @_;
	my @rows;

	for my $row (told($kind))
	{
		my @asked = $row->[1] =~ $asked;
		my @answered = $row->[2] =~ $answered;

		push @rows, [ @asked, @answered ] if @asked && @answered;
	}
	return @rows;
}

# Tests that a query over what was acknowledged finds nothing.
sub nothing
{
	my ($columns, $rows, $query, $name) = @_;

	is( $node->safe_psql('postgres', "CREATE TEMP TABLE told ($columns);\nCOPY told FROM stdin;\n"
			  . join('', map { join("\t", @$_) . "\n" } @$rows) . "\\.\n$query"),
		'', "$name (" . @$rows . ' acknowledged)');
	return;
}

my @charges = acknowledged('charge', qr/'(u\d+)', (\d+), '(.*)'\)/, qr/^(\d+)$/);
nothing('user_id text, amount bigint, key text, balance bigint', \@charges, q(
	SELECT t.* FROM told t LEFT JOIN ticket.ledger l ON l.user_id = t.user_id AND l.idempotency_key = t.key
	WHERE (l.amount, l.balance_after) IS DISTINCT FROM (t.amount, t.balance)
	UNION ALL
	SELECT l.user_id, count(*), l.idempotency_key, 0 FROM ticket.ledger l WHERE l.kind = 'charge'
	GROUP BY 1, 3 HAVING count(*) > 1
	UNION ALL
	SELECT l.user_id, l.amount, l.idempotency_key, 0 FROM ticket.ledger l
	WHERE l.kind = 'charge' AND NOT EXISTS (SELECT FROM told t WHERE t.key = l.idempotency_key)),
	'charges are there, once, and no others');
my @payments = acknowledged('pay', qr/pay_reservation\((\d+), '(u\d+)'/, qr/^(\d+) \w+ (\d+) /);
nothing('reservation_id bigint, user_id text, payment_id bigint, amount bigint', \@payments, q(
	SELECT t.* FROM told t
		LEFT JOIN ticket.payment p USING (payment_id, reservation_id, user_id, amount)
		LEFT JOIN ticket.ledger l ON l.payment_id = t.payment_id AND l.kind = 'payment'
	WHERE p.paid_at IS NULL OR l.amount IS DISTINCT FROM t.amount
	UNION ALL
	SELECT reservation_id, 'twice', 0, count(*) FROM ticket.payment WHERE paid_at IS NOT NULL
	GROUP BY reservation_id HAVING count(*) > 1
	UNION ALL
	SELECT payment_id, 'twice', 0, count(*) FROM ticket.ledger WHERE kind = 'payment'
	GROUP BY payment_id HAVING count(*) > 1),
	'payments are there, once');
my @confirmed = acknowledged('confirm', qr/()/, qr/^(\d+) (\w+) (\d+) (\d+)$/);
shift @$_ for @confirmed;
nothing('payment_id bigint, status text, amount bigint, reservation_id bigint', \@confirmed, q(
	SELECT t.* FROM told t LEFT JOIN ticket.payment p USING (payment_id, reservation_id, amount)
	WHERE p.provider_ref IS DISTINCT FROM 'ref-' || t.payment_id
		OR (t.status = 'captured') AND (p.paid_at IS NULL)
		OR p.status NOT IN ('captured', 'refund_due', 'refunded')),
	'confirmed payments have taken the money');
my @refunds = acknowledged('refund', qr/()/, qr/^(\d+) (\d+) done (\d+)$/);
shift @$_ for @refunds;
nothing('refund_id bigint, payment_id bigint, amount bigint', \@refunds, q(
	SELECT t.* FROM told t LEFT JOIN ticket.refund f USING (refund_id, payment_id, amount)
	WHERE f.status IS DISTINCT FROM 'done'), 'refunds that were done are');

# --- in peace

# Whatever is under way is answered now; the books still balance, and nothing
# is left to ask.
$node->safe_psql('postgres', q(
	SELECT ticket.tick();
	SELECT count(ticket.payment_confirm(payment_id, 'last-' || payment_id)) FROM ticket.payments_stuck('0') WHERE status = 'pending';
	SELECT count(ticket.refund_confirm(refund_id, 'refund-' || refund_id)) FROM ticket.payments_stuck('0') WHERE refund_id IS NOT NULL;));
is($node->safe_psql('postgres', q(SELECT count(*) FROM ticket.payments_stuck('0'))), '0', 'nothing is left to ask');
is($node->safe_psql('postgres', $books), '', 'the books are balanced');
is( $node->safe_psql('postgres', q(SELECT sum(balance) FROM ticket.books WHERE account LIKE 'refund:%')),
	'0', 'nothing is owed');
is( $node->safe_psql('postgres', q(
		SELECT (SELECT -sum(balance) FROM ticket.books WHERE account IN ('charge', 'provider:card'))
			- (SELECT sum(balance) FROM ticket.account)
			- (SELECT sum(balance) FROM ticket.books WHERE account LIKE 'sales:%'))),
	'0', 'what came in is in accounts or in sales');
note $node->safe_psql('postgres', q(
	SELECT 'substituted ' || count(*) FROM ticket.payment WHERE former_reservation IS NOT NULL;
	SELECT 'payment ' || provider || ' ' || status || ' ' || coalesce(reason, '') || ' ' || count(*) FROM ticket.payment GROUP BY provider, status, reason ORDER BY 1));
verified($node, 'postgres', 'the bank');

$node->stop;
done_testing();
