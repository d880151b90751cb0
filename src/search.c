/*
 * search.c
 *		Parts of names, for an index that finds what is in the middle of a word.
 *
 * A name is cut into its single letters and its pairs of neighbouring letters
 * (n-grams, as pg_trgm has threes); a search is cut into pairs, all of which
 * must be there, and what the index finds is compared letter by letter.  Pairs
 * suit Korean, where a word is often two syllables long, and work in every
 * locale: pg_trgm drops letters that the locale does not know, which under C
 * are all but the ASCII ones.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "ticket.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/formatting.h"

PG_FUNCTION_INFO_V1(ticket_name_grams);
PG_FUNCTION_INFO_V1(ticket_search_grams);

typedef struct Grams
{
	Datum *gram;
	int n;
} Grams;

/* Adds the parts of a text, in small letters. */
static void
add_grams(Grams *grams, const text *t, bool singles)
{
	char *s = str_tolower(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t), DEFAULT_COLLATION_OID);
	int n_chars = pg_mbstrlen(s);

	if (grams->gram == NULL)
		grams->gram = palloc((2 * n_chars + 1) * sizeof(Datum));
	else
		grams->gram = repalloc(grams->gram, (grams->n + 2 * n_chars + 1) * sizeof(Datum));
	while (*s)
	{
		int one = pg_mblen(s);
		int next = s[one] ? pg_mblen(s + one) : 0;

		if (singles)
			grams->gram[grams->n++] = PointerGetDatum(cstring_to_text_with_len(s, one));
		if (next > 0)
			grams->gram[grams->n++] = PointerGetDatum(cstring_to_text_with_len(s, one + next));
		s += one;
	}
}

static Datum
gram_array(const Grams *grams)
{
	return PointerGetDatum(
		construct_array(grams->gram, grams->n, TEXTOID, -1, false, TYPALIGN_INT));
}

/*
 * name_grams(name text, artist text) -> text[]
 *
 * The letters and pairs of letters of both, for the index; NULL has none.
 * Raises nothing, no locks.
 */
Datum
ticket_name_grams(PG_FUNCTION_ARGS)
{
	Grams grams = {0};

	for (int i = 0; i < 2; i++)
		if (!PG_ARGISNULL(i))
			add_grams(&grams, PG_GETARG_TEXT_PP(i), true);
	return gram_array(&grams);
}

/*
 * search_grams(search text) -> text[]
 *
 * What a name must have in which the text is found: its pairs of letters, or
 * its only letter.
 *
 * Errors: 22023.  Locks: none.
 */
Datum
ticket_search_grams(PG_FUNCTION_ARGS)
{
	text *search = arg_name(fcinfo, 0, "search");
	Grams grams = {0};

	add_grams(&grams, search,
			  pg_mbstrlen_with_len(VARDATA_ANY(search), VARSIZE_ANY_EXHDR(search)) == 1);
	return gram_array(&grams);
}
