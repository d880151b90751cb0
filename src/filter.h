/*
 * filter.h
 *		Which hashes have been seen lately: an approximate set.
 *
 * What was added is forgotten when about as many others as the filter has room
 * for have come in since; what was never added is taken for known once in some
 * thousand times.  So its answer may only ever choose the order of steps that
 * are right either way.
 *
 * A hash goes into one of many buckets of the size of a cache line, each a ring
 * of the 16-bit fingerprints that came in last.  Single words are read and
 * written at once and no lock is needed: two who add to one bucket at the same
 * time may lose one of the two.
 *
 * Knows nothing of SQL or PostgreSQL.
 */
#ifndef TICKET_FILTER_H
#define TICKET_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FILTER_LINE 64 /* bytes; to be aligned so */
#define FILTER_PRINTS (FILTER_LINE / 2 - 1)

typedef struct FilterBucket
{
	uint16_t next; /* what comes next goes here */
	uint16_t print[FILTER_PRINTS]; /* 0: none yet */
} FilterBucket;

typedef struct Filter
{
	uint32_t n_buckets;
	char unused[FILTER_LINE - sizeof(uint32_t)];
	FilterBucket bucket[];
} Filter;

extern size_t filter_size(uint64_t room);
extern void filter_init(Filter *filter, uint64_t room);
extern bool filter_has(const Filter *filter, uint64_t hash);
extern void filter_add(Filter *filter, uint64_t hash);

#endif /* TICKET_FILTER_H */
