/*
 * token.c
 *		Tokens: their layout and their secret.  See token.h.  Layout after
 *		RFC 9562, section 5.8 (UUID version 8, free for the application).
 */
#include "postgres.h"

#include "token.h"

#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "ticket.h"

#define SECRET_MASK ((UINT64CONST(1) << 62) - 1)

#define PLACE_BITS 38
#define VERSION UINT64CONST(8)
#define VARIANT UINT64CONST(2)

/* 62 random bits from the operating system's strong generator, which is asked for many at once. */
uint64
random_62(void)
{
	static uint64 pool[32];
	static int left = 0;

	if (left == 0)
	{
		if (!pg_strong_random(pool, sizeof(pool)))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not generate a random number")));
		left = lengthof(pool);
	}
	return pool[--left] & SECRET_MASK;
}

pg_uuid_t *
token_encode(const Token *token)
{
	pg_uuid_t *uuid = palloc(sizeof(pg_uuid_t));
	uint64 number = ((uint64) token->queue_id << PLACE_BITS) | (uint64) token->place;
	uint64 half[2];

	/* 48 bits of the number, the version, its last 12 bits. */
	half[0] = pg_hton64(((number >> 12) << 16) | (VERSION << 12) | (number & 0xFFF));
	half[1] = pg_hton64((VARIANT << 62) | token->secret);
	memcpy(uuid->data, half, sizeof(half));
	return uuid;
}

bool
token_decode(const pg_uuid_t *uuid, Token *token)
{
	uint64 half[2];
	uint64 number;

	memcpy(half, uuid->data, sizeof(half));
	half[0] = pg_ntoh64(half[0]);
	half[1] = pg_ntoh64(half[1]);
	if (((half[0] >> 12) & 0xF) != VERSION || (half[1] >> 62) != VARIANT)
		return false;
	number = ((half[0] >> 16) << 12) | (half[0] & 0xFFF);
	token->queue_id = number >> PLACE_BITS;
	token->place = number & ((UINT64CONST(1) << PLACE_BITS) - 1);
	token->secret = half[1] & SECRET_MASK;
	return token->queue_id > 0 && token->place > 0;
}

/* One comparison of whole words: takes the same time wherever they differ. */
bool
token_secret_equal(uint64 a, uint64 b)
{
	volatile uint64 difference = a ^ b;

	return difference == 0;
}
