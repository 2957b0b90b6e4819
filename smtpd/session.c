/* Life, input and replies of a session. The verbs are in verbs.c, the text of a message in intake.c. */
#include "smtpd/session_state.h"

#include "common/clock.h"
#include "common/log.h"
#include "smtpd/reply.h"

#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define INPUT_LIMIT   ((size_t)128 << 10)
#define BACKLOG_MOST  ((size_t)64 << 10) /* of replies that a client does not read: then its commands wait too */
#define COMMAND_MOST  ((size_t)65536)    /* limit { command_line } is no larger */
#define RESPONSE_LINE ((size_t)12290)    /* of SASL, with CR LF: RFC 4954 4.3 */
#define MILLISECONDS  1000

static void process(struct session *);

/* ---- log ------------------------------------------------------------------------------------------------------------------------- */

void session_log_client(const struct session *s, struct buf *line)
{
    struct buf who = BUF_EMPTY(512);
    if (s->local)
        buf_printf(&who, "local[uid %lu]", (unsigned long)s->uid);
    else
        buf_printf(&who, "%.*s[%.*s]", SPAN_ARG(buf_span(&s->name)), SPAN_ARG(buf_span(&s->client)));
    log_value(line, "client", buf_span(&who));
    buf_free(&who);
}

static void log_event(const struct session *s, enum log_level level, const char *event, const char *key, const char *value)
{
    if (!log_wanted(level))
        return;
    struct buf line = BUF_EMPTY(4096);
    buf_printf(&line, "%s:", event);
    session_log_client(s, &line);
    if (key)
        log_value(&line, key, span_of(value));
    log_buf(level, &line);
    buf_free(&line);
}

static void log_path(struct buf *line, const char *key, struct span address)
{
    struct buf path = BUF_EMPTY(1024);
    buf_printf(&path, "<%.*s>", SPAN_ARG(address));
    log_value(line, key, buf_span(&path));
    buf_free(&path);
}

static void log_refused(const struct session *s, const char *about, struct span reply)
{
    struct buf line = BUF_EMPTY(8192);
    buf_add_text(&line, "reject:");
    log_value(&line, "command", span_of(about));
    session_log_client(s, &line);
    log_value(&line, "reply", reply);
    if (s->envelope.open)
        log_path(&line, "from", buf_span(&s->envelope.sender));
    if (s->recipient.len)
        log_path(&line, "to", buf_span(&s->recipient));
    if (s->rule.n > 0)
        log_value(&line, "rule", s->rule);
    log_value(&line, "helo", buf_span(&s->helo));
    log_value(&line, "proto", span_of(session_protocol(s)));
    if (s->login.len)
        log_value(&line, "login", buf_span(&s->login));
    log_buf(LOG_LEVEL_INFO, &line);
    buf_free(&line);
}

/* RFC 3848 */
const char *session_protocol(const struct session *s)
{
    if (s->local)
        return "local";
    if (!s->esmtp)
        return "SMTP";
    if (s->login.len)
        return s->tls_active ? "ESMTPSA" : "ESMTPA";
    return s->tls_active ? "ESMTPS" : "ESMTP";
}

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
    if (s->stream)
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
    log_refused(s, about, span_make(reply, (size_t)n < sizeof reply ? (size_t)n : sizeof reply - 1));
    if (code >= 500)
        s->errors++;
}

static void leave(struct session *s)
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
        log_event(s, LOG_LEVEL_INFO, "ended", "reason", text);
    leave(s);
}

static void greet(struct session *s)
{
    s->state = SESSION_COMMAND;
    session_reply(s, 220, "", "%s ESMTP Postino", s->server->settings->hostname);
}

/* ---- life ------------------------------------------------------------------------------------------------------------------------ */

