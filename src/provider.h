/*
 * provider.h
 *		A payment at a provider, as its confirmation finds it.
 */
#ifndef TICKET_PROVIDER_H
#define TICKET_PROVIDER_H

#include "postgres.h"

#include "hold.h"
#include "utils/array.h"

/* A payment, with the reservation it is for. */
typedef struct Payment
{
	int64 payment_id;
	const char *status;
	text *provider;
	text *provider_ref; /* or NULL */
	int64 amount;
	bool substitute;

	int64 reservation_id;
	const char *reservation_status;
	TimestampTz expires_at;
	ArrayType *seats;
	ArrayType *prices;
	bool cancelled; /* the performance does not take place */

	/* To hold seats for it anew; all that concerns the user is in here. */
	HoldRequest hold;
	TimestampTz now;
} Payment;

/* payment_webhook.c */
extern void provider_reference_lock(const text *provider, const text *provider_ref);

/* payment_late.c */
extern const char *payment_find_seats(Payment *payment);

#endif /* TICKET_PROVIDER_H */
