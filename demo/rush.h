/*
 * rush.h
 *		What the parts of the load generator share.
 *
 * rush.c     connections, the event loop, the end of the sale
 * fan.c      what one fan does next, and what he makes of an answer
 * agenda.c   who is due when (a timer heap)
 * measure.c  times, errors, samples; the progress line and the summary
 */
#ifndef RUSH_H
#define RUSH_H

#include <stdbool.h>
#include <stdint.h>

#include <libpq-fe.h>

#define MAX_WANT 4 /* most seats one fan buys */
#define MAX_ARGS 4 /* most arguments of one call */
#define ARG_SIZE 64 /* longest argument, as text */
#define TOKEN_SIZE 37 /* a uuid as text, with its NUL */

#define MSEC INT64_C(1000)
#define SEC INT64_C(1000000)

/* The functions a fan calls; fan.c has name and SQL of each. */
typedef enum Call
{
	CALL_ENQUEUE,
	CALL_STATUS,
	CALL_LEAVE,
	CALL_SECTIONS,
	CALL_MAP,
	CALL_HOLD,
	CALL_RELEASE,
	CALL_PAY,
	CALL_CANCEL,
	NCALLS
} Call;

/* How it ended for a fan. */
typedef enum Outcome
{
	OUT_NONE, /* still about */
	OUT_BOUGHT,
	OUT_CANCELLED, /* paid, then gave the seats back */
	OUT_RELEASED, /* held seats and let them go */
	OUT_SHORT, /* had too few points */
	OUT_WALKED_AWAY, /* held seats and was not heard of again */
	OUT_EMPTY_HANDED, /* in the shop, found nothing left */
	OUT_LEFT, /* gave up waiting and said so */
	OUT_SILENT, /* gave up waiting without a word */
	OUT_TOO_SLOW, /* his turn was over before he had paid */
	OUT_SOLD_OUT, /* still waiting when the last seat went */
	OUT_TURNED_AWAY, /* refused: queue full or closed, ... */
	NOUTCOMES
} Outcome;

typedef struct Fan
{
	int64_t due; /* when he acts next; -1: nothing planned */
	int64_t came; /* when he got in line */
	int64_t reservation;
	int64_t payment;
	int64_t amount; /* points of the reservation */
	int section;
	int seats[MAX_WANT];
	char token[TOKEN_SIZE];
	uint8_t next; /* Call he makes when due, or is making */
	uint8_t outcome; /* Outcome; set before a last LEAVE, too */
	uint8_t want; /* seats he would like */
	uint8_t nseats; /* seats he picked */
	uint8_t looks; /* times he looked for seats so far */
	uint8_t patience; /* polls until he gives up; 0: never */
	bool in_shop; /* admitted */
	bool calling; /* a call of his is under way */
} Fan;

/* Command line. */
typedef struct Options
{
	const char *fans_conninfo; /* the shop's role */
	const char *monitor_conninfo; /* may read tables */
	int fans;
	int clients;
	int64_t queue_id;
	int64_t performance_id;
	int limit_s; /* give up after so many seconds */
	uint64_t seed;
	int pace; /* times as fast as people are */
	const char *csv_path;
} Options;

/* What the database says, by the sampling query. */
typedef struct Sample
{
	int64_t waiting;
	int64_t active;
	int64_t held;
	int64_t sold;
	int64_t seats;
} Sample;

/* What the fans were told: to be compared with the tables at the end. */
typedef struct Acknowledged
{
	int64_t seats_paid;
	int64_t seats_cancelled;
	int64_t points_paid;
	int64_t points_refunded;
	int64_t payments;
	int64_t cancels;
	int64_t last_payment_at;
} Acknowledged;

/* rush.c */
extern Options options;
extern int64_t clock_now(void);

/* fan.c */
extern const char *const call_names[NCALLS];
extern const char *const call_sql[NCALLS];
extern Fan *fans;
extern Acknowledged acknowledged;
extern int fans_about; /* fans without an outcome, or leaving */
extern int cancels_planned; /* fans who paid and are about to cancel */
extern void fans_create(int64_t now);
extern int fan_arguments(const Fan *fan, char args[MAX_ARGS][ARG_SIZE]);
extern void fan_answered(Fan *fan, const PGresult *res, int64_t now);
extern void fans_sold_out(int64_t now);
extern int64_t fans_with_outcome(Outcome outcome);

/* agenda.c */
extern void agenda_create(int capacity);
extern void agenda_plan(Fan *fan, int64_t due);
extern Fan *agenda_peek(void);
extern Fan *agenda_take(void);

/* measure.c */
extern int64_t total_calls;
extern bool unexpected_error;
extern void measure_start(int64_t now);
extern void measure_call(Call call, int64_t usec);
extern void measure_error(Call call, const PGresult *res);
extern void measure_admission(int64_t usec);
extern void error_name_add(const char *sqlstate, const char *name);
extern void samples_open(const char *path);
extern void sample_add(const Sample *sample, int64_t now);
extern void samples_close(void);
extern void progress_show(const Sample *sample, int64_t now);
extern void progress_end(void);
extern void summary_print(const Sample *sample, int64_t ended);

/* For mistakes no fan could make: say so and stop. */
extern void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

#endif /* RUSH_H */
