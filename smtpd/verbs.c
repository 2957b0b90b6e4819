/* What each SMTP command does to a session (RFC 5321 4.1.1). */
#include "smtpd/session_state.h"

#include "common/log.h"
#include "smtpd/reply.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define IDLE_MOST 100

static const struct settings *settings_of(const struct session *s)
{
    return s->server->settings;
}

static bool tls_offered(const struct session *s)
{
    return !s->local && s->server->tls && s->listener->tls != LISTENER_TLS_NONE && !s->tls_active;
}

void session_close_transaction(struct session *s)
{
    intake_free(s); /* chunks of a message that is not whole */
    envelope_close(&s->envelope);
    buf_free(&s->recipient);
    buf_free(&s->orcpt);
    free(s->forwarded);
    s->forwarded = NULL;
    s->answers = 0;
}

void session_forget(struct session *s)
{
    session_close_transaction(s);
    buf_free(&s->helo);
    buf_free(&s->login);
    buf_free(&s->claimed);
    s->esmtp = false;
}

/* ---- HELO, EHLO ------------------------------------------------------------------------------------------------------------------ */

static void take_helo(struct session *s, const struct command *c)
{
    session_close_transaction(s);
    buf_clear(&s->helo);
    buf_add_span(&s->helo, c->argument);
    s->esmtp = c->verb != VERB_HELO;
}

/* RFC 2033 4.1: no positive reply to the words of the other protocol. */
static bool is_other_protocol(struct session *s, const struct command *c)
{
    if (session_is_lmtp(s) == (c->verb == VERB_LHLO))
        return false;
    session_refuse(s, command_verb_name(c->verb), 500, "", session_is_lmtp(s) ? "this is LMTP; say LHLO" : "this is SMTP; say EHLO");
    return true;
}

static void do_helo(struct session *s, const struct command *c)
{
    if (is_other_protocol(s, c))
        return;
    take_helo(s, c);
    session_reply(s, 250, "", "%s", settings_of(s)->hostname);
}

static bool is_hidden(const struct session *s, struct span keyword)
{
    const struct strings none = {0}, *hide = s->listener ? &s->listener->hide : &none;
    for (size_t i = 0; i < hide->n; i++)
        if (span_equal_nocase(keyword, span_of(hide->v[i])))
            return true;
    return false;
}

bool session_offers(const struct session *s, const char *keyword)
{
    return !is_hidden(s, span_of(keyword));
}

/* RFC 8689 2: within TLS, where it means something. */
bool session_offers_requiretls(const struct session *s)
{
    return s->tls_active && session_offers(s, "REQUIRETLS");
}

bool session_offers_utf8(const struct session *s)
{
    return settings_of(s)->smtpd_smtputf8 && session_offers(s, "SMTPUTF8");
}

/* A line is said when the next one comes, as the last has another form. */
void session_ehlo_line(struct session *s, struct buf *line, const char *next)
{
    size_t keyword = next ? strcspn(next, " ") : 0;
    if (next && is_hidden(s, span_make(next, keyword)))
        return;
    reply_add_line(stream_output(s->stream), 250, next == NULL, buf_span(line));
    buf_clear(line);
    if (next)
        buf_add_text(line, next);
}

void session_ehlo(struct session *s, struct span mechanisms)
{
    struct buf line = BUF_EMPTY(1024);
    char size[40], limits[60], auth[512];
    snprintf(size, sizeof size, "SIZE %" PRIu64, settings_of(s)->limit_message_size);
    snprintf(limits, sizeof limits, "LIMITS RCPTMAX=%" PRIu64, settings_of(s)->limit_recipients);
    snprintf(auth, sizeof auth, "AUTH %.*s", SPAN_ARG(mechanisms));
    buf_add_text(&line, settings_of(s)->hostname);
    session_ehlo_line(s, &line, "PIPELINING");
    session_ehlo_line(s, &line, size);
    session_ehlo_line(s, &line, limits);
    if (tls_offered(s))
        session_ehlo_line(s, &line, "STARTTLS");
    if (mechanisms.n)
        session_ehlo_line(s, &line, auth);
    if (s->may_xclient)
        session_ehlo_line(s, &line, "XCLIENT " XCLIENT_WORDS);
    if (s->may_xforward)
        session_ehlo_line(s, &line, "XFORWARD " XFORWARD_WORDS);
    session_ehlo_line(s, &line, "ENHANCEDSTATUSCODES");
    session_ehlo_line(s, &line, "DSN");
    if (session_offers_utf8(s))
        session_ehlo_line(s, &line, "SMTPUTF8");
    if (session_offers_requiretls(s))
        session_ehlo_line(s, &line, "REQUIRETLS");
    session_ehlo_line(s, &line, "CHUNKING");
    if (session_offers(s, "CHUNKING"))
        session_ehlo_line(s, &line, "BINARYMIME");
    session_ehlo_times(s, &line);
    if (session_etrn_offered(s))
        session_ehlo_line(s, &line, "ETRN");
    session_ehlo_line(s, &line, "8BITMIME");
    session_ehlo_line(s, &line, NULL);
    buf_free(&line);
}

