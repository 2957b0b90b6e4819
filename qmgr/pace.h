/* pace: no more than so many in a period (a minute, a day), evenly, and no more at once than one second brings (rounded up). What is saved is
 * counted in the period's seconds to a message, so that one second brings as many as the limit says for the period. */
#ifndef POSTINO_PACE_H
#define POSTINO_PACE_H

#include <stdbool.h>
#include <stdint.h>

#define PACE_MOST 1000000 /* in a period */
enum { PACE_MINUTE = 60, PACE_DAY = 86400 };

struct pace {
    uint32_t a_minute; /* or in another period; 0: no limit */
    int32_t period, saved;
    uint32_t at; /* when that was counted; seconds since 1970, which go to 2106 */
};

void pace_limit(struct pace *, unsigned a_minute, uint64_t now);
void pace_limit_in(struct pace *, unsigned most, int32_t period /* seconds */, uint64_t now);
bool pace_may(struct pace *, uint64_t now);
void pace_take(struct pace *, uint64_t now);           /* one goes, whether it may or not */
uint64_t pace_when(const struct pace *, uint64_t now); /* the second in which the next one may */
uint64_t pace_full(const struct pace *);               /* when all is saved that can be; until then it must not be forgotten */

#endif
