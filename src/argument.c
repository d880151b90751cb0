/*
 * argument.c
 *		Checks of what callers pass.  Everything that comes from outside goes
 *		through one of these before it is used.
 */
#include "ticket.h"

#include <math.h>

#include "compat.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "mb/pg_wchar.h"
#include "memory.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/jsonfuncs.h"

#define MAX_NAME_CHARS 255

const char *
text_show(const text *t)
{
	return text_to_cstring(t);
}

static void
check_length(const text *t, const char *name)
{
	const char *data = VARDATA_ANY(t);
	int bytes = VARSIZE_ANY_EXHDR(t);
	int chars = bytes > MAX_NAME_CHARS ? pg_mbstrlen_with_len(data, bytes) : bytes;

	if (bytes == 0)
		ticket_error(ERROR_BAD_ARGUMENT, NULL, NULL, "%s must not be empty", name);
	if (chars > MAX_NAME_CHARS)
		ticket_error(ERROR_BAD_ARGUMENT,
					 psprintf("It has %d characters, %d are allowed.", chars, MAX_NAME_CHARS),
					 NULL, "%s is too long", name);
}

/*
 * The user the session was authenticated for, by the setting that
 * ticket.user_claim names: 'app.user' is a setting of that name;
 * 'request.jwt.claims.sub', where no setting has the whole name, is the key
 * 'sub' of the JSON object in the setting 'request.jwt.claims'.
 * NULL when the claim is not there.
 */
static text *
claimed_user(void)
{
	const char *value = GetConfigOption(ticket_user_claim, true, false);
	const char *dot;
	Datum json;
	FmgrInfo flinfo;

	LOCAL_FCINFO(call, 2);

	if (value != NULL)
		return *value ? cstring_to_text(value) : NULL;
	dot = strrchr(ticket_user_claim, '.');
	if (dot == NULL)
		return NULL;
	value = GetConfigOption(pnstrdup(ticket_user_claim, dot - ticket_user_claim), true, false);
	if (value == NULL || *value == '\0')
		return NULL;

	json = PointerGetDatum(cstring_to_text(value));
	memset(&flinfo, 0, sizeof(flinfo));
	flinfo.fn_mcxt = CurrentMemoryContext;
	InitFunctionCallInfoData(*call, &flinfo, 2, InvalidOid, NULL, NULL);
	call->args[0].value = json;
	call->args[0].isnull = false;
	call->args[1].value = CStringGetTextDatum(dot + 1);
	call->args[1].isnull = false;
	json = json_object_field_text(call);
	return call->isnull ? NULL : DatumGetTextPP(json);
}

/* Who the session must be for; NULL: anybody, as no claim is configured. */
static text *
required_user(void)
{
	text *claimed;

	if (ticket_user_claim == NULL || *ticket_user_claim == '\0')
		return NULL;
	claimed = claimed_user();
	if (claimed == NULL)
		ticket_error(ERROR_IDENTITY_MISMATCH, NULL,
					 "The API layer must set the claim before it calls.",
					 "the session has no claim \"%s\"", ticket_user_claim);
	return claimed;
}

static void
check_claim(const text *user, const text *claimed, const char *name)
{
	if (!text_same(user, claimed))
		ticket_error(ERROR_IDENTITY_MISMATCH, NULL,
					 "Leave user_id NULL or pass the authenticated user.",
					 "%s is not the authenticated user", name);
}

/* A user_id, 1 to 255 characters; the claim, where one is configured, wins. */
text *
arg_user(FunctionCallInfo fcinfo, int argno)
{
	text *user = PG_ARGISNULL(argno) ? NULL : PG_GETARG_TEXT_PP(argno);
	text *claimed = required_user();

	if (claimed != NULL)
	{
		if (user != NULL)
			check_claim(user, claimed, "user_id");
		user = claimed;
	}
	if (user == NULL)
		ticket_error(ERROR_BAD_ARGUMENT, NULL, NULL, "user_id must not be NULL");
	check_length(user, "user_id");
	return user;
}

static bool
is_pseudonym(const text *user)
{
	Size length = strlen(PSEUDONYM_PREFIX);

	return VARSIZE_ANY_EXHDR(user) >= length &&
		   memcmp(VARDATA_ANY(user), PSEUDONYM_PREFIX, length) == 0;
}

pg_attribute_noreturn()
static void
refuse_pseudonym(const char *name)
{
	ticket_error(ERROR_BAD_ARGUMENT, "Such a name stands for a user who has withdrawn.", NULL,
				 "%s must not begin with \"%s\"", name, PSEUDONYM_PREFIX);
}

/*
 * The same, of one who begins something: not the pseudonym of a user who has
 * withdrawn, nor what might be taken for one.
 */
