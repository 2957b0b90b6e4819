/* An idle session of another site gives its connection to one that is about to connect to the same host: many domains have one MX host, and each is a site.
 *
 *   RESOLVING --> the host, and what it must be, are known --> no idle session fits: CONNECTING
 *                                                          `-> one does: its connection is taken over, for the job that waits
 *
 * All that is the next hop's stays with the session that takes: the addresses, the MTA-STS policy, whether DNSSEC proves them. All that the host said, and what was
 * proved of it, comes with the connection; the session that had it ends. The way of the site, the host's name and address, and the level are the same, and so is
 * what was demanded of the certificate: this connection is what a fresh one would have to be. */
#include "delivery/session_internal.h"

#include "common/clock.h"
#include "common/crc32c.h"
#include "delivery/remote.h"
#include "delivery/tlsa.h"

#define BUCKETS 1024

static struct session *offered[BUCKETS]; /* idle sessions by their address, newest first */

static struct session **bucket_of(const struct host *h)
{
    return &offered[crc32c(0, &h->address, h->address_length) % BUCKETS];
}

void reuse_offer(struct session *s)
{
    struct session **bucket = bucket_of(session_host(s));
    s->next_offered = *bucket;
    *bucket = s;
}

void reuse_withdraw(struct session *s)
{
    if (s->at >= s->hosts.n) /* it never was */
        return;
    struct session **at = bucket_of(session_host(s));
    while (*at && *at != s)
        at = &(*at)->next_offered;
    if (*at)
        *at = s->next_offered;
    s->next_offered = NULL;
}

/* ---- what must be the same ------------------------------------------------------------------------------------------------------- */

/* All that makes a site, but its next hop and hosts. Whether they are ourselves is asked of hosts that were found by MX at the usual port, and of no others. */
static bool is_same_way(const struct site *a, const struct site *b)
{
    return a->route == b->route && a->lmtp == b->lmtp && a->implicit == b->implicit && a->require_tls == b->require_tls &&
           a->tls == b->tls && span_equal(a->fingerprints, b->fingerprints) && a->nexthop.kind == b->nexthop.kind &&
           a->nexthop.port_given == b->nexthop.port_given;
}

static bool is_same_host(const struct host *a, const struct host *b)
{
    return a->address_length == b->address_length && memcmp(&a->address, &b->address, a->address_length) == 0 &&
           strcasecmp(a->name, b->name) == 0;
}

/* A key or certificate that is named itself is proved whatever the next hop (RFC 7672 3.1.1); one that an authority signed may have been by its name (3.2.2). */
static bool is_same_proof(const struct host *a, const struct host *b)
{
    return strcmp(a->base, b->base) == 0 && strcmp(a->tlsa, b->tlsa) == 0 && tlsa_is_of_host_alone(span_of(a->tlsa));
}

/* A session whose TLS failed goes on in plain for its own mail: others try TLS. */
static bool is_as_good(const struct session *idle, const struct session *s, const struct host *h)
{
    return is_same_host(session_host(idle), h) && is_same_way(idle->site, s->site) && idle->source == s->source &&
           idle->level == s->level && !idle->plain_only && (s->level != SECURITY_DANE || is_same_proof(session_host(idle), h));
}

/* Nothing came since its last reply. What a host refused it may count against the session (delays, a 421 at last): those whose mail it was keep that one. */
static bool is_clean(const struct session *idle)
{
    return stream_input(idle->stream).n == 0 && idle->reply.octets == 0 && !idle->refused;
}

/* Something waits that this session may have, also by the host's LIMITS, and that gets a fresh one if this one breaks. */
static bool has_room(const struct session *idle, const struct site *site)
{
    uint32_t most = idle->extensions.limits.domains;
    return idle->messages > 0 && site_has(site, idle->messages) && (most == 0 || idle->domain_count < most);
}

static bool is_young(const struct session *idle)
{
    return clock_monotonic_ms() - idle->since < remote.settings->remote_share_time * 1000;
}

static struct session *find_at(const struct session *s, const struct host *h)
{
    struct session *idle = *bucket_of(h);
    while (idle && !(is_as_good(idle, s, h) && is_clean(idle) && is_young(idle) && has_room(idle, s->site)))
        idle = idle->next_offered;
    return idle;
}

/* At one of the host's addresses, also one that had no room for another connection. `at`: which. */
static struct session *find(const struct session *s, size_t *at)
{
    struct session *found = NULL;
    for (size_t i = 0; i < s->hosts.n && !found; i++) {
        const struct host *h = &s->hosts.v[i];
        if (h->record == session_host(s)->record && (found = find_at(s, h)))
            *at = i;
    }
    return found;
}

/* ---- the connection changes hands ------------------------------------------------------------------------------------------------ */

static void move(struct buf *to, struct buf *from)
{
    buf_free(to);
    *to = *from;
    *from = (struct buf){0};
}

/* What forget_former() forgets. */
static void take_over(struct session *s, struct session *idle)
{
    s->shared = true;
    s->since = idle->since;
    s->secured = idle->secured;
    s->plain_only = idle->plain_only;
    s->messages = idle->messages;
    s->messages_most = idle->messages_most;
    s->domain_count = idle->domain_count;
    s->extensions = idle->extensions;
    move(&s->domains, &idle->domains);
    move(&s->security, &idle->security);
    session_own(s, idle->stream);
    idle->stream = NULL;
    session_release(idle);
}

/* The domain of this mail hears of the session what it would have heard of its own, by its own policy. */
static void tell(struct session *s)
{
    if (s->secured)
        tlsreport_secured(s);
    else if (s->level != SECURITY_NONE)
        tlsreport_no_tls(s, "");
}

/* A job that is under way has seen a host fail: it gets connections of its own. */
bool reuse_connection(struct session *s)
{
    size_t at;
    bool login = s->site->route && *s->site->route->login;
    struct session *idle = s->job || login ? NULL : find(s, &at);
    if (!idle)
        return false;
    session_use_address(s, at);
    s->own = OWN_NONE;
    take_over(s, idle);
    tell(s);
    session_ready(s);
    return true;
}
