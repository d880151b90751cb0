/*
 * places.h
 *		Places that were picked from a queue's line, and the rows of their
 *		tickets.
 */
#ifndef TICKET_PLACES_H
#define TICKET_PLACES_H

#include "memory.h"

/* Places picked at a time, at most. */
#define PLACES_BATCH 10000

/* In order; made before the queue lock is taken, filled under it. */
typedef struct Places
{
	int n;
	int max;
	int64 *place;
} Places;

/* What is to be written into the rows of some places. */
typedef struct PlacesChange
{
	int64 queue_id;
	TimestampTz ends_by; /* of active tickets that end by then; DT_NOBEGIN: of waiting ones */
	Datum *values;
	const bool *replace;
	Datum *users; /* filled with whose they were; NULL: not asked for */
} PlacesChange;

extern void places_init(Places *places, int max);
extern void places_write(Places *places, PlacesChange *change);

/* With the queue lock held. */
extern TimestampTz place_time(const Queue *queue, int64 place);
extern bool place_is_due(const Queue *queue, LineState state, TimestampTz time, TimestampTz now);

#endif /* TICKET_PLACES_H */
