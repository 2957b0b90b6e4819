/* The text behind DATA: however it is cut, the same comes out; and no bare CR or LF, no line over the limit, ever does. */
#include "smtpd/data.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LINE 64

static size_t decode(struct span in, uint8_t how, const uint8_t *cuts, size_t cut_count, struct data *d, struct buf *out)
{
    size_t at = 0;
    data_start(d, &(struct data_limits){.line = LINE, .size = 1000, .hops = 3, .normalize = how & 1, .no_nul = how & 2});
    for (size_t i = 0; at < in.n && !data_done(d); i++) {
        size_t n = cut_count ? cuts[i % cut_count] % 16 + 1u : in.n;
        if (n > in.n - at)
            n = in.n - at;
        size_t before = out->len;
        size_t taken = data_take(d, span_make(in.p + at, n), out);
        if (taken > n || (taken < n && !data_done(d)) || out->len - before > 2 * n + 2)
            abort();
        at += taken;
    }
    return at;
}

static void check_lines(struct span text)
{
    size_t line = 0;
    for (size_t i = 0; i < text.n; i++) {
        line++;
        if (text.p[i] == '\r' && (i + 1 < text.n && text.p[i + 1] != '\n'))
            abort();
        if (text.p[i] == '\n' && (i == 0 || text.p[i - 1] != '\r'))
            abort();
        if (line > LINE)
            abort();
        if (text.p[i] == '\n')
            line = 0;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 9)
        return 0;
    struct span in = span_make(data + 9, size - 9);
    struct data whole, cut;
    struct buf whole_out = {0}, cut_out = {0};
    size_t a = decode(in, data[0], NULL, 0, &whole, &whole_out);
    size_t b = decode(in, data[0], data + 1, 8, &cut, &cut_out);
    if (a != b || whole.fault != cut.fault || whole.size != cut.size || whole.headers != cut.headers || whole.eight_bit != cut.eight_bit ||
        whole.hops != cut.hops || whole.no_header != cut.no_header || data_done(&whole) != data_done(&cut))
        abort();
    if (whole.fault == DATA_OK && (!span_equal(buf_span(&whole_out), buf_span(&cut_out)) || whole.size != whole_out.len))
        abort();
    if (whole.fault == DATA_OK)
        check_lines(buf_span(&whole_out));
    if (whole.fault == DATA_OK && data[0] & 2 && whole_out.len && memchr(whole_out.data, '\0', whole_out.len))
        abort();
    buf_free(&whole_out);
    buf_free(&cut_out);
    return 0;
}
