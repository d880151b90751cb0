/*
 * crowd.c
 *		Many clients at once, and a model of what they were told.
 *
 *	crowd rush CLIENTS REQUESTS
 *		REQUESTS calls of seat_hold for the same seat, each by another user;
 *		prints how many ended how.
 *	crowd best CLIENTS SEATS
 *		Every client asks for the best SEATS seats, each time as another user,
 *		until it is refused; prints how many ended how.
 *	crowd model CLIENTS SECONDS ISOLATION SEED
 *		Every client is a user of its own and does one random thing after
 *		another: hold, hold the best, put off, release, pay, cancel, or let
 *		expire.  ISOLATION is autocommit, or the level of a transaction around
 *		each call that is tried again on 40001.  Beside them run() tidies and
 *		verify() looks.  At the end the tables must have what the answers said.
 *
 * The model knows only answers and when they came.  A seat is surely somebody's
 * from the answer that gave it until its end by the clock, or until the call
 * that gave it back was sent: two such times of one seat may not overlap.  What
 * only a hold that has not ended may do must fail after its end, and may not
 * fail before.
 *
 * For the model performance 1 must have two sections of 10 rows of 25 seats at
 * 100 and 200, and MAX_SEATS per user; users u1, u2, ... have points enough.
 * How to reach the server is libpq's business.  Exits with 1 if anything was
 * wrong.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include <libpq-fe.h>

#define N_SEATS 500
#define ROW_SEATS 25
#define MAX_SEATS 6
#define MAX_CALL_SEATS 3
#define MAX_CLIENTS 1000
#define MAX_COMPLAINTS 20
#define FOREVER INT64_MAX
/* Who has to try again waits up to this long, and twice as long each time. */
#define RETRY_US 10000
#define MAX_DOUBLINGS 5

typedef enum Status
{
	HELD, /* or expired meanwhile */
	EXPIRED, /* as one was told */
	PAID,
	RELEASED,
	CANCELLED
} Status;

typedef struct Reservation
{
	int64_t id;
	Status status;
	int n_seats;
	int seat[MAX_CALL_SEATS];
	int tenure[MAX_CALL_SEATS]; /* index of that of each seat */
	int client;
	int64_t created_at;
	int64_t expires_at;
} Reservation;

/* A time in which a seat was surely a client's. */
typedef struct Tenure
{
	int seat;
	int client;
	int64_t reservation;
	int64_t from;
	int64_t until;
} Tenure;

typedef enum What
{
	HOLD,
	BEST,
	EXTEND,
	RELEASE,
	RELEASE_SOME,
	PAY,
	CANCEL,
	CANCEL_SOME,
	N_WHATS
} What;

static const char *const what_name[N_WHATS] = {"hold",         "best", "extend", "release",
											   "release some", "pay",  "cancel", "cancel some"};

typedef struct Client
{
	PGconn *conn;
	int number;
	bool busy;
	int step; /* of a transaction: 0 BEGIN, 1 the call, 2 COMMIT, 3 ROLLBACK */
	char sql[500];
	What what;
	int n_seats; /* asked for */
	int seat[MAX_CALL_SEATS];
	int64_t by;
	Reservation *target;
	int64_t sent;
	PGresult *answer; /* of the call, until COMMIT */
	int n_retries;
	int64_t wait_until; /* before it tries again */
	int64_t balance;
	int n_reservations;
	Reservation **reservation;
} Client;

static const char *isolation; /* NULL: autocommit */
static int64_t hold_us;
static int64_t max_hold_us;
static int n_clients;
static Client *client;
static int n_tenures;
static Tenure *tenure;
static int64_t max_id;
static Reservation **by_id; /* at the end */
static int64_t n_answers[N_WHATS][10]; /* 0: success, then by error_state */
static const char *const error_state[] = {"TK006", "TK020", "TK008", "TK007", "40001"};
static int n_complaints;
static uint64_t random_state;

/* ---------- small things ---------- */

static void
complain(const char *format, ...)
{
	va_list args;

	if (++n_complaints > MAX_COMPLAINTS)
		return;
	va_start(args, format);
	printf("wrong: ");
	vprintf(format, args);
	printf("\n");
	va_end(args);
}

