/*
 * fan.c
 *		What a fan does next, and what he makes of an answer.
 *
 * He gets in line, asks for his place when told to, looks for seats once
 * admitted, holds some, thinks, pays.  A few give up, walk away, let go of
 * their seats or cancel what they paid, so that seats come back on sale.
 * Nothing here waits or talks to a connection.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rush.h"

/* One fan in a hundred does it, times ... */
#define PCT_IMPATIENT 2 /* gives up waiting; every second silently */
#define PCT_RELEASES 3 /* lets go of the seats he holds */
#define PCT_WALKS_AWAY 2 /* leaves his hold to end by itself */
#define PCT_CANCELS 3 /* cancels soon after paying */
#define PCT_CLICKS_TWICE 1 /* pays again at once */
#define PCT_EARLY 75 /* comes in the first, steep wave */

#define WAVE (12 * SEC) /* the first wave; half of it in 3 s */
#define STRAGGLERS (25 * SEC) /* the others come evenly over this */
#define MAX_LOOKS 8 /* times he looks for seats in vain */
#define FAREWELL (2 * SEC) /* sold out: all leave within this */

const char *const call_names[NCALLS] = {
	[CALL_ENQUEUE] = "ticket_enqueue",
	[CALL_STATUS] = "ticket_status",
	[CALL_LEAVE] = "ticket_leave",
	[CALL_SECTIONS] = "sections",
	[CALL_MAP] = "seat_map",
	[CALL_HOLD] = "seat_hold",
	[CALL_RELEASE] = "seat_release",
	[CALL_PAY] = "pay_reservation",
	[CALL_CANCEL] = "reservation_cancel",
};

const char *const call_sql[NCALLS] = {
	[CALL_ENQUEUE] = "SELECT token, status, (extract(epoch FROM poll_after) * 1000)::bigint"
					 " FROM ticket.ticket_enqueue($1::bigint, $2::text)",
	[CALL_STATUS] = "SELECT token, status, (extract(epoch FROM poll_after) * 1000)::bigint"
					" FROM ticket.ticket_status($1::uuid)",
	[CALL_LEAVE] = "SELECT ticket.ticket_leave($1::uuid)",
	[CALL_SECTIONS] = "SELECT section_id, available FROM ticket.sections($1::bigint)",
	[CALL_MAP] = "SELECT first_seat_id, map FROM ticket.seat_map($1::bigint, $2)",
	[CALL_HOLD] = "SELECT reservation_id, amount"
				  " FROM ticket.seat_hold($1::bigint, $2::int[], $3::text, $4::uuid)",
	[CALL_RELEASE] = "SELECT ticket.seat_release($1::bigint, $2::text)",
	[CALL_PAY] = "SELECT payment_id, amount"
				 " FROM ticket.pay_reservation($1::bigint, $2::text, $3::text)",
	[CALL_CANCEL] = "SELECT ticket.reservation_cancel($1::bigint, $2::text)",
};

Fan *fans;
Acknowledged acknowledged;
int fans_about;
int cancels_planned;

static int64_t outcomes[NOUTCOMES];
static bool sold_out;
static uint64_t random_state;

/* xorshift64*: 0 <= result < 1 */
static double
random_fraction(void)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (double) ((random_state * UINT64_C(0x2545F4914F6CDD1D)) >> 11) /
		   (double) (UINT64_C(1) << 53);
}

static bool
chance(double percent)
{
	return random_fraction() * 100 < percent;
}

static int64_t
between(int64_t least, int64_t most)
{
	return least + (int64_t) (random_fraction() * (double) (most - least));
}

/* A time to think, or to walk from one click to the next, at the pace asked for. */
static int64_t
think(int64_t least, int64_t most)
{
	return between(least, most) / options.pace;
}

/* What he does next, and when. */
static void
go(Fan *fan, Call next, int64_t due)
{
	fan->next = (uint8_t) next;
	agenda_plan(fan, due);
}

static void
finish(Fan *fan, Outcome outcome)
{
	fan->outcome = (uint8_t) outcome;
	fan->due = -1;
	outcomes[outcome]++;
	fans_about--;
}

/* Says good-bye first; the outcome counts once that is answered. */
static void
leave(Fan *fan, Outcome outcome, int64_t due)
{
	fan->outcome = (uint8_t) outcome;
	go(fan, CALL_LEAVE, due);
}

