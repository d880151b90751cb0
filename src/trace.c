/*
 * trace.c
 *		The trace a call belongs to.
 *
 * A caller names it in ticket.trace_id; or PostgREST hands the request's
 * headers on in request.headers and the W3C header traceparent names it.  It
 * goes into events (outbox.c), and from there into the history, and into every
 * line that the session writes to the server's log.  It may not fail: headers
 * come from outside, so what is no traceparent is no trace.
 *
 * Refusals without a trace do not get into that log: in a rush it would hold
 * little else, and writing them would be a third of what they cost.
 */
#include "postgres.h"

#include "trace.h"

#include "miscadmin.h"
#include "ticket.h"
#include "utils/elog.h"
#include "utils/guc.h"

#define HEADERS_SETTING "request.headers"
#define HEADER "\"traceparent\""
/* traceparent: version, trace-id, parent-id, flags; https://www.w3.org/TR/trace-context/ */
#define TRACE_ID_AT 3
#define TRACE_ID_LENGTH 32
#define TRACEPARENT_LENGTH 55

typedef enum LogRefusals
{
	LOG_REFUSALS_NONE,
	LOG_REFUSALS_TRACED,
	LOG_REFUSALS_ALL
} LogRefusals;

static const struct config_enum_entry log_refusals[] = {{"none", LOG_REFUSALS_NONE, false},
														{"traced", LOG_REFUSALS_TRACED, false},
														{"all", LOG_REFUSALS_ALL, false},
														{NULL, 0, false}};

static int ticket_log_refusals = LOG_REFUSALS_TRACED;
static char *ticket_trace_id = NULL;
static emit_log_hook_type prev_emit_log_hook = NULL;

/* What may stand in a log line or a header without being escaped. */
static bool
trace_id_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		   strchr("._:/=+@-", c) != NULL;
}

static bool
check_trace_id(char **value, void **extra, GucSource source)
{
	const char *c = *value;

	if (strlen(c) >= TRACE_SIZE)
	{
		GUC_check_errdetail("It has %d characters, %d are allowed.", (int) strlen(c),
							TRACE_SIZE - 1);
		return false;
	}
	for (; *c; c++)
	{
		if (!trace_id_char(*c))
		{
			GUC_check_errdetail("Letters, digits and any of ._:/=+@- are allowed.");
			return false;
		}
	}
	return true;
}

static bool
hex(const char *s, int n)
{
	for (int i = 0; i < n; i++)
		if (!((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f')))
			return false;
	return true;
}

/* The trace-id of a traceparent, 32 hexadecimal digits that are not all zero; or NULL. */
static const char *
traceparent_id(const char *s)
{
	if (strnlen(s, TRACEPARENT_LENGTH) < TRACEPARENT_LENGTH || !hex(s, 2) ||
		strncmp(s, "ff", 2) == 0 || s[2] != '-' || !hex(s + TRACE_ID_AT, TRACE_ID_LENGTH) ||
		s[35] != '-' || !hex(s + 36, 16) || s[52] != '-' || !hex(s + 53, 2))
		return NULL;
	s += TRACE_ID_AT;
	return strspn(s, "0") < TRACE_ID_LENGTH ? s : NULL;
}

/*
 * The trace-id in a JSON object of headers, or NULL.  Searched for as text: an
 * unescaped "traceparent" with a colon behind it is a key, as a quote within a
 * string is escaped.
 */
static const char *
headers_trace_id(const char *headers)
{
	const char *found = headers;

	while ((found = strstr(found, HEADER)) != NULL)
	{
		bool escaped = found > headers && found[-1] == '\\';

		found += strlen(HEADER);
		found += strspn(found, " \t\r\n");
		if (escaped || *found != ':')
			continue;
		found++;
		found += strspn(found, " \t\r\n");
		return *found == '"' ? traceparent_id(found + 1) : NULL;
	}
	return NULL;
}

const char *
trace_current(char *buffer)
{
	const char *headers;
	const char *id;

	if (ticket_trace_id != NULL && *ticket_trace_id != '\0')
	{
		strlcpy(buffer, ticket_trace_id, TRACE_SIZE);
		return buffer;
	}
	headers = GetConfigOption(HEADERS_SETTING, true, false);
	id = headers ? headers_trace_id(headers) : NULL;
	if (id == NULL)
		return NULL;
	strlcpy(buffer, id, TRACE_ID_LENGTH + 1);
	return buffer;
}

/*
 * Adds the trace to what is about to be written to the log, or keeps a refusal
 * from it.
 */
static void
trace_log(ErrorData *edata)
{
	char buffer[TRACE_SIZE];
	const char *trace;
	char *context;

	if (prev_emit_log_hook)
		prev_emit_log_hook(edata);
	if (!OidIsValid(MyDatabaseId))
		return;
	trace = trace_current(buffer);
	if (ticket_log_refusals != LOG_REFUSALS_ALL &&
		(trace == NULL || ticket_log_refusals == LOG_REFUSALS_NONE) && error_is_refusal(edata))
		edata->output_to_server = false;
	if (trace == NULL || edata->hide_ctx)
		return;
	context = edata->context;
	edata->context =
		context ? psprintf("%s\ntrace %s", context, trace) : psprintf("trace %s", trace);
	/* The memory of errors is emptied by an error alone; below that, string by string. */
	if (context)
		pfree(context);
}

void
trace_init(void)
{
	DefineCustomStringVariable("ticket.trace_id",
							   "Names the trace that calls belong to, in events, history and log.",
							   "Empty: the traceparent in request.headers, if there is one.",
							   &ticket_trace_id, "", PGC_USERSET, 0, check_trace_id, NULL, NULL);
	DefineCustomEnumVariable(
		"ticket.log_refusals", "Which refusals are written to the server's log.",
		"Errors of class TK that callers get every day: none of them, those of "
		"calls that belong to a trace, or all.",
		&ticket_log_refusals, LOG_REFUSALS_TRACED, log_refusals, PGC_SUSET, 0, NULL, NULL, NULL);
	prev_emit_log_hook = emit_log_hook;
	emit_log_hook = trace_log;
}