static void do_ehlo(struct session *s, const struct command *c)
{
    if (is_other_protocol(s, c))
        return;
    take_helo(s, c);
    if (session_auth_offered(s))
        session_ask_mechanisms(s);
    else
        session_ehlo(s, span_of(""));
}

/* ---- DATA ------------------------------------------------------------------------------------------------------------------------ */

static void do_data(struct session *s, const struct command *c)
{
    (void)c;
    if (!s->envelope.open)
        session_refuse(s, "DATA", 503, "5.5.1", "send MAIL first");
    else if (!s->envelope.accepted && s->envelope.refused)
        session_refuse(s, "DATA", session_is_lmtp(s) ? 503 : 554, "5.5.1", "no valid recipients");
    else if (!s->envelope.accepted)
        session_refuse(s, "DATA", 503, "5.5.1", "send RCPT first");
    else if (s->intake)
        session_refuse(s, "DATA", 503, "5.5.1", "the message comes by BDAT; go on so, or send RSET");
    else if (s->envelope.binary)
        session_refuse(s, "DATA", 503, "5.5.1", "BODY=BINARYMIME takes BDAT");
    else if (!session_ask_usage(s))
        intake_start(s);
}

/* ---- STARTTLS -------------------------------------------------------------------------------------------------------------------- */

static void start_tls(struct session *s)
{
    SSL_CTX *context = tls_context(s->server->tls, s->listener);
    if (!context) {
        session_refuse(s, "STARTTLS", 454, "4.7.0", "TLS is not available now, try again later");
        return;
    }
    session_forget(s);
    session_reply(s, 220, "2.0.0", "Ready to start TLS");
    s->state = SESSION_HANDSHAKE;
    size_t dropped = stream_start_tls_server(s->stream, context);
    if (dropped) {
        struct buf line = BUF_EMPTY(1024);
        buf_printf(&line, "starttls: dropped=%zu", dropped);
        session_log_client(s, &line);
        log_value(&line, "reason", SPAN_LITERAL("bytes were sent in clear behind STARTTLS; an attack, or a broken client"));
        log_buf(LOG_LEVEL_WARNING, &line);
        buf_free(&line);
    }
}

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
    session_count(s, COUNT_TLS, "STARTTLS", start_tls);
}

/* ---- the others ------------------------------------------------------------------------------------------------------------------ */

