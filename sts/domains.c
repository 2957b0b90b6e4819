#include "sts/domains.h"

#include "common/address.h"
#include "common/crc32c.h"
#include "common/log.h"
#include "common/program.h"
#include "sts/fetch.h"
#include "sts/public.h"
#include "sts/sessions.h"
#include "sts/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

#define BUCKETS      4096
#define DOMAINS_MOST 20000
#define FRESH        ((uint64_t)86400) /* seconds in which a policy is not looked at again */
#define RETRY        ((uint64_t)300)   /* seconds after a failed look */
#define WANTED       (7 * FRESH)       /* seconds after the last question: a policy is looked at without one */
#define SHORTEST     ((uint64_t)3600)  /* seconds between two such looks, lest policies of minutes take them from others */

enum step { STEP_NONE, STEP_RECORD, STEP_ADDRESS, STEP_FETCH };

struct domain_wait {
    TAILQ_ENTRY(domain_wait) link;
    struct domain *domain;
    domain_fn *done;
    void *arg;
};

struct domain {
    TAILQ_ENTRY(domain) link, age; /* in its bucket; in the order of the last question */
    TAILQ_HEAD(, domain_wait) waits;
    char name[256];
    bool known; /* there is a policy */
    struct sts_policy policy;
    char id[STS_ID];
    uint64_t fetched, looked, not_before; /* seconds since 1970: got; last seen to be current; no look before */
    uint64_t asked, marked;               /* the last question, and what of that is on disk */
    enum step step;
    enum tls_result trouble; /* of the last look; TLS_SUCCESS: none */
    char new_id[STS_ID];
    uint32_t question;
    struct fetch *fetch;
};
TAILQ_HEAD(domains, domain);

static struct {
    struct peer *dns;
    struct domains buckets[BUCKETS], ages;
    size_t count, waiting;
} self;

/* ---- memory ---------------------------------------------------------------------------------------------------------------------- */

static struct domains *bucket_of(const char *name)
{
    return &self.buckets[crc32c(0, name, strlen(name)) % BUCKETS];
}

static void forget_policy(struct domain *d)
{
    buf_free(&d->policy.mx);
    d->policy = (struct sts_policy){0};
    d->known = false;
    d->id[0] = '\0';
}

static void domain_free(struct domain *d)
{
    TAILQ_REMOVE(bucket_of(d->name), d, link);
    TAILQ_REMOVE(&self.ages, d, age);
    forget_policy(d);
    self.count--;
    free(d);
}

/* What is on disk is not lost by this. */
static void make_room(void)
{
    struct domain *d, *next;
    for (d = TAILQ_FIRST(&self.ages); d && self.count >= DOMAINS_MOST; d = next) {
        next = TAILQ_NEXT(d, age);
        if (d->step == STEP_NONE && TAILQ_EMPTY(&d->waits))
            domain_free(d);
    }
}

static bool expired(const struct domain *d)
{
    uint64_t now = program_now();
    return d->fetched > now || now - d->fetched >= d->policy.max_age;
}

/* A policy that was kept counts from when it was fetched. */
static void recall(struct domain *d)
{
    struct stored kept;
    const char *why;
    if (!store_read(d->name, &kept))
        return;
    d->known = sts_policy_parse(buf_span(&kept.text), &d->policy, &why);
    d->fetched = d->looked = kept.fetched;
    snprintf(d->id, sizeof d->id, "%s", kept.id);
    buf_free(&kept.text);
    if (d->known && !expired(d))
        return;
    forget_policy(d);
    store_remove(d->name);
}

static struct domain *domain_new(const char *name)
{
    make_room();
    struct domain *d = calloc(1, sizeof *d);
    if (!d)
        log_die("out of memory for a domain's policy");
    snprintf(d->name, sizeof d->name, "%s", name);
    TAILQ_INIT(&d->waits);
    TAILQ_INSERT_TAIL(bucket_of(name), d, link);
    TAILQ_INSERT_TAIL(&self.ages, d, age);
    self.count++;
    recall(d);
    return d;
}

static struct domain *find(const char *name)
{
    struct domain *d;
    TAILQ_FOREACH(d, bucket_of(name), link)
    if (strcmp(d->name, name) == 0) {
        TAILQ_REMOVE(&self.ages, d, age);
        TAILQ_INSERT_TAIL(&self.ages, d, age);
        return d;
    }
    return domain_new(name);
}

/* ---- the end of a look ----------------------------------------------------------------------------------------------------------- */

static struct message_sts_is answer_of(const struct domain *d)
{
    if (!d->known)
        return (struct message_sts_is){.mode = STS_NONE};
    return (struct message_sts_is){.mode = (uint16_t)d->policy.mode, .mx = buf_span(&d->policy.mx), .id = span_of(d->id)};
}

