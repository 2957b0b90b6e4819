#include "common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

bool file_read(int fd, struct buf *out)
{
    char piece[4096];
    ssize_t n = 0;
    while (!out->failed && (n = read(fd, piece, sizeof piece)) > 0)
        buf_add(out, piece, (size_t)n);
    if (out->secret)
        explicit_bzero(piece, sizeof piece);
    return n == 0 && !out->failed;
}

bool file_read_at(int directory, const char *name, struct buf *out)
{
    int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    bool good = fd >= 0 && file_read(fd, out);
    if (fd >= 0)
        close(fd);
    return good;
}

static int write_all(int fd, struct span text)
{
    while (text.n > 0) {
        ssize_t n = write(fd, text.p, text.n);
        if (n <= 0)
            return -1;
        text = span_make(text.p + n, text.n - (size_t)n);
    }
    return fsync(fd);
}

int file_replace(int directory, const char *name, const char *new, struct span text)
{
    int fd = openat(directory, new, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    int status = write_all(fd, text), cause = errno;
    close(fd);
    if (status == 0 && renameat(directory, new, directory, name) == 0)
        return fsync(directory);
    if (status == 0)
        cause = errno;
    unlinkat(directory, new, 0); /* on a full disk even a part of it is room */
    errno = cause;
    return -1;
}
