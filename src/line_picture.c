/*
 * line_picture.c
 *		Writing what line_picture() returns.  See line_picture.h.
 *
 * May not use anything of PostgreSQL: it is compiled a second time, alone,
 * into its unit test.
 */
#include "line_picture.h"

#include <string.h>

#include "client/line_picture.h"

/* Where a list is shorter than the bits. */
#define MAX_LISTED (PICTURE_PAGE_PLACES / 8 / 2 - 1)

static uint8_t *
put(uint8_t *out, uint64_t number, int bytes)
{
	for (int i = 0; i < bytes; i++)
		out[i] = (uint8_t) (number >> 8 * i);
	return out + bytes;
}

/* How many bytes so many pages take at most. */
size_t
line_picture_room(uint32_t n_pages)
{
	return TICKET_PICTURE_HEAD +
		   (size_t) n_pages * (TICKET_PICTURE_PAGE_HEAD + PICTURE_PAGE_PLACES / 8);
}

static uint8_t *
write_page(uint8_t *out, const PicturePage *page)
{
	bool listed = page->count <= MAX_LISTED;

	out = put(out, page->page_no, 4);
	out = put(out, page->count, 2);
	out = put(out, listed ? TICKET_PICTURE_LIST : TICKET_PICTURE_BITS, 2);
	for (int word = 0; word < PICTURE_PAGE_WORDS; word++)
	{
		uint64_t bits = page->waiting[word];

		if (!listed)
			out = put(out, bits, 8);
		for (; listed && bits != 0; bits &= bits - 1)
			out = put(out, (uint64_t) word * 64 + __builtin_ctzll(bits), 2);
	}
	return out;
}

/* Pages in which nobody waits are left out.  Returns the number of bytes. */
size_t
line_picture_write(uint8_t *out, const PictureHead *head, const PicturePage *pages,
				   uint32_t n_pages)
{
	uint8_t *at = out + TICKET_PICTURE_HEAD;
	uint64_t waiting = 0;
	uint32_t written = 0;

	for (uint32_t i = 0; i < n_pages; i++)
	{
		if (pages[i].count == 0)
			continue;
		at = write_page(at, &pages[i]);
		waiting += pages[i].count;
		written++;
	}
	memcpy(out, "TKLP", 4);
	out = put(out + 4, TICKET_PICTURE_VERSION, 2);
	out = put(out, TICKET_PICTURE_HEAD, 2);
	out = put(out, 0, 2);
	out = put(out, 1, 2);
	out = put(out, written, 4);
	out = put(out, (uint64_t) head->queue_id, 8);
	out = put(out, (uint64_t) head->taken_at, 8);
	out = put(out, (uint64_t) head->next_place, 8);
	out = put(out, waiting, 8);
	return at - (out - TICKET_PICTURE_HEAD);
}