static void do_rset(struct session *s, const struct command *c)
{
    (void)c;
    session_close_transaction(s);
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

/* Neither takes SMTPUTF8 where it is not offered; no reply has a mailbox in it. */
static bool is_strange(struct session *s, const struct command *c)
{
    bool strange = (c->smtputf8 || !span_is_ascii(c->argument)) && !session_offers_utf8(s);
    if (strange)
        session_refuse(s, command_verb_name(c->verb), 501, "5.5.4", "SMTPUTF8 is not offered here");
    return strange;
}

static void do_vrfy(struct session *s, const struct command *c)
{
    if (is_strange(s, c))
        return;
    session_reply(s, 252, "2.0.0", "can't verify; send the mail, and it will be tried");
}

/* RFC 5321 3.5.1 leaves it to us, 7.3 wants it told to few: nobody, as who may read an alias can read its file. */
static void do_expn(struct session *s, const struct command *c)
{
    if (!is_strange(s, c))
        session_refuse(s, "EXPN", 502, "5.5.1", "lists are not shown");
}

static void do_help(struct session *, const struct command *);

typedef void verb_fn(struct session *, const struct command *);

static const struct {
    verb_fn *act;
    bool before_tls; /* also where tls = required and there is none yet */
    bool idle;       /* brings no message nearer */
} rules[] = {
    [VERB_HELO] = {do_helo, true, true},
    [VERB_EHLO] = {do_ehlo, true, true},
    [VERB_MAIL] = {session_mail, false, false},
    [VERB_RCPT] = {session_rcpt, false, false},
    [VERB_DATA] = {do_data, false, false},
    [VERB_RSET] = {do_rset, true, true},
    [VERB_NOOP] = {do_noop, true, true},
    [VERB_QUIT] = {do_quit, true, false},
    [VERB_VRFY] = {do_vrfy, false, true},
    [VERB_EXPN] = {do_expn, false, true},
    [VERB_HELP] = {do_help, false, true},
    [VERB_STARTTLS] = {do_starttls, true, true},
    [VERB_AUTH] = {session_auth, false, true},
    [VERB_BDAT] = {session_bdat, true, false}, /* there is no MAIL, and its octets must go */
    [VERB_LHLO] = {do_ehlo, true, true},
    [VERB_XCLIENT] = {session_xclient, false, true},
    [VERB_XFORWARD] = {session_xforward, false, true},
    [VERB_ETRN] = {session_etrn, false, true},
};

static bool may_act(const struct session *s, enum verb verb)
{
    return s->local || s->listener->tls != LISTENER_TLS_REQUIRED || s->tls_active || rules[verb].before_tls;
}

/* Whether it is of use in this session as it is now. */
static bool is_shown(const struct session *s, enum verb verb)
{
    if (!rules[verb].act || !may_act(s, verb))
        return false;
    switch (verb) {
    case VERB_HELO:
    case VERB_EHLO:
        return !session_is_lmtp(s);
    case VERB_LHLO:
        return session_is_lmtp(s);
    case VERB_STARTTLS:
        return tls_offered(s);
    case VERB_AUTH:
        return session_auth_offered(s);
    case VERB_ETRN:
        return session_etrn_offered(s);
    case VERB_BDAT:
        return session_offers(s, "CHUNKING");
    case VERB_XCLIENT:
        return s->may_xclient;
    case VERB_XFORWARD:
        return s->may_xforward;
    default:
        return verb != VERB_EXPN;
    }
}

static void do_help(struct session *s, const struct command *c)
{
    struct buf line = BUF_EMPTY(512);
    (void)c;
    for (size_t verb = 0; verb < sizeof rules / sizeof rules[0]; verb++)
        if (is_shown(s, (enum verb)verb))
            buf_printf(&line, "%s ", command_verb_name((enum verb)verb));
    session_reply(s, 214, "2.0.0", "%sare commands; see RFC 5321", buf_text(&line));
    buf_free(&line);
}

/* ---- door ------------------------------------------------------------------------------------------------------------------------ */

/* RFC 2034 3: no status in any reply to HELO and EHLO. */
static const char *status_of(const struct command *c, const char *status)
{
    return c->verb == VERB_HELO || c->verb == VERB_EHLO || c->verb == VERB_LHLO ? "" : status;
}

static void refuse_malformed(struct session *s, const struct command *c, enum command_result why)
{
    const char *verb = command_verb_name(c->verb);
    if (c->verb == VERB_BDAT)
        session_end(s, 501, "5.5.4", "BDAT takes a number of octets, and LAST; what follows can't be told from commands");
    else if (why == COMMAND_UNKNOWN)
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
    if (rules[verb].idle && ++s->idle > IDLE_MOST)
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
    } else if (session_out_of_turn(s, c.verb)) {
        return;
    } else if (!may_act(s, c.verb)) {
        session_refuse_by(s, "listener { tls = required }", command_verb_name(c.verb), 530, "5.7.0", "send STARTTLS first");
    } else if (result != COMMAND_OK) {
        refuse_malformed(s, &c, result);
    } else {
        count_idle(s, c.verb);
        rules[c.verb].act(s, &c);
    }
}
