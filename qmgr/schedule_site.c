/* Sites: which may send, which are dead, which are forgotten. */
#include "qmgr/schedule_private.h"

#define FORGET_AFTER 600 /* seconds that a site without jobs is remembered */

void site_timer(struct schedule *s, struct site *site, uint64_t due)
{
    if (site->timed)
        wheel_remove(&s->timers, &site->timer);
    site->timed = due != 0;
    if (due)
        wheel_add(&s->timers, &site->timer, due);
}

static void site_later(struct schedule *s, struct site *site, uint64_t when)
{
    if (!site->timed && when > s->now)
        site_timer(s, site, when);
}

/* A probe is not held back by the rate, nor by a brake that does not stop everything. */
static bool site_may_send(struct schedule *s, struct site *site)
{
    struct brake *brake = site->own ? &site->own->brake : NULL;
    if (site->ready == 0 || !window_room(&site->window))
        return false;
    if (site_probes(site))
        return !brake || !brake->paused;
    if (brake && !brake_may(brake, site->window.active, s->now)) {
        site_later(s, site, brake_when(brake, s->now));
        return false;
    }
    if (pace_may(&site->pace, s->now))
        return true;
    site_later(s, site, pace_when(&site->pace, s->now));
    return false;
}

void site_update(struct schedule *s, struct site *site)
{
    enum site_ring ring = RING_NONE;
    if (site_may_send(s, site))
        ring = site->share ? share_place(site) : site->window.active > 0 ? RING_BUSY : RING_IDLE;
    site_stand(s, site, ring);
    if (site->share)
        share_update(s, site->share);
}

void site_grant(struct schedule *s, struct site *site)
{
    pace_take(&site->pace, s->now);
    if (site->own)
        brake_take(&site->own->brake, s->now);
    if (site->share)
        share_grant(s, site);
    site_update(s, site);
}

struct site *schedule_find_site(const struct schedule *s, struct span name)
{
    for (struct hash_node *n = hash_find(&s->sites, hash_bytes(s->secret, name)); n; n = hash_same(n)) {
        struct site *site = HASH_OWNER(n, struct site, node);
        if (span_equal(schedule_site_name(site), name))
            return site;
    }
    return NULL;
}

static struct site *site_new(struct schedule *s, struct span name, unsigned most)
{
    if (name.n > UINT16_MAX)
        log_die("schedule: a site's name is too long");
    struct site *site = memory_new(1, sizeof *site + name.n);
    if (name.n)
        memcpy(site->name, name.p, name.n);
    site->name_length = (uint16_t)name.n;
    site->ring = RING_NONE;
    window_init(&site->window, most);
    hash_add(&s->sites, &site->node, hash_bytes(s->secret, name));
    site_timer(s, site, s->now + FORGET_AFTER);
    return site;
}

struct site *schedule_site(struct schedule *s, struct span name, unsigned most)
{
    struct site *site = schedule_find_site(s, name);
    if (!site)
        return site_new(s, name, most);
    window_limit(&site->window, most);
    site_update(s, site);
    return site;
}

void schedule_site_rate(struct schedule *s, struct site *site, unsigned a_minute)
{
    schedule_site_pace(s, site, a_minute, PACE_MINUTE);
}

void schedule_site_pace(struct schedule *s, struct site *site, unsigned most, int32_t period)
{
    if (site->pace.a_minute == most && (most == 0 || site->pace.period == period))
        return;
    pace_limit_in(&site->pace, most, period, s->now);
    if (site->jobs > 0 && site->window.state != WINDOW_DEAD)
        site_timer(s, site, 0);
    site_update(s, site);
}

static bool site_dead(const struct site *site)
{
    return site->window.state == WINDOW_DEAD;
}

void site_join(struct schedule *s, struct site *site)
{
    if (site->jobs++ == 0 && !site_dead(site))
        site_timer(s, site, 0);
}

/* Who forgets a pace that is not full would let more go than it allows. */
static uint64_t forget_when(const struct schedule *s, const struct site *site)
{
    uint64_t later = pace_full(&site->pace);
    return later > s->now + FORGET_AFTER ? later : s->now + FORGET_AFTER;
}

