#include "delivery/site.h"

#include "common/crc32c.h"
#include "common/log.h"
#include "delivery/remote.h"
#include "delivery/session.h"

#include <stdlib.h>

#define BUCKETS 1024

static struct site *buckets[BUCKETS];
static size_t waiting;

static struct site **bucket_of(const char *key, size_t n)
{
    return &buckets[crc32c(0, key, n) % BUCKETS];
}

/* What makes a site of remote's. */
struct way {
    struct span nexthop, tls;
    bool require_tls;
    struct span transport; /* outlives the site */
    struct span route_title, source_title, hosts;
    const struct settings_route *route;
    const struct settings_source *source;
};

/* Sockets are postino-lmtp's, and nothing else is. */
static bool is_ours(const struct site *s)
{
    return (s->nexthop.kind == NEXTHOP_SOCKET) == remote.sockets && (s->lmtp || !remote.sockets);
}

/* What goes to a socket does not leave this host: it keeps any promise by its nature. */
static void stay_here(struct site *s)
{
    s->tls = TLSPOLICY_NONE;
    s->require_tls = false;
}

static bool is(const struct way *w, const char *transport)
{
    return span_equal(w->transport, span_of(transport));
}

/* TLS that is there from the first byte is never waived, and never less than a route can say (conf/check_sections.c). */
static bool parse_way(const struct way *w, struct site *s)
{
    bool parsed = s->implicit ? nexthop_parse_smtps(w->nexthop, remote.settings, &s->nexthop)
                              : nexthop_parse(w->nexthop, remote.settings, &s->nexthop);
    return parsed && tlspolicy_parse(w->tls, &s->tls, &s->fingerprints) && (!s->implicit || tlspolicy_fits_smtps(s->tls)) && is_ours(s) &&
           proxy_spec_parse(span_of(w->route ? w->route->proxy : ""), &s->proxy);
}

static struct site *new_site(const struct way *w, struct buf *key)
{
    struct site *s = calloc(1, sizeof *s);
    if (!s)
        log_die("out of memory for a site");
    s->lmtp = is(w, "lmtp");
    s->implicit = is(w, "smtps");
    if (!parse_way(w, s)) {
        free(s);
        return NULL;
    }
    s->require_tls = w->require_tls;
    s->route = w->route;
    s->source = w->source;
    s->nexthop.proxied = w->route && *w->route->proxy;
    if (s->nexthop.kind == NEXTHOP_SOCKET)
        stay_here(s);
    s->key = key->data;
    s->key_length = key->len;
    s->fingerprints = span_make(s->key + s->key_length - s->fingerprints.n, s->fingerprints.n); /* it ends the key */
    s->hosts = span_make(s->key + s->key_length - w->tls.n - 1 - w->hosts.n, w->hosts.n);
    *key = (struct buf){0};
    s->last = &s->first;
    struct site **bucket = bucket_of(s->key, s->key_length);
    s->next = *bucket;
    *bucket = s;
    return s;
}

static struct site *find(const struct way *w)
{
    struct buf key = BUF_EMPTY(32 << 10);
    if (!is(w, "smtp"))
        buf_printf(&key, "%.*s:", SPAN_ARG(w->transport));
    buf_add_span(&key, w->nexthop);
    buf_add_char(&key, 0);
    if (w->require_tls)
        buf_add_char(&key, '!');
    buf_add_span(&key, w->route_title);
    buf_add_char(&key, 0);
    buf_add_span(&key, w->source_title);
    buf_add_char(&key, 0);
    buf_add_span(&key, w->hosts);
    buf_add_char(&key, 0);
    buf_add_span(&key, w->tls);
    if (key.failed) {
        buf_free(&key);
        return NULL;
    }
    struct site *s = *bucket_of(key.data, key.len);
    while (s && !span_equal(span_make(s->key, s->key_length), buf_span(&key)))
        s = s->next;
    if (!s)
        s = new_site(w, &key);
    buf_free(&key);
    return s;
}

struct span site_name(const struct site *s)
{
    return span_of(s->key);
}

static void enqueue(struct site *s, struct job *j)
{
    j->next = NULL;
    *s->last = j;
    s->last = &j->next;
    s->waiting++;
    waiting++;
}

static void dequeue(struct site *s, struct job **at)
{
    struct job *j = *at;
    *at = j->next;
    if (s->last == &j->next)
        s->last = at;
    j->next = NULL;
    s->waiting--;
    waiting--;
}

/* RFC 8689 5: what the receiver publishes is left aside. What the administrator demands of a route is not the sender's to waive. Where we log in it is
 * what the route demands today, also for mail that was taken when it had no login. */
static void add_policy(const struct job *j, const struct way *w, struct span tls, struct buf *out)
{
    bool waived = j->tls_optional && !is(w, "smtps") && span_equal(tls, span_of(tlspolicy_word(TLSPOLICY_DANE)));
    if (w->route && *w->route->login)
        settings_route_tls(w->route, out);
    else if (waived)
        buf_add_text(out, tlspolicy_word(TLSPOLICY_MAY));
    else
        buf_add_span(out, tls);
}

