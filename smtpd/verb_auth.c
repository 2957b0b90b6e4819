/* AUTH (RFC 4954): carries what the client and postino-auth say to each other; nothing of SASL is understood here.
 *
 *   AUTH -> WAIT (AUTH) --more--> RESPONSE --line--> WAIT (RESPONSE) --more--> ...
 *                |                    +-- "*", no base64, too long: 501, and auth is told (CANCEL)
 *                +--verdict--> WAIT_AUTH_DELAY --> 235, 535, 454, ... */
#include "smtpd/session_state.h"

#include "common/base64.h"
#include "common/log.h"
#include "smtpd/reply.h"
#include "smtpd/tls.h"

#include <ctype.h>
#include <stdio.h>

#define ANSWER_SECONDS     60   /* for a verdict: auth gives up before that */
#define MECHANISMS_SECONDS 5    /* for what is offered: then what was offered last */
#define USAGE_SECONDS      5    /* for a limit an hour: then it is held */
#define RESPONSE_OCTETS    9216 /* of 12,288 in base64 */

static const struct settings *settings_of(const struct session *s)
{
    return s->server->settings;
}

bool session_auth_offered(const struct session *s)
{
    return !s->local && s->listener->auth != LISTENER_AUTH_NONE && s->tls_active;
}

static void wipe(struct buf *secret)
{
    if (secret->data)
        explicit_bzero(secret->data, secret->cap);
    buf_free(secret);
}

void session_auth_cancel(struct session *s)
{
    wipe(&s->initial);
    if (s->conversation)
        peer_tell(s->server->auth, &(struct message){.type = MESSAGE_CANCEL, .fd = -1, .cancel = {.conversation = s->conversation}});
    s->conversation = 0;
}

/* ---- EHLO ------------------------------------------------------------------------------------------------------------------------ */

static void on_offered(const struct message *m, void *arg)
{
    struct session *s = arg;
    struct buf *mechanisms = &s->server->mechanisms;
    session_answered(s);
    if (m && m->type != MESSAGE_OFFERED)
        log_die("postino-auth answered MECHANISMS with %s", message_name(m->type));
    if (m) {
        buf_clear(mechanisms);
        buf_add_span(mechanisms, m->offered.mechanisms);
    }
    session_ehlo(s, buf_span(mechanisms));
    session_resume(s);
}

static bool has_binding(const struct session *s)
{
    struct tls_binding b;
    tls_bindings(stream_tls(s->stream), &b);
    return b.unique_size || b.exporter_size;
}

void session_ask_mechanisms(struct session *s)
{
    struct message m = {.type = MESSAGE_MECHANISMS, .fd = -1, .mechanisms = {.binding = has_binding(s)}};
    session_ask(s, WAIT_MECHANISMS, s->server->auth, &m, on_offered, MECHANISMS_SECONDS);
}

/* ---- verdict --------------------------------------------------------------------------------------------------------------------- */

/* Host names are what DNS says: only those of letters that a host has are written as they are. */
static bool is_plain_name(struct span name)
{
    for (size_t i = 0; i < name.n; i++)
        if (!(name.p[i] >= 'a' && name.p[i] <= 'z') && !(name.p[i] >= 'A' && name.p[i] <= 'Z') && !(name.p[i] >= '0' && name.p[i] <= '9') &&
            name.p[i] != '-' && name.p[i] != '.' && name.p[i] != '_')
            return false;
    return name.n > 0;
}

/* In Postfix's words, for what reads logs and closes doors (fail2ban). */
static void log_failure(const struct session *s, const char *why)
{
    struct buf line = BUF_EMPTY(4096);
    struct span name = is_plain_name(buf_span(&s->name)) ? buf_span(&s->name) : span_of("unknown");
    buf_printf(&line, "warning: %.*s[%.*s]: SASL %s authentication failed: %s,", SPAN_ARG(name), SPAN_ARG(buf_span(&s->client)),
               s->mechanism, why);
    log_value(&line, "sasl_username", buf_span(&s->claimed));
    log_buf(LOG_LEVEL_WARNING, &line);
    buf_free(&line);
}

static void auth_failed(struct session *s, unsigned code, const char *status, const char *why)
{
    log_failure(s, why);
    session_refuse(s, "AUTH", code, status, "%s", why);
    if (++s->auth_failures >= settings_of(s)->smtpd_auth_failures)
        session_end(s, 421, "4.7.0", "%s too many failed authentications", settings_of(s)->hostname);
}

