#include "admin/letter.h"

#include "admin/headers.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#define LETTER_MOST ((size_t)4 << 30)

enum { READ_SIZE = 256 << 10 };

/* ---- reading --------------------------------------------------------------------------------------------------------------------- */

/* Where a line begins at `from` that is a dot alone (and ended, unless the input is at its end); `none` if there is none. *from moves to
 * the line that is not whole yet. */
static size_t find_dot(const struct buf *b, size_t *from, bool end, size_t none)
{
    while (*from < b->len) {
        const char *line = b->data + *from;
        size_t left = b->len - *from;
        const char *lf = memchr(line, '\n', left);
        if (!lf && !end)
            return none;
        size_t n = lf ? (size_t)(lf - line) : left;
        if ((n == 1 || (n == 2 && line[1] == '\r')) && line[0] == '.')
            return *from;
        *from += lf ? n + 1 : n;
    }
    return none;
}

static int read_all(struct letter *l, int fd, bool dot, struct error *error)
{
    size_t line = 0, at;
    const size_t none = (size_t)-1;
    for (;;) {
        if (!buf_reserve(&l->text, READ_SIZE)) {
            (void)error_set(error, "the message is too large for this command's memory");
            return EX_DATAERR;
        }
        ssize_t n = read(fd, l->text.data + l->text.len, READ_SIZE);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            (void)error_set(error, "the message cannot be read from standard input: %s", strerror(errno));
            return EX_IOERR;
        }
        l->text.len += (size_t)n;
        if (dot && (at = find_dot(&l->text, &line, n == 0, none)) != none) {
            l->text.len = at;
            return EX_OK;
        }
        if (n == 0)
            return EX_OK;
    }
}

/* The addresses of Bcc are for the envelope only, RFC 5322 3.6.3. */
static void keep_fields(struct letter *l)
{
    struct span rest = l->given;
    struct header_field f;
    while (headers_next(&rest, &f)) {
        if (headers_named(&f, "Bcc") || headers_named(&f, "Resent-Bcc"))
            continue;
        l->has_from = l->has_from || headers_named(&f, "From");
        buf_add_span(&l->header, f.whole);
    }
}

int letter_read(struct letter *l, int fd, bool dot, struct error *error)
{
    *l = (struct letter){.text = BUF_EMPTY(LETTER_MOST), .header = BUF_EMPTY(LETTER_MOST)};
    int status = read_all(l, fd, dot, error);
    if (status != EX_OK)
        return status;
    l->given = headers_split(buf_span(&l->text), &l->body);
    keep_fields(l);
    if (!l->header.failed)
        return EX_OK;
    (void)error_set(error, "the message is too large for this command's memory");
    return EX_DATAERR;
}

void letter_free(struct letter *l)
{
    buf_free(&l->text);
    buf_free(&l->header);
}

/* ---- who called ------------------------------------------------------------------------------------------------------------------ */

/* The first part of the user database's field; an ampersand stands for the user's name with a capital. */
static void full_name(const char *gecos, const char *user, char *to, size_t room)
{
    size_t n = 0;
    for (; *gecos && *gecos != ',' && n + 1 < room; gecos++) {
        if (*gecos != '&') {
            to[n++] = *gecos;
            continue;
        }
        for (const char *u = user; *u && n + 1 < room; u++)
            to[n++] = u == user && *u >= 'a' && *u <= 'z' ? (char)(*u - 'a' + 'A') : *u;
    }
    to[n] = '\0';
}

int caller_find(struct caller *c, struct error *error)
{
    const struct passwd *pw = getpwuid(getuid());
    const char *name = getenv("NAME");
    if (!pw) {
        (void)error_set(error, "the user database has no name for uid %u; name a sender with -f", (unsigned)getuid());
        return EX_OSERR;
    }
    (void)snprintf(c->user, sizeof c->user, "%s", pw->pw_name);
    if (name && *name)
        (void)snprintf(c->name, sizeof c->name, "%s", name);
    else
        full_name(pw->pw_gecos ? pw->pw_gecos : "", c->user, c->name, sizeof c->name);
    return EX_OK;
}

void letter_from(struct span address, struct span name, const char *server, struct buf *out)
{
    bool domain = address.n && memchr(address.p, '@', address.n);
    buf_add_text(out, "From: ");
    if (name.n) {
        headers_phrase(name, out);
        buf_add_text(out, " <");
    }
    buf_add_span(out, address);
    if (!domain)
        buf_printf(out, "@%s", server);
    buf_add_text(out, name.n ? ">\n" : "\n");
}
