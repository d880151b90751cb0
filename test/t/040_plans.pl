# The plan of every statement that the functions run, in a shop of some size:
# with plans made when all tables were empty, in one that has never been
# analyzed, and analyzed.  No table that grows is read from end to end, nor an
# index without a condition, but for what the list of exceptions says.
#
# RESERVATIONS in the environment makes the shop larger or smaller; 1000000 is
# the whole of it.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Sale;
use Test::More;

my $reservations = $ENV{RESERVATIONS} // 100000;
my @sizes = map { int($reservations * $_) } (0.01, 0.02, 0.5, 1, 0.2);

# Tables that stay small, whatever is sold.
my %small = map { $_ => 1 } qw(queue permission number_key);

# [call, table or index, reason]: what may be read without a condition all the same.
my @exceptions = (
	[ qr/operator_(reservations|payments)/, qr/^reservation_created$/, 'all there are, in order, as far as the page needs' ],
	[ qr/history\(/, qr/^outbox/, 'what waits for a consumer is part of the answer' ],
	[ qr/payments_stuck/, qr/^(payment_pending|refund_due)$/, 'an index of nothing but what is asked for' ],
	[ qr/\bbooks\b/, qr/^ledger/, 'the sum of all there is' ],
	[ qr/sale_stats/, qr/./, 'figures of every performance' ],
	[ qr/outbox_stats/, qr/^outbox/, 'counts what waits' ],);

# What is not called: each with its reason.
my %not_called = (
	verify => 'reads everything, once a night',
	hold_timers_restore => 'reads all reservations, after a restore',
	run => 'rounds of tick(), which is called',
	queue_memory => 'shared memory', memory_usage => 'shared memory', seat_map_memory => 'shared memory',
	clock => 'no table', error_code_list => 'no table', event_time => 'no table',
	reservation_status => 'no table',
	metrics => 'figures of everything, kept or counted',
	history_extend => 'DDL', history_drop => 'DDL',);

my $node = sale_node('main', libraries => 'ticket,auto_explain',
	conf => "max_wal_size = 4GB\nautovacuum = off\nticket.max_waiting = 100000");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION ticket');

# ---------- the calls ----------

# Each combination of the conditions of a list.
sub combinations
{
	my ($function, $seller, @conditions) = @_;
	my @calls = ('');

	for my $condition (@conditions)
	{
		my @more = map { my $c = $_; map { $c eq '' ? $_ : "$c, $_" } ref $condition ? @$condition : $condition } @calls;
		push @calls, @more;
	}
	return map { "$function(" . join(', ', $seller // (), $_ eq '' ? () : $_) . ')' } @calls;
}

my @sales = ('concert_id => 7', 'performance_id => 7', q(user_id => 'plan-u'), q(since => now() - interval '40 days'),
	q(until => now() - interval '20 days'));
my $states = { reservations => [ map { "status => '$_'" } qw(held cancelled) ], payments => [ map { "status => '$_'" } qw(captured pending) ] };
my @lists = (
	'concerts()', 'concerts(50, 500)',
	'operator_totals_by_day(concert_id => 7)', 'operator_totals_by_day(performance_id => 7)', "seller_totals_by_day('seller.3')", "seller_totals_by_day('seller.3', performance_id => 7)",
	"concert_search('여우')", "concert_search('e')", "concert_search('Comets', 10, 500)",
	'concerts_by_date()', 'concerts_by_date(after => 7)', q(concerts_by_date(now() - interval '50 days', now(), 10, 9)),
	"concerts_by_seller('seller.3')", "concerts_by_seller('seller.3', 10, 500)",
	'concerts_by_id(ARRAY[1, 7, 500])', 'performances(7)', 'performances(7, 1, 7)',
	"user_reservations('plan-u')", "user_reservations('plan-u', 10, 50)",
	"point_history('plan-u')", "point_history('plan-u', 10, 50)",
	"seller_concerts('seller.3')", "seller_concerts('seller.3', 10, 50)",
	'sections(7)', 'seats(7)', 'seat_map(7)',
	"history('plan-u')", 'history(reservation_id => 7)', 'history(performance_id => 7, seat_id => 3)', 'payments_stuck()',
	'queue_stats', 'sale_stats', 'outbox_stats', 'books',
	'reservation_card WHERE reservation_id = 77', 'concert_card WHERE concert_id = 7');
for my $part (undef, "'seller.3'")
{
	my $who = defined $part ? 'seller' : 'operator';
	for my $kind (qw(reservations payments))
	{
		push @lists, combinations("${who}_$kind", $part, @sales, $states->{$kind}, 'after => 77');
	}
	push @lists, grep { $part || /concert|performance|user|from/ } combinations("${who}_totals", $part, @sales);
}

# Everything else, as buyers, operators and sellers go through it.  ROUND is
# another number each time.
my $flow = <<'SQL';
SELECT queue_create('planROUND', capacity => 2, idle_ttl => '1 hour') AS q \gset
UPDATE queue SET mode = 'open' WHERE queue_id = :q;
SELECT venue_create('Hall') AS v, concert_create('Plan') AS c \gset
SELECT venue_section_create(:v, 'A', 'A', 10, 10) AS vs, venue_section_create(:v, 'B', 'B', 2, 5) AS vs2 \gset
SELECT performance_create(:c, :v, now() + '10 days', :q, prices => '{"A": 10, "B": 20}') AS p \gset
SELECT performance_create(:c, :v, now() + '11 days', prices => '{"A": 10, "B": 20}') AS p2 \gset
SELECT section_create(:p, 'C', 5, 2, 5) AS s \gset
SELECT concert_change(:c, name => 'Planned'), venue_change(:v, 'House'), venue_section_change(:vs, 'AA'), section_change(:s, price => 6);
SELECT venue_section_delete(:vs2), performance_change(:p, max_seats_per_user => 9);
SELECT token AS t1 FROM ticket_enqueue(:q, 'plan-u') \gset
SELECT token AS t2 FROM ticket_enqueue(:q, 'plan-b') \gset
SELECT token AS t3 FROM ticket_enqueue(:q, 'plan-c') \gset
SELECT token AS t4 FROM ticket_enqueue(:q, 'plan-d') \gset
SELECT ticket_enqueue(:q, 'plan-d'), (SELECT count(*) FROM ticket_enqueue_many(:q, '{plan-d,plan-m}')), (SELECT count(*) FROM ticket_status_many(ARRAY[:'t4', :'t3']::uuid[])), ticket_positions(ARRAY[:'t4', :'t3']::uuid[]), ticket_heard(ARRAY[:'t3']::uuid[]), length(line_picture(:q)), ticket_status(:'t3'), ticket_leave(:'t4'), ticket_leave(:'t2'), ticket_promote(:q), ticket_expire(:q), ticket_expire(), ticket_find(:q, 'plan-d'), queue_clear(:q, true, 0);
SELECT reservation_id AS r1 FROM seat_hold(:p, '{1,2}', 'plan-u', :'t1', 'keyROUND') \gset
SELECT reservation_id AS r1 FROM seat_hold(:p, '{1,2}', 'plan-u', :'t1', 'keyROUND') \gset
SELECT reservation_id AS r2 FROM seat_hold_best(:p, 3, 'plan-u', NULL, :'t1') \gset
SELECT reservation_id AS r3 FROM seat_hold_best(:p2, 2, 'plan-v', fallback => 'any') \gset
SELECT reservation_id AS r4 FROM seat_hold(:p2, '{51}', 'plan-v') \gset
SELECT hold_extend(:r1, 'plan-u', '1 min'), seat_release(:r2, 'plan-u', (SELECT seat_ids[1:1] FROM reservation WHERE reservation_id = :r2)), seat_release(:r2, 'plan-u');
SELECT point_charge('plan-u', 1000, 'chargeROUND'), point_balance('plan-u');
SELECT cancel_policy_set(:p, '1 hour', 10), cancel_policy_drop(:p, '1 hour');
SELECT pay_reservation(:r1, 'plan-u', 'payROUND');
SELECT pay_reservation(:r1, 'plan-u', 'payROUND');
SELECT payment_id AS m FROM payment_begin(:r3, 'plan-v', 'card', true, 'beginROUND') \gset
SELECT payment_id AS m2 FROM payment_begin(:r4, 'plan-v', 'card') \gset
SELECT payment_confirm(:m, 'refROUND'), payment_fail(:m2, 'no');
SELECT user_reservation(:r1, 'plan-u'), reservation_id(reservation_number(:r1));
SELECT reservation_cancel(:r1, 'plan-u', '{1}'), reservation_cancel(:r3, 'plan-v');
SELECT refund_id AS refund FROM refund WHERE payment_id = :m \gset
SELECT refund_confirm(:refund, 'backROUND');
SELECT seat_block(:p, '{20,21}'), seat_unblock(:p, '{20}');
SET ticket.clock_offset = '20min';
SELECT seat_hold(:p2, '{51}', 'plan-w'), seat_hold_expire(5), seat_hold_expire(), tick();
RESET ticket.clock_offset;
SELECT performance_move(:p, now() + '12 days'), section_withdraw(:s), performance_withdraw(:p);
CALL performance_cancel(:p2);
SELECT user_block('plan-x', 'x'), user_unblock('plan-x'), user_withdraw('plan-w');
SELECT concert_withdraw(:c), venue_withdraw(:v);
SELECT seller_venue_create('plan-s', 'Hall') AS v, seller_concert_create('plan-s', 'Plan') AS c \gset
SELECT seller_venue_section_create('plan-s', :v, 'A', 'A', 2, 5) AS vs, seller_venue_section_create('plan-s', :v, 'B', 'B', 2, 5) AS vs2 \gset
SELECT seller_performance_create('plan-s', :c, :v, now() + '10 days', prices => '{"A": 10, "B": 20}') AS p \gset
SELECT seller_section_create('plan-s', :p, 'C', 5, 2, 5) AS s \gset
SELECT seller_venue_change('plan-s', :v, 'x'), seller_venue_section_change('plan-s', :vs, 'x'), seller_venue_section_delete('plan-s', :vs2),
	seller_concert_change('plan-s', :c, 'x'), seller_performance_change('plan-s', :p, max_seats_per_user => 2), seller_section_change('plan-s', :s, 'x');
SELECT seller_section_withdraw('plan-s', :s), seller_performance_withdraw('plan-s', :p), seller_concert_withdraw('plan-s', :c), seller_venue_withdraw('plan-s', :v);
SELECT count(outbox_ack(ARRAY[id])) FROM outbox_read(10);
SELECT count(*) FROM outbox_hand_out(10);
SELECT count(*) FROM outbox_fetch(1000);
SQL

my $called = join(' ', @lists, $flow);
is( join(' ', grep { $called !~ /\b$_\(|CALL $_/ && !$not_called{$_} } split /\n/,
		$node->safe_psql('postgres', q(SELECT DISTINCT object FROM ticket.permission WHERE privilege = 'EXECUTE' ORDER BY 1))),
	'', 'every function that somebody may call is called');

# ---------- the plans ----------

my %table_of = map { split /\|/ } split /\n/, $node->safe_psql('postgres',
	q(SELECT c.relname, t.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
	  WHERE t.relnamespace = 'ticket'::regnamespace));
my %tables = map { $_ => 1 } values %table_of;
my %excused;

# A psql that stays: what it has planned it keeps.
sub session_script
{
	my ($round) = @_;
	my $n = 0;
	my $script = qq(\\set QUIET on\n\\o /dev/null\nSET search_path = ticket, public;\nSET client_min_messages = log;\n)
	  . qq(SET auto_explain.log_min_duration = 0;\nSET auto_explain.log_nested_statements = on;\nSET auto_explain.log_level = notice;\n);

	(my $this = $flow) =~ s/ROUND/$round/g;
	for my $statement (split(/(?<=;)\n|(?<=\\gset)\n/, $this), map { "SELECT * FROM $_;" } @lists)
	{
		(my $shown = $statement) =~ s/\s+/ /g;
		$shown =~ s/'/''/g;
		$script .= "\\warn '=== $shown'\n$statement\n";
	}
	return $script;
}

# What is wrong with the plans that a session has shown.
sub offences
{
	my ($log) = @_;
	my ($call, $plans) = ('', 0);
	my %seen;
	my @lines = split /\n/, $log;

	for my $i (0 .. $#lines)
	{
		if ($lines[$i] =~ /^=== (.*)/) { $call = $1; next; }
		$plans++ if $lines[$i] =~ /duration: .* plan:/;
		my $what;
		if ($lines[$i] =~ /\bSeq Scan on (?:\w+\.)?(\w+)/) { $what = $1; }
		elsif ($lines[$i] =~ /\b(?:Index(?: Only)? Scan(?: Backward)? using|Bitmap Index Scan on) (\w+)/)
		{
			next if $lines[ $i + 1 ] =~ /^\s+Index Cond: /;
			$what = $1;
		}
		next unless $what;
		my $table = $table_of{$what} // $what;
		# The test's own questions are not meant.
		next if !$tables{$table} || $small{$table} || $call =~ /^SELECT refund_id AS/;
		my ($excuse) = grep { $call =~ $exceptions[$_][0] && $what =~ $exceptions[$_][1] } 0 .. $#exceptions;
		if (defined $excuse) { $excused{$excuse} = 1; next; }
		$seen{"$what in $call"} = 1;
	}
	return ($plans, sort keys %seen);
}

# Rows that C writes directly have no plan.
sub written_directly
{
	my ($name, $log) = @_;
	my @statements = map { my ($call) = /^(.*)/; map { "$_ in $call" } /\b((?:Insert|Update) on (?:queue_entry|reservation|seat|account|payment|ledger|outbox)\b)/g }
	  grep { /^SELECT (?:token AS|reservation_id AS|pay_reservation)/ } split /^=== /m, $log;
	my $calls = () = $log =~ /^=== SELECT (?:token AS|reservation_id AS|pay_reservation)/mg;

	cmp_ok($calls, '>=', 10, "$name: there are tickets, holds and payments");
	is(join("\n", @statements), '', "$name: their rows are written directly");
	return;
}

sub looked_at
{
	my ($name, $log) = @_;
	my ($plans, @offences) = offences($log);
	my @errors = grep { $name ne 'on empty tables' || !/there is no performance \d/ } $log =~ /ERROR:  (.*)/g;

	cmp_ok($plans, '>', @lists + 50, "$name: there are plans");
	is(join("\n", @errors), '', "$name: no call failed");
	is(join("\n", @offences > 20 ? @offences[ 0 .. 19 ] : @offences), '', "$name: every table that grows is read by an index and a condition");
	return;
}

sub fill
{
	return "SET client_min_messages = warning;\n" . slurp_file("$FindBin::RealBin/../../data/seed.sql")
	  . "\nSELECT count(*) FROM ticket_seed.fill(" . join(', ', @sizes) . ");\n"
	  . q(
	-- What the shop has nothing of
	SELECT count(ticket.ticket_enqueue(q, 'plan' || i)) FROM ticket.queue_create('plan', capacity => 0) q, generate_series(1, 5000) i;
	SET session_replication_role = replica;
	INSERT INTO ticket.catalogue_past (kind, id, until, was)
	SELECT 'section', i, now() - '1 year'::interval, '{"name": "x", "grade": null}' FROM generate_series(1, 10000) i;
	INSERT INTO ticket.history (at, event_id, type, reservation_id, performance_id, user_id, details)
	SELECT now(), gen_random_uuid(), 'reservation.held', i, i, 'plan' || i, '{}' FROM generate_series(1, 10000) i;
	INSERT INTO ticket.cancel_policy SELECT i, '1 day', 0, 0 FROM generate_series(1, 10000) i;
	INSERT INTO ticket.refund (payment_id, provider, status, amount, created_at, done_at, provider_ref)
	SELECT i, 'plan', 'done', 1, now(), now(), i::text FROM generate_series(1, 10000) i;
	INSERT INTO ticket.venue (name) SELECT 'plan' FROM generate_series(1, 2000);
	INSERT INTO ticket.venue_section (venue_id, name, row_count, seats_per_row, seat_count, plan)
	SELECT venue_id, 'plan', 1, 1, 1, 'o' FROM ticket.venue WHERE name = 'plan';
	INSERT INTO ticket.user_block (user_id, reason) SELECT 'blocked' || i, 'plan' FROM generate_series(1, 10000) i;
	);
}

# As if nobody had ever analyzed.
my $unknown = q(
	SET allow_system_table_mods = on;
	DELETE FROM pg_statistic WHERE starelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'ticket'::regnamespace);
	UPDATE pg_class SET reltuples = -1, relpages = 0 WHERE relnamespace = 'ticket'::regnamespace AND relkind IN ('r', 'i');
	RESET allow_system_table_mods;
);

# What psql says while it runs a script.
my $n_sessions = 0;

sub run_session
{
	my ($script) = @_;
	my $name = "$PostgreSQL::Test::Utils::tmp_check/session_" . ++$n_sessions;

	append_to_file("$name.sql", $script);
	system("psql -Xq -d '" . $node->connstr('postgres') . "' -v VERBOSITY=terse -f '$name.sql' >/dev/null 2>'$name.log'");
	return slurp_file("$name.log");
}

# The first session plans on empty tables, the shop is filled behind its back,
# and it goes on with the plans that it has.
my $second = session_script('b');
my $fill_file = "$PostgreSQL::Test::Utils::tmp_check/fill.sql";
append_to_file($fill_file, fill() . $unknown);
my $connect = $node->connstr('postgres');
my $log = run_session(session_script('a') . qq(\\! psql -Xq -d "$connect" -f "$fill_file" >"$fill_file.log" 2>&1\n) . $second);
my ($before, $after) = split /(?==== SELECT queue_create\('planb)/, $log;
looked_at('on empty tables', $before);
looked_at('with plans made on empty tables', $after // '');
is($node->safe_psql('postgres', 'SELECT count(*) > 0.99 * ' . $reservations . ' FROM ticket.reservation'), 't', 'the shop is full');

looked_at('never analyzed', run_session(session_script('c')));
$node->safe_psql('postgres', 'VACUUM ANALYZE');
# Of what is short, and known to be, the end is near.
$small{$_} = 1 foreach split /\n/, $node->safe_psql('postgres', q(
	SELECT relname FROM pg_class WHERE relnamespace = 'ticket'::regnamespace AND relkind = 'r' AND reltuples < 100));
unlike(join(' ', keys %small), qr/\b(concert|performance|seat|reservation|payment|ledger|queue_entry|venue|section)\b/, 'the shop has much of everything');
my $analyzed = run_session(session_script('d'));
looked_at('analyzed', $analyzed);
written_directly('analyzed', $analyzed);
is( join(', ', map { $exceptions[$_][0] } grep { !$excused{$_} } 0 .. $#exceptions), '', 'every exception is needed');

done_testing();
