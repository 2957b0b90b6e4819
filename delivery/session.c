#include "delivery/session_internal.h"

#include "common/clock.h"
#include "common/log.h"
#include "common/queueid.h"
#include "delivery/remote.h"

#include <event2/event.h>
#include <stdlib.h>

static struct session *all;
static size_t count;
static bool quitting;

static void on_secured(struct stream *, void *);
static void on_readable(struct stream *, void *);
static void on_drained(struct stream *, void *);
static void on_ended(struct stream *, enum stream_end, const char *, void *);
static const struct stream_handler handler = {.secured = on_secured, .readable = on_readable, .drained = on_drained, .ended = on_ended};

struct host *session_host(const struct session *s)
{
    return &s->hosts.v[s->at];
}

/* ---- life ------------------------------------------------------------------------------------------------------------------------ */

static void leave_idle(struct session *s)
{
    for (struct session **at = &s->site->idle; *at; at = &(*at)->next_idle) {
        if (*at == s) {
            *at = s->next_idle;
            break;
        }
    }
    s->next_idle = NULL;
    reuse_withdraw(s);
}

void session_stop_opening(struct session *s)
{
    if (s->opening)
        s->site->opening--;
    s->opening = false;
}

/* The site no longer counts on this session; it may open another one, or be gone. */
static void detach(struct session *s)
{
    struct site *site = s->site;
    if (!site)
        return;
    leave_idle(s);
    session_stop_opening(s);
    site->sessions--;
    s->site = NULL;
    site_settle(site);
}

static void destroy(struct session *s)
{
    hosts_free(&s->hosts);
    said_free(&s->said);
    reply_free(&s->reply);
    buf_free(&s->security);
    free(s->sts.mx);
    buf_free(&s->domains);
    buf_free(&s->further);
    buf_free(&s->login.held);
    event_free(s->timer);
    free(s);
}

void session_release(struct session *s)
{
    if (s->gone)
        return;
    s->gone = true;
    connect_stop(s);
    stream_free(s->stream);
    s->stream = NULL;
    peer_cancel(remote.dns, s->question);
    peer_cancel(remote.sts, s->sts_question);
    login_forget(s);
    *(s->prev ? &s->prev->next : &all) = s->next;
    if (s->next)
        s->next->prev = s->prev;
    count--;
    detach(s);
    if (s->depth == 0)
        destroy(s);
}

void session_enter(struct session *s)
{
    s->depth++;
}

void session_leave(struct session *s)
{
    if (--s->depth == 0 && s->gone)
        destroy(s);
}

void session_drop(struct session *s)
{
    if (s->job)
        log_die("%s: a session ends under its job", queueid_format(s->job->id).text);
    session_release(s);
}

/* ---- what happened, for the log and the result ----------------------------------------------------------------------------------- */

/* Its own, or the one that it is opened for, where that is one alone. */
static const struct job *job_meant(const struct session *s)
{
    return s->job || !s->opening || s->site->waiting != 1 ? s->job : s->site->first;
}

void session_log(const struct session *s, struct span error)
{
    struct buf line = BUF_EMPTY(4096);
    const struct job *j = job_meant(s);
    if (j)
        buf_printf(&line, "%s: ", queueid_format(j->id).text);
    if (s->site)
        log_value(&line, "site", site_name(s->site));
    if (s->at < s->hosts.n) {
        log_value(&line, "host", span_of(session_host(s)->name));
        log_value(&line, "address", span_of(session_host(s)->text));
    }
    log_value(&line, "error", error);
    log_buf(LOG_LEVEL_INFO, &line);
    buf_free(&line);
}

void session_words(const struct session *s, const char *in_reply_to, struct buf *out)
{
    buf_printf(out, "host %s said: ", s->peer);
    reply_text(&s->reply, out);
    buf_printf(out, " (in reply to %s)", in_reply_to);
}

struct job_origin session_origin(const struct session *s)
{
    return (struct job_origin){.source = s->source ? s->source->title : NULL, .own = s->own};
}

void session_finish_job(struct session *s, bool site_failed)
{
    struct job *j = s->job;
    struct buf peer = BUF_EMPTY(512);
    session_add_peer(s, &peer);
    s->job = NULL;
    j->origin = session_origin(s);
    job_finish(j, site_failed, buf_span(&peer), buf_span(&s->security));
    buf_free(&peer);
}

