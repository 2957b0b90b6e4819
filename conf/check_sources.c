/* Sources: their addresses and names, and the pools that name them. */
#include "conf/check.h"
#include "conf/pool.h"
#include "conf/proxy_spec.h"

#include "common/address.h"

/* ---- a source ------------------------------------------------------------------------------------------------------------------ */

static unsigned line_of(const struct check *c, size_t i, const char *name)
{
    return places_line_in(c->places, SETTINGS_SOURCES, i, name);
}

/* An address that a connection can come from; 0: it is none. */
static int family_of(const char *text)
{
    struct sockaddr_storage address;
    socklen_t length;
    struct network any;
    bool is = address_to_socket(span_of(text), 0, &address, &length) && strcmp(text, "0.0.0.0") != 0 && network_parse(span_of(text), &any);
    return is ? address.ss_family : 0;
}

static void check_addresses(const struct check *c, size_t i)
{
    const struct settings_source *s = &c->settings->sources[i];
    unsigned line = line_of(c, i, "address");
    int first = s->address.n ? family_of(s->address.v[0]) : 0;
    for (size_t k = 0; k < s->address.n; k++)
        if (!family_of(s->address.v[k]))
            report_error(c->report, line,
                         "source \"%s\": address \"%s\" is not an IPv4 or IPv6 address; write one, as in 192.0.2.1 or 2001:db8::1",
                         s->title, s->address.v[k]);
    if (s->address.n == 0 && !places_refused(c->places, SETTINGS_SOURCES, i, "source", "address"))
        report_error(c->report, line, "source \"%s\" has no address; add address = \"192.0.2.1\"", s->title);
    else if (s->address.n > 2 || (s->address.n == 2 && first && family_of(s->address.v[1]) == first))
        report_error(
            c->report, line,
            "source \"%s\" has two addresses of one family; give it one IPv4 and one IPv6 address at most, and make a source of each other",
            s->title);
}

static void check_name(const struct check *c, size_t i)
{
    const struct settings_source *s = &c->settings->sources[i];
    if (*s->hostname && (!strchr(s->hostname, '.') || !address_is_domain(span_of(s->hostname), false)))
        report_error(c->report, line_of(c, i, "hostname"),
                     "source \"%s\": hostname \"%s\" is not a full name; write one with a dot, as in out1.example.org", s->title,
                     s->hostname);
}

static void check_warm_up(const struct check *c, size_t i)
{
    const struct settings_source *s = &c->settings->sources[i];
    unsigned messages, line = line_of(c, i, "warm_up_plan");
    uint64_t day;
    if (*s->warm_up && !pool_date_parse(span_of(s->warm_up), &day))
        report_error(c->report, line_of(c, i, "warm_up"), "source \"%s\": warm_up \"%s\" is not a day; write one as 2026-11-01", s->title,
                     s->warm_up);
    if (!*s->warm_up && places_given_in(c->places, SETTINGS_SOURCES, i, "warm_up_plan"))
        report_warning(c->report, line, "source \"%s\" has a plan and no warm-up; add warm_up = \"2026-11-01\", its first day", s->title);
    for (size_t k = 0; k < s->warm_up_plan.n; k++)
        if (!pool_plan_parse(span_of(s->warm_up_plan.v[k]), &messages))
            report_error(c->report, line, "source \"%s\": warm_up_plan \"%s\" is not a number of messages a day; write 1 to %d", s->title,
                         s->warm_up_plan.v[k], POOL_PLAN_MOST);
}

/* ---- pools --------------------------------------------------------------------------------------------------------------------- */

static void check_pool(const struct check *c, unsigned line, const struct strings *pool)
{
    struct pool_item item, other;
    for (size_t i = 0; i < pool->n; i++) {
        bool good = pool_item_parse(span_of(pool->v[i]), &item);
        if (!good)
            report_error(c->report, line,
                         "sources \"%s\" is not a source's title, or a title and a weight of 1 to %d; write \"out1\" or \"out1 3\"",
                         pool->v[i], POOL_WEIGHT_MOST);
        else if (settings_source(c->settings, span_of(pool->v[i])) && item.title.n < strlen(pool->v[i]))
            continue; /* a title with a blank in it: that is said of its section */
        else if (!settings_source(c->settings, item.title))
            report_error(c->report, line, "there is no source \"%.*s\"; add source \"%.*s\" { address = \"192.0.2.1\" }",
                         SPAN_ARG(item.title), SPAN_ARG(item.title));
        for (size_t k = 0; good && k < i; k++)
            if (pool_item_parse(span_of(pool->v[k]), &other) && span_equal(item.title, other.title))
                report_error(c->report, line, "sources name \"%.*s\" twice; give it a weight instead, as in \"%.*s 2\"",
                             SPAN_ARG(item.title), SPAN_ARG(item.title));
    }
    if (pool->n > POOL_MOST)
        report_error(c->report, line, "sources name %zu, and %d are the most; take some out", pool->n, POOL_MOST);
}

static bool names(const struct strings *pool, const char *title)
{
    struct pool_item item;
    for (size_t i = 0; i < pool->n; i++)
        if (pool_item_parse(span_of(pool->v[i]), &item) && span_equal(item.title, span_of(title)))
            return true;
    return false;
}

static bool is_used(const struct settings *s, const char *title)
{
    bool used = names(&s->remote_sources, title);
    for (size_t i = 0; i < s->route_count && !used; i++)
        used = names(&s->routes[i].sources, title);
    return used;
}

/* ---- proxies ------------------------------------------------------------------------------------------------------------------- */

static void check_proxy_of(const struct check *c, size_t i)
{
    const struct settings_route *r = &c->settings->routes[i];
    unsigned line = places_line_in(c->places, SETTINGS_ROUTES, i, "proxy");
    struct proxy_spec proxy;
    if (!proxy_spec_parse(span_of(r->proxy), &proxy))
        report_error(
            c->report, line,
            "route \"%s\": proxy \"%s\" is none; write socks5:192.0.2.9:1080 or haproxy:192.0.2.9:2525, an IPv6 address in brackets",
            r->title, r->proxy);
    if (proxy.kind == PROXY_NONE)
        return;
    if (strncmp(r->via, "lmtp:unix:", 10) == 0)
        report_error(c->report, line, "route \"%s\" leads to a socket of this host, where no proxy can be; take proxy out", r->title);
    if (proxy.kind == PROXY_HAPROXY && pool_of(c->settings, r)->n == 0)
        report_error(c->report, line, "route \"%s\": an haproxy is told from which address to go; add sources = { \"title\" }", r->title);
}

void check_sources(const struct check *c)
{
    const struct settings *s = c->settings;
    for (size_t i = 0; i < s->source_count; i++) {
        check_addresses(c, i);
        check_name(c, i);
        check_warm_up(c, i);
        if (!is_used(s, s->sources[i].title))
            report_warning(c->report, line_of(c, i, NULL),
                           "source \"%s\" is used by nothing; name it in remote { sources = { \"%s\" } } or in a route",
                           s->sources[i].title, s->sources[i].title);
    }
    check_pool(c, places_line(c->places, "remote", "sources"), &s->remote_sources);
    for (size_t i = 0; i < s->route_count; i++) {
        check_pool(c, places_line_in(c->places, SETTINGS_ROUTES, i, "sources"), &s->routes[i].sources);
        check_proxy_of(c, i);
    }
}
