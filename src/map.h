/*
 * map.h
 *		Shared memory of seat maps, and how it follows transactions.
 */
#ifndef TICKET_MAP_H
#define TICKET_MAP_H

#include "postgres.h"

#include "seat.h"
#include "seatmap.h"
#include "utils/timestamp.h"

/* What a reader has of one section. */
typedef struct SectionView
{
	Section *section;
	SeatImage image;
	int64 version; /* 0: not known */
	bool unchanged; /* since the version the reader has; there is no image */
	int slot; /* in shared memory; -1: none */
	uint32 generation;
	bool publish; /* what is read for the image is good for others */
} SectionView;

extern void map_init(void);

/*
 * To be called by whoever writes a row of ticket.seat without an SQL statement,
 * before or after, in the transaction that writes it.  Statements need not:
 * a trigger sees their rows.
 */
extern void map_seat_changes(int64 section_id, int32 seat_id);

extern void map_prepare(SectionView *views, int n, TimestampTz now);
extern int64 map_version(void);
extern bool map_copy(SectionView *views, int n, TimestampTz now, int64 since, int64 as_of);
extern void map_publish(SectionView *views, int n, TimestampTz now);

#endif /* TICKET_MAP_H */
