/*
 * rush.c
 *		A load generator: thousands of fans rush for the seats of one sale.
 *
 * One process, one loop: whoever is due takes an idle connection, makes one
 * call and gives the connection back with the answer, as the requests of a
 * web shop do with its pool.  Another connection samples the state of the
 * sale.  Nothing here promotes or expires anybody; that is the jobs' work.
 *
 * Exit status: 0 the sale ended and the tables agree with what the fans were
 * told; 1 anything else; 130 interrupted.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "rush.h"

#define SAMPLE_EVERY (250 * MSEC)
#define SAMPLE_SHARE 5 /* sampling may take a fifth of the time */

/* The only SQL here that is not a fan's. */
#define SAMPLE_SQL \
	"SELECT q.waiting, q.active, s.held, s.sold, s.seats" \
	" FROM ticket.queue_stats q, ticket.sale_stats s" \
	" WHERE q.queue_id = $1 AND s.performance_id = $2"
#define BALANCES_SQL "SELECT coalesce(sum(balance), 0)::bigint FROM ticket.account"
#define ERROR_NAMES_SQL "SELECT sqlstate, name FROM ticket.error_codes"

typedef struct Client
{
	PGconn *conn;
	Fan *fan; /* whose call is under way; NULL: idle */
	int64_t sent;
	PGresult *answer;
} Client;

typedef struct Monitor
{
	PGconn *conn;
	bool asking;
	int64_t due;
	int64_t sent;
	int64_t cancels_then; /* acknowledged.cancels when it was asked */
	Sample latest;
} Monitor;

Options options = {
	.fans = 20000,
	.clients = 32,
	.limit_s = 300,
	.seed = 1,
	.pace = 1,
	.fans_conninfo = "",
	.csv_path = "rush.csv",
};

static Client *clients;
static int busy; /* clients with a call under way */
static Monitor monitor;
static volatile sig_atomic_t interrupted;

void
die(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fprintf(stderr, "\nrush: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	exit(1);
}

int64_t
clock_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t) ts.tv_sec * SEC + ts.tv_nsec / 1000;
}

static void
interrupt(int signo)
{
	(void) signo;
	interrupted = 1;
}

static PGconn *
connect_to(const char *conninfo)
{
	PGconn *conn = PQconnectdb(conninfo);

	if (PQstatus(conn) != CONNECTION_OK)
		die("could not connect: %s", PQerrorMessage(conn));
	return conn;
}

static void
prepare(PGconn *conn, const char *name, const char *sql)
{
	PGresult *res = PQprepare(conn, name, sql, 0, NULL);

	if (PQresultStatus(res) != PGRES_COMMAND_OK)
		die("could not prepare \"%s\": %s", sql, PQresultErrorMessage(res));
	PQclear(res);
}

static PGresult *
query(PGconn *conn, const char *sql)
{
	PGresult *res = PQexec(conn, sql);

	if (PQresultStatus(res) != PGRES_TUPLES_OK)
		die("\"%s\" failed: %s", sql, PQresultErrorMessage(res));
	return res;
}

static int64_t
sum_of_balances(void)
{
	PGresult *res = query(monitor.conn, BALANCES_SQL);
	int64_t sum = strtoll(PQgetvalue(res, 0, 0), NULL, 10);

	PQclear(res);
	return sum;
}

static void
connect_all(void)
{
	PGresult *res;

	monitor.conn = connect_to(options.monitor_conninfo);
	prepare(monitor.conn, "sample", SAMPLE_SQL);
	res = query(monitor.conn, ERROR_NAMES_SQL);
	for (int i = 0; i < PQntuples(res); i++)
		error_name_add(PQgetvalue(res, i, 0), PQgetvalue(res, i, 1));
	PQclear(res);
	error_name_add("22023", "bad_argument");
	error_name_add("40001", "serialization_failure");

	clients = calloc((size_t) options.clients, sizeof(Client));
	if (clients == NULL)
		die("out of memory");
	for (int i = 0; i < options.clients; i++)
	{
		clients[i].conn = connect_to(options.fans_conninfo);
		for (int call = 0; call < NCALLS; call++)
			prepare(clients[i].conn, call_names[call], call_sql[call]);
	}
}

static void
send_prepared(PGconn *conn, const char *name, int nargs, char args[MAX_ARGS][ARG_SIZE])
{
	const char *values[MAX_ARGS];

	for (int i = 0; i < nargs; i++)
		values[i] = args[i];
	if (!PQsendQueryPrepared(conn, name, nargs, values, NULL, NULL, 0))
		die("could not send %s: %s", name, PQerrorMessage(conn));
}

