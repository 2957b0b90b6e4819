/* spawner: the process that makes local's workers, and the only one that may become other users.
 *
 * local forks it before its own sandbox and before any message has come, so that a worker inherits nobody's mail; local itself then has no
 * capabilities and writes no file. It reads orders of one fixed size from local, and nothing else:
 *
 *      make --> looks whether that may be; socketpair, fork: a worker (worker.h) --> MADE with local's end of the pair, or NOT_MADE
 *      kill --> SIGKILL to that worker
 *      a worker ended --> ENDED
 *      local is gone --> waits a little for the workers, which see the end of their sockets; kills who is left; ends
 *
 * If it ends before local does, `ended` is called: without it nothing can be delivered. */
#ifndef POSTINO_SPAWNER_H
#define POSTINO_SPAWNER_H

#include "common/sandbox.h"
#include "delivery/mailbox.h"

struct event_base;

enum { SPAWNER_WORKERS = 1024 }; /* at a time, at most */

struct spawner_handler {
    void (*made)(uint32_t worker, int fd); /* its socket, which is ours now */
    void (*not_made)(uint32_t worker, int error);
    void (*ended)(uint32_t worker, long pid, int status); /* as waitpid() says it */
    void (*gone)(void);                                   /* the spawner itself */
};

/* Whom no worker may be: root and its group never, and these. */
struct spawner_barred {
    size_t count;
    uid_t uids[16];
};

/* Forks it; it enters `box`. -1: it didn't start. */
int spawner_start(const struct sandbox *box, const struct spawner_barred *, const char *hostname, bool unprivileged, struct error *);
void spawner_watch(struct event_base *, const struct spawner_handler *);

/* Workers have numbers of our choice, each used once. 0, or an errno: then nothing will come of it. */
int spawner_make(uint32_t worker, const struct mailbox *where);
int spawner_kill(uint32_t worker);

#endif