static void
fail(const char *what, PGconn *conn)
{
	fprintf(stderr, "crowd: %s: %s\n", what, conn ? PQerrorMessage(conn) : "");
	exit(2);
}

static int64_t
now_us(void)
{
	struct timeval t;

	gettimeofday(&t, NULL);
	return (int64_t) t.tv_sec * 1000000 + t.tv_usec;
}

static int
random_below(int n)
{
	random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (int) ((random_state >> 33) % (uint64_t) n);
}

static PGconn *
connect_or_fail(void)
{
	PGconn *conn = PQconnectdb("");

	if (PQstatus(conn) != CONNECTION_OK)
		fail("connect", conn);
	return conn;
}

static PGresult *
ask(PGconn *conn, const char *sql)
{
	PGresult *result = PQexec(conn, sql);

	if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK)
		fail(sql, conn);
	return result;
}

static void
send_or_fail(PGconn *conn, const char *sql)
{
	if (!PQsendQuery(conn, sql))
		fail(sql, conn);
}

/* The only result of what was sent, if it is there. */
static PGresult *
receive(PGconn *conn)
{
	PGresult *result = NULL;
	PGresult *more;

	if (!PQconsumeInput(conn))
		fail("receive", conn);
	if (PQisBusy(conn))
		return NULL;
	while ((more = PQgetResult(conn)) != NULL)
	{
		PQclear(result);
		result = more;
	}
	return result;
}

static const char *
state_of(PGresult *result)
{
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	return state ? state : "";
}

static int64_t
number_at(PGresult *result, int row, int column)
{
	return strtoll(PQgetvalue(result, row, column), NULL, 10);
}

static int64_t
price_of(int seat)
{
	return seat <= N_SEATS / 2 ? 100 : 200;
}

static int64_t
amount_of(const Reservation *r)
{
	int64_t amount = 0;

	for (int i = 0; i < r->n_seats; i++)
		amount += price_of(r->seat[i]);
	return amount;
}

/* '{1,2}' */
static int
parse_seats(const char *text, int *seat)
{
	int n = 0;

	for (const char *c = text; *c && n < MAX_CALL_SEATS; c++)
		if (c == text || *c == ',')
			seat[n++] = atoi(c + 1);
	return n;
}

static void
print_seats(char *text, size_t size, const int *seat, int n)
{
	snprintf(text, size, "{");
	for (int i = 0; i < n; i++)
		snprintf(text + strlen(text), size - strlen(text), "%s%d", i > 0 ? "," : "", seat[i]);
	snprintf(text + strlen(text), size - strlen(text), "}");
}

/* ---------- what a client does ---------- */

static Reservation *
some_reservation(Client *c, Status status)
{
	Reservation *some = NULL;
	int n = 0;

	for (int i = 0; i < c->n_reservations; i++)
		if (c->reservation[i]->status == status && random_below(++n) == 0)
			some = c->reservation[i];
	return some;
}

static void
choose_seats(Client *c)
{
	c->n_seats = 1 + random_below(MAX_CALL_SEATS);
	for (int i = 0; i < c->n_seats; i++)
	{
		bool twice;

		do
		{
			c->seat[i] = 1 + random_below(N_SEATS);
			twice = false;
			for (int j = 0; j < i; j++)
				twice |= c->seat[j] == c->seat[i];
		} while (twice);
	}
}

/* The first of the target's seats, but not all of them. */
static void
choose_part(Client *c)
{
	c->n_seats = 1 + random_below(c->target->n_seats - 1);
	memcpy(c->seat, c->target->seat, sizeof(c->seat));
}

