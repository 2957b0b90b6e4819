/* The decoder of configuration slices. The first octets of a good slice are put in front, so that the fuzzer need not guess the table's
 * checksum. What is accepted must encode to the same bytes again. */
#include "conf/settings.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_round_trip(const struct settings *s, char letter, struct span slice)
{
    struct buf again = {0};
    settings_encode(s, letter, &again);
    if (!span_equal(buf_span(&again), slice))
        abort();
    buf_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct settings *defaults;
    struct buf slice = {0};
    struct error e;
    if (size == 0)
        return 0;
    if (!defaults)
        defaults = settings_new();
    const char letter = "MSAQRLDOTPC"[data[0] % 11];
    settings_encode(defaults, letter, &slice);
    slice.len = 5;
    buf_add(&slice, data + 1, size - 1);
    struct settings *s = settings_decode(buf_span(&slice), &e);
    if (s)
        check_round_trip(s, letter, buf_span(&slice));
    settings_free(s);
    buf_free(&slice);
    return 0;
}
