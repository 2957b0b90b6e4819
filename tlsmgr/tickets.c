#include "tlsmgr/tickets.h"

#include "common/log.h"
#include "common/messages.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>

static bool forget(struct tickets *t, uint64_t now)
{
    size_t before = t->count;
    while (t->count > 0 && t->keys[t->count - 1].accepts <= now)
        OPENSSL_cleanse(&t->keys[--t->count], sizeof t->keys[0]);
    return t->count != before;
}

static void make(struct tickets *t, uint64_t now)
{
    struct ticket *k = &t->keys[0];
    if (t->count == TICKET_KEYS)
        t->count--;
    memmove(&t->keys[1], &t->keys[0], t->count * sizeof t->keys[0]);
    t->count++;
    if (RAND_bytes(k->name, sizeof k->name) != 1 || RAND_priv_bytes(k->cipher, sizeof k->cipher) != 1 ||
        RAND_priv_bytes(k->mac, sizeof k->mac) != 1)
        log_die("no random numbers for a session ticket key");
    k->made = now;
    k->accepts = now + 2 * t->period;
}

bool tickets_turn(struct tickets *t, uint64_t now)
{
    bool changed = forget(t, now);
    if (t->count > 0 && now < t->keys[0].made + t->period)
        return changed;
    make(t, now);
    return true;
}

uint64_t tickets_due(const struct tickets *t)
{
    if (t->count == 0)
        return 0;
    uint64_t fresh = t->keys[0].made + t->period, old = t->keys[t->count - 1].accepts;
    return old < fresh ? old : fresh;
}

void tickets_add(const struct tickets *t, struct buf *records)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct ticket *k = &t->keys[i];
        record_ticket_key_add(records, &(struct record_ticket_key){.name = span_make(k->name, sizeof k->name),
                                                                   .cipher = span_make(k->cipher, sizeof k->cipher),
                                                                   .mac = span_make(k->mac, sizeof k->mac),
                                                                   .accepts = k->accepts});
    }
}
