/*
 * payload.h
 *		Making a jsonb object of keys with plain values or arrays of them.
 *
 * What jsonb_build_object makes of the same keys, to the bit.  The server's way
 * there, a tree of values that is then sorted and written, takes more than twice
 * as many instructions.
 */
#ifndef TICKET_PAYLOAD_H
#define TICKET_PAYLOAD_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/jsonb.h"

#define PAYLOAD_MAX_KEYS 16

typedef struct PayloadPair
{
	const char *key;
	int key_length;
	int at; /* of the value, in the buffer */
	JEntry entry; /* its kind and length */
} PayloadPair;

/* An object in the making. */
typedef struct Payload
{
	int n_pairs;
	PayloadPair pair[PAYLOAD_MAX_KEYS];
	StringInfoData values;
	int array; /* the one that is being added: where its entries are, */
	int n_elements; /* how many of them are there, */
	int length; /* and how long they are together */
} Payload;

/* Keys are not copied.  Each may come once, in any order. */
extern void payload_begin(Payload *payload);
extern void payload_null(Payload *payload, const char *key);
extern void payload_string(Payload *payload, const char *key, const char *s, int length);
extern void payload_int64(Payload *payload, const char *key, int64 value);
extern void payload_array(Payload *payload, const char *key, int n_elements);
extern void payload_add_string(Payload *payload, const char *s, int length);
extern void payload_add_int64(Payload *payload, int64 value);
extern void payload_array_end(Payload *payload);
extern Jsonb *payload_end(Payload *payload);

#endif /* TICKET_PAYLOAD_H */
