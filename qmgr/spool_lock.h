/* spool_lock: who may have a spool: one that changes it, or any number that read it.
 *
 * The lock is flock(2)'s, on the spool's directory: it goes with the process, so that nothing is left of a crashed one; it writes nothing, so
 * that a spool on read-only media can be looked at; and no file of the spool can be removed or forged to get round it. NFS has no locks on
 * directories: a spool there is refused. */
#ifndef POSTINO_SPOOL_LOCK_H
#define POSTINO_SPOOL_LOCK_H

#include "common/error.h"

enum spool_lock_kind { SPOOL_LOCK_ALONE, SPOOL_LOCK_TO_READ };

/* -1: somebody else has it, and `error` says who; or there are no locks. It is held until the descriptor is closed. */
int spool_lock(int directory, enum spool_lock_kind, struct error *);

int spool_lock_holder(int directory); /* the process that has it; 0: the kernel does not say */

#endif
