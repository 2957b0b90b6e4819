/* XCLIENT and XFORWARD: a listed peer says who the client is, for all that is decided, or for the log alone. */
#include "smtpd/session_state.h"

#include "common/log.h"
#include "smtpd/listed.h"
#include "smtpd/xclient.h"

#include <stdlib.h>

/* Who has no address is in no network that anybody lists. */
#define NO_ADDRESS "0.0.0.0"

void session_trust(struct session *s)
{
    const struct settings *settings = s->server->settings;
    const struct sockaddr *address = (const struct sockaddr *)&s->address;
    s->may_xclient = !s->nobody && listed(&settings->xclient_from, address);
    s->may_xforward = !s->nobody && listed(&settings->xforward_from, address);
}

/* The attributes; false: the refusal is said. */
static bool take(struct session *s, const struct command *c, enum xverb verb, struct xattributes *x)
{
    const char *name = command_verb_name(c->verb), *wrong;
    if (!(verb == XCLIENT ? s->may_xclient : s->may_xforward))
        session_refuse(s, name, 550, "5.7.0", "insufficient authorization");
    else if (s->envelope.open)
        session_refuse(s, name, 503, "5.5.1", "a transaction is open; end it with RSET");
    else if ((wrong = xattributes_parse(verb, c->argument, x)))
        session_refuse(s, name, 501, "5.5.4", "%s", wrong);
    else
        return true;
    return false;
}

/* ---- XCLIENT --------------------------------------------------------------------------------------------------------------------- */

/* The last who spoke stands first. */
static void remember_peer(struct session *s)
{
    struct buf spoke = BUF_EMPTY(256);
    buf_printf(&spoke, "%.*s%s%.*s", SPAN_ARG(buf_span(&s->client)), s->peer.len ? " " : "", SPAN_ARG(buf_span(&s->peer)));
    buf_clear(&s->peer);
    buf_add_span(&s->peer, buf_span(&spoke));
    buf_free(&spoke);
}

/* False: the client has too many sessions, and this one has ended. */
static bool take_address(struct session *s, const struct xattributes *x)
{
    struct sockaddr_storage address = {0};
    socklen_t length;
    const char *text = *x->value[X_ADDR] ? x->value[X_ADDR] : NO_ADDRESS;
    if (!address_to_socket(span_of(text), 0, &address, &length))
        log_die("an address of XCLIENT was checked, and is none");
    bool moved = session_move(s, (const struct sockaddr *)&address);
    session_trust(s); /* what follows may be the client's own words, passed on: it can't say who else it is */
    return moved;
}

/* A name that is told is believed; the name of an address that is told alone is looked up. */
static void take_name(struct session *s, const struct xattributes *x)
{
    if (xattributes_has(x, X_NAME) || !*x->value[X_ADDR])
        session_name_told(s, *x->value[X_NAME] ? x->value[X_NAME] : "unknown");
    else
        session_ask_name(s);
}

/* What XCLIENT has said so far holds; what the peer said of itself does not. */
static void take_identity(struct session *s)
{
    session_forget(s);
    free(s->certificate);
    s->certificate = NULL;
    buf_add_text(&s->helo, s->told->value[X_HELO]);
    buf_add_text(&s->login, s->told->value[X_LOGIN]);
    s->esmtp = strcasecmp(s->told->value[X_PROTO], "ESMTP") == 0;
}

static void log_told(const struct session *s)
{
    struct buf line = BUF_EMPTY(4096);
    buf_add_text(&line, "xclient:");
    session_log_client(s, &line);
    log_value(&line, "helo", buf_span(&s->helo));
    log_value(&line, "proto", span_of(s->told->value[X_PROTO]));
    log_value(&line, "login", buf_span(&s->login));
    log_value(&line, "destaddr", span_of(s->told->value[X_DESTADDR]));
    log_value(&line, "destport", span_of(s->told->value[X_DESTPORT]));
    log_buf(LOG_LEVEL_INFO, &line);
    buf_free(&line);
}

static bool first_time(struct session *s)
{
    if (s->told)
        return true;
    s->told = calloc(1, sizeof *s->told);
    if (s->told)
        remember_peer(s);
    return s->told;
}

void session_xclient(struct session *s, const struct command *c)
{
    struct xattributes x;
    if (!take(s, c, XCLIENT, &x))
        return;
    if (!first_time(s)) {
        session_refuse(s, "XCLIENT", 451, "4.3.0", "out of memory, try again later");
        return;
    }
    xattributes_merge(s->told, &x);
    if (xattributes_has(&x, X_ADDR) && !take_address(s, &x))
        return;
    if (xattributes_has(&x, X_ADDR) || xattributes_has(&x, X_NAME))
        take_name(s, &x);
    take_identity(s);
    log_told(s);
    if (xattributes_has(&x, X_ADDR))
        session_is_another(s);
    else
        session_greet(s);
}

/* ---- XFORWARD -------------------------------------------------------------------------------------------------------------------- */

void session_xforward(struct session *s, const struct command *c)
{
    struct xattributes x;
    if (!take(s, c, XFORWARD, &x))
        return;
    if (!s->forwarded && !(s->forwarded = calloc(1, sizeof *s->forwarded))) {
        session_refuse(s, "XFORWARD", 451, "4.3.0", "out of memory, try again later");
        return;
    }
    xattributes_merge(s->forwarded, &x);
    session_reply(s, 250, "2.0.0", "Ok");
}

static void log_attribute(struct buf *line, const char *key, const char *value)
{
    if (*value)
        log_value(line, key, span_of(value));
}

void session_log_forwarded(const struct session *s, struct buf *line)
{
    const struct xattributes *x = s->forwarded;
    struct buf who = BUF_EMPTY(1024);
    if (!x)
        return;
    buf_printf(&who, "%s[%s]", *x->value[X_NAME] ? x->value[X_NAME] : "unknown", *x->value[X_ADDR] ? x->value[X_ADDR] : "unknown");
    log_value(line, "orig_client", buf_span(&who));
    log_attribute(line, "orig_port", x->value[X_PORT]);
    log_attribute(line, "orig_helo", x->value[X_HELO]);
    log_attribute(line, "orig_proto", x->value[X_PROTO]);
    log_attribute(line, "orig_id", x->value[X_IDENT]);
    log_attribute(line, "orig_source", x->value[X_SOURCE]);
    buf_free(&who);
}
