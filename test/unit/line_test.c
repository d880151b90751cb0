/*
 * line_test.c
 *		The index of the waiting line (src/line.c) against a naive model: plain
 *		arrays with the state, secret and time of every place, counted one by
 *		one.
 *
 * One run of each test per seed.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "line.h"

#define PAGE LINE_PAGE_SLOTS
#define N_LINES 3
#define MAX_PLACE 50000 /* that the model has room for */
#define ROOM (N_LINES * MAX_PLACE) /* places taken at a time, as memory.c bounds them */
/* What memory.c makes of that, and no page more. */
#define POOL_PAGES (N_LINES + ROOM / (PAGE - LINE_PAGE_SPARE))
#define MAX_ENTRIES (1 + ROOM / (PAGE - LINE_PAGE_SPARE) + 64)
#define BEYOND ((INT64_C(1) << 44) + 1) /* its page number doesn't fit */

/* What the model says of a place; UNTAKEN and FLYING are LINE_GONE outside. */
typedef enum ModelState
{
	UNTAKEN,
	FLYING, /* taken, its transaction still runs */
	WAITING,
	ACTIVE,
	DROPPED
} ModelState;

typedef struct Model
{
	ModelState state[MAX_PLACE + 1];
	uint64_t secret[MAX_PLACE + 1];
	int64_t time[MAX_PLACE + 1];
	int64_t next_place;
	Line *line;
} Model;

static LinePool *pool;
static bool page_in_use[POOL_PAGES];
static int64_t n_taken; /* in all lines */
static Model model[N_LINES];

/* Empty lines and a pool all of whose pages are free. */
static void
start(void)
{
	/* What was there before must not matter. */
	memset(pool, 0xa5, line_pool_size(POOL_PAGES));
	line_pool_init(pool, POOL_PAGES);
	memset(page_in_use, 0, sizeof(page_in_use));
	n_taken = 0;
	for (int i = 0; i < N_LINES; i++)
	{
		Line *line = model[i].line;

		memset(&model[i], 0, sizeof(Model));
		memset(line, 0xa5, line_size(MAX_ENTRIES));
		model[i].line = line;
		model[i].next_place = 1;
		line_init(line, MAX_ENTRIES);
	}
}

/* ---------- the same change to line and model ---------- */

static void
give_pages(uint32_t pages)
{
	for (uint32_t page = pages; page != LINE_NO_PAGE; page = pool->pages[page].next)
	{
		if (!expect(page < POOL_PAGES && page_in_use[page], "page %u given back but not in use",
					page))
			return;
		page_in_use[page] = false;
	}
	line_pool_give(pool, pages);
}

/* False, and nothing has changed, when all places are taken: never for want of a page. */
static bool
line_enter(Line *line, int64_t place, uint64_t secret)
{
	uint32_t freed = LINE_NO_PAGE;

	if (n_taken == ROOM)
		return false;
	n_taken++;
	if (!line_make_room(line, pool, place, &freed))
	{
		uint32_t page;

		give_pages(freed);
		freed = LINE_NO_PAGE;
		page = line_pool_take(pool);
		if (!expect(page < POOL_PAGES, "no page for %" PRId64 ", with %" PRId64 " places", place,
					n_taken))
			abort();
		expect(!page_in_use[page], "page %u given out twice", page);
		page_in_use[page] = true;
		expect(line_add_page(line, pool, place, page), "the directory is full");
		expect(line_make_room(line, pool, place, &freed), "no room in the new page");
	}
	give_pages(freed);
	line_take(line, pool, place, secret);
	return true;
}

static void
line_leave(Line *line, int64_t place)
{
	bool dropped;

	give_pages(line_drop(line, pool, place, &dropped));
	expect(dropped, "place %" PRId64 " was not taken", place);
	n_taken -= dropped;
}

static bool
take(Model *m, int64_t place)
{
	uint64_t secret = random_bits();

	if (!line_enter(m->line, place, secret))
		return false;
	m->state[place] = FLYING;
	m->secret[place] = secret;
	if (place >= m->next_place)
		m->next_place = place + 1;
	return true;
}

static void
set(Model *m, int64_t place, ModelState state)
{
	m->state[place] = state;
	m->time[place] = (int64_t) random_bits();
	line_set(m->line, pool, place, state == WAITING ? LINE_WAITING : LINE_ACTIVE, m->time[place]);
}

static void
drop(Model *m, int64_t place)
{
	m->state[place] = DROPPED;
	line_leave(m->line, place);
}

static bool
is_taken(const Model *m, int64_t place)
{
	return m->state[place] == FLYING || m->state[place] == WAITING || m->state[place] == ACTIVE;
}

static void
drop_all(Model *m)
{
	for (int64_t place = 1; place < m->next_place; place++)
		if (is_taken(m, place))
			drop(m, place);
}

/* ---------- the same question to line and model ---------- */

