#include "qmgr/pace.h"

#define MESSAGE 60

/* What one second brings, and the rest that made no whole message before. */
static int32_t full(const struct pace *p)
{
    return (int32_t)p->a_minute + MESSAGE - 1;
}

static void count(struct pace *p, uint64_t now)
{
    if (now <= p->at)
        return;
    uint64_t seconds = now - p->at, enough = (uint64_t)(full(p) - p->saved);
    p->at = now;
    p->saved = seconds > enough || seconds * p->a_minute >= enough ? full(p) : p->saved + (int32_t)(seconds * p->a_minute);
}

void pace_limit(struct pace *p, unsigned a_minute, uint64_t now)
{
    a_minute = a_minute < PACE_MOST ? a_minute : PACE_MOST;
    if (a_minute == p->a_minute)
        return;
    bool first = p->a_minute == 0;
    p->a_minute = a_minute;
    if (first || p->saved > full(p))
        p->saved = full(p);
    p->at = now;
}

bool pace_may(struct pace *p, uint64_t now)
{
    if (p->a_minute == 0)
        return true;
    count(p, now);
    return p->saved >= MESSAGE;
}

void pace_take(struct pace *p, uint64_t now)
{
    if (p->a_minute == 0)
        return;
    count(p, now);
    if (p->saved > -MESSAGE)
        p->saved -= MESSAGE;
}

uint64_t pace_when(const struct pace *p, uint64_t now)
{
    if (p->a_minute == 0 || p->saved >= MESSAGE)
        return now;
    return p->at + ((uint64_t)(MESSAGE - p->saved) + p->a_minute - 1) / p->a_minute;
}