static void
choose_what(Client *c)
{
	static const char *const fallback[] = {"together", "two_rows", "any"};
	int dice = random_below(100);
	char seats[100];

	c->what = dice < 40 ? HOLD :
			  dice < 55 ? BEST :
			  dice < 70 ? EXTEND :
			  dice < 76 ? RELEASE :
			  dice < 82 ? RELEASE_SOME :
			  dice < 91 ? PAY :
			  dice < 97 ? CANCEL :
						  CANCEL_SOME;
	c->target = c->what >= CANCEL ? some_reservation(c, PAID) :
				c->what >= EXTEND ? some_reservation(c, HELD) :
									NULL;
	if (c->what >= EXTEND && c->target == NULL)
		c->what = HOLD;
	if (c->what == RELEASE_SOME && c->target->n_seats == 1)
		c->what = RELEASE;
	if (c->what == CANCEL_SOME && c->target->n_seats == 1)
		c->what = CANCEL;

	if (c->what == HOLD || c->what == BEST)
		choose_seats(c);
	if (c->what == RELEASE_SOME || c->what == CANCEL_SOME)
		choose_part(c);
	print_seats(seats, sizeof(seats), c->seat, c->n_seats);
	c->by = 1000 * (1 + random_below(500));
	switch (c->what)
	{
		case HOLD:
			snprintf(
				c->sql, sizeof(c->sql),
				"SELECT reservation_id, amount, (extract(epoch FROM expires_at) * 1000000)::bigint,"
				" '' FROM ticket.seat_hold(1, '%s', 'u%d')",
				seats, c->number);
			break;
		case BEST:
			snprintf(
				c->sql, sizeof(c->sql),
				"SELECT reservation_id, amount, (extract(epoch FROM expires_at) * 1000000)::bigint,"
				" seat_ids FROM ticket.seat_hold_best(1, %d, 'u%d', fallback => '%s')",
				c->n_seats, c->number, fallback[random_below(3)]);
			break;
		case EXTEND:
			snprintf(c->sql, sizeof(c->sql),
					 "SELECT (extract(epoch FROM ticket.hold_extend(%" PRId64 ", 'u%d', '%" PRId64
					 " us')) * 1000000)::bigint",
					 c->target->id, c->number, c->by);
			break;
		case RELEASE:
			snprintf(c->sql, sizeof(c->sql), "SELECT ticket.seat_release(%" PRId64 ", 'u%d')",
					 c->target->id, c->number);
			break;
		case RELEASE_SOME:
			snprintf(c->sql, sizeof(c->sql), "SELECT ticket.seat_release(%" PRId64 ", 'u%d', '%s')",
					 c->target->id, c->number, seats);
			break;
		case PAY:
			snprintf(c->sql, sizeof(c->sql),
					 "SELECT amount, balance FROM ticket.pay_reservation(%" PRId64 ", 'u%d')",
					 c->target->id, c->number);
			break;
		case CANCEL:
			snprintf(c->sql, sizeof(c->sql),
					 "SELECT status, balance FROM ticket.reservation_cancel(%" PRId64 ", 'u%d')",
					 c->target->id, c->number);
			break;
		default:
			snprintf(c->sql, sizeof(c->sql),
					 "SELECT status, balance FROM ticket.reservation_cancel(%" PRId64
					 ", 'u%d', '%s')",
					 c->target->id, c->number, seats);
	}
}

/* ---------- what it was told ---------- */

static void
begin_tenures(Reservation *r, int64_t from)
{
	for (int i = 0; i < r->n_seats; i++)
	{
		if (n_tenures % 100000 == 0)
			tenure = realloc(tenure, (n_tenures + 100000) * sizeof(Tenure));
		r->tenure[i] = n_tenures;
		tenure[n_tenures++] = (Tenure){r->seat[i], r->client, r->id, from, r->expires_at};
	}
}

/* Of the reservation's first n seats: given back. */
static void
end_tenures(const Reservation *r, int n, int64_t sent)
{
	for (int i = 0; i < n; i++)
		if (sent < tenure[r->tenure[i]].until)
			tenure[r->tenure[i]].until = sent;
}

static void
lengthen_tenures(const Reservation *r, int64_t until)
{
	for (int i = 0; i < r->n_seats; i++)
		tenure[r->tenure[i]].until = until;
}

static void
drop_seats(Reservation *r, int n, int64_t sent)
{
	end_tenures(r, n, sent);
	r->n_seats -= n;
	memmove(r->seat, r->seat + n, r->n_seats * sizeof(int));
	memmove(r->tenure, r->tenure + n, r->n_seats * sizeof(int));
}

/* Seats that count for the user's limit at that time. */
static int
seats_at(const Client *c, int64_t time)
{
	int n = 0;

	for (int i = 0; i < c->n_reservations; i++)
	{
		const Reservation *r = c->reservation[i];

		if (r->status == PAID || (r->status == HELD && r->expires_at > time))
			n += r->n_seats;
	}
	return n;
}

