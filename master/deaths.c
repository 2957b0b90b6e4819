#include "master/deaths.h"

#include <signal.h>
#include <sys/wait.h>
#include <sysexits.h>

#define FREE_DEATHS 2
#define DELAY_FIRST 1000u
#define DELAY_MOST  30000u

static const struct {
    int status;
    const char *words;
} exits[] = {
    {EX_USAGE, "wrong use"},
    {EX_NOUSER, "no such user"},
    {EX_UNAVAILABLE, "something it needs is not there"},
    {EX_SOFTWARE, "it was cut off by a peer, or found itself in error"},
    {EX_OSERR, "operating system error"},
    {EX_TEMPFAIL, "its master hung up on it"},
    {EX_CONFIG, "configuration error"},
    {127, "the program could not be run"},
};

static const struct {
    int signal;
    const char *words;
} signals[] = {
    {SIGSYS, "system call not allowed by its sandbox"},
    {SIGSEGV, "memory error: a bug"},
    {SIGBUS, "memory error: a bug, or a file that was cut short"},
    {SIGILL, "illegal instruction: a bug"},
    {SIGFPE, "arithmetic error: a bug"},
    {SIGTRAP, "trap: a bug"},
    {SIGABRT, "it found itself in a state that cannot be: a bug; its last log line says which"},
    {SIGKILL, "by root, or for want of memory"},
    {SIGTERM, "by somebody else than the master"},
    {SIGXFSZ, "a file would have grown past its limit"},
    {SIGXCPU, "past its limit of processor time"},
};

static void exit_words(int status, struct buf *out)
{
    buf_printf(out, "exited with status %d", status);
    for (size_t i = 0; i < sizeof exits / sizeof *exits; i++)
        if (exits[i].status == status)
            buf_printf(out, " (%s)", exits[i].words);
}

static void signal_words(int number, struct buf *out)
{
    const char *name = sigabbrev_np(number);
    if (name)
        buf_printf(out, "killed by SIG%s", name);
    else
        buf_printf(out, "killed by signal %d", number);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (signals[i].signal == number)
            buf_printf(out, " (%s)", signals[i].words);
}

void death_words(int status, struct buf *out)
{
    if (WIFSIGNALED(status))
        signal_words(WTERMSIG(status), out);
    else
        exit_words(WEXITSTATUS(status), out);
}

int death_exit_status(int status)
{
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : EX_SOFTWARE;
    return code >= EX__BASE && code <= EX__MAX ? code : EX_SOFTWARE;
}

unsigned death_count(unsigned quick, uint64_t lived)
{
    if (lived >= DEATH_QUICK_MS)
        return 0;
    return quick < 1000 ? quick + 1 : quick;
}

unsigned death_delay(unsigned quick)
{
    unsigned delay = DELAY_FIRST;
    if (quick <= FREE_DEATHS)
        return 0;
    for (unsigned i = FREE_DEATHS + 1; i < quick && delay < DELAY_MOST; i++)
        delay *= 2;
    return delay < DELAY_MOST ? delay : DELAY_MOST;
}
