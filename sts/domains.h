/* domains: what is known of each domain's policy, and how it comes to be known (RFC 8461 5).
 *
 *              a policy that has not expired, looked at within a day ---------------------------------> its answer, at once
 *              ... not looked at within a day: the same, and behind it:
 *   question --no policy, or an expired one--> RECORD --one record--> ADDRESS --found--> FETCH --a policy--> kept, answered
 *                                                | none, or several      |                 |
 *                                                v                       v                 v
 *                                              no policy           no policy, and no other try for RETRY seconds
 *
 * A look that fails leaves the policy that is there as it is until that expires: who can keep us from looking can't take it away. The record says
 * whether there is another policy (its id); a policy is fetched anew when that changed, or half of its time is over. */
#ifndef POSTINO_STS_DOMAINS_H
#define POSTINO_STS_DOMAINS_H

#include "common/peer.h"
#include "sts/policy.h"

struct domain_wait;

typedef void domain_fn(const struct message_sts_is *, void *arg); /* valid during the call */

void domains_setup(struct peer *dns);
/* What is kept of this domain is known again; one that has expired is removed. False: no more may be known. */
bool domains_recall(const char *name, uint64_t asked /* last about it, seconds since 1970 */);
/* Looks at policies of domains that were asked about in the last week: daily, or after half of their time. */
void domains_look_again(size_t most);
/* NULL: `done` was called already (also for what is no domain: no policy). Else it will be, once, unless domain_cancel() comes first. */
struct domain_wait *domain_ask(struct span name, domain_fn *done, void *arg);
void domain_cancel(struct domain_wait *);
size_t domains_waiting(void);

/* For reports: the lines of the domain's policy, parted by LF, or nothing; and, where it has a record and the last look for its policy failed, how
 * (else TLS_SUCCESS). Of a domain that nobody asked about lately nothing is known. */
bool domain_policy(struct span name, struct buf *lines, enum tls_result *trouble);

#endif
