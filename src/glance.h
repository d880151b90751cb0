/*
 * glance.h
 *		Seats seen from shared memory, for those who come too late.
 */
#ifndef TICKET_GLANCE_H
#define TICKET_GLANCE_H

#include "postgres.h"

#include "utils/timestamp.h"

extern bool seats_taken(int64 performance_id, const int32 *seat, int n, TimestampTz now,
						const char **status);
extern void seats_remember(int64 performance_id, const int32 *seat, int n, TimestampTz now);

#endif /* TICKET_GLANCE_H */