static void tell_all(struct domain *d)
{
    struct domain_wait *w;
    struct message_sts_is m = answer_of(d);
    d->step = STEP_NONE;
    while ((w = TAILQ_FIRST(&d->waits))) {
        TAILQ_REMOVE(&d->waits, w, link);
        self.waiting--;
        w->done(&m, w->arg);
        free(w);
    }
}

static void looked_in_vain(struct domain *d, enum tls_result trouble, const char *why)
{
    d->trouble = trouble;
    if (d->known) /* else each session is told of, as it went without the policy */
        sessions_look_failed(d->name, trouble, why);
    struct buf line = BUF_EMPTY(2048);
    buf_add_text(&line, "mta-sts:");
    log_value(&line, "domain", span_of(d->name));
    log_value(&line, "reason", span_of(why));
    buf_add_text(&line, d->known ? "; the policy that is known goes on" : "; no policy counts");
    log_buf(LOG_LEVEL_WARNING, &line);
    buf_free(&line);
    d->not_before = program_now() + RETRY;
    if (d->known && expired(d))
        forget_policy(d);
    tell_all(d);
}

static void no_record(struct domain *d)
{
    if (d->known && expired(d)) {
        forget_policy(d);
        store_remove(d->name);
    }
    d->not_before = program_now() + (d->known ? RETRY : 0);
    d->trouble = TLS_SUCCESS;
    tell_all(d);
}

static void mark(struct domain *d)
{
    store_mark(d->name, d->asked);
    d->marked = d->asked;
}

static void keep(struct domain *d, struct span text, struct sts_policy *policy)
{
    struct error error;
    forget_policy(d);
    d->policy = *policy;
    d->known = true;
    d->trouble = TLS_SUCCESS;
    d->fetched = d->looked = program_now();
    memcpy(d->id, d->new_id, sizeof d->id);
    if (store_write(d->name, d->id, d->fetched, text, &error) != 0)
        log_error("%s", error.text);
    mark(d);
    tell_all(d);
}

/* ---- the steps of a look --------------------------------------------------------------------------------------------------------- */

static void on_fetched(const struct fetched *f, void *arg)
{
    struct domain *d = arg;
    struct sts_policy policy = {0};
    const char *why = f->why;
    d->fetch = NULL;
    if (!why && sts_policy_parse(f->text, &policy, &why)) {
        keep(d, f->text, &policy);
        return;
    }
    buf_free(&policy.mx);
    struct buf words = BUF_EMPTY(1024);
    buf_printf(&words, "https://mta-sts.%s/.well-known/mta-sts.txt: %s", d->name, why);
    looked_in_vain(d,
                   f->unproved ? TLS_STS_WEBPKI_INVALID
                   : f->why    ? TLS_STS_POLICY_FETCH_ERROR
                               : TLS_STS_POLICY_INVALID,
                   buf_text(&words));
    buf_free(&words);
}

static void on_addresses(const struct message *m, void *arg)
{
    struct domain *d = arg;
    struct record_host host = {0};
    d->question = 0;
    struct list hosts = m && m->type == MESSAGE_RESOLVED ? m->resolved.hosts : (struct list){0};
    struct buf addresses = BUF_EMPTY(4096);
    if (record_host_next(&hosts, &host))
        public_addresses(host.addresses, &addresses);
    d->step = STEP_FETCH;
    if (addresses.len == 0)
        looked_in_vain(d, TLS_STS_POLICY_FETCH_ERROR, "there is a record, and its host mta-sts has no address, or none that is public");
    else if (!(d->fetch = fetch_start(d->name, buf_span(&addresses), on_fetched, d)))
        looked_in_vain(d, TLS_STS_POLICY_FETCH_ERROR, "out of memory");
    buf_free(&addresses);
}

static void ask_addresses(struct domain *d)
{
    char name[300];
    snprintf(name, sizeof name, "mta-sts.%s", d->name);
    struct message m = {.type = MESSAGE_RESOLVE, .fd = -1, .resolve = {.name = span_of(name), .want = RESOLVE_ADDRESSES}};
    d->step = STEP_ADDRESS;
    d->question = peer_ask(self.dns, &m, on_addresses, d);
}

/* The id of the one record that there may be. */
static bool the_record(struct list records, char id[STS_ID])
{
    unsigned count = 0;
    bool good = false;
    for (struct record_txt r; record_txt_next(&records, &r);) {
        if (!sts_is_record(r.data))
            continue;
        count++;
        good = sts_record_parse(r.data, id);
    }
    return good && count == 1;
}

