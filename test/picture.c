/*
 * picture.c
 *		What a client in C tells from a picture of a line: see
 *		test/t/031_many.pl.  Reads a picture in hexadecimal from the first line of
 *		its input, a token in hexadecimal from each further one, and prints their
 *		positions.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/line_picture.h"

/* Takes \x and hyphens for nothing; returns the number of bytes. */
static size_t
from_hex(const char *text, uint8_t *bytes)
{
	size_t n = 0;
	unsigned byte;

	while (*text != '\0' && *text != '\n')
	{
		if (*text == '\\' || *text == 'x' || *text == '-')
			text++;
		else if (sscanf(text, "%2x", &byte) == 1)
		{
			bytes[n++] = (uint8_t) byte;
			text += 2;
		}
		else
			exit(2);
	}
	return n;
}

int
main(void)
{
	TicketPicture picture;
	char *line = NULL;
	size_t room = 0;
	uint8_t *bytes;

	if (getline(&line, &room, stdin) < 0)
		return 2;
	bytes = malloc(strlen(line));
	if (ticket_picture_read(&picture, bytes, from_hex(line, bytes)) != TICKET_PICTURE_OK)
	{
		fprintf(stderr, "this is no picture\n");
		return 1;
	}
	free(bytes);
	while (getline(&line, &room, stdin) > 0)
	{
		uint8_t uuid[64];
		int64_t queue_id;
		int64_t place;

		if (strlen(line) >= sizeof(uuid) || from_hex(line, uuid) != 16 ||
			!ticket_token_place(uuid, &queue_id, &place) || queue_id != picture.queue_id)
			return 2;
		printf("%lld\n", (long long) ticket_picture_position(&picture, place));
	}
	ticket_picture_free(&picture);
	free(line);
	return 0;
}
