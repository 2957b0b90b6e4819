/* ETRN (RFC 1985): what waits for a domain is due now, and a dead site gets a probe. Anybody may ask, so nothing is done twice in queue.etrn_wait: not
 * for the same name, and not for the same site by another of its names. */
#include "qmgr/limits.h"
#include "qmgr/memory.h"
#include "qmgr/queue.h"

#include <sys/random.h>

#define MARKS 4096
#define REACH 16 /* places where one may stand */

struct mark {
    uint64_t key, until; /* seconds since 1970 */
};

/* Names can be made up (below a domain of relay_to), so a new one takes the place of the one that ends first: who does that without end may ask
 * for one name often, and gets no site flushed by it. Sites are what is there: if all places are taken, it is as if it had just been asked for. */
static struct mark names[MARKS], sites[MARKS];

/* True: not since a while; it is now. */
static bool may(struct mark *marks, bool yields, struct span name)
{
    static uint64_t secret[2];
    uint64_t now = queue_now();
    struct mark *free = NULL, *first = NULL;
    if (!secret[0] && getrandom(secret, sizeof secret, 0) != sizeof secret)
        log_die("no random numbers");
    uint64_t key = hash_bytes(secret, name);
    for (size_t i = 0; i < REACH; i++) {
        struct mark *m = &marks[(key + i) % MARKS];
        if (m->until > now && m->key == key)
            return false;
        if (m->until <= now && !free)
            free = m;
        if (!first || m->until < first->until)
            first = m;
    }
    if (!free && !yields)
        return false;
    free = free ? free : first;
    *free = (struct mark){.key = key, .until = now + queue.settings->queue_etrn_wait};
    return true;
}

static bool name_may(struct span name)
{
    return may(names, true, name);
}

static bool site_may(struct span name)
{
    return may(sites, false, name);
}

static struct span lower_case(struct span s, char text[256])
{
    for (size_t i = 0; i < s.n; i++)
        text[i] = s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] + ('a' - 'A')) : s.p[i];
    return span_make(text, s.n);
}

struct below {
    struct span domain;
    size_t jobs;
};

static void flush_below(struct span domain, void *arg)
{
    struct below *b = arg;
    bool is = domain.n > b->domain.n + 1 && domain.p[domain.n - b->domain.n - 1] == '.' &&
              span_equal_nocase(span_make(domain.p + domain.n - b->domain.n, b->domain.n), b->domain);
    if (is)
        b->jobs += site_flush_limited(domain, site_may);
}

enum flush_code etrn_flush(struct span domain, bool below, size_t *count)
{
    char text[256];
    struct below b = {0};
    *count = 0;
    if (domain.n == 0 || domain.n >= sizeof text)
        return FLUSH_DONE;
    b.domain = lower_case(domain, text);
    if (!name_may(b.domain))
        return FLUSH_TOO_SOON;
    b.jobs = site_flush_limited(limits_nexthop(queue.settings, b.domain), site_may);
    if (below)
        site_each_line(flush_below, &b);
    *count = b.jobs;
    return FLUSH_DONE;
}
