/*
 * trace.h
 *		The trace a call belongs to: one name from the gateway to the consumer.
 */
#ifndef TICKET_TRACE_H
#define TICKET_TRACE_H

#include "postgres.h"

/* Room for a trace_id and its terminating zero. */
#define TRACE_SIZE 129

extern void trace_init(void);

/* The trace of this call in buffer (of TRACE_SIZE), or NULL: there is none. */
extern const char *trace_current(char *buffer);

#endif /* TICKET_TRACE_H */
