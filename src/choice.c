/*
 * choice.c
 *		Which places of a house to offer to one who leaves it to us.  See
 *		choice.h.
 *
 * Each row remembers its best block of the size that was last asked for, so
 * that taking a block away and asking again looks at that row's places and at
 * one block of each other row.
 */
#include "choice.h"

#include <stdlib.h>

/* From one row to the next, and half the way to the next seat, in cm. */
#define ROW_CM 90
#define HALF_SEAT_CM 25

/* ---------- the house ---------- */

static bool
same_row(const Place *a, const Place *b)
{
	return a->section == b->section && a->row_no == b->row_no;
}

static void
row_open(House *house, int first)
{
	const Place *place = &house->place[first];
	Row *row = &house->row[house->n_rows];
	const Row *before = house->n_rows > 0 ? row - 1 : NULL;

	row->first = first;
	row->n_places = 0;
	row->section = place->section;
	row->row_no = place->row_no;
	row->depth = 0;
	if (before && before->section == place->section)
		row->depth = before->depth + (place->row_no - before->row_no);
	row->size = 0;
	house->n_rows++;
}

void
house_arrange(House *house)
{
	int i = 0;

	if (house->n_rows > 0)
	{
		const Row *last = &house->row[house->n_rows - 1];

		i = last->first + last->n_places;
	}
	for (; i < house->n_places; i++)
	{
		Place *place = &house->place[i];
		Row *row;

		if (i == 0 || !same_row(place - 1, place))
			row_open(house, i);
		else
			(place - 1)->next = place->seat_no == (place - 1)->seat_no + 1 &&
								place->seat_id == (place - 1)->seat_id + 1;
		place->next = false;
		row = &house->row[house->n_rows - 1];
		row->n_places++;
		row->twice_middle = house->place[row->first].seat_no + place->seat_no;
	}
}

/* The row of a place, by bisection. */
static Row *
row_of(House *house, int place)
{
	int low = 0;
	int high = house->n_rows - 1;

	while (low < high)
	{
		int middle = (low + high + 1) / 2;

		if (house->row[middle].first <= place)
			low = middle;
		else
			high = middle - 1;
	}
	return &house->row[low];
}

void
house_set_free(House *house, int place, bool free)
{
	house->place[place].free = free;
	row_of(house, place)->size = 0;
}

static bool
in_section(int of, int section)
{
	return section == CHOICE_ALL_SECTIONS || of == section;
}

int
house_count_free(const House *house, int section)
{
	int n = 0;

	for (int i = 0; i < house->n_places; i++)
		n += house->place[i].free && in_section(house->place[i].section, section);
	return n;
}

/* ---------- blocks ---------- */

/* Free neighbours from a place on, to the end of the row. */
static int
run_length(const House *house, const Row *row, int first)
{
	int end = row->first + row->n_places;
	int i = first;

	while (i < end && house->place[i].free)
	{
		i++;
		if (!house->place[i - 1].next)
			break;
	}
	return i - first;
}

static int64_t
square(int64_t x)
{
	return x * x;
}

/* From the middle of n places to a column, `depth` rows in front of them; squared. */
static int64_t
distance(const Place *first, int n, int64_t depth, int64_t twice_column)
{
	int64_t twice_middle = (int64_t) first->seat_no + first[n - 1].seat_no;

	return square(depth * ROW_CM) + square((twice_middle - twice_column) * HALF_SEAT_CM);
}

static bool
block_better(const Stretch *a, const Stretch *b)
{
	if (a->first < 0 || b->first < 0)
		return a->first >= 0;
	if (a->orphans != b->orphans)
		return a->orphans < b->orphans;
	if (a->odd != b->odd)
		return a->odd < b->odd;
	return a->distance < b->distance;
}

/* The best block of n in a row, seen from a column `depth` rows in front of it. */
static Stretch
best_in_row(const House *house, const Row *row, int n, int64_t depth, int64_t twice_column)
{
	Stretch best = {-1, 0, 0, 0};
	int end = row->first + row->n_places;

	for (int i = row->first; i < end;)
	{
		int length = run_length(house, row, i);

		for (int left = 0; left + n <= length; left++)
		{
			int right = length - left - n;
			Stretch block = {i + left, (left == 1) + (right == 1), left % 2 + right % 2 == 2,
							 distance(&house->place[i + left], n, depth, twice_column)};

			if (block_better(&block, &best))
				best = block;
		}
		i += length > 0 ? length : 1;
	}
	return best;
}

