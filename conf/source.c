#include "conf/source.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the file ------------------------------------------------------------------------------------------------------------------ */

/* Who can write this file can name programs that root starts. */
static int check_owner(const struct stat *st, struct report *r)
{
    if (!S_ISREG(st->st_mode)) {
        report_error(r, 0, "not a regular file; name the configuration file with -c");
        return -1;
    }
    if (st->st_uid != 0 && st->st_uid != geteuid()) {
        report_error(r, 0, "belongs to uid %u, who could have anything started as another user; chown it to root", (unsigned)st->st_uid);
        return -1;
    }
    if (st->st_mode & (S_IWGRP | S_IWOTH)) {
        report_error(r, 0, "can be written by others than its owner (mode %04o); run chmod go-w %s", (unsigned)st->st_mode & 07777u,
                     r->path);
        return -1;
    }
    return 0;
}

static int read_all(int fd, struct buf *text, struct report *r)
{
    for (;;) {
        char piece[8192];
        ssize_t n = read(fd, piece, sizeof piece);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            report_error(r, 0, "can't be read: %s", strerror(errno));
            return -1;
        }
        if (n == 0)
            break;
        buf_add(text, piece, (size_t)n);
    }
    if (text->len == 0 || text->data[text->len - 1] != '\n')
        buf_add_char(text, '\n');
    if (!text->failed)
        return 0;
    report_error(r, 0, "is larger than %zu octets; make it smaller (large lists belong into maps)", SOURCE_MOST);
    return -1;
}

int source_read(const char *path, struct buf *text, struct report *r)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) < 0) {
        report_error(r, 0, "can't be opened: %s; write it, or correct its name", strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    text->limit = SOURCE_MOST;
    int status = check_owner(&st, r) < 0 || read_all(fd, text, r) < 0 ? -1 : 0;
    close(fd);
    if (status < 0)
        buf_clear(text);
    return status < 0 ? -1 : source_clean(text->data, text->len, r);
}

/* ---- the characters ----------------------------------------------------------------------------------------------------------------- */

#define BRACES_MOST 16

struct cleaner {
    char *p, *end;
    unsigned line;
    unsigned open[BRACES_MOST]; /* the lines of the braces that are open */
    size_t depth;
    bool hopeless; /* parsing it would report faults that are none */
    struct report *r;
};

static bool at(const struct cleaner *c, char first, char second)
{
    return c->p + 1 < c->end && c->p[0] == first && c->p[1] == second;
}

static void blank(struct cleaner *c)
{
    if (*c->p == '\n')
        c->line++;
    else
        *c->p = ' ';
    c->p++;
}

static void line_comment(struct cleaner *c)
{
    while (c->p < c->end && *c->p != '\n')
        blank(c);
}

static void block_comment(struct cleaner *c)
{
    unsigned line = c->line;
    blank(c);
    blank(c);
    while (c->p < c->end && !at(c, '*', '/'))
        blank(c);
    if (c->p == c->end) {
        report_error(c->r, line, "the comment that begins here has no end; close it with */");
        return;
    }
    blank(c);
    blank(c);
}

static void variable(struct cleaner *c)
{
    report_error(c->r, c->line,
                 "${...} would stand for a variable of the environment, which is another one at each start; write the value itself");
    blank(c);
}

static void bad_byte(struct cleaner *c)
{
    report_error(c->r, c->line, "control character 0x%02x; take it out", (unsigned char)*c->p);
    *c->p++ = '_';
}

static void escape(struct cleaner *c, char quote)
{
    if (quote == '"' && !at(c, '\\', '"') && !at(c, '\\', '\\'))
        report_error(c->r, c->line, "a backslash in quotes stands before \" or \\ alone; write \\\\ for one backslash");
    c->p++;
    if (c->p < c->end && *c->p != '\n')
        c->p++;
}

static void quoted_char(struct cleaner *c, char quote)
{
    if (*c->p == '\\')
        escape(c, quote);
    else if (quote == '"' && at(c, '$', '{'))
        variable(c);
    else if (((unsigned char)*c->p < ' ' && *c->p != '\t') || *c->p == 0x7f)
        bad_byte(c);
    else
        c->p++;
}

static void quoted(struct cleaner *c)
{
    char quote = *c->p++;
    while (c->p < c->end && *c->p != '\n' && *c->p != quote)
        quoted_char(c, quote);
    if (c->p < c->end && *c->p == quote) {
        c->p++;
        return;
    }
    report_error(c->r, c->line, "a quote (%c) is opened and not closed in this line; close it", quote);
    c->hopeless = true;
}

static void open_brace(struct cleaner *c)
{
    if (c->depth < BRACES_MOST)
        c->open[c->depth] = c->line;
    c->depth++;
    c->p++;
}

static void close_brace(struct cleaner *c)
{
    if (c->depth > 0) {
        c->depth--;
    } else {
        report_error(c->r, c->line, "a } without its {; take it out, or look for a missing { above");
        c->hopeless = true;
    }
    c->p++;
}

static void semicolon(struct cleaner *c)
{
    report_error(c->r, c->line, "a ; where none is wanted; take it out (a setting ends with its value)");
    blank(c);
}

/* libConfuse drops these without a word when they stand outside quotes. */
static void unquoted_special(struct cleaner *c)
{
    report_error(c->r, c->line, "a %c outside of quotes; put the value into quotes", *c->p);
    *c->p++ = '_';
}

static bool word_begins(const struct cleaner *c, const char *begin)
{
    return c->p == begin || strchr(" \t\r\n={},\"'", c->p[-1]);
}

static void plain_char(struct cleaner *c, const char *begin)
{
    unsigned char ch = (unsigned char)*c->p;
    if (ch == '#' || (at(c, '/', '/') && word_begins(c, begin)))
        line_comment(c);
    else if (at(c, '/', '*') && word_begins(c, begin))
        block_comment(c);
    else if (ch == '"' || ch == '\'')
        quoted(c);
    else if (ch == '{')
        open_brace(c);
    else if (ch == '}')
        close_brace(c);
    else if (at(c, '$', '{'))
        variable(c);
    else if (ch == ';')
        semicolon(c);
    else if (ch == '*' || (ch == '+' && !at(c, '+', '=')))
        unquoted_special(c);
    else if (ch == '\n')
        blank(c);
    else if ((ch < ' ' && ch != '\t' && ch != '\r') || ch == 0x7f)
        bad_byte(c);
    else
        c->p++;
}

int source_clean(char *text, size_t n, struct report *r)
{
    struct cleaner c = {.p = text, .end = text + n, .line = 1, .r = r};
    while (c.p < c.end)
        plain_char(&c, text);
    if (c.depth > 0) {
        report_error(r, c.open[(c.depth < BRACES_MOST ? c.depth : BRACES_MOST) - 1], "the { in this line is never closed; add its }");
        c.hopeless = true;
    }
    return c.hopeless ? -1 : 0;
}
