/*
 * line.h
 *		The index of one waiting line: who is waiting, who is active, the exact
 *		rank of a place, the first places in order.
 *
 * Knows nothing of SQL, locks, transactions or PostgreSQL; the caller holds
 * the lock of the line (shared to read, exclusive to change) and owns the
 * pool the pages come from.
 *
 * Places are numbered from 1 in the order of arrival and never reused.  4,096
 * places share a page: two bitmaps (waiting, active) and, per place, the
 * secret of its token and a time.  A line keeps its pages in one array sorted
 * by page number with the count of waiting places of each, so that
 *
 *		rank = sum of the counts of the pages before + bits set before in the page
 *
 * which at a million waiting is some 250 additions, and in the page, which
 * counts its eighths, at most 7 more and 8 popcounts.
 * A page all of whose places are gone is given back; the array closes up, so
 * neither a place that stays for days nor pages that empty in the middle cost
 * more than the pages that really hold somebody.
 */
#ifndef TICKET_LINE_H
#define TICKET_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINE_PAGE_BITS 12
#define LINE_PAGE_PLACES (1 << LINE_PAGE_BITS)
#define LINE_PAGE_WORDS (LINE_PAGE_PLACES / 64)
#define LINE_PART_WORDS 8 /* a cache line of one bitmap */
#define LINE_PAGE_PARTS (LINE_PAGE_WORDS / LINE_PART_WORDS)
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
	uint64_t waiting[LINE_PAGE_WORDS];
	uint64_t active[LINE_PAGE_WORDS];
	uint32_t used; /* places taken: waiting, active or not yet
								 * committed */
	uint32_t n_active;
	uint32_t next_free; /* in the pool's free list */
	uint16_t part[LINE_PAGE_PARTS]; /* bits set in each part of `waiting` */
	LineCell cell[LINE_PAGE_PLACES];
} LinePage;

/* The pages of all lines.  Guarded by a lock of the caller's. */
typedef struct LinePool
{
	uint32_t n_pages;
	uint32_t n_free;
	uint32_t first_free;
	LinePage pages[];
} LinePool;

/* One page as its line sees it. */
typedef struct LineEntry
{
	uint32_t page_no; /* place >> LINE_PAGE_BITS */
	uint32_t page; /* index into the pool */
} LineEntry;

typedef struct Line
{
	int64_t next_place; /* the next to be given out */
	int64_t n_waiting;
	int64_t n_active;
	uint32_t n_entries;
	uint32_t max_entries;
	/* uint32_t waiting[max_entries], then LineEntry entry[max_entries] */
	uint32_t data[];
} Line;

typedef enum LineState
{
	LINE_GONE, /* unknown, not yet committed, or gone */
	LINE_WAITING,
	LINE_ACTIVE
} LineState;

extern size_t line_pool_size(uint32_t n_pages);
extern void line_pool_init(LinePool *pool, uint32_t n_pages);
extern uint32_t line_pool_take(LinePool *pool);
extern void line_pool_give(LinePool *pool, uint32_t page);

extern size_t line_size(uint32_t max_entries);
extern void line_init(Line *line, uint32_t max_entries);

/* Taking places; a page is needed first where line_lacks_page() says so. */
extern bool line_lacks_page(const Line *line, int64_t place);
extern void line_add_page(Line *line, LinePool *pool, int64_t place, uint32_t page);
extern void line_take(Line *line, LinePool *pool, int64_t place, uint64_t secret);
extern uint32_t line_drop(Line *line, LinePool *pool, int64_t place);
extern uint32_t line_pop_page(Line *line);

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
extern uint32_t line_pages(const Line *line);
extern uint32_t line_page_waiting(const Line *line, const LinePool *pool, uint32_t at,
								  uint32_t *page_no, uint64_t *waiting);

#endif /* TICKET_LINE_H */
