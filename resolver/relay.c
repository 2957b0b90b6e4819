/* Who may send to a domain that is not ours, to which such domains anybody may, and which recipients these have. */
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

/* permit_tls_all_clientcerts among the rules of the listener lets all in whom client_authorities vouch for. */
static bool all_certificates_relay(const struct settings *s, struct span listener)
{
    const struct settings_listener *l = settings_listener(s, listener);
    const struct strings *rules = l != NULL && l->access.n > 0 ? &l->access : &s->access;
    for (size_t i = 0; i < rules->n; i++)
        if (strcmp(rules->v[i], "permit_tls_all_clientcerts") == 0)
            return true;
    return false;
}

bool relay_allowed(const struct decision *d, struct span local, struct span domain)
{
    const struct routing *r = d->routing;
    const struct message_rcpt *rcpt = d->rcpt;
    if (rcpt->may_relay != 0 || rcpt->login.n > 0 || routing_client_may_relay(r, rcpt->client) || d->ruling->certificate_listed)
        return true;
    if (rcpt->certified != 0 && all_certificates_relay(r->settings, rcpt->listener))
        return true;
    return in_relay_to(r->settings, domain) && !source_routed(local);
}

/* Whoever the client is: the host behind us would refuse it, and we would have to tell its sender. Roles are that host's to know. */
enum outcome relay_recipient_check(struct decision *d, const struct address *a, struct span domain)
{
    const struct settings *s = d->routing->settings;
    const struct address_maps maps = {"relay_recipients", &s->relay_recipients, d->routing->recipients, NULL};
    if (maps.list->n == 0 || !in_relay_to(s, domain) || name_is_role(a->local))
        return OUTCOME_OK;
    enum outcome outcome = address_maps_find(d, &maps, a);
    if (outcome != OUTCOME_UNKNOWN)
        return outcome;
    decision_fail(d, 550, "5.1.1", "Recipient address rejected: User unknown in relay recipient table");
    d->ruling->by = maps.setting;
    return OUTCOME_FAILED;
}
