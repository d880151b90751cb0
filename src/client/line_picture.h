/*
 * line_picture.h
 *		For clients: reads what ticket.line_picture(queue_id) returns, and tells
 *		the exact position of any place by itself, without the server.
 *
 * Include it; there is nothing to link.  It needs C99 (or C++) and nothing of
 * PostgreSQL.
 *
 *		TicketPicture picture;
 *		int64_t queue_id, place;
 *
 *		if (ticket_picture_read(&picture, bytes, size) != TICKET_PICTURE_OK) ...
 *		if (ticket_token_place(uuid, &queue_id, &place) && queue_id == picture.queue_id)
 *			position = ticket_picture_position(&picture, place);
 *		ticket_picture_free(&picture);
 *
 * A position is as it was when the picture was taken.  What is told of a place
 * does not depend on the token's secret: who asks must have had the token from
 * the server.  To have a picture is no sign of life: see ticket_heard().
 *
 * The format, version 1.  Numbers are little-endian and, but for `taken at`,
 * unsigned.
 *
 *		offset	bytes
 *		0		4		the letters TKLP
 *		4		2		version: 1
 *		6		2		size of this head: 48 or more; the pages begin there
 *		8		2		order: 0: who has the lower place is before
 *		10		2		lanes: 1: there is one line
 *		12		4		number of pages
 *		16		8		queue_id
 *		24		8		taken at, in microseconds since 1970-01-01 00:00 UTC
 *		32		8		places from this one on came later
 *		40		8		how many wait
 *
 *	then for each page of 4,096 places in which somebody waits, in their order:
 *
 *		0		4		number of the page: its first place / 4096
 *		4		2		how many of it wait: 1 to 4096
 *		6		2		form: 0: bits, 1: list
 *		8		512		bits: bit i (1 << i) of byte k is the place 8 k + i of the
 *						page; set: it waits
 *		or		2 n		list: of each that waits the place within the page, ascending
 *
 * and nothing after the last.  A reader refuses a version, an order, a number of
 * lanes and a form that it does not know: positions would be wrong.  It ignores
 * what a longer head has behind byte 48.  So later versions can say more, and
 * those that count otherwise (lanes, draws) are not misread.
 */
#ifndef TICKET_LINE_PICTURE_H
#define TICKET_LINE_PICTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define TICKET_PICTURE_HEAD 48
#define TICKET_PICTURE_PAGE_HEAD 8
#define TICKET_PICTURE_VERSION 1
#define TICKET_PICTURE_PAGE_PLACES 4096
#define TICKET_PICTURE_WORDS (TICKET_PICTURE_PAGE_PLACES / 64)
#define TICKET_PICTURE_BITS 0
#define TICKET_PICTURE_LIST 1
/* Places have 38 bits. */
#define TICKET_PICTURE_MAX_PAGE_NO ((UINT32_C(1) << 26) - 1)

typedef enum TicketPictureResult
{
	TICKET_PICTURE_OK,
	TICKET_PICTURE_BAD, /* these bytes are no picture */
	TICKET_PICTURE_NEWER, /* they may be one, but of a kind that is not known here */
	TICKET_PICTURE_NO_MEMORY
} TicketPictureResult;

typedef struct TicketPicturePage
{
	uint32_t page_no;
	int64_t before; /* how many wait in the pages before */
	uint16_t part[8]; /* and in the page before each eighth */
	uint64_t bits[TICKET_PICTURE_WORDS];
} TicketPicturePage;

typedef struct TicketPicture
{
	int64_t queue_id;
	int64_t taken_at; /* microseconds since 1970 */
	int64_t next_place; /* places from this one on came later */
	int64_t waiting;
	uint32_t n_pages;
	TicketPicturePage *pages;
} TicketPicture;

static inline uint64_t
ticket_picture_number(const uint8_t *at, int bytes)
{
	uint64_t number = 0;

	for (int i = bytes - 1; i >= 0; i--)
		number = number << 8 | at[i];
	return number;
}

static inline int
ticket_picture_count_bits(uint64_t bits)
{
#if defined(__GNUC__) || defined(__clang__)
	return __builtin_popcountll(bits);
#else
	int n = 0;

	for (; bits != 0; bits &= bits - 1)
		n++;
	return n;
#endif
}

/* Reads one page; returns its size, 0: it is none. */
static inline size_t
ticket_picture_read_page(TicketPicturePage *page, const uint8_t *at, size_t size)
{
	uint32_t count;
	uint32_t form;
	uint32_t found = 0;
	size_t body;

	if (size < TICKET_PICTURE_PAGE_HEAD)
		return 0;
	page->page_no = (uint32_t) ticket_picture_number(at, 4);
	count = (uint32_t) ticket_picture_number(at + 4, 2);
	form = (uint32_t) ticket_picture_number(at + 6, 2);
	if (page->page_no > TICKET_PICTURE_MAX_PAGE_NO || count < 1 ||
		count > TICKET_PICTURE_PAGE_PLACES || form > TICKET_PICTURE_LIST)
		return 0;
	body = form == TICKET_PICTURE_BITS ? TICKET_PICTURE_PAGE_PLACES / 8 : 2 * (size_t) count;
	at += TICKET_PICTURE_PAGE_HEAD;
	if (size - TICKET_PICTURE_PAGE_HEAD < body)
		return 0;
	memset(page->bits, 0, sizeof(page->bits));
	if (form == TICKET_PICTURE_BITS)
		for (int word = 0; word < TICKET_PICTURE_WORDS; word++)
			page->bits[word] = ticket_picture_number(at + 8 * word, 8);
	else
		for (uint32_t i = 0, last = 0; i < count; i++)
		{
			uint32_t place = (uint32_t) ticket_picture_number(at + 2 * i, 2);

			if (place >= TICKET_PICTURE_PAGE_PLACES || (i > 0 && place <= last))
				return 0;
			page->bits[place / 64] |= UINT64_C(1) << place % 64;
			last = place;
		}
	for (int word = 0; word < TICKET_PICTURE_WORDS; word++)
	{
		if (word % 8 == 0)
			page->part[word / 8] = (uint16_t) found;
		found += (uint32_t) ticket_picture_count_bits(page->bits[word]);
	}
	return found == count ? TICKET_PICTURE_PAGE_HEAD + body : 0;
}

