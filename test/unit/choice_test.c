/*
 * choice_test.c
 *		Choosing places (src/choice.c): what is chosen in plain houses, and in
 *		random ones against a model that tries every possibility.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "choice.h"

#define MAX_PLACES 2000
#define ROUNDS 3000

static Place place[MAX_PLACES];
static Row row[MAX_PLACES];
static House house = {.place = place, .row = row};
static int pick[MAX_PLACES];

/* ---------- houses ---------- */

static void
open_house(void)
{
	house.n_places = house.n_rows = 0;
}

/*
 * Adds a section: a line for each row; o is free, x taken, - no seat (the
 * number is missing).
 */
static void
add_section(const char *plan)
{
	int section = house.n_places > 0 ? place[house.n_places - 1].section + 1 : 0;
	int seat_id = house.n_places > 0 ? place[house.n_places - 1].seat_id : 0;
	int row_no = 1;
	int seat_no = 0;

	for (const char *c = plan; *c; c++)
	{
		seat_no++;
		if (*c == '\n')
		{
			row_no++;
			seat_no = 0;
		}
		else if (*c != '-')
			place[house.n_places++] = (Place){.seat_id = ++seat_id,
											  .row_no = row_no,
											  .seat_no = seat_no,
											  .section = (int16_t) section,
											  .free = *c == 'o'};
	}
	house_arrange(&house);
}

static void
one_section(const char *plan)
{
	open_house();
	add_section(plan);
}

/* Tests what is picked, as seat_ids. */
static void
picks(bool picked, int n, const char *expected, const char *what)
{
	char got[200] = "";

	for (int i = 0; picked && i < n; i++)
		snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s%d", i > 0 ? " " : "",
				 place[pick[i]].seat_id);
	ok(strcmp(got, expected) == 0, what);
	if (strcmp(got, expected) != 0)
		printf("# got \"%s\", expected \"%s\"\n", got, expected);
}

static void
test_plain(void)
{
	one_section("ooooooo\nooooooo");
	picks(choose_together(&house, 0, 3, pick), 3, "3 4 5", "the middle of the front row");
	picks(choose_together(&house, 0, 2, pick), 2, "3 4", "an even number: left of the middle");
	one_section("oooooooooo");
	picks(choose_together(&house, 0, 2, pick), 2, "5 6",
		  "the very middle where pairs fill the rest");
	one_section("oooooooooooo");
	picks(choose_together(&house, 0, 2, pick), 2, "5 6",
		  "a seat beside it rather than leave odd numbers on both sides");
	picks(choose_together(&house, 0, 3, pick), 3, "5 6 7", "which three cannot help");
	one_section("ooooooo\nooooooo");
	picks(choose_together(&house, 0, 1, pick), 1, "3", "one leaves even numbers, too");
	picks(choose_together(&house, 0, 5, pick), 5, "1 2 3 4 5",
		  "to the side rather than leave orphans");
	picks(choose_together(&house, 0, 6, pick), 6, "1 2 3 4 5 6",
		  "with one orphan, as it cannot be avoided");
	picks(choose_together(&house, 0, 7, pick), 7, "1 2 3 4 5 6 7", "a whole row");
	picks(choose_together(&house, 0, 8, pick), 8, "", "no block goes around the corner");
	one_section("xoooxxx\nxxxxxoo");
	picks(choose_together(&house, 0, 2, pick), 2, "13 14",
		  "further back rather than leave an orphan");
	picks(choose_together(&house, 0, 1, pick), 1, "4",
		  "from the end of a run rather than from its middle");
	one_section("xooooox\nxxxoxxx");
	picks(choose_together(&house, 0, 1, pick), 1, "4", "one in the middle");
	one_section("xooxxxx\nxxxoxxx");
	picks(choose_together(&house, 0, 1, pick), 1, "11", "one that is an orphan already");
	one_section("xxxxxxxxxxxxxxxxxxxo\nxxxxxxxxxoxxxxxxxxxx");
	picks(choose_together(&house, 0, 1, pick), 1, "30",
		  "behind in the middle before far at the side");
	one_section("oo-oo\n-ooo-");
	picks(choose_together(&house, 0, 3, pick), 3, "5 6 7", "not across a gap");
	picks(choose_together(&house, 0, 2, pick), 2, "1 2", "but beside it");
	one_section("oooo");
	place[2].seat_id = 10;
	place[3].seat_id = 11;
	house.n_rows = 0;
	house_arrange(&house);
	picks(choose_together(&house, 0, 3, pick), 3, "", "nor where seat_ids have a gap");
	one_section("ooo-ooo");
	picks(choose_together(&house, 0, 1, pick), 1, "3", "what is beside a gap leaves no orphan");
	one_section("");
	picks(choose_together(&house, 0, 1, pick), 1, "", "an empty house");
}

