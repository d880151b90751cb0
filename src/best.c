/*
 * best.c
 *		Holding seats that the caller leaves to us: seat_hold_best.
 *
 * The states of a section are those of the seat map (hall.c): from memory, so
 * that a call in a hall that is nearly sold out does not read the hall, and
 * without locks, so that what they say is a moment old.  The best places by them (choice.c) are tried as seat_hold tries its
 * seats: lock, look again, end what is over, write.  Whoever loses a seat on
 * the way to another call goes on to the next best places within the same call;
 * a place is never waited for.
 *
 * So that many calls at once spread instead of trying the same places one
 * after another, each loss makes a call pass over some of the next best ones:
 * up to twice as many as the loss before, how many is up to its process.  What
 * was passed over is come back to before the call gives up.
 */
#include "metrics.h"
#include "postgres.h"

#include "answer.h"
#include "catalog/pg_type.h"
#include "choice.h"
#include "hold.h"
#include "map.h"
#include "memory.h"
#include "miscadmin.h"
#include "seat.h"
#include "stock.h"
#include "ticket.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(ticket_seat_hold_best);

/* A call passes over so many places after a loss, at most: 2 to the power of this. */
#define MAX_PASS_BITS 6
/* Read again when places were lost, in case some have come free meanwhile. */
#define MAX_ROUNDS 3
/* Standing places read beyond what is asked for: others may be faster. */
#define STANDING_SPARE 1000

/* How far to go when there are no n seats side by side. */
typedef enum Fallback
{
	FALLBACK_TOGETHER,
	FALLBACK_TWO_ROWS,
	FALLBACK_ANY
} Fallback;

static const char *const fallback_name[] = {"together", "two_rows", "any"};

static AnswerType best_answer = {
	5,
	{{"reservation_id", INT8OID},
	 {"status", TEXTOID},
	 {"amount", INT8OID},
	 {"expires_at", TIMESTAMPTZOID},
	 {"seat_ids", INT4ARRAYOID}},
	"best_hold_state",
};

typedef struct SectionToSearch
{
	int64 section_id;
	bool standing;
	bool read;
} SectionToSearch;

typedef struct Search
{
	HoldRequest *request;
	int n_sections;
	SectionToSearch *section;
	House house;
	int max_places;
	int *pick;
	int n_lost;
	int n_passed;
	int *passed;
	bool come_back; /* nothing is passed over any more */
} Search;

/* ---------- reading ---------- */

/* The sections in question, in the order of their seats. */
static void
search_sections(Search *search, int64 section_id, bool all)
{
	int64 performance_id = search->request->performance.performance_id;
	const Hall *hall = performance_hall(performance_id);
	int n = hall ? hall->n_sections : 0;

	search->section = palloc0((n + 1) * sizeof(SectionToSearch));
	for (int i = 0; i < n; i++)
	{
		const Section *section = &hall->section[i];

		if (all || section->section_id == section_id)
			search->section[search->n_sections++] = (SectionToSearch){
				.section_id = section->section_id,
				.standing = text_is(PointerGetDatum(section->kind), "standing"),
			};
	}
	if (search->n_sections == 0 && !all)
		ticket_error(ERROR_NOT_FOUND, NULL, NULL, "performance %lld has no section %lld",
					 (long long) performance_id, (long long) section_id);
}

static void
add_place(Search *search, const Place *place)
{
	House *house = &search->house;

	if (house->n_places == search->max_places)
	{
		search->max_places = Max(1024, search->max_places * 2);
		if (house->place == NULL)
		{
			house->place = palloc(search->max_places * sizeof(Place));
			house->row = palloc(search->max_places * sizeof(Row));
		}
		else
		{
			house->place = repalloc_huge(house->place, search->max_places * sizeof(Place));
			house->row = repalloc_huge(house->row, search->max_places * sizeof(Row));
		}
	}
	house->place[house->n_places++] = *place;
}

/*
 * Takes in the places of a section with their states, of standing ones the
 * first that are free; none when none is free.  A place for a wheelchair has to
 * be asked for: it is not given out.
 */
static void
read_section(Search *search, int number)
{
	SectionToSearch *section = &search->section[number];
	int enough = section->standing ? search->request->n_seats + STANDING_SPARE : INT_MAX;
	SectionView view;

	section->read = true;
	if (!section_look(search->request->performance.performance_id, section->section_id, &view) ||
		view.image.available == 0)
		return;
	for (int r = 0; r < view.section->n_runs; r++)
	{
		const SeatRun *run = &view.section->run[r];

		for (int32 i = run->first; i < run->first + run->count && enough > 0; i++)
		{
			Place place = {
				.seat_id = view.section->first_seat + i,
				.row_no = run->row_no,
				.seat_no = run->seat_no + (i - run->first),
				.section = number,
				.free = view.image.state[i] == SEAT_FREE && !run->accessible,
			};

			enough -= place.free;
			add_place(search, &place);
		}
	}
	house_arrange(&search->house);
}

