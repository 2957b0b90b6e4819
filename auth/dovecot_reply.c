#include "auth/dovecot_reply.h"

static bool take(struct span *rest, struct span *field)
{
    if (!rest->p)
        return false;
    const char *tab = rest->n ? memchr(rest->p, '\t', rest->n) : NULL;
    *field = tab ? span_make(rest->p, (size_t)(tab - rest->p)) : *rest;
    *rest = tab ? span_make(tab + 1, rest->n - field->n - 1) : span_make(NULL, 0);
    return true;
}

static bool parse_number(struct span text, uint32_t *out)
{
    uint64_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9' || n > UINT32_MAX)
            return false;
        n = n * 10 + (uint64_t)(text.p[i] - '0');
    }
    *out = (uint32_t)n;
    return text.n > 0 && n <= UINT32_MAX;
}

static bool value_of(struct span field, const char *key, struct span *value)
{
    size_t n = strlen(key);
    if (field.n < n || memcmp(field.p, key, n) != 0)
        return false;
    *value = span_make(field.p + n, field.n - n);
    return true;
}

static void parse_parameters(struct span rest, struct dovecot_reply *r)
{
    struct span field, code;
    while (take(&rest, &field)) {
        if (value_of(field, "user=", &r->user) || value_of(field, "reason=", &r->reason))
            continue;
        if (span_equal(field, SPAN_LITERAL("temp")) || (value_of(field, "code=", &code) && span_equal(code, SPAN_LITERAL("temp_fail"))))
            r->temporary = true;
    }
}

static enum dovecot_kind kind_of(struct span word)
{
    static const struct {
        const char *word;
        enum dovecot_kind kind;
    } table[] = {{"VERSION", DOVECOT_VERSION}, {"MECH", DOVECOT_MECHANISM}, {"DONE", DOVECOT_DONE},
                 {"OK", DOVECOT_OK},           {"FAIL", DOVECOT_FAIL},      {"CONT", DOVECOT_CONTINUE}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (span_equal(word, span_of(table[i].word)))
            return table[i].kind;
    return DOVECOT_OTHER;
}

void dovecot_reply_parse(struct span line, struct dovecot_reply *r)
{
    struct span word = {0}, field = {0};
    *r = (struct dovecot_reply){0};
    take(&line, &word);
    r->kind = kind_of(word);
    if (r->kind == DOVECOT_OTHER || r->kind == DOVECOT_DONE)
        return;
    bool ok = take(&line, &field);
    if (ok && r->kind == DOVECOT_MECHANISM)
        r->mechanism = field;
    else if (ok)
        ok = parse_number(field, &r->id);
    if (ok && r->kind == DOVECOT_CONTINUE)
        ok = take(&line, &r->data);
    else if (ok && (r->kind == DOVECOT_OK || r->kind == DOVECOT_FAIL))
        parse_parameters(line, r);
    if (!ok)
        r->kind = DOVECOT_BAD;
}
