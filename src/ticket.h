/*
 * ticket.h
 *		What every file of the extension shares: settings, errors, arguments,
 *		the clock.
 */
#ifndef TICKET_H
#define TICKET_H

#include "postgres.h"

#include "compat.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/* ---------- settings (ticket.c) ---------- */

/* The library was loaded when the server started, so shared memory is there. */
extern bool ticket_preloaded;
/* TK014 when it was not. */
extern void memory_require(void);

extern int ticket_max_queues;
extern int ticket_max_waiting;
extern int ticket_max_map_seats;
extern double ticket_clock_offset; /* milliseconds */
extern char *ticket_user_claim;
extern bool ticket_http_errors;
extern double ticket_max_charge; /* whole numbers below 2^53 */
extern double ticket_max_balance;
extern int ticket_withdraw_points;
extern bool ticket_notify_moves;

/* ---------- errors (error.c) ---------- */

typedef enum TicketError
{
	ERROR_TOKEN_INVALID,
	ERROR_NOT_ADMITTED,
	ERROR_QUEUE_CLOSED,
	ERROR_QUEUE_FULL,
	ERROR_NOT_FOUND,
	ERROR_SEAT_UNAVAILABLE,
	ERROR_HOLD_EXPIRED,
	ERROR_LIMIT_REACHED,
	ERROR_WRONG_STATE,
	ERROR_POINTS_SHORT,
	ERROR_IDEMPOTENCY_CONFLICT,
	ERROR_SALE_CLOSED,
	ERROR_IDENTITY_MISMATCH,
	ERROR_NOT_LOADED,
	ERROR_TWO_PHASE_REFUSED,
	ERROR_STANDBY,
	ERROR_SCHEDULER_MISSING,
	ERROR_USER_BLOCKED,
	ERROR_TOO_LATE,
	ERROR_SEATS_NOT_TOGETHER,
	ERROR_BAD_ARGUMENT,
	NUM_TICKET_ERRORS
} TicketError;

/*
 * Raises one of them.  detail and hint may be NULL; text is made with
 * psprintf, so never call this while holding an LWLock or a spinlock.
 */
extern void ticket_error(TicketError code, const char *detail, const char *hint,
						 const char *fmt,...) pg_attribute_printf(4, 5) pg_attribute_noreturn();

/* For the server's log: see ticket.log_refusals. */
extern bool error_is_refusal(const ErrorData *edata);

/* 40001, under REPEATABLE READ and SERIALIZABLE. */
extern void snapshot_is_old(void) pg_attribute_noreturn();

/* The SQLSTATE of an error, and its name. */
extern const char *ticket_error_sqlstate(TicketError code, const char **name);

/* ---------- arguments (argument.c) ---------- */

/* Seats of one call, at most. */
#define MAX_SEATS 1000

/* What a user who has withdrawn is called begins with this, and no user_id does. */
#define PSEUDONYM_PREFIX "withdrawn-"

extern text *arg_user(FunctionCallInfo fcinfo, int argno);
extern text *arg_participant(FunctionCallInfo fcinfo, int argno);
extern text **arg_participants(FunctionCallInfo fcinfo, int argno, int *count);
extern text *arg_actor(FunctionCallInfo fcinfo, int argno);
extern text *arg_key(FunctionCallInfo fcinfo, int argno);
extern int64 arg_id(FunctionCallInfo fcinfo, int argno, const char *name);
extern int64 arg_amount(FunctionCallInfo fcinfo, int argno, const char *name);
extern int arg_max_count(FunctionCallInfo fcinfo, int argno, int if_null);
extern text *arg_name(FunctionCallInfo fcinfo, int argno, const char *name);
extern int32 arg_count(FunctionCallInfo fcinfo, int argno, const char *name, int32 min, int32 max);
extern Interval *arg_interval(FunctionCallInfo fcinfo, int argno, const char *name);
extern TimestampTz arg_time(FunctionCallInfo fcinfo, int argno, const char *name);
extern ArrayType *arg_array(FunctionCallInfo fcinfo, int argno, const char *name, int *count);
extern int32 *arg_seats(FunctionCallInfo fcinfo, int argno, int *count);
extern const char *text_show(const text *t);
extern bool text_same(const text *a, const text *b);
extern Datum number_text(int64 number);

/* ---------- people (people.c) ---------- */

typedef enum WithdrawPoints
{
	WITHDRAW_PAYOUT,
	WITHDRAW_FORFEIT
} WithdrawPoints;

extern void people_init(void);
extern void people_check(text *user);
extern bool people_blocked(text *user);

/* ---------- the clock (clock.c) ---------- */

extern TimestampTz clock_now(void);
extern int64 interval_us(const Interval *span);
extern Interval *us_interval(int64 us);
extern const char *time_text(TimestampTz at);

#endif /* TICKET_H */