static inline void
ticket_picture_free(TicketPicture *picture)
{
	free(picture->pages);
	picture->pages = NULL;
	picture->n_pages = 0;
}

static inline TicketPictureResult
ticket_picture_read_pages(TicketPicture *picture, const uint8_t *at, size_t size)
{
	int64_t before = 0;

	for (uint32_t i = 0; i < picture->n_pages; i++)
	{
		TicketPicturePage *page = &picture->pages[i];
		size_t length = ticket_picture_read_page(page, at, size);

		if (length == 0 || (i > 0 && page->page_no <= page[-1].page_no))
			return TICKET_PICTURE_BAD;
		page->before = before;
		before += (int64_t) ticket_picture_number(at + 4, 2);
		at += length;
		size -= length;
	}
	return size == 0 && before == picture->waiting ? TICKET_PICTURE_OK : TICKET_PICTURE_BAD;
}

/*
 * Reads a picture; the bytes are not needed any more then.  Unless it is
 * TICKET_PICTURE_OK there is nothing to free.
 */
static inline TicketPictureResult
ticket_picture_read(TicketPicture *picture, const void *bytes, size_t size)
{
	const uint8_t *at = (const uint8_t *) bytes;
	size_t head;
	TicketPictureResult result;

	memset(picture, 0, sizeof(*picture));
	if (size < 8 || memcmp(at, "TKLP", 4) != 0)
		return TICKET_PICTURE_BAD;
	if (ticket_picture_number(at + 4, 2) != TICKET_PICTURE_VERSION)
		return TICKET_PICTURE_NEWER;
	head = (size_t) ticket_picture_number(at + 6, 2);
	if (head < TICKET_PICTURE_HEAD || size < head)
		return TICKET_PICTURE_BAD;
	if (ticket_picture_number(at + 8, 2) != 0 || ticket_picture_number(at + 10, 2) != 1)
		return TICKET_PICTURE_NEWER;
	picture->n_pages = (uint32_t) ticket_picture_number(at + 12, 4);
	picture->queue_id = (int64_t) ticket_picture_number(at + 16, 8);
	picture->taken_at = (int64_t) ticket_picture_number(at + 24, 8);
	picture->next_place = (int64_t) ticket_picture_number(at + 32, 8);
	picture->waiting = (int64_t) ticket_picture_number(at + 40, 8);
	/* So many bytes a page has at least. */
	if (picture->n_pages > (size - head) / (TICKET_PICTURE_PAGE_HEAD + 2))
		return TICKET_PICTURE_BAD;
	picture->pages =
		(TicketPicturePage *) malloc((picture->n_pages + (size_t) 1) * sizeof(TicketPicturePage));
	if (picture->pages == NULL)
		return TICKET_PICTURE_NO_MEMORY;
	result = ticket_picture_read_pages(picture, at + head, size - head);
	if (result != TICKET_PICTURE_OK)
		ticket_picture_free(picture);
	return result;
}

/*
 * The position that a place had when the picture was taken: 1 is next.  0: it did
 * not wait; ticket_status() says what has become of it.  -1: it came later.
 */
static inline int64_t
ticket_picture_position(const TicketPicture *picture, int64_t place)
{
	uint32_t page_no = (uint32_t) (place / TICKET_PICTURE_PAGE_PLACES);
	uint32_t within = (uint32_t) (place % TICKET_PICTURE_PAGE_PLACES);
	uint32_t low = 0;
	uint32_t high = picture->n_pages;
	const TicketPicturePage *page;
	int64_t position;

	if (place < 1)
		return 0;
	if (place >= picture->next_place)
		return -1;
	if (place / TICKET_PICTURE_PAGE_PLACES > TICKET_PICTURE_MAX_PAGE_NO)
		return 0;
	while (low < high)
	{
		uint32_t middle = low + (high - low) / 2;

		if (picture->pages[middle].page_no < page_no)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == picture->n_pages || picture->pages[low].page_no != page_no)
		return 0;
	page = &picture->pages[low];
	if (!(page->bits[within / 64] >> within % 64 & 1))
		return 0;
	position = page->before + page->part[within / 512] + 1;
	for (uint32_t word = within / 512 * 8; word < within / 64; word++)
		position += ticket_picture_count_bits(page->bits[word]);
	return position +
		   ticket_picture_count_bits(page->bits[within / 64] & ((UINT64_C(1) << within % 64) - 1));
}

/* Which queue and place the 16 bytes of a token are of; false: it is no token. */
static inline bool
ticket_token_place(const uint8_t *uuid, int64_t *queue_id, int64_t *place)
{
	uint64_t number = 0;

	/* 48 bits, the version of the UUID, 12 bits; the variant comes next. */
	for (int i = 0; i < 8; i++)
		number = number << 8 | uuid[i];
	if ((number >> 12 & 0xF) != 8 || uuid[8] >> 6 != 2)
		return false;
	number = number >> 16 << 12 | (number & 0xFFF);
	*queue_id = (int64_t) (number >> 38);
	*place = (int64_t) (number & ((UINT64_C(1) << 38) - 1));
	return *queue_id > 0 && *place > 0;
}

#endif /* TICKET_LINE_PICTURE_H */
