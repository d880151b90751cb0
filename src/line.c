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

#define ERA(place) ((uint32_t) ((uint64_t) (place) >> 32))
#define LOW(place) ((uint32_t) (place))
#define WORD_NO(slot) ((slot) / 64)
#define PART_NO(slot) (WORD_NO(slot) / LINE_PART_WORDS)
#define BIT(slot) (UINT64_C(1) << ((slot) % 64))
#define LOW_BITS(n) ((n) >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << (n)) - 1)
/* Within so many slots of the guess the slot of a place is looked for first. */
#define NEAR 8

static inline uint32_t
min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* ---------- the pool ---------- */

uint32_t
line_max_pages(int64_t n_places)
{
	return (uint32_t) (1 + n_places / (LINE_PAGE_SLOTS - LINE_PAGE_SPARE));
}

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
	{
		pool->pages[i - 1].next = LINE_NO_PAGE;
		line_pool_give(pool, i - 1);
	}
}

/* An empty page, or LINE_NO_PAGE when all are in use. */
uint32_t
line_pool_take(LinePool *pool)
{
	uint32_t page = pool->first_free;

	if (page != LINE_NO_PAGE)
	{
		LinePage *p = &pool->pages[page];

		pool->first_free = p->next;
		pool->n_free--;
		memset(p, 0, offsetof(LinePage, place));
		p->next = LINE_NO_PAGE;
	}
	return page;
}

/* Takes a list of pages back. */
void
line_pool_give(LinePool *pool, uint32_t pages)
{
	while (pages != LINE_NO_PAGE)
	{
		uint32_t next = pool->pages[pages].next;

		pool->pages[pages].next = pool->first_free;
		pool->first_free = pages;
		pool->n_free++;
		pages = next;
	}
}

/* ---------- the directory ---------- */

static inline int64_t *
line_firsts(const Line *line)
{
	return (int64_t *) line->data;
}

static inline uint32_t *
line_pages(const Line *line)
{
	return (uint32_t *) (line_firsts(line) + line->max_entries);
}

static inline uint32_t *
line_counts(const Line *line)
{
	return line_pages(line) + line->max_entries;
}

static inline uint32_t *
line_taken(const Line *line)
{
	return line_counts(line) + line->max_entries;
}

static inline uint32_t *
line_groups(const Line *line)
{
	return line_taken(line) + line->max_entries;
}

static inline LinePage *
line_page(const Line *line, const LinePool *pool, uint32_t at)
{
	return (LinePage *) &pool->pages[line_pages(line)[at]];
}

size_t
line_size(uint32_t max_entries)
{
	size_t entries = (size_t) max_entries * (sizeof(int64_t) + 3 * sizeof(uint32_t));

	return offsetof(Line, data) + entries + (max_entries / LINE_GROUP + 1) * sizeof(uint32_t);
}

void
line_init(Line *line, uint32_t max_entries)
{
	memset(line, 0, offsetof(Line, data));
	line->next_place = 1;
	line->max_entries = max_entries;
}

/* Sums the counts of the groups anew, from the one that has this entry. */
static void
line_regroup(Line *line, uint32_t at)
{
	for (uint32_t group = at / LINE_GROUP; group * LINE_GROUP < line->n_entries; group++)
	{
		uint32_t end = min_u32((group + 1) * LINE_GROUP, line->n_entries);
		uint32_t sum = 0;

		for (uint32_t i = group * LINE_GROUP; i < end; i++)
			sum += line_counts(line)[i];
		line_groups(line)[group] = sum;
	}
}

static inline void
line_count(Line *line, uint32_t at, int change)
{
	line_counts(line)[at] += change;
	line_groups(line)[at / LINE_GROUP] += change;
	line->n_waiting += change;
}

