#include "sts/sessions.h"

#include "sts/days.h"
#include "sts/domains.h"

static bool wanted;

void sessions_setup(bool is_wanted)
{
    wanted = is_wanted;
}

/* "3 1 1 aa, 2 0 1 bb" as lines. */
static void add_records(struct span list, struct buf *lines)
{
    while (list.n) {
        struct span one = span_until(&list, ',');
        if (lines->len)
            buf_add_char(lines, '\n');
        buf_add_span(lines, span_trim(one));
    }
}

/* A domain with a record, whose policy can't be had: its sessions went as if there were none, and that is what it wants to hear of. */
static void went_without_policy(struct tally_sessions *s, enum tls_result trouble)
{
    s->policy = TLS_POLICY_STS;
    s->result = trouble;
    s->source = s->address = s->host = s->reason = SPAN_LITERAL("");
}

void sessions_told(const struct message_tls_sessions *m)
{
    struct buf lines = BUF_EMPTY(64 << 10);
    enum tls_result trouble;
    struct tally_sessions s = {.domain = m->domain,
                               .policy = (enum tls_policy)m->policy,
                               .result = (enum tls_result)m->result,
                               .policy_domain = m->policy == TLS_POLICY_TLSA ? m->base : m->domain,
                               .source = m->source,
                               .address = m->address,
                               .host = m->host,
                               .reason = m->reason,
                               .count = m->count};
    if (!wanted)
        return;
    if (s.policy == TLS_POLICY_TLSA)
        add_records(m->tlsa, &lines);
    else if (!domain_policy(m->domain, &lines, &trouble) && s.policy == TLS_POLICY_NONE && trouble)
        went_without_policy(&s, trouble);
    if (s.policy != TLS_POLICY_NONE)
        s.strings = buf_span(&lines);
    days_add(&s);
    buf_free(&lines);
}

void sessions_look_failed(const char *domain, enum tls_result result, const char *why)
{
    struct buf lines = BUF_EMPTY(64 << 10);
    enum tls_result trouble;
    if (!wanted)
        return;
    domain_policy(span_of(domain), &lines, &trouble);
    days_add(&(struct tally_sessions){.domain = span_of(domain),
                                      .policy = TLS_POLICY_STS,
                                      .result = result,
                                      .policy_domain = span_of(domain),
                                      .strings = buf_span(&lines),
                                      .reason = span_of(why),
                                      .count = 1});
    buf_free(&lines);
}
