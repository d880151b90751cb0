/*
 * line_picture_test.c
 *		What src/line_picture.c writes src/client/line_picture.h reads: the same
 *		positions; and whatever bytes it is given, it reads a picture or refuses.
 */
#include <stdlib.h>
#include <string.h>

#include "client/line_picture.h"
#include "harness.h"
#include "line_picture.h"

#define MAX_PAGES 40

typedef struct Written
{
	PictureHead head;
	PicturePage page[MAX_PAGES];
	uint32_t n_pages;
	uint8_t *bytes; /* of just that size, so that one read behind is seen */
	size_t size;
} Written;

/* Who waits in one page: nobody, one, a few, half, most, all. */
static uint64_t
some_bits(int kind)
{
	switch (kind)
	{
		case 0:
			return 0;
		case 1:
			return random_bits() % 100 == 0 ? UINT64_C(1) << random_bits() % 64 : 0;
		case 2:
			return random_bits() & random_bits() & random_bits() & random_bits();
		case 3:
			return random_bits();
		case 4:
			return random_bits() | random_bits() | random_bits();
		default:
			return UINT64_MAX;
	}
}

static void
write_some(Written *written)
{
	uint32_t page_no = 0;
	uint8_t *room;

	memset(written, 0, sizeof(*written));
	written->n_pages = random_bits() % (MAX_PAGES + 1);
	written->head = (PictureHead){.queue_id = 1 + random_bits() % 4194303,
								  .taken_at = (int64_t) (random_bits() >> 12)};
	for (uint32_t i = 0; i < written->n_pages; i++)
	{
		PicturePage *page = &written->page[i];
		int kind = random_bits() % 6;

		page_no +=
			i == 0 ? random_bits() % 3 : 1 + (random_bits() % 4 == 0 ? random_bits() % 1000000 : 0);
		page->page_no = page_no;
		for (int word = 0; word < PICTURE_PAGE_WORDS; word++)
		{
			page->waiting[word] = some_bits(kind);
			page->count += __builtin_popcountll(page->waiting[word]);
		}
	}
	written->head.next_place = ((int64_t) page_no + 1) * PICTURE_PAGE_PLACES;
	room = malloc(line_picture_room(written->n_pages));
	written->size = line_picture_write(room, &written->head, written->page, written->n_pages);
	expect(written->size <= line_picture_room(written->n_pages), "more bytes than room");
	written->bytes = malloc(written->size);
	memcpy(written->bytes, room, written->size);
	free(room);
}

/* The model: everybody counted one by one. */
static void
compare_positions(const Written *written, const TicketPicture *picture)
{
	int64_t position = 0;

	for (uint32_t i = 0; i < written->n_pages; i++)
	{
		const PicturePage *page = &written->page[i];
		int64_t first = (int64_t) page->page_no * PICTURE_PAGE_PLACES;

		for (int within = 0; within < PICTURE_PAGE_PLACES; within++)
		{
			bool waits = page->waiting[within / 64] >> within % 64 & 1;
			int64_t told = ticket_picture_position(picture, first + within);

			position += waits;
			/* There is no place 0. */
			if (first + within > 0)
				expect(told == (waits ? position : 0), "place %lld is told %lld, not %lld",
					   (long long) first + within, (long long) told, (long long) position);
		}
		expect(ticket_picture_position(picture, first - 1) >= 0, "the page before");
	}
	expect(picture->waiting == position, "%lld wait", (long long) picture->waiting);
}

static void
test_positions(void)
{
	for (int round = 0; round < 100; round++)
	{
		static Written written;
		TicketPicture picture;

		write_some(&written);
		if (expect(ticket_picture_read(&picture, written.bytes, written.size) == TICKET_PICTURE_OK,
				   "it is not read"))
		{
			expect(picture.queue_id == written.head.queue_id &&
					   picture.taken_at == written.head.taken_at &&
					   picture.next_place == written.head.next_place,
				   "the head");
			compare_positions(&written, &picture);
			expect(ticket_picture_position(&picture, picture.next_place) == -1, "who came later");
			expect(ticket_picture_position(&picture, INT64_MAX) == -1, "who came much later");
			expect(ticket_picture_position(&picture, 0) == 0 &&
					   ticket_picture_position(&picture, INT64_MIN) == 0,
				   "no place");
			ticket_picture_free(&picture);
		}
		free(written.bytes);
	}
	result("positions are those of the line");
}

