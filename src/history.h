/*
 * history.h
 *		Events that have left the outbox, kept by month.
 */
#ifndef TICKET_HISTORY_H
#define TICKET_HISTORY_H

#include "postgres.h"

#define HISTORY_BATCH 1000

/* Rows of the outbox on their way into the history. */
typedef struct HistoryBatch
{
	int n;
	Datum id[HISTORY_BATCH];
	Datum type[HISTORY_BATCH];
	Datum payload[HISTORY_BATCH];
} HistoryBatch;

/* Before rows of the history are changed. */
extern void history_lock(void);

/* Both run as the owner, connected to SPI. */
extern void history_add(HistoryBatch *batch, Datum id, Datum type, Datum payload);
extern void history_flush(HistoryBatch *batch);

/* Partitions made ahead, events retired; whether more are left to retire. */
extern bool history_round(void);

#endif /* TICKET_HISTORY_H */
