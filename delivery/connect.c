/* How a connection to the session's host comes to be: what it must be, then a race of its addresses (RFC 8305 5).
 *
 *   session_connect --> start --> begin --> (TCP) --> on_connected --> session_connected: GREETING; the others are closed
 *          |              ^  ^                |
 *          |     race_delay  at once          `--> failed --> nobody left, nobody under way: the next host
 *          |              |  |                       |
 *          |              `--+-----------------------' the next address
 *          `--> it can't be secure enough: the next address
 *
 * By a proxy, (TCP) is to the proxy, which is talked to before GREETING (connect_proxy.h). Nothing races there.
 *
 * Addresses of one host alone race: they have one name, and so one level of security. A host with one address has no race, and no timer. No more than two
 * are under way at a time, so that a name with many addresses costs neither us many sockets nor many others a SYN; the third begins when one has failed. Who
 * loses was not tried: if the winner's session comes to nothing, it is the next. What is learned goes to reach.h; an address that was overtaken by one that
 * began later counts as failed there: it would be waited for again and again. */
#include "delivery/connect_proxy.h"

#include "common/clock.h"
#include "delivery/reach.h"
#include "delivery/remote.h"
#include "delivery/source.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>

#define INPUT_LIMIT ((size_t)16 << 10)
#define LINE_PAUSE  100 /* milliseconds */

static size_t extra; /* attempts under way of all sessions, beyond the first of each: the table of open files has room for so many */

static void start(struct session *);

/* ---- who is in the race ---------------------------------------------------------------------------------------------------------- */

static const struct sockaddr *address_of(const struct host *h)
{
    return (const struct sockaddr *)&h->address;
}

void session_use_address(struct session *s, size_t at)
{
    s->at = at;
    snprintf(s->peer, sizeof s->peer, "%s[%s]", session_host(s)->name, session_host(s)->text);
}

static size_t running(const struct session *s)
{
    size_t n = 0;
    for (size_t i = 0; i < ATTEMPTS_MOST; i++)
        n += s->attempts[i].stream != NULL;
    return n;
}

static bool is_running(const struct session *s, size_t at)
{
    for (size_t i = 0; i < ATTEMPTS_MOST; i++)
        if (s->attempts[i].stream && s->attempts[i].at == at)
            return true;
    return false;
}

/* The same host's; of the one family where the other was refused. Once more in plain, or without BDAT: that is said of one address alone. */
static bool may_race(const struct session *s, size_t at)
{
    const struct host *h = &s->hosts.v[at];
    if (h->over || is_running(s, at))
        return false;
    if (s->plain_only || s->data_only)
        return at == s->at;
    return h->record == session_host(s)->record && (!s->averse || h->address.ss_family == session_host(s)->address.ss_family);
}

static size_t next_address(const struct session *s)
{
    size_t at = 0;
    while (at < s->hosts.n && !may_race(s, at))
        at++;
    return at;
}

static struct attempt *free_attempt(struct session *s)
{
    size_t n = running(s);
    if (n && (n == ATTEMPTS_MOST || extra >= remote.settings->queue_active))
        return NULL;
    extra += n > 0;
    for (size_t i = 0; i < ATTEMPTS_MOST; i++)
        if (!s->attempts[i].stream)
            return &s->attempts[i];
    return NULL;
}

static struct stream *take_stream(struct attempt *a)
{
    struct stream *stream = a->stream;
    a->stream = NULL;
    extra -= running(a->session) > 0;
    return stream;
}

void connect_stop(struct session *s)
{
    for (size_t i = 0; i < ATTEMPTS_MOST; i++)
        if (s->attempts[i].stream)
            stream_free(take_stream(&s->attempts[i]));
    evtimer_del(s->timer);
}

/* ---- one attempt ----------------------------------------------------------------------------------------------------------------- */

void attempt_give_up(struct attempt *a, const char *why, bool is_theirs)
{
    struct session *s = a->session;
    struct buf words = BUF_EMPTY(SESSION_WORDS);
    stream_free(take_stream(a));
    s->hosts.v[a->at].over = true;
    session_use_address(s, a->at);
    session_say_not_connected(s, why, &words);
    if (running(s) || next_address(s) < s->hosts.n) {
        session_log(s, buf_span(&words));
        start(s);
    } else {
        evtimer_del(s->timer);
        session_trouble(s, s->own != OWN_NONE ? "4.3.5" : "4.4.1", is_theirs, buf_span(&words));
    }
    buf_free(&words);
}

static void doubt(const struct attempt *a)
{
    const struct host *h = &a->session->hosts.v[a->at];
    reach_failed(address_of(h), span_of(h->name), clock_monotonic_ms());
}

/* A socket whose line of connections is full says so at once, where TCP would wait. It is asked again for as long as a connection may take. */
static bool waits_in_line(struct attempt *a, const char *why)
{
    struct session *s = a->session;
    bool is_full = s->site->nexthop.kind == NEXTHOP_SOCKET && strcmp(why, strerror(EAGAIN)) == 0;
    if (!is_full || ++s->turned_away >= remote.settings->remote_connect_timeout * 1000 / LINE_PAUSE)
        return false;
    stream_free(take_stream(a));
    evtimer_add(s->timer, &(struct timeval){.tv_usec = LINE_PAUSE * 1000});
    return true;
}

static void failed(struct attempt *a, const char *why)
{
    if (waits_in_line(a, why))
        return;
    a->session->own = OWN_NONE;
    doubt(a);
    attempt_give_up(a, why, true);
}

