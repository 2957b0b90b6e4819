#include "qmgr/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/statfs.h>
#include <unistd.h>

static int real_openat(int directory, const char *path, int flags, mode_t mode)
{
    return openat(directory, path, flags | O_CLOEXEC | O_NOFOLLOW, mode);
}

/* A hint; its failure means nothing. */
static int real_write_back(int fd)
{
    return sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

static int real_linkat(int directory, const char *from, const char *to)
{
    return linkat(directory, from, directory, to, 0);
}

static int real_renameat(int directory, const char *from, const char *to)
{
    return renameat(directory, from, directory, to);
}

static int real_unlinkat(int directory, const char *path)
{
    return unlinkat(directory, path, 0);
}

static int real_mkdirat(int directory, const char *path)
{
    return mkdirat(directory, path, 0700);
}

static int real_size(int fd, uint64_t *size)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return -1;
    if (!S_ISREG(st.st_mode)) {
        errno = EINVAL;
        return -1;
    }
    *size = (uint64_t)st.st_size;
    return 0;
}

static int real_free_space(int fd, uint64_t *octets)
{
    struct statfs fs;
    if (fstatfs(fd, &fs) != 0)
        return -1;
    *octets = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
    return 0;
}

const struct disk_ops disk_real = {
    .openat = real_openat,
    .close = close,
    .pwritev = pwritev,
    .pread = pread,
    .write_back = real_write_back,
    .fdatasync = fdatasync,
    .fsync = fsync,
    .ftruncate = ftruncate,
    .linkat = real_linkat,
    .renameat = real_renameat,
    .unlinkat = real_unlinkat,
    .mkdirat = real_mkdirat,
    .size = real_size,
    .free_space = real_free_space,
};
const struct disk_ops *disk = &disk_real;

int disk_write(int fd, const struct iovec *parts, int count, uint64_t offset)
{
    struct iovec rest[4];
    int first = 0;
    for (int i = 0; i < count; i++)
        rest[i] = parts[i];
    for (;;) {
        while (first < count && rest[first].iov_len == 0)
            first++;
        if (first == count)
            return 0;
        ssize_t n = disk->pwritev(fd, rest + first, count - first, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? errno : EIO;
        offset += (uint64_t)n;
        for (size_t left = (size_t)n; left > 0; first += rest[first].iov_len == 0) {
            size_t take = left < rest[first].iov_len ? left : rest[first].iov_len;
            rest[first].iov_base = (char *)rest[first].iov_base + take;
            rest[first].iov_len -= take;
            left -= take;
        }
    }
}

int disk_read(int fd, void *to, size_t n, uint64_t offset)
{
    for (size_t done = 0; done < n;) {
        ssize_t got = disk->pread(fd, (char *)to + done, n - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? errno : EIO;
        done += (size_t)got;
    }
    return 0;
}
