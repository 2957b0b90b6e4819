/* pace: no more than so many a minute, and no more at once than one second brings (rounded up). What is saved is counted in sixtieths of a
 * message, so that one second brings as many as the limit says for a minute. */
#ifndef POSTINO_PACE_H
#define POSTINO_PACE_H

#include <stdbool.h>
#include <stdint.h>

#define PACE_MOST 1000000 /* a minute */

struct pace {
    uint32_t a_minute; /* 0: no limit */
    int32_t saved;
    uint64_t at; /* when that was counted */
};

void pace_limit(struct pace *, unsigned a_minute, uint64_t now);
bool pace_may(struct pace *, uint64_t now);
void pace_take(struct pace *, uint64_t now);           /* one goes, whether it may or not */
uint64_t pace_when(const struct pace *, uint64_t now); /* the second in which the next one may */

#endif
