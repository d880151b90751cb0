/*
 * hold.h
 *		The way of a hold, step by step: what seat_hold, seat_hold_best and a
 *		payment that comes late share.
 *
 *		hold_begin		arguments, performance, token
 *		hold_lock_user	the user's calls one after another
 *		hold_repeated	that; and the answer of the first call with this key
 *		hold_admit		may this user buy now?
 *		hold_look		are the seats to be had?
 *		hold_limit		may the user have so many?  And still buy, if that took time?
 *		hold_lock		the seats' locks, tried
 *		hold_take_over	holds on the seats that are over
 *		hold_finish		all that is written; the answer
 *
 * What has been checked under the user's lock still holds when it is written,
 * and a seat that is found free under its own lock stays so until the end of
 * the transaction.
 */
#ifndef TICKET_HOLD_H
#define TICKET_HOLD_H

#include "postgres.h"

#include "answer.h"
#include "fmgr.h"
#include "seat.h"
#include "token.h"

typedef struct HoldRequest
{
	AnswerType *answer; /* reservation_id, status, amount, expires_at, seat_ids */
	Performance performance;
	text *user;
	bool has_token;
	Token token; /* place 0: none */
	text *key; /* or NULL */
	text *asked; /* with a key: the arguments that it stands for */
	bool waited; /* for another call of the user */

	int n_seats;
	int32 *seat; /* ascending */

	/* From the last look. */
	const char **status; /* a hold that is over counts as free */
	int64 *price;
	int64 amount;
	int n_former; /* holds on these seats that are over */
	int64 *former;
} HoldRequest;

extern void hold_begin(HoldRequest *request, FunctionCallInfo fcinfo, int user_argno,
					   int token_argno, int key_argno);
extern void hold_lock_user(HoldRequest *request);
extern bool hold_repeated(HoldRequest *request, Datum *answer);
extern void hold_admit(const HoldRequest *request, TimestampTz now);
extern int hold_look(HoldRequest *request, TimestampTz now);
extern bool hold_limit(HoldRequest *request, TimestampTz now);
extern int64 hold_user_seats(const HoldRequest *request, TimestampTz now, bool *waited);
extern int hold_lock(const HoldRequest *request);
extern void hold_unlock(const HoldRequest *request, int n_seats);
extern bool hold_take_over(const HoldRequest *request);
extern Datum hold_finish(const HoldRequest *request);

#endif /* TICKET_HOLD_H */
