/*
 * entry.h
 *		What a fan is told of a ticket, and steps of entering, for one (entry.c)
 *		and for many at once (ticket_many.c, enqueue_many.c).
 */
#ifndef TICKET_ENTRY_H
#define TICKET_ENTRY_H

#include "postgres.h"

#include "memory.h"
#include "token.h"

/* poll_after of those who do not wait, and of all who ask a standby. */
#define POLL_REST_US (30 * USECS_PER_SEC)

/* What a fan is told, filled in while the queue lock is held. */
typedef struct TicketView
{
	Token token;
	const char *status;
	bool live;
	int64 position;
	int64 wait_us; /* -1: not known */
	int64 poll_us;
	TimestampTz expires_at; /* 0: none */
	bool ended_active; /* the one before was active */
} TicketView;

/* Columns of ticket_state. */
#define TICKET_VIEW_COLUMNS 6

extern void ticket_view_columns(const TicketView *view, Datum *values, bool *nulls);
extern void view_position(TicketView *view, const Queue *queue, int64 position, TimestampTz now);
extern void view_waiting(TicketView *view, const Queue *queue, TimestampTz now);
extern void view_active(TicketView *view, TimestampTz expires_at, TimestampTz now);

/* Steps of entering. */
extern bool rejoins_at_back(int64 queue_id);
extern bool find_ticket(TicketView *view, text *user, bool *active);
extern bool insert_ticket(const TicketView *view, text *user, TimestampTz now);
extern bool end_ticket(const Token *token, const char *status, const char *reason, TimestampTz now,
					   bool if_waiting);
extern void queue_row_check(int64 queue_id);
extern void no_such_queue(int64 queue_id) pg_attribute_noreturn();

#endif /* TICKET_ENTRY_H */
