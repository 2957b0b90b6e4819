/* postino site: how mail for a domain would leave, host by host, and what TLS of each would be demanded; without a mail and without the running
 * Postino. Names are asked for as postino-dns would, a policy as postino-sts would; the decision is postino-remote's own (delivery/security.h). */
#include "admin/admin.h"
#include "admin/queue_print.h"
#include "admin/site_limits.h"
#include "common/address.h"
#include "common/tlspolicy.h"
#include "delivery/nexthop.h"
#include "delivery/security.h"
#include "resolver/context.h"
#include "resolver/question.h"
#include "resolver/resolve.h"
#include "resolver/stub.h"
#include "sts/fetch.h"
#include "sts/policy.h"
#include "sts/rua.h"

#include <event2/event.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unbound.h>

#define FETCH_SECONDS 30
#define TLSA_SHOWN    80 /* octets of each record */

static struct {
    struct event_base *base;
    const struct settings *settings;
    const struct settings_route *route;
    struct nexthop hop;
    enum tlspolicy tls;
    const char *lmtp;                   /* its next hop; NULL: SMTP */
    bool implicit;                      /* smtps: */
    const struct settings_login *login; /* NULL: none */
    bool located;                       /* which hosts these are is proved, or the route says it */
    bool done;                          /* what is waited for has come */
    unsigned texts;                     /* TXT records of MTA-STS */
    char id[STS_ID];                    /* of the one */
    char addresses[512];
    struct security_sts sts;
    bool reached;     /* there is a host that mail would go to */
    struct buf names; /* of the hosts, as site_limits_print() wants them */
} self;

static void wait_until_done(void)
{
    while (!self.done && event_base_loop(self.base, EVLOOP_ONCE) == 0)
        ;
    self.done = false;
}

static void line(const char *key, const char *text)
{
    printf("  %-9s ", key);
    queue_print_text(stdout, span_of(text));
    putchar('\n');
}

/* ---- the route ------------------------------------------------------------------------------------------------------------------- */

static void find_login(void)
{
    struct buf text = BUF_EMPTY(2048);
    for (size_t i = 0; self.route && i < self.settings->login_count; i++)
        if (strcmp(self.settings->logins[i].title, self.route->login) == 0)
            self.login = &self.settings->logins[i];
    if (!self.login)
        return;
    buf_printf(&text, "\"%s\": %s by ", self.login->title, self.login->user);
    for (size_t i = 0; i < self.login->mechanisms.n; i++)
        buf_printf(&text, "%s%s", i ? ", " : "", self.login->mechanisms.v[i]);
    if (!self.login->mechanisms.n)
        buf_add_text(&text, *self.login->token_url ? "OAUTHBEARER, XOAUTH2" : "the strongest mechanism that the host offers too");
    line("login", buf_text(&text));
    buf_free(&text);
}

static const char *lmtp_of(const char *via)
{
    return strncmp(via, "lmtp:", 5) == 0 ? via + 5 : NULL;
}

static bool take_hop(const char *text)
{
    char tls[100];
    struct span hop = span_of(text);
    bool is = self.implicit ? nexthop_parse_smtps(hop, self.settings, &self.hop) : nexthop_parse(hop, self.settings, &self.hop);
    if (is && self.hop.kind == NEXTHOP_SOCKET)
        self.tls = TLSPOLICY_NONE;
    snprintf(tls, sizeof tls, "%s%s", tlspolicy_word(self.tls), self.implicit ? ", from the first byte" : "");
    line("tls", tls);
    return is;
}

/* A domain of ours whose mailboxes an LMTP server has. */
static bool take_deliver(const struct settings_domain *d)
{
    self.tls = TLSPOLICY_DANE;
    self.lmtp = lmtp_of(d->deliver);
    printf("  %-9s \"%s\" { deliver = \"%s\" }\n", "domain", d->title, d->deliver);
    return self.lmtp && take_hop(self.lmtp);
}

