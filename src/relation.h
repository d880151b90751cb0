/*
 * relation.h
 *		The extension's tables as C sees them: their numbers, their columns,
 *		and reading a row by its index without the executor.
 *
 * X_ROW_SIZE, after all columns of a table, is how large arrays by number of
 * column are, whose element 0 is not used.  Tables that C writes have one.
 *
 * The column numbers follow those of schema/; test/sql/schema.sql compares them.
 */
#ifndef TICKET_RELATION_H
#define TICKET_RELATION_H

#include "postgres.h"

#include "access/genam.h"
#include "executor/tuptable.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

typedef enum TicketRelation
{
	REL_QUEUE,
	REL_QUEUE_ENTRY,
	REL_QUEUE_ENTRY_PKEY,
	REL_QUEUE_ENTRY_LIVE_USER,
	REL_PERFORMANCE,
	REL_PERFORMANCE_PKEY,
	REL_SECTION,
	REL_SECTION_PKEY,
	REL_SECTION_PERFORMANCE,
	REL_SEAT,
	REL_SEAT_PKEY,
	REL_RESERVATION,
	REL_RESERVATION_PKEY,
	REL_RESERVATION_USER,
	REL_HOLD_TIMER,
	REL_HOLD_TIMER_DUE,
	REL_OUTBOX,
	REL_OUTBOX_PKEY,
	REL_USER_BLOCK,
	REL_USER_BLOCK_PKEY,
	REL_NUMBER_KEY,
	REL_RESERVATION_KEY,
	REL_RESERVATION_NUMBERS,
	REL_ACCOUNT,
	REL_ACCOUNT_PKEY,
	REL_PAYMENT,
	REL_PAYMENT_KEY,
	REL_PAYMENT_NUMBERS,
	REL_LEDGER,
	REL_LEDGER_NUMBERS,
	REL_HISTORY,
	REL_HISTORY_DEFAULT,
	NUM_RELATIONS
} TicketRelation;

enum
{
	COL_QUEUE_QUEUE_ID = 1,
	COL_QUEUE_NAME,
	COL_QUEUE_MODE,
	COL_QUEUE_REJOIN,
	COL_QUEUE_CAPACITY,
	COL_QUEUE_PROMOTE_COUNT,
	COL_QUEUE_PROMOTE_INTERVAL,
	COL_QUEUE_ACTIVE_TTL,
	COL_QUEUE_IDLE_TTL,
	COL_QUEUE_OPENS_AT,
	COL_QUEUE_CREATED_AT,
	COL_QUEUE_POLL_FRONT,
	COL_QUEUE_POLL_BACK,
	COL_QUEUE_POLL_BACK_POSITION,
	COL_QUEUE_OUTFLOW_WINDOW,
	COL_QUEUE_WAIT_STEP,
	COL_QUEUE_ANNOUNCE,
	COL_QUEUE_RETENTION
};

enum
{
	COL_ENTRY_QUEUE_ID = 1,
	COL_ENTRY_PLACE,
	COL_ENTRY_USER_ID,
	COL_ENTRY_SECRET,
	COL_ENTRY_STATUS,
	COL_ENTRY_ENTERED_AT,
	COL_ENTRY_ADMITTED_AT,
	COL_ENTRY_EXPIRES_AT,
	COL_ENTRY_ENDED_AT,
	COL_ENTRY_END_REASON,
	ENTRY_ROW_SIZE
};

enum
{
	COL_PERFORMANCE_ID = 1,
	COL_PERFORMANCE_CONCERT_ID,
	COL_PERFORMANCE_VENUE_ID,
	COL_PERFORMANCE_QUEUE_ID,
	COL_PERFORMANCE_STARTS_AT,
	COL_PERFORMANCE_SALE_OPENS_AT,
	COL_PERFORMANCE_SALE_CLOSES_AT,
	COL_PERFORMANCE_HOLD_INTERVAL,
	COL_PERFORMANCE_MAX_SEATS,
	COL_PERFORMANCE_SEAT_COUNT,
	COL_PERFORMANCE_CREATED_AT,
	COL_PERFORMANCE_STATUS,
	COL_PERFORMANCE_WITHDRAWN_AT,
	COL_PERFORMANCE_WITHDRAWN_BY,
	COL_PERFORMANCE_MAX_HOLD
};

enum
{
	COL_SECTION_ID = 1,
	COL_SECTION_PERFORMANCE_ID,
	COL_SECTION_NAME,
	COL_SECTION_PRICE,
	COL_SECTION_FIRST_SEAT_ID,
	COL_SECTION_ROW_COUNT,
	COL_SECTION_SEATS_PER_ROW,
	COL_SECTION_SEAT_COUNT,
	COL_SECTION_GRADE,
	COL_SECTION_WITHDRAWN_AT,
	COL_SECTION_WITHDRAWN_BY,
	COL_SECTION_KIND
};

enum
{
	COL_SEAT_PERFORMANCE_ID = 1,
	COL_SEAT_SEAT_ID,
	COL_SEAT_SECTION_ID,
	COL_SEAT_ROW_NO,
	COL_SEAT_SEAT_NO,
	COL_SEAT_STATUS,
	COL_SEAT_RESERVATION_ID,
	COL_SEAT_HELD_UNTIL,
	COL_SEAT_ACCESSIBLE,
	SEAT_ROW_SIZE
};

