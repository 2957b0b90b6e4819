/* resolve: which hosts take the mail of a next hop, and at which addresses (RFC 5321 5.1, RFC 7505).
 *
 *   START --MX wanted--> MX --records, or none: the name itself--> HOSTS (A and AAAA, then TLSA, of all at once) --all answered--> done
 *     \---not wanted, or an address----------------------------------^
 *
 * Equal preferences are shuffled. An MX that is an address, or the root, is passed over. If we are among the MX hosts, we and all hosts
 * that are not better are left out, as mail would come back to us. A host whose addresses can't be had now does not matter as long as
 * another has some. */
#ifndef POSTINO_RESOLVE_H
#define POSTINO_RESOLVE_H

#include "common/messages.h"

#include <netinet/in.h>

struct resolve;

struct resolve_rules {
    const char *hostname; /* our own */
    unsigned mx_hosts;    /* hosts at most */
    int family;           /* FAMILY_ANY, FAMILY_IPV4, FAMILY_IPV6 of conf/settings.h */
};

/* The message is valid during the call; its list is RESOLVED's. */
typedef void resolve_fn(const struct message_resolved *, void *arg);

/* NULL: `done` was called already. Else it will be, once, unless resolve_cancel() comes first. `rules` must live as long. */
struct resolve *resolve_start(const struct resolve_rules *rules, struct span name, unsigned want, unsigned port /* TLSA */,
                              resolve_fn *done, void *arg);
void resolve_cancel(struct resolve *);

#endif