/* Reads from memory that ends with the bytes. */
static TicketPictureResult
read_copy(const uint8_t *bytes, size_t size)
{
	uint8_t *copy = malloc(size + !size);
	TicketPicture picture;
	TicketPictureResult read;

	memcpy(copy, bytes, size);
	read = ticket_picture_read(&picture, copy, size);
	free(copy);
	if (read == TICKET_PICTURE_OK)
	{
		int64_t last = 0;

		/* Whatever it says, it says it in order, and of no more than wait. */
		for (uint32_t i = 0; i < picture.n_pages; i++)
			for (int within = 0; within < PICTURE_PAGE_PLACES; within++)
			{
				int64_t place = (int64_t) picture.pages[i].page_no * PICTURE_PAGE_PLACES + within;
				int64_t told = ticket_picture_position(&picture, place);

				if (told > 0)
					expect(told > last && told <= picture.waiting, "%lld after %lld of %lld",
						   (long long) told, (long long) last, (long long) picture.waiting);
				last = told > 0 ? told : last;
			}
		ticket_picture_free(&picture);
	}
	else
		expect(picture.pages == NULL, "something is left to be freed");
	return read;
}

static void
test_cut(void)
{
	for (int round = 0; round < 20; round++)
	{
		static Written written;
		uint8_t *longer;

		write_some(&written);
		for (size_t size = 0; size < written.size; size += 1 + random_bits() % 97)
			expect(read_copy(written.bytes, size) == TICKET_PICTURE_BAD, "cut to %zu bytes", size);
		expect(read_copy(written.bytes, written.size - 1) == TICKET_PICTURE_BAD, "one byte short");
		longer = malloc(written.size + 1);
		memcpy(longer, written.bytes, written.size);
		longer[written.size] = 0;
		expect(read_copy(longer, written.size + 1) == TICKET_PICTURE_BAD, "a byte too many");
		free(longer);
		free(written.bytes);
	}
	result("a part of a picture is none");
}

static void
test_fuzz(void)
{
	for (int round = 0; round < 3000; round++)
	{
		static Written written;
		int n = 1 + random_bits() % 4;

		write_some(&written);
		for (int i = 0; i < n; i++)
		{
			/* Half of them in the head, where they do most. */
			size_t at = random_bits() % (random_bits() % 2 ? 64 : written.size);

			if (at < written.size)
				written.bytes[at] = random_bits() % 3 ? (uint8_t) random_bits() :
														(uint8_t) (random_bits() % 2 ? 0 : 255);
		}
		(void) read_copy(written.bytes, written.size);
		free(written.bytes);
	}
	for (int round = 0; round < 3000; round++)
	{
		uint8_t noise[600];
		size_t size = random_bits() % sizeof(noise);

		for (size_t i = 0; i < size; i++)
			noise[i] = (uint8_t) random_bits();
		if (round % 2 && size >= TICKET_PICTURE_HEAD)
			memcpy(noise, "TKLP\1\0\60\0\0\0\1\0", 12);
		(void) read_copy(noise, size);
	}
	result("wrong bytes are refused or read, and never read past");
}

/* An empty picture with one field changed. */
static TicketPictureResult
read_changed(size_t at, uint8_t byte)
{
	PictureHead head = {.queue_id = 1, .next_place = 1};
	uint8_t bytes[TICKET_PICTURE_HEAD + 8] = {0};
	size_t size = line_picture_write(bytes, &head, NULL, 0);

	bytes[at] = byte;
	return read_copy(bytes, at == 6 ? sizeof(bytes) : size);
}

static void
test_versions(void)
{
	expect(read_changed(0, 'T') == TICKET_PICTURE_OK, "nobody waits");
	expect(read_changed(0, 'U') == TICKET_PICTURE_BAD, "other letters");
	expect(read_changed(4, 2) == TICKET_PICTURE_NEWER, "another version");
	expect(read_changed(6, TICKET_PICTURE_HEAD + 8) == TICKET_PICTURE_OK, "a longer head");
	expect(read_changed(6, TICKET_PICTURE_HEAD - 1) == TICKET_PICTURE_BAD, "a shorter head");
	expect(read_changed(8, 1) == TICKET_PICTURE_NEWER, "another order");
	expect(read_changed(10, 2) == TICKET_PICTURE_NEWER, "lanes");
	expect(read_changed(12, 1) == TICKET_PICTURE_BAD, "a page that is not there");
	expect(read_changed(40, 1) == TICKET_PICTURE_BAD, "one who is not there");
	result("what is not known is refused, what is said on top is passed over");
}

static void
test_tokens(void)
{
	/* queue 5, place 4097 */
	uint8_t uuid[16] = {0, 0, 0x14, 0, 0, 0x01, 0x80, 0x01, 0x80};
	int64_t queue_id = 0;
	int64_t place = 0;

	expect(ticket_token_place(uuid, &queue_id, &place) && queue_id == 5 && place == 4097,
		   "queue %lld, place %lld", (long long) queue_id, (long long) place);
	uuid[6] = 0x41;
	expect(!ticket_token_place(uuid, &queue_id, &place), "another version");
	uuid[6] = 0x80;
	uuid[8] = 0;
	expect(!ticket_token_place(uuid, &queue_id, &place), "another variant");
	result("a token says where it stands");
}

int
main(void)
{
	static void (*const tests[])(void) = {test_positions, test_cut, test_fuzz, test_versions,
										  test_tokens};

	run_seeded(tests, sizeof(tests) / sizeof(tests[0]));
	return finish();
}
