/* schedule: who is delivered to next. Pure: no I/O, no clock; time is an argument, in seconds since 1970.
 *
 * Queue by what the receiver sees. A *site* is one receiver (a canonical MX set, a smarthost, the local mailboxes); inside it, *flows* (a
 * login, a client network) take turns by deficit round robin, so that one sender's flood does not hold up another's single message. A *job*
 * is one message and those of its recipients that go to one site together.
 *
 *     new --schedule_add--> READY (in its flow) --schedule_next--> ACTIVE --schedule_done--> new
 *      |                      ^                                                (to be freed, or added again)
 *      +-schedule_add_later-> WAITING --due--> READY
 *
 *   turn       a flow may send SCHEDULE_QUANTUM recipients a turn, and what it saved of former turns (less than one job's cost).
 *   window     jobs ACTIVE at a site: grows by 1/window a success, to the site's most; halves on a connection-level failure.
 *   dead site  after a connection-level failure with a window of 1: one job at a time is a probe, with a growing, jittered delay; its
 * success opens the site again. waiting    absolute due times, in a timing wheel. Nothing is scanned.
 */
#ifndef POSTINO_SCHEDULE_H
#define POSTINO_SCHEDULE_H

#include "common/span.h"
#include "qmgr/wheel.h"

#include <stdint.h>

#define SCHEDULE_QUANTUM 10 /* recipients */
#define SCHEDULE_WINDOW  5  /* of a new site */

struct schedule;
struct site;
struct flow;

/* Lives in its owner's thing; all members are the scheduler's, but for `cost`. Zeroed by its owner first. */
struct job {
    struct wheel_item link; /* `due` is the time a WAITING job is due */
    struct site *site;
    struct flow *flow;
    uint32_t cost; /* recipients; set before it is added */
    uint8_t state; /* enum job_state */
};
enum job_state { JOB_NEW, JOB_READY, JOB_ACTIVE, JOB_WAITING };

struct schedule *schedule_new(uint64_t now, uint64_t seed /* for jitter and hashing */);
void schedule_free(struct schedule *); /* jobs are their owners' */
/* The delay before a dead site's first probe, and the most it grows to. */
void schedule_probing(struct schedule *, uint64_t first, uint64_t most);

/* The site of that name, made if need be; valid while it has jobs, so add one at once. A site without jobs is forgotten after a while.
 * `most` is its largest window. */
struct site *schedule_site(struct schedule *, struct span name, unsigned most);
struct span schedule_site_name(const struct site *);
bool schedule_site_dead(const struct site *);

void schedule_add(struct schedule *, struct job *, struct site *, struct span flow, uint64_t now); /* ready now */
void schedule_add_later(struct schedule *, struct job *, struct site *, struct span flow, uint64_t due, uint64_t now);
void schedule_remove(struct schedule *, struct job *);              /* in any state */
void schedule_hurry(struct schedule *, struct job *, uint64_t now); /* WAITING -> READY; and a dead site gets a probe at once */

/* The next job that may go out now, made ACTIVE; NULL: none. Call until NULL. */
struct job *schedule_next(struct schedule *, uint64_t now);

/* What came of an ACTIVE job. The site learns; the job is out of the scheduler (state JOB_NEW), to be freed or added again. */
enum job_end {
    JOB_SUCCESS,
    JOB_RECIPIENT_FAILURE, /* the site is there, and says no: the window stays, a dead site opens */
    JOB_SITE_FAILURE,      /* no session could be had, or it broke */
    JOB_UNKNOWN            /* nothing was learned (the program that delivers died) */
};
void schedule_done(struct schedule *, struct job *, enum job_end, uint64_t now);

/* Calls `each` for the READY jobs of a site. It may remove that job from the scheduler, and no other. */
void schedule_each_ready(struct schedule *, struct site *, void (*each)(struct job *, void *arg), void *arg);

/* When schedule_next() may have something again though nothing else happens; 0: never. */
uint64_t schedule_wake(const struct schedule *, uint64_t now);

/* Retry time: now + first * 2^(attempts-1), at most `most`, with jitter of up to a tenth on either side; never later than `last`, always
 * later than now. */
uint64_t schedule_retry(struct schedule *, uint64_t now, uint32_t attempts, uint64_t first, uint64_t most, uint64_t last);

struct schedule_counts {
    size_t sites, ready, active, waiting;
};
struct schedule_counts schedule_counts(const struct schedule *);
unsigned schedule_window(const struct site *);

#endif
