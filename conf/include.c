#include "conf/include.h"

#include "conf/source.h"

#include <stdio.h>
#include <stdlib.h>

static const struct span WORD = SPAN_LITERAL("include");

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static struct span trim(struct span s)
{
    while (s.n > 0 && is_blank(s.p[0]))
        s = span_make(s.p + 1, s.n - 1);
    while (s.n > 0 && is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

/* Whether the line is one; *rest: what stands behind the word. */
static bool is_include(struct span line, struct span *rest)
{
    line = trim(line);
    if (line.n < WORD.n || memcmp(line.p, WORD.p, WORD.n) != 0)
        return false;
    *rest = span_make(line.p + WORD.n, line.n - WORD.n);
    return rest->n == 0 || is_blank(rest->p[0]) || rest->p[0] == '"' || rest->p[0] == '\'' || rest->p[0] == '=';
}

/* Quotes end in their line: source_clean() has seen to that. */
static size_t depth_behind(struct span line, size_t depth)
{
    char quote = 0;
    for (size_t i = 0; i < line.n; i++) {
        char c = line.p[i];
        if (quote && c == '\\')
            i++;
        else if (quote)
            quote = c == quote ? 0 : quote;
        else if (c == '"' || c == '\'')
            quote = c;
        else if (c == '{')
            depth++;
        else if (c == '}' && depth > 0)
            depth--;
    }
    return depth;
}

/* ---- one file ------------------------------------------------------------------------------------------------------------------ */

struct joining {
    const char *path;
    struct buf *text;
    struct report *report;
    unsigned lines; /* of the text so far */
    size_t files;
};

/* "name", and nothing else. */
static bool name_of(struct span rest, struct span *name)
{
    rest = trim(rest);
    if (rest.n < 3 || (rest.p[0] != '"' && rest.p[0] != '\'') || rest.p[rest.n - 1] != rest.p[0])
        return false;
    *name = span_make(rest.p + 1, rest.n - 2);
    for (size_t i = 0; i < name->n; i++)
        if (name->p[i] == '"' || name->p[i] == '\'' || name->p[i] == '\\')
            return false;
    return true;
}

static char *path_beside(const char *path, struct span name)
{
    const char *slash = name.p[0] == '/' ? NULL : strrchr(path, '/');
    char *out = NULL;
    if (asprintf(&out, "%.*s%.*s", slash ? (int)(slash - path) + 1 : 0, path, SPAN_ARG(name)) < 0)
        return NULL;
    return out;
}

/* It has none of its own: whoever looks for a setting has two places to look, and no more. */
static int refuse_includes(struct span text, struct report *r)
{
    size_t depth = 0, before = r->error_count;
    unsigned line = 1;
    for (struct span rest = text, behind; rest.n > 0; line++) {
        const char *end = memchr(rest.p, '\n', rest.n);
        struct span this = span_make(rest.p, end ? (size_t)(end - rest.p) : rest.n);
        if (depth == 0 && is_include(this, &behind))
            report_error(r, line, "include in a file that is included itself; write it into postino.conf");
        depth = depth_behind(this, depth);
        rest = end ? span_make(end + 1, rest.n - this.n - 1) : (struct span){0};
    }
    return r->error_count == before ? 0 : -1;
}

static unsigned count_lines(struct span text)
{
    unsigned n = 0;
    for (size_t i = 0; i < text.n; i++)
        n += text.p[i] == '\n';
    return n;
}

/* What is said of it alone has its own name and lines. */
static int read_included(struct report *r, const char *path, struct buf *text)
{
    struct report whole = *r;
    r->path = path;
    r->piece_count = 0;
    int status = source_read(path, text, r);
    if (status == 0)
        status = refuse_includes(buf_span(text), r);
    r->path = whole.path;
    r->piece_count = whole.piece_count;
    return status;
}

static int add_file(struct joining *j, const char *path)
{
    struct buf text = {0};
    int status = read_included(j->report, path, &text);
    if (status < 0)
        report_error(j->report, j->lines, "include \"%s\" can't be had, see above; correct it, or take the line out", path);
    else if (!report_map(j->report, j->lines + 1, path, 1))
        report_error(j->report, j->lines, "out of memory");
    buf_add_span(j->text, buf_span(&text));
    j->lines += count_lines(buf_span(&text));
    buf_free(&text);
    return status;
}

/* `line`: of the file that includes. In the whole text that is the last line so far. */
static int add_include(struct joining *j, struct span rest, unsigned line)
{
    struct span name;
    if (!name_of(rest, &name)) {
        report_error(j->report, j->lines,
                     "include is not followed by one name in quotes alone; write include \"shaping.conf\" in a line of its own");
        return -1;
    }
    if (++j->files > INCLUDE_MOST) {
        report_error(j->report, j->lines, "more than %d files are included; put some together", INCLUDE_MOST);
        return -1;
    }
    char *path = path_beside(j->path, name);
    int status = path ? add_file(j, path) : -1;
    if (!path || !report_map(j->report, j->lines + 1, j->path, line + 1))
        report_error(j->report, j->lines, "out of memory");
    free(path);
    return status;
}

/* ---- the whole ----------------------------------------------------------------------------------------------------------------- */

static int join(struct joining *j, struct span main)
{
    size_t depth = 0;
    int status = 0;
    unsigned line = 1;
    for (struct span rest = main, behind; rest.n > 0; line++) {
        const char *end = memchr(rest.p, '\n', rest.n);
        struct span this = span_make(rest.p, end ? (size_t)(end - rest.p) : rest.n);
        bool include = depth == 0 && is_include(this, &behind);
        if (!include)
            buf_add_span(j->text, this);
        buf_add_char(j->text, '\n');
        j->lines++;
        if (include && add_include(j, behind, line) < 0)
            status = -1;
        depth = depth_behind(this, depth);
        rest = end ? span_make(end + 1, rest.n - this.n - 1) : (struct span){0};
    }
    return status;
}

int include_read(const char *path, struct buf *text, struct report *r)
{
    struct buf main = {0};
    struct joining j = {.path = path, .text = text, .report = r};
    text->limit = SOURCE_MOST;
    int status = source_read(path, &main, r);
    if (main.len && join(&j, buf_span(&main)) < 0)
        status = -1;
    if (status == 0 && text->failed) {
        report_error(r, 0, "is larger than %zu octets with what it includes; make it smaller (large lists belong into maps)", SOURCE_MOST);
        status = -1;
    }
    buf_free(&main);
    return status;
}
