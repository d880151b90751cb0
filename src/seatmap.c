/*
 * seatmap.c
 *		The states of a section's seats, as kept in memory.  See seatmap.h.
 */
#include "seatmap.h"

#include <string.h>

static uint64_t
seat_bit(int32_t seat)
{
	return UINT64_C(1) << (seat % SEATMAP_BLOCK);
}

int32_t
seatmap_blocks(int32_t n_seats)
{
	return n_seats / SEATMAP_BLOCK + (n_seats % SEATMAP_BLOCK > 0);
}

/* All seats of a block, which may be the last one. */
static uint64_t
block_seats(int32_t n_seats, int32_t block)
{
	int32_t n = n_seats - block * SEATMAP_BLOCK;

	return n >= SEATMAP_BLOCK ? UINT64_MAX : (UINT64_C(1) << n) - 1;
}

/* Nothing is known of a new map. */
void
seatmap_init(SeatMap *map, SeatBlock *blocks, int32_t first_seat, int32_t n_seats, uint64_t version)
{
	int32_t n_blocks = seatmap_blocks(n_seats);

	memset(map, 0, sizeof(SeatMap));
	map->first_seat = first_seat;
	map->n_seats = map->n_dirty = n_seats;
	map->version = version;
	map->lapsed_to = INT64_MIN;
	map->next_lapse = INT64_MAX;
	memset(blocks, 0, n_blocks * sizeof(SeatBlock));
	for (int32_t b = 0; b < n_blocks; b++)
	{
		blocks[b].dirty = block_seats(n_seats, b);
		memset(blocks[b].state, SEAT_NONE, SEATMAP_BLOCK);
	}
}

/* `again`: the caller's mark on this block stands already. */
void
seatmap_mark(SeatMap *map, SeatBlock *blocks, int32_t seat, bool again)
{
	SeatBlock *block = &blocks[seat / SEATMAP_BLOCK];

	if (!again)
	{
		block->in_flight++;
		map->in_flight++;
	}
	if (block->dirty & seat_bit(seat))
		return;
	block->dirty |= seat_bit(seat);
	map->n_dirty++;
	if (block->state[seat % SEATMAP_BLOCK] == SEAT_FREE)
		map->n_free--;
}

void
seatmap_unmark(SeatMap *map, SeatBlock *blocks, int32_t block, bool changed)
{
	blocks[block].in_flight--;
	map->in_flight--;
	if (changed)
		blocks[block].changes++;
}

/* Nothing is known any more; marks stand, and what is on its way is refused. */
void
seatmap_forget(SeatMap *map, SeatBlock *blocks)
{
	map->n_dirty = map->n_seats;
	map->n_free = 0;
	map->irregular = false;
	map->lapsed_to = INT64_MIN;
	map->next_lapse = INT64_MAX;
	for (int32_t b = 0; b < seatmap_blocks(map->n_seats); b++)
	{
		blocks[b].dirty = block_seats(map->n_seats, b);
		blocks[b].changes++;
		memset(blocks[b].state, SEAT_NONE, SEATMAP_BLOCK);
	}
}

/* ---------- holds that end ---------- */

/* Whether the picture may not be the one of the last seatmap_lapse(). */
bool
seatmap_lapses_due(const SeatMap *map, int64_t now)
{
	return now < map->lapsed_to || now >= map->next_lapse;
}

/*
 * Moves the map to the time `now`, which may also be earlier; true when that
 * changes the picture: a hold has ended.
 */
bool
seatmap_lapse(SeatMap *map, const SeatBlock *blocks, int64_t now)
{
	int64_t old = map->lapsed_to;
	bool changed = false;

	map->lapsed_to = INT64_MIN;
	map->next_lapse = INT64_MAX;
	for (int32_t seat = 0; seat < map->n_seats; seat++)
	{
		const SeatBlock *block = &blocks[seat / SEATMAP_BLOCK];
		int64_t end = block->end[seat % SEATMAP_BLOCK];

		if (block->state[seat % SEATMAP_BLOCK] != SEAT_HELD || (block->dirty & seat_bit(seat)))
			continue;
		if ((end <= old) != (end <= now))
			changed = true;
		if (end <= now && end > map->lapsed_to)
			map->lapsed_to = end;
		if (end > now && end < map->next_lapse)
			map->next_lapse = end;
	}
	return changed;
}

/* ---------- readers ---------- */

static void
copy_block(const SeatBlock *block, SeatImage *image, int32_t b)
{
	image->block[b] = seatmap_look(block, 0);
	memcpy(image->state + b * SEATMAP_BLOCK, block->state, SEATMAP_BLOCK);
}

/* Holds that are over, of the seats that are known, are free. */
static void
lapse_block(const SeatBlock *block, SeatImage *image, int32_t b, int64_t now)
{
	char *state = image->state + b * SEATMAP_BLOCK;

	for (int32_t i = 0; i < SEATMAP_BLOCK; i++)
		if (state[i] == SEAT_HELD && block->end[i] <= now && !(block->dirty & seat_bit(i)))
		{
			state[i] = SEAT_FREE;
			image->available++;
		}
}

/* Of one seat; SEAT_NONE: it is not known. */
char
seatmap_state(const SeatBlock *blocks, int32_t seat, int64_t now)
{
	const SeatBlock *block = &blocks[seat / SEATMAP_BLOCK];
	int32_t i = seat % SEATMAP_BLOCK;

	if (block->dirty & seat_bit(seat))
		return SEAT_NONE;
	return block->state[i] == SEAT_HELD && block->end[i] <= now ? SEAT_FREE : block->state[i];
}

