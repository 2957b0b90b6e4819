#include "creds/scram_client.h"

#include "common/base64.h"
#include "common/sasl.h"

#include <gsasl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdlib.h>

#define NONCE 18 /* octets of ours, before base64 */

enum stage { BEGIN, FIRST_SAID, FINAL_SAID, PROVEN };

struct scram_client {
    enum stage stage;
    unsigned hash; /* SASL_SCRAM_SHA_256 or SASL_SCRAM_SHA_1 */
    const EVP_MD *md;
    int size; /* octets of a key */
    const char *secret;
    struct buf user;                         /* prepared, with "," and "=" escaped */
    struct buf nonce;                        /* ours */
    struct buf binding;                      /* GS2 header, and the channel's octets behind it */
    struct buf bare;                         /* client-first-message-bare, and then all of AuthMessage */
    unsigned char signature[SCRAM_KEY_MOST]; /* that the host has to show */
    struct scram_cache *cache, now;          /* now: of this exchange */
};

/* ---- what the host wants --------------------------------------------------------------------------------------------------------- */

static bool take_attribute(struct span *in, char name, struct span *value)
{
    if (in->n < 2 || in->p[0] != name || in->p[1] != '=')
        return false;
    *in = span_make(in->p + 2, in->n - 2);
    *value = span_until(in, ',');
    return true;
}

static uint32_t number(struct span digits)
{
    uint32_t value = 0;
    for (size_t i = 0; i < digits.n; i++) {
        if (i == 9 || digits.p[i] < '0' || digits.p[i] > '9')
            return 0;
        value = value * 10 + (uint32_t)(digits.p[i] - '0');
    }
    return value;
}

bool scram_first_parse(struct span in, struct scram_first *first, const char **why)
{
    struct span iterations;
    *why = "its challenge is none of SCRAM";
    if (in.n > SCRAM_MESSAGE_MOST || !take_attribute(&in, 'r', &first->nonce) || !take_attribute(&in, 's', &first->salt) ||
        !take_attribute(&in, 'i', &iterations) || first->salt.n == 0 || first->salt.n > SCRAM_SALT_MOST)
        return false;
    for (size_t i = 0; i < first->nonce.n; i++)
        if (first->nonce.p[i] <= ' ' || first->nonce.p[i] > '~')
            return false;
    first->iterations = number(iterations);
    *why = "it wants SCRAM with so few or so many iterations that it can't be meant well (4096 to 1000000 are taken)";
    return first->iterations >= SCRAM_ITERATIONS_LEAST && first->iterations <= SCRAM_ITERATIONS_MOST;
}

/* ---- life ------------------------------------------------------------------------------------------------------------------------ */

/* SASLprep (RFC 4013), as clients do it. */
static char *prepare(const char *text)
{
    char *out = NULL;
    return gsasl_saslprep(text, GSASL_ALLOW_UNASSIGNED, &out, NULL) == GSASL_OK ? out : NULL;
}

static bool prepare_user(struct scram_client *s, const char *user)
{
    char *prepared = prepare(user);
    for (const char *p = prepared; p && *p; p++) {
        if (*p == ',' || *p == '=')
            buf_add_text(&s->user, *p == ',' ? "=2C" : "=3D");
        else
            buf_add_char(&s->user, *p);
    }
    gsasl_free(prepared);
    return s->user.len > 0 && !s->user.failed;
}

/* "p=tls-exporter,,", "y,,", "n,,": RFC 5802 7. In TLS 1.2 hosts are sure to know tls-unique, in TLS 1.3 there is none. */
static void make_binding(struct scram_client *s, bool plus, const struct scram_binding *b)
{
    bool any = b->unique.n || b->exporter.n;
    if (plus) {
        buf_printf(&s->binding, "p=%s,,", b->unique.n ? "tls-unique" : "tls-exporter");
        buf_add_span(&s->binding, b->unique.n ? b->unique : b->exporter);
    } else {
        buf_add_text(&s->binding, any && !b->host_binds ? "y,," : "n,,");
    }
}

struct scram_client *scram_client_new(unsigned mechanism, const char *user, const char *secret, const struct scram_binding *binding,
                                      struct scram_cache *cache)
{
    unsigned char nonce[NONCE];
    struct scram_client *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->hash = mechanism & (SASL_SCRAM_SHA_256_PLUS | SASL_SCRAM_SHA_256) ? SASL_SCRAM_SHA_256 : SASL_SCRAM_SHA_1;
    s->md = s->hash == SASL_SCRAM_SHA_256 ? EVP_sha256() : EVP_sha1();
    s->size = EVP_MD_get_size(s->md);
    s->secret = secret;
    s->cache = cache;
    s->bare.limit = 4 * SCRAM_MESSAGE_MOST;
    prepare_user(s, user);
    make_binding(s, mechanism & SASL_PLUS, binding);
    if (RAND_bytes(nonce, sizeof nonce) == 1) {
        base64_encode(span_make(nonce, sizeof nonce), &s->nonce);
        return s;
    }
    scram_client_free(s);
    return NULL;
}

void scram_client_free(struct scram_client *s)
{
    if (!s)
        return;
    buf_free(&s->user);
    buf_free(&s->nonce);
    buf_free(&s->binding);
    buf_free(&s->bare);
    explicit_bzero(s, sizeof *s);
    free(s);
}

/* ---- keys ------------------------------------------------------------------------------------------------------------------------ */

static bool hmac(const struct scram_client *s, const unsigned char *key, struct span text, unsigned char out[SCRAM_KEY_MOST])
{
    unsigned n;
    return HMAC(s->md, key, s->size, (const unsigned char *)text.p, text.n, out, &n) != NULL;
}

