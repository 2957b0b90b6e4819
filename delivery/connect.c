/* How the connection to the session's address comes to be: what it must be, then an attempt at it.
 *
 *   session_connect --> begin --> (TCP) --> on_connected --> session_connected: GREETING
 *          |              |         |
 *          |              `---------+--> failed: the next address
 *          `--> it can't be secure enough: the next address */
#include "delivery/session_internal.h"

#include "delivery/remote.h"

#include <stdio.h>

#define INPUT_LIMIT ((size_t)16 << 10)

/* ---- one attempt ----------------------------------------------------------------------------------------------------------------- */

static void failed(struct attempt *a, const char *why)
{
    struct session *s = a->session;
    stream_free(a->stream);
    a->stream = NULL;
    session_not_connected(s, why);
}

static void on_connected(struct stream *stream, void *arg)
{
    struct attempt *a = arg;
    struct session *s = a->session;
    session_enter(s);
    a->stream = NULL;
    session_connected(s, stream);
    session_leave(s);
}

static void on_ended(struct stream *stream, enum stream_end end, const char *why, void *arg)
{
    (void)stream;
    struct attempt *a = arg;
    struct session *s = a->session;
    session_enter(s);
    failed(a, end == STREAM_TIMEOUT ? "Connection timed out" : why);
    session_leave(s);
}

static void begin(struct attempt *a, struct session *s)
{
    static const struct stream_handler handler = {.connected = on_connected, .ended = on_ended};
    const struct host *h = session_host(s);
    struct error error;
    *a = (struct attempt){.session = s, .at = s->at};
    a->stream = stream_connect(remote.base, (const struct sockaddr *)&h->address, h->address_length, INPUT_LIMIT, &handler, a, &error);
    if (a->stream)
        stream_timeout(a->stream, remote.settings->remote_connect_timeout * 1000);
    else
        failed(a, error.text);
}

void connect_stop(struct session *s)
{
    stream_free(s->attempt.stream);
    s->attempt.stream = NULL;
}

/* ---- what it must be ------------------------------------------------------------------------------------------------------------- */

static void not_located(struct session *s, const char *why)
{
    struct buf words = BUF_EMPTY(SESSION_WORDS);
    buf_printf(&words, "TLS with host %s: %s", s->peer, why);
    session_unfit(s, "5.7.10", buf_span(&words));
    buf_free(&words);
}

static bool can_be_secure(struct session *s)
{
    const char *why;
    s->level = security_of(s->site->tls, session_host(s), &s->sts, &why);
    if (s->site->require_tls)
        s->level = security_required(s->level, s->located, &why);
    if (s->level != SECURITY_UNUSABLE)
        return true;
    tlsreport_unusable(s);
    if (s->site->require_tls && !s->located)
        not_located(s, why);
    else
        session_troublef(s, "4.7.5", "TLS with host %s: %s", s->peer, why);
    return false;
}

static void forget_former(struct session *s)
{
    s->secured = false;
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
    const struct host *h = session_host(s);
    s->phase = SESSION_CONNECTING;
    forget_former(s);
    snprintf(s->peer, sizeof s->peer, "%s[%s]", h->name, h->text);
    if (can_be_secure(s))
        begin(&s->attempt, s);
}
