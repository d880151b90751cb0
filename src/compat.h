/*
 * compat.h
 *		Every difference between server versions, and nothing else.
 */
#ifndef TICKET_COMPAT_H
#define TICKET_COMPAT_H

#include "postgres.h"

/* 18 made the noreturn marker a prefix. */
#ifndef pg_attribute_noreturn
#define pg_attribute_noreturn() __attribute__((noreturn))
#endif

/* 17 gave intervals an infinity. */
#ifndef INTERVAL_NOT_FINITE
#define INTERVAL_NOT_FINITE(i) false
#endif

#endif /* TICKET_COMPAT_H */
