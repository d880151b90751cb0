/*
 * seatmap.h
 *		The states of a section's seats, as kept in memory: which are known,
 *		which must be read from the table, and since when.
 *
 * Knows nothing of SQL, transactions or locks; the caller holds whatever lock
 * guards a map.  Seats are counted from 0 within their section.  64 seats make
 * a block; a map is a header and an array of blocks.
 *
 * A seat is dirty while its state is not known.  Whoever is about to change a
 * seat marks it: it is dirty from then on, and its block is in flight until the
 * change has committed or has been undone.  Readers copy the map, read dirty
 * seats elsewhere, and publish what they read; a block takes that only when
 * none of it was in flight, is in flight, or has changed since it was copied.
 *
 * A hold ends by the clock.  The picture stays the same for all times from
 * lapsed_to until before next_lapse.
 */
#ifndef TICKET_SEATMAP_H
#define TICKET_SEATMAP_H

#include <stdbool.h>
#include <stdint.h>

#define SEATMAP_BLOCK 64

/* How a seat is shown. */
#define SEAT_FREE '.'
#define SEAT_HELD 'h'
#define SEAT_SOLD 'X'
#define SEAT_BLOCKED '-'
#define SEAT_NONE ' ' /* there is no such seat */

typedef struct SeatBlock
{
	uint64_t dirty;
	uint32_t in_flight; /* marks not yet taken back */
	uint32_t changes; /* marks that became changes */
	char state[SEATMAP_BLOCK];
	int64_t end[SEATMAP_BLOCK]; /* when the hold ends, of those held */
} SeatBlock;

typedef struct SeatMap
{
	int32_t first_seat; /* its number in the performance */
	int32_t n_seats;
	uint64_t version; /* of the last change */
	uint32_t in_flight; /* of all blocks */
	int32_t n_dirty;
	int32_t n_free; /* known to be free, holds that are over not counted */
	bool irregular; /* rows or seats are not all alike, or seats are missing */
	int64_t lapsed_to;
	int64_t next_lapse;
} SeatMap;

typedef struct ImageBlock
{
	uint64_t unread; /* seats to be read elsewhere */
	uint32_t changes;
	bool quiet; /* may be published */
} ImageBlock;

/* A copy of a map for one reader; arrays are made for whole blocks. */
typedef struct SeatImage
{
	int32_t n_seats;
	int32_t available; /* free, or held and over */
	bool irregular;
	bool unread; /* any seat is */
	char *state;
	int64_t *end; /* of what was read elsewhere */
	ImageBlock *block;
} SeatImage;

extern int32_t seatmap_blocks(int32_t n_seats);
extern void seatmap_init(SeatMap *map, SeatBlock *blocks, int32_t first_seat, int32_t n_seats,
						 uint64_t version);
extern void seatmap_mark(SeatMap *map, SeatBlock *blocks, int32_t seat, bool again);
extern void seatmap_unmark(SeatMap *map, SeatBlock *blocks, int32_t block, bool changed);
extern void seatmap_forget(SeatMap *map, SeatBlock *blocks);
extern bool seatmap_lapses_due(const SeatMap *map, int64_t now);
extern bool seatmap_lapse(SeatMap *map, const SeatBlock *blocks, int64_t now);
extern void seatmap_copy(const SeatMap *map, const SeatBlock *blocks, int64_t now,
						 SeatImage *image);
extern void seatmap_publish(SeatMap *map, SeatBlock *blocks, const SeatImage *image, int64_t now);
extern char seatmap_state(const SeatBlock *blocks, int32_t seat, int64_t now);
extern ImageBlock seatmap_look(const SeatBlock *blocks, int32_t seat);
extern void seatmap_learn(SeatMap *map, SeatBlock *blocks, int32_t seat, const ImageBlock *looked,
						  char state, int64_t end, int64_t now);

extern void seatimage_blank(SeatImage *image);
extern void seatimage_put(SeatImage *image, int32_t seat, char state, int64_t end);
extern void seatimage_finish(SeatImage *image, int64_t now);

/* Blocks for maps, in runs. */
typedef struct SeatPool
{
	int32_t n_blocks;
	int32_t next; /* where to look first */
	bool taken[];
} SeatPool;

extern void seatpool_init(SeatPool *pool, int32_t n_blocks);
extern int32_t seatpool_take(SeatPool *pool, int32_t n);
extern void seatpool_give(SeatPool *pool, int32_t first, int32_t n);

#endif /* TICKET_SEATMAP_H */