static int
compare_int(const void *a, const void *b)
{
	return *(const int *) a - *(const int *) b;
}

static void
told_held(Client *c, PGresult *answer, int64_t acked)
{
	Reservation *r = calloc(1, sizeof(Reservation));

	r->id = number_at(answer, 0, 0);
	r->expires_at = number_at(answer, 0, 2);
	r->created_at = r->expires_at - hold_us;
	r->n_seats = c->n_seats;
	memcpy(r->seat, c->seat, sizeof(r->seat));
	if (c->what == BEST)
	{
		r->n_seats = parse_seats(PQgetvalue(answer, 0, 3), r->seat);
		if (r->n_seats != c->n_seats)
			complain("u%d asked for %d seats and got %s", c->number, c->n_seats,
					 PQgetvalue(answer, 0, 3));
		if (strstr(c->sql, "together") &&
			((r->seat[0] - 1) / ROW_SEATS != (r->seat[r->n_seats - 1] - 1) / ROW_SEATS ||
			 r->seat[r->n_seats - 1] - r->seat[0] != r->n_seats - 1))
			complain("u%d got %s, which are not together", c->number, PQgetvalue(answer, 0, 3));
	}
	qsort(r->seat, r->n_seats, sizeof(int), compare_int);
	if (number_at(answer, 0, 1) != amount_of(r))
		complain("reservation %" PRId64 " costs %s", r->id, PQgetvalue(answer, 0, 1));
	if (r->created_at < c->sent || r->created_at > acked)
		complain("reservation %" PRId64 " was made at another time", r->id);
	if (seats_at(c, acked) + r->n_seats > MAX_SEATS)
		complain("u%d has %d seats with reservation %" PRId64, c->number,
				 seats_at(c, acked) + r->n_seats, r->id);
	c->reservation = realloc(c->reservation, (c->n_reservations + 1) * sizeof(Reservation *));
	c->reservation[c->n_reservations++] = r;
	r->client = c->number;
	begin_tenures(r, acked);
	if (r->id > max_id)
		max_id = r->id;
}

/* Told that the hold has ended: it must have. */
static void
told_expired(Client *c, int64_t acked)
{
	if (acked < c->target->expires_at)
		complain("%s of reservation %" PRId64 ": too late %" PRId64 " us before its end",
				 what_name[c->what], c->target->id, c->target->expires_at - acked);
	c->target->status = EXPIRED;
}

static void
told_extended(Client *c, PGresult *answer)
{
	Reservation *r = c->target;
	int64_t end = r->expires_at + c->by;

	if (end > r->created_at + max_hold_us)
		end = r->created_at + max_hold_us;
	if (end < r->expires_at)
		end = r->expires_at;
	r->expires_at = number_at(answer, 0, 0);
	if (r->expires_at != end)
		complain("reservation %" PRId64 " was put off to %" PRId64 ", not %" PRId64, r->id,
				 r->expires_at, end);
	lengthen_tenures(r, end);
}

static void
told_balance(Client *c, PGresult *answer, int64_t change)
{
	c->balance += change;
	if (number_at(answer, 0, 1) != c->balance)
		complain("u%d has %s, not %" PRId64, c->number, PQgetvalue(answer, 0, 1), c->balance);
}

static void
told_success(Client *c, PGresult *answer, int64_t acked)
{
	Reservation *r = c->target;
	bool given_back = strcmp(PQgetvalue(answer, 0, 0), "f") != 0;
	int64_t before;

	n_answers[c->what][0]++;
	if (PQntuples(answer) != 1)
		complain("%s: %d rows", c->sql, PQntuples(answer));
	if ((c->what == RELEASE || c->what == RELEASE_SOME) && !given_back)
	{
		told_expired(c, acked);
		return;
	}
	if (c->what >= EXTEND && c->what <= PAY && c->sent > r->expires_at)
		complain("%s of reservation %" PRId64 " %" PRId64 " us after its end", what_name[c->what],
				 r->id, c->sent - r->expires_at);
	switch (c->what)
	{
		case HOLD:
		case BEST:
			told_held(c, answer, acked);
			break;
		case EXTEND:
			told_extended(c, answer);
			break;
		case RELEASE:
			r->status = RELEASED;
			end_tenures(r, r->n_seats, c->sent);
			break;
		case RELEASE_SOME:
			drop_seats(r, c->n_seats, c->sent);
			break;
		case PAY:
			r->status = PAID;
			told_balance(c, answer, -amount_of(r));
			lengthen_tenures(r, FOREVER);
			break;
		case CANCEL:
			r->status = CANCELLED;
			told_balance(c, answer, amount_of(r));
			end_tenures(r, r->n_seats, c->sent);
			break;
		default:
			before = amount_of(r);
			drop_seats(r, c->n_seats, c->sent);
			told_balance(c, answer, before - amount_of(r));
	}
}