/* ---- opening --------------------------------------------------------------------------------------------------------------------- */

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct session *s = arg;
    if (s->phase == SESSION_CONNECTING)
        connect_more(s);
    else
        session_resolve(s);
}

/* Nothing of it happens before the event loop's next turn: the caller is in the middle of something. */
struct session *session_open(struct site *site)
{
    struct session *s = calloc(1, sizeof *s);
    if (!s || !(s->timer = evtimer_new(remote.base, on_timer, s)))
        log_die("out of memory for a session");
    s->site = site;
    s->opening = true;
    s->security.limit = 256;
    s->next = all;
    if (all)
        all->prev = s;
    all = s;
    count++;
    site->opening++;
    site->sessions++;
    evtimer_add(s->timer, &(struct timeval){0});
    return s;
}

/* ---- hello ----------------------------------------------------------------------------------------------------------------------- */

void session_await(struct session *s, enum session_phase phase, uint64_t seconds)
{
    s->phase = phase;
    stream_timeout(s->stream, seconds * 1000);
}

void session_command(struct session *s, enum session_phase phase, uint64_t seconds, const char *line)
{
    buf_printf(stream_output(s->stream), "%s\r\n", line);
    stream_flush_later(s->stream);
    session_await(s, phase, seconds);
}

static void on_secured(struct stream *stream, void *arg)
{
    (void)stream;
    struct session *s = arg;
    session_enter(s);
    hello_secured(s);
    session_leave(s);
}

/* ---- between jobs ---------------------------------------------------------------------------------------------------------------- */

static void quit(struct session *s)
{
    session_command(s, SESSION_QUIT, remote.settings->remote_quit_timeout, "QUIT");
    detach(s);
}

void session_too_full(struct session *s)
{
    site_give_back(s->site, s->job);
    s->job = NULL;
    quit(s);
}

static void idle(struct session *s)
{
    s->waited = true;
    s->next_idle = s->site->idle;
    s->site->idle = s;
    reuse_offer(s);
    session_await(s, SESSION_IDLE, remote.settings->remote_idle_timeout);
}

/* Replies that nobody asked for would be taken for those to our next commands. */
static bool out_of_step(struct session *s)
{
    if (stream_input(s->stream).n == 0)
        return false;
    if (s->opening || s->job)
        session_troublef(s, "4.5.0", "protocol error: host %s sent more replies than it was sent commands", s->peer);
    else
        session_drop(s);
    return true;
}

void session_ready(struct session *s)
{
    if (out_of_step(s))
        return;
    session_stop_opening(s);
    bool spent = s->messages >= s->messages_most;
    if (!s->job && !spent) {
        s->job = site_take(s->site, s->messages, s->messages == 0 && !s->waited);
        spent = !s->job && s->messages > 0 && s->site->waiting > s->site->opening; /* what waits is for fresh ones */
    }
    if (s->job) {
        said_move(&s->job->said, &s->said);
        transaction_begin(s);
    } else if (spent || quitting || remote.settings->remote_idle_timeout == 0)
        quit(s);
    else
        idle(s);
}

void session_wake(struct session *s)
{
    leave_idle(s);
    session_ready(s);
}

/* ---- events ---------------------------------------------------------------------------------------------------------------------- */

void session_own(struct session *s, struct stream *stream)
{
    s->stream = stream;
    stream_own(stream, &handler, s);
}

void session_connected(struct session *s, struct stream *stream)
{
    session_own(s, stream);
    s->since = clock_monotonic_ms();
    if (s->site->implicit) {
        hello_start_tls(s);
        return;
    }
    session_await(s, SESSION_GREETING, remote.settings->remote_greeting_timeout);
    if (stream_input(stream).n)
        on_readable(stream, s);
}

static void take_reply(struct session *s)
{
    said_in_session(s);
    switch (s->phase) {
    case SESSION_GREETING:
    case SESSION_EHLO:
    case SESSION_HELO:
    case SESSION_STARTTLS:
        hello_reply(s);
        break;
    case SESSION_AUTH:
        login_reply(s);
        break;
    case SESSION_IDLE: /* "421 too long idle": it hangs up */
        session_drop(s);
        break;
    case SESSION_QUIT:
        stream_close_after_flush(s->stream);
        s->stream = NULL;
        session_release(s);
        break;
    default:
        transaction_reply(s);
        break;
    }
}

