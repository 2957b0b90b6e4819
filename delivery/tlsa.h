/* tlsa: the TLSA records of a host, as dns tells them (RECORD_host: "3 1 1 0a1b..., 2 0 1 ..."), one by one. Pure; what dns says comes from
 * strangers. Of use for SMTP are DANE-EE (3) and DANE-TA (2) alone, over a certificate (0) or its public key (1), in full (0), by SHA-256 (1) or
 * SHA-512 (2) (RFC 7672 3.1). */
#ifndef POSTINO_TLSA_H
#define POSTINO_TLSA_H

#include "common/span.h"

#include <stdbool.h>
#include <stdint.h>

#define TLSA_DATA ((size_t)12 << 10)

struct tlsa {
    uint8_t usage, selector, matching;
    size_t length;
    uint8_t data[TLSA_DATA];
};

/* The next one that is of use; false when there is none left. */
bool tlsa_next(struct span *records, struct tlsa *);
bool tlsa_usable(struct span records);           /* there is one of use */
bool tlsa_is_of_host_alone(struct span records); /* all of use are DANE-EE: no name counts for them */

#endif