static void
told_failure(Client *c, PGresult *answer, int64_t acked)
{
	const char *state = state_of(answer);
	bool asked = c->what == HOLD || c->what == BEST;

	for (size_t i = 0; i < sizeof(error_state) / sizeof(error_state[0]); i++)
		if (strcmp(state, error_state[i]) == 0)
			n_answers[c->what][i + 1]++;
	if (strcmp(state, "TK007") == 0 && (c->what == EXTEND || c->what == PAY))
		told_expired(c, acked);
	else if (strcmp(state, "TK008") == 0 && asked)
	{
		if (seats_at(c, c->sent) + c->n_seats <= MAX_SEATS)
			complain("u%d has %d seats and may not have %d more", c->number, seats_at(c, c->sent),
					 c->n_seats);
	}
	else if (!(strcmp(state, "TK006") == 0 && asked) &&
			 !(strcmp(state, "TK020") == 0 && c->what == BEST))
		complain("%s: %s", c->sql, PQresultErrorMessage(answer));
}

/* ---------- going on ---------- */

static void
send_step(Client *c, int step)
{
	char sql[200];

	c->step = step;
	c->busy = true;
	if (step == 1)
	{
		c->sent = now_us();
		send_or_fail(c->conn, c->sql);
		return;
	}
	/* The first question takes the snapshot. */
	snprintf(sql, sizeof(sql), "BEGIN ISOLATION LEVEL %s; SELECT count(*) FROM ticket.performance",
			 isolation);
	send_or_fail(c->conn, step == 0 ? sql : step == 2 ? "COMMIT" : "ROLLBACK");
}

static void
next_call(Client *c)
{
	choose_what(c);
	c->n_retries = 0;
	send_step(c, isolation ? 0 : 1);
}

static bool
is_retry(PGresult *result)
{
	return strcmp(state_of(result), "40001") == 0;
}

/* An answer has come.  False: the client has done what it set out to do. */
static bool
go_on(Client *c, PGresult *result)
{
	int64_t acked = now_us();
	bool failed = PQresultStatus(result) == PGRES_FATAL_ERROR;
	bool done = false;

	c->busy = false;
	if (PQstatus(c->conn) != CONNECTION_OK)
		fail("lost", c->conn);
	if (c->step == 0)
		send_step(c, 1);
	else if (c->step == 1 && !isolation)
	{
		(failed ? told_failure : told_success)(c, result, acked);
		done = true;
	}
	else if (c->step == 1)
	{
		c->answer = result;
		send_step(c, failed ? 3 : 2);
		return true;
	}
	else
	{
		bool retry = is_retry(result) || is_retry(c->answer);

		if (retry)
			n_answers[c->what][5]++;
		else if (failed)
			complain("%s: %s", c->step == 2 ? "COMMIT" : "ROLLBACK", PQresultErrorMessage(result));
		else
			(c->step == 3 ? told_failure : told_success)(c, c->answer, acked);
		PQclear(c->answer);
		if (retry)
		{
			c->wait_until = acked + random_below(RETRY_US << c->n_retries);
			c->n_retries += c->n_retries < MAX_DOUBLINGS;
		}
		done = !retry;
	}
	PQclear(result);
	return !done;
}

/* ---------- the end ---------- */

static int
compare_tenures(const void *a, const void *b)
{
	const Tenure *x = a;
	const Tenure *y = b;

	if (x->seat != y->seat)
		return x->seat - y->seat;
	return x->from < y->from ? -1 : x->from > y->from;
}

