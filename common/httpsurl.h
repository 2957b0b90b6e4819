/* httpsurl: "https://host[:port][/path]" of the administrator's, taken apart. */
#ifndef POSTINO_HTTPSURL_H
#define POSTINO_HTTPSURL_H

#include "common/span.h"

struct httpsurl {
    char host[256]; /* a domain name, or an address without brackets */
    uint16_t port;
    bool address;
};

/* False: it is none; one with a name before the host ("user@") or with anything but printable ASCII is none either. */
bool httpsurl_parse(const char *text, struct httpsurl *);

#endif