enum
{
	COL_RESERVATION_ID = 1,
	COL_RESERVATION_PERFORMANCE_ID,
	COL_RESERVATION_USER_ID,
	COL_RESERVATION_SEAT_IDS,
	COL_RESERVATION_PRICES,
	COL_RESERVATION_AMOUNT,
	COL_RESERVATION_STATUS,
	COL_RESERVATION_CREATED_AT,
	COL_RESERVATION_EXPIRES_AT,
	COL_RESERVATION_ENDED_AT,
	COL_RESERVATION_QUEUE_ID,
	COL_RESERVATION_PLACE,
	COL_RESERVATION_IDEMPOTENCY_KEY,
	COL_RESERVATION_ASKED,
	COL_RESERVATION_PENDING_PAYMENT,
	COL_RESERVATION_GIVEN_BACK,
	RESERVATION_ROW_SIZE
};

enum
{
	COL_TIMER_DUE_AT = 1,
	COL_TIMER_RESERVATION_ID,
	TIMER_ROW_SIZE
};

enum
{
	COL_ACCOUNT_USER_ID = 1,
	COL_ACCOUNT_BALANCE,
	ACCOUNT_ROW_SIZE
};

enum
{
	COL_PAYMENT_ID = 1,
	COL_PAYMENT_RESERVATION_ID,
	COL_PAYMENT_USER_ID,
	COL_PAYMENT_PROVIDER,
	COL_PAYMENT_STATUS,
	COL_PAYMENT_AMOUNT,
	COL_PAYMENT_BALANCE,
	COL_PAYMENT_REFUNDED,
	COL_PAYMENT_PAID_AT,
	COL_PAYMENT_REFUNDED_AT,
	COL_PAYMENT_IDEMPOTENCY_KEY,
	COL_PAYMENT_KEPT,
	COL_PAYMENT_SUBSTITUTE,
	COL_PAYMENT_BEGUN_AT,
	COL_PAYMENT_PROVIDER_REF,
	COL_PAYMENT_REASON,
	COL_PAYMENT_FORMER_RESERVATION,
	COL_PAYMENT_REFUND_DUE,
	PAYMENT_ROW_SIZE
};

enum
{
	COL_LEDGER_ID = 1,
	COL_LEDGER_USER_ID,
	COL_LEDGER_KIND,
	COL_LEDGER_DEBIT,
	COL_LEDGER_CREDIT,
	COL_LEDGER_AMOUNT,
	COL_LEDGER_BALANCE_BEFORE,
	COL_LEDGER_BALANCE_AFTER,
	COL_LEDGER_PAYMENT_ID,
	COL_LEDGER_CREATED_AT,
	COL_LEDGER_IDEMPOTENCY_KEY,
	LEDGER_ROW_SIZE
};

enum
{
	COL_OUTBOX_ID = 1,
	COL_OUTBOX_AGGREGATETYPE,
	COL_OUTBOX_AGGREGATEID,
	COL_OUTBOX_TYPE,
	COL_OUTBOX_PAYLOAD,
	OUTBOX_ROW_SIZE
};

enum
{
	COL_BLOCK_USER_ID = 1,
	COL_BLOCK_REASON,
	COL_BLOCK_UNTIL
};

/* Columns of a row that is written, at most. */
#define MAX_ROW_COLUMNS 32

extern void relation_init(void);
extern Oid relation_oid(TicketRelation which);
extern Oid relation_owner(void);

/* A scan of a table by the first keys of one of its indexes. */
typedef struct RowScan
{
	Relation relation;
	SysScanDesc scan;
	Snapshot snapshot;
} RowScan;

extern void row_scan_begin(RowScan *scan, TicketRelation table, TicketRelation index, int n_keys,
						   ScanKeyData *keys);
extern void row_scan_begin_at(RowScan *scan, TicketRelation table, TicketRelation index, int n_keys,
							  ScanKeyData *keys, Snapshot snapshot);
extern HeapTuple row_scan_next(RowScan *scan);
extern Datum row_get(RowScan *scan, HeapTuple row, int column, bool *isnull);
extern int64 row_int64(RowScan *scan, HeapTuple row, int column, int64 if_null);
extern void row_check_snapshot(RowScan *scan, HeapTuple row);
extern void row_scan_end(RowScan *scan);

/* A primary key: its last column, and the one before, if there is one. */
typedef struct RowKey
{
	int64 within;
	int64 number;
} RowKey;

/* A search for many rows by their keys, which ascend. */
typedef struct RowSearch
{
	RowScan row; /* for row_get() and row_int64() */
	Relation index;
	IndexScanDesc scan;
	TupleTableSlot *slot;
	const RowKey *key;
	int n_keys;
	int next; /* key */
	int run_end; /* the scan is for the keys before this one */
} RowSearch;

extern void row_search_begin(RowSearch *search, TicketRelation table, TicketRelation index,
							 const RowKey *key, int n_keys);
extern HeapTuple row_search_next(RowSearch *search, int *i);
extern void row_search_end(RowSearch *search);

#endif /* TICKET_RELATION_H */
