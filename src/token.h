/*
 * token.h
 *		What a fan's client keeps: a UUID of version 8 that says which queue
 *		and which place, and holds a secret.
 *
 *		bits 127..64	queue_id (22) and place (38), around the version (4)
 *		bits  63..0		variant (2) and secret (62)
 */
#ifndef TICKET_TOKEN_H
#define TICKET_TOKEN_H

#include "postgres.h"

#include "utils/uuid.h"

typedef struct Token
{
	int64 queue_id;
	int64 place;
	uint64 secret;
} Token;

extern uint64 random_62(void);
extern pg_uuid_t *token_encode(const Token *token);
extern bool token_decode(const pg_uuid_t *uuid, Token *token);
extern bool token_secret_equal(uint64 a, uint64 b);

#endif /* TICKET_TOKEN_H */
