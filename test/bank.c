/*
 * bank.c
 *		Clients of the bank test (t/009_bank.pl): each a process that charges,
 *		holds, pays, cancels, begins, confirms and fails at random.
 *
 *	bank CONNINFO DIRECTORY CLIENTS USERS SEATS
 *
 * runs until the file DIRECTORY/stop is there, or DIRECTORY is not.  Every client writes down what it
 * is about to ask before it asks, and the answer when it has it, in
 * DIRECTORY/N.log; what was asked last has its words in DIRECTORY/N.ask.  Now and
 * then a client is killed (SIGKILL, by itself) right after it has sent a call and
 * before the answer; the next process in its place asks the same again, as does
 * a client that has lost the server.  Every call that moves money can be asked
 * again: it has a key, or is about one thing that happens once.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_ASK 1024
#define MAX_PAID 8
#define MAX_BEGUN 8
#define PER_KILL 150 /* calls */
#define RECONNECT_US 50000

static const char *conninfo;
static const char *directory;
static int n_users;
static int n_seats;

typedef struct Client
{
	int number;
	long serial; /* makes keys; goes on over the lives of a client */
	PGconn *conn;
	int log;
	struct
	{
		long reservation;
		int user;
		int first, n;
	} paid[MAX_PAID];
	struct
	{
		long payment;
	} begun[MAX_BEGUN];
} Client;

static void
fail(const char *what)
{
	fprintf(stderr, "bank: %s: %s\n", what, strerror(errno));
	_exit(1);
}

static int
dice(int n)
{
	return (int) (random() % n);
}

static bool
stopped(void)
{
	char path[MAX_ASK];

	snprintf(path, sizeof(path), "%s/stop", directory);
	return access(path, F_OK) == 0 || access(directory, F_OK) != 0;
}

/* ---------- asking ---------- */

static void
ask_path(const Client *client, char *path)
{
	snprintf(path, MAX_ASK, "%s/%d.ask", directory, client->number);
}

/* What is asked now, so that the next process can ask it again; "": nothing. */
static void
remember(const Client *client, const char *kind, const char *sql)
{
	char path[MAX_ASK];
	char text[2 * MAX_ASK];
	int length = snprintf(text, sizeof(text), "%ld\n%s\n%s", client->serial, kind, sql);
	int file;

	ask_path(client, path);
	file = open(path, O_WRONLY | O_CREAT, 0600);
	if (file < 0 || ftruncate(file, 0) < 0 || write(file, text, (size_t) length) != length)
		fail(path);
	close(file);
}

static void
note(const Client *client, const char *kind, const char *sql, const char *answer)
{
	char text[3 * MAX_ASK];
	int length = snprintf(text, sizeof(text), "%s\t%s\t%s\n", kind, sql, answer);

	if (write(client->log, text, (size_t) length) != length)
		fail("log");
}

static void
keep_quiet(void *arg, const char *message)
{
	(void) arg;
	(void) message;
}

static void
connect_again(Client *client)
{
	for (;;)
	{
		if (client->conn)
			PQfinish(client->conn);
		client->conn = PQconnectdb(conninfo);
		if (PQstatus(client->conn) == CONNECTION_OK)
		{
			PQsetNoticeProcessor(client->conn, keep_quiet, NULL);
			return;
		}
		if (stopped())
			_exit(0);
		usleep(RECONNECT_US);
	}
}

/*
 * Asks until there is an answer, and notes it: the columns of the row, or the
 * SQLSTATE with a '!' before it.  What waits for nothing and was not acknowledged
 * is asked again.
 */