/* ---------- trying ---------- */

/* The best places of a section by what is known, in one of the ways to sit. */
static bool
choose(Search *search, int number, Fallback how)
{
	int n = search->request->n_seats;

	if (number >= 0 && search->section[number].standing)
		return how == FALLBACK_TOGETHER && choose_in_order(&search->house, number, n, search->pick);
	switch (how)
	{
		case FALLBACK_TOGETHER:
			return choose_together(&search->house, number, n, search->pick);
		case FALLBACK_TWO_ROWS:
			return choose_two_rows(&search->house, number, n, search->pick);
		default:
			return choose_any(&search->house, number, n, search->pick);
	}
}

static void
lose(Search *search, int place)
{
	house_set_free(&search->house, place, false);
	search->n_lost++;
}

static void
pass_over(Search *search, int place)
{
	if (!search->house.place[place].free)
		return;
	house_set_free(&search->house, place, false);
	search->passed[search->n_passed++] = place;
}

/* After a loss: keeps out of the way of others who have lost as well. */
static void
spread(Search *search, int number, Fallback how)
{
	int pass = MyProcPid % (1 << Min(search->n_lost, MAX_PASS_BITS));

	if (search->come_back || (number >= 0 && search->section[number].standing))
		return;
	for (int i = 0; i < search->request->n_seats; i++)
		pass_over(search, search->pick[i]);
	while (pass-- > 0 && choose(search, number, how))
		for (int i = 0; i < search->request->n_seats; i++)
			pass_over(search, search->pick[i]);
}

/* True if something was passed over, which is free again now. */
static bool
return_to_passed(Search *search)
{
	int n = search->n_passed;

	while (search->n_passed > 0)
		house_set_free(&search->house, search->passed[--search->n_passed], true);
	search->come_back = true;
	return n > 0;
}

/*
 * Tries what was chosen.  True: every seat is locked, free and nobody else's.
 * False: nothing is locked, and what others have is no longer counted as free.
 */
static bool
take(Search *search)
{
	HoldRequest *request = search->request;
	int n = request->n_seats;
	int locked;

	for (int i = 0; i < n; i++)
		request->seat[i] = search->house.place[search->pick[i]].seat_id;
	locked = hold_lock(request);
	if (locked < n)
		lose(search, search->pick[locked]);
	else if (hold_look(request, clock_now()) > 0)
	{
		for (int i = 0; i < n; i++)
			if (strcmp(request->status[i], "free") != 0)
				lose(search, search->pick[i]);
	}
	else if (hold_take_over(request))
		return true;
	else
		/* One of the holds that are over is just being paid or tidied. */
		for (int i = 0; i < n; i++)
			lose(search, search->pick[i]);
	hold_unlock(request, locked);
	return false;
}

/* Tries one place of a section (or of all) after another. */
static bool
take_some(Search *search, int number, Fallback how)
{
	bool taken = false;

	search->come_back = false;
	while (!taken)
	{
		CHECK_FOR_INTERRUPTS();
		if (choose(search, number, how))
		{
			taken = take(search);
			if (!taken)
				spread(search, number, how);
		}
		else if (!return_to_passed(search))
			break;
	}
	return taken;
}

/* Tries all sections side by side, then in the other ways that are allowed. */
static bool
take_best(Search *search, Fallback fallback)
{
	search->house.n_places = search->house.n_rows = 0;
	for (int i = 0; i < search->n_sections; i++)
		search->section[i].read = false;
	for (Fallback how = FALLBACK_TOGETHER; how <= fallback; how++)
		for (int i = 0; i < search->n_sections; i++)
		{
			if (!search->section[i].read)
			{
				read_section(search, i);
				search->passed = search->passed ? repalloc_huge(search->passed,
																search->max_places * sizeof(int)) :
												  palloc(search->max_places * sizeof(int));
			}
			if (take_some(search, i, how))
				return true;
		}
	return fallback == FALLBACK_ANY && search->n_sections > 1 &&
		   take_some(search, CHOICE_ALL_SECTIONS, FALLBACK_ANY);
}

/* ---------- the call ---------- */

