/*
 * stock.h
 *		Rows of seats, reservations and tickets as the hot calls change them.
 */
#ifndef TICKET_STOCK_H
#define TICKET_STOCK_H

#include "postgres.h"

#include "utils/timestamp.h"
#include "write.h"

/* What a seat is, and for which reservation. */
typedef struct SeatState
{
	const char *status;
	int64 reservation_id; /* 0: none */
	TimestampTz held_until; /* 0: none */
} SeatState;

extern RowTarget seat_row;
extern RowTarget reservation_row;
extern RowTarget entry_row;

extern bool text_is(Datum value, const char *expected);
extern bool seat_is(RowScan *scan, HeapTuple row, const SeatState *state);
extern bool seat_row_change(RowWriter *writer, HeapTuple row, const SeatState *to, bool wait);
extern bool seat_change(int64 performance_id, int32 seat_id, const SeatState *from,
						const SeatState *to, bool wait);
extern bool reservation_find(RowScan *scan, int64 reservation_id, HeapTuple *row);
extern bool entry_finish(int64 queue_id, int64 place, const text *user, TimestampTz now);

#endif /* TICKET_STOCK_H */