void
fans_create(int64_t now)
{
	random_state = options.seed * UINT64_C(0x9E3779B97F4A7C15) | 1;
	fans = calloc((size_t) options.fans, sizeof(Fan));
	if (fans == NULL)
		die("out of memory");
	agenda_create(options.fans * 2);
	fans_about = options.fans;

	for (int i = 0; i < options.fans; i++)
	{
		Fan *fan = &fans[i];
		double when = random_fraction();
		double party = random_fraction();

		fan->want = party < 0.20 ? 1 : party < 0.70 ? 2 : party < 0.85 ? 3 : 4;
		if (chance(PCT_IMPATIENT))
			fan->patience = (uint8_t) between(1, 4);
		if (chance(PCT_EARLY))
			go(fan, CALL_ENQUEUE, now + (int64_t) (when * when * WAVE) / options.pace);
		else
			go(fan, CALL_ENQUEUE, now + (int64_t) (when * STRAGGLERS) / options.pace);
	}
}

int64_t
fans_with_outcome(Outcome outcome)
{
	return outcomes[outcome];
}

/*
 * The last seat is sold.  Whoever waits or looks for seats is told so and
 * leaves; whoever has not come yet stays at home.
 */
void
fans_sold_out(int64_t now)
{
	sold_out = true;
	for (int i = 0; i < options.fans; i++)
	{
		Fan *fan = &fans[i];

		if (fan->outcome != OUT_NONE || fan->calling)
			continue;
		if (fan->next == CALL_ENQUEUE)
			finish(fan, OUT_SOLD_OUT);
		else if (fan->next == CALL_STATUS)
			leave(fan, OUT_SOLD_OUT, now + think(0, FAREWELL));
		else if (fan->next == CALL_SECTIONS || fan->next == CALL_MAP || fan->next == CALL_HOLD)
			leave(fan, OUT_EMPTY_HANDED, now + think(0, FAREWELL));
	}
}

