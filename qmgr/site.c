/* Which site a next hop is. A domain's site is the set of its MX hosts, so that all domains of one provider share what is learned about it;
 * a host in brackets is its own.
 *
 *   nexthop "example.org:26" --known?--> site "smtp:mx1.example.net,mx2.example.net:26 may"
 *                    |  no
 *                    +--> line "dns:example.org", one at a time --RESOLVE--> known for a while
 */
#include "common/hostnames.h"
#include "qmgr/limits.h"
#include "qmgr/memory.h"
#include "qmgr/pace.h"
#include "qmgr/queue.h"
#include "qmgr/sources.h"

#include <sys/random.h>

#define KNOWN_FOR  300               /* seconds */
#define KNOWN_MOST 10000             /* next hops */
#define LOOKED_AT  8192              /* sites in one turn */
#define LINES_MOST ((size_t)1 << 20) /* octets of names that are gone through */

struct known {
    struct hash_node node;
    uint64_t until;
    char *hosts;
    size_t name_length;
    char name[];
};

static struct hash table;
static uint64_t secret[2];
static uint64_t logins_again; /* when what waits for a login that a host refused is tried, as a reload may have mended it; 0: not */
static bool reconfigured;     /* routes have the limits that they had when the mail came, until then */

/* Domain and ":port" (or nothing). */
static void split(struct span nexthop, struct span *domain, struct span *port)
{
    const char *colon = nexthop.n ? memrchr(nexthop.p, ':', nexthop.n) : NULL;
    *domain = nexthop;
    *port = (struct span){0};
    if (!colon)
        return;
    domain->n = (size_t)(colon - nexthop.p);
    *port = span_make(colon, nexthop.n - domain->n);
}

static struct known *find(struct span domain)
{
    if (!table.slots) {
        hash_init(&table);
        if (getrandom(secret, sizeof secret, 0) != sizeof secret)
            log_die("no random numbers");
    }
    for (struct hash_node *n = hash_find(&table, hash_bytes(secret, domain)); n; n = hash_same(n)) {
        struct known *k = HASH_OWNER(n, struct known, node);
        if (span_equal(span_make(k->name, k->name_length), domain))
            return k;
    }
    return NULL;
}

static void forget(struct known *k)
{
    hash_remove(&table, &k->node);
    free(k->hosts);
    free(k);
}

void site_forget_all(void)
{
    if (!table.slots)
        return;
    for (struct hash_node *n; (n = hash_first(&table));)
        forget(HASH_OWNER(n, struct known, node));
}

static void learn(struct span domain, const char *hosts)
{
    struct known *k = find(domain);
    if (k)
        forget(k);
    if (table.count >= KNOWN_MOST)
        site_forget_all();
    k = memory_new(1, sizeof *k + domain.n);
    if (domain.n)
        memcpy(k->name, domain.p, domain.n);
    k->name_length = domain.n;
    k->hosts = memory_must(strdup(hosts));
    k->until = queue_now() + KNOWN_FOR;
    hash_add(&table, &k->node, hash_bytes(secret, domain));
}

void site_forget(struct span nexthop)
{
    struct span domain, port;
    split(nexthop, &domain, &port);
    struct known *k = find(domain);
    if (k)
        k->until = 0;
}

bool site_known(struct span nexthop, struct span tls, struct buf *name)
{
    struct span domain, port;
    if (nexthop.n > 0 && nexthop.p[0] == '[') {
        buf_printf(name, "smtp:%.*s %.*s", SPAN_ARG(nexthop), SPAN_ARG(tls));
        return true;
    }
    split(nexthop, &domain, &port);
    const struct known *k = find(domain);
    if (!k || queue_now() > k->until)
        return false; /* it is remembered for site_is() alone */
    buf_printf(name, "smtp:%s%.*s %.*s", k->hosts, SPAN_ARG(port), SPAN_ARG(tls));
    return true;
}

void site_waiting_name(struct span nexthop, struct buf *name)
{
    struct span domain, port;
    split(nexthop, &domain, &port);
    buf_printf(name, "dns:%.*s", SPAN_ARG(domain));
}

bool site_is_release(const struct site *site)
{
    return span_equal(schedule_site_name(site), LIMITS_RELEASE);
}

/* ---- limits ------------------------------------------------------------------------------------------------------ */

