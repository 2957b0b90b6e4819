#include "admin/spool_mend_private.h"
#include "common/crc32c.h"
#include "common/queueid.h"
#include "qmgr/disk.h"
#include "qmgr/memory.h"
#include "qmgr/spool_version.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define PIECE       ((size_t)64 << 10)
#define NAMES_TRIED 1000

/* ---- small things ------------------------------------------------------------------------------------------------ */

void mend_did(struct mend *m, const char *file, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    m->done++;
    m->calls->did(file, text, m->calls->arg);
}

static int failed(struct mend *m, const char *path, const char *what, int status)
{
    return error_set(m->error, "%s: %s failed: %s; what was done until now holds: mend the cause, and do it again", path, what,
                     strerror(status));
}

int mend_flush_directory(struct mend *m, const char *path)
{
    int fd = disk->openat(m->directory, path, O_RDONLY | O_DIRECTORY, 0);
    int status = fd < 0 || disk->fsync(fd) != 0 ? errno : 0;
    if (fd >= 0)
        disk->close(fd);
    return status == 0 ? 0 : failed(m, path, "its flush to disk", status);
}

static void numbered(char path[MEND_PATH], const char *name, unsigned n)
{
    if (n == 0)
        (void)snprintf(path, MEND_PATH, "bad/%.280s", name);
    else
        (void)snprintf(path, MEND_PATH, "bad/%.280s.%u", name, n);
}

int mend_aside(struct mend *m, const char *path, const char *directory, const char *name)
{
    char to[MEND_PATH];
    unsigned n = 0;
    do
        numbered(to, name, n++);
    while (n < NAMES_TRIED && faccessat(m->directory, to, F_OK, AT_SYMLINK_NOFOLLOW) == 0);
    if (m->calls->dry_run) {
        mend_did(m, path, "would be moved to %s", to);
        return 0;
    }
    if (disk->renameat(m->directory, path, to) != 0)
        return failed(m, path, "its move to bad/", errno);
    mend_did(m, path, "moved to %s", to);
    return mend_flush_directory(m, "bad") == 0 ? mend_flush_directory(m, directory) : -1;
}

int mend_create_aside(struct mend *m, const char *name, char path[MEND_PATH])
{
    int fd = -1;
    for (unsigned n = 0; n < NAMES_TRIED && fd < 0; n++) {
        numbered(path, name, n);
        fd = disk->openat(m->directory, path, O_WRONLY | O_CREAT | O_EXCL, 0600);
        if (fd < 0 && errno != EEXIST)
            break;
    }
    return fd >= 0 ? fd : failed(m, path, "its making", errno);
}

int mend_copy(struct mend *m, int from, uint64_t offset, uint64_t n, int to, uint64_t at, uint32_t *crc, const char *path)
{
    char *octets = memory_new(1, PIECE);
    int status = 0;
    for (uint64_t done = 0; done < n && status == 0;) {
        size_t piece = n - done < PIECE ? (size_t)(n - done) : PIECE;
        struct iovec all = {.iov_base = octets, .iov_len = piece};
        status = disk_read(from, octets, piece, offset + done);
        if (status == 0 && crc)
            *crc = crc32c(*crc, octets, piece);
        if (status == 0)
            status = disk_write(to, &all, 1, at + done);
        done += piece;
    }
    free(octets);
    return status == 0 ? 0 : failed(m, path, "its copy", status);
}

