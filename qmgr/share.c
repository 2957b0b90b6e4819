/* What several sites have in common, and what slows one of them, or all, down.
 *
 *      share.line  -> site <-> site ...     members that could send, but for what they share, in turns: in the first line those whose last job
 *                  -> site <-> site ...     had an answer, in the second one the others, which have half of the sessions at most, as they may hang
 *      share.front                          the one of them that stands in schedule.runnable, while the share may send: one job, then the other line's
 *
 *      struct braked                        of a share, or of a single site (site.own) while its brake is on
 *
 * Probes of dead members are not counted and wait for no turn (but for the end of a pause): a member that does not answer takes no room from those
 * that do. Nothing that a member fails with counts for the others. */
#include "qmgr/schedule_private.h"

#include <stdlib.h>

/* ---- places in the rings ----------------------------------------------------------------------------------------- */

static struct site **ring_of(struct schedule *s, struct site *site)
{
    return site->ring >= RING_LINE ? &site->share->line[site->ring - RING_LINE] : &s->runnable[site->ring];
}

void site_stand(struct schedule *s, struct site *site, enum site_ring ring)
{
    if (site->ring == ring)
        return;
    if (site->ring != RING_NONE)
        RING_REMOVE(*ring_of(s, site), site);
    if (site->share && site->share->front == site && ring != RING_IDLE && ring != RING_BUSY)
        site->share->front = NULL;
    site->ring = ring;
    if (ring != RING_NONE)
        RING_ADD(*ring_of(s, site), site);
}

bool site_probes(const struct site *site)
{
    return site->window.state == WINDOW_PROBE;
}

static enum site_ring ring_of_share(const struct share *share)
{
    return share->active > 0 ? RING_BUSY : RING_IDLE;
}

static enum site_ring line_of(const struct site *site)
{
    return site->answered ? RING_LINE : RING_DOUBT;
}

enum site_ring share_place(const struct site *site)
{
    const struct share *share = site->share;
    if (site_probes(site) && !share->braked.brake.paused)
        return RING_IDLE;
    return site == share->front ? ring_of_share(share) : line_of(site);
}

/* ---- when a share may send --------------------------------------------------------------------------------------- */

