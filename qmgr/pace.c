#include "qmgr/pace.h"

/* What one second brings, and the rest that made no whole message before. */
static int32_t full(const struct pace *p)
{
    return (int32_t)p->a_minute + p->period - 1;
}

static void count(struct pace *p, uint64_t now)
{
    if (now <= p->at)
        return;
    uint64_t seconds = now - p->at, enough = (uint64_t)(full(p) - p->saved);
    p->at = (uint32_t)now;
    p->saved = seconds > enough || seconds * p->a_minute >= enough ? full(p) : p->saved + (int32_t)(seconds * p->a_minute);
}

void pace_limit(struct pace *p, unsigned a_minute, uint64_t now)
{
    pace_limit_in(p, a_minute, PACE_MINUTE, now);
}

void pace_limit_in(struct pace *p, unsigned most, int32_t period, uint64_t now)
{
    most = most < PACE_MOST ? most : PACE_MOST;
    if (most == p->a_minute && period == p->period)
        return;
    bool first = p->a_minute == 0 || period != p->period;
    p->a_minute = most;
    p->period = period;
    if (first || p->saved > full(p))
        p->saved = full(p);
    p->at = (uint32_t)now;
}

bool pace_may(struct pace *p, uint64_t now)
{
    if (p->a_minute == 0)
        return true;
    count(p, now);
    return p->saved >= p->period;
}

void pace_take(struct pace *p, uint64_t now)
{
    if (p->a_minute == 0)
        return;
    count(p, now);
    if (p->saved > -p->period)
        p->saved -= p->period;
}

uint64_t pace_when(const struct pace *p, uint64_t now)
{
    if (p->a_minute == 0 || p->saved >= p->period)
        return now;
    return p->at + ((uint64_t)(p->period - p->saved) + p->a_minute - 1) / p->a_minute;
}

uint64_t pace_full(const struct pace *p)
{
    if (p->a_minute == 0 || p->saved >= full(p))
        return p->at;
    return p->at + ((uint64_t)(full(p) - p->saved) + p->a_minute - 1) / p->a_minute;
}
