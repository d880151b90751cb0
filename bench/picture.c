/*
 * picture.c
 *		Fetches the picture of a line and tells positions from it; prints the
 *		milliseconds of each, and how large it is:
 *
 *	picture QUEUE_ID
 *
 * First the fetching (the best of ten, the server's work and the way here), then
 * the reading, then telling 1,000,000 positions.  How to reach the server is
 * libpq's business (PGHOST etc.).
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <libpq-fe.h>

#include "../src/client/line_picture.h"

#define FETCHES 10
#define TOLD 1000000

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void
fail(const char *why)
{
	fprintf(stderr, "picture: %s\n", why);
	exit(1);
}

int
main(int argc, char **argv)
{
	PGconn *connection = PQconnectdb("");
	PGresult *result = NULL;
	TicketPicture picture;
	const char *queue_id = argc == 2 ? argv[1] : "1";
	double fetching = 1e9;
	double reading;
	double telling;
	int64_t sum = 0;

	if (PQstatus(connection) != CONNECTION_OK)
		fail(PQerrorMessage(connection));
	for (int i = 0; i < FETCHES; i++)
	{
		double began = now();

		PQclear(result);
		result = PQexecParams(connection, "SELECT ticket.line_picture($1)", 1, NULL, &queue_id,
							  NULL, NULL, 1);
		if (PQresultStatus(result) != PGRES_TUPLES_OK)
			fail(PQerrorMessage(connection));
		if (now() - began < fetching)
			fetching = now() - began;
	}
	reading = now();
	if (ticket_picture_read(&picture, PQgetvalue(result, 0, 0),
							(size_t) PQgetlength(result, 0, 0)) != TICKET_PICTURE_OK)
		fail("it cannot be read");
	reading = now() - reading;
	telling = now();
	for (int64_t i = 0; i < TOLD; i++)
		/* Here and there, as fans ask */
		sum += ticket_picture_position(&picture, 1 + i * 7919 % picture.next_place);
	telling = now() - telling;
	printf("%.3f %.3f %.3f %d\n", fetching, reading, telling, PQgetlength(result, 0, 0));
	/* So that it is not optimized away */
	if (sum == -1)
		fail("nobody waits");
	PQfinish(connection);
	return 0;
}
