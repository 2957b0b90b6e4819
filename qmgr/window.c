#include "qmgr/window.h"

#define ROW    3    /* failures in a row */
#define EPOCHS 0x7f /* a job's epoch, and ... */
#define SCOUT  0x80 /* ... whether it is the scout */

void window_init(struct window *w, unsigned most)
{
    *w = (struct window){.size = SCHEDULE_WINDOW};
    window_limit(w, most);
}

void window_limit(struct window *w, unsigned most)
{
    w->most = (uint16_t)(most < 1 ? 1 : most > UINT16_MAX ? UINT16_MAX : most);
    if (w->size > w->most)
        w->size = w->most;
}

bool window_room(const struct window *w)
{
    switch ((enum window_state)w->state) {
    case WINDOW_OPEN:
        return w->active < (uint16_t)w->size;
    case WINDOW_SUSPECT:
        return w->active < (uint16_t)w->size && !w->trial;
    case WINDOW_PROBE:
        return w->active == 0;
    case WINDOW_DEAD:
        break;
    }
    return false;
}

uint8_t window_grant(struct window *w)
{
    uint16_t whole = (uint16_t)w->size;
    bool scout = ++w->active >= whole && w->proved < whole && !w->scouting;
    w->scouting |= scout;
    w->trial = w->state == WINDOW_SUSPECT;
    return scout ? w->epoch | SCOUT : w->epoch;
}

void window_probe(struct window *w)
{
    if (w->state == WINDOW_DEAD)
        w->state = WINDOW_PROBE;
}

static void grow(struct window *w)
{
    uint16_t whole = (uint16_t)w->size;
    bool proved = w->proved >= whole;
    if (proved && whole >= w->ceiling)
        w->ceiling = 0;
    w->size += 1 / (whole + 1 == w->ceiling ? w->size * WINDOW_PATIENCE : w->size);
    if (!proved && w->size >= (float)(whole + 1))
        w->size = (float)whole + 0.99f;
    if (w->size > w->most)
        w->size = w->most;
}

static void answered(struct window *w, bool current, bool success)
{
    w->state = WINDOW_OPEN;
    w->trial = false;
    w->failed = w->probes = 0;
    if (success && current)
        grow(w);
}

static void next_epoch(struct window *w)
{
    w->epoch = (w->epoch + 1) & EPOCHS;
    w->proved = 0;
    w->trial = w->scouting = false;
}

static void die(struct window *w)
{
    if (w->state == WINDOW_PROBE && w->probes < UINT8_MAX)
        w->probes++;
    w->state = WINDOW_DEAD;
    w->size = 1;
    w->ceiling = 0;
    next_epoch(w);
}

static void broke(struct window *w, bool current)
{
    bool least = current && w->size < 2;
    if (w->failed < ROW)
        w->failed++;
    if (w->active == 0 && (least || w->failed == ROW || w->state == WINDOW_PROBE)) {
        die(w);
        return;
    }
    if (!current)
        return;
    w->state = WINDOW_SUSPECT;
    w->size = least ? 1 : w->size / 2;
    w->ceiling = w->active + 1;
    next_epoch(w);
}

void window_end(struct window *w, uint8_t granted, enum job_end end)
{
    bool current = (granted & EPOCHS) == w->epoch;
    bool scout = current && (granted & SCOUT);
    w->active--;
    if (scout)
        w->scouting = false;
    switch (end) {
    case JOB_SUCCESS:
    case JOB_RECIPIENT_FAILURE:
        if (scout)
            w->proved = (uint16_t)w->size;
        answered(w, current, end == JOB_SUCCESS);
        break;
    case JOB_SITE_FAILURE:
        broke(w, current);
        break;
    case JOB_UNKNOWN:
        if (current)
            w->trial = false;
        break;
    }
}
