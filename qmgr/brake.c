#include "qmgr/brake.h"

#define SESSIONS_MOST 1000 /* of a site */

static uint32_t at_least(uint32_t n, uint32_t least)
{
    return n > least ? n : least;
}

static uint32_t at_most(uint32_t n, uint32_t most)
{
    return n < most ? n : most;
}

static void begin(struct brake *b, const struct brake_pull *p, uint64_t now)
{
    b->on = true;
    b->before = at_least(p->taken, BRAKE_LEAST);
    b->sessions = (uint16_t)at_least(at_most(p->sessions, SESSIONS_MOST) / 4, 1);
    pace_limit(&b->pace, b->before / 4, now);
}

/* Where even the least was too much, what went before is no measure. */
static void harder(struct brake *b, const struct brake_pull *p, uint64_t now)
{
    uint32_t least = at_least(b->before / BRAKE_DEPTH, 1), rate = at_most(b->pace.a_minute, p->taken) / 2;
    if (b->pace.a_minute <= least)
        b->before = at_least(b->before / 2, 1);
    b->sessions = (uint16_t)at_least(b->sessions / 2, 1);
    pace_limit(&b->pace, at_least(rate, least), now);
}

/* Who refuses for a while says so to everything that comes meanwhile: that is one word. */
static bool is_new(const struct brake *b, const struct brake_pull *p, uint64_t now)
{
    return b->at == 0 || (p->granted > b->at && (!b->on || now >= b->at + b->step / BRAKE_WORD));
}

bool brake_put(struct brake *b, const struct brake_pull *p, uint64_t now)
{
    if (!is_new(b, p, now)) {
        if (b->on && p->granted > b->at && !b->paused)
            b->until = now + b->step;
        return false;
    }
    if (b->on)
        harder(b, p, now);
    else
        begin(b, p, now);
    b->paused = p->pause;
    b->step = at_least(p->step, 1);
    b->at = now;
    b->until = now + b->step;
    return true;
}

void brake_release(struct brake *b, uint64_t now)
{
    b->on = b->paused = false;
    pace_limit(&b->pace, 0, now);
}

enum brake_event brake_time(struct brake *b, uint32_t taken, uint64_t now)
{
    uint32_t rate = b->pace.a_minute;
    if (!b->on || now < b->until)
        return BRAKE_NOTHING;
    b->until += b->step;
    if (b->paused) {
        b->paused = false;
        return BRAKE_RESUMED;
    }
    if ((rate >= b->before && taken <= rate / 2) || rate > PACE_MOST / 2) {
        brake_release(b, now);
        return BRAKE_RELEASED;
    }
    b->sessions = (uint16_t)at_most(b->sessions * 2u, SESSIONS_MOST);
    pace_limit(&b->pace, rate * 2, now);
    return BRAKE_EASED;
}

bool brake_may(struct brake *b, unsigned active, uint64_t now)
{
    return !b->on || (!b->paused && active < b->sessions && pace_may(&b->pace, now));
}

void brake_take(struct brake *b, uint64_t now)
{
    pace_take(&b->pace, now);
}

uint64_t brake_when(const struct brake *b, uint64_t now)
{
    return !b->on ? 0 : b->paused ? b->until : pace_when(&b->pace, now);
}

/* ---- the last minute ----------------------------------------------------------------------------------------------- */

static void turn(struct meter *m, uint64_t now)
{
    uint16_t minute = (uint16_t)(now / 60);
    if (m->minute == minute)
        return;
    m->before = (uint16_t)(m->minute + 1) == minute ? m->now : 0;
    m->now = 0;
    m->minute = minute;
}

void meter_count(struct meter *m, uint64_t now)
{
    turn(m, now);
    if (m->now < METER_MOST)
        m->now++;
}

/* Of the minute before as much as is not yet a minute ago. */
uint32_t meter_a_minute(const struct meter *m, uint64_t now)
{
    struct meter copy = *m;
    turn(&copy, now);
    return copy.now + (uint32_t)((uint64_t)copy.before * (60 - now % 60) / 60);
}
