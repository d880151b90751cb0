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

#define MAX_PLACE 50000 /* that the model has room for */
#define POOL_PAGES 32
#define N_LINES 3
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
static Model model[N_LINES];

/* Empty lines and a pool all of whose pages are free. */
static void
start(void)
{
	/* What was there before must not matter. */
	memset(pool, 0xa5, line_pool_size(POOL_PAGES));
	line_pool_init(pool, POOL_PAGES);
	memset(page_in_use, 0, sizeof(page_in_use));
	for (int i = 0; i < N_LINES; i++)
	{
		Line *line = model[i].line;

		memset(&model[i], 0, sizeof(Model));
		memset(line, 0xa5, line_size(POOL_PAGES));
		model[i].line = line;
		model[i].next_place = 1;
		line_init(line, POOL_PAGES);
	}
}

/* ---------- the same change to line and model ---------- */

static void
give_page(uint32_t page)
{
	if (page == LINE_NO_PAGE)
		return;
	if (expect(page < POOL_PAGES && page_in_use[page], "page %u given back but not in use", page))
	{
		page_in_use[page] = false;
		line_pool_give(pool, page);
	}
}

/* False, and nothing has changed, when the pool is empty. */
static bool
take(Model *m, int64_t place)
{
	if (line_lacks_page(m->line, place))
	{
		uint32_t page = line_pool_take(pool);

		if (page == LINE_NO_PAGE)
			return false;
		expect(page < POOL_PAGES && !page_in_use[page], "page %u given out twice", page);
		page_in_use[page] = true;
		line_add_page(m->line, pool, place, page);
		expect(!line_lacks_page(m->line, place), "place %" PRId64 " lacks its new page", place);
	}
	m->state[place] = FLYING;
	m->secret[place] = random_bits();
	if (place >= m->next_place)
		m->next_place = place + 1;
	line_take(m->line, pool, place, m->secret[place]);
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
	give_page(line_drop(m->line, pool, place));
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

/* Everything that can be asked, about every place there is, gone or to come. */
static void
check_line(const Model *m)
{
	int64_t rank = 1;
	int64_t n_active = 0;
	int64_t next_waiting = 0;
	int64_t next_active = 0;
	uint32_t n_pages = 0;
	int64_t last_page = -1;

	for (int64_t place = 1; place <= MAX_PLACE; place++)
	{
		check_place(m, place);
		check_rank(m, place, rank);
		rank += m->state[place] == WAITING;
		n_active += m->state[place] == ACTIVE;
		if (is_taken(m, place) && place / LINE_PAGE_PLACES != last_page)
		{
			last_page = place / LINE_PAGE_PLACES;
			n_pages++;
		}
	}
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
	expect(m->line->n_entries == n_pages, "%u pages, model %u", m->line->n_entries, n_pages);
	expect(m->line->next_place == m->next_place, "next place %" PRId64 ", model %" PRId64,
		   m->line->next_place, m->next_place);
}

/* Pages are of one line or free, none is lost, and each counts its places. */
static void
check_pool(void)
{
	uint32_t in_lines = 0;
	uint32_t in_use = 0;
	int64_t used = 0;
	int64_t active = 0;

	for (int i = 0; i < N_LINES; i++)
	{
		in_lines += model[i].line->n_entries;
		for (int64_t place = 1; place <= MAX_PLACE; place++)
		{
			used -= is_taken(&model[i], place);
			active -= model[i].state[place] == ACTIVE;
		}
	}
	for (int i = 0; i < POOL_PAGES; i++)
		if (page_in_use[i])
		{
			in_use++;
			used += pool->pages[i].used;
			active += pool->pages[i].n_active;
		}
	expect(in_lines == in_use && pool->n_free == POOL_PAGES - in_use,
		   "%u pages in lines, %u given out, %u of %d free", in_lines, in_use, pool->n_free,
		   POOL_PAGES);
	expect(used == 0 && active == 0,
		   "pages count %" PRId64 " taken and %" PRId64 " active places too many", used, active);
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
		place += random_below(3 * LINE_PAGE_PLACES);
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
		int64_t window = 1 + random_below(2 * LINE_PAGE_PLACES);

		if (line_lacks_page(line, place))
			line_add_page(line, pool, place, line_pool_take(pool));
		line_take(line, pool, place, place);
		line_set(line, pool, place, LINE_WAITING, place);
		for (; first < place - window; first++)
		{
			uint32_t page;

			line_set(line, pool, first, LINE_ACTIVE, 0);
			page = line_drop(line, pool, first);
			if (page != LINE_NO_PAGE)
				line_pool_give(pool, page);
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
			expect(line->n_entries <= 4 && pool->n_free == POOL_PAGES - line->n_entries,
				   "%u pages held for the window", line->n_entries);
		}
	}
	cell = line_find(line, pool, 1, &state);
	expect(state == LINE_WAITING && cell && cell->secret == model[0].secret[1] &&
			   cell->time == model[0].time[1],
		   "the first has been changed");
	for (; first <= 400000; first++)
	{
		uint32_t page = line_drop(line, pool, first);

		if (page != LINE_NO_PAGE)
			line_pool_give(pool, page);
	}
	drop(&model[0], 1);
	check_pool_whole();
	result("one stays at the front while 400,000 pass");
}

