#include "resolver/door.h"

#include "common/clock.h"
#include "common/log.h"
#include "resolver/fairtable.h"
#include "resolver/passed.h"
#include "resolver/throttle.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 4096

struct guest {
    struct guest *next;
    uint64_t number;
    struct throttle_guest counted;
    size_t n;
    char address[INET6_ADDRSTRLEN];
};

struct door {
    const struct settings *settings;
    struct throttle *throttle;
    struct passed *passed;
};

struct doorway {
    struct door *door;
    struct siphash_key key;
    size_t count;
    struct guest *guests[BUCKETS];
};

/* What smtpd says when a limit is exceeded; Postfix's words, for those who read logs. */
static const struct {
    const char *limit;
    unsigned code;
    const char *status, *words;
} refusals[] = {
    {"sessions", 421, "4.7.0", "too many connections"},  {"connections", 421, "4.7.0", "too many connections"},
    {"errors", 421, "4.7.0", "too many errors"},         {"messages", 450, "4.7.1", "too much mail"},
    {"recipients", 450, "4.7.1", "too many recipients"}, {"tls", 421, "4.7.0", "too many new TLS sessions"},
    {"auth", 450, "4.7.1", "too many AUTH commands"},
};

struct door *door_new(const struct settings *s)
{
    struct door *d = calloc(1, sizeof *d);
    if (d == NULL)
        log_die("out of memory at start");
    struct throttle_limits limits = {.sessions = s->client_sessions, .networks = s->client_networks};
    limits.rates[THROTTLE_CONNECTIONS] = s->client_connections;
    limits.rates[THROTTLE_MESSAGES] = s->client_messages;
    limits.rates[THROTTLE_RECIPIENTS] = s->client_recipients;
    limits.rates[THROTTLE_ERRORS] = s->client_errors;
    limits.rates[THROTTLE_TLS] = s->client_tls;
    limits.rates[THROTTLE_AUTH] = s->client_auth;
    d->settings = s;
    d->throttle = throttle_new(&limits);
    d->passed = passed_new(s->smtpd_greet_passed);
    return d;
}

void door_free(struct door *d)
{
    if (d == NULL)
        return;
    throttle_free(d->throttle);
    passed_free(d->passed);
    free(d);
}

/* ---- guests -------------------------------------------------------------------------------------------------------------------- */

struct doorway *doorway_new(struct door *d)
{
    struct doorway *w = calloc(1, sizeof *w);
    if (w == NULL)
        log_die("out of memory for an edge");
    w->door = d;
    siphash_key_new(&w->key);
    return w;
}

static struct guest **find(struct doorway *w, uint64_t number)
{
    struct guest **at = &w->guests[siphash(&w->key, &number, sizeof number) % BUCKETS];
    while (*at != NULL && (*at)->number != number)
        at = &(*at)->next;
    return at;
}

static void dismiss(struct doorway *w, struct guest **at)
{
    struct guest *g = *at;
    throttle_leave(w->door->throttle, &g->counted);
    *at = g->next;
    free(g);
    w->count--;
}

void doorway_free(struct doorway *w)
{
    if (w == NULL)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        while (w->guests[i] != NULL)
            dismiss(w, &w->guests[i]);
    free(w);
}

/* Who is here already is not counted again: a question may be asked twice. False: too many; `excess` says of what. */
static bool let_in(struct doorway *w, uint64_t number, struct span address, struct throttle_excess *excess)
{
    struct throttle_guest counted;
    struct guest **at = find(w, number);
    if (*at != NULL || w->count >= w->door->settings->limit_sessions || address.n >= INET6_ADDRSTRLEN)
        return true;
    if (!throttle_enter(w->door->throttle, address, &counted, excess))
        return false;
    struct guest *g = calloc(1, sizeof *g);
    if (g == NULL)
        log_die("out of memory for a session");
    *g = (struct guest){.number = number, .counted = counted, .n = address.n};
    memcpy(g->address, address.p != NULL ? address.p : "", address.n);
    *at = g;
    w->count++;
    return true;
}

/* ---- answers ------------------------------------------------------------------------------------------------------------------- */

struct refusal {
    unsigned code;
    const char *status;
    struct span reply, rule;
};

