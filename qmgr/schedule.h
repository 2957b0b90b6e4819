/* schedule: who is delivered to next. Pure: no I/O, no clock; time is an argument, in seconds since 1970.
 * docs/scheduler.md has the picture, the bounds and the measurements.
 *
 * Queue by what the receiver sees. A *site* is one receiver (a canonical MX set, a smarthost, the local mailboxes); inside it, *flows* (a
 * login, a client network) take turns by deficit round robin, so that one sender's flood does not hold up another's single message. A *job*
 * is one message and those of its recipients that go to one site together.
 *
 *     NEW --schedule_add--------> READY (in its flow) --schedule_next--> ACTIVE --schedule_done--> NEW
 *      |                           ^  ^                                                (to be freed, or added again)
 *      +--schedule_add_later--> WAITING|--due, hurried, flushed--> READY
 *                                  |   |
 *                      schedule_hold   schedule_release
 *                                  v   |
 *                                  HELD
 *
 *   turn       a flow may send SCHEDULE_QUANTUM recipients a turn, and what it saved of former turns (less than one job's cost).
 *   priority   higher classes go first, but no more than SCHEDULE_PATIENCE + 1 jobs in a row go past a class that has some READY.
 *   window     jobs ACTIVE at a site: grows, when it was used, by 1/window a success, to the site's most; halves at once on a
 *              connection-level failure, but once for all jobs that were out together. What is said about one recipient does not touch it.
 *   dead site  nothing in flight, and three connection-level failures in a row (or one at a window of 1): one job at a time is a probe,
 *              with a growing, jittered delay; its success opens the site again.
 *   limits     a site's sessions and messages a minute; all jobs ACTIVE at once.
 *   share      sites that have limits in common (the domains of one provider): as many jobs ACTIVE and messages a minute at all of them together; they
 *              take turns. Windows and deaths stay each site's own.
 *   brake      a receiver said that it is too much (schedule_slow()): less goes to that site, or to all that share with it, for a while, then more
 *              again step by step (qmgr/brake.h).
 *   waiting    absolute due times, in a timing wheel. Nothing is scanned. No more than SCHEDULE_DUE_A_SECOND become READY in one second;
 *              the others follow in the next ones.
 */
#ifndef POSTINO_SCHEDULE_H
#define POSTINO_SCHEDULE_H

#include "common/span.h"
#include "qmgr/brake.h"
#include "qmgr/wheel.h"

#include <stdint.h>

#define SCHEDULE_QUANTUM      10   /* recipients */
#define SCHEDULE_WINDOW       5    /* of a new site */
#define SCHEDULE_PATIENCE     8    /* jobs of other classes */
#define SCHEDULE_OVERTAKE     100  /* jobs of lower priority in the same flow and class */
#define SCHEDULE_DUE_A_SECOND 5000 /* jobs */
#define SCHEDULE_ACTIVE_MOST  5000 /* jobs, until schedule_active_most() says otherwise */

struct schedule;
struct site;
struct flow;
struct sender;

/* Lives in its owner's thing; all members are the scheduler's, but for `cost`, `priority` and `kind`. Zeroed by its owner first. One cache
 * line: a million of them wait. */
struct job {
    struct wheel_item link;                /* WAITING: in the wheel, `due` is its time. READY: in its flow. HELD: `due` is kept */
    struct job *beside_next, *beside_prev; /* WAITING: others of the site */
    struct site *site;
    union {
        struct flow *flow;     /* READY */
        struct sender *sender; /* WAITING, ACTIVE, HELD */
    };
    uint32_t cost;   /* recipients; set before it is added */
    int8_t priority; /* its sign is the class: high, normal, low; the number orders it in its flow. Set before it is added */
    uint8_t state;   /* enum job_state */
    uint8_t granted; /* ACTIVE: the window's, when it went out */
    uint8_t kind;    /* the owner's: in what kind of thing it is */
};
enum job_state { JOB_NEW, JOB_READY, JOB_ACTIVE, JOB_WAITING, JOB_HELD };

struct schedule *schedule_new(uint64_t now, uint64_t seed /* for jitter and hashing */);
void schedule_free(struct schedule *); /* jobs are their owners' */
/* The delay before a dead site's first probe, and the most it grows to. */
void schedule_probing(struct schedule *, uint64_t first, uint64_t most);
/* Jobs ACTIVE at once, at all sites together. The second half of it is for sites that have none ACTIVE. */
void schedule_active_most(struct schedule *, size_t most);

/* The site of that name, made if need be; valid while it has jobs, so add one at once. A site without jobs is forgotten after a while.
 * `most` is its largest window: the limit on sessions. */
struct site *schedule_site(struct schedule *, struct span name, unsigned most);
struct site *schedule_find_site(const struct schedule *, struct span name); /* NULL: there is none */
/* No more than so many jobs a minute go out to it, and what one second brings (rounded up) at once; 0: no limit. */
void schedule_site_rate(struct schedule *, struct site *, unsigned a_minute);
/* It is on this host: dead, it is probed every SCHEDULE_NEAR seconds at least, as somebody is about to start it anew. */
void schedule_site_near(struct site *);
#define SCHEDULE_NEAR ((uint64_t)60)
/* What it has in common with all other sites that are told the same name: `most` jobs ACTIVE, messages a minute, and a brake. Empty: nothing. Is
 * kept while one of them is known, or the brake is on. */