/* Before one seat is read elsewhere: the block it is in. */
ImageBlock
seatmap_look(const SeatBlock *blocks, int32_t seat)
{
	const SeatBlock *block = &blocks[seat / SEATMAP_BLOCK];

	return (ImageBlock){block->dirty, block->changes, block->in_flight == 0};
}

void
seatmap_copy(const SeatMap *map, const SeatBlock *blocks, int64_t now, SeatImage *image)
{
	bool lapsed = map->lapsed_to != INT64_MIN || now >= map->next_lapse;

	image->available = map->n_free;
	image->irregular = map->irregular;
	image->unread = map->n_dirty > 0;
	for (int32_t b = 0; b < seatmap_blocks(map->n_seats); b++)
	{
		copy_block(&blocks[b], image, b);
		if (lapsed)
			lapse_block(&blocks[b], image, b, now);
	}
}

/* An image of which nothing is known and nothing may be published. */
void
seatimage_blank(SeatImage *image)
{
	image->available = 0;
	image->irregular = false;
	image->unread = image->n_seats > 0;
	memset(image->state, SEAT_NONE, seatmap_blocks(image->n_seats) * SEATMAP_BLOCK);
	for (int32_t b = 0; b < seatmap_blocks(image->n_seats); b++)
		image->block[b] = (ImageBlock){.unread = block_seats(image->n_seats, b)};
}

/* What was read elsewhere of an unread seat. */
void
seatimage_put(SeatImage *image, int32_t seat, char state, int64_t end)
{
	image->state[seat] = state;
	image->end[seat] = end;
}

static void
publish_seat(SeatMap *map, SeatBlock *block, int32_t i, char state, int64_t end, int64_t now)
{
	block->state[i] = state;
	block->end[i] = end;
	block->dirty &= ~seat_bit(i);
	map->n_dirty--;
	if (state == SEAT_FREE)
		map->n_free++;
	else if (state == SEAT_HELD && end <= now && end > map->lapsed_to)
		map->lapsed_to = end;
	else if (state == SEAT_HELD && end > now && end < map->next_lapse)
		map->next_lapse = end;
}

/* Whether what was read of a block since one looked at it is still so. */
static bool
still_good(const SeatBlock *block, const ImageBlock *looked)
{
	return looked->quiet && block->in_flight == 0 && block->changes == looked->changes;
}

/* Gives the map what an image of it has read, as far as it is still good. */
void
seatmap_publish(SeatMap *map, SeatBlock *blocks, const SeatImage *image, int64_t now)
{
	map->irregular |= image->irregular;
	for (int32_t b = 0; b < seatmap_blocks(map->n_seats); b++)
	{
		SeatBlock *block = &blocks[b];
		uint64_t news = image->block[b].unread & block->dirty;

		if (!still_good(block, &image->block[b]))
			continue;
		for (int32_t i = 0; news != 0; i++, news >>= 1)
			if (news & 1)
				publish_seat(map, block, i, image->state[b * SEATMAP_BLOCK + i],
							 image->end[b * SEATMAP_BLOCK + i], now);
	}
}

/* The same for one seat that was looked at and read. */
void
seatmap_learn(SeatMap *map, SeatBlock *blocks, int32_t seat, const ImageBlock *looked, char state,
			  int64_t end, int64_t now)
{
	SeatBlock *block = &blocks[seat / SEATMAP_BLOCK];

	if ((block->dirty & looked->unread & seat_bit(seat)) && still_good(block, looked))
		publish_seat(map, block, seat % SEATMAP_BLOCK, state, end, now);
}

/* After what was read has been published: as it is shown at `now`. */
void
seatimage_finish(SeatImage *image, int64_t now)
{
	for (int32_t b = 0; image->unread && b < seatmap_blocks(image->n_seats); b++)
	{
		uint64_t unread = image->block[b].unread;

		for (int32_t seat = b * SEATMAP_BLOCK; unread != 0; seat++, unread >>= 1)
		{
			if (!(unread & 1))
				continue;
			if (image->state[seat] == SEAT_HELD && image->end[seat] <= now)
				image->state[seat] = SEAT_FREE;
			if (image->state[seat] == SEAT_FREE)
				image->available++;
		}
	}
}

/* ---------- blocks ---------- */

void
seatpool_init(SeatPool *pool, int32_t n_blocks)
{
	pool->n_blocks = n_blocks;
	pool->next = 0;
	memset(pool->taken, 0, n_blocks * sizeof(bool));
}

/* How many of n blocks from `first` are free, up to the first that is not. */
static int32_t
free_run(const SeatPool *pool, int32_t first, int32_t n)
{
	int32_t run = 0;

	while (run < n && first + run < pool->n_blocks && !pool->taken[first + run])
		run++;
	return run;
}

/* n blocks that stand together; returns the first, or -1. */
int32_t
seatpool_take(SeatPool *pool, int32_t n)
{
	for (int32_t pass = 0; pass < 2; pass++)
	{
		int32_t first = pass == 0 ? pool->next : 0;

		while (first + n <= pool->n_blocks)
		{
			int32_t run = free_run(pool, first, n);

			if (run == n)
			{
				memset(pool->taken + first, true, n * sizeof(bool));
				pool->next = first + n;
				return first;
			}
			first += run + 1;
		}
	}
	return -1;
}

void
seatpool_give(SeatPool *pool, int32_t first, int32_t n)
{
	memset(pool->taken + first, false, n * sizeof(bool));
}
