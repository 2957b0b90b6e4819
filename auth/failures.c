#include "auth/failures.h"

#include "common/address.h"
#include "common/log.h"
#include "common/siphash.h"

#include <stdlib.h>
#include <string.h>

#define WAYS          16
#define COUNT_BUCKETS 1024 /* of address, network, account: 16,384 counts each */
#define KNOWN_BUCKETS 8192 /* chosen by the account: one account takes from its own bucket alone */
#define KNOWN_ACCOUNT 8    /* addresses of one account */
#define HOUR          ((uint64_t)3600 * 1000)

struct count {
    uint64_t key;   /* 0: free */
    uint64_t empty; /* milliseconds: when it has leaked away */
};

struct account {
    struct count count;
    uint64_t next; /* milliseconds: when the next guess from a stranger's address may be told its verdict */
};

struct known {
    uint64_t key, account;
    uint64_t empty; /* as above, for this pair */
    uint64_t used;  /* seconds: when the right password came last */
};

static struct {
    struct failures_limits limits;
    struct siphash_key seed;
    struct count *addresses, *networks;
    struct account *accounts;
    struct known *known;
} self;

static void *table(size_t buckets, size_t size)
{
    void *t = calloc(buckets * WAYS, size);
    if (!t)
        log_die("out of memory at start");
    return t;
}

void failures_open(const struct failures_limits *limits)
{
    free(self.addresses);
    free(self.networks);
    free(self.accounts);
    free(self.known);
    self.limits = *limits;
    siphash_key_new(&self.seed);
    self.addresses = table(COUNT_BUCKETS, sizeof *self.addresses);
    self.networks = table(COUNT_BUCKETS, sizeof *self.networks);
    self.accounts = table(COUNT_BUCKETS, sizeof *self.accounts);
    self.known = table(KNOWN_BUCKETS, sizeof *self.known);
}

/* ---- keys ------------------------------------------------------------------------------------------------------------------------ */

static uint64_t hash(const void *data, size_t n)
{
    return siphash(&self.seed, data, n);
}

/* Whether ann and Ann are one is for the back end to say; one count for both is no worse. */
static uint64_t hash_name(struct span name)
{
    char lower[256];
    size_t n = name.n < sizeof lower ? name.n : sizeof lower;
    for (size_t i = 0; i < n; i++)
        lower[i] = name.p[i] >= 'A' && name.p[i] <= 'Z' ? (char)(name.p[i] | 0x20) : name.p[i];
    return hash(lower, n);
}

struct keys {
    uint64_t address, network, account, pair;
};

/* What cannot be read as an address shares one key. */
static uint64_t hash_network(struct span client, enum network_reach reach)
{
    struct sockaddr_storage address = {0};
    struct network network;
    socklen_t length;
    address_to_socket(client, 0, &address, &length);
    network_of((const struct sockaddr *)&address, reach, &network);
    return hash(network.bytes, network.bits / 8);
}

static struct keys keys_of(struct span client, struct span account)
{
    struct keys k = {
        .address = hash_network(client, REACH_CLIENT), .network = hash_network(client, REACH_NETWORK), .account = hash_name(account)};
    k.pair = hash((uint64_t[]){k.address, k.account}, 16);
    return k;
}

uint64_t failures_address(struct span client)
{
    return keys_of(client, span_of("")).address;
}

/* ---- counts ---------------------------------------------------------------------------------------------------------------------- */

static size_t bucket(uint64_t key, size_t buckets)
{
    return (size_t)(key % buckets) * WAYS;
}

static struct count *find_count(struct count *t, uint64_t key)
{
    struct count *first = t + bucket(key, COUNT_BUCKETS);
    for (size_t i = 0; i < WAYS; i++)
        if (first[i].key == key)
            return &first[i];
    return NULL;
}

static struct count *take_count(struct count *t, uint64_t key)
{
    struct count *c = find_count(t, key), *first = t + bucket(key, COUNT_BUCKETS);
    if (c)
        return c;
    c = first;
    for (size_t i = 1; i < WAYS; i++)
        if (first[i].empty < c->empty)
            c = &first[i];
    *c = (struct count){.key = key};
    return c;
}

static void add(uint64_t *empty, uint64_t limit, uint64_t now_ms)
{
    *empty = (*empty > now_ms ? *empty : now_ms) + (limit ? HOUR / limit : 0);
}

