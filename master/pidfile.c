#include "master/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAME "master.pid"

static int pid_fd = -1;

static int held_by_other(int fd, const char *run, struct error *error)
{
    char text[32] = "";
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    long pid = n > 0 ? strtol(text, NULL, 10) : 0;
    if (pid > 0)
        return error_set(
            error, "postino-master is already running as process %ld (%s/" NAME "); stop it first, or give this one its own directory.run",
            pid, run);
    return error_set(error, "%s/" NAME " is locked by another process, which has not told its pid yet", run);
}

/* The former master removes the file as it ends: what we have locked may no longer be what is in the directory. */
static bool is_still_there(int run_directory, int fd)
{
    struct stat ours, there;
    return fstat(fd, &ours) == 0 && fstatat(run_directory, NAME, &there, AT_SYMLINK_NOFOLLOW) == 0 && ours.st_ino == there.st_ino &&
           ours.st_dev == there.st_dev;
}

int pidfile_take(int run_directory, const char *run, struct error *error)
{
    for (int tries = 0; tries < 10; tries++) {
        int fd = openat(run_directory, NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (fd < 0)
            return error_set(error, "%s/" NAME " can't be opened: %s", run, strerror(errno));
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            held_by_other(fd, run, error);
            close(fd);
            return -1;
        }
        if (is_still_there(run_directory, fd)) {
            pid_fd = fd;
            return 0;
        }
        close(fd);
    }
    return error_set(error, "%s/" NAME " changes under us; is another master being started?", run);
}

int pidfile_write(const char *run, struct error *error)
{
    char text[32];
    int n = snprintf(text, sizeof text, "%d\n", (int)getpid());
    if (ftruncate(pid_fd, 0) != 0 || pwrite(pid_fd, text, (size_t)n, 0) != n)
        return error_set(error, "%s/" NAME " can't be written: %s", run, strerror(errno));
    return 0;
}

void pidfile_remove(int run_directory)
{
    unlinkat(run_directory, NAME, 0);
    close(pid_fd);
    pid_fd = -1;
}
