/* The door for strangers: route says whether there is a session for them, and counts what they do; who speaks before the greeting is a
 * robot. Without greet_delay and limits of client { } nobody is asked, and the greeting comes at once. Where route does not answer the
 * session goes on: a limit loses no mail, and clients.c has one for each process. */
#include "smtpd/session_state.h"

#include "common/clock.h"
#include "smtpd/reply.h"

#include <inttypes.h>
#include <stdlib.h>

#define ANSWER_SECONDS 5
#define SAID_MOST      100 /* octets of what a robot says, in the log */

static const struct settings *settings_of(const struct session *s)
{
    return s->server->settings;
}

static bool is_among(const struct network *networks, size_t n, const struct sockaddr *client)
{
    for (size_t i = 0; i < n; i++)
        if (network_contains(&networks[i], client))
            return true;
    return false;
}

bool session_is_stranger(const struct server *server, const struct sockaddr *client)
{
    return server->has_door && !is_among(server->relay_from, server->relay_from_count, client) &&
           !is_among(server->exempt, server->exempt_count, client);
}

/* ---- what route says --------------------------------------------------------------------------------------------------------------- */

static void check_code(unsigned code, const char *question)
{
    if (code && (code < 400 || code > 599))
        log_die("postino-route answered %s with code %u", question, code);
}

/* A 421 ends the session. */
static void refused(struct session *s, const char *verb, unsigned code, struct span status, struct span reply, struct span rule)
{
    char text[16];
    snprintf(text, sizeof text, "%.*s", status.n && status.n < sizeof text ? (int)status.n : 5,
             status.n && status.n < sizeof text ? status.p
             : code < 500                       ? "4.7.0"
                                                : "5.7.0");
    s->rule = rule;
    session_refuse(s, verb, code, text, "%.*s", SPAN_ARG(reply));
    if (code == 421)
        session_leave(s);
}

static void on_admitted(const struct message *m, void *arg)
{
    struct session *s = arg;
    session_answered(s);
    if (m && m->type != MESSAGE_ADMITTED)
        log_die("postino-route answered ADMIT with %s", message_name(m->type));
    if (m)
        check_code(m->admitted.code, "ADMIT");
    if (m && m->admitted.code) {
        s->number = 0;
        refused(s, "connect", 421, m->admitted.status, m->admitted.reply, m->admitted.rule);
    } else {
        s->passed = !m || m->admitted.passed != 0;
        session_welcome(s);
    }
    session_resume(s);
}

bool session_ask_admission(struct session *s)
{
    if (!s->stranger)
        return false;
    s->number = ++s->server->numbers;
    struct message m = {.type = MESSAGE_ADMIT,
                        .fd = -1,
                        .admit = {.session = s->number, .address = buf_span(&s->client), .tls = s->listener->tls == LISTENER_TLS_IMPLICIT}};
    session_ask(s, WAIT_ADMITTED, s->server->route, &m, on_admitted, ANSWER_SECONDS);
    return true;
}

void session_not_admitted(struct session *s)
{
    s->passed = true;
    session_welcome(s);
}

void session_left(struct session *s)
{
    if (!s->number)
        return;
    struct message m = {.type = MESSAGE_LEFT, .fd = -1, .left = {.session = s->number, .errors = (uint32_t)s->errors}};
    peer_tell(s->server->route, &m);
}

void session_is_another(struct session *s)
{
    session_left(s);
    s->number = 0;
    s->early = s->pipelining = false;
    s->stranger = session_is_stranger(s->server, (const struct sockaddr *)&s->address);
    if (!session_ask_admission(s))
        session_welcome(s);
}

void sessions_tell(struct server *server)
{
    struct session *s;
    TAILQ_FOREACH(s, &server->sessions, link)
    {
        if (!s->number || (s->state == SESSION_WAIT && s->wait == WAIT_ADMITTED))
            continue;
        struct message m = {.type = MESSAGE_GUEST, .fd = -1, .guest = {.session = s->number, .address = buf_span(&s->client)}};
        peer_tell(server->route, &m);
    }
}

/* ---- the greeting ------------------------------------------------------------------------------------------------------------------ */

static bool has_to_wait(const struct session *s)
{
    return s->stranger && !s->passed && settings_of(s)->smtpd_greet_delay && s->listener->auth != LISTENER_AUTH_REQUIRED;
}

