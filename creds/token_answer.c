#include "creds/token_answer.h"

#define DEPTH_MOST 32
#define ERROR_MOST ((size_t)64)

struct reader {
    const char *p, *end;
};

static void skip_blanks(struct reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r'))
        r->p++;
}

static bool take(struct reader *r, char c)
{
    skip_blanks(r);
    if (r->p == r->end || *r->p != c)
        return false;
    r->p++;
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four digits behind \u; what is beyond ASCII becomes DEL, which no token has. */
static bool take_unicode(struct reader *r, char *out)
{
    unsigned value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = r->p < r->end ? hex_digit(*r->p++) : -1;
        if (digit < 0)
            return false;
        value = value * 16 + (unsigned)digit;
    }
    *out = value > 0 && value < 0x7f ? (char)value : 0x7f;
    return true;
}

static bool take_escape(struct reader *r, char *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (r->p == r->end)
        return false;
    char c = *r->p++;
    if (c == 'u')
        return take_unicode(r, out);
    const char *at = c ? strchr(from, c) : NULL;
    if (at)
        *out = to[at - from];
    return at != NULL;
}

/* A string; `out` NULL: nobody wants it. */
static bool take_string(struct reader *r, struct buf *out)
{
    if (!take(r, '"'))
        return false;
    while (r->p < r->end && *r->p != '"') {
        char c = *r->p++;
        if ((unsigned char)c < 0x20 || (c == '\\' && !take_escape(r, &c)))
            return false;
        if (out)
            buf_add_char(out, c);
    }
    return take(r, '"') && !(out && out->failed);
}

/* A number, true, false, null: its letters. */
static struct span take_word(struct reader *r)
{
    skip_blanks(r);
    const char *begin = r->p;
    while (r->p < r->end && !strchr(" \t\r\n,]}", *r->p) && *r->p > ' ' && *r->p <= '~')
        r->p++;
    return span_make(begin, (size_t)(r->p - begin));
}

/* A value that does not count, whatever is in it: only strings and brackets are looked at. */
static bool skip_value(struct reader *r)
{
    unsigned depth = 0;
    do {
        skip_blanks(r);
        if (r->p == r->end)
            return false;
        char c = *r->p;
        if (c == '"') {
            if (!take_string(r, NULL))
                return false;
        } else if (c == '{' || c == '[') {
            r->p++;
            if (++depth > DEPTH_MOST)
                return false;
        } else if (c == '}' || c == ']' || c == ',' || c == ':') {
            if (depth == 0)
                return false;
            depth -= c == '}' || c == ']';
            r->p++;
        } else if (take_word(r).n == 0) {
            return false;
        }
    } while (depth > 0);
    return true;
}

/* "3600", and 3600 in quotes, as some servers say it. */
static bool take_seconds(struct reader *r, uint64_t *out)
{
    struct buf text = BUF_EMPTY(64);
    skip_blanks(r);
    bool quoted = r->p < r->end && *r->p == '"';
    struct span digits;
    if (quoted && !take_string(r, &text)) {
        buf_free(&text);
        return false;
    }
    digits = quoted ? buf_span(&text) : take_word(r);
    uint64_t value = digits.n ? 0 : UINT64_MAX;
    for (size_t i = 0; i < digits.n && value != UINT64_MAX; i++)
        value = digits.p[i] >= '0' && digits.p[i] <= '9' && i < 18 ? value * 10 + (uint64_t)(digits.p[i] - '0') : UINT64_MAX;
    *out = value;
    bool any = digits.n > 0;
    buf_free(&text);
    return any || quoted;
}

static bool is_printable(const struct buf *b)
{
    for (size_t i = 0; i < b->len; i++)
        if (b->data[i] <= ' ' || b->data[i] > '~')
            return false;
    return true;
}

static bool is_error_word(const struct buf *b)
{
    for (size_t i = 0; i < b->len; i++)
        if ((b->data[i] < 'a' || b->data[i] > 'z') && b->data[i] != '_')
            return false;
    return true;
}

static bool take_type(struct reader *r, struct token_answer *a)
{
    struct buf type = BUF_EMPTY(64);
    bool ok = take_string(r, &type);
    a->bearer = span_equal_nocase(buf_span(&type), SPAN_LITERAL("Bearer"));
    buf_free(&type);
    return ok;
}

static bool take_member(struct reader *r, struct span name, struct token_answer *a)
{
    if (span_equal(name, SPAN_LITERAL("access_token")))
        return !a->access.len && take_string(r, &a->access) && is_printable(&a->access);
    if (span_equal(name, SPAN_LITERAL("refresh_token")))
        return !a->refresh.len && take_string(r, &a->refresh) && is_printable(&a->refresh);
    if (span_equal(name, SPAN_LITERAL("expires_in")))
        return take_seconds(r, &a->expires_in);
    if (span_equal(name, SPAN_LITERAL("token_type")))
        return take_type(r, a);
    if (span_equal(name, SPAN_LITERAL("error")) && !a->error.len)
        return take_string(r, &a->error) && is_error_word(&a->error);
    return skip_value(r);
}

static bool take_members(struct reader *r, struct token_answer *a)
{
    if (take(r, '}'))
        return true;
    do {
        struct buf name = BUF_EMPTY(256);
        bool ok = take_string(r, &name) && take(r, ':') && take_member(r, buf_span(&name), a);
        buf_free(&name);
        if (!ok)
            return false;
    } while (take(r, ','));
    return take(r, '}');
}

bool token_answer_parse(struct span text, struct token_answer *a)
{
    struct reader r = {text.p, text.p + text.n};
    *a = (struct token_answer){.access = {.limit = TOKEN_MOST, .secret = true},
                               .refresh = {.limit = TOKEN_MOST, .secret = true},
                               .error = BUF_EMPTY(ERROR_MOST),
                               .expires_in = UINT64_MAX,
                               .bearer = true};
    if (text.n > TOKEN_ANSWER_MOST || !text.n || !take(&r, '{') || !take_members(&r, a))
        return false;
    skip_blanks(&r);
    return r.p == r.end;
}

void token_answer_free(struct token_answer *a)
{
    buf_free(&a->access);
    buf_free(&a->refresh);
    buf_free(&a->error);
}
