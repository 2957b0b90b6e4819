#include "creds/conversation.h"

#include "common/clock.h"
#include "common/log.h"
#include "creds/exchange.h"
#include "creds/login.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

#define WORDS ((size_t)1200)
#define AGAIN ((uint64_t)60) /* seconds between two lines about a login */

struct conversation {
    TAILQ_ENTRY(conversation) link; /* the oldest first */
    struct channel *edge;
    uint64_t number, began;
    struct login *login;
    struct exchange *exchange;
    char *peer;
    unsigned mechanism;
    struct token_wait *wait; /* for an access token; its question is `id` */
    uint32_t id;
    struct buf access;
    bool renewed; /* the host has refused a token already */
};

static TAILQ_HEAD(conversations, conversation) all = TAILQ_HEAD_INITIALIZER(all);
static size_t count;

/* ---- life ------------------------------------------------------------------------------------------------------------------------ */

static void forget(struct conversation *c)
{
    TAILQ_REMOVE(&all, c, link);
    count--;
    exchange_free(c->exchange);
    if (c->wait)
        token_cancel(c->wait);
    buf_free(&c->access);
    free(c->peer);
    free(c);
}

static struct conversation *find(const struct channel *edge, uint64_t number)
{
    struct conversation *c;
    TAILQ_FOREACH_REVERSE(c, &all, conversations, link)
    if (c->edge == edge && c->number == number)
        return c;
    return NULL;
}

static void make_room(void)
{
    struct conversation *c;
    while ((c = TAILQ_FIRST(&all)) && (count >= CONVERSATIONS_MOST || c->began + CONVERSATION_SECONDS < clock_seconds()))
        forget(c);
}

static struct conversation *conversation_new(struct channel *edge, const struct message_login *m)
{
    make_room();
    struct conversation *c = calloc(1, sizeof *c);
    if (!c || !(c->peer = strndup(m->peer.p ? m->peer.p : "", m->peer.n)))
        log_die("out of memory for a login");
    c->edge = edge;
    c->number = m->number;
    c->began = clock_seconds();
    c->access.secret = true;
    TAILQ_INSERT_TAIL(&all, c, link);
    count++;
    return c;
}

/* ---- answers --------------------------------------------------------------------------------------------------------------------- */

static void answer(struct channel *edge, uint32_t id, const struct message_login_step *step)
{
    channel_send(edge, &(struct message){.type = MESSAGE_LOGIN_STEP, .id = id, .fd = -1, .login_step = *step});
}

static void say(struct conversation *c, uint32_t id, unsigned mechanism, bool given, struct span response)
{
    answer(c->edge, id,
           &(struct message_login_step){
               .verdict = LOGIN_SAY, .mechanism = span_of(sasl_name(mechanism)), .given = given, .response = response});
}

/* One line for the administrator, and then a minute of silence at that level. */
static void tell(struct login *l, const char *title, const char *peer, struct span why)
{
    struct buf line = BUF_EMPTY(4096);
    bool loud = !l || !l->told || clock_seconds() >= l->told + AGAIN;
    if (l && loud)
        l->told = clock_seconds();
    log_value(&line, "login", span_of(title));
    log_value(&line, "host", span_of(peer));
    log_value(&line, "error", why);
    log_buf(loud ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO, &line);
    buf_free(&line);
}

/* The end of a conversation that leads to no login. */
static void end(struct conversation *c, uint32_t id, enum login_verdict verdict, struct span why)
{
    tell(c->login, c->login->settings->title, c->peer, why);
    answer(c->edge, id, &(struct message_login_step){.verdict = (uint16_t)verdict, .reason = why});
    forget(c);
}

__attribute__((format(printf, 4, 5))) static void endf(struct conversation *c, uint32_t id, enum login_verdict verdict, const char *fmt,
                                                       ...)
{
    char text[WORDS];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    end(c, id, verdict, span_make(text, n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1));
}

/* ---- LOGIN ----------------------------------------------------------------------------------------------------------------------- */

static void begin_exchange(struct conversation *c, uint32_t id, const char *secret, const struct scram_binding *binding)
{
    struct buf response = {.limit = RESPONSE_MOST, .secret = true};
    exchange_free(c->exchange);
    c->exchange = exchange_new(c->mechanism, c->login->settings->user, secret, binding, &c->login->salted);
    if (!c->exchange)
        log_die("out of memory for a login");
    bool given = exchange_initial(c->exchange, &response);
    if (response.failed)
        endf(c, id, LOGIN_NOT_NOW, "login \"%s\": user and secret are too long", c->login->settings->title);
    else if (!given && c->mechanism & SASL_SCRAM)
        endf(c, id, LOGIN_NOT_NOW, "login \"%s\": SCRAM can't use its user or secret; look at both for characters that are none",
             c->login->settings->title);
    else
        say(c, id, c->mechanism, given, buf_span(&response));
    buf_free(&response);
}

static void on_token(const char *access, const char *why, void *arg)
{
    struct conversation *c = arg;
    static const struct scram_binding none;
    c->wait = NULL;
    if (!access) {
        endf(c, c->id, LOGIN_NOT_NOW, "login \"%s\": %s", c->login->settings->title, why);
        return;
    }
    buf_clear(&c->access);
    buf_add_text(&c->access, access);
    begin_exchange(c, c->id, buf_text(&c->access), &none);
}

static void ask_token(struct conversation *c, uint32_t id)
{
    c->id = id;
    struct token_wait *wait = token_ask(c->login->token, on_token, c);
    if (wait)
        c->wait = wait; /* or it is over, and c perhaps with it */
}

