#include "qmgr/limits.h"

#include "common/idn.h"
#include "conf/pool.h"

#define RESOLVING_MOST 1    /* questions for one domain at a time */
#define RELEASING_MOST 1000 /* they go on at once */

/* ---- a site's name ----------------------------------------------------------------------------------------------- */

static const struct span SMTP = SPAN_LITERAL("smtp:"), SMTPS = SPAN_LITERAL("smtps:"), LMTP = SPAN_LITERAL("lmtp:"),
                         ROUTE = SPAN_LITERAL(" route "), SOURCE = SPAN_LITERAL(" source ");

static bool begins(struct span s, struct span with)
{
    return with.n > 0 && s.n >= with.n && memcmp(s.p, with.p, with.n) == 0;
}

/* Octets of the transport in front of hosts, or of a socket; 0: it is of neither. */
static size_t transport_in(struct span name)
{
    if (begins(name, SMTP) || begins(name, LMTP))
        return SMTP.n;
    return begins(name, SMTPS) ? SMTPS.n : 0;
}

static bool is_of_hosts(struct span name)
{
    return transport_in(name) > 0;
}

bool limits_is_socket(struct span name)
{
    return begins(name, SPAN_LITERAL("lmtp:unix:"));
}

struct span limits_hosts(struct span name)
{
    static const struct span ipv6 = SPAN_LITERAL("IPv6:");
    if (!is_of_hosts(name) || limits_is_socket(name))
        return (struct span){0};
    struct span hosts = span_before(span_make(name.p + transport_in(name), name.n - transport_in(name)), ' ');
    if (hosts.n == 0 || hosts.p[0] != '[')
        return span_before(hosts, ':');
    hosts = span_before(span_make(hosts.p + 1, hosts.n - 1), ']');
    if (hosts.n > ipv6.n && span_equal_nocase(span_make(hosts.p, ipv6.n), ipv6))
        hosts = span_make(hosts.p + ipv6.n, hosts.n - ipv6.n);
    return hosts;
}

/* Hosts, TLS mode and titles have no blanks: what follows the second blank is " route TITLE", " source TITLE", or both. */
static struct span behind(struct span name, struct span word)
{
    const char *end = name.p + name.n;
    const char *tls = is_of_hosts(name) ? memchr(name.p, ' ', name.n) : NULL;
    const char *rest = tls ? memchr(tls + 1, ' ', (size_t)(end - tls - 1)) : NULL;
    const char *at = rest ? memmem(rest, (size_t)(end - rest), word.p, word.n) : NULL;
    return at ? span_before(span_make(at + word.n, (size_t)(end - at) - word.n), ' ') : (struct span){0};
}

struct span limits_line_of(struct span name)
{
    return behind(name, ROUTE);
}

struct span limits_source_of(struct span name)
{
    return behind(name, SOURCE);
}

void limits_add_source(struct span site, const struct settings_source *source, struct buf *name)
{
    buf_printf(name, "%.*s%.*s%s", SPAN_ARG(site), SPAN_ARG(SOURCE), source->title);
}

static bool is_at_or_below(struct span host, struct span at)
{
    if (host.n > at.n && host.p[host.n - at.n - 1] == '.')
        host = span_make(host.p + host.n - at.n, at.n);
    return span_equal_nocase(host, at);
}

static bool is_within(struct span host, struct span at, const struct strings *names)
{
    bool is = at.n > 0 && is_at_or_below(host, at);
    for (size_t i = 0; i < names->n && !is; i++)
        is = is_at_or_below(host, span_of(names->v[i]));
    return is;
}

bool limits_hosts_within(struct span name, struct span at, const struct strings *names)
{
    struct span rest = limits_hosts(name);
    if (rest.n == 0)
        return false;
    for (bool more = true; more;) {
        struct span host;
        more = span_cut(&rest, ',', &host);
        if (!is_within(host, at, names))
            return false;
    }
    return true;
}

bool limits_hosts_below(struct span name, struct span at)
{
    return limits_hosts_within(name, at, &(struct strings){0});
}

