/* Which address of the next hop is tried: the first, the next when one is of no use, one of the other family when this one is refused for where we come from
 * (RFC 8305 is within connect.c: the addresses of one host race), and what is said when none is left. */
#include "delivery/session_internal.h"

#include "common/clock.h"
#include "common/hostnames.h"
#include "delivery/blame.h"
#include "delivery/reach.h"
#include "delivery/remote.h"
#include "delivery/source.h"

#include <stdarg.h>
#include <stdio.h>

/* ---- the next one, or the end ---------------------------------------------------------------------------------------------------- */

static int family_of(const struct session *s)
{
    return session_host(s)->address.ss_family;
}

/* Behind the one in use. */
static size_t next_address(const struct session *s)
{
    size_t at = s->hosts.n;
    if (s->averse)
        at = hosts_first(&s->hosts, hosts_other_family(s->averse), s->at);
    return at < s->hosts.n || s->strict ? at : hosts_first(&s->hosts, AF_UNSPEC, s->at);
}

bool session_has_next(const struct session *s)
{
    return next_address(s) < s->hosts.n;
}

static void go_to(struct session *s, size_t at)
{
    session_host(s)->over = true;
    s->at = at;
    s->plain_only = s->data_only = false;
    session_connect(s);
}

/* No (further) address: the end of the job that is ours, or else of one that waits. */
void session_give_up(struct session *s, enum verdict verdict, const char *status, bool site_failed, struct span words)
{
    struct buf peer = BUF_EMPTY(512);
    if (s->job) {
        if (s->strict && !s->job->answered)
            job_refusals_stand(s->job);
        job_decide_rest(s->job, verdict, status, words);
        session_finish_job(s, site_failed);
    } else {
        session_add_peer(s, &peer);
        session_stop_opening(s);
        struct job_origin origin = session_origin(s);
        said_move(&s->site->said, &s->said);
        site_unreachable(s->site, verdict, status, words, site_failed, buf_span(&peer), &origin);
    }
    buf_free(&peer);
    session_release(s);
}

static void remember(struct session *s, const char *status, bool site_failed, struct span words)
{
    buf_clear(&s->further);
    buf_add_span(&s->further, words);
    snprintf(s->further_status, sizeof s->further_status, "%s", status);
    snprintf(s->further_peer, sizeof s->further_peer, "%s", s->peer);
    s->further_failed = site_failed;
}

/* The words of the address that did answer are told, as its own: where the last one failed on our side, that is not what the mail waits for. */
static void give_up_with_further(struct session *s, bool site_failed, bool decided)
{
    if (s->own != OWN_NONE)
        site_failed = s->further_failed && !decided && !s->strict && !s->there;
    s->own = OWN_NONE;
    snprintf(s->peer, sizeof s->peer, "%s", s->further_peer);
    session_give_up(s, VERDICT_DEFERRED, s->further_status, site_failed, buf_span(&s->further));
}

void session_trouble(struct session *s, const char *status, bool site_failed, struct span words)
{
    if (!s->login.told)
        session_log(s, words);
    s->login.told = false;
    stream_free(s->stream);
    s->stream = NULL;
    bool decided = s->job && transaction_decided(s);
    if (s->job && !decided && (s->messages > 1 || (s->waited && !s->unfit))) {
        site_give_back(s->site, s->job);
        s->job = NULL;
        session_release(s);
        return;
    }
    if (s->job && s->strict && s->reply.code)
        s->job->answered = true;
    s->hopeful |= !s->unfit;
    s->unfit = false;
    if (s->phase > SESSION_CONNECTING)
        remember(s, status, site_failed, words);
    bool less = s->phase <= SESSION_CONNECTING && s->further.len > 0;
    bool last = decided || !session_has_next(s);
    site_failed &= !decided && !s->strict && !s->there;
    if (last && less)
        give_up_with_further(s, site_failed, decided);
    else if (last)
        session_give_up(s, VERDICT_DEFERRED, status, site_failed, words);
    else
        go_to(s, next_address(s));
}

/* Who is unfit for one message may do for the next. */
static void keep_session(struct session *s)
{
    site_give_back(s->site, s->job);
    s->job = NULL;
    site_settle(s->site);
    session_ready(s);
}

void session_unfit(struct session *s, const char *status, struct span words)
{
    if (s->job && s->messages > 1) {
        keep_session(s);
        return;
    }
    if (session_has_next(s) || s->hopeful) {
        char later[STATUS_MAX] = "4";
        memccpy(later + 1, status + 1, 0, sizeof later - 2);
        s->unfit = true;
        s->there |= s->phase > SESSION_CONNECTING;
        session_trouble(s, later, false, words);
        return;
    }
    session_log(s, words);
    stream_free(s->stream);
    s->stream = NULL;
    session_give_up(s, VERDICT_FAILED, status, false, words);
}

