#include "resolver/fairtable.h"

#include "common/log.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fairtable {
    size_t buckets, entry_size;
    char *entries;
};

struct fairtable *fairtable_new(size_t buckets, size_t entry_size)
{
    struct fairtable *t = calloc(1, sizeof *t);
    if (t == NULL || (t->entries = calloc(buckets * FAIRTABLE_WAYS, entry_size)) == NULL)
        log_die("out of memory at start");
    t->buckets = buckets;
    t->entry_size = entry_size;
    return t;
}

void fairtable_free(struct fairtable *t)
{
    if (t == NULL)
        return;
    free(t->entries);
    free(t);
}

static struct fair_entry *entry(const struct fairtable *t, uint64_t region, size_t way)
{
    size_t bucket = (size_t)(region % t->buckets);
    return (void *)(t->entries + (bucket * FAIRTABLE_WAYS + way) * t->entry_size);
}

void *fairtable_find(const struct fairtable *t, uint64_t key, uint64_t region)
{
    for (size_t i = 0; i < FAIRTABLE_WAYS; i++) {
        struct fair_entry *e = entry(t, region, i);
        if (e->key == key && e->region == region)
            return e;
    }
    return NULL;
}

/* Free places come first, as their `until` is 0. */
static struct fair_entry *place_for(const struct fairtable *t, uint64_t region)
{
    struct fair_entry *least = NULL, *own = NULL;
    size_t count = 0;
    for (size_t i = 0; i < FAIRTABLE_WAYS; i++) {
        struct fair_entry *e = entry(t, region, i);
        if (least == NULL || e->key == 0 || (least->key != 0 && e->until < least->until))
            least = e;
        if (e->key == 0 || e->region != region)
            continue;
        count++;
        if (own == NULL || e->until < own->until)
            own = e;
    }
    return count >= FAIRTABLE_WAYS / 2 ? own : least;
}

void *fairtable_take(struct fairtable *t, uint64_t key, uint64_t region)
{
    struct fair_entry *e = fairtable_find(t, key, region);
    if (e != NULL)
        return e;
    e = place_for(t, region);
    memset(e, 0, t->entry_size);
    e->key = key;
    e->region = region;
    return e;
}

/* ---- prefixes ------------------------------------------------------------------------------------------------------------------ */

/* How many octets the address has, 4 or 16; 0: it is none. */
static size_t octets_of(const char *text, size_t n, unsigned char octets[16])
{
    char copy[INET6_ADDRSTRLEN];
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (n == 0 || n >= sizeof copy || memchr(text, '\0', n) != NULL)
        return 0;
    memcpy(copy, text, n);
    copy[n] = '\0';
    if (inet_pton(AF_INET, copy, octets) == 1)
        return 4;
    if (inet_pton(AF_INET6, copy, octets) != 1)
        return 0;
    if (memcmp(octets, mapped, sizeof mapped) != 0)
        return 16;
    memmove(octets, octets + sizeof mapped, 4);
    return 4;
}

/* The length goes in, too: 10.0.0.0/24 is no kin of 0a00:0000::/48. */
static uint64_t hash_of(const struct siphash_key *key, const unsigned char octets[16], unsigned n, bool v4)
{
    unsigned char text[18] = {(unsigned char)n, v4};
    memcpy(text + 2, octets, n);
    return siphash(key, text, n + 2);
}

bool prefix_of(const struct siphash_key *key, const char *text, size_t n, struct prefix *out)
{
    unsigned char octets[16];
    size_t all = octets_of(text, n, octets);
    if (all == 0)
        return false;
    bool v4 = all == 4;
    out->address = hash_of(key, octets, v4 ? 4 : 8, v4);
    out->network = hash_of(key, octets, v4 ? 3 : 6, v4);
    out->region = hash_of(key, octets, v4 ? 2 : 4, v4);
    return true;
}

void prefix_name(const char *text, size_t n, bool network, char *out, size_t size)
{
    unsigned char octets[16];
    char host[INET6_ADDRSTRLEN] = "";
    size_t all = octets_of(text, n, octets), kept = all == 4 ? (network ? 3 : 4) : network ? 6 : 8;
    snprintf(out, size, "nobody");
    if (all == 0)
        return;
    memset(octets + kept, 0, sizeof octets - kept);
    inet_ntop(all == 4 ? AF_INET : AF_INET6, octets, host, sizeof host);
    if (kept == all)
        snprintf(out, size, "%s", host);
    else
        snprintf(out, size, "%s/%zu", host, kept * 8);
}
