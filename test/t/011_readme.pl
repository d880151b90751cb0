# The SQL of README.md as it stands there: every statement works, but for those
# that say which error they end with, and the books are right afterwards.  README.md
# names whatever somebody may call, read or set, and no link in the pages is dead.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Sale;
use Test::More;

my $root = "$FindBin::RealBin/../..";
my $readme = slurp_file("$root/README.md");
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

# In a terminal, however small, no line opens a pager, which would swallow what is
# pasted after it.  This one says that it was called.
my $pager = PostgreSQL::Test::Utils::tempdir . '/pager';
append_to_file($pager, "#!/bin/sh\ncat >/dev/null; echo called >>'$pager.log'\n");
chmod 0755, $pager or die;
local @ENV{qw(PAGER PSQL_PAGER TERM)} = ($pager, $pager, 'dumb');
$node->safe_psql('postgres', 'CREATE DATABASE terminal');
for my $i (0 .. $#tours)
{
	my ($typed, $screen) = ('', '');
	my $psql = IPC::Run::start(
		[ 'psql', '-X', '-n', '-v', 'PROMPT1=ready> ', '-v', 'PROMPT2=ready> ', $node->connstr('terminal') ],
		'<pty<', \$typed, '>pty>', \$screen, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));

	for my $line (split(/\n/, $tours[$i]), '\echo through')
	{
		$psql->pump until $screen =~ /ready> $/;
		$screen =~ s/ready> $//;
		$typed .= "$line\n";
	}
	$psql->pump until $screen =~ /ready> $/;
	like($screen, qr/^through\r?$/m, "tour $i: goes through in a terminal");
	$typed .= "\\q\n";
	$psql->finish;
	ok(!-e "$pager.log", "tour $i: without a pager");
	unlink "$pager.log";
}

# --- everything can be found

# Nobody calls these: views and functions do, as who reads or calls them.
my %behind_view = map { $_ => 1 } qw(error_code_list memory_usage queue_memory reservation_status outbox_hand_out);
my %named = map { $_ => 1 } map { /[\w.]+/g } $readme =~ /`([^`\n]+)`/g;
my @public = grep { !$behind_view{$_} } split /\n/, $node->safe_psql('postgres', q(
	SELECT object FROM ticket.permission
	UNION SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'ticket'::regnamespace
		AND p.proname IN ('grant_role', 'schedule_jobs', 'unschedule_jobs')
	UNION SELECT name FROM pg_settings WHERE name LIKE 'ticket.%' ORDER BY 1));
cmp_ok(scalar @public, '>', 100, 'there is something to find');
is(join(' ', grep { !$named{$_} } @public), '', 'README.md names it all');

# In the table of functions, with their arguments; those with ... are long.
my %arguments = map { /(.*)\|(.*)/ } split /\n/, $node->safe_psql('postgres', q(
	SELECT proname, array_to_string(proargnames[1:pronargs], ', ') FROM pg_proc
	WHERE pronamespace = 'ticket'::regnamespace));
my @wrong = grep { my ($name, $list) = /(\w+)\((.*)\)/; $list ne '...' && $list !~ /, \.\.\.$/ && ($arguments{$name} // 'none') ne $list }
  map { /`((?:CALL )?\w+\([^`]*\))`/g } grep { /^\| `/ } split /\n/, $readme;
is("@wrong", '', '... and the arguments of functions');

# Headings of a page, as links call them
sub anchors
{
	my @headings = shift =~ /^#+ (.+)$/gm;

	return map { my $h = lc; $h =~ s/[^\w\s-]//g; $h =~ s/\s/-/g; $h => 1 } @headings;
}

my %page = map { $_ => slurp_file($_) } "$root/README.md", glob("$root/*/README.md $root/doc/*.md");
for my $path (sort keys %page)
{
	my ($directory) = $path =~ m{(.*)/};
	my @dead;

	for my $link ($page{$path} =~ /\]\(([^)\s]+)\)/g)
	{
		next if $link =~ /^https?:/;
		my ($file, $anchor) = split /#/, $link;
		my $target = $file ? "$directory/$file" : $path;
		my %anchor = defined $anchor && -f $target ? anchors(slurp_file($target)) : ();
		push @dead, $link if !-e $target || (defined $anchor && !$anchor{$anchor});
	}
	is("@dead", '', substr($path, length("$root/")) . ': every link leads somewhere');
}

done_testing();
