/*
 * seatmap_test.c
 *		The map of a section (src/seatmap.c) between writers and readers that
 *		take their steps in any order, against a table of which every reader has
 *		a snapshot.  The steps are those of map_follow.c, hall.c and glance.c: a
 *		writer marks, becomes visible, takes its marks back; a reader takes a
 *		version, a snapshot, a copy, reads what is missing from the snapshot,
 *		publishes.
 *		One who comes too late looks at a seat, reads its row, tells the map.
 *
 * One run of each test per seed.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "seatmap.h"

#define MAX_SEATS 300
#define MAX_BLOCKS (MAX_SEATS / SEATMAP_BLOCK + 1)
#define N_WRITERS 6
#define N_READERS 4
#define N_LATE 4
#define MAX_WRITTEN 5
#define POOL_BLOCKS 50

typedef struct Row
{
	char state;
	int64_t end;
	int writer; /* who has it locked; -1: nobody */
} Row;

typedef struct Writer
{
	enum
	{
		W_IDLE,
		W_MARKING,
		W_VISIBLE,
		W_ABORTED
	} phase;
	int n;
	int32_t seat[MAX_WRITTEN];
	bool again[MAX_WRITTEN]; /* the mark before was on the same block */
	Row row[MAX_WRITTEN];
} Writer;

typedef struct Reader
{
	enum
	{
		R_IDLE,
		R_SNAPSHOT,
		R_COPIED,
		R_READ
	} phase;
	int64_t now;
	uint64_t as_of;
	bool exact;
	Row snapshot[MAX_SEATS];
	bool may_be[MAX_SEATS][256]; /* states since the snapshot */
	SeatImage image;
	char state[MAX_BLOCKS * SEATMAP_BLOCK];
	int64_t end[MAX_BLOCKS * SEATMAP_BLOCK];
	ImageBlock block[MAX_BLOCKS];
} Reader;

typedef struct Late
{
	enum
	{
		L_IDLE,
		L_LOOKED,
		L_READ
	} phase;
	int32_t seat;
	ImageBlock block;
	Row row;
} Late;

static SeatMap map;
static SeatBlock blocks[MAX_BLOCKS];
static int32_t n_seats;
static Row table[MAX_SEATS];
static uint64_t version;
static int64_t now;
static Writer writers[N_WRITERS];
static Reader readers[N_READERS];
static Late late[N_LATE];
static int n_exact;
static int n_clean;
static int n_known;

/* ---------- the table ---------- */

static Row
random_row(void)
{
	static const char states[] = {SEAT_FREE, SEAT_HELD,    SEAT_HELD,
								  SEAT_SOLD, SEAT_BLOCKED, SEAT_NONE};
	Row row = {.state = states[random_below(sizeof(states))], .writer = -1};

	/* Some are over when they begin. */
	if (row.state == SEAT_HELD)
		row.end = now + random_below(100) - 20;
	return row;
}

static char
shown(const Row *row, int64_t at)
{
	return row->state == SEAT_HELD && row->end <= at ? SEAT_FREE : row->state;
}

static void
start(int32_t n)
{
	/* What was there before must not matter. */
	memset(&map, 0xa5, sizeof(map));
	memset(blocks, 0xa5, sizeof(blocks));
	memset(writers, 0, sizeof(writers));
	memset(readers, 0, sizeof(readers));
	memset(late, 0, sizeof(late));
	n_seats = n;
	now = 1000;
	n_exact = n_clean = n_known = 0;
	seatmap_init(&map, blocks, 11, n, ++version);
	for (int32_t i = 0; i < n; i++)
		table[i] = random_row();
}

/* ---------- writers ---------- */

/* Marks one more seat that nobody else is writing. */
static void
write_seat(Writer *w)
{
	int32_t seat = (int32_t) random_below(n_seats);
	int32_t last = w->n > 0 ? w->seat[w->n - 1] : -1;

	if (w->n == MAX_WRITTEN || table[seat].writer >= 0)
		return;
	table[seat].writer = (int) (w - writers);
	w->seat[w->n] = seat;
	w->again[w->n] = last >= 0 && last / SEATMAP_BLOCK == seat / SEATMAP_BLOCK;
	w->row[w->n] = random_row();
	seatmap_mark(&map, blocks, seat, w->again[w->n]);
	w->n++;
}

