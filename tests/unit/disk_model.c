#include "tests/unit/disk_model.h"
#include "qmgr/log_format.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define SECTOR 512
#define BLOCK  4096

struct media media;

char root_path[64];
int root_fd = -1;
uint64_t dice;

unsigned throw_dice(unsigned n)
{
    dice = dice * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(dice >> 33) % n;
}

static bool fails_now(void)
{
    media.calls++;
    if (media.fail_at == 0 || media.calls < media.fail_at || (media.once && media.calls > media.fail_at))
        return false;
    errno = media.error;
    return true;
}

/* 256 shelves are all the same: most of the time one failure is enough for all of them. */
static bool shelves(void)
{
    return !getenv("SPOOL_LONG") && media.shelves++ % 64 != 5;
}

static struct shadow *shadow_of(const char *path)
{
    for (size_t i = 0; i < media.count; i++)
        if (strcmp(media.files[i].path, path) == 0)
            return &media.files[i];
    assert_true(media.count < sizeof media.files / sizeof *media.files);
    struct shadow *f = &media.files[media.count++];
    *f = (struct shadow){.there = false};
    snprintf(f->path, sizeof f->path, "%s", path);
    return f;
}

static void path_of(int fd, char out[256])
{
    char link[64], full[256] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, full, sizeof full - 1);
    full[n > 0 ? n : 0] = '\0';
    size_t skip = strlen(root_path);
    snprintf(out, 256, "%s", strlen(full) > skip ? full + skip + 1 : ".");
}

static int m_openat(int directory, const char *path, int flags, mode_t mode)
{
    if ((flags & O_CREAT || !(media.changes || (media.reads && flags & O_DIRECTORY && shelves()))) && fails_now())
        return -1;
    if (media.no_files && flags & O_CREAT && strncmp(path, "msg/", 4) == 0) {
        errno = ENOSPC;
        return -1;
    }
    media.names += (flags & O_CREAT) != 0;
    int fd = disk_real.openat(directory, path, flags, mode);
    if (fd >= 0 && flags & O_CREAT)
        shadow_of(path)->there = true;
    return fd;
}

/* In blocks, as a filesystem gives them out. A link is counted twice: so a full disk comes a little sooner. */
static uint64_t octets_used(void)
{
    uint64_t used = 0;
    for (size_t i = 0; i < media.count; i++) {
        struct stat st;
        if (media.files[i].there && fstatat(root_fd, media.files[i].path, &st, 0) == 0)
            used += ((uint64_t)st.st_size + BLOCK - 1) / BLOCK * BLOCK;
    }
    return used;
}

/* What there is no room for is not written; a part may be. */
static ssize_t write_what_fits(int fd, const struct iovec *parts, int count, off_t offset)
{
    uint64_t size = 0, used = octets_used(), end = (uint64_t)offset;
    assert_int_equal(disk_real.size(fd, &size), 0);
    for (int i = 0; i < count; i++)
        end += parts[i].iov_len;
    uint64_t have = (size + BLOCK - 1) / BLOCK * BLOCK + (media.capacity > used ? media.capacity - used : 0);
    if (end <= have)
        return disk_real.pwritev(fd, parts, count, offset);
    if ((uint64_t)offset < have && parts[0].iov_len > 0) {
        uint64_t n = have - (uint64_t)offset;
        struct iovec some = {.iov_base = parts[0].iov_base, .iov_len = n < parts[0].iov_len ? (size_t)n : parts[0].iov_len};
        return disk_real.pwritev(fd, &some, 1, offset);
    }
    errno = ENOSPC;
    return -1;
}

static void count_records(int fd, const struct iovec *part)
{
    char path[256];
    struct spool_record r;
    const unsigned char *p = part->iov_base;
    path_of(fd, path);
    if (strncmp(path, "msg/", 4) == 0)
        media.in_files += part->iov_len >= SPOOL_RECORD_HEADER && spool_record_decode(p, &r) && r.type == SPOOL_SETTLE;
    for (size_t at = 0; strncmp(path, "log/", 4) == 0 && at + SPOOL_RECORD_HEADER <= part->iov_len; at += LOG_ALIGN)
        if (spool_record_decode(p + at, &r) && r.type <= SPOOL_TOLD)
            media.records[r.type]++;
}