/* Gives idle connections to whoever is due. */
static void
make_calls(void)
{
	for (int i = 0; i < options.clients && busy < options.clients; i++)
	{
		Client *client = &clients[i];
		char args[MAX_ARGS][ARG_SIZE];
		int64_t now = clock_now();
		Fan *fan;

		if (client->fan != NULL)
			continue;
		fan = agenda_peek();
		if (fan == NULL || fan->due > now)
			return;
		agenda_take();

		send_prepared(client->conn, call_names[fan->next], fan_arguments(fan, args), args);
		fan->calling = true;
		client->fan = fan;
		client->sent = now;
		busy++;
	}
}

/*
 * Reads what has come.  Returns true once the answer is complete: the last
 * result then is in *answer, which may hold one from an earlier call.
 */
static bool
answer_complete(PGconn *conn, PGresult **answer)
{
	if (!PQconsumeInput(conn))
		die("connection lost: %s", PQerrorMessage(conn));
	while (!PQisBusy(conn))
	{
		PGresult *res = PQgetResult(conn);

		if (res == NULL)
			return true;
		PQclear(*answer);
		*answer = res;
	}
	return false;
}

static void
read_answer(Client *client)
{
	Fan *fan = client->fan;
	Call call = (Call) fan->next;
	int64_t now;

	if (!answer_complete(client->conn, &client->answer))
		return;

	now = clock_now();
	measure_call(call, now - client->sent);
	if (PQresultStatus(client->answer) != PGRES_TUPLES_OK)
		measure_error(call, client->answer);
	client->fan = NULL;
	fan->calling = false;
	busy--;
	fan_answered(fan, client->answer, now);
	PQclear(client->answer);
	client->answer = NULL;
}

static void
ask_sample(int64_t now)
{
	char args[MAX_ARGS][ARG_SIZE];

	snprintf(args[0], ARG_SIZE, "%" PRId64, options.queue_id);
	snprintf(args[1], ARG_SIZE, "%" PRId64, options.performance_id);
	send_prepared(monitor.conn, "sample", 2, args);
	monitor.asking = true;
	monitor.sent = now;
	monitor.cancels_then = acknowledged.cancels;
}

/* Returns true when a sample came in. */
static bool
read_sample(void)
{
	static PGresult *res;
	int64_t values[5];
	int64_t now;

	if (!answer_complete(monitor.conn, &res))
		return false;
	if (PQresultStatus(res) != PGRES_TUPLES_OK || PQntuples(res) != 1)
		die("sampling failed: %s", PQresultErrorMessage(res));
	for (int i = 0; i < 5; i++)
		values[i] = strtoll(PQgetvalue(res, 0, i), NULL, 10);
	PQclear(res);
	res = NULL;

	now = clock_now();
	monitor.latest = (Sample){.waiting = values[0],
							  .active = values[1],
							  .held = values[2],
							  .sold = values[3],
							  .seats = values[4]};
	monitor.asking = false;
	monitor.due = monitor.sent + SAMPLE_EVERY;
	if (monitor.due < now + SAMPLE_SHARE * (now - monitor.sent))
		monitor.due = now + SAMPLE_SHARE * (now - monitor.sent);
	sample_add(&monitor.latest, now);
	progress_show(&monitor.latest, now);
	return true;
}

/*
 * Everything sold for good?  The sample is a moment old, so no cancellation
 * may be planned, have been answered since, or be about to be planned by an
 * answer to a payment.
 */
static bool
sold_for_good(void)
{
	const Sample *sample = &monitor.latest;

	if (sample->sold < sample->seats || sample->held > 0 || cancels_planned > 0 ||
		acknowledged.cancels != monitor.cancels_then)
		return false;
	for (int i = 0; i < options.clients; i++)
	{
		if (clients[i].fan != NULL && clients[i].fan->next == CALL_PAY)
			return false;
	}
	return true;
}

/* Sleeps until an answer comes or somebody is due. */
static void
wait_for_something(struct pollfd *fds)
{
	Fan *fan = agenda_peek();
	int64_t now = clock_now();
	int64_t due = now + SEC;
	int64_t wait;

	for (int i = 0; i < options.clients; i++)
	{
		fds[i].fd = clients[i].fan != NULL ? PQsocket(clients[i].conn) : -1;
		fds[i].events = POLLIN;
	}
	fds[options.clients].fd = monitor.asking ? PQsocket(monitor.conn) : -1;
	fds[options.clients].events = POLLIN;

	if (fan != NULL && busy < options.clients && fan->due < due)
		due = fan->due;
	if (!monitor.asking && monitor.due < due)
		due = monitor.due;
	wait = due <= now ? 0 : (due - now + MSEC - 1) / MSEC;
	if (poll(fds, (nfds_t) options.clients + 1, (int) wait) < 0 && errno != EINTR)
		die("poll failed: %s", strerror(errno));
}

/*
 * The rush.  It ends when all is sold and told, or nobody is left and no
 * seat is on hold, or the time is up.  Returns false in the last case.
 */
