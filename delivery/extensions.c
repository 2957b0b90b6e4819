#include "delivery/extensions.h"

#include "common/sasl.h"

static const struct {
    struct span keyword;
    enum extension extension;
} known[] = {
    {{"PIPELINING", 10}, EXTENSION_PIPELINING},
    {{"SIZE", 4}, EXTENSION_SIZE},
    {{"8BITMIME", 8}, EXTENSION_8BITMIME},
    {{"STARTTLS", 8}, EXTENSION_STARTTLS},
    {{"ENHANCEDSTATUSCODES", 19}, EXTENSION_ENHANCEDSTATUSCODES},
    {{"DSN", 3}, EXTENSION_DSN},
    {{"SMTPUTF8", 8}, EXTENSION_SMTPUTF8},
    {{"REQUIRETLS", 10}, EXTENSION_REQUIRETLS},
    {{"CHUNKING", 8}, EXTENSION_CHUNKING},
    {{"BINARYMIME", 10}, EXTENSION_BINARYMIME},
    {{"DELIVERBY", 9}, EXTENSION_DELIVERBY},
    {{"MT-PRIORITY", 11}, EXTENSION_MT_PRIORITY},
};

static struct span next_word(struct span *in)
{
    while (in->n && *in->p == ' ')
        *in = span_make(in->p + 1, in->n - 1);
    const char *blank = in->n ? memchr(in->p, ' ', in->n) : NULL;
    struct span word = span_make(in->p, blank ? (size_t)(blank - in->p) : in->n);
    *in = span_make(in->p ? in->p + word.n : NULL, in->n - word.n);
    return word;
}

/* A number that can't be is no limit: the server will tell. */
static uint64_t number(struct span word)
{
    uint64_t value = 0;
    for (size_t i = 0; i < word.n; i++) {
        if (word.p[i] < '0' || word.p[i] > '9' || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(word.p[i] - '0'), &value))
            return 0;
    }
    return value;
}

/* RFC 9422 4: one to six digits, the first of them not 0. Anything else is no limit: a server can't bring us to a halt, or to nonsense. */
static uint32_t limit_value(struct span word)
{
    uint64_t value = word.n > 0 && word.n <= 6 && word.p[0] != '0' ? number(word) : 0;
    return (uint32_t)value;
}

/* One that comes twice is what the stricter says. */
static void take_limit(uint32_t *limit, uint32_t value)
{
    if (value > 0 && (*limit == 0 || value < *limit))
        *limit = value;
}

static void take_limits(struct limits *limits, struct span line)
{
    for (struct span word; (word = next_word(&line)).n > 0;) {
        const char *equals = memchr(word.p, '=', word.n);
        struct span name = span_make(word.p, equals ? (size_t)(equals - word.p) : word.n);
        uint32_t value = equals ? limit_value(span_make(equals + 1, word.n - name.n - 1)) : 0;
        if (span_equal_nocase(name, SPAN_LITERAL("RCPTMAX")))
            take_limit(&limits->recipients, value);
        else if (span_equal_nocase(name, SPAN_LITERAL("MAILMAX")))
            take_limit(&limits->transactions, value);
        else if (span_equal_nocase(name, SPAN_LITERAL("RCPTDOMAINMAX")))
            take_limit(&limits->domains, value);
    }
}

/* "AUTH LOGIN PLAIN" (RFC 4954 3), and "AUTH=LOGIN PLAIN", as old servers have it. */
static void take_auth(struct extensions *e, struct span keyword, struct span line)
{
    if (keyword.n < 4 || strncasecmp(keyword.p, "AUTH", 4) != 0 || (keyword.n > 4 && keyword.p[4] != '='))
        return;
    if (keyword.n > 5)
        e->auth |= sasl_mechanism(span_make(keyword.p + 5, keyword.n - 5));
    for (struct span word; (word = next_word(&line)).n > 0;)
        e->auth |= sasl_mechanism(word);
}

static void take(struct extensions *e, struct span line)
{
    struct span keyword = next_word(&line);
    take_auth(e, keyword, line);
    if (span_equal_nocase(keyword, SPAN_LITERAL("LIMITS")))
        take_limits(&e->limits, line);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (!span_equal_nocase(keyword, known[i].keyword))
            continue;
        e->offered |= known[i].extension;
        if (known[i].extension == EXTENSION_SIZE)
            e->size_limit = number(next_word(&line));
        else if (known[i].extension == EXTENSION_DELIVERBY)
            e->by_least = number(next_word(&line));
    }
}

struct extensions extensions_parse(const struct reply *r)
{
    struct extensions e = {0};
    struct span line;
    size_t at = 0;
    reply_line(r, &at, &line); /* the greeting */
    while (reply_line(r, &at, &line))
        take(&e, line);
    return e;
}

struct span extensions_name(const struct reply *r)
{
    struct span line = {NULL, 0};
    size_t at = 0;
    reply_line(r, &at, &line);
    return next_word(&line);
}
