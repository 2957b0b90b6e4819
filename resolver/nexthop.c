/* Where mail for another domain goes: its `route` section (conf/settings.h), else the domain's MX. */
#include "resolver/routing_internal.h"

#include "common/log.h"
#include "common/tlspolicy.h"

/* "smtp:host", "smtp:[host]:port" is the host; "smtp:", "smtp::port" the recipient's own domain. */
static bool read_via(const char *via, struct span domain, struct buf *nexthop)
{
    static const char smtp[] = "smtp:";
    if (strncmp(via, smtp, sizeof smtp - 1) != 0)
        return false;
    const char *host = via + sizeof smtp - 1;
    if (host[0] == '\0' || host[0] == ':')
        buf_add_span(nexthop, domain);
    buf_add_text(nexthop, host);
    return true;
}

static void add_tls(const struct settings_route *route, struct buf *out)
{
    enum tlspolicy policy = route ? (enum tlspolicy)route->tls : TLSPOLICY_DANE;
    buf_add_text(out, tlspolicy_word(policy));
    for (size_t i = 0; policy == TLSPOLICY_FINGERPRINT && i < route->fingerprints.n; i++)
        buf_printf(out, "%s%s", i ? "," : ":", route->fingerprints.v[i]);
}

enum outcome nexthop_add(struct decision *d, struct span address, struct span domain)
{
    const struct settings_route *route = settings_route(d->routing->settings, domain);
    struct buf nexthop = BUF_EMPTY(1024), tls = BUF_EMPTY(TLSPOLICY_TEXT);
    enum outcome outcome;
    if (route == NULL || read_via(route->via, domain, &nexthop)) {
        if (route == NULL)
            buf_add_span(&nexthop, domain);
        add_tls(route, &tls);
        struct record_recipient target = {
            .address = address, .transport = SPAN_LITERAL("smtp"), .nexthop = buf_span(&nexthop), .tls = buf_span(&tls)};
        outcome = decision_add(d, &target);
    } else {
        log_error("route \"%s\" { via = \"%s\" } is not understood; write smtp:host or smtp:[host]:port", route->title, route->via);
        outcome = decision_fail(d, 451, "4.3.5", "Server configuration error");
    }
    buf_free(&nexthop);
    buf_free(&tls);
    return outcome;
}
