/*
 * shared_memory.h
 *		Pieces of shared memory, asked for and found again in one way.
 *
 * A file that keeps something in shared memory describes it in a static
 * SharedPiece and hands it to shared_piece() when the library is loaded.  The
 * piece has a name, a size, locks of its own if it wants some, and a function
 * that is called when the memory is there: at the server's start, and again,
 * with fresh memory, after a crash.
 */
#ifndef TICKET_SHARED_MEMORY_H
#define TICKET_SHARED_MEMORY_H

#include "postgres.h"

#include "storage/lwlock.h"

typedef struct SharedPiece
{
	const char *name; /* of the piece, and of the tranche of its locks */
	Size (*size)(void); /* in bytes */
	Size (*beside)(void); /* what startup allocates itself (hash tables), or NULL */
	int (*n_locks)(void); /* or NULL: none */

	/*
	 * Called while AddinShmemInitLock is held.  `found`: another process has
	 * filled the piece already.  Nothing in it may fail but for want of memory.
	 */
	void (*startup)(void *piece, bool found, LWLockPadded *locks);
} SharedPiece;

extern void shared_piece(const SharedPiece *piece);

#endif /* TICKET_SHARED_MEMORY_H */