static void
check_tenures(void)
{
	const Tenure *last = NULL; /* of those before, the one that ends last */

	qsort(tenure, n_tenures, sizeof(Tenure), compare_tenures);
	for (int i = 0; i < n_tenures; i++)
	{
		const Tenure *t = &tenure[i];

		if (t->until <= t->from)
			continue;
		if (last && last->seat == t->seat && last->until > t->from)
			complain("seat %d is of reservation %" PRId64 " (u%d) and %" PRId64 " (u%d) at once",
					 t->seat, last->reservation, last->client, t->reservation, t->client);
		if (last == NULL || last->seat != t->seat || last->until < t->until)
			last = t;
	}
}

static void
index_reservations(void)
{
	by_id = calloc(max_id + 1, sizeof(Reservation *));
	for (int i = 0; i < n_clients; i++)
		for (int j = 0; j < client[i].n_reservations; j++)
			by_id[client[i].reservation[j]->id] = client[i].reservation[j];
}

static const Reservation *
find_reservation(int64_t id)
{
	return id > max_id ? NULL : by_id[id];
}

static const char *
expected_status(const Reservation *r, int64_t now, const char *status)
{
	switch (r->status)
	{
		case HELD:
		case EXPIRED:
			/* Over: tidied or not yet. */
			return r->expires_at > now || strcmp(status, "held") == 0 ? "held" : "expired";
		case PAID:
			return "paid";
		case RELEASED:
			return "released";
		default:
			return "cancelled";
	}
}

static void
check_reservations(PGconn *conn)
{
	PGresult *now = ask(conn, "SELECT (extract(epoch FROM ticket.clock()) * 1000000)::bigint");
	PGresult *rows =
		ask(conn, "SELECT reservation_id, user_id, status, seat_ids, amount,"
				  " (extract(epoch FROM expires_at) * 1000000)::bigint FROM ticket.reservation");
	int n_known = 0;

	for (int i = 0; i < n_clients; i++)
		n_known += client[i].n_reservations;
	if (n_known != PQntuples(rows))
		complain("the clients know of %d reservations, the table of %d", n_known, PQntuples(rows));
	for (int i = 0; i < PQntuples(rows); i++)
	{
		const Reservation *r = find_reservation(number_at(rows, i, 0));
		const char *status = PQgetvalue(rows, i, 2);
		char seats[100];

		if (r == NULL)
		{
			complain("nobody knows of reservation %s", PQgetvalue(rows, i, 0));
			continue;
		}
		print_seats(seats, sizeof(seats), r->seat, r->n_seats);
		if (atoi(PQgetvalue(rows, i, 1) + 1) != r->client ||
			strcmp(PQgetvalue(rows, i, 3), seats) != 0 || number_at(rows, i, 4) != amount_of(r) ||
			number_at(rows, i, 5) != r->expires_at ||
			strcmp(status, expected_status(r, number_at(now, 0, 0), status)) != 0)
			complain("reservation %" PRId64
					 " is %s %s %s for %s until %s; u%d knows it as %s %s for"
					 " %" PRId64 " until %" PRId64,
					 r->id, PQgetvalue(rows, i, 1), status, PQgetvalue(rows, i, 3),
					 PQgetvalue(rows, i, 4), PQgetvalue(rows, i, 5), r->client,
					 expected_status(r, number_at(now, 0, 0), status), seats, amount_of(r),
					 r->expires_at);
	}
	PQclear(rows);
	PQclear(now);
}

static void
check_seats(PGconn *conn)
{
	PGresult *rows =
		ask(conn, "SELECT seat_id, status, reservation_id FROM ticket.seat ORDER BY seat_id");
	int n_sold = 0;
	int n_paid = 0;

	for (int i = 0; i < PQntuples(rows); i++)
	{
		const Reservation *r = find_reservation(number_at(rows, i, 2));
		bool sold = strcmp(PQgetvalue(rows, i, 1), "sold") == 0;
		bool of_it = false;

		n_sold += sold;
		if (strcmp(PQgetvalue(rows, i, 1), "free") == 0)
			continue;
		for (int j = 0; r && j < r->n_seats; j++)
			of_it |= r->seat[j] == i + 1;
		if (!of_it || sold != (r->status == PAID) || r->status > PAID)
			complain("seat %d is %s for reservation %s", i + 1, PQgetvalue(rows, i, 1),
					 PQgetvalue(rows, i, 2));
	}
	for (int i = 0; i < n_clients; i++)
		for (int j = 0; j < client[i].n_reservations; j++)
			if (client[i].reservation[j]->status == PAID)
				n_paid += client[i].reservation[j]->n_seats;
	if (n_sold != n_paid || PQntuples(rows) != N_SEATS)
		complain("%d of %d seats are sold, the clients have paid %d", n_sold, PQntuples(rows),
				 n_paid);
	PQclear(rows);
}