static void
check_place(const Model *m, int64_t place)
{
	LineState state;
	LineCell *cell = line_find(m->line, pool, place, &state);
	LineState wanted = m->state[place] == WAITING ? LINE_WAITING :
					   m->state[place] == ACTIVE  ? LINE_ACTIVE :
													LINE_GONE;

	if (!expect(state == wanted && (cell != NULL) == (wanted != LINE_GONE),
				"place %" PRId64 ": state %d, model %d", place, state, wanted) ||
		cell == NULL)
		return;
	expect(cell->secret == m->secret[place], "place %" PRId64 ": other secret", place);
	expect(cell->time == m->time[place], "place %" PRId64 ": other time", place);
}

static void
check_rank(const Model *m, int64_t place, int64_t rank)
{
	int64_t got = line_rank(m->line, pool, place);

	expect(got == rank, "place %" PRId64 ": rank %" PRId64 ", model %" PRId64, place, got, rank);
}

static void
check_next(const Model *m, LineState state, int64_t after, int64_t next)
{
	int64_t got = line_next(m->line, pool, state, after);

	expect(got == next, "after %" PRId64 " comes %" PRId64 " (state %d), model %" PRId64, after,
		   got, state, next);
}

/* The directory, as line.h describes it. */
static const uint32_t *
directory(const Line *line, int column)
{
	return (const uint32_t *) ((const int64_t *) line->data + line->max_entries) +
		   column * line->max_entries;
}

static const LinePage *
nth_page(const Line *line, uint32_t at)
{
	return &pool->pages[directory(line, 0)[at]];
}

/* Whether so many pages in a row have less than that free. */
static void
check_free(const Line *line, uint32_t from, uint32_t n, uint32_t less_than)
{
	uint32_t free = 0;

	for (uint32_t i = from; i < from + n; i++)
		free += PAGE - directory(line, 2)[i];
	expect(free < less_than, "%u free in the %u pages from %u of %u", free, n, from,
		   line->n_entries);
}

/* A page is what its line and it itself say. */
static int
check_page(const Line *line, uint32_t at)
{
	const LinePage *page = nth_page(line, at);
	uint32_t taken = 0;
	uint32_t waiting = 0;
	uint32_t active = 0;

	expect(page->n_slots > 0 && page->n_slots <= PAGE, "page %u has %u slots", at, page->n_slots);
	expect(((const int64_t *) line->data)[at] == (((int64_t) page->era << 32) | page->place[0]),
		   "page %u begins elsewhere", at);
	if (at > 0)
		expect(((const int64_t *) line->data)[at] >
				   (((int64_t) nth_page(line, at - 1)->era << 32) |
					nth_page(line, at - 1)->place[nth_page(line, at - 1)->n_slots - 1]),
			   "page %u is not behind the one before", at);
	for (uint32_t i = 1; i < page->n_slots; i++)
		expect(page->place[i - 1] < page->place[i], "page %u is not sorted at %u", at, i);
	for (int w = 0; w < LINE_PAGE_WORDS; w++)
	{
		expect(((page->waiting[w] | page->active[w]) & ~page->taken[w]) == 0 &&
				   (page->waiting[w] & page->active[w]) == 0,
			   "page %u has contradicting bits in %d", at, w);
		for (int bit = 0; bit < 64; bit++)
			expect(w * 64 + bit < page->n_slots || (page->taken[w] >> bit & 1) == 0,
				   "page %u has a bit beyond its slots", at);
		taken += __builtin_popcountll(page->taken[w]);
		waiting += __builtin_popcountll(page->waiting[w]);
		active += __builtin_popcountll(page->active[w]);
	}
	expect(directory(line, 1)[at] == waiting && directory(line, 2)[at] == taken && taken > 0 &&
			   page->n_active == active,
		   "page %u is counted wrong", at);
	for (int p = 0; p < LINE_PAGE_PARTS; p++)
		waiting -= page->part[p];
	expect(waiting == 0, "page %u has wrong parts", at);
	return (int) taken;
}

/* What line.h says of how full pages are. */
static void
check_full(const Line *line)
{
	uint32_t n = line->n_entries;
	const int64_t *first = (const int64_t *) line->data;
	uint32_t era_began = 0;
	uint32_t eras = 1;

	for (uint32_t at = 0; at < n; at++)
	{
		uint32_t row;

		if (at > 0 && first[at] >> 32 != first[at - 1] >> 32)
		{
			era_began = at;
			eras++;
		}
		row = at + 1 - era_began < LINE_WINDOW ? at + 1 - era_began : LINE_WINDOW;
		if (at == n - 1)
			check_free(line, at + 1 - row, row, PAGE + LINE_PAGE_SPARE);
		else if (eras == 1)
			check_free(line, at + 1 - row, row, PAGE + 2 * LINE_WINDOW);
	}
	expect(n <= (n > 0) * line_max_pages(line->n_taken) + eras - 1,
		   "%u pages for %" PRId64 " places in %u eras", n, line->n_taken, eras);
}