static void set_timer(struct schedule *s, struct braked *b, uint64_t due)
{
    if (b->timed)
        wheel_remove(&s->brakes, &b->timer);
    b->timed = due != 0;
    if (due)
        wheel_add(&s->brakes, &b->timer, due);
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

static bool may_doubt(const struct share *share)
{
    return share->doubtful < (share->most + 1) / 2;
}

/* Of those that stand in line; NULL: none, or none that may. */
static struct site *share_first(const struct share *share)
{
    struct site *sure = share->line[0], *doubtful = may_doubt(share) ? share->line[1] : NULL;
    return sure && doubtful ? share->line[share->turn] : sure ? sure : doubtful;
}

/* Some wait for the rate, or nobody does; and the brake has its steps. */
static void share_timer(struct schedule *s, struct share *share)
{
    const struct brake *b = &share->braked.brake;
    uint64_t due = b->on ? b->until : 0;
    if (!share->front && share_first(share) && share->active < share->most) {
        uint64_t pace = pace_when(&share->pace, s->now), brake = brake_when(b, s->now), when = pace > brake ? pace : brake;
        if (when > s->now)
            due = sooner(due, when);
    }
    if (share->braked.timed ? share->braked.timer.due != due : due != 0)
        set_timer(s, &share->braked, due);
}

static bool share_may_send(struct schedule *s, struct share *share)
{
    return share->active < share->most && pace_may(&share->pace, s->now) && brake_may(&share->braked.brake, share->active, s->now);
}

void share_update(struct schedule *s, struct share *share)
{
    bool may = share_may_send(s, share);
    struct site *front = share->front;
    if (front && (!may || (!front->answered && !may_doubt(share)))) {
        site_stand(s, front, line_of(front));
        share->line[line_of(front) - RING_LINE] = front; /* it has not had its turn */
    }
    if (may && !share->front && (front = share_first(share))) {
        site_stand(s, front, RING_NONE);
        share->front = front;
    }
    if (share->front)
        site_stand(s, share->front, ring_of_share(share));
    share_timer(s, share);
}

static void count(struct share *share, const struct site *site, int jobs)
{
    share->active = (uint16_t)(share->active + jobs);
    if (!site->answered)
        share->doubtful = (uint16_t)(share->doubtful + jobs);
}

/* One of the site's jobs goes out: the next member's turn. */
void share_grant(struct schedule *s, struct site *site)
{
    struct share *share = site->share;
    pace_take(&share->pace, s->now);
    brake_take(&share->braked.brake, s->now);
    if (!site_probes(site))
        count(share, site, 1);
    if (share->front == site) {
        share->turn = site->answered;
        site_stand(s, site, RING_NONE);
    }
}

void share_end(struct site *site, bool probe)
{
    if (!probe)
        count(site->share, site, -1);
}

void share_answered(struct site *site, bool answered)
{
    if (site->share && site->answered != answered && !site_probes(site))
        site->share->doubtful =
            (uint16_t)(answered ? site->share->doubtful - site->window.active : site->share->doubtful + site->window.active);
    site->answered = answered;
}

/* ---- members ----------------------------------------------------------------------------------------------------- */

struct span share_name(const struct share *share)
{
    return share ? span_make(share->name, share->name_length) : (struct span){0};
}

static struct share *share_find(const struct schedule *s, struct span name)
{
    for (struct hash_node *n = hash_find(&s->shares, hash_bytes(s->secret, name)); n; n = hash_same(n)) {
        struct share *share = HASH_OWNER(n, struct share, node);
        if (span_equal(share_name(share), name))
            return share;
    }
    return NULL;
}

static struct share *share_new(struct schedule *s, struct span name)
{
    if (name.n > UINT16_MAX)
        log_die("schedule: the name of what sites share is too long");
    struct share *share = memory_new(1, sizeof *share + name.n);
    memcpy(share->name, name.p, name.n);
    share->name_length = (uint16_t)name.n;
    share->braked.share = share;
    hash_add(&s->shares, &share->node, hash_bytes(s->secret, name));
    return share;
}

/* Who comes back while it is slowed down finds it so. */
static void share_forget(struct schedule *s, struct share *share)
{
    if (share->sites > 0 || share->braked.brake.on)
        return;
    set_timer(s, &share->braked, 0);
    hash_remove(&s->shares, &share->node);
    share_free(share);
}

void share_free(struct share *share)
{
    free(share->braked.why);
    free(share);
}

void share_leave(struct schedule *s, struct site *site)
{
    struct share *share = site->share;
    if (!share)
        return;
    site_stand(s, site, RING_NONE);
    site->share = NULL;
    if (!site_probes(site))
        count(share, site, -(int)site->window.active);
    if (share->accuser == site)
        share->accuser = NULL;
    share->sites--;
    share_update(s, share);
    share_forget(s, share);
}

static void share_join(struct schedule *s, struct site *site, struct share *share)
{
    site_stand(s, site, RING_NONE);
    site->share = share;
    share->sites++;
    if (!site_probes(site))
        count(share, site, (int)site->window.active);
}

void schedule_site_share(struct schedule *s, struct site *site, struct span name, unsigned most, unsigned a_minute)
{
    struct share *share = name.n > 0 ? share_find(s, name) : NULL;
    if (!share && name.n > 0)
        share = share_new(s, name);
    if (share != site->share) {
        if (share)
            share->sites++; /* it must not be forgotten meanwhile */
        share_leave(s, site);
        if (share) {
            share->sites--;
            share_join(s, site, share);
        }
    }
    if (share) {
        share->most = (uint16_t)(most < 1 ? 1 : most > UINT16_MAX ? UINT16_MAX : most);
        pace_limit(&share->pace, a_minute, s->now);
    }
    site_update(s, site);
}

/* ---- slowing down ------------------------------------------------------------------------------------------------ */

static uint32_t less(uint32_t a, uint32_t limit /* 0: none */)
{
    return limit && limit < a ? limit : a;
}

static bool pull(struct schedule *s, struct braked *b, const struct schedule_slowing *how, struct brake_pull *p)
{
    *p = (struct brake_pull){.granted = how->granted, .step = how->step, .pause = how->pause, .taken = p->taken, .sessions = p->sessions};
    if (!brake_put(&b->brake, p, s->now))
        return false;
    free(b->why);
    b->why = memory_must(strndup(how->why.n ? how->why.p : "", how->why.n));
    set_timer(s, b, b->brake.until);
    return true;
}

static bool slow_share(struct schedule *s, struct share *share, const struct schedule_slowing *how)
{
    struct brake_pull p = {.taken = less(meter_a_minute(&share->meter, s->now), share->pace.a_minute), .sessions = share->active};
    if (!pull(s, &share->braked, how, &p))
        return false;
    share_update(s, share);
    return true;
}

static bool slow_site(struct schedule *s, struct site *site, const struct schedule_slowing *how)
{
    struct brake_pull p = {.taken = less(meter_a_minute(&site->meter, s->now), site->pace.a_minute), .sessions = site->window.active};
    if (!site->own) {
        site->own = memory_new(1, sizeof *site->own);
        site->own->site = site;
    }
    if (!pull(s, site->own, how, &p))
        return false;
    site_update(s, site);
    return true;
}

/* One member's word is about that member, until another one says the same. */
static bool is_about_all(struct schedule *s, const struct site *site, const struct schedule_slowing *how)
{
    struct share *share = site->share;
    bool second = share->accuser && share->accuser != site && s->now < share->accused + how->step;
    share->accuser = site;
    share->accused = s->now;
    return how->all || second;
}

enum schedule_slowed schedule_slow(struct schedule *s, struct site *site, const struct schedule_slowing *how, uint64_t now)
{
    set_clock(s, now);
    if (site->share && is_about_all(s, site, how))
        return slow_share(s, site->share, how) ? SCHEDULE_SLOWED_SHARE : SCHEDULE_SLOWED_NOT;
    return slow_site(s, site, how) ? SCHEDULE_SLOWED_SITE : SCHEDULE_SLOWED_NOT;
}

static struct schedule_brake view_of(const struct braked *b)
{
    const struct brake *brake = &b->brake;
    return (struct schedule_brake){.who = b->share ? share_name(b->share) : schedule_site_name(b->site),
                                   .why = span_of(b->why),
                                   .on = brake->on,
                                   .paused = brake->paused,
                                   .a_minute = brake->pace.a_minute,
                                   .sessions = brake->on ? brake->sessions : 0,
                                   .until = brake->until};
}

/* The stronger of the two that may be on. */
struct schedule_brake schedule_brake(const struct site *site)
{
    const struct braked *own = site->own, *shared = site->share ? &site->share->braked : NULL;
    if (!own || (shared && (shared->brake.paused ||
                            (shared->brake.on && !own->brake.paused && shared->brake.pace.a_minute < own->brake.pace.a_minute))))
        own = shared;
    return own && own->brake.on ? view_of(own) : (struct schedule_brake){0};
}

struct schedule_brake schedule_slow_view(const struct site *site, enum schedule_slowed which)
{
    return view_of(which == SCHEDULE_SLOWED_SHARE ? &site->share->braked : site->own);
}

bool schedule_site_stopped(const struct site *site)
{
    return schedule_site_dead(site) || schedule_brake(site).paused;
}

static void tell(const struct schedule *s, const struct braked *b, enum brake_event event)
{
    struct schedule_brake view = view_of(b);
    if (s->told)
        s->told(&view, event);
}

static void after_change(struct schedule *s, struct braked *b)
{
    struct site *site = b->site;
    if (b->share) {
        share_update(s, b->share);
        share_forget(s, b->share);
        return;
    }
    if (b->brake.on) {
        set_timer(s, b, b->brake.until);
    } else {
        own_free(s, site);
        if (site->jobs == 0 && !site->timed)
            site_timer(s, site, s->now + 1);
    }
    site_update(s, site);
}

void own_free(struct schedule *s, struct site *site)
{
    if (!site->own)
        return;
    set_timer(s, site->own, 0);
    free(site->own->why);
    free(site->own);
    site->own = NULL;
}

static uint32_t taken(const struct schedule *s, const struct braked *b)
{
    return meter_a_minute(b->share ? &b->share->meter : &b->site->meter, s->now);
}

void braked_time(struct schedule *s, struct braked *b)
{
    b->timed = false;
    for (enum brake_event event; (event = brake_time(&b->brake, taken(s, b), s->now)) != BRAKE_NOTHING;)
        tell(s, b, event);
    after_change(s, b);
}

static bool release(struct schedule *s, struct braked *b)
{
    if (!b || !b->brake.on)
        return false;
    brake_release(&b->brake, s->now);
    tell(s, b, BRAKE_RELEASED);
    set_timer(s, b, 0);
    after_change(s, b);
    return true;
}

bool schedule_unslow(struct schedule *s, struct site *site, uint64_t now)
{
    set_clock(s, now);
    bool own = release(s, site->own);
    return release(s, site->share ? &site->share->braked : NULL) || own;
}

void schedule_tell(struct schedule *s, schedule_told_fn *told)
{
    s->told = told;
}
