#include "sts/tally.h"

#include "common/address.h"
#include "common/crc32c.h"

#include <stdlib.h>

#define BUCKETS 4096
STAILQ_HEAD(domains, tally_domain);

struct tally {
    uint64_t day;
    size_t memory, count;
    struct domains buckets[BUCKETS], all;
};

static const char *const policy_words[] = {[TLS_POLICY_NONE] = "no-policy-found", [TLS_POLICY_TLSA] = "tlsa", [TLS_POLICY_STS] = "sts"};
static const char *const result_words[TLS_RESULTS] = {
    [TLS_SUCCESS] = "success",
    [TLS_STARTTLS_NOT_SUPPORTED] = "starttls-not-supported",
    [TLS_CERTIFICATE_HOST_MISMATCH] = "certificate-host-mismatch",
    [TLS_CERTIFICATE_EXPIRED] = "certificate-expired",
    [TLS_CERTIFICATE_NOT_TRUSTED] = "certificate-not-trusted",
    [TLS_VALIDATION_FAILURE] = "validation-failure",
    [TLS_TLSA_INVALID] = "tlsa-invalid",
    [TLS_DNSSEC_INVALID] = "dnssec-invalid",
    [TLS_DANE_REQUIRED] = "dane-required",
    [TLS_STS_POLICY_FETCH_ERROR] = "sts-policy-fetch-error",
    [TLS_STS_POLICY_INVALID] = "sts-policy-invalid",
    [TLS_STS_WEBPKI_INVALID] = "sts-webpki-invalid",
};

const char *tally_policy_word(enum tls_policy policy)
{
    return policy_words[policy];
}

const char *tally_result_word(enum tls_result result)
{
    return result_words[result];
}

/* ---- memory ---------------------------------------------------------------------------------------------------------------------- */

/* Zeroed memory out of the tally's share; NULL: there is none left. */
static void *take(struct tally *t, size_t n)
{
    n = (n + 31) & ~(size_t)15; /* as malloc counts */
    if (n > TALLY_MEMORY - t->memory)
        return NULL;
    void *p = calloc(1, n);
    if (p)
        t->memory += n;
    return p;
}

static bool is_text(char c)
{
    return c >= ' ' && c <= '~';
}

static size_t cut_to(struct span text, size_t most)
{
    return text.n < most ? text.n : most;
}

static char *copy(struct tally *t, struct span text)
{
    size_t n = cut_to(text, TALLY_TEXT);
    char *c = take(t, n + 1);
    for (size_t i = 0; c && i < n; i++)
        c[i] = is_text(text.p[i]) ? text.p[i] : '?';
    return c;
}

/* Whole lines. */
static size_t lines_that_fit(struct span text)
{
    size_t n = cut_to(text, TALLY_STRINGS);
    while (n < text.n && n > 0 && text.p[n] != '\n')
        n--;
    return n;
}

static char *copy_lines(struct tally *t, struct span text)
{
    size_t n = lines_that_fit(text);
    char *c = take(t, n + 1);
    for (size_t i = 0; c && i < n; i++)
        c[i] = is_text(text.p[i]) || text.p[i] == '\n' ? text.p[i] : '?';
    return c;
}

