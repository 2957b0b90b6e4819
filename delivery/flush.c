#include "delivery/flush.h"

#include <errno.h>
#include <linux/aio_abi.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct {
    aio_context_t context;
    bool tried; /* to make it */
} self;

static bool can_together(void)
{
    if (!self.tried && syscall(SYS_io_setup, FLUSH_MOST, &self.context) != 0)
        self.context = 0;
    self.tried = true;
    return self.context != 0;
}

/* How many the kernel has taken, from the first on. */
static size_t submit(const int fds[], size_t n)
{
    struct iocb blocks[FLUSH_MOST] = {0}, *list[FLUSH_MOST];
    for (size_t i = 0; i < n; i++) {
        blocks[i].aio_lio_opcode = IOCB_CMD_FDSYNC;
        blocks[i].aio_fildes = (uint32_t)fds[i];
        blocks[i].aio_data = i;
        list[i] = &blocks[i];
    }
    long taken = syscall(SYS_io_submit, self.context, (long)n, list);
    return taken > 0 ? (size_t)taken : 0;
}

/* Waits for as many answers. False: they can't be had. */
static bool collect(int errors[], size_t n)
{
    struct io_event events[FLUSH_MOST];
    while (n) {
        long got = syscall(SYS_io_getevents, self.context, (long)n, (long)n, events, NULL);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        for (long i = 0; i < got; i++)
            errors[events[i].data] = events[i].res < 0 ? (int)-events[i].res : 0;
        n -= (size_t)got;
    }
    return true;
}

void flush_files(const int fds[], int errors[], size_t n)
{
    size_t done = n > 1 && n <= FLUSH_MOST && can_together() ? submit(fds, n) : 0;
    if (!collect(errors, done)) {
        self.context = 0; /* late answers would be taken for others' */
        done = 0;
    }
    for (size_t i = done; i < n; i++)
        errors[i] = fdatasync(fds[i]) == 0 ? 0 : errno;
}
