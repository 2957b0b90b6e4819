#include "sts/policy.h"

#include "common/address.h"

/* ---- the record ------------------------------------------------------------------------------------------------------------------ */

bool sts_is_record(struct span txt)
{
    return span_equal(span_trim(span_until(&txt, ';')), SPAN_LITERAL("v=STSv1"));
}

static bool take_id(struct span value, char id[STS_ID])
{
    if (value.n < 1 || value.n >= STS_ID)
        return false;
    for (size_t i = 0; i < value.n; i++)
        if (!((value.p[i] >= '0' && value.p[i] <= '9') || ((value.p[i] | 0x20) >= 'a' && (value.p[i] | 0x20) <= 'z')))
            return false;
    memcpy(id, value.p, value.n);
    id[value.n] = '\0';
    return true;
}

bool sts_record_parse(struct span txt, char id[STS_ID])
{
    bool found = false;
    if (!sts_is_record(txt))
        return false;
    span_until(&txt, ';');
    while (txt.n) {
        struct span value = span_trim(span_until(&txt, ';')), key = span_until(&value, '=');
        if (!span_equal(key, SPAN_LITERAL("id")))
            continue;
        if (found || !take_id(value, id))
            return false;
        found = true;
    }
    return found;
}

/* ---- the policy ------------------------------------------------------------------------------------------------------------------ */

struct seen {
    bool version, mode, max_age;
    unsigned mx;
};

static bool take_mode(struct span value, struct sts_policy *p)
{
    static const struct {
        struct span word;
        enum sts_mode mode;
    } words[] = {{{"none", 4}, STS_NONE}, {{"testing", 7}, STS_TESTING}, {{"enforce", 7}, STS_ENFORCE}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (!span_equal(value, words[i].word))
            continue;
        p->mode = words[i].mode;
        return true;
    }
    return false;
}

/* Up to ten digits; more than a year is a year. */
static bool take_max_age(struct span value, struct sts_policy *p)
{
    uint64_t n = 0;
    if (value.n < 1 || value.n > 10)
        return false;
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] < '0' || value.p[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(value.p[i] - '0');
    }
    p->max_age = n < STS_MAX_AGE_MOST ? n : STS_MAX_AGE_MOST;
    return true;
}

static bool take_mx(struct span value, struct sts_policy *p)
{
    bool wild = value.n > 2 && value.p[0] == '*' && value.p[1] == '.';
    struct span name = wild ? span_make(value.p + 2, value.n - 2) : value;
    if (!address_is_domain(name, false))
        return false;
    if (p->mx.len)
        buf_add_char(&p->mx, ' ');
    for (size_t i = 0; i < value.n; i++)
        buf_add_char(&p->mx, value.p[i] >= 'A' && value.p[i] <= 'Z' ? (char)(value.p[i] | 0x20) : value.p[i]);
    return !p->mx.failed;
}

/* Of all but mx the first counts; what is not known is passed over. NULL, or what is wrong. */
static const char *take_line(struct span key, struct span value, struct sts_policy *p, struct seen *seen)
{
    if (span_equal(key, SPAN_LITERAL("version")) && !seen->version) {
        seen->version = true;
        return span_equal(value, SPAN_LITERAL("STSv1")) ? NULL : "its version is not STSv1";
    }
    if (span_equal(key, SPAN_LITERAL("mode")) && !seen->mode) {
        seen->mode = true;
        return take_mode(value, p) ? NULL : "its mode is none that there is";
    }
    if (span_equal(key, SPAN_LITERAL("max_age")) && !seen->max_age) {
        seen->max_age = true;
        return take_max_age(value, p) ? NULL : "its max_age is no number of seconds";
    }
    if (!span_equal(key, SPAN_LITERAL("mx")))
        return NULL;
    if (++seen->mx > STS_MX_MOST)
        return "it names too many MX hosts";
    return take_mx(value, p) ? NULL : "an mx of it is no name of a host";
}

static const char *missing(const struct sts_policy *p, const struct seen *seen)
{
    if (!seen->version)
        return "it has no version";
    if (!seen->mode)
        return "it has no mode";
    if (!seen->max_age)
        return "it has no max_age";
    return p->mode != STS_NONE && !seen->mx ? "it names no mx" : NULL;
}

bool sts_policy_parse(struct span text, struct sts_policy *p, const char **why)
{
    struct seen seen = {0};
    *p = (struct sts_policy){.mx = BUF_EMPTY(STS_MX_MOST * 260)};
    *why = text.n > STS_TEXT_MOST ? "it is too long" : NULL;
    while (text.n && !*why) {
        struct span line = span_until(&text, '\n');
        if (line.n && line.p[line.n - 1] == '\r')
            line.n--;
        struct span key = span_until(&line, ':');
        *why = take_line(key, span_trim(line), p, &seen);
    }
    if (!*why)
        *why = missing(p, &seen);
    return *why == NULL;
}

void sts_policy_lines(const struct sts_policy *p, struct buf *out)
{
    static const char *const modes[] = {[STS_NONE] = "none", [STS_TESTING] = "testing", [STS_ENFORCE] = "enforce"};
    struct span list = buf_span(&p->mx);
    buf_printf(out, "version: STSv1\nmode: %s\nmax_age: %llu", modes[p->mode], (unsigned long long)p->max_age);
    while (list.n) {
        struct span mx = span_until(&list, ' ');
        buf_printf(out, "\nmx: %.*s", SPAN_ARG(mx));
    }
}
