/* Life and replies of a session. Its input is cut into lines in session_input.c, the verbs are in verbs.c, the text of a message in intake.c. */
#include "smtpd/session_state.h"

#include "common/clock.h"
#include "common/log.h"
#include "smtpd/reply.h"

#include <inttypes.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define INPUT_LIMIT  ((size_t)128 << 10)
#define MILLISECONDS 1000

/* ---- replies --------------------------------------------------------------------------------------------------------------------- */

#define FORMAT(text, fmt)                                                                                                                  \
    char text[1024];                                                                                                                       \
    do {                                                                                                                                   \
        va_list ap_;                                                                                                                       \
        va_start(ap_, fmt);                                                                                                                \
        vsnprintf(text, sizeof text, fmt, ap_);                                                                                            \
        va_end(ap_);                                                                                                                       \
    } while (0)

static void put_reply(struct session *s, unsigned code, const char *status, const char *text)
{
    for (unsigned i = 0; s->stream && i < (s->answers ? s->answers : 1); i++)
        reply_add(stream_output(s->stream), code, span_of(status), span_of(text));
}

void session_reply(struct session *s, unsigned code, const char *status, const char *fmt, ...)
{
    FORMAT(text, fmt);
    put_reply(s, code, status, text);
}

void session_refuse(struct session *s, const char *about, unsigned code, const char *status, const char *fmt, ...)
{
    FORMAT(text, fmt);
    char reply[1100];
    int n = snprintf(reply, sizeof reply, "%03u %s%s%s", code, status, *status ? " " : "", text);
    put_reply(s, code, status, text);
    session_log_refused(s, about, span_make(reply, (size_t)n < sizeof reply ? (size_t)n : sizeof reply - 1));
    s->rule = (struct span){0};
    if (code >= 500)
        s->errors++;
}

void session_leave(struct session *s)
{
    if (s->stream)
        stream_close_after_flush(s->stream);
    s->stream = NULL;
    s->state = SESSION_ENDED;
}

void session_end(struct session *s, unsigned code, const char *status, const char *fmt, ...)
{
    FORMAT(text, fmt);
    put_reply(s, code, status, text);
    if (code >= 400)
        session_log(s, LOG_LEVEL_INFO, "ended", "reason", text);
    session_leave(s);
}

void session_greet(struct session *s)
{
    s->state = SESSION_COMMAND;
    s->greeted = true;
    session_reply(s, 220, "", "%s %s Postino", s->server->settings->hostname, session_is_lmtp(s) ? "LMTP" : "ESMTP");
}

/* ---- life ------------------------------------------------------------------------------------------------------------------------ */

static void free_session(struct session *s)
{
    struct server *server = s->server;
    shed_forget(s);
    peer_cancel(server->route, s->client_question);
    session_auth_cancel(s);
    session_left(s);
    if (s->asked)
        peer_cancel(s->asked, s->question);
    ids_cancel(server->ids, &s->id_waiter);
    intake_free(s);
    envelope_close(&s->envelope);
    if (s->counted)
        clients_leave(server->clients, (struct sockaddr *)&s->address);
    stream_free(s->stream);
    free(s->certificate);
    struct buf *bufs[] = {&s->client, &s->peer, &s->name, &s->helo, &s->login, &s->claimed, &s->tls, &s->recipient, &s->orcpt, &s->initial};
    for (size_t i = 0; i < sizeof bufs / sizeof bufs[0]; i++)
        buf_free(bufs[i]);
    free(s->told);
    free(s->forwarded);
    TAILQ_REMOVE(&server->sessions, s, link);
    server->local_count -= s->local;
    free(s);
    server->session_count--;
    server_left(server);
}

/* The client is gone. A message that qmgr may have by now is waited for, to be logged. */
static void client_gone(struct session *s)
{
    stream_free(s->stream);
    s->stream = NULL;
    if (s->state != SESSION_WAIT || s->wait != WAIT_PUT)
        s->state = SESSION_ENDED;
}

static bool between_transactions(const struct session *s)
{
    return s->state == SESSION_COMMAND && !s->envelope.open;
}

void session_end_if_due(struct session *s)
{
    const struct settings *settings = s->server->settings;
    if (s->state == SESSION_ENDED || s->state == SESSION_WAIT)
        return;
    if (s->errors >= settings->limit_errors && s->state != SESSION_TEXT)
        session_end(s, 421, "4.7.0", "%s too many errors", settings->hostname);
    else if (s->draining && between_transactions(s))
        session_end(s, 421, "4.3.2", "%s is shutting down, try again", settings->hostname);
}

