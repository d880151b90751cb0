# The example: its HTTP API as a client meets it, from the door to the money back.

use strict;
use warnings FATAL => 'all';

use Digest::SHA qw(hmac_sha256_hex);
use FindBin;
use lib $FindBin::RealBin;
use HTTP::Tiny;
use IO::Select;
use IO::Socket::INET;
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Sale;
use Test::More;

my $example = "$FindBin::RealBin/../../example";
my $secret = 'hush';
my $node = sale_node('main');
$node->start;
$node->command_ok([ 'psql', '-X', '-d', $node->connstr('postgres'), '-f', "$example/sale.sql" ],
	'sale.sql sets up roles and a sale');

# --- the API, on a port that is free

local $ENV{DATABASE_URL} = $node->connstr('postgres') . ' user=shop_api';
local $ENV{WEBHOOK_DATABASE_URL} = $node->connstr('postgres') . ' user=shop_webhook';
local $ENV{WEBHOOK_SECRET} = $secret;
my @shops;
END
{
	local $?;
	$_->{run}->kill_kill for @shops;
}

sub start_shop
{
	my %shop = (out => '', error => '');

	$shop{run} = IPC::Run::start([ "$example/shop.py", '--port', '0' ], '<', \undef, '>', \$shop{out}, '2>', \$shop{error},
		IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	push @shops, \%shop;
	$shop{run}->pump until $shop{out} =~ m{listening on (http://\S+)/\n} || !$shop{run}->pumpable;
	($shop{url}) = $shop{out} =~ m{(http://\S+)/} or BAIL_OUT("shop.py does not start: $shop{error}");
	return \%shop;
}

my $shop = start_shop();
my $url = $shop->{url};

# One request: its status, its body as data, its headers.
my $http = HTTP::Tiny->new;
my $json = JSON::PP->new->canonical->allow_nonref;

sub request
{
	my ($method, $path, %option) = @_;
	my %headers = %{ $option{headers} // {} };

	$headers{'X-User'} = $option{user} if $option{user};
	$headers{Ticket} = $option{token} if $option{token};
	$headers{'Idempotency-Key'} = $option{key} if $option{key};
	my $body = $option{raw} // (defined $option{body} ? $json->encode($option{body}) : '');
	my $answer = $http->request($method, "$url$path", { headers => \%headers, content => $body });
	return ($answer->{status}, $json->decode($answer->{content}), $answer->{headers});
}

# Tests that a request is answered, and returns the answer.
sub answered
{
	my ($name, @request) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($status, $body) = request(@request);

	is($status, 200, $name) or diag $json->encode($body);
	return $body;
}

# Tests that a request is refused with a status and the name of an error.
sub turned_down
{
	my ($expected, $name, @request) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($status, $body) = request(@request);

	is("$status $body->{error}", $expected, $name) or diag $json->encode($body);
	return $body;
}

sub webhook
{
	my $body = $json->encode(shift);
	return ('POST', '/webhooks/payment', raw => $body,
		headers => { 'X-Signature' => hmac_sha256_hex($body, $secret) });
}

# A connection that requests are written to as one likes.
sub dial
{
	my $to = shift;

	return IO::Socket::INET->new(PeerAddr => $to =~ s{http://}{}r) // die "no connection: $!";
}

# What comes back on it until it ends; while it does not, `drip` is sent again and again.
sub hang_on
{
	my ($socket, $drip) = @_;
	my $answer = '';
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;

	local $SIG{PIPE} = 'IGNORE';
	while (time < $end)
	{
		if (IO::Select->new($socket)->can_read($drip ? 0.1 : 10))
		{
			return $answer if !sysread $socket, $answer, 4096, length $answer;
		}
		elsif ($drip)
		{
			syswrite $socket, $drip;
		}
	}
	return 'it hangs';
}

# --- looking around

my $concerts = answered('concerts', 'GET', '/concerts');
my $dates = answered('... their dates', 'GET', "/concerts/$concerts->[0]{concert_id}/performances");
my $performance = "/performances/$dates->[0]{performance_id}";
my $queue = "/queues/$dates->[0]{queue_id}/tickets";
my $sections = answered('... their sections', 'GET', "$performance/sections");
is($sections->[0]{available}, $sections->[0]{seats}, '... all free');

# --- the waiting room, where one may be in at a time

$node->safe_psql('postgres', 'UPDATE ticket.queue SET capacity = 1');
turned_down('401 not_logged_in', 'only who has logged in enters', 'POST', $queue);
my %ticket;
$ticket{anna} = answered('anna enters', 'POST', $queue, user => 'anna');
is($ticket{anna}{status}, 'active', '... and is in');
$ticket{ben} = answered('ben enters', 'POST', $queue, user => 'ben');
is("$ticket{ben}{status} $ticket{ben}{position}", 'waiting 1', '... and waits');
my ($status, $polled, $headers) = request('GET', '/ticket', token => $ticket{ben}{token});
is("$status $polled->{position}", '200 1', 'ben asks how far he is');
cmp_ok($headers->{'retry-after'}, '>=', $polled->{poll_after}, '... and Retry-After says when to ask again');
cmp_ok($headers->{'retry-after'}, '<', $polled->{poll_after} + 1, '... to the second');
turned_down('403 not_admitted', 'who waits holds nothing', 'POST', "$performance/reservations",
	user => 'ben', token => $ticket{ben}{token}, body => { seat_ids => [ 5 ] });
turned_down('401 token_invalid', 'a wrong token', 'GET', '/ticket', token => '00000400-0000-8001-8000-000000000000');
turned_down('400 bad_argument', 'no token', 'GET', '/ticket');
turned_down('400 bad_argument', 'what is no token', 'GET', '/ticket', token => 'x');
$node->safe_psql('postgres', 'UPDATE ticket.queue SET capacity = 100; SELECT ticket.tick()');
is(answered('ben asks again', 'GET', '/ticket', token => $ticket{ben}{token})->{status}, 'active', '... and is in');

# --- seats

my @anna = (user => 'anna', token => $ticket{anna}{token});
my @ben = (user => 'ben', token => $ticket{ben}{token});
my @hold = ('POST', "$performance/reservations", @anna, key => 'a-1', body => { seat_ids => [ 1, 2 ] });
my $held = answered('anna holds two seats', @hold);
is("$held->{status} $held->{amount}", 'held 18000', '... for their price');
is_deeply(answered('the same again', @hold), $held, '... is the same hold');
turned_down('409 idempotency_conflict', 'the key with other seats',
	'POST', "$performance/reservations", @anna, key => 'a-1', body => { seat_ids => [3] });
like(turned_down('409 seat_unavailable', 'ben loses a seat', 'POST', "$performance/reservations", @ben, body => { seat_ids => [ 2, 3 ] })->{detail},
	qr/\b2\b/, '... and is told which');
my $best = answered('... and takes what is best', 'POST', "$performance/reservations/best", @ben, key => 'b-1', body => { seat_count => 2 });
is(scalar @{ $best->{seat_ids} }, 2, '... two of them');
like(answered('the map', 'GET', "$performance/map")->[0]{map}, qr/^hh\./, '... shows what is held');

turned_down('400 bad_request', 'bad JSON', 'POST', "$performance/reservations", @anna, raw => '{"seat_ids": [1');
turned_down('400 bad_request', 'JSON that is no object', 'POST', "$performance/reservations", @anna, raw => '[1]');
turned_down('400 bad_request', 'a nest of brackets', 'POST', "$performance/reservations", @anna, raw => '[' x 60000);
turned_down('413 too_large', 'a heap of brackets', 'POST', "$performance/reservations", @anna, raw => '[' x 70000);
turned_down('400 bad_argument', 'no seats', 'POST', "$performance/reservations", @anna);
turned_down('400 bad_argument', 'half a seat', 'POST', "$performance/reservations", @anna, raw => '{"seat_ids": [1.5]}');
turned_down('400 bad_argument', 'a NUL', 'POST', "$performance/reservations", @anna, raw => '{"seat_ids": "\u0000"}');
turned_down('404 not_found', 'no such performance', 'GET', '/performances/999/map');
turned_down('404 bad_request', 'no such path', 'GET', '/performance');
turned_down('405 bad_request', 'no such method', 'PUT', '/concerts');
my $own = answered('who one is does not stand in the body',
	'POST', "$performance/reservations", @anna, body => { seat_ids => [ 100 ], user => 'ben', token => $ticket{ben}{token} });
is($node->safe_psql('postgres', "SELECT user_id FROM ticket.reservation WHERE reservation_id = $own->{reservation_id}"),
	'anna', '... but in the header');

# --- paying with points, and the money back

my $mine = "/reservations/$held->{reservation_id}";
turned_down('404 not_found', "ben cannot pay anna's", 'POST', "$mine/pay", user => 'ben');
my $paid = answered('anna pays', 'POST', "$mine/pay", user => 'anna', key => 'a-2');
is("$paid->{status} $paid->{amount} $paid->{balance}", 'captured 18000 32000', '... with points');
is_deeply(answered('anna pays again', 'POST', "$mine/pay", user => 'anna', key => 'a-2'), $paid, '... the same answer');
is(answered('anna has', 'GET', '/points', user => 'anna')->{balance}, 32000, '... paid once');
is(answered('the reservation', 'GET', $mine, user => 'anna')->{status}, 'paid', '... is paid');
is(scalar @{ answered("anna's reservations", 'GET', '/reservations', user => 'anna') }, 2, '... are two');
my $back = answered('anna gives a seat back', 'POST', "$mine/cancel", user => 'anna', body => { seat_ids => [1] });
is("$back->{status} $back->{refunded}", 'paid 9000', '... for half of the money');
for ('the rest', 'the rest again')
{
	$back = answered($_, 'POST', "$mine/cancel", user => 'anna');
	is("$back->{status} $back->{refunded} $back->{balance}", 'cancelled 18000 50000', '... for all of it, once');
}
$ticket{dora} = answered('dora, who has no points', 'POST', $queue, user => 'dora');
my $dear = answered('... holds', 'POST', "$performance/reservations", user => 'dora', token => $ticket{dora}{token}, body => { seat_ids => [ 150 ] });
turned_down('402 points_short', '... and cannot pay', 'POST', "/reservations/$dear->{reservation_id}/pay", user => 'dora');

# --- names in any language, in UTF-8

my $korean = "\xec\x95\x88\xeb\x82\x98";    # 안나
# HTTP::Tiny sends no such header
sub said
{
	my ($method, $path, $name) = @_;
	my $socket = dial($url);

	print $socket "$method $path HTTP/1.0\r\nX-User: $name\r\n\r\n";
	return hang_on($socket);
}

like(said('POST', $queue, $korean), qr{^HTTP/1.0 200 }, 'somebody with a Korean name enters');
is($node->safe_psql('postgres', "SELECT count(*) FROM ticket.queue_entry WHERE user_id = '$korean'"), 1, '... and is who she is');
like(said('POST', $queue, "Andr\xe9"), qr{^HTTP/1.0 400 .*bad_request}s, 'a name in Latin-1');
turned_down('400 bad_request', '... in the path', 'GET', '/points/%E9');
turned_down('400 bad_request', '... in the query', 'GET', '/concerts?after=%E9');

# --- paying at a provider, who reports twice

$mine = "/reservations/$best->{reservation_id}";
my $payment = answered('ben pays by card', 'POST', "$mine/payments", user => 'ben', body => { provider => 'nobody' });
is($payment->{status}, 'pending', '... under way');
is($node->safe_psql('postgres', "SELECT provider FROM ticket.payment WHERE payment_id = $payment->{payment_id}"), 'card',
	'... at the provider that the shop has, whatever the client says');
my $success = { type => 'succeeded', payment_id => $payment->{payment_id}, ref => 'ch_1' };
for ('the provider reports', 'the provider reports again')
{
	my $captured = answered($_, webhook($success));
	is("$captured->{status} $captured->{reservation_id}", "captured $best->{reservation_id}", '... captured');
}
is(answered('a failure after it', webhook({ type => 'failed', payment_id => $payment->{payment_id}, reason => 'late' }))->{status},
	'captured', '... changes nothing');
$payment = answered('dora pays by card', 'POST', "/reservations/$dear->{reservation_id}/payments", user => 'dora');
is(answered('the card is declined', webhook({ type => 'failed', payment_id => $payment->{payment_id}, reason => 'declined' }))->{status},
	'failed', '... and the payment has failed');
turned_down('401 bad_signature', 'somebody else reports', 'POST', '/webhooks/payment', raw => $json->encode($success),
	headers => { 'X-Signature' => hmac_sha256_hex('', $secret) });
turned_down('404 not_found', 'no such payment', webhook({ %$success, payment_id => 999 }));
turned_down('400 bad_argument', 'no such report', webhook({ %$success, type => 'maybe' }));
answered('ben gives it back', 'POST', "$mine/cancel", user => 'ben');
my $refund = $node->safe_psql('postgres', q(SELECT refund_id FROM ticket.payments_stuck('0') WHERE status = 'refund_due'));
is(answered('the provider has refunded', webhook({ type => 'refunded', refund_id => $refund, ref => 're_1' }))->{status},
	'done', '... the money is back');

# --- clients that are slow

{
	local $ENV{REQUEST_TIMEOUT} = 2;
	my $strict = start_shop();
	my $slow = dial($strict->{url});
	print $slow "POST $queue HTTP/1.0\r\nX-User: anna\r\nContent-Length: 60000\r\n\r\n";
	like(hang_on($slow, ' '), qr{^HTTP/1.0 408 .*too_slow}s, 'a body that trickles in is waited for so long, and no longer');
	$slow = dial($strict->{url});
	is(hang_on($slow, 'GET '), '', '... and so is a head');
	$slow = dial($strict->{url});
	print $slow "POST $queue HTTP/1.0\r\nX-User: anna\r\nContent-Length: 60000\r\n\r\n{}";
	shutdown $slow, 1;
	like(hang_on($slow), qr{^HTTP/1.0 400 .*bad_request}s, 'a body that breaks off');
	unlike($strict->{error}, qr/Traceback/, 'none of it is an accident');
}

# --- a shop that is told to go

{
	local $ENV{REQUEST_TIMEOUT} = $PostgreSQL::Test::Utils::timeout_default;
	my $leaving = start_shop();
	my $lock = $node->background_psql('postgres');
	my @clients;

	# One whose request is half there, one whose call waits, one nobody has looked at yet.
	push @clients, dial($leaving->{url});
	print { $clients[-1] } "GET /points HTTP/1.0\r\n";
	$lock->query_safe('BEGIN; LOCK TABLE ticket.account IN ACCESS EXCLUSIVE MODE');
	push @clients, dial($leaving->{url});
	print { $clients[-1] } "GET /points HTTP/1.0\r\nX-User: anna\r\n\r\n";
	$node->poll_query_until('postgres', q(SELECT count(*) = 1 FROM pg_stat_activity WHERE usename = 'shop_api' AND wait_event_type = 'Lock'))
	  or die 'the call does not wait';
	$leaving->{run}->signal('STOP');
	push @clients, dial($leaving->{url});
	print { $clients[-1] } "GET /points HTTP/1.0\r\nX-User: anna\r\n\r\n";
	$leaving->{run}->signal('TERM');
	$leaving->{run}->signal('CONT');
	# It has closed its door when no new connection is to be had.
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		last if !IO::Socket::INET->new(PeerAddr => $leaving->{url} =~ s{http://}{}r);
		select undef, undef, undef, 0.1;
	}
	$lock->quit;
	print { $clients[0] } "X-User: anna\r\n\r\n";
	my @answers = map { hang_on($_) } @clients;
	is(scalar(grep { m{^HTTP/1.0 200 .*"balance"}s } @answers), 3, 'told to go, it answers who has come') or diag join "\n", @answers;
	ok($leaving->{run}->finish, '... and goes');
	unlike($leaving->{error}, qr/Traceback/, '... in peace');
}

# --- and the end

is_deeply(answered('dora leaves', 'DELETE', '/ticket', token => $ticket{dora}{token}), { left => JSON::PP::true }, '... the room');
refused($node, 'postgres', 'SET ROLE shop_api; SELECT ticket.payment_confirm(1, $$x$$)', '42501', 'the shop cannot report payments');
refused($node, 'postgres', 'SET ROLE shop_webhook; SELECT ticket.point_balance($$anna$$)', '42501', 'the webhook can do nothing else');
$node->restart;
is((request('GET', '/concerts'))[0], 503, 'when the server has restarted, a connection is lost');
is((request('GET', '/concerts'))[0], 200, '... and another is made');
verified($node, 'postgres', 'the sale');

unlike($shop->{error}, qr/Traceback/, 'all of it was meant');
$node->stop;
is((request('GET', '/concerts'))[2]{'retry-after'}, 1, 'without a server: try again');
done_testing();
