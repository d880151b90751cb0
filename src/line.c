/*
 * line.c
 *		The index of one waiting line.  See line.h.
 *
 * May not use anything of PostgreSQL: it is compiled a second time, alone,
 * into its unit test.
 */
#include "line.h"

#include <assert.h>
#include <string.h>

#define PAGE_NO(place) ((uint32_t) ((place) >> LINE_PAGE_BITS))
#define CELL_NO(place) ((uint32_t) ((place) & (LINE_PAGE_PLACES - 1)))
#define WORD_NO(place) (CELL_NO(place) / 64)
#define PART_NO(place) (WORD_NO(place) / LINE_PART_WORDS)
#define BIT(place) (UINT64_C(1) << (CELL_NO(place) % 64))

static inline uint32_t *
line_counts(const Line *line)
{
	return (uint32_t *) line->data;
}

static inline LineEntry *
line_entries(const Line *line)
{
	return (LineEntry *) (line->data + line->max_entries);
}

/* ---------- the pool ---------- */

size_t
line_pool_size(uint32_t n_pages)
{
	return offsetof(LinePool, pages) + (size_t) n_pages * sizeof(LinePage);
}

void
line_pool_init(LinePool *pool, uint32_t n_pages)
{
	pool->n_pages = n_pages;
	pool->n_free = 0;
	pool->first_free = LINE_NO_PAGE;
	for (uint32_t i = n_pages; i > 0; i--)
		line_pool_give(pool, i - 1);
}

/* An empty page, or LINE_NO_PAGE when all are in use. */
uint32_t
line_pool_take(LinePool *pool)
{
	uint32_t page = pool->first_free;

	if (page != LINE_NO_PAGE)
	{
		LinePage *p = &pool->pages[page];

		pool->first_free = p->next_free;
		pool->n_free--;
		memset(p, 0, offsetof(LinePage, cell));
	}
	return page;
}

void
line_pool_give(LinePool *pool, uint32_t page)
{
	pool->pages[page].next_free = pool->first_free;
	pool->first_free = page;
	pool->n_free++;
}

/* ---------- pages of a line ---------- */

size_t
line_size(uint32_t max_entries)
{
	return offsetof(Line, data) + (size_t) max_entries * (sizeof(uint32_t) + sizeof(LineEntry));
}

void
line_init(Line *line, uint32_t max_entries)
{
	line->next_place = 1;
	line->n_waiting = 0;
	line->n_active = 0;
	line->n_entries = 0;
	line->max_entries = max_entries;
}