static bool take_route(const char *domain)
{
    char text[300];
    const char *via = "";
    self.route = settings_route(self.settings, span_of(domain));
    self.tls = self.route ? (enum tlspolicy)self.route->tls : TLSPOLICY_DANE;
    if (self.route) {
        via = settings_nexthop(self.route->via).p;
        self.lmtp = lmtp_of(self.route->via);
        self.implicit = span_equal(settings_transport(self.route->via), SPAN_LITERAL("smtps"));
    }
    snprintf(text, sizeof text, "%s%s", *via && *via != ':' ? "" : domain, via);
    if (self.route)
        printf("  %-9s \"%s\" { via = \"%s\" }\n", "route", self.route->title, self.route->via);
    else
        line("route", "none: its own hosts");
    bool is = take_hop(text);
    find_login();
    return is;
}

/* ---- MTA-STS --------------------------------------------------------------------------------------------------------------------- */

static void on_texts(const struct question_answer *a, void *arg)
{
    (void)arg;
    self.done = true;
    for (size_t i = 0; a->result == QUESTION_OK && i < a->count; i++) {
        struct buf text = BUF_EMPTY(UINT16_MAX);
        wire_text(&a->records[i], &text);
        if (sts_is_record(buf_span(&text)) && (!sts_record_parse(buf_span(&text), self.id) || ++self.texts > 1))
            self.texts = 2;
        buf_free(&text);
    }
}

static void on_addresses(const struct message_resolved *m, void *arg)
{
    (void)arg;
    struct list hosts = m->hosts;
    struct record_host host;
    self.done = true;
    if (record_host_next(&hosts, &host))
        snprintf(self.addresses, sizeof self.addresses, "%.*s", SPAN_ARG(host.addresses));
}

static void on_policy(const struct fetched *f, void *arg)
{
    static const char *const modes[] = {[STS_NONE] = "none", [STS_TESTING] = "testing", [STS_ENFORCE] = "enforce"};
    (void)arg;
    struct sts_policy policy = {0};
    const char *why = f->why;
    struct buf words = BUF_EMPTY(64 << 10);
    self.done = true;
    if (!why && sts_policy_parse(f->text, &policy, &why)) {
        buf_printf(&words, "%s, id %s, for %llu s; mx: %s", modes[policy.mode], self.id, (unsigned long long)policy.max_age,
                   buf_text(&policy.mx));
        self.sts = (struct security_sts){.mode = policy.mode, .mx = strdup(buf_text(&policy.mx))};
    } else {
        buf_printf(&words, "a record, and no policy: https://mta-sts.%s/.well-known/mta-sts.txt: %s", self.hop.name, why);
    }
    line("MTA-STS", buf_text(&words));
    buf_free(&words);
    buf_free(&policy.mx);
}

/* As postino-remote would: of domains alone, and where the route leaves it to the receiver. */
static void look_at_sts(const struct resolve_rules *rules)
{
    char name[300];
    struct error error;
    if (self.tls != TLSPOLICY_DANE || self.hop.kind != NEXTHOP_DOMAIN || self.hop.port_given)
        return;
    snprintf(name, sizeof name, "_mta-sts.%s", self.hop.name);
    question_ask(name, WIRE_TXT, on_texts, NULL);
    wait_until_done();
    if (self.texts != 1) {
        line("MTA-STS", self.texts ? "none: its records are broken, or more than one" : "none");
        return;
    }
    snprintf(name, sizeof name, "mta-sts.%s", self.hop.name);
    resolve_start(rules, span_of(name), RESOLVE_ADDRESSES, 0, on_addresses, NULL);
    wait_until_done();
    if (fetch_setup(self.base, self.settings->tls_authorities, FETCH_SECONDS, &error) == 0 &&
        fetch_start(self.hop.name, span_of(self.addresses), on_policy, NULL))
        wait_until_done();
}

/* ---- reports (RFC 8460) ---------------------------------------------------------------------------------------------------------- */

struct wanted {
    struct rua places[RUA_MOST];
    size_t n;
};

static void on_report_texts(const struct question_answer *a, void *arg)
{
    struct wanted *w = arg;
    self.done = true;
    self.texts = 0;
    for (size_t i = 0; a->result == QUESTION_OK && i < a->count; i++) {
        struct buf text = BUF_EMPTY(UINT16_MAX);
        wire_text(&a->records[i], &text);
        if (rua_is_record(buf_span(&text)) && ++self.texts == 1)
            w->n = rua_parse(buf_span(&text), w->places);
        buf_free(&text);
    }
}

