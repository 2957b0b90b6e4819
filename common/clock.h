/* clock: time that only goes forward, for waits and limits: a clock that an administrator sets ends no session and fires no timer.
 * Times that are told, or kept on disk, are program_now(). */
#ifndef POSTINO_CLOCK_H
#define POSTINO_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Microseconds since some moment before this process began. */
static inline uint64_t clock_monotonic_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static inline uint64_t clock_monotonic_ms(void)
{
    return clock_monotonic_us() / 1000;
}

static inline uint64_t clock_seconds(void)
{
    return clock_monotonic_us() / 1000000;
}

#endif