static void
check_balances(PGconn *conn)
{
	for (int i = 0; i < n_clients; i++)
	{
		char sql[100];
		PGresult *row;

		snprintf(sql, sizeof(sql), "SELECT ticket.point_balance('u%d')", i + 1);
		row = ask(conn, sql);
		if (number_at(row, 0, 0) != client[i].balance)
			complain("u%d has %s, not %" PRId64, i + 1, PQgetvalue(row, 0, 0), client[i].balance);
		PQclear(row);
	}
}

/* ---------- those who look on ---------- */

#define VERIFY \
	"SELECT count(*), string_agg(invariant || ': ' || detail, '; ') FROM ticket.verify() WHERE NOT ok"

static void
check_verify(PGresult *result)
{
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		complain("verify: %s", PQresultErrorMessage(result));
	else if (strcmp(PQgetvalue(result, 0, 0), "0") != 0)
		complain("verify: %s", PQgetvalue(result, 0, 1));
}

static void
print_answers(void)
{
	for (int what = 0; what < N_WHATS; what++)
	{
		printf("%s: %" PRId64 " done", what_name[what], n_answers[what][0]);
		for (size_t i = 0; i < sizeof(error_state) / sizeof(error_state[0]); i++)
			if (n_answers[what][i + 1] > 0)
				printf(", %" PRId64 " %s", n_answers[what][i + 1], error_state[i]);
		printf("\n");
	}
}

static int
run_model(int seconds)
{
	struct pollfd *polled = calloc(n_clients + 2, sizeof(struct pollfd));
	PGconn *verifier = connect_or_fail();
	PGconn *runner = connect_or_fail();
	int64_t end = now_us() + (int64_t) seconds * 1000000;
	int n_verified = 0;
	int n_busy = 0;
	char sql[100];

	snprintf(sql, sizeof(sql), "CALL ticket.run('%d seconds')", seconds);
	send_or_fail(runner, sql);
	send_or_fail(verifier, VERIFY);
	for (int i = 0; i < n_clients; i++, n_busy++)
		next_call(&client[i]);
	while (n_busy > 0)
	{
		PGresult *result;

		bool waiting = false;

		for (int i = 0; i < n_clients; i++)
		{
			if (client[i].wait_until != 0 && client[i].wait_until <= now_us())
			{
				client[i].wait_until = 0;
				send_step(&client[i], 0);
			}
			waiting |= client[i].wait_until != 0;
			polled[i] = (struct pollfd){PQsocket(client[i].conn), client[i].busy ? POLLIN : 0, 0};
		}
		polled[n_clients] = (struct pollfd){PQsocket(verifier), POLLIN, 0};
		if (poll(polled, n_clients + 1, waiting ? 1 : 30000) == 0 && !waiting)
		{
			complain("%d calls are not answered", n_busy);
			break;
		}
		for (int i = 0; i < n_clients; i++)
		{
			if (!polled[i].revents || (result = receive(client[i].conn)) == NULL)
				continue;
			if (go_on(&client[i], result))
				continue;
			if (now_us() < end)
				next_call(&client[i]);
			else
				n_busy--;
		}
		if (polled[n_clients].revents && (result = receive(verifier)) != NULL)
		{
			check_verify(result);
			PQclear(result);
			n_verified++;
			send_or_fail(verifier, VERIFY);
		}
	}
	while (PQgetResult(verifier))
		;
	while (PQgetResult(runner))
		;

	index_reservations();
	check_reservations(verifier);
	check_seats(verifier);
	check_balances(verifier);
	check_tenures();
	check_verify(ask(verifier, VERIFY));
	print_answers();
	printf("verified %d times while it ran\n%d wrong\n", n_verified, n_complaints);
	return n_complaints > 0;
}

