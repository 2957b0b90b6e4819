#include "qmgr/spool_version.h"
#include "qmgr/disk.h"
#include "qmgr/spool_format.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#ifndef POSTINO_VERSION
#define POSTINO_VERSION "0.1"
#endif

int spool_version_write(int directory)
{
    static const char text[] = "Postino spool version 2, written by Postino " POSTINO_VERSION "\n";
    struct iovec all = {.iov_base = (void *)(uintptr_t)text, .iov_len = sizeof text - 1};
    int fd = disk->openat(directory, "version.new", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0)
        return errno;
    int status = disk_write(fd, &all, 1, 0);
    if (status == 0 && disk->fdatasync(fd) != 0)
        status = errno;
    disk->close(fd);
    if (status == 0 && disk->renameat(directory, "version.new", "version") != 0)
        status = errno;
    return status;
}

/* 0, EINVAL: no regular file, or an errno. */
static int read_text(int directory, char *text, size_t room)
{
    uint64_t size;
    int fd = disk->openat(directory, "version", O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0)
        return errno == ELOOP || errno == ENXIO ? EINVAL : errno;
    int status = disk->size(fd, &size) == 0 ? 0 : errno;
    size_t n = status == 0 && size < room - 1 ? (size_t)size : room - 1;
    text[n] = '\0';
    if (status == 0)
        status = disk_read(fd, text, n, 0);
    disk->close(fd);
    return status;
}

enum spool_version_verdict spool_version_read(int directory, unsigned *version)
{
    char text[128] = "";
    int status = read_text(directory, text, sizeof text);
    *version = 0;
    if (status == ENOENT)
        return SPOOL_VERSION_NONE;
    if (status != 0 && status != EINVAL) {
        errno = status;
        return SPOOL_VERSION_UNREADABLE;
    }
    if (status == EINVAL || sscanf(text, "Postino spool version %9u", version) != 1 || *version == 0)
        return SPOOL_VERSION_FOREIGN;
    return *version > SPOOL_VERSION ? SPOOL_VERSION_NEWER : SPOOL_VERSION_GOOD;
}

int spool_check_version(int directory, struct error *error)
{
    unsigned version;
    int status;
    switch (spool_version_read(directory, &version)) {
    case SPOOL_VERSION_UNREADABLE:
        return error_set(error, "spool: version can't be read: %s", strerror(errno));
    case SPOOL_VERSION_FOREIGN:
        return error_set(error, "spool: the file version does not say \"Postino spool version 2\": is this directory a spool of Postino? "
                                "If so, see postino spool check");
    case SPOOL_VERSION_NEWER:
        return error_set(error, "spool: it has version %u, and this Postino knows version %d: start the newer Postino that wrote it",
                         version, SPOOL_VERSION);
    case SPOOL_VERSION_GOOD: /* version 1 has no log yet: nothing else is different */
    case SPOOL_VERSION_NONE:
        break;
    }
    if (version < SPOOL_VERSION && (status = spool_version_write(directory)) != 0)
        return error_set(error, "spool: version can't be written: %s", strerror(status));
    return 0;
}
