#include "delivery/hosts.h"

#include "common/address.h"
#include "common/log.h"
#include "delivery/reach.h"

#include <stdio.h>
#include <stdlib.h>

static char *copy(struct span text)
{
    char *c = strndup(text.n ? text.p : "", text.n);
    if (!c)
        log_die("out of memory for the hosts of a site");
    return c;
}

static void add(struct hosts *h, const struct nexthop *hop, const struct settings *settings, const struct record_host *record,
                const struct sockaddr_storage *address, socklen_t length)
{
    struct host host = {.address = *address,
                        .address_length = length,
                        .dane = (enum dane_verdict)record->dane,
                        .preference = record->preference,
                        .record = h->records};
    struct buf text = BUF_EMPTY(sizeof host.text - 1);
    address_of_socket((const struct sockaddr *)address, &text);
    snprintf(host.text, sizeof host.text, "%s", buf_text(&text));
    buf_free(&text);
    const char *setting, *why = nexthop_forbids(hop, settings, (const struct sockaddr *)address, &setting);
    if (why) {
        snprintf(h->left_out, sizeof h->left_out, "%.*s[%s]: %s", SPAN_ARG(record->name), host.text, why);
        h->setting = setting;
        return;
    }
    struct host *more = h->n < HOSTS_MAX ? realloc(h->v, (h->n + 1) * sizeof *more) : NULL;
    if (!more)
        return;
    h->v = more;
    host.name = copy(record->name);
    host.base = copy(record->base);
    host.tlsa = copy(record->tlsa);
    h->v[h->n++] = host;
}

/* The host is this one, whatever the socket. */
static void of_socket(struct hosts *h, const struct nexthop *hop, const struct settings *settings)
{
    struct host host = {.address = hop->address, .address_length = hop->address_length, .dane = DANE_UNASKED};
    snprintf(host.text, sizeof host.text, "%.*s", (int)sizeof host.text - 1, hop->name);
    if (!(h->v = calloc(1, sizeof *h->v)))
        return;
    host.name = copy(span_of(settings->hostname));
    host.base = copy(SPAN_LITERAL(""));
    host.tlsa = copy(SPAN_LITERAL(""));
    h->v[h->n++] = host;
}

void hosts_of_address(struct hosts *h, const struct nexthop *hop, const struct settings *settings)
{
    *h = (struct hosts){0};
    if (hop->kind == NEXTHOP_SOCKET) {
        of_socket(h, hop, settings);
        return;
    }
    add(h, hop, settings, &(struct record_host){.name = span_of(hop->name)}, &hop->address, hop->address_length);
}

static struct span next_word(struct span *in)
{
    const char *blank = in->n ? memchr(in->p, ' ', in->n) : NULL;
    struct span word = span_make(in->p, blank ? (size_t)(blank - in->p) : in->n);
    size_t skip = word.n + (blank ? 1 : 0);
    *in = span_make(in->p ? in->p + skip : NULL, in->n - skip);
    return word;
}

/* One walk through the addresses of a host. */
struct walk {
    struct span left;
    int family;
};

/* The next one of the walk's family that is doubtful, or the next that is not. */
static bool next_of(struct walk *w, unsigned port, bool doubtful, uint64_t now, struct sockaddr_storage *address, socklen_t *length)
{
    while (w->left.n) {
        if (address_to_socket(next_word(&w->left), port, address, length) && address->ss_family == w->family &&
            reach_is_doubtful((const struct sockaddr *)address, now) == doubtful)
            return true;
    }
    return false;
}

static void add_in_turn(struct hosts *h, const struct nexthop *hop, const struct settings *settings, const struct record_host *record,
                        bool doubtful, uint64_t now)
{
    bool six = reach_prefers_ipv6(now);
    struct walk walks[2] = {{record->addresses, six ? AF_INET6 : AF_INET}, {record->addresses, six ? AF_INET : AF_INET6}};
    while (walks[0].left.n || walks[1].left.n) {
        for (size_t i = 0; i < 2; i++) {
            struct sockaddr_storage address;
            socklen_t length;
            if (next_of(&walks[i], hop->port, doubtful, now, &address, &length))
                add(h, hop, settings, record, &address, length);
        }
    }
}

/* dns is asked, yet what it says comes from strangers: a name or an address that is none is left out. */
static void add_host(struct hosts *h, const struct nexthop *hop, const struct settings *settings, struct record_host *record, uint64_t now)
{
    if (record->name.n && record->name.p[record->name.n - 1] == '.')
        record->name.n--;
    if (!address_is_domain(record->name, true))
        return;
    if (record->dane > DANE_TROUBLE || (record->dane == DANE_RECORDS && !address_is_domain(record->base, false)))
        record->dane = DANE_TROUBLE;
    if (record->addresses.n == 0 && (!h->unresolved || record->preference < h->missing))
        h->missing = record->preference;
    h->unresolved |= record->addresses.n == 0;
    h->records++;
    add_in_turn(h, hop, settings, record, false, now);
    add_in_turn(h, hop, settings, record, true, now);
}

void hosts_of_answer(struct hosts *h, const struct nexthop *hop, const struct settings *settings, struct list answer, uint64_t now)
{
    struct record_host record;
    *h = (struct hosts){0};
    while (record_host_next(&answer, &record))
        add_host(h, hop, settings, &record, now);
}

size_t hosts_first(const struct hosts *h, int family, size_t but_for)
{
    size_t i = 0;
    while (i < h->n && (i == but_for || h->v[i].over || (family != AF_UNSPEC && h->v[i].address.ss_family != family)))
        i++;
    return i;
}

int hosts_other_family(int family)
{
    return family == AF_INET6 ? AF_INET : AF_INET6;
}

static void forget(struct host *host)
{
    free(host->name);
    free(host->base);
    free(host->tlsa);
}

void hosts_keep(struct hosts *h, bool ipv4, bool ipv6)
{
    size_t n = 0;
    for (size_t i = 0; i < h->n; i++) {
        if (h->v[i].address.ss_family == AF_INET ? ipv4 : ipv6)
            h->v[n++] = h->v[i];
        else
            forget(&h->v[i]);
    }
    h->n = n;
}

void hosts_free(struct hosts *h)
{
    for (size_t i = 0; i < h->n; i++)
        forget(&h->v[i]);
    free(h->v);
    *h = (struct hosts){0};
}
