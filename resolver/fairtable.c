#include "resolver/fairtable.h"

#include "common/address.h"
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

static bool network_of_text(const char *text, size_t n, enum network_reach reach, struct network *out)
{
    struct sockaddr_storage ss = {0};
    socklen_t length;
    return address_to_socket(span_make(text, n), 0, &ss, &length) && network_of((const struct sockaddr *)&ss, reach, out);
}

/* The length goes in, too: 10.0.0.0/24 is no kin of 0a00:0000::/48. */
static uint64_t hash_of(const struct siphash_key *key, const struct network *network)
{
    unsigned octets = network->bits / 8;
    unsigned char text[18] = {(unsigned char)octets, network->family == AF_INET};
    memcpy(text + 2, network->bytes, octets);
    return siphash(key, text, octets + 2);
}

bool prefix_of(const struct siphash_key *key, const char *text, size_t n, struct prefix *out)
{
    struct network client, network, region;
    if (!network_of_text(text, n, REACH_CLIENT, &client) || !network_of_text(text, n, REACH_NETWORK, &network) ||
        !network_of_text(text, n, REACH_REGION, &region))
        return false;
    *out = (struct prefix){.address = hash_of(key, &client), .network = hash_of(key, &network), .region = hash_of(key, &region)};
    return true;
}

void prefix_name(const char *text, size_t n, bool network, char *out, size_t size)
{
    struct network whose;
    char host[INET6_ADDRSTRLEN] = "";
    snprintf(out, size, "nobody");
    if (!network_of_text(text, n, network ? REACH_NETWORK : REACH_CLIENT, &whose))
        return;
    inet_ntop(whose.family, whose.bytes, host, sizeof host);
    if (whose.bits == 32 && whose.family == AF_INET)
        snprintf(out, size, "%s", host);
    else
        snprintf(out, size, "%s/%u", host, whose.bits);
}
