/* proxy: the header that a proxy in front of us sends first, to say whose connection it is: the PROXY protocol of HAProxy (proxy-protocol.txt),
 * version 1 (a line) and 2 (binary). Pure.
 *
 * Taken are TCP clients over IPv4 and IPv6. LOCAL, UNKNOWN and a client on a UNIX socket are a connection without a client: the proxy's own,
 * as when it looks whether we are well. Datagrams, an address that can't be, a wrong checksum, a TLV that reaches too far, and whatever
 * is no header, are refused. What TLVs say (of TLS, of names) is not looked at, but for the checksum. */
#ifndef POSTINO_SMTPD_PROXY_H
#define POSTINO_SMTPD_PROXY_H

#include "common/span.h"

#include <sys/socket.h>

#define PROXY_V1_MOST 107                 /* octets, with CR LF */
#define PROXY_V2_MOST ((size_t)16 + 2048) /* octets, TLVs and all */

enum proxy_result {
    PROXY_MORE,    /* so far a header, and all of it belongs to it; `why` is not set */
    PROXY_CLIENT,  /* `client` is who connected to the proxy */
    PROXY_NOBODY,  /* nobody did: the proxy's own connection */
    PROXY_REFUSED, /* `why` tells */
};

struct proxy {
    struct sockaddr_storage client, server; /* PROXY_CLIENT */
    size_t length;                          /* of the header: what is behind it is the client's */
    const char *why;
};

enum proxy_result proxy_parse(struct span in, struct proxy *);

#endif