/* Each page and their sums. */
static void
check_pages(const Line *line)
{
	uint32_t n = line->n_entries;
	int64_t taken = 0;

	for (uint32_t at = 0; at < n; at++)
		taken += check_page(line, at);
	expect(line->n_taken == taken, "%" PRId64 " taken, in pages %" PRId64, line->n_taken, taken);
	for (uint32_t at = 0; at < n; at += LINE_GROUP)
	{
		uint32_t sum = 0;

		for (uint32_t i = at; i < n && i < at + LINE_GROUP; i++)
			sum += directory(line, 1)[i];
		expect(directory(line, 3)[at / LINE_GROUP] == sum, "group of page %u is wrong", at);
	}
	check_full(line);
}

/* Everything that can be asked, about every place there is, gone or to come. */
static void
check_line(const Model *m)
{
	int64_t rank = 1;
	int64_t n_active = 0;
	int64_t next_waiting = 0;
	int64_t next_active = 0;
	LineWalk walk;
	int64_t walked;

	line_walk_begin(&walk, m->line, pool, LINE_WAITING, 0);
	walked = line_walk_next(&walk);
	for (int64_t place = 1; place <= MAX_PLACE; place++)
	{
		check_place(m, place);
		check_rank(m, place, rank);
		rank += m->state[place] == WAITING;
		n_active += m->state[place] == ACTIVE;
		if (m->state[place] == WAITING)
		{
			expect(walked == place && walk.cell->secret == m->secret[place],
				   "the walk comes to %" PRId64 ", model %" PRId64, walked, place);
			walked = line_walk_next(&walk);
		}
	}
	expect(walked == 0, "the walk comes to %" PRId64 ", model to its end", walked);
	for (int64_t place = MAX_PLACE; place >= 0; place--)
	{
		check_next(m, LINE_WAITING, place, next_waiting);
		check_next(m, LINE_ACTIVE, place, next_active);
		if (m->state[place] == WAITING)
			next_waiting = place;
		if (m->state[place] == ACTIVE)
			next_active = place;
	}
	check_rank(m, INT64_MIN, 1);
	check_rank(m, 0, 1);
	check_rank(m, LINE_MAX_PLACE, rank);
	check_rank(m, LINE_MAX_PLACE + 1, rank);
	check_rank(m, BEYOND, rank);
	check_next(m, LINE_WAITING, -5, next_waiting);
	check_next(m, LINE_WAITING, LINE_MAX_PLACE, 0);
	check_next(m, LINE_ACTIVE, LINE_MAX_PLACE - 1, 0);

	expect(m->line->n_waiting == rank - 1, "%" PRId64 " waiting, model %" PRId64,
		   m->line->n_waiting, rank - 1);
	expect(m->line->n_active == n_active, "%" PRId64 " active, model %" PRId64, m->line->n_active,
		   n_active);
	check_pages(m->line);
	expect(m->line->next_place == m->next_place, "next place %" PRId64 ", model %" PRId64,
		   m->line->next_place, m->next_place);
}

/* Pages are of one line or free, and none is lost. */
static void
check_pool(void)
{
	uint32_t in_lines = 0;
	uint32_t in_use = 0;
	int64_t taken = 0;

	for (int i = 0; i < N_LINES; i++)
	{
		in_lines += model[i].line->n_entries;
		for (int64_t place = 1; place <= MAX_PLACE; place++)
			taken += is_taken(&model[i], place);
	}
	for (int i = 0; i < POOL_PAGES; i++)
		in_use += page_in_use[i];
	expect(in_lines == in_use && pool->n_free == POOL_PAGES - in_use,
		   "%u pages in lines, %u given out, %u of %d free", in_lines, in_use, pool->n_free,
		   POOL_PAGES);
	expect(taken == n_taken, "%" PRId64 " taken, model %" PRId64, n_taken, taken);
}

static void
check_all(void)
{
	for (int i = 0; i < N_LINES; i++)
		check_line(&model[i]);
	check_pool();
}

/* Every page is free again and can be had again, once. */
static void
check_pool_whole(void)
{
	expect(pool->n_free == POOL_PAGES, "%u of %d pages free", pool->n_free, POOL_PAGES);
	for (int i = 0; i < POOL_PAGES; i++)
	{
		uint32_t page = line_pool_take(pool);

		if (expect(page < POOL_PAGES && !page_in_use[page], "free list is broken at %u", page))
			page_in_use[page] = true;
	}
	expect(line_pool_take(pool) == LINE_NO_PAGE, "more pages than there are");
}

/* ---------- tests ---------- */

/* A place of that state, near the front or anywhere, or 0. */
static int64_t
some_place(const Model *m, ModelState state)
{
	int64_t place = random_below(4) == 0 ? 1 : 1 + random_below(m->next_place);

	for (int i = 0; i < 5000 && place < m->next_place; i++, place++)
		if (m->state[place] == state)
			return place;
	return 0;
}

