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

/* hall.c: a section as it is now; how ticket.seat names a state, and how it is shown. */
extern bool section_look(int64 performance_id, int64 section_id, SectionView *section);
extern char seat_state_shown(const text *status);
extern const char *seat_state_name(char shown);

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

/* One seat that is about to be read from the table. */
typedef struct SeatGlance
{
	int slot;
	uint32 generation;
	int32 seat; /* within its section */
	ImageBlock block;
} SeatGlance;

extern char map_seat_state(const Section *section, int32 seat_id, TimestampTz now);
extern bool map_seat_look(const Section *section, int32 seat_id, TimestampTz now,
						  SeatGlance *glance);
extern void map_seat_learn(const SeatGlance *glance, char state, TimestampTz end, bool regular,
						   TimestampTz now);

#endif /* TICKET_MAP_H */
