/* extensions: what a server offers in its reply to EHLO (RFC 5321 4.1.1.1). Unknown ones and broken parameters are skipped. */
#ifndef POSTINO_EXTENSIONS_H
#define POSTINO_EXTENSIONS_H

#include "delivery/reply.h"

#include <stdint.h>

enum extension {
    EXTENSION_PIPELINING = 1,
    EXTENSION_SIZE = 2,
    EXTENSION_8BITMIME = 4,
    EXTENSION_STARTTLS = 8,
    EXTENSION_ENHANCEDSTATUSCODES = 16,
    EXTENSION_DSN = 32,
    EXTENSION_SMTPUTF8 = 64,
    EXTENSION_CHUNKING = 128,
    EXTENSION_BINARYMIME = 256,
    EXTENSION_REQUIRETLS = 512,
    EXTENSION_DELIVERBY = 1 << 16,
    EXTENSION_MT_PRIORITY = 1 << 17,
};

struct extensions {
    unsigned offered;          /* enum extension bits */
    uint64_t size_limit;       /* octets; 0: none is told */
    unsigned auth;             /* mechanisms: enum sasl bits (common/sasl.h) */
    uint64_t by_least;         /* seconds: the shortest deadline with R (RFC 2852 3) */
    struct limits {            /* RFC 9422; 0: none is told */
        uint32_t recipients;   /* RCPTMAX: in a transaction */
        uint32_t transactions; /* MAILMAX: in a session */
        uint32_t domains;      /* RCPTDOMAINMAX: of recipients, in a session */
    } limits;
};

struct extensions extensions_parse(const struct reply *);
/* The name that the server gives itself: the first word of its reply. Valid as long as the reply is. */
struct span extensions_name(const struct reply *);

#endif
