/* window: how many jobs a site takes at a time, learned from what becomes of them.
 *
 *            +--------------------- any answer of the site: a success, or a word about a recipient ----------------------+
 *            v                                                                                                           |
 *          OPEN --a failure halves the window--> SUSPECT --failed, three in a row, none in flight--> DEAD --delay--> PROBE
 *          may send up to its window             one at a time beside what is out already            nothing  ^      one |
 *                                                each failure of that one halves again                        +--failed--+
 *
 * A failure is one at connection level. Jobs that were out together fail together: only a job that went out since the last halving halves
 * again (its *epoch* is the window's), and only such a job's success makes it grow. A window of 1 that fails is dead at once.
 *
 * Growth needs proof: the job that is the first to fill the window at its size is the *scout*, and there is no next size before it came
 * back well. Where it failed last (its *ceiling*: as many as were out) the window pauses: the step up to there takes WINDOW_PATIENCE
 * times as many successes; when the site took that many after all, the ceiling is forgotten.
 *
 * So a site that dies at a window of W costs at most W + log2(W) + 2 failed jobs, all but W of them one after the other; and one that
 * takes L sessions and refuses more has its window between L/2 and L + 1, at L most of the time, at the price of one refused job a climb.
 * */
#ifndef POSTINO_WINDOW_H
#define POSTINO_WINDOW_H

#include "qmgr/schedule.h"

#define WINDOW_PATIENCE 32

enum window_state { WINDOW_OPEN, WINDOW_SUSPECT, WINDOW_DEAD, WINDOW_PROBE };

struct window {
    float size;
    uint16_t most, active;
    uint16_t proved;  /* as many at once were well, since the last halving */
    uint16_t ceiling; /* 0: none */
    uint8_t state;    /* enum window_state */
    uint8_t failed;   /* in a row */
    uint8_t probes;   /* that failed, in a row */
    uint8_t epoch;    /* 7 bits */
    bool trial;       /* SUSPECT: the one is out */
    bool scouting;    /* the scout is out */
};

void window_init(struct window *, unsigned most);
void window_limit(struct window *, unsigned most);
bool window_room(const struct window *); /* may one more go out? */
uint8_t window_grant(struct window *);   /* one goes out; what it returns is to be handed to window_end() */
/* One came back. It may have died from it: the caller sees that in `state`, and calls window_probe() after a delay. */
void window_end(struct window *, uint8_t granted, enum job_end);
void window_probe(struct window *); /* DEAD -> PROBE */

#endif