void session_troublef(struct session *s, const char *status, const char *fmt, ...)
{
    struct buf words = BUF_EMPTY(SESSION_WORDS);
    char text[SESSION_WORDS];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    buf_add(&words, text, n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
    session_trouble(s, status, true, buf_span(&words));
    buf_free(&words);
}

/* A peer on the network has a port. */
static bool has_port(const struct session *s)
{
    return s->site->nexthop.kind != NEXTHOP_SOCKET;
}

void session_add_peer(const struct session *s, struct buf *out)
{
    if (s->at < s->hosts.n && has_port(s))
        buf_printf(out, "%s:%u", s->peer, s->site->nexthop.port);
    else if (s->at < s->hosts.n)
        buf_add_text(out, s->peer);
}

void session_say_not_connected(const struct session *s, const char *why, struct buf *words)
{
    if (has_port(s))
        buf_printf(words, "connect to %s:%u: %s", s->peer, s->site->nexthop.port, why);
    else
        buf_printf(words, "connect to socket %s: %s; %s", s->site->nexthop.name, why, lmtp_advice(why));
}

/* ---- the other family ------------------------------------------------------------------------------------------------------------ */

bool session_may_change_family(const struct session *s)
{
    int other = hosts_other_family(family_of(s));
    return !s->job->second && !s->site->lmtp && blame_is_of_address(&s->reply) && hosts_first(&s->hosts, other, s->at) < s->hosts.n;
}

/* Later sessions begin with the other family of this host. */
void session_refused_family(struct session *s)
{
    uint64_t now = clock_monotonic_ms();
    s->averse = family_of(s);
    for (size_t i = 0; i < s->hosts.n; i++) {
        const struct host *h = &s->hosts.v[i];
        if (h->record == session_host(s)->record && h->address.ss_family == s->averse)
            reach_failed((const struct sockaddr *)&h->address, span_of(h->name), now);
    }
}

/* With a word, where nothing of a message can be under way. */
static void part(struct session *s)
{
    if (s->phase == SESSION_BODY || stream_backlog(s->stream)) {
        stream_free(s->stream);
    } else {
        stream_write_span(s->stream, SPAN_LITERAL("QUIT\r\n"));
        stream_close_after_flush(s->stream);
    }
    s->stream = NULL;
}

void session_change_family(struct session *s)
{
    session_refused_family(s);
    s->strict = s->job->second = true;
    part(s);
    go_to(s, hosts_first(&s->hosts, hosts_other_family(s->averse), s->at));
}

/* ---- the first one --------------------------------------------------------------------------------------------------------------- */

bool session_goes_to_literal(const struct session *s)
{
    const struct job *j = s->job ? s->job : s->site->first;
    for (size_t i = 0; j && i < j->count; i++) {
        struct span address = j->recipients[i].address;
        const char *at = address.n ? memrchr(address.p, '@', address.n) : NULL;
        if (!at || !nexthop_is_literal(&s->site->nexthop, span_make(at + 1, (size_t)(address.p + address.n - at) - 1)))
            return false;
    }
    return j != NULL;
}

/* A host or address in brackets stands, or stood, in the file: that this host's settings forbid it now is no fault of the mail's. What a name in DNS
 * leads to is its owner's. */
static bool is_ours(const struct session *s)
{
    const struct nexthop *hop = &s->site->nexthop;
    return hop->kind == NEXTHOP_HOST || (hop->kind == NEXTHOP_ADDRESS && !session_goes_to_literal(s));
}

/* Which setting it was is for the administrator: where the address is what a sender or a domain's owner wrote, the words go back to the sender. */
static void no_address(struct session *s)
{
    struct buf words = BUF_EMPTY(SESSION_WORDS), line = BUF_EMPTY(SESSION_WORDS);
    bool forbidden = s->hosts.left_out[0] != '\0', ours = is_ours(s);
    bool final = forbidden && !s->hosts.unresolved && !ours;
    if (forbidden)
        buf_printf(&words, "no address of next hop %s may get mail: %s", s->site->nexthop.name, s->hosts.left_out);
    else
        buf_printf(&words, "no address is known for the hosts of next hop %s", s->site->nexthop.name);
    buf_add_span(&line, buf_span(&words));
    buf_add_text(&line, forbidden ? s->hosts.setting : "");
    if (forbidden && ours)
        buf_add_text(&line, "; correct that, or postino queue reroute sends it where routes lead now");
    session_log(s, buf_span(&line));
    session_give_up(s, final ? VERDICT_FAILED : VERDICT_DEFERRED, final ? "5.4.4" : "4.4.3", !final, buf_span(ours ? &line : &words));
    buf_free(&words);
    buf_free(&line);
}

static void first_address(struct session *s)
{
    s->at = 0;
    if (!source_fit(s))
        return;
    if (s->hosts.n == 0)
        no_address(s);
    else
        session_connect(s);
}

/* qmgr has let this message go as one to these hosts, and what comes of it counts for them. Who owns a domain can say today that a provider's
 * hosts are its own, and tomorrow something else: then nothing is tried, and it counts for nobody. */
static bool leads_elsewhere(struct session *s, struct list hosts)
{
    struct buf names = BUF_EMPTY(0), words = BUF_EMPTY(SESSION_WORDS);
    hostnames_join(hosts, &names);
    bool elsewhere = s->site->hosts.n > 0 && !span_equal(buf_span(&names), s->site->hosts);
    if (elsewhere) {
        buf_printf(&words, "the MX hosts of %s have changed; it will be tried at the new ones", s->site->nexthop.name);
        session_log(s, buf_span(&words));
        s->own = OWN_DOMAIN;
        session_give_up(s, VERDICT_DEFERRED, "4.4.3", false, buf_span(&words));
    }
    buf_free(&names);
    buf_free(&words);
    return elsewhere;
}

static void on_resolved(const struct message *m, void *arg)
{
    struct session *s = arg;
    s->question = 0;
    if (!m || m->type != MESSAGE_RESOLVED) {
        session_give_up(s, VERDICT_DEFERRED, "4.4.3", true, SPAN_LITERAL("the resolver gave no answer"));
        return;
    }
    const struct message_resolved *r = &m->resolved;
    bool failed = r->verdict == RESOLVE_FAILED;
    char status[STATUS_MAX] = "";
    if (r->verdict == RESOLVE_OK) {
        if (leads_elsewhere(s, r->hosts))
            return;
        s->located = r->secure || s->site->nexthop.kind != NEXTHOP_DOMAIN;
        hosts_of_answer(&s->hosts, &s->site->nexthop, remote.settings, r->hosts, clock_monotonic_ms());
        if (!s->sts_question)
            first_address(s);
        return;
    }
    if (r->status.n && r->status.n < sizeof status)
        memcpy(status, r->status.p, r->status.n);
    bool consistent = status[0] == (failed ? '5' : '4');
    session_log(s, r->reason);
    s->own = s->site->hosts.n > 0 ? OWN_DOMAIN : OWN_NONE; /* there are hosts, and they have done nothing */
    session_give_up(s, failed ? VERDICT_FAILED : VERDICT_DEFERRED,
                    consistent ? status
                    : failed   ? "5.4.4"
                               : "4.4.3",
                    !failed && s->own == OWN_NONE, r->reason);
}

/* No answer is no policy: sts keeps those that it knows. */
static void on_sts(const struct message *m, void *arg)
{
    struct session *s = arg;
    s->sts_question = 0;
    if (m && m->type == MESSAGE_STS_IS && m->sts_is.mode <= STS_ENFORCE &&
        (s->sts.mx = strndup(m->sts_is.mx.p ? m->sts_is.mx.p : "", m->sts_is.mx.n)))
        s->sts.mode = (enum sts_mode)m->sts_is.mode;
    if (!s->question)
        first_address(s);
}

/* Policies are of domains (RFC 8461 2): a host that the administrator named, or a port, has none. */
static void ask_sts(struct session *s)
{
    const struct nexthop *hop = &s->site->nexthop;
    struct message m = {.type = MESSAGE_STS, .fd = -1, .sts = {.domain = span_of(hop->name)}};
    if (s->site->tls == TLSPOLICY_DANE && hop->kind == NEXTHOP_DOMAIN && !hop->port_given)
        s->sts_question = peer_ask(remote.sts, &m, on_sts, s);
}

void session_resolve(struct session *s)
{
    const struct nexthop *hop = &s->site->nexthop;
    struct message m = {.type = MESSAGE_RESOLVE, .fd = -1};
    if (hop->kind == NEXTHOP_ADDRESS || hop->kind == NEXTHOP_SOCKET) {
        s->located = true;
        hosts_of_address(&s->hosts, hop, remote.settings);
        first_address(s);
        return;
    }
    bool dane = s->site->tls == TLSPOLICY_DANE || s->site->tls == TLSPOLICY_DANE_ONLY;
    m.resolve.name = span_of(hop->name);
    m.resolve.port = (uint16_t)hop->port;
    m.resolve.want = RESOLVE_ADDRESSES | (hop->kind == NEXTHOP_DOMAIN ? RESOLVE_MX : 0) | (dane ? RESOLVE_TLSA : 0);
    s->question = peer_ask(remote.dns, &m, on_resolved, s);
    ask_sts(s);
}
