/*
 * calls.c
 *		Makes one call over and over on several connections at once and prints
 *		how many were answered in a second, and in all.
 *
 *	calls [-c CLIENTS] [-t SECONDS] [-w CALLS] [-e SQLSTATE] [-p QUERY] STATEMENT
 *
 * For what pgbench can't measure: calls that end in an error, at which its
 * clients give up, and arguments that are not numbers.  STATEMENT is prepared
 * once; each call takes its arguments from a random row of QUERY.  With -e
 * every call must fail with that error, without it none may fail.  How to
 * reach the server is libpq's business (PGHOST etc.).
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

#define MAX_CLIENTS 1000
#define MAX_ARGUMENTS 8

typedef struct Answered
{
	int64_t calls;
	double seconds;
} Answered;

static int clients = 8;
static double seconds = 2;
/* Until plans are cached; more where a session has to see its shared memory first */
static int warm_up_calls = 100;
static const char *expected = NULL;
static const char *statement;
static PGresult *arguments = NULL;

static void
fail(const char *what, const char *why)
{
	fprintf(stderr, "calls: %s: %s\n", what, why);
	exit(1);
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static PGconn *
connect_or_fail(void)
{
	PGconn *conn = PQconnectdb("");

	if (PQstatus(conn) != CONNECTION_OK)
		fail("connect", PQerrorMessage(conn));
	return conn;
}

static void
call(PGconn *conn, uint64_t *random)
{
	const char *values[MAX_ARGUMENTS];
	int n = arguments ? PQnfields(arguments) : 0;
	PGresult *result;
	bool as_expected;

	*random = *random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	for (int i = 0; i < n; i++)
		values[i] = PQgetvalue(arguments, (*random >> 33) % PQntuples(arguments), i);

	result = PQexecPrepared(conn, "call", n, values, NULL, NULL, 0);
	if (expected)
	{
		const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

		as_expected = state && strcmp(state, expected) == 0;
	}
	else
		as_expected = PQresultStatus(result) == PGRES_TUPLES_OK;
	if (!as_expected)
		fail("unexpected answer",
			 *PQresultErrorMessage(result) ? PQresultErrorMessage(result) : "no error");
	PQclear(result);
}

/* One client: closes `ready` when it is, begins when `start` is closed. */
static void
run_client(int number, int ready, int start, Answered *answered)
{
	PGconn *conn = connect_or_fail();
	PGresult *result = PQprepare(conn, "call", statement, 0, NULL);
	uint64_t random = number + 1;
	double began;
	char byte;

	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		fail("prepare", PQerrorMessage(conn));
	PQclear(result);
	for (int i = 0; i < warm_up_calls; i++)
		call(conn, &random);
	close(ready);
	if (read(start, &byte, 1) != 0)
		fail("start", "no end of file");
	began = now();
	do
	{
		call(conn, &random);
		answered->calls++;
		answered->seconds = now() - began;
	} while (answered->seconds < seconds);
	PQfinish(conn);
}

static void
read_arguments(const char *query)
{
	PGconn *conn = connect_or_fail();

	arguments = PQexec(conn, query);
	if (PQresultStatus(arguments) != PGRES_TUPLES_OK)
		fail("arguments", PQerrorMessage(conn));
	if (PQntuples(arguments) == 0 || PQnfields(arguments) > MAX_ARGUMENTS)
		fail("arguments", "no rows, or too many columns");
	PQfinish(conn);
}

static void
run_clients(void)
{
	Answered *answered = mmap(NULL, clients * sizeof(Answered), PROT_READ | PROT_WRITE,
							  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int ready[2];
	int start[2];
	int status;
	int failed = 0;
	double rate = 0;
	int64_t calls = 0;
	char byte;

	if (answered == MAP_FAILED || pipe(ready) != 0 || pipe(start) != 0)
		fail("start", "no memory or pipes");
	for (int i = 0; i < clients; i++)
	{
		pid_t pid = fork();

		if (pid < 0)
			fail("start", "cannot fork");
		if (pid > 0)
			continue;
		close(ready[0]);
		close(start[1]);
		run_client(i, ready[1], start[0], &answered[i]);
		exit(0);
	}
	/* The last one that is ready, or has failed, closes it. */
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 0)
		fail("start", "no end of file");
	close(start[1]);
	while (wait(&status) > 0)
		failed |= status;
	if (failed)
		exit(1);
	for (int i = 0; i < clients; i++)
	{
		rate += answered[i].calls / answered[i].seconds;
		calls += answered[i].calls + warm_up_calls;
	}
	printf("%.0f %lld\n", rate, (long long) calls);
}

int
main(int argc, char **argv)
{
	const char *query = NULL;
	int option;

	while ((option = getopt(argc, argv, "c:t:w:e:p:")) != -1)
	{
		switch (option)
		{
			case 'c':
				clients = atoi(optarg);
				break;
			case 't':
				seconds = atof(optarg);
				break;
			case 'w':
				warm_up_calls = atoi(optarg);
				break;
			case 'e':
				expected = optarg;
				break;
			case 'p':
				query = optarg;
				break;
			default:
				return 2;
		}
	}
	if (optind != argc - 1 || clients < 1 || clients > MAX_CLIENTS || seconds <= 0)
	{
		fputs(
			"usage: calls [-c CLIENTS] [-t SECONDS] [-w CALLS] [-e SQLSTATE] [-p QUERY] STATEMENT\n",
			stderr);
		return 2;
	}
	statement = argv[optind];
	if (query)
		read_arguments(query);
	run_clients();
	return 0;
}