static const Stretch *
row_best(House *house, Row *row, int n)
{
	if (row->size != n)
	{
		row->best = best_in_row(house, row, n, row->depth, row->twice_middle);
		row->size = n;
	}
	return &row->best;
}

static int
longest_run(const House *house, int section)
{
	int longest = 0;

	for (int r = 0; r < house->n_rows; r++)
	{
		const Row *row = &house->row[r];

		if (!in_section(row->section, section))
			continue;
		for (int i = row->first; i < row->first + row->n_places;)
		{
			int length = run_length(house, row, i);

			if (length > longest)
				longest = length;
			i += length > 0 ? length : 1;
		}
	}
	return longest;
}

/* ---------- choosing ---------- */

static int
compare_int(const void *a, const void *b)
{
	int x = *(const int *) a;
	int y = *(const int *) b;

	return (x > y) - (x < y);
}

static void
pick_block(int first, int n, int *pick)
{
	for (int i = 0; i < n; i++)
		pick[i] = first + i;
}

bool
choose_together(House *house, int section, int n, int *pick)
{
	Stretch best = {-1, 0, 0, 0};

	for (int r = 0; r < house->n_rows; r++)
		if (in_section(house->row[r].section, section))
		{
			const Stretch *block = row_best(house, &house->row[r], n);

			if (block_better(block, &best))
				best = *block;
		}
	if (best.first < 0)
		return false;
	pick_block(best.first, n, pick);
	return true;
}

/* The best `size` places of a row with the n - size nearest to them in `other`. */
static bool
pair_rows(House *house, Row *row, const Row *other, int n, int size, Stretch *best, int *pick)
{
	const Stretch *one = row_best(house, row, size);
	Stretch two;
	Stretch both;

	if (one->first < 0)
		return false;
	two = best_in_row(house, other, n - size, 0,
					  (int64_t) house->place[one->first].seat_no +
						  house->place[one->first + size - 1].seat_no);
	if (two.first < 0)
		return false;
	both.first = one->first;
	both.orphans = one->orphans + two.orphans;
	both.odd = one->odd + two.odd;
	both.distance = one->distance + two.distance + square((int64_t) other->depth * ROW_CM);
	if (!block_better(&both, best))
		return false;
	*best = both;
	pick_block(one->first, size, pick);
	pick_block(two.first, n - size, pick + size);
	return true;
}

/* As evenly as can be: nobody should sit alone who need not. */
bool
choose_two_rows(House *house, int section, int n, int *pick)
{
	Stretch best = {-1, 0, 0, 0};

	for (int size = (n + 1) / 2; size < n && best.first < 0; size++)
		for (int r = 0; r + 1 < house->n_rows; r++)
		{
			Row *front = &house->row[r];
			Row *back = front + 1;

			if (!in_section(front->section, section) || back->section != front->section ||
				back->row_no != front->row_no + 1)
				continue;
			pair_rows(house, front, back, n, size, &best, pick);
			pair_rows(house, back, front, n, size, &best, pick);
		}
	qsort(pick, best.first < 0 ? 0 : n, sizeof(int), compare_int);
	return best.first >= 0;
}

bool
choose_any(House *house, int section, int n, int *pick)
{
	int size = longest_run(house, section);
	int picked = 0;

	while (picked < n && size > 0)
	{
		if (size > n - picked)
			size = n - picked;
		if (!choose_together(house, section, size, pick + picked))
		{
			size--;
			continue;
		}
		for (int i = 0; i < size; i++)
			house_set_free(house, pick[picked + i], false);
		picked += size;
	}
	for (int i = 0; i < picked; i++)
		house_set_free(house, pick[i], true);
	qsort(pick, picked, sizeof(int), compare_int);
	return picked == n;
}

bool
choose_in_order(const House *house, int section, int n, int *pick)
{
	int picked = 0;

	for (int i = 0; i < house->n_places && picked < n; i++)
		if (house->place[i].free && in_section(house->place[i].section, section))
			pick[picked++] = i;
	return picked == n;
}
