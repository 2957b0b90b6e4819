/* Jobs: in, ready, out, done. Sites are in schedule_site.c, flows in flow.c, the window in window.c, the picture in schedule_private.h. */
#include "qmgr/schedule_private.h"

struct schedule *schedule_new(uint64_t now, uint64_t seed)
{
    struct schedule *s = memory_new(1, sizeof *s);
    s->now = s->second = now;
    s->due_left = SCHEDULE_DUE_A_SECOND;
    s->active_most = SCHEDULE_ACTIVE_MOST;
    s->random = seed;
    s->secret[0] = retry_random(&s->random);
    s->secret[1] = retry_random(&s->random);
    hash_init(&s->sites);
    hash_init(&s->senders);
    hash_init(&s->flows);
    hash_init(&s->shares);
    wheel_init(&s->jobs, now);
    wheel_init(&s->timers, now);
    wheel_init(&s->brakes, now);
    schedule_probing(s, 60, 3600);
    return s;
}

void schedule_probing(struct schedule *s, uint64_t first, uint64_t most)
{
    s->probe_first = first ? first : 1;
    s->probe_most = most > s->probe_first ? most : s->probe_first;
}

void schedule_active_most(struct schedule *s, size_t most)
{
    s->active_most = most ? most : 1;
}

#define FREE_ALL(hash, type)                                                                                                               \
    do {                                                                                                                                   \
        for (struct hash_node *n = hash_first(hash), *next; n; n = next) {                                                                 \
            next = hash_after(hash, n);                                                                                                    \
            free(HASH_OWNER(n, type, node));                                                                                               \
        }                                                                                                                                  \
        hash_free(hash);                                                                                                                   \
    } while (0)

void schedule_free(struct schedule *s)
{
    if (!s)
        return;
    FREE_ALL(&s->flows, struct flow);
    FREE_ALL(&s->senders, struct sender);
    for (struct hash_node *n = hash_first(&s->sites); n; n = hash_after(&s->sites, n)) {
        own_free(s, HASH_OWNER(n, struct site, node));
        trouble_free(s, HASH_OWNER(n, struct site, node));
    }
    FREE_ALL(&s->sites, struct site);
    for (struct hash_node *n = hash_first(&s->shares); n; n = hash_after(&s->shares, n))
        free(HASH_OWNER(n, struct share, node)->braked.why);
    FREE_ALL(&s->shares, struct share);
    free(s);
}

void set_clock(struct schedule *s, uint64_t now)
{
    if (now > s->now)
        s->now = now;
    if (s->second < s->now) {
        s->second = s->now;
        s->due_left = SCHEDULE_DUE_A_SECOND;
    }
}

/* ---- states ------------------------------------------------------------------------------------------------------ */

static void join(struct schedule *s, struct job *job, struct site *site, struct span flow)
{
    if (job->state != JOB_NEW)
        log_die("schedule: a job is added twice");
    job->site = site;
    job->sender = sender_get(s, flow);
    site_join(s, site);
}

static void leave(struct schedule *s, struct job *job)
{
    struct site *site = job->site;
    sender_put(s, job->sender);
    job->state = JOB_NEW;
    job->sender = NULL;
    job->site = NULL;
    site_leave(s, site);
}

static void make_ready(struct schedule *s, struct job *job)
{
    job->state = JOB_READY;
    s->ready++;
    flow_push(s, job);
    site_update(s, job->site);
}

static void unready(struct schedule *s, struct job *job)
{
    s->ready--;
    flow_take(s, job);
}

static void make_wait(struct schedule *s, struct job *job, uint64_t due)
{
    job->state = JOB_WAITING;
    s->waiting++;
    wheel_add(&s->jobs, &job->link, due);
    RING_ADD_AS(job->site->waiting, job, beside_next, beside_prev);
}

/* It is out of the wheel. */
static void waited(struct schedule *s, struct job *job)
{
    s->waiting--;
    RING_REMOVE_AS(job->site->waiting, job, beside_next, beside_prev);
}

static void unwait(struct schedule *s, struct job *job)
{
    wheel_remove(&s->jobs, &job->link);
    waited(s, job);
}

/* ---- in and out -------------------------------------------------------------------------------------------------- */

void schedule_add(struct schedule *s, struct job *job, struct site *site, struct span flow, uint64_t now)
{
    schedule_add_later(s, job, site, flow, 0, now);
}

void schedule_add_later(struct schedule *s, struct job *job, struct site *site, struct span flow, uint64_t due, uint64_t now)
{
    set_clock(s, now);
    join(s, job, site, flow);
    if (due == 0)
        make_ready(s, job);
    else
        make_wait(s, job, due);
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
        unwait(s, job);
        break;
    case JOB_HELD:
        s->held--;
        job->site->held--;
        break;
    case JOB_ACTIVE:
        schedule_done(s, job, JOB_UNKNOWN, s->now);
        return;
    }
    leave(s, job);
}

void schedule_hurry(struct schedule *s, struct job *job, uint64_t now)
{
    set_clock(s, now);
    if (job->state == JOB_WAITING) {
        unwait(s, job);
        make_ready(s, job);
    }
    if (job->state == JOB_READY)
        site_probe(s, job->site);
}

/* What points at it points at the other one. */
void schedule_replace(struct schedule *s, struct job *job, struct job *to)
{
    uint8_t kind = to->kind;
    (void)s;
    if (to->state != JOB_NEW || job->state == JOB_NEW)
        log_die("schedule: a job can't be replaced");
    *to = *job;
    to->kind = kind;
    if (job->state == JOB_READY || job->state == JOB_WAITING)
        to->link.next->prev = to->link.prev->next = &to->link;
    if (job->state == JOB_WAITING) {
        RING_ADD_AS(to->site->waiting, to, beside_next, beside_prev);
        RING_REMOVE_AS(to->site->waiting, job, beside_next, beside_prev);
    }
    kind = job->kind;
    *job = (struct job){.kind = kind};
}