static bool same(const char *kept, struct span text)
{
    size_t n = cut_to(text, TALLY_TEXT);
    if (strlen(kept) != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (kept[i] != (is_text(text.p[i]) ? text.p[i] : '?'))
            return false;
    return true;
}

static bool same_lines(const char *kept, struct span text)
{
    size_t n = lines_that_fit(text);
    if (strlen(kept) != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (kept[i] != (is_text(text.p[i]) || text.p[i] == '\n' ? text.p[i] : '?'))
            return false;
    return true;
}

static void failure_free(struct tally_failure *f)
{
    free(f->source);
    free(f->address);
    free(f->host);
    free(f->reason);
    free(f);
}

static void policy_free(struct tally_policy *p)
{
    struct tally_failure *f;
    while ((f = STAILQ_FIRST(&p->details))) {
        STAILQ_REMOVE_HEAD(&p->details, link);
        failure_free(f);
    }
    free(p->domain);
    free(p->strings);
    free(p);
}

static void domain_free(struct tally_domain *d)
{
    struct tally_policy *p;
    while ((p = STAILQ_FIRST(&d->policies))) {
        STAILQ_REMOVE_HEAD(&d->policies, link);
        policy_free(p);
    }
    free(d->name);
    free(d);
}

struct tally *tally_new(uint64_t day)
{
    struct tally *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->day = day;
    STAILQ_INIT(&t->all);
    for (size_t i = 0; i < BUCKETS; i++)
        STAILQ_INIT(&t->buckets[i]);
    return t;
}

void tally_free(struct tally *t)
{
    struct tally_domain *d;
    if (!t)
        return;
    while ((d = STAILQ_FIRST(&t->all))) {
        STAILQ_REMOVE_HEAD(&t->all, next);
        domain_free(d);
    }
    free(t);
}

/* ---- counting -------------------------------------------------------------------------------------------------------------------- */

static bool lower(struct span text, char name[256])
{
    if (text.n >= 256 || !address_is_domain(text, false))
        return false;
    for (size_t i = 0; i < text.n; i++)
        name[i] = text.p[i] >= 'A' && text.p[i] <= 'Z' ? (char)(text.p[i] | 0x20) : text.p[i];
    name[text.n] = '\0';
    return true;
}

static struct domains *bucket_of(struct tally *t, const char *name)
{
    return &t->buckets[crc32c(0, name, strlen(name)) % BUCKETS];
}

struct tally_domain *tally_find(struct tally *t, struct span domain)
{
    char name[256];
    struct tally_domain *d;
    if (!lower(domain, name))
        return NULL;
    STAILQ_FOREACH(d, bucket_of(t, name), link)
    if (strcmp(d->name, name) == 0)
        return d;
    return NULL;
}

static struct tally_domain *domain_of(struct tally *t, struct span text)
{
    char name[256];
    struct tally_domain *d = tally_find(t, text);
    if (d || !lower(text, name) || !(d = take(t, sizeof *d)))
        return d;
    STAILQ_INIT(&d->policies);
    if (!(d->name = copy(t, span_of(name)))) {
        domain_free(d);
        return NULL;
    }
    STAILQ_INSERT_TAIL(bucket_of(t, name), d, link);
    STAILQ_INSERT_TAIL(&t->all, d, next);
    t->count++;
    return d;
}

static struct tally_policy *policy_of(struct tally *t, struct tally_domain *d, const struct tally_sessions *s)
{
    struct tally_policy *p;
    STAILQ_FOREACH(p, &d->policies, link)
    if (p->type == s->policy && same(p->domain, s->policy_domain) && same_lines(p->strings, s->strings))
        return p;
    if (d->kinds >= TALLY_POLICIES || !(p = take(t, sizeof *p)))
        return NULL;
    STAILQ_INIT(&p->details);
    p->type = s->policy;
    p->domain = copy(t, s->policy_domain);
    p->strings = copy_lines(t, s->strings);
    if (!p->domain || !p->strings) {
        policy_free(p);
        return NULL;
    }
    STAILQ_INSERT_TAIL(&d->policies, p, link);
    d->kinds++;
    return p;
}

static struct tally_failure *failure_new(struct tally *t, const struct tally_sessions *s)
{
    struct tally_failure *f = take(t, sizeof *f);
    if (!f)
        return NULL;
    f->result = s->result;
    f->source = copy(t, s->source);
    f->address = copy(t, s->address);
    f->host = copy(t, s->host);
    f->reason = copy(t, s->reason);
    if (f->source && f->address && f->host && f->reason)
        return f;
    failure_free(f);
    return NULL;
}

static struct tally_failure *failure_of(struct tally *t, struct tally_policy *p, const struct tally_sessions *s)
{
    struct tally_failure *f;
    STAILQ_FOREACH(f, &p->details, link)
    if (f->result == s->result && same(f->source, s->source) && same(f->address, s->address) && same(f->host, s->host) &&
        same(f->reason, s->reason))
        return f;
    if (p->kinds >= TALLY_FAILURES || !(f = failure_new(t, s)))
        return NULL;
    STAILQ_INSERT_TAIL(&p->details, f, link);
    p->kinds++;
    return f;
}

static void count(uint64_t *n, uint64_t more)
{
    if (__builtin_add_overflow(*n, more, n))
        *n = UINT64_MAX;
}

bool tally_add(struct tally *t, const struct tally_sessions *s)
{
    struct tally_domain *d = s->policy <= TLS_POLICY_STS && s->result < TLS_RESULTS ? domain_of(t, s->domain) : NULL;
    struct tally_policy *p = d ? policy_of(t, d, s) : NULL;
    if (!p)
        return false;
    if (s->result == TLS_SUCCESS) {
        count(&p->successes, s->count);
        return true;
    }
    struct tally_failure *f = s->bare ? NULL : failure_of(t, p, s);
    count(&p->failures, s->count);
    if (f)
        count(&f->count, s->count);
    return true;
}

/* ---- two of them ----------------------------------------------------------------------------------------------------------------- */

static void merge_policy(struct tally *t, const struct tally_domain *d, const struct tally_policy *p)
{
    const struct tally_failure *f;
    uint64_t detailed = 0;
    struct tally_sessions s = {.domain = span_of(d->name),
                               .policy = p->type,
                               .policy_domain = span_of(p->domain),
                               .strings = span_of(p->strings),
                               .count = p->successes};
    tally_add(t, &s);
    STAILQ_FOREACH(f, &p->details, link)
    {
        s.result = f->result;
        s.count = f->count;
        s.source = span_of(f->source);
        s.address = span_of(f->address);
        s.host = span_of(f->host);
        s.reason = span_of(f->reason);
        tally_add(t, &s);
        count(&detailed, f->count);
    }
    s.result = TLS_VALIDATION_FAILURE;
    s.bare = true;
    s.count = p->failures - detailed;
    tally_add(t, &s);
}

void tally_merge(struct tally *t, struct tally *from)
{
    for (struct tally_domain *d = tally_first(from); d; d = STAILQ_NEXT(d, next)) {
        const struct tally_policy *p;
        STAILQ_FOREACH(p, &d->policies, link)
        merge_policy(t, d, p);
    }
}

uint64_t tally_day(const struct tally *t)
{
    return t->day;
}

size_t tally_domains(const struct tally *t)
{
    return t->count;
}

struct tally_domain *tally_first(struct tally *t)
{
    return STAILQ_FIRST(&t->all);
}
