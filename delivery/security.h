/* security: what the connection to one host must be. One decision for all that demand something, in the RFCs' order:
 *
 *   the route says none, encrypt, verify, fingerprint: that
 *   the route says dane (the default), dane-only:
 *       TLSA records, proved         --> DANE      (RFC 7672)
 *       ... none of which is of use  --> ENCRYPT   (RFC 7672 2.2; dane-only: UNUSABLE)
 *       ... that can't be had now    --> UNUSABLE: the next host, or later
 *       none                         --> MAY       (RFC 7435; dane-only: UNUSABLE)
 */
#ifndef POSTINO_SECURITY_H
#define POSTINO_SECURITY_H

#include "common/tlspolicy.h"
#include "delivery/hosts.h"

enum security { SECURITY_NONE, SECURITY_MAY, SECURITY_ENCRYPT, SECURITY_VERIFY, SECURITY_DANE, SECURITY_FINGERPRINT, SECURITY_UNUSABLE };

/* `why`: UNUSABLE: the reason, for a log and a report. */
enum security security_of(enum tlspolicy, const struct host *, const char **why);
/* REQUIRETLS (RFC 8689 4.2.1): who it is must be proved, where the route alone would not ask. `located`: where the host's name is from can be relied on,
 * DNSSEC or the route itself; no authority's word for a name helps where the name is a stranger's. */
enum security security_required(enum security, bool located, const char **why);
bool security_allows_plain(enum security);
const char *security_word(enum security);

#endif
