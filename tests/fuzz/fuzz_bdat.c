/* A text in the chunks of BDAT: however it is cut, the same comes out, and the same as if it had come dot-stuffed behind DATA. Binary: the octets
 * themselves, behind a header of lines. */
#include "delivery/stuff.h"
#include "smtpd/data.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct data_limits limits_of(uint8_t how)
{
    return (struct data_limits){
        .line = 64, .size = 1000, .hops = 3, .normalize = how & 1, .no_nul = how & 2, .chunked = true, .binary = how & 4};
}

static void take_chunks(struct span in, const struct data_limits *limits, const uint8_t *cuts, size_t cut_count, struct data *d,
                        struct buf *out)
{
    data_start(d, limits);
    for (size_t at = 0, i = 0; at < in.n; i++) {
        size_t n = cut_count ? cuts[i % cut_count] % 16 : in.n; /* a chunk of nothing, too */
        if (n > in.n - at)
            n = in.n - at;
        if (n == 0 && i % 8 == 7)
            n = 1;
        size_t before = out->len;
        if (data_take(d, span_make(in.p + at, n), out) != n || out->len - before > 2 * n + 2)
            abort();
        at += n;
    }
    size_t before = out->len;
    data_finish(d, out);
    if (out->len - before > 3 || !data_done(d))
        abort();
}

static bool same(const struct data *a, const struct data *b)
{
    return a->fault == b->fault && a->headers == b->headers && a->eight_bit == b->eight_bit && a->hops == b->hops &&
           a->no_header == b->no_header && a->in_header == b->in_header && a->size == b->size;
}

/* Every line that begins with a dot gets another one, and the end is told by one. */
static void stuff_lines(struct span text, struct buf *out)
{
    bool start = true;
    for (size_t i = 0; i < text.n; i++) {
        if (start && text.p[i] == '.')
            buf_add_char(out, '.');
        buf_add_char(out, text.p[i]);
        start = text.p[i] == '\n' && i > 0 && text.p[i - 1] == '\r';
    }
    buf_add_text(out, start ? ".\r\n" : "\r\n.\r\n");
}

static void check_data(struct span in, struct data_limits limits, const struct data *chunked, struct span body)
{
    struct buf text = {0}, out = {0};
    struct data d;
    bool whole = in.n >= 2 && in.p[in.n - 2] == '\r' && in.p[in.n - 1] == '\n';
    if (in.n && !whole && (in.p[in.n - 1] == '\r' || in.p[in.n - 1] == '\n'))
        return; /* behind DATA it would be half of a line end, or a line end too many */
    stuff_lines(in, &text);
    limits.chunked = false;
    data_start(&d, &limits);
    if (data_take(&d, buf_span(&text), &out) != text.len || !data_done(&d) || !same(&d, chunked))
        abort();
    if (d.fault == DATA_OK && !span_equal(buf_span(&out), body))
        abort();
    buf_free(&text);
    buf_free(&out);
}

/* What was taken can leave again, as any message. */
static void check_leaves(struct span body)
{
    struct stuff s = {0};
    struct buf sent = {0};
    if (!stuff_add(&s, body, &sent) || !stuff_end(&s, &sent))
        abort();
    buf_free(&sent);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 9)
        return 0;
    struct span in = span_make(data + 9, size - 9);
    struct data_limits limits = limits_of(data[0]);
    struct data whole, cut;
    struct buf whole_out = {0}, cut_out = {0};
    take_chunks(in, &limits, NULL, 0, &whole, &whole_out);
    take_chunks(in, &limits, data + 1, 8, &cut, &cut_out);
    if (!same(&whole, &cut) || (whole.fault == DATA_OK && !span_equal(buf_span(&whole_out), buf_span(&cut_out))))
        abort();
    if (!limits.binary)
        check_data(in, limits, &whole, buf_span(&whole_out));
    if (!limits.binary && whole.fault == DATA_OK)
        check_leaves(buf_span(&whole_out));
    if (limits.binary && !limits.normalize && whole.fault == DATA_OK && !whole.in_header && !span_equal(in, buf_span(&whole_out)))
        abort();
    buf_free(&whole_out);
    buf_free(&cut_out);
    return 0;
}
