/* bounce: the report that tells a sender what became of a message (RFC 3461, 3464, 6522; 6533 where it is UTF-8). Pure: facts in, a message
 * out. */
#ifndef POSTINO_BOUNCE_H
#define POSTINO_BOUNCE_H

#include "common/buf.h"

#include <stdint.h>

/* What is told; all recipients of a report have the same. */
enum bounce_kind {
    BOUNCE_FAILURE = 1,
    BOUNCE_SUCCESS, /* to those who asked: in a mailbox here, or handed to a host that reports no further */
    BOUNCE_DELAY,   /* it is still tried */
};

/* It failed for its time, whatever was said last. */
enum bounce_over { OVER_NOT, OVER_EXPIRED, OVER_DEADLINE /* RFC 2852; DELAY: told at it */ };

struct bounce_recipient {
    struct span address;  /* the final recipient */
    struct span original; /* what the client said, "" when the same */
    struct span orcpt;    /* "rfc822;user@host", "" when none */
    struct span status;   /* RFC 3463, of the reason; "" when not tried yet */
    struct span reason;   /* the next host's reply ("550 5.1.1 ..."), or our own words; one line. What of it is told: qmgr/telling.h */
    struct span peer;     /* "mx1.example.net[192.0.2.1]:25", "" when no host was asked, or when the reason names it */
    enum bounce_over over;
    uint32_t attempts;
    bool by_domain; /* it goes where its own domain leads by DNS, and not where our configuration does */
    bool relayed;   /* SUCCESS: not in a mailbox here */
};

struct bounce {
    enum bounce_kind kind;
    struct span hostname;
    struct span queue_id;  /* of the message that it is about */
    struct span report_id; /* of the report itself */
    struct span sender;    /* who gets the report */
    struct span envid;     /* "" when none */
    uint64_t arrived, now; /* seconds since 1970 */
    uint64_t expires;      /* DELAY: how long it is tried */
    uint64_t release;      /* its sender wanted it to wait until then (RFC 4865); 0: not */
    uint64_t deliver_by;   /* the deadline that its sender set (RFC 2852); 0: none */
    uint64_t random;       /* for the boundary */
    const struct bounce_recipient *recipients;
    size_t count;
    struct span original; /* the message as far as it was read: all of it, or at least its header */
    bool headers_only;    /* return the header alone; SUCCESS and DELAY return no more anyhow (RFC 3461 4.3) */
    bool smtputf8;        /* the report is for an address beyond ASCII, and so may be UTF-8 in its header and status part as well */
    bool original_utf8;   /* the original is a message of RFC 6532 */
};

/* Appends the report: CR LF lines, with its header. True when it has octets over 127 (it must then travel as 8BITMIME). */
bool bounce_build(const struct bounce *, struct buf *out);

/* Whether this is to be told of a recipient at all: RFC 3461 4.1, NOTIFY (0: not given; then failures and, as we do it, delays). */
bool bounce_wanted(enum bounce_kind, unsigned notify);

#endif
