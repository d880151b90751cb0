# Without shared_preload_libraries: CREATE EXTENSION and every function say what
# to do, nothing crashes, and with the setting back everything goes on.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Sale;
use Test::More;

my $hint = qr/^HINT: .*shared_preload_libraries = 'ticket'.*restart/m;

# A value of each type that arguments have, so that nothing but the missing
# library can be wrong with a call; %d is the number of the argument
my %plausible = (
	'bigint' => '1',
	'boolean' => 'true',
	'bigint[]' => q('{1}'),
	'date' => q('2030-01-01'),
	'jsonb' => q('{}'),
	'integer' => '1',
	'integer[]' => q('{1}'),
	'interval' => q('1 second'),
	'name' => q('postgres'),
	'text' => q('x'),
	'text[]' => q('{x}'),
	'timestamp with time zone' => q('2030-01-01 00:00:%d'),
	'uuid' => q('00000400-0000-8001-8000-000000000001'),
	'uuid[]' => q('{00000400-0000-8001-8000-000000000001}'),);

# These work without: they need neither shared memory nor the clock, but compute
# something, or read tables and no more.
my %needs_nothing = map { $_ => 1 } qw(check_argument check_found error_code_list
  grant_role raise_error schedule_jobs unschedule_jobs event_time event_payload event_history
  check_attributes check_limit check_owner name_grams plan_seats plan_size
  reservation_status sales_query search_grams elapsed utc
  concerts concert_search concerts_by_date concerts_by_seller performances performance_time);

my $node = sale_node('main', libraries => '');
$node->start;

like(refused($node, 'postgres', 'CREATE EXTENSION ticket', 'TK014', 'CREATE EXTENSION is refused'),
	$hint, '... with the setting to make');
is($node->safe_psql('postgres', q(SELECT count(*) FROM pg_namespace WHERE nspname = 'ticket')),
	'0', '... and leaves nothing behind');

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'ticket'");
$node->restart;
$node->safe_psql('postgres', 'CREATE EXTENSION ticket');
sale_open($node, 'postgres', capacity => 1);
my @tokens = map { enqueue($node, 'postgres', $_) } 'a', 'b', 'c';
$node->safe_psql('postgres', "SELECT ticket.seat_hold(1, '{1}', 'a', '$tokens[0]')");
my $before = snapshot($node, 'postgres', @tokens);

$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;

my $functions = $node->safe_psql(
	'postgres', q(
	SELECT p.proname, p.prokind, l.lanname,
		(SELECT string_agg(format_type(t, NULL), ',' ORDER BY n)
		 FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY AS a (t, n))
	FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
		JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
		JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'ticket'
	WHERE p.prorettype <> 'trigger'::regtype
	ORDER BY p.proname));

cmp_ok(scalar(split /\n/, $functions), '>', 30, 'there are functions to call');
for (split /\n/, $functions)
{
	my ($name, $kind, $language, $types) = split /\|/, $_, -1;
	my @types = split /,/, $types;
	my @missing = grep { !exists $plausible{$_} } @types;
	my $verb = $kind eq 'p' ? 'CALL' : 'SELECT';
	my $n = 0;
	my $arguments = join ', ',
	  map { $n++; $plausible{$_} =~ s/%d/$n/r . "::$_" } grep { exists $plausible{$_} } @types;
	my $nulls = join ', ', map { "NULL::$_" } @types;

	is("@missing", '', "$name: a value for each type of argument");
	next if $needs_nothing{$name};
	like(
		refused($node, 'postgres', "$verb ticket.$name($arguments)", 'TK014', "$name: not loaded"),
		$hint, "$name: ... with the setting to make");
	like(outcome($node, 'postgres', "$verb ticket.$name($nulls)"),
		qr/^(TK014|22023)$/, "$name: called with NULLs")
	  if @types > 0 && $language eq 'c';
}

# By hand, what the triggers watch
refused($node, 'postgres', $_, 'TK014', $_)
  for 'UPDATE ticket.queue SET capacity = 2', 'TRUNCATE ticket.queue_entry',
  q(UPDATE ticket.queue_entry SET status = 'left', ended_at = now()), 'TABLE ticket.queue_stats';

is($node->safe_psql('postgres', 'SELECT count(*) FROM ticket.queue_entry'),
	'3', 'tables can be read');
is($node->safe_psql('postgres', 'SELECT count(*) FROM ticket.error_codes WHERE sqlstate = $$TK014$$'),
	'1', 'error_codes can be read');
$node->command_ok([ 'pg_dump', '-f', '/dev/null', 'postgres' ], 'and be dumped');
unlike(slurp_file($node->logfile), qr/was terminated by signal|PANIC:/, 'no process crashed');

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'ticket'");
$node->restart;
is(snapshot($node, 'postgres', @tokens), $before, 'loaded again: tickets stand where they stood');
memory_agrees($node, 'postgres', 'loaded again');
is($node->safe_psql('postgres', "SELECT ticket.point_charge('a', 1000);
		SELECT status FROM ticket.pay_reservation(1, 'a');
		SELECT ticket.ticket_promote(1)"),
	"1000\ncaptured\n1", 'loaded again: the sale goes on');
verified($node, 'postgres', 'loaded again');

# DROP EXTENSION must not need the library.
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
is(outcome($node, 'postgres', 'DROP EXTENSION ticket'), '00000', 'DROP EXTENSION works without');

$node->stop;
done_testing();
