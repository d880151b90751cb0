# When the COMMIT of a call that moves money has been answered it is on disk, also
# where the session says synchronous_commit = off: each function, one by one.
# (That nothing acknowledged is lost in a crash is tested in 002 and 009.)

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Sale;
use Test::More;

# Nobody else writes WAL, or writes it out: the WAL writer is not woken before there is a lot.
my $node = sale_node('main', conf => "wal_level = minimal\nmax_wal_senders = 0\nautovacuum = off\n"
	  . "wal_writer_delay = 10s\nwal_writer_flush_after = 1GB\ncheckpoint_timeout = 1d\nbgwriter_delay = 10s");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION ticket');
sale_open($node, 'postgres', queue => 0, rows => 2, hold => '5 minutes');
$node->safe_psql('postgres', q(
	SELECT ticket.seat_hold(1, ARRAY[i], 'a' || i) FROM generate_series(1, 8) AS i;
	SELECT ticket.point_charge('a1', 1000000), ticket.point_charge('a2', 1000000);
	SELECT ticket.payment_begin(i, 'a' || i, 'card') FROM generate_series(4, 7) AS i;
	SELECT ticket.reservation_cancel(6, 'a6');
	CREATE TABLE other (a int)));

# In one session: the statement, then whether all WAL there is has been flushed.
sub durable
{
	my ($sql) = @_;
	my @lines = split /\n/, $node->safe_psql('postgres', "SET synchronous_commit = off;\n$sql;\n"
		  . 'SELECT pg_current_wal_insert_lsn() <= pg_current_wal_flush_lsn()');
	return $lines[-1];
}

# Unless the WAL writer, which is seldom up, comes just then.
sub not_durable
{
	my ($sql) = @_;
	for (1 .. 20)
	{
		return 1 if durable($sql) eq 'f';
	}
	return 0;
}

ok(not_durable('INSERT INTO other VALUES (1)'), 'an ordinary statement does not wait');
for my $call (
	[ 'point_charge', q(ticket.point_charge('a3', 1000000)) ],
	[ 'point_charge with a key', q(ticket.point_charge('a3', 1, 'key')) ],
	[ 'pay_reservation', q(ticket.pay_reservation(1, 'a1')) ],
	[ 'pay_reservation with a key', q(ticket.pay_reservation(2, 'a2', 'key')) ],
	[ 'reservation_cancel, points', q(ticket.reservation_cancel(1, 'a1')) ],
	[ 'payment_begin', q(ticket.payment_begin(3, 'a3', 'card')) ],
	[ 'payment_confirm', q(ticket.payment_confirm(1, 'ref 1')) ],
	[ 'payment_confirm, for nothing', q(ticket.payment_confirm(3, 'ref 3')) ],
	[ 'payment_fail', q(ticket.payment_fail(2, 'no')) ],
	[ 'reservation_cancel, provider', q(ticket.reservation_cancel(4, 'a4')) ],
	[ 'refund_confirm', q(ticket.refund_confirm(1, 'ref r')) ],
	[ 'user_withdraw', q(ticket.user_withdraw('a3')) ])
{
	my ($name, $sql) = @$call;
	is(durable("SELECT $sql"), 't', "$name waits for the disk");
}
is(durable(q(BEGIN; SAVEPOINT a; SELECT ticket.point_charge('a2', 1); RELEASE a; COMMIT)), 't', 'also out of a savepoint');
ok(not_durable('INSERT INTO other VALUES (2)'), 'an ordinary statement still does not');
verified($node, 'postgres', 'all of it');

$node->stop;
done_testing();
