#include "auth/backend_file.h"

#include "auth/hasher.h"
#include "auth/passwd.h"
#include "auth/scram.h"

static struct passwd_file *passwords;

static bool offers(enum mechanism_kind kind)
{
    if (kind == MECHANISM_PLAIN || kind == MECHANISM_LOGIN)
        return true;
    return (kind == MECHANISM_SCRAM || kind == MECHANISM_SCRAM_PLUS) && passwd_all_scram(passwords);
}

static bool is_tried(const struct conversation *c)
{
    return c->mechanism->kind == MECHANISM_PLAIN || c->mechanism->kind == MECHANISM_LOGIN;
}

static void on_tried(bool right, void *arg)
{
    struct conversation *c = arg;
    c->own = NULL;
    conversation_end(c, right ? AUTH_YES : AUTH_NO, "");
}

static void check(struct conversation *c, struct span password)
{
    struct error error = {.text = ""};
    struct passwd_work work;
    if (passwd_look(passwords, buf_span(&c->user), &work, &error) != 0) {
        conversation_end(c, AUTH_NOT_NOW, error.text);
        return;
    }
    c->own = hasher_start(&work, password, c->client_key, on_tried, c);
    explicit_bzero(&work, sizeof work);
    if (!c->own)
        conversation_end(c, AUTH_NOT_NOW, "too many passwords are being tried, here or by its address");
}

static void go_on(struct conversation *c, struct span response)
{
    struct buf challenge = BUF_EMPTY(4096);
    enum auth_verdict verdict = scram_step(c->own, response, &challenge);
    if (verdict == AUTH_MORE)
        conversation_challenge(c, buf_span(&challenge));
    else
        conversation_end(c, verdict, verdict == AUTH_MALFORMED ? "not a response of SCRAM" : "");
    buf_free(&challenge);
}

static void begin(struct conversation *c, struct span response)
{
    struct error error = {.text = ""};
    struct passwd_scram secret;
    bool oauth = c->mechanism->kind == MECHANISM_OAUTHBEARER || c->mechanism->kind == MECHANISM_XOAUTH2;
    if (oauth) {
        conversation_end(c, AUTH_NOT_NOW, "auth { mechanisms } has OAuth, which a password file can't do");
    } else if (passwd_scram(passwords, buf_span(&c->user), &secret, &error) != 0) {
        conversation_end(c, AUTH_NOT_NOW, error.text);
    } else {
        c->own = scram_new(c->mechanism->kind == MECHANISM_SCRAM_PLUS, buf_span(&c->unique), buf_span(&c->exporter), &secret);
        if (c->own)
            go_on(c, response);
        else
            conversation_end(c, AUTH_NOT_NOW, "out of memory for SCRAM");
    }
    explicit_bzero(&secret, sizeof secret);
}

static void gone(struct conversation *c)
{
    if (is_tried(c) && c->own)
        hasher_abandon(c->own);
    else if (!is_tried(c))
        scram_free(c->own);
    c->own = NULL;
}

const struct backend *backend_file(struct event_base *base, const struct settings *settings)
{
    static const struct backend file = {.offers = offers, .check = check, .begin = begin, .go_on = go_on, .gone = gone};
    passwords = passwd_open(settings->password_file);
    hasher_open(base);
    return &file;
}
