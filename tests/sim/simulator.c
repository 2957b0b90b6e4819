#include "tests/sim/simulator.h"
#include "qmgr/memory.h"
#include "qmgr/retry.h"

struct event {
    uint64_t at;
    struct mail *mail;
    enum job_end end;
    bool refused, told;
};

#define FAULT(sim, ...)                                                                                                                    \
    do {                                                                                                                                   \
        if (!(sim)->fault[0])                                                                                                              \
            snprintf((sim)->fault, sizeof(sim)->fault, __VA_ARGS__);                                                                       \
    } while (0)

/* ---- what will happen, by time ----------------------------------------------------------------------------------- */

static void push(struct sim *sim, struct event e)
{
    if (sim->heap_n == sim->heap_most) {
        sim->heap_most = sim->heap_most ? sim->heap_most * 2 : 1024;
        sim->heap = memory_must(realloc(sim->heap, sim->heap_most * sizeof *sim->heap));
    }
    size_t i = sim->heap_n++;
    for (; i > 0 && sim->heap[(i - 1) / 2].at > e.at; i = (i - 1) / 2)
        sim->heap[i] = sim->heap[(i - 1) / 2];
    sim->heap[i] = e;
}

static struct event pop(struct sim *sim)
{
    struct event first = sim->heap[0], last = sim->heap[--sim->heap_n];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < sim->heap_n; i = child) {
        if (child + 1 < sim->heap_n && sim->heap[child + 1].at < sim->heap[child].at)
            child++;
        if (sim->heap[child].at >= last.at)
            break;
        sim->heap[i] = sim->heap[child];
    }
    sim->heap[i] = last;
    return first;
}

/* ---- mail in ----------------------------------------------------------------------------------------------------- */

void sim_init(struct sim *sim, struct receiver *receivers, size_t count, uint64_t seed)
{
    *sim = (struct sim){.receivers = receivers, .receiver_count = count, .random = seed};
    sim->schedule = schedule_new(SIM_START, seed);
    sim->probe_first = sim->retry_first = 300;
    sim->probe_most = sim->retry_most = 14400;
    sim->active_most = SCHEDULE_ACTIVE_MOST;
    schedule_probing(sim->schedule, sim->probe_first, sim->probe_most);
}

void sim_free(struct sim *sim)
{
    schedule_free(sim->schedule);
    free(sim->heap);
}

uint64_t sim_random(struct sim *sim, uint64_t below)
{
    return retry_random(&sim->random) % below;
}

uint64_t sim_seconds(const struct sim *sim)
{
    return SIM_START + sim->now / 1000;
}

struct site *sim_site(struct sim *sim, size_t receiver)
{
    const struct receiver *r = &sim->receivers[receiver];
    struct site *site = schedule_site(sim->schedule, span_of(r->name), r->most);
    schedule_site_rate(sim->schedule, site, r->a_minute);
    if (r->provider)
        schedule_site_share(sim->schedule, site, span_of(r->provider->name), r->provider->most, r->provider->a_minute);
    return site;
}

static void add(struct sim *sim, struct mail *m, uint64_t due)
{
    char flow[16];
    int n = snprintf(flow, sizeof flow, "flow%u", m->flow);
    m->due = due;
    schedule_add_later(sim->schedule, &m->job, sim_site(sim, m->receiver), span_make(flow, (size_t)n), due, sim_seconds(sim));
}

static void start(struct sim *sim, struct mail *m, size_t receiver, uint32_t flow, uint32_t cost, uint64_t due)
{
    m->receiver = (uint32_t)receiver;
    m->flow = flow;
    m->job.cost = cost;
    m->added = sim->now;
    add(sim, m, due);
}

void sim_send(struct sim *sim, struct mail *m, size_t receiver, uint32_t flow, uint32_t cost)
{
    start(sim, m, receiver, flow, cost, 0);
}

void sim_send_later(struct sim *sim, struct mail *m, size_t receiver, uint32_t flow, uint64_t due)
{
    start(sim, m, receiver, flow, 1, due);
}

/* ---- receivers --------------------------------------------------------------------------------------------------- */

