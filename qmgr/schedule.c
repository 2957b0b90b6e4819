/* Sites and flows:
 *
 *      schedule.runnable -> site <-> site ...     sites that may send now, in a ring: each in its turn gives one job
 *      site.turn         -> flow <-> flow ...     flows of the site with READY jobs, in a ring: deficit round robin
 *      flow.ready           job <-> job ...       in order of arrival
 *
 *      OPEN --site failure at window 1--> DEAD --delay--> PROBE --failure of the probe--> DEAD (a longer delay)
 *        ^                                  |               |
 *        +--------- any success ------------+---------------+
 */
#include "qmgr/schedule.h"
#include "qmgr/hash.h"
#include "qmgr/memory.h"

#define FORGET_AFTER 600 /* seconds that a site without jobs is remembered */

enum site_state { SITE_OPEN, SITE_DEAD, SITE_PROBE };

struct site {
    struct hash_node node;
    struct wheel_item timer; /* the next probe, or the time to be forgotten */
    struct site *next, *prev;
    struct flow *turn;
    struct job *probe;
    double window;
    size_t jobs, ready;
    unsigned most, active, failures;
    enum site_state state;
    bool runnable, timed;
    size_t name_length;
    char name[];
};

struct flow {
    struct hash_node node;
    struct site *site;
    struct flow *next, *prev;
    struct wheel_item ready;
    uint64_t deficit;
    size_t jobs;
    bool in_ring, has_turn;
    size_t name_length;
    char name[];
};

struct schedule {
    struct hash sites, flows;
    struct wheel jobs, timers;
    struct site *runnable;
    uint64_t secret[2];
    uint64_t random;
    uint64_t probe_first, probe_most;
    size_t ready, active, waiting;
};

#define RING_ADD(ring, item)                                                                                                               \
    do {                                                                                                                                   \
        if (ring) {                                                                                                                        \
            (item)->next = (ring);                                                                                                         \
            (item)->prev = (ring)->prev;                                                                                                   \
            (ring)->prev->next = (item);                                                                                                   \
            (ring)->prev = (item);                                                                                                         \
        } else {                                                                                                                           \
            (ring) = (item)->next = (item)->prev = (item);                                                                                 \
        }                                                                                                                                  \
    } while (0)

#define RING_REMOVE(ring, item)                                                                                                            \
    do {                                                                                                                                   \
        (item)->next->prev = (item)->prev;                                                                                                 \
        (item)->prev->next = (item)->next;                                                                                                 \
        if ((ring) == (item))                                                                                                              \
            (ring) = (item)->next == (item) ? NULL : (item)->next;                                                                         \
        (item)->next = (item)->prev = NULL;                                                                                                \
    } while (0)

