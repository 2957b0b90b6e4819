#include "smtpd/clients.h"

#include "common/address.h"
#include "common/log.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define BUCKETS 4096

struct client {
    struct client *next;
    uint64_t key;
    uint64_t sessions;
};

struct clients {
    uint64_t seed; /* so that nobody can choose addresses that share a bucket */
    struct client *buckets[BUCKETS];
};

static uint64_t key_of(const struct sockaddr *address)
{
    struct network client;
    uint64_t key;
    network_of(address, REACH_CLIENT, &client);
    memcpy(&key, client.bytes, sizeof key);
    return key;
}

static struct client **find(struct clients *c, uint64_t key)
{
    uint64_t hash = (key ^ c->seed) * 0x9e3779b97f4a7c15u;
    hash = (hash ^ hash >> 32) * 0xd6e8feb86659fd93u;
    struct client **at = &c->buckets[(hash >> 32) % BUCKETS];
    while (*at && (*at)->key != key)
        at = &(*at)->next;
    return at;
}

struct clients *clients_new(void)
{
    struct clients *c = calloc(1, sizeof *c);
    if (!c || getrandom(&c->seed, sizeof c->seed, 0) != sizeof c->seed)
        log_die("no memory or no randomness at start");
    return c;
}

void clients_free(struct clients *c)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        while (c->buckets[i]) {
            struct client *next = c->buckets[i]->next;
            free(c->buckets[i]);
            c->buckets[i] = next;
        }
    }
    free(c);
}

bool clients_enter(struct clients *c, const struct sockaddr *address, uint64_t most)
{
    uint64_t key = key_of(address);
    struct client **at = find(c, key);
    if (!*at) {
        *at = calloc(1, sizeof **at);
        if (!*at)
            return false;
        (*at)->key = key;
    }
    if ((*at)->sessions >= most)
        return false;
    (*at)->sessions++;
    return true;
}

void clients_leave(struct clients *c, const struct sockaddr *address)
{
    struct client **at = find(c, key_of(address));
    struct client *gone = *at;
    if (!gone || --gone->sessions)
        return;
    *at = gone->next;
    free(gone);
}
