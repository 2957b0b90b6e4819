#include "delivery/stuff.h"

/* The piece up to its next LF, or all of it. */
static size_t next_line(const char *p, size_t n, bool *ended)
{
    const char *newline = memchr(p, '\n', n);
    *ended = newline != NULL;
    return newline ? (size_t)(newline - p) + 1 : n;
}

/* In n octets that have an LF only at their end (`ended`): CR and LF only as CR LF. */
static bool line_ends_are_pairs(struct stuff *s, const char *p, size_t n, bool ended)
{
    const char *cr = memchr(p, '\r', n);
    bool had_cr = s->cr;
    s->cr = false;
    if (had_cr)
        return ended && n == 1;
    if (ended)
        return n >= 2 && cr == p + n - 2;
    s->cr = cr != NULL;
    return !cr || cr == p + n - 1;
}

bool stuff_add(struct stuff *s, struct span piece, struct buf *out)
{
    size_t copied = 0, at = 0;
    while (at < piece.n) {
        bool ended;
        size_t n = next_line(piece.p + at, piece.n - at, &ended);
        if (!line_ends_are_pairs(s, piece.p + at, n, ended))
            return false;
        if (!s->inside && piece.p[at] == '.') {
            buf_add(out, piece.p + copied, at - copied);
            buf_add_char(out, '.');
            copied = at;
        }
        s->inside = !ended;
        at += n;
    }
    if (piece.n > copied)
        buf_add(out, piece.p + copied, piece.n - copied);
    return true;
}

bool stuff_check(struct stuff *s, struct span piece)
{
    for (size_t at = 0; at < piece.n;) {
        bool ended;
        size_t n = next_line(piece.p + at, piece.n - at, &ended);
        if (!line_ends_are_pairs(s, piece.p + at, n, ended))
            return false;
        at += n;
    }
    return true;
}

bool stuff_end(struct stuff *s, struct buf *out)
{
    if (s->cr)
        return false;
    if (s->inside)
        buf_add_text(out, "\r\n");
    buf_add_text(out, ".\r\n");
    return true;
}