/* ---- routes ------------------------------------------------------------------------------------------------------ */

static bool gives_limits(const struct settings_route *r)
{
    return r->sessions != SETTING_NOT_GIVEN || r->rate != SETTING_NOT_GIVEN || r->session_messages != SETTING_NOT_GIVEN;
}

/* All that remote looks up by the route's title in DELIVER belongs here. */
static bool has_line(const struct settings_route *r)
{
    return gives_limits(r) || *r->login || r->sources.n > 0 || *r->proxy;
}

/* The usual host has none: nothing is looked up for its mail. */
static bool any_has_line(const struct settings *s)
{
    for (size_t i = 0; i < s->route_count; i++) {
        if (has_line(&s->routes[i]))
            return true;
    }
    return false;
}

/* Titles have A-labels; an address whose local part is beyond ASCII has U-labels. */
static const struct settings_route *route_of_domain(const struct settings *s, struct span domain)
{
    struct buf ascii = BUF_EMPTY(512);
    bool other = !span_is_ascii(domain) && idn_ascii(domain, &ascii);
    const struct settings_route *r = settings_route(s, other ? buf_span(&ascii) : domain);
    buf_free(&ascii);
    return r;
}

/* Not a host in brackets, a port, a site's name or a path. */
static bool looks_like_domain(struct span text)
{
    for (size_t i = 0; i < text.n; i++)
        if (strchr("[]:/ ", text.p[i]))
            return false;
    return text.n > 0;
}

struct span limits_nexthop(const struct settings *s, struct span domain)
{
    const struct settings_route *r = looks_like_domain(domain) ? route_of_domain(s, domain) : NULL;
    struct span via = span_of(r ? r->via : "");
    if (!r || !is_of_hosts(via))
        return domain;
    struct span host = settings_nexthop(r->via);
    return host.n == 0 || host.p[0] == ':' ? domain : host;
}

/* "[192.0.2.1]", without a port. */
static bool is_literal(struct span nexthop)
{
    if (nexthop.n < 3 || nexthop.p[nexthop.n - 1] != ']')
        return false;
    return (nexthop.p[1] >= '0' && nexthop.p[1] <= '9') || memchr(nexthop.p, ':', nexthop.n);
}

bool limits_is_stray(const struct settings *s, struct span name)
{
    struct span whole = span_before(name, ' '), transport = span_before(name, ':');
    bool smtp = span_equal(transport, SPAN_LITERAL("smtp")) || span_equal(transport, SPAN_LITERAL("smtps"));
    if (!smtp || whole.n < transport.n + 2 || whole.p[transport.n + 1] != '[')
        return false;
    if (is_literal(span_make(whole.p + transport.n + 1, whole.n - transport.n - 1)))
        return false;
    for (size_t i = 0; i < s->route_count; i++) {
        if (span_equal_nocase(span_of(s->routes[i].via), whole))
            return false;
    }
    return true;
}

/* Mail of a domain of ours may go by LMTP without any route, and what went by one may wait for where that led to before. From smtp: to smtps: a route may
 * change while mail waits: it is the same line. */
static bool leads_to(const struct settings_route *r, const struct record_recipient *rcpt)
{
    bool lmtp = span_equal(rcpt->transport, SPAN_LITERAL("lmtp"));
    if (lmtp != begins(span_of(r->via), LMTP))
        return false;
    return !lmtp || settings_route_leads_to(r, rcpt->transport, rcpt->nexthop);
}

const struct settings_route *limits_route(const struct settings *s, const struct record_recipient *rcpt)
{
    const char *at = rcpt->address.n ? memrchr(rcpt->address.p, '@', rcpt->address.n) : NULL;
    if (!at || !any_has_line(s))
        return NULL;
    size_t before = (size_t)(at - rcpt->address.p) + 1;
    const struct settings_route *r = route_of_domain(s, span_make(at + 1, rcpt->address.n - before));
    return r && has_line(r) && leads_to(r, rcpt) ? r : NULL;
}