/* Sites that share their limits have them together: what each has by itself is what it may have of them. */
static struct site *limit(struct span name)
{
    struct limits l = limits_of_site(queue.settings, name);
    struct site *site = schedule_site(queue.schedule, name, l.sessions);
    if (limits_is_socket(name))
        schedule_site_near(site);
    struct buf share = BUF_EMPTY(0);
    limits_add_share(&l, name, &share);
    unsigned a_day = limits_a_day(queue.settings, name, queue_now());
    if (a_day > 0)
        schedule_site_pace(queue.schedule, site, a_day, PACE_DAY);
    else
        schedule_site_rate(queue.schedule, site, l.share ? 0 : l.rate);
    schedule_site_share(queue.schedule, site, buf_span(&share), l.sessions, l.rate);
    buf_free(&share);
    return site;
}

/* What is there has its limits: they change with the settings alone. */
struct site *site_limited(struct span name)
{
    struct site *site = schedule_find_site(queue.schedule, name);
    return site ? site : limit(name);
}

/* It is there already: nothing is added. */
static void limit_again(const struct site *site, void *arg)
{
    (void)arg;
    limit(schedule_site_name(site));
}

#define LOGINS_AGAIN 2 /* seconds: by then the new remote and creds are who is asked */

static void try_login_again(const struct site *site, void *arg)
{
    (void)arg;
    struct span name = schedule_site_name(site), title = limits_line_of(name);
    const struct settings_route *r = title.n ? settings_route_titled(queue.settings, title) : NULL;
    if (r && *r->login)
        schedule_flush(queue.schedule, schedule_find_site(queue.schedule, name), queue_now());
}

void site_tick(void)
{
    if (!logins_again || queue_now() < logins_again)
        return;
    logins_again = 0;
    schedule_each_site(queue.schedule, try_login_again, NULL);
}

/* A source in warm-up may send more from today on. */
void site_turn(uint64_t now)
{
    static uint64_t day;
    if (day != now / 86400)
        schedule_each_site(queue.schedule, limit_again, NULL);
    day = now / 86400;
}

static void count_stray(const struct site *site, void *arg)
{
    unsigned long *jobs = arg;
    if (limits_is_stray(queue.settings, schedule_site_name(site)))
        *jobs += schedule_view(site).jobs;
}

static void log_strays(void)
{
    unsigned long jobs = 0;
    schedule_each_site(queue.schedule, count_stray, &jobs);
    if (jobs > 0)
        log_warning(LIMITS_STRAYS, jobs);
}

void site_reconfigure(void)
{
    site_forget_all();
    sources_forget_ill();
    schedule_each_site(queue.schedule, limit_again, NULL);
    logins_again = queue_now() + LOGINS_AGAIN;
    reconfigured = true;
    log_strays();
}

