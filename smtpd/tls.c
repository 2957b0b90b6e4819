/* The SSL_CTXs of smtpd: one for each listener and set of certificates that names lead to. They are made when they are needed first, and all
 * again when tlsmgr has other certificates; a session keeps the one that it began with. */
#include "common/log.h"
#include "common/span.h"
#include "smtpd/tls_internal.h"

#include <event2/event.h>
#include <openssl/err.h>
#include <stdlib.h>

#define CONTEXTS_MOST 256 /* more sets of certificates than that get the default's */
#define CLIENT_DEPTH  9   /* certificates between a client's and its authority */
#define CLIENT_OCTETS (32 << 10)
#define AGAIN_SECONDS 1 /* tlsmgr died of the question a few times */
#define CIPHERS       "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:ECDHE+AES:DHE+AES:!aNULL:!eNULL:!PSK:!DSS:!AESCCM"

/* What the callbacks of a listener's contexts get. */
struct listener_tls {
    struct tls *tls;
    const struct settings_listener *listener; /* of the settings */
};

struct context {
    const struct listener_tls *of;
    uint64_t mask;
    SSL_CTX *ssl;
};

struct tls {
    const struct settings *settings;
    struct peer *tlsmgr;
    struct event *again;
    void (*ready)(void);
    uint64_t version;
    struct tls_chain chains[TLS_CHAINS];
    size_t chain_count;
    struct tls_tickets tickets;
    X509_STORE *authorities; /* of clients; NULL: none are set */
    STACK_OF(X509_NAME) * authority_names;
    struct listener_tls *listeners; /* as many as there are in the settings */
    struct context contexts[CONTEXTS_MOST];
    size_t context_count;
};

static const char *reason(void)
{
    const char *text = ERR_reason_error_string(ERR_peek_last_error());
    return text ? text : "unknown";
}

/* ---- contexts -------------------------------------------------------------------------------------------------------------------- */

/* The first certificate of each kind of key: OpenSSL chooses between them by what the client can. */
static bool add_certificates(SSL_CTX *ssl, const struct tls *tls, uint64_t mask)
{
    int kinds[TLS_CHAINS];
    size_t n = 0;
    for (size_t i = 0; i < tls->chain_count; i++) {
        const struct tls_chain *c = &tls->chains[i];
        bool there = !(mask & UINT64_C(1) << i);
        for (size_t k = 0; k < n; k++)
            there |= kinds[k] == EVP_PKEY_get_base_id(c->key);
        if (there)
            continue;
        if (SSL_CTX_use_cert_and_key(ssl, c->own, c->key, c->more, 0) != 1)
            return false;
        kinds[n++] = EVP_PKEY_get_base_id(c->key);
    }
    return n > 0;
}

/* A ticket of one listener is not for another, which may ask for more. */
static bool set_session_context(SSL_CTX *ssl, const struct settings_listener *l)
{
    unsigned char digest[32];
    return EVP_Digest(l->title, strlen(l->title), digest, NULL, EVP_sha256(), NULL) == 1 &&
           SSL_CTX_set_session_id_context(ssl, digest, sizeof digest) == 1;
}

/* A certificate that nobody vouches for is looked at all the same: rules may know its fingerprint. SSL_get_verify_result() tells. */
static int any_will_do(int good, X509_STORE_CTX *store)
{
    (void)good, (void)store;
    return 1;
}

static bool ask_clients(SSL_CTX *ssl, const struct listener_tls *of)
{
    int kind = of->listener->tls_client;
    bool all = kind == LISTENER_CLIENT_REQUIRED || kind == LISTENER_CLIENT_VERIFIED;
    if (kind == LISTENER_CLIENT_NONE)
        return true;
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | (all ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                       kind == LISTENER_CLIENT_VERIFIED ? NULL : any_will_do);
    SSL_CTX_set_verify_depth(ssl, CLIENT_DEPTH);
    SSL_CTX_set_max_cert_list(ssl, CLIENT_OCTETS);
    if (of->tls->authority_names)
        SSL_CTX_set_client_CA_list(ssl, SSL_dup_CA_list(of->tls->authority_names));
    return !of->tls->authorities || SSL_CTX_set1_verify_cert_store(ssl, of->tls->authorities) == 1;
}