static void tell_verdict(struct session *s, unsigned verdict)
{
    switch (verdict) {
    case AUTH_YES:
        buf_clear(&s->login);
        buf_add_span(&s->login, buf_span(&s->claimed));
        session_reply(s, 235, "2.7.0", "Authentication successful");
        break;
    case AUTH_NO:
        auth_failed(s, 535, "5.7.8", "authentication failed");
        break;
    case AUTH_REFUSED:
        log_failure(s, "too many failures");
        session_end(s, 421, "4.7.0", "%s too many failed logins from your network, try again later", settings_of(s)->hostname);
        break;
    case AUTH_BUSY:
        log_failure(s, "too many failures");
        session_refuse(s, "AUTH", 454, "4.7.0", "too many failed logins to this account, try again later");
        break;
    case AUTH_MALFORMED:
        session_refuse(s, "AUTH", 501, "5.5.2", "the response is not one of %s", s->mechanism);
        break;
    case AUTH_UNOFFERED:
        session_refuse(s, "AUTH", 504, "5.5.4", "unknown mechanism; EHLO says which there are");
        break;
    case AUTH_NOT_NOW:
        session_refuse(s, "AUTH", 454, "4.7.0", "authentication is not possible now, try again later");
        break;
    default:
        log_die("postino-auth answered AUTH with verdict %u", verdict);
    }
    buf_clear(&s->claimed);
}

/* A limit that nobody can look at is no reason to lose mail, and an auth that is kept busy none to pass it. */
static void start_unknown(struct session *s)
{
    struct buf line = BUF_EMPTY(1024);
    buf_add_text(&line, "limit:");
    log_value(&line, "login", buf_span(&s->login));
    log_value(&line, "reason", SPAN_LITERAL("postino-auth did not say in time how much it has sent: its message is held"));
    log_buf(LOG_LEVEL_WARNING, &line);
    buf_free(&line);
    s->envelope.hold = true;
    intake_start(s);
}

void session_auth_waited(struct session *s, enum session_wait what)
{
    if (what == WAIT_MECHANISMS) {
        session_ehlo(s, buf_span(&s->server->mechanisms));
        return;
    }
    if (what == WAIT_USAGE) {
        start_unknown(s);
        return;
    }
    session_auth_cancel(s);
    tell_verdict(s, what == WAIT_AUTH_DELAY ? s->verdict : AUTH_NOT_NOW);
}

static void take_verdict(struct session *s, const struct message_authed *authed)
{
    uint64_t delay = authed->delay;
    if (authed->verdict == AUTH_YES && !authed->login.n)
        log_die("postino-auth said yes to nobody");
    s->conversation = 0;
    buf_clear(&s->claimed);
    buf_add_span(&s->claimed, authed->login);
    bool paced =
        authed->verdict == AUTH_NO || authed->verdict == AUTH_NOT_NOW || authed->verdict == AUTH_BUSY || authed->verdict == AUTH_REFUSED;
    if (paced && delay < settings_of(s)->smtpd_auth_delay)
        delay = settings_of(s)->smtpd_auth_delay;
    s->verdict = authed->verdict;
    if (delay)
        session_wait(s, WAIT_AUTH_DELAY, delay);
    else
        tell_verdict(s, s->verdict);
}

static void challenge(struct session *s, struct span octets)
{
    struct buf text = BUF_EMPTY(64 << 10);
    base64_encode(octets, &text);
    struct buf *out = stream_output(s->stream);
    buf_printf(out, "334 %.*s\r\n", SPAN_ARG(buf_span(&text)));
    buf_free(&text);
    s->state = SESSION_RESPONSE;
}

static void on_authed(const struct message *m, void *arg)
{
    struct session *s = arg;
    session_answered(s);
    if (m && m->type != MESSAGE_AUTHED)
        log_die("postino-auth answered AUTH with %s", message_name(m->type));
    if (m && m->authed.verdict == AUTH_MORE && s->stream)
        challenge(s, m->authed.challenge);
    else if (m && m->authed.verdict != AUTH_MORE)
        take_verdict(s, &m->authed);
    else
        session_auth_waited(s, WAIT_AUTH);
    session_resume(s);
}

/* ---- AUTH ------------------------------------------------------------------------------------------------------------------------ */

static void refuse_response(struct session *s, const char *status, const char *why)
{
    session_auth_cancel(s);
    session_refuse(s, "AUTH", 501, status, "%s", why);
}

static void ask(struct session *s, struct message *m)
{
    m->fd = -1;
    session_ask(s, WAIT_AUTH, s->server->auth, m, on_authed, ANSWER_SECONDS);
}

