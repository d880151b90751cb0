/*
 * agenda.c
 *		Who is due when: a binary heap of (time, fan).
 *
 * Planning a fan anew leaves his older entry in the heap; an entry counts
 * only while its time is the fan's own, and is dropped when it comes up
 * otherwise.
 */
#include <stdlib.h>

#include "rush.h"

typedef struct Entry
{
	int64_t due;
	Fan *fan;
} Entry;

static Entry *heap;
static int used;
static int allocated;

void
agenda_create(int capacity)
{
	allocated = capacity;
	heap = malloc(sizeof(Entry) * (size_t) allocated);
	if (heap == NULL)
		die("out of memory");
}

void
agenda_plan(Fan *fan, int64_t due)
{
	int i;

	if (used == allocated)
	{
		allocated *= 2;
		heap = realloc(heap, sizeof(Entry) * (size_t) allocated);
		if (heap == NULL)
			die("out of memory");
	}

	fan->due = due;
	for (i = used++; i > 0 && heap[(i - 1) / 2].due > due; i = (i - 1) / 2)
		heap[i] = heap[(i - 1) / 2];
	heap[i].due = due;
	heap[i].fan = fan;
}

static void
drop_first(void)
{
	Entry last = heap[--used];
	int i = 0;

	for (;;)
	{
		int child = 2 * i + 1;

		if (child >= used)
			break;
		if (child + 1 < used && heap[child + 1].due < heap[child].due)
			child++;
		if (heap[child].due >= last.due)
			break;
		heap[i] = heap[child];
		i = child;
	}
	heap[i] = last;
}

/* The fan who is due first, or NULL when nobody plans anything. */
Fan *
agenda_peek(void)
{
	while (used > 0 && heap[0].fan->due != heap[0].due)
		drop_first();
	return used > 0 ? heap[0].fan : NULL;
}

/* The same, taken off the agenda. */
Fan *
agenda_take(void)
{
	Fan *fan = agenda_peek();

	if (fan != NULL)
	{
		drop_first();
		fan->due = -1;
	}
	return fan;
}