static bool
run_rush(int64_t start)
{
	struct pollfd *fds = calloc((size_t) options.clients + 1, sizeof(*fds));
	int64_t deadline = start + options.limit_s * SEC;
	int64_t gone_at = -1; /* since when nobody is left */
	bool sold_out = false;

	if (fds == NULL)
		die("out of memory");
	while (!interrupted)
	{
		int64_t now = clock_now();

		if (now >= deadline)
			break;
		make_calls();
		if (!monitor.asking && now >= monitor.due)
			ask_sample(now);
		wait_for_something(fds);
		for (int i = 0; i < options.clients; i++)
		{
			if (fds[i].fd >= 0 && fds[i].revents != 0)
				read_answer(&clients[i]);
		}

		if (fans_about > 0)
			gone_at = -1;
		else if (gone_at < 0)
			gone_at = clock_now();
		if (fds[options.clients].fd < 0 || fds[options.clients].revents == 0 || !read_sample())
			continue;
		if (!sold_out && sold_for_good())
		{
			sold_out = true;
			progress_end();
			printf("sold out after %.1f s: %d fans are told\n",
				   (double) (clock_now() - start) / (double) SEC, fans_about);
			fans_sold_out(clock_now());
		}
		if (gone_at >= 0 && monitor.sent >= gone_at && monitor.latest.held == 0)
			break;
	}
	progress_end();
	free(fds);
	return clock_now() < deadline;
}

static bool
agree(const char *what, int64_t told, int64_t stored)
{
	if (told == stored)
		printf("  ok      %s: %" PRId64 "\n", what, told);
	else
		printf("  NOT OK  %s: %" PRId64 " told, %" PRId64 " in the tables\n", what, told, stored);
	return told == stored;
}

/* Whatever a fan was told must be in the tables, and nothing else. */
static bool
tables_agree(int64_t balances_before)
{
	const Acknowledged *ack = &acknowledged;
	bool ok = true;

	printf("\nwhat the fans were told, against the tables\n");
	ok &= agree("seats sold", ack->seats_paid - ack->seats_cancelled, monitor.latest.sold);
	ok &= agree("points left", balances_before - ack->points_paid + ack->points_refunded,
				sum_of_balances());
	return ok;
}

static int
number_option(const char *text, int least)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (*text == '\0' || *end != '\0' || value < least || value > INT_MAX / 4)
		die("not a number from %d on: \"%s\"", least, text);
	return (int) value;
}

static void
read_options(int argc, char **argv)
{
	int opt;

	while ((opt = getopt(argc, argv, "d:m:f:c:q:p:l:s:o:x:")) != -1)
	{
		switch (opt)
		{
			case 'd':
				options.fans_conninfo = optarg;
				break;
			case 'm':
				options.monitor_conninfo = optarg;
				break;
			case 'f':
				options.fans = number_option(optarg, 1);
				break;
			case 'c':
				options.clients = number_option(optarg, 1);
				break;
			case 'q':
				options.queue_id = strtoll(optarg, NULL, 10);
				break;
			case 'p':
				options.performance_id = strtoll(optarg, NULL, 10);
				break;
			case 'l':
				options.limit_s = number_option(optarg, 1);
				break;
			case 's':
				options.seed = (uint64_t) number_option(optarg, 1);
				break;
			case 'o':
				options.csv_path = optarg;
				break;
			case 'x':
				options.pace = number_option(optarg, 1);
				break;
			default:
				fprintf(stderr, "usage: rush -d conninfo [-m monitor's conninfo]"
								" -q queue -p performance\n"
								"            [-f fans] [-c connections]"
								" [-l seconds at most] [-s seed] [-x pace] [-o csv]\n");
				exit(1);
		}
	}
	if (options.monitor_conninfo == NULL)
		options.monitor_conninfo = options.fans_conninfo;
}

int
main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = interrupt};
	int64_t balances;
	int64_t start;
	bool in_time;
	bool ok;

	read_options(argc, argv);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);

	connect_all();
	balances = sum_of_balances();
	samples_open(options.csv_path);
	start = clock_now();
	measure_start(start);
	monitor.due = start;
	fans_create(start);

	in_time = run_rush(start);
	samples_close();
	if (interrupted)
	{
		fprintf(stderr, "rush: interrupted\n");
		return 130;
	}

	summary_print(&monitor.latest, clock_now());
	if (!in_time)
	{
		printf("\nthe time limit of %d s ended the rush: %d fans still about,"
			   " %" PRId64 " of %" PRId64 " seats sold\n",
			   options.limit_s, fans_about, monitor.latest.sold, monitor.latest.seats);
		return 1;
	}
	ok = tables_agree(balances);
	if (unexpected_error)
		printf("\nunexpected errors, see above\n");
	return ok && !unexpected_error ? 0 : 1;
}
