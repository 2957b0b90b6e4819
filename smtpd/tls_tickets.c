/* Session tickets with the keys that all smtpd processes share (RFC 5077 4, OpenSSL's SSL_CTX_set_tlsext_ticket_key_evp_cb(3)). */
#include "common/clock.h"
#include "common/log.h"
#include "smtpd/tls_internal.h"

#include <openssl/core_names.h>
#include <openssl/rand.h>

enum { TICKET_FAILED = -1, TICKET_UNKNOWN, TICKET_GOOD, TICKET_RENEW };

static bool fits(const struct record_ticket_key *r)
{
    const struct tls_ticket_key *k = NULL;
    return r->name.n == sizeof k->name && r->cipher.n == sizeof k->cipher && r->mac.n == sizeof k->mac;
}

/* What was there before is wiped: a key that tlsmgr has forgotten is forgotten here. */
void tls_tickets_take(struct tls_tickets *t, struct list records)
{
    OPENSSL_cleanse(t, sizeof *t);
    for (struct record_ticket_key r; record_ticket_key_next(&records, &r) && t->count < sizeof t->keys / sizeof t->keys[0];) {
        struct tls_ticket_key *k = &t->keys[t->count++];
        if (!fits(&r))
            log_die("postino-tlsmgr sent a ticket key of another size");
        memcpy(k->name, r.name.p, sizeof k->name);
        memcpy(k->cipher, r.cipher.p, sizeof k->cipher);
        memcpy(k->mac, r.mac.p, sizeof k->mac);
        k->accepts = r.accepts;
    }
}

/* Those whose time is over, whether tlsmgr is there to say so or not. */
static void forget(struct tls_tickets *t)
{
    uint64_t now = clock_monotonic_ms();
    while (t->count > 0 && t->keys[t->count - 1].accepts <= now)
        OPENSSL_cleanse(&t->keys[--t->count], sizeof t->keys[0]);
}

static int use(const struct tls_ticket_key *k, const unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt)
{
    char digest[] = "SHA256";
    unsigned char secret[sizeof k->mac];
    memcpy(secret, k->mac, sizeof secret);
    OSSL_PARAM parameters[] = {OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, secret, sizeof secret),
                               OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0), OSSL_PARAM_construct_end()};
    bool good =
        EVP_MAC_CTX_set_params(mac, parameters) == 1 && EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, k->cipher, iv, encrypt) == 1;
    OPENSSL_cleanse(secret, sizeof secret);
    return good ? TICKET_GOOD : TICKET_FAILED;
}

/* Without a key the ticket is one that nobody can ever read: TLS 1.3 must send something. */
static int make(const struct tls_tickets *t, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
    struct tls_ticket_key none;
    const struct tls_ticket_key *k = t->count > 0 ? &t->keys[0] : &none;
    if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1 ||
        (k == &none && RAND_priv_bytes((unsigned char *)&none, sizeof none) != 1))
        return TICKET_FAILED;
    memcpy(name, k->name, sizeof k->name);
    int result = use(k, iv, cipher, mac, 1);
    OPENSSL_cleanse(&none, sizeof none);
    return result;
}

static int index_of_tickets(void)
{
    static int index = -1;
    if (index < 0)
        index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    return index;
}

int tls_tickets_callback(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt)
{
    struct tls_tickets *t = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), index_of_tickets());
    forget(t);
    if (encrypt)
        return make(t, name, iv, cipher, mac);
    for (size_t i = 0; i < t->count; i++) {
        if (CRYPTO_memcmp(name, t->keys[i].name, sizeof t->keys[i].name) != 0)
            continue;
        int result = use(&t->keys[i], iv, cipher, mac, 0);
        return result == TICKET_GOOD && i > 0 ? TICKET_RENEW : result;
    }
    return TICKET_UNKNOWN;
}

void tls_tickets_attach(SSL_CTX *context, struct tls_tickets *t)
{
    if (SSL_CTX_set_ex_data(context, index_of_tickets(), t) != 1 ||
        SSL_CTX_set_tlsext_ticket_key_evp_cb(context, tls_tickets_callback) != 1)
        log_die("OpenSSL: session tickets can't be set up");
}