static void overtaken(struct session *s, uint64_t winner)
{
    for (size_t i = 0; i < ATTEMPTS_MOST; i++) {
        if (s->attempts[i].stream && s->attempts[i].begun < winner)
            doubt(&s->attempts[i]);
    }
}

/* What is learned by a proxy is about the proxy. */
static void learn(const struct attempt *a)
{
    const struct session *s = a->session;
    uint64_t now = clock_monotonic_ms();
    if (connect_by_proxy(s))
        return;
    reach_worked(address_of(&s->hosts.v[a->at]), now - a->begun, now);
    overtaken(a->session, a->begun);
}

void attempt_arrived(struct attempt *a)
{
    struct session *s = a->session;
    struct stream *stream = take_stream(a);
    session_use_address(s, a->at);
    s->own = OWN_NONE;
    learn(a);
    connect_stop(s);
    session_connected(s, stream);
}

/* ---- events ---------------------------------------------------------------------------------------------------------------------- */

static void on_connected(struct stream *stream, void *arg)
{
    (void)stream;
    struct attempt *a = arg;
    struct session *s = a->session;
    session_enter(s);
    if (connect_by_proxy(s))
        connect_proxy_reached(a);
    else
        attempt_arrived(a);
    session_leave(s);
}

static void on_readable(struct stream *stream, void *arg)
{
    (void)stream;
    struct attempt *a = arg;
    struct session *s = a->session;
    session_enter(s);
    connect_proxy_said(a);
    session_leave(s);
}

static void on_ended(struct stream *stream, enum stream_end end, const char *why, void *arg)
{
    (void)stream;
    struct attempt *a = arg;
    struct session *s = a->session;
    session_enter(s);
    if (connect_by_proxy(s))
        connect_proxy_ended(a, end, why);
    else
        failed(a, end == STREAM_TIMEOUT ? "Connection timed out" : why);
    session_leave(s);
}

static void wait_for(const struct attempt *a)
{
    const struct host *h = &a->session->hosts.v[a->at];
    uint64_t ms = reach_delay(address_of(h), remote.settings->remote_race_delay, a->begun);
    struct timeval t = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)};
    evtimer_add(a->session->timer, &t);
}

static void begin(struct attempt *a, struct session *s, size_t at)
{
    static const struct stream_handler handler = {.connected = on_connected, .readable = on_readable, .ended = on_ended};
    const struct host *h = &s->hosts.v[at];
    const struct sockaddr *to = connect_by_proxy(s) ? (const struct sockaddr *)&s->site->proxy.address : address_of(h);
    socklen_t length = connect_by_proxy(s) ? s->site->proxy.length : h->address_length;
    struct error error;
    *a = (struct attempt){.session = s, .at = at, .begun = clock_monotonic_ms()};
    s->own = OWN_NONE;
    int fd = source_socket(s, to->sa_family, &error);
    if (fd >= 0)
        a->stream = stream_connect_from(remote.base, fd, to, length, INPUT_LIMIT, &handler, a, &error);
    if (!a->stream) { /* it was not even asked */
        attempt_give_up(a, error.text, false);
        return;
    }
    stream_timeout(a->stream, remote.settings->remote_connect_timeout * 1000);
    if (next_address(s) < s->hosts.n && !connect_by_proxy(s)) /* a proxy is there at once, whether the next host is or not */
        wait_for(a);
}

static void start(struct session *s)
{
    size_t at = next_address(s);
    struct attempt *a = at < s->hosts.n ? free_attempt(s) : NULL;
    if (a)
        begin(a, s, at);
}

void connect_more(struct session *s)
{
    session_enter(s);
    start(s);
    session_leave(s);
}

/* ---- what it must be ------------------------------------------------------------------------------------------------------------- */

static void not_located(struct session *s, const char *why)
{
    struct buf words = BUF_EMPTY(SESSION_WORDS);
    buf_printf(&words, "TLS with host %s: %s", s->peer, why);
    session_unfit(s, "5.7.10", buf_span(&words));
    buf_free(&words);
}

/* A domain's policy, or its zone, that its hosts do not fit: others whose hosts they are get their mail. */
static void more_than_held(struct session *s, const char *why)
{
    struct buf words = BUF_EMPTY(SESSION_WORDS);
    buf_printf(&words, "TLS with host %s: %s", s->peer, why);
    s->own = OWN_DOMAIN;
    session_trouble(s, "4.7.5", false, buf_span(&words));
    buf_free(&words);
}

static bool can_be_secure(struct session *s)
{
    const char *why;
    s->level = security_of(s->site->tls, session_host(s), &s->sts, &why);
    if (s->site->implicit)
        s->level = security_implicit(s->site->tls, s->level);
    if (s->site->require_tls)
        s->level = security_required(s->level, s->located, &why);
    if (s->level != SECURITY_UNUSABLE)
        return true;
    tlsreport_unusable(s);
    if (s->site->require_tls && !s->located)
        not_located(s, why);
    else
        more_than_held(s, why);
    return false;
}

static void forget_former(struct session *s)
{
    s->secured = s->refused = s->shared = s->waited = false;
    s->turned_away = 0;
    login_forget(s);
    s->messages = 0;
    s->messages_most = UINT64_MAX;
    s->domain_count = 0;
    buf_clear(&s->domains);
    s->extensions = (struct extensions){0};
    buf_clear(&s->security);
    reply_begin(&s->reply);
}

void session_connect(struct session *s)
{
    s->phase = SESSION_CONNECTING;
    forget_former(s);
    session_use_address(s, s->at);
    if (can_be_secure(s) && !reuse_connection(s))
        begin(free_attempt(s), s, s->at);
}
