#include "auth/conversation.h"

#include "auth/failures.h"
#include "auth/secret.h"
#include "common/clock.h"
#include "common/log.h"

#include <stdlib.h>

static const struct mechanism mechanisms[] = {
    {"SCRAM-SHA-256-PLUS", MECHANISM_SCRAM_PLUS},
    {"SCRAM-SHA-256", MECHANISM_SCRAM},
    {"OAUTHBEARER", MECHANISM_OAUTHBEARER},
    {"XOAUTH2", MECHANISM_XOAUTH2},
    {"PLAIN", MECHANISM_PLAIN},
    {"LOGIN", MECHANISM_LOGIN},
};

static const char TOO_MANY[] = "too many failed logins to this account, and it was never used from this address";

#define MECHANISMS (sizeof mechanisms / sizeof mechanisms[0])

static const struct backend *backend;
static const struct strings *wanted; /* of the configuration; none: what the back end offers */
static TAILQ_HEAD(conversations, conversation) all = TAILQ_HEAD_INITIALIZER(all);
static size_t count;

void conversations_open(const struct backend *b, const struct strings *names)
{
    backend = b;
    wanted = names;
}

/* ---- what is offered ------------------------------------------------------------------------------------------------------------- */

static bool is_offered(const struct mechanism *m, bool binding)
{
    bool simple = m->kind == MECHANISM_PLAIN || m->kind == MECHANISM_LOGIN;
    if ((!simple && !backend->begin) || (m->kind == MECHANISM_SCRAM_PLUS && !binding))
        return false;
    if (!wanted->n)
        return backend->offers(m->kind);
    for (size_t i = 0; i < wanted->n; i++)
        if (strcasecmp(wanted->v[i], m->name) == 0)
            return true;
    return false;
}

static const struct mechanism *find_mechanism(struct span name, bool binding)
{
    for (size_t i = 0; i < MECHANISMS; i++)
        if (span_equal_nocase(span_of(mechanisms[i].name), name))
            return is_offered(&mechanisms[i], binding) ? &mechanisms[i] : NULL;
    return NULL;
}

static void answer_mechanisms(struct channel *edge, const struct message *m)
{
    struct buf names = BUF_EMPTY(1024);
    for (size_t i = 0; i < MECHANISMS; i++)
        if (is_offered(&mechanisms[i], m->mechanisms.binding))
            buf_printf(&names, "%s%s", names.len ? " " : "", mechanisms[i].name);
    channel_send(edge, &(struct message){.type = MESSAGE_OFFERED, .id = m->id, .fd = -1, .offered = {.mechanisms = buf_span(&names)}});
    buf_free(&names);
}

/* ---- life ------------------------------------------------------------------------------------------------------------------------ */

static struct conversation *find(struct channel *edge, uint64_t number)
{
    struct conversation *c;
    TAILQ_FOREACH(c, &all, link)
    if (c->edge == edge && c->number == number)
        return c;
    return NULL;
}

static void forget(struct conversation *c)
{
    if (c->begun && backend->gone)
        backend->gone(c);
    TAILQ_REMOVE(&all, c, link);
    count--;
    buf_free(&c->client);
    buf_free(&c->user);
    buf_free(&c->login);
    secret_wipe(&c->unique);
    secret_wipe(&c->exporter);
    free(c);
}

static void answer(struct channel *edge, uint32_t question, const struct message_authed *authed)
{
    channel_send(edge, &(struct message){.type = MESSAGE_AUTHED, .id = question, .fd = -1, .authed = *authed});
}

static void refuse(struct channel *edge, uint32_t question, enum auth_verdict verdict)
{
    answer(edge, question, &(struct message_authed){.verdict = (uint16_t)verdict});
}

void conversation_challenge(struct conversation *c, struct span challenge)
{
    c->asked = false;
    answer(c->edge, c->question, &(struct message_authed){.verdict = AUTH_MORE, .challenge = challenge});
}

