#include "resolver/anchor.h"

#include "common/file.h"
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unbound.h>
#include <unistd.h>

#define KEPT     "root.key"
#define COPY     "packaged.key"
#define SHORTEST 60 /* ". IN DNSKEY 257 3 15 " and 32 octets in base64: less is no key, and libunbound would go on without one */

/* ---- files ----------------------------------------------------------------------------------------------------------------------- */

static bool read_file(const char *path, struct buf *text)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool good = fd >= 0 && file_read(fd, text);
    if (fd >= 0)
        close(fd);
    return good;
}

/* ---- keys ------------------------------------------------------------------------------------------------------------------------ */

/* A line with a record, which is copied without its comment, of a key that counts: one without a state, or that is valid (2) or missing (3; RFC 5011 4.2). */
static bool is_key(struct span line, char *record, size_t size)
{
    static const char mark[] = ";;state=";
    const char *state = line.n ? memmem(line.p, line.n, mark, sizeof mark - 1) : NULL;
    if (state != NULL) {
        state += sizeof mark - 1;
        if (state == line.p + line.n || (*state != '2' && *state != '3'))
            return false;
    }
    struct span text = span_until(&line, ';');
    if (text.n < SHORTEST || text.n >= size)
        return false;
    snprintf(record, size, "%.*s", SPAN_ARG(text));
    return strstr(record, " DNSKEY ") || strstr(record, "\tDNSKEY\t") || strstr(record, " DS ") || strstr(record, "\tDS\t");
}

static size_t count_keys(struct span text)
{
    char record[4096];
    size_t count = 0;
    while (text.n)
        count += is_key(span_until(&text, '\n'), record, sizeof record);
    return count;
}

bool anchor_use_kept(struct ub_ctx *context, const char *directory)
{
    char path[PATH_MAX + 16], record[4096];
    struct buf text = BUF_EMPTY(ANCHOR_OCTETS);
    bool any = false;
    snprintf(path, sizeof path, "%s/" KEPT, directory);
    if (read_file(path, &text))
        for (struct span rest = buf_span(&text); rest.n;)
            any |= is_key(span_until(&rest, '\n'), record, sizeof record) && ub_ctx_add_ta(context, record) == 0;
    buf_free(&text);
    return any;
}

bool anchor_is_kept(const char *directory)
{
    char path[PATH_MAX + 16];
    struct buf text = BUF_EMPTY(ANCHOR_OCTETS);
    snprintf(path, sizeof path, "%s/root.key", directory);
    bool is = read_file(path, &text) && count_keys(buf_span(&text)) > 0;
    buf_free(&text);
    return is;
}

/* ---- the beginning --------------------------------------------------------------------------------------------------------------- */

struct files {
    int directory;
    char kept[PATH_MAX], copy[PATH_MAX];
    struct buf packaged, former, now; /* what is in dns { trust_anchor }, packaged.key and root.key */
};

static void read_files(struct files *f, const char *packaged)
{
    struct buf *bufs[] = {&f->packaged, &f->former, &f->now};
    const char *paths[] = {packaged, f->copy, f->kept};
    for (size_t i = 0; i < 3; i++) {
        *bufs[i] = BUF_EMPTY(ANCHOR_OCTETS);
        if (!read_file(paths[i], bufs[i]))
            buf_free(bufs[i]);
    }
    if (count_keys(buf_span(&f->packaged)) > 0)
        return;
    buf_free(&f->packaged); /* not there now: it has not changed */
    buf_add_span(&f->packaged, buf_span(&f->former));
}

static const char *why_anew(const struct files *f, bool refused)
{
    if (refused)
        return "libunbound does not take the former one";
    if (f->now.len == 0)
        return f->former.len ? "it was not there, or empty" : "it is the first one";
    if (count_keys(buf_span(&f->now)) == 0)
        return "no key in the former one is valid";
    return span_equal(buf_span(&f->former), buf_span(&f->packaged)) ? NULL : "dns { trust_anchor } is another file than before";
}

static int write_file(const struct files *f, const char *name, const char *new, struct span text, struct error *error)
{
    if (file_replace(f->directory, name, new, text) == 0)
        return 0;
    return error_set(error, "%s in directory { dns } can't be written: %s", name, strerror(errno));
}

/* libunbound ends the process where it can't write. So that is found out here, by the copy, at each start. */
static int begin(const struct files *f, const char *packaged, bool refused, struct error *error)
{
    const char *why = why_anew(f, refused);
    if (count_keys(buf_span(&f->packaged)) == 0)
        return error_set(error, "dns { trust_anchor = \"%s\" } can't be read, or has no key in it", packaged);
    if (why != NULL) {
        log_warning("%s begins anew from %s: %s", f->kept, packaged, why);
        if (write_file(f, KEPT, KEPT ".new", buf_span(&f->packaged), error) != 0)
            return -1;
    }
    return write_file(f, COPY, COPY ".new", buf_span(&f->packaged), error);
}

int anchor_keep(const char *directory, const char *packaged, bool refused, char path[PATH_MAX], struct error *error)
{
    struct files f;
    if (snprintf(f.kept, sizeof f.kept, "%s/" KEPT, directory) >= PATH_MAX ||
        snprintf(f.copy, sizeof f.copy, "%s/" COPY, directory) >= PATH_MAX)
        return error_set(error, "directory { dns } is too long a path");
    f.directory = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f.directory < 0)
        return error_set(error, "directory { dns = \"%s\" } can't be opened: %s", directory, strerror(errno));
    read_files(&f, packaged);
    int status = begin(&f, packaged, refused, error);
    snprintf(path, PATH_MAX, "%s", f.kept);
    close(f.directory);
    buf_free(&f.packaged);
    buf_free(&f.former);
    buf_free(&f.now);
    return status;
}
