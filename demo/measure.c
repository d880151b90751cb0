/*
 * measure.c
 *		Times and errors of the calls, samples over time; prints both.
 *
 * Times go into histograms of log-linear buckets: 32 to each power of two,
 * so a percentile is off by 3 % at most.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rush.h"

#define SUB_BITS 5
#define SUB_BUCKETS (1 << SUB_BITS)
#define OCTAVES 36 /* up to 2^40 us */
#define MAX_ERRORS 64
#define MAX_NAMES 64
#define NAME_SIZE 48
#define SHOWN_ERRORS 10 /* unexpected errors printed in full */

typedef struct Histogram
{
	int64_t count;
	int64_t max;
	int64_t buckets[OCTAVES * SUB_BUCKETS];
} Histogram;

typedef struct ErrorCount
{
	Call call;
	char sqlstate[6];
	int64_t count;
} ErrorCount;

typedef struct ErrorName
{
	char sqlstate[6];
	char name[NAME_SIZE];
} ErrorName;

int64_t total_calls;
bool unexpected_error;

static Histogram call_times[NCALLS];
static Histogram admission_times;
static int64_t call_errors[NCALLS];
static ErrorCount errors[MAX_ERRORS];
static int nerrors;
static ErrorName names[MAX_NAMES];
static int nnames;

static int64_t started;
static FILE *csv;
static int64_t sampled_at;
static int64_t sampled_calls;
static double calls_per_s;
static int64_t progress_at;

static int
bucket_of(int64_t usec)
{
	uint64_t value = usec < 0 ? 0 : (uint64_t) usec;
	int octave;
	int bucket;

	if (value < SUB_BUCKETS)
		return (int) value;
	octave = 63 - __builtin_clzll(value) - SUB_BITS;
	bucket = (octave + 1) * SUB_BUCKETS + (int) (value >> octave) - SUB_BUCKETS;
	return bucket < OCTAVES * SUB_BUCKETS ? bucket : OCTAVES * SUB_BUCKETS - 1;
}

/* The highest value that falls into a bucket. */
static int64_t
bucket_top(int bucket)
{
	int octave = bucket / SUB_BUCKETS - 1;

	if (octave < 0)
		return bucket;
	return ((INT64_C(1) + SUB_BUCKETS + bucket % SUB_BUCKETS) << octave) - 1;
}

static void
histogram_add(Histogram *h, int64_t usec)
{
	h->count++;
	if (usec > h->max)
		h->max = usec;
	h->buckets[bucket_of(usec)]++;
}

static int64_t
percentile(const Histogram *h, double percent)
{
	int64_t rank = (int64_t) ((double) h->count * percent / 100);
	int64_t seen = 0;

	for (int i = 0; i < OCTAVES * SUB_BUCKETS; i++)
	{
		seen += h->buckets[i];
		if (seen > rank)
			return bucket_top(i) < h->max ? bucket_top(i) : h->max;
	}
	return h->max;
}

void
measure_start(int64_t now)
{
	started = sampled_at = progress_at = now;
}

void
measure_call(Call call, int64_t usec)
{
	total_calls++;
	histogram_add(&call_times[call], usec);
}

/* From getting in line to knowing that one is admitted. */
void
measure_admission(int64_t usec)
{
	histogram_add(&admission_times, usec);
}

void
error_name_add(const char *sqlstate, const char *name)
{
	if (nnames == MAX_NAMES)
		return;
	snprintf(names[nnames].sqlstate, sizeof(names[nnames].sqlstate), "%s", sqlstate);
	snprintf(names[nnames].name, sizeof(names[nnames].name), "%s", name);
	nnames++;
}

static const char *
error_name(const char *sqlstate)
{
	for (int i = 0; i < nnames; i++)
	{
		if (strcmp(names[i].sqlstate, sqlstate) == 0)
			return names[i].name;
	}
	return "";
}

/* What a buyer may be told; anything else fails the demo. */
static bool
expected(const char *sqlstate)
{
	return strncmp(sqlstate, "TK", 2) == 0 || strcmp(sqlstate, "22023") == 0 ||
		   strcmp(sqlstate, "40001") == 0;
}

void
measure_error(Call call, const PGresult *res)
{
	const char *sqlstate = PQresultErrorField(res, PG_DIAG_SQLSTATE);
	const char *primary = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
	static int shown;
	int i;

	if (sqlstate == NULL)
		sqlstate = "-----";
	call_errors[call]++;
	for (i = 0; i < nerrors; i++)
	{
		if (errors[i].call == call && strcmp(errors[i].sqlstate, sqlstate) == 0)
			break;
	}
	if (i == nerrors && nerrors < MAX_ERRORS)
	{
		errors[i].call = call;
		snprintf(errors[i].sqlstate, sizeof(errors[i].sqlstate), "%s", sqlstate);
		nerrors++;
	}
	if (i < nerrors)
		errors[i].count++;

	if (!expected(sqlstate))
	{
		unexpected_error = true;
		if (shown++ < SHOWN_ERRORS)
		{
			progress_end();
			fprintf(stderr, "unexpected error from %s: %s %s\n", call_names[call], sqlstate,
					primary ? primary : PQresultErrorMessage(res));
		}
	}
}

void
samples_open(const char *path)
{
	csv = fopen(path, "w");
	if (csv == NULL)
		die("could not open \"%s\": %s", path, strerror(errno));
	fprintf(csv, "seconds,waiting,active,held,sold,calls_per_s\n");
}

