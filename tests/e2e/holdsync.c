/* A disk whose flushes can be held: linked into postino-qmgr (build/holdsync/bin), in front of libc's. While somebody has an exclusive flock(2) on
 * /hold.before in the spool (which is the program's root directory), a flush waits before it begins; /hold.after: when it is done. flock() is a
 * call that the program's sandbox allows, and a kill ends it. While there is a file /fail.flush, every flush fails: EIO. */
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

static void wait_at(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    while (flock(fd, LOCK_SH) != 0)
        continue;
    close(fd);
}

static int held(long call, int fd)
{
    wait_at("/hold.before");
    int fail = open("/fail.flush", O_RDONLY | O_CLOEXEC);
    if (fail >= 0) {
        close(fail);
        errno = EIO;
        return -1;
    }
    int status = (int)syscall(call, fd);
    wait_at("/hold.after");
    return status;
}

int fsync(int fd)
{
    return held(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return held(SYS_fdatasync, fd);
}
