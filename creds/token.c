#include "creds/token.h"

#include "common/clock.h"
#include "common/httpsurl.h"
#include "common/log.h"
#include "common/program.h"
#include "common/secretfile.h"
#include "creds/courier.h"
#include "creds/login.h"
#include "creds/token_answer.h"
#include "creds/token_store.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>

#define AGE_UNKNOWN 600 /* seconds that a token is used when the server does not say how long */

enum step { STEP_NONE, STEP_ADDRESS, STEP_LINE, STEP_POST };

struct token_wait {
    TAILQ_ENTRY(token_wait) link;
    struct token *token;
    token_fn *done;
    void *arg;
};

struct token {
    TAILQ_ENTRY(token) line; /* LINE: waits for the courier */
    TAILQ_HEAD(, token_wait) waits;
    struct login *login;
    struct httpsurl url;
    struct buf original, refresh;   /* NUL-terminated: as in `secret`, and the newest; empty: client credentials */
    struct buf client_secret;       /* NUL-terminated */
    struct buf access;              /* NUL-terminated; empty: none */
    uint64_t got, ends, not_before; /* clock_seconds() */
    enum step step;
    char resolve[1024];
    bool told_of_another;
};

static struct {
    struct peer *dns;
    struct event *again; /* another process renews: a look in a second */
    TAILQ_HEAD(, token) line;
} self = {.line = TAILQ_HEAD_INITIALIZER(self.line)};

static void start_next(void);

/* ---- the end of a renewal -------------------------------------------------------------------------------------------------------- */

static void tell_all(struct token *t, const char *why)
{
    struct token_wait *w;
    t->step = STEP_NONE;
    while ((w = TAILQ_FIRST(&t->waits))) {
        TAILQ_REMOVE(&t->waits, w, link);
        w->done(t->access.len ? t->access.data : NULL, why, w->arg);
        free(w);
    }
}

static void not_had(struct token *t, const char *why)
{
    struct buf line = BUF_EMPTY(2048), words = BUF_EMPTY(1024);
    t->not_before = clock_seconds() + TOKEN_LEAST;
    if (clock_seconds() >= t->ends)
        buf_clear(&t->access);
    buf_printf(&words, "no token from %s: %s", t->url.host, why);
    log_value(&line, "login", span_of(t->login->settings->title));
    log_value(&line, "error", buf_span(&words));
    log_buf(LOG_LEVEL_ERROR, &line);
    tell_all(t, buf_text(&words));
    buf_free(&line);
    buf_free(&words);
}

static void replace(struct buf *to, struct span with)
{
    buf_clear(to);
    buf_add_span(to, with);
    buf_text(to);
}

static void keep_refresh(struct token *t, struct span refresh)
{
    struct error error;
    if (!refresh.n || !t->refresh.len || span_equal(refresh, buf_span(&t->refresh)))
        return;
    replace(&t->refresh, refresh);
    if (token_store_is_open()) {
        if (token_store_write(t->login->settings->title, buf_span(&t->original), refresh, &error) < 0)
            log_error("%s; it is known until this process ends", error.text);
        return;
    }
    if (!t->told_of_another)
        log_warning("login \"%s\": its token server gives another refresh token with each answer, which is known until this process ends; "
                    "if it does not "
                    "take the one in %s again then, set directory { creds }, where they are kept",
                    t->login->settings->title, t->login->settings->secret);
    t->told_of_another = true;
}

static void keep(struct token *t, const struct token_answer *a)
{
    uint64_t age = a->expires_in == UINT64_MAX ? AGE_UNKNOWN : a->expires_in;
    age = age < TOKEN_LEAST ? TOKEN_LEAST : age > TOKEN_AGE ? TOKEN_AGE : age;
    t->got = clock_seconds();
    t->ends = t->got + age;
    t->not_before = t->got + TOKEN_LEAST;
    replace(&t->access, buf_span(&a->access));
    keep_refresh(t, buf_span(&a->refresh));
    log_info("login \"%s\": a token that is good for %llu seconds", t->login->settings->title, (unsigned long long)age);
    tell_all(t, NULL);
}

static void judge(struct token *t, unsigned status, struct span text)
{
    struct token_answer a;
    char why[400];
    bool good = token_answer_parse(text, &a);
    if (status == 0)
        snprintf(why, sizeof why, "%.*s", (int)(text.n < 300 ? text.n : 300), text.p);
    else if (good && a.error.len)
        snprintf(why, sizeof why, "%s (%u); look at secret, client_id and client_secret of the login", buf_text(&a.error), status);
    else if (status != 200)
        snprintf(why, sizeof why, "the answer is %u; look at token_url of the login", status);
    else
        snprintf(why, sizeof why, "the answer has no bearer token that can be");
    if (good && status == 200 && a.access.len && a.bearer && !a.error.len)
        keep(t, &a);
    else
        not_had(t, why);
    token_answer_free(&a);
}

/* ---- the question ---------------------------------------------------------------------------------------------------------------- */

static void add_form(struct buf *out, const char *name, const char *value)
{
    if (!*value)
        return;
    buf_printf(out, "%s%s=", out->len ? "&" : "", name);
    for (const char *p = value; *p; p++) {
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || strchr("-._~", *p);
        buf_printf(out, plain ? "%c" : "%%%02X", (unsigned char)*p);
    }
}

static void on_answer(unsigned status, struct span text, void *arg)
{
    judge(arg, status, text);
    token_store_unlock();
    if (program_draining())
        program_end();
    else
        start_next();
}

