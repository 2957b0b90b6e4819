/* security: what the connection to one host must be. One decision for all that demand something, in the RFCs' order:
 *
 *   the route says none, encrypt, verify, fingerprint: that
 *   the route says dane (the default), dane-only:
 *       TLSA records, proved         --> DANE      (RFC 7672)
 *       ... none of which is of use  --> ENCRYPT   (RFC 7672 2.2; dane-only: UNUSABLE)
 *       ... that can't be had now    --> UNUSABLE: the next host, or later
 *       none                         --> dane-only: UNUSABLE; else what MTA-STS says of the next hop's domain (RFC 8461):
 *           a policy to enforce that has the host among its mx  --> STS: a certificate that an authority signed for its name
 *           ... that has not                                    --> UNUSABLE
 *           a policy for tests                                  --> TESTING: as MAY, and what STS would say of it is looked at and told (5)
 *           none                                                --> MAY (RFC 7435)
 */
#ifndef POSTINO_SECURITY_H
#define POSTINO_SECURITY_H

#include "common/tlspolicy.h"
#include "delivery/hosts.h"

enum security {
    SECURITY_NONE,
    SECURITY_MAY,
    SECURITY_ENCRYPT,
    SECURITY_VERIFY,
    SECURITY_DANE,
    SECURITY_STS,
    SECURITY_TESTING,
    SECURITY_FINGERPRINT,
    SECURITY_UNUSABLE
};

/* The MTA-STS policy of a next hop; all zero: none. */
struct security_sts {
    enum sts_mode mode;
    char *mx; /* as in STS_IS */
};

bool security_sts_names(const char *mx, const char *host); /* RFC 8461 4.1: a host or "*.domain", for one label in front */

/* `why`: UNUSABLE: the reason, for a log and a report. */
enum security security_of(enum tlspolicy, const struct host *, const struct security_sts *, const char **why);
/* REQUIRETLS (RFC 8689 4.2.1): who it is must be proved, where the route alone would not ask. `located`: where the host's name is from can be relied on,
 * DNSSEC or the route itself; no authority's word for a name helps where the name is a stranger's. */
enum security security_required(enum security, bool located, const char **why);
/* TLS from the first byte (RFC 8314 3.3): what would allow plain text is VERIFY there. So is a route's dane where no TLSA records are, or none that can be used. */
enum security security_implicit(enum tlspolicy, enum security);
bool security_allows_plain(enum security);
bool security_proves(enum security); /* TLS at that level proves who the host is, as far as its name can be relied on */
const char *security_word(enum security);

#endif
