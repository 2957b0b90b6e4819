/* What each SMTP command does to a session (RFC 5321 4.1.1). */
#include "smtpd/session_state.h"

#include "common/log.h"
#include "smtpd/reply.h"

#include <inttypes.h>
#include <stdio.h>

#define IDLE_MOST      100
#define ANSWER_SECONDS 60 /* for route: then the client is asked to try again later */

static const struct settings *settings_of(const struct session *s)
{
    return s->server->settings;
}

static bool tls_offered(const struct session *s)
{
    return !s->local && s->server->tls && s->listener->tls != LISTENER_TLS_NONE && !s->tls_active;
}

static void close_transaction(struct session *s)
{
    envelope_close(&s->envelope);
    buf_free(&s->recipient);
    buf_free(&s->orcpt);
}

void session_forget(struct session *s)
{
    close_transaction(s);
    buf_free(&s->helo);
    buf_free(&s->login);
    s->esmtp = false;
}

/* ---- HELO, EHLO ------------------------------------------------------------------------------------------------------------------ */

static void take_helo(struct session *s, const struct command *c)
{
    close_transaction(s);
    buf_clear(&s->helo);
    buf_add_span(&s->helo, c->argument);
    s->esmtp = c->verb == VERB_EHLO;
}

static void do_helo(struct session *s, const struct command *c)
{
    take_helo(s, c);
    session_reply(s, 250, "", "%s", settings_of(s)->hostname);
}

static void ehlo_line(struct session *s, bool last, const char *text)
{
    reply_add_line(stream_output(s->stream), 250, last, span_of(text));
}

void session_ehlo(struct session *s, struct span mechanisms)
{
    char size[40];
    snprintf(size, sizeof size, "SIZE %" PRIu64, settings_of(s)->limit_message_size);
    ehlo_line(s, false, settings_of(s)->hostname);
    ehlo_line(s, false, "PIPELINING");
    ehlo_line(s, false, size);
    if (tls_offered(s))
        ehlo_line(s, false, "STARTTLS");
    if (mechanisms.n) {
        char auth[512];
        snprintf(auth, sizeof auth, "AUTH %.*s", SPAN_ARG(mechanisms));
        ehlo_line(s, false, auth);
    }
    ehlo_line(s, false, "ENHANCEDSTATUSCODES");
    ehlo_line(s, false, "DSN");
    ehlo_line(s, true, "8BITMIME");
}

static void do_ehlo(struct session *s, const struct command *c)
{
    take_helo(s, c);
    if (session_auth_offered(s))
        session_ask_mechanisms(s);
    else
        session_ehlo(s, span_of(""));
}

/* ---- MAIL ------------------------------------------------------------------------------------------------------------------------ */

/* False, and the refusal is said, when no mail may be sent in this state. */
static bool may_mail(struct session *s)
{
    if (!s->helo.len)
        session_refuse(s, "MAIL", 503, "5.5.1", "send EHLO or HELO first");
    else if (s->envelope.open)
        session_refuse(s, "MAIL", 503, "5.5.1", "a transaction is open already; end it with RSET");
    else if (!s->local && s->listener->auth == LISTENER_AUTH_REQUIRED && !s->login.len)
        session_refuse(s, "MAIL", 530, "5.7.0", "authentication required");
    else
        return true;
    return false;
}

static bool is_null(const struct address *a)
{
    return a->whole.n == 0;
}

static void do_mail(struct session *s, const struct command *c)
{
    if (!may_mail(s))
        return;
    if (!is_null(&c->path) && !c->path.domain.n && !s->local) {
        session_refuse(s, "MAIL", 501, "5.1.7", "the sender's address has no domain");
        return;
    }
    if (c->size > settings_of(s)->limit_message_size) {
        session_refuse(s, "MAIL", 552, "5.3.4", "message too large; the limit is %" PRIu64 " octets", settings_of(s)->limit_message_size);
        return;
    }
    envelope_open(&s->envelope, c->path.whole);
    if (!is_null(&c->path) && !c->path.domain.n)
        buf_printf(&s->envelope.sender, "@%s", settings_of(s)->hostname);
    s->envelope.ret = c->ret;
    xtext_decode(c->envid, &s->envelope.envid);
    session_reply(s, 250, "2.1.0", "Ok");
}

/* ---- RCPT ------------------------------------------------------------------------------------------------------------------------ */

static void on_routed(const struct message *m, void *arg);

static void ask_route(struct session *s)
{
    struct message m = {.type = MESSAGE_RCPT,
                        .fd = -1,
                        .rcpt = {.listener = s->local ? (struct span){0} : span_of(s->listener->title),
                                 .client = buf_span(&s->client),
                                 .name = buf_span(&s->name),
                                 .helo = buf_span(&s->helo),
                                 .login = buf_span(&s->login),
                                 .may_relay = s->local,
                                 .sender = buf_span(&s->envelope.sender),
                                 .recipient = buf_span(&s->recipient)}};
    session_ask(s, WAIT_ROUTE, s->server->route, &m, on_routed, ANSWER_SECONDS);
}

