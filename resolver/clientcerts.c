/* Clients that are known by the certificate of their TLS: the fingerprint of it, or of its public key, is in relay_clientcerts. */
#include "resolver/routing_internal.h"

#define KEY_MOST 256

/* UNKNOWN: no map has it. */
static enum outcome find(struct decision *d, struct span fingerprint)
{
    const struct strings *list = &d->routing->settings->relay_clientcerts;
    struct buf key = BUF_EMPTY(KEY_MOST), value = BUF_EMPTY(0);
    enum outcome outcome = OUTCOME_UNKNOWN;
    add_lower(&key, fingerprint);
    for (size_t i = 0; i < list->n && outcome == OUTCOME_UNKNOWN && key.len > 0 && !key.failed; i++) {
        struct error error;
        buf_clear(&value);
        enum map_result result = map_lookup(d->routing->clientcerts[i], buf_span(&key), &value, &error);
        if (result == MAP_FAILED)
            outcome = decision_map_failed(d, "relay_clientcerts", &error);
        else if (result == MAP_FOUND)
            outcome = OUTCOME_OK;
    }
    buf_free(&key);
    buf_free(&value);
    return outcome;
}

enum outcome clientcerts_look(struct decision *d)
{
    enum outcome outcome = find(d, d->rcpt->certificate);
    if (outcome == OUTCOME_UNKNOWN)
        outcome = find(d, d->rcpt->certificate_key);
    d->ruling->certificate_listed = outcome == OUTCOME_OK;
    return outcome == OUTCOME_FAILED ? OUTCOME_FAILED : OUTCOME_OK;
}
