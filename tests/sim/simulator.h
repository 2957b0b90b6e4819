/* simulator: the scheduler's own code against a fake clock and scripted receivers. No sockets, no threads, no sleep: a run is the same
 * every time for one seed.
 *
 * Time is in milliseconds since the start; the scheduler is told whole seconds. It is called only as qmgr would call it: after something
 * was added or came back, and when schedule_wake() said so, so that a wrong wake time shows as mail that stays.
 *
 * While it runs it checks at each grant, and sets `fault` to the first thing that was wrong:
 *   - a dead site has one job in flight at most, and not before its delay is over (growing, jittered, within its bounds)
 *   - nothing goes out before it is due, beyond the site's sessions or beyond what may be active at once
 *   - retry times are within their bounds
 *   - a provider's domains together have no more in flight than it is said to take
 *   - the scheduler never says "call me again at once" when it has nothing */
#ifndef POSTINO_SIMULATOR_H
#define POSTINO_SIMULATOR_H

#include "qmgr/schedule.h"

#include <stdio.h>

#define SIM_START 1800000000u /* seconds since 1970 */
#define SIM_FLOWS 64

/* What a receiver does from that time on. */
struct phase {
    uint64_t from;     /* ms */
    unsigned service;  /* ms a job takes, give or take a quarter */
    unsigned sessions; /* more are refused (ms: `refusal`); 0: no limit */
    unsigned refusal;
    unsigned deferred; /* percent of jobs that get a 4xx for their recipient */
    bool dead;         /* every session fails, after `service` */
    unsigned takes;    /* messages a minute of all its provider's domains; more are told that it is too much. 0: no limit */
};

/* What several receivers have in common. */
struct provider {
    const char *name;
    unsigned most, a_minute; /* limits as the admin set them */
    unsigned step;           /* s, of a brake */
    /* what was seen */
    unsigned sessions;
    uint64_t minute, in_minute, granted, delivered, told, slowed;
};

struct receiver {
    const char *name;
    const struct phase *phases;
    size_t count;
    unsigned most, a_minute;   /* limits as the admin set them */
    struct provider *provider; /* NULL: none */
    /* what was seen */
    unsigned sessions, taken, sessions_peak; /* taken: of those, not refused */
    uint64_t granted, delivered, deferred, refused, failed, probes;
    uint64_t died_at, probe_delay, delivered_at; /* s, s, ms */
    uint64_t sent[SIM_FLOWS];                    /* recipients, a flow */
    bool was_dead;
};

struct mail {
    struct job job;
    uint32_t receiver, flow, attempts;
    uint64_t added, granted; /* ms; the first time */
    uint64_t out;            /* s; the last time that it was granted */
    uint64_t due;            /* s */
    uint64_t *seen;          /* of a message that is watched: sent[] of its receiver when it was added */
    bool delivered;
};

struct sim {
    struct schedule *schedule;
    struct receiver *receivers;
    size_t receiver_count;
    uint64_t now; /* ms */
    uint64_t random;
    uint64_t probe_first, probe_most, retry_first, retry_most;
    size_t active, active_peak, active_most;
    uint64_t granted, delivered;
    struct event *heap;
    size_t heap_n, heap_most;
    void (*on_grant)(struct sim *, struct mail *);
    char fault[200];
};

void sim_init(struct sim *, struct receiver *, size_t count, uint64_t seed);
void sim_free(struct sim *);
uint64_t sim_random(struct sim *, uint64_t below);
uint64_t sim_seconds(const struct sim *);
struct site *sim_site(struct sim *, size_t receiver);
void sim_send(struct sim *, struct mail *, size_t receiver, uint32_t flow, uint32_t cost);      /* zeroed mail, but for the priority */
void sim_send_later(struct sim *, struct mail *, size_t receiver, uint32_t flow, uint64_t due); /* cost 1; `due` in seconds since 1970 */
/* Until that time; `tick` is called each second, and may send. */
void sim_run(struct sim *, uint64_t until, void (*tick)(struct sim *, void *), void *arg);

#endif
