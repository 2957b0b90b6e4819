/* Block and allow lists in DNS (RFC 5782): the client's address turned round below a zone; an answer in 127.0.0.0/8 says that it is listed. */
#include "resolver/access_internal.h"

#include <arpa/inet.h>
#include <stdio.h>

/* ---- asking -------------------------------------------------------------------------------------------------------------------- */

static size_t reverse_four(const unsigned char *p, char *out, size_t room)
{
    return (size_t)snprintf(out, room, "%u.%u.%u.%u.", p[3], p[2], p[1], p[0]);
}

static size_t reverse_six(const unsigned char *p, char *out, size_t room)
{
    size_t n = 0;
    for (size_t i = 16; i-- > 0;)
        n += (size_t)snprintf(out + n, room - n, "%x.%x.", p[i] & 15u, (unsigned)p[i] >> 4);
    return n;
}

static bool ask_zone(struct access *a, const struct access_zone *z)
{
    char name[ACCESS_NAME];
    struct sockaddr_storage ss;
    socklen_t len;
    if (!address_to_socket(a->facts.client, 0, &ss, &len))
        return false;
    size_t n;
    if (ss.ss_family == AF_INET)
        n = reverse_four((const unsigned char *)&((struct sockaddr_in *)&ss)->sin_addr, name, sizeof name);
    else
        n = reverse_six(((struct sockaddr_in6 *)&ss)->sin6_addr.s6_addr, name, sizeof name);
    int whole = snprintf(name + n, sizeof name - n, "%.*s", SPAN_ARG(z->name));
    return whole > 0 && n + (size_t)whole < sizeof name && access_ask(a, ACCESS_ASK_ADDRESSES, span_of(name)) != NULL;
}

static bool counts(const struct access_zone *z, uint32_t address)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};
    if (address >> 24 != 127)
        return false; /* a zone that is gone, and answers with its new owner's host */
    for (size_t i = 0; i < z->answer_count; i++)
        if (network_contains(&z->answers[i], (struct sockaddr *)&in))
            return true;
    return z->answer_count == 0;
}

/* No answer is none: a list that is down lets in, and refuses nobody. */
static bool listed(const struct access_question *q, const struct access_zone *z)
{
    for (size_t i = 0; q->answer == ACCESS_YES && i < q->count; i++)
        if (counts(z, q->addresses[i]))
            return true;
    return false;
}

static enum access_outcome refuse_listed(struct access *a, struct span by)
{
    char text[500];
    snprintf(text, sizeof text, "Client host [%.*s] blocked using %.*s", SPAN_ARG(a->facts.client), SPAN_ARG(by));
    return access_refuse(a, 554, "5.7.1", a->facts.client, text);
}

enum access_outcome access_rbl_client(struct access *a, const struct access_rule *r)
{
    if (a->facts.client.n == 0)
        return OUTCOME_NEXT;
    if (!access_answered(a))
        return ask_zone(a, &r->zone) ? OUTCOME_ASK : OUTCOME_NEXT;
    return listed(&a->questions[0], &r->zone) ? refuse_listed(a, r->zone.name) : OUTCOME_NEXT;
}

/* All zones at once; the weights of those that list it are added up. */
enum access_outcome access_dnsbl(struct access *a, const struct access_rule *r)
{
    const struct access_rules *rules = a->rules;
    struct buf words = BUF_EMPTY(400);
    int64_t sum = 0;
    (void)r;
    if (a->facts.client.n == 0 || rules->zone_count == 0)
        return OUTCOME_NEXT;
    if (!access_answered(a)) {
        for (size_t i = 0; i < rules->zone_count; i++)
            if (!ask_zone(a, &rules->zones[i]))
                return OUTCOME_NEXT;
        return OUTCOME_ASK;
    }
    for (size_t i = 0; i < a->count; i++) {
        if (!listed(&a->questions[i], &rules->zones[i]))
            continue;
        sum += rules->zones[i].weight;
        buf_printf(&words, "%s%.*s*%d", words.len ? ", " : "", SPAN_ARG(rules->zones[i].name), rules->zones[i].weight);
    }
    bool refused = sum >= (int64_t)rules->settings->dnsbl_threshold;
    enum access_outcome outcome = refused ? refuse_listed(a, buf_span(&words)) : OUTCOME_NEXT;
    buf_free(&words);
    return outcome;
}