static void free_session(struct session *s)
{
    struct server *server = s->server;
    peer_cancel(server->route, s->client_question);
    session_auth_cancel(s);
    if (s->asked)
        peer_cancel(s->asked, s->question);
    ids_cancel(server->ids, &s->id_waiter);
    intake_free(s);
    envelope_close(&s->envelope);
    if (s->counted)
        clients_leave(server->clients, (struct sockaddr *)&s->address);
    stream_free(s->stream);
    struct buf *bufs[] = {&s->client, &s->name, &s->helo, &s->login, &s->tls, &s->recipient, &s->orcpt};
    for (size_t i = 0; i < sizeof bufs / sizeof bufs[0]; i++)
        buf_free(bufs[i]);
    TAILQ_REMOVE(&server->sessions, s, link);
    server->local_count -= s->local;
    free(s);
    if (--server->session_count == 0 && server->emptied)
        server->emptied(server);
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

static void end_if_due(struct session *s)
{
    const struct settings *settings = s->server->settings;
    if (s->state == SESSION_ENDED || s->state == SESSION_WAIT)
        return;
    if (s->errors >= settings->limit_errors && s->state != SESSION_TEXT)
        session_end(s, 421, "4.7.0", "%s too many errors", settings->hostname);
    else if (s->draining && between_transactions(s))
        session_end(s, 421, "4.3.2", "%s is shutting down, try again", settings->hostname);
}

/* A command has its time as a whole, a text each time that something of it came; nothing is later than the end of the session. */
static uint64_t timeout_ms(struct session *s, uint64_t seconds)
{
    uint64_t now = clock_monotonic_ms();
    if (!s->due || s->state == SESSION_TEXT)
        s->due = now + seconds * MILLISECONDS;
    uint64_t end = s->due < s->ends ? s->due : s->ends;
    return end > now ? end - now : 1;
}

static void await_client(struct session *s)
{
    const struct settings *settings = s->server->settings;
    uint64_t seconds = s->state == SESSION_HANDSHAKE ? settings->smtpd_tls_timeout
                       : s->state == SESSION_TEXT    ? settings->smtpd_data_timeout
                                                     : settings->smtpd_command_timeout;
    stream_timeout(s->stream, timeout_ms(s, seconds));
    if (s->state == SESSION_HANDSHAKE)
        return;
    if (stream_backlog(s->stream))
        stream_flush_later(s->stream);
    stream_want_input(s->stream, !s->stalled);
}

void session_resume(struct session *s)
{
    if (s->stream)
        process(s);
    else if (s->state != SESSION_WAIT)
        s->state = SESSION_ENDED;
    end_if_due(s);
    if (s->state == SESSION_ENDED)
        free_session(s);
    else if (s->stream && s->state == SESSION_WAIT)
        stream_want_input(s->stream, false);
    else if (s->stream)
        await_client(s);
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
    if (what == WAIT_CLIENT)
        session_client_known(s);
    else if (what == WAIT_ROUTE)
        session_route_unknown(s);
    else if (what == WAIT_MECHANISMS || what == WAIT_USAGE || what == WAIT_AUTH_DELAY || what == WAIT_AUTH)
        session_auth_waited(s, what);
    else
        intake_waited(s, what);
}

/* ---- input ----------------------------------------------------------------------------------------------------------------------- */

/* Instead of credentials, too: what follows is a command again. */
static void line_refused(struct session *s, const char *why)
{
    session_refuse(s, "unknown", 500, "5.5.2", "%s", why);
    if (s->state == SESSION_RESPONSE)
        s->state = SESSION_COMMAND;
    session_auth_cancel(s);
}

static void take_line(struct session *s, struct span line)
{
    bool crlf = line.n && line.p[line.n - 1] == '\r';
    if (crlf)
        line.n--;
    else if (s->server->settings->limit_bare_newline == BARE_REFUSE) {
        line_refused(s, "a line ends with CR LF; this one had a LF alone");
        return;
    }
    if (s->state == SESSION_RESPONSE)
        session_auth_response(s, line);
    else
        session_command(s, line);
}

/* A line is copied out, so that nothing points into the stream's buffers while a verb acts on the stream. False: there is no whole line
 * yet. */
static bool next_line(struct session *s)
{
    static char copy[COMMAND_MOST];
    size_t most = (size_t)s->server->settings->limit_command_line;
    if (s->state == SESSION_RESPONSE && most < RESPONSE_LINE)
        most = RESPONSE_LINE;
    struct span in = stream_input(s->stream);
    const char *lf = in.n ? memchr(in.p, '\n', in.n) : NULL;
    size_t n = lf ? (size_t)(lf - in.p) + 1 : in.n;
    if (!lf && n <= most)
        return false;
    bool too_long = s->skipping_line || n > most;
    if (!too_long)
        memcpy(copy, in.p, n);
    stream_consume_secret(s->stream, n);
    s->skipping_line = !lf;
    s->due = lf ? 0 : s->due;
    if (!too_long)
        take_line(s, span_make(copy, n - 1));
    else if (lf)
        line_refused(s, "line too long");
    explicit_bzero(copy, too_long ? 0 : n); /* it may have had a password */
    return true;
}

static void process(struct session *s)
{
    for (bool more = true; more && s->stream && !s->stalled;) {
        if (s->state == SESSION_TEXT) {
            intake_take(s);
            more = s->state != SESSION_TEXT;
        } else {
            more = (s->state == SESSION_COMMAND || s->state == SESSION_RESPONSE) && next_line(s);
        }
        end_if_due(s);
        if (s->stream && stream_backlog(s->stream) > BACKLOG_MOST) {
            s->stalled = true;
            stream_flush_later(s->stream);
        }
    }
}

static void on_readable(struct stream *stream, void *arg)
{
    (void)stream;
    session_resume(arg);
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
    if (s->greeted)
        s->state = SESSION_COMMAND;
    else
        greet(s);
    s->greeted = true;
    session_resume(s);
}

static void timed_out(struct session *s)
{
    const char *host = s->server->settings->hostname;
    if (s->state == SESSION_WAIT) {
        give_up_waiting(s);
    } else if (s->state == SESSION_HANDSHAKE) {
        log_event(s, LOG_LEVEL_INFO, "tls-failed", "reason", "timeout");
        leave(s);
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
        log_event(s, LOG_LEVEL_INFO, "tls-failed", "reason", why);
    else
        log_event(s, how == STREAM_ERROR ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG, "disconnect", "reason", why);
    client_gone(s);
    session_resume(s);
}

/* ---- begin ----------------------------------------------------------------------------------------------------------------------- */

static const struct stream_handler stream_handler = {
    .secured = on_secured, .readable = on_readable, .drained = on_drained, .ended = on_ended};

static void on_client_is(const struct message *m, void *arg)
{
    struct session *s = arg;
    s->client_question = 0;
    s->client_known = true;
    if (m && m->type != MESSAGE_CLIENT_IS)
        log_die("postino-route answered CLIENT with %s", message_name(m->type));
    if (m && m->client_is.name.n) {
        buf_clear(&s->name);
        buf_add_span(&s->name, m->client_is.name);
    }
    if (s->state != SESSION_WAIT || s->wait != WAIT_CLIENT)
        return;
    session_answered(s);
    session_client_known(s);
    session_resume(s);
}

static void ask_client(struct session *s)
{
    struct message m = {
        .type = MESSAGE_CLIENT, .fd = -1, .client = {.address = buf_span(&s->client), .listener = span_of(s->listener->title)}};
    s->client_question = peer_ask(s->server->route, &m, on_client_is, s);
}

static struct session *new_session(struct server *server, const struct settings_listener *listener, int fd)
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
    return s;
}

static void begin(struct session *s)
{
    log_event(s, LOG_LEVEL_DEBUG, "connect", NULL, NULL);
    if (!s->local && s->listener->tls == LISTENER_TLS_IMPLICIT) {
        s->state = SESSION_HANDSHAKE;
        stream_start_tls_server(s->stream, s->server->tls);
    } else {
        greet(s);
        s->greeted = true;
    }
    await_client(s);
}

/* Sends a stranger away without a session. */
static void turn_away(struct server *server, int fd, const struct sockaddr *client, const char *why)
{
    char reply[600];
    int n = snprintf(reply, sizeof reply, "421 4.7.0 %s %s\r\n", server->settings->hostname, why);
    struct buf line = BUF_EMPTY(2048), address = BUF_EMPTY(64);
    address_of_socket(client, &address);
    buf_add_text(&line, "reject: command=connect");
    log_value(&line, "client", buf_span(&address));
    log_value(&line, "reason", span_of(why));
    log_buf(LOG_LEVEL_INFO, &line);
    buf_free(&line);
    buf_free(&address);
    if (write(fd, reply, (size_t)n) < 0)
        log_debug("reject: the client was gone before it could be told");
    close(fd);
}

static void turn_away_local(const struct server *server, int fd, uid_t uid)
{
    char reply[600];
    int n = snprintf(reply, sizeof reply, "421 4.7.0 %s too many local sessions, try again later\r\n", server->settings->hostname);
    log_info("reject: command=connect client=\"local[uid %lu]\" reason=\"too many local sessions\"", (unsigned long)uid);
    if (write(fd, reply, (size_t)n) < 0)
        log_debug("reject: the client was gone before it could be told");
    close(fd);
}

static bool is_free(const struct server *server, const struct sockaddr *client)
{
    for (size_t i = 0; i < server->relay_from_count; i++)
        if (network_contains(&server->relay_from[i], client))
            return true;
    return false;
}

void session_accept(struct server *server, const struct settings_listener *listener, int fd, const struct sockaddr *client)
{
    const struct settings *settings = server->settings;
    if (server->session_count >= settings->limit_sessions) {
        turn_away(server, fd, client, "too many sessions, try again later");
        return;
    }
    bool counted = !is_free(server, client);
    if (counted && !clients_enter(server->clients, client, settings->limit_sessions_client)) {
        turn_away(server, fd, client, "too many sessions from your address");
        return;
    }
    struct session *s = new_session(server, listener, fd);
    if (!s) {
        if (counted)
            clients_leave(server->clients, client);
        return;
    }
    s->counted = counted;
    memcpy(&s->address, client, client->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
    address_of_socket(client, &s->client);
    ask_client(s);
    begin(s);
}

static uint64_t sessions_of(const struct server *server, uid_t uid)
{
    const struct session *s;
    uint64_t n = 0;
    TAILQ_FOREACH(s, &server->sessions, link)
    n += s->local && s->uid == uid;
    return n;
}

/* The host's users get a quarter of the sessions, so that none of them can keep the network out, and each of them a quarter of that; root is never
 * turned away. */
static bool local_is_full(const struct server *server, uid_t uid)
{
    uint64_t most = server->settings->limit_sessions, local = (most + 3) / 4;
    return uid != 0 && (server->session_count >= most || server->local_count >= local || sessions_of(server, uid) >= (local + 3) / 4);
}

void session_accept_local(struct server *server, int fd, uid_t uid)
{
    if (local_is_full(server, uid)) {
        turn_away_local(server, fd, uid);
        return;
    }
    struct session *s = new_session(server, NULL, fd);
    if (!s)
        return;
    server->local_count++;
    s->local = s->client_known = true;
    s->uid = uid;
    begin(s);
}

/* ---- server ---------------------------------------------------------------------------------------------------------------------- */

void server_init(struct server *server)
{
    const struct strings *networks = &server->settings->relay_from;
    TAILQ_INIT(&server->sessions);
    server->relay_from = calloc(networks->n ? networks->n : 1, sizeof *server->relay_from);
    if (!server->relay_from)
        log_die("out of memory at start");
    for (size_t i = 0; i < networks->n; i++)
        if (network_parse(span_of(networks->v[i]), &server->relay_from[server->relay_from_count]))
            server->relay_from_count++;
}

void server_free(struct server *server)
{
    struct session *s;
    server->emptied = NULL;
    while ((s = TAILQ_FIRST(&server->sessions)))
        free_session(s);
    free(server->relay_from);
    buf_free(&server->mechanisms);
}

void sessions_drain(struct server *server)
{
    server->draining = true;
    struct session *next;
    for (struct session *s = TAILQ_FIRST(&server->sessions); s; s = next) {
        next = TAILQ_NEXT(s, link);
        s->draining = true;
        if (between_transactions(s))
            session_resume(s);
    }
}
