/* Public keys whose private half is in postino-tlsmgr. For OpenSSL they are keys with a method of their own:
 *
 *   handshake: sign --> stream_wait() --> SIGN to tlsmgr ... SIGNATURE --> stream_wait_over() --> the handshake goes on
 */
#define OPENSSL_API_COMPAT 0x10101000L /* RSA_METHOD, EC_KEY_METHOD */
#include "common/log.h"
#include "common/stream.h"
#include "smtpd/tls_internal.h"

#include <openssl/ec.h>
#include <openssl/rsa.h>
#include <stdlib.h>

/* Hangs in the RSA or EC_KEY. */
struct holder {
    struct peer *tlsmgr;
    unsigned char name[32];
};

/* ---- the question ---------------------------------------------------------------------------------------------------------------- */

struct signing {
    struct stream_waiter waiter; /* first */
    const struct holder *holder;
    uint32_t question;
    uint16_t form;
    struct span input;
    unsigned char *out;
    size_t room, got;
};

static void on_signature(const struct message *m, void *arg)
{
    struct signing *s = arg;
    s->question = 0;
    if (m && m->type != MESSAGE_SIGNATURE)
        log_die("postino-tlsmgr answered SIGN with %s", message_name(m->type));
    if (m && m->signature.octets.n > 0 && m->signature.octets.n <= s->room) {
        memcpy(s->out, m->signature.octets.p, m->signature.octets.n);
        s->got = m->signature.octets.n;
    } else if (m) {
        struct buf line = BUF_EMPTY(2048);
        buf_add_text(&line, "tls: postino-tlsmgr did not sign:");
        log_value(&line, "reason", m->signature.reason);
        log_buf(LOG_LEVEL_WARNING, &line);
        buf_free(&line);
    }
    stream_wait_over(&s->waiter);
}

static void ask(struct stream_waiter *waiter)
{
    struct signing *s = (struct signing *)(void *)waiter;
    struct message m = {.type = MESSAGE_SIGN,
                        .fd = -1,
                        .sign = {.key = span_make(s->holder->name, sizeof s->holder->name), .form = s->form, .input = s->input}};
    s->question = peer_ask(s->holder->tlsmgr, &m, on_signature, s);
}

static void give_up(struct stream_waiter *waiter)
{
    struct signing *s = (struct signing *)(void *)waiter;
    peer_cancel(s->holder->tlsmgr, s->question);
}

/* How many octets were made; 0: none. */
static size_t sign(const struct holder *holder, uint16_t form, const unsigned char *p, int n, unsigned char *out, int room)
{
    if (!holder || n <= 0 || room <= 0)
        return 0;
    struct signing s = {.waiter = {.begin = ask, .cancel = give_up},
                        .holder = holder,
                        .form = form,
                        .input = span_make(p, (size_t)n),
                        .out = out,
                        .room = (size_t)room};
    return stream_wait(&s.waiter) ? s.got : 0;
}

/* ---- RSA ------------------------------------------------------------------------------------------------------------------------- */

static int rsa_index = -1, ec_index = -1;

static void free_holder(void *parent, void *holder, CRYPTO_EX_DATA *data, int index, long number, void *arg)
{
    (void)parent, (void)data, (void)index, (void)number, (void)arg;
    free(holder);
}

/* OpenSSL has made a PSS block itself, and so asks for no padding. */
static int rsa_sign(int n, const unsigned char *from, unsigned char *to, RSA *rsa, int padding)
{
    uint16_t form = padding == RSA_PKCS1_PADDING ? SIGN_RSA_PKCS1 : SIGN_RSA_PSS;
    if (padding != RSA_PKCS1_PADDING && padding != RSA_NO_PADDING)
        return -1;
    size_t got = sign(RSA_get_ex_data(rsa, rsa_index), form, from, n, to, RSA_size(rsa));
    return got == (size_t)RSA_size(rsa) ? (int)got : -1;
}

static int rsa_decrypt(int n, const unsigned char *from, unsigned char *to, RSA *rsa, int padding)
{
    (void)n, (void)from, (void)to, (void)rsa, (void)padding;
    return -1;
}