/* Nobody's turn to speak but ours: what the host says now is looked at when it is. */
static bool deaf(const struct session *s)
{
    return s->phase == SESSION_HANDSHAKE || s->phase == SESSION_LOGIN;
}

static void protocol_error(struct session *s)
{
    struct buf why = BUF_EMPTY(256);
    buf_printf(&why, "broken reply to STARTTLS: %s", s->reply.wrong);
    if (s->phase == SESSION_IDLE || s->phase == SESSION_QUIT) {
        session_drop(s);
    } else if (s->phase >= SESSION_MAIL) {
        transaction_broken(s);
    } else if (s->phase == SESSION_STARTTLS) {
        hello_tls_failed(s, buf_text(&why));
    } else {
        session_troublef(s, "4.5.0", "protocol error: broken reply from %s: %s", s->peer, s->reply.wrong);
    }
    buf_free(&why);
}

static void on_readable(struct stream *stream, void *arg)
{
    struct session *s = arg;
    session_enter(s);
    while (!s->gone && s->stream == stream && !deaf(s)) {
        size_t used;
        enum reply_progress progress = reply_feed(&s->reply, stream_input(stream), &used);
        if (s->phase == SESSION_AUTH)
            stream_consume_secret(stream, used);
        else
            stream_consume(stream, used);
        if (progress == REPLY_MORE)
            break;
        if (progress == REPLY_BAD) {
            protocol_error(s);
            break;
        }
        take_reply(s);
        if (!s->gone)
            reply_begin(&s->reply);
    }
    session_leave(s);
}

/* Timers of what goes out start anew with all that the server took. */
static void on_drained(struct stream *stream, void *arg)
{
    (void)stream;
    struct session *s = arg;
    session_enter(s);
    if (s->phase == SESSION_BODY)
        body_continue(s);
    else if (s->phase == SESSION_END)
        session_await(s, SESSION_END, remote.settings->remote_end_timeout);
    session_leave(s);
}

static void broken(struct session *s, enum stream_end end, const char *why)
{
    struct buf reason = BUF_EMPTY(400);
    const char *how = end == STREAM_TIMEOUT ? "timed out in the conversation with" : "lost connection with";
    if (end == STREAM_ERROR)
        buf_printf(&reason, ": %s", why);
    if (s->phase >= SESSION_MAIL)
        transaction_lost(s, how, buf_text(&reason));
    else
        hello_lost(s, how, end == STREAM_TIMEOUT && s->phase == SESSION_GREETING ? hello_silence(s) : buf_text(&reason));
    buf_free(&reason);
}

static void on_ended(struct stream *stream, enum stream_end end, const char *why, void *arg)
{
    (void)stream;
    struct session *s = arg;
    session_enter(s);
    if (s->phase == SESSION_STARTTLS || s->phase == SESSION_HANDSHAKE)
        hello_tls_failed(s, why);
    else if (s->phase == SESSION_LOGIN || s->phase == SESSION_AUTH)
        login_lost(s, end, why);
    else if (s->phase == SESSION_IDLE && end == STREAM_TIMEOUT)
        quit(s);
    else if (s->phase == SESSION_IDLE || s->phase == SESSION_QUIT)
        session_drop(s);
    else
        broken(s, end, why);
    session_leave(s);
}

/* ---- all of them ----------------------------------------------------------------------------------------------------------------- */

static void orphan(struct session *s)
{
    if (s->phase == SESSION_END) {
        s->job->channel = NULL;
        return;
    }
    job_free(s->job);
    s->job = NULL;
    session_release(s);
}

void sessions_orphan(const struct channel *c)
{
    for (struct session *s = all, *next; s; s = next) {
        next = s->next;
        if (s->job && s->job->channel == c)
            orphan(s);
    }
}

void sessions_quit_idle(void)
{
    quitting = true;
    for (struct session *s = all, *next; s; s = next) {
        next = s->next;
        if (s->phase == SESSION_IDLE)
            quit(s);
    }
}

size_t sessions_open(void)
{
    return count;
}
