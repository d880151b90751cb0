/*
 * number_test.c
 *		Reservation numbers (src/number.c): a permutation, letters and back,
 *		and what the check letter finds.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "number.h"

#define N_IDS 20000

static int
compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *) a;
	uint64_t y = *(const uint64_t *) b;

	return (x > y) - (x < y);
}

static bool
refused(const char *text)
{
	uint64_t value;

	return number_read(text, strlen(text), &value) != NULL;
}

static void
test_permutation(const NumberKey *key, const NumberKey *other)
{
	static uint64_t image[N_IDS];
	const uint64_t edge[] = {0, 1, NUMBER_VALUES / 2, NUMBER_VALUES - 2, NUMBER_VALUES - 1};
	bool back = true, within = true, unlike = true;
	int same = 0, small = 0, near = 0;

	for (uint64_t i = 0; i < N_IDS; i++)
	{
		image[i] = number_permute(key, i, true);
		back = back && number_permute(key, image[i], false) == i;
		within = within && image[i] < NUMBER_VALUES;
		same += number_permute(other, i, true) == image[i];
		small += image[i] < NUMBER_VALUES / 10;
		if (i > 0)
			near +=
				llabs((long long) (image[i] - image[i - 1])) < (long long) (NUMBER_VALUES / 1000);
	}
	ok(back, "what is permuted comes back");
	ok(within, "and stays among the values there are");
	ok(same == 0, "another key is another permutation");
	ok(small > N_IDS / 12 && small < N_IDS / 8, "a tenth of them is in the first tenth");
	ok(near < N_IDS / 250, "neighbours are not neighbours any more");
	qsort(image, N_IDS, sizeof(image[0]), compare);
	for (int i = 1; i < N_IDS; i++)
		unlike = unlike && image[i] != image[i - 1];
	ok(unlike, "no two are alike");
	back = true;
	for (size_t i = 0; i < sizeof(edge) / sizeof(edge[0]); i++)
		back = back && number_permute(key, number_permute(key, edge[i], true), false) == edge[i] &&
			   number_permute(key, number_permute(key, edge[i], false), true) == edge[i];
	ok(back, "the first and the last come back, too");
}

static void
test_letters(const NumberKey *key)
{
	static const char letters[] = "34679ACDEFGHJKMNPQRTWXY";
	bool back = true, shape = true, lower = true, wrong = true, exchanged = true;

	for (uint64_t i = 0; i < 500; i++)
	{
		char text[NUMBER_SIZE], changed[NUMBER_SIZE];
		uint64_t value = number_permute(key, i, true), read;

		number_write(value, text);
		back = back && number_read(text, strlen(text), &read) == NULL && read == value;
		shape = shape && strlen(text) == 14 && text[4] == '-' && text[9] == '-' &&
				strspn(text, "34679ACDEFGHJKMNPQRTWXY-") == 14;
		for (int at = 0; at < 14; at++)
		{
			strcpy(changed, text);
			if (text[at] == '-')
				continue;
			if (text[at] >= 'A')
				changed[at] = text[at] - 'A' + 'a';
			lower = lower && number_read(changed, 14, &read) == NULL && read == value;
			for (const char *c = letters; *c; c++)
			{
				changed[at] = *c;
				wrong = wrong && (*c == text[at] || refused(changed));
			}
			for (int to = at + 1; to < 14; to++)
			{
				strcpy(changed, text);
				changed[at] = text[to];
				changed[to] = text[at];
				exchanged =
					exchanged && (text[to] == '-' || text[to] == text[at] || refused(changed));
			}
		}
	}
	ok(back, "what is written can be read");
	ok(shape, "three groups of four letters that look unlike");
	ok(lower, "small letters do no harm");
	ok(wrong, "each single wrong letter is found");
	ok(exchanged, "and each exchange of two");
}

static void
test_reading(void)
{
	char first[NUMBER_SIZE], last[NUMBER_SIZE], spaced[64];
	uint64_t value;

	number_write(0, first);
	number_write(NUMBER_VALUES - 1, last);
	ok(strcmp(first, "3333-3333-3333") == 0, "the first value");
	ok(strncmp(last, "YYYY-YYYY-YYY", 13) == 0 && number_read(last, 14, &value) == NULL &&
		   value == NUMBER_VALUES - 1,
	   "the last one");
	snprintf(spaced, sizeof(spaced), "  %.4s %.4s - %.4s ", last, last + 5, last + 10);
	ok(number_read(spaced, strlen(spaced), &value) == NULL && value == NUMBER_VALUES - 1,
	   "blanks and hyphens anywhere");
	ok(refused(""), "nothing");
	ok(refused("----"), "nothing but hyphens");
	ok(refused("3333-3333-333"), "too short");
	ok(refused("3333-3333-3333-3"), "too long");
	ok(refused("3333-3333-3333-3333-3333-3333-3333-3333-3333-3333"), "much too long");
	ok(refused("3333-3333-333O"), "a letter that none has");
	ok(refused("3333-3333-333\xed\x95\x9c"), "a letter of several bytes");
	ok(number_read("3333-3333-3333\0", 15, &value) != NULL, "a zero byte");
}

int
main(void)
{
	const NumberKey key = {{UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)}};
	const NumberKey other = {{UINT64_C(0x0706050403020101), UINT64_C(0x0f0e0d0c0b0a0908)}};

	test_permutation(&key, &other);
	test_letters(&key);
	test_reading();
	return finish();
}
