# A line of a million: after 100,000 have left at random and others have entered,
# been let in and rolled back, 1,000 of those who wait are told the position that
# counting the table gives; after kill -9 of the whole server the same.
#
# WAITING in the environment makes the line shorter or longer.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Sale;
use Test::More;
use Time::HiRes qw(usleep);

my $waiting = $ENV{WAITING} // 1000000;
my $entering = int($waiting / 20);
my $leaving = int($waiting / 10);
my $loaded = $waiting - $entering;

my $node = sale_node('main',
	conf => "ticket.max_waiting = @{[ $waiting + 1000 ]}\nmax_wal_size = 4GB\nautovacuum = off");
$node->start;

# Some of the line is loaded as a restore would, some enters.  A token is made
# from its row here as token.h says, not by the code under test.
$node->safe_psql(
	'postgres', qq(
	CREATE EXTENSION ticket;
	SELECT ticket.queue_create('line', capacity => 0, promote_count => 10000, idle_ttl => '1 day',
		promote_interval => '1 day');
	SELECT ticket.queue_create('emptied');
	INSERT INTO ticket.queue_entry (queue_id, place, user_id, secret, status, entered_at)
	SELECT 1, i, 'u' || i, (random() * 4e18)::bigint, 'waiting', now() FROM generate_series(1, $loaded) i;
	SELECT count(t) FROM generate_series($loaded + 1, $waiting) i, ticket.ticket_enqueue(1, 'u' || i) t;
	CREATE FUNCTION token_of(queue_id bigint, place bigint, secret bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS \$\$
		SELECT (lpad(to_hex(((((queue_id << 38) | place) >> 12) << 16) | 32768 | (place & 4095)), 16, '0')
			|| to_hex((-9223372036854775808) | secret))::uuid \$\$;
	CREATE UNLOGGED TABLE leaver AS
	SELECT row_number() OVER (ORDER BY random()) AS n, token_of(queue_id, place, secret) AS token
	FROM (SELECT * FROM ticket.queue_entry ORDER BY random() LIMIT $leaving) e;
	CREATE INDEX ON leaver (n)));
cmp_ok($node->safe_psql('postgres', 'EXPLAIN SELECT * FROM ticket.queue_stats') =~ /cost=[\d.]+\.\.(\d+)/ && $1, '<',
	$node->safe_psql('postgres', 'SHOW jit_above_cost'),
	'a look at the queues is not taken for something long, to be compiled first, where nothing was analyzed');
$node->safe_psql('postgres', 'ANALYZE');
is($node->safe_psql('postgres', 'SELECT waiting FROM ticket.queue_memory() WHERE queue_id = 1'),
	$waiting, 'all wait');

# --- 100,000 leave, by four clients at once; others come and think better of it

my $part = int($leaving / 40);
$node->pgbench(
	'-n -c 4 -t 10 -D n=-1 postgres',
	0, [qr/number of failed transactions: 0 /], [qr/^(?!.*error)/s],
	'they leave',
	{
		'million.leave' => qq(
			\\set n :n + 1
			BEGIN;
			SELECT count(t) FROM generate_series(1, 100) i, ticket.ticket_enqueue(1, 'late' || :client_id || '/' || :n || '/' || i) t;
			ROLLBACK;
			SELECT 1 / (count(nullif(ticket.ticket_leave(token), false)) = $part)::int FROM leaver
			WHERE n > (:client_id * 10 + :n) * $part AND n <= (:client_id * 10 + :n + 1) * $part;
		)
	});
$node->safe_psql('postgres', q(UPDATE ticket.queue SET capacity = 500 WHERE queue_id = 1;
	SELECT ticket.ticket_promote(1)));

# Of 1,000 who wait: place, token, the position by counting, what they are told
$node->safe_psql(
	'postgres', q(
	CREATE TABLE sample AS
	SELECT place, token_of(queue_id, place, secret) AS token, n FROM (
		SELECT *, row_number() OVER (ORDER BY place) AS n FROM ticket.queue_entry
		WHERE queue_id = 1 AND status = 'waiting') e
	ORDER BY random() LIMIT 1000));

my $check = q(
	SELECT count(*), count(DISTINCT n), count(*) FILTER (WHERE s.position = n AND s.status = 'waiting')
	FROM sample, LATERAL ticket.ticket_status(token) s);
is($node->safe_psql('postgres', $check), '1000|1000|1000', 'a thousand are told what counting gives');
is( $node->safe_psql('postgres', q(SELECT waiting, active FROM ticket.queue_memory() WHERE queue_id = 1)),
	$waiting - 40 * $part - 500 . '|500', 'those who are left wait');
is(queue_reads($node, 'postgres'), '2', 'the tables were read when they were empty and when they had been loaded');

# --- kill -9

sub killed
{
	$node->kill9;
	# Its processes are still going: till then it does not start
	my $patience = 10 * $PostgreSQL::Test::Utils::timeout_default;
	until ($node->start(fail_ok => 1))
	{
		die 'the server does not come back' if $patience-- == 0;
		usleep(100_000);
		$node->stop('fast', fail_ok => 1);
	}
	return;
}

killed();
# A queue with live tickets is known as such by the very first statement.
refused($node, 'postgres', 'DELETE FROM ticket.queue WHERE queue_id = 1',
	'TK009', 'killed: a queue with tickets cannot be deleted, first thing');
is($node->safe_psql('postgres', $check), '1000|1000|1000', 'killed: the thousand are told the same');
memory_agrees($node, 'postgres', 'killed');
is(queue_reads($node, 'postgres'), '1', 'killed: the tables were read once');

killed();
# Those who come first, all at once: one reads the tables, the others wait for it.
$node->pgbench(
	'-n -c 8 -t 1 postgres',
	0, [qr/number of transactions actually processed: 8/], [qr/^(?!.*error)/s],
	'killed: many come first',
	{
		'million.first' => q(
			SELECT 1 / (count(*) FILTER (WHERE s.position = n) = 100)::int
			FROM (SELECT * FROM sample ORDER BY place LIMIT 100) t, LATERAL ticket.ticket_status(token) s;)
	});
is($node->safe_psql('postgres', $check), '1000|1000|1000', 'killed again: the same');
is(queue_reads($node, 'postgres'), '1', 'killed again: by one of them');
is($node->safe_psql('postgres', q(SELECT position FROM ticket.ticket_enqueue(1, 'last'))),
	$waiting - 40 * $part - 500 + 1, 'who enters now is last');

killed();
$node->safe_psql('postgres', 'DELETE FROM ticket.queue WHERE queue_id = 2');
is($node->safe_psql('postgres', 'SELECT queue_id FROM ticket.queue_memory()'),
	'1', 'killed: a queue without tickets can be deleted, first thing');

$node->stop('immediate');
done_testing();
