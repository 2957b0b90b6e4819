#include "admin/site_limits.h"

#include "admin/queue_print.h"
#include "conf/pool.h"
#include "qmgr/limits.h"

#include <stdio.h>
#include <time.h>

/* As postino-qmgr calls it, as far as limits look at the name. */
static void add_name(const struct settings *s, const char *domain, struct span hosts, const char *lmtp, struct buf *name)
{
    struct buf address = BUF_EMPTY(512);
    if (lmtp)
        buf_printf(name, "lmtp:%s dane", lmtp);
    else
        buf_printf(name, "smtp:%.*s dane", SPAN_ARG(hosts));
    buf_printf(&address, "postmaster@%s", domain);
    struct record_recipient rcpt = {.address = buf_span(&address), .transport = SPAN_LITERAL("smtp")};
    if (lmtp) {
        rcpt.transport = SPAN_LITERAL("lmtp");
        rcpt.nexthop = span_of(lmtp);
    }
    limits_add_route(s, &rcpt, name);
    buf_free(&address);
}

static void print_limits(const struct limits *l, struct span name)
{
    struct buf share = BUF_EMPTY(0);
    limits_add_share(l, name, &share);
    printf("  %-9s %u at a time, ", "limits", l->sessions);
    if (l->rate)
        printf("%u messages a minute, ", l->rate);
    printf("%u in a session", l->session_messages);
    if (share.len > 0) {
        fputs("; together with all of site ", stdout);
        queue_print_text(stdout, buf_span(&share));
    }
    putchar('\n');
    buf_free(&share);
}

static void print_rules(const struct settings *s, struct span name)
{
    const char *before = "";
    for (size_t i = 0; i < s->reply_count; i++) {
        const struct settings_reply *r = &s->replies[i];
        if (r->sites.n > 0 && !limits_hosts_within(name, (struct span){0}, &r->sites))
            continue;
        if (!*before)
            printf("  %-9s ", "replies");
        printf("%s%s %s for %llus", before, r->title, r->action == REPLY_PAUSE ? "pauses" : "slows down", (unsigned long long)r->time);
        before = ", ";
    }
    if (*before)
        putchar('\n');
}

static void print_sources(const struct settings *s, const char *domain)
{
    const struct settings_route *route = settings_route(s, span_of(domain));
    const struct strings *pool = pool_of(s, route);
    for (size_t i = 0; i < pool->n; i++) {
        unsigned weight = 1;
        const struct settings_source *source = pool_source(s, pool, i, &weight);
        unsigned a_day = source ? pool_a_day(source, (uint64_t)time(NULL)) : 0;
        if (!source)
            continue;
        printf("  %-9s \"%s\"", "source", source->title);
        for (size_t k = 0; k < source->address.n; k++)
            printf("%s %s", k ? "," : "", source->address.v[k]);
        if (pool->n > 1)
            printf(", weight %u", weight);
        if (a_day > 0)
            printf(", in warm-up: %u message%s a day to each site", a_day, a_day > 1 ? "s" : "");
        putchar('\n');
    }
}

void site_limits_print(const struct settings *s, const char *domain, struct span hosts, const char *lmtp)
{
    struct buf name = BUF_EMPTY(0);
    add_name(s, domain, hosts, lmtp, &name);
    struct limits l = limits_of_site(s, buf_span(&name));
    print_limits(&l, buf_span(&name));
    print_rules(s, buf_span(&name));
    if (!lmtp || !limits_is_socket(buf_span(&name)))
        print_sources(s, domain);
    buf_free(&name);
}
