/* schedule: who is delivered to next. Pure: no I/O, no clock; time is an argument, in seconds since 1970.
 *
 * Queue by what the receiver sees. A *site* is one receiver (a canonical MX set, a smarthost, the local mailboxes); inside it, *flows* (a login, a client
 * network) take turns by deficit round robin, so that one sender's flood does not hold up another's single message. A *job* is one message and those of its
 * recipients that go to one site together.
 *
 *     new --schedule_add--> READY (in its flow) --schedule_next--> ACTIVE --schedule_done--> gone
 *                             ^                                      |
 *                             +------ due ------ WAITING <-----------+ schedule_defer (due time)
 *
 *   window     jobs ACTIVE at a site: grows by 1/window a success, to the site's most; halves on a connection-level failure.
 *   dead site  after a connection-level failure with a window of 1: one job at a time is a probe, with a growing, jittered delay; its success opens the site again.
 *   waiting    absolute due times, in a timing wheel. Nothing is scanned.
 */
#ifndef POSTINO_SCHEDULE_H
#define POSTINO_SCHEDULE_H

#include "common/span.h"

#include <stdint.h>

struct schedule;
struct site;

struct job {
    struct schedule_link {
        struct schedule_link *next, *prev;
    } link; /* the scheduler's */
    struct site *site;
    struct flow *flow;
    uint64_t due;
    uint32_t cost; /* recipients */
    uint8_t state; /* enum job_state; the scheduler's */
};
enum job_state { JOB_NEW, JOB_READY, JOB_ACTIVE, JOB_WAITING };

struct schedule *schedule_new(uint64_t now, uint64_t seed /* for jitter */);
void schedule_free(struct schedule *);

/* The site of that name, made if need be. A site without jobs is forgotten after a while. `most` is its largest window. */
struct site *schedule_site(struct schedule *, struct span name, unsigned most);
struct span schedule_site_name(const struct site *);

void schedule_add(struct schedule *, struct job *, struct site *, struct span flow, uint64_t now);            /* ready now */
void schedule_add_later(struct schedule *, struct job *, struct site *, struct span flow, uint64_t due, uint64_t now);
void schedule_remove(struct schedule *, struct job *); /* in any state */
void schedule_hurry(struct schedule *, struct job *, uint64_t now); /* WAITING -> READY; and a dead site gets a probe at once */

/* The next job that may go out now, made ACTIVE; NULL: none. Call until NULL. */
struct job *schedule_next(struct schedule *, uint64_t now);
/* What came of an ACTIVE job. The site learns; the job is out of the scheduler (state JOB_NEW), to be freed or added again. */
enum job_end { JOB_SUCCESS, JOB_RECIPIENT_FAILURE /* says nothing about the site */, JOB_SITE_FAILURE };
void schedule_done(struct schedule *, struct job *, enum job_end, uint64_t now);

/* When schedule_next() may have something again though nothing else happens; 0: never. */
uint64_t schedule_wake(const struct schedule *, uint64_t now);

/* Retry time: now + first * 2^(attempts-1), at most `most`, with jitter of up to a tenth on either side; never later than `last`. */
uint64_t schedule_retry(struct schedule *, uint64_t now, uint32_t attempts, uint64_t first, uint64_t most);

struct schedule_counts {
    size_t sites, ready, active, waiting;
};
struct schedule_counts schedule_counts(const struct schedule *);

#endif