static ssize_t m_pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    count_records(fd, &parts[0]);
    if (!fails_now())
        return media.capacity > 0 ? write_what_fits(fd, parts, count, offset) : disk_real.pwritev(fd, parts, count, offset);
    int error = errno;
    struct iovec half = {.iov_base = parts[0].iov_base, .iov_len = throw_dice((unsigned)parts[0].iov_len + 1)};
    (void)!disk_real.pwritev(fd, &half, 1, offset);
    errno = error;
    return -1;
}

static ssize_t m_pread(int fd, void *to, size_t n, off_t offset)
{
    char path[256];
    if (media.reads && fails_now())
        return -1;
    if (media.bad_at > 0 && media.bad_at >= (uint64_t)offset && media.bad_at - (uint64_t)offset < n) {
        path_of(fd, path);
        errno = EIO;
        if (strcmp(path, media.bad_path) == 0)
            return -1;
    }
    return disk_real.pread(fd, to, n, offset);
}

static unsigned char *contents(int fd, size_t *size)
{
    uint64_t n = 0;
    assert_int_equal(disk_real.size(fd, &n), 0);
    unsigned char *data = malloc((size_t)n + 1);
    assert_non_null(data);
    assert_int_equal(pread(fd, data, (size_t)n, 0), (ssize_t)n);
    *size = (size_t)n;
    return data;
}

static int m_fdatasync(int fd)
{
    char path[256];
    if (fails_now())
        return -1;
    media.flushes++;
    if (media.lying)
        return 0;
    path_of(fd, path);
    struct shadow *f = shadow_of(path);
    int readable = openat(root_fd, path, O_RDONLY);
    assert_true(readable >= 0);
    free(f->durable);
    f->durable = contents(readable, &f->size);
    close(readable);
    return 0;
}

static void name_is_durable(struct shadow *f)
{
    f->named = f->there;
    free(f->replaced);
    f->replaced = NULL;
}

static int m_fsync(int fd)
{
    char path[256];
    if (fails_now())
        return -1;
    path_of(fd, path);
    size_t n = strlen(path);
    for (size_t i = 0; i < media.count && !media.lying; i++)
        if (strncmp(media.files[i].path, path, n) == 0 && media.files[i].path[n] == '/')
            name_is_durable(&media.files[i]);
    return 0;
}

static int m_ftruncate(int fd, off_t size)
{
    return fails_now() ? -1 : disk_real.ftruncate(fd, size);
}

static int m_linkat(int directory, const char *from, const char *to)
{
    if (fails_now() || disk_real.linkat(directory, from, to) != 0)
        return -1;
    struct shadow *a = shadow_of(from), *b = shadow_of(to);
    media.names++;
    b->there = true;
    b->size = a->size;
    b->durable = malloc(a->size + 1);
    assert_non_null(b->durable);
    if (a->durable)
        memcpy(b->durable, a->durable, a->size);
    return 0;
}

static int m_unlinkat(int directory, const char *path)
{
    if (fails_now())
        return -1;
    media.names++;
    if (disk_real.unlinkat(directory, path) != 0)
        return -1;
    struct shadow *f = shadow_of(path);
    f->there = false;
    return 0;
}

static int m_renameat(int directory, const char *from, const char *to)
{
    if (fails_now() || disk_real.renameat(directory, from, to) != 0)
        return -1;
    if (!strchr(to, '/')) /* version */
        return 0;
    struct shadow *a = shadow_of(from), *b = shadow_of(to);
    media.names++;
    a->there = false;
    b->there = true;
    if (!b->replaced) {
        b->replaced = b->durable;
        b->replaced_size = b->size;
    } else {
        free(b->durable);
    }
    b->size = a->size;
    b->durable = malloc(a->size + 1);
    assert_non_null(b->durable);
    if (a->durable)
        memcpy(b->durable, a->durable, a->size);
    return 0;
}

static int m_mkdirat(int directory, const char *path)
{
    return !media.changes && !(media.reads && shelves()) && fails_now() ? -1 : disk_real.mkdirat(directory, path);
}

static int m_size(int fd, uint64_t *size)
{
    if (media.reads && fails_now())
        return -1;
    return disk_real.size(fd, size);
}

static int m_write_back(int fd)
{
    (void)fd;
    return 0;
}

static int m_free_space(int fd, uint64_t *octets)
{
    (void)fd;
    if (media.reads && fails_now())
        return -1;
    uint64_t used = media.capacity > 0 ? octets_used() : 0;
    *octets = media.capacity == 0 ? UINT64_MAX / 2 : media.capacity > used ? media.capacity - used : 0;
    return 0;
}