void limits_add_route(const struct settings *s, const struct record_recipient *rcpt, struct buf *name)
{
    const struct settings_route *r = limits_route(s, rcpt);
    if (r)
        buf_printf(name, "%.*s%s", SPAN_ARG(ROUTE), r->title);
}

static bool in_pool(const struct settings *s, const struct strings *pool, struct span title)
{
    for (size_t i = 0; i < pool->n; i++) {
        const struct settings_source *source = pool_source(s, pool, i, NULL);
        if (source && span_equal(span_of(source->title), title))
            return true;
    }
    return false;
}

bool limits_in_line(const struct settings *s, const struct record_recipient *rcpt, struct span name)
{
    const struct settings_route *r = limits_route(s, rcpt);
    struct span source = limits_source_of(name);
    return span_equal(limits_line_of(name), r ? span_of(r->title) : (struct span){0}) &&
           (source.n == 0 || in_pool(s, pool_of(s, r), source));
}

/* ---- limits ------------------------------------------------------------------------------------------------------ */

struct found {
    uint64_t sessions, rate, session_messages;
    size_t sessions_at, rate_at, session_messages_at; /* octets of the name that gave it */
};

static void take(uint64_t value, size_t specific, uint64_t *best, size_t *best_at)
{
    if (value == SETTING_NOT_GIVEN || specific <= *best_at)
        return;
    *best = value;
    *best_at = specific;
}

#define TAKE_ALL(found, from, specific)                                                                                                    \
    do {                                                                                                                                   \
        take((from)->sessions, specific, &(found)->sessions, &(found)->sessions_at);                                                       \
        take((from)->rate, specific, &(found)->rate, &(found)->rate_at);                                                                   \
        take((from)->session_messages, specific, &(found)->session_messages, &(found)->session_messages_at);                               \
    } while (0)

struct limits limits_of_site(const struct settings *s, struct span name)
{
    struct found f = {.sessions = s->queue_site_sessions, .rate = s->queue_site_rate, .session_messages = s->remote_session_messages};
    struct span title = limits_line_of(name);
    const struct settings_site *share = NULL;
    if (span_equal(name, SPAN_LITERAL("local")))
        return (struct limits){.sessions = (unsigned)s->queue_local_deliveries};
    if (span_equal(name, LIMITS_RELEASE))
        return (struct limits){.sessions = RELEASING_MOST};
    if (begins(name, SPAN_LITERAL("dns:")))
        return (struct limits){.sessions = RESOLVING_MOST};
    for (size_t i = 0; i < s->site_count; i++) {
        const struct settings_site *site = &s->sites[i];
        if (!limits_hosts_within(name, span_of(site->title), &site->also))
            continue;
        TAKE_ALL(&f, site, strlen(site->title));
        if (!share || strlen(site->title) > strlen(share->title))
            share = site;
    }
    for (size_t i = 0; title.n > 0 && i < s->route_count; i++) {
        if (span_equal(span_of(s->routes[i].title), title))
            TAKE_ALL(&f, &s->routes[i], SIZE_MAX);
    }
    return (struct limits){.sessions = (unsigned)f.sessions,
                           .rate = (unsigned)f.rate,
                           .session_messages = (uint32_t)f.session_messages,
                           .share = share && share->share ? share : NULL};
}

unsigned limits_a_day(const struct settings *s, struct span name, uint64_t now)
{
    struct span title = limits_source_of(name);
    const struct settings_source *source = title.n ? settings_source(s, title) : NULL;
    uint64_t rate = source ? limits_of_site(s, name).rate : 0;
    unsigned a_day = source ? pool_a_day(source, now) : 0;
    return rate == 0 || rate * 1440 > a_day ? a_day : 0;
}

void limits_add_share(const struct limits *l, struct span name, struct buf *out)
{
    struct span route = limits_line_of(name);
    if (l->share)
        buf_add_text(out, l->share->title);
    if (l->share && route.n > 0)
        buf_printf(out, "%.*s%.*s", SPAN_ARG(ROUTE), SPAN_ARG(route));
}
