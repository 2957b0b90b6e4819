/* Which recipients of a job go into one transaction: all, or as many as the server's LIMITS (RFC 9422) let in. The others get a transaction
 * of their own behind it: the job goes back to the front of its site's line.
 *
 *   portion_choose --> MAIL, RCPT ... --> each that was chosen is decided --> portion_over --> RESULT, or the line */
#include "delivery/session_internal.h"

#include "common/address.h"

static struct span domain_of(struct span address)
{
    const char *at = address.n ? memrchr(address.p, '@', address.n) : NULL;
    return at ? span_make(at + 1, (size_t)(address.p + address.n - at) - 1) : span_make(NULL, 0);
}

/* The session's domains stand one behind the other, each with a NUL behind it. */
static bool is_known(const struct buf *domains, struct span domain)
{
    for (size_t at = 0; at < domains->len;) {
        struct span known = span_of(domains->data + at);
        if (span_equal_nocase(known, domain))
            return true;
        at += known.n + 1;
    }
    return false;
}

/* RCPTDOMAINMAX: a domain that the session had already, or one that it still may have. */
static bool may_have(struct session *s, struct span domain)
{
    uint32_t most = s->extensions.limits.domains;
    if (most == 0 || is_known(&s->domains, domain))
        return true;
    if (s->domain_count >= most)
        return false;
    buf_add_span(&s->domains, domain);
    buf_add_char(&s->domains, '\0');
    s->domain_count++;
    return !s->domains.failed;
}

bool portion_lacks_utf8(const struct session *s, size_t recipient)
{
    const struct job_recipient *r = &s->job->recipients[recipient];
    return !(s->extensions.offered & EXTENSION_SMTPUTF8) && !r->verdict && (s->job->needs_utf8 || !span_is_ascii(r->address));
}

size_t portion_choose(struct session *s)
{
    struct job *j = s->job;
    size_t most = s->extensions.limits.recipients, n = 0;
    for (size_t i = 0; i < j->count; i++) {
        struct job_recipient *r = &j->recipients[i];
        r->accepted = false;
        bool fits = !r->verdict && !portion_lacks_utf8(s, i) && (most == 0 || n < most);
        r->chosen = fits && may_have(s, domain_of(r->address));
        n += r->chosen;
    }
    return n;
}

size_t portion_next(const struct job *j, size_t i)
{
    while (i < j->count && (j->recipients[i].verdict || !j->recipients[i].chosen))
        i++;
    return i;
}

bool portion_needs_utf8(const struct job *j)
{
    bool needs = j->needs_utf8;
    for (size_t i = portion_next(j, 0); i < j->count && !needs; i = portion_next(j, i + 1))
        needs = !span_is_ascii(j->recipients[i].address);
    return needs;
}

void portion_decide_rest(struct job *j, enum verdict verdict, const char *status, struct span words)
{
    for (size_t i = portion_next(j, 0); i < j->count; i = portion_next(j, i + 1))
        job_decide(j, i, verdict, status, words);
}

void portion_put_off_rest(struct job *j, const char *status, struct span words)
{
    for (size_t i = portion_next(j, 0); i < j->count; i = portion_next(j, i + 1))
        job_put_off(j, i, status, words);
}

bool portion_over(struct session *s, bool site_failed)
{
    struct job *j = s->job;
    if (j->undecided == 0) {
        session_finish_job(s, site_failed);
        return true;
    }
    if (s->transaction.put_off) {
        session_change_family(s);
        return false;
    }
    s->job = NULL;
    site_go_on(s->site, j);
    return true;
}
