#include "common/address.h"
#include "common/utf8.h"

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    if (c >= 'a' && c <= 'f') /* not RFC 3461, but sent */
        return c - 'a' + 10;
    return -1;
}

static bool is_xchar(char c)
{
    return c > ' ' && c < 0x7f && c != '+' && c != '=';
}

/* "+" and two hexadecimal digits at in.p[at]; -1: it is not that. */
static int hexchar(struct span in, size_t at)
{
    if (in.n - at < 3 || in.p[at] != '+')
        return -1;
    int high = hex_value(in.p[at + 1]), low = hex_value(in.p[at + 2]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

static bool decode(struct span in, struct buf *out)
{
    for (size_t i = 0; i < in.n; i++) {
        if (is_xchar(in.p[i])) {
            buf_add_char(out, in.p[i]);
            continue;
        }
        int c = hexchar(in, i);
        if (c < 0)
            return false;
        buf_add_char(out, (char)c);
        i += 2;
    }
    return !out->failed;
}

bool xtext_decode(struct span in, struct buf *out)
{
    size_t before = out->len;
    if (!decode(in, out) || !utf8_is_printable(span_make(out->len > before ? out->data + before : NULL, out->len - before))) {
        out->len = before;
        return false;
    }
    return true;
}

void xtext_encode(struct span in, struct buf *out)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < in.n; i++) {
        unsigned char c = (unsigned char)in.p[i];
        if (is_xchar(in.p[i]))
            buf_add_char(out, in.p[i]);
        else
            buf_add(out, (char[]){'+', hex[c >> 4], hex[c & 15]}, 3);
    }
}

/* The next code point, or the octet itself where there is none. */
static uint32_t code_point(struct span *s)
{
    size_t n = utf8_length(*s);
    unsigned char c = (unsigned char)s->p[0];
    uint32_t code = n == 4 ? c & 7 : n == 3 ? c & 15 : n == 2 ? c & 31 : c;
    for (size_t i = 1; i < n; i++)
        code = code << 6 | ((unsigned char)s->p[i] & 0x3f);
    n = n ? n : 1;
    *s = span_make(s->p + n, s->n - n);
    return code;
}

void xtext_encode_utf8(struct span in, struct buf *out)
{
    while (in.n > 0) {
        uint32_t code = code_point(&in);
        if (code > ' ' && code < 0x7f && code != '\\' && code != '+' && code != '=')
            buf_add_char(out, (char)code);
        else
            buf_printf(out, "\\x{%X}", code);
    }
}