/* Takes a place: the next, one further on (a hole stays), or one of a hole. */
static int64_t
take_some(Model *m)
{
	int64_t place = m->next_place;

	if (random_below(2000) == 0)
		place += random_below(3 * PAGE);
	else if (random_below(20) == 0)
		place = some_place(m, UNTAKEN);
	if (place == 0 || place > MAX_PLACE || !take(m, place))
		return 0;
	return place;
}

/* One thing that may happen to a line; joining is as likely as told. */
static void
step(Model *m, int joins_of_100)
{
	ModelState from = (ModelState) (FLYING + random_below(3));
	int64_t place;

	if (random_below(100) < joins_of_100)
	{
		place = take_some(m);
		if (place != 0 && random_below(10) > 0)
			set(m, place, random_below(10) == 0 ? ACTIVE : WAITING);
	}
	else if ((place = some_place(m, from)) != 0)
	{
		if (from == FLYING && random_below(2) == 0)
			set(m, place, WAITING);
		else if (from == WAITING && random_below(4) > 0)
			set(m, place, random_below(20) == 0 ? WAITING : ACTIVE);
		else
			drop(m, place);
	}
}

/* Lines that share a pool grow, shrink and grow again. */
static void
test_mixed(void)
{
	static const int joins[] = {80, 50, 10, 60, 5};

	start();
	for (size_t phase = 0; phase < sizeof(joins) / sizeof(joins[0]); phase++)
	{
		for (int i = 0; i < 40000; i++)
			step(&model[random_below(N_LINES)], joins[phase]);
		check_all();
	}
	for (int i = 0; i < N_LINES; i++)
		drop_all(&model[i]);
	check_all();
	check_pool_whole();
	result("joins, admissions, promotions, leaves and aborts in any order");
}

/*
 * Somebody stays at the front while a crowd passes.  The crowd is beyond the
 * model: it is a window of places first..last, all waiting.
 */
static void
test_long_stay(void)
{
	Line *line = model[0].line;
	int64_t first = 2;
	LineState state;
	LineCell *cell;

	start();
	take(&model[0], 1);
	set(&model[0], 1, WAITING);
	for (int64_t place = 2; place <= 400000; place++)
	{
		int64_t window = 1 + random_below(2 * PAGE);

		line_enter(line, place, place);
		line_set(line, pool, place, LINE_WAITING, place);
		for (; first < place - window; first++)
		{
			line_set(line, pool, first, LINE_ACTIVE, 0);
			line_leave(line, first);
		}
		if (place % 97 == 0)
		{
			expect(line_rank(line, pool, 1) == 1, "the first is no longer first");
			expect(line_rank(line, pool, place) == place - first + 2,
				   "rank %" PRId64 " at place %" PRId64, line_rank(line, pool, place), place);
			expect(line_rank(line, pool, first / 2 + 1) == 2, "rank of one gone is not 2");
			expect(line_next(line, pool, LINE_WAITING, 1) == first, "second is not %" PRId64,
				   first);
			expect(line_next(line, pool, LINE_ACTIVE, 0) == 0, "somebody is active");
			expect(line->n_waiting == place - first + 2, "%" PRId64 " waiting", line->n_waiting);
		}
		if (place % 997 == 0)
			check_pages(line);
	}
	cell = line_find(line, pool, 1, &state);
	expect(state == LINE_WAITING && cell && cell->secret == model[0].secret[1] &&
			   cell->time == model[0].time[1],
		   "the first has been changed");
	for (; first <= 400000; first++)
		line_leave(line, first);
	drop(&model[0], 1);
	check_pool_whole();
	result("one stays at the front while 400,000 pass");
}

/* ---------- lines beyond the model ---------- */

/*
 * Who is in a line, by their places: `at` says where one stands here.  Waiting
 * all of them; secret and time are made from the place.
 */
typedef struct Crowd
{
	Line *line;
	int n;
	int64_t place[ROOM];
} Crowd;

static Crowd crowd[N_LINES];

static void
start_crowds(void)
{
	start();
	for (int i = 0; i < N_LINES; i++)
		crowd[i] = (Crowd){.line = model[i].line};
}

static bool
crowd_enter(Crowd *c, int64_t place)
{
	int at = c->n;

	if (!line_enter(c->line, place, ~(uint64_t) place))
		return false;
	line_set(c->line, pool, place, LINE_WAITING, place * 3);
	while (at > 0 && c->place[at - 1] > place)
		at--;
	memmove(c->place + at + 1, c->place + at, (c->n - at) * sizeof(c->place[0]));
	c->place[at] = place;
	c->n++;
	return true;
}

