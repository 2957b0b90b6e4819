#include "sts/store.h"

#include "common/address.h"
#include "common/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC     "Postino STS 1\n"
#define FRONT     ((size_t)200)
#define FILE_MOST (STS_TEXT_MOST + FRONT)
#define NEW       ".new"

static int directory = -1;

void store_setup(int fd)
{
    directory = fd;
}

static bool is_name(const char *domain)
{
    return domain[0] != '.' && !strchr(domain, '/') && address_is_domain(span_of(domain), false);
}

/* ---- reading --------------------------------------------------------------------------------------------------------------------- */

/* A line "key: value"; `rest` moves behind it. */
static bool take_line(struct span *rest, const char *key, char *value, size_t size)
{
    struct span line;
    size_t front = strlen(key);
    if (!span_cut(rest, '\n', &line) || line.n <= front || line.n - front >= size || memcmp(line.p, key, front) != 0)
        return false;
    memcpy(value, line.p + front, line.n - front);
    value[line.n - front] = '\0';
    return true;
}

static bool parse(struct span file, struct stored *out)
{
    char number[21];
    struct span magic = SPAN_LITERAL(MAGIC);
    if (file.n < magic.n || memcmp(file.p, magic.p, magic.n) != 0)
        return false;
    file = span_make(file.p + magic.n, file.n - magic.n);
    if (!take_line(&file, "id: ", out->id, sizeof out->id) || !take_line(&file, "fetched: ", number, sizeof number) || file.n < 1 ||
        *file.p != '\n')
        return false;
    out->fetched = strtoull(number, NULL, 10);
    buf_add(&out->text, file.p + 1, file.n - 1);
    return !out->text.failed;
}

bool store_read(const char *domain, struct stored *out)
{
    *out = (struct stored){.text = BUF_EMPTY(STS_TEXT_MOST)};
    struct buf file = BUF_EMPTY(FILE_MOST);
    bool good = is_name(domain) && file_read_at(directory, domain, &file) && parse(buf_span(&file), out);
    buf_free(&file);
    if (!good)
        buf_free(&out->text);
    return good;
}

/* ---- writing --------------------------------------------------------------------------------------------------------------------- */

int store_write(const char *domain, const char *id, uint64_t fetched, struct span text, struct error *error)
{
    struct buf file = BUF_EMPTY(FILE_MOST);
    buf_printf(&file, MAGIC "id: %s\nfetched: %" PRIu64 "\n\n", id, fetched);
    buf_add_span(&file, text);
    int result = -1;
    errno = EINVAL;
    if (is_name(domain) && !file.failed && file_replace(directory, domain, NEW, buf_span(&file)) == 0)
        result = 0;
    else
        error_set(error, "the MTA-STS policy of %s can't be kept: %s; it counts until the next restart", domain, strerror(errno));
    buf_free(&file);
    return result;
}

void store_remove(const char *domain)
{
    if (is_name(domain))
        unlinkat(directory, domain, 0);
}

/* ---- all of them ----------------------------------------------------------------------------------------------------------------- */

void store_mark(const char *domain, uint64_t asked)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = (time_t)asked}};
    if (is_name(domain))
        utimensat(directory, domain, times, AT_SYMLINK_NOFOLLOW);
}

bool store_next(char domain[256], uint64_t *asked)
{
    static DIR *all;
    struct stat st;
    if (!all) {
        int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || !(all = fdopendir(fd)))
            return false;
    }
    for (struct dirent *e; (e = readdir(all));) {
        if (!is_name(e->d_name) || strlen(e->d_name) >= 256 || fstatat(directory, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(st.st_mode))
            continue;
        memcpy(domain, e->d_name, strlen(e->d_name) + 1);
        *asked = st.st_mtim.tv_sec > 0 ? (uint64_t)st.st_mtim.tv_sec : 0;
        return true;
    }
    closedir(all);
    all = NULL;
    return false;
}