static void begin(struct session *s, bool has_response, struct span response)
{
    struct tls_binding b;
    tls_bindings(stream_tls(s->stream), &b);
    s->conversation = ++s->server->conversations;
    struct message m = {.type = MESSAGE_AUTH,
                        .auth = {.conversation = s->conversation,
                                 .client = buf_span(&s->client),
                                 .mechanism = span_of(s->mechanism),
                                 .unique = span_make(b.unique, b.unique_size),
                                 .exporter = span_make(b.exporter, b.exporter_size),
                                 .has_response = has_response,
                                 .response = response}};
    ask(s, &m);
}

static void begin_counted(struct session *s)
{
    begin(s, s->has_initial, buf_span(&s->initial));
    wipe(&s->initial);
}

/* RFC 4954 4: "=" is an initial response without octets. */
static bool take_initial(struct session *s, const struct command *c)
{
    s->initial = BUF_EMPTY(RESPONSE_OCTETS);
    s->has_initial = c->has_initial;
    if (!c->has_initial || span_equal(c->initial, SPAN_LITERAL("=")))
        return true;
    if (buf_reserve(&s->initial, c->initial.n / 4 * 3) && base64_decode(c->initial, &s->initial)) /* at once: growing would leave copies */
        return true;
    wipe(&s->initial);
    return false;
}

void session_auth_response(struct session *s, struct span line)
{
    struct buf response = BUF_EMPTY(RESPONSE_OCTETS);
    s->state = SESSION_COMMAND;
    if (span_equal(line, SPAN_LITERAL("*"))) {
        refuse_response(s, "5.7.0", "authentication cancelled");
    } else if (!buf_reserve(&response, line.n / 4 * 3) || !base64_decode(line, &response)) {
        refuse_response(s, "5.5.2", "the response is not base64");
    } else {
        struct message m = {.type = MESSAGE_RESPONSE, .response = {.conversation = s->conversation, .response = buf_span(&response)}};
        ask(s, &m);
    }
    wipe(&response);
}

static bool may_auth(struct session *s, const struct command *c)
{
    if (!s->helo.len)
        session_refuse(s, "AUTH", 503, "5.5.1", "send EHLO first");
    else if (s->local || s->listener->auth == LISTENER_AUTH_NONE)
        session_refuse(s, "AUTH", 503, "5.5.1", "authentication is not offered here");
    else if (!s->tls_active)
        session_refuse(s, "AUTH", 538, "5.7.11", "encryption is required for authentication; send STARTTLS first");
    else if (s->login.len)
        session_refuse(s, "AUTH", 503, "5.5.1", "already authenticated");
    else if (s->envelope.open)
        session_refuse(s, "AUTH", 503, "5.5.1", "not inside of a transaction");
    else if (c->argument.n >= sizeof s->mechanism)
        session_refuse(s, "AUTH", 504, "5.5.4", "unknown mechanism; EHLO says which there are");
    else
        return true;
    return false;
}

void session_auth(struct session *s, const struct command *c)
{
    if (!may_auth(s, c))
        return;
    snprintf(s->mechanism, sizeof s->mechanism, "%.*s", SPAN_ARG(c->argument));
    for (char *p = s->mechanism; *p; p++)
        *p = (char)toupper((unsigned char)*p);
    if (take_initial(s, c))
        session_count(s, COUNT_AUTH, "AUTH", begin_counted);
    else
        refuse_response(s, "5.5.2", "the response is not base64");
}

/* ---- limits an hour -------------------------------------------------------------------------------------------------------------- */

static void on_used(const struct message *m, void *arg)
{
    struct session *s = arg;
    session_answered(s);
    if (m && m->type != MESSAGE_USED)
        log_die("postino-auth answered USAGE with %s", message_name(m->type));
    if (!m) {
        start_unknown(s);
    } else {
        s->envelope.hold |= m->used.beyond == USED_HOLD;
        s->envelope.too_much = m->used.beyond == USED_REFUSE;
        intake_start(s);
    }
    session_resume(s);
}

bool session_ask_usage(struct session *s)
{
    if (!s->login.len || !(settings_of(s)->auth_messages_hour || settings_of(s)->auth_recipients_hour))
        return false;
    struct message m = {
        .type = MESSAGE_USAGE, .fd = -1, .usage = {.login = buf_span(&s->login), .recipients = (uint32_t)s->envelope.accepted}};
    session_ask(s, WAIT_USAGE, s->server->auth, &m, on_used, USAGE_SECONDS);
    return true;
}
