/*
 * harness.h
 *		What the unit tests share: TAP, differences between what is tested and
 *		its model, random numbers from fixed seeds.
 */
#ifndef UNIT_HARNESS_H
#define UNIT_HARNESS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define MAX_DIAGNOSTICS 5

static unsigned long seed; /* of the run; 0: nothing is random */
static uint64_t random_state;
static int n_tests;
static int n_failed;
static int n_wrong; /* differences in the test that runs */

/* Notes a difference. */
static inline bool
expect(bool same, const char *format, ...)
{
	va_list args;

	if (same)
		return true;
	if (n_wrong++ < MAX_DIAGNOSTICS)
	{
		va_start(args, format);
		printf("# ");
		vprintf(format, args);
		printf("\n");
		va_end(args);
	}
	return false;
}

/* Ends a test, which has failed if it has noted a difference. */
static inline void
result(const char *name)
{
	n_tests++;
	n_failed += n_wrong > 0;
	if (n_wrong > MAX_DIAGNOSTICS)
		printf("# and %d more\n", n_wrong - MAX_DIAGNOSTICS);
	printf("%s %d - %s", n_wrong > 0 ? "not ok" : "ok", n_tests, name);
	if (seed > 0)
		printf(" (seed %lu)", seed);
	printf("\n");
	n_wrong = 0;
}

/* A test of one condition. */
static inline void
ok(bool passed, const char *name)
{
	n_wrong += !passed;
	result(name);
}

static inline void
random_seed(unsigned long from)
{
	seed = from;
	random_state = from;
}

/* splitmix64 */
static inline uint64_t
random_bits(void)
{
	uint64_t z = (random_state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static inline int64_t
random_below(int64_t n)
{
	return (int64_t) (random_bits() % (uint64_t) n);
}

/* Runs every test once for each of some seeds. */
static inline void
run_seeded(void (*const *tests)(void), size_t n)
{
	static const unsigned long seeds[] = {1, 20230701, 4294967291};

	for (size_t s = 0; s < sizeof(seeds) / sizeof(seeds[0]); s++)
	{
		random_seed(seeds[s]);
		for (size_t t = 0; t < n; t++)
			tests[t]();
	}
}

/* Prints the plan; returns the exit status. */
static inline int
finish(void)
{
	printf("1..%d\n", n_tests);
	return n_failed > 0;
}

#endif /* UNIT_HARNESS_H */