void site_leave(struct schedule *s, struct site *site)
{
    if (--site->jobs == 0 && !site_dead(site))
        site_timer(s, site, forget_when(s, site));
    site_update(s, site);
}

void site_die(struct schedule *s, struct site *site)
{
    uint64_t delay = retry_doubled(s->probe_first, site->window.probes, s->probe_most);
    if (site->near && delay > SCHEDULE_NEAR)
        delay = SCHEDULE_NEAR;
    site_timer(s, site, s->now + retry_jitter(&s->random, delay));
}

void schedule_site_near(struct site *site)
{
    site->near = true;
}

void site_probe(struct schedule *s, struct site *site)
{
    if (!site_dead(site))
        return;
    window_probe(&site->window);
    site_timer(s, site, 0);
    site_update(s, site);
}

void site_time(struct schedule *s, struct site *site)
{
    site->timed = false;
    window_probe(&site->window);
    if (site->jobs > 0) {
        site_update(s, site);
        return;
    }
    if (site->own && site->own->brake.on) { /* who comes back finds it slowed down */
        site_timer(s, site, s->now + FORGET_AFTER);
        return;
    }
    if (pace_full(&site->pace) > s->now) {
        site_timer(s, site, pace_full(&site->pace));
        return;
    }
    share_leave(s, site);
    own_free(s, site);
    trouble_free(s, site);
    hash_remove(&s->sites, &site->node);
    free(site);
}

/* ---- what others see --------------------------------------------------------------------------------------------- */

bool schedule_site_would_go(struct schedule *s, struct span name)
{
    struct site *site = schedule_find_site(s, name);
    const struct brake *brake = site && site->own ? &site->own->brake : NULL;
    return !site || (site->ready == 0 && window_room(&site->window) && pace_may(&site->pace, s->now) && (!brake || !brake->on));
}

struct span schedule_site_name(const struct site *site)
{
    return span_make(site->name, site->name_length);
}

bool schedule_site_dead(const struct site *site)
{
    return site->window.state == WINDOW_DEAD || site->window.state == WINDOW_PROBE;
}

unsigned schedule_window(const struct site *site)
{
    return (unsigned)site->window.size;
}

void schedule_in_doubt(struct site *site)
{
    site->in_doubt++;
}

static unsigned least(unsigned a, unsigned b) /* 0: no limit */
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

struct schedule_view schedule_view(const struct site *site)
{
    struct schedule_brake brake = schedule_brake(site);
    const struct share *share = site->share;
    unsigned rate = site->pace.period == PACE_MINUTE ? site->pace.a_minute : 0;
    unsigned most = share && share->most < site->window.most ? share->most : site->window.most;
    return (struct schedule_view){.jobs = site->jobs,
                                  .ready = site->ready,
                                  .waiting = site->jobs - site->ready - site->held - site->window.active,
                                  .held = site->held,
                                  .in_doubt = site->in_doubt,
                                  .window = schedule_window(site) < most ? schedule_window(site) : most,
                                  .active = site->window.active,
                                  .most = brake.on && brake.sessions < most ? brake.sessions : most,
                                  .a_minute = least(brake.a_minute, least(share ? share->pace.a_minute : 0, rate)),
                                  .share = share_name(share),
                                  .brake = brake,
                                  .trouble = trouble_view(site),
                                  .dead = schedule_site_dead(site),
                                  .probe = site_dead(site) ? site->timer.due : 0};
}

void schedule_each_site(const struct schedule *s, void (*each)(const struct site *, void *arg), void *arg)
{
    for (struct hash_node *n = hash_first(&s->sites); n; n = hash_after(&s->sites, n))
        each(HASH_OWNER(n, struct site, node), arg);
}

struct walk {
    void (*each)(const struct site *, void *arg);
    void *arg;
};

static void walk_one(struct hash_node *n, void *arg)
{
    const struct walk *w = arg;
    w->each(HASH_OWNER(n, struct site, node), w->arg);
}

bool schedule_walk_sites(const struct schedule *s, size_t *at, size_t most, void (*each)(const struct site *, void *arg), void *arg)
{
    return hash_walk(&s->sites, at, most, walk_one, &(struct walk){each, arg});
}
