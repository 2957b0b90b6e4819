#include "resolver/passed.h"

#include "common/log.h"
#include "resolver/fairtable.h"

#include <stdlib.h>

#define BUCKETS 1024 /* 65,536 clients, in 1.5 MiB that are touched as they come */

struct passed {
    struct siphash_key key;
    uint64_t seconds;
    struct fairtable *table; /* of struct fair_entry alone */
};

struct passed *passed_new(uint64_t seconds)
{
    struct passed *p = calloc(1, sizeof *p);
    if (p == NULL)
        log_die("out of memory at start");
    siphash_key_new(&p->key);
    p->seconds = seconds;
    p->table = fairtable_new(BUCKETS, sizeof(struct fair_entry));
    return p;
}

void passed_free(struct passed *p)
{
    if (p == NULL)
        return;
    fairtable_free(p->table);
    free(p);
}

bool passed_is_known(const struct passed *p, struct span address, uint64_t now)
{
    struct prefix prefix;
    if (!prefix_of(&p->key, address.p, address.n, &prefix))
        return false;
    const struct fair_entry *e = fairtable_find(p->table, prefix.address, prefix.region);
    return e != NULL && now < e->until;
}

void passed_remember(struct passed *p, struct span address, uint64_t now)
{
    struct prefix prefix;
    if (!prefix_of(&p->key, address.p, address.n, &prefix))
        return;
    struct fair_entry *e = fairtable_take(p->table, prefix.address, prefix.region);
    e->until = now + p->seconds;
}
