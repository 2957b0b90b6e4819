/* brake: a receiver said that it is too much: less goes there for a while, then more again step by step.
 *
 *             slow, pause                                       a step long nothing was said
 *    FREE ------------------> 1/4 (of what went out before) ------------------------------> 1/2 ----------> FREE
 *                              |  ^ said again: half of that; 1/64 at least                  |  said again: 1/4 or less
 *                              v  |                                                          v
 *                             1/8, 1/16 ... each step doubles it again
 *
 * A pause is the same, but nothing at all goes in its first step. What went out before: the messages of the minute before, or the limit if that is
 * less, and the jobs that were under way; at least one of each. Jobs that went out before the brake was put on say nothing new: only
 * one that was granted since puts it on harder. Pure; times are in seconds. */
#ifndef POSTINO_BRAKE_H
#define POSTINO_BRAKE_H

#include "qmgr/pace.h"

#define BRAKE_FIRST 2 /* a quarter */
#define BRAKE_MOST  6 /* 1/64 */

struct brake {
    struct pace pace;
    uint64_t at;       /* when it was put on last; 0: never */
    uint64_t until;    /* its next step */
    uint32_t step;     /* how long one is */
    uint32_t rate;     /* a minute, before */
    uint16_t sessions; /* at a time, before */
    uint8_t level;     /* n: 1/2^n; 0: free */
    bool paused;
};

struct brake_pull {
    uint64_t granted; /* when the job went out that was told so */
    uint32_t step;
    uint32_t rate;
    unsigned sessions;
    bool pause;
};
bool brake_put(struct brake *, const struct brake_pull *, uint64_t now); /* false: nothing new */
void brake_release(struct brake *, uint64_t now);

enum brake_event { BRAKE_NOTHING, BRAKE_RESUMED /* the pause is over */, BRAKE_EASED, BRAKE_RELEASED };
enum brake_event brake_time(struct brake *, uint64_t now); /* one step, if it is time; call until BRAKE_NOTHING */

bool brake_may(struct brake *, unsigned active, uint64_t now);
void brake_take(struct brake *, uint64_t now);           /* one goes */
uint64_t brake_when(const struct brake *, uint64_t now); /* when the rate lets the next one go, or a pause ends; 0: no brake is on */
unsigned brake_sessions(const struct brake *);           /* of one that is on */

/* meter: how many went out in the last minute, about. */
struct meter {
    uint32_t minute, before, now;
};
void meter_count(struct meter *, uint64_t now);
uint32_t meter_a_minute(const struct meter *, uint64_t now);

#endif
