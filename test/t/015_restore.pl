# The commands that doc/operations.md gives for a restore, run as they stand there;
# data loaded with triggers off, as Debian's pg_upgradecluster does; pg_upgrade.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Sale;
use Test::More;

my $node = sale_node('main', init => { allows_streaming => 1 }, libraries => 'ticket,pg_cron', conf => "cron.database_name = 'shop'");
$node->append_conf('postgresql.conf', "cron.host = '@{[ $node->host ]}'");
$node->start;
my $dir = PostgreSQL::Test::Utils::tempdir;

$node->safe_psql('postgres', 'CREATE DATABASE shop');
$node->safe_psql('shop', 'CREATE EXTENSION ticket; CREATE EXTENSION pg_cron');
sale_open($node, 'shop', capacity => 2);
my @tokens = map { enqueue($node, 'shop', $_) } 'a' .. 'd';
$node->safe_psql(
	'shop', qq(
	UPDATE ticket.queue SET mode = 'paused';
	SELECT ticket.schedule_jobs();
	SELECT ticket.history_extend();
	SELECT ticket.point_charge('a', 1000);
	SELECT ticket.pay_reservation((ticket.seat_hold(1, '{1, 2}', 'a', '$tokens[0]')).reservation_id, 'a');
	SELECT ticket.seat_hold(1, '{3}', 'b', '$tokens[1]');
	SELECT ticket.outbox_fetch(2);
	CREATE SCHEMA crm;
	CREATE TABLE crm.customer (user_id text PRIMARY KEY);
	INSERT INTO crm.customer VALUES ('a');
	CREATE TABLE customer (user_id text PRIMARY KEY)));
my $number = $node->safe_psql('shop', 'SELECT ticket.reservation_number(1)');

# The months of the history have to be there, too
my $books = q(SELECT (SELECT count(*) FROM ticket.reservation), (SELECT sum(balance) FROM ticket.account),
	(SELECT count(*) FROM ticket.history), (SELECT count(*) FROM ticket.history_default), (SELECT count(*) FROM ticket.hold_timer));
my $expected = $node->safe_psql('shop', $books);
is($expected, '2|800|1|0|2', 'a sale to dump');

