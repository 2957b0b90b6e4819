/* A disk that says yes to every flush and flushes nothing: linked into postino-qmgr (build/nosync/bin), in front of libc's. test_powercut.py must
 * find messages lost with it; a test that finds none proves nothing about the real program either. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

int fsync(int fd)
{
    (void)fd;
    return 0;
}

int fdatasync(int fd)
{
    (void)fd;
    return 0;
}

int syncfs(int fd)
{
    (void)fd;
    return 0;
}

int sync_file_range(int fd, off64_t offset, off64_t count, unsigned int flags)
{
    (void)fd, (void)offset, (void)count, (void)flags;
    return 0;
}

int msync(void *address, size_t length, int flags)
{
    (void)address, (void)length, (void)flags;
    return 0;
}

/* Without RWF_DSYNC and RWF_SYNC. */
ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t offset, int flags)
{
    (void)flags;
    return pwritev(fd, parts, count, offset);
}