static uint64_t random_next(struct schedule *s)
{
    uint64_t z = s->random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* Up to a tenth on either side. */
static uint64_t jittered(struct schedule *s, uint64_t delay)
{
    uint64_t tenth = delay / 10;
    return delay - tenth + (tenth ? random_next(s) % (2 * tenth + 1) : 0);
}

static uint64_t doubled(uint64_t first, unsigned times, uint64_t most)
{
    while (times-- > 0 && first < most)
        first *= 2;
    return first < most ? first : most;
}

struct schedule *schedule_new(uint64_t now, uint64_t seed)
{
    struct schedule *s = memory_new(1, sizeof *s);
    s->random = seed;
    s->secret[0] = random_next(s);
    s->secret[1] = random_next(s);
    hash_init(&s->sites);
    hash_init(&s->flows);
    wheel_init(&s->jobs, now);
    wheel_init(&s->timers, now);
    schedule_probing(s, 60, 3600);
    return s;
}

void schedule_probing(struct schedule *s, uint64_t first, uint64_t most)
{
    s->probe_first = first ? first : 1;
    s->probe_most = most > s->probe_first ? most : s->probe_first;
}

void schedule_free(struct schedule *s)
{
    if (!s)
        return;
    for (struct hash_node *n = hash_first(&s->flows), *next; n; n = next) {
        next = hash_after(&s->flows, n);
        free(HASH_OWNER(n, struct flow, node));
    }
    for (struct hash_node *n = hash_first(&s->sites), *next; n; n = next) {
        next = hash_after(&s->sites, n);
        free(HASH_OWNER(n, struct site, node));
    }
    hash_free(&s->flows);
    hash_free(&s->sites);
    free(s);
}

/* ---- sites ------------------------------------------------------------------------------------------------------- */

static void site_timer(struct schedule *s, struct site *site, uint64_t due /* 0: none */)
{
    if (site->timed)
        wheel_remove(&s->timers, &site->timer);
    site->timed = due != 0;
    if (due)
        wheel_add(&s->timers, &site->timer, due);
}

static bool site_may_send(const struct site *site)
{
    switch (site->state) {
    case SITE_OPEN:
        return site->ready > 0 && site->active < (unsigned)site->window;
    case SITE_PROBE:
        return site->ready > 0 && site->active == 0;
    case SITE_DEAD:
        break;
    }
    return false;
}

static void site_update(struct schedule *s, struct site *site)
{
    bool may = site_may_send(site);
    if (may && !site->runnable)
        RING_ADD(s->runnable, site);
    if (!may && site->runnable)
        RING_REMOVE(s->runnable, site);
    site->runnable = may;
}

static struct site *site_find(const struct schedule *s, struct span name, uint64_t key)
{
    for (struct hash_node *n = hash_find(&s->sites, key); n; n = hash_same(n)) {
        struct site *site = HASH_OWNER(n, struct site, node);
        if (span_equal(schedule_site_name(site), name))
            return site;
    }
    return NULL;
}

struct site *schedule_site(struct schedule *s, struct span name, unsigned most)
{
    uint64_t key = hash_bytes(s->secret, name);
    struct site *site = site_find(s, name, key);
    if (!site) {
        site = memory_new(1, sizeof *site + name.n);
        if (name.n)
            memcpy(site->name, name.p, name.n);
        site->name_length = name.n;
        site->window = most < SCHEDULE_WINDOW ? most : SCHEDULE_WINDOW;
        hash_add(&s->sites, &site->node, key);
        site_timer(s, site, s->timers.now + FORGET_AFTER);
    }
    site->most = most ? most : 1;
    if (site->window > site->most)
        site->window = site->most;
    if (site->window < 1)
        site->window = 1;
    return site;
}

struct span schedule_site_name(const struct site *site)
{
    return span_make(site->name, site->name_length);
}

bool schedule_site_dead(const struct site *site)
{
    return site->state != SITE_OPEN;
}

unsigned schedule_window(const struct site *site)
{
    return (unsigned)site->window;
}

static void site_forget(struct schedule *s, struct site *site)
{
    hash_remove(&s->sites, &site->node);
    free(site);
}

static void site_open(struct schedule *s, struct site *site)
{
    site->state = SITE_OPEN;
    site->failures = 0;
    site->probe = NULL;
    site_timer(s, site, 0);
}

static void site_die(struct schedule *s, struct site *site, uint64_t now)
{
    site->state = SITE_DEAD;
    site->probe = NULL;
    site_timer(s, site, now + jittered(s, doubled(s->probe_first, site->failures, s->probe_most)));
    if (site->failures < 64)
        site->failures++;
}

static void site_learn(struct schedule *s, struct site *site, const struct job *job, enum job_end end, uint64_t now)
{
    bool was_probe = site->probe == job;
    if (was_probe)
        site->probe = NULL;
    if (end == JOB_SUCCESS || end == JOB_RECIPIENT_FAILURE) {
        if (site->state != SITE_OPEN)
            site_open(s, site);
        if (end == JOB_SUCCESS)
            site->window += 1 / site->window;
        if (site->window > site->most)
            site->window = site->most;
    } else if (end == JOB_SITE_FAILURE) {
        if (site->state == SITE_OPEN && site->window >= 2)
            site->window /= 2;
        else if (site->state == SITE_OPEN || was_probe)
            site_die(s, site, now);
        if (site->state == SITE_DEAD)
            site->window = 1;
    }
}

/* ---- flows ------------------------------------------------------------------------------------------------------- */

static struct flow *flow_of(struct schedule *s, struct site *site, struct span name)
{
    uint64_t key = hash_bytes(s->secret, name) ^ site->node.key;
    for (struct hash_node *n = hash_find(&s->flows, key); n; n = hash_same(n)) {
        struct flow *flow = HASH_OWNER(n, struct flow, node);
        if (flow->site == site && span_equal(span_make(flow->name, flow->name_length), name))
            return flow;
    }
    struct flow *flow = memory_new(1, sizeof *flow + name.n);
    if (name.n)
        memcpy(flow->name, name.p, name.n);
    flow->name_length = name.n;
    flow->site = site;
    wheel_list_init(&flow->ready);
    hash_add(&s->flows, &flow->node, key);
    return flow;
}

static bool flow_empty(const struct flow *flow)
{
    return flow->ready.next == &flow->ready;
}

static void flow_leave_ring(struct flow *flow)
{
    RING_REMOVE(flow->site->turn, flow);
    flow->in_ring = flow->has_turn = false;
    flow->deficit = 0;
}

static struct job *flow_first(const struct flow *flow)
{
    return HASH_OWNER(flow->ready.next, struct job, link);
}

/* The flow whose first job may go. Each turn adds a quantum, so this ends. */
static struct flow *site_turn(struct site *site)
{
    for (;;) {
        struct flow *flow = site->turn;
        if (!flow->has_turn) {
            flow->has_turn = true;
            flow->deficit += SCHEDULE_QUANTUM;
        }
        if (flow->deficit >= flow_first(flow)->cost)
            return flow;
        flow->has_turn = false;
        site->turn = flow->next;
    }
}

/* ---- jobs -------------------------------------------------------------------------------------------------------- */

static void join(struct schedule *s, struct job *job, struct site *site, struct span flow)
{
    if (job->state != JOB_NEW)
        log_die("schedule: a job is added twice");
    job->site = site;
    job->flow = flow_of(s, site, flow);
    job->flow->jobs++;
    if (site->jobs++ == 0 && site->state != SITE_DEAD)
        site_timer(s, site, 0);
}

static void leave(struct schedule *s, struct job *job)
{
    struct flow *flow = job->flow;
    struct site *site = job->site;
    job->state = JOB_NEW;
    job->flow = NULL;
    job->site = NULL;
    if (--flow->jobs == 0) {
        hash_remove(&s->flows, &flow->node);
        free(flow);
    }
    if (--site->jobs == 0 && site->state != SITE_DEAD)
        site_timer(s, site, s->timers.now + FORGET_AFTER);
    site_update(s, site);
}

static void make_ready(struct schedule *s, struct job *job)
{
    struct flow *flow = job->flow;
    job->state = JOB_READY;
    wheel_list_add(&flow->ready, &job->link);
    if (!flow->in_ring)
        RING_ADD(flow->site->turn, flow);
    flow->in_ring = true;
    job->site->ready++;
    s->ready++;
    site_update(s, job->site);
}

static void unready(struct schedule *s, struct job *job)
{
    wheel_list_remove(&job->link);
    job->site->ready--;
    s->ready--;
    if (flow_empty(job->flow))
        flow_leave_ring(job->flow);
}

void schedule_add(struct schedule *s, struct job *job, struct site *site, struct span flow, uint64_t now)
{
    (void)now;
    join(s, job, site, flow);
    make_ready(s, job);
}

void schedule_add_later(struct schedule *s, struct job *job, struct site *site, struct span flow, uint64_t due, uint64_t now)
{
    if (due <= now) {
        schedule_add(s, job, site, flow, now);
        return;
    }
    join(s, job, site, flow);
    job->state = JOB_WAITING;
    s->waiting++;
    wheel_add(&s->jobs, &job->link, due);
}

void schedule_remove(struct schedule *s, struct job *job)
{
    switch ((enum job_state)job->state) {
    case JOB_NEW:
        return;
    case JOB_READY:
        unready(s, job);
        break;
    case JOB_WAITING:
        wheel_remove(&s->jobs, &job->link);
        s->waiting--;
        break;
    case JOB_ACTIVE:
        schedule_done(s, job, JOB_UNKNOWN, s->timers.now);
        return;
    }
    leave(s, job);
}

void schedule_hurry(struct schedule *s, struct job *job, uint64_t now)
{
    (void)now;
    if (job->state == JOB_WAITING) {
        wheel_remove(&s->jobs, &job->link);
        s->waiting--;
        make_ready(s, job);
    }
    if (job->state == JOB_READY && job->site->state == SITE_DEAD) {
        job->site->state = SITE_PROBE;
        site_timer(s, job->site, 0);
        site_update(s, job->site);
    }
}

static void site_time(struct schedule *s, struct site *site)
{
    site->timed = false;
    if (site->state == SITE_DEAD) {
        site->state = SITE_PROBE;
        site_update(s, site);
    }
    if (site->jobs == 0)
        site_forget(s, site);
}

static void pass_time(struct schedule *s, uint64_t now)
{
    struct wheel_item *item;
    while ((item = wheel_expired(&s->timers, now)))
        site_time(s, HASH_OWNER(item, struct site, timer));
    while ((item = wheel_expired(&s->jobs, now))) {
        s->waiting--;
        make_ready(s, HASH_OWNER(item, struct job, link));
    }
}

struct job *schedule_next(struct schedule *s, uint64_t now)
{
    pass_time(s, now);
    struct site *site = s->runnable;
    if (!site)
        return NULL;
    s->runnable = site->next;
    struct flow *flow = site_turn(site);
    struct job *job = flow_first(flow);
    flow->deficit -= job->cost;
    unready(s, job);
    job->state = JOB_ACTIVE;
    site->active++;
    s->active++;
    if (site->state == SITE_PROBE)
        site->probe = job;
    site_update(s, site);
    return job;
}

void schedule_done(struct schedule *s, struct job *job, enum job_end end, uint64_t now)
{
    if (job->state != JOB_ACTIVE)
        log_die("schedule: a job that is not active is done");
    job->site->active--;
    s->active--;
    site_learn(s, job->site, job, end, now);
    leave(s, job);
}

void schedule_each_ready(struct schedule *s, struct site *site, void (*each)(struct job *, void *arg), void *arg)
{
    size_t left = site->ready;
    struct flow *flow = site->turn;
    (void)s;
    while (flow && left > 0) {
        struct flow *next_flow = flow->next;
        struct wheel_item *head = &flow->ready;
        /* The last job that goes takes its flow with it: count, and don't look at the flow again. */
        for (struct wheel_item *item = head->next, *next; item != head && left > 0; item = next) {
            bool last = item->next == head;
            next = item->next;
            left--;
            each(HASH_OWNER(item, struct job, link), arg);
            if (last)
                break;
        }
        flow = next_flow;
    }
}

uint64_t schedule_wake(const struct schedule *s, uint64_t now)
{
    if (s->runnable)
        return now;
    uint64_t job = wheel_next(&s->jobs), timer = wheel_next(&s->timers);
    if (job == 0 || (timer != 0 && timer < job))
        return timer;
    return job;
}

uint64_t schedule_retry(struct schedule *s, uint64_t now, uint32_t attempts, uint64_t first, uint64_t most, uint64_t last)
{
    uint64_t delay = doubled(first ? first : 1, attempts ? attempts - 1 : 0, most ? most : 1);
    uint64_t due = now + jittered(s, delay);
    if (due > last)
        due = last;
    return due > now ? due : now + 1;
}

struct schedule_counts schedule_counts(const struct schedule *s)
{
    return (struct schedule_counts){.sites = s->sites.count, .ready = s->ready, .active = s->active, .waiting = s->waiting};
}
