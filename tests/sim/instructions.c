#include "tests/sim/instructions.h"

#include <linux/perf_event.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *how = "nothing";

static int counter(void)
{
    struct perf_event_attr a = {.type = PERF_TYPE_HARDWARE, .size = sizeof a, .config = PERF_COUNT_HW_INSTRUCTIONS, .disabled = 1};
    a.exclude_kernel = a.exclude_hv = 1;
    return (int)syscall(SYS_perf_event_open, &a, 0, -1, -1, 0);
}

static long by_counter(int fd, void (*run)(void *), void *arg)
{
    uint64_t n = 0;
    how = "a hardware counter";
    ioctl(fd, PERF_EVENT_IOC_ENABLE, 0);
    run(arg);
    ioctl(fd, PERF_EVENT_IOC_DISABLE, 0);
    return read(fd, &n, sizeof n) == sizeof n ? (long)n : -1;
}

static void nothing(void *arg)
{
    (void)arg;
}

/* The child stops itself before and after: what lies between is counted, with what stopping costs. Who else stops it is no end. */
static long by_steps(void (*run)(void *), void *arg)
{
    long n = -1;
    int status;
    pid_t child = fork();
    if (child == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
            _exit(1);
        raise(SIGSTOP);
        run(arg);
        raise(SIGUSR1);
        _exit(0);
    }
    if (child < 0)
        return -1;
    if (waitpid(child, &status, 0) == child && WIFSTOPPED(status)) {
        n = 0;
        do {
            n += WSTOPSIG(status) == SIGTRAP || n == 0;
            if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) != 0)
                n = -1;
        } while (n > 0 && waitpid(child, &status, 0) == child && WIFSTOPPED(status) && WSTOPSIG(status) != SIGUSR1);
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
    }
    return n;
}

long instructions_of(void (*run)(void *), void *arg)
{
    int fd = counter();
    if (fd >= 0) {
        long n = by_counter(fd, run, arg);
        close(fd);
        return n;
    }
    long all = by_steps(run, arg), none = by_steps(nothing, NULL);
    if (all < 0 || none < 0)
        return -1;
    how = "single steps";
    return all - none;
}

const char *instructions_how(void)
{
    return how;
}
