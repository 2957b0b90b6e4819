/* brake: a receiver said that it is too much: less goes there for a while, then more again step by step.
 *
 *              slow, pause                                        a step long nothing was said
 *      FREE -----------------> a quarter of what was taken ---------------------------------------> twice as much --> twice ... --> FREE
 *                                 |   ^  said again: half of what goes now, or of what is taken now      |
 *                                 +---+------------------------------------------------------------------+
 *
 * What was taken: the messages that it took in the last minute (or the limit, if that is less; BRAKE_LEAST at least), and the jobs that were under
 * way. It is free again when it may have that much, and less than half of what it may have goes, so that the brake held nothing back.
 * So a receiver that wants a tenth of what there is for it finds that with the second word, and is asked for more once a step.
 *
 * A pause is the same, but nothing at all goes in its first step. Jobs that went out before the brake was put on say nothing new, and what is said
 * within a tenth of a step is one word: who refuses for a minute says so to all that comes in it. Pure; times are in seconds. */
#ifndef POSTINO_BRAKE_H
#define POSTINO_BRAKE_H

#include "qmgr/pace.h"

#define BRAKE_LEAST 20 /* a minute */
#define BRAKE_WORD  10 /* what is said within this part of a step is one word */
#define BRAKE_DEPTH 64 /* it goes down to this part of what was taken before that counts as half */

struct brake {
    struct pace pace;  /* its a_minute: what may go now */
    uint64_t at;       /* when it was put on last; 0: never */
    uint64_t until;    /* its next step */
    uint32_t step;     /* how long one is */
    uint32_t before;   /* a minute: what was taken */
    uint16_t sessions; /* at a time, now */
    bool on, paused;
};

struct brake_pull {
    uint64_t granted; /* when the job went out that was told so */
    uint32_t step;
    uint32_t taken; /* in the last minute */
    unsigned sessions;
    bool pause;
};
bool brake_put(struct brake *, const struct brake_pull *, uint64_t now); /* false: nothing new */
void brake_release(struct brake *, uint64_t now);

enum brake_event { BRAKE_NOTHING, BRAKE_RESUMED /* the pause is over */, BRAKE_EASED, BRAKE_RELEASED };
/* One step, if it is time; call until BRAKE_NOTHING. `taken`: in the last minute. */
enum brake_event brake_time(struct brake *, uint32_t taken, uint64_t now);

bool brake_may(struct brake *, unsigned active, uint64_t now);
void brake_take(struct brake *, uint64_t now);           /* one goes */
uint64_t brake_when(const struct brake *, uint64_t now); /* when the rate lets the next one go, or a pause ends; 0: no brake is on */

/* meter: how many in the last minute, about; METER_MOST and more are as many. Each site has one: it is small. */
#define METER_MOST UINT16_MAX
struct meter {
    uint16_t minute, before, now;
};
void meter_count(struct meter *, uint64_t now);
uint32_t meter_a_minute(const struct meter *, uint64_t now);

#endif
