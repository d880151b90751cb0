/*
 * line.h
 *		The index of one waiting line: who is waiting, who is active, the exact
 *		rank of a place, the first places in order.
 *
 * Knows nothing of SQL, locks, transactions or PostgreSQL; the caller holds
 * the lock of the line (shared to read, exclusive to change) and owns the
 * pool the pages come from.
 *
 * Places are numbered from 1 in the order of arrival and never reused.  A page
 * has 2,048 slots, sorted by place; a slot has three bits (taken, waiting,
 * active), half of the number of its place, the secret of its token and a time.
 * Who arrives gets the next slot of the last page.  A place that goes leaves its
 * slot behind, empty.  A line keeps its pages in one directory, sorted by the
 * place of their first slot, with the count of waiting places of each page and
 * of each 32 pages, so that
 *
 *		rank = sum of the counts of the pages before + bits set before in the page
 *
 * which at a million waiting is some 40 additions, and in the page, which
 * counts its eighths, at most 7 more and 4 popcounts.  The slot of a place is
 * where it would be if the places of its page stood evenly apart, or near there.
 *
 * How many pages a line may have
 *
 * What a sale holds must fit whatever people do, so sparse pages are packed:
 * the taken slots of some pages that stand together are moved to the front, and
 * the pages left over go back to the pool.  Let C be the slots of a page, S
 * those kept spare (C/16), W the longest row of pages looked at (C/S + 2), and
 * free what is not taken.  As long as no more than 2^32 places lie in between:
 *
 *	(1) W pages in a row, the last page not among them, have less than C + 2W
 *		free together; so have all, if they are fewer.
 *	(2) The last W pages, or all if they are fewer, have less than C + S free.
 *
 * line_drop() packs what stands against (1), or has C free, and what stands
 * against (2); a page is freed each time.  A page is added at the end only when
 * the last W have less than S free, in the middle only when the W to either
 * side have less than 2W free; else what there is is packed, or spread.  From
 * (1) and (2), for n > 1 pages with L places taken,
 *
 *		L > n C - (C + S) - (ceil(n / W) - 1) (C + 2W) >= (n - 1) (C - S)
 *
 * (for the second step put n = kW + 1: (kW - 1) S >= k (C + 2W)).  So a line of
 * L places has at most 1 + L / (C - S) pages: line_max_pages().  All lines
 * together have at most one for each line and one for each C - S places.  A
 * line has one page more for each multiple of 2^32 that its places lie around.
 *
 * What it costs: packing moves at most W pages, each time at most once and
 * rarely more than once in a call.  At the end of the line it makes at least S
 * slots or a page for those who arrive.  Elsewhere it frees a page, which those
 * who arrived have filled.  So moving is paid for by arrivals, some hundred
 * bytes by each in a sale, and never more than W C / S slots.
 */
#ifndef TICKET_LINE_H
#define TICKET_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINE_PAGE_SLOTS 2048
#define LINE_PAGE_WORDS (LINE_PAGE_SLOTS / 64)
#define LINE_PART_WORDS 4
#define LINE_PAGE_PARTS (LINE_PAGE_WORDS / LINE_PART_WORDS)
#define LINE_PAGE_SPARE (LINE_PAGE_SLOTS / 16)
#define LINE_WINDOW (LINE_PAGE_SLOTS / LINE_PAGE_SPARE + 2)
#define LINE_GROUP 32 /* pages that are counted together */
#define LINE_MAX_PLACE ((INT64_C(1) << 38) - 1)
#define LINE_NO_PAGE UINT32_MAX
#define LINE_ENDED_EARLY INT64_MIN /* time of a cell */

typedef struct LineCell
{
	uint64_t secret; /* second half of the place's token */
	int64_t time; /* waiting: last heard of; active: ends at */
} LineCell;

