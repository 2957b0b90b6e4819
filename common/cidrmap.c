#include "common/cidrmap.h"

#include "common/address.h"
#include "common/clock.h"
#include "common/mapsource.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MOST     ((size_t)16 << 20)
#define LOOK_AGAIN_US 1000000

struct row {
    struct network network;
    size_t value, n; /* in `text` */
};

struct cidrmap {
    char *path;
    struct buf text, rows; /* the values; struct row */
    struct stat seen;
    uint64_t looked; /* monotonic microseconds; 0: never */
    bool good;
    struct error why; /* when it is not good */
};

struct cidrmap *cidrmap_open(const char *path)
{
    struct cidrmap *m = calloc(1, sizeof *m);
    if (m == NULL || (m->path = strdup(path)) == NULL) {
        free(m);
        return NULL;
    }
    m->text = BUF_EMPTY(2 * FILE_MOST);
    m->rows = BUF_EMPTY(SIZE_MAX);
    error_set(&m->why, "%s: it was not read yet", path);
    return m;
}

void cidrmap_free(struct cidrmap *m)
{
    if (m == NULL)
        return;
    buf_free(&m->text);
    buf_free(&m->rows);
    free(m->path);
    free(m);
}

/* ---- reading ------------------------------------------------------------------------------------------------------------------- */

static int take_row(const struct mapsource_entry *e, void *arg, struct error *error)
{
    struct cidrmap *m = arg;
    struct row row = {.value = m->text.len, .n = e->value.n};
    if (!network_parse(e->key, &row.network))
        return error_set(error, "line %u: %.*s is not a network; write it like 192.0.2.0/24 (the host's bits are zero)", e->line,
                         SPAN_ARG(e->key));
    buf_add_span(&m->text, e->value);
    buf_add(&m->rows, &row, sizeof row);
    return m->text.failed || m->rows.failed ? error_set(error, "line %u: out of memory", e->line) : 0;
}

static int read_whole(int fd, struct buf *out)
{
    char piece[16384];
    ssize_t n;
    while ((n = read(fd, piece, sizeof piece)) > 0) {
        buf_add(out, piece, (size_t)n);
        if (out->failed)
            return EFBIG;
    }
    return n < 0 ? errno : 0;
}

static int load_from(struct cidrmap *m, int fd, struct stat *st)
{
    struct buf source = BUF_EMPTY(FILE_MOST);
    struct error error;
    int status = fstat(fd, st) != 0 ? errno : !S_ISREG(st->st_mode) ? EINVAL : read_whole(fd, &source);
    int result = 0;
    if (status != 0)
        result = error_set(&m->why, "%s can't be read: %s", m->path, strerror(status));
    else if (mapsource_read(buf_span(&source), MAP_PLAIN, take_row, m, &error) != 0)
        result = error_set(&m->why, "%s: %.400s", m->path, error.text);
    buf_free(&source);
    return result;
}

static void load(struct cidrmap *m)
{
    struct stat st = {0};
    buf_clear(&m->text);
    buf_clear(&m->rows);
    int fd = open(m->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        error_set(&m->why, "%s can't be opened: %s", m->path, strerror(errno));
    m->good = fd >= 0 && load_from(m, fd, &st) == 0;
    m->seen = st;
    if (fd >= 0)
        close(fd);
}

static bool changed(const struct cidrmap *m)
{
    struct stat st;
    if (!m->good || stat(m->path, &st) != 0)
        return true;
    return st.st_dev != m->seen.st_dev || st.st_ino != m->seen.st_ino || st.st_size != m->seen.st_size ||
           st.st_mtim.tv_sec != m->seen.st_mtim.tv_sec || st.st_mtim.tv_nsec != m->seen.st_mtim.tv_nsec;
}

/* ---- lookup -------------------------------------------------------------------------------------------------------------------- */

enum map_result cidrmap_lookup(struct cidrmap *m, const struct sockaddr *address, struct span *value, struct error *error)
{
    uint64_t now = clock_monotonic_us();
    if (m->looked == 0 || now - m->looked >= LOOK_AGAIN_US) {
        m->looked = now;
        if (changed(m))
            load(m);
    }
    if (!m->good) {
        *error = m->why;
        return MAP_FAILED;
    }
    const struct row *rows = (const struct row *)(const void *)m->rows.data;
    for (size_t i = 0; i < m->rows.len / sizeof *rows; i++) {
        if (!network_contains(&rows[i].network, address))
            continue;
        *value = span_make(m->text.data + rows[i].value, rows[i].n);
        return MAP_FOUND;
    }
    return MAP_ABSENT;
}
