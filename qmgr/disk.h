/* disk: the system calls by which the spool is read and written, as a table, so that a test can be a disk that fails. They return as the
 * calls do (-1, errno). */
#ifndef POSTINO_DISK_H
#define POSTINO_DISK_H

#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

struct disk_ops {
    int (*openat)(int directory, const char *path, int flags, mode_t mode);
    int (*close)(int fd);
    ssize_t (*pwritev)(int fd, const struct iovec *, int count, off_t);
    ssize_t (*pread)(int fd, void *, size_t, off_t);
    int (*write_back)(int fd); /* start to write what is dirty; wait for nothing */
    int (*fdatasync)(int fd);
    int (*fsync)(int fd); /* of a directory */
    int (*ftruncate)(int fd, off_t);
    int (*linkat)(int directory, const char *from, const char *to);
    int (*renameat)(int directory, const char *from, const char *to);
    int (*unlinkat)(int directory, const char *path);
    int (*mkdirat)(int directory, const char *path);
    int (*size)(int fd, uint64_t *size); /* of a regular file; EINVAL for another kind */
    int (*free_space)(int fd, uint64_t *octets);
};

extern const struct disk_ops *disk;     /* what the spool uses */
extern const struct disk_ops disk_real; /* the kernel's */

/* The whole of it, however many calls it takes. 0, or an errno. */
int disk_write(int fd, const struct iovec *, int count /* at most 4 */, uint64_t offset);
int disk_read(int fd, void *to, size_t n, uint64_t offset); /* EIO: the file is shorter */

#endif