static void refuse(struct job *j, enum verdict verdict, const char *status, const char *what, struct span title)
{
    struct span none = SPAN_LITERAL("");
    struct buf why = BUF_EMPTY(1024);
    buf_printf(&why, "%s ", what);
    buf_add(&why, title.p, title.n < 256 ? title.n : 256);
    job_decide_rest(j, verdict, status, buf_span(&why));
    job_finish(j, false, none, none);
    buf_free(&why);
}

/* A login is for the host that its route names today, and nobody else hears of it: mail that was taken when the route led elsewhere, or was not there yet,
 * goes there, too, and by the transport of today. What came of it counts in the line of the route, whoever qmgr took the hosts for. False: it can't go
 * there. */
static bool follow_login(struct way *w)
{
    const char *via = w->route ? w->route->via : "";
    if (!w->route || !*w->route->login || settings_route_leads_to(w->route, w->transport, w->nexthop))
        return true;
    if (span_equal(settings_transport(via), SPAN_LITERAL("lmtp")) != is(w, "lmtp"))
        return false;
    w->transport = settings_transport(via);
    w->nexthop = settings_nexthop(via);
    w->hosts = SPAN_LITERAL("");
    return true;
}

/* A proxy is for what the route leads to behind it. */
static bool belongs(struct way *w)
{
    return follow_login(w) && (!w->route || !*w->route->proxy || settings_route_leads_to(w->route, w->transport, w->nexthop));
}

/* False: a title is not of our slice; the job is over. */
static bool find_route(struct job *j, struct way *w)
{
    w->route = w->route_title.n ? settings_route_titled(remote.settings, w->route_title) : NULL;
    w->source = w->source_title.n ? settings_source(remote.settings, w->source_title) : NULL;
    if (w->route_title.n && !w->route)
        refuse(j, VERDICT_DEFERRED, "4.3.5", "the configuration has changed, or lacks route", w->route_title);
    else if (w->source_title.n && !w->source)
        refuse(j, VERDICT_DEFERRED, "4.3.5", "the configuration has changed, or lacks source", w->source_title);
    else if (!belongs(w))
        refuse(j, VERDICT_DEFERRED, "4.3.5",
               "the next hop is not where its route leads now, and gets neither its proxy nor its login; postino queue reroute sends the "
               "message where routes lead now: route",
               w->route_title);
    else
        return true;
    return false;
}

void site_deliver(struct job *j, const struct message_deliver *d)
{
    struct buf tls = BUF_EMPTY(TLSPOLICY_TEXT);
    struct way w = {.nexthop = d->nexthop,
                    .require_tls = j->require_tls,
                    .transport = j->transport,
                    .route_title = d->route,
                    .source_title = d->source,
                    .hosts = d->hosts};
    if (!find_route(j, &w))
        return;
    add_policy(j, &w, d->tls, &tls);
    w.tls = buf_span(&tls);
    struct site *s = j->undecided ? find(&w) : NULL;
    buf_free(&tls);
    if (!s) {
        refuse(j, VERDICT_FAILED, "5.3.5", "no valid route (look at the route sections of postino.conf): next hop", w.nexthop);
        return;
    }
    enqueue(s, j);
    if (s->idle)
        session_wake(s->idle);
    else
        site_settle(s);
}

static bool may_have(const struct job *j, uint64_t messages, bool fresh)
{
    return (fresh || !j->fresh_only) && (messages == 0 || j->session_messages > messages);
}

bool site_has(const struct site *s, uint64_t messages)
{
    const struct job *j = s->first;
    while (j && !may_have(j, messages, false))
        j = j->next;
    return j != NULL;
}

struct job *site_take(struct site *s, uint64_t messages, bool fresh)
{
    struct job **at = &s->first, *j;
    while (*at && !may_have(*at, messages, fresh))
        at = &(*at)->next;
    if ((j = *at))
        dequeue(s, at);
    return j;
}

static void put_first(struct site *s, struct job *j)
{
    j->next = s->first;
    if (!s->first)
        s->last = &j->next;
    s->first = j;
    s->waiting++;
    waiting++;
}

void site_give_back(struct site *s, struct job *j)
{
    j->fresh_only = true;
    put_first(s, j);
}

void site_go_on(struct site *s, struct job *j)
{
    j->fresh_only = false;
    put_first(s, j);
}

void site_unreachable(struct site *s, enum verdict verdict, const char *status, struct span words, bool failed, struct span peer,
                      const struct job_origin *origin)
{
    struct job *j = s->waiting > s->opening ? site_take(s, 0, true) : NULL;
    if (!j) {
        said_free(&s->said);
        return;
    }
    said_move(&j->said, &s->said);
    job_decide_rest(j, verdict, status, words);
    j->origin = *origin;
    job_finish(j, failed, peer, SPAN_LITERAL(""));
}

void site_settle(struct site *s)
{
    while (s->opening < s->waiting)
        session_open(s);
    if (s->waiting || s->sessions)
        return;
    struct site **at = bucket_of(s->key, s->key_length);
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    free(s->key);
    free(s);
}

void sites_orphan(const struct channel *c)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        for (struct site *s = buckets[i]; s; s = s->next) {
            for (struct job **at = &s->first; *at;) {
                struct job *j = *at;
                if (j->channel != c) {
                    at = &j->next;
                    continue;
                }
                dequeue(s, at);
                job_free(j);
            }
        }
    }
}

size_t sites_waiting(void)
{
    return waiting;
}