static void
become_visible(Writer *w)
{
	for (int i = 0; i < w->n; i++)
	{
		table[w->seat[i]] = w->row[i];
		for (int r = 0; r < N_READERS; r++)
			if (readers[r].phase != R_IDLE)
				readers[r].may_be[w->seat[i]][(int) shown(&w->row[i], readers[r].now)] = true;
	}
}

static void
take_marks_back(Writer *w)
{
	for (int i = 0; i < w->n; i++)
		if (!w->again[i])
		{
			seatmap_unmark(&map, blocks, w->seat[i] / SEATMAP_BLOCK, w->phase == W_VISIBLE);
			if (w->phase == W_VISIBLE)
				map.version = ++version;
		}
	memset(w, 0, sizeof(Writer));
}

static void
step_writer(Writer *w)
{
	switch (w->phase)
	{
		case W_IDLE:
			w->phase = W_MARKING;
			write_seat(w);
			break;
		case W_MARKING:
			if (random_below(2))
				write_seat(w);
			else if (random_below(4))
			{
				become_visible(w);
				w->phase = W_VISIBLE;
			}
			else
			{
				for (int i = 0; i < w->n; i++)
					table[w->seat[i]].writer = -1;
				w->phase = W_ABORTED;
			}
			break;
		default:
			take_marks_back(w);
	}
}

/* ---------- readers ---------- */

static void
take_snapshot(Reader *r)
{
	memset(r, 0, sizeof(Reader));
	r->now = now;
	if (seatmap_lapses_due(&map, now) && seatmap_lapse(&map, blocks, now))
		map.version = ++version;
	r->as_of = version;
	memcpy(r->snapshot, table, sizeof(table));
	for (int32_t i = 0; i < n_seats; i++)
		r->may_be[i][(int) shown(&table[i], now)] = true;
	r->image.n_seats = n_seats;
	r->image.state = r->state;
	r->image.end = r->end;
	r->image.block = r->block;
}

static void
read_missing(Reader *r)
{
	bool any = false;

	for (int32_t i = 0; i < n_seats; i++)
		if (r->block[i / SEATMAP_BLOCK].unread >> (i % SEATMAP_BLOCK) & 1)
		{
			any = true;
			seatimage_put(&r->image, i, r->snapshot[i].state, r->snapshot[i].end);
		}
	expect(any == r->image.unread, "something to read: %d, it says %d", any, r->image.unread);
	n_clean += !any;
}

/* An exact image is the snapshot; another has no state from before it. */
static void
check_image(Reader *r)
{
	int32_t available = 0;

	for (int32_t i = 0; i < n_seats; i++)
	{
		char is = r->state[i];

		available += is == SEAT_FREE;
		if (r->exact)
			expect(is == shown(&r->snapshot[i], r->now), "seat %d is '%c', the snapshot has '%c'",
				   i, is, shown(&r->snapshot[i], r->now));
		else
			expect(r->may_be[i][(int) is], "seat %d is '%c', long gone", i, is);
	}
	expect(available == r->image.available, "%d are free, it says %d", available,
		   r->image.available);
	n_exact += r->exact;
}

static void
step_reader(Reader *r)
{
	switch (r->phase)
	{
		case R_IDLE:
			take_snapshot(r);
			r->phase = R_SNAPSHOT;
			break;
		case R_SNAPSHOT:
			seatmap_copy(&map, blocks, r->now, &r->image);
			r->exact = map.version <= r->as_of;
			r->phase = R_COPIED;
			break;
		case R_COPIED:
			read_missing(r);
			r->phase = R_READ;
			break;
		case R_READ:
			if (r->exact)
				seatmap_publish(&map, blocks, &r->image, r->now);
			seatimage_finish(&r->image, r->now);
			check_image(r);
			r->phase = R_IDLE;
			break;
	}
}

/* ---------- single seats ---------- */

/* What the map knows of a seat is what the table has, at any moment. */
static void
check_seat(int32_t seat)
{
	char is = seatmap_state(blocks, seat, now);

	n_known += is != SEAT_NONE;
	if (is != SEAT_NONE)
		expect(is == shown(&table[seat], now), "seat %d is known as '%c', the table has '%c'", seat,
			   is, shown(&table[seat], now));
}

