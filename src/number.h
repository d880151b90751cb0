/*
 * number.h
 *		Reservation numbers.  Knows nothing of PostgreSQL.
 */
#ifndef TICKET_NUMBER_H
#define TICKET_NUMBER_H

#include <stdbool.h>
#include <stdint.h>

typedef struct NumberKey
{
	uint64_t k[2];
} NumberKey;

/* 23^11: numbers there are. */
#define NUMBER_VALUES UINT64_C(952809757913927)

/* Three groups of four letters, two hyphens and the end of the string. */
#define NUMBER_SIZE 15

extern uint64_t number_permute(const NumberKey *key, uint64_t value, bool forward);
extern void number_write(uint64_t value, char *text);
extern const char *number_read(const char *text, int length, uint64_t *value);

#endif /* TICKET_NUMBER_H */