/* "client { messages }: 30 of 30 by 192.0.2.0/24" */
static struct refusal refuse(const struct door *d, struct span address, const struct throttle_excess *excess, struct buf *text)
{
    char who[INET6_ADDRSTRLEN + 8];
    size_t i = 0;
    while (strcmp(refusals[i].limit, excess->limit) != 0)
        i++;
    prefix_name(address.p, address.n, excess->network, who, sizeof who);
    if (refusals[i].code == 421)
        buf_printf(text, "%s ", d->settings->hostname);
    buf_printf(text, "Error: %s from %.*s", refusals[i].words, SPAN_ARG(address));
    size_t reply = text->len;
    buf_printf(text, "client { %s }: %llu of %llu by %s", excess->limit, (unsigned long long)excess->count,
               (unsigned long long)excess->most, who);
    return (struct refusal){refusals[i].code, refusals[i].status, span_make(text->data, reply),
                            span_make(text->data + reply, text->len - reply)};
}

void doorway_admit(struct doorway *w, const struct message *m, struct message *answer, struct buf *text)
{
    struct door *d = w->door;
    struct throttle_excess excess;
    struct span address = m->admit.address;
    uint64_t now = clock_monotonic_us();
    bool again = *find(w, m->admit.session) != NULL;
    *answer = (struct message){.type = MESSAGE_ADMITTED, .id = m->id, .fd = -1};
    answer->admitted.passed = passed_is_known(d->passed, address, now / 1000000);
    if (again ||
        (throttle_fits(d->throttle, address, THROTTLE_ERRORS, now, &excess) &&
         (!m->admit.tls || throttle_fits(d->throttle, address, THROTTLE_TLS, now, &excess)) &&
         throttle_fits(d->throttle, address, THROTTLE_CONNECTIONS, now, &excess) && let_in(w, m->admit.session, address, &excess))) {
        throttle_add(d->throttle, address, THROTTLE_CONNECTIONS, !again, now);
        throttle_add(d->throttle, address, THROTTLE_TLS, !again && m->admit.tls, now);
        return;
    }
    struct refusal r = refuse(d, address, &excess, text);
    answer->admitted.code = (uint16_t)r.code;
    answer->admitted.status = span_of(r.status);
    answer->admitted.reply = r.reply;
    answer->admitted.rule = r.rule;
}

void doorway_count(struct doorway *w, const struct message *m, struct message *answer, struct buf *text)
{
    static const enum throttle_rate rates[] = {
        [COUNT_MESSAGE] = THROTTLE_MESSAGES, [COUNT_TLS] = THROTTLE_TLS, [COUNT_AUTH] = THROTTLE_AUTH};
    struct throttle_excess excess;
    *answer = (struct message){.type = MESSAGE_COUNTED, .id = m->id, .fd = -1};
    if (m->count.what < COUNT_MESSAGE || m->count.what > COUNT_AUTH ||
        throttle_count(w->door->throttle, m->count.address, rates[m->count.what], clock_monotonic_us(), &excess))
        return;
    struct refusal r = refuse(w->door, m->count.address, &excess, text);
    answer->counted = (struct message_counted){.code = (uint16_t)r.code, .status = span_of(r.status), .reply = r.reply, .rule = r.rule};
}

bool doorway_rcpt(struct doorway *w, const struct message *m, struct message *answer, struct buf *text)
{
    struct throttle_excess excess;
    if (!m->rcpt.count || throttle_count(w->door->throttle, m->rcpt.client, THROTTLE_RECIPIENTS, clock_monotonic_us(), &excess))
        return true;
    struct refusal r = refuse(w->door, m->rcpt.client, &excess, text);
    *answer = (struct message){.type = MESSAGE_ROUTED, .id = m->id, .fd = -1};
    answer->routed = (struct message_routed){.code = (uint16_t)r.code, .status = span_of(r.status), .reply = r.reply, .rule = r.rule};
    return false;
}

void doorway_notice(struct doorway *w, const struct message *m)
{
    uint64_t now = clock_monotonic_us();
    if (m->type == MESSAGE_GUEST) {
        let_in(w, m->guest.session, m->guest.address, NULL);
        return;
    }
    struct guest **at = find(w, m->type == MESSAGE_PASSED ? m->passed.session : m->left.session);
    if (*at == NULL)
        return;
    struct span address = span_make((*at)->address, (*at)->n);
    if (m->type == MESSAGE_PASSED) {
        passed_remember(w->door->passed, address, now / 1000000);
    } else {
        throttle_add(w->door->throttle, address, THROTTLE_ERRORS, m->left.errors, now);
        dismiss(w, at);
    }
}