static RSA_METHOD *rsa_method(void)
{
    static RSA_METHOD *method;
    if (method)
        return method;
    method = RSA_meth_dup(RSA_get_default_method());
    rsa_index = RSA_get_ex_new_index(0, NULL, NULL, NULL, free_holder);
    if (!method || rsa_index < 0 || RSA_meth_set_priv_enc(method, rsa_sign) != 1 || RSA_meth_set_priv_dec(method, rsa_decrypt) != 1)
        log_die("OpenSSL: no method for RSA keys");
    return method;
}

static bool set_rsa(EVP_PKEY *key, EVP_PKEY *public, struct holder *holder)
{
    const BIGNUM *n, *e;
    const RSA *from = EVP_PKEY_get0_RSA(public);
    RSA *rsa = RSA_new();
    if (!from || !rsa)
        goto failed;
    RSA_get0_key(from, &n, &e, NULL);
    if (RSA_set0_key(rsa, BN_dup(n), BN_dup(e), NULL) != 1 || RSA_set_method(rsa, rsa_method()) != 1)
        goto failed;
    RSA_set_flags(rsa, RSA_FLAG_EXT_PKEY);
    if (EVP_PKEY_assign_RSA(key, rsa) == 1)
        return RSA_set_ex_data(rsa, rsa_index, holder) == 1;
failed:
    RSA_free(rsa);
    return false;
}

/* ---- ECDSA ----------------------------------------------------------------------------------------------------------------------- */

static int ec_sign(int type, const unsigned char *digest, int n, unsigned char *out, unsigned *out_size, const BIGNUM *k, const BIGNUM *r,
                   EC_KEY *ec)
{
    (void)type, (void)k, (void)r;
    size_t got = sign(EC_KEY_get_ex_data(ec, ec_index), SIGN_ECDSA, digest, n, out, ECDSA_size(ec));
    *out_size = (unsigned)got;
    return got > 0;
}

static EC_KEY_METHOD *ec_method(void)
{
    static EC_KEY_METHOD *method;
    if (method)
        return method;
    method = EC_KEY_METHOD_new(EC_KEY_OpenSSL());
    ec_index = EC_KEY_get_ex_new_index(0, NULL, NULL, NULL, free_holder);
    if (!method || ec_index < 0)
        log_die("OpenSSL: no method for ECDSA keys");
    EC_KEY_METHOD_set_sign(method, ec_sign, NULL, NULL);
    return method;
}

static bool set_ec(EVP_PKEY *key, EVP_PKEY *public, struct holder *holder)
{
    const EC_KEY *from = EVP_PKEY_get0_EC_KEY(public);
    EC_KEY *ec = EC_KEY_new();
    if (from && ec && EC_KEY_set_group(ec, EC_KEY_get0_group(from)) == 1 && EC_KEY_set_public_key(ec, EC_KEY_get0_public_key(from)) == 1 &&
        EC_KEY_set_method(ec, ec_method()) == 1 && EVP_PKEY_assign_EC_KEY(key, ec) == 1)
        return EC_KEY_set_ex_data(ec, ec_index, holder) == 1;
    EC_KEY_free(ec);
    return false;
}

/* ---- both ------------------------------------------------------------------------------------------------------------------------ */

static struct holder *holder_new(X509 *certificate, struct peer *tlsmgr)
{
    struct holder *holder = calloc(1, sizeof *holder);
    unsigned char *der = NULL;
    int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
    bool good = holder && n > 0 && EVP_Digest(der, (size_t)n, holder->name, NULL, EVP_sha256(), NULL) == 1;
    OPENSSL_free(der);
    if (good) {
        holder->tlsmgr = tlsmgr;
        return holder;
    }
    free(holder);
    return NULL;
}

EVP_PKEY *tls_key_new(X509 *certificate, struct peer *tlsmgr)
{
    EVP_PKEY *public = X509_get0_pubkey(certificate), *key = EVP_PKEY_new();
    struct holder *holder = public && key ? holder_new(certificate, tlsmgr) : NULL;
    int kind = public ? EVP_PKEY_get_base_id(public) : EVP_PKEY_NONE;
    bool good = holder && (kind == EVP_PKEY_RSA ? set_rsa(key, public, holder) : kind == EVP_PKEY_EC && set_ec(key, public, holder));
    if (good)
        return key;
    free(holder);
    EVP_PKEY_free(key);
    return NULL;
}