void session_shed(struct session *s)
{
    const char *host = s->server->settings->hostname;
    char waited[64];
    snprintf(waited, sizeof waited, "waited %" PRIu64 " s", (clock_monotonic_ms() - s->place.since) / MILLISECONDS);
    session_log(s, LOG_LEVEL_INFO, "shed", "reason", waited);
    if (s->state != SESSION_HANDSHAKE)
        session_reply(s, 421, "4.3.2", "%s has too many clients now, try again later", host);
    stream_close_at_once(s->stream);
    s->stream = NULL;
    free_session(s);
}

/* A command has its time as a whole, a text each time that something of it came; nothing is later than the end of the session. */
static uint64_t timeout_ms(struct session *s, uint64_t seconds)
{
    uint64_t now = clock_monotonic_ms();
    if (!s->due || (s->state == SESSION_TEXT && shed_earns_time(s, intake_octets(s))))
        s->due = now + seconds * MILLISECONDS;
    uint64_t end = s->due < s->ends ? s->due : s->ends;
    return end > now ? end - now : 1;
}

static void await_client(struct session *s)
{
    const struct settings *settings = s->server->settings;
    uint64_t seconds = s->state == SESSION_QUIET       ? settings->smtpd_greet_delay
                       : s->state == SESSION_HANDSHAKE ? settings->smtpd_tls_timeout
                       : s->state == SESSION_TEXT      ? settings->smtpd_data_timeout
                                                       : settings->smtpd_command_timeout;
    stream_timeout(s->stream, timeout_ms(s, s->state == SESSION_QUIET ? seconds : shed_seconds(s->server, seconds)));
    if (s->state == SESSION_HANDSHAKE)
        return;
    if (stream_backlog(s->stream))
        stream_flush_later(s->stream);
    stream_want_input(s->stream, !s->stalled && !(s->state == SESSION_QUIET && s->early));
}

void session_resume(struct session *s)
{
    session_end_if_due(s); /* before the next of many commands that came together */
    if (s->stream)
        session_input(s);
    else if (s->state != SESSION_WAIT)
        s->state = SESSION_ENDED;
    session_end_if_due(s);
    if (s->state == SESSION_ENDED) {
        free_session(s);
        return;
    }
    if (s->stream && s->state == SESSION_WAIT)
        stream_want_input(s->stream, false);
    else if (s->stream)
        await_client(s);
    shed_update(s);
}

/* ---- questions ------------------------------------------------------------------------------------------------------------------- */

void session_wait(struct session *s, enum session_wait what, uint64_t seconds)
{
    s->state = SESSION_WAIT;
    s->wait = what;
    if (s->stream)
        stream_timeout(s->stream, seconds * MILLISECONDS);
}

void session_ask(struct session *s, enum session_wait what, struct peer *peer, const struct message *m, peer_answer_fn *answer,
                 uint64_t seconds)
{
    session_wait(s, what, seconds);
    s->asked = peer;
    s->question = peer_ask(peer, m, answer, s);
}

void session_answered(struct session *s)
{
    s->asked = NULL;
    s->question = 0;
    s->due = 0;
    s->state = SESSION_COMMAND;
}

static void give_up_waiting(struct session *s)
{
    enum session_wait what = s->wait;
    if (s->asked)
        peer_cancel(s->asked, s->question);
    ids_cancel(s->server->ids, &s->id_waiter);
    session_answered(s);
    if (what == WAIT_ADMITTED)
        session_not_admitted(s);
    else if (what == WAIT_COUNTED)
        session_not_counted(s);
    else if (what == WAIT_CLIENT)
        session_client_known(s);
    else if (what == WAIT_FLUSH)
        session_etrn_waited(s);
    else if (what == WAIT_ROUTE)
        session_route_unknown(s);
    else if (what == WAIT_MECHANISMS || what == WAIT_USAGE || what == WAIT_AUTH_DELAY || what == WAIT_AUTH)
        session_auth_waited(s, what);
    else
        intake_waited(s, what);
}

/* ---- events ----------------------------------------------------------------------------------------------------------------------- */

static void on_readable(struct stream *stream, void *arg)
{
    (void)stream;
    struct session *s = arg;
    if (s->state == SESSION_QUIET)
        session_spoke(s);
    session_resume(s);
}

static void on_drained(struct stream *stream, void *arg)
{
    (void)stream;
    struct session *s = arg;
    if (!s->stalled)
        return;
    s->stalled = false;
    session_resume(s);
}