static void log_verdict(const struct conversation *c, enum auth_verdict verdict, const char *why)
{
    static const char *const words[] = {
        [AUTH_YES] = "yes",         [AUTH_NO] = "no",    [AUTH_NOT_NOW] = "not-now", [AUTH_MALFORMED] = "malformed",
        [AUTH_REFUSED] = "refused", [AUTH_BUSY] = "busy"};
    struct buf line = BUF_EMPTY(4096);
    buf_printf(&line, "auth: verdict=%s", words[verdict]);
    log_value(&line, "user", buf_span(&c->user));
    if (c->login.len && !span_equal(buf_span(&c->login), buf_span(&c->user)))
        log_value(&line, "login", buf_span(&c->login));
    log_value(&line, "client", buf_span(&c->client));
    buf_printf(&line, " mechanism=%s", c->mechanism->name);
    if (c->delay)
        buf_printf(&line, " delay=%u", c->delay);
    if (*why)
        log_value(&line, "reason", span_of(why));
    log_buf(verdict == AUTH_NOT_NOW ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO, &line);
    buf_free(&line);
}

static struct span account_of(const struct conversation *c)
{
    return buf_span(c->login.len ? &c->login : &c->user);
}

static uint64_t now(void)
{
    return clock_monotonic_ms() / 1000;
}

/* False: the account that the back end has named has too many guesses already, and nobody hears whether this one was right. */
static bool account_has_turn(struct conversation *c)
{
    if (!c->login.len || span_equal_nocase(buf_span(&c->login), buf_span(&c->user)))
        return true;
    uint32_t before = c->delay;
    bool has = failures_take_turn(buf_span(&c->client), buf_span(&c->login), now(), &c->delay) == FAILURES_GO;
    c->delay = c->delay > before ? c->delay : before;
    return has;
}

void conversation_end(struct conversation *c, enum auth_verdict verdict, const char *why)
{
    struct buf login = BUF_EMPTY(NAME_MOST);
    if ((verdict == AUTH_YES || verdict == AUTH_NO) && !account_has_turn(c)) {
        verdict = AUTH_BUSY;
        why = TOO_MANY;
    }
    buf_add_span(&login, account_of(c));
    if (verdict == AUTH_YES)
        failures_right(buf_span(&c->client), account_of(c), now());
    else if (verdict == AUTH_NO)
        failures_wrong(buf_span(&c->client), account_of(c), now());
    log_verdict(c, verdict, why);
    struct message_authed authed = {.verdict = (uint16_t)verdict, .delay = c->delay, .login = buf_span(&login)};
    struct channel *edge = c->edge;
    uint32_t question = c->question;
    bool asked = c->asked;
    forget(c);
    if (asked)
        answer(edge, question, &authed);
    buf_free(&login);
}

static void make_room(struct span client)
{
    struct conversation *c, *oldest = NULL;
    size_t same = 0;
    TAILQ_FOREACH_REVERSE(c, &all, conversations, link)
    {
        if (span_equal(buf_span(&c->client), client)) {
            oldest = c;
            same++;
        }
    }
    if (same >= CONVERSATIONS_CLIENT) /* counted as a failure: else wrong guesses would be given up before they are told */
        conversation_end(oldest, AUTH_NO, "too many exchanges of this address at a time; the oldest is given up");
    else if (count >= CONVERSATIONS_MOST)
        conversation_end(TAILQ_FIRST(&all), AUTH_NOT_NOW, "too many exchanges at a time; the oldest is given up");
}

static struct conversation *make(struct channel *edge, const struct message_auth *m, const struct mechanism *mechanism)
{
    make_room(m->client);
    struct conversation *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    *c = (struct conversation){.edge = edge, .number = m->conversation, .began = clock_monotonic_ms(), .mechanism = mechanism};
    c->client.limit = 256;
    c->user.limit = c->login.limit = NAME_MOST + 1;
    c->unique.limit = c->exporter.limit = 256;
    buf_add_span(&c->client, m->client);
    c->client_key = failures_address(m->client);
    buf_add_span(&c->unique, m->unique);
    buf_add_span(&c->exporter, m->exporter);
    TAILQ_INSERT_TAIL(&all, c, link);
    count++;
    return c;
}

void conversations_forget_edge(struct channel *edge)
{
    struct conversation *c = TAILQ_FIRST(&all);
    while (c) {
        if (c->edge != edge) {
            c = TAILQ_NEXT(c, link);
            continue;
        }
        forget(c);
        c = TAILQ_FIRST(&all); /* a back end that breaks at this has ended others */
    }
}

