/* bounce: the report that tells a sender what could not be delivered (RFC 3461, 3464, 6522). Pure: facts in, a message out. */
#ifndef POSTINO_BOUNCE_H
#define POSTINO_BOUNCE_H

#include "common/buf.h"

#include <stdint.h>

struct bounce_recipient {
    struct span address;  /* the final recipient */
    struct span original; /* what the client said, "" when the same */
    struct span orcpt;    /* "rfc822;user@host", "" when none */
    struct span status;   /* RFC 3463 */
    struct span reason;   /* the next host's reply ("550 5.1.1 ..."), or our own words; one line */
    struct span peer;     /* "mx1.example.net[192.0.2.1]:25", "" when no host was asked */
};

struct bounce {
    struct span hostname;
    struct span queue_id;  /* of the message that failed */
    struct span report_id; /* of the report itself */
    struct span sender;    /* who gets the report */
    struct span envid;     /* "" when none */
    uint64_t arrived, now; /* seconds since 1970 */
    uint64_t random;       /* for the boundary */
    const struct bounce_recipient *recipients;
    size_t count;
    struct span original; /* the message as far as it was read: all of it, or at least its header */
    bool headers_only;    /* return the header alone */
};

/* Appends the report: CR LF lines, with its header. True when it has octets over 127 (it must then travel as 8BITMIME). */
bool bounce_build(const struct bounce *, struct buf *out);

/* Whether a recipient's failure is to be told at all: RFC 3461 4.1, NOTIFY (0: not given). */
bool bounce_wanted(unsigned notify);

#endif
