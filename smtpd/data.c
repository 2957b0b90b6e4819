#include "smtpd/data.h"

void data_start(struct data *d, const struct data_limits *limits)
{
    *d = (struct data){.limits = *limits, .in_header = true, .first_line = true};
}

bool data_done(const struct data *d)
{
    return d->state == DATA_DONE;
}

static void fault(struct data *d, enum data_fault which)
{
    if (d->fault == DATA_OK)
        d->fault = which;
}

/* ---- header ---------------------------------------------------------------------------------------------------------------------- */

static bool is_field(struct span head, const char *name)
{
    size_t n = strlen(name);
    return head.n >= n && strncasecmp(head.p, name, n) == 0;
}

/* Letters, digits and so on, up to a colon: or at least a name too long to be kept. */
static bool is_header_line(struct span head, bool whole)
{
    for (size_t i = 0; i < head.n; i++) {
        if (head.p[i] == ':')
            return i > 0;
        if (head.p[i] <= ' ' || head.p[i] == 0x7f)
            return false;
    }
    return !whole;
}

/* Enough of UTF-8 to tell it from older sets of characters, in which such a sequence makes no sense. */
static void watch_octet(struct data *d, unsigned char c)
{
    bool tail = (c & 0xc0) == 0x80;
    if (tail != (d->tail > 0) || c > 0xf7)
        d->header_text = HEADER_OTHER;
    if (!tail)
        d->tail = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : c >= 0xc0 ? 1 : 0;
    else if (d->tail)
        d->tail--;
    if (c >= 0x80 && d->header_text == HEADER_ASCII)
        d->header_text = HEADER_UTF8;
}

static void watch_header(struct data *d, struct span piece)
{
    if (!d->tail && span_is_ascii(piece))
        return;
    for (size_t i = 0; i < piece.n; i++)
        watch_octet(d, (unsigned char)piece.p[i]);
}

static bool says_no(struct span value)
{
    while (value.n && (*value.p == ' ' || *value.p == '\t'))
        value = span_make(value.p + 1, value.n - 1);
    while (value.n && (value.p[value.n - 1] == ' ' || value.p[value.n - 1] == '\t'))
        value.n--;
    return span_equal_nocase(value, SPAN_LITERAL("No"));
}

static void look_at_header(struct data *d)
{
    bool whole = d->line < sizeof d->head;
    struct span head = span_make(d->head, whole ? (size_t)d->line : sizeof d->head);
    if (d->line == 0) {
        d->in_header = false;
    } else if (d->first_line && !is_header_line(head, whole)) {
        d->no_header = true;
        d->in_header = false;
        d->header_text = HEADER_ASCII;
        if (d->limits.binary)
            fault(d, DATA_NO_HEADER);
    } else if (is_field(head, "Received:")) {
        if (++d->hops > d->limits.hops)
            fault(d, DATA_LOOP);
    } else if (is_field(head, "Date:")) {
        d->headers |= HEADER_DATE;
    } else if (is_field(head, "From:")) {
        d->headers |= HEADER_FROM;
    } else if (is_field(head, "Message-ID:")) {
        d->headers |= HEADER_MESSAGE_ID;
    } else if (whole && is_field(head, "TLS-Required:") && says_no(span_make(head.p + 13, head.n - 13))) {
        d->headers |= HEADER_TLS_OPTIONAL;
    }
    d->first_line = false;
}

static void keep_head(struct data *d, struct span piece)
{
    if (d->line >= sizeof d->head)
        return;
    size_t room = sizeof d->head - (size_t)d->line;
    memcpy(d->head + d->line, piece.p, piece.n < room ? piece.n : room);
}

/* ---- output ---------------------------------------------------------------------------------------------------------------------- */

static void put(struct data *d, struct span piece, struct buf *out)
{
    d->size += piece.n;
    if (d->size > d->limits.size)
        fault(d, DATA_TOO_LARGE);
    if (d->fault == DATA_OK)
        buf_add_span(out, piece);
}

static bool is_octets(const struct data *d)
{
    return d->limits.binary && !d->in_header;
}

static void put_text(struct data *d, struct span piece, struct buf *out)
{
    if (d->in_header) {
        keep_head(d, piece);
        watch_header(d, piece);
    }
    /* Octet for octet the line may pass its limit before the message does, or after, and a NUL may come first: the first counts. */
    uint64_t line_room = is_octets(d) ? UINT64_MAX : d->limits.line > d->line + 2 ? d->limits.line - d->line - 2 : 0;
    uint64_t size_room = d->limits.size > d->size ? d->limits.size - d->size : 0;
    const char *nul = d->limits.no_nul ? memchr(piece.p, '\0', piece.n) : NULL;
    uint64_t nul_at = nul ? (uint64_t)(nul - piece.p) : UINT64_MAX;
    if (nul_at < line_room && nul_at < size_room)
        fault(d, DATA_NUL);
    else if (piece.n > line_room && line_room <= size_room)
        fault(d, DATA_LINE_TOO_LONG);
    else if (piece.n > size_room)
        fault(d, DATA_TOO_LARGE);
    d->line += piece.n;
    if (!d->eight_bit)
        d->eight_bit = !span_is_ascii(piece);
    put(d, piece, out);
    d->state = DATA_TEXT;
}

