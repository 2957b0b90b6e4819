/* proxy_spec: by which proxy a route's connections go: "socks5:ADDRESS:PORT", "haproxy:ADDRESS:PORT"; of an IPv6 address in brackets. Pure. */
#ifndef POSTINO_PROXY_SPEC_H
#define POSTINO_PROXY_SPEC_H

#include "common/span.h"

#include <sys/socket.h>

enum proxy_kind { PROXY_NONE, PROXY_SOCKS5, PROXY_HAPROXY };

struct proxy_spec {
    enum proxy_kind kind;
    struct sockaddr_storage address;
    socklen_t length;
};

/* "" is PROXY_NONE. */
bool proxy_spec_parse(struct span text, struct proxy_spec *);

#endif
