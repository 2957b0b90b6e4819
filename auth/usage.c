#include "auth/usage.h"

#include "common/log.h"

#include <stdlib.h>
#include <sys/random.h>

#define WAYS 16
#define HOUR ((uint64_t)3600 * 1000)
#define DAY  (24 * HOUR)

struct account {
    uint64_t key;                            /* 0: free */
    uint64_t messages, recipients;           /* milliseconds: when each count has leaked away */
    uint64_t held_messages, held_recipients; /* the same for what is held */
    uint64_t alarmed;                        /* milliseconds; 0: never */
};

static struct {
    struct usage_limits limits;
    uint64_t seed;
    struct account *accounts;
} self;

void usage_open(const struct usage_limits *limits)
{
    free(self.accounts);
    self.limits = *limits;
    self.accounts = calloc(USAGE_MOST, sizeof *self.accounts);
    if (!self.accounts || getrandom(&self.seed, sizeof self.seed, 0) != (ssize_t)sizeof self.seed)
        log_die("no memory or no randomness at start");
}

static unsigned char lower(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
}

/* Nobody chooses names here: they are those of accounts. Some back ends take any case of a name for the same account. The low bits choose the place,
 * and names that differ in their last letters only must not crowd there. */
static uint64_t key_of(struct span login)
{
    uint64_t key = self.seed;
    for (size_t i = 0; i < login.n; i++)
        key = (key ^ lower(login.p[i])) * 0x100000001b3u;
    key = (key ^ key >> 33) * 0xff51afd7ed558ccdu;
    key = (key ^ key >> 33) * 0xc4ceb9fe1a85ec53u;
    key ^= key >> 33;
    return key ? key : 1;
}

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t later(const struct account *a)
{
    return most(most(a->messages, a->recipients), most(a->held_messages, a->held_recipients));
}

static struct account *find(uint64_t key)
{
    struct account *first = self.accounts + key % (USAGE_MOST / WAYS) * WAYS, *least = first;
    for (size_t i = 0; i < WAYS; i++) {
        if (first[i].key == key)
            return &first[i];
        if (later(&first[i]) < later(least))
            least = &first[i];
    }
    *least = (struct account){.key = key};
    return least;
}

/* True: it no longer fits into an hour. What is beyond is not added up, so that the limit holds again as soon as the flood ends. */
static bool add(uint64_t *empty, uint64_t n, uint64_t limit, uint64_t now_ms)
{
    if (!limit)
        return false;
    uint64_t from = *empty > now_ms ? *empty : now_ms, to = from + (HOUR * n + limit - 1) / limit;
    bool beyond = to - now_ms > HOUR;
    *empty = beyond ? from : to;
    return beyond;
}

/* The last one that begins below the limit may go past it, or a message with many recipients could never be held. */
static bool has_room(uint64_t empty, uint64_t limit, uint64_t now_ms)
{
    return !limit || empty <= now_ms || empty - now_ms + DAY / limit <= DAY;
}

static void add_held(uint64_t *empty, uint64_t n, uint64_t limit, uint64_t now_ms)
{
    uint64_t from = most(*empty, now_ms);
    if (limit)
        *empty = from + (n < limit ? DAY * n / limit : DAY);
}

/* False: too much is held already. */
static bool hold(struct account *a, uint32_t recipients, uint64_t now_ms)
{
    if (!has_room(a->held_messages, self.limits.messages, now_ms) || !has_room(a->held_recipients, self.limits.recipients, now_ms))
        return false;
    add_held(&a->held_messages, 1, self.limits.messages, now_ms);
    add_held(&a->held_recipients, recipients, self.limits.recipients, now_ms);
    return true;
}

enum usage_answer usage_add(struct span login, uint32_t recipients, uint64_t now)
{
    uint64_t now_ms = now * 1000 + 1;
    struct account *a = find(key_of(login));
    bool messages = add(&a->messages, 1, self.limits.messages, now_ms);
    bool beyond = add(&a->recipients, recipients, self.limits.recipients, now_ms) || messages;
    if (!beyond)
        return USAGE_OK;
    if (!hold(a, recipients, now_ms))
        return USAGE_REFUSE;
    if (a->alarmed && now_ms - a->alarmed < HOUR)
        return USAGE_BEYOND;
    a->alarmed = now_ms;
    return USAGE_ALARM;
}
