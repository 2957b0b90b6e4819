#include "qmgr/retry.h"

uint64_t retry_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

uint64_t retry_jitter(uint64_t *random, uint64_t delay)
{
    uint64_t tenth = delay / 10;
    return delay - tenth + (tenth ? retry_random(random) % (2 * tenth + 1) : 0);
}

uint64_t retry_doubled(uint64_t first, uint32_t times, uint64_t most)
{
    while (times-- > 0 && first < most)
        first *= 2;
    return first < most ? first : most;
}