static const struct phase *phase_now(const struct sim *sim, const struct receiver *r)
{
    size_t i = r->count;
    while (i > 1 && r->phases[i - 1].from > sim->now)
        i--;
    return &r->phases[i - 1];
}

/* Each full minute has its own count. */
static bool is_too_much(const struct sim *sim, struct provider *p, unsigned takes)
{
    if (p->minute != sim->now / 60000) {
        p->minute = sim->now / 60000;
        p->in_minute = 0;
    }
    return ++p->in_minute > takes;
}

static void receive(struct sim *sim, struct mail *m)
{
    struct receiver *r = &sim->receivers[m->receiver];
    const struct phase *p = phase_now(sim, r);
    struct event e = {.mail = m, .end = JOB_SUCCESS};
    uint64_t takes = p->service * 3 / 4 + sim_random(sim, p->service / 2 + 1);
    if (p->dead) {
        e.end = JOB_SITE_FAILURE;
    } else if (p->sessions && r->taken >= p->sessions) {
        e.end = JOB_SITE_FAILURE;
        e.refused = true;
        takes = p->refusal;
        r->refused++;
    } else if (r->provider && p->takes && is_too_much(sim, r->provider, p->takes)) {
        e.end = JOB_RECIPIENT_FAILURE;
        e.told = true;
        takes = 20;
    } else if (sim_random(sim, 100) < p->deferred) {
        e.end = JOB_RECIPIENT_FAILURE;
    }
    r->sessions++;
    r->taken += !e.refused;
    if (r->sessions_peak < r->sessions)
        r->sessions_peak = r->sessions;
    e.at = sim->now + (takes ? takes : 1);
    push(sim, e);
}

/* ---- grants ------------------------------------------------------------------------------------------------------ */

static bool within(uint64_t delay, uint64_t expected)
{
    return delay >= expected - expected / 10 && delay <= expected + expected / 10;
}

static void check_probe(struct sim *sim, struct receiver *r)
{
    uint64_t delay = sim_seconds(sim) - r->died_at, least = r->probe_delay - r->probe_delay / 10;
    r->probes++;
    if (r->sessions > 0)
        FAULT(sim, "%s is dead and gets a probe while %u are out", r->name, r->sessions);
    if (delay < least)
        FAULT(sim, "%s is dead and gets a probe after %llu s; least %llu", r->name, (unsigned long long)delay, (unsigned long long)least);
}

static void grant(struct sim *sim, struct mail *m)
{
    struct receiver *r = &sim->receivers[m->receiver];
    uint64_t now = sim_seconds(sim);
    if (schedule_site_dead(m->job.site))
        check_probe(sim, r);
    if (m->due > now)
        FAULT(sim, "a job of %s goes out %llu s too soon", r->name, (unsigned long long)(m->due - now));
    if (r->sessions >= r->most)
        FAULT(sim, "%s has %u in flight", r->name, r->sessions + 1);
    if (r->provider && !schedule_site_dead(m->job.site) && ++r->provider->sessions > r->provider->most)
        FAULT(sim, "%s has %u in flight", r->provider->name, r->provider->sessions);
    if (++sim->active > sim->active_most)
        FAULT(sim, "%zu are in flight", sim->active);
    if (sim->active_peak < sim->active)
        sim->active_peak = sim->active;
    if (sim->on_grant)
        sim->on_grant(sim, m);
    if (!m->granted)
        m->granted = sim->now;
    m->out = now;
    if (r->provider)
        r->provider->granted++;
    r->granted++;
    r->sent[m->flow % SIM_FLOWS] += m->job.cost;
    sim->granted++;
    receive(sim, m);
}

static void pump(struct sim *sim)
{
    uint64_t now = sim_seconds(sim);
    for (struct job *job; (job = schedule_next(sim->schedule, now));)
        grant(sim, (struct mail *)(void *)job);
    uint64_t wake = schedule_wake(sim->schedule, now);
    if (wake != 0 && wake <= now)
        FAULT(sim, "the scheduler has nothing, and wants to be called again at once");
}

/* ---- ends -------------------------------------------------------------------------------------------------------- */

