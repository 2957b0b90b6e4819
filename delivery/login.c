#include "delivery/session_internal.h"

#include "common/base64.h"
#include "common/sasl.h"
#include "delivery/remote.h"

#include <netinet/in.h>

#define LINE_MOST     510 /* octets of a command line (RFC 5321 4.5.3.1.4) without its end */
#define CREDS_SECONDS 60  /* for an answer of creds, which may have to fetch a token */

static const char *title(const struct session *s)
{
    return s->site->route ? s->site->route->login : "";
}

/* The file leads there, and not the receiver's MX records. */
static bool is_chosen_here(const struct session *s)
{
    const struct site *site = s->site;
    const struct nexthop *hop = &site->nexthop;
    if (hop->kind == NEXTHOP_ADDRESS)
        return !session_goes_to_literal(s);
    if (hop->kind != NEXTHOP_DOMAIN)
        return true;
    for (size_t i = 0; i < remote.settings->route_count; i++) {
        struct span nexthop = settings_nexthop(remote.settings->routes[i].via);
        if (nexthop.n > 0 && nexthop.p[0] != ':' && span_equal(nexthop, site_name(site)))
            return true;
    }
    return false;
}

bool login_is_missed(const struct session *s)
{
    unsigned code = s->reply.code;
    if (!s->site || (code != 530 && code != 535 && code != 538))
        return false;
    return *title(s) || (code == 530 && is_chosen_here(s));
}

const char *login_advice(const struct session *s)
{
    if (!login_is_missed(s) || *title(s))
        return "";
    return s->secured ? "; the host wants a login: add login = \"...\" to the route that leads to it, and a login section"
                      : "; the host wants a login or TLS: add login = \"...\" (with a login section), or tls = encrypt, to the route that "
                        "leads to it";
}

void login_forget(struct session *s)
{
    struct login *l = &s->login;
    if (l->question)
        peer_cancel(remote.creds, l->question);
    if (l->number)
        peer_tell(remote.creds, &(struct message){.type = MESSAGE_LOGIN_OVER, .fd = -1, .login_over = {.number = l->number}});
    l->question = 0;
    l->number = 0;
    buf_free(&l->held);
}

/* ---- the end of it --------------------------------------------------------------------------------------------------------------- */

static void give_up(struct session *s, const char *status, bool site_failed, struct span words)
{
    session_log(s, words);
    session_give_up(s, VERDICT_DEFERRED, status, site_failed, words);
}

static void done(struct session *s)
{
    s->login.number = 0;
    buf_printf(&s->security, "%slogin %s by %s", s->security.len ? ", " : "", title(s), sasl_name(s->login.mechanism));
    session_ready(s);
}

/* That creds has a line about it, with the host, and qmgr's line of the delivery has the same words: a third one would say nothing. */
static void not_done(struct session *s, const struct message_login_step *step)
{
    bool refused = step->verdict == LOGIN_REFUSED;
    s->login.number = 0;
    s->login.told = true;
    if (step->verdict == LOGIN_NOT_HERE)
        session_trouble(s, "4.7.0", true, step->reason);
    else
        session_give_up(s, VERDICT_DEFERRED, refused ? "4.7.8" : "4.3.5", refused, step->reason);
}

/* ---- what is said ---------------------------------------------------------------------------------------------------------------- */

static void say_line(struct session *s, struct buf *line)
{
    buf_add_text(line, "\r\n");
    stream_write_secret(s->stream, buf_span(line));
    session_await(s, SESSION_AUTH, remote.settings->remote_helo_timeout);
}

static void say_auth(struct session *s, const struct message_login_step *step, struct buf *line)
{
    struct buf *held = &s->login.held;
    s->login.mechanism = sasl_mechanism(step->mechanism);
    buf_printf(line, "AUTH %s", sasl_name(s->login.mechanism));
    buf_clear(held);
    held->secret = true;
    base64_encode(step->response, held);
    if (step->given && !held->len)
        buf_add_text(held, "=");
    bool fits = line->len + 1 + held->len <= LINE_MOST;
    if (step->given && fits) {
        buf_add_char(line, ' ');
        buf_add_span(line, buf_span(held));
    }
    if (!step->given || fits)
        buf_free(held);
    say_line(s, line);
}

static void say(struct session *s, const struct message_login_step *step)
{
    struct buf line = {.secret = true};
    if (stream_input(s->stream).n) {
        session_troublef(s, "4.5.0", "protocol error: host %s sent more replies than it was sent commands", s->peer);
        return;
    }
    if (step->mechanism.n) {
        say_auth(s, step, &line);
    } else {
        base64_encode(step->response, &line);
        say_line(s, &line);
    }
    buf_free(&line);
}

/* ---- creds ----------------------------------------------------------------------------------------------------------------------- */

static void on_step(const struct message *m, void *arg)
{
    struct session *s = arg;
    session_enter(s);
    s->login.question = 0;
    if (!m || m->type != MESSAGE_LOGIN_STEP)
        give_up(s, "4.3.0", false, SPAN_LITERAL("postino-creds gave no answer: the login was not made"));
    else if (m->login_step.verdict == LOGIN_SAY)
        say(s, &m->login_step);
    else if (m->login_step.verdict == LOGIN_DONE)
        done(s);
    else
        not_done(s, &m->login_step);
    session_leave(s);
}