const struct disk_ops media_ops = {
    .openat = m_openat,
    .close = close,
    .pwritev = m_pwritev,
    .pread = m_pread,
    .write_back = m_write_back,
    .fdatasync = m_fdatasync,
    .fsync = m_fsync,
    .ftruncate = m_ftruncate,
    .linkat = m_linkat,
    .renameat = m_renameat,
    .unlinkat = m_unlinkat,
    .mkdirat = m_mkdirat,
    .size = m_size,
    .free_space = m_free_space,
};

/* A sector that is not durable is old or new; a name that is not durable is there or not. */
static void cut_file(struct shadow *f)
{
    bool there = f->there == f->named ? f->there : throw_dice(2) == 0;
    size_t size = 0;
    if (f->replaced && throw_dice(2)) { /* the name is still that of the other file */
        free(f->durable);
        f->durable = f->replaced;
        f->size = f->replaced_size;
        f->replaced = NULL;
        unlinkat(root_fd, f->path, 0);
        there = true;
    }
    int fd = openat(root_fd, f->path, O_RDWR);
    unsigned char *now = fd >= 0 ? contents(fd, &size) : calloc(1, 1);
    if (fd >= 0)
        close(fd);
    if (!there) {
        unlinkat(root_fd, f->path, 0);
        free(now);
        return;
    }
    size_t length = size > f->size && throw_dice(2) ? size : f->size > size ? f->size : size;
    unsigned char *after = calloc(1, length + SECTOR);
    assert_non_null(after);
    for (size_t at = 0; at < length; at += SECTOR) {
        const unsigned char *from = throw_dice(2) ? now : f->durable;
        size_t have = from == now ? size : f->size;
        if (from == now && size == 0 && f->durable) { /* it was unlinked: only what is durable is known */
            from = f->durable;
            have = f->size;
        }
        if (from && have > at)
            memcpy(after + at, from + at, have - at < SECTOR ? have - at : SECTOR);
    }
    fd = openat(root_fd, f->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, after, length), (ssize_t)length);
    close(fd);
    free(after);
    free(now);
}

/* What is there now has survived: nothing can take it back but what is done from here on. */
static void survived(struct shadow *f)
{
    int fd = openat(root_fd, f->path, O_RDONLY | O_NONBLOCK);
    free(f->durable);
    free(f->replaced);
    f->durable = f->replaced = NULL;
    f->size = 0;
    f->there = f->named = fd >= 0;
    if (fd < 0)
        return;
    f->durable = contents(fd, &f->size);
    close(fd);
}

void power_cut(void)
{
    for (size_t i = 0; i < media.count; i++) {
        if (strchr(media.files[i].path, '/'))
            cut_file(&media.files[i]);
        survived(&media.files[i]);
    }
}

static struct shadow saved[sizeof media.files / sizeof *media.files];
static size_t saved_count;

void media_save(void)
{
    for (size_t i = 0; i < saved_count; i++)
        free(saved[i].durable);
    saved_count = media.count;
    for (size_t i = 0; i < saved_count; i++) {
        saved[i] = media.files[i];
        if (!saved[i].durable)
            continue;
        saved[i].durable = malloc(saved[i].size + 1);
        assert_non_null(saved[i].durable);
        memcpy(saved[i].durable, media.files[i].durable, saved[i].size);
    }
}

/* What came since then is gone. */
void media_restore(void)
{
    for (size_t i = 0; i < media.count; i++) {
        const struct shadow *f = i < saved_count ? &saved[i] : NULL;
        if (f && f->named) {
            int fd = openat(root_fd, f->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
            assert_true(fd >= 0);
            assert_int_equal(write(fd, f->durable, f->size), (ssize_t)f->size);
            close(fd);
        } else {
            unlinkat(root_fd, media.files[i].path, 0);
        }
        survived(&media.files[i]);
    }
}

bool media_dead(void)
{
    return media.fail_at != 0 && media.calls >= media.fail_at && !media.once;
}

void media_again(void)
{
    media.calls = media.fail_at = media.shelves = 0;
    media.once = media.lying = media.reads = media.changes = false;
    media.error = EIO;
}

void forget_media(void)
{
    for (size_t i = 0; i < media.count; i++)
        free(media.files[i].durable);
    memset(&media, 0, sizeof media);
}