static void on_secured(struct stream *stream, void *arg)
{
    struct session *s = arg;
    s->tls_active = true;
    s->due = 0;
    buf_clear(&s->tls);
    stream_tls_describe(stream, &s->tls);
    if (SSL_session_reused(stream_tls(stream)))
        buf_add_text(&s->tls, " resumed");
    free(s->certificate);
    s->certificate = s->told ? NULL : tls_client_new(stream_tls(stream)); /* of who tells, not of the client */
    if (s->greeted)
        s->state = SESSION_COMMAND;
    else
        session_greet(s);
    session_resume(s);
}

static void timed_out(struct session *s)
{
    const char *host = s->server->settings->hostname;
    if (s->state == SESSION_WAIT) {
        give_up_waiting(s);
    } else if (s->state == SESSION_QUIET && clock_monotonic_ms() < s->ends) {
        session_waited_quietly(s);
    } else if (s->state == SESSION_HANDSHAKE) {
        session_log(s, LOG_LEVEL_INFO, "tls-failed", "reason", "timeout");
        session_leave(s);
    } else if (clock_monotonic_ms() >= s->ends) {
        session_end(s, 421, "4.4.2", "%s the session took too long", host);
    } else {
        session_end(s, 421, "4.4.2", "%s timeout exceeded", host);
    }
}

static void on_ended(struct stream *stream, enum stream_end how, const char *why, void *arg)
{
    (void)stream;
    struct session *s = arg;
    if (how == STREAM_TIMEOUT) {
        timed_out(s);
        session_resume(s);
        return;
    }
    if (s->state == SESSION_HANDSHAKE)
        session_log(s, LOG_LEVEL_INFO, "tls-failed", "reason", why);
    else
        session_log(s, how == STREAM_ERROR ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG, "disconnect", "reason", why);
    client_gone(s);
    session_resume(s);
}

/* ---- begin ----------------------------------------------------------------------------------------------------------------------- */

static const struct stream_handler stream_handler = {
    .secured = on_secured, .readable = on_readable, .drained = on_drained, .ended = on_ended};

struct session *session_new(struct server *server, const struct settings_listener *listener, int fd)
{
    struct session *s = calloc(1, sizeof *s);
    if (!s) {
        close(fd);
        return NULL;
    }
    s->stream = stream_accepted(server->base, fd, INPUT_LIMIT, &stream_handler, s);
    if (!s->stream) {
        free(s);
        return NULL;
    }
    s->server = server;
    s->listener = listener;
    s->ends = clock_monotonic_ms() + server->settings->smtpd_session_time * MILLISECONDS;
    envelope_close(&s->envelope);
    buf_add_text(&s->name, "unknown");
    TAILQ_INSERT_TAIL(&server->sessions, s, link);
    server->session_count++;
    server->session_total++;
    return s;
}

void session_begin(struct session *s)
{
    session_log(s, LOG_LEVEL_DEBUG, "connect", NULL, NULL);
    if (session_ask_admission(s)) {
        stream_want_input(s->stream, false);
    } else {
        session_welcome(s);
        if (s->state == SESSION_ENDED) {
            free_session(s);
            return;
        }
        await_client(s);
    }
    shed_update(s);
}

/* ---- server ---------------------------------------------------------------------------------------------------------------------- */

static size_t read_networks(const struct strings *list, struct network **out)
{
    size_t n = 0;
    *out = calloc(list->n ? list->n : 1, sizeof **out);
    if (!*out)
        log_die("out of memory at start");
    for (size_t i = 0; i < list->n; i++)
        n += network_parse(span_of(list->v[i]), &(*out)[n]);
    return n;
}

void server_init(struct server *server)
{
    const struct settings *set = server->settings;
    TAILQ_INIT(&server->sessions);
    shed_init(server);
    TAILQ_INIT(&server->arrivals);
    server->relay_from_count = read_networks(&set->relay_from, &server->relay_from);
    server->exempt_count = read_networks(&set->client_exempt, &server->exempt);
    server->has_door = set->smtpd_greet_delay || set->client_sessions || set->client_connections || set->client_messages ||
                       set->client_recipients || set->client_errors || set->client_tls || set->client_auth;
}

void server_left(struct server *server)
{
    if (server->session_count == 0 && server->emptied)
        server->emptied(server);
}

void server_free(struct server *server)
{
    struct session *s;
    server->emptied = NULL;
    arrivals_end(server);
    while ((s = TAILQ_FIRST(&server->sessions)))
        free_session(s);
    free(server->relay_from);
    free(server->exempt);
    buf_free(&server->mechanisms);
}

void sessions_drain(struct server *server)
{
    server->draining = true;
    arrivals_end(server);
    struct session *next;
    for (struct session *s = TAILQ_FIRST(&server->sessions); s; s = next) {
        next = TAILQ_NEXT(s, link);
        s->draining = true;
        if (between_transactions(s))
            session_resume(s);
    }
}
