#define OPENSSL_API_COMPAT 0x10101000L /* PKCS1_MGF1() */
#include "tlsmgr/sign.h"

#include "common/messages.h"

#include <openssl/err.h>
#include <openssl/rsa.h>

#define PSS_TRAILER    0xbc
#define MD5_SHA1       36 /* octets, TLS 1.0 and 1.1 */
#define DIGEST_MOST    64
#define SIGNATURE_MOST (SIGN_INPUT_MOST + 64)

/* ---- forms ----------------------------------------------------------------------------------------------------------------------- */

static bool is_digest(size_t n)
{
    return n == 20 || n == 32 || n == 48 || n == 64;
}

/* DER of SEQUENCE { SEQUENCE { OID, NULL }, OCTET STRING } up to the digest (RFC 8017 9.2, note 1). */
static const struct {
    size_t digest, prefix;
    unsigned char octets[20];
} infos[] = {
    {20, 15, {0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14}},
    {32, 19, {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}},
    {48, 19, {0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0x04, 0x30}},
    {64, 19, {0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00, 0x04, 0x40}},
};

static bool is_digest_info(struct span input)
{
    for (size_t i = 0; i < sizeof infos / sizeof infos[0]; i++)
        if (input.n == infos[i].prefix + infos[i].digest && memcmp(input.p, infos[i].octets, infos[i].prefix) == 0)
            return true;
    return input.n == MD5_SHA1;
}

/* EMSA-PSS-VERIFY (RFC 8017 9.1.2) without the message: all steps but the last two. */
static bool is_pss_of(struct span em, unsigned top_bits, const EVP_MD *md)
{
    size_t hash = (size_t)EVP_MD_get_size(md);
    if (em.n < 2 * hash + 2)
        return false;
    const unsigned char *p = (const unsigned char *)em.p, *h = p + em.n - hash - 1;
    size_t db = em.n - hash - 1, zeros = db - hash - 1;
    unsigned char mask[SIGN_INPUT_MOST], other = 0;
    if (PKCS1_MGF1(mask, (long)db, h, (long)hash, md) != 0)
        return false;
    for (size_t i = 0; i < zeros; i++) {
        unsigned char octet = p[i] ^ mask[i];
        other = (unsigned char)(other | (i == 0 ? octet & (0xff >> top_bits) : octet));
    }
    return other == 0 && (p[zeros] ^ mask[zeros]) == 1;
}

/* The modulus has a whole number of octets with `top_bits` - 1 unused; the block has one bit less. */
static bool is_pss(const EVP_PKEY *key, struct span em)
{
    size_t size = (size_t)EVP_PKEY_get_size(key);
    unsigned top_bits = (unsigned)(8 * size - (size_t)EVP_PKEY_get_bits(key) + 1);
    if (em.n != size || em.n > SIGN_INPUT_MOST || top_bits > 7 || (unsigned char)em.p[em.n - 1] != PSS_TRAILER ||
        ((unsigned char)em.p[0] & ~(0xffu >> top_bits)) != 0)
        return false;
    return is_pss_of(em, top_bits, EVP_sha256()) || is_pss_of(em, top_bits, EVP_sha384()) || is_pss_of(em, top_bits, EVP_sha512());
}

const char *sign_refusal(const EVP_PKEY *key, uint16_t form, struct span input)
{
    bool rsa = EVP_PKEY_is_a(key, "RSA");
    if (form == SIGN_ECDSA)
        return rsa ? "an RSA key makes no ECDSA signature" : is_digest(input.n) ? NULL : "not the digest of a TLS signature";
    if (!rsa)
        return "an ECDSA key makes no RSA signature";
    if (form == SIGN_RSA_PKCS1)
        return is_digest_info(input) ? NULL : "not the digest of a TLS signature";
    if (form == SIGN_RSA_PSS)
        return is_pss(key, input) ? NULL : "not the padding of a TLS signature";
    return "no form of a TLS signature";
}

/* ---- the operation --------------------------------------------------------------------------------------------------------------- */

static bool set_padding(EVP_PKEY_CTX *context, uint16_t form)
{
    if (form == SIGN_ECDSA)
        return true;
    return EVP_PKEY_CTX_set_rsa_padding(context, form == SIGN_RSA_PSS ? RSA_NO_PADDING : RSA_PKCS1_PADDING) == 1;
}

const char *sign(EVP_PKEY *key, uint16_t form, struct span input, struct buf *out)
{
    unsigned char signature[SIGNATURE_MOST];
    size_t n = sizeof signature;
    const char *refusal = sign_refusal(key, form, input);
    if (refusal)
        return refusal;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);
    bool good = context && EVP_PKEY_sign_init(context) == 1 && set_padding(context, form) &&
                EVP_PKEY_sign(context, signature, &n, (const unsigned char *)input.p, input.n) == 1;
    EVP_PKEY_CTX_free(context);
    ERR_clear_error();
    if (!good)
        return "OpenSSL could not sign";
    buf_add(out, signature, n);
    return NULL;
}
