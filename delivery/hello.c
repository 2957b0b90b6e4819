/* The start of a conversation: greeting, EHLO, HELO or (RFC 2033) LHLO, and TLS: by STARTTLS, or (smtps, RFC 8314 3.3) before the greeting. */
#include "delivery/session_internal.h"

#include "delivery/blame.h"
#include "delivery/remote.h"
#include "delivery/source.h"

#include <openssl/err.h>
#include <openssl/sslerr.h>
#include <stdio.h>

/* The server refused, in a way that says nothing of the message. Its 5xx is a "not now" here: another of its hosts may know better. */
static void refused(struct session *s, const char *in_reply_to)
{
    char status[STATUS_MAX];
    struct buf words = BUF_EMPTY(SESSION_WORDS);
    reply_status(&s->reply, '4', true, status);
    if (blame_is_of_address(&s->reply))
        session_refused_family(s);
    if (in_reply_to) {
        session_words(s, in_reply_to, &words);
    } else {
        buf_printf(&words, "host %s refused to talk to me: ", s->peer);
        reply_text(&s->reply, &words);
    }
    session_trouble(s, status, true, buf_span(&words));
    buf_free(&words);
}

static void say_hello(struct session *s, enum session_phase phase)
{
    char line[300];
    const char *verb = phase == SESSION_HELO ? "HELO" : s->site->lmtp ? "LHLO" : "EHLO";
    snprintf(line, sizeof line, "%s %s", verb, source_hostname(s));
    session_command(s, phase, remote.settings->remote_helo_timeout, line);
}

/* A host that has our name (and not a source's, which may be that of another host's, too), and was found by its MX records: we are that host, and mail would go round in circles. */
static bool is_ourselves(const struct session *s)
{
    const struct nexthop *hop = &s->site->nexthop;
    return hop->kind == NEXTHOP_DOMAIN && !hop->port_given &&
           span_equal_nocase(extensions_name(&s->reply), span_of(remote.settings->hostname));
}

/* A better host was tried and may take mail later, or its address can't be had now: we are its backup. */
static bool better_may_come_back(const struct session *s)
{
    const struct hosts *h = &s->hosts;
    unsigned ours = h->v[s->at].preference;
    return (s->hopeful && h->v[0].preference < ours) || (h->unresolved && h->missing < ours);
}

/* RFC 5321 5.1: hosts that are not better than ourselves are not tried. */
static void loops_back(struct session *s)
{
    bool later = better_may_come_back(s);
    struct buf words = BUF_EMPTY(SESSION_WORDS);
    buf_printf(&words, "mail for %s loops back to myself: host %s has my own name, %s%s", s->site->nexthop.name, s->peer,
               remote.settings->hostname, later ? "; a better host is waited for" : "");
    session_log(s, buf_span(&words));
    session_give_up(s, later ? VERDICT_DEFERRED : VERDICT_FAILED, later ? "4.4.6" : "5.4.6", later && !s->there, buf_span(&words));
    buf_free(&words);
}

/* What was proved in a session holds for its resumption, if the same is demanded. */
static void add_tls_key(const struct session *s, struct buf *key)
{
    buf_printf(key, "%s:%u %s", s->peer, s->site->nexthop.port, security_word(s->level));
    if (s->level == SECURITY_DANE)
        buf_printf(key, " %s %s %s", s->site->nexthop.name, session_host(s)->base, session_host(s)->tlsa);
    buf_add_span(key, s->site->fingerprints);
    if (s->site->proxy.kind != PROXY_NONE)
        buf_printf(key, " %s", s->site->route->proxy);
}

static void keep_tls(const struct session *s)
{
    struct buf key = BUF_EMPTY(64 << 10);
    add_tls_key(s, &key);
    client_tls_keep(remote.tls, buf_span(&key), stream_tls(s->stream));
    buf_free(&key);
}

/* REQUIRETLS: what a host must say, without TLS and then with it (RFC 8689 4.2.1). */
static bool keeps_promise(const struct session *s)
{
    return s->extensions.offered & (s->secured ? EXTENSION_REQUIRETLS : EXTENSION_STARTTLS);
}

static void breaks_promise(struct session *s)
{
    struct buf words = BUF_EMPTY(SESSION_WORDS);
    buf_printf(&words, "REQUIRETLS is required, but %s was not offered by host %s", s->secured ? "it" : "STARTTLS", s->peer);
    session_unfit(s, s->secured ? "5.7.30" : "5.7.10", buf_span(&words));
    buf_free(&words);
}

static void after_hello(struct session *s)
{
    bool wanted = s->level != SECURITY_NONE && !s->secured && !s->plain_only;
    if (is_ourselves(s)) {
        loops_back(s);
    } else if (s->site->require_tls && !keeps_promise(s)) {
        breaks_promise(s);
    } else if (wanted && (s->extensions.offered & EXTENSION_STARTTLS)) {
        session_command(s, SESSION_STARTTLS, remote.settings->remote_tls_timeout, "STARTTLS");
    } else if (wanted && !security_allows_plain(s->level)) {
        tlsreport_no_tls(s, "");
        session_troublef(s, "4.7.4", "TLS is required, but was not offered by host %s", s->peer);
    } else {
        if (s->secured)
            keep_tls(s);
        else if (wanted)
            tlsreport_no_tls(s, "");
        login_or_ready(s);
    }
}

static void ehlo_reply(struct session *s)
{
    if (s->reply.code / 100 == 2) {
        s->extensions = extensions_parse(&s->reply);
        if (s->data_only || s->site->lmtp)
            s->extensions.offered &= ~(unsigned)(EXTENSION_CHUNKING | EXTENSION_BINARYMIME);
        after_hello(s);
    } else if (s->reply.code / 100 == 5 && !s->site->lmtp) {
        say_hello(s, SESSION_HELO);
    } else {
        refused(s, s->site->lmtp ? "LHLO command" : "EHLO command");
    }
}

