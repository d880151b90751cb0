/*
 * outbox.c
 *		Events on their way out.
 */
#include "postgres.h"

#include "memory.h"
#include "port/pg_bswap.h"
#include "ticket.h"
#include "utils/uuid.h"

PG_FUNCTION_INFO_V1(ticket_event_id);

/*
 * event_id() -> uuid
 *
 * A UUID of version 7 (RFC 9562, section 5.7, method 3): 48 bits of
 * milliseconds, 12 bits of the fraction below, then random bits.  The 60 bits
 * of time are one counter in shared memory that never stands still nor goes
 * back, so ids sort in the order they were given out, over all sessions.
 *
 * Errors: TK014.  Locks: none (one atomic).
 */
Datum
ticket_event_id(PG_FUNCTION_ARGS)
{
	pg_uuid_t *uuid = palloc(sizeof(pg_uuid_t));
	int64 us;
	uint64 stamp;
	uint64 half[2];

	memory_require();
	/* Unix time; a 4096th of a millisecond is one step of the counter. */
	us = GetCurrentTimestamp() + (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	stamp = memory_next_event(((uint64) (us / 1000) << 12) | (us % 1000 * 4096 / 1000));
	if (!pg_strong_random(&half[1], sizeof(half[1])))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate a random number")));
	half[0] = pg_hton64(((stamp >> 12) << 16) | (UINT64CONST(7) << 12) | (stamp & 0xFFF));
	half[1] = pg_hton64((half[1] & ((UINT64CONST(1) << 62) - 1)) | (UINT64CONST(2) << 62));
	memcpy(uuid->data, half, sizeof(half));
	return UUIDPGetDatum(uuid);
}
