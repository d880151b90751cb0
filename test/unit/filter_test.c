/*
 * filter_test.c
 *		What src/filter.c remembers, forgets and takes for known.
 */
#include <stdlib.h>

#include "filter.h"
#include "harness.h"

#define ROOM 20000

static Filter *
new_filter(uint64_t room)
{
	Filter *filter = malloc(filter_size(room));

	filter_init(filter, room);
	return filter;
}

/* How many of n hashes it has. */
static int
count_known(const Filter *filter, const uint64_t *hash, int n)
{
	int known = 0;

	for (int i = 0; i < n; i++)
		known += filter_has(filter, hash[i]);
	return known;
}

static uint64_t *
some_hashes(int n)
{
	uint64_t *hash = malloc(n * sizeof(uint64_t));

	for (int i = 0; i < n; i++)
		hash[i] = random_bits();
	return hash;
}

static void
test_new(void)
{
	Filter *filter = new_filter(ROOM);
	uint64_t *hash = some_hashes(ROOM);

	expect(count_known(filter, hash, ROOM) == 0, "an empty filter knows something");
	for (int i = 0; i < ROOM; i++)
	{
		filter_add(filter, hash[i]);
		expect(filter_has(filter, hash[i]), "%d is not there right after", i);
	}
	result("what was just added is there");
	free(hash);
	free(filter);
}

/* Half full no bucket has gone round yet, but for one in thousands. */
static void
test_half_full(void)
{
	Filter *filter = new_filter(ROOM);
	uint64_t *hash = some_hashes(ROOM / 2);
	int known;

	for (int i = 0; i < ROOM / 2; i++)
		filter_add(filter, hash[i]);
	known = count_known(filter, hash, ROOM / 2);
	expect(known > ROOM / 2 * 0.999, "%d of %d", known, ROOM / 2);
	result("half full it has nearly all");
	free(hash);
	free(filter);
}

static void
test_others(void)
{
	Filter *filter = new_filter(ROOM);
	uint64_t *hash = some_hashes(ROOM);
	uint64_t *other = some_hashes(ROOM);
	int known;

	for (int i = 0; i < ROOM; i++)
		filter_add(filter, hash[i]);
	known = count_known(filter, other, ROOM);
	expect(known < ROOM / 500, "%d of %d", known, ROOM);
	result("of others it knows hardly one");
	free(other);
	free(hash);
	free(filter);
}

/* The oldest go first: of what came in three rooms ago next to nothing is left. */
static void
test_forgets(void)
{
	Filter *filter = new_filter(ROOM);
	uint64_t *hash = some_hashes(4 * ROOM);
	int old;
	int last;

	for (int i = 0; i < 4 * ROOM; i++)
		filter_add(filter, hash[i]);
	old = count_known(filter, hash, ROOM);
	last = count_known(filter, hash + 4 * ROOM - ROOM / 2, ROOM / 2);
	expect(old < ROOM / 100, "%d of the first %d", old, ROOM);
	expect(last > ROOM / 2 * 0.99, "%d of the last %d", last, ROOM / 2);
	result("it forgets the oldest");
	free(hash);
	free(filter);
}

/* Who comes again and again does not push others out. */
static void
test_again(void)
{
	Filter *filter = new_filter(1);

	for (uint64_t i = 1; i <= FILTER_PRINTS; i++)
		filter_add(filter, i);
	for (int i = 0; i < 1000; i++)
		filter_add(filter, 1);
	for (uint64_t i = 1; i <= FILTER_PRINTS; i++)
		expect(filter_has(filter, i), "%d is gone", (int) i);
	filter_add(filter, FILTER_PRINTS + 1);
	expect(!filter_has(filter, 1), "the oldest is still there");
	expect(filter_has(filter, 2), "one that is not the oldest is gone");
	result("what it has is not added again");
	free(filter);
}

static void
test_bounds(void)
{
	static const uint64_t rooms[] = {0, 1, FILTER_PRINTS, FILTER_PRINTS + 1, 1000};
	static const uint64_t hashes[] = {0, 1, UINT16_MAX, UINT32_MAX, UINT64_C(1) << 32, UINT64_MAX};

	for (size_t r = 0; r < sizeof(rooms) / sizeof(rooms[0]); r++)
	{
		Filter *filter = new_filter(rooms[r]);

		for (size_t h = 0; h < sizeof(hashes) / sizeof(hashes[0]); h++)
		{
			filter_add(filter, hashes[h]);
			expect(filter_has(filter, hashes[h]), "room %d, hash %d", (int) r, (int) h);
		}
		free(filter);
	}
	expect(sizeof(FilterBucket) == FILTER_LINE && offsetof(Filter, bucket) == FILTER_LINE,
		   "a bucket is not a line");
	expect(filter_size(2000000000) / 2000000000 <= 2, "a place takes more than two bytes");
	result("any room, any hash");
}

int
main(void)
{
	static void (*const tests[])(void) = {test_new,     test_half_full, test_others,
										  test_forgets, test_again,     test_bounds};

	run_seeded(tests, sizeof(tests) / sizeof(tests[0]));
	return finish();
}