bool schedule_hold(struct schedule *s, struct job *job)
{
    if (job->state == JOB_READY) {
        unready(s, job);
        job->link.due = 0;
    } else if (job->state == JOB_WAITING) {
        unwait(s, job);
    } else {
        return false;
    }
    job->state = JOB_HELD;
    s->held++;
    job->site->held++;
    site_update(s, job->site);
    return true;
}

bool schedule_release(struct schedule *s, struct job *job, uint64_t now)
{
    if (job->state != JOB_HELD)
        return false;
    set_clock(s, now);
    s->held--;
    job->site->held--;
    if (job->link.due == 0)
        make_ready(s, job);
    else
        make_wait(s, job, job->link.due);
    return true;
}

/* They become READY as others do that are due: no more than so many a second. */
size_t schedule_flush(struct schedule *s, struct site *site, uint64_t now)
{
    size_t n = 0;
    set_clock(s, now);
    struct job *job = site->waiting;
    if (job) {
        do {
            if (job->link.due > s->now) {
                wheel_remove(&s->jobs, &job->link);
                wheel_add(&s->jobs, &job->link, s->now);
            }
            n++;
        } while ((job = job->beside_next) != site->waiting);
    }
    site_probe(s, site);
    return n;
}

/* ---- next and done ----------------------------------------------------------------------------------------------- */

static void pass_time(struct schedule *s, uint64_t now)
{
    struct wheel_item *item;
    set_clock(s, now);
    while ((item = wheel_expired(&s->timers, s->now)))
        site_time(s, HASH_OWNER(item, struct site, timer));
    while ((item = wheel_expired(&s->brakes, s->now)))
        braked_time(s, HASH_OWNER(item, struct braked, timer));
    while (s->due_left > 0 && (item = wheel_expired(&s->jobs, s->now))) {
        struct job *job = HASH_OWNER(item, struct job, link);
        s->due_left--;
        waited(s, job);
        make_ready(s, job);
    }
}

/* Which ring of sites may give the next job; -1: none. The rings take turns, but the second half of what may be in flight is for sites that
 * have nothing there: some that hang must not use up everything. */
static int next_ring(const struct schedule *s)
{
    if (s->active >= s->active_most)
        return -1;
    if (s->runnable[1] && s->active < (s->active_most + 1) / 2 && (s->ring == 1 || !s->runnable[0]))
        return 1;
    return s->runnable[0] ? 0 : -1;
}

struct job *schedule_next(struct schedule *s, uint64_t now)
{
    pass_time(s, now);
    int ring = next_ring(s);
    if (ring < 0)
        return NULL;
    struct site *site = s->runnable[ring];
    s->runnable[ring] = site->next;
    s->ring = !ring;
    struct job *job = flow_next(site);
    unready(s, job);
    job->state = JOB_ACTIVE;
    job->granted = window_grant(&site->window);
    s->active++;
    site_grant(s, site);
    return job;
}

static void end_active(struct schedule *s, struct job *job, enum job_end end, uint64_t now)
{
    struct site *site = job->site;
    if (job->state != JOB_ACTIVE)
        log_die("schedule: a job that is not active is done");
    set_clock(s, now);
    s->active--;
    bool probe = site_probes(site);
    if (site->share)
        share_end(site, probe);
    window_end(&site->window, job->granted, end);
    if (end == JOB_SUCCESS) {
        meter_count(&site->meter, s->now);
        if (site->share)
            meter_count(&site->share->meter, s->now);
    }
    if (end != JOB_UNKNOWN)
        share_answered(site, end != JOB_SITE_FAILURE);
    if (end == JOB_SITE_FAILURE && site->window.state == WINDOW_DEAD)
        site_die(s, site);
}

void schedule_done(struct schedule *s, struct job *job, enum job_end end, uint64_t now)
{
    end_active(s, job, end, now);
    leave(s, job);
}

void schedule_done_later(struct schedule *s, struct job *job, enum job_end end, uint64_t due, uint64_t now)
{
    end_active(s, job, end, now);
    make_wait(s, job, due);
    site_update(s, job->site);
}

void schedule_each_ready(struct schedule *s, struct site *site, void (*each)(struct job *, void *arg), void *arg)
{
    (void)s;
    flow_each(site, each, arg);
}

uint64_t schedule_wake(const struct schedule *s, uint64_t now)
{
    if (next_ring(s) >= 0)
        return now;
    uint64_t job = wheel_next(&s->jobs), timer = wheel_next(&s->timers), brake = wheel_next(&s->brakes);
    if (timer == 0 || (brake != 0 && brake < timer))
        timer = brake;
    if (job != 0 && s->due_left == 0 && job <= s->second)
        job = s->second + 1;
    if (job == 0 || (timer != 0 && timer < job))
        return timer;
    return job;
}

uint64_t schedule_retry(struct schedule *s, uint64_t now, uint32_t attempts, uint64_t first, uint64_t most, uint64_t last)
{
    uint64_t delay = retry_doubled(first ? first : 1, attempts ? attempts - 1 : 0, most ? most : 1);
    uint64_t due = now + retry_jitter(&s->random, delay);
    if (due > last)
        due = last;
    return due > now ? due : now + 1;
}

struct schedule_counts schedule_counts(const struct schedule *s)
{
    return (struct schedule_counts){
        .sites = s->sites.count, .flows = s->flows.count, .ready = s->ready, .active = s->active, .waiting = s->waiting, .held = s->held};
}
