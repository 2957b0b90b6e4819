#include "qmgr/brake.h"

static uint32_t at_least_one(uint32_t n)
{
    return n > 0 ? n : 1;
}

static void set_pace(struct brake *b, uint64_t now)
{
    pace_limit(&b->pace, b->level ? at_least_one(b->rate >> b->level) : 0, now);
}

bool brake_put(struct brake *b, const struct brake_pull *p, uint64_t now)
{
    if (b->at > 0 && p->granted <= b->at)
        return false;
    if (b->level == 0) {
        b->rate = p->rate;
        b->sessions = (uint16_t)(p->sessions < UINT16_MAX ? p->sessions : UINT16_MAX);
    }
    if (b->level < BRAKE_FIRST)
        b->level = BRAKE_FIRST;
    else if (b->level < BRAKE_MOST)
        b->level++;
    b->paused = p->pause;
    b->step = at_least_one(p->step);
    b->at = now;
    b->until = now + b->step;
    set_pace(b, now);
    return true;
}

void brake_release(struct brake *b, uint64_t now)
{
    b->level = 0;
    b->paused = false;
    set_pace(b, now);
}

enum brake_event brake_time(struct brake *b, uint64_t now)
{
    if (b->level == 0 || now < b->until)
        return BRAKE_NOTHING;
    b->until += b->step;
    if (b->paused) {
        b->paused = false;
        return BRAKE_RESUMED;
    }
    b->level--;
    set_pace(b, now);
    return b->level ? BRAKE_EASED : BRAKE_RELEASED;
}

unsigned brake_sessions(const struct brake *b)
{
    return at_least_one(b->sessions >> b->level);
}

bool brake_may(struct brake *b, unsigned active, uint64_t now)
{
    return b->level == 0 || (!b->paused && active < brake_sessions(b) && pace_may(&b->pace, now));
}

void brake_take(struct brake *b, uint64_t now)
{
    pace_take(&b->pace, now);
}

uint64_t brake_when(const struct brake *b, uint64_t now)
{
    return b->level == 0 ? 0 : b->paused ? b->until : pace_when(&b->pace, now);
}

/* ---- what went out before ---------------------------------------------------------------------------------------- */

static void turn(struct meter *m, uint64_t now)
{
    uint32_t minute = (uint32_t)(now / 60);
    if (m->minute == minute)
        return;
    m->before = m->minute + 1 == minute ? m->now : 0;
    m->now = 0;
    m->minute = minute;
}

void meter_count(struct meter *m, uint64_t now)
{
    turn(m, now);
    if (m->now < PACE_MOST)
        m->now++;
}

/* Of the minute before as much as is not yet a minute ago. */
uint32_t meter_a_minute(const struct meter *m, uint64_t now)
{
    struct meter copy = *m;
    turn(&copy, now);
    return copy.now + (uint32_t)((uint64_t)copy.before * (60 - now % 60) / 60);
}
