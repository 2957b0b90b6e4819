/* What the scheduler's files share.
 *
 *      schedule.runnable -> site <-> site ...     sites that may send now, in two rings: those with nothing in flight, and the others;
 *                                                 each in its turn gives one job
 *      site.turns[class] -> flow <-> flow ...     flows of the site with READY jobs, in a ring a class: deficit round robin
 *      flow.ready           job <-> job ...       by priority, then in order of arrival
 *      site.waiting      -> job <-> job ...       for a flush
 *      schedule.jobs                              all WAITING jobs by time
 *      schedule.timers                            sites by time: the next probe, the next message of a limited rate, or to be forgotten
 *      schedule.brakes                            shares and braked sites by time: the next step of a brake, the next message of a limited rate
 *
 * A site that shares stands in its share's line, and in a ring above when its turn comes (share.c).
 *
 * A flow is made when its first job becomes READY and goes with its last one: what waits costs a job, and its share of a sender (the flow's
 * name, once) and of a site. */
#ifndef POSTINO_SCHEDULE_PRIVATE_H
#define POSTINO_SCHEDULE_PRIVATE_H

#include "qmgr/brake.h"
#include "qmgr/hash.h"
#include "qmgr/memory.h"
#include "qmgr/pace.h"
#include "qmgr/retry.h"
#include "qmgr/ring.h"
#include "qmgr/schedule.h"
#include "qmgr/window.h"

enum { CLASSES = 3 }; /* class 0 is the highest */

enum site_ring { RING_IDLE, RING_BUSY /* schedule.runnable */, RING_LINE, RING_DOUBT /* its share's */, RING_NONE };

struct site {
    struct hash_node node;
    struct wheel_item timer;
    struct site *next, *prev; /* in its ring */
    struct share *share;      /* NULL: none */
    struct braked *own;       /* NULL: its own brake is off */
    struct trouble *trouble;  /* NULL: it is well, as far as it is known */
    struct flow *turns[CLASSES];
    struct job *waiting;
    struct pace pace;
    struct meter meter; /* of jobs that were taken */
    struct window window;
    uint32_t in_doubt; /* so often */
    uint32_t jobs, ready, held;
    uint16_t name_length;
    uint8_t passed[CLASSES]; /* how many jobs went past the class since it had one */
    bool timed;
    bool near;     /* of this host */
    bool answered; /* the last job that came back */
    uint8_t ring;  /* enum site_ring */
    char name[];
};

struct braked {
    struct wheel_item timer;
    struct site *site; /* one of the two */
    struct share *share;
    struct brake brake;
    char *why;
    bool timed;
};

struct share {
    struct hash_node node;
    struct braked braked;
    struct site *line[2], *front;
    struct pace pace;
    struct meter meter;
    const struct site *accuser; /* which said last that it is too much; NULL: none that is known */
    uint64_t accused;           /* when */
    uint32_t sites;
    uint16_t most, active;
    uint16_t doubtful; /* of active: at members whose last job had no answer */
    uint16_t name_length;
    uint8_t turn; /* of the two lines */
    char name[];
};

struct sender {
    struct hash_node node;
    size_t jobs;
    uint32_t name_length;
    char name[];
};

struct flow {
    struct hash_node node;
    struct site *site;
    struct sender *sender;
    struct flow *next, *prev;
    struct wheel_item ready; /* head */
    uint32_t deficit;
    uint8_t class;
    bool has_turn;
};

struct schedule {
    struct hash sites, senders, flows, shares;
    struct wheel jobs, timers, brakes;
    schedule_told_fn *told;
    struct site *runnable[2]; /* by enum site_ring */
    struct trouble *troubles;
    size_t trouble_count;
    unsigned ring; /* whose turn it is */
    uint64_t now;
    uint64_t secret[2];
    uint64_t random;
    uint64_t probe_first, probe_most;
    uint64_t second; /* of `due_left` */
    size_t due_left; /* jobs that may still become READY in this second */
    size_t ready, active, waiting, held, active_most;
};

/* schedule.c */
void set_clock(struct schedule *, uint64_t now);

/* share.c */
void site_stand(struct schedule *, struct site *, enum site_ring);
bool site_probes(const struct site *);                /* what it may send is a probe */
enum site_ring share_place(const struct site *);      /* of a member that could send */
void share_update(struct schedule *, struct share *); /* its line's front; after any change */
void share_grant(struct schedule *, struct site *);
void share_end(struct site *, bool probe); /* one of the site's jobs is back; before the window knows */
void share_answered(struct site *, bool);
void share_leave(struct schedule *, struct site *); /* none: nothing */
void share_free(struct share *);
struct span share_name(const struct share *); /* NULL: empty */
void own_free(struct schedule *, struct site *);
void braked_time(struct schedule *, struct braked *); /* its timer has expired */

/* schedule_site.c */
void site_update(struct schedule *, struct site *); /* its place among the runnable ones; after any change */
void site_grant(struct schedule *, struct site *);  /* one of its jobs goes out */
void site_join(struct schedule *, struct site *);
void site_leave(struct schedule *, struct site *);
void site_die(struct schedule *, struct site *);
void site_probe(struct schedule *, struct site *); /* a dead one, at once */
void site_timer(struct schedule *, struct site *, uint64_t due /* 0: none */);
void site_time(struct schedule *, struct site *); /* its timer has expired */

/* trouble.c */
void trouble_free(struct schedule *, struct site *); /* of a site that may have none */
struct schedule_trouble trouble_view(const struct site *);

/* flow.c */
struct sender *sender_get(struct schedule *, struct span name);
void sender_put(struct schedule *, struct sender *);
void flow_push(struct schedule *, struct job *);
void flow_take(struct schedule *, struct job *);
struct job *flow_next(struct site *); /* of a site with READY jobs: the one whose turn it is; its flow is charged */
void flow_each(const struct site *, void (*each)(struct job *, void *arg), void *arg);

#endif
