#include "tlsmgr/pairs.h"

#include "common/log.h"

#include <stdlib.h>

#define KEPT_MS   60000
#define SOON_DAYS 14
#define DAY       86400

struct entry {
    const char *certificate, *key; /* files */
    bool loaded;
    struct pair pair;
    struct pair_files files; /* as they were when they were read last, whether they could be used or not */
    struct pair_files seen;  /* at the last look */
    struct pair former;      /* its key still signs; NULL: none */
    uint64_t former_until;
};

struct pairs {
    struct entry *entries;
    size_t count;
};

static void log_taken(const struct entry *e, const char *how)
{
    struct buf line = BUF_EMPTY(8192);
    struct tm tm;
    char until[32] = "";
    buf_printf(&line, "%s:", how);
    log_value(&line, "certificate", span_of(e->certificate));
    log_value(&line, "names", buf_span(&e->pair.names));
    if (gmtime_r(&e->pair.ends, &tm))
        strftime(until, sizeof until, "%Y-%m-%dT%H:%M:%SZ", &tm);
    log_value(&line, "until", span_of(until));
    buf_printf(&line, " key=%s-%d", EVP_PKEY_is_a(e->pair.key, "RSA") ? "RSA" : "ECDSA", EVP_PKEY_get_bits(e->pair.key));
    log_buf(LOG_LEVEL_INFO, &line);
    buf_free(&line);
}

struct pairs *pairs_open(const struct settings *settings)
{
    size_t n = settings->tls_certificate.n < settings->tls_key.n ? settings->tls_certificate.n : settings->tls_key.n;
    struct pairs *pairs = calloc(1, sizeof *pairs);
    if (!pairs || !(pairs->entries = calloc(n + 1, sizeof *pairs->entries)))
        log_die("out of memory for certificates");
    for (pairs->count = 0; pairs->count < n; pairs->count++) {
        struct entry *e = &pairs->entries[pairs->count];
        struct error error;
        e->certificate = settings->tls_certificate.v[pairs->count];
        e->key = settings->tls_key.v[pairs->count];
        e->loaded = pair_load(&e->pair, &e->files, e->certificate, e->key, &error) == 0;
        e->seen = e->files;
        if (e->loaded)
            log_taken(e, "certificate");
        else
            log_error("%s; there is no TLS with this certificate until it can be used", error.text);
    }
    return pairs;
}

void pairs_free(struct pairs *pairs)
{
    for (size_t i = 0; i < pairs->count; i++) {
        pair_free(&pairs->entries[i].pair);
        pair_free(&pairs->entries[i].former);
    }
    free(pairs->entries);
    free(pairs);
}

/* ---- renewal --------------------------------------------------------------------------------------------------------------------- */

static bool take_up(struct entry *e, uint64_t now)
{
    struct pair fresh;
    struct error error;
    if (pair_load(&fresh, &e->files, e->certificate, e->key, &error) != 0) {
        e->files = e->seen; /* once is enough, however far it could be read */
        log_error("%s; %s", error.text,
                  e->loaded ? "the former certificate and key go on" : "there is no TLS with this certificate until then");
        return false;
    }
    pair_free(&e->former);
    e->former = e->pair;
    e->former_until = now + KEPT_MS;
    e->pair = fresh;
    e->loaded = true;
    log_taken(e, "renewed");
    return true;
}

/* Files that were other ones at the last look already, and the same since: whoever writes them has finished. */
static bool look(struct entry *e, uint64_t now)
{
    struct pair_files files;
    pair_look(&files, e->certificate, e->key);
    bool still = pair_files_equal(&files, &e->seen);
    e->seen = files;
    if (e->former.key && now >= e->former_until)
        pair_free(&e->former);
    return still && !pair_files_equal(&files, &e->files) && take_up(e, now);
}

bool pairs_look(struct pairs *pairs, uint64_t now_ms)
{
    bool any = false;
    for (size_t i = 0; i < pairs->count; i++)
        any |= look(&pairs->entries[i], now_ms);
    return any;
}

void pairs_warn(const struct pairs *pairs, time_t now)
{
    for (size_t i = 0; i < pairs->count; i++) {
        const struct entry *e = &pairs->entries[i];
        if (!e->loaded || e->pair.ends - now > (time_t)SOON_DAYS * DAY)
            continue;
        if (e->pair.ends <= now)
            log_error("certificate %s has expired: renew it; clients that verify it do not come in", e->certificate);
        else
            log_warning("certificate %s expires in %ld days: renew it; the new files are taken up by themselves", e->certificate,
                        (long)((e->pair.ends - now) / DAY));
    }
}

/* ---- looking up ------------------------------------------------------------------------------------------------------------------ */

size_t pairs_count(const struct pairs *pairs)
{
    return pairs->count;
}

const struct pair *pairs_nth(const struct pairs *pairs, size_t i, const char **file)
{
    const struct entry *e = &pairs->entries[i];
    *file = e->certificate;
    return e->loaded ? &e->pair : NULL;
}

static bool has_name(const struct pair *pair, struct span name)
{
    return pair->key && name.n == PAIR_KEY_NAME && memcmp(pair->key_name, name.p, PAIR_KEY_NAME) == 0;
}

EVP_PKEY *pairs_key(const struct pairs *pairs, struct span key_name)
{
    for (size_t i = 0; i < pairs->count; i++) {
        const struct entry *e = &pairs->entries[i];
        if (has_name(&e->pair, key_name))
            return e->pair.key;
        if (has_name(&e->former, key_name))
            return e->former.key;
    }
    return NULL;
}