static bool may_rcpt(struct session *s, const struct command *c)
{
    if (!s->envelope.open)
        session_refuse(s, "RCPT", 503, "5.5.1", "send MAIL first");
    else if (!s->local && !c->path.domain.n && !span_equal_nocase(c->path.local, SPAN_LITERAL("postmaster")))
        session_refuse(s, "RCPT", 501, "5.1.3", "the recipient's address has no domain");
    else if (s->envelope.accepted >= settings_of(s)->limit_recipients)
        session_refuse(s, "RCPT", 452, "4.5.3", "too many recipients; send the message to these, then again to the others");
    else
        return true;
    return false;
}

static void do_rcpt(struct session *s, const struct command *c)
{
    if (!may_rcpt(s, c))
        return;
    buf_clear(&s->recipient);
    buf_add_span(&s->recipient, c->path.whole);
    buf_clear(&s->orcpt);
    xtext_decode(c->orcpt, &s->orcpt);
    s->notify = c->notify;
    if (s->client_known)
        ask_route(s);
    else
        session_wait(s, WAIT_CLIENT, ANSWER_SECONDS);
}

/* With or without a name: the address is what decides. */
void session_client_known(struct session *s)
{
    s->client_known = true;
    ask_route(s);
}

void session_route_unknown(struct session *s)
{
    s->envelope.refused++;
    session_refuse(s, "RCPT", 451, "4.3.0", "the recipient can't be looked up now, try again later");
    buf_clear(&s->recipient);
}

static void recipient_refused(struct session *s, const struct message_routed *r)
{
    char status[16];
    bool fits = r->status.n && r->status.n < sizeof status;
    snprintf(status, sizeof status, "%.*s", fits ? (int)r->status.n : 5, fits ? r->status.p : r->code < 500 ? "4.0.0" : "5.0.0");
    s->envelope.refused++;
    s->rule = r->rule;
    if (r->rule.n > 0) /* it names itself what it is about */
        session_refuse(s, "RCPT", r->code, status, "%.*s", SPAN_ARG(r->reply));
    else
        session_refuse(s, "RCPT", r->code, status, "<%.*s>: %.*s", SPAN_ARG(buf_span(&s->recipient)), SPAN_ARG(r->reply));
    s->rule = (struct span){0};
}

static void take_route(struct session *s, const struct message_routed *r)
{
    if (r->code != 250 && (r->code < 400 || r->code > 599))
        log_die("postino-route answered RCPT with code %u", r->code);
    if (r->code != 250) {
        recipient_refused(s, r);
    } else if (!envelope_add(&s->envelope, buf_span(&s->recipient), (struct wishes){.notify = s->notify, .orcpt = buf_span(&s->orcpt)},
                             r->recipients)) {
        s->envelope.refused++;
        session_refuse(s, "RCPT", 452, "4.5.3", "too many recipients; send the message to these, then again to the others");
    } else {
        envelope_prepend(&s->envelope, r->prepend);
        s->envelope.hold |= r->hold != 0;
        session_reply(s, 250, "2.1.5", "Ok");
    }
    buf_clear(&s->recipient);
}

static void on_routed(const struct message *m, void *arg)
{
    struct session *s = arg;
    session_answered(s);
    if (m && m->type != MESSAGE_ROUTED)
        log_die("postino-route answered RCPT with %s", message_name(m->type));
    if (m)
        take_route(s, &m->routed);
    else
        session_route_unknown(s);
    session_resume(s);
}

/* ---- DATA ------------------------------------------------------------------------------------------------------------------------ */

static void do_data(struct session *s, const struct command *c)
{
    (void)c;
    if (!s->envelope.open)
        session_refuse(s, "DATA", 503, "5.5.1", "send MAIL first");
    else if (!s->envelope.accepted && s->envelope.refused)
        session_refuse(s, "DATA", 554, "5.5.1", "no valid recipients");
    else if (!s->envelope.accepted)
        session_refuse(s, "DATA", 503, "5.5.1", "send RCPT first");
    else if (!session_ask_usage(s))
        intake_start(s);
}

/* ---- STARTTLS -------------------------------------------------------------------------------------------------------------------- */

static void do_starttls(struct session *s, const struct command *c)
{
    (void)c;
    if (s->tls_active) {
        session_refuse(s, "STARTTLS", 503, "5.5.1", "TLS is active already");
        return;
    }
    if (!tls_offered(s)) {
        session_refuse(s, "STARTTLS", 502, "5.5.1", "TLS is not offered here");
        return;
    }
    session_forget(s);
    session_reply(s, 220, "2.0.0", "Ready to start TLS");
    s->state = SESSION_HANDSHAKE;
    size_t dropped = stream_start_tls_server(s->stream, s->server->tls);
    if (dropped) {
        struct buf line = BUF_EMPTY(1024);
        buf_printf(&line, "starttls: dropped=%zu", dropped);
        session_log_client(s, &line);
        log_value(&line, "reason", SPAN_LITERAL("bytes were sent in clear behind STARTTLS; an attack, or a broken client"));
        log_buf(LOG_LEVEL_WARNING, &line);
        buf_free(&line);
    }
}

