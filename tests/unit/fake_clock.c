#include "tests/unit/fake_clock.h"

#include <stdbool.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NANO 1000000000L

static long long ahead;          /* nanoseconds */
static struct timespec began[2]; /* the time of day, and that since the machine's start */
static bool stands;

void clock_pass(double seconds)
{
    ahead += (long long)(seconds * (double)NANO);
}

__attribute__((constructor)) static void stop(void)
{
    stands = syscall(SYS_clock_gettime, CLOCK_REALTIME, &began[0]) == 0 && syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &began[1]) == 0;
}

static bool is_of_day(clockid_t clock)
{
    return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
}

static bool is_since_start(clockid_t clock)
{
    return clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE || clock == CLOCK_MONOTONIC_RAW || clock == CLOCK_BOOTTIME;
}

/* Stands in front of libc's, for libevent too: it is exported by the program, as the libraries refer to it. */
int clock_gettime(clockid_t clock, struct timespec *t)
{
    if (!stands || (!is_of_day(clock) && !is_since_start(clock)))
        return (int)syscall(SYS_clock_gettime, clock, t);
    const struct timespec *from = &began[is_of_day(clock) ? 0 : 1];
    long long sum = (long long)from->tv_sec * NANO + from->tv_nsec + ahead;
    t->tv_sec = sum / NANO;
    t->tv_nsec = sum % NANO;
    return 0;
}
