#include "common/base64.h"

#include <stdint.h>

static int digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static size_t padding(struct span in)
{
    if (in.n && in.p[in.n - 1] == '=')
        return in.p[in.n - 2] == '=' ? 2 : 1;
    return 0;
}

/* Four characters; the last `pad` of them count as zeros, and the bits they take with them must be zeros too. */
static bool decode_group(const char *p, size_t pad, struct buf *out)
{
    uint32_t bits = 0;
    for (size_t i = 0; i < 4; i++) {
        int value = i < 4 - pad ? digit(p[i]) : 0;
        if (value < 0)
            return false;
        bits = bits << 6 | (uint32_t)value;
    }
    if ((pad == 1 && bits & 0xff) || (pad == 2 && bits & 0xffff))
        return false;
    const char octets[3] = {(char)(bits >> 16), (char)(bits >> 8), (char)bits};
    buf_add(out, octets, 3 - pad);
    return true;
}

bool base64_decode(struct span in, struct buf *out)
{
    if (in.n % 4)
        return false;
    size_t pad = padding(in);
    for (size_t i = 0; i < in.n; i += 4)
        if (!decode_group(in.p + i, i + 4 == in.n ? pad : 0, out))
            return false;
    return !out->failed;
}

void base64_encode(struct span in, struct buf *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < in.n; i += 3) {
        uint32_t bits = 0;
        for (size_t j = 0; j < 3; j++)
            bits = bits << 8 | (i + j < in.n ? (unsigned char)in.p[i + j] : 0u);
        for (size_t j = 0; j < 4; j++)
            buf_add_char(out, i + j <= in.n ? digits[bits >> (18 - 6 * j) & 63] : '=');
    }
}
