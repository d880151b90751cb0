# The SQL of README.md as it stands there: every statement works, but for those
# that say which error they end with, and the books are right afterwards.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Sale;
use Test::More;

my $readme = slurp_file("$FindBin::RealBin/../../README.md");
my @tours = $readme =~ /^```sql\n(.*?)^```$/gms;
my $node = sale_node('readme');

cmp_ok(scalar @tours, '>=', 2, 'README.md has its tours');
$node->start;
for my $i (0 .. $#tours)
{
	my $tour = $tours[$i];
	my @expected = $tour =~ /-- ERROR (TK\d{3})/g;
	my ($out, $error);

	# The extension is created in the first; the last statement is verify().
	$node->psql('postgres', $tour, stdout => \$out, stderr => \$error, on_error_stop => 0,
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	is(join(' ', $error =~ /ERROR:  (\w{5}):/g), join(' ', @expected), "tour $i: ends with the errors it names, and no others");
	unlike($error, qr/invalid command|unrecognized|missing/, "tour $i: psql understands it");
	like($out, qr/\|t\|0\|/, "tour $i: the books are checked");
	unlike($out, qr/\|f\|\d+\|/, "tour $i: and are right");
	isnt($out, '', "tour $i: says something");
}
like($readme, qr/\b$_\b/, "README.md names $_") for qw(seat_hold pay_reservation user_reservation seller_performance_create);

done_testing();
