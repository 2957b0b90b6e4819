#include "delivery/nexthop.h"

#include "common/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/un.h>

#define SMTPS_PORT 465

static bool parse_port(struct span text, unsigned *port)
{
    unsigned value = 0;
    if (text.n < 1 || text.n > 5)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        value = value * 10 + (unsigned)(text.p[i] - '0');
    }
    *port = value;
    return value >= 1 && value <= 65535;
}

/* Splits "name:port" and "[name]:port"; `name` is left without brackets. */
static bool split(struct span text, struct span *name, struct span *port, bool *brackets)
{
    const char *end;
    *brackets = text.n > 0 && text.p[0] == '[';
    *port = SPAN_LITERAL("");
    end = text.n ? memchr(text.p, *brackets ? ']' : ':', text.n) : NULL;
    if (*brackets) {
        if (!end)
            return false;
        *name = span_make(text.p + 1, (size_t)(end - text.p) - 1);
        end++;
        if (end == text.p + text.n)
            return true;
        if (*end != ':')
            return false;
    } else {
        *name = span_make(text.p, end ? (size_t)(end - text.p) : text.n);
        if (!end)
            return true;
    }
    *port = span_make(end + 1, (size_t)(text.p + text.n - end) - 1);
    return port->n > 0;
}

/* "unix:/path" */
static bool parse_socket(struct span text, struct nexthop *out)
{
    struct sockaddr_un *address = (struct sockaddr_un *)(void *)&out->address;
    struct span path = span_make(text.p + 5, text.n - 5);
    if (path.n == 0 || path.p[0] != '/' || path.n >= sizeof address->sun_path)
        return false;
    out->kind = NEXTHOP_SOCKET;
    snprintf(out->name, sizeof out->name, "%.*s", SPAN_ARG(path));
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path.p, path.n);
    out->address_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.n + 1);
    return true;
}

static bool parse(struct span text, unsigned default_port, struct nexthop *out)
{
    struct span name, port;
    bool brackets;
    *out = (struct nexthop){.port = default_port};
    if (text.n > 5 && memcmp(text.p, "unix:", 5) == 0)
        return parse_socket(text, out);
    if (!split(text, &name, &port, &brackets) || (port.n && !parse_port(port, &out->port)))
        return false;
    out->port_given = port.n > 0;
    if (brackets && name.n > 5 && strncasecmp(name.p, "IPv6:", 5) == 0)
        name = span_make(name.p + 5, name.n - 5);
    if (name.n == 0 || name.n >= sizeof out->name)
        return false;
    snprintf(out->name, sizeof out->name, "%.*s", SPAN_ARG(name));
    out->kind = brackets ? NEXTHOP_HOST : NEXTHOP_DOMAIN;
    if (brackets && address_to_socket(name, out->port, &out->address, &out->address_length)) {
        out->kind = NEXTHOP_ADDRESS;
        return true;
    }
    return address_is_domain(name, true);
}

/* `text`: "smtp:[192.0.2.1]", as a route or a domain has it. */
static bool is_written_as(const struct nexthop *hop, const char *text, unsigned smtp_port)
{
    struct nexthop written;
    struct span via = settings_nexthop(text);
    unsigned default_port = span_equal(settings_transport(text), SPAN_LITERAL("smtps")) ? SMTPS_PORT : smtp_port;
    return via.n && parse(via, default_port, &written) && written.kind == NEXTHOP_ADDRESS && written.port == hop->port &&
           strcasecmp(written.name, hop->name) == 0;
}

static bool is_in_file(const struct nexthop *hop, const struct settings *settings)
{
    unsigned smtp_port = (unsigned)settings->remote_port;
    for (size_t i = 0; i < settings->route_count; i++)
        if (is_written_as(hop, settings->routes[i].via, smtp_port))
            return true;
    for (size_t i = 0; i < settings->domain_count; i++)
        if (is_written_as(hop, settings->domains[i].deliver, smtp_port))
            return true;
    return false;
}

static bool parse_in(struct span text, unsigned default_port, const struct settings *settings, struct nexthop *out)
{
    if (!parse(text, default_port, out))
        return false;
    out->configured = out->kind == NEXTHOP_ADDRESS && is_in_file(out, settings);
    return true;
}

bool nexthop_parse(struct span text, const struct settings *settings, struct nexthop *out)
{
    return parse_in(text, (unsigned)settings->remote_port, settings, out);
}

bool nexthop_parse_smtps(struct span text, const struct settings *settings, struct nexthop *out)
{
    if (!parse_in(text, SMTPS_PORT, settings, out) || (out->kind != NEXTHOP_HOST && out->kind != NEXTHOP_ADDRESS))
        return false;
    out->port_given = true;
    return true;
}

bool nexthop_is_literal(const struct nexthop *hop, struct span domain)
{
    static const struct span v6 = SPAN_LITERAL("IPv6:");
    struct nexthop literal = {.port = hop->port};
    if (hop->kind != NEXTHOP_ADDRESS || domain.n < 3 || domain.p[0] != '[' || domain.p[domain.n - 1] != ']')
        return false;
    struct span text = span_make(domain.p + 1, domain.n - 2);
    if (text.n > v6.n && span_equal_nocase(span_make(text.p, v6.n), v6))
        text = span_make(text.p + v6.n, text.n - v6.n);
    return address_to_socket(text, hop->port, &literal.address, &literal.address_length) && literal.address_length == hop->address_length &&
           memcmp(&literal.address, &hop->address, hop->address_length) == 0;
}

enum range { RANGE_USUAL, RANGE_LOOPBACK, RANGE_NEVER };

static enum range range4(const unsigned char a[4])
{
    if (a[0] == 127)
        return RANGE_LOOPBACK;
    return a[0] == 0 || a[0] >= 224 ? RANGE_NEVER : RANGE_USUAL;
}

static enum range range6(const struct in6_addr *a)
{
    if (IN6_IS_ADDR_V4MAPPED(a))
        return range4(a->s6_addr + 12);
    if (IN6_IS_ADDR_LOOPBACK(a))
        return RANGE_LOOPBACK;
    return IN6_IS_ADDR_UNSPECIFIED(a) || IN6_IS_ADDR_MULTICAST(a) ? RANGE_NEVER : RANGE_USUAL;
}

static enum range range_of(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        unsigned char octets[4];
        memcpy(octets, &((const struct sockaddr_in *)(const void *)address)->sin_addr, sizeof octets);
        return range4(octets);
    }
    if (address->sa_family == AF_INET6)
        return range6(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
    return RANGE_NEVER;
}

const char *nexthop_forbids(const struct nexthop *hop, const struct settings *settings, const struct sockaddr *address,
                            const char **setting)
{
    enum range range = range_of(address);
    *setting = "";
    if (range == RANGE_NEVER)
        return "no host has such an address";
    if (range == RANGE_LOOPBACK && hop->proxied)
        return "behind the route's proxy a loopback address is the proxy's own";
    if (range == RANGE_LOOPBACK && !settings->remote_loopback && !hop->configured) {
        *setting = ", and remote { loopback } is not set";
        return "it is this host's loopback address";
    }
    bool v4 = settings->remote_address_family == FAMILY_IPV4, v6 = settings->remote_address_family == FAMILY_IPV6;
    if (!(v4 && address->sa_family != AF_INET) && !(v6 && address->sa_family != AF_INET6))
        return NULL;
    *setting = v4 ? " (remote { address_family = ipv4 })" : " (remote { address_family = ipv6 })";
    return v4 ? "mail goes over IPv4 alone from here" : "mail goes over IPv6 alone from here";
}