static void
ask_until_answered(Client *client, const char *kind, const char *sql, bool mortal, char *answer)
{
	for (;;)
	{
		PGresult *result;
		const char *state;
		bool lost;

		if (client->conn == NULL || PQstatus(client->conn) != CONNECTION_OK)
			connect_again(client);
		if (!PQsendQuery(client->conn, sql))
			continue;
		if (mortal && dice(PER_KILL) == 0)
		{
			PQflush(client->conn);
			kill(getpid(), SIGKILL);
		}
		result = PQgetResult(client->conn);
		state = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
		if (result && PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1)
		{
			answer[0] = '\0';
			for (int i = 0; i < PQnfields(result); i++)
				snprintf(answer + strlen(answer), MAX_ASK - strlen(answer), "%s%s", i ? " " : "",
						 PQgetvalue(result, 0, i));
			lost = false;
		}
		else
		{
			/* Refused for good, or the server went down (57P01 to 57P03, or no word) */
			lost = state == NULL || strncmp(state, "57P", 3) == 0;
			snprintf(answer, MAX_ASK, "!%s", state ? state : "");
		}
		PQclear(result);
		while (client->conn && (result = PQgetResult(client->conn)) != NULL)
			PQclear(result);
		if (!lost)
			break;
		PQfinish(client->conn);
		client->conn = NULL;
	}
	note(client, kind, sql, answer);
}

static bool __attribute__((format(printf, 4, 5)))
ask(Client *client, const char *kind, char *answer, const char *format, ...)
{
	char sql[MAX_ASK];
	va_list args;

	va_start(args, format);
	vsnprintf(sql, sizeof(sql), format, args);
	va_end(args);
	remember(client, kind, sql);
	ask_until_answered(client, kind, sql, true, answer);
	return answer[0] != '!';
}

/* ---------- what clients do ---------- */

static void
charge(Client *client)
{
	char answer[MAX_ASK];

	client->serial++;
	ask(client, "charge", answer, "SELECT ticket.point_charge('u%d', %d, 'c%d-%ld')", dice(n_users),
		1 + dice(500), client->number, client->serial);
}

/* One webhook, which may come when it wants to. */
static void
webhook(Client *client, long payment, bool confirms)
{
	char answer[MAX_ASK];

	if (confirms)
		ask(client, "confirm", answer, "SELECT * FROM ticket.payment_confirm(%ld, 'ref-%ld')",
			payment, payment);
	else
		ask(client, "fail", answer, "SELECT * FROM ticket.payment_fail(%ld, 'no')", payment);
}

static void
cancel(Client *client)
{
	char answer[MAX_ASK];
	int i = dice(MAX_PAID);
	long reservation = client->paid[i].reservation;

	if (reservation == 0)
		return;
	if (client->paid[i].n > 1 && dice(2))
		ask(client, "cancel", answer, "SELECT * FROM ticket.reservation_cancel(%ld, 'u%d', '{%d}')",
			reservation, client->paid[i].user, client->paid[i].first + dice(client->paid[i].n));
	else
		ask(client, "cancel", answer, "SELECT * FROM ticket.reservation_cancel(%ld, 'u%d')",
			reservation, client->paid[i].user);
}

static void
refund(Client *client)
{
	char answer[MAX_ASK];
	long id;

	if (!ask(client, "look", answer,
			 "SELECT coalesce((SELECT min(refund_id) FROM ticket.refund WHERE status = 'due'"
			 " AND refund_id %% 64 = %d), 0)",
			 client->number))
		return;
	id = atol(answer);
	if (id > 0)
		ask(client, "refund", answer, "SELECT * FROM ticket.refund_confirm(%ld, 'refund-%ld')", id,
			id);
}