/* Of domains that want none nothing is said. */
static void look_at_reports(void)
{
    char name[300];
    struct wanted wanted = {.n = 0};
    if ((self.tls != TLSPOLICY_DANE && self.tls != TLSPOLICY_DANE_ONLY) || self.hop.kind != NEXTHOP_DOMAIN || self.hop.port_given)
        return;
    snprintf(name, sizeof name, "_smtp._tls.%s", self.hop.name);
    question_ask(name, WIRE_TXT, on_report_texts, &wanted);
    wait_until_done();
    for (size_t i = 0; self.texts == 1 && i < wanted.n; i++)
        line("reports", wanted.places[i].text);
}

/* ---- hosts ----------------------------------------------------------------------------------------------------------------------- */

/* Each record on a line, the data not in full. */
static void show_tlsa(const struct record_host *h)
{
    struct span rest = h->tlsa;
    printf("      TLSA below ");
    queue_print_text(stdout, h->base);
    putchar('\n');
    while (rest.n) {
        const char *comma = memchr(rest.p, ',', rest.n);
        size_t n = comma ? (size_t)(comma - rest.p) : rest.n;
        printf("        %.*s%s\n", n < TLSA_SHOWN ? (int)n : TLSA_SHOWN, rest.p, n < TLSA_SHOWN ? "" : "...");
        size_t used = comma ? n + 2 < rest.n ? n + 2 : rest.n : n;
        rest = span_make(rest.p + used, rest.n - used);
    }
}

static const char *meaning(enum security level)
{
    static const char *const words[] = {
        [SECURITY_NONE] = "plain, without TLS",
        [SECURITY_MAY] = "TLS where it is offered, with any certificate; else plain",
        [SECURITY_ENCRYPT] = "TLS with any certificate, or not at all",
        [SECURITY_VERIFY] = "TLS with a certificate for the host's name that an authority signed, or not at all",
        [SECURITY_DANE] = "TLS with what these records name, or not at all",
        [SECURITY_STS] = "TLS with a certificate for the host's name that an authority signed, or not at all (MTA-STS)",
        [SECURITY_TESTING] = "TLS where it is offered, with any certificate, else plain; what MTA-STS would refuse is counted",
        [SECURITY_FINGERPRINT] = "TLS with a certificate of the route's fingerprints, or not at all"};
    return words[level];
}

static enum security level_of(const struct host *h, const char **why)
{
    enum security level = security_of(self.tls, h, &self.sts, why);
    return self.implicit ? security_implicit(self.tls, level) : level;
}

static void show_login(enum security level)
{
    if (self.login && !self.login->insecure && !(security_proves(level) && (level != SECURITY_VERIFY || self.located)))
        puts("      no login there, and so no mail: nothing would prove that it is the right host");
}

static void say_not_there(const struct hosts *hosts, const char *why)
{
    const char *left_out = hosts->left_out[0] ? hosts->left_out : "it has no address";
    printf("      mail does not go there: %s%s\n", hosts->n ? why : left_out, !hosts->n && hosts->setting ? hosts->setting : "");
}

static void show_host(const struct record_host *h)
{
    const char *why = "";
    struct hosts hosts = {0};
    struct list one = {1, {NULL, 0}};
    struct buf record = BUF_EMPTY(1 << 20);
    record_host_add(&record, h);
    one.bytes = buf_span(&record);
    hosts_of_answer(&hosts, &self.hop, self.settings, one, 0);
    printf("    %u ", h->preference);
    queue_print_text(stdout, h->name);
    printf("\n      ");
    queue_print_text(stdout, h->addresses.n ? h->addresses : SPAN_LITERAL("no address"));
    putchar('\n');
    if (h->dane == DANE_RECORDS)
        show_tlsa(h);
    enum security level = hosts.n ? level_of(&hosts.v[0], &why) : SECURITY_UNUSABLE;
    if (level == SECURITY_UNUSABLE)
        say_not_there(&hosts, why);
    else
        printf("      mail goes by %s: %s\n", security_word(level), meaning(level));
    if (level != SECURITY_UNUSABLE)
        show_login(level);
    self.reached |= level != SECURITY_UNUSABLE;
    hosts_free(&hosts);
    buf_free(&record);
}

