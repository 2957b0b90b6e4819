/* workers: local's side of the processes that write (worker.h): which there are, what each is given, and when it ends.
 *
 * A worker belongs to one user (uid, gid, all groups) and one place: one Maildir, or the directory of a domain whose mailboxes have one owner.
 * Deliveries for it wait here, and go to it as they may; what lies in its socket it writes and flushes together.
 *
 *   WANTED --a slot is free--> STARTING --spawner: made--> OPEN --idle, or has had enough--> ENDING --spawner: ended--> gone
 *     |                           |                         |  |                               ^
 *     | its deliveries            | not made:               |  +-- too late: killed -----------+  all that it has is deferred
 *     | were dropped              | all is deferred         |                                  |
 *     +--> gone                   +--> gone                 +-- it died, or said nonsense -----+  what it had been given is deferred
 *
 * A slot is one of `most` processes; at most `most` deliveries are with workers at a time. When somebody wants a slot, and there is none, the
 * least recently used worker goes: an idle one at once, else one as soon as it has answered. A worker that was killed and does not go (a dead
 * network file system) gives up its slot, up to `most` such, and what comes for it meanwhile is deferred at once.
 *
 * Who asks (qmgr) has `most` questions open, so one user whose files do not answer must not hold them all:
 *   share   the deliveries that are with the workers of one place are a quarter of `most` at the most; others wait here. As long as one of
 *           them has taken more than a second, no more than another quarter waits, and what comes beyond that is deferred at once.
 *   slow    a worker one of whose deliveries has taken `slow` seconds: what waits for its place, and what comes, is deferred at once.
 *   half    when more than half of `most` are with slow workers, the slowest is ended as if `time` were over.
 *
 * Each delivery is told exactly once, also if its worker dies; it may have been written then, and comes again: a duplicate, never a loss. */
#ifndef POSTINO_WORKERS_H
#define POSTINO_WORKERS_H

#include "delivery/mailbox.h"
#include "delivery/maildir.h"

#include <sys/queue.h>

struct event_base;
struct worker;

enum {
    WORKERS_IDLE_SECONDS = 2,
    WORKERS_LIFE_MESSAGES = 500, /* a foothold in one does not last */
    WORKERS_LIFE_SECONDS = 60,
    WORKERS_SLOW_SECONDS = 10,
    WORKERS_TIME_SECONDS = 300 /* for one delivery, or until the next answer */
};

struct local_delivery {
    /* Set by the caller, and valid until it is told. */
    struct maildir_letter letter;
    void (*told)(struct local_delivery *); /* the outcome is there */
    struct local_outcome outcome;
    /* Ours. */
    TAILQ_ENTRY(local_delivery) entry;
    char *path;
    uint64_t asked;  /* monotonic milliseconds, when the worker got it */
    uint32_t number; /* of the question to the worker */
    unsigned moves;
};

struct workers_limits {
    size_t most;
    unsigned time, slow, idle; /* seconds; slow 0: none is */
    unsigned messages;         /* of a worker's life */
};

/* The spawner must be there already. */
void workers_open(struct event_base *, const struct workers_limits *);
void workers_deliver(const struct mailbox *, struct local_delivery *);
/* Takes back all deliveries that no worker has yet and that are not wanted; they are handed to `dropped` and not told. */
void workers_drop(bool (*unwanted)(const struct local_delivery *), void (*dropped)(struct local_delivery *));
bool workers_idle(void); /* no worker has a delivery, and none waits */

#endif
