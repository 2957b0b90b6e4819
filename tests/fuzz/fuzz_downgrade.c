/* Any message for a host that can't take it: however it is cut, the same comes out, in bounds; and what comes out is 7-bit, but for headers. */
#include "delivery/downgrade.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum downgrade_verdict pass(struct downgrade *d, struct span in, const uint8_t *cuts, size_t cut_count, struct buf *out)
{
    for (size_t at = 0, i = 0; at < in.n; i++) {
        size_t n = cut_count ? cuts[i % cut_count] % 32 + 1u : in.n;
        n = n < in.n - at ? n : in.n - at;
        downgrade_add(d, span_make(in.p + at, n), out);
        at += n;
    }
    return downgrade_end(d, out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 9)
        return 0;
    bool binary = data[0] & 1;
    struct span in = span_make(data + 9, size - 9);
    struct buf none = {0}, whole = {0}, cut = {0};
    struct downgrade *a = downgrade_new(binary), *b = downgrade_new(binary), *c = downgrade_new(true);
    enum downgrade_verdict verdict = pass(a, in, NULL, 0, &none);
    if (pass(b, in, data + 1, 8, &none) != verdict || none.len)
        abort();
    if (verdict != DOWNGRADE_BROKEN) {
        downgrade_again(a);
        downgrade_again(b);
        if (pass(a, in, data + 1, 8, &whole) == DOWNGRADE_BROKEN || pass(b, in, NULL, 0, &cut) == DOWNGRADE_BROKEN)
            abort();
        if (!span_equal(buf_span(&whole), buf_span(&cut)) || whole.len > 8 * in.n + 400)
            abort();
        if (verdict == DOWNGRADE_CLEAN && !binary && !span_equal(buf_span(&whole), in) && whole.len != in.n + 2)
            abort();
        struct downgrade *again = binary ? c : a;
        if (again == a) {
            downgrade_free(a);
            a = again = downgrade_new(false);
        }
        if (pass(again, buf_span(&whole), NULL, 0, &none) == DOWNGRADE_NEEDED)
            abort();
    }
    downgrade_free(a);
    downgrade_free(b);
    downgrade_free(c);
    buf_free(&whole);
    buf_free(&cut);
    return 0;
}
