#include "auth/scram.h"

#include <gsasl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

enum stage { FIRST, FINAL, PROVEN };

struct scram {
    Gsasl *library;
    Gsasl_session *session;
    enum stage stage;
    bool there;
    char unique[128], exporter[64]; /* channel bindings in base64 */
    char iterations[16];
    struct passwd_scram secret;
};

static const char *property(const struct scram *s, Gsasl_property what)
{
    switch ((int)what) {
    case GSASL_SCRAM_ITER:
        return s->iterations;
    case GSASL_SCRAM_SALT:
        return s->secret.salt;
    case GSASL_SCRAM_STOREDKEY:
        return s->secret.stored;
    case GSASL_SCRAM_SERVERKEY:
        return s->secret.server;
    case GSASL_CB_TLS_UNIQUE:
        return s->unique[0] ? s->unique : NULL;
    case GSASL_CB_TLS_EXPORTER:
        return s->exporter[0] ? s->exporter : NULL;
    default:
        return NULL;
    }
}

/* The library asks for what it needs, the first time before there is a session to remember. */
static int on_property(Gsasl *library, Gsasl_session *session, Gsasl_property what)
{
    const char *value = property(gsasl_callback_hook_get(library), what);
    return value ? gsasl_property_set(session, what, value) : GSASL_NO_CALLBACK;
}

static void encode(struct span octets, char *out, size_t size)
{
    out[0] = '\0';
    if (octets.n && (octets.n + 2) / 3 * 4 < size)
        EVP_EncodeBlock((unsigned char *)out, (const unsigned char *)octets.p, (int)octets.n);
}

struct scram *scram_new(bool plus, struct span unique, struct span exporter, const struct passwd_scram *secret)
{
    struct scram *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->there = secret->there;
    s->secret = *secret;
    snprintf(s->iterations, sizeof s->iterations, "%u", secret->iterations);
    encode(unique, s->unique, sizeof s->unique);
    encode(exporter, s->exporter, sizeof s->exporter);
    if (gsasl_init(&s->library) != GSASL_OK) {
        scram_free(s);
        return NULL;
    }
    gsasl_callback_hook_set(s->library, s);
    gsasl_callback_set(s->library, on_property);
    if (gsasl_server_start(s->library, plus ? "SCRAM-SHA-256-PLUS" : "SCRAM-SHA-256", &s->session) == GSASL_OK)
        return s;
    scram_free(s);
    return NULL;
}

void scram_free(struct scram *s)
{
    if (!s)
        return;
    if (s->session)
        gsasl_finish(s->session);
    if (s->library)
        gsasl_done(s->library);
    explicit_bzero(s, sizeof *s);
    free(s);
}

static enum auth_verdict step(struct scram *s, struct span response, struct buf *challenge)
{
    char *out = NULL;
    size_t n = 0;
    int result = gsasl_step(s->session, response.p, response.n, &out, &n);
    bool goes_on = s->stage == FIRST ? result == GSASL_NEEDS_MORE : result == GSASL_OK && s->there;
    if (goes_on)
        buf_add(challenge, out, n);
    gsasl_free(out);
    if (goes_on) {
        s->stage++;
        return AUTH_MORE;
    }
    return result == GSASL_MALLOC_ERROR ? AUTH_NOT_NOW : s->stage == FIRST ? AUTH_MALFORMED : AUTH_NO;
}

enum auth_verdict scram_step(struct scram *s, struct span response, struct buf *challenge)
{
    if (s->stage == PROVEN)
        return response.n ? AUTH_MALFORMED : AUTH_YES;
    if (!response.n || memchr(response.p, '\0', response.n))
        return AUTH_MALFORMED;
    return step(s, response, challenge);
}