/* For old devices, and only where `clients` names them (conf/check_sections.c). OpenSSL's level 1 and more refuse what TLS 1.0 and 1.1 are made of. */
static bool set_strength(SSL_CTX *ssl, const struct settings_listener *l)
{
    static const int versions[] = {TLS1_VERSION, TLS1_1_VERSION, TLS1_2_VERSION, TLS1_3_VERSION};
    if (l->tls_minimum < LISTENER_MINIMUM_TLS12)
        SSL_CTX_set_security_level(ssl, 0);
    return SSL_CTX_set_min_proto_version(ssl, versions[l->tls_minimum]) == 1 &&
           SSL_CTX_set_cipher_list(ssl, *l->tls_ciphers ? l->tls_ciphers : CIPHERS) == 1;
}

static int on_name(SSL *, int *, void *);

static bool set_up(SSL_CTX *ssl, const struct listener_tls *of)
{
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ssl, SSL_MODE_ASYNC);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF); /* tickets only: sessions cost no memory here */
    SSL_CTX_set_num_tickets(ssl, 1);
    SSL_CTX_set_dh_auto(ssl, 1);
    SSL_CTX_set_tlsext_servername_callback(ssl, on_name);
    SSL_CTX_set_tlsext_servername_arg(ssl, (void *)(uintptr_t)of);
    tls_tickets_attach(ssl, &of->tls->tickets);
    return set_strength(ssl, of->listener) && ask_clients(ssl, of) && set_session_context(ssl, of->listener);
}

static SSL_CTX *make_context(const struct listener_tls *of, uint64_t mask)
{
    ERR_clear_error();
    SSL_CTX *ssl = SSL_CTX_new(TLS_server_method());
    if (ssl && set_up(ssl, of) && add_certificates(ssl, of->tls, mask))
        return ssl;
    log_error("listener %s: TLS can't be set up: %s", of->listener->title, reason());
    SSL_CTX_free(ssl);
    return NULL;
}

static SSL_CTX *context_of(const struct listener_tls *of, uint64_t mask)
{
    struct tls *tls = of->tls;
    for (size_t i = 0; i < tls->context_count; i++)
        if (tls->contexts[i].of == of && tls->contexts[i].mask == mask)
            return tls->contexts[i].ssl;
    SSL_CTX *ssl = tls->context_count < CONTEXTS_MOST ? make_context(of, mask) : NULL;
    if (ssl)
        tls->contexts[tls->context_count++] = (struct context){of, mask, ssl};
    return ssl;
}

/* Called for each ClientHello. A name that is not ours, and garbage, get the default: mail comes for hosts whose MX has another name. */
static int on_name(SSL *ssl, int *alert, void *arg)
{
    (void)alert;
    const struct listener_tls *of = arg;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    uint64_t mask = name ? tls_choose(of->tls->chains, of->tls->chain_count, span_of(name)) : 0;
    SSL_CTX *wanted = mask ? context_of(of, mask) : NULL;
    if (!wanted)
        return SSL_TLSEXT_ERR_NOACK;
    if (wanted != SSL_get_SSL_CTX(ssl))
        SSL_set_SSL_CTX(ssl, wanted);
    return SSL_TLSEXT_ERR_OK;
}

SSL_CTX *tls_context(struct tls *tls, const struct settings_listener *listener)
{
    size_t i = (size_t)(listener - tls->settings->listeners);
    return tls->chain_count > 0 ? context_of(&tls->listeners[i], tls_choose_default(tls->chains, tls->chain_count)) : NULL;
}

/* ---- what tlsmgr says ------------------------------------------------------------------------------------------------------------ */

static void forget(struct tls *tls)
{
    while (tls->context_count > 0)
        SSL_CTX_free(tls->contexts[--tls->context_count].ssl);
    while (tls->chain_count > 0) {
        struct tls_chain *c = &tls->chains[--tls->chain_count];
        X509_free(c->own);
        sk_X509_pop_free(c->more, X509_free);
        EVP_PKEY_free(c->key);
    }
}

