#include "tests/unit/fake_clock.h"

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NANO 1000000000L

static long long ahead; /* nanoseconds */

void clock_pass(double seconds)
{
    ahead += (long long)(seconds * (double)NANO);
}

/* Stands in front of libc's, for libevent too: it is exported by the program, as the libraries refer to it. */
int clock_gettime(clockid_t clock, struct timespec *t)
{
    if (syscall(SYS_clock_gettime, clock, t) < 0)
        return -1;
    long long sum = (long long)t->tv_sec * NANO + t->tv_nsec + ahead;
    t->tv_sec = sum / NANO;
    t->tv_nsec = sum % NANO;
    return 0;
}
