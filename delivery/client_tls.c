#include "delivery/client_tls.h"

#include "common/crc32c.h"
#include "common/log.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <unistd.h>

#define SLOTS   512
#define KEY_MAX 400

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

SSL_CTX *client_tls_context(struct client_tls *t)
{
    return t->context;
}

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