/* ---- TLS ------------------------------------------------------------------------------------------------------------------------- */

/* What the administrator can do whose route demands a certificate; what a receiver publishes of itself is not his to mend. */
static const char *advice(const struct session *s)
{
    const SSL *ssl = s->stream ? stream_tls(s->stream) : NULL;
    if (s->level != SECURITY_VERIFY || !ssl)
        return "";
    switch (SSL_get_verify_result(ssl)) {
    case X509_V_OK:
        return "";
    case X509_V_ERR_HOSTNAME_MISMATCH:
        return "; the route verifies: name the host in via as its certificate does, or use tls = fingerprint";
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return "; the route verifies: the host has to renew it";
    default:
        return "; the route verifies: add who signed it to tls { authorities }, or use tls = fingerprint";
    }
}

static const char not_tls[] = "it doesn't speak TLS from the first byte; smtp: is for STARTTLS";

/* A greeting where TLS should be: OpenSSL takes its octets for a version. */
static bool is_plain(const struct session *s, const char *why)
{
    const char *words = ERR_reason_error_string(ERR_PACK(ERR_LIB_SSL, 0, SSL_R_WRONG_VERSION_NUMBER));
    return s->site->implicit && words && strstr(why, words);
}

/* Opportunistic TLS that does not work is no reason to hold mail back; half-done TLS is no connection to go on with. */
void hello_tls_failed(struct session *s, const char *why)
{
    tlsreport_failed(s, why);
    if (!security_allows_plain(s->level)) {
        session_troublef(s, "4.7.5", "TLS with host %s: %s%s", s->peer, is_plain(s, why) ? not_tls : why, advice(s));
        return;
    }
    struct buf words = BUF_EMPTY(SESSION_WORDS);
    buf_printf(&words, "TLS with host %s: %s; once more without TLS", s->peer, why);
    session_log(s, buf_span(&words));
    buf_free(&words);
    stream_free(s->stream);
    s->stream = NULL;
    s->plain_only = true;
    session_connect(s);
}

void hello_start_tls(struct session *s)
{
    struct buf key = BUF_EMPTY(64 << 10);
    add_tls_key(s, &key);
    SSL_SESSION *resume = client_tls_take(remote.tls, buf_span(&key));
    buf_free(&key);
    session_await(s, SESSION_HANDSHAKE, remote.settings->remote_tls_timeout);
    size_t dropped =
        stream_start_tls_client(s->stream, client_tls_start(remote.tls, s->level, session_host(s), s->site->nexthop.name, resume));
    SSL_SESSION_free(resume);
    if (dropped)
        hello_tls_failed(s, s->site->implicit ? not_tls : "something was sent in plain behind the reply to STARTTLS");
}

static void starttls_reply(struct session *s)
{
    struct buf words = BUF_EMPTY(SESSION_WORDS);
    if (s->reply.code / 100 == 2) {
        hello_start_tls(s);
        return;
    }
    reply_text(&s->reply, &words);
    tlsreport_no_tls(s, buf_text(&words));
    buf_clear(&words);
    if (security_allows_plain(s->level) && s->reply.code == 421) {
        refused(s, "STARTTLS command");
    } else if (security_allows_plain(s->level)) {
        s->plain_only = true;
        login_or_ready(s);
    } else {
        buf_add_text(&words, "TLS is required, but ");
        session_words(s, "STARTTLS command", &words);
        session_trouble(s, "4.7.4", true, buf_span(&words));
    }
    buf_free(&words);
}

void hello_secured(struct session *s)
{
    stream_tls_describe(s->stream, &s->security);
    if (!client_tls_proved(stream_tls(s->stream), s->level, session_host(s), s->site->fingerprints, &s->security)) {
        tlsreport_failed(s, "its certificate is not trusted");
        session_troublef(s, "4.7.5", "TLS with host %s: its certificate is not %s", s->peer,
                         s->level == SECURITY_FINGERPRINT ? "one of the route's fingerprints" : "trusted");
        return;
    }
    s->secured = true;
    tlsreport_secured(s);
    s->extensions = (struct extensions){0};
    reply_begin(&s->reply);
    if (s->site->implicit)
        session_await(s, SESSION_GREETING, remote.settings->remote_greeting_timeout);
    else
        say_hello(s, SESSION_EHLO);
}

/* ---- events ---------------------------------------------------------------------------------------------------------------------- */

void hello_reply(struct session *s)
{
    bool yes = s->reply.code / 100 == 2;
    if (s->phase == SESSION_STARTTLS)
        starttls_reply(s);
    else if (s->phase == SESSION_EHLO)
        ehlo_reply(s);
    else if (!yes)
        refused(s, s->phase == SESSION_HELO ? "HELO command" : NULL);
    else if (s->phase == SESSION_HELO)
        after_hello(s);
    else
        say_hello(s, SESSION_EHLO);
}

const char *hello_silence(const struct session *s)
{
    bool by_mx = s->site->nexthop.kind == NEXTHOP_DOMAIN;
    return by_mx || s->site->lmtp || s->site->implicit ? "" : "; a host that waits for TLS from the first byte takes smtps: in via";
}

void hello_lost(struct session *s, const char *how, const char *why)
{
    const char *doing = s->phase == SESSION_GREETING ? "receiving the initial server greeting"
                        : s->site->lmtp              ? "performing the LHLO handshake"
                                                     : "performing the EHLO handshake";
    session_troublef(s, "4.4.2", "%s %s while %s%s", how, s->peer, doing, why);
}
