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

bool nexthop_named(const char *via, struct span tls, struct record_recipient *target)
{
    static const char socket[] = "lmtp:unix:";
    struct span transport = settings_transport(via);
    if (!span_equal(transport, SPAN_LITERAL("lmtp")) && !span_equal(transport, SPAN_LITERAL("smtps")))
        return false;
    target->transport = transport;
    target->nexthop = settings_nexthop(via);
    target->tls = strncmp(via, socket, sizeof socket - 1) == 0 ? SPAN_LITERAL("none") : tls;
    return true;
}

enum outcome nexthop_add(struct decision *d, struct span address, struct span domain)
{
    const struct settings_route *route = settings_route(d->routing->settings, domain);
    struct buf nexthop = BUF_EMPTY(1024), tls = BUF_EMPTY(TLSPOLICY_TEXT);
    struct record_recipient target = {.address = address, .transport = SPAN_LITERAL("smtp")};
    enum outcome outcome;
    settings_route_tls(route, &tls);
    if (route != NULL && nexthop_named(route->via, buf_span(&tls), &target)) {
        outcome = decision_add(d, &target);
    } else if (route == NULL || read_via(route->via, domain, &nexthop)) {
        if (route == NULL)
            buf_add_span(&nexthop, domain);
        target.nexthop = buf_span(&nexthop);
        target.tls = buf_span(&tls);
        outcome = decision_add(d, &target);
    } else {
        log_error("route \"%s\" { via = \"%s\" } is not understood; write smtp:host, smtp:[host]:port, smtps:[host], lmtp:[host]:port or "
                  "lmtp:unix:/path",
                  route->title, route->via);
        outcome = decision_fail(d, 451, "4.3.5", "Server configuration error");
    }
    buf_free(&nexthop);
    buf_free(&tls);
    return outcome;
}