static Fallback
arg_fallback(FunctionCallInfo fcinfo, int argno)
{
	const char *name = PG_ARGISNULL(argno) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(argno));

	for (Fallback fallback = FALLBACK_TOGETHER; fallback <= FALLBACK_ANY; fallback++)
		if (strcmp(name, fallback_name[fallback]) == 0)
			return fallback;
	ticket_error(ERROR_BAD_ARGUMENT, NULL, NULL, "fallback must be together, two_rows or any");
}

pg_attribute_noreturn()
static void
nothing_found(const Search *search, Fallback fallback)
{
	int n = search->request->n_seats;
	int n_free = house_count_free(&search->house, CHOICE_ALL_SECTIONS);

	if (n_free < n)
		ticket_error(ERROR_SEAT_UNAVAILABLE,
					 psprintf("%d are free, %d are wanted.", n_free, n),
					 "Ask for fewer, or elsewhere, or again when holds have ended; seats for "
					 "wheelchairs are left to seat_hold.",
					 "not enough seats are free");
	ticket_error(ERROR_SEATS_NOT_TOGETHER,
				 psprintf("%d are free, but no %d of them %s.", n_free, n,
						  fallback == FALLBACK_TOGETHER ? "side by side" : "in two rows"),
				 fallback == FALLBACK_TOGETHER
					 ? "Pass fallback => 'two_rows' or 'any', or ask for fewer."
					 : "Pass fallback => 'any', or ask for fewer.",
				 "no %d seats are free together", n);
}

/* What was asked for, with a key, in a form that can be compared. */
static text *
asked_best(const HoldRequest *request, int64 section_id, bool all, Fallback fallback)
{
	if (request->key == NULL)
		return NULL;
	if (all)
		return cstring_to_text(
			psprintf("best %d of all, %s", request->n_seats, fallback_name[fallback]));
	return cstring_to_text(psprintf("best %d of section %lld, %s", request->n_seats,
									(long long) section_id, fallback_name[fallback]));
}

/*
 * seat_hold_best(performance_id bigint, seat_count int, user_id text,
 *				  section_id bigint default null, token uuid default null,
 *				  idempotency_key text default null,
 *				  fallback text default 'together')
 * -> (reservation_id bigint, status text, amount bigint,
 *	   expires_at timestamptz, seat_ids int[])
 *
 * Holds the best seat_count seats to be had, of a section or of the first
 * section that has them: side by side in one row, leaving no single seat free
 * where that can be avoided, then nearest to the middle of the front row.  With
 * fallback 'two_rows' also in two rows one behind the other, with 'any' then
 * anywhere; of a standing section the first free ones.  Seats for wheelchairs
 * are left to those who choose them with seat_hold.  All else is as in
 * seat_hold.  With a key, the same call again gets the reservation of the first
 * one, whatever seats that got and whatever became of them.
 *
 * Errors: 22023, TK001, TK002, TK005, TK006 (fewer are free), TK008, TK011,
 * TK012, TK013, TK014, TK016, TK020; 40001.
 * Locks: as seat_hold; a seat or reservation that another session has is
 * passed over, and the locks of seats that are not taken in the end are given
 * back.
 */
Datum
ticket_seat_hold_best(PG_FUNCTION_ARGS)
{
	COUNT_CALL();
	HoldRequest request = {.answer = &best_answer};
	Search search = {.request = &request};
	bool all = PG_ARGISNULL(3);
	int64 section_id = all ? 0 : PG_GETARG_INT64(3);
	Fallback fallback;
	TimestampTz now;
	Datum answer;
	bool taken = false;

	memory_require();
	request.n_seats = arg_count(fcinfo, 1, "seat_count", 1, MAX_SEATS);
	fallback = arg_fallback(fcinfo, 6);
	hold_begin(&request, fcinfo, 2, 4, 5);
	request.asked = asked_best(&request, section_id, all, fallback);
	if (hold_repeated(&request, &answer))
		PG_RETURN_DATUM(answer);
	/* Locks that linger are passed over, too. */
	request.waited = false;
	now = clock_now();
	hold_admit(&request, now);
	hold_limit(&request, now);

	search_sections(&search, section_id, all);
	search.pick = palloc(request.n_seats * sizeof(int));
	request.seat = palloc(request.n_seats * sizeof(int32));
	for (int round = 0; round < MAX_ROUNDS && !taken; round++)
	{
		search.n_lost = 0;
		taken = take_best(&search, fallback);
		if (!taken && search.n_lost == 0)
			break;
	}
	if (!taken)
		nothing_found(&search, fallback);
	PG_RETURN_DATUM(hold_finish(&request));
}
