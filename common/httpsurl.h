/* httpsurl: "https://host[:port][/path]" of the administrator's, taken apart; and where its host is, in libcurl's words. */
#ifndef POSTINO_HTTPSURL_H
#define POSTINO_HTTPSURL_H

#include "common/buf.h"

struct httpsurl {
    char host[256]; /* a domain name, or an address without brackets */
    uint16_t port;
    bool address;
};

/* False: it is none; one with a name before the host ("user@") or with anything but printable ASCII is none either. */
bool httpsurl_parse(const char *text, struct httpsurl *);

#define HTTPSURL_ADDRESSES 8

/* Appends "host:443:192.0.2.1,[2001:db8::1]", as CURLOPT_RESOLVE has it, with the first HTTPSURL_ADDRESSES of these addresses, which are parted by blanks.
 * False: there is none, or the buffer does not take it. */
bool httpsurl_resolve(const char *host, unsigned port, struct span addresses, struct buf *out);

#endif
