#include "common/utf8.h"

#include <stdint.h>

/* What the lead byte promises: the length, its own bits of the character, and the least character that needs that length. */
static size_t lead(unsigned char c, uint32_t *bits, uint32_t *least)
{
    if (c >= 0xc0 && c < 0xe0) {
        *bits = c & 0x1f;
        *least = 0xa0; /* not 0x80: the controls U+0080 to U+009F are refused */
        return 2;
    }
    if (c >= 0xe0 && c < 0xf0) {
        *bits = c & 0x0f;
        *least = 0x800;
        return 3;
    }
    if (c >= 0xf0 && c < 0xf8) {
        *bits = c & 0x07;
        *least = 0x10000;
        return 4;
    }
    return 0;
}

size_t utf8_length(struct span in)
{
    uint32_t character, least;
    size_t n = in.n > 0 ? lead((unsigned char)in.p[0], &character, &least) : 0;
    if (n == 0 || n > in.n)
        return 0;
    for (size_t i = 1; i < n; i++) {
        unsigned char c = (unsigned char)in.p[i];
        if ((c & 0xc0) != 0x80)
            return 0;
        character = character << 6 | (c & 0x3f);
    }
    bool surrogate = character >= 0xd800 && character <= 0xdfff;
    return character >= least && character <= 0x10ffff && !surrogate ? n : 0;
}

bool utf8_is_printable(struct span in)
{
    while (in.n > 0) {
        unsigned char c = (unsigned char)in.p[0];
        size_t n = c >= ' ' && c < 0x7f ? 1 : utf8_length(in);
        if (n == 0)
            return false;
        in = span_make(in.p + n, in.n - n);
    }
    return true;
}
