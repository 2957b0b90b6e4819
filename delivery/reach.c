#include "delivery/reach.h"

#include "common/crc32c.h"

#include <ctype.h>
#include <netinet/in.h>
#include <string.h>

#define WAYS 8 /* places in a row: an address has the row that its hash names */

#define SLOW ((uint64_t)100) /* milliseconds for a connection: what is faster needs no place */

struct place {
    uint64_t until; /* it is remembered; 0: free */
    uint64_t took;  /* to connect; 0: it failed */
    int family;
    unsigned char octets[16];
};

struct family {
    uint64_t until;
    size_t count;
    uint32_t hosts[REACH_HOSTS]; /* hashes of their names */
};

static struct place places[REACH_PLACES / WAYS][WAYS];
static struct family families[2];

/* A UNIX socket has neither a family to speak of nor another address. */
static bool is_of_network(const struct sockaddr *address)
{
    return address->sa_family == AF_INET || address->sa_family == AF_INET6;
}

static struct place key_of(const struct sockaddr *address)
{
    struct place key = {.family = address->sa_family};
    if (address->sa_family == AF_INET)
        memcpy(key.octets, &((const struct sockaddr_in *)(const void *)address)->sin_addr, sizeof(struct in_addr));
    else
        memcpy(key.octets, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, sizeof(struct in6_addr));
    return key;
}

static struct place *row_of(const struct place *key)
{
    return places[crc32c(0, key->octets, sizeof key->octets) % (REACH_PLACES / WAYS)];
}

static struct place *find(const struct sockaddr *address)
{
    struct place key = key_of(address), *row = row_of(&key);
    for (size_t i = 0; i < WAYS; i++)
        if (row[i].until && row[i].family == key.family && memcmp(row[i].octets, key.octets, sizeof key.octets) == 0)
            return &row[i];
    return NULL;
}

/* The one that would be forgotten first makes room. */
static struct place *make(const struct sockaddr *address)
{
    struct place key = key_of(address), *row = row_of(&key), *oldest = row;
    for (size_t i = 1; i < WAYS; i++)
        if (row[i].until < oldest->until)
            oldest = &row[i];
    *oldest = key;
    return oldest;
}

static struct family *family_of(int family)
{
    return &families[family == AF_INET6];
}

static uint32_t hash_of(struct span host)
{
    uint32_t hash = 0;
    for (size_t i = 0; i < host.n; i++) {
        char c = (char)tolower((unsigned char)host.p[i]);
        hash = crc32c(hash, &c, 1);
    }
    return hash;
}

static void blame_family(struct family *f, uint32_t host, uint64_t now)
{
    if (now >= f->until)
        f->count = 0;
    f->until = now + REACH_TIME;
    for (size_t i = 0; i < f->count; i++)
        if (f->hosts[i] == host)
            return;
    if (f->count < REACH_HOSTS)
        f->hosts[f->count++] = host;
}

void reach_failed(const struct sockaddr *address, struct span host, uint64_t now)
{
    if (!is_of_network(address))
        return;
    struct place *p = find(address);
    if (!p)
        p = make(address);
    p->until = now + REACH_TIME;
    p->took = 0;
    blame_family(family_of(address->sa_family), hash_of(host), now);
}

void reach_worked(const struct sockaddr *address, uint64_t took, uint64_t now)
{
    if (!is_of_network(address))
        return;
    struct place *p = find(address);
    if (!p && took > SLOW)
        p = make(address);
    if (p) {
        p->until = took > SLOW ? now + REACH_TIME : 0;
        p->took = took;
    }
    family_of(address->sa_family)->count = 0;
}

uint64_t reach_delay(const struct sockaddr *address, uint64_t least, uint64_t now)
{
    const struct place *p = is_of_network(address) ? find(address) : NULL;
    uint64_t delay = p && now < p->until ? 2 * p->took : 0;
    if (delay > REACH_DELAY)
        delay = REACH_DELAY;
    return delay > least ? delay : least;
}

bool reach_is_doubtful(const struct sockaddr *address, uint64_t now)
{
    const struct place *p = is_of_network(address) ? find(address) : NULL;
    return p && now < p->until && p->took == 0;
}

bool reach_family_is_doubtful(int family, uint64_t now)
{
    const struct family *f = family_of(family);
    return f->count == REACH_HOSTS && now < f->until;
}

bool reach_prefers_ipv6(uint64_t now)
{
    return !reach_family_is_doubtful(AF_INET6, now) || reach_family_is_doubtful(AF_INET, now);
}

void reach_forget(void)
{
    memset(places, 0, sizeof places);
    memset(families, 0, sizeof families);
}
