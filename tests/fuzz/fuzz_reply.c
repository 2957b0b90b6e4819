/* Any bytes as replies of a server: bounded, printable, never more than was given; and the same in one piece as cut in two. Only a 5xx blames our address. */
#include "delivery/blame.h"
#include "delivery/extensions.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_at(const struct reply *r)
{
    struct buf text = BUF_EMPTY(0);
    struct span line;
    char status[STATUS_MAX];
    reply_text(r, &text);
    if (text.len > REPLY_TEXT_MAX || r->lines.len > REPLY_MAX || r->code < 200 || r->code > 599)
        abort();
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] < ' ' || text.data[i] > '~')
            abort();
    for (size_t at = 0; reply_line(r, &at, &line);)
        if (line.n > REPLY_LINE_MAX)
            abort();
    reply_status(r, '5', r->line_count % 2 == 0, status);
    struct extensions e = extensions_parse(r);
    if (e.limits.recipients > 999999 || e.limits.transactions > 999999 || e.limits.domains > 999999)
        abort();
    if (blame_is_of_address(r) && r->code / 100 != 5)
        abort();
    if (e.offered >= 1 << 18 || extensions_name(r).n > REPLY_LINE_MAX)
        abort();
    buf_free(&text);
}

/* All replies at the front of `in`; returns how many octets they took. */
static size_t replies(struct span in, enum reply_progress *last, size_t *count)
{
    struct reply r = {0};
    size_t at = 0, used;
    reply_begin(&r);
    while ((*last = reply_feed(&r, span_make(in.p + at, in.n - at), &used)) == REPLY_WHOLE) {
        if (used == 0 || used > in.n - at)
            abort();
        at += used;
        look_at(&r);
        reply_begin(&r);
        (*count)++;
    }
    at += used;
    reply_free(&r);
    return at;
}

/* The same with all but the last bytes first, given again with the rest behind. */
static void in_two(struct span in, size_t cut, size_t wanted)
{
    struct reply r = {0};
    size_t at = 0, used, count = 0;
    reply_begin(&r);
    for (size_t most = cut;;) {
        enum reply_progress progress = reply_feed(&r, span_make(in.p + at, most - at), &used);
        at += used;
        if (progress == REPLY_BAD || (progress == REPLY_MORE && most == in.n))
            break;
        if (progress == REPLY_MORE) {
            most = in.n;
            continue;
        }
        reply_begin(&r);
        count++;
    }
    reply_free(&r);
    if (count != wanted)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum reply_progress last;
    size_t count = 0;
    struct span in = span_make(data, size);
    if (replies(in, &last, &count) > size)
        abort();
    in_two(in, size ? data[0] % size : 0, count);
    return 0;
}
