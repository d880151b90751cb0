/*
 * shared_memory.c
 *		The hooks of shared memory.  See shared_memory.h.
 */
#include "postgres.h"

#include "shared_memory.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#define MAX_PIECES 8

static const SharedPiece *pieces[MAX_PIECES];
static int n_pieces = 0;

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

static int
lock_count(const SharedPiece *piece)
{
	return piece->n_locks ? piece->n_locks() : 0;
}

static void
request(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	for (int i = 0; i < n_pieces; i++)
	{
		RequestAddinShmemSpace(pieces[i]->size());
		if (pieces[i]->beside)
			RequestAddinShmemSpace(pieces[i]->beside());
		if (lock_count(pieces[i]) > 0)
			RequestNamedLWLockTranche(pieces[i]->name, lock_count(pieces[i]));
	}
}

static void
startup(void)
{
	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	for (int i = 0; i < n_pieces; i++)
	{
		bool found;
		void *piece = ShmemInitStruct(pieces[i]->name, pieces[i]->size(), &found);
		LWLockPadded *locks =
			lock_count(pieces[i]) > 0 ? GetNamedLWLockTranche(pieces[i]->name) : NULL;

		pieces[i]->startup(piece, found, locks);
	}
	LWLockRelease(AddinShmemInitLock);
}

/* To be called from _PG_init; the description is kept. */
void
shared_piece(const SharedPiece *piece)
{
	if (n_pieces == MAX_PIECES)
		elog(ERROR, "too many pieces of shared memory");
	if (n_pieces == 0)
	{
		prev_shmem_request_hook = shmem_request_hook;
		shmem_request_hook = request;
		prev_shmem_startup_hook = shmem_startup_hook;
		shmem_startup_hook = startup;
	}
	pieces[n_pieces++] = piece;
}