static void
buy(Client *client)
{
	char answer[MAX_ASK];
	int user = dice(n_users);
	int n = 1 + dice(3);
	int first = 1 + dice(n_seats - n + 1);
	int i = dice(MAX_PAID);
	char seats[64] = "";
	long reservation;
	int way = dice(10);

	for (int k = 0; k < n; k++)
		snprintf(seats + strlen(seats), sizeof(seats) - strlen(seats), "%s%d", k ? "," : "",
				 first + k);
	client->serial++;
	if (!ask(client, "hold", answer,
			 "SELECT * FROM ticket.seat_hold(1, '{%s}', 'u%d', NULL, 'h%d-%ld')", seats, user,
			 client->number, client->serial))
	{
		/* Sold out: make room */
		cancel(client);
		return;
	}
	reservation = atol(answer);
	if (way < 4)
	{
		if (!ask(client, "pay", answer,
				 "SELECT * FROM ticket.pay_reservation(%ld, 'u%d', 'p%d-%ld')", reservation, user,
				 client->number, client->serial))
			return;
	}
	else if (way < 9)
	{
		long payment;

		if (!ask(client, "begin", answer,
				 "SELECT * FROM ticket.payment_begin(%ld, 'u%d', 'card', %s, 'b%d-%ld')",
				 reservation, user, dice(2) ? "true" : "false", client->number, client->serial))
			return;
		payment = atol(answer);
		client->begun[dice(MAX_BEGUN)].payment = payment;
		if (way == 8)
			ask(client, "release", answer, "SELECT ticket.seat_release(%ld, 'u%d')", reservation,
				user);
		/* Now, or later and by whoever remembers it, or never */
		while (dice(3))
			webhook(client, payment, dice(3) > 0);
	}
	client->paid[i].reservation = reservation;
	client->paid[i].user = user;
	client->paid[i].first = first;
	client->paid[i].n = n;
}

/* What the process before us had asked when it was killed. */
static void
ask_again(Client *client)
{
	char path[MAX_ASK];
	char text[2 * MAX_ASK] = "";
	char answer[MAX_ASK];
	char *kind;
	char *sql;
	FILE *file;
	size_t length;

	ask_path(client, path);
	file = fopen(path, "r");
	if (file == NULL)
		return;
	length = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[length] = '\0';
	client->serial = strtol(text, &kind, 10);
	if (*kind != '\n' || (sql = strchr(kind + 1, '\n')) == NULL)
		return;
	*sql++ = '\0';
	ask_until_answered(client, kind + 1, sql, false, answer);
}

static void
client_run(int number)
{
	Client client = {.number = number};
	char path[MAX_ASK];

	srandom((unsigned) (number * 7919 + getpid()));
	snprintf(path, sizeof(path), "%s/%d.log", directory, number);
	client.log = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (client.log < 0)
		fail(path);
	ask_again(&client);
	while (!stopped())
	{
		int what = dice(20);

		if (what < 4)
			charge(&client);
		else if (what < 14)
			buy(&client);
		else if (what < 17)
			cancel(&client);
		else if (what < 19)
		{
			long payment = client.begun[dice(MAX_BEGUN)].payment;

			if (payment != 0)
				webhook(&client, payment, dice(3) > 0);
		}
		else
			refund(&client);
	}
	_exit(0);
}

static void
client_start(pid_t *pid, int number)
{
	*pid = fork();
	if (*pid < 0)
		fail("fork");
	if (*pid == 0)
		client_run(number);
}

int
main(int argc, char **argv)
{
	int n_clients;
	int left;
	long killed = 0;
	bool ok = true;
	pid_t *pids;

	if (argc != 6)
	{
		fprintf(stderr, "usage: bank CONNINFO DIRECTORY CLIENTS USERS SEATS\n");
		return 2;
	}
	conninfo = argv[1];
	directory = argv[2];
	n_clients = atoi(argv[3]);
	n_users = atoi(argv[4]);
	n_seats = atoi(argv[5]);
	pids = calloc((size_t) n_clients, sizeof(pid_t));
	for (int i = 0; i < n_clients; i++)
		client_start(&pids[i], i);
	for (left = n_clients; left > 0;)
	{
		int status;
		pid_t pid = wait(&status);

		if (pid < 0)
			fail("wait");
		for (int i = 0; i < n_clients; i++)
		{
			if (pids[i] != pid)
				continue;
			if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
			{
				killed++;
				client_start(&pids[i], i);
			}
			else
			{
				left--;
				ok &= WIFEXITED(status) && WEXITSTATUS(status) == 0;
			}
		}
	}
	printf("%ld clients were killed\n", killed);
	return ok ? 0 : 1;
}
