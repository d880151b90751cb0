/*
 * error.c
 *		Every error a caller can get, in one table: what ticket_error() sends
 *		and what the view ticket.error_codes shows are the same rows.
 */
#include "ticket.h"

#include "funcapi.h"
#include "metrics.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

typedef struct ErrorCode
{
	const char *sqlstate;
	const char *name;
	int http_status;
	const char *meaning;
} ErrorCode;

static const ErrorCode error_code[NUM_TICKET_ERRORS] = {
	[ERROR_TOKEN_INVALID] = {"TK001", "token_invalid", 401, "No ticket has this token."},
	[ERROR_NOT_ADMITTED] =
		{"TK002", "not_admitted", 403,
		 "The performance has a waiting room and the user has no active ticket of it."},
	[ERROR_QUEUE_CLOSED] = {"TK003", "queue_closed", 403, "The waiting room lets nobody new in."},
	[ERROR_QUEUE_FULL] =
		{"TK004", "queue_full", 503,
		 "Shared memory for waiting rooms is used up; those who are in are served."},
	[ERROR_NOT_FOUND] = {"TK005", "not_found", 404,
						 "There is no such thing, or it belongs to somebody else."},
	[ERROR_SEAT_UNAVAILABLE] =
		{"TK006", "seat_unavailable", 409,
		 "At least one of the seats is held, sold, blocked or being taken right now."},
	[ERROR_HOLD_EXPIRED] = {"TK007", "hold_expired", 410, "The hold ended before this call."},
	[ERROR_LIMIT_REACHED] =
		{"TK008", "limit_reached", 409,
		 "More than a user may have: seats of a performance, points of an account."},
	[ERROR_WRONG_STATE] = {"TK009", "wrong_state", 409,
						   "The thing is in a state that does not allow this."},
	[ERROR_POINTS_SHORT] = {"TK010", "points_short", 402, "The balance does not cover the amount."},
	[ERROR_IDEMPOTENCY_CONFLICT] = {"TK011", "idempotency_conflict", 409,
									"The idempotency key was used before with other arguments."},
	[ERROR_SALE_CLOSED] = {"TK012", "sale_closed", 403, "The performance is not on sale now."},
	[ERROR_IDENTITY_MISMATCH] =
		{"TK013", "identity_mismatch", 403,
		 "The user_id given is not the one the session was authenticated for."},
	[ERROR_NOT_LOADED] = {"TK014", "not_loaded", 503,
						  "The library is missing from shared_preload_libraries."},
	[ERROR_TWO_PHASE_REFUSED] =
		{"TK015", "two_phase_refused", 500,
		 "A transaction that changed a waiting room or seats cannot be prepared."},
	[ERROR_STANDBY] = {"TK016", "standby", 503,
					   "This server is a standby: it answers questions and changes nothing."},
	[ERROR_SCHEDULER_MISSING] = {"TK017", "scheduler_missing", 503,
								 "pg_cron cannot be used from this database."},
	[ERROR_USER_BLOCKED] = {"TK018", "user_blocked", 403, "The user is on the blocklist."},
	[ERROR_TOO_LATE] = {"TK019", "too_late", 409, "The time in which this can be done is over."},
	[ERROR_SEATS_NOT_TOGETHER] =
		{"TK020", "seats_not_together", 409,
		 "Enough seats are free, but not side by side as they were asked for."},
	[ERROR_BAD_ARGUMENT] = {"22023", "bad_argument", 400,
							"An argument is missing or out of range."},
};

static int
error_sqlstate(const char *s)
{
	return MAKE_SQLSTATE(s[0], s[1], s[2], s[3], s[4]);
}

/*
 * What decides has been seen on the latest snapshot, but the transaction's own,
 * under REPEATABLE READ or SERIALIZABLE, is older and cannot write on it.
 */
void
snapshot_is_old(void)
{
	ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					errmsg("could not serialize access due to concurrent update"),
					errhint("The transaction might succeed if retried.")));
}

/* What is sent for it: its own SQLSTATE, or the one that stands for the HTTP status. */
static int
sent_sqlstate(const ErrorCode *e)
{
	char state[6];

	if (!ticket_http_errors)
		return error_sqlstate(e->sqlstate);
	snprintf(state, sizeof(state), "PT%03d", e->http_status);
	return error_sqlstate(state);
}

