# Amcheck.pm
#
# Looks, with the server's own tool, for corrupt tables and indexes in whatever
# the TAP tests leave: in every server that is stopped in an orderly way, and in
# those that still run when a test is done.  Sale.pm brings it into every test.

package Amcheck;

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::Builder;
use Test::More;

my @nodes;

# A standby can't be asked: the tool wants its extension.
sub can_check
{
	my ($node) = @_;
	my ($status, $out);

	return 0 unless defined $node->{_pid};
	($status, $out) = $node->psql('postgres', 'SELECT pg_is_in_recovery()', timeout => 60);
	return $status == 0 && $out eq 'f';
}

sub check
{
	my ($node) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 2;
	my ($out, $error) = ('', '');
	my @databases;
	my $passed;

	@databases = split /\n/, $node->safe_psql('postgres',
		'SELECT datname FROM pg_database WHERE datallowconn ORDER BY datname');
	# Those that a test has put it into keep it.
	my @without = grep {
		$node->safe_psql($_, q(SELECT count(*) FROM pg_extension WHERE extname = 'amcheck')) eq '0'
	} @databases;
	$passed = IPC::Run::run(
		[
			'pg_amcheck', '--all', '--install-missing', '--heapallindexed',
			'--exclude-schema=pg_catalog', '--exclude-schema=information_schema',
			'-h', $node->host, '-p', $node->port
		],
		'>', \$out, '2>', \$error);
	$node->safe_psql($_, 'DROP EXTENSION IF EXISTS amcheck') foreach @without;
	# After DROP EXTENSION ticket there is nothing to look at.
	$passed ||= $error =~ /no relations to check/;
	ok($passed, $node->name . ': tables and indexes are sound') or diag $out, $error;
	return;
}

{
	no warnings 'redefine';
	my $new = \&PostgreSQL::Test::Cluster::new;
	my $stop = \&PostgreSQL::Test::Cluster::stop;
	my $done = \&Test::Builder::done_testing;

	*PostgreSQL::Test::Cluster::new = sub {
		my $node = $new->(@_);
		push @nodes, $node;
		return $node;
	};
	*PostgreSQL::Test::Cluster::stop = sub {
		my ($node, $mode) = @_;
		check($node) if ($mode // 'fast') ne 'immediate' && can_check($node);
		goto &$stop;
	};
	*Test::Builder::done_testing = sub {
		foreach my $node (@nodes)
		{
			check($node) if can_check($node);
		}
		goto &$done;
	};
}

1;