static void
crowd_leave(Crowd *c, int at)
{
	line_leave(c->line, c->place[at]);
	c->n--;
	memmove(c->place + at, c->place + at + 1, (c->n - at) * sizeof(c->place[0]));
}

static void
check_crowd(const Crowd *c)
{
	LineWalk walk;

	line_walk_begin(&walk, c->line, pool, LINE_WAITING, 0);
	for (int i = 0; i < c->n; i++)
	{
		LineState state;
		int64_t place = c->place[i];
		LineCell *cell = line_find(c->line, pool, place, &state);

		if (!expect(cell != NULL && state == LINE_WAITING, "place %" PRId64 " does not wait",
					place))
			continue;
		expect(cell->secret == ~(uint64_t) place && cell->time == place * 3,
			   "place %" PRId64 " is another", place);
		expect(line_rank(c->line, pool, place) == i + 1, "rank %" PRId64 " of %" PRId64,
			   line_rank(c->line, pool, place), place);
		if (i + 1 < c->n && c->place[i + 1] > place + 1)
			expect(line_rank(c->line, pool, place + 1) == i + 2 &&
					   line_find(c->line, pool, place + 1, &state) == NULL,
				   "one gone after %" PRId64 " is told wrong", place);
		expect(line_next(c->line, pool, LINE_WAITING, place) ==
				   (i + 1 < c->n ? c->place[i + 1] : 0),
			   "the next after %" PRId64 " is wrong", place);
		expect(line_walk_next(&walk) == place && walk.cell == cell, "the walk is not at %" PRId64,
			   place);
	}
	expect(line_walk_next(&walk) == 0, "the walk goes on");
	expect(c->line->n_waiting == c->n && c->line->n_taken == c->n, "%" PRId64 " wait",
		   c->line->n_waiting);
	check_pages(c->line);
}

/* All is as it should be; and when all have left, nothing is left behind. */
static void
check_crowds(void)
{
	for (int i = 0; i < N_LINES; i++)
		check_crowd(&crowd[i]);
}

static void
crowds_leave(void)
{
	for (int i = 0; i < N_LINES; i++)
	{
		while (crowd[i].n > 0)
			crowd_leave(&crowd[i], crowd[i].n - 1);
		expect(crowd[i].line->n_entries == 0, "%u pages left over", crowd[i].line->n_entries);
	}
	check_pool_whole();
}

/*
 * Somebody enters and leaves again and again; now and then somebody stays.  The
 * line of the patient goes over far more pages than there are.
 */
static void
test_patient(void)
{
	int64_t next[N_LINES] = {1, 1, 1};
	int64_t n_visits = seed == 1 ? 3000000 : 300000;

	start_crowds();
	for (int64_t n = 0; n < n_visits; n++)
	{
		Crowd *c = &crowd[n / 4000 % N_LINES];
		int64_t place = next[n / 4000 % N_LINES]++;

		line_enter(c->line, place, ~(uint64_t) place);
		line_set(c->line, pool, place, LINE_WAITING, place * 3);
		if (random_below(1500) == 0)
			c->place[c->n++] = place;
		else
			line_leave(c->line, place);
		if (n % 50021 == 0)
			check_crowds();
	}
	check_crowds();
	/* And the room is for all others. */
	while (crowd_enter(&crowd[n_visits % N_LINES], next[n_visits % N_LINES]++))
		;
	expect(n_taken == ROOM, "%" PRId64 " places of %d", n_taken, ROOM);
	check_crowds();
	crowds_leave();
	result("one enters and leaves again and again, a few stay");
}

/* Every place there is can be had, whoever has left and in whatever order. */
static void
test_to_the_last_place(void)
{
	int64_t next[N_LINES] = {1, 1, 1};

	start_crowds();
	for (int round = 0; round < 9; round++)
	{
		int to = random_below(N_LINES);

		while (crowd_enter(&crowd[to], next[to]))
			next[to]++;
		expect(n_taken == ROOM, "%" PRId64 " places of %d", n_taken, ROOM);
		check_crowds();
		for (int i = 0; i < N_LINES; i++)
		{
			Crowd *c = &crowd[i];
			int keep = random_below(2) == 0 ? 2 : 2 + random_below(4000);
			int kept = 0;

			switch (round % 4)
			{
				case 0: /* every second, or all but one of so many; from the front */
				case 1: /* from the end */
					for (int k = 0; k < c->n; k++)
					{
						int at = round % 4 == 0 ? k : c->n - 1 - k;

						if (at % keep != 0)
							line_leave(c->line, c->place[at]);
					}
					for (int at = 0; at < c->n; at += keep)
						c->place[kept++] = c->place[at];
					c->n = kept;
					break;
				case 2: /* somebody or other */
					for (int k = 0; k < c->n; k++)
					{
						if (random_below(keep) == 0)
							c->place[kept++] = c->place[k];
						else
							line_leave(c->line, c->place[k]);
					}
					c->n = kept;
					break;
				case 3: /* some in the middle */
					for (int k = c->n / 4; k > 0; k--)
						crowd_leave(c, c->n / 3);
					break;
			}
		}
		check_crowds();
	}
	crowds_leave();
	result("full to the last place, whoever has left");
}

