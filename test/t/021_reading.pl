# Reading the line after a start: it touches no row of a ticket that has ended, and
# knows all the same which places were given out and what is left of the rate; a
# client whose statement_timeout is shorter than it takes does not undo it.

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
$node->safe_psql('postgres', q(CREATE EXTENSION ticket;
	SELECT ticket.queue_create('rate', promote_count => 5, promote_interval => '1 day');
	SELECT ticket.queue_create('long', capacity => 0, idle_ttl => '10 days');
	SELECT ticket.queue_create('nobody came', promote_count => 5, promote_interval => '1 day', opens_at => now() + '1 day');
	-- Three were let in, and are out again; the last has left without.
	SELECT count(ticket.ticket_leave(t.token)) FROM generate_series(1, 2) i, ticket.ticket_enqueue(1, 'u' || i) t;
	UPDATE ticket.queue SET mode = 'paused' WHERE queue_id = 1;
	SELECT count(ticket.ticket_enqueue(1, 'w' || i)) FROM generate_series(1, 4) i;
	UPDATE ticket.queue SET mode = 'open' WHERE queue_id = 1;
	SELECT ticket.ticket_promote(1, 1);
	SELECT count(ticket.ticket_leave(f.token)) FROM unnest('{w1,w2,w4}'::text[]) w, ticket.ticket_find(1, w) f;
	-- A row for each ticket that has ended, and many that live.
	INSERT INTO ticket.queue_entry (queue_id, place, user_id, secret, status, entered_at, ended_at)
	SELECT 2, i, 'gone' || i, i, 'left', now(), now() FROM generate_series(1, 20000) i;
	INSERT INTO ticket.queue_entry (queue_id, place, user_id, secret, status, entered_at)
	SELECT 2, i, 'here' || i, i, 'waiting', now() FROM generate_series(20001, 220000) i;
	INSERT INTO ticket.queue_entry (queue_id, place, user_id, secret, status, entered_at, ended_at)
	SELECT 3, i, 'gone' || i, i, 'left', now(), now() FROM generate_series(1, 11000) i;
));
my $known = q(SELECT queue_id, waiting, active, CASE WHEN queue_id <> 2 THEN round(tokens) END FROM ticket.queue_memory() ORDER BY queue_id);

is($node->safe_psql('postgres', $known), "1|1|0|2\n2|200000|0|\n3|0|0|0", 'read again after changes by hand');
$node->restart;
my $scans = q(SELECT seq_scan FROM pg_stat_user_tables WHERE relid = 'ticket.queue_entry'::regclass);
my $before = $node->safe_psql('postgres', $scans);
my $reads = q(FROM pg_stat_user_indexes WHERE indexrelid = 'ticket.queue_entry_live_user'::regclass);
my $read_before = $node->safe_psql('postgres', "SELECT idx_scan $reads");

# Whether the timeout comes before, in the middle or after: what was begun is ended.
note outcome($node, 'postgres', "SET statement_timeout = '100ms'; $known");
is($node->safe_psql('postgres', $known), "1|1|0|2\n2|200000|0|\n3|0|0|0", 'all of it, and the rate');
is(queue_reads($node, 'postgres'), '1', '... once');
$node->poll_query_until('postgres', "SELECT idx_scan > $read_before $reads") or die 'no statistics';
is($node->safe_psql('postgres', "SELECT idx_scan - $read_before $reads"), '1', '... and nobody had to begin anew');
is($node->safe_psql('postgres', $scans), $before, 'and not the table from end to end');
is( $node->safe_psql(
		'postgres', q(
		SELECT position FROM ticket.ticket_enqueue(2, 'here220000');
		SELECT position FROM ticket.ticket_enqueue(1, 'w3');
		SELECT count(ticket.ticket_enqueue(1, 'new'));
		SELECT place > 6 FROM ticket.queue_entry WHERE user_id = 'new' AND queue_id = 1;
		SELECT count(ticket.ticket_enqueue(3, 'new'));
		SELECT max(place) FROM ticket.queue_entry WHERE queue_id = 3;)),
	"200000\n1\n1\nt\n1\n11001",
	'no place is given out twice');
verified($node, 'postgres', 'read');
$node->stop;

done_testing();
