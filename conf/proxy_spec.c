#include "conf/proxy_spec.h"

#include "common/address.h"

static bool begins(struct span *text, struct span with)
{
    if (text->n < with.n || memcmp(text->p, with.p, with.n) != 0)
        return false;
    *text = span_make(text->p + with.n, text->n - with.n);
    return true;
}

static bool parse_port(struct span text, unsigned *port)
{
    *port = 0;
    for (size_t i = 0; i < text.n && *port < 65536; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        *port = *port * 10 + (unsigned)(text.p[i] - '0');
    }
    return text.n > 0 && *port > 0 && *port < 65536;
}

bool proxy_spec_parse(struct span text, struct proxy_spec *spec)
{
    *spec = (struct proxy_spec){.kind = PROXY_NONE};
    if (text.n == 0)
        return true;
    if (begins(&text, SPAN_LITERAL("socks5:")))
        spec->kind = PROXY_SOCKS5;
    else if (begins(&text, SPAN_LITERAL("haproxy:")))
        spec->kind = PROXY_HAPROXY;
    const char *colon = text.n ? memrchr(text.p, ':', text.n) : NULL;
    unsigned port;
    if (spec->kind == PROXY_NONE || !colon || !parse_port(span_make(colon + 1, (size_t)(text.p + text.n - colon) - 1), &port))
        return false;
    struct span address = span_make(text.p, (size_t)(colon - text.p));
    bool brackets = address.n > 2 && address.p[0] == '[' && address.p[address.n - 1] == ']';
    if (brackets)
        address = span_make(address.p + 1, address.n - 2);
    return address_to_socket(address, port, &spec->address, &spec->length) && brackets == (spec->address.ss_family == AF_INET6);
}
