/* Which address of the next hop is tried: the first, the next when one is of no use, and what is said when none is left. */
#include "delivery/session_internal.h"

#include "delivery/remote.h"

#include <stdarg.h>
#include <stdio.h>

/* ---- the next one, or the end ---------------------------------------------------------------------------------------------------- */

/* No (further) address: the end of the job that is ours, or else of one that waits. */
void session_give_up(struct session *s, enum verdict verdict, const char *status, bool site_failed, struct span words)
{
    struct buf peer = BUF_EMPTY(512);
    if (s->job) {
        job_decide_rest(s->job, verdict, status, words);
        session_finish_job(s, site_failed);
    } else {
        session_add_peer(s, &peer);
        session_stop_opening(s);
        site_unreachable(s->site, verdict, status, words, site_failed, buf_span(&peer));
    }
    buf_free(&peer);
    session_release(s);
}

void session_trouble(struct session *s, const char *status, bool site_failed, struct span words)
{
    session_log(s, words);
    stream_free(s->stream);
    s->stream = NULL;
    bool decided = s->job && transaction_decided(s);
    if (s->job && !decided && s->messages > 1) {
        site_give_back(s->site, s->job);
        s->job = NULL;
        session_release(s);
        return;
    }
    s->hopeful |= !s->unfit;
    s->unfit = false;
    if (decided || s->at + 1 >= s->hosts.n) {
        session_give_up(s, VERDICT_DEFERRED, status, site_failed && !decided, words);
        return;
    }
    s->at++;
    s->plain_only = s->data_only = false;
    session_connect(s);
}

void session_unfit(struct session *s, const char *status, struct span words)
{
    if (s->at + 1 < s->hosts.n || s->hopeful) {
        char later[STATUS_MAX] = "4";
        memccpy(later + 1, status + 1, 0, sizeof later - 2);
        s->unfit = true;
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

void session_not_connected(struct session *s, const char *why)
{
    if (has_port(s))
        session_troublef(s, "4.4.1", "connect to %s:%u: %s", s->peer, s->site->nexthop.port, why);
    else
        session_troublef(s, "4.4.1", "connect to socket %s: %s; %s", s->site->nexthop.name, why, lmtp_advice(why));
}

/* ---- the first one --------------------------------------------------------------------------------------------------------------- */

static void no_address(struct session *s)
{
    struct buf words = BUF_EMPTY(SESSION_WORDS);
    bool final = s->hosts.left_out[0] && !s->hosts.unresolved;
    if (s->hosts.left_out[0])
        buf_printf(&words, "no address of next hop %s may get mail: %s", s->site->nexthop.name, s->hosts.left_out);
    else
        buf_printf(&words, "no address is known for the hosts of next hop %s", s->site->nexthop.name);
    session_log(s, buf_span(&words));
    session_give_up(s, final ? VERDICT_FAILED : VERDICT_DEFERRED, final ? "5.4.4" : "4.4.3", !final, buf_span(&words));
    buf_free(&words);
}

static void first_address(struct session *s)
{
    s->at = 0;
    if (s->hosts.n == 0)
        no_address(s);
    else
        session_connect(s);
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
        s->located = r->secure || s->site->nexthop.kind != NEXTHOP_DOMAIN;
        hosts_of_answer(&s->hosts, &s->site->nexthop, remote.settings, r->hosts);
        if (!s->sts_question)
            first_address(s);
        return;
    }
    if (r->status.n && r->status.n < sizeof status)
        memcpy(status, r->status.p, r->status.n);
    bool consistent = status[0] == (failed ? '5' : '4');
    session_log(s, r->reason);
    session_give_up(s, failed ? VERDICT_FAILED : VERDICT_DEFERRED, consistent ? status : failed ? "5.4.4" : "4.4.3", !failed, r->reason);
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