static bool salt_password(struct scram_client *s)
{
    struct buf salt = BUF_EMPTY(SCRAM_SALT_MOST);
    char *secret = prepare(s->secret);
    bool ok = secret && base64_decode(span_of(s->now.salt), &salt) && salt.len > 0 &&
              PKCS5_PBKDF2_HMAC(secret, (int)strlen(secret), (const unsigned char *)salt.data, (int)salt.len, (int)s->now.iterations, s->md,
                                s->size, s->now.salted) == 1;
    if (secret)
        explicit_bzero(secret, strlen(secret));
    gsasl_free(secret);
    buf_free(&salt);
    return ok;
}

static bool find_salted(struct scram_client *s, const struct scram_first *first)
{
    memcpy(s->now.salt, first->salt.p, first->salt.n);
    s->now.salt[first->salt.n] = '\0';
    s->now.iterations = first->iterations;
    s->now.hash = s->hash;
    bool known = s->cache->hash == s->hash && s->cache->iterations == s->now.iterations && strcmp(s->cache->salt, s->now.salt) == 0;
    if (known)
        s->now = *s->cache;
    return known || salt_password(s);
}

/* RFC 5802 3: ClientKey XOR HMAC(StoredKey, AuthMessage); and what the host has to show: HMAC(ServerKey, AuthMessage). */
static bool prove(struct scram_client *s, unsigned char proof[SCRAM_KEY_MOST])
{
    unsigned char client[SCRAM_KEY_MOST], stored[SCRAM_KEY_MOST], server[SCRAM_KEY_MOST], signature[SCRAM_KEY_MOST];
    bool ok = hmac(s, s->now.salted, SPAN_LITERAL("Client Key"), client) &&
              EVP_Digest(client, (size_t)s->size, stored, NULL, s->md, NULL) == 1 && hmac(s, stored, buf_span(&s->bare), signature) &&
              hmac(s, s->now.salted, SPAN_LITERAL("Server Key"), server) && hmac(s, server, buf_span(&s->bare), s->signature);
    for (int i = 0; ok && i < s->size; i++)
        proof[i] = (unsigned char)(client[i] ^ signature[i]);
    explicit_bzero(client, sizeof client);
    explicit_bzero(stored, sizeof stored);
    explicit_bzero(server, sizeof server);
    return ok;
}

/* ---- steps ----------------------------------------------------------------------------------------------------------------------- */

static struct span gs2_header(const struct scram_client *s)
{
    const char *p = s->binding.data;
    size_t n = p[0] == 'p' ? (size_t)((const char *)memchr(p, ',', s->binding.len) - p) + 2 : 3;
    return span_make(p, n);
}

bool scram_client_first(struct scram_client *s, struct buf *out)
{
    if (s->stage != BEGIN || !s->user.len || s->user.failed)
        return false;
    buf_printf(&s->bare, "n=%s,r=", buf_text(&s->user));
    buf_add_span(&s->bare, buf_span(&s->nonce));
    buf_add_span(out, gs2_header(s));
    buf_add_span(out, buf_span(&s->bare));
    s->stage = FIRST_SAID;
    return !s->bare.failed;
}

static bool answer_first(struct scram_client *s, struct span challenge, struct buf *out, const char **why)
{
    struct scram_first first;
    unsigned char proof[SCRAM_KEY_MOST];
    if (!scram_first_parse(challenge, &first, why))
        return false;
    *why = "its challenge (SCRAM) has not our nonce";
    if (first.nonce.n <= s->nonce.len || memcmp(first.nonce.p, s->nonce.data, s->nonce.len) != 0)
        return false;
    *why = "its salt, or the secret, can't be used for SCRAM";
    if (!find_salted(s, &first))
        return false;
    struct buf final = BUF_EMPTY(2 * SCRAM_MESSAGE_MOST);
    buf_add_text(&final, "c=");
    base64_encode(buf_span(&s->binding), &final);
    buf_add_text(&final, ",r=");
    buf_add_span(&final, first.nonce);
    buf_add_char(&s->bare, ',');
    buf_add_span(&s->bare, challenge);
    buf_add_char(&s->bare, ',');
    buf_add_span(&s->bare, buf_span(&final));
    bool ok = !s->bare.failed && !final.failed && prove(s, proof);
    buf_add_text(&final, ",p=");
    base64_encode(span_make(proof, (size_t)s->size), &final);
    buf_add_span(out, buf_span(&final));
    buf_free(&final);
    s->stage = FINAL_SAID;
    return ok;
}

static bool answer_final(struct scram_client *s, struct span challenge, const char **why)
{
    struct buf signature = BUF_EMPTY(SCRAM_MESSAGE_MOST);
    struct span value;
    bool refused = challenge.n > 2 && memcmp(challenge.p, "e=", 2) == 0;
    *why =
        refused ? "it refuses the proof (SCRAM)" : "it can't prove that it knows the secret (SCRAM): it is not the host that it should be";
    bool ok = take_attribute(&challenge, 'v', &value) && base64_decode(value, &signature) && signature.len == (size_t)s->size &&
              CRYPTO_memcmp(signature.data, s->signature, signature.len) == 0;
    buf_free(&signature);
    if (!ok)
        return false;
    s->stage = PROVEN;
    *s->cache = s->now;
    return true;
}

bool scram_client_answer(struct scram_client *s, struct span challenge, struct buf *out, const char **why)
{
    if (s->stage == FIRST_SAID)
        return answer_first(s, challenge, out, why);
    if (s->stage == FINAL_SAID)
        return answer_final(s, challenge, why);
    *why = "it asks on after the end of SCRAM";
    return false;
}

bool scram_client_complete(const struct scram_client *s)
{
    return s->stage == PROVEN;
}
