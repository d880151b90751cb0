/*
 * ticket_picture.c
 *		line_picture: all that a process needs to tell the exact position of any
 *		of its tickets by itself.
 *
 * The line is copied under its lock, shared, 64 places at once where they stand in
 * a row, and written out after.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "entry.h"
#include "line_picture.h"
#include "load.h"
#include "metrics.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "relation.h"
#include "stock.h"
#include "ticket.h"
#include "storage/shmem.h"
#include "utils/fmgroids.h"

PG_FUNCTION_INFO_V1(ticket_line_picture);

/* Pages that may have come since the room for them was made. */
#define PAGES_TO_SPARE 16
/* Of the clock of the server against that of Unix. */
#define UNIX_EPOCH_US \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * USECS_PER_SEC)

typedef struct Picture
{
	PictureHead head;
	PicturePage *pages;
	uint32 n_pages;
	uint32 max_pages;
	uint32 last_page; /* its number */
} Picture;

static void
make_room(Picture *picture, uint32 max_pages)
{
	Size size = mul_size(max_pages, sizeof(PicturePage));

	if (picture->pages == NULL)
		picture->pages = MemoryContextAllocHuge(CurrentMemoryContext, size);
	else
		picture->pages = repalloc_huge(picture->pages, size);
	picture->max_pages = max_pages;
}

/* The page that a place belongs to, places coming in order; NULL: there is no room. */
static PicturePage *
page_of(Picture *picture, int64 place)
{
	uint32 page_no = place >> PICTURE_PAGE_BITS;
	PicturePage *last = picture->n_pages > 0 && picture->n_pages <= picture->max_pages ?
							&picture->pages[picture->n_pages - 1] :
							NULL;

	if (picture->n_pages > 0 && picture->last_page == page_no)
		return last;
	picture->last_page = page_no;
	if (picture->n_pages++ >= picture->max_pages)
		return NULL;
	last = &picture->pages[picture->n_pages - 1];
	memset(last, 0, sizeof(PicturePage));
	last->page_no = page_no;
	return last;
}

static void
add_word(void *arg, int64_t first, uint64_t bits)
{
	PicturePage *page = page_of(arg, first);

	if (page == NULL)
		return;
	page->waiting[first % PICTURE_PAGE_PLACES / 64] |= bits;
	page->count += pg_popcount64(bits);
}

/* With the lock held nothing is allocated: where room is short, pages are only counted. */
static void
copy_line(Picture *picture)
{
	for (;;)
	{
		const Line *line;
		Queue *queue;

		CHECK_FOR_INTERRUPTS();
		queue = queue_open(picture->head.queue_id, LW_SHARED);
		if (queue == NULL)
			no_such_queue(picture->head.queue_id);
		line = queue_line(queue);
		picture->head.taken_at = clock_now() + UNIX_EPOCH_US;
		picture->head.next_place = line->next_place;
		picture->n_pages = 0;
		line_waiting_words(line, memory_pool(), add_word, picture);
		queue_release(queue);
		if (picture->n_pages <= picture->max_pages)
			break;
		make_room(picture, picture->n_pages + PAGES_TO_SPARE);
	}
}

static void
add_place(Picture *picture, int64 place)
{
	if (picture->n_pages == picture->max_pages)
		make_room(picture, picture->max_pages * 2);
	add_word(picture, place - place % 64, UINT64CONST(1) << place % 64);
}

/* On a standby, where there is no line: from the tickets, in the order of their places. */
static void
read_line(Picture *picture)
{
	RowScan scan;
	ScanKeyData key;
	HeapTuple row;
	bool isnull;

	make_room(picture, PAGES_TO_SPARE);
	picture->head.taken_at = clock_now() + UNIX_EPOCH_US;
	picture->head.next_place = 1;
	ScanKeyInit(&key, COL_ENTRY_QUEUE_ID, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum(picture->head.queue_id));
	row_scan_begin(&scan, REL_QUEUE_ENTRY, REL_QUEUE_ENTRY_PKEY, 1, &key);
	while ((row = row_scan_next(&scan)) != NULL)
	{
		int64 place = row_int64(&scan, row, COL_ENTRY_PLACE, 0);

		CHECK_FOR_INTERRUPTS();
		if (text_is(row_get(&scan, row, COL_ENTRY_STATUS, &isnull), "waiting"))
			add_place(picture, place);
		picture->head.next_place = place + 1;
	}
	row_scan_end(&scan);
}

/*
 * line_picture(queue_id bigint) -> bytea
 *
 * Which places of the queue wait, at one moment; client/line_picture.h has the
 * format.  Positions told from it are those that ticket_status() told then.
 * Nobody is heard of by it.  What the caller's own transaction has changed is
 * not in it yet.
 *
 * Errors: 22023, TK004 (the queue has no shared memory), TK005, TK014.
 * Locks: queue lock, shared.  On a standby the table is read.
 */
Datum
ticket_line_picture(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	Picture picture = {.head.queue_id = arg_id(fcinfo, 0, "queue_id")};
	bytea *out;
	size_t size;

	memory_require();
	if (!RecoveryInProgress())
		copy_line(&picture);
	else
	{
		queue_row_check(picture.head.queue_id);
		read_line(&picture);
	}
	out = palloc(VARHDRSZ + line_picture_room(picture.n_pages));
	size =
		line_picture_write((uint8 *) VARDATA(out), &picture.head, picture.pages, picture.n_pages);
	SET_VARSIZE(out, VARHDRSZ + size);
	PG_RETURN_BYTEA_P(out);
}