static bool take_chain(struct tls *tls, struct span der)
{
    const unsigned char *p = (const unsigned char *)der.p, *end = p + der.n;
    struct tls_chain *c = &tls->chains[tls->chain_count];
    *c = (struct tls_chain){.own = d2i_X509(NULL, &p, (long)der.n), .more = sk_X509_new_null()};
    tls->chain_count++; /* forget() frees it, however far it came */
    bool good = c->own && c->more;
    while (good && p < end) {
        X509 *next = d2i_X509(NULL, &p, end - p);
        good = next && sk_X509_push(c->more, next) > 0;
    }
    return good && (c->key = tls_key_new(c->own, tls->tlsmgr));
}

static void ask(struct tls *);

static void take_all(struct tls *tls, const struct message_certified *m)
{
    struct list chains = m->chains;
    forget(tls);
    for (struct record_chain r; record_chain_next(&chains, &r) && tls->chain_count < TLS_CHAINS;)
        if (!take_chain(tls, r.certificates))
            log_die("postino-tlsmgr sent a certificate that is none");
    tls_tickets_take(&tls->tickets, m->ticket_keys);
    tls->version = m->version;
}

static void on_certified(const struct message *m, void *arg)
{
    struct tls *tls = arg;
    if (!m) {
        evtimer_add(tls->again, &(struct timeval){.tv_sec = AGAIN_SECONDS});
        return;
    }
    if (m->type != MESSAGE_CERTIFIED)
        log_die("postino-tlsmgr answered CERTIFICATES with %s", message_name(m->type));
    take_all(tls, &m->certified);
    if (tls->ready)
        tls->ready();
    tls->ready = NULL;
    ask(tls);
}

static void ask(struct tls *tls)
{
    struct message m = {.type = MESSAGE_CERTIFICATES, .fd = -1, .certificates = {.known = tls->version}};
    peer_ask(tls->tlsmgr, &m, on_certified, tls);
}

static void ask_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    ask(arg);
}

/* ---- begin ----------------------------------------------------------------------------------------------------------------------- */

/* OpenSSL reads its configuration, which it can't from within the sandbox. */
static int load_openssl(struct error *error)
{
    SSL_CTX *first = SSL_CTX_new(TLS_server_method());
    if (!first)
        return error_set(error, "OpenSSL can't be set up: %s; look at its installation", reason());
    SSL_CTX_free(first);
    return 0;
}

static int load_authorities(struct tls *tls, struct error *error)
{
    const char *file = tls->settings->tls_client_authorities;
    if (!*file)
        return 0;
    tls->authorities = X509_STORE_new();
    tls->authority_names = SSL_load_client_CA_file(file);
    if (!tls->authorities || !tls->authority_names || X509_STORE_load_file(tls->authorities, file) != 1)
        return error_set(error, "tls { client_authorities }: %s can't be used: %s; it must be a PEM file of CA certificates", file,
                         reason());
    return 0;
}

int tls_open(const struct settings *settings, struct tls **out, struct error *error)
{
    *out = NULL;
    if (settings->tls_certificate.n == 0)
        return 0;
    if (load_openssl(error) != 0)
        return -1;
    struct tls *tls = calloc(1, sizeof *tls);
    if (!tls || !(tls->listeners = calloc(settings->listener_count + 1, sizeof *tls->listeners))) {
        free(tls);
        return error_set(error, "out of memory for TLS");
    }
    tls->settings = settings;
    for (size_t i = 0; i < settings->listener_count; i++)
        tls->listeners[i] = (struct listener_tls){tls, &settings->listeners[i]};
    *out = tls;
    return load_authorities(tls, error);
}

void tls_start(struct tls *tls, struct event_base *base, struct peer *tlsmgr, void (*ready)(void))
{
    tls->tlsmgr = tlsmgr;
    tls->ready = ready;
    tls->again = evtimer_new(base, ask_again, tls);
    if (!tls->again)
        log_die("out of memory for TLS");
    ask(tls);
}
