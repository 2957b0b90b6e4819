#include "delivery/reply.h"

#include <stdio.h>

void reply_begin(struct reply *r)
{
    r->lines.limit = REPLY_MAX;
    buf_clear(&r->lines);
    r->code = 0;
    r->line_count = r->octets = 0;
    r->wrong = NULL;
    r->cut = false;
}

void reply_free(struct reply *r)
{
    buf_free(&r->lines);
}

static enum reply_progress bad(struct reply *r, const char *wrong)
{
    r->wrong = wrong;
    return REPLY_BAD;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static unsigned code_of(struct span line)
{
    if (line.n < 3 || !is_digit(line.p[0]) || !is_digit(line.p[1]) || !is_digit(line.p[2]))
        return 0;
    return (unsigned)(line.p[0] - '0') * 100 + (unsigned)(line.p[1] - '0') * 10 + (unsigned)(line.p[2] - '0');
}

static void keep(struct reply *r, struct span text)
{
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        buf_add_char(&r->lines, c == '\t' ? ' ' : c < ' ' || c > '~' ? '?' : (char)c);
    }
    buf_add_char(&r->lines, '\n');
    r->line_count++;
}

/* The front of a line: what is wrong with it, or NULL. */
static const char *take_code(struct reply *r, struct span line)
{
    unsigned code = code_of(line);
    if (code < 200 || code > 599)
        return "it does not begin with a reply code";
    if (line.n > 3 && line.p[3] != ' ' && line.p[3] != '-')
        return "neither blank nor hyphen follows the reply code";
    if (r->code && r->code != code)
        return "its lines have different reply codes";
    r->code = code;
    return NULL;
}

static struct span text_of(struct span line)
{
    return line.n > 4 ? span_make(line.p + 4, line.n - 4) : SPAN_LITERAL("");
}

static enum reply_progress too_long(struct reply *r, const char *how)
{
    r->cut = true;
    return bad(r, how);
}

/* One line without its line end. */
static enum reply_progress take_line(struct reply *r, struct span line)
{
    const char *wrong = take_code(r, line);
    if (wrong)
        return bad(r, wrong);
    if (r->line_count == REPLY_LINES_MAX)
        return too_long(r, "it has too many lines");
    keep(r, text_of(line));
    if (r->lines.failed || r->octets > REPLY_MAX)
        return too_long(r, "it is too long");
    return line.n > 3 && line.p[3] == '-' ? REPLY_MORE : REPLY_WHOLE;
}

static enum reply_progress endless_line(struct reply *r, struct span line)
{
    const char *wrong = take_code(r, line);
    if (wrong)
        return bad(r, wrong);
    keep(r, text_of(line));
    return too_long(r, "a line of it is too long");
}

enum reply_progress reply_feed(struct reply *r, struct span in, size_t *used)
{
    *used = 0;
    while (*used < in.n) {
        const char *start = in.p + *used;
        size_t left = in.n - *used, most = left < REPLY_LINE_MAX ? left : REPLY_LINE_MAX;
        const char *newline = memchr(start, '\n', most);
        if (!newline)
            return left >= REPLY_LINE_MAX ? endless_line(r, span_make(start, most)) : REPLY_MORE;
        size_t n = (size_t)(newline - start);
        *used += n + 1;
        r->octets += n + 1;
        if (n > 0 && start[n - 1] == '\r')
            n--;
        enum reply_progress progress = take_line(r, span_make(start, n));
        if (progress != REPLY_MORE)
            return progress;
    }
    return REPLY_MORE;
}

bool reply_line(const struct reply *r, size_t *at, struct span *line)
{
    if (*at >= r->lines.len)
        return false;
    const char *start = r->lines.data + *at;
    const char *newline = memchr(start, '\n', r->lines.len - *at);
    *line = span_make(start, newline ? (size_t)(newline - start) : r->lines.len - *at);
    *at += line->n + 1;
    return true;
}

static size_t digits(struct span s, size_t from)
{
    size_t i = from;
    while (i < s.n && i - from < 4 && is_digit(s.p[i]))
        i++;
    return i - from <= 3 ? i - from : 0;
}

/* "5.1.1" at the front of a line, ended by a blank or the line's end; its length, or 0. */
static size_t status_length(struct span line)
{
    if (line.n < 5 || (line.p[0] != '2' && line.p[0] != '4' && line.p[0] != '5') || line.p[1] != '.')
        return 0;
    size_t subject = digits(line, 2), dot = 2 + subject;
    if (!subject || dot >= line.n || line.p[dot] != '.')
        return 0;
    size_t detail = digits(line, dot + 1), n = dot + 1 + detail;
    return detail && (n == line.n || line.p[n] == ' ') ? n : 0;
}

void reply_status(const struct reply *r, char class, bool lenient, char status[STATUS_MAX])
{
    struct span line = {"", 0};
    size_t at = 0;
    reply_line(r, &at, &line);
    size_t n = status_length(line);
    if (n && (line.p[0] == class || lenient))
        snprintf(status, STATUS_MAX, "%c%.*s", class, (int)(n - 1), line.p + 1);
    else
        snprintf(status, STATUS_MAX, "%c.0.0", class);
}

void reply_text(const struct reply *r, struct buf *out)
{
    struct span line, first = {NULL, 0};
    struct buf text = BUF_EMPTY(REPLY_MAX + 16);
    buf_printf(&text, "%03u", r->code);
    for (size_t at = 0, i = 0; reply_line(r, &at, &line); i++) {
        size_t status = status_length(line);
        if (i == 0)
            first = span_make(line.p, status);
        else if (status && span_equal(first, span_make(line.p, status)))
            line = span_make(line.p + status, line.n - status);
        while (line.n && *line.p == ' ')
            line = span_make(line.p + 1, line.n - 1);
        while (line.n && line.p[line.n - 1] == ' ')
            line.n--;
        if (line.n == 0)
            continue;
        buf_add_char(&text, ' ');
        buf_add_span(&text, line);
    }
    buf_add(out, text.data, text.len < REPLY_TEXT_MAX ? text.len : REPLY_TEXT_MAX);
    buf_free(&text);
}