void schedule_site_share(struct schedule *, struct site *, struct span name, unsigned most, unsigned a_minute /* 0: no limit */);
/* The same for another period. While it has not brought all that it can save, the site is not forgotten. */
void schedule_site_pace(struct schedule *, struct site *, unsigned most, int32_t period /* seconds */);
/* Whether a job that is added now (the time of the last call that had one) would go at once. */
bool schedule_site_would_go(struct schedule *, struct span name);
struct span schedule_site_name(const struct site *);
bool schedule_site_dead(const struct site *);
bool schedule_site_stopped(const struct site *); /* dead, or paused: what is READY there does not go soon */

void schedule_add(struct schedule *, struct job *, struct site *, struct span flow, uint64_t now); /* ready now */
/* `due` 0: ready now. A time in the past: it was due while nobody looked (a restart), and takes its turn among those that are due. */
void schedule_add_later(struct schedule *, struct job *, struct site *, struct span flow, uint64_t due, uint64_t now);
void schedule_remove(struct schedule *, struct job *);              /* in any state */
void schedule_hurry(struct schedule *, struct job *, uint64_t now); /* WAITING -> READY; and a dead site gets a probe at once */

/* `to`, which is NEW, gets the place of a job that is in the scheduler, and all but its `kind`; the job is NEW then. */
void schedule_replace(struct schedule *, struct job *, struct job *to);

/* A READY or WAITING job stays here and goes nowhere until it is released; then it is what it was, or due if its time has come meanwhile.
 * false: it is in neither state (an ACTIVE job can't be held: hold it when it is added again). */
bool schedule_hold(struct schedule *, struct job *);
bool schedule_release(struct schedule *, struct job *, uint64_t now); /* false: it is not HELD */

/* All WAITING jobs of the site are due now; a dead site gets a probe at once. Returns how many. What is HELD stays. */
size_t schedule_flush(struct schedule *, struct site *, uint64_t now);

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
/* The same, and it waits again where it was. */
void schedule_done_later(struct schedule *, struct job *, enum job_end, uint64_t due, uint64_t now);
void schedule_in_doubt(struct site *); /* counts a recipient who is deferred there, and may have the message all the same */

/* What came back from the site came to nothing for a cause that is not this job's own, and any other would have met (no session, a login that is refused, our
 * own side): kept with these words, and the time of the first in a row, until the site is well. SCHEDULE_TROUBLES_MOST sites have words: those that failed last.
 * For an administrator's eyes; nothing else comes of it. */
void schedule_site_trouble(struct schedule *, struct site *, struct span words, uint64_t now);
void schedule_site_well(struct schedule *, struct site *);
#define SCHEDULE_TROUBLES_MOST 10000
struct schedule_trouble {
    struct span words;  /* empty: none that is known */
    uint64_t since, at; /* the first in a row, the last */
};

/* A job that is ACTIVE at the site came back with word that it is too much. It is about all that share with the site if `all` says so, or if
 * another of them said so within a step; else about the site alone. Tell it before schedule_done(). */
struct schedule_slowing {
    bool pause;       /* nothing goes for a step */
    bool all;         /* the word is about more than this site */
    uint32_t step;    /* seconds */
    uint64_t granted; /* when the job went out */
    struct span why;
};
enum schedule_slowed { SCHEDULE_SLOWED_NOT /* it went out before the last such word */, SCHEDULE_SLOWED_SITE, SCHEDULE_SLOWED_SHARE };
enum schedule_slowed schedule_slow(struct schedule *, struct site *, const struct schedule_slowing *, uint64_t now);
bool schedule_unslow(struct schedule *, struct site *, uint64_t now); /* brakes off, the site's and what it shares; false: none was on */

struct schedule_brake {
    struct span who; /* the site's name, or what sites share */
    struct span why;
    bool on, paused;
    unsigned a_minute, sessions;
    uint64_t until; /* its next step */
};
struct schedule_brake schedule_brake(const struct site *);                                 /* the one that holds most */
struct schedule_brake schedule_slow_view(const struct site *, enum schedule_slowed which); /* which must be on */
/* `told` is called at each step of a brake but the first, which schedule_slow() returns. It may change nothing. */
typedef void schedule_told_fn(const struct schedule_brake *, enum brake_event);
void schedule_tell(struct schedule *, schedule_told_fn *told);

/* Calls `each` for the READY jobs of a site. It may remove that job from the scheduler, and no other. */
void schedule_each_ready(struct schedule *, struct site *, void (*each)(struct job *, void *arg), void *arg);

/* When schedule_next() may have something again though nothing else happens; 0: never. */
uint64_t schedule_wake(const struct schedule *, uint64_t now);

/* Retry time: now + first * 2^(attempts-1), at most `most`, with jitter of up to a tenth on either side; never later than `last`, always
 * later than now. */
uint64_t schedule_retry(struct schedule *, uint64_t now, uint32_t attempts, uint64_t first, uint64_t most, uint64_t last);

struct schedule_counts {
    size_t sites, flows /* with READY jobs */, ready, active, waiting, held;
};
struct schedule_counts schedule_counts(const struct schedule *);

/* A site as the admin sees it. */
struct schedule_view {
    size_t jobs, ready, waiting, held, in_doubt;
    unsigned window, active, most, a_minute; /* as it may now */
    bool dead;
    uint64_t probe;    /* when; 0: none is waited for */
    struct span share; /* empty: none */
    struct schedule_brake brake;
    struct schedule_trouble trouble;
};
struct schedule_view schedule_view(const struct site *);
/* `each` may add and remove nothing. */
void schedule_each_site(const struct schedule *, void (*each)(const struct site *, void *arg), void *arg);
/* The same in pieces of so many sites, about, between which sites may come and go: hash_walk(). */
bool schedule_walk_sites(const struct schedule *, size_t *at, size_t most, void (*each)(const struct site *, void *arg), void *arg);
unsigned schedule_window(const struct site *);

#endif
