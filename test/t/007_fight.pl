# Many clients and little to have: 64 for ten seats, 200 at one door that 50 open,
# 64 who come through a door to buy.  Every seat is sold once, every other call is
# answered with an SQLSTATE of ours, nobody is let in above the capacity, at no
# moment, and nothing that we do ourselves makes the line be read from the tables
# again, for which everybody at the door would have to wait.
#
# Each round of a fight begins when all are connected, and there are as many as it
# takes: nothing depends on how fast the machine is.  FIGHT_CALLS in the environment
# is how often each client does something in a round (default 50).

use strict;
use warnings FATAL => 'all';

use FindBin;
use IPC::Run ();
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Sale;
use Test::More;

my $calls = $ENV{FIGHT_CALLS} // 50;

my $node = sale_node('main', conf => 'max_connections = 300');
$node->start;

my $max_rounds = 30;

# Starts clients that run scripts, each with its weight.
sub start_clients
{
	my ($database, $clients, %scripts) = @_;
	my %run = (out => '', error => '');
	my @files;

	for my $script (sort keys %scripts)
	{
		my $file = $node->basedir . '/' . $script =~ s/@.*//r;

		append_to_file($file, "SELECT pg_advisory_xact_lock_shared(1);\n$scripts{$script}") unless -e $file;
		push @files, '-f', $file . ($script =~ s/[^@]*//r);
	}
	$run{process} = IPC::Run::start(
		[ 'pgbench', '-n', '-c', $clients, '-j', 2, '-t', $calls, @files, $node->connstr($database) ],
		'>', \$run{out}, '2>', \$run{error});
	return \%run;
}

# Lets clients fight, and those at the side (a list of numbers and scripts) with
# them, round by round until enough has happened: until the query says so.  They
# wait at a gate, an advisory lock, until all of them are there.
sub fight
{
	my ($database, $clients, $name, $enough, $side, %scripts) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $rounds = 0;
	my $done = '';
	my $all = $clients;
	my $gate = $node->background_psql($database);
	my @failed;

	$all += $_->[0] for @$side;
	while ($done ne 't' && !@failed && $rounds++ < $max_rounds)
	{
		$gate->query_safe('SELECT pg_advisory_lock(1)');
		my @runs = map { start_clients($database, @$_) } [ $clients, %scripts ], map { [ $_->[0], %{ $_->[1] } ] } @$side;

		$node->poll_query_until($database, "SELECT count(*) = $all FROM pg_locks WHERE locktype = 'advisory'
				AND NOT granted AND classid = 0 AND objid = 1 AND objsubid = 1")
		  or die "$name: not all are at the gate";
		$gate->query_safe('SELECT pg_advisory_unlock(1)');
		for my $run (@runs)
		{
			push @failed, "$run->{out}$run->{error}"
			  if !$run->{process}->finish
			  || $run->{out} !~ /number of failed transactions: 0 /
			  || $run->{error} =~ /error|abort/;
		}
		$done = $node->safe_psql($database, $enough);
	}
	$gate->quit;
	is("@failed", '', "$name: no client gave up");
	is($done, 't', "$name: enough has happened; f: nothing ran");
	note "$name: $rounds rounds";
	return;
}

# Answers of all calls: SQLSTATE and how often
sub answers
{
	my ($database) = @_;
	return map { split /\|/ } split /\n/,
	  $node->safe_psql($database, 'SELECT call || $$ $$ || state, count(*) FROM answer GROUP BY 1');
}

# A function that makes a call, notes how it ended and returns 0 when it failed
sub noted
{
	my ($name, $arguments, $call) = @_;
	return qq{
		CREATE FUNCTION $name($arguments) RETURNS bigint LANGUAGE plpgsql AS \$\$
		DECLARE
			answer bigint;
		BEGIN
			BEGIN
				$call INTO answer;
			EXCEPTION WHEN OTHERS THEN
				INSERT INTO answer VALUES ('$name', SQLSTATE, SQLERRM);
				RETURN 0;
			END;
			INSERT INTO answer VALUES ('$name', '00000');
			RETURN coalesce(answer, 0);
		END\$\$;};
}

# Tests that nothing was answered but success and these.
sub only_answers
{
	my ($database, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is($node->safe_psql($database,
			"SELECT DISTINCT call, state, message FROM answer WHERE state !~ '$expected' LIMIT 10"),
		'', "$name: no answer but $expected");
	return;
}

my $answer = 'CREATE UNLOGGED TABLE answer (call text, state text, message text);';

# --- ten seats

# Holds end soon, one in ten pays and most of these cancel, so that seats change
# hands all the time: by paying, cancelling, giving back, taking over and tidying.
# Half of the fans are poor.
sub ten_seats
{
	my ($name, $options) = @_;
	my $database = $name =~ s/\W+/_/gr;

	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, 'CREATE EXTENSION ticket');
	sale_open($node, $database, queue => 0, rows => 1, hold => '20 milliseconds', max_seats => 3);
	$node->safe_psql($database, $answer
		  . noted('hold', 'seats int[], fan text', 'SELECT reservation_id FROM ticket.seat_hold(1, seats, fan)')
		  . noted('pay', 'reservation bigint, fan text',
			'SELECT payment_id FROM ticket.pay_reservation(reservation, fan)')
		  . noted('release', 'reservation bigint, fan text', 'SELECT ticket.seat_release(reservation, fan)::int')
		  . noted('cancel', 'reservation bigint, fan text',
			'SELECT refunded FROM ticket.reservation_cancel(reservation, fan)')
		  . noted('tidy', '', 'SELECT ticket.seat_hold_expire()')
		  . q(SELECT count(ticket.point_charge('u' || i, 100000)) FROM generate_series(1, 100, 2) i));

	local $ENV{PGOPTIONS} = $options;
	fight($database, 64, $name, q(
			SELECT count(*) FILTER (WHERE call = 'hold' AND state = 'TK006') > 100
				AND count(*) FILTER (WHERE call = 'hold' AND state = '00000') > 9
				AND count(*) FILTER (WHERE call = 'pay' AND state = '00000') > 0
				AND count(*) FILTER (WHERE call = 'cancel' AND state = '00000') > 0 FROM answer),
		[], "$database.hold\@30" => q(
			\set a random(1, 10)
			\set b random(1, 10)
			\set fan random(1, 100)
			\set what random(1, 20)
			\if :what > 10 and :a <> :b
				SELECT hold(ARRAY[:a, :b], 'u' || :fan) AS r \gset
			\else
				SELECT hold(ARRAY[:a], 'u' || :fan) AS r \gset
			\endif
			\if :r > 0 and :what <= 2
				SELECT pay(:r, 'u' || :fan);
				SELECT pay(:r, 'u' || :fan);
				\set keeps random(1, 30)
				\if :keeps > 1
					SELECT cancel(:r, 'u' || :fan);
				\endif
			\elif :r > 0 and :what = 3
				SELECT release(:r, 'u' || :fan);
			\endif),
		"$database.tidy\@1" => q(SELECT tidy();));

	delete $ENV{PGOPTIONS};

	my %answers = answers($database);
	note explain \%answers;
	only_answers($database, '^(00000|TK...)$', $name);
	cmp_ok($answers{'hold TK006'} // 0, '>', 100, "$name: many came too late");
	cmp_ok($answers{'hold 00000'} // 0, '>', 9, "$name: some did not");
	cmp_ok($answers{'pay 00000'} // 0, '>', 0, "$name: some paid");
	cmp_ok($answers{'cancel 00000'} // 0, '>', 0, "$name: some thought better of it");

	# What is left over is sold in peace.
	$node->poll_query_until($database, 'SELECT max(held_until) < clock_timestamp() IS NOT FALSE FROM ticket.seat')
	  or die 'holds do not end';
	$node->safe_psql($database, q(
		UPDATE ticket.performance SET hold_interval = '1 hour';
		SELECT count(ticket.point_charge('last' || i, 100)) FROM generate_series(1, 10) i;
		SELECT count(pay(hold(ARRAY[seat_id], 'last' || seat_id), 'last' || seat_id))
		FROM ticket.seats(1) WHERE status = 'free'));
	is( $node->safe_psql(
			$database, q(
			SELECT count(*) FROM ticket.seats(1) WHERE status = 'sold';
			SELECT count(s), count(DISTINCT s) FROM ticket.reservation r, unnest(r.seat_ids) s
			WHERE r.status = 'paid';
			SELECT sum(amount - refunded) FROM ticket.payment)),
		"10\n10|10\n1000",
		"$name: ten seats sold, each once");
	refused($node, $database, "SELECT ticket.seat_hold(1, '{1}', 'last1')", 'TK006', "$name: sold out");
	verified($node, $database, $name);
	return;
}

ten_seats('as planned', '');
ten_seats('plans forbidden', join ' ',
	map { "-c enable_$_=off" } qw(hashjoin mergejoin sort material hashagg));

# --- one door

$node->safe_psql('postgres', 'CREATE DATABASE door');
$node->safe_psql('door', 'CREATE EXTENSION ticket');
sale_open($node, 'door', capacity => 20);
$node->safe_psql('door', q(UPDATE ticket.queue SET active_ttl = '30 milliseconds')
	  . ";$answer"
	  . noted('enter', 'fan text', 'SELECT place FROM enter_as(fan)')
	  . noted('promote', '', 'SELECT ticket.ticket_promote(1)')
	  . noted('expire', '', 'SELECT ticket.ticket_expire(1)')
	  . noted('leave', 'fan text', 'SELECT ticket.ticket_leave(token)::int FROM ticket_of WHERE user_id = fan LIMIT 1')
	  . noted('look', 'fan text', 'SELECT ticket.position FROM ticket_of o, ticket.ticket_status(o.token) ticket
			WHERE o.user_id = fan LIMIT 1')
	  . q(
	CREATE UNLOGGED TABLE ticket_of (user_id text PRIMARY KEY, token uuid);
	CREATE FUNCTION enter_as(fan text, OUT place bigint) LANGUAGE plpgsql AS $$
	DECLARE
		mine uuid;
	BEGIN
		SELECT token, position FROM ticket.ticket_enqueue(1, fan) INTO mine, place;
		INSERT INTO ticket_of VALUES (fan, mine) ON CONFLICT (user_id) DO UPDATE SET token = mine;
	END$$;
	-- One snapshot of the table; shared memory a moment later
	CREATE UNLOGGED TABLE sample (active bigint, admitted bigint, waiting bigint);
	CREATE FUNCTION sample() RETURNS void LANGUAGE sql AS $$
		INSERT INTO sample
		SELECT n.active, (SELECT admitted FROM ticket.queue_memory()), n.waiting
		FROM (SELECT count(*) FILTER (WHERE status = 'active') AS active,
			count(*) FILTER (WHERE status = 'waiting') AS waiting
			FROM ticket.queue_entry WHERE ended_at IS NULL) n$$;));

# Fifty who let people in and tidy, and four who watch, all the while that two
# hundred come and go.
my $fan = '\set fan random(1, 500)';
fight('door', 200, 'one door', q(
		SELECT (SELECT count(*) > 100 AND max(active) > 0 AND max(waiting) > 0 FROM sample)
			AND (SELECT count(*) > 100 FROM ticket.queue_entry WHERE status = 'expired' AND admitted_at IS NOT NULL)
			AND (SELECT count(DISTINCT call) = 5 FROM answer WHERE state = '00000')),
	[[ 50, {
			'door.promote@40' => 'SELECT promote();',
			'door.back@4' => "BEGIN;\nSELECT promote();\nROLLBACK;",
			'door.expire@6' => 'SELECT expire();' } ],
		[ 4, { 'door.sample' => 'SELECT sample();' } ]],
	"door.enter\@20" => "$fan\nSELECT enter('u' || :fan);",
	"door.rolled\@2" => "$fan\nBEGIN;\nSELECT enter('u' || :fan);\nROLLBACK;",
	"door.look\@10" => "$fan\nSELECT look('u' || :fan);",
	"door.leave\@5" => "$fan\nSELECT leave('u' || :fan);");

note explain { answers('door') };
note $node->safe_psql('door', q(
	SELECT max(active), max(admitted), max(waiting), count(*) FROM sample;
	SELECT status, count(*) FROM ticket.queue_entry GROUP BY 1));
only_answers('door', '^(00000|TK...)$', 'one door');
is( $node->safe_psql('door', q(
		SELECT max(active) <= 20, max(admitted) <= 20, max(active) > 0, max(waiting) > 0, count(*) > 100 FROM sample)),
	't|t|t|t|t', 'one door: never above the capacity, with people inside and outside');
is( $node->safe_psql('door', q(
		SELECT count(*) > 100 FROM ticket.queue_entry WHERE status = 'expired' AND admitted_at IS NOT NULL)),
	't', 'one door: many came and went');
memory_agrees($node, 'door', 'one door');
verified($node, 'door', 'one door');
is( $node->safe_psql(
		'door', q(
		SELECT count(*) FROM (
			SELECT row_number() OVER (ORDER BY e.place) AS n, s.position
			FROM ticket.queue_entry e JOIN ticket_of o USING (user_id), ticket.ticket_status(o.token) s
			WHERE e.status = 'waiting') x
		WHERE n IS DISTINCT FROM position)),
	'0', 'one door: who is left waits in the order of arrival');
is(queue_reads($node, 'door'), '1', 'one door: the line was read from the tables once');

# --- a whole sale

# Tickets come to an end in every way there is.
$node->safe_psql('postgres', 'CREATE DATABASE sale');
$node->safe_psql('sale', 'CREATE EXTENSION ticket');
sale_open($node, 'sale', capacity => 40, hold => '300 milliseconds');
$node->safe_psql('sale', q(
	UPDATE ticket.queue SET active_ttl = '2 seconds', idle_ttl = '1 second', rejoin = 'back', retention = '0';
	UPDATE ticket.performance SET max_hold = '300 milliseconds', payment_interval = '300 milliseconds')
	  . ";$answer"
	  . q(
	CREATE UNLOGGED TABLE ticket_of (user_id text PRIMARY KEY, token uuid);
	CREATE FUNCTION token_of(fan text) RETURNS uuid LANGUAGE sql AS 'SELECT token FROM ticket_of WHERE user_id = fan';
	CREATE FUNCTION enter_as(fan text, OUT active bigint) LANGUAGE plpgsql AS $$
	DECLARE
		mine uuid;
	BEGIN
		SELECT token, (status = 'active')::int FROM ticket.ticket_enqueue(1, fan) INTO mine, active;
		INSERT INTO ticket_of VALUES (fan, mine) ON CONFLICT (user_id) DO UPDATE SET token = mine;
	END$$;
	SELECT count(ticket.point_charge('u' || i, 100000000)) FROM generate_series(1, 500) i;)
	  . noted('enter', 'fan text', 'SELECT active FROM enter_as(fan)')
	  . noted('look', 'fan text', 'SELECT s.position FROM ticket_of o, ticket.ticket_status(o.token) s WHERE o.user_id = fan')
	  . noted('leave', 'fan text', 'SELECT ticket.ticket_leave(token)::int FROM ticket_of WHERE user_id = fan')
	  . noted('hold', 'seat int, fan text', 'SELECT reservation_id FROM ticket.seat_hold(1, ARRAY[seat], fan, token_of(fan))')
	  . noted('best', 'fan text', 'SELECT reservation_id FROM ticket.seat_hold_best(1, 1, fan, token => token_of(fan))')
	  . noted('pay', 'reservation bigint, fan text', 'SELECT payment_id FROM ticket.pay_reservation(reservation, fan)')
	  . noted('begin', 'reservation bigint, fan text', q(SELECT payment_id FROM ticket.payment_begin(reservation, fan, 'card')))
	  . noted('confirm', 'payment bigint',
		q(SELECT (status = 'captured')::int FROM ticket.payment_confirm(payment, 'ref ' || payment)))
	  . noted('fail', 'payment bigint', q(SELECT payment_id FROM ticket.payment_fail(payment, 'no')))
	  . noted('cancel', 'reservation bigint, fan text', 'SELECT refunded FROM ticket.reservation_cancel(reservation, fan)')
	  . noted('withdraw', 'fan text', 'SELECT tickets_left FROM ticket.user_withdraw(fan)')
	  . noted('find', 'fan text', 'SELECT ticket.ticket_leave(token)::int FROM ticket.ticket_find(1, fan) WHERE token IS NOT NULL')
	  . noted('clear', 'active boolean', 'SELECT ticket.queue_clear(1, active, 2)')
	  . noted('promote', '', 'SELECT ticket.ticket_promote(1)')
	  . noted('expire', '', 'SELECT ticket.ticket_expire()')
	  . noted('round', '', 'SELECT expired_tickets FROM ticket.tick()'));
my @calls = qw(enter look leave hold best pay begin confirm fail cancel withdraw find clear promote expire round);
fight('sale', 64, 'a sale', sprintf(q(
		SELECT (SELECT count(DISTINCT call) = %d FROM answer WHERE state = '00000')
			AND (SELECT bool_or(begun_at IS NOT NULL) AND bool_or(begun_at IS NULL) FROM ticket.payment WHERE paid_at IS NOT NULL)),
		scalar @calls),
	[[ 8, {
			'sale.promote@40' => 'SELECT promote();',
			'sale.round@20' => 'SELECT round();',
			'sale.expire@10' => 'SELECT expire();',
			'sale.set@1' => "UPDATE ticket.queue SET capacity = 30 + (10 * random())::int;",
			'sale.clear@1' => 'SELECT clear(random() < 0.5);',
			'sale.back@2' => "BEGIN;\nSELECT promote();\nROLLBACK;" } ]],
	"sale.buy\@40" => "$fan" . q(
			\set seat random(1, 100)
			\set what random(1, 16)
			SELECT enter('u' || :fan) AS active \gset
			\set r 0
			\if :active > 0 and :what <= 2
				SELECT best('u' || :fan) AS r \gset
			\elif :active > 0
				SELECT hold(:seat, 'u' || :fan) AS r \gset
			\endif
			\if :r > 0 and :what <= 5
				SELECT pay(:r, 'u' || :fan);
			\elif :r > 0 and :what <= 12
				SELECT begin(:r, 'u' || :fan) AS p \gset
				\if :p > 0 and :what <= 11
					SELECT confirm(:p);
				\elif :p > 0
					SELECT fail(:p);
				\endif
			\elif :r > 0 and :what = 13
				SELECT leave('u' || :fan);
			\endif
			\if :r > 0 and :what <= 12
				SELECT cancel(:r, 'u' || :fan);
			\endif),
	"sale.look\@20" => "$fan\nSELECT look('u' || :fan);",
	"sale.leave\@2" => "$fan\nSELECT leave('u' || :fan);",
	"sale.find\@1" => "$fan\nSELECT find('u' || :fan);",
	"sale.withdraw\@1" => "$fan\nSELECT withdraw('u' || :fan);");

my %sale = answers('sale');
note explain \%sale;
only_answers('sale', '^(00000|TK...)$', 'a sale');
cmp_ok($sale{"$_ 00000"} // 0, '>', 0, "a sale: some $_")
  for @calls;
is( $node->safe_psql('sale', q(SELECT bool_or(payment) AND bool_or(NOT payment) FROM (
		SELECT p.begun_at IS NOT NULL AS payment FROM ticket.payment p WHERE p.paid_at IS NOT NULL) p)),
	't', 'a sale: paid with points and at the provider');
memory_agrees($node, 'sale', 'a sale');
verified($node, 'sale', 'a sale');
is(queue_reads($node, 'sale'), '1', 'a sale: the line was read from the tables once');

unlike(slurp_file($node->logfile), qr/was terminated by signal|PANIC:|deadlock detected/,
	'no process crashed, none deadlocked');

$node->stop;
done_testing();