static void begin_tls(struct session *s)
{
    SSL_CTX *context = s->server->tls ? tls_context(s->server->tls, s->listener) : NULL;
    s->state = SESSION_HANDSHAKE;
    if (context) {
        stream_start_tls_server(s->stream, context);
        return;
    }
    session_log(s, LOG_LEVEL_WARNING, "tls-failed", "reason", "no certificate can be used now; look for postino-tlsmgr in the log");
    session_leave(s);
}

/* Robots that wait for something before they speak take the first line for all of it. */
void session_welcome(struct session *s)
{
    if (!s->stream)
        return;
    if (s->greeted) {
        session_greet(s); /* again, behind XCLIENT */
    } else if (!s->local && s->listener->tls == LISTENER_TLS_IMPLICIT) {
        begin_tls(s);
    } else if (has_to_wait(s)) {
        s->state = SESSION_QUIET;
        reply_add_line(stream_output(s->stream), 220, false, span_of(settings_of(s)->hostname));
    } else {
        session_greet(s);
    }
}

void session_spoke(struct session *s)
{
    static const char *const actions[] = {[GREET_IGNORE] = "ignore", [GREET_ENFORCE] = "enforce", [GREET_DROP] = "drop"};
    struct span said = stream_input(s->stream);
    uint64_t now = clock_monotonic_ms(), began = s->due - settings_of(s)->smtpd_greet_delay * 1000;
    if (s->early || !said.n)
        return;
    s->early = true;
    struct buf line = BUF_EMPTY(2048);
    buf_add_text(&line, "pregreet:");
    session_log_client(s, &line);
    buf_printf(&line, " after=%" PRIu64 "ms", now > began ? now - began : 0);
    log_value(&line, "said", span_make(said.p, said.n < SAID_MOST ? said.n : SAID_MOST));
    buf_printf(&line, " rule=\"smtpd { greet_action = %s }\"", actions[settings_of(s)->smtpd_greet_action]);
    log_buf(LOG_LEVEL_INFO, &line);
    buf_free(&line);
    if (settings_of(s)->smtpd_greet_action == GREET_DROP)
        session_end(s, 521, "5.5.1", "Protocol error");
}

void session_waited_quietly(struct session *s)
{
    struct message m = {.type = MESSAGE_PASSED, .fd = -1, .passed = {.session = s->number}};
    if (!s->early)
        peer_tell(s->server->route, &m);
    s->due = 0;
    session_greet(s);
}

bool session_refused_early(struct session *s)
{
    if (!s->early || settings_of(s)->smtpd_greet_action != GREET_ENFORCE)
        return false;
    s->envelope.refused++;
    s->rule = SPAN_LITERAL("smtpd { greet_action = enforce }");
    session_refuse(s, "RCPT", 550, "5.5.1", "Protocol error");
    buf_clear(&s->recipient);
    return true;
}

/* ---- counts ------------------------------------------------------------------------------------------------------------------------ */

static void refused_count(struct session *s, const struct message_counted *m)
{
    refused(s, s->go_on_verb, m->code, m->status, m->reply, m->rule);
    session_close_transaction(s);
    session_auth_cancel(s); /* the response is wiped */
}

static void on_counted(const struct message *m, void *arg)
{
    struct session *s = arg;
    session_answered(s);
    if (m && m->type != MESSAGE_COUNTED)
        log_die("postino-route answered COUNT with %s", message_name(m->type));
    if (m)
        check_code(m->counted.code, "COUNT");
    if (m && m->counted.code)
        refused_count(s, &m->counted);
    else if (s->stream)
        s->go_on(s);
    session_resume(s);
}

void session_not_counted(struct session *s)
{
    if (s->stream)
        s->go_on(s);
}

void session_count(struct session *s, enum count what, const char *verb, session_go_on *go_on)
{
    const struct settings *set = settings_of(s);
    uint64_t limit = what == COUNT_MESSAGE ? set->client_messages : what == COUNT_TLS ? set->client_tls : set->client_auth;
    if (!s->stranger || !limit) {
        go_on(s);
        return;
    }
    s->go_on = go_on;
    s->go_on_verb = verb;
    struct message m = {.type = MESSAGE_COUNT, .fd = -1, .count = {.address = buf_span(&s->client), .what = (uint16_t)what}};
    session_ask(s, WAIT_COUNTED, s->server->route, &m, on_counted, ANSWER_SECONDS);
}