static void
line_insert_entry(Line *line, uint32_t at, int64_t first, uint32_t page)
{
	uint32_t after = line->n_entries - at;
	int64_t *firsts = line_firsts(line) + at;
	uint32_t *pages = line_pages(line) + at;
	uint32_t *counts = line_counts(line) + at;
	uint32_t *taken = line_taken(line) + at;

	memmove(firsts + 1, firsts, after * sizeof(*firsts));
	memmove(pages + 1, pages, after * sizeof(*pages));
	memmove(counts + 1, counts, after * sizeof(*counts));
	memmove(taken + 1, taken, after * sizeof(*taken));
	*firsts = first;
	*pages = page;
	*counts = *taken = 0;
	line->n_entries++;
	line_regroup(line, at);
}

/* Takes n entries out; their pages are put before the list `freed`. */
static uint32_t
line_remove_entries(Line *line, LinePool *pool, uint32_t at, uint32_t n, uint32_t freed)
{
	uint32_t after = line->n_entries - at - n;
	int64_t *firsts = line_firsts(line) + at;
	uint32_t *pages = line_pages(line) + at;
	uint32_t *counts = line_counts(line) + at;
	uint32_t *taken = line_taken(line) + at;

	for (uint32_t i = 0; i < n; i++)
	{
		pool->pages[pages[i]].next = freed;
		freed = pages[i];
	}
	memmove(firsts, firsts + n, after * sizeof(*firsts));
	memmove(pages, pages + n, after * sizeof(*pages));
	memmove(counts, counts + n, after * sizeof(*counts));
	memmove(taken, taken + n, after * sizeof(*taken));
	line->n_entries -= n;
	line_regroup(line, at);
	return freed;
}

/* For emptying a line: takes its last page away whatever it holds. */
uint32_t
line_pop_page(Line *line, LinePool *pool)
{
	uint32_t last = line->n_entries - 1;

	if (line->n_entries == 0)
		return LINE_NO_PAGE;
	line->n_taken -= line_taken(line)[last];
	return line_remove_entries(line, pool, last, 1, LINE_NO_PAGE);
}

/* ---------- looking for a place ---------- */