/* A page is freed by a few who leave; nobody else is needed for it. */
static void
test_every_departure(void)
{
	Crowd *c = &crowd[0];

	start_crowds();
	for (int64_t place = 1; place <= 20 * PAGE; place++)
		crowd_enter(c, place);
	for (int n = 0; c->n > 0; n++)
	{
		crowd_leave(c, random_below(8) == 0 ? 0 : random_below(c->n));
		check_full(c->line);
		if (n % 5000 == 0)
			check_crowd(c);
	}
	crowds_leave();
	result("after each who leaves the pages are as full as told");
}

/* Read from a table, while others leave: forwards, backwards, in no order. */
static void
test_any_order(void)
{
	static int64_t places[ROOM];
	int n = seed == 1 ? ROOM : 22 * PAGE;

	for (int order = 0; order < 4; order++)
	{
		int64_t place = 0;
		int in_line = 0;

		start_crowds();
		for (int i = 0; i < n; i++)
			places[i] = place += 1 + (random_below(20) == 0 ? random_below(1000) : 0);
		if (order == 1)
			for (int i = 0; i < n / 2; i++)
			{
				int64_t other = places[n - 1 - i];

				places[n - 1 - i] = places[i];
				places[i] = other;
			}
		/* One in ten, or all, in no order. */
		for (int i = n - 1; i > 0 && order > 1; i--)
			if (order == 3 || i % 10 == 0)
			{
				int k = random_below(i + 1);
				int64_t other = places[k];

				places[k] = places[i];
				places[i] = other;
			}
		for (int i = 0; i < n; i++)
		{
			expect(line_enter(crowd[0].line, places[i], ~(uint64_t) places[i]), "no place");
			line_set(crowd[0].line, pool, places[i], LINE_WAITING, places[i] * 3);
			in_line++;
			if (i % 50 == 0)
				check_full(crowd[0].line);
			if (i % 6007 == 0)
				check_pages(crowd[0].line);
			if (order == 3 && i > n / 2 && random_below(2) == 0)
			{
				/* It comes back later. */
				int k = i - random_below(n / 2);
				LineState state;

				if (line_find(crowd[0].line, pool, places[k], &state))
				{
					line_leave(crowd[0].line, places[k]);
					in_line--;
				}
			}
		}
		for (int i = 0; i < n; i++)
		{
			LineState state;

			if (line_find(crowd[0].line, pool, places[i], &state) == NULL)
				crowd_enter(&crowd[1], places[i]), crowd_leave(&crowd[1], 0);
		}
		for (place = 0; (place = line_next(crowd[0].line, pool, LINE_WAITING, place)) != 0;)
			crowd[0].place[crowd[0].n++] = place;
		expect(crowd[0].n == in_line, "%d in line, model %d", crowd[0].n, in_line);
		check_crowds();
		crowds_leave();
	}
	result("places that come in any order");
}

/* Numbers of any size: pages do not reach over a multiple of 2^32. */
static void
test_eras(void)
{
	Crowd *c = &crowd[0];

	start_crowds();
	for (int i = 0; i < 12000; i++)
	{
		int64_t era = (int64_t) (1 + random_below(5) * random_below(3) * 7) << 32;
		int64_t place = era + random_below(3000) - 1500;

		if (random_below(4) == 0)
			place = 1 + random_bits() % LINE_MAX_PLACE;
		if (c->n > 0 && random_below(3) == 0)
			crowd_leave(c, random_below(c->n));
		else
		{
			LineState state;

			if (line_find(c->line, pool, place, &state) == NULL)
				crowd_enter(c, place);
		}
		if (i % 500 == 0)
			check_crowd(c);
	}
	check_crowd(c);
	crowds_leave();
	result("places of any number");
}

/* A rebuild reads a table in any order, with gaps. */
static void
test_rebuild(void)
{
	static int64_t places[MAX_PLACE];
	Model *m = &model[0];
	int n = 0;

	start();
	for (int64_t place = 1; place <= MAX_PLACE; place++)
		if (random_below(10) < 1 + place / PAGE % 3)
			places[n++] = place;
	for (int i = n - 1; i > 0; i--)
	{
		int j = (int) random_below(i + 1);
		int64_t place = places[i];

		places[i] = places[j];
		places[j] = place;
	}
	for (int i = 0; i < n; i++)
	{
		take(m, places[i]);
		set(m, places[i], random_below(3) == 0 ? ACTIVE : WAITING);
		if (i == n / 2)
			check_all();
	}
	check_all();
	drop_all(m);
	check_pool_whole();
	result("places taken out of order");
}

