/* wire: reading of DNS answers (RFC 1035 4.1). The packet is hostile: every offset is checked, and a compressed name may only point
 * backwards.
 *
 * Names come out as text in lower case without the final dot ("" is the root); an octet that is not a letter, digit, hyphen or underscore
 * is written as \DDD, so that such a name is no domain for address_is_domain(), and can't be taken for another. */
#ifndef POSTINO_WIRE_H
#define POSTINO_WIRE_H

#include "common/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_NAME  1025 /* text of 255 octets, at worst 4 for each, and a NUL */
#define WIRE_CHAIN 16   /* the most CNAMEs that are followed */

enum wire_type { WIRE_A = 1, WIRE_CNAME = 5, WIRE_PTR = 12, WIRE_MX = 15, WIRE_TXT = 16, WIRE_AAAA = 28, WIRE_DNSKEY = 48, WIRE_TLSA = 52 };
enum wire_rcode { WIRE_NOERROR = 0, WIRE_SERVFAIL = 2, WIRE_NXDOMAIN = 3 };

struct wire {
    const uint8_t *p;
    size_t n;
    unsigned rcode;
    bool truncated, authentic; /* the TC and AD bits */
    unsigned answers;          /* records in the answer section */
    size_t answers_at;
    uint16_t asked_type;
    char asked[WIRE_NAME];
    char canonical[WIRE_NAME]; /* after wire_answers(): where the CNAMEs end; `asked` when there are none */
};

/* One answer of the type asked for, that belongs to the name asked for or to what its CNAMEs lead to. */
struct wire_record {
    uint16_t preference;  /* MX */
    char name[WIRE_NAME]; /* MX: exchange; PTR, CNAME: target; else "" */
    uint8_t address[16];  /* A: 4 octets; AAAA: 16 */
    const uint8_t *data;  /* TXT, TLSA: all of it, in the packet; else NULL */
    uint16_t length;
};

/* Header and question. False: not an answer to one question of class IN. */
bool wire_open(struct wire *, const void *packet, size_t n);

/* Calls `each` for every record that answers the question; true when the section was well formed, and the CNAMEs no loop.
 * NXDOMAIN with a CNAME in front is an NXDOMAIN of the last name: look at rcode first. */
typedef void wire_each_fn(const struct wire_record *, void *arg);
bool wire_answers(struct wire *, wire_each_fn *, void *arg);

/* A TXT record's strings as one text, as RFC 7208 3.3 and RFC 8461 3.1 want it. */
void wire_text(const struct wire_record *, struct buf *out);

#endif
