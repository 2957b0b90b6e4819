/* MAIL and RCPT: the envelope, and what route says of each recipient (RFC 5321 4.1.1.2, 4.1.1.3). */
#include "smtpd/session_state.h"

#include "common/log.h"
#include "smtpd/parameters.h"

#include <inttypes.h>
#include <stdio.h>

#define ANSWER_SECONDS 60 /* for route: then the client is asked to try again later */

static const struct settings *settings_of(const struct session *s)
{
    return s->server->settings;
}

/* ---- MAIL ------------------------------------------------------------------------------------------------------------------------ */

/* False, and the refusal is said, when no mail may be sent in this state. */
static bool may_mail(struct session *s)
{
    if (!s->helo.len)
        session_refuse(s, "MAIL", 503, "5.5.1", "send EHLO or HELO first");
    else if (s->nobody)
        session_refuse(s, "MAIL", 550, "5.7.0", "the proxy has not told whose connection this is");
    else if (s->envelope.open)
        session_refuse(s, "MAIL", 503, "5.5.1", "a transaction is open already; end it with RSET");
    else if (!s->local && s->listener->auth == LISTENER_AUTH_REQUIRED && !s->login.len)
        session_refuse_by(s, "listener { auth = required }", "MAIL", 530, "5.7.0", "authentication required");
    else
        return true;
    return false;
}

static bool is_null(const struct address *a)
{
    return a->whole.n == 0;
}

/* The parameters that are offered here only at times. */
static bool parameters_offered(struct session *s, const struct command *c)
{
    if (c->smtputf8 && !session_offers_utf8(s))
        session_refuse(s, "MAIL", 555, "5.5.4", "SMTPUTF8 is not offered here");
    else if (c->requiretls && !s->tls_active)
        session_refuse(s, "MAIL", 530, "5.7.10", "REQUIRETLS is for sessions with TLS");
    else if (c->requiretls && !session_offers_requiretls(s))
        session_refuse(s, "MAIL", 555, "5.5.4", "REQUIRETLS is not offered here");
    else if (!c->smtputf8 && !span_is_ascii(c->path.whole)) /* RFC 6531 3.5 */
        session_refuse(s, "MAIL", 550, "5.6.7", "an address beyond ASCII needs SMTPUTF8");
    else
        return true;
    return false;
}

static void mail_accepted(struct session *s)
{
    session_mail_ok(s);
}

void session_mail(struct session *s, const struct command *c)
{
    if (!may_mail(s) || !parameters_offered(s, c))
        return;
    if (!is_null(&c->path) && !c->path.domain.n && !session_submits(s)) {
        session_refuse(s, "MAIL", 501, "5.1.7", "the sender's address has no domain");
        return;
    }
    if (c->size > settings_of(s)->limit_message_size) {
        s->rule = SPAN_LITERAL("limit { message_size }");
        session_refuse(s, "MAIL", 552, "5.3.4", "message too large; the limit is %" PRIu64 " octets", settings_of(s)->limit_message_size);
        return;
    }
    if (c->body == BODY_BINARYMIME && !(session_offers(s, "CHUNKING") && session_offers(s, "BINARYMIME"))) {
        session_refuse(s, "MAIL", 555, "5.5.4", "BINARYMIME is not offered here");
        return;
    }
    struct times times;
    if (!session_times(s, c, &times))
        return;
    envelope_open(&s->envelope, c->path.whole);
    s->envelope.binary = c->body == BODY_BINARYMIME;
    s->envelope.times = times;
    if (!is_null(&c->path) && !c->path.domain.n)
        buf_printf(&s->envelope.sender, "@%s", settings_of(s)->hostname);
    s->envelope.utf8 = c->smtputf8;
    s->envelope.requiretls = c->requiretls;
    s->envelope.ret = c->ret;
    xtext_decode(c->envid, &s->envelope.envid);
    session_count(s, COUNT_MESSAGE, "MAIL", mail_accepted);
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
                                 .may_relay = session_submits(s),
                                 .sender = buf_span(&s->envelope.sender),
                                 .recipient = buf_span(&s->recipient),
                                 .count = s->stranger && settings_of(s)->client_recipients,
                                 .pipelining = s->pipelining}};
    if (s->certificate) {
        m.rcpt.certificate = span_of(s->certificate->certificate);
        m.rcpt.certificate_key = span_of(s->certificate->key);
        m.rcpt.subject = span_of(s->certificate->subject);
        m.rcpt.certified = s->certificate->trusted;
    }
    session_ask(s, WAIT_ROUTE, s->server->route, &m, on_routed, ANSWER_SECONDS);
}

static bool may_rcpt(struct session *s, const struct command *c)
{
    if (!s->envelope.open)
        session_refuse(s, "RCPT", 503, "5.5.1", "send MAIL first");
    else if (s->intake)
        session_refuse(s, "RCPT", 503, "5.5.1", "the message comes already");
    else if (!s->envelope.utf8 && !span_is_ascii(c->path.whole)) /* RFC 6531 3.5 */
        session_refuse(s, "RCPT", 553, "5.6.7", "an address beyond ASCII needs SMTPUTF8 with MAIL");
    else if (!s->envelope.utf8 && !span_is_ascii(c->orcpt)) /* RFC 6533 3 */
        session_refuse(s, "RCPT", 501, "5.5.4", "ORCPT beyond ASCII needs SMTPUTF8 with MAIL");
    else if (!session_submits(s) && !c->path.domain.n && !span_equal_nocase(c->path.local, SPAN_LITERAL("postmaster")))
        session_refuse(s, "RCPT", 501, "5.1.3", "the recipient's address has no domain");
    else if (shed_takes_too_much(s))
        session_refuse(s, "RCPT", 452, "4.3.1", "not enough memory now, try again later");
    else if (s->envelope.accepted >= settings_of(s)->limit_recipients)
        session_refuse_by(s, "limit { recipients }", "RCPT", 452, "4.5.3",
                          "too many recipients; send the message to these, then again to the others");
    else
        return true;
    return false;
}

void session_rcpt(struct session *s, const struct command *c)
{
    if (!may_rcpt(s, c))
        return;
    buf_clear(&s->recipient);
    buf_add_span(&s->recipient, c->path.whole);
    buf_clear(&s->orcpt);
    if (c->orcpt.n)
        parameter_orcpt(c->orcpt, &s->orcpt);
    s->notify = c->notify;
    if (session_refused_early(s))
        return;
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
    session_refuse(s, "RCPT", r->code, status, "%.*s", SPAN_ARG(r->reply));
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
        envelope_sender(&s->envelope, r->sender);
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