/* A transaction that never commits keeps its page, shows to nobody, aborts. */
static void
test_in_flight(void)
{
	Model *m = &model[0];

	start();
	for (int64_t place = 1; place <= 3 * PAGE; place++)
	{
		take(m, place);
		if (random_below(2) == 0)
			set(m, place, WAITING);
	}
	check_all();
	for (int64_t place = 1; place < m->next_place; place++)
		if (m->state[place] == WAITING)
			drop(m, place);
	check_all();
	expect(line_next(m->line, pool, LINE_WAITING, 0) == 0, "one in flight is waiting");
	for (int64_t place = m->next_place - 1; place > 0; place--)
		if (m->state[place] == FLYING)
			drop(m, place);
	check_all();
	check_pool_whole();
	result("places taken and never set");
}

/* As memory.c applies a change that brings a place to a state. */
static void
set_unless_ended(Model *m, int64_t place, ModelState state, bool ended)
{
	expect(line_ended_early(m->line, pool, place) == ended, "place %" PRId64 ": ended early is %d",
		   place, !ended);
	if (line_ended_early(m->line, pool, place))
		drop(m, place);
	else
		set(m, place, state);
}

static void
end(Model *m, int64_t place, LineState expected)
{
	bool in_step = m->state[place] == (expected == LINE_WAITING ? WAITING : ACTIVE);
	bool dropped = !in_step;
	uint32_t pages = line_end(m->line, pool, place, expected, &dropped);

	expect(dropped == in_step, "place %" PRId64 ": dropped is %d", place, dropped);
	expect(pages == LINE_NO_PAGE || in_step, "place %" PRId64 ": its page went too early", place);
	m->state[place] = in_step ? DROPPED : FLYING;
	n_taken -= dropped;
	give_pages(pages);
}

/*
 * Ends that are told in step and too early.  What happens to a place, letter
 * by letter: Join, Admit (straight in), Promote, Leave (it waited), End (it was
 * active).
 */
static void
test_ended_early(void)
{
	static const char *const stories[] = {"JL", "LJ", "JPE", "JEP", "AE", "EA", "J", "JP", "A"};
	static const char *story[MAX_PLACE + 1];
	static bool ended[MAX_PLACE + 1];
	Model *m = &model[0];
	const int64_t n_places = 10 * PAGE;
	int64_t left = n_places;
	int n = 0;

	start();
	memset(ended, 0, sizeof(ended));
	for (int64_t place = 1; place <= n_places; place++)
	{
		take(m, place);
		story[place] = stories[random_below(sizeof(stories) / sizeof(stories[0]))];
		expect(!line_ended_early(m->line, pool, place), "place %" PRId64 " is new and has ended",
			   place);
	}
	while (left > 0)
	{
		int64_t place = 1 + random_below(n_places);

		/* Not only at random, or the last ones would take for ever. */
		while (*story[place] == '\0')
			place = place % n_places + 1;
		switch (*story[place]++)
		{
			case 'J':
				set_unless_ended(m, place, WAITING, ended[place]);
				break;
			case 'A':
			case 'P':
				set_unless_ended(m, place, ACTIVE, ended[place]);
				break;
			case 'L':
				end(m, place, LINE_WAITING);
				ended[place] = true;
				break;
			case 'E':
				end(m, place, LINE_ACTIVE);
				ended[place] = true;
				break;
		}
		left -= *story[place] == '\0';
		if (++n % 8000 == 0)
			check_all();
	}
	check_all();
	for (int64_t place = 1; place <= n_places; place++)
		expect(ended[place] == (m->state[place] == DROPPED), "place %" PRId64 " is in state %d",
			   place, m->state[place]);
	drop_all(m);
	check_pool_whole();
	result("ends that are told before beginnings and promotions");
}

/* The end of a place that no page holds is nothing. */
static void
test_end_unknown(void)
{
	static const int64_t places[] = {-1, 0, PAGE, LINE_MAX_PLACE + 1, BEYOND};
	bool dropped;

	start();
	take(&model[0], 1);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
	{
		dropped = true;
		expect(line_end(model[0].line, pool, places[i], LINE_WAITING, &dropped) == LINE_NO_PAGE &&
				   !dropped,
			   "%" PRId64 " has ended", places[i]);
		expect(!line_ended_early(model[0].line, pool, places[i]), "%" PRId64 " ended early",
			   places[i]);
	}
	check_all();
	drop_all(&model[0]);
	check_pool_whole();
	result("the end of places beyond the line");
}

/*
 * Ten million (with the first seed) pass through a line that is never empty: no page is kept, no
 * count drifts.  One in a thousand stays for long, as far as the pool allows.
 */