static void ask(struct session *s, const struct message *m)
{
    session_await(s, SESSION_LOGIN, CREDS_SECONDS);
    s->login.question = peer_ask(remote.creds, m, on_step, s);
}

/* An address that the administrator wrote down, and that is this host's own. */
static bool is_near(const struct session *s)
{
    const struct nexthop *hop = &s->site->nexthop;
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)&hop->address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&hop->address;
    if (hop->kind != NEXTHOP_ADDRESS)
        return false;
    return hop->address.ss_family == AF_INET ? ntohl(v4->sin_addr.s_addr) >> 24 == 127 : IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

/* An authority's word for a name is worth what the name is worth. */
static bool is_proved(const struct session *s)
{
    return is_near(s) || (s->secured && security_proves(s->level) && (s->level != SECURITY_VERIFY || s->located));
}

struct bindings {
    unsigned char unique[64], exporter[32];
    size_t unique_size, exporter_size;
};

/* tls-unique is the client's Finished, and proves nothing without extended master secret, or in a resumed session (RFC 7627); tls-exporter: RFC 9266. */
static void find_bindings(SSL *ssl, struct bindings *b)
{
    static const char label[] = "EXPORTER-Channel-Binding";
    static const unsigned char no_context[1] = {0};
    *b = (struct bindings){0};
    bool old = ssl && SSL_version(ssl) < TLS1_3_VERSION;
    if (!ssl || (old && SSL_get_extms_support(ssl) != 1))
        return;
    if (old && !SSL_session_reused(ssl))
        b->unique_size = SSL_get_finished(ssl, b->unique, sizeof b->unique);
    if (b->unique_size > sizeof b->unique)
        b->unique_size = 0;
    if (SSL_export_keying_material(ssl, b->exporter, sizeof b->exporter, label, sizeof label - 1, no_context, 0, 1) == 1)
        b->exporter_size = sizeof b->exporter;
}

static void begin(struct session *s)
{
    static uint64_t number;
    struct buf peer = BUF_EMPTY(512);
    struct bindings b;
    find_bindings(stream_tls(s->stream), &b);
    if (stream_tls(s->stream))
        SSL_set_options(stream_tls(s->stream), SSL_OP_CLEANSE_PLAINTEXT);
    session_add_peer(s, &peer);
    s->login.number = ++number;
    ask(s, &(struct message){.type = MESSAGE_LOGIN,
                             .fd = -1,
                             .login = {.number = s->login.number,
                                       .login = span_of(title(s)),
                                       .peer = buf_span(&peer),
                                       .offered = s->extensions.auth,
                                       .proved = is_proved(s),
                                       .unique = span_make(b.unique, b.unique_size),
                                       .exporter = span_make(b.exporter, b.exporter_size)}});
    buf_free(&peer);
}

void login_or_ready(struct session *s)
{
    s->reply.lines.secret = *title(s); /* a host may repeat what it is told */
    if (!*title(s))
        session_ready(s);
    else if (remote.creds)
        begin(s);
    else
        give_up(s, "4.3.5", false, SPAN_LITERAL("there are no logins to sockets"));
}

/* ---- what the host says ---------------------------------------------------------------------------------------------------------- */

static void challenged(struct session *s)
{
    struct buf octets = BUF_EMPTY(REPLY_MAX), line = {.secret = true};
    struct span text = {NULL, 0};
    size_t at = 0;
    reply_line(&s->reply, &at, &text);
    if (s->login.held.len) {
        buf_add_span(&line, buf_span(&s->login.held));
        buf_free(&s->login.held);
        say_line(s, &line);
    } else if (s->reply.line_count != 1 || !base64_decode(span_equal(text, SPAN_LITERAL("=")) ? span_make(NULL, 0) : text, &octets)) {
        session_troublef(s, "4.5.0", "protocol error: host %s sent a challenge (AUTH) that is not base64", s->peer);
    } else {
        ask(s, &(struct message){
                   .type = MESSAGE_CHALLENGE, .fd = -1, .challenge = {.number = s->login.number, .challenge = buf_span(&octets)}});
    }
    buf_free(&octets);
    buf_free(&line);
}

void login_reply(struct session *s)
{
    char status[STATUS_MAX] = "";
    char class = (char)('0' + s->reply.code / 100);
    if (s->reply.code == 334) {
        challenged(s);
        return;
    }
    if (class != '3')
        reply_status(&s->reply, class, false, status);
    ask(s, &(struct message){.type = MESSAGE_LOGIN_REPLY,
                             .fd = -1,
                             .login_reply = {.number = s->login.number, .code = (uint16_t)s->reply.code, .status = span_of(status)}});
}

void login_lost(struct session *s, enum stream_end end, const char *why)
{
    if (s->phase == SESSION_LOGIN && end == STREAM_TIMEOUT)
        give_up(s, "4.3.0", false, SPAN_LITERAL("postino-creds gave no answer: the login was not made"));
    else if (end == STREAM_TIMEOUT)
        session_troublef(s, "4.4.2", "timed out in the conversation with %s while logging in", s->peer);
    else
        session_troublef(s, "4.4.2", "lost connection with %s while logging in%s%s", s->peer, end == STREAM_ERROR ? ": " : "",
                         end == STREAM_ERROR ? why : "");
}