/* ---- the others ------------------------------------------------------------------------------------------------------------------ */

static void do_rset(struct session *s, const struct command *c)
{
    (void)c;
    close_transaction(s);
    session_reply(s, 250, "2.0.0", "Ok");
}

static void do_noop(struct session *s, const struct command *c)
{
    (void)c;
    session_reply(s, 250, "2.0.0", "Ok");
}

static void do_quit(struct session *s, const struct command *c)
{
    (void)c;
    if (s->stream)
        stream_promised_silence(s->stream);
    session_end(s, 221, "2.0.0", "%s closing connection", settings_of(s)->hostname);
}

static void do_vrfy(struct session *s, const struct command *c)
{
    (void)c;
    session_reply(s, 252, "2.0.0", "can't verify; send the mail, and it will be tried");
}

static void do_expn(struct session *s, const struct command *c)
{
    (void)c;
    session_refuse(s, "EXPN", 502, "5.5.1", "lists are not shown");
}

static void do_help(struct session *s, const struct command *c)
{
    (void)c;
    session_reply(s, 214, "2.0.0", "EHLO HELO MAIL RCPT DATA RSET NOOP QUIT VRFY HELP STARTTLS AUTH; see RFC 5321");
}

typedef void verb_fn(struct session *, const struct command *);

static const struct {
    verb_fn *act;
    bool before_tls; /* also where tls = required and there is none yet */
    bool idle;       /* brings no message nearer */
} rules[] = {
    [VERB_HELO] = {do_helo, true, true},   [VERB_EHLO] = {do_ehlo, true, true},   [VERB_MAIL] = {do_mail, false, false},
    [VERB_RCPT] = {do_rcpt, false, false}, [VERB_DATA] = {do_data, false, false}, [VERB_RSET] = {do_rset, true, true},
    [VERB_NOOP] = {do_noop, true, true},   [VERB_QUIT] = {do_quit, true, false},  [VERB_VRFY] = {do_vrfy, false, true},
    [VERB_EXPN] = {do_expn, false, true},  [VERB_HELP] = {do_help, false, true},  [VERB_STARTTLS] = {do_starttls, true, true},
    [VERB_AUTH] = {session_auth, false, true},
};

/* ---- door ------------------------------------------------------------------------------------------------------------------------ */

/* RFC 2034 3: no status in any reply to HELO and EHLO. */
static const char *status_of(const struct command *c, const char *status)
{
    return c->verb == VERB_HELO || c->verb == VERB_EHLO ? "" : status;
}

static void refuse_malformed(struct session *s, const struct command *c, enum command_result why)
{
    const char *verb = command_verb_name(c->verb);
    if (why == COMMAND_UNKNOWN)
        session_refuse(s, verb, 500, "5.5.2", "unknown command");
    else if (why == COMMAND_CHARACTERS)
        session_refuse(s, verb, 500, status_of(c, "5.5.2"), "octets that no command has");
    else if (why == COMMAND_PATH)
        session_refuse(s, verb, 501, c->verb == VERB_MAIL ? "5.1.7" : "5.1.3", "malformed address");
    else if (why == COMMAND_PARAMETER)
        session_refuse(s, verb, 555, "5.5.4", "a parameter that is not offered here, or is given twice");
    else if (why == COMMAND_VALUE)
        session_refuse(s, verb, 501, "5.5.4", "a parameter with a value that can't be");
    else
        session_refuse(s, verb, 501, status_of(c, "5.5.4"), "malformed arguments of %s", verb);
}

/* More than IDLE_MOST commands without a message are errors, whatever is answered: a flood of NOOP or RSET ends as one of nonsense does. */
static void count_idle(struct session *s, enum verb verb)
{
    if (rules[verb].idle && !s->local && ++s->idle > IDLE_MOST)
        s->errors++;
}

void session_command(struct session *s, struct span line)
{
    struct command c;
    enum command_result result = command_parse(line, &c);
    bool first = !s->acted;
    s->acted = true;
    bool known = c.verb != VERB_UNKNOWN && c.verb != VERB_HTTP;
    if (c.verb == VERB_HTTP && first) {
        session_end(s, 554, "5.5.1", "this is SMTP, not HTTP");
    } else if (!known) {
        refuse_malformed(s, &c, COMMAND_UNKNOWN);
    } else if (!s->local && s->listener->tls == LISTENER_TLS_REQUIRED && !s->tls_active && !rules[c.verb].before_tls) {
        session_refuse(s, command_verb_name(c.verb), 530, "5.7.0", "send STARTTLS first");
    } else if (result != COMMAND_OK) {
        refuse_malformed(s, &c, result);
    } else {
        count_idle(s, c.verb);
        rules[c.verb].act(s, &c);
    }
}