/* How many pages begin at this place or before it. */
static uint32_t
line_search(const Line *line, int64_t place)
{
	const int64_t *firsts = line_firsts(line);
	uint32_t low = 0;
	uint32_t high = line->n_entries;

	while (low < high)
	{
		uint32_t middle = (low + high) / 2;

		if (firsts[middle] <= place)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/*
 * The first slot whose place is not before this one of the page's era.  As long
 * as nothing is missing in a page the guess is right; else it is mostly near, and
 * what lies in between is halved.
 */
static uint32_t
page_search(const LinePage *page, uint32_t place)
{
	const uint32_t *places = page->place;
	uint32_t last = page->n_slots - 1u;
	uint32_t guess;
	uint32_t before; /* a slot before it, */
	uint32_t not_before; /* and one that is not */

	if (page->n_slots == 0 || place <= places[0])
		return 0;
	if (place > places[last])
		return page->n_slots;
	guess = (uint32_t) ((uint64_t) (place - places[0]) * last / (places[last] - places[0]));
	if (places[guess] == place)
		return guess;
	before = 0;
	not_before = last;
	if (places[guess] > place)
	{
		not_before = guess;
		for (uint32_t step = NEAR; step < guess; step *= 2)
		{
			if (places[guess - step] < place)
			{
				before = guess - step;
				break;
			}
			not_before = guess - step;
		}
	}
	else
	{
		before = guess;
		for (uint32_t step = NEAR; step < last - guess; step *= 2)
		{
			if (places[guess + step] >= place)
			{
				not_before = guess + step;
				break;
			}
			before = guess + step;
		}
	}
	while (not_before - before > 1)
	{
		uint32_t middle = (before + not_before) / 2;

		if (places[middle] < place)
			before = middle;
		else
			not_before = middle;
	}
	return not_before;
}

/* Whether a place is taken, and where. */
static bool
line_locate(const Line *line, const LinePool *pool, int64_t place, uint32_t *at, uint32_t *slot)
{
	const LinePage *page;
	uint32_t n;

	if (place < 1 || place > LINE_MAX_PLACE || (n = line_search(line, place)) == 0)
		return false;
	*at = n - 1;
	page = line_page(line, pool, *at);
	if (page->era != ERA(place))
		return false;
	*slot = page_search(page, LOW(place));
	return *slot < page->n_slots && page->place[*slot] == LOW(place) &&
		   (page->taken[WORD_NO(*slot)] & BIT(*slot)) != 0;
}

/*
 * The page that a place belongs to, whether it is there or not.  False when it
 * needs a page of its own: then `at` is where that would stand.
 */
static bool
line_home(const Line *line, int64_t place, uint32_t *at)
{
	const int64_t *firsts = line_firsts(line);
	uint32_t n = line_search(line, place);

	*at = n;
	if (n > 0 && ERA(firsts[n - 1]) == ERA(place))
	{
		*at = n - 1;
		return true;
	}
	return n < line->n_entries && ERA(firsts[n]) == ERA(place);
}

/* ---------- moving slots ---------- */

/* The bits of some slots. */
typedef struct Bits
{
	uint64_t waiting[LINE_PAGE_WORDS];
	uint64_t active[LINE_PAGE_WORDS];
} Bits;

/* Up to 64 bits from this slot on. */
static inline uint64_t
bits_get(const uint64_t *words, uint32_t slot, uint32_t n)
{
	uint64_t bits = words[WORD_NO(slot)] >> (slot % 64);

	if (slot % 64 + n > 64)
		bits |= words[WORD_NO(slot) + 1] << (64 - slot % 64);
	return bits & LOW_BITS(n);
}

/* Sets them in words that have none there. */
static inline void
bits_put(uint64_t *words, uint32_t slot, uint32_t n, uint64_t bits)
{
	words[WORD_NO(slot)] |= bits << (slot % 64);
	if (slot % 64 + n > 64)
		words[WORD_NO(slot) + 1] |= bits >> (64 - slot % 64);
}

/* Moves n slots of a page; their bits go to `bits`. */
static void
slots_move(LinePage *to, uint32_t to_slot, Bits *bits, const LinePage *from, uint32_t slot,
		   uint32_t n)
{
	if (to != from || to_slot != slot)
	{
		memmove(to->place + to_slot, from->place + slot, n * sizeof(from->place[0]));
		memmove(to->cell + to_slot, from->cell + slot, n * sizeof(LineCell));
	}
	for (uint32_t i = 0; i < n; i += 64)
	{
		uint32_t m = min_u32(n - i, 64);

		bits_put(bits->waiting, to_slot + i, m, bits_get(from->waiting, slot + i, m));
		bits_put(bits->active, to_slot + i, m, bits_get(from->active, slot + i, m));
	}
}

/* Sets what a page counts of its slots, and the directory of it. */
static void
page_recount(Line *line, LinePool *pool, uint32_t at)
{
	LinePage *page = line_page(line, pool, at);
	uint32_t waiting = 0;
	uint32_t taken = 0;

	page->n_active = 0;
	memset(page->part, 0, sizeof(page->part));
	for (uint32_t w = 0; w < LINE_PAGE_WORDS; w++)
	{
		page->part[w / LINE_PART_WORDS] += __builtin_popcountll(page->waiting[w]);
		page->n_active += __builtin_popcountll(page->active[w]);
		taken += __builtin_popcountll(page->taken[w]);
	}
	for (uint32_t p = 0; p < LINE_PAGE_PARTS; p++)
		waiting += page->part[p];
	line_counts(line)[at] = waiting;
	line_taken(line)[at] = taken;
	if (page->n_slots > 0)
		line_firsts(line)[at] = ((int64_t) page->era << 32) | page->place[0];
}

/* A page has these slots now, all of them taken.  Clears `bits`. */
static void
page_fill(Line *line, LinePool *pool, uint32_t at, Bits *bits, uint32_t n)
{
	LinePage *page = line_page(line, pool, at);

	page->n_slots = n;
	for (uint32_t w = 0; w < LINE_PAGE_WORDS; w++)
		page->taken[w] = n > w * 64 ? LOW_BITS(n - w * 64) : 0;
	memcpy(page->waiting, bits->waiting, sizeof(page->waiting));
	memcpy(page->active, bits->active, sizeof(page->active));
	page_recount(line, pool, at);
	memset(bits, 0, sizeof(*bits));
}

/*
 * Moves the taken slots of n pages to the front.  Returns how many pages have
 * some now; those after them have none.
 */
static uint32_t
line_gather(Line *line, LinePool *pool, uint32_t from, uint32_t n)
{
	uint32_t to = from;
	uint32_t to_slot = 0;
	Bits bits = {0};

	for (uint32_t at = from; at < from + n; at++)
	{
		LinePage *page = line_page(line, pool, at);
		uint32_t n_slots = page->n_slots;

		/* As nothing has moved before a full page, it stays. */
		if (at == to && to_slot == 0 && line_taken(line)[at] == LINE_PAGE_SLOTS)
		{
			to++;
			continue;
		}
		/* What is read lies at or behind what is written. */
		for (uint32_t w = 0; w * 64 < n_slots; w++)
		{
			uint64_t taken = page->taken[w];

			while (taken != 0)
			{
				uint32_t start = __builtin_ctzll(taken);
				uint64_t rest = ~(taken >> start);
				uint32_t run = rest == 0 ? 64 : __builtin_ctzll(rest);
				uint32_t m = min_u32(run, LINE_PAGE_SLOTS - to_slot);

				slots_move(line_page(line, pool, to), to_slot, &bits, page, w * 64 + start, m);
				taken &= ~(LOW_BITS(m) << start);
				to_slot += m;
				if (to_slot == LINE_PAGE_SLOTS)
				{
					page_fill(line, pool, to++, &bits, LINE_PAGE_SLOTS);
					to_slot = 0;
				}
			}
		}
	}
	if (to_slot > 0)
		page_fill(line, pool, to++, &bits, to_slot);
	for (uint32_t at = to; at < from + n; at++)
		page_fill(line, pool, at, &bits, 0);
	line_regroup(line, from);
	return to - from;
}

/* Gathers and gives up the pages that are left over, of which it returns the list. */
static uint32_t
line_pack(Line *line, LinePool *pool, uint32_t from, uint32_t n, uint32_t freed)
{
	uint32_t kept = line_gather(line, pool, from, n);

	return line_remove_entries(line, pool, from + kept, n - kept, freed);
}

/* Spreads what has been gathered over n pages. */
static void
line_spread(Line *line, LinePool *pool, uint32_t from, uint32_t n)
{
	uint32_t total = 0;
	Bits bits = {0};

	for (uint32_t at = from; at < from + n; at++)
		total += line_taken(line)[at];
	/* From the end: what is written lies at or behind what is read. */
	for (uint32_t i = n; i-- > 0;)
	{
		uint32_t start = i * (total / n) + min_u32(i, total % n);
		uint32_t length = total / n + (i < total % n);
		LinePage *to = line_page(line, pool, from + i);

		for (uint32_t end = start + length; end > start;)
		{
			uint32_t source = (end - 1) / LINE_PAGE_SLOTS;
			uint32_t begin = source * LINE_PAGE_SLOTS;

			begin = begin > start ? begin : start;
			slots_move(to, begin - start, &bits, line_page(line, pool, from + source),
					   begin % LINE_PAGE_SLOTS, end - begin);
			end = begin;
		}
		page_fill(line, pool, from + i, &bits, length);
	}
	line_regroup(line, from);
}

/* ---------- packing ---------- */

static inline uint32_t
line_free(const Line *line, uint32_t at)
{
	return LINE_PAGE_SLOTS - line_taken(line)[at];
}

/* The entries of one era within so many of this one. */
static void
line_around(const Line *line, uint32_t at, uint32_t before, uint32_t after, uint32_t *low,
			uint32_t *high)
{
	const int64_t *firsts = line_firsts(line);

	*low = at > before ? at - before : 0;
	*high = min_u32(at + after + 1, line->n_entries);
	while (ERA(firsts[*low]) != ERA(firsts[at]))
		(*low)++;
	while (ERA(firsts[*high - 1]) != ERA(firsts[at]))
		(*high)--;
}

/*
 * The shortest row of up to LINE_WINDOW entries of low..high - 1, this one among
 * them, that has so much free together.
 */
static bool
line_find_row(const Line *line, uint32_t at, uint32_t low, uint32_t high, uint32_t wanted,
			  uint32_t *from, uint32_t *n)
{
	uint32_t length = min_u32(LINE_WINDOW, high - low);
	uint32_t sum = 0;
	bool found = false;

	/* Seldom there is one: the longest, each one page further than the last. */
	for (uint32_t i = low; i < high && !found; i++)
	{
		sum += line_free(line, i);
		if (i - low >= length)
			sum -= line_free(line, i - length);
		found = sum >= wanted && i >= at;
		if (i - low >= length && i - length >= at)
			return false;
	}
	for (*n = 1; found && *n <= length; (*n)++)
		for (*from = at + 1 >= low + *n ? at + 1 - *n : low; *from <= at && *from + *n <= high;
			 (*from)++)
		{
			sum = 0;
			for (uint32_t i = 0; i < *n; i++)
				sum += line_free(line, *from + i);
			if (sum >= wanted)
				return true;
		}
	return false;
}

/* The shortest row at the end of the line that has so much free together. */
static bool
line_find_end(const Line *line, uint32_t wanted, uint32_t *from, uint32_t *n)
{
	uint32_t low;
	uint32_t high;
	uint32_t sum = 0;

	line_around(line, line->n_entries - 1, LINE_WINDOW - 1, 0, &low, &high);
	for (*from = high; *from > low;)
	{
		sum += line_free(line, --*from);
		*n = high - *from;
		if (sum >= wanted)
			return true;
	}
	return false;
}

/* After something has become free in this page: sees that (1) and (2) hold. */
static uint32_t
line_settle(Line *line, LinePool *pool, uint32_t at, uint32_t freed)
{
	if (line_taken(line)[at] == 0)
		return line_remove_entries(line, pool, at, 1, freed);
	for (;;)
	{
		uint32_t low;
		uint32_t high;
		uint32_t from;
		uint32_t n;
		uint32_t entries = line->n_entries;

		line_around(line, at, LINE_WINDOW - 1, LINE_WINDOW - 1, &low, &high);
		if (high == line->n_entries)
			high--;
		if ((at >= high || !line_find_row(line, at, low, high, LINE_PAGE_SLOTS, &from, &n)) &&
			(at + LINE_WINDOW < line->n_entries ||
			 !line_find_end(line, LINE_PAGE_SLOTS + LINE_PAGE_SPARE, &from, &n)))
			return freed;
		freed = line_pack(line, pool, from, n, freed);
		/* What is free has gone to the last of them. */
		at = from + n - 1 - (entries - line->n_entries);
	}
}

/* ---------- taking a place ---------- */

/* At the end of the line: true when the last page has a slot to give. */
static bool
line_make_room_at_end(Line *line, LinePool *pool, uint32_t *freed)
{
	uint32_t from;
	uint32_t n;

	while (line_page(line, pool, line->n_entries - 1)->n_slots == LINE_PAGE_SLOTS)
	{
		if (!line_find_end(line, LINE_PAGE_SPARE, &from, &n))
			return false;
		*freed = line_pack(line, pool, from, n, *freed);
	}
	return true;
}

/* In the middle, where all slots of a page are taken: shares with those around. */
static bool
line_share(Line *line, LinePool *pool, uint32_t at, uint32_t *freed)
{
	uint32_t low;
	uint32_t high;
	uint32_t free = 0;

	line_around(line, at, LINE_WINDOW - 1, LINE_WINDOW, &low, &high);
	for (uint32_t i = low; i < high; i++)
		free += line_free(line, i);
	/* Each must get one at least. */
	if (free < high - low)
		return false;
	(void) line_gather(line, pool, low, high - low);
	line_spread(line, pool, low, high - low);
	for (uint32_t i = low; i < high && i < line->n_entries; i++)
		*freed = line_settle(line, pool, i, *freed);
	return true;
}

/*
 * Whether there is a slot for a place that is not taken yet, after packing and
 * spreading if need be.  Pages left over are put before the list `freed`.
 */
bool
line_make_room(Line *line, LinePool *pool, int64_t place, uint32_t *freed)
{
	uint32_t at;
	LinePage *page;
	uint32_t slot;

	while (line_home(line, place, &at))
	{
		page = line_page(line, pool, at);
		slot = page_search(page, LOW(place));
		if (page->n_slots < LINE_PAGE_SLOTS ||
			(slot < page->n_slots && page->place[slot] == LOW(place)))
			return true;
		if (at == line->n_entries - 1 && slot == page->n_slots)
			return line_make_room_at_end(line, pool, freed);
		if (line_free(line, at) > 0)
			(void) line_gather(line, pool, at, 1);
		else if (!line_share(line, pool, at, freed))
			return false;
	}
	return false;
}

/* After line_make_room() has found none.  False: the directory is full. */
bool
line_add_page(Line *line, LinePool *pool, int64_t place, uint32_t page)
{
	uint32_t at;

	assert(pool->pages[page].n_slots == 0);
	if (line->n_entries == line->max_entries)
		return false;
	pool->pages[page].era = ERA(place);
	if (!line_home(line, place, &at))
		line_insert_entry(line, at, place, page);
	else if (at == line->n_entries - 1 &&
			 page_search(line_page(line, pool, at), LOW(place)) == LINE_PAGE_SLOTS)
		line_insert_entry(line, at + 1, place, page);
	else
	{
		/* All of that page are taken: each of the two gets one half. */
		line_insert_entry(line, at + 1, line_firsts(line)[at] + 1, page);
		line_spread(line, pool, at, 2);
	}
	return true;
}

/* Gives a new place its slot, before those that follow it. */
static void
page_insert(LinePage *page, uint32_t slot, uint32_t place)
{
	uint32_t after = page->n_slots - slot;

	page->n_slots++;
	if (after > 0)
	{
		uint64_t *maps[3] = {page->taken, page->waiting, page->active};

		memmove(page->place + slot + 1, page->place + slot, after * sizeof(page->place[0]));
		memmove(page->cell + slot + 1, page->cell + slot, after * sizeof(LineCell));
		for (int i = 0; i < 3; i++)
		{
			uint32_t w = WORD_NO(page->n_slots - 1u);
			uint64_t *words = maps[i];

			for (; w > WORD_NO(slot); w--)
				words[w] = words[w] << 1 | words[w - 1] >> 63;
			words[w] = (words[w] & LOW_BITS(slot % 64)) | (words[w] & ~LOW_BITS(slot % 64)) << 1;
		}
	}
	page->place[slot] = place;
}

/* Takes a place, not yet visible to anybody.  There must be room for it. */
void
line_take(Line *line, LinePool *pool, int64_t place, uint64_t secret)
{
	uint32_t at = 0;
	bool there = line_home(line, place, &at);
	LinePage *page = line_page(line, pool, at);
	uint32_t slot = page_search(page, LOW(place));

	assert(there);
	(void) there;
	if (slot == page->n_slots || page->place[slot] != LOW(place))
	{
		uint32_t after = page->n_slots - slot;

		assert(page->n_slots < LINE_PAGE_SLOTS);
		page_insert(page, slot, LOW(place));
		if (after > 0)
			page_recount(line, pool, at);
	}
	if (slot == 0)
		line_firsts(line)[at] = place;
	if ((page->taken[WORD_NO(slot)] & BIT(slot)) == 0)
	{
		page->taken[WORD_NO(slot)] |= BIT(slot);
		line_taken(line)[at]++;
		line->n_taken++;
	}
	page->cell[slot].secret = secret;
	page->cell[slot].time = 0;
	if (place >= line->next_place)
		line->next_place = place + 1;
}

/* ---------- states ---------- */

static void
slot_set(Line *line, LinePool *pool, uint32_t at, uint32_t slot, LineState state)
{
	LinePage *page = line_page(line, pool, at);
	uint64_t *waiting = &page->waiting[WORD_NO(slot)];
	uint64_t *active = &page->active[WORD_NO(slot)];

	if (*waiting & BIT(slot))
	{
		*waiting &= ~BIT(slot);
		page->part[PART_NO(slot)]--;
		line_count(line, at, -1);
	}
	if (*active & BIT(slot))
	{
		*active &= ~BIT(slot);
		page->n_active--;
		line->n_active--;
	}
	if (state == LINE_WAITING)
	{
		*waiting |= BIT(slot);
		page->part[PART_NO(slot)]++;
		line_count(line, at, 1);
	}
	else if (state == LINE_ACTIVE)
	{
		*active |= BIT(slot);
		page->n_active++;
		line->n_active++;
	}
}

void
line_set(Line *line, LinePool *pool, int64_t place, LineState state, int64_t time)
{
	uint32_t at;
	uint32_t slot;

	if (!line_locate(line, pool, place, &at, &slot))
		return;
	slot_set(line, pool, at, slot, state);
	line_page(line, pool, at)->cell[slot].time = time;
}

/*
 * Lets go of a place, if it is taken.  Returns the list of pages that belong to
 * the pool again.
 */
uint32_t
line_drop(Line *line, LinePool *pool, int64_t place, bool *dropped)
{
	uint32_t at;
	uint32_t slot;

	*dropped = line_locate(line, pool, place, &at, &slot);
	if (!*dropped)
		return LINE_NO_PAGE;
	slot_set(line, pool, at, slot, LINE_GONE);
	line_page(line, pool, at)->taken[WORD_NO(slot)] &= ~BIT(slot);
	line_taken(line)[at]--;
	line->n_taken--;
	return line_settle(line, pool, at, LINE_NO_PAGE);
}

/* The cell of a place that waits or is active; NULL and LINE_GONE otherwise. */
LineCell *
line_find(const Line *line, LinePool *pool, int64_t place, LineState *state)
{
	uint32_t at;
	uint32_t slot;
	LinePage *page;

	*state = LINE_GONE;
	if (!line_locate(line, pool, place, &at, &slot))
		return NULL;
	page = line_page(line, pool, at);
	if (page->waiting[WORD_NO(slot)] & BIT(slot))
		*state = LINE_WAITING;
	else if (page->active[WORD_NO(slot)] & BIT(slot))
		*state = LINE_ACTIVE;
	else
		return NULL;
	return &page->cell[slot];
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
	(void) line_find(line, pool, place, &state);
	if (state == expected)
		return line_drop(line, pool, place, dropped);
	line_set(line, pool, place, LINE_GONE, LINE_ENDED_EARLY);
	return LINE_NO_PAGE;
}

bool
line_ended_early(const Line *line, LinePool *pool, int64_t place)
{
	uint32_t at;
	uint32_t slot;
	const LinePage *page;

	if (!line_locate(line, pool, place, &at, &slot))
		return false;
	page = line_page(line, pool, at);
	return ((page->waiting[WORD_NO(slot)] | page->active[WORD_NO(slot)]) & BIT(slot)) == 0 &&
		   page->cell[slot].time == LINE_ENDED_EARLY;
}

/* ---------- reading ---------- */

/* How many wait before this place, plus one. */
int64_t
line_rank(const Line *line, const LinePool *pool, int64_t place)
{
	const LinePage *page;
	int64_t rank = 1;
	uint32_t at;
	uint32_t slot;

	if (place > LINE_MAX_PLACE)
		return rank + line->n_waiting;
	if (place < 1 || (at = line_search(line, place)) == 0)
		return rank;
	at--;
	for (uint32_t i = 0; i < at / LINE_GROUP; i++)
		rank += line_groups(line)[i];
	for (uint32_t i = at / LINE_GROUP * LINE_GROUP; i < at; i++)
		rank += line_counts(line)[i];
	page = line_page(line, pool, at);
	slot = page->era == ERA(place) ? page_search(page, LOW(place)) : page->n_slots;
	if (slot == page->n_slots)
		return rank + line_counts(line)[at];
	for (uint32_t p = 0; p < PART_NO(slot); p++)
		rank += page->part[p];
	for (uint32_t w = PART_NO(slot) * LINE_PART_WORDS; w < WORD_NO(slot); w++)
		rank += __builtin_popcountll(page->waiting[w]);
	return rank + __builtin_popcountll(page->waiting[WORD_NO(slot)] & (BIT(slot) - 1));
}

/* From the first place after `after` on. */
void
line_walk_begin(LineWalk *walk, const Line *line, const LinePool *pool, LineState state,
				int64_t after)
{
	uint32_t n;

	*walk = (LineWalk){.line = line, .pool = pool, .state = state};
	if (after >= LINE_MAX_PLACE)
		walk->at = line->n_entries;
	else if (after >= 0 && (n = line_search(line, after + 1)) > 0)
	{
		const LinePage *page = line_page(line, pool, n - 1);

		walk->at = n - 1;
		walk->slot =
			page->era == ERA(after + 1) ? page_search(page, LOW(after + 1)) : page->n_slots;
	}
}

int64_t
line_walk_next(LineWalk *walk)
{
	for (; walk->at < walk->line->n_entries; walk->at++, walk->slot = 0)
	{
		const LinePage *page = line_page(walk->line, walk->pool, walk->at);
		bool waiting = walk->state == LINE_WAITING;
		const uint64_t *words = waiting ? page->waiting : page->active;
		uint64_t mask = ~(BIT(walk->slot) - 1);

		if ((waiting ? line_counts(walk->line)[walk->at] : page->n_active) == 0)
			continue;
		for (uint32_t w = WORD_NO(walk->slot); w * 64 < page->n_slots; w++, mask = ~UINT64_C(0))
		{
			uint64_t bits = words[w] & mask;
			uint32_t slot;

			if (bits == 0)
				continue;
			slot = w * 64 + __builtin_ctzll(bits);
			walk->slot = slot + 1;
			walk->cell = &page->cell[slot];
			return ((int64_t) page->era << 32) | page->place[slot];
		}
	}
	return 0;
}

/* The first place after `after` that is in that state, or 0. */
int64_t
line_next(const Line *line, const LinePool *pool, LineState state, int64_t after)
{
	LineWalk walk;

	line_walk_begin(&walk, line, pool, state, after);
	return line_walk_next(&walk);
}

/*
 * Hands out who waits, in order, as words of a bit for each of 64 places that
 * begin at a multiple of 64; a word may come in several parts, one after another.
 */
void
line_waiting_words(const Line *line, const LinePool *pool,
				   void (*take)(void *arg, int64_t first, uint64_t bits), void *arg)
{
	for (uint32_t at = 0; at < line->n_entries; at++)
	{
		const LinePage *page = line_page(line, pool, at);
		int64_t era = (int64_t) page->era << 32;

		for (uint32_t slot = 0; slot < page->n_slots; slot += 64)
		{
			uint64_t bits = page->waiting[slot / 64];
			uint32_t end = min_u32(slot + 64, page->n_slots);
			int64_t first = era + page->place[slot];

			/* Mostly they are in a row: 64 at once. */
			if (bits != 0 && page->place[end - 1] - page->place[slot] == end - 1 - slot)
			{
				uint32_t shift = first % 64;

				if (bits << shift)
					take(arg, first - shift, bits << shift);
				if (shift > 0 && bits >> (64 - shift))
					take(arg, first - shift + 64, bits >> (64 - shift));
				continue;
			}
			for (; bits != 0; bits &= bits - 1)
			{
				int64_t place = era + page->place[slot + __builtin_ctzll(bits)];

				take(arg, place - place % 64, UINT64_C(1) << place % 64);
			}
		}
	}
}