/* With the pool used up newcomers are refused, the others served. */
static void
test_full_pool(void)
{
	Model *m = &model[0];
	Model *other = &model[2];
	int64_t page_no = random_below(MAX_PLACE / LINE_PAGE_PLACES);
	int64_t first = page_no == 0 ? 1 : page_no * LINE_PAGE_PLACES;
	int n = 0;

	start();
	for (int64_t place = 1; place <= MAX_PLACE; place++)
		if (take(m, place))
			set(m, place, WAITING);
	for (int i = 1; i < N_LINES; i++)
		for (int64_t place = 1; place <= MAX_PLACE; place += LINE_PAGE_PLACES, n++)
			if (take(&model[i], place))
				set(&model[i], place, ACTIVE);
	expect(pool->n_free == 0 && n > POOL_PAGES - MAX_PLACE / LINE_PAGE_PLACES - 1,
		   "the pool is not full");
	check_all();

	/* Room comes with the last place of a page, not before. */
	for (int64_t place = first; place < (page_no + 1) * LINE_PAGE_PLACES; place++)
	{
		expect(pool->n_free == 0, "a page is free although places of it are taken");
		drop(m, place);
	}
	expect(pool->n_free == 1, "%u pages free, not 1", pool->n_free);
	for (int64_t place = 1; place <= MAX_PLACE; place++)
		if (other->state[place] == UNTAKEN && line_lacks_page(other->line, place))
		{
			expect(take(other, place), "the free page cannot be had");
			break;
		}
	expect(pool->n_free == 0, "the page was not used");
	check_all();
	for (int i = 0; i < N_LINES; i++)
		drop_all(&model[i]);
	check_all();
	check_pool_whole();
	result("a pool that is used up");
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
		if (random_below(10) < 1 + place / LINE_PAGE_PLACES % 3)
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
	for (int64_t place = 1; place <= 3 * LINE_PAGE_PLACES; place++)
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
	uint32_t page = line_end(m->line, pool, place, expected, &dropped);

	expect(dropped == in_step, "place %" PRId64 ": dropped is %d", place, dropped);
	expect(page == LINE_NO_PAGE || in_step, "place %" PRId64 ": its page went too early", place);
	m->state[place] = in_step ? DROPPED : FLYING;
	give_page(page);
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
	const int64_t n_places = 5 * LINE_PAGE_PLACES;
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
	static const int64_t places[] = {-1, 0, LINE_PAGE_PLACES, LINE_MAX_PLACE + 1, BEYOND};
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
	const int64_t window = 3 * LINE_PAGE_PLACES;
	int64_t first = 1;
	int n_stays = 0;

	start();
	for (int64_t place = 1; place <= n_places; place++)
	{
		if (line_lacks_page(line, place))
		{
			uint32_t page = line_pool_take(pool);

			if (!expect(page != LINE_NO_PAGE, "no page for place %" PRId64, place))
				break;
			line_add_page(line, pool, place, page);
		}
		line_take(line, pool, place, place);
		line_set(line, pool, place, LINE_WAITING, place);
		for (; first < place - window; first++)
		{
			uint32_t page;

			if (n_stays < 16 && first % 1000 == 0)
			{
				stays[n_stays++] = first;
				continue;
			}
			page = line_drop(line, pool, first);
			if (page != LINE_NO_PAGE)
				line_pool_give(pool, page);
		}
		if (n_stays == 16 && random_below(5000) == 0)
			for (; n_stays > 0; n_stays--)
			{
				uint32_t page = line_drop(line, pool, stays[n_stays - 1]);

				if (page != LINE_NO_PAGE)
					line_pool_give(pool, page);
			}
		if (place % 10007 == 0)
		{
			expect(line->n_waiting == place - first + 1 + n_stays, "%" PRId64 " waiting",
				   line->n_waiting);
			expect(line_rank(line, pool, place) == line->n_waiting, "rank %" PRId64 " of the last",
				   line_rank(line, pool, place));
			expect(line->n_entries <= 4 + 16 && pool->n_free == POOL_PAGES - line->n_entries,
				   "%u pages held", line->n_entries);
		}
	}
	while (line_next(line, pool, LINE_WAITING, 0) != 0)
	{
		uint32_t page = line_drop(line, pool, line_next(line, pool, LINE_WAITING, 0));

		if (page != LINE_NO_PAGE)
			line_pool_give(pool, page);
	}
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
	while ((page = line_pop_page(m->line)) != LINE_NO_PAGE)
		give_page(page);
	expect(m->line->n_entries == 0, "%u pages left", m->line->n_entries);
	for (int64_t place = 1; place <= MAX_PLACE; place++)
	{
		m->state[place] = UNTAKEN;
		m->next_place = 1;
	}
	line_init(m->line, POOL_PAGES);
	check_all();
	for (int64_t place = 1; place <= MAX_PLACE; place += LINE_PAGE_PLACES)
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
		INT64_MIN,          -1,        0, LINE_PAGE_PLACES, MAX_PLACE, LINE_MAX_PLACE,
		LINE_MAX_PLACE + 1, INT64_MAX,
	};
	Model *m = &model[0];
	LineState state;

	start();
	for (int64_t place = 1; place < LINE_PAGE_PLACES; place++)
	{
		take(m, place);
		set(m, place, WAITING);
	}
	for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++)
	{
		expect(line_lacks_page(m->line, strangers[i]), "%" PRId64 " has a page", strangers[i]);
		line_set(m->line, pool, strangers[i], LINE_WAITING, 1);
		line_set(m->line, pool, strangers[i], LINE_ACTIVE, 1);
		expect(line_drop(m->line, pool, strangers[i]) == LINE_NO_PAGE, "%" PRId64 " gave a page",
			   strangers[i]);
		expect(line_find(m->line, pool, strangers[i], &state) == NULL && state == LINE_GONE,
			   "%" PRId64 " is found", strangers[i]);
	}
	check_all();

	line_add_page(m->line, pool, LINE_MAX_PLACE, line_pool_take(pool));
	line_take(m->line, pool, LINE_MAX_PLACE, 7);
	line_set(m->line, pool, LINE_MAX_PLACE, LINE_WAITING, 8);
	check_rank(m, LINE_MAX_PLACE, LINE_PAGE_PLACES);
	check_rank(m, LINE_MAX_PLACE + 1, LINE_PAGE_PLACES + 1);
	check_rank(m, INT64_MAX, LINE_PAGE_PLACES + 1);
	check_next(m, LINE_WAITING, LINE_PAGE_PLACES - 1, LINE_MAX_PLACE);
	check_next(m, LINE_WAITING, LINE_MAX_PLACE, 0);
	line_pool_give(pool, line_drop(m->line, pool, LINE_MAX_PLACE));
	m->next_place = LINE_MAX_PLACE + 1;
	check_line(m);
	m->next_place = LINE_PAGE_PLACES;
	drop_all(m);
	check_pool_whole();
	result("places beyond the line");
}

int
main(void)
{
	static void (*const tests[])(
		void) = {test_mixed, test_long_stay, test_full_pool,   test_rebuild,     test_in_flight,
				 test_pop,   test_strangers, test_ended_early, test_end_unknown, test_turnover};

	pool = malloc(line_pool_size(POOL_PAGES));
	for (int i = 0; i < N_LINES; i++)
		model[i].line = malloc(line_size(POOL_PAGES));
	run_seeded(tests, sizeof(tests) / sizeof(tests[0]));

	for (int i = 0; i < N_LINES; i++)
		free(model[i].line);
	free(pool);
	return finish();
}
