#include "resolver/throttle.h"

#include "common/log.h"
#include "resolver/fairtable.h"

#include <stdlib.h>

#define RATE_BUCKETS  256 /* 16,384 addresses, and as many networks: 1.2 MiB each, touched as they come */
#define CROWD_BUCKETS 16384
#define MINUTE        ((uint64_t)60 * 1000000)

/* Who has sessions, and how many. */
struct crowd {
    struct crowd *next;
    uint64_t key;
    uint64_t sessions;
};

/* When each of its rates has leaked away; entry.until is the last of them. */
struct rates {
    struct fair_entry entry;
    uint64_t empty[THROTTLE_RATES];
};

struct throttle {
    struct throttle_limits limits;
    struct siphash_key key;
    struct fairtable *addresses, *networks;
    struct crowd *crowds[CROWD_BUCKETS];
};

static const char *const rate_names[THROTTLE_RATES] = {"connections", "messages", "recipients", "errors", "tls", "auth"};

struct throttle *throttle_new(const struct throttle_limits *limits)
{
    struct throttle *t = calloc(1, sizeof *t);
    if (t == NULL)
        log_die("out of memory at start");
    siphash_key_new(&t->key);
    t->limits = *limits;
    t->addresses = fairtable_new(RATE_BUCKETS, sizeof(struct rates));
    t->networks = fairtable_new(RATE_BUCKETS, sizeof(struct rates));
    return t;
}

void throttle_free(struct throttle *t)
{
    if (t == NULL)
        return;
    fairtable_free(t->addresses);
    fairtable_free(t->networks);
    for (size_t i = 0; i < CROWD_BUCKETS; i++) {
        for (struct crowd *next, *c = t->crowds[i]; c != NULL; c = next) {
            next = c->next;
            free(c);
        }
    }
    free(t);
}

/* What one may have, and what a network may have; 0: no limit. */
static uint64_t most_of(const struct throttle *t, uint64_t limit, bool network)
{
    if (!network)
        return limit;
    return limit > MINUTE / (t->limits.networks ? t->limits.networks : 1) ? MINUTE : limit * t->limits.networks;
}

static void tell(struct throttle_excess *excess, const char *limit, uint64_t most, uint64_t count, bool network)
{
    *excess = (struct throttle_excess){.limit = limit, .most = most, .count = count, .network = network};
}

/* ---- sessions ------------------------------------------------------------------------------------------------------------------ */

static struct crowd **crowd_of(struct throttle *t, uint64_t key)
{
    struct crowd **at = &t->crowds[key % CROWD_BUCKETS];
    while (*at != NULL && (*at)->key != key)
        at = &(*at)->next;
    return at;
}

static uint64_t sessions_of(struct throttle *t, uint64_t key)
{
    struct crowd **at = crowd_of(t, key);
    return *at != NULL ? (*at)->sessions : 0;
}

static void join(struct throttle *t, uint64_t key)
{
    struct crowd **at = crowd_of(t, key);
    if (*at == NULL) {
        *at = calloc(1, sizeof **at);
        if (*at == NULL)
            log_die("out of memory for a client");
        (*at)->key = key;
    }
    (*at)->sessions++;
}

static void part(struct throttle *t, uint64_t key)
{
    struct crowd **at = crowd_of(t, key), *gone = *at;
    if (gone == NULL || --gone->sessions > 0)
        return;
    *at = gone->next;
    free(gone);
}

static bool has_room(struct throttle *t, uint64_t key, bool network, struct throttle_excess *excess)
{
    uint64_t most = most_of(t, t->limits.sessions, network), count = sessions_of(t, key);
    if (most == 0 || count < most)
        return true;
    tell(excess, "sessions", most, count, network);
    return false;
}

bool throttle_enter(struct throttle *t, struct span address, struct throttle_guest *guest, struct throttle_excess *excess)
{
    struct prefix p = {0};
    *guest = (struct throttle_guest){0};
    if (!prefix_of(&t->key, address.p, address.n, &p))
        return true;
    if (excess != NULL && (!has_room(t, p.address, false, excess) || !has_room(t, p.network, true, excess)))
        return false;
    *guest = (struct throttle_guest){.address = p.address, .network = p.network};
    join(t, p.address);
    join(t, p.network);
    return true;
}

void throttle_leave(struct throttle *t, const struct throttle_guest *guest)
{
    if (guest->address == 0)
        return;
    part(t, guest->address);
    part(t, guest->network);
}

/* ---- rates --------------------------------------------------------------------------------------------------------------------- */

static bool rate_fits(const struct throttle *t, const struct prefix *p, enum throttle_rate rate, bool network, uint64_t now,
                      struct throttle_excess *excess)
{
    uint64_t most = most_of(t, t->limits.rates[rate], network);
    const struct rates *r =
        most ? fairtable_find(network ? t->networks : t->addresses, network ? p->network : p->address, p->region) : NULL;
    if (r == NULL || r->empty[rate] <= now || r->empty[rate] - now + MINUTE / most <= MINUTE)
        return true;
    uint64_t step = MINUTE / most;
    tell(excess, rate_names[rate], most, (r->empty[rate] - now + step - 1) / step, network);
    return false;
}

/* No more than a minute ahead: who did far too much is refused no longer than who did too much. */
static void rate_add(struct throttle *t, const struct prefix *p, enum throttle_rate rate, bool network, uint64_t n, uint64_t now)
{
    uint64_t most = most_of(t, t->limits.rates[rate], network);
    if (most == 0 || n == 0)
        return;
    struct rates *r = fairtable_take(network ? t->networks : t->addresses, network ? p->network : p->address, p->region);
    uint64_t from = r->empty[rate] > now ? r->empty[rate] : now;
    uint64_t room = now + MINUTE > from ? now + MINUTE - from : 0, more = n < most ? n * (MINUTE / most) : MINUTE;
    r->empty[rate] = from + (more < room ? more : room);
    if (r->empty[rate] > r->entry.until)
        r->entry.until = r->empty[rate];
}

bool throttle_fits(const struct throttle *t, struct span address, enum throttle_rate rate, uint64_t now, struct throttle_excess *excess)
{
    struct prefix p;
    return t->limits.rates[rate] == 0 || !prefix_of(&t->key, address.p, address.n, &p) ||
           (rate_fits(t, &p, rate, false, now, excess) && rate_fits(t, &p, rate, true, now, excess));
}

void throttle_add(struct throttle *t, struct span address, enum throttle_rate rate, uint64_t n, uint64_t now)
{
    struct prefix p;
    if (t->limits.rates[rate] == 0 || !prefix_of(&t->key, address.p, address.n, &p))
        return;
    rate_add(t, &p, rate, false, n, now);
    rate_add(t, &p, rate, true, n, now);
}

bool throttle_count(struct throttle *t, struct span address, enum throttle_rate rate, uint64_t now, struct throttle_excess *excess)
{
    if (!throttle_fits(t, address, rate, now, excess))
        return false;
    throttle_add(t, address, rate, 1, now);
    return true;
}