/*
 * The format of every error's message, at an address of its own for each: that
 * is what tells errors apart once they are raised.  SQLSTATEs cannot, as several
 * errors share the one that stands for their HTTP status.
 */
static const char message_format[NUM_TICKET_ERRORS][sizeof("%s")] = {[0 ... NUM_TICKET_ERRORS - 1] =
																		 "%s"};

/* Which of our errors it is; false for those of others. */
static bool
raised_as(const ErrorData *edata, TicketError *code)
{
	for (int i = 0; i < NUM_TICKET_ERRORS; i++)
	{
		if (edata->message_id == message_format[i])
		{
			*code = i;
			return true;
		}
	}
	return false;
}

/*
 * Whether it is an answer that a sale gives all the time, and neither a mistake
 * of the program that calls nor something that the server cannot do.
 */
bool
error_is_refusal(const ErrorData *edata)
{
	TicketError code;

	return edata->elevel == ERROR && raised_as(edata, &code) && code != ERROR_BAD_ARGUMENT &&
		   code != ERROR_IDENTITY_MISMATCH && error_code[code].http_status < 500;
}

/*
 * The message is one line; detail gives the figures, hint the next step.
 * With ticket.http_errors on the SQLSTATE becomes PTnnn, which PostgREST
 * answers as HTTP status nnn, and the name of the error leads the detail.
 */
void ticket_error(TicketError code, const char *detail, const char *hint, const char *fmt,...)
{
	const ErrorCode *e = &error_code[code];
	StringInfoData message;

	StaticAssertStmt(NUM_TICKET_ERRORS <= MAX_REFUSALS, "no counter for each error");
	metrics_refusal(code);
	initStringInfo(&message);
	for (;;)
	{
		va_list args;
		int needed;

		va_start(args, fmt);
		needed = appendStringInfoVA(&message, fmt, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&message, needed);
	}

	if (ticket_http_errors)
		detail = detail ? psprintf("%s: %s", e->name, detail) : e->name;

	ereport(ERROR,
			(errcode(sent_sqlstate(e)),
			 errmsg_internal(message_format[code], message.data),
			 detail ? errdetail_internal("%s", detail) : 0,
			 hint ? errhint("%s", hint) : 0));
}

const char *
ticket_error_sqlstate(TicketError code, const char **name)
{
	*name = error_code[code].name;
	return error_code[code].sqlstate;
}

PG_FUNCTION_INFO_V1(ticket_raise_error);

/* A text argument as a C string, NULL for NULL. */
static const char *
text_or_null(FunctionCallInfo fcinfo, int argno)
{
	return PG_ARGISNULL(argno) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(argno));
}

/*
 * raise_error(name text, message text, detail text default null,
 *			   hint text default null) -> void
 *
 * ticket_error() for what is written in SQL.  Raises the error of that name,
 * always; 22023 if there is none.  No locks.
 */
Datum
ticket_raise_error(PG_FUNCTION_ARGS)
{
	const char *name = text_or_null(fcinfo, 0);
	const char *message = text_or_null(fcinfo, 1);
	int code = 0;

	while (code < NUM_TICKET_ERRORS && (name == NULL || strcmp(error_code[code].name, name) != 0))
		code++;
	if (code == NUM_TICKET_ERRORS || message == NULL)
		ticket_error(ERROR_BAD_ARGUMENT, NULL, NULL, "no such error, or no message");
	ticket_error(code, text_or_null(fcinfo, 2), text_or_null(fcinfo, 3), "%s", message);
}

PG_FUNCTION_INFO_V1(ticket_error_code_list);

/*
 * error_code_list() -> setof (sqlstate text, name text, http_status int,
 * meaning text)
 *
 * The rows of the view error_codes.  Takes no locks, raises nothing of its own.
 */
Datum
ticket_error_code_list(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < NUM_TICKET_ERRORS; i++)
	{
		Datum values[4];
		bool nulls[4] = {false};

		values[0] = CStringGetTextDatum(error_code[i].sqlstate);
		values[1] = CStringGetTextDatum(error_code[i].name);
		values[2] = Int32GetDatum(error_code[i].http_status);
		values[3] = CStringGetTextDatum(error_code[i].meaning);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
