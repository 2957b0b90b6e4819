#include "delivery/client_tls.h"

#include "common/crc32c.h"
#include "common/log.h"
#include "common/stream.h"
#include "delivery/tlsa.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <unistd.h>

#define SLOTS   512
#define KEY_MAX 500

/* One slot a key: a newer key drives out the older one. */
struct slot {
    char key[KEY_MAX];
    size_t key_length;
    SSL_SESSION *session;
};

struct client_tls {
    SSL_CTX *context;
    struct slot slots[SLOTS];
};

static const char *reason(void)
{
    const char *text = ERR_reason_error_string(ERR_peek_last_error());
    return text ? text : "unknown error";
}

static int load_authorities(SSL_CTX *context, const char *path, bool needed, struct error *e)
{
    ERR_clear_error();
    if (*path && SSL_CTX_load_verify_file(context, path) == 1)
        return 0;
    const char *why = access(path, R_OK) == 0 ? reason() : strerror(errno);
    if (needed)
        return error_set(
            e, "tls { authorities = \"%s\" }: %s; a route with tls = verify needs this file: install ca-certificates, or name another",
            path, why);
    log_warning("tls { authorities = \"%s\" }: %s; no route needs it yet (tls = verify)", path, why);
    return 0;
}

struct client_tls *client_tls_new(const char *authorities, bool needed, struct error *e)
{
    struct client_tls *t = calloc(1, sizeof *t);
    if (!t || !(t->context = SSL_CTX_new(TLS_client_method()))) {
        free(t);
        error_set(e, "TLS can't be set up: %s", reason());
        return NULL;
    }
    SSL_CTX_set_min_proto_version(t->context, TLS1_2_VERSION);
    SSL_CTX_set_session_cache_mode(t->context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(t->context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
    if (SSL_CTX_dane_enable(t->context) != 1)
        log_die("OpenSSL can't do DANE: %s", reason());
    if (load_authorities(t->context, authorities, needed, e) == 0)
        return t;
    client_tls_free(t);
    return NULL;
}

static void clear(struct slot *s)
{
    SSL_SESSION_free(s->session);
    *s = (struct slot){.session = NULL};
}

void client_tls_free(struct client_tls *t)
{
    for (size_t i = 0; i < SLOTS; i++)
        clear(&t->slots[i]);
    SSL_CTX_free(t->context);
    free(t);
}

/* ---- a handshake ----------------------------------------------------------------------------------------------------------------- */

/* DANE-EE looks at no names and no dates (RFC 7672 3.1.1); DANE-TA wants the base domain, or the next hop (3.2.2). */
static bool demand_dane(SSL *ssl, const struct host *h, const char *nexthop)
{
    static struct tlsa r;
    struct span records = span_of(h->tlsa);
    bool any = false;
    if (SSL_dane_enable(ssl, h->base) != 1)
        return false;
    SSL_dane_set_flags(ssl, DANE_FLAG_NO_DANE_EE_NAMECHECKS);
    SSL_add1_host(ssl, nexthop);
    while (tlsa_next(&records, &r))
        any |= SSL_dane_tlsa_add(ssl, r.usage, r.selector, r.matching, r.data, r.length) > 0;
    if (!any)
        log_warning("TLSA records of %s: none that OpenSSL can use", h->base);
    SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL);
    return true;
}

/* What OpenSSL thinks of the certificate and of the name in it is in its verify result, and ends no handshake. */
static SSL *look_only(SSL *ssl, const char *name)
{
    if (ssl && SSL_set1_host(ssl, name) == 1)
        return ssl;
    SSL_free(ssl);
    return NULL;
}

SSL *client_tls_start(struct client_tls *t, enum security level, const struct host *h, const char *nexthop, SSL_SESSION *resume)
{
    if (level == SECURITY_TESTING)
        return look_only(stream_tls_client(t->context, h->name, false, resume), h->name);
    if (level != SECURITY_DANE)
        return stream_tls_client(t->context, h->name, level == SECURITY_VERIFY || level == SECURITY_STS, resume);
    SSL *ssl = stream_tls_client(t->context, h->base, false, resume);
    if (ssl && demand_dane(ssl, h, nexthop))
        return ssl;
    SSL_free(ssl);
    return NULL;
}

static bool has_sum(const unsigned char *sum, struct span fingerprints)
{
    unsigned char wanted[32];
    while (tlspolicy_fingerprint(&fingerprints, wanted))
        if (memcmp(sum, wanted, sizeof wanted) == 0)
            return true;
    return false;
}

static bool fingerprint_good(X509 *certificate, struct span fingerprints)
{
    unsigned char sum[32], *key = NULL;
    if (X509_digest(certificate, EVP_sha256(), sum, NULL) == 1 && has_sum(sum, fingerprints))
        return true;
    int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &key);
    bool good = n > 0 && EVP_Digest(key, (size_t)n, sum, NULL, EVP_sha256(), NULL) == 1 && has_sum(sum, fingerprints);
    OPENSSL_free(key);
    return good;
}

static void add_dane_record(SSL *ssl, const struct host *h, struct buf *how)
{
    uint8_t usage, selector, matching;
    if (SSL_get0_dane_tlsa(ssl, &usage, &selector, &matching, NULL, NULL) >= 0)
        buf_printf(how, " %u %u %u", usage, selector, matching);
    buf_printf(how, " of %s", h->base);
}

bool client_tls_proved(SSL *ssl, enum security level, const struct host *h, struct span fingerprints, struct buf *how)
{
    X509 *certificate = SSL_get0_peer_certificate(ssl);
    bool proved = level == SECURITY_FINGERPRINT ? certificate && fingerprint_good(certificate, fingerprints)
                                                : certificate && SSL_get_verify_result(ssl) == X509_V_OK;
    if (level == SECURITY_MAY || level == SECURITY_ENCRYPT) {
        buf_printf(how, ", %s, not verified", security_word(level));
        return true;
    }
    buf_printf(how, ", %s, %s", security_word(level), proved ? "verified" : "not verified");
    if (proved && level == SECURITY_DANE)
        add_dane_record(ssl, h, how);
    return proved || level == SECURITY_TESTING;
}

/* ---- sessions -------------------------------------------------------------------------------------------------------------------- */

static struct slot *slot_of(struct client_tls *t, struct span key)
{
    return &t->slots[crc32c(0, key.p, key.n) % SLOTS];
}

SSL_SESSION *client_tls_take(struct client_tls *t, struct span key)
{
    struct slot *s = slot_of(t, key);
    if (!s->session || !span_equal(key, span_make(s->key, s->key_length)))
        return NULL;
    SSL_SESSION *session = s->session;
    s->session = NULL;
    return session;
}

void client_tls_keep(struct client_tls *t, struct span key, SSL *ssl)
{
    SSL_SESSION *session = SSL_get1_session(ssl);
    struct slot *s = slot_of(t, key);
    if (!session)
        return;
    if (!SSL_SESSION_is_resumable(session) || key.n > KEY_MAX) {
        SSL_SESSION_free(session);
        return;
    }
    clear(s);
    memcpy(s->key, key.p, key.n);
    s->key_length = key.n;
    s->session = session;
}