static void on_record(const struct message *m, void *arg)
{
    struct domain *d = arg;
    d->question = 0;
    struct list records = m && m->type == MESSAGE_TXTS ? m->txts.records : (struct list){0};
    if (!m || m->type != MESSAGE_TXTS || m->txts.verdict == RESOLVE_DEFERRED) {
        d->not_before = program_now() + RETRY;
        tell_all(d);
    } else if (!the_record(records, d->new_id)) {
        no_record(d);
    } else if (d->known && !expired(d) && strcmp(d->id, d->new_id) == 0 && program_now() - d->fetched < d->policy.max_age / 2) {
        d->looked = program_now();
        d->trouble = TLS_SUCCESS;
        tell_all(d);
    } else {
        ask_addresses(d);
    }
}

static void look(struct domain *d)
{
    char name[300];
    snprintf(name, sizeof name, "_mta-sts.%s", d->name);
    struct message m = {.type = MESSAGE_TXT, .fd = -1, .txt = {.name = span_of(name)}};
    d->step = STEP_RECORD;
    d->question = peer_ask(self.dns, &m, on_record, d);
}

/* ---- questions ------------------------------------------------------------------------------------------------------------------- */

static struct domain_wait *wait_for(struct domain *d, domain_fn *done, void *arg)
{
    struct domain_wait *w = calloc(1, sizeof *w);
    if (!w)
        log_die("out of memory for a question");
    *w = (struct domain_wait){.domain = d, .done = done, .arg = arg};
    TAILQ_INSERT_TAIL(&d->waits, w, link);
    self.waiting++;
    return w;
}

static bool lower(struct span text, char name[256])
{
    if (text.n >= 256 || !address_is_domain(text, false))
        return false;
    for (size_t i = 0; i <= text.n; i++)
        name[i] = i == text.n ? '\0' : text.p[i] >= 'A' && text.p[i] <= 'Z' ? (char)(text.p[i] | 0x20) : text.p[i];
    return true;
}

/* Nobody waits for longer because the clock was set back. */
static bool may_look(const struct domain *d, uint64_t now)
{
    return now >= d->not_before || d->not_before - now > RETRY;
}

struct domain_wait *domain_ask(struct span text, domain_fn *done, void *arg)
{
    char name[256];
    if (!lower(text, name)) {
        done(&(struct message_sts_is){.mode = STS_NONE}, arg);
        return NULL;
    }
    struct domain *d = find(name);
    d->asked = program_now();
    if (d->known && d->asked - d->marked >= FRESH)
        mark(d);
    bool counts = d->known && !expired(d);
    bool due = may_look(d, program_now()) && (!counts || program_now() - d->looked >= FRESH);
    if (!counts && d->known && d->step == STEP_NONE)
        forget_policy(d);
    if (due && d->step == STEP_NONE)
        look(d);
    if (counts || d->step == STEP_NONE) {
        struct message_sts_is m = answer_of(d);
        done(&m, arg);
        return NULL;
    }
    return wait_for(d, done, arg);
}

void domain_cancel(struct domain_wait *w)
{
    TAILQ_REMOVE(&w->domain->waits, w, link);
    self.waiting--;
    free(w);
}

bool domain_policy(struct span text, struct buf *lines, enum tls_result *trouble)
{
    char name[256];
    struct domain *d = NULL;
    *trouble = TLS_SUCCESS;
    if (lower(text, name))
        TAILQ_FOREACH(d, bucket_of(name), link)
    if (strcmp(d->name, name) == 0)
        break;
    if (!d)
        return false;
    *trouble = d->trouble;
    if (d->known)
        sts_policy_lines(&d->policy, lines);
    return d->known;
}

size_t domains_waiting(void)
{
    return self.waiting;
}

/* ---- before they end ------------------------------------------------------------------------------------------------------------- */

/* RFC 8461 3.3, 10.2: a policy that is looked at before mail needs it can't be kept from us by who blocks just that. */
static bool is_due(const struct domain *d, uint64_t now)
{
    uint64_t half = d->policy.max_age / 2, interval = half < SHORTEST ? SHORTEST : half < FRESH ? half : FRESH;
    return d->known && d->step == STEP_NONE && !expired(d) && now - d->asked < WANTED && may_look(d, now) && now - d->looked >= interval;
}

void domains_look_again(size_t most)
{
    struct domain *d;
    size_t looks = 0;
    uint64_t now = program_now();
    TAILQ_FOREACH(d, &self.ages, age)
    {
        if (looks == most)
            break;
        if (!is_due(d, now))
            continue;
        looks++;
        look(d);
    }
}

bool domains_recall(const char *name, uint64_t asked)
{
    if (self.count >= DOMAINS_MOST)
        return false;
    struct domain *d = find(name);
    if (d->asked < asked)
        d->asked = d->marked = asked;
    return true;
}

void domains_setup(struct peer *dns)
{
    self.dns = dns;
    TAILQ_INIT(&self.ages);
    for (size_t i = 0; i < BUCKETS; i++)
        TAILQ_INIT(&self.buckets[i]);
}
