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

static bool turns_direction(uint32_t c)
{
    return c == 0x061c || c == 0x200e || c == 0x200f || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

static bool is_no_character(uint32_t c)
{
    return (c >= 0xfdd0 && c <= 0xfdef) || (c & 0xfffe) == 0xfffe || (c >= 0xd800 && c <= 0xdfff) || c > 0x10ffff;
}

static bool is_text(uint32_t c)
{
    return !turns_direction(c) && !is_no_character(c) && c != 0x2028 && c != 0x2029 && c != 0xfeff;
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
    return character >= least && is_text(character) ? n : 0;
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
