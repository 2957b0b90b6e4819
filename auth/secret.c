#include "auth/secret.h"

#include <gsasl.h>
#include <stdlib.h>

#define SALT_NEW 16

/* ---- SASLprep -------------------------------------------------------------------------------------------------------------------- */

static bool has_control(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)
            return true;
    return false;
}

static void free_wiped(char *text, size_t n)
{
    if (text)
        explicit_bzero(text, n);
    free(text);
}

static bool prepare_text(const char *raw, size_t most, struct buf *out)
{
    char *prepared = NULL;
    if (gsasl_saslprep(raw, (Gsasl_saslprep_flags)0, &prepared, NULL) != GSASL_OK || !prepared)
        return false;
    struct span made = span_of(prepared);
    bool ok = made.n && made.n <= most && buf_reserve(out, made.n + 1);
    if (ok) {
        buf_add_span(out, made);
        buf_text(out);
    }
    free_wiped(prepared, made.n);
    return ok && !out->failed;
}

bool secret_prepare(struct span raw, size_t most, struct buf *out)
{
    if (!raw.n || raw.n > most || has_control(raw))
        return false;
    char *copy = strndup(raw.p, raw.n);
    bool ok = copy && prepare_text(copy, most, out);
    free_wiped(copy, raw.n);
    return ok;
}

void secret_wipe(struct buf *b)
{
    if (b->data)
        explicit_bzero(b->data, b->cap);
    buf_free(b);
}

/* ---- text form ------------------------------------------------------------------------------------------------------------------- */

static bool take_field(struct span *rest, struct span *field)
{
    const char *comma = rest->n ? memchr(rest->p, ',', rest->n) : NULL;
    *field = comma ? span_make(rest->p, (size_t)(comma - rest->p)) : *rest;
    size_t step = field->n + (comma ? 1 : 0);
    *rest = span_make(rest->p + step, rest->n - step);
    return field->n > 0;
}

static bool parse_iterations(struct span text, uint32_t *out)
{
    uint32_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9' || n > SECRET_ITERATIONS_MOST)
            return false;
        n = n * 10 + (uint32_t)(text.p[i] - '0');
    }
    *out = n;
    return n > 0 && n <= SECRET_ITERATIONS_MOST;
}

/* Into `out`, which has room for `most` octets; 0: not base64, or too long. */
static size_t decode(struct span text, char *out, size_t most)
{
    char *octets = NULL;
    size_t n = 0;
    if (gsasl_base64_from(text.p, text.n, &octets, &n) != GSASL_OK)
        n = 0;
    if (n && n <= most)
        memcpy(out, octets, n);
    free_wiped(octets, n);
    return n <= most ? n : 0;
}

bool secret_parse(struct span text, struct secret *secret)
{
    struct span prefix = SPAN_LITERAL(SECRET_PREFIX), iterations;
    char octets[SECRET_SALT_MOST];
    if (text.n <= prefix.n || memcmp(text.p, prefix.p, prefix.n) != 0)
        return false;
    text = span_make(text.p + prefix.n, text.n - prefix.n);
    bool ok = take_field(&text, &iterations) && take_field(&text, &secret->salt) && take_field(&text, &secret->stored) &&
              take_field(&text, &secret->server) && !text.n && parse_iterations(iterations, &secret->iterations) &&
              decode(secret->salt, octets, sizeof octets) && decode(secret->stored, octets, sizeof octets) == SECRET_KEY &&
              decode(secret->server, octets, sizeof octets) == SECRET_KEY;
    explicit_bzero(octets, sizeof octets);
    return ok;
}

/* ---- passwords ------------------------------------------------------------------------------------------------------------------- */

struct keys {
    char salted[GSASL_HASH_MAX_SIZE], client[GSASL_HASH_MAX_SIZE], server[GSASL_HASH_MAX_SIZE], stored[GSASL_HASH_MAX_SIZE];
};

static bool derive(struct span password, uint32_t iterations, const char *salt, size_t salt_size, struct keys *keys)
{
    struct buf prepared = BUF_EMPTY(PASSWORD_MOST + 1);
    bool ok = secret_prepare(password, PASSWORD_MOST, &prepared) &&
              gsasl_scram_secrets_from_password(GSASL_HASH_SHA256, prepared.data, iterations, salt, salt_size, keys->salted, keys->client,
                                                keys->server, keys->stored) == GSASL_OK;
    secret_wipe(&prepared);
    return ok;
}

bool secret_matches(const struct secret *secret, struct span password)
{
    char salt[SECRET_SALT_MOST], stored[SECRET_KEY];
    struct keys keys;
    size_t salt_size = decode(secret->salt, salt, sizeof salt);
    bool ok = decode(secret->stored, stored, sizeof stored) == SECRET_KEY && salt_size &&
              derive(password, secret->iterations, salt, salt_size, &keys);
    unsigned char differ = 0;
    for (size_t i = 0; ok && i < SECRET_KEY; i++)
        differ |= (unsigned char)(stored[i] ^ keys.stored[i]);
    explicit_bzero(&keys, sizeof keys);
    explicit_bzero(stored, sizeof stored);
    return ok && differ == 0;
}

static void add_base64(struct buf *out, const char *octets, size_t n)
{
    char *text = NULL;
    if (gsasl_base64_to(octets, n, &text, NULL) != GSASL_OK) {
        out->failed = true;
        return;
    }
    buf_add_text(out, text);
    free(text);
}

int secret_make(struct span password, uint32_t iterations, struct buf *out, struct error *error)
{
    char salt[SALT_NEW];
    struct keys keys;
    if (gsasl_random(salt, sizeof salt) != GSASL_OK)
        return error_set(error, "there are no random numbers for a salt");
    if (!derive(password, iterations, salt, sizeof salt, &keys))
        return error_set(error, "the password is empty, longer than %d octets, not UTF-8, or has characters that none may have (RFC 4013)",
                         PASSWORD_MOST);
    buf_printf(out, SECRET_PREFIX "%u,", iterations);
    add_base64(out, salt, sizeof salt);
    buf_add_char(out, ',');
    add_base64(out, keys.stored, SECRET_KEY);
    buf_add_char(out, ',');
    add_base64(out, keys.server, SECRET_KEY);
    explicit_bzero(&keys, sizeof keys);
    return out->failed ? error_set(error, "out of memory") : 0;
}
