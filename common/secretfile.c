#include "common/secretfile.h"

#include "common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static int check_owner(int fd, const char *path, struct error *error)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_set(error, "secret file %s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode))
        return error_set(error, "secret file %s is no file; write the secret into one", path);
    if (st.st_uid != 0 && st.st_uid != geteuid())
        return error_set(error, "secret file %s belongs to another user (uid %u); run chown root %s", path, st.st_uid, path);
    if (st.st_mode & (S_IRWXO | S_IRWXG))
        return error_set(error, "secret file %s is open to other users (mode %04o); run chmod 600 %s", path, st.st_mode & 07777u, path);
    return 0;
}

static int check_line(struct buf *out, const char *path, struct error *error)
{
    if (out->len > 0 && out->data[out->len - 1] == '\n')
        out->len--;
    if (out->len > 0 && out->data[out->len - 1] == '\r')
        out->len--;
    if (out->len > SECRETFILE_MOST)
        return error_set(error, "secret file %s is longer than %zu octets; write the secret alone into it", path, SECRETFILE_MOST);
    if (out->len == 0)
        return error_set(error, "secret file %s is empty; write the secret into it", path);
    for (size_t i = 0; i < out->len; i++)
        if (out->data[i] == '\0' || out->data[i] == '\r' || out->data[i] == '\n')
            return error_set(error, "secret file %s has more than one line; write the secret alone into it", path);
    buf_text(out);
    return 0;
}

/* All of its memory is had before it is read, so that what makes the buffer fail is the length. */
static int read_line(int fd, const char *path, struct buf *out, struct error *error)
{
    if (!buf_reserve(out, out->limit))
        return error_set(error, "out of memory");
    if (!file_read(fd, out) && !out->failed)
        return error_set(error, "secret file %s: %s", path, strerror(errno));
    if (out->failed)
        return error_set(error, "secret file %s is longer than %zu octets; write the secret alone into it", path, SECRETFILE_MOST);
    return check_line(out, path, error);
}

int secretfile_read(const char *path, struct buf *out, struct error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK); /* not to hang on what is no file */
    if (fd < 0)
        return error_set(error, "secret file %s can't be read: %s; put it there, or correct the path", path, strerror(errno));
    *out = (struct buf){.limit = SECRETFILE_MOST + 2, .secret = true}; /* CR LF */
    int result = check_owner(fd, path, error);
    if (result == 0)
        result = read_line(fd, path, out, error);
    close(fd);
    if (result < 0)
        buf_free(out);
    return result;
}
