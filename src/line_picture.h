/*
 * line_picture.h
 *		Writing what line_picture() returns: which places of a queue wait.  The
 *		format stands in client/line_picture.h.
 *
 * Knows nothing of SQL or PostgreSQL.
 */
#ifndef LINE_PICTURE_H
#define LINE_PICTURE_H

#include <stddef.h>
#include <stdint.h>

/* Places of a page of the format. */
#define PICTURE_PAGE_BITS 12
#define PICTURE_PAGE_PLACES (1 << PICTURE_PAGE_BITS)
#define PICTURE_PAGE_WORDS (PICTURE_PAGE_PLACES / 64)

/* A page of places as it was copied from a line. */
typedef struct PicturePage
{
	uint32_t page_no;
	uint32_t count; /* of those that wait */
	uint64_t waiting[PICTURE_PAGE_WORDS];
} PicturePage;

typedef struct PictureHead
{
	int64_t queue_id;
	int64_t taken_at; /* microseconds since 1970 */
	int64_t next_place;
} PictureHead;

extern size_t line_picture_room(uint32_t n_pages);
extern size_t line_picture_write(uint8_t *out, const PictureHead *head, const PicturePage *pages,
								 uint32_t n_pages);

#endif /* LINE_PICTURE_H */