static void put_line_end(struct data *d, struct buf *out)
{
    if (d->tail)
        d->header_text = HEADER_OTHER;
    d->tail = 0;
    if (d->in_header)
        look_at_header(d);
    d->line = 0;
    put(d, SPAN_LITERAL("\r\n"), out);
}

static void bare_cr(struct data *d, struct buf *out)
{
    if (!d->limits.normalize)
        fault(d, DATA_BARE_CR);
    put_text(d, SPAN_LITERAL(" "), out);
}

static void bare_lf(struct data *d, struct buf *out)
{
    if (!d->limits.normalize)
        fault(d, DATA_BARE_LF);
    put_line_end(d, out);
    d->state = DATA_TEXT;
}

/* ---- input ----------------------------------------------------------------------------------------------------------------------- */

#define RUN_MOST ((size_t)4096) /* else each of many bare CRs would have all that follows it looked through */

/* The octets up to the next CR or LF, RUN_MOST of them at most. */
static size_t run_length(struct span in)
{
    if (in.n > RUN_MOST)
        in.n = RUN_MOST;
    const char *lf = memchr(in.p, '\n', in.n);
    size_t n = lf ? (size_t)(lf - in.p) : in.n;
    const char *cr = n ? memchr(in.p, '\r', n) : NULL;
    return cr ? (size_t)(cr - in.p) : n;
}

static size_t take_text(struct data *d, struct span in, struct buf *out)
{
    if (*in.p == '\r') {
        d->state = DATA_CR;
        return 1;
    }
    if (*in.p == '\n') {
        bare_lf(d, out);
        return 1;
    }
    size_t n = run_length(in);
    put_text(d, span_make(in.p, n), out);
    return n;
}

/* How many octets of whole lines there are that need no change: they end with CR LF, begin with no dot where that means something, keep to
 * the limit. */
static size_t plain_lines(struct span in, uint64_t longest, bool dots_too)
{
    size_t n = 0;
    while (n < in.n && (in.p[n] != '.' || dots_too)) {
        const char *line = in.p + n, *lf = memchr(line, '\n', in.n - n);
        size_t text = lf ? (size_t)(lf - line) : 0;
        if (text == 0 || line[text - 1] != '\r' || text + 1 > longest || memchr(line, '\r', text - 1))
            break;
        n += text + 1;
    }
    return n;
}

/* They go in one piece. Where there are none, or what they are is still of interest, everything goes the long way. */
static size_t take_plain_lines(struct data *d, struct span in, struct buf *out)
{
    uint64_t room = d->limits.size > d->size ? d->limits.size - d->size : 0;
    if (d->in_header || d->fault != DATA_OK || d->limits.no_nul)
        return 0;
    struct span lines = span_make(in.p, plain_lines(span_make(in.p, in.n < room ? in.n : (size_t)room), d->limits.line, d->limits.chunked));
    d->eight_bit = d->eight_bit || !span_is_ascii(lines);
    put(d, lines, out);
    return lines.n;
}

static size_t take_line_start(struct data *d, struct span in, struct buf *out)
{
    if (*in.p != '.' || d->limits.chunked) {
        size_t n = take_plain_lines(d, in, out);
        return n ? n : take_text(d, in, out);
    }
    d->state = DATA_DOT;
    return 1;
}

/* The dot itself is gone already: it was stuffing, or the end. */
static size_t take_after_dot(struct data *d, struct span in, struct buf *out)
{
    if (*in.p != '\r')
        return take_text(d, in, out);
    d->state = DATA_DOT_CR;
    return 1;
}

static size_t take_after_cr(struct data *d, struct span in, struct buf *out)
{
    bool dot = d->state == DATA_DOT_CR;
    if (*in.p != '\n') {
        bare_cr(d, out);
        return take_text(d, in, out);
    }
    if (!dot)
        put_line_end(d, out);
    d->state = dot ? DATA_DONE : DATA_LINE_START;
    return 1;
}

size_t data_take(struct data *d, struct span in, struct buf *out)
{
    size_t taken = 0;
    while (taken < in.n && d->state != DATA_DONE) {
        struct span rest = span_make(in.p + taken, in.n - taken);
        if (is_octets(d)) {
            put_text(d, rest, out);
            return in.n;
        }
        switch (d->state) {
        case DATA_LINE_START:
            taken += take_line_start(d, rest, out);
            break;
        case DATA_TEXT:
            taken += take_text(d, rest, out);
            break;
        case DATA_DOT:
            taken += take_after_dot(d, rest, out);
            break;
        case DATA_CR:
        case DATA_DOT_CR:
            taken += take_after_cr(d, rest, out);
            break;
        case DATA_DONE:
            break;
        }
    }
    return taken;
}

void data_finish(struct data *d, struct buf *out)
{
    if (d->state == DATA_CR)
        bare_cr(d, out);
    if (d->line > 0 && !is_octets(d)) /* not behind a LF that was normalized either */
        put_line_end(d, out);
    d->state = DATA_DONE;
}