/* Index of the first entry whose page is not before page_no. */
static uint32_t
line_search(const Line *line, uint32_t page_no)
{
	const LineEntry *entry = line_entries(line);
	uint32_t low = 0;
	uint32_t high = line->n_entries;

	/* Without holes, and there seldom are any, the first guess is right. */
	if (high > 0 && page_no >= entry[0].page_no)
	{
		uint32_t guess = page_no - entry[0].page_no;

		if (guess < high && entry[guess].page_no == page_no)
			return guess;
	}
	while (low < high)
	{
		uint32_t middle = (low + high) / 2;

		if (entry[middle].page_no < page_no)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool
line_locate(const Line *line, int64_t place, uint32_t *at)
{
	if (place < 1 || place > LINE_MAX_PLACE)
		return false;
	*at = line_search(line, PAGE_NO(place));
	return *at < line->n_entries && line_entries(line)[*at].page_no == PAGE_NO(place);
}

bool
line_lacks_page(const Line *line, int64_t place)
{
	uint32_t at;

	return !line_locate(line, place, &at);
}

void
line_add_page(Line *line, LinePool *pool, int64_t place, uint32_t page)
{
	uint32_t at = line_search(line, PAGE_NO(place));
	uint32_t after = line->n_entries - at;
	LineEntry *entry = line_entries(line);
	uint32_t *count = line_counts(line);

	assert(line->n_entries < line->max_entries);
	assert(pool->pages[page].used == 0);
	(void) pool;
	memmove(entry + at + 1, entry + at, after * sizeof(*entry));
	memmove(count + at + 1, count + at, after * sizeof(*count));
	entry[at].page_no = PAGE_NO(place);
	entry[at].page = page;
	count[at] = 0;
	line->n_entries++;
}

static uint32_t
line_remove_entry(Line *line, uint32_t at)
{
	LineEntry *entry = line_entries(line);
	uint32_t *count = line_counts(line);
	uint32_t page = entry[at].page;
	uint32_t after = line->n_entries - at - 1;

	memmove(entry + at, entry + at + 1, after * sizeof(*entry));
	memmove(count + at, count + at + 1, after * sizeof(*count));
	line->n_entries--;
	return page;
}

/* For emptying a line: takes its last page away whatever it holds. */
uint32_t
line_pop_page(Line *line)
{
	if (line->n_entries == 0)
		return LINE_NO_PAGE;
	return line_remove_entry(line, line->n_entries - 1);
}

/* ---------- places ---------- */

/* Takes a place, not yet visible to anybody.  Its page must be there. */
void
line_take(Line *line, LinePool *pool, int64_t place, uint64_t secret)
{
	uint32_t at = line_search(line, PAGE_NO(place));
	LinePage *page = &pool->pages[line_entries(line)[at].page];

	page->used++;
	page->cell[CELL_NO(place)].secret = secret;
	page->cell[CELL_NO(place)].time = 0;
	if (place >= line->next_place)
		line->next_place = place + 1;
}

/*
 * Lets go of a place that was taken.  Returns the page that has become empty
 * and belongs to the pool again, or LINE_NO_PAGE.
 */
uint32_t
line_drop(Line *line, LinePool *pool, int64_t place)
{
	uint32_t at;
	LinePage *page;

	if (!line_locate(line, place, &at))
		return LINE_NO_PAGE;
	line_set(line, pool, place, LINE_GONE, 0);
	page = &pool->pages[line_entries(line)[at].page];
	assert(page->used > 0);
	if (--page->used > 0)
		return LINE_NO_PAGE;
	return line_remove_entry(line, at);
}

void
line_set(Line *line, LinePool *pool, int64_t place, LineState state, int64_t time)
{
	uint32_t at;
	LinePage *page;
	uint64_t *waiting;
	uint64_t *active;

	if (!line_locate(line, place, &at))
		return;
	page = &pool->pages[line_entries(line)[at].page];
	waiting = &page->waiting[WORD_NO(place)];
	active = &page->active[WORD_NO(place)];

	if (*waiting & BIT(place))
	{
		*waiting &= ~BIT(place);
		page->part[PART_NO(place)]--;
		line_counts(line)[at]--;
		line->n_waiting--;
	}
	if (*active & BIT(place))
	{
		*active &= ~BIT(place);
		page->n_active--;
		line->n_active--;
	}
	if (state == LINE_WAITING)
	{
		*waiting |= BIT(place);
		page->part[PART_NO(place)]++;
		line_counts(line)[at]++;
		line->n_waiting++;
	}
	else if (state == LINE_ACTIVE)
	{
		*active |= BIT(place);
		page->n_active++;
		line->n_active++;
	}
	page->cell[CELL_NO(place)].time = time;
}

/* The cell of a place that waits or is active; NULL and LINE_GONE otherwise. */
LineCell *
line_find(const Line *line, LinePool *pool, int64_t place, LineState *state)
{
	uint32_t at;
	LinePage *page;

	*state = LINE_GONE;
	if (!line_locate(line, place, &at))
		return NULL;
	page = &pool->pages[line_entries(line)[at].page];
	if (page->waiting[WORD_NO(place)] & BIT(place))
		*state = LINE_WAITING;
	else if (page->active[WORD_NO(place)] & BIT(place))
		*state = LINE_ACTIVE;
	else
		return NULL;
	return &page->cell[CELL_NO(place)];
}

/*
 * Ends a place that is expected to wait or to be active.  If it is in another
 * state, the change that brings it there is still to come: see line.h.
 */
uint32_t
line_end(Line *line, LinePool *pool, int64_t place, LineState expected, bool *dropped)
{
	LineState state;

	*dropped = false;
	if (line_lacks_page(line, place))
		return LINE_NO_PAGE;
	(void) line_find(line, pool, place, &state);
	if (state == expected)
	{
		*dropped = true;
		return line_drop(line, pool, place);
	}
	line_set(line, pool, place, LINE_GONE, LINE_ENDED_EARLY);
	return LINE_NO_PAGE;
}

bool
line_ended_early(const Line *line, LinePool *pool, int64_t place)
{
	uint32_t at;
	LineState state;

	if (!line_locate(line, place, &at))
		return false;
	return line_find(line, pool, place, &state) == NULL &&
		   pool->pages[line_entries(line)[at].page].cell[CELL_NO(place)].time == LINE_ENDED_EARLY;
}

/* How many wait before this place, plus one. */
int64_t
line_rank(const Line *line, const LinePool *pool, int64_t place)
{
	const uint32_t *count = line_counts(line);
	int64_t rank = 1;
	uint32_t at = 0;

	if (place < 1)
		return rank;
	if (place > LINE_MAX_PLACE)
		return rank + line->n_waiting;
	at = line_search(line, PAGE_NO(place));
	for (uint32_t i = 0; i < at; i++)
		rank += count[i];
	if (at < line->n_entries && line_entries(line)[at].page_no == PAGE_NO(place))
	{
		const LinePage *page = &pool->pages[line_entries(line)[at].page];

		for (uint32_t p = 0; p < PART_NO(place); p++)
			rank += page->part[p];
		for (uint32_t w = PART_NO(place) * LINE_PART_WORDS; w < WORD_NO(place); w++)
			rank += __builtin_popcountll(page->waiting[w]);
		rank += __builtin_popcountll(page->waiting[WORD_NO(place)] & (BIT(place) - 1));
	}
	return rank;
}

/* The first place after `after` that is in that state, or 0. */
int64_t
line_next(const Line *line, const LinePool *pool, LineState state, int64_t after)
{
	int64_t place = after + 1;

	if (place > LINE_MAX_PLACE)
		return 0;
	if (place < 1)
		place = 1;
	for (uint32_t at = line_search(line, PAGE_NO(place)); at < line->n_entries; at++)
	{
		const LineEntry *entry = &line_entries(line)[at];
		const LinePage *page = &pool->pages[entry->page];
		const uint64_t *words = state == LINE_WAITING ? page->waiting : page->active;
		uint32_t w = 0;
		uint64_t mask = ~UINT64_C(0);

		if ((state == LINE_WAITING ? line_counts(line)[at] : page->n_active) == 0)
			continue;
		if (entry->page_no == PAGE_NO(place))
		{
			w = WORD_NO(place);
			mask = ~(BIT(place) - 1);
		}
		for (; w < LINE_PAGE_WORDS; w++, mask = ~UINT64_C(0))
		{
			uint64_t bits = words[w] & mask;

			if (bits != 0)
				return ((int64_t) entry->page_no << LINE_PAGE_BITS) + w * 64 +
					   __builtin_ctzll(bits);
		}
	}
	return 0;
}

/* How many pages hold somebody. */
uint32_t
line_pages(const Line *line)
{
	return line->n_entries;
}

/*
 * Copies who waits in one of them: its number (places from page_no << LINE_PAGE_BITS
 * on) and LINE_PAGE_WORDS words of a bit each place.  Returns how many wait.
 */
uint32_t
line_page_waiting(const Line *line, const LinePool *pool, uint32_t at, uint32_t *page_no,
				  uint64_t *waiting)
{
	const LineEntry *entry = &line_entries(line)[at];

	assert(at < line->n_entries);
	*page_no = entry->page_no;
	memcpy(waiting, pool->pages[entry->page].waiting, LINE_PAGE_WORDS * sizeof(uint64_t));
	return line_counts(line)[at];
}