/* ---------- until they are gone ---------- */

typedef struct Count
{
	int sent;
	int won;
	int refused; /* TK006 */
	int apart; /* TK020 */
	int otherwise;
} Count;

static void
count_answer(Count *count, PGresult *result)
{
	if (PQresultStatus(result) == PGRES_TUPLES_OK)
		count->won++;
	else if (strcmp(state_of(result), "TK006") == 0)
		count->refused++;
	else if (strcmp(state_of(result), "TK020") == 0)
		count->apart++;
	else if (count->otherwise++ == 0)
		printf("%s", PQresultErrorMessage(result));
}

/* For one seat so many calls in all; for the best ones until each is refused. */
static int
run_rush(bool best, int number)
{
	struct pollfd *polled = calloc(n_clients, sizeof(struct pollfd));
	bool *over = calloc(n_clients, sizeof(bool));
	Count count = {0};
	int n_busy = 0;

	for (;;)
	{
		for (int i = 0; i < n_clients; i++)
		{
			if (!client[i].busy && (best ? !over[i] : count.sent < number))
			{
				char sql[100];

				snprintf(sql, sizeof(sql),
						 best ? "SELECT * FROM ticket.seat_hold_best(1, %2$d, 'r%1$d')" :
								"SELECT * FROM ticket.seat_hold(1, '{7}', 'r%d')",
						 ++count.sent, number);
				send_or_fail(client[i].conn, sql);
				client[i].busy = true;
				n_busy++;
			}
			polled[i] = (struct pollfd){PQsocket(client[i].conn), client[i].busy ? POLLIN : 0, 0};
		}
		if (n_busy == 0 || poll(polled, n_clients, 30000) == 0)
			break;
		for (int i = 0; i < n_clients; i++)
		{
			PGresult *result;

			if (!polled[i].revents || (result = receive(client[i].conn)) == NULL)
				continue;
			count_answer(&count, result);
			over[i] = PQresultStatus(result) != PGRES_TUPLES_OK;
			PQclear(result);
			client[i].busy = false;
			n_busy--;
		}
	}
	printf("%d won, %d refused, %d apart, %d otherwise, %d unanswered\n", count.won, count.refused,
		   count.apart, count.otherwise, n_busy);
	return count.otherwise > 0 || n_busy > 0;
}

int
main(int argc, char **argv)
{
	bool model = argc == 6 && strcmp(argv[1], "model") == 0;

	bool best = argc == 4 && strcmp(argv[1], "best") == 0;
	PGresult *row;

	if (!(model || best || (argc == 4 && strcmp(argv[1], "rush") == 0)) || atoi(argv[2]) < 1 ||
		atoi(argv[2]) > MAX_CLIENTS || atoi(argv[3]) < 1)
	{
		fputs("usage: crowd rush CLIENTS REQUESTS\n"
			  "       crowd best CLIENTS SEATS\n"
			  "       crowd model CLIENTS SECONDS ISOLATION SEED\n",
			  stderr);
		return 2;
	}
	n_clients = atoi(argv[2]);
	client = calloc(n_clients, sizeof(Client));
	for (int i = 0; i < n_clients; i++)
	{
		client[i].number = i + 1;
		client[i].conn = connect_or_fail();
	}
	if (!model)
		return run_rush(best, atoi(argv[3]));

	isolation = strcmp(argv[4], "autocommit") == 0 ? NULL : argv[4];
	random_state = strtoull(argv[5], NULL, 10);
	row = ask(client[0].conn,
			  "SELECT (extract(epoch FROM hold_interval) * 1000000)::bigint,"
			  " (extract(epoch FROM max_hold) * 1000000)::bigint FROM ticket.performance");
	hold_us = number_at(row, 0, 0);
	max_hold_us = number_at(row, 0, 1);
	PQclear(row);
	for (int i = 0; i < n_clients; i++)
	{
		char sql[100];

		snprintf(sql, sizeof(sql), "SELECT ticket.point_balance('u%d')", i + 1);
		row = ask(client[i].conn, sql);
		client[i].balance = number_at(row, 0, 0);
		PQclear(row);
	}
	return run_model(atoi(argv[3]));
}