static void begin_mechanism(struct conversation *c, uint32_t id, const struct message_login *m)
{
    struct scram_binding binding = {.unique = m->unique, .exporter = m->exporter, .host_binds = m->offered & SASL_PLUS};
    if (c->mechanism & SASL_TOKEN)
        ask_token(c, id);
    else
        begin_exchange(c, id, buf_text(&c->login->secret), &binding);
}

static void choose(struct conversation *c, uint32_t id, const struct message_login *m)
{
    struct login *l = c->login;
    struct buf why = BUF_EMPTY(WORDS);
    struct exchange_terms terms = {.offered = m->offered,
                                   .allowed = l->allowed,
                                   .trusted = m->proved || l->settings->insecure,
                                   .binding = m->unique.n || m->exporter.n};
    c->mechanism = exchange_choose(&terms, &why);
    if (c->mechanism)
        begin_mechanism(c, id, m);
    else
        endf(c, id, LOGIN_NOT_HERE, "login \"%s\" can't be used with host %s: %s; look at tls of the route and at mechanisms of the login",
             l->settings->title, c->peer, buf_text(&why));
    buf_free(&why);
}

static void begin(struct channel *edge, uint32_t id, const struct message_login *m)
{
    struct login *l = login_find(m->login);
    struct buf why = BUF_EMPTY(WORDS);
    if (!l)
        buf_printf(&why, "there is no login \"%.*s\" (any more)", (int)(m->login.n < 64 ? m->login.n : 64), m->login.p ? m->login.p : "");
    else if (*l->broken)
        buf_printf(&why, "login \"%s\": %s", l->settings->title, l->broken);
    else if (clock_seconds() < l->not_before)
        buf_printf(
            &why,
            "login \"%s\" was refused with %s just now, and is tried again in a minute; correct its user or secret, then postino reload",
            l->settings->title, l->refused);
    bool pause = l && !*l->broken && why.len;
    if (l && !why.len) {
        struct conversation *c = conversation_new(edge, m);
        c->login = l;
        choose(c, id, m);
    } else {
        if (l && *l->broken)
            tell(l, l->settings->title, "", span_of(l->broken));
        answer(edge, id, &(struct message_login_step){.verdict = pause ? LOGIN_REFUSED : LOGIN_NOT_NOW, .reason = buf_span(&why)});
    }
    buf_free(&why);
}

/* ---- what the host says ---------------------------------------------------------------------------------------------------------- */

static void challenge(struct conversation *c, uint32_t id, struct span text)
{
    struct buf response = {.limit = RESPONSE_MOST, .secret = true};
    const char *why = "";
    if (!exchange_answer(c->exchange, text, &response, &why))
        endf(c, id, LOGIN_NOT_HERE, "login \"%s\" with host %s: %s", c->login->settings->title, c->peer, why);
    else
        say(c, id, 0, true, buf_span(&response));
    buf_free(&response);
}

/* Words of ours alone: a host may well repeat what it was told, and this goes to logs and reports. */
static void refused(struct conversation *c, uint32_t id, unsigned code, struct span status)
{
    bool final = code / 100 == 5;
    if (final) {
        c->login->not_before = clock_seconds() + REFUSED_SECONDS;
        snprintf(c->login->refused, sizeof c->login->refused, "%u%s%.*s", code, status.n ? " " : "", SPAN_ARG(status));
    }
    endf(c, id, final ? LOGIN_REFUSED : LOGIN_NOT_HERE, "host %s refused login \"%s\" (%s) with %u%s%.*s%s", c->peer,
         c->login->settings->title, sasl_name(exchange_mechanism(c->exchange)), code, status.n ? " " : "", SPAN_ARG(status),
         final ? "; look at user and secret of the login (a reload reads it again), and whether the account may send" : "");
}

static void take_reply(struct conversation *c, uint32_t id, unsigned code, struct span status)
{
    bool token = code / 100 == 5 && c->mechanism & SASL_TOKEN && !c->renewed;
    if (token && token_refused(c->login->token, buf_text(&c->access))) {
        c->renewed = true;
        ask_token(c, id);
    } else if (code / 100 != 2) {
        refused(c, id, code, status);
    } else if (!exchange_complete(c->exchange)) {
        endf(c, id, LOGIN_NOT_HERE,
             "login \"%s\" with host %s: it said yes before the end of %s, and so it is not the host that it should be",
             c->login->settings->title, c->peer, sasl_name(exchange_mechanism(c->exchange)));
    } else {
        c->login->told = 0;
        answer(c->edge, id, &(struct message_login_step){.verdict = LOGIN_DONE});
        forget(c);
    }
}

void conversations_take(struct channel *edge, const struct message *m)
{
    if (m->type == MESSAGE_LOGIN) {
        begin(edge, m->id, &m->login);
        return;
    }
    /* All others begin with the number. */
    struct conversation *c = find(edge, m->challenge.number);
    if (m->type == MESSAGE_LOGIN_OVER) {
        if (c)
            forget(c);
    } else if (!c) {
        answer(edge, m->id,
               &(struct message_login_step){.verdict = LOGIN_NOT_NOW,
                                            .reason = SPAN_LITERAL("the login took too long, or a reload fell into it")});
    } else if (!c->exchange || c->wait) {
        endf(c, m->id, LOGIN_NOT_HERE, "login \"%s\" with host %s: it was not its turn", c->login->settings->title, c->peer);
    } else if (m->type == MESSAGE_CHALLENGE) {
        challenge(c, m->id, m->challenge.challenge);
    } else {
        take_reply(c, m->id, m->login_reply.code, m->login_reply.status);
    }
}

void conversations_forget_edge(struct channel *edge)
{
    struct conversation *c, *next;
    for (c = TAILQ_FIRST(&all); c; c = next) {
        next = TAILQ_NEXT(c, link);
        if (c->edge == edge)
            forget(c);
    }
}