static void
test_sections(void)
{
	open_house();
	add_section("xxo");
	add_section("oo\noo");
	picks(choose_together(&house, 0, 2, pick), 2, "", "nothing in the first section");
	picks(choose_together(&house, 1, 2, pick), 2, "4 5", "in the second one");
	picks(choose_together(&house, CHOICE_ALL_SECTIONS, 3, pick), 3, "",
		  "no block over two sections");
	picks(choose_any(&house, CHOICE_ALL_SECTIONS, 5, pick), 5, "3 4 5 6 7", "any, of all sections");
	picks(choose_any(&house, 0, 2, pick), 2, "", "any of one that has too few");
	picks(choose_in_order(&house, 1, 3, pick), 3, "4 5 6", "in order in a section");
	picks(choose_in_order(&house, 1, 5, pick), 5, "", "until they are gone");
	ok(house_count_free(&house, 0) == 1 && house_count_free(&house, CHOICE_ALL_SECTIONS) == 5,
	   "the free ones are counted");
}

static void
test_fallbacks(void)
{
	one_section("xoox\nxoox\nooxx");
	picks(choose_two_rows(&house, 0, 4, pick), 4, "2 3 6 7", "two rows, one behind the other");
	picks(choose_two_rows(&house, 0, 3, pick), 3, "2 3 6", "two and one");
	picks(choose_two_rows(&house, 0, 2, pick), 2, "2 6", "one behind the other");
	picks(choose_two_rows(&house, 0, 1, pick), 1, "", "one needs no two rows");
	picks(choose_two_rows(&house, 0, 5, pick), 5, "", "too many for two rows");
	one_section("ooox\nxxxx\nooox");
	picks(choose_two_rows(&house, 0, 4, pick), 4, "", "not with a row between");
	one_section("oooo\nxxox");
	picks(choose_two_rows(&house, 0, 5, pick), 5, "1 2 3 4 7", "unevenly where it must be");
	one_section("ooxo\nxoox\noxxo");
	picks(choose_any(&house, 0, 5, pick), 5, "1 2 4 6 7",
		  "any: larger blocks first, then the nearest");
	picks(choose_any(&house, 0, 7, pick), 7, "1 2 4 6 7 9 12", "any: all there are");
	picks(choose_any(&house, 0, 8, pick), 8, "", "any: and no more");
	ok(house_count_free(&house, 0) == 7, "choosing takes nothing");
}

/* ---------- random houses ---------- */

static void
random_house(void)
{
	static char plan[400];
	int columns = 1 + random_below(12);
	int fill = 1 + random_below(9);

	open_house();
	for (int sections = 1 + random_below(2); sections > 0; sections--)
	{
		char *c = plan;

		for (int rows = 1 + random_below(6); rows > 0; rows--)
		{
			for (int i = 0; i < columns; i++)
				*c++ = random_below(10) >= fill ? 'x' : random_below(12) == 0 ? '-' : 'o';
			*c++ = '\n';
		}
		*c = '\0';
		add_section(plan);
	}
}

static bool
is_block(int first, int n)
{
	for (int i = first; i < first + n; i++)
		if (i >= house.n_places || !place[i].free ||
			(i > first &&
			 (place[i].section != place[first].section || place[i].row_no != place[first].row_no ||
			  place[i].seat_no != place[i - 1].seat_no + 1)))
			return false;
	return true;
}

/* Free places without a free neighbour, of those next to a block. */
static int
orphans_of(int first, int n)
{
	bool before = first > 0 && is_block(first - 1, n + 1);
	bool after = is_block(first, n + 1);

	return (before && !(first > 1 && is_block(first - 2, n + 2))) +
		   (after && !is_block(first, n + 2));
}

/* Are there odd numbers of free places before and behind a block? */
static int
odd_beside(int first, int n)
{
	int before = 0;
	int behind = 0;

	while (first - before > 0 && is_block(first - before - 1, before + 1 + n))
		before++;
	while (is_block(first, n + behind + 1))
		behind++;
	return before % 2 == 1 && behind % 2 == 1;
}

