# metrics() is OpenMetrics text, its counters are of one database and of one life
# of the server, and a runner is seen in it.

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
$node->safe_psql('postgres', 'CREATE EXTENSION ticket');
sale_open($node, 'postgres', capacity => 1, hold => '1 millisecond');

# Reads the text strictly, by the grammar of OpenMetrics 1.0: families one after
# another, each with its TYPE, UNIT and HELP before its samples, names and suffixes
# as the type asks for, no sample twice, # EOF at the end.  Returns the samples.
sub samples
{
	my ($text) = @_;
	my (%sample, %seen, $family, $type, $unit, @wrong);
	my $label = qr/[a-z_][a-z0-9_]*="(?:[^"\\\n]|\\["\\n])*"/;

	push @wrong, 'no # EOF at the end' unless $text =~ s/# EOF\n?\z//;
	push @wrong, 'no end of line' unless $text =~ /\n\z/;
	for my $line (split /\n/, $text)
	{
		if ($line =~ /^# TYPE ([a-z][a-z0-9_]*) (counter|gauge)$/)
		{
			($family, $type, $unit) = ($1, $2, undef);
			push @wrong, "family twice: $family" if $seen{$family}++;
			push @wrong, "ends like a sample: $family" if $family =~ /_(total|created|count|sum|bucket|info)$/;
		}
		elsif ($line =~ /^# UNIT (\S+) (\w+)$/)
		{
			my $of = $1;

			$unit = $2;
			push @wrong, "unit: $line" if !$family || $of ne $family || $family !~ /_$unit$/;
		}
		elsif ($line =~ /^# HELP (\S+) [A-Z][^\\"]*\.$/)
		{
			push @wrong, "help: $line" if !$family || $1 ne $family;
			push @wrong, "seconds without unit: $line" if $family =~ /_seconds$/ && ($unit // '') ne 'seconds';
		}
		elsif ($line =~ /^([a-z][a-z0-9_]*)((?:\{$label(?:,$label)*\})?) ([0-9]+(?:\.[0-9]+)?)$/)
		{
			my ($name, $labels, $value) = ($1, $2, $3);
			my $expected = $type eq 'counter' ? "${family}_total" : $family;

			push @wrong, "not of $family: $line" if $name ne $expected;
			push @wrong, "twice: $line" if defined $sample{"$name$labels"};
			$sample{"$name$labels"} = $value;
		}
		else
		{
			push @wrong, "neither: $line";
		}
	}
	return (\%sample, join "\n", @wrong);
}

# The samples of a database; tests that they are well-formed.
sub scraped
{
	my ($database, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($status, $text) = $node->psql($database, 'SELECT ticket.metrics()', extra_params => [ '-q' ]);
	my ($sample, $wrong) = samples("$text\n" =~ s/\n+\z/\n/r);

	is($wrong, '', "$name: OpenMetrics");
	return $sample;
}

# That the reader finds what is wrong
for (
	[ 'no end', "# TYPE a gauge\n# HELP a A.\na 1\n" ],
	[ 'counter without _total', "# TYPE a counter\n# HELP a A.\na 1\n# EOF\n" ],
	[ 'gauge with _total', "# TYPE a gauge\n# HELP a A.\na_total 1\n# EOF\n" ],
	[ 'family named _total', "# TYPE a_total counter\n# HELP a_total A.\na_total_total 1\n# EOF\n" ],
	[ 'sample twice', "# TYPE a gauge\n# HELP a A.\na{b=\"c\"} 1\na{b=\"c\"} 1\n# EOF\n" ],
	[ 'family twice', "# TYPE a gauge\n# TYPE b gauge\n# TYPE a gauge\n# EOF\n" ],
	[ 'open label', "# TYPE a gauge\na{b=\"c} 1\n# EOF\n" ],
	[ 'not a number', "# TYPE a gauge\na x\n# EOF\n" ],
	[ 'empty line', "# TYPE a gauge\n\na 1\n# EOF\n" ],
	[ 'seconds without unit', "# TYPE a_seconds gauge\n# HELP a_seconds A.\na_seconds 1\n# EOF\n" ])
{
	my ($what, $text) = @$_;
	isnt((samples($text))[1], '', "found: $what");
}

my $empty = scraped('postgres', 'before');
is($empty->{'ticket_refusals_total{sqlstate="TK006",name="seat_unavailable"}'}, 0, 'nobody was refused');
is($empty->{ticket_round_timestamp_seconds}, '0.000000', 'there was no round');

# What one session counts another sees.
my $token = enqueue($node, 'postgres', 'a');
$node->safe_psql('postgres', "SELECT ticket.seat_hold(1, '{1}', 'a', '$token')");
refused($node, 'postgres', "SELECT ticket.seat_hold(1, '{99999}', 'a', '$token')", 'TK005', 'one is refused');
my $sold = scraped('postgres', 'after');
is($sold->{'ticket_calls_total{function="seat_hold"}'}, 2, 'two calls');
is($sold->{'ticket_refusals_total{sqlstate="TK005",name="not_found"}'}, 1, 'one refusal');
is($sold->{'ticket_events_total{type="reservation.held"}'}, 1, 'one event');
is($sold->{'ticket_queue_active{queue="1"}'}, 1, 'one active');
ok(!(grep { !/^\w+(\{(function|sqlstate|type|queue|performance)="[\w.]+"(,(name|status)="\w+")?\})?$/ } keys %$sold), 'no other labels');

# Another database counts for itself, also one with the same oid's successor.
for my $round (1, 2)
{
	$node->safe_psql('postgres', 'CREATE DATABASE other');
	$node->safe_psql('other', 'CREATE EXTENSION ticket');
	is(scraped('other', "other, $round")->{'ticket_calls_total{function="seat_hold"}'}, undef, 'nobody has called there');
	$node->safe_psql('other', "SELECT ticket.point_charge('a', 1)");
	is(scraped('other', "other, $round")->{'ticket_events_total{type="points.charged"}'}, 1, 'now somebody has');
	is(scraped('postgres', 'here')->{'ticket_events_total{type="points.charged"}'}, undef, 'not here');
	$node->safe_psql('other', $_) for 'BEGIN; SET LOCAL ticket.allow_drop = on; DROP EXTENSION ticket; ROLLBACK',
		'BEGIN; SAVEPOINT a; SET LOCAL ticket.allow_drop = on; DROP EXTENSION ticket; ROLLBACK TO a; COMMIT';
	is(scraped('other', "other, not dropped")->{'ticket_events_total{type="points.charged"}'}, 1, 'an extension not dropped after all goes on');
	$node->safe_psql('other', 'SET ticket.allow_drop = on; DROP EXTENSION ticket; CREATE EXTENSION ticket');
	is(scraped('other', "other, made anew")->{'ticket_events_total{type="points.charged"}'}, undef, 'a new extension begins anew');
	$node->safe_psql('postgres', 'DROP DATABASE other');
}

# A runner shows, and does the work.
my $runner = $node->background_psql('postgres', on_error_stop => 0);
$runner->query_until(qr/^started$/m, "\\echo started\nCALL ticket.run('1 hour');\n");
$node->poll_query_until('postgres', q(SELECT ticket.metrics() ~ 'ticket_events_total\{type="reservation.expired"\} 1'
	AND ticket.metrics() ~ 'ticket_rounds_total [1-9]')) or die 'no round';
my $running = scraped('postgres', 'running');
ok($running->{ticket_round_timestamp_seconds} > 1e9, 'the time of the last round');
ok($running->{ticket_hold_lag_seconds} > 0, 'how late the hold was tidied');
is($running->{ticket_hold_overdue_seconds}, '0.000000', 'none is left over');
is($running->{ticket_round_failures_total}, 0, 'no round has failed');
$node->safe_psql(
	'postgres', q(
	ALTER TABLE ticket.reservation ADD CONSTRAINT none_ends CHECK (status <> 'expired') NOT VALID;
	UPDATE ticket.performance SET queue_id = NULL, hold_interval = '1 ms' WHERE performance_id = 1;
	SELECT ticket.seat_hold(1, '{2}', 'b');));
my $seen = 0;
for (1 .. 1000)
{
	last if $seen = slurp_file($node->logfile) =~ /a round of ticket\.run failed/;
	select undef, undef, undef, 0.05;
}
ok($seen, 'a round fails');
$node->safe_psql('postgres', 'ALTER TABLE ticket.reservation DROP CONSTRAINT none_ends');
cmp_ok(scraped('postgres', 'failed')->{ticket_round_failures_total}, '>', 0, 'and is counted');
$node->safe_psql('postgres', q(SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL ticket.run%'));
eval { $runner->quit };

# After a restart and after a crash counting begins anew.
$node->restart;
is(scraped('postgres', 'restarted')->{'ticket_calls_total{function="seat_hold"}'}, undef, 'restarted: no calls');
$node->safe_psql('postgres', 'SELECT ticket.tick()');
is(scraped('postgres', 'restarted')->{ticket_rounds_total}, 1, 'a tick is a round');

$node->stop;
done_testing();
