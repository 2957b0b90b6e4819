/* hash: an intrusive hash table. A node lives in the thing it finds; the table owns only its slots. Keys are 64-bit numbers: an id, or the
 * keyed hash of a name (several things may then have one key: walk them with hash_same() and compare). */
#ifndef POSTINO_HASH_H
#define POSTINO_HASH_H

#include "common/span.h"

#include <stdbool.h>
#include <stdint.h>

struct hash_node {
    struct hash_node *next;
    uint64_t key;
};

struct hash {
    struct hash_node **slots;
    size_t mask; /* slots - 1, a power of two */
    size_t count;
};

void hash_init(struct hash *);
void hash_free(struct hash *); /* the slots; nodes are their owners' */
void hash_add(struct hash *, struct hash_node *, uint64_t key);
void hash_remove(struct hash *, struct hash_node *);
struct hash_node *hash_find(const struct hash *, uint64_t key);
struct hash_node *hash_same(const struct hash_node *); /* the next one with the same key */

/* All nodes, in no order: for (n = hash_first(h); n; n = hash_after(h, n)). To remove n in the loop, take its successor first. */
struct hash_node *hash_first(const struct hash *);
struct hash_node *hash_after(const struct hash *, const struct hash_node *);
/* The same in pieces of so many slots (there are about as many as nodes), between which nodes may come and go; `each` may add and remove none. *at begins with
 * 0, and moves on. What is there all the time is met; some of it twice, if the table grows meanwhile. False: that was the last piece. */
bool hash_walk(const struct hash *, size_t *at, size_t slots, void (*each)(struct hash_node *, void *arg), void *arg);

/* SipHash-1-3: strangers choose names, so the key must be secret. */
uint64_t hash_bytes(const uint64_t secret[2], struct span);

#define HASH_OWNER(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

#endif
