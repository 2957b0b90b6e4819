/* A day of a tally as text, and back. Lines of words parted by blanks; what can be empty or have blanks stands last:
 *
 *   Postino TLSRPT 1
 *   day 20779
 *   domain example.org
 *   policy sts 12 3 example.org            type, successes, failures, whose
 *   string version: STSv1
 *   failure certificate-expired 3          result, count, and each on a line of its own, in this order:
 *   source 192.0.2.1
 *   address 198.51.100.7
 *   host mx.example.org
 *   reason certificate has expired
 *   end
 */
#include "sts/tally.h"

#include <inttypes.h>

#define MAGIC "Postino TLSRPT 1"

/* ---- writing --------------------------------------------------------------------------------------------------------------------- */

static void write_failure(const struct tally_failure *f, struct buf *out)
{
    buf_printf(out, "failure %s %" PRIu64 "\nsource %s\naddress %s\nhost %s\nreason %s\n", tally_result_word(f->result), f->count,
               f->source, f->address, f->host, f->reason);
}

static void write_strings(const char *strings, struct buf *out)
{
    while (*strings) {
        size_t n = strcspn(strings, "\n");
        if (n)
            buf_printf(out, "string %.*s\n", (int)n, strings);
        strings += n + (strings[n] ? 1 : 0);
    }
}

static void write_policy(const struct tally_policy *p, struct buf *out)
{
    const struct tally_failure *f;
    buf_printf(out, "policy %s %" PRIu64 " %" PRIu64 " %s\n", tally_policy_word(p->type), p->successes, p->failures, p->domain);
    write_strings(p->strings, out);
    STAILQ_FOREACH(f, &p->details, link)
    write_failure(f, out);
}

void tally_write(struct tally *t, struct buf *out)
{
    buf_printf(out, MAGIC "\nday %" PRIu64 "\n", tally_day(t));
    for (struct tally_domain *d = tally_first(t); d; d = STAILQ_NEXT(d, next)) {
        const struct tally_policy *p;
        buf_printf(out, "domain %s\n", d->name);
        STAILQ_FOREACH(p, &d->policies, link)
        write_policy(p, out);
    }
    buf_add_text(out, "end\n");
}

/* ---- reading --------------------------------------------------------------------------------------------------------------------- */

struct reading {
    struct tally *tally;
    struct span rest;
    struct span domain, policy_domain;
    enum tls_policy type;
    uint64_t successes, failures, detailed;
    struct buf strings;
    bool open; /* a policy */
};

/* The line must begin with this word and a blank. */
static bool take_word(struct span *line, const char *word)
{
    size_t n = strlen(word);
    if (line->n < n + 1 || memcmp(line->p, word, n) != 0 || line->p[n] != ' ')
        return false;
    *line = span_make(line->p + n + 1, line->n - n - 1);
    return true;
}

static bool take_number(struct span *line, uint64_t *out)
{
    struct span word = span_until(line, ' ');
    *out = 0;
    if (word.n < 1 || word.n > 19)
        return false;
    for (size_t i = 0; i < word.n; i++) {
        if (word.p[i] < '0' || word.p[i] > '9')
            return false;
        *out = *out * 10 + (uint64_t)(word.p[i] - '0');
    }
    return true;
}

static struct tally_sessions sessions_of(const struct reading *r)
{
    return (struct tally_sessions){
        .domain = r->domain, .policy = r->type, .policy_domain = r->policy_domain, .strings = buf_span(&r->strings)};
}

/* The policy's lines are over. */
static bool end_policy(struct reading *r)
{
    if (!r->open)
        return true;
    struct tally_sessions good = sessions_of(r), bad = good;
    good.count = r->successes;
    bad.result = TLS_VALIDATION_FAILURE;
    bad.bare = true;
    bad.count = r->failures - r->detailed;
    r->open = false;
    return r->failures >= r->detailed && tally_add(r->tally, &good) && tally_add(r->tally, &bad);
}

static bool begin_policy(struct reading *r, struct span line)
{
    struct span type = span_until(&line, ' ');
    if (!end_policy(r) || !r->domain.n)
        return false;
    r->type = TLS_POLICY_NONE;
    while (!span_equal(type, span_of(tally_policy_word(r->type))))
        if (r->type++ == TLS_POLICY_STS)
            return false;
    r->open = take_number(&line, &r->successes) && take_number(&line, &r->failures);
    r->policy_domain = line;
    r->detailed = 0;
    buf_clear(&r->strings);
    return r->open;
}

static bool add_string(struct reading *r, struct span line)
{
    if (!r->open || r->detailed || !line.n)
        return false;
    if (r->strings.len)
        buf_add_char(&r->strings, '\n');
    buf_add_span(&r->strings, line);
    return !r->strings.failed;
}

static bool take_text(struct reading *r, const char *word, struct span *out)
{
    return span_cut(&r->rest, '\n', out) && take_word(out, word);
}

static bool add_failure(struct reading *r, struct span line)
{
    struct tally_sessions s = sessions_of(r);
    struct span result = span_until(&line, ' ');
    s.result = TLS_STARTTLS_NOT_SUPPORTED;
    while (!span_equal(result, span_of(tally_result_word(s.result))))
        if (++s.result == TLS_RESULTS)
            return false;
    if (!r->open || !take_number(&line, &s.count) || line.n || !take_text(r, "source", &s.source) || !take_text(r, "address", &s.address) ||
        !take_text(r, "host", &s.host) || !take_text(r, "reason", &s.reason) || __builtin_add_overflow(r->detailed, s.count, &r->detailed))
        return false;
    return tally_add(r->tally, &s);
}

static bool read_line(struct reading *r, struct span line)
{
    if (take_word(&line, "policy"))
        return begin_policy(r, line);
    if (take_word(&line, "string"))
        return add_string(r, line);
    if (take_word(&line, "failure"))
        return add_failure(r, line);
    if (!end_policy(r) || !take_word(&line, "domain"))
        return false;
    r->domain = line;
    return true;
}

static bool read_all(struct reading *r)
{
    struct span line;
    while (span_cut(&r->rest, '\n', &line)) {
        if (span_equal(line, SPAN_LITERAL("end")))
            return end_policy(r) && r->rest.n == 0;
        if (!read_line(r, line))
            return false;
    }
    return false;
}

struct tally *tally_read(struct span text)
{
    struct reading r = {.rest = text, .strings = BUF_EMPTY(TALLY_STRINGS + TALLY_TEXT)};
    struct span line;
    uint64_t day;
    if (!span_cut(&r.rest, '\n', &line) || !span_equal(line, SPAN_LITERAL(MAGIC)) || !span_cut(&r.rest, '\n', &line) ||
        !take_word(&line, "day") || !take_number(&line, &day) || line.n || day > 100000 || !(r.tally = tally_new(day)))
        return NULL;
    bool good = read_all(&r);
    buf_free(&r.strings);
    if (good)
        return r.tally;
    tally_free(r.tally);
    return NULL;
}
