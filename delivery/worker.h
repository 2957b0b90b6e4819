/* worker: a process that is one mailbox owner, and writes what it is asked to write into that owner's Maildirs.
 *
 *      made by the spawner: becomes the owner for good, opens its place, confines itself to it by Landlock
 *          |
 *          v
 *      reads WRITEs --all that are there, BATCH_MOST at the most--> delivers them together --> answers each with WRITTEN --+
 *          ^                                                                                                              |
 *          +--------------------------------------------------------------------------------------------------------------+
 *          | the socket's other end is closed: ends
 *
 * Its place is one Maildir (where->path), or all Maildirs below a domain's directory (where->path is ""; they have one owner). A Maildir that it
 * can't reach from there (a symbolic link leads to it, or it was replaced since the worker confined itself) is answered with verdict 0.
 * It has one socket, and of its maker's memory only what there was before the first message came. */
#ifndef POSTINO_WORKER_H
#define POSTINO_WORKER_H

#include "delivery/mailbox.h"
#include "delivery/maildir.h"

enum { WORKER_CPU_SECONDS = 300 };

/* `fd`: its end of a stream socket. `unprivileged`: it is the owner already. */
__attribute__((noreturn)) void worker_run(const struct mailbox *where, const char *hostname, bool unprivileged, int fd);

#endif