/* As a person would measure it, in metres. */
static double
distance_of(int first, int n)
{
	int low = first;
	int high = first;
	int front = first;
	double x;
	double y;

	while (low > 0 && place[low - 1].section == place[first].section &&
		   place[low - 1].row_no == place[first].row_no)
		low--;
	while (high + 1 < house.n_places && place[high + 1].section == place[first].section &&
		   place[high + 1].row_no == place[first].row_no)
		high++;
	while (front > 0 && place[front - 1].section == place[first].section)
		front--;
	x = 0.5 * ((place[first].seat_no + place[first + n - 1].seat_no) / 2.0 -
			   (place[low].seat_no + place[high].seat_no) / 2.0);
	y = 0.9 * (place[first].row_no - place[front].row_no);
	return x * x + y * y;
}

/* Is what was picked the best that a look at each place finds? */
static bool
together_right(int section, int n)
{
	bool chosen = choose_together(&house, section, n, pick);
	bool there = false;
	bool right = true;

	for (int i = 0; i < house.n_places; i++)
		if ((section == CHOICE_ALL_SECTIONS || place[i].section == section) && is_block(i, n))
		{
			int mine = chosen ? orphans_of(pick[0], n) * 2 + odd_beside(pick[0], n) : 0;
			int other = orphans_of(i, n) * 2 + odd_beside(i, n);

			there = true;
			if (chosen && (mine > other ||
						   (mine == other && distance_of(pick[0], n) > distance_of(i, n) + 1e-9)))
				right = false;
		}
	return right && chosen == there && (!chosen || is_block(pick[0], n));
}

static bool
two_rows_right(int n)
{
	bool chosen = choose_two_rows(&house, 0, n, pick);
	int size = 1;

	for (int a = 0; a < house.n_places; a++)
		for (int b = a + 1; !chosen && b < house.n_places; b++)
			for (int k = 1; k < n; k++)
				if (place[a].section == 0 && place[b].section == 0 &&
					place[b].row_no == place[a].row_no + 1 && is_block(a, k) && is_block(b, n - k))
					return false;
	if (!chosen)
		return true;
	while (size < n && place[pick[size]].row_no == place[pick[0]].row_no)
		size++;
	return size < n && is_block(pick[0], size) && is_block(pick[size], n - size) &&
		   place[pick[size]].row_no == place[pick[0]].row_no + 1 && place[pick[n - 1]].section == 0;
}

static bool
any_right(int n)
{
	int free = house_count_free(&house, CHOICE_ALL_SECTIONS);
	bool chosen = choose_any(&house, CHOICE_ALL_SECTIONS, n, pick);

	if (chosen != (free >= n) || house_count_free(&house, CHOICE_ALL_SECTIONS) != free)
		return false;
	for (int i = 0; chosen && i < n; i++)
		if (!place[pick[i]].free || (i > 0 && pick[i] <= pick[i - 1]))
			return false;
	return true;
}

/* A house that pairs fill leaves nobody's neighbour empty. */
static void
test_pairs(void)
{
	int sold = 0;

	one_section("oooooooooooo\noooooooooo\noooooooooooooo");
	while (choose_together(&house, 0, 2, pick))
	{
		house_set_free(&house, pick[0], false);
		house_set_free(&house, pick[1], false);
		sold += 2;
	}
	ok(sold == 36 && house_count_free(&house, 0) == 0, "pairs fill rows of even length");
}

static void
test_random(void)
{
	int wrong[4] = {0};
	int found = 0;

	for (int round = 0; round < ROUNDS; round++)
	{
		random_house();
		for (int n = 1; n <= 6; n++)
		{
			wrong[0] += !together_right(random_below(2) - 1, n);
			wrong[1] += !two_rows_right(n);
			wrong[2] += !any_right(n);
		}
		/* Taking the best again and again, as those do who lose it to others. */
		while (choose_together(&house, CHOICE_ALL_SECTIONS, 2, pick))
		{
			house_set_free(&house, pick[0], false);
			house_set_free(&house, pick[1], false);
			found++;
			wrong[3] += !together_right(CHOICE_ALL_SECTIONS, 2);
		}
	}
	ok(wrong[0] == 0, "random houses: together, the best there is");
	ok(wrong[1] == 0, "random houses: two rows when there are");
	ok(wrong[2] == 0, "random houses: any when there are enough");
	ok(wrong[3] == 0 && found > ROUNDS, "random houses: also while places go");
}

int
main(void)
{
	test_plain();
	test_sections();
	test_fallbacks();
	test_pairs();
	random_seed(20230701);
	test_random();
	return finish();
}