static void
step_late(Late *l)
{
	switch (l->phase)
	{
		case L_IDLE:
			l->seat = (int32_t) random_below(n_seats);
			check_seat(l->seat);
			l->block = seatmap_look(blocks, l->seat);
			l->phase = L_LOOKED;
			break;
		case L_LOOKED:
			l->row = table[l->seat];
			l->phase = L_READ;
			break;
		case L_READ:
			seatmap_learn(&map, blocks, l->seat, &l->block, l->row.state, l->row.end, now);
			check_seat(l->seat);
			l->phase = L_IDLE;
			break;
	}
}

/* Everyone comes to an end; then the map must know the table. */
static void
settle(void)
{
	Reader *r = &readers[0];

	for (int w = 0; w < N_WRITERS; w++)
		while (writers[w].phase != W_IDLE)
			step_writer(&writers[w]);
	for (int i = 0; i < N_READERS; i++)
		while (readers[i].phase != R_IDLE)
			step_reader(&readers[i]);
	for (int i = 0; i < N_LATE; i++)
		while (late[i].phase != L_IDLE)
			step_late(&late[i]);
	expect(map.in_flight == 0, "%u in flight", map.in_flight);
	for (int b = 0; b < seatmap_blocks(n_seats); b++)
		expect(blocks[b].in_flight == 0, "%u in flight in block %d", blocks[b].in_flight, b);
	for (int pass = 0; pass < 2; pass++)
	{
		do
			step_reader(r);
		while (r->phase != R_IDLE);
		expect(r->exact, "a quiet map is not exact");
	}
	expect(map.n_dirty == 0 && !r->image.unread, "%d are still to be read", map.n_dirty);
}

static void
run(int32_t n, int steps)
{
	start(n);
	for (int i = 0; i < steps; i++)
	{
		int who = (int) random_below(N_WRITERS + N_READERS + N_LATE + 1);

		if (who < N_WRITERS)
			step_writer(&writers[who]);
		else if (who < N_WRITERS + N_READERS)
			step_reader(&readers[who - N_WRITERS]);
		else if (who < N_WRITERS + N_READERS + N_LATE)
			step_late(&late[who - N_WRITERS - N_READERS]);
		else if (random_below(20) == 0)
		{
			seatmap_forget(&map, blocks);
			map.version = ++version;
		}
		else
			now += random_below(4) ? random_below(3) : -random_below(30);
	}
	settle();
}

/* ---------- tests ---------- */

static void
test_sizes(void)
{
	static const int32_t sizes[] = {1, 2, 63, 64, 65, 128, 200, MAX_SEATS};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
	{
		run(sizes[i], 20000);
		expect(n_exact > 50, "%d seats: only %d exact readers", sizes[i], n_exact);
	}
	result("readers between writers");
}

/* Between writers all is known. */
static void
test_quiet(void)
{
	int asked = 0;

	start(200);
	for (int i = 0; i < 20000; i++)
	{
		if (i % 100 == 0)
			do
				step_writer(&writers[0]);
			while (writers[0].phase != W_IDLE);
		step_reader(&readers[0]);
		asked += readers[0].phase == R_IDLE;
	}
	settle();
	expect(n_clean > asked * 9 / 10, "of %d readers only %d found all they wanted", asked, n_clean);
	result("memory is of use");
}

/* Among a few writers single callers come to know most seats, without a reader. */
static void
test_late(void)
{
	int asked = 0;

	start(200);
	for (int i = 0; i < 100000; i++)
	{
		Late *l = &late[random_below(N_LATE)];

		if (random_below(20) == 0)
			step_writer(&writers[random_below(2)]);
		if (random_below(100) == 0)
			now++;
		step_late(l);
		asked += l->phase != L_READ;
	}
	expect(n_known > asked / 4, "of %d looks at a seat only %d found it known", asked, n_known);
	settle();
	result("what single callers read is known, and so");
}