typedef struct LinePage
{
	uint64_t taken[LINE_PAGE_WORDS]; /* waiting, active or not yet committed */
	uint64_t waiting[LINE_PAGE_WORDS];
	uint64_t active[LINE_PAGE_WORDS];
	uint16_t part[LINE_PAGE_PARTS]; /* bits set in each part of `waiting` */
	uint32_t era; /* the higher half of all its places */
	uint16_t n_slots; /* given out, taken or left behind */
	uint16_t n_active;
	uint32_t next; /* in the pool's free list, or among pages to be given to it */
	uint32_t place[LINE_PAGE_SLOTS]; /* the lower half, ascending */
	LineCell cell[LINE_PAGE_SLOTS];
} LinePage;

/* The pages of all lines.  Guarded by a lock of the caller's. */
typedef struct LinePool
{
	uint32_t n_pages;
	uint32_t n_free;
	uint32_t first_free;
	LinePage pages[];
} LinePool;

typedef struct Line
{
	int64_t next_place; /* the next to be given out */
	int64_t n_taken;
	int64_t n_waiting;
	int64_t n_active;
	uint32_t n_entries; /* pages in the directory */
	uint32_t max_entries;
	/*
	 * The directory: int64_t first[max_entries], then uint32_t page[], waiting[],
	 * taken[] of as many, then group[], the sums of `waiting`.
	 */
	uint64_t data[];
} Line;

typedef enum LineState
{
	LINE_GONE, /* unknown, not yet committed, or gone */
	LINE_WAITING,
	LINE_ACTIVE
} LineState;

extern uint32_t line_max_pages(int64_t n_places);
extern size_t line_pool_size(uint32_t n_pages);
extern void line_pool_init(LinePool *pool, uint32_t n_pages);
extern uint32_t line_pool_take(LinePool *pool);
extern void line_pool_give(LinePool *pool, uint32_t pages);

extern size_t line_size(uint32_t max_entries);
extern void line_init(Line *line, uint32_t max_entries);

/*
 * Taking a place: line_make_room(); where that is false a page of the pool's is
 * added (false: the directory is full); then line_take().  Places come in any
 * order; cheapest is the order of their numbers.
 *
 * What has become free of pages is a list, which starts at `freed` or what is
 * returned, for line_pool_give(); LINE_NO_PAGE: nothing has.
 */
extern bool line_make_room(Line *line, LinePool *pool, int64_t place, uint32_t *freed);
extern bool line_add_page(Line *line, LinePool *pool, int64_t place, uint32_t page);
extern void line_take(Line *line, LinePool *pool, int64_t place, uint64_t secret);
extern uint32_t line_drop(Line *line, LinePool *pool, int64_t place, bool *dropped);
extern uint32_t line_pop_page(Line *line, LinePool *pool);

/*
 * The end of a place may be told before its beginning or its promotion, as
 * those who tell are not always in step: line_end() then only marks it, and
 * whoever comes late finds line_ended_early() and drops it.
 */
extern uint32_t line_end(Line *line, LinePool *pool, int64_t place, LineState expected,
						 bool *dropped);
extern bool line_ended_early(const Line *line, LinePool *pool, int64_t place);

/* Changing the state of a place that is taken. */
extern void line_set(Line *line, LinePool *pool, int64_t place, LineState state, int64_t time);

/* Reading. */
extern LineCell *line_find(const Line *line, LinePool *pool, int64_t place, LineState *state);
extern int64_t line_rank(const Line *line, const LinePool *pool, int64_t place);
extern int64_t line_next(const Line *line, const LinePool *pool, LineState state, int64_t after);
extern void line_waiting_words(const Line *line, const LinePool *pool,
							   void (*take)(void *arg, int64_t first, uint64_t bits), void *arg);

/*
 * All places of a state in order, while the lock is held and nothing changes:
 * line_walk_next() returns 0 at the end.
 */
typedef struct LineWalk
{
	const Line *line;
	const LinePool *pool;
	LineState state;
	uint32_t at; /* the page, */
	uint32_t slot; /* and its slot, to be looked at next */
	const LineCell *cell; /* of the place returned last */
} LineWalk;

extern void line_walk_begin(LineWalk *walk, const Line *line, const LinePool *pool, LineState state,
							int64_t after);
extern int64_t line_walk_next(LineWalk *walk);

#endif /* TICKET_LINE_H */