bool site_moved(struct span name, const struct record_recipient *rcpt)
{
    return reconfigured && !span_equal(name, SPAN_LITERAL("local")) && !limits_in_line(queue.settings, rcpt, name);
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

static void fail(struct delivery *d, const struct message_resolved *r)
{
    uint64_t now = queue_now(), due = outcome_due(d);
    struct outcome o = {.verdict = VERDICT_DEFERRED, .status = SPAN_LITERAL("4.4.3"), .reply = SPAN_LITERAL("the resolver gave no answer")};
    bool final = r && r->verdict == RESOLVE_FAILED;
    if (r) {
        o.verdict = final ? VERDICT_FAILED : VERDICT_DEFERRED;
        o.status = r->status;
        o.reply = r->reason;
    }
    struct site *site = d->job.site;
    if (final)
        schedule_site_well(queue.schedule, site);
    else
        schedule_site_trouble(queue.schedule, site, o.reply, now);
    schedule_done(queue.schedule, &d->job, final ? JOB_RECIPIENT_FAILURE : r ? JOB_SITE_FAILURE : JOB_UNKNOWN, now);
    outcome_apply_all(d, &o, due);
    if (!final)
        delivery_fail_stranded(site, &o);
}

static void resolved(const struct message *m, void *arg)
{
    struct delivery *d = arg;
    d->question = 0;
    if (!m || m->type != MESSAGE_RESOLVED || m->resolved.verdict != RESOLVE_OK) {
        fail(d, m && m->type == MESSAGE_RESOLVED ? &m->resolved : NULL);
        return;
    }
    struct record_recipient rcpt;
    struct span domain, port;
    struct buf hosts = BUF_EMPTY(0);
    mail_recipient(d->mail, d->index[0], &rcpt);
    split(rcpt.nexthop, &domain, &port);
    hostnames_join(m->resolved.hosts, &hosts);
    learn(domain, buf_text(&hosts));
    buf_free(&hosts);
    schedule_site_well(queue.schedule, d->job.site);
    schedule_done(queue.schedule, &d->job, JOB_SUCCESS, queue_now());
    delivery_queue(d, 0);
}

void site_resolve(struct delivery *d)
{
    struct record_recipient rcpt;
    struct span domain, port;
    struct message m = {.type = MESSAGE_RESOLVE, .fd = -1, .resolve = {.want = RESOLVE_MX}};
    mail_recipient(d->mail, d->index[0], &rcpt);
    split(rcpt.nexthop, &domain, &port);
    m.resolve.name = domain;
    d->question = peer_ask(queue.dns, &m, resolved, d);
}

/* ---- by an administrator's words --------------------------------------------------------------------------------- */

static struct span after(struct span s, struct span prefix)
{
    bool has = s.n > prefix.n && memcmp(s.p, prefix.p, prefix.n) == 0;
    return has ? span_make(s.p + prefix.n, s.n - prefix.n) : (struct span){0};
}

static bool same_hosts(struct span name, struct span hosts)
{
    struct span own = limits_hosts(name);
    return own.n > 0 && span_equal_nocase(own, hosts);
}

/* `text` and a blank behind it: the name without its last words. */
static bool begins_with(struct span name, struct span text)
{
    return text.n > 0 && name.n > text.n && name.p[text.n] == ' ' && span_equal_nocase(span_make(name.p, text.n), text);
}

/* "host:port" for "[host]:port ...". */
static bool is_without_brackets(struct span rest, struct span text)
{
    const char *end = rest.n > 1 && rest.p[0] == '[' ? memchr(rest.p, ']', rest.n) : NULL;
    size_t n = end ? (size_t)(end - rest.p) - 1 : 0;
    if (n == 0 || text.n <= n || !span_equal_nocase(span_make(rest.p + 1, n), span_make(text.p, n)))
        return false;
    return begins_with(span_make(end + 1, rest.n - n - 2), span_make(text.p + n, text.n - n));
}

/* "smtp:[host]:port may", "[host]:port" or "unix:/path" as a route has it, "host:port". */
static bool is_nexthop(struct span name, struct span text)
{
    struct span rest = after(name, SPAN_LITERAL("smtp:"));
    if (!rest.n)
        rest = after(name, SPAN_LITERAL("smtps:"));
    if (!rest.n)
        rest = after(name, SPAN_LITERAL("lmtp:"));
    return begins_with(name, text) || begins_with(rest, text) || is_without_brackets(rest, text);
}

/* What an administrator says, for many names: what is known of it is looked up once. Until others are learned. */
struct wanted {
    struct span text;
    const struct known *known;
};

static struct wanted wanted_of(struct span text)
{
    return (struct wanted){.text = text, .known = find(text)};
}

static bool is_wanted(struct span name, const struct wanted *w)
{
    struct span line = after(name, SPAN_LITERAL("dns:")), text = w->text;
    const struct known *of_line = line.n ? find(line) : NULL;
    if (span_equal_nocase(name, text) || (line.n && span_equal_nocase(line, text)))
        return true;
    if (of_line) { /* a line for a domain is its hosts' as well */
        struct buf hosts = BUF_EMPTY(0);
        buf_printf(&hosts, "smtp:%s ", of_line->hosts);
        bool is = limits_hosts_below(buf_span(&hosts), text) || same_hosts(buf_span(&hosts), limits_hosts(text));
        buf_free(&hosts);
        return is;
    }
    return limits_hosts_below(name, text) || is_nexthop(name, text) || (w->known && same_hosts(name, span_of(w->known->hosts)));
}

bool site_is(struct span name, struct span text)
{
    struct wanted w = wanted_of(text);
    return is_wanted(name, &w);
}

struct flushing {
    site_may_fn *may; /* NULL: any */
    struct wanted wanted;
    const char *hosts; /* not NULL: the site with just these hosts */
    size_t sites, jobs;
};

static void flush_one(const struct site *site, void *arg)
{
    struct flushing *f = arg;
    struct span name = schedule_site_name(site);
    if (site_is_release(site))
        return;
    if (f->hosts ? !same_hosts(name, span_of(f->hosts)) : !is_wanted(name, &f->wanted))
        return;
    if (f->may && !f->may(name))
        return;
    f->sites++;
    if (f->may && schedule_site_dead(site))
        f->jobs += schedule_view(site).ready;
    struct site *found = schedule_find_site(queue.schedule, name);
    if (!f->may) /* an administrator's word: who asks by ETRN can't lift what a receiver wants */
        schedule_unslow(queue.schedule, found, queue_now());
    f->jobs += schedule_flush(queue.schedule, found, queue_now());
}

/* Mail of the domain may stand READY before a dead site that nobody knew to be the domain's. */
struct flush_later {
    site_may_fn *may;
    size_t length;
    char domain[];
};

static void flush_resolved(const struct message *m, void *arg)
{
    struct flush_later *later = arg;
    struct buf hosts = BUF_EMPTY(0);
    if (m && m->type == MESSAGE_RESOLVED && m->resolved.verdict == RESOLVE_OK) {
        hostnames_join(m->resolved.hosts, &hosts);
        learn(span_make(later->domain, later->length), buf_text(&hosts));
        struct flushing f = {.may = later->may, .hosts = buf_text(&hosts)};
        schedule_each_site(queue.schedule, flush_one, &f);
    }
    buf_free(&hosts);
    free(later);
}

static void flush_when_resolved(struct span domain, site_may_fn *may)
{
    struct message ask = {.type = MESSAGE_RESOLVE, .fd = -1, .resolve = {.name = domain, .want = RESOLVE_MX}};
    struct flush_later *later = memory_new(1, sizeof *later + domain.n);
    *later = (struct flush_later){.may = may, .length = domain.n};
    memcpy(later->domain, domain.p, domain.n);
    peer_ask(queue.dns, &ask, flush_resolved, later);
}

static bool is_domain_line(struct span text)
{
    struct buf name = BUF_EMPTY(0);
    site_waiting_name(text, &name);
    bool is = schedule_find_site(queue.schedule, buf_span(&name)) != NULL;
    buf_free(&name);
    return is;
}

static size_t flush(struct span text, site_may_fn *may, size_t *sites)
{
    struct flushing f = {.may = may, .wanted = wanted_of(text)};
    if (is_domain_line(text))
        flush_when_resolved(text, may);
    schedule_each_site(queue.schedule, flush_one, &f);
    *sites = f.sites;
    return f.jobs;
}

size_t site_flush(struct span text, size_t *sites)
{
    size_t jobs = flush(text, NULL, sites);
    struct span nexthop = limits_nexthop(queue.settings, text);
    return *sites > 0 || span_equal(nexthop, text) ? jobs : flush(nexthop, NULL, sites);
}

struct finding {
    struct wanted wanted;
    bool found;
};

static void find_one(const struct site *site, void *arg)
{
    struct finding *f = arg;
    f->found = f->found || is_wanted(schedule_site_name(site), &f->wanted);
}

bool site_look_for(struct span text, size_t *at, bool *there)
{
    struct finding f = {.wanted = wanted_of(text)};
    f.found = schedule_find_site(queue.schedule, text) || is_domain_line(text);
    bool more = !f.found && schedule_walk_sites(queue.schedule, at, LOOKED_AT, find_one, &f);
    *there = f.found;
    return more && !f.found;
}

size_t site_flush_limited(struct span nexthop, site_may_fn *may)
{
    size_t sites;
    return flush(nexthop, may, &sites);
}

struct lines {
    struct buf names; /* each with a NUL */
};

static void add_line(const struct site *site, void *arg)
{
    struct lines *l = arg;
    struct span domain = after(schedule_site_name(site), SPAN_LITERAL("dns:"));
    if (!domain.n || l->names.len > LINES_MOST)
        return;
    buf_add_span(&l->names, domain);
    buf_add_char(&l->names, '\0');
}

void site_each_line(void (*each)(struct span domain, void *arg), void *arg)
{
    struct lines l = {.names = BUF_EMPTY(0)};
    schedule_each_site(queue.schedule, add_line, &l);
    for (size_t at = 0; !l.names.failed && at < l.names.len;) {
        struct span domain = span_of((const char *)l.names.data + at);
        at += domain.n + 1;
        each(domain, arg);
    }
    buf_free(&l.names);
}
