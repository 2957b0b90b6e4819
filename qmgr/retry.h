/* retry: how long to wait: doubling, up to a most, spread by chance, so that what failed together does not come back together. */
#ifndef POSTINO_RETRY_H
#define POSTINO_RETRY_H

#include <stdint.h>

uint64_t retry_random(uint64_t *state);                  /* for jitter, not for secrets */
uint64_t retry_jitter(uint64_t *random, uint64_t delay); /* up to a tenth on either side */
uint64_t retry_doubled(uint64_t first, uint32_t times, uint64_t most);

#endif
