/* Who may send to a domain that is not ours, and to which such domains anybody may. */
#include "resolver/routing_internal.h"

bool routing_client_may_relay(const struct routing *r, struct span address)
{
    struct sockaddr_storage ss;
    socklen_t len;
    if (!address_to_socket(address, 0, &ss, &len))
        return false;
    for (size_t i = 0; i < r->settings->relay_from.n; i++)
        if (network_contains(&r->networks[i], (struct sockaddr *)&ss))
            return true;
    return false;
}

/* "example.org" is that domain, ".example.org" all below it. */
static bool covers(struct span pattern, struct span domain)
{
    if (pattern.n == 0 || pattern.p[0] != '.')
        return span_equal_nocase(pattern, domain);
    return domain.n > pattern.n && span_equal_nocase(pattern, span_make(domain.p + domain.n - pattern.n, pattern.n));
}

static bool in_relay_to(const struct settings *s, struct span domain)
{
    for (size_t i = 0; i < s->relay_to.n; i++)
        if (covers(span_of(s->relay_to.v[i]), domain))
            return true;
    return false;
}

/* user%elsewhere@relayed and the like ask the host behind us to relay for a stranger whom we vouch for. */
static bool source_routed(struct span local)
{
    return memchr(local.p, '@', local.n) != NULL || memchr(local.p, '%', local.n) != NULL || memchr(local.p, '!', local.n) != NULL;
}

bool relay_allowed(const struct routing *r, const struct message_rcpt *rcpt, struct span local, struct span domain)
{
    if (rcpt->may_relay != 0 || rcpt->login.n > 0 || routing_client_may_relay(r, rcpt->client))
        return true;
    return in_relay_to(r->settings, domain) && !source_routed(local);
}