static void
test_turnover(void)
{
	static int64_t stays[16];
	Line *line = model[0].line;
	const int64_t n_places = seed == 1 ? 10000000 : 500000;
	const int64_t window = 3 * PAGE;
	int64_t first = 1;
	int n_stays = 0;

	start();
	for (int64_t place = 1; place <= n_places; place++)
	{
		line_enter(line, place, place);
		line_set(line, pool, place, LINE_WAITING, place);
		for (; first < place - window; first++)
		{
			if (n_stays < 16 && first % 1000 == 0)
				stays[n_stays++] = first;
			else
				line_leave(line, first);
		}
		if (n_stays == 16 && random_below(5000) == 0)
			for (; n_stays > 0; n_stays--)
				line_leave(line, stays[n_stays - 1]);
		if (place % 10007 == 0)
		{
			expect(line->n_waiting == place - first + 1 + n_stays, "%" PRId64 " waiting",
				   line->n_waiting);
			expect(line_rank(line, pool, place) == line->n_waiting, "rank %" PRId64 " of the last",
				   line_rank(line, pool, place));
			check_pages(line);
		}
	}
	while (line_next(line, pool, LINE_WAITING, 0) != 0)
		line_leave(line, line_next(line, pool, LINE_WAITING, 0));
	expect(line->n_waiting == 0 && line->n_entries == 0, "%" PRId64 " waiting, %u pages left over",
		   line->n_waiting, line->n_entries);
	check_pool_whole();
	result("ten million pass");
}

/* Emptying a line at once; its pages come clean to the next. */
static void
test_pop(void)
{
	Model *m = &model[0];
	uint32_t page;

	start();
	for (int i = 0; i < 2000; i++)
	{
		int64_t place = 1 + random_below(MAX_PLACE);

		if (m->state[place] == UNTAKEN && take(m, place))
			set(m, place, i % 2 ? WAITING : ACTIVE);
	}
	while ((page = line_pop_page(m->line, pool)) != LINE_NO_PAGE)
		give_pages(page);
	expect(m->line->n_entries == 0 && m->line->n_taken == 0, "%u pages left", m->line->n_entries);
	n_taken = 0;
	for (int64_t place = 1; place <= MAX_PLACE; place++)
	{
		m->state[place] = UNTAKEN;
		m->next_place = 1;
	}
	line_init(m->line, MAX_ENTRIES);
	check_all();
	for (int64_t place = 1; place <= MAX_PLACE; place += PAGE)
		take(&model[2], place);
	check_all();
	drop_all(&model[2]);
	check_pool_whole();
	result("a line emptied at once");
}

/* Places that no page holds, the last place there can be. */
static void
test_strangers(void)
{
	static const int64_t strangers[] = {
		INT64_MIN, -1, 0, PAGE, MAX_PLACE, LINE_MAX_PLACE, LINE_MAX_PLACE + 1, INT64_MAX,
	};
	Model *m = &model[0];
	LineState state;
	bool dropped;

	start();
	for (int64_t place = 1; place < PAGE; place++)
	{
		take(m, place);
		set(m, place, WAITING);
	}
	for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++)
	{
		line_set(m->line, pool, strangers[i], LINE_WAITING, 1);
		line_set(m->line, pool, strangers[i], LINE_ACTIVE, 1);
		expect(line_drop(m->line, pool, strangers[i], &dropped) == LINE_NO_PAGE && !dropped,
			   "%" PRId64 " was dropped", strangers[i]);
		expect(line_find(m->line, pool, strangers[i], &state) == NULL && state == LINE_GONE,
			   "%" PRId64 " is found", strangers[i]);
	}
	check_all();

	line_enter(m->line, LINE_MAX_PLACE, 7);
	line_set(m->line, pool, LINE_MAX_PLACE, LINE_WAITING, 8);
	check_rank(m, LINE_MAX_PLACE, PAGE);
	check_rank(m, LINE_MAX_PLACE + 1, PAGE + 1);
	check_rank(m, INT64_MAX, PAGE + 1);
	check_next(m, LINE_WAITING, PAGE - 1, LINE_MAX_PLACE);
	check_next(m, LINE_WAITING, LINE_MAX_PLACE, 0);
	line_leave(m->line, LINE_MAX_PLACE);
	m->next_place = LINE_MAX_PLACE + 1;
	check_line(m);
	m->next_place = PAGE;
	drop_all(m);
	check_pool_whole();
	result("places beyond the line");
}

int
main(void)
{
	static void (*const tests[])(
		void) = {test_mixed,           test_long_stay, test_patient,   test_to_the_last_place,
				 test_every_departure, test_any_order, test_eras,      test_rebuild,
				 test_in_flight,       test_pop,       test_strangers, test_ended_early,
				 test_end_unknown,     test_turnover};

	pool = malloc(line_pool_size(POOL_PAGES));
	for (int i = 0; i < N_LINES; i++)
		model[i].line = malloc(line_size(MAX_ENTRIES));
	run_seeded(tests, sizeof(tests) / sizeof(tests[0]));

	for (int i = 0; i < N_LINES; i++)
		free(model[i].line);
	free(pool);
	return finish();
}
