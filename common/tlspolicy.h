/* tlspolicy: what the administrator demands of connections to a next hop, as route puts it into the `tls` of a recipient and remote obeys it
 * (RFC 7435, RFC 7672; the words are Postfix's):
 *
 *   none         no TLS
 *   may          TLS where it is offered; nobody's identity is looked at
 *   encrypt      TLS, or the mail waits; the same. ("required" is how it was called in spools that were written before.)
 *   dane         what the receiver publishes in DNSSEC is held to; where it publishes nothing, as may
 *   dane-only    that, or the mail waits
 *   verify       TLS with a certificate that an authority has signed for the host's name, or the mail waits
 *   fingerprint  "fingerprint:HEX,HEX": TLS with a certificate that has one of these SHA-256 sums, or whose public key has, or the mail waits */
#ifndef POSTINO_TLSPOLICY_H
#define POSTINO_TLSPOLICY_H

#include "common/span.h"

#include <stdbool.h>

enum tlspolicy {
    TLSPOLICY_NONE,
    TLSPOLICY_MAY,
    TLSPOLICY_ENCRYPT,
    TLSPOLICY_VERIFY,
    TLSPOLICY_DANE,
    TLSPOLICY_DANE_ONLY,
    TLSPOLICY_FINGERPRINT
};

#define TLSPOLICY_TEXT            ((size_t)1024) /* the longest */
#define TLSPOLICY_FINGERPRINT_HEX 64

/* False: it is none. `fingerprints`, if it is not NULL: the part behind "fingerprint:", else "". */
bool tlspolicy_parse(struct span text, enum tlspolicy *, struct span *fingerprints);
const char *tlspolicy_word(enum tlspolicy); /* without fingerprints */
/* Whether it can be asked of a route with TLS from the first byte (RFC 8314 3.3): all but none and may, which would do without. */
bool tlspolicy_fits_smtps(enum tlspolicy);
/* Takes the next one of a comma-separated list; false when there is none left, or it is malformed (then `list` is not empty). */
bool tlspolicy_fingerprint(struct span *list, unsigned char sum[32]);

#endif
