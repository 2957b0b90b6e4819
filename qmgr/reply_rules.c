#include "qmgr/reply_rules.h"

#include "qmgr/limits.h"

#include <ctype.h>

#define TEXT_MOST 1024 /* a pattern or reply; what is beyond is not looked at */

static struct span lower(struct span s, char out[TEXT_MOST])
{
    size_t n = s.n < TEXT_MOST ? s.n : TEXT_MOST;
    for (size_t i = 0; i < n; i++)
        out[i] = (char)tolower((unsigned char)s.p[i]);
    return span_make(out, n);
}

static bool begins(struct span s, struct span with)
{
    return s.n >= with.n && memcmp(s.p, with.p, with.n) == 0;
}

/* The piece in front of the next *, which is taken with it; false: there is no * any more. */
static bool next_piece(struct span *pattern, struct span *piece)
{
    const char *star = pattern->n ? memchr(pattern->p, '*', pattern->n) : NULL;
    if (!star)
        return false;
    *piece = span_make(pattern->p, (size_t)(star - pattern->p));
    *pattern = span_make(star + 1, pattern->n - piece->n - 1);
    return true;
}

/* Each piece between two * is taken where it is found first: if the rest fits anywhere behind a later one, it does behind this one. */
static bool fit(struct span pattern, struct span text)
{
    struct span piece;
    if (!next_piece(&pattern, &piece))
        return span_equal(pattern, text);
    if (!begins(text, piece))
        return false;
    text = span_make(text.p + piece.n, text.n - piece.n);
    while (next_piece(&pattern, &piece)) {
        const char *at = piece.n ? memmem(text.p, text.n, piece.p, piece.n) : text.p;
        if (!at)
            return false;
        size_t used = (size_t)(at - text.p) + piece.n;
        text = span_make(text.p + used, text.n - used);
    }
    return text.n >= pattern.n && memcmp(text.p + text.n - pattern.n, pattern.p, pattern.n) == 0;
}

bool reply_rules_fit(struct span pattern, struct span text)
{
    char small_pattern[TEXT_MOST], small_text[TEXT_MOST];
    return fit(lower(pattern, small_pattern), lower(text, small_text));
}

static bool fits_any(const struct strings *patterns, struct span small)
{
    char pattern[TEXT_MOST];
    for (size_t i = 0; i < patterns->n; i++)
        if (fit(lower(span_of(patterns->v[i]), pattern), small))
            return true;
    return false;
}

const struct settings_reply *reply_rules_find(const struct settings *s, struct span site, struct span said, unsigned at)
{
    char text[TEXT_MOST];
    struct span small = lower(said, text);
    for (size_t i = 0; i < s->reply_count && at != SAID_NOTHING; i++) {
        const struct settings_reply *r = &s->replies[i];
        if (at == SAID_TO_RCPT && !r->recipients)
            continue;
        if (fits_any(&r->match, small) && (r->sites.n == 0 || limits_hosts_within(site, (struct span){0}, &r->sites)))
            return r;
    }
    return NULL;
}

bool reply_rules_is_about_all(struct span said, unsigned at)
{
    return at == SAID_AT_FIRST || begins(said, SPAN_LITERAL("421"));
}