/* Another process may have renewed it meanwhile. */
static void find_newest(struct token *t)
{
    struct buf newest = {.limit = TOKEN_MOST, .secret = true};
    if (t->original.len)
        token_store_read(t->login->settings->title, buf_span(&t->original), &newest);
    if (newest.len)
        replace(&t->refresh, buf_span(&newest));
    buf_free(&newest);
}

static int post(struct token *t, struct error *error)
{
    struct buf body = {.limit = 32768, .secret = true};
    const struct settings_login *s = t->login->settings;
    find_newest(t);
    add_form(&body, "grant_type", t->refresh.len ? "refresh_token" : "client_credentials");
    add_form(&body, "refresh_token", t->refresh.len ? t->refresh.data : "");
    add_form(&body, "client_id", s->client_id);
    add_form(&body, "client_secret", t->client_secret.len ? t->client_secret.data : "");
    add_form(&body, "scope", s->scope);
    int result = body.failed ? error_set(error, "what has to be asked is too long")
                             : courier_send(s->token_url, t->resolve, buf_span(&body), on_answer, t, error);
    buf_free(&body);
    return result;
}

static void start_next(void)
{
    struct token *t;
    struct error error;
    while (!courier_busy() && (t = TAILQ_FIRST(&self.line))) {
        if (!token_store_lock()) {
            evtimer_add(self.again, &(struct timeval){.tv_sec = 1});
            return;
        }
        TAILQ_REMOVE(&self.line, t, line);
        t->step = STEP_POST;
        if (post(t, &error) < 0) {
            token_store_unlock();
            not_had(t, error.text);
        }
    }
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    start_next();
}

static void stand_in_line(struct token *t)
{
    t->step = STEP_LINE;
    TAILQ_INSERT_TAIL(&self.line, t, line);
    start_next();
}

static bool tell_addresses(struct token *t, struct span addresses)
{
    struct buf text = BUF_EMPTY(sizeof t->resolve - 1);
    bool good = httpsurl_resolve(t->url.host, t->url.port, addresses, &text);
    snprintf(t->resolve, sizeof t->resolve, "%s", good ? buf_text(&text) : "");
    buf_free(&text);
    return good;
}

static void on_addresses(const struct message *m, void *arg)
{
    struct token *t = arg;
    struct record_host host = {0};
    struct list hosts = m && m->type == MESSAGE_RESOLVED ? m->resolved.hosts : (struct list){0};
    if (record_host_next(&hosts, &host) && tell_addresses(t, host.addresses))
        stand_in_line(t);
    else
        not_had(t, "it has no address");
}

static void renew(struct token *t)
{
    struct message m = {.type = MESSAGE_RESOLVE, .fd = -1, .resolve = {.name = span_of(t->url.host), .want = RESOLVE_ADDRESSES}};
    if (t->url.address) {
        stand_in_line(t);
        return;
    }
    t->step = STEP_ADDRESS;
    peer_ask(self.dns, &m, on_addresses, t);
}

/* ---- who wants it ---------------------------------------------------------------------------------------------------------------- */

/* A fifth of its life before its end, five minutes at most: nobody waits for the next one then. */
static bool ends_soon(const struct token *t, uint64_t now)
{
    uint64_t margin = (t->ends - t->got) / 5;
    return now + (margin < 300 ? margin : 300) >= t->ends;
}

struct token_wait *token_ask(struct token *t, token_fn *done, void *arg)
{
    uint64_t now = clock_seconds();
    bool good = t->access.len && now < t->ends;
    if (t->step == STEP_NONE && now >= t->not_before && (!good || ends_soon(t, now)))
        renew(t);
    if (good || t->step == STEP_NONE) {
        done(good ? t->access.data : NULL, "its token server gave none just now, and is not asked again at once", arg);
        return NULL;
    }
    struct token_wait *w = calloc(1, sizeof *w);
    if (!w)
        log_die("out of memory for a login");
    *w = (struct token_wait){.token = t, .done = done, .arg = arg};
    TAILQ_INSERT_TAIL(&t->waits, w, link);
    return w;
}

void token_cancel(struct token_wait *w)
{
    TAILQ_REMOVE(&w->token->waits, w, link);
    free(w);
}

bool token_refused(struct token *t, const char *access)
{
    bool same = t->access.len && strcmp(t->access.data, access) == 0;
    if (same && clock_seconds() < t->not_before)
        return false; /* it is new */
    if (same) {
        buf_clear(&t->access);
        t->ends = 0;
    }
    return true;
}

int token_open(struct login *l, struct error *error)
{
    struct token *t = calloc(1, sizeof *t);
    const struct settings_login *s = l->settings;
    if (!t)
        log_die("out of memory for logins");
    TAILQ_INIT(&t->waits);
    t->login = l;
    t->access.secret = t->original.secret = t->refresh.secret = t->client_secret.secret = true;
    l->token = t;
    if (!httpsurl_parse(s->token_url, &t->url))
        return error_set(error, "token_url is none");
    if (*s->client_secret && secretfile_read(s->client_secret, &t->client_secret, error) < 0)
        return -1;
    if (l->secret.len) {
        replace(&t->original, buf_span(&l->secret));
        replace(&t->refresh, buf_span(&l->secret));
    }
    return 0;
}

bool tokens_under_way(void)
{
    return courier_busy();
}

void tokens_setup(struct event_base *base, struct peer *dns)
{
    self.dns = dns;
    self.again = evtimer_new(base, on_again, NULL);
    if (!self.again)
        log_die("out of memory for a timer");
}
