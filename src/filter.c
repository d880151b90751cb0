/*
 * filter.c
 *		Which hashes have been seen lately.  See filter.h.
 *
 * May not use anything of PostgreSQL: it is compiled a second time, alone,
 * into its unit test.
 */
#include "filter.h"

#include <string.h>

static uint32_t
bucket_count(uint64_t room)
{
	uint64_t n = (room + FILTER_PRINTS - 1) / FILTER_PRINTS;

	if (n > UINT32_MAX)
		return UINT32_MAX;
	return n == 0 ? 1 : (uint32_t) n;
}

size_t
filter_size(uint64_t room)
{
	return offsetof(Filter, bucket) + (size_t) bucket_count(room) * sizeof(FilterBucket);
}

void
filter_init(Filter *filter, uint64_t room)
{
	memset(filter, 0, filter_size(room));
	filter->n_buckets = bucket_count(room);
}

/* The upper half of the hash says which bucket, some of the lower what stands in it. */
static uint32_t
bucket_number(const Filter *filter, uint64_t hash)
{
	return (uint32_t) ((hash >> 32) * filter->n_buckets >> 32);
}

static uint16_t
fingerprint(uint64_t hash)
{
	uint16_t print = (uint16_t) hash;

	return print == 0 ? 1 : print;
}

bool
filter_has(const Filter *filter, uint64_t hash)
{
	const FilterBucket *bucket = &filter->bucket[bucket_number(filter, hash)];
	uint16_t print = fingerprint(hash);

	for (int i = 0; i < FILTER_PRINTS; i++)
		if (__atomic_load_n(&bucket->print[i], __ATOMIC_RELAXED) == print)
			return true;
	return false;
}

void
filter_add(Filter *filter, uint64_t hash)
{
	FilterBucket *bucket = &filter->bucket[bucket_number(filter, hash)];
	uint16_t next = __atomic_load_n(&bucket->next, __ATOMIC_RELAXED);

	if (filter_has(filter, hash))
		return;
	__atomic_store_n(&bucket->print[next], fingerprint(hash), __ATOMIC_RELAXED);
	__atomic_store_n(&bucket->next, (next + 1) % FILTER_PRINTS, __ATOMIC_RELAXED);
}
