#include "common/map.h"
#include "common/mapsource.h"

#include <db.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SOURCE_MAX ((size_t)256 << 20)

struct build {
    const char *source;
    char *path;     /* the map */
    char *new_path; /* what it is built as, in the same directory */
    enum map_form form;
    struct buf text;
    struct buf *warnings;
    DB *db;
    long count;
};

static int fail(const struct build *b, struct error *error, const char *file, const char *what, int status)
{
    (void)b;
    return error_set(error, "%s: %s: %s", file, what, db_strerror(status));
}

static int read_source(struct build *b, struct error *error)
{
    int fd = open(b->source, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail(b, error, b->source, "cannot be opened", errno);
    ssize_t n = 1;
    while (n > 0 && buf_reserve(&b->text, 65536)) {
        n = read(fd, b->text.data + b->text.len, 65536);
        if (n > 0)
            b->text.len += (size_t)n;
        else if (n < 0 && errno == EINTR)
            n = 1;
    }
    int saved = n < 0 ? errno : 0;
    close(fd);
    if (saved != 0)
        return fail(b, error, b->source, "cannot be read", saved);
    return b->text.failed ? error_set(error, "%s: larger than %zu octets", b->source, SOURCE_MAX) : 0;
}

/* ---- entries ---------------------------------------------------------------------------------------------------------------------- */

struct first {
    struct span key;
    unsigned line;
};

static int find_first(const struct mapsource_entry *entry, void *arg, struct error *error)
{
    struct first *first = arg;
    if (!span_equal(entry->key, first->key))
        return 0;
    first->line = entry->line;
    return error_set(error, "found");
}

static int duplicate(const struct build *b, const struct mapsource_entry *entry, struct error *error)
{
    struct first first = {.key = entry->key};
    mapsource_read(buf_span(&b->text), b->form, find_first, &first, error);
    return error_set(error, "line %u: \"%.*s\" is there twice, first in line %u; remove one, or put the targets together", entry->line,
                     (int)(entry->key.n < 128 ? entry->key.n : 128), entry->key.p, first.line);
}

static const char *not_supported(enum alias_kind kind)
{
    switch (kind) {
    case ALIAS_COMMAND:
        return "a command (|)";
    case ALIAS_FILE:
        return "a file (/path)";
    case ALIAS_INCLUDE:
        return ":include:";
    case ALIAS_NAME:
    case ALIAS_LITERAL:
    case ALIAS_BROKEN:
        break;
    }
    return NULL;
}

static void warn(const struct build *b, const struct mapsource_entry *entry)
{
    struct span list = entry->value, to;
    enum alias_kind kind;
    while (b->warnings != NULL && alias_target_next(&list, &to, &kind))
        if (not_supported(kind) != NULL)
            buf_printf(b->warnings,
                       "%s: line %u: %s is not supported by this version; mail for %.*s is held back with 451 until the line is changed\n",
                       b->source, entry->line, not_supported(kind), SPAN_ARG(entry->key));
}

static int put(const struct mapsource_entry *entry, void *arg, struct error *error)
{
    struct build *b = arg;
    struct buf key = BUF_EMPTY(0), value = BUF_EMPTY(0);
    buf_add_span(&key, entry->key);
    buf_add_span(&value, entry->value);
    int status = key.failed || value.failed ? ENOMEM : 0;
    DBT k = {.data = key.data, .size = (u_int32_t)key.len}, v = {.data = value.data, .size = (u_int32_t)value.len};
    if (status == 0)
        status = b->db->put(b->db, NULL, &k, &v, DB_NOOVERWRITE);
    buf_free(&key);
    buf_free(&value);
    if (status == DB_KEYEXIST)
        return duplicate(b, entry, error);
    if (status != 0)
        return error_set(error, "cannot write %s: %s", b->new_path, db_strerror(status));
    if (b->form == MAP_ALIASES)
        warn(b, entry);
    b->count++;
    return 0;
}

/* ---- the file --------------------------------------------------------------------------------------------------------------------- */

static void quiet(const DB_ENV *env, const char *prefix, const char *message)
{
    (void)env;
    (void)prefix;
    (void)message;
}

static int create_db(struct build *b, DBTYPE type, struct error *error)
{
    int status = db_create(&b->db, NULL, 0);
    if (status != 0)
        return fail(b, error, b->new_path, "cannot be made", status);
    b->db->set_errcall(b->db, quiet);
    b->db->set_pagesize(b->db, 4096);
    b->db->set_flags(b->db, DB_CHKSUM); /* so that a damaged page is an error, and not an absent key */
    unlink(b->new_path);
    status = b->db->open(b->db, NULL, b->new_path, NULL, type, DB_CREATE | DB_EXCL, 0600);
    return status == 0 ? 0 : fail(b, error, b->new_path, "cannot be made", status);
}

static int fill(struct build *b, struct error *error)
{
    struct error inner;
    if (mapsource_read(buf_span(&b->text), b->form, put, b, &inner) < 0)
        return error_set(error, "%s: %s", b->source, inner.text);
    return 0;
}

static int close_db(struct build *b, bool keep, struct error *error)
{
    int status = b->db != NULL ? b->db->close(b->db, keep ? 0 : DB_NOSYNC) : 0;
    b->db = NULL;
    return status == 0 || !keep ? 0 : fail(b, error, b->new_path, "cannot be written", status);
}

/* The new file gets the old one's mode and owner. */
static int dress_and_sync(const struct build *b, struct error *error)
{
    struct stat old;
    bool there = stat(b->path, &old) == 0 && S_ISREG(old.st_mode);
    int fd = open(b->new_path, O_RDWR | O_CLOEXEC | O_NOFOLLOW), saved = 0;
    if (fd < 0)
        return fail(b, error, b->new_path, "cannot be opened", errno);
    if (there && geteuid() == 0 && fchown(fd, old.st_uid, old.st_gid) < 0)
        saved = errno;
    if (fchmod(fd, there ? old.st_mode & 0777 : 0644) < 0 || fsync(fd) < 0)
        saved = errno;
    close(fd);
    return saved == 0 ? 0 : fail(b, error, b->new_path, "cannot be written", saved);
}

static int sync_directory(const struct build *b, struct error *error)
{
    char *directory = strndup(b->path, (size_t)(strrchr(b->path, '/') - b->path) + 1);
    int fd = directory ? open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    int saved = fd < 0 || fsync(fd) < 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    free(directory);
    return saved == 0 ? 0 : fail(b, error, b->path, "its directory cannot be synced", saved);
}

static int put_in_place(const struct build *b, struct error *error)
{
    if (dress_and_sync(b, error) < 0)
        return -1;
    if (rename(b->new_path, b->path) < 0)
        return fail(b, error, b->path, "cannot be replaced", errno);
    return sync_directory(b, error);
}

static int build(struct build *b, DBTYPE type, struct error *error)
{
    if (read_source(b, error) < 0)
        return -1;
    int status = create_db(b, type, error);
    if (status == 0)
        status = fill(b, error);
    if (close_db(b, status == 0, error) < 0 || (status == 0 && put_in_place(b, error) < 0))
        status = -1;
    if (status < 0)
        unlink(b->new_path);
    return status;
}

long map_build(const char *spec, enum map_form form, struct buf *warnings, struct error *error)
{
    struct build b = {.form = form, .text = BUF_EMPTY(SOURCE_MAX), .warnings = warnings};
    bool hash = strncmp(spec, "hash:/", 6) == 0;
    if ((!hash && strncmp(spec, "btree:/", 7) != 0) || spec[strlen(spec) - 1] == '/')
        return error_set(error, "%s is not a map that can be built; write hash:/path or btree:/path", spec);
    b.source = strchr(spec, ':') + 1;
    int status = -1;
    if (asprintf(&b.path, "%s.db", b.source) < 0)
        b.path = NULL;
    if (asprintf(&b.new_path, "%s.db.new.%ld", b.source, (long)getpid()) < 0)
        b.new_path = NULL;
    if (b.path == NULL || b.new_path == NULL)
        error_set(error, "%s: no memory", spec);
    else
        status = build(&b, hash ? DB_HASH : DB_BTREE, error);
    free(b.path);
    free(b.new_path);
    buf_free(&b.text);
    return status < 0 ? -1 : b.count;
}