static void on_hosts(const struct message_resolved *m, void *arg)
{
    (void)arg;
    struct list hosts = m->hosts;
    self.done = true;
    self.located = m->secure || self.hop.kind != NEXTHOP_DOMAIN;
    if (m->verdict != RESOLVE_OK) {
        printf("  %-9s %.*s ", "hosts", SPAN_ARG(m->status));
        queue_print_text(stdout, m->reason);
        putchar('\n');
        return;
    }
    line("hosts", m->secure ? "proved by DNSSEC, in the order of trial:" : "not proved by DNSSEC, in the order of trial:");
    for (struct record_host h; record_host_next(&hosts, &h);) {
        buf_printf(&self.names, "%s%.*s", self.names.len ? "," : "", SPAN_ARG(h.name));
        show_host(&h);
    }
}

static void show_address(void)
{
    const char *why = "";
    struct hosts hosts;
    hosts_of_address(&hosts, &self.hop, self.settings);
    enum security level = hosts.n ? level_of(&hosts.v[0], &why) : SECURITY_UNUSABLE;
    line("host", self.hop.name);
    if (level == SECURITY_UNUSABLE)
        say_not_there(&hosts, why);
    else
        printf("      mail goes by %s: %s\n", security_word(level), meaning(level));
    self.reached = level != SECURITY_UNUSABLE;
    hosts_free(&hosts);
}

/* ---- command --------------------------------------------------------------------------------------------------------------------- */

static int look(const char *domain, struct ub_ctx *context)
{
    struct error error;
    struct resolve_rules rules = {.hostname = self.settings->hostname,
                                  .mx_hosts = (unsigned)self.settings->dns_mx_hosts,
                                  .family = self.settings->remote_address_family};
    if (question_setup(self.base, context, (unsigned)self.settings->dns_timeout, &error) != 0)
        return admin_fail(EX_OSERR, "site", "%s", error.text);
    puts(domain);
    const struct settings_domain *ours = settings_domain(self.settings, span_of(domain));
    if (ours && !lmtp_of(ours->deliver)) {
        line("domain", "of this host, with mailboxes of its own");
        return EX_OK;
    }
    if (ours ? !take_deliver(ours) : !take_route(domain))
        return admin_fail(EX_CONFIG, "site", "the route of %s leads to no next hop; run postino check", domain);
    if (self.hop.kind == NEXTHOP_ADDRESS || self.hop.kind == NEXTHOP_SOCKET) {
        show_address();
    } else {
        if (!context_proves(self.settings, &error))
            line("DNSSEC", error.text);
        look_at_sts(&rules);
        look_at_reports();
        unsigned want = RESOLVE_ADDRESSES | RESOLVE_TLSA | (self.hop.kind == NEXTHOP_DOMAIN ? RESOLVE_MX : 0);
        resolve_start(&rules, span_of(self.hop.name), want, self.hop.port, on_hosts, NULL);
        wait_until_done();
    }
    if (self.hop.kind != NEXTHOP_DOMAIN) {
        buf_clear(&self.names);
        buf_printf(&self.names, "[%s]", self.hop.name);
    }
    if (self.names.len > 0)
        site_limits_print(self.settings, domain, buf_span(&self.names), self.lmtp);
    return self.reached ? EX_OK : EX_UNAVAILABLE;
}

int cmd_site(struct admin *a, int argc, char **argv)
{
    struct nameservers servers;
    struct error error;
    if (getopt(argc, argv, "") != -1 || argc - optind != 1 || !address_is_domain(span_of(argv[optind]), true))
        return admin_fail(EX_USAGE, "site", "usage: postino site DOMAIN");
    int status = admin_settings(a);
    if (status != EX_OK)
        return status;
    self.settings = a->settings;
    self.base = event_base_new();
    context_servers(a->settings, &servers);
    bool stub = a->settings->dns_trust_ad;
    struct ub_ctx *context = self.base && !stub ? context_new(self.base, a->settings, &servers, &error) : NULL;
    if (stub ? !self.base || stub_setup(self.base, &servers, &error) != 0 : !context)
        return admin_fail(EX_OSERR, "site", "%s", self.base ? error.text : "out of memory");
    return look(argv[optind], context); /* what is under way ends with the process */
}
