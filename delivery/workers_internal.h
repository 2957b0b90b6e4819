/* workers_internal: what the giving of deliveries (workers.c), the life of a worker (workers_life.c) and the watch over time and shares
 * (workers_slow.c) share. Nobody else includes it. */
#ifndef POSTINO_WORKERS_INTERNAL_H
#define POSTINO_WORKERS_INTERNAL_H

#include "delivery/workers.h"

#include <event2/util.h>

struct channel;
struct event;

enum state { WANTED, STARTING, OPEN, ENDING };

TAILQ_HEAD(deliveries, local_delivery);

struct worker {
    TAILQ_ENTRY(worker) entry; /* the least recently used first */
    struct mailbox where;
    struct channel *channel;
    struct event *timer;       /* OPEN: of the next answer (slow, then too late), or idle; ENDING: it should have gone */
    struct deliveries waiting; /* not given to it yet */
    struct deliveries given;   /* in order */
    size_t given_count;
    uint64_t born;     /* ms */
    uint64_t progress; /* ms: of its last answer, or since when the first is waited for */
    uint32_t number;   /* the spawner's name for it */
    unsigned messages; /* given in its life */
    int status;        /* of its end */
    enum state state;
    bool retired; /* gets nothing more, and ends when it has answered */
    bool slow;    /* its oldest delivery has taken `slow` seconds */
    bool killed;
    bool stuck; /* for taking too long */
    bool ended; /* the spawner says so; its last words may be unread */
};

extern struct workers {
    struct event_base *base;
    struct workers_limits limits;
    TAILQ_HEAD(worker_list, worker) all;
    size_t processes, given;
    size_t stuck; /* of the processes */
    uint32_t last_worker, last_delivery;
} workers;

static inline bool has_given(const struct worker *w)
{
    return !TAILQ_EMPTY(&w->given);
}

static inline bool has_waiting(const struct worker *w)
{
    return !TAILQ_EMPTY(&w->waiting);
}

/* workers.c */
void workers_pump(void); /* something has changed: starts, lets go and gives as that allows */

/* workers_life.c */
void workers_hear_spawner(void);
void workers_tell(struct local_delivery *); /* its outcome is there; it is not ours any more */
struct worker *worker_new(const struct mailbox *where);
void worker_free(struct worker *);
void worker_not_made(struct worker *, int error); /* its process; it is freed */
void worker_retire(struct worker *);              /* it gets nothing more; what waits for it goes to another one */
void worker_kill(struct worker *);
void worker_set_timer_ms(struct worker *, uint64_t ms);
void worker_tell_given(struct worker *, const struct local_outcome *);
void worker_tell_waiting(struct worker *, const struct local_outcome *);

/* workers_slow.c */
bool workers_has_share(const struct mailbox *where); /* one more may be with the workers of that place */
/* The worker for whose sake that place gets no more now; NULL: it may have more. */
const struct worker *workers_slow_one(const struct mailbox *where);
void workers_say_slow(const struct worker *, struct local_outcome *);
void workers_watch(struct worker *); /* sets the timer of one that has deliveries: when it will be slow, or too late */
void workers_on_timer(evutil_socket_t, short what, void *worker);

#endif