text *
arg_participant(FunctionCallInfo fcinfo, int argno)
{
	text *user = arg_user(fcinfo, argno);

	if (is_pseudonym(user))
		refuse_pseudonym("user_id");
	return user;
}

/*
 * Who it is that does something: the authenticated user, where there is one,
 * else the name given, else the database role.
 */
text *
arg_actor(FunctionCallInfo fcinfo, int argno)
{
	bool claimed =
		ticket_user_claim != NULL && *ticket_user_claim != '\0' && claimed_user() != NULL;

	if (claimed || !PG_ARGISNULL(argno))
		return arg_user(fcinfo, argno);
	/* The role the session is in, also inside a function of another owner. */
	return cstring_to_text(GetUserNameFromId(GetOuterUserId(), false));
}

PG_FUNCTION_INFO_V1(ticket_actor);

/*
 * actor(actor text) -> text
 *
 * arg_actor() for SQL.
 *
 * Errors: 22023, TK013.  Locks: none.
 */
Datum
ticket_actor(PG_FUNCTION_ARGS)
{
	memory_require();
	PG_RETURN_TEXT_P(arg_actor(fcinfo, 0));
}

PG_FUNCTION_INFO_V1(ticket_check_user);

/*
 * check_user(user_id text) -> text
 *
 * The same for functions written in SQL: whoever takes a user_id, a seller_id
 * or the like goes by what this returns.  Errors: 22023, TK013, TK014.  No
 * locks.
 */
Datum
ticket_check_user(PG_FUNCTION_ARGS)
{
	memory_require();
	PG_RETURN_TEXT_P(arg_user(fcinfo, 0));
}

/* An idempotency key, 1 to 255 characters, or NULL. */
text *
arg_key(FunctionCallInfo fcinfo, int argno)
{
	text *key;

	if (PG_ARGISNULL(argno))
		return NULL;
	key = PG_GETARG_TEXT_PP(argno);
	check_length(key, "idempotency_key");
	return key;
}

/* The number of something; whether it exists is seen later. */
int64
arg_id(FunctionCallInfo fcinfo, int argno, const char *name)
{
	if (PG_ARGISNULL(argno))
		ticket_error(ERROR_BAD_ARGUMENT, NULL, NULL, "%s must not be NULL", name);
	return PG_GETARG_INT64(argno);
}

/* The name of something, 1 to 255 characters. */
text *
arg_name(FunctionCallInfo fcinfo, int argno, const char *name)
{
	if (PG_ARGISNULL(argno))
		ticket_error(ERROR_BAD_ARGUMENT, NULL, NULL, "%s must not be NULL", name);
	check_length(PG_GETARG_TEXT_PP(argno), name);
	return PG_GETARG_TEXT_PP(argno);
}

/* A whole number within bounds. */
int32
arg_count(FunctionCallInfo fcinfo, int argno, const char *name, int32 min, int32 max)
{
	int32 count;

	if (PG_ARGISNULL(argno))
		ticket_error(ERROR_BAD_ARGUMENT, NULL, NULL, "%s must not be NULL", name);
	count = PG_GETARG_INT32(argno);
	if (count < min || count > max)
		ticket_error(ERROR_BAD_ARGUMENT, psprintf("It is %d.", count), NULL,
					 "%s must be between %d and %d", name, min, max);
	return count;
}

/* Days of a span, in round figures. */
static double
interval_days(const Interval *span)
{
	double days = (double) span->month * DAYS_PER_MONTH + span->day;

	return round(days + (double) span->time / USECS_PER_DAY);
}

/* A span between a millisecond and 366 days. */
Interval *
arg_interval(FunctionCallInfo fcinfo, int argno, const char *name)
{
	Interval *span;

	if (PG_ARGISNULL(argno))
		ticket_error(ERROR_BAD_ARGUMENT, NULL, NULL, "%s must not be NULL", name);
	span = PG_GETARG_INTERVAL_P(argno);
	/* Roughly first, as parts of extreme size are more than 64 bits hold. */
	if (INTERVAL_NOT_FINITE(span) || interval_days(span) < 0 || interval_days(span) > 367 ||
		interval_us(span) < 1000 || interval_us(span) > 366 * USECS_PER_DAY)
		ticket_error(ERROR_BAD_ARGUMENT,
					 psprintf("It is %s.", DatumGetCString(DirectFunctionCall1(interval_out,
																			   IntervalPGetDatum(span)))),
					 NULL, "%s must be between 1 millisecond and 366 days", name);
	return span;
}

