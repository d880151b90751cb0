/*
 * outbox.h
 *		Events: rows of ticket.outbox, written with the change they tell of.
 *
 * The types, and the keys of their payloads, stand in the view event_types
 * (schema/outbox.sql), which tests compare with what is written.
 *
 * In C:	event_begin(), the keys in any order, event_end() or event_write().
 * In SQL:	ticket.event_payload(type, jsonb_build_object('v', 1, ...)), times by
 *			ticket.utc(at).
 */
#ifndef TICKET_OUTBOX_H
#define TICKET_OUTBOX_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "payload.h"
#include "utils/uuid.h"

/* An event in the making. */
typedef struct Event
{
	const char *type; /* as reservation.held */
	Payload payload;
} Event;

extern void event_begin(Event *event, const char *type, int version);
extern void event_int64(Event *event, const char *key, int64 value);
extern void event_text(Event *event, const char *key, const text *value); /* NULL: null */
extern void event_time(Event *event, const char *key, TimestampTz value);
extern void event_int32_array(Event *event, const char *key, const int32 *values, int n);
extern void event_int64_array(Event *event, const char *key, const int64 *values, int n);
extern void event_text_array(Event *event, const char *key, const Datum *values, int n);

/* What every event of a reservation begins with. */
extern void event_begin_reservation(Event *event, const char *type, int64 reservation_id,
									int64 performance_id, const text *user, const int32 *seats,
									int n_seats, int64 amount);

/* The payload (jsonb), with the trace if there is one; the event counts as written. */
extern Datum event_end(Event *event);

/* Ends the event and writes its row. */
extern void event_write(Event *event, const char *aggregatetype, Datum aggregateid);

/* Events that are written together, in the order in which they were added. */
typedef struct EventBatch
{
	int n;
	int max;
	Datum *values; /* rows of the outbox, one behind the other */
	bool *nulls;
} EventBatch;

extern void event_batch_init(EventBatch *batch, int max);
extern void event_batch_add(EventBatch *batch, Event *event, const char *aggregatetype,
							Datum aggregateid);
extern void event_batch_write(EventBatch *batch);

/* The next id, above all of this server and of this database's outbox. */
extern pg_uuid_t *event_next_id(void);
/* No id that was given out then or later is lower. */
extern pg_uuid_t *event_id_floor(TimestampTz at);
/* When an id was given out, to the millisecond's 4096th; false: it is none of ours. */
extern bool event_id_time(const pg_uuid_t *id, TimestampTz *at);

/* Seconds that events wait for a consumer; -1: for ever. */
extern int ticket_outbox_retention;

extern void event_init(void);
extern void outbox_init(void);
/* Takes up to max_count of those that have waited too long; returns how many. */
extern int outbox_retire(int max_count);

#endif /* TICKET_OUTBOX_H */
