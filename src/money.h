/*
 * money.h
 *		What charging, paying and giving back share.
 */
#ifndef TICKET_MONEY_H
#define TICKET_MONEY_H

#include "postgres.h"

#include "plan.h"

/* account.c: names of the accounts of the ledger (schema/money.sql) */
extern Datum ledger_user(const text *user);
extern Datum ledger_sales(int64 performance_id);
extern SavedPlan account_open;
extern SavedPlan account_balance;

/* cancel.c: what reservation_undo() found and did */
typedef enum ReservationUndo
{
	UNDO_BUSY, /* another session has it */
	UNDO_ENDED, /* it had ended before */
	UNDO_HELD,
	UNDO_PAID
} ReservationUndo;

extern ReservationUndo reservation_undo(int64 reservation_id, int64 *refunded);

/* payment.c */
extern void ticket_finished(int64 queue_id, int64 place);

/* clang-format off */

/*
 * Of the refunds of one payment: it is due.  Not said as the index
 * refund_waiting says it, or a plan made while few are due may look for one
 * through all of them.
 */
#define STILL_DUE(refund) refund ".done_at IS NULL"

/* An event about refund d of payment p. */
#define REFUND_EVENT(type, more) \
	" q AS (INSERT INTO ticket.outbox (aggregatetype, aggregateid, type, payload)" \
	" SELECT 'payment', p.payment_id::pg_catalog.text, " type "," \
	" ticket.event_payload(" type ", pg_catalog.jsonb_build_object('v', 1," \
	" 'payment_id', p.payment_id, 'reservation_id', p.reservation_id, 'user_id', p.user_id," \
	" 'provider', p.provider, 'provider_ref', p.provider_ref, 'refund_id', d.refund_id," \
	" 'amount', d.amount" more "))" \
	" FROM p, d)"

/* The seats of held reservations in CTE r are sold. */
#define SELL_SEATS \
	" s AS (UPDATE ticket.seat AS seat SET status = 'sold', held_until = NULL FROM r" \
	" WHERE seat.performance_id" EQ "r.performance_id AND seat.seat_id" EQ "ANY (r.seat_ids)" \
	" AND seat.reservation_id" EQ "r.reservation_id AND seat.status" EQ "'held' RETURNING 1)"

/* An event about each payment of CTE p; `more` adds to its figures. */
#define PAYMENT_EVENT(type, more) \
	" q AS (INSERT INTO ticket.outbox (aggregatetype, aggregateid, type, payload)" \
	" SELECT 'payment', p.payment_id::pg_catalog.text, " type "," \
	" ticket.event_payload(" type ", pg_catalog.jsonb_build_object('v', 1," \
	" 'payment_id', p.payment_id, 'reservation_id', p.reservation_id, 'user_id', p.user_id," \
	" 'provider', p.provider, 'amount', p.amount" more ")) FROM p)"

/* clang-format on */

#endif /* TICKET_MONEY_H */