static void retry(struct sim *sim, struct mail *m)
{
    uint64_t now = sim_seconds(sim), expected = retry_doubled(sim->retry_first, m->attempts, sim->retry_most);
    m->attempts++;
    uint64_t due = schedule_retry(sim->schedule, now, m->attempts, sim->retry_first, sim->retry_most, UINT64_MAX);
    if (!within(due - now, expected))
        FAULT(sim, "attempt %u is tried again after %llu s, not about %llu", m->attempts, (unsigned long long)(due - now),
              (unsigned long long)expected);
    add(sim, m, due);
}

static void note_death(struct sim *sim, struct receiver *r, const struct site *site)
{
    struct schedule_view v = schedule_view(site);
    if (!v.dead) {
        r->was_dead = false;
        return;
    }
    uint64_t expected = r->was_dead ? r->probe_delay * 2 : sim->probe_first;
    r->probe_delay = expected < sim->probe_most ? expected : sim->probe_most;
    r->was_dead = true;
    r->died_at = sim_seconds(sim);
    if (!within(v.probe - r->died_at, r->probe_delay))
        FAULT(sim, "%s is probed after %llu s, not about %llu", r->name, (unsigned long long)(v.probe - r->died_at),
              (unsigned long long)r->probe_delay);
}

static void finish_at_provider(struct sim *sim, struct provider *p, const struct event *e)
{
    struct site *site = e->mail->job.site;
    const struct schedule_slowing how = {.all = true, .step = p->step, .granted = e->mail->out, .why = SPAN_LITERAL("told")};
    p->sessions -= !schedule_site_dead(site);
    p->delivered += e->end == JOB_SUCCESS;
    p->told += e->told;
    if (e->told)
        p->slowed += schedule_slow(sim->schedule, site, &how, sim_seconds(sim)) != SCHEDULE_SLOWED_NOT;
}

static void finish(struct sim *sim, struct event e)
{
    struct mail *m = e.mail;
    struct receiver *r = &sim->receivers[m->receiver];
    struct site *site = m->job.site;
    sim->active--;
    r->sessions--;
    r->taken -= !e.refused;
    if (r->provider)
        finish_at_provider(sim, r->provider, &e);
    schedule_done(sim->schedule, &m->job, e.end, sim_seconds(sim));
    if (e.end == JOB_SUCCESS) {
        m->delivered = true;
        r->delivered++;
        r->delivered_at = sim->now;
        sim->delivered++;
    } else {
        if (e.end == JOB_SITE_FAILURE)
            r->failed++;
        else
            r->deferred++;
        retry(sim, m);
    }
    note_death(sim, r, site);
}

/* ---- time -------------------------------------------------------------------------------------------------------- */

static uint64_t next_time(const struct sim *sim, uint64_t tick)
{
    uint64_t wake = schedule_wake(sim->schedule, sim_seconds(sim)), next = tick;
    if (wake != 0 && (wake - SIM_START) * 1000 < next)
        next = (wake - SIM_START) * 1000;
    if (sim->heap_n > 0 && sim->heap[0].at < next)
        next = sim->heap[0].at;
    return next > sim->now ? next : sim->now;
}

void sim_run(struct sim *sim, uint64_t until, void (*tick)(struct sim *, void *), void *arg)
{
    uint64_t next_tick = sim->now / 1000 * 1000 + 1000;
    pump(sim);
    while (sim->now < until && !sim->fault[0]) {
        uint64_t limit = next_tick < until ? next_tick : until;
        sim->now = next_time(sim, limit);
        bool again = false;
        for (; sim->heap_n > 0 && sim->heap[0].at <= sim->now; again = true)
            finish(sim, pop(sim));
        uint64_t wake = schedule_wake(sim->schedule, sim_seconds(sim));
        again |= wake != 0 && wake <= sim_seconds(sim);
        if (sim->now == next_tick) {
            next_tick += 1000;
            size_t before = schedule_counts(sim->schedule).ready;
            if (tick)
                tick(sim, arg);
            again |= schedule_counts(sim->schedule).ready != before;
        }
        if (again)
            pump(sim);
    }
}
