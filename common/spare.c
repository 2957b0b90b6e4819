#include "common/spare.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <unistd.h>

static bool wanted;
static unsigned count;
static int spares[SPARE_MOST];

void spare_want(void)
{
    wanted = true;
    spare_keep();
}

/* They lead to nothing that this process, or one that it starts, has not anyway. */
void spare_keep(void)
{
    int fd, saved = errno;
    while (wanted && count < SPARE_MOST && (fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0)) >= 0)
        spares[count++] = fd;
    errno = saved;
}

void spare_give(void)
{
    if (count > 0)
        close(spares[--count]);
}
