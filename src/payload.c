/*
 * payload.c
 *		Making a jsonb object of keys with plain values or arrays of them.  See
 *		payload.h.
 *
 * The format is that of utils/jsonb.h in PostgreSQL's source, as its jsonb_util.c
 * writes it: a header with the number of children; an entry for each, which says
 * what it is and how long, or, of every JB_OFFSET_STRIDE'th, where it ends; the
 * children.  Of an object first come the keys, in order of length and bytes,
 * then their values in the same order.  Numbers and arrays begin at multiples
 * of four; what is left out before them counts as theirs.  pg_upgrade keeps
 * tables, so no server version can change it.
 */
#include "postgres.h"

#include "payload.h"

#include "compat.h"
#include "utils/numeric.h"

/* ---------- values ---------- */

static void
align(StringInfo buffer)
{
	while (buffer->len % sizeof(JEntry) != 0)
		appendStringInfoChar(buffer, '\0');
}

static void
append_int64(StringInfo buffer, int64 value)
{
	Numeric number = int64_to_numeric(value);

	align(buffer);
	appendBinaryStringInfo(buffer, (char *) number, VARSIZE_ANY(number));
	pfree(number);
}

/* The n'th child, from 0, that ends this far behind the first one's beginning. */
static JEntry
stored_entry(JEntry entry, int n, int end)
{
	return n % JB_OFFSET_STRIDE == 0 ? (entry & JENTRY_TYPEMASK) | end | JENTRY_HAS_OFF : entry;
}

/* A pair whose value will be the next in the buffer. */
static PayloadPair *
add_pair(Payload *payload, const char *key)
{
	PayloadPair *pair;

	if (payload->n_pairs == PAYLOAD_MAX_KEYS)
		elog(ERROR, "too many keys in a payload");
	align(&payload->values);
	pair = &payload->pair[payload->n_pairs++];
	pair->key = key;
	pair->key_length = strlen(key);
	pair->at = payload->values.len;
	return pair;
}

void
payload_begin(Payload *payload)
{
	payload->n_pairs = 0;
	initStringInfo(&payload->values);
}

void
payload_null(Payload *payload, const char *key)
{
	add_pair(payload, key)->entry = JENTRY_ISNULL;
}

void
payload_string(Payload *payload, const char *key, const char *s, int length)
{
	add_pair(payload, key)->entry = JENTRY_ISSTRING | length;
	appendBinaryStringInfo(&payload->values, s, length);
}

void
payload_int64(Payload *payload, const char *key, int64 value)
{
	PayloadPair *pair = add_pair(payload, key);

	append_int64(&payload->values, value);
	pair->entry = JENTRY_ISNUMERIC | (payload->values.len - pair->at);
}

/* Begins an array; its elements follow. */
void
payload_array(Payload *payload, const char *key, int n_elements)
{
	uint32 header = JB_FARRAY | n_elements;
	int entries = n_elements * sizeof(JEntry);

	(void) add_pair(payload, key);
	appendBinaryStringInfo(&payload->values, (char *) &header, sizeof(header));
	payload->array = payload->values.len;
	payload->n_elements = payload->length = 0;
	enlargeStringInfo(&payload->values, entries);
	payload->values.len += entries;
}

/* An element that begins at `at` and ends where the buffer does. */
static void
add_element(Payload *payload, JEntry kind, int at)
{
	int length = payload->values.len - at;
	JEntry entry;

	payload->length += length;
	entry = stored_entry(kind | length, payload->n_elements, payload->length);
	memcpy(payload->values.data + payload->array + payload->n_elements * sizeof(JEntry), &entry,
		   sizeof(JEntry));
	payload->n_elements++;
}

void
payload_add_string(Payload *payload, const char *s, int length)
{
	int at = payload->values.len;

	appendBinaryStringInfo(&payload->values, s, length);
	add_element(payload, JENTRY_ISSTRING, at);
}

void
payload_add_int64(Payload *payload, int64 value)
{
	int at = payload->values.len;

	append_int64(&payload->values, value);
	add_element(payload, JENTRY_ISNUMERIC, at);
}

void
payload_array_end(Payload *payload)
{
	PayloadPair *pair = &payload->pair[payload->n_pairs - 1];

	pair->entry = JENTRY_ISCONTAINER | (payload->values.len - pair->at);
}

/* ---------- the object ---------- */

static bool
key_before(const PayloadPair *a, const PayloadPair *b)
{
	if (a->key_length != b->key_length)
		return a->key_length < b->key_length;
	return memcmp(a->key, b->key, a->key_length) < 0;
}

static void
sort_pairs(Payload *payload)
{
	for (int i = 1; i < payload->n_pairs; i++)
	{
		PayloadPair pair = payload->pair[i];
		int j = i;

		for (; j > 0 && key_before(&pair, &payload->pair[j - 1]); j--)
			payload->pair[j] = payload->pair[j - 1];
		payload->pair[j] = pair;
	}
}

static bool
is_aligned(JEntry entry)
{
	return JBE_ISNUMERIC(entry) || JBE_ISCONTAINER(entry);
}

/* Room for all of it, with the most that can be left out before values. */
static char *
allocate(const Payload *payload)
{
	Size size = VARHDRSZ + sizeof(uint32) + payload->values.len;

	for (int i = 0; i < payload->n_pairs; i++)
		size += payload->pair[i].key_length + 3 * sizeof(JEntry);
	return palloc(size);
}

Jsonb *
payload_end(Payload *payload)
{
	int n = payload->n_pairs;
	uint32 header = JB_FOBJECT | n;
	JEntry entry[2 * PAYLOAD_MAX_KEYS];
	char *data = allocate(payload);
	char *begin = data + VARHDRSZ + sizeof(header) + 2 * n * sizeof(JEntry);
	char *end = begin;

	sort_pairs(payload);
	for (int i = 0; i < n; i++)
	{
		const PayloadPair *pair = &payload->pair[i];

		memcpy(end, pair->key, pair->key_length);
		end += pair->key_length;
		entry[i] = stored_entry(JENTRY_ISSTRING | pair->key_length, i, end - begin);
	}
	for (int i = 0; i < n; i++)
	{
		const PayloadPair *pair = &payload->pair[i];
		const char *former = end;

		while (is_aligned(pair->entry) && (end - data) % sizeof(JEntry) != 0)
			*end++ = '\0';
		memcpy(end, payload->values.data + pair->at, JBE_OFFLENFLD(pair->entry));
		end += JBE_OFFLENFLD(pair->entry);
		entry[n + i] =
			stored_entry((pair->entry & JENTRY_TYPEMASK) | (end - former), n + i, end - begin);
	}
	memcpy(data + VARHDRSZ, &header, sizeof(header));
	memcpy(data + VARHDRSZ + sizeof(header), entry, 2 * n * sizeof(JEntry));
	pfree(payload->values.data);
	SET_VARSIZE(data, end - data);
	return (Jsonb *) data;
}