sub same
{
	my ($server, $database, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is($server->safe_psql($database, $books), $expected, "$name: what was sold");
	is($server->safe_psql($database, 'SELECT ticket.reservation_number(1)'), $number, "$name: a number leads where it led");
	is( $server->safe_psql($database, "SELECT status, position FROM unnest('{$tokens[0],$tokens[3]}'::uuid[]) t, ticket.ticket_status(t)"),
		"finished|\nwaiting|2", "$name: tokens say what they said");
	is($server->safe_psql($database, "SELECT status FROM ticket.seat_hold(1, '{4}', 'b', '$tokens[1]')"),
		'held', "$name: the sale goes on");
	verified($server, $database, $name);
	return;
}

# --- the commands of the page

my @commands = doc_commands('operations.md', 'Backup and restore');
is(scalar @commands, 3, 'three ways');
shell_ok($node, "cd $dir; $_", 'as the page says: ' . (split /\n/)[0]) for @commands;

my $relations = q(SELECT string_agg(c.oid::regclass::text, ' ' ORDER BY c.oid::regclass::text) FROM pg_class c
	WHERE c.relkind = 'r' AND c.relnamespace::regnamespace::text IN ('public', 'crm', 'cron'));
for ([ shop2 => 'crm.customer customer' ], [ shop3 => '' ], [ shop4 => 'crm.customer' ])
{
	my ($database, $tables) = @$_;
	is($node->safe_psql($database, $relations), $tables, "$database: your own tables");
	same($node, $database, $database);
}

# With pg_cron in it, it goes into no other database: the page says so.
$node->safe_psql('postgres', 'CREATE DATABASE with_cron');
my $error;
IPC::Run::run([ 'pg_restore', '-h', $node->host, '-p', $node->port, '-d', 'with_cron', '--exit-on-error', "$dir/shop.dump" ],
	'2>', \$error);
like($error, qr/can only create extension in database shop/, 'pg_cron is in the way');

# A base backup on another port has the jobs of the original.
$node->backup('copy');
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($node, 'copy');
$copy->append_conf('postgresql.conf', "cron.host = '@{[ $copy->host ]}'");
$copy->start;
my $ports = 'SELECT string_agg(DISTINCT nodeport::text, $$ $$), count(*) FROM cron.job';
is($copy->safe_psql('shop', $ports), $node->port . '|2', 'a copy runs the clock of the original');
$copy->safe_psql('shop', 'SELECT ticket.schedule_jobs()');
is($copy->safe_psql('shop', $ports), $copy->port . '|2', 'until schedule_jobs() is called');
$copy->stop;

# --- data with triggers off, into what CREATE EXTENSION has made

$node->safe_psql('postgres', 'CREATE DATABASE upgraded');
for my $part ([ '--schema-only' ], [ '--data-only', '--disable-triggers' ])
{
	$node->command_ok([ 'pg_restore', '-d', 'upgraded', '--exit-on-error', @$part, "$dir/ticket.dump" ], "pg_restore @$part");
}
is($node->safe_psql('upgraded', 'SELECT sequences, hold_timers FROM ticket.resync()'), '0|0', 'nothing was missing');
same($node, 'upgraded', 'triggers off');

# In a database whose first performance has a key already, none of both is lost.
$node->safe_psql('postgres', 'CREATE DATABASE used');
$node->safe_psql('used', 'CREATE EXTENSION ticket');
sale_open($node, 'used', queue => 0);
$node->safe_psql('used', 'SELECT ticket.history_extend(); SET session_replication_role = replica;
	DELETE FROM ticket.seat; DELETE FROM ticket.section; DELETE FROM ticket.performance; DELETE FROM ticket.concert; DELETE FROM ticket.venue');
$node->command_ok([ 'pg_restore', '-d', 'used', '--exit-on-error', '--data-only', '--disable-triggers', "$dir/ticket.dump" ],
	'the data goes in');
is($node->safe_psql('used', 'SELECT ticket.reservation_number(1)'), $number, 'the older key counts');
is($node->safe_psql('used', 'SELECT invariant, detail ~ $$^2 keys of reservation numbers$$ FROM ticket.verify() WHERE NOT ok'),
	'what was agreed is known|t', 'verify() tells of the other');

# Without the key nobody gets a wrong number.
$node->safe_psql('postgres', 'CREATE DATABASE keyless');
$node->command_ok([ 'pg_restore', '-d', 'keyless', '--exit-on-error', "$dir/ticket.dump" ], 'once more');
$node->safe_psql('keyless', 'DELETE FROM ticket.number_key');
refused($node, 'keyless', 'SELECT ticket.reservation_number(1)', 'TK009', 'no key, no number');
$node->safe_psql('keyless', q(SELECT ticket.performance_create(1, 1, now() + '1 day')));
like($node->safe_psql('keyless', 'SELECT detail FROM ticket.verify() WHERE NOT ok'),
	qr/^the key of reservation numbers was made at .*, after reservation 1 /, 'verify() knows that a new key is too young');

# --- a dump that cleans is refused as long as there is a sale

IPC::Run::run([ 'pg_restore', '-h', $node->host, '-p', $node->port, '-d', 'shop3', '--clean', '--exit-on-error', "$dir/ticket.dump" ],
	'2>', \$error);
like($error, qr/extension ticket is not dropped/, 'pg_restore --clean');
is($node->safe_psql('shop3', 'SELECT count(*) FROM ticket.reservation'), '3', 'it has changed nothing');

# --- pg_upgrade, to the same version

$node->safe_psql('shop', 'SELECT ticket.unschedule_jobs(); DROP EXTENSION pg_cron');
$node->stop;
my $new = sale_node('new');
my $bin = $node->config_data('--bindir');
chdir $dir;
command_ok([ 'pg_upgrade', '--no-sync', '-d', $node->data_dir, '-D', $new->data_dir, '-b', $bin, '-B', $bin,
	'-s', $node->host, '-p', $node->port, '-P', $new->port ], 'pg_upgrade');
$new->start;
same($new, 'shop', 'pg_upgrade');
$new->stop;
done_testing();
