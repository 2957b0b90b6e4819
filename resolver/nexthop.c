/* Where mail for another domain goes: the `route` sections, exact name first, then its parents, longest first, then "*"; else the domain's
 * MX. */
#include "resolver/routing_internal.h"

#include "common/log.h"

static const struct settings_route *route_titled(const struct settings *s, struct span title)
{
    for (size_t i = 0; i < s->route_count; i++)
        if (span_equal_nocase(span_of(s->routes[i].title), title))
            return &s->routes[i];
    return NULL;
}

static const struct settings_route *find_route(const struct settings *s, struct span domain)
{
    const struct settings_route *route = route_titled(s, domain);
    for (size_t i = 1; route == NULL && i < domain.n; i++)
        if (domain.p[i] == '.')
            route = route_titled(s, span_make(domain.p + i, domain.n - i));
    return route != NULL ? route : route_titled(s, SPAN_LITERAL("*"));
}

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

static const char *tls_word(const struct settings_route *route)
{
    static const char *const words[] = {"none", "may", "required", "verify"};
    return words[route == NULL ? ROUTE_TLS_MAY : route->tls];
}

enum outcome nexthop_add(struct decision *d, struct span address, struct span domain)
{
    const struct settings_route *route = find_route(d->routing->settings, domain);
    struct buf nexthop = BUF_EMPTY(1024);
    enum outcome outcome;
    if (route == NULL || read_via(route->via, domain, &nexthop)) {
        if (route == NULL)
            buf_add_span(&nexthop, domain);
        struct record_recipient target = {
            .address = address, .transport = SPAN_LITERAL("smtp"), .nexthop = buf_span(&nexthop), .tls = span_of(tls_word(route))};
        outcome = decision_add(d, &target);
    } else {
        log_error("route \"%s\" { via = \"%s\" } is not understood; write smtp:host or smtp:[host]:port", route->title, route->via);
        outcome = decision_fail(d, 451, "4.3.5", "Server configuration error");
    }
    buf_free(&nexthop);
    return outcome;
}
