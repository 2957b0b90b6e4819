/* child: one delivery in a process of its own, which is the recipient's from before it touches the first file.
 *
 *      child_start --fork--> RUNNING --report, end of pipe--> ENDING --waitpid--> gone: its slot is free
 *                               |                                ^
 *                               +--too late: killed--------------+
 *
 * A child has the message, one pipe for its report, and nothing else of its parent's. `done` is called exactly once: with the child's own
 * report when there is one, or with what its end says. A killed child that does not go (a dead network file system) keeps its slot until it
 * does. */
#ifndef POSTINO_CHILD_H
#define POSTINO_CHILD_H

#include "delivery/mailbox.h"
#include "delivery/maildir.h"

struct event_base;

enum { CHILD_SECONDS = 300 };

typedef void child_done_fn(const struct local_outcome *, void *arg);

struct children {
    struct event_base *base;
    void (*freed)(void); /* a slot is free again */
    unsigned seconds;    /* the longest a child may take */
    size_t count;        /* slots taken; read only */
    bool unprivileged;
};

/* -1: no child could be made, the outcome says why, and `done` is not called. `m` and `l` are needed during the call only. */
int child_start(struct children *all, const struct mailbox *m, const struct maildir_letter *l, child_done_fn *done, void *arg,
                struct local_outcome *o);

#endif