/* "msg/12" of "msg/12/ID"; "." of "version". */
static void split(const char *path, char directory[MEND_PATH], const char **name)
{
    const char *slash = strrchr(path, '/');
    (void)snprintf(directory, MEND_PATH, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    *name = slash ? slash + 1 : path;
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

static int aside(struct mend *m, const struct mend_work *w)
{
    char directory[MEND_PATH];
    const char *name;
    split(w->file, directory, &name);
    return mend_aside(m, w->file, directory, name);
}

/* A tail may be sparse, and as long as whoever made it wanted: its holes stay holes. */
static int copy_extents(struct mend *m, const struct mend_work *w, int fd, uint64_t size, int to)
{
    for (off_t at = (off_t)w->offset, end; (uint64_t)at < size; at = end) {
        off_t data = lseek(fd, at, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            break; /* a hole up to its end */
        end = data >= 0 ? lseek(fd, data, SEEK_HOLE) : (off_t)size;
        at = data >= 0 ? data : at;
        if (end < at || (uint64_t)end > size)
            end = (off_t)size;
        if (mend_copy(m, fd, (uint64_t)at, (uint64_t)(end - at), to, (uint64_t)at - w->offset, NULL, w->file) != 0)
            return -1;
    }
    return disk->ftruncate(to, (off_t)(size - w->offset)) == 0 ? 0 : failed(m, w->file, "the copy of its tail", errno);
}

static int keep_tail(struct mend *m, const struct mend_work *w, int fd, uint64_t size)
{
    char path[MEND_PATH], directory[MEND_PATH], tail[MEND_PATH];
    const char *name;
    split(w->file, directory, &name);
    (void)snprintf(tail, sizeof tail, "%.280s.tail", name);
    int to = mend_create_aside(m, tail, path);
    if (to < 0)
        return -1;
    int status = copy_extents(m, w, fd, size, to);
    if (status == 0 && disk->fdatasync(to) != 0)
        status = failed(m, path, "its flush to disk", errno);
    disk->close(to);
    if (status == 0)
        mend_did(m, w->file, "cut at %llu; what was behind is in %s", (unsigned long long)w->offset, path);
    return status == 0 ? mend_flush_directory(m, "bad") : -1;
}

static int cut_open(struct mend *m, const struct mend_work *w, int fd)
{
    uint64_t size;
    if (disk->size(fd, &size) != 0 || size < w->offset)
        return failed(m, w->file, "a look at its size", errno);
    if (keep_tail(m, w, fd, size) != 0)
        return -1;
    if (disk->ftruncate(fd, (off_t)w->offset) != 0 || disk->fdatasync(fd) != 0)
        return failed(m, w->file, "its cut", errno);
    return 0;
}

static int cut(struct mend *m, const struct mend_work *w)
{
    if (m->calls->dry_run) {
        mend_did(m, w->file, "would be cut at %llu", (unsigned long long)w->offset);
        return 0;
    }
    int fd = disk->openat(m->directory, w->file, O_RDWR | O_NONBLOCK, 0);
    if (fd < 0)
        return failed(m, w->file, "its opening", errno);
    int status = cut_open(m, w, fd);
    disk->close(fd);
    return status;
}

static int second_name(struct mend *m, const struct mend_work *w)
{
    if (!m->calls->dry_run && disk->unlinkat(m->directory, w->file) != 0)
        return failed(m, w->file, "the removal of this name", errno);
    mend_did(m, w->file, m->calls->dry_run ? "this name would be removed" : "this second name was removed");
    return m->calls->dry_run ? 0 : mend_flush_directory(m, "tmp");
}

static int make_directory(struct mend *m, const struct mend_work *w)
{
    char parent[MEND_PATH];
    const char *name;
    split(w->file, parent, &name);
    if (!m->calls->dry_run && disk->mkdirat(m->directory, w->file) != 0 && errno != EEXIST)
        return failed(m, w->file, "its making", errno);
    mend_did(m, w->file, m->calls->dry_run ? "would be made" : "made");
    return m->calls->dry_run ? 0 : mend_flush_directory(m, parent);
}

static int version(struct mend *m, const struct mend_work *w)
{
    if (faccessat(m->directory, w->file, F_OK, AT_SYMLINK_NOFOLLOW) == 0 && aside(m, w) != 0)
        return -1;
    int status = m->calls->dry_run ? 0 : spool_version_write(m->directory);
    if (status != 0)
        return failed(m, w->file, "its writing", status);
    mend_did(m, w->file, m->calls->dry_run ? "would be written anew" : "written anew");
    return m->calls->dry_run ? 0 : mend_flush_directory(m, ".");
}

/* ---- all --------------------------------------------------------------------------------------------------------- */

static int one(struct mend *m, const struct mend_work *w)
{
    switch (w->remedy) {
    case REMEDY_ASIDE:
        return aside(m, w);
    case REMEDY_CUT:
        return cut(m, w);
    case REMEDY_SECOND:
        return second_name(m, w);
    case REMEDY_DIRECTORY:
        return make_directory(m, w);
    case REMEDY_VERSION:
        return version(m, w);
    case REMEDY_NONE:
    case REMEDY_LOG:
        break;
    }
    return 0;
}

static int each(struct mend *m, unsigned remedies)
{
    for (size_t i = 0; i < m->count; i++) {
        if (remedies & 1u << m->work[i].remedy && one(m, &m->work[i]) != 0)
            return -1;
    }
    return 0;
}

static void remember(const struct finding *f, void *arg)
{
    struct mend *m = arg;
    m->calls->finding(f, m->calls->arg);
    m->log |= f->remedy == REMEDY_LOG;
    if (f->remedy == REMEDY_NONE || f->remedy == REMEDY_LOG)
        return;
    if (m->count == m->room) {
        m->room = m->room ? m->room * 2 : 64;
        m->work = memory_must(realloc(m->work, m->room * sizeof *m->work));
    }
    m->work[m->count++] = (struct mend_work){.remedy = f->remedy, .offset = f->offset, .file = memory_must(strdup(f->file))};
}

static int mend(struct mend *m)
{
    struct survey_sums sums;
    struct survey_calls calls = {.finding = remember, .arg = m};
    if (spool_survey(m->directory, &calls, &sums, m->error) != 0 || each(m, 1u << REMEDY_DIRECTORY) != 0)
        return -1;
    if (each(m, 1u << REMEDY_ASIDE | 1u << REMEDY_CUT | 1u << REMEDY_SECOND) != 0)
        return -1;
    if (m->log && mend_log(m) != 0)
        return -1;
    return each(m, 1u << REMEDY_VERSION);
}

long spool_mend(int directory, const struct mend_calls *calls, struct error *error)
{
    struct mend m = {.directory = directory, .calls = calls, .error = error};
    int status = mend(&m);
    for (size_t i = 0; i < m.count; i++)
        free(m.work[i].file);
    free(m.work);
    return status == 0 ? m.done : -1;
}
