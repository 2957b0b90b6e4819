/* nexthop: where a route leads, as it is written: "domain" (its MX hosts), "[host]" (that host alone) or "[192.0.2.1]",
 * "[IPv6:2001:db8::1]",
 * "[2001:db8::1]" (that address alone), each with ":port" or not; "unix:/path" (a socket of this host, for LMTP); and which addresses mail
 * may go to at all. */
#ifndef POSTINO_NEXTHOP_H
#define POSTINO_NEXTHOP_H

#include "common/buf.h"
#include "conf/settings.h"

#include <sys/socket.h>

enum nexthop_kind { NEXTHOP_DOMAIN, NEXTHOP_HOST, NEXTHOP_ADDRESS, NEXTHOP_SOCKET };

struct nexthop {
    enum nexthop_kind kind;
    char name[256]; /* without brackets and port; of a socket the path */
    unsigned port;
    bool port_given;                 /* there, or by the transport: it is not remote { port } */
    bool proxied;                    /* by the route's proxy: its loopback is not ours */
    bool configured;                 /* an address that stands in the file (the `via` of a route, the `deliver` of a domain) */
    struct sockaddr_storage address; /* NEXTHOP_ADDRESS: with the port; NEXTHOP_SOCKET */
    socklen_t address_length;
};

/* False: it has no form of these. `routes` decide on `configured`. */
bool nexthop_parse(struct span text, const struct settings *, struct nexthop *out);
/* The same for transport smtps: a host or an address alone, and port 465 (RFC 8314 7.3) where none is given. */
bool nexthop_parse_smtps(struct span text, const struct settings *, struct nexthop *out);

/* Whether the domain of an address, "[192.0.2.1]" or "[IPv6:2001:db8::1]" (RFC 5321 4.1.3), is this next hop's address, at whatever port. */
bool nexthop_is_literal(const struct nexthop *, struct span domain);

/* Why mail must not go to this address, or NULL. Loopback needs `remote { loopback }` or an address written in the file; networks that are
 * nobody's address (0.0.0.0/8, multicast, 240.0.0.0/4, ::) never get mail. An IPv4-mapped IPv6 address is judged as the IPv4 one. `*setting`: what to add
 * for the administrator, as it is a setting of his; "" if none is. */
const char *nexthop_forbids(const struct nexthop *, const struct settings *, const struct sockaddr *, const char **setting);

#endif