void
sample_add(const Sample *sample, int64_t now)
{
	if (now > sampled_at)
		calls_per_s =
			(double) (total_calls - sampled_calls) * (double) SEC / (double) (now - sampled_at);
	sampled_at = now;
	sampled_calls = total_calls;
	fprintf(csv, "%.3f,%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%.0f\n",
			(double) (now - started) / (double) SEC, sample->waiting, sample->active, sample->held,
			sample->sold, calls_per_s);
}

void
samples_close(void)
{
	if (fclose(csv) != 0)
		die("could not write the samples: %s", strerror(errno));
}

/* One line, drawn over itself on a terminal; a line a second elsewhere. */
void
progress_show(const Sample *sample, int64_t now)
{
	bool terminal = isatty(STDOUT_FILENO);

	if (!terminal && now < progress_at)
		return;
	progress_at += SEC;
	printf("%s%5.1f s  waiting %6" PRId64 "  active %5" PRId64 "  held %5" PRId64 "  sold %6" PRId64
		   "  %6.0f calls/s%s",
		   terminal ? "\r" : "", (double) (now - started) / (double) SEC, sample->waiting,
		   sample->active, sample->held, sample->sold, calls_per_s, terminal ? "\033[K" : "\n");
	fflush(stdout);
}

/* Whatever is printed next begins on a line of its own. */
void
progress_end(void)
{
	if (isatty(STDOUT_FILENO))
	{
		printf("\n");
		fflush(stdout);
	}
}

static void
print_time(int64_t usec)
{
	if (usec < 10 * MSEC)
		printf("%8.2f ms", (double) usec / (double) MSEC);
	else if (usec < 10 * SEC)
		printf("%8.0f ms", (double) usec / (double) MSEC);
	else
		printf("%8.1f s ", (double) usec / (double) SEC);
}

static void
print_calls(void)
{
	printf("\n%-20s %9s %8s %11s %11s %11s %11s\n", "function", "calls", "refused", "p50   ",
		   "p95   ", "p99   ", "max   ");
	for (int i = 0; i < NCALLS; i++)
	{
		const Histogram *h = &call_times[i];

		if (h->count == 0)
			continue;
		printf("%-20s %9" PRId64 " %8" PRId64 " ", call_names[i], h->count, call_errors[i]);
		print_time(percentile(h, 50));
		printf(" ");
		print_time(percentile(h, 95));
		printf(" ");
		print_time(percentile(h, 99));
		printf(" ");
		print_time(h->max);
		printf("\n");
	}
}

static void
print_errors(void)
{
	printf("\nrefusals, each with its SQLSTATE\n");
	for (int i = 0; i < nerrors; i++)
		printf("  %-20s %s %-24s %9" PRId64 "\n", call_names[errors[i].call], errors[i].sqlstate,
			   error_name(errors[i].sqlstate), errors[i].count);
	if (nerrors == 0)
		printf("  none\n");
}

static void
print_fans(void)
{
	static const char *const said[NOUTCOMES] = {
		[OUT_BOUGHT] = "bought tickets",
		[OUT_CANCELLED] = "bought, then cancelled",
		[OUT_RELEASED] = "held seats, let them go",
		[OUT_SHORT] = "held seats, had too few points",
		[OUT_WALKED_AWAY] = "held seats, walked away",
		[OUT_EMPTY_HANDED] = "admitted, found nothing left",
		[OUT_LEFT] = "gave up waiting and said so",
		[OUT_SILENT] = "gave up waiting silently",
		[OUT_TOO_SLOW] = "let their turn pass",
		[OUT_SOLD_OUT] = "still in line when sold out",
		[OUT_TURNED_AWAY] = "turned away",
	};

	printf("\n%d fans\n", options.fans);
	for (int i = OUT_NONE + 1; i < NOUTCOMES; i++)
	{
		if (fans_with_outcome((Outcome) i) > 0)
			printf("  %-32s %8" PRId64 "\n", said[i], fans_with_outcome((Outcome) i));
	}
	if (fans_about > 0)
		printf("  %-32s %8d\n", "still about", fans_about);
	if (admission_times.count > 0)
	{
		printf("  in line until admitted: p50");
		print_time(percentile(&admission_times, 50));
		printf(", p95");
		print_time(percentile(&admission_times, 95));
		printf("\n");
	}
}

void
summary_print(const Sample *sample, int64_t ended)
{
	const Acknowledged *ack = &acknowledged;
	double selling = (double) (ack->last_payment_at - started) / (double) SEC;
	double lasted = (double) (ended - started) / (double) SEC;

	print_calls();
	print_errors();
	print_fans();

	printf("\nsale\n");
	printf("  seats sold                  %" PRId64 " of %" PRId64 "\n", sample->sold,
		   sample->seats);
	if (ack->payments > 0)
		printf("  tickets sold per second     %.0f (the last one after %.1f s)\n",
			   (double) ack->seats_paid / selling, selling);
	printf("  payments                    %" PRId64 " for %" PRId64 " points\n", ack->payments,
		   ack->points_paid);
	printf("  cancelled                   %" PRId64 ", %" PRId64 " points back\n", ack->cancels,
		   ack->points_refunded);
	printf("  calls per second            %.0f over %.1f s, %" PRId64 " calls\n",
		   (double) total_calls / lasted, lasted, total_calls);
}
