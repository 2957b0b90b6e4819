#include "smtpd/login.h"

#include <stdint.h>

#define USER_MOST     ((size_t)255)
#define PASSWORD_MOST ((size_t)1024)

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

static bool has_control(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)
            return true;
    return false;
}

/* The part up to the next NUL. */
static bool take_part(struct span *rest, struct span *part)
{
    const char *nul = rest->n ? memchr(rest->p, '\0', rest->n) : NULL;
    if (!nul)
        return false;
    *part = span_make(rest->p, (size_t)(nul - rest->p));
    *rest = span_make(nul + 1, rest->n - part->n - 1);
    return true;
}

enum login_result login_decode_plain(struct span response, struct buf *secret, struct span *user, struct span *password)
{
    struct span identity, rest;
    if (span_equal(response, SPAN_LITERAL("*")))
        return LOGIN_CANCELLED;
    if (span_equal(response, SPAN_LITERAL("="))) /* RFC 4954 4: an empty initial response */
        return LOGIN_MALFORMED;
    if (!buf_reserve(secret, response.n) || !base64_decode(response, secret)) /* reserved at once: growing would leave copies behind */
        return LOGIN_NOT_BASE64;
    rest = buf_span(secret);
    if (!take_part(&rest, &identity) || !take_part(&rest, user) || (rest.n && memchr(rest.p, '\0', rest.n)))
        return LOGIN_MALFORMED;
    *password = rest;
    if (!user->n || user->n > USER_MOST || !rest.n || rest.n > PASSWORD_MOST || has_control(*user) || has_control(identity))
        return LOGIN_MALFORMED;
    return !identity.n || span_equal(identity, *user) ? LOGIN_OK : LOGIN_OTHER_IDENTITY;
}

void login_wipe(struct buf *secret)
{
    if (secret->data)
        explicit_bzero(secret->data, secret->cap);
    buf_free(secret);
}
