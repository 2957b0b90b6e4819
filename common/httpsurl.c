#include "common/httpsurl.h"

#include "common/address.h"

#include <stdio.h>

static bool take_port(const char *p, size_t n, uint16_t *port)
{
    unsigned value = 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9' || i == 5)
            return false;
        value = value * 10 + (unsigned)(p[i] - '0');
    }
    *port = (uint16_t)value;
    return value > 0 && value < 65536;
}

bool httpsurl_parse(const char *text, struct httpsurl *u)
{
    static const char scheme[] = "https://";
    struct sockaddr_storage address;
    socklen_t length;
    *u = (struct httpsurl){.port = 443};
    if (strncmp(text, scheme, sizeof scheme - 1) != 0)
        return false;
    for (const char *p = text; *p; p++)
        if (*p <= ' ' || *p > '~')
            return false;
    const char *begin = text + sizeof scheme - 1;
    const char *end = begin + strcspn(begin, "/?#");
    bool bracket = *begin == '[';
    const char *colon = bracket ? memchr(begin, ']', (size_t)(end - begin)) : memchr(begin, ':', (size_t)(end - begin));
    if (bracket && !colon)
        return false;
    struct span host = span_make(begin + bracket, (size_t)((colon ? colon : end) - begin) - bracket);
    colon = colon ? colon + bracket : end;
    if (colon < end && (*colon != ':' || !take_port(colon + 1, (size_t)(end - colon - 1), &u->port)))
        return false;
    if (host.n == 0 || host.n >= sizeof u->host)
        return false;
    snprintf(u->host, sizeof u->host, "%.*s", SPAN_ARG(host));
    u->address = address_to_socket(host, 0, &address, &length);
    return u->address || (!bracket && address_is_domain(host, false));
}

bool httpsurl_resolve(const char *host, unsigned port, struct span addresses, struct buf *out)
{
    unsigned n = 0;
    buf_printf(out, "%s:%u", host, port);
    while (addresses.n && n < HTTPSURL_ADDRESSES) {
        struct span one = span_until(&addresses, ' ');
        bool v6 = one.n && memchr(one.p, ':', one.n);
        if (one.n)
            buf_printf(out, "%c%s%.*s%s", n++ ? ',' : ':', v6 ? "[" : "", SPAN_ARG(one), v6 ? "]" : "");
    }
    return n > 0 && !out->failed;
}
