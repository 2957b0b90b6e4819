/* policy: MTA-STS as a domain publishes it (RFC 8461): the record in DNS, which says that there is a policy and which, and the policy, which comes
 * by HTTPS. Pure; both are hostile. */
#ifndef POSTINO_STS_POLICY_H
#define POSTINO_STS_POLICY_H

#include "common/messages.h"

#define STS_TEXT_MOST    ((size_t)64 << 10)   /* octets of a policy (RFC 8461 3.3) */
#define STS_MX_MOST      100                  /* patterns of a policy */
#define STS_MAX_AGE_MOST ((uint64_t)31557600) /* seconds (RFC 8461 3.2) */
#define STS_ID           33                   /* octets of an id, and a NUL */

struct sts_policy {
    enum sts_mode mode;
    uint64_t max_age; /* seconds */
    struct buf mx;    /* patterns, lower case, parted by blanks */
};

/* One TXT record, its strings joined. False: it is no record of MTA-STS, or a broken one. */
bool sts_record_parse(struct span txt, char id[STS_ID]);
bool sts_is_record(struct span txt); /* it begins like one: of such a domain may have only one (RFC 8461 3.1) */
/* False: `why` says what is wrong. The caller frees mx in either case. */
bool sts_policy_parse(struct span text, struct sts_policy *, const char **why);
void sts_policy_lines(const struct sts_policy *, struct buf *out); /* "version: STSv1", LF, "mode: enforce" ..., for a report */

#endif
