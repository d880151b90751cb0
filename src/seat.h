/*
 * seat.h
 *		What holding, paying and giving back share.
 */
#ifndef TICKET_SEAT_H
#define TICKET_SEAT_H

#include "postgres.h"

#include "access/skey.h"
#include "compat.h"
#include "utils/timestamp.h"

/* A performance as its sale needs it; from a cache that follows the table. */
typedef struct Performance
{
	int64 performance_id;
	int64 queue_id; /* 0: no waiting room */
	TimestampTz starts_at;
	TimestampTz sale_opens_at; /* DT_NOBEGIN: at once */
	TimestampTz sale_closes_at; /* DT_NOEND: when it begins */
	int64 hold_us;
	int64 max_hold_us; /* with extensions */
	int max_seats;
	bool scheduled; /* neither withdrawn nor cancelled */
} Performance;

/* Seats of one row, of one kind, whose numbers follow each other. */
typedef struct SeatRun
{
	int32 first; /* counted from 0 within the section */
	int32 count;
	int32 row_no;
	int32 seat_no; /* of the first */
	bool accessible;
} SeatRun;

/* A section as it is shown. */
typedef struct Section
{
	int64 section_id;
	text *name;
	text *grade; /* or NULL */
	text *kind;
	int64 price;
	bool withdrawn;
	int32 first_seat;
	int32 n_seats;
	int32 seats_per_row;
	int n_runs;
	SeatRun *run; /* NULL: not known yet */
} Section;

/* All sections of a performance, in order of their seats. */
typedef struct Hall
{
	int64 performance_id;
	MemoryContext context;
	int n_sections;
	Section *section;
} Hall;

/* catalogue.c */
extern void catalogue_init(void);
extern bool performance_get(int64 performance_id, Performance *performance);
extern int64 section_price(int64 section_id);
extern Hall *performance_hall(int64 performance_id);
extern Hall *performance_hall_cached(int64 performance_id);
extern Section *hall_section(const Hall *hall, int32 seat_id);
extern void section_runs_regular(Hall *hall, Section *section);
extern void section_runs_read(Hall *hall, Section *section);
extern void section_seats_keys(ScanKeyData *key, int64 performance_id, int32 first, int32 last);

/* hall.c */
typedef struct SeatCounts
{
	int64 free; /* also of holds that are over */
	int64 held;
	int64 sold;
	int64 blocked; /* and of sections withdrawn */
} SeatCounts;

extern bool performance_counts(int64 performance_id, SeatCounts *counts);

/* What section_price() says of a section that has been withdrawn. */
#define SECTION_WITHDRAWN INT64CONST(-1)

/* reservation.c */
extern void reservation_missing(int64 reservation_id, text *user) pg_attribute_noreturn();

/* hold_end.c */
typedef enum HoldEnding
{
	HOLD_ENDED, /* just now */
	HOLD_LOCKED, /* somebody is about to pay or end it */
	HOLD_NOT_OVER /* put off, paid, ended before */
} HoldEnding;

/* A hold that is to be ended if it was over at a time that is past. */
typedef struct HoldDue
{
	int64 reservation_id;
	TimestampTz at;
	HoldEnding ending; /* what came of it */
} HoldDue;

extern void hold_end(int64 reservation_id, TimestampTz now);
extern HoldEnding reservation_end_if_over(int64 reservation_id, TimestampTz at, TimestampTz now);
extern void holds_end_if_over(HoldDue *due, int n, TimestampTz now);
extern bool reservation_is_over(int64 reservation_id, TimestampTz at);

/* hold_timer.c */
typedef struct HoldSweep
{
	int ended; /* holds */
	int timers; /* done with: those of these holds, and of others that had ended before */
	bool locked; /* holds that are over were passed over */
	bool more; /* are due */
	TimestampTz next; /* timers before that are done with */
} HoldSweep;

extern void hold_timer_set(int64 reservation_id, TimestampTz expires_at);
extern void holds_expire(TimestampTz from, int max_ended, int max_timers, HoldSweep *sweep);
extern TimestampTz holds_next_due(TimestampTz from, TimestampTz until);

/* clang-format off */

/* An event about each reservation of CTE r; `more` adds to its figures. */
#define RESERVATION_EVENT(type, more) \
	" o AS (INSERT INTO ticket.outbox (aggregatetype, aggregateid, type, payload)" \
	" SELECT 'reservation', r.reservation_id::pg_catalog.text, " type "," \
	" ticket.event_payload(" type ", pg_catalog.jsonb_build_object('v', 1, 'reservation_id', r.reservation_id," \
	" 'performance_id', r.performance_id, 'user_id', r.user_id, 'seat_ids', r.seat_ids," \
	" 'amount', r.amount" more ")) FROM r)"

/* Of reservations and payments, whose keys are indexed alike. */
#define UNUSED_KEY \
	" ON CONFLICT (user_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING"

/* clang-format on */

#endif /* TICKET_SEAT_H */