/* A moment that is not infinite; DT_NOBEGIN stands for NULL. */
TimestampTz
arg_time(FunctionCallInfo fcinfo, int argno, const char *name)
{
	TimestampTz at;

	if (PG_ARGISNULL(argno))
		return DT_NOBEGIN;
	at = PG_GETARG_TIMESTAMPTZ(argno);
	if (TIMESTAMP_NOT_FINITE(at))
		ticket_error(ERROR_BAD_ARGUMENT, NULL, NULL, "%s must not be infinite", name);
	return at;
}

/* An amount of money above zero. */
int64
arg_amount(FunctionCallInfo fcinfo, int argno, const char *name)
{
	int64 amount = arg_id(fcinfo, argno, name);

	if (amount <= 0)
		ticket_error(ERROR_BAD_ARGUMENT, psprintf("It is %lld.", (long long) amount), NULL,
					 "%s must be greater than zero", name);
	return amount;
}

int
arg_max_count(FunctionCallInfo fcinfo, int argno, int if_null)
{
	int count = PG_ARGISNULL(argno) ? if_null : PG_GETARG_INT32(argno);

	if (count < 0)
		ticket_error(ERROR_BAD_ARGUMENT, psprintf("It is %d.", count), NULL,
					 "max_count must not be negative");
	return count;
}

/* An array of any number of elements, in one dimension or none. */
ArrayType *
arg_array(FunctionCallInfo fcinfo, int argno, const char *name, int *count)
{
	ArrayType *array;

	if (PG_ARGISNULL(argno))
		ticket_error(ERROR_BAD_ARGUMENT, NULL, NULL, "%s must not be NULL", name);
	array = PG_GETARG_ARRAYTYPE_P(argno);
	if (ARR_NDIM(array) > 1)
		ticket_error(ERROR_BAD_ARGUMENT, psprintf("It has %d dimensions.", ARR_NDIM(array)), NULL,
					 "%s must be a one-dimensional array", name);
	*count = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	return array;
}

/*
 * Users who begin something, as arg_participant() takes each.  An error names the
 * first that is wrong.
 */
text **
arg_participants(FunctionCallInfo fcinfo, int argno, int *count)
{
	ArrayType *array = arg_array(fcinfo, argno, "user_ids", count);
	text *claimed = required_user();
	text **users;
	Datum *elements;
	bool *nulls;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, count);
	users = palloc(Max(*count, 1) * sizeof(text *));
	for (int i = 0; i < *count; i++)
	{
		if (nulls[i])
			ticket_error(ERROR_BAD_ARGUMENT, psprintf("Element %d is.", i + 1), NULL,
						 "user_ids must not contain NULL");
		users[i] = DatumGetTextPP(elements[i]);
		if (VARSIZE_ANY_EXHDR(users[i]) == 0 || VARSIZE_ANY_EXHDR(users[i]) > MAX_NAME_CHARS)
			check_length(users[i], psprintf("user_ids[%d]", i + 1));
		if (is_pseudonym(users[i]))
			refuse_pseudonym(psprintf("user_ids[%d]", i + 1));
		if (claimed != NULL)
			check_claim(users[i], claimed, "an element of user_ids");
	}
	return users;
}

static int
compare_int32(const void *a, const void *b)
{
	int32 x = *(const int32 *) a;
	int32 y = *(const int32 *) b;

	return (x > y) - (x < y);
}

/* Seat ids: at least one, no NULL, none twice, at most 1,000; sorted copy. */
int32 *
arg_seats(FunctionCallInfo fcinfo, int argno, int *count)
{
	ArrayType *array;
	int32 *seats;
	int n;

	array = arg_array(fcinfo, argno, "seat_ids", &n);
	if (n == 0)
		ticket_error(ERROR_BAD_ARGUMENT, NULL, NULL, "seat_ids must not be empty");
	if (n > MAX_SEATS)
		ticket_error(ERROR_BAD_ARGUMENT,
					 psprintf("It has %d elements, %d are allowed.", n, MAX_SEATS), NULL,
					 "seat_ids has too many elements");
	if (array_contains_nulls(array))
		ticket_error(ERROR_BAD_ARGUMENT, NULL, NULL, "seat_ids must not contain NULL");

	seats = palloc(n * sizeof(int32));
	memcpy(seats, ARR_DATA_PTR(array), n * sizeof(int32));
	qsort(seats, n, sizeof(int32), compare_int32);
	for (int i = 1; i < n; i++)
		if (seats[i] == seats[i - 1])
			ticket_error(ERROR_BAD_ARGUMENT, psprintf("Seat %d is there twice.", seats[i]), NULL,
						 "seat_ids must not contain duplicates");
	*count = n;
	return seats;
}

bool
text_same(const text *a, const text *b)
{
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		   memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

/* A number as text. */
Datum
number_text(int64 number)
{
	char digits[MAXINT8LEN + 1];

	return PointerGetDatum(cstring_to_text_with_len(digits, pg_lltoa(number, digits)));
}
