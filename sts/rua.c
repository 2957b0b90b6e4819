#include "sts/rua.h"

#include "common/address.h"

bool rua_is_record(struct span txt)
{
    return span_equal(span_trim(span_until(&txt, ';')), SPAN_LITERAL("v=TLSRPTv1"));
}

/* ---- one place ------------------------------------------------------------------------------------------------------------------- */

static bool take_scheme(struct span *uri, const char *scheme)
{
    size_t n = strlen(scheme);
    if (uri->n <= n || strncasecmp(uri->p, scheme, n) != 0)
        return false;
    *uri = span_make(uri->p + n, uri->n - n);
    return true;
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-encoding undone (RFC 3986 2.1). */
static bool decode(struct span in, char *out, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < in.n; i++) {
        int c = (unsigned char)in.p[i];
        if (c == '%') {
            int high = i + 2 < in.n ? nibble(in.p[i + 1]) : -1, low = i + 2 < in.n ? nibble(in.p[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = high << 4 | low;
            i += 2;
        }
        if (c <= ' ' || c > '~' || n + 1 >= size)
            return false;
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return true;
}

static bool take_mail(struct span uri, struct rua *out)
{
    struct address a;
    uri = span_until(&uri, '?'); /* what a header should be is not the receiver's to say */
    return decode(uri, out->text, sizeof out->text) && !strpbrk(out->text, "\"\\<>(),;:") && address_parse(span_of(out->text), 0, &a) &&
           address_is_domain(a.domain, false);
}

/* Port 443 alone: a record must not make us knock at any door of any host. */
static bool take_https(struct span uri, struct rua *out)
{
    struct span rest = uri, authority;
    size_t n = 0;
    while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?')
        n++;
    authority = span_make(rest.p, n);
    if (authority.n > 4 && memcmp(authority.p + authority.n - 4, ":443", 4) == 0)
        authority.n -= 4;
    if (authority.n >= sizeof out->host || !address_is_domain(authority, false) || !memchr(authority.p, '.', authority.n) ||
        uri.n + sizeof "https://" > sizeof out->text)
        return false;
    for (size_t i = 0; i < uri.n; i++)
        if (uri.p[i] <= ' ' || uri.p[i] > '~' || strchr("\"<>\\^`{|}#", uri.p[i]))
            return false;
    for (size_t i = 0; i < authority.n; i++)
        out->host[i] = authority.p[i] >= 'A' && authority.p[i] <= 'Z' ? (char)(authority.p[i] | 0x20) : authority.p[i];
    out->host[authority.n] = '\0';
    memcpy(out->text, "https://", 8);
    memcpy(out->text + 8, uri.p, uri.n);
    out->text[8 + uri.n] = '\0';
    return true;
}

static bool take_uri(struct span uri, struct rua *out)
{
    *out = (struct rua){.kind = RUA_MAIL};
    if (take_scheme(&uri, "mailto:"))
        return take_mail(uri, out);
    out->kind = RUA_HTTPS;
    return take_scheme(&uri, "https://") && take_https(uri, out);
}

size_t rua_parse(struct span txt, struct rua out[RUA_MOST])
{
    size_t n = 0;
    if (!rua_is_record(txt))
        return 0;
    span_until(&txt, ';');
    while (txt.n) {
        struct span value = span_trim(span_until(&txt, ';')), key = span_until(&value, '=');
        while (span_equal(key, SPAN_LITERAL("rua")) && value.n && n < RUA_MOST)
            if (take_uri(span_trim(span_until(&value, ',')), &out[n]))
                n++;
    }
    return n;
}
