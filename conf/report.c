#include "conf/report.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

void report_free(struct report *r)
{
    buf_free(&r->errors);
    buf_free(&r->warnings);
}

bool report_map(struct report *r, unsigned from, const char *path, unsigned line)
{
    struct report_piece *v = reallocarray(r->pieces, r->piece_count + 1, sizeof *v);
    if (!v)
        return false;
    r->pieces = v;
    v[r->piece_count] = (struct report_piece){.from = from, .line = line, .path = strdup(path)};
    return v[r->piece_count++].path;
}

void report_unmap(struct report *r)
{
    for (size_t i = 0; i < r->piece_count; i++)
        free(r->pieces[i].path);
    free(r->pieces);
    r->pieces = NULL;
    r->piece_count = 0;
}

/* The file that a line of the whole text is in, and its line there. */
static const char *find_piece(const struct report *r, unsigned *line)
{
    for (size_t i = r->piece_count; i > 0; i--) {
        const struct report_piece *piece = &r->pieces[i - 1];
        if (*line < piece->from)
            continue;
        *line = *line - piece->from + piece->line;
        return piece->path ? piece->path : r->path;
    }
    return r->path;
}

void report_add_line(const struct report *r, unsigned line, unsigned beside, struct buf *out)
{
    const char *path = find_piece(r, &line), *other = find_piece(r, &beside);
    buf_printf(out, "line %u", line);
    if (strcmp(path, other) != 0)
        buf_printf(out, " of %s", path);
}

/* ---- order --------------------------------------------------------------------------------------------------------------------- */

/* What is wrong in an included file comes first: the line that includes it refers to it. */
static unsigned long number_of(const char *line, const char *path)
{
    size_t n = strlen(path);
    if (strncmp(line, path, n) != 0 || line[n] != ':')
        return 0;
    return line[n + 1] >= '1' && line[n + 1] <= '9' ? strtoul(line + n + 1, NULL, 10) : ULONG_MAX;
}

/* By insertion, as there are few. */
static void sort_lines(struct buf *lines, const char *path)
{
    struct buf sorted = {0};
    const char *at[REPORT_MOST + 1];
    size_t n = 0;
    for (const char *line = buf_text(lines); *line && n < REPORT_MOST; line += strcspn(line, "\n") + 1) {
        size_t k = n++;
        for (; k > 0 && number_of(at[k - 1], path) > number_of(line, path); k--)
            at[k] = at[k - 1];
        at[k] = line;
    }
    for (size_t i = 0; i < n; i++)
        buf_add(&sorted, at[i], strcspn(at[i], "\n") + 1);
    if (!sorted.failed && sorted.len == lines->len) {
        buf_free(lines);
        *lines = sorted;
    } else {
        buf_free(&sorted);
    }
}

void report_sort(struct report *r)
{
    sort_lines(&r->errors, r->path);
    sort_lines(&r->warnings, r->path);
}

/* ---- lines --------------------------------------------------------------------------------------------------------------------- */

/* Values from the file stand in the text; a control character among them must not reach a terminal. */
static void add_line(struct report *r, struct buf *out, unsigned line, const char *fmt, va_list ap)
{
    char text[1024];
    if (vsnprintf(text, sizeof text, fmt, ap) < 0)
        return;
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?';
    const char *path = find_piece(r, &line);
    if (line)
        buf_printf(out, "%s:%u: %s\n", path, line, text);
    else
        buf_printf(out, "%s: %s\n", r->path, text);
}

void report_error(struct report *r, unsigned line, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (++r->error_count <= REPORT_MOST)
        add_line(r, &r->errors, line, fmt, ap);
    va_end(ap);
}

void report_warning(struct report *r, unsigned line, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (++r->warning_count <= REPORT_MOST)
        add_line(r, &r->warnings, line, fmt, ap);
    va_end(ap);
}