static void
test_lapses(void)
{
	Reader *r = &readers[0];
	uint64_t before;

	start(100);
	for (int32_t i = 0; i < n_seats; i++)
		table[i] = (Row){SEAT_HELD, 2000 + i, -1};
	settle();
	for (now = 1990; now < 2120; now++)
	{
		before = map.version;
		do
			step_reader(r);
		while (r->phase != R_IDLE);
		expect((map.version > before) == (now >= 2000 && now < 2100), "version at %" PRId64, now);
		expect(!r->image.unread, "read at %" PRId64, now);
	}
	before = map.version;
	now = 2050;
	do
		step_reader(r);
	while (r->phase != R_IDLE);
	expect(map.version > before && r->image.available == 51, "the clock is turned back: %d free",
		   r->image.available);

	/* A hold that is paid does not end. */
	now = 2059;
	settle();
	seatmap_mark(&map, blocks, 60, false);
	table[60] = (Row){SEAT_SOLD, 0, -1};
	seatmap_unmark(&map, blocks, 0, true);
	map.version = ++version;
	settle();
	before = map.version;
	now = 2060;
	settle();
	expect(map.version == before, "a hold that was paid has ended");
	result("holds end by the clock");
}

static void
test_blank(void)
{
	Reader *r = &readers[0];

	start(70);
	take_snapshot(r);
	seatimage_blank(&r->image);
	r->exact = true;
	read_missing(r);
	seatmap_publish(&map, blocks, &r->image, now);
	expect(map.n_dirty == 70, "what is not to be published was: %d dirty", map.n_dirty);
	seatimage_finish(&r->image, now);
	check_image(r);
	r->phase = R_IDLE;
	settle();
	expect(!map.irregular, "irregular from the start");
	seatmap_mark(&map, blocks, 3, false);
	seatmap_unmark(&map, blocks, 0, false);
	take_snapshot(r);
	seatmap_copy(&map, blocks, now, &r->image);
	read_missing(r);
	r->image.irregular = true;
	seatmap_publish(&map, blocks, &r->image, now);
	expect(map.irregular, "what one reader has seen of the rows is kept");
	seatmap_mark(&map, blocks, 3, false);
	seatmap_forget(&map, blocks);
	expect(map.n_dirty == 70 && !map.irregular && map.in_flight == 1, "forgotten: %d dirty",
		   map.n_dirty);
	seatmap_unmark(&map, blocks, 0, false);
	r->phase = R_IDLE;
	settle();
	result("without a map; rows; forgotten");
}

static void
test_pool(void)
{
	SeatPool *pool = malloc(sizeof(SeatPool) + POOL_BLOCKS * sizeof(bool));
	int owner[POOL_BLOCKS] = {0};
	int32_t first[POOL_BLOCKS + 1] = {0};
	int32_t length[POOL_BLOCKS + 1] = {0};

	memset(pool, 0xa5, sizeof(SeatPool) + POOL_BLOCKS * sizeof(bool));
	seatpool_init(pool, POOL_BLOCKS);
	expect(seatpool_take(pool, POOL_BLOCKS + 1) == -1, "more than there are");
	for (int i = 0; i < 20000; i++)
	{
		int who = 1 + (int) random_below(POOL_BLOCKS);
		int32_t n = 1 + (int32_t) random_below(random_below(10) ? 4 : POOL_BLOCKS);
		int longest = 0;
		int free_here = 0;

		if (length[who] > 0)
		{
			seatpool_give(pool, first[who], length[who]);
			memset(&owner[first[who]], 0, length[who] * sizeof(int));
			length[who] = 0;
			continue;
		}
		for (int b = 0; b < POOL_BLOCKS; b++)
		{
			free_here = owner[b] ? 0 : free_here + 1;
			longest = free_here > longest ? free_here : longest;
		}
		first[who] = seatpool_take(pool, n);
		expect((first[who] >= 0) == (n <= longest), "%d wanted, %d together", n, longest);
		if (first[who] < 0)
			continue;
		length[who] = n;
		for (int32_t b = first[who]; b < first[who] + n; b++)
		{
			expect(b < POOL_BLOCKS && owner[b] == 0, "block %d given out twice", b);
			owner[b] = who;
		}
	}
	free(pool);
	result("blocks");
}

int
main(void)
{
	static void (*const tests[])(void) = {test_sizes,  test_quiet, test_late,
										  test_lapses, test_blank, test_pool};

	run_seeded(tests, sizeof(tests) / sizeof(tests[0]));
	return finish();
}
