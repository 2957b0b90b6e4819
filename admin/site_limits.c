#include "admin/site_limits.h"

#include "admin/queue_print.h"
#include "qmgr/limits.h"

#include <stdio.h>

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

void site_limits_print(const struct settings *s, const char *domain, struct span hosts, const char *lmtp)
{
    struct buf name = BUF_EMPTY(0);
    add_name(s, domain, hosts, lmtp, &name);
    struct limits l = limits_of_site(s, buf_span(&name));
    print_limits(&l, buf_span(&name));
    print_rules(s, buf_span(&name));
    buf_free(&name);
}