/* One more would not fit into an hour. */
static bool is_full(uint64_t empty, uint64_t limit, uint64_t now_ms)
{
    return limit && empty > now_ms && empty - now_ms + HOUR / limit > HOUR;
}

static struct account *find_account(uint64_t key, bool make)
{
    struct account *first = self.accounts + bucket(key, COUNT_BUCKETS), *least = first;
    for (size_t i = 0; i < WAYS; i++) {
        if (first[i].count.key == key)
            return &first[i];
        if (first[i].count.empty < least->count.empty)
            least = &first[i];
    }
    if (!make)
        return NULL;
    *least = (struct account){.count.key = key};
    return least;
}

/* ---- known addresses ------------------------------------------------------------------------------------------------------------- */

static struct known *find_known(const struct keys *k, uint64_t now)
{
    struct known *first = self.known + bucket(k->account, KNOWN_BUCKETS);
    for (size_t i = 0; i < WAYS; i++)
        if (first[i].key == k->pair && now - first[i].used <= self.limits.known_time)
            return &first[i];
    return NULL;
}

/* The place of the account's oldest if it has as many as it may, else that of the bucket's oldest. */
static struct known *known_place(const struct keys *k)
{
    struct known *first = self.known + bucket(k->account, KNOWN_BUCKETS), *oldest = first, *own = NULL;
    size_t count = 0;
    for (size_t i = 0; i < WAYS; i++) {
        struct known *e = &first[i];
        if (e->key == k->pair)
            return e;
        if (!e->key || (oldest->key && e->used < oldest->used))
            oldest = e;
        if (e->key && e->account == k->account && ++count && (!own || e->used < own->used))
            own = e;
    }
    return count >= KNOWN_ACCOUNT ? own : oldest;
}

void failures_right(struct span client, struct span account, uint64_t now)
{
    struct keys k = keys_of(client, account);
    struct known *e = known_place(&k);
    if (e->key != k.pair)
        *e = (struct known){.key = k.pair, .account = k.account};
    e->used = now;
}

/* ---- questions ------------------------------------------------------------------------------------------------------------------- */

void failures_wrong(struct span client, struct span account, uint64_t now)
{
    struct keys k = keys_of(client, account);
    uint64_t now_ms = now * 1000;
    struct known *known = find_known(&k, now);
    if (known) {
        add(&known->empty, self.limits.address, now_ms);
        return;
    }
    add(&take_count(self.addresses, k.address)->empty, self.limits.address, now_ms);
    add(&take_count(self.networks, k.network)->empty, self.limits.network, now_ms);
    if (account.n)
        add(&find_account(k.account, true)->count.empty, self.limits.account, now_ms);
}

static bool count_is_full(struct count *t, uint64_t key, uint64_t limit, uint64_t now_ms)
{
    const struct count *c = find_count(t, key);
    return c && is_full(c->empty, limit, now_ms);
}

/* `delay` NULL: no place is taken. */
static enum failures_answer wait_in_line(struct account *a, uint64_t now_ms, uint32_t *delay)
{
    uint64_t at = a->next > now_ms ? a->next : now_ms;
    if (at - now_ms >= FAILURES_LINE * FAILURES_PACE * 1000)
        return FAILURES_BUSY;
    if (!delay)
        return FAILURES_GO;
    a->next = at + FAILURES_PACE * 1000;
    *delay = (uint32_t)((a->next - now_ms) / 1000);
    return FAILURES_GO;
}

static enum failures_answer look(struct span client, struct span account, uint64_t now, uint32_t *delay)
{
    struct keys k = keys_of(client, account);
    uint64_t now_ms = now * 1000;
    const struct known *known = find_known(&k, now);
    if (known)
        return is_full(known->empty, self.limits.address, now_ms) ? FAILURES_REFUSE : FAILURES_GO;
    if (count_is_full(self.addresses, k.address, self.limits.address, now_ms) ||
        count_is_full(self.networks, k.network, self.limits.network, now_ms))
        return FAILURES_REFUSE;
    struct account *a = find_account(k.account, false);
    return a && is_full(a->count.empty, self.limits.account, now_ms) ? wait_in_line(a, now_ms, delay) : FAILURES_GO;
}

enum failures_answer failures_may_try(struct span client, struct span account, uint64_t now)
{
    return look(client, account, now, NULL);
}

enum failures_answer failures_take_turn(struct span client, struct span account, uint64_t now, uint32_t *delay)
{
    *delay = 0;
    return look(client, account, now, delay);
}
