#include "creds/exchange.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdlib.h>

struct exchange {
    unsigned mechanism;
    const char *user, *secret;
    struct scram_client *scram; /* SASL_SCRAM */
    unsigned answers;
};

/* ---- which ----------------------------------------------------------------------------------------------------------------------- */

static void add_names(unsigned set, struct buf *out)
{
    for (unsigned one; (one = sasl_strongest(set)); set &= ~one)
        buf_printf(out, "%s%s", sasl_name(one), set == one ? "" : " ");
}

static unsigned nothing_fits(const struct exchange_terms *t, struct buf *why)
{
    if (!t->offered) {
        buf_add_text(why, "it offers no AUTH that is known here");
    } else if (!t->trusted) {
        buf_add_text(why, "nothing has proved that it is the right one, and so it is told nothing");
    } else {
        buf_add_text(why, "it offers ");
        add_names(t->offered, why);
        buf_add_text(why, ", and the login allows ");
        add_names(t->allowed, why);
    }
    return 0;
}

unsigned exchange_choose(const struct exchange_terms *t, struct buf *why)
{
    unsigned set = t->offered & t->allowed;
    if (!t->binding)
        set &= ~(unsigned)SASL_PLUS;
    return set && t->trusted ? sasl_strongest(set) : nothing_fits(t, why);
}

/* MD5 may be forbidden: then there is no CRAM-MD5. */
int exchange_prepare(struct error *error)
{
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned n;
    HMAC(EVP_md5(), "", 0, out, 0, out, &n);
    if (RAND_bytes(out, 16) == 1 && PKCS5_PBKDF2_HMAC("", 0, out, 16, 1, EVP_sha1(), 20, out) == 1 &&
        PKCS5_PBKDF2_HMAC("", 0, out, 16, 1, EVP_sha256(), 32, out) == 1 && EVP_Digest(out, 20, out, NULL, EVP_sha1(), NULL) == 1 &&
        EVP_Digest(out, 20, out, NULL, EVP_sha256(), NULL) == 1)
        return 0;
    return error_set(error, "OpenSSL has no HMAC with SHA-1 or SHA-256, or no random numbers; look at its configuration");
}

/* ---- life ------------------------------------------------------------------------------------------------------------------------ */

struct exchange *exchange_new(unsigned mechanism, const char *user, const char *secret, const struct scram_binding *binding,
                              struct scram_cache *cache)
{
    struct exchange *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    *e = (struct exchange){.mechanism = mechanism, .user = user, .secret = secret};
    if (!(mechanism & SASL_SCRAM))
        return e;
    e->scram = scram_client_new(mechanism, user, secret, binding, cache);
    if (e->scram)
        return e;
    free(e);
    return NULL;
}

void exchange_free(struct exchange *e)
{
    if (!e)
        return;
    scram_client_free(e->scram);
    free(e);
}

unsigned exchange_mechanism(const struct exchange *e)
{
    return e->mechanism;
}

/* ---- what is said ---------------------------------------------------------------------------------------------------------------- */

static void add_plain(const struct exchange *e, struct buf *out)
{
    buf_add_char(out, '\0');
    buf_add_text(out, e->user);
    buf_add_char(out, '\0');
    buf_add_text(out, e->secret);
}

/* In a GS2 header's name "," and "=" are escaped (RFC 5801 4). */
static void add_gs2_name(const char *name, struct buf *out)
{
    for (const char *p = name; *p; p++) {
        if (*p == ',' || *p == '=')
            buf_add_text(out, *p == ',' ? "=2C" : "=3D");
        else
            buf_add_char(out, *p);
    }
}

static void add_bearer(const struct exchange *e, struct buf *out)
{
    if (e->mechanism == SASL_OAUTHBEARER) {
        buf_add_text(out, "n,a=");
        add_gs2_name(e->user, out);
        buf_add_char(out, ',');
    } else {
        buf_add_text(out, "user=");
        buf_add_text(out, e->user);
    }
    buf_add_text(out, "\001auth=Bearer ");
    buf_add_text(out, e->secret);
    buf_add_text(out, "\001\001");
}

bool exchange_initial(struct exchange *e, struct buf *response)
{
    switch (e->mechanism) {
    case SASL_PLAIN:
        add_plain(e, response);
        return true;
    case SASL_OAUTHBEARER:
    case SASL_XOAUTH2:
        add_bearer(e, response);
        return true;
    case SASL_LOGIN:
    case SASL_CRAM_MD5:
        return false;
    default:
        return scram_client_first(e->scram, response);
    }
}

/* Prompts are not looked at: hosts have many words for them. */
static bool answer_login(struct exchange *e, struct buf *out, const char **why)
{
    if (e->answers == 2) {
        *why = "it asks on after name and password (LOGIN)";
        return false;
    }
    buf_add_text(out, e->answers++ == 0 ? e->user : e->secret);
    return true;
}

static bool answer_cram(struct exchange *e, struct span challenge, struct buf *out, const char **why)
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (e->answers++ > 0 || challenge.n == 0) {
        *why = "it sent what is no challenge of CRAM-MD5";
        return false;
    }
    if (!HMAC(EVP_md5(), e->secret, (int)strlen(e->secret), (const unsigned char *)challenge.p, challenge.n, sum, &n)) {
        *why = "CRAM-MD5 can't be had: MD5 is not allowed on this system";
        return false;
    }
    buf_add_text(out, e->user);
    buf_add_char(out, ' ');
    for (unsigned i = 0; i < n; i++)
        buf_printf(out, "%02x", sum[i]);
    return true;
}

/* The host says in JSON why the token is no good, and wants to hear something before its 535 (RFC 7628 3.2.3). */
static bool answer_denial(struct exchange *e, struct buf *out, const char **why)
{
    if (e->answers++ > 0) {
        *why = "it asks on after it refused the token";
        return false;
    }
    if (e->mechanism == SASL_OAUTHBEARER)
        buf_add_char(out, '\001');
    return true;
}

static bool answer(struct exchange *e, struct span challenge, struct buf *response, const char **why)
{
    switch (e->mechanism) {
    case SASL_PLAIN:
        *why = "it asks on after PLAIN";
        return false;
    case SASL_LOGIN:
        return answer_login(e, response, why);
    case SASL_CRAM_MD5:
        return answer_cram(e, challenge, response, why);
    case SASL_OAUTHBEARER:
    case SASL_XOAUTH2:
        return answer_denial(e, response, why);
    default:
        return scram_client_answer(e->scram, challenge, response, why);
    }
}

bool exchange_answer(struct exchange *e, struct span challenge, struct buf *response, const char **why)
{
    if (challenge.n <= CHALLENGE_MOST)
        return answer(e, challenge, response, why);
    *why = "its challenge is too long";
    return false;
}

bool exchange_complete(const struct exchange *e)
{
    switch (e->mechanism) {
    case SASL_PLAIN:
        return true;
    case SASL_LOGIN:
        return e->answers == 2;
    case SASL_CRAM_MD5:
        return e->answers == 1;
    case SASL_OAUTHBEARER:
    case SASL_XOAUTH2:
        return e->answers == 0;
    default:
        return scram_client_complete(e->scram);
    }
}
