#include "qmgr/hash.h"
#include "qmgr/memory.h"

#define SLOTS_LEAST 64

static size_t slot_of(const struct hash *h, uint64_t key)
{
    key ^= key >> 33;
    key *= 0xff51afd7ed558ccdu;
    key ^= key >> 33;
    return (size_t)key & h->mask;
}

void hash_init(struct hash *h)
{
    *h = (struct hash){.slots = memory_new(SLOTS_LEAST, sizeof(struct hash_node *)), .mask = SLOTS_LEAST - 1};
}

void hash_free(struct hash *h)
{
    free(h->slots);
    *h = (struct hash){0};
}

/* Without memory for more slots the chains just get longer. */
static void grow(struct hash *h)
{
    struct hash old = *h;
    struct hash_node **slots = calloc((h->mask + 1) * 2, sizeof *slots);
    if (!slots)
        return;
    h->slots = slots;
    h->mask = h->mask * 2 + 1;
    for (size_t i = 0; i <= old.mask; i++) {
        for (struct hash_node *n = old.slots[i], *next; n; n = next) {
            next = n->next;
            size_t slot = slot_of(h, n->key);
            n->next = h->slots[slot];
            h->slots[slot] = n;
        }
    }
    free(old.slots);
}

void hash_add(struct hash *h, struct hash_node *n, uint64_t key)
{
    if (h->count > h->mask)
        grow(h);
    n->key = key;
    size_t slot = slot_of(h, key);
    n->next = h->slots[slot];
    h->slots[slot] = n;
    h->count++;
}

void hash_remove(struct hash *h, struct hash_node *n)
{
    struct hash_node **p = &h->slots[slot_of(h, n->key)];
    while (*p && *p != n)
        p = &(*p)->next;
    if (!*p)
        log_die("hash: a node to be removed is not in its table");
    *p = n->next;
    n->next = NULL;
    h->count--;
}

struct hash_node *hash_find(const struct hash *h, uint64_t key)
{
    struct hash_node *n = h->slots[slot_of(h, key)];
    while (n && n->key != key)
        n = n->next;
    return n;
}

struct hash_node *hash_same(const struct hash_node *n)
{
    uint64_t key = n->key;
    struct hash_node *next = n->next;
    while (next && next->key != key)
        next = next->next;
    return next;
}

/* Who walks a large table waits for memory at each node: those further on are fetched meanwhile. */
#define AHEAD 16

static struct hash_node *from_slot(const struct hash *h, size_t slot)
{
    for (; slot <= h->mask; slot++) {
        if (slot + AHEAD <= h->mask)
            __builtin_prefetch(h->slots[slot + AHEAD]);
        if (h->slots[slot])
            return h->slots[slot];
    }
    return NULL;
}

struct hash_node *hash_first(const struct hash *h)
{
    return from_slot(h, 0);
}

struct hash_node *hash_after(const struct hash *h, const struct hash_node *n)
{
    return n->next ? n->next : from_slot(h, slot_of(h, n->key) + 1);
}

/* A table only grows, to twice its slots: what was in slot i is then in it, or in one behind all that were there. */
bool hash_walk(const struct hash *h, size_t *at, size_t slots, void (*each)(struct hash_node *, void *arg), void *arg)
{
    size_t end = slots <= h->mask - *at ? *at + slots : h->mask + 1;
    for (; *at < end; (*at)++) {
        if (*at + AHEAD <= h->mask)
            __builtin_prefetch(h->slots[*at + AHEAD]);
        for (struct hash_node *n = h->slots[*at]; n; n = n->next)
            each(n, arg);
    }
    return *at <= h->mask;
}

static uint64_t rotate(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

uint64_t hash_bytes(const uint64_t secret[2], struct span s)
{
    uint64_t v[4] = {secret[0] ^ 0x736f6d6570736575u, secret[1] ^ 0x646f72616e646f6du, secret[0] ^ 0x6c7967656e657261u,
                     secret[1] ^ 0x7465646279746573u};
    size_t whole = s.n & ~(size_t)7;
    for (size_t i = 0; i < whole; i += 8) {
        uint64_t word;
        memcpy(&word, s.p + i, 8);
        sip_word(v, word);
    }
    uint64_t last = (uint64_t)s.n << 56;
    for (size_t i = whole; i < s.n; i++)
        last |= (uint64_t)(unsigned char)s.p[i] << (8 * (i - whole));
    sip_word(v, last);
    v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}