void conversations_tick(void)
{
    if (backend->tick)
        backend->tick();
    uint64_t now_ms = clock_monotonic_ms();
    struct conversation *c;
    while ((c = TAILQ_FIRST(&all)) && now_ms - c->began > CONVERSATION_SECONDS * 1000)
        conversation_end(c, AUTH_NOT_NOW, "the exchange took too long");
}

/* ---- names ----------------------------------------------------------------------------------------------------------------------- */

static bool is_same(struct span identity, const struct conversation *c)
{
    struct buf prepared = BUF_EMPTY(NAME_MOST + 1);
    bool same = !identity.n || (secret_prepare(identity, NAME_MOST, &prepared) && span_equal(buf_span(&prepared), buf_span(&c->user)));
    buf_free(&prepared);
    return same;
}

static bool is_let(struct conversation *c, enum failures_answer answer)
{
    if (answer == FAILURES_REFUSE)
        conversation_end(c, AUTH_REFUSED, "too many failed logins from its network");
    else if (answer == FAILURES_BUSY)
        conversation_end(c, AUTH_BUSY, TOO_MANY);
    return answer == FAILURES_GO;
}

/* Keeps who the client says to be, and asks whether it may try. False: it ended here. */
static bool take_user(struct conversation *c, struct span user, struct span identity)
{
    buf_clear(&c->user);
    if (!secret_prepare(user, NAME_MOST, &c->user)) {
        buf_clear(&c->user);
        conversation_end(c, AUTH_MALFORMED, "a name that nobody can have");
        return false;
    }
    if (!is_same(identity, c)) {
        conversation_end(c, AUTH_NO, "nobody may act for somebody else here");
        return false;
    }
    return is_let(c, failures_may_try(buf_span(&c->client), buf_span(&c->user), now()));
}

/* What the client says now is a guess. False: it ended here. */
static bool take_turn(struct conversation *c)
{
    if (c->turn)
        return true;
    c->turn = true;
    return is_let(c, failures_take_turn(buf_span(&c->client), buf_span(&c->user), now(), &c->delay));
}

/* ---- mechanisms ------------------------------------------------------------------------------------------------------------------ */

static void check(struct conversation *c, struct span password)
{
    if (!password.n || password.n > PASSWORD_MOST) {
        conversation_end(c, AUTH_MALFORMED, "an empty password, or a longer one than may be");
        return;
    }
    if (!take_turn(c))
        return;
    c->begun = true;
    backend->check(c, password);
}

static void take_plain(struct conversation *c, struct span response)
{
    struct span identity, user, password;
    if (!response_plain(response, &identity, &user, &password))
        conversation_end(c, AUTH_MALFORMED, "not a response of PLAIN");
    else if (take_user(c, user, identity))
        check(c, password);
}

static void take_login(struct conversation *c, struct span response)
{
    if (c->user.len)
        check(c, response);
    else if (take_user(c, response, span_of("")))
        conversation_challenge(c, span_of("Password:"));
}

/* A client that could bind, and believes that we can't, has been told so by somebody between us (RFC 5802 6). */
static const char *binding_fault(const struct conversation *c, const struct response_gs2 *gs2)
{
    bool bound = c->mechanism->kind == MECHANISM_SCRAM_PLUS;
    if (bound != (gs2->flag == 'p'))
        return "channel binding where the mechanism has none, or none where it has";
    if (gs2->flag == 'y' && find_mechanism(span_of("SCRAM-SHA-256-PLUS"), c->unique.len || c->exporter.len))
        return "the client was told that there is no channel binding, and there is: somebody is in between";
    if (bound && !(span_equal(gs2->binding, span_of("tls-unique")) && c->unique.len) &&
        !(span_equal(gs2->binding, span_of("tls-exporter")) && c->exporter.len))
        return "a channel binding of a type that this connection has not";
    return NULL;
}

static bool take_scram_first(struct conversation *c, struct span response)
{
    struct response_gs2 gs2;
    struct buf user = BUF_EMPTY(NAME_MOST), identity = BUF_EMPTY(NAME_MOST);
    bool ok = response_gs2(response, &gs2) && response_scram_user(gs2.rest, &user) && response_unescape(gs2.identity, &identity);
    const char *fault = ok ? binding_fault(c, &gs2) : NULL;
    if (!ok) {
        conversation_end(c, AUTH_MALFORMED, "not a first response of SCRAM");
    } else if (fault) {
        secret_prepare(buf_span(&user), NAME_MOST, &c->user);
        conversation_end(c, AUTH_NO, fault);
        ok = false;
    } else {
        ok = take_user(c, buf_span(&user), buf_span(&identity));
    }
    buf_free(&user);
    buf_free(&identity);
    return ok;
}