/* Writes one argument; a longer one than we have room for is our mistake. */
static void put(char *arg, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void
put(char *arg, const char *fmt, ...)
{
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(arg, ARG_SIZE, fmt, ap);
	va_end(ap);
	if (len >= ARG_SIZE)
		die("argument too long: %s", arg);
}

static void
put_user(char *arg, const Fan *fan)
{
	put(arg, "fan-%d", (int) (fan - fans) + 1);
}

static void
put_seats(char *arg, const Fan *fan)
{
	int len = 0;

	for (int i = 0; i < fan->nseats; i++)
		len += snprintf(arg + len, (size_t) (ARG_SIZE - len), "%c%d", i == 0 ? '{' : ',',
						fan->seats[i]);
	snprintf(arg + len, (size_t) (ARG_SIZE - len), "}");
}

/* Fills in the arguments of the call he is about to make; how many. */
int
fan_arguments(const Fan *fan, char args[MAX_ARGS][ARG_SIZE])
{
	switch ((Call) fan->next)
	{
		case CALL_ENQUEUE:
			put(args[0], "%lld", (long long) options.queue_id);
			put_user(args[1], fan);
			return 2;
		case CALL_STATUS:
		case CALL_LEAVE:
			put(args[0], "%s", fan->token);
			return 1;
		case CALL_SECTIONS:
			put(args[0], "%lld", (long long) options.performance_id);
			return 1;
		case CALL_MAP:
			put(args[0], "%lld", (long long) options.performance_id);
			put(args[1], "%d", fan->section);
			return 2;
		case CALL_HOLD:
			put(args[0], "%lld", (long long) options.performance_id);
			put_seats(args[1], fan);
			put_user(args[2], fan);
			put(args[3], "%s", fan->token);
			return 4;
		case CALL_RELEASE:
		case CALL_CANCEL:
			put(args[0], "%lld", (long long) fan->reservation);
			put_user(args[1], fan);
			return 2;
		case CALL_PAY:
			put(args[0], "%lld", (long long) fan->reservation);
			put_user(args[1], fan);
			put(args[2], "pay-%lld", (long long) fan->reservation);
			return 3;
		case NCALLS:
			break;
	}
	die("no such call: %d", fan->next);
}

static int64_t
number_at(const PGresult *res, int row, int column)
{
	return strtoll(PQgetvalue(res, row, column), NULL, 10);
}

/* ticket_enqueue, ticket_status: wait on, or into the shop. */
static void
in_line(Fan *fan, const PGresult *res, int64_t now)
{
	const char *status = PQgetvalue(res, 0, 1);
	int64_t poll_after = number_at(res, 0, 2) * MSEC;

	if (fan->came == 0)
		fan->came = now;
	snprintf(fan->token, sizeof(fan->token), "%s", PQgetvalue(res, 0, 0));

	if (strcmp(status, "active") == 0)
	{
		fan->in_shop = true;
		measure_admission(now - fan->came);
		if (sold_out)
			leave(fan, OUT_EMPTY_HANDED, now);
		else
			go(fan, CALL_SECTIONS, now + think(200 * MSEC, 1200 * MSEC));
	}
	else if (strcmp(status, "waiting") != 0)
		finish(fan, OUT_TOO_SLOW);
	else if (sold_out)
		leave(fan, OUT_SOLD_OUT, now + think(0, FAREWELL));
	else if (fan->patience > 0 && --fan->patience == 0)
	{
		if (chance(50))
			leave(fan, OUT_LEFT, now + poll_after / 2);
		else
			finish(fan, OUT_SILENT);
	}
	else
	{
		/* a little late rather than early: browsers do not all tick at once */
		if (poll_after <= 0)
			poll_after = SEC;
		go(fan, CALL_STATUS, now + poll_after + between(0, poll_after / 10));
	}
}

/* Nothing to pick from, or lost a race: look again, but not for ever. */
static void
look_again(Fan *fan, Call where, int64_t due)
{
	if (sold_out || ++fan->looks > MAX_LOOKS)
		leave(fan, OUT_EMPTY_HANDED, due);
	else
		go(fan, where, due);
}

/* Half want the best section that has room; the others any with free seats. */
static void
choose_section(Fan *fan, const PGresult *res, int64_t now)
{
	int rows = PQntuples(res);
	int64_t free_seats = 0;
	int64_t nth;
	bool best = chance(50);

	for (int i = 0; i < rows; i++)
	{
		free_seats += number_at(res, i, 1);
		if (best && number_at(res, i, 1) >= fan->want)
		{
			fan->section = (int) number_at(res, i, 0);
			go(fan, CALL_MAP, now + think(200 * MSEC, 800 * MSEC));
			return;
		}
	}
	if (free_seats == 0)
	{
		look_again(fan, CALL_SECTIONS, now + think(1 * SEC, 3 * SEC));
		return;
	}

	nth = between(0, free_seats);
	for (int i = 0; i < rows; i++)
	{
		nth -= number_at(res, i, 1);
		if (nth < 0)
		{
			fan->section = (int) number_at(res, i, 0);
			break;
		}
	}
	go(fan, CALL_MAP, now + think(200 * MSEC, 800 * MSEC));
}

typedef struct FreeSeat
{
	int seat;
	int row;
} FreeSeat;

/* The free seats of the section that was drawn, in order; how many. */
static int
free_seats(const PGresult *res, FreeSeat *seats)
{
	int seat = (int) number_at(res, 0, 0);
	int row = 1;
	int n = 0;

	for (const char *c = PQgetvalue(res, 0, 1); *c; c++)
	{
		if (*c == '\n')
			row++;
		else if (*c != ' ') /* a gap has no number */
		{
			if (*c == '.')
				seats[n++] = (FreeSeat){seat, row};
			seat++;
		}
	}
	return n;
}

/* Are `count` of them from the first one side by side? */
static bool
side_by_side(const FreeSeat *seats, int count)
{
	/* seats are numbered along the rows, and come in that order */
	return seats[count - 1].seat - seats[0].seat == count - 1 &&
		   seats[count - 1].row == seats[0].row;
}

/* As near the front as a few random steps make it; adjacent if possible. */
static void
choose_seats(Fan *fan, const PGresult *res, int64_t now)
{
	FreeSeat *seats = malloc((size_t) PQgetlength(res, 0, 1) * sizeof(FreeSeat) + 1);
	int n = seats ? free_seats(res, seats) : 0;
	int want = fan->want < n ? fan->want : n;
	double far = random_fraction();
	int first = (int) (far * far * (n - want + 1));

	if (seats == NULL)
		die("no memory for a map");
	for (int i = 0; i < n; i++)
	{
		int at = (first + i) % n;

		if (at + want <= n && side_by_side(&seats[at], want))
		{
			first = at;
			break;
		}
	}
	for (int i = 0; i < want; i++)
		fan->seats[i] = seats[first + i].seat;
	fan->nseats = (uint8_t) want;
	free(seats);
	if (n == 0)
		look_again(fan, CALL_SECTIONS, now + think(300 * MSEC, 1 * SEC));
	else
		go(fan, CALL_HOLD, now + think(300 * MSEC, 1500 * MSEC));
}

static void
got_hold(Fan *fan, const PGresult *res, int64_t now)
{
	fan->reservation = number_at(res, 0, 0);
	fan->amount = number_at(res, 0, 1);

	if (chance(PCT_WALKS_AWAY))
		finish(fan, OUT_WALKED_AWAY);
	else if (chance(PCT_RELEASES))
	{
		fan->outcome = OUT_RELEASED;
		go(fan, CALL_RELEASE, now + think(1 * SEC, 4 * SEC));
	}
	else
		go(fan, CALL_PAY, now + think(1 * SEC, 4 * SEC));
}

static void
got_payment(Fan *fan, const PGresult *res, int64_t now)
{
	int64_t payment = number_at(res, 0, 0);
	int64_t amount = number_at(res, 0, 1);

	if (amount != fan->amount || (fan->payment != 0 && fan->payment != payment))
		die("fan-%d: reservation %lld held for %lld, paid by %lld, then by %lld"
			" for %lld",
			(int) (fan - fans) + 1, (long long) fan->reservation, (long long) fan->amount,
			(long long) fan->payment, (long long) payment, (long long) amount);

	if (fan->payment == 0)
	{
		fan->payment = payment;
		acknowledged.payments++;
		acknowledged.points_paid += amount;
		acknowledged.seats_paid += fan->nseats;
		acknowledged.last_payment_at = now;
		if (chance(PCT_CLICKS_TWICE))
		{
			go(fan, CALL_PAY, now);
			return;
		}
	}

	if (chance(PCT_CANCELS))
	{
		cancels_planned++;
		go(fan, CALL_CANCEL, now + think(500 * MSEC, 2 * SEC));
	}
	else
		finish(fan, OUT_BOUGHT);
}

static void
got_refund(Fan *fan)
{
	cancels_planned--;
	acknowledged.cancels++;
	acknowledged.points_refunded += fan->amount;
	acknowledged.seats_cancelled += fan->nseats;
	finish(fan, OUT_CANCELLED);
}

/* An error he may meet; what he does about it. */
static void
refused(Fan *fan, const char *sqlstate, int64_t now)
{
	Call call = (Call) fan->next;

	if (strcmp(sqlstate, "TK018") == 0 || strcmp(sqlstate, "40001") == 0)
		go(fan, call, now + think(50 * MSEC, 200 * MSEC));
	else if (call == CALL_LEAVE)
		finish(fan, (Outcome) fan->outcome);
	else if (call == CALL_RELEASE)
		leave(fan, (Outcome) fan->outcome, now);
	else if (call == CALL_CANCEL)
	{
		cancels_planned--;
		finish(fan, OUT_BOUGHT);
	}
	else if (strcmp(sqlstate, "TK006") == 0)
		look_again(fan, CALL_MAP, now + think(200 * MSEC, 800 * MSEC));
	else if (strcmp(sqlstate, "TK007") == 0)
		look_again(fan, CALL_SECTIONS, now + think(200 * MSEC, 800 * MSEC));
	else if (strcmp(sqlstate, "TK010") == 0)
	{
		fan->outcome = OUT_SHORT;
		go(fan, CALL_RELEASE, now + think(500 * MSEC, 1 * SEC));
	}
	else if (strcmp(sqlstate, "TK001") == 0 || strcmp(sqlstate, "TK002") == 0)
		finish(fan, OUT_TOO_SLOW);
	else
		finish(fan, OUT_TURNED_AWAY);
}

/* The answer to the call he made: decides what comes next. */
void
fan_answered(Fan *fan, const PGresult *res, int64_t now)
{
	Call call = (Call) fan->next;

	if (PQresultStatus(res) != PGRES_TUPLES_OK)
	{
		const char *sqlstate = PQresultErrorField(res, PG_DIAG_SQLSTATE);

		refused(fan, sqlstate ? sqlstate : "", now);
		return;
	}
	if (PQntuples(res) == 0 && call != CALL_SECTIONS)
		die("%s answered with no row", call_names[call]);

	switch (call)
	{
		case CALL_ENQUEUE:
		case CALL_STATUS:
			in_line(fan, res, now);
			break;
		case CALL_LEAVE:
			finish(fan, (Outcome) fan->outcome);
			break;
		case CALL_SECTIONS:
			choose_section(fan, res, now);
			break;
		case CALL_MAP:
			choose_seats(fan, res, now);
			break;
		case CALL_HOLD:
			got_hold(fan, res, now);
			break;
		case CALL_RELEASE:
			leave(fan, (Outcome) fan->outcome, now);
			break;
		case CALL_PAY:
			got_payment(fan, res, now);
			break;
		case CALL_CANCEL:
			got_refund(fan);
			break;
		case NCALLS:
			break;
	}
}