static bool take_oauth_first(struct conversation *c, struct span response)
{
    struct response_gs2 gs2;
    struct buf user = BUF_EMPTY(NAME_MOST);
    struct span name;
    bool ok = c->mechanism->kind == MECHANISM_XOAUTH2
                  ? response_xoauth2_user(response, &name) && (buf_add_span(&user, name), !user.failed)
                  : response_gs2(response, &gs2) && gs2.identity.n && response_unescape(gs2.identity, &user);
    if (!ok)
        conversation_end(c, AUTH_MALFORMED, "not a first response of OAuth with a name in it");
    ok = ok && take_user(c, buf_span(&user), span_of(""));
    buf_free(&user);
    return ok;
}

static void take_other(struct conversation *c, struct span response)
{
    bool scram = c->mechanism->kind == MECHANISM_SCRAM || c->mechanism->kind == MECHANISM_SCRAM_PLUS;
    if (c->begun) {
        if (take_turn(c))
            backend->go_on(c, response);
    } else if (scram ? take_scram_first(c, response) : take_oauth_first(c, response) && take_turn(c)) {
        c->begun = true;
        backend->begin(c, response);
    }
}

static void take_response(struct conversation *c, struct span response)
{
    if (++c->steps > CONVERSATION_STEPS || response.n > RESPONSE_MOST)
        conversation_end(c, AUTH_MALFORMED, "too many responses, or too long a one");
    else if (c->mechanism->kind == MECHANISM_PLAIN)
        take_plain(c, response);
    else if (c->mechanism->kind == MECHANISM_LOGIN)
        take_login(c, response);
    else
        take_other(c, response);
}

/* ---- messages of smtpd ----------------------------------------------------------------------------------------------------------- */

static void begin(struct channel *edge, const struct message *m)
{
    const struct message_auth *a = &m->auth;
    const struct mechanism *mechanism = find_mechanism(a->mechanism, a->unique.n || a->exporter.n);
    if (!mechanism) {
        refuse(edge, m->id, AUTH_UNOFFERED);
        return;
    }
    struct conversation *former = find(edge, a->conversation);
    if (former)
        conversation_end(former, AUTH_NOT_NOW, "smtpd used its number again");
    struct conversation *c = make(edge, a, mechanism);
    if (!c) {
        refuse(edge, m->id, AUTH_NOT_NOW);
        return;
    }
    c->question = m->id;
    c->asked = true;
    if (a->has_response)
        take_response(c, a->response);
    else
        conversation_challenge(c, span_of(mechanism->kind == MECHANISM_LOGIN ? "Username:" : ""));
}

static void go_on(struct channel *edge, const struct message *m)
{
    struct conversation *c = find(edge, m->response.conversation);
    if (c && c->asked) {
        conversation_end(c, AUTH_NOT_NOW, "smtpd did not wait for an answer");
        c = NULL;
    }
    if (!c) {
        refuse(edge, m->id, AUTH_NOT_NOW);
        return;
    }
    c->question = m->id;
    c->asked = true;
    take_response(c, m->response.response);
}

/* The frame is the channel's memory, which is overwritten by the next one; a password need not stay until then. */
static void wipe(struct span secret)
{
    if (secret.n)
        explicit_bzero((void *)(uintptr_t)secret.p, secret.n);
}

void conversations_take(struct channel *edge, const struct message *m)
{
    if (m->type == MESSAGE_MECHANISMS) {
        answer_mechanisms(edge, m);
    } else if (m->type == MESSAGE_AUTH) {
        begin(edge, m);
        wipe(m->auth.response);
    } else if (m->type == MESSAGE_RESPONSE) {
        go_on(edge, m);
        wipe(m->response.response);
    } else if (m->type == MESSAGE_CANCEL) {
        struct conversation *c = find(edge, m->cancel.conversation);
        if (c && c->turn) /* else guesses would be given up before they are told */
            failures_wrong(buf_span(&c->client), account_of(c), now());
        if (c)
            forget(c);
    }
}
