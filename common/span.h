/* span: a view of bytes that somebody else owns. Parse once, hand on spans; nobody copies, nobody parses again.
 * A span is valid as long as the buffer it points into; whoever keeps one longer copies it first. */
#ifndef POSTINO_SPAN_H
#define POSTINO_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

struct span {
    const char *p; /* may be NULL when n is 0 */
    size_t n;
};

/* For printf-like calls: printf("%.*s", SPAN_ARG(s)). */
#define SPAN_ARG(s)        (int)(s).n, (s).p ? (s).p : ""
#define SPAN_LITERAL(text) ((struct span){(text), sizeof(text) - 1})

static inline struct span span_of(const char *text)
{
    return (struct span){text, text ? strlen(text) : 0};
}

static inline struct span span_make(const void *p, size_t n)
{
    return (struct span){p, n};
}

static inline bool span_equal(struct span a, struct span b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool span_is_ascii(struct span s)
{
    uint64_t all = 0, eight;
    size_t i = 0;
    for (; s.n - i >= sizeof eight; i += sizeof eight) {
        memcpy(&eight, s.p + i, sizeof eight);
        all |= eight;
    }
    for (; i < s.n; i++)
        all |= (unsigned char)s.p[i];
    return !(all & UINT64_C(0x8080808080808080));
}

/* ASCII case-insensitive, as SMTP verbs and domains are. */
static inline bool span_equal_nocase(struct span a, struct span b)
{
    return a.n == b.n && (a.n == 0 || strncasecmp(a.p, b.p, a.n) == 0);
}

/* ---- a walk over lines, or over what blanks or commas part: `rest` is what is left of it ----------------------------------------- */

/* What is before the next `end`, and `rest` moves behind that. False: there is none, so it was all that was left. */
static inline bool span_cut(struct span *rest, char end, struct span *front)
{
    const char *p = rest->n ? (const char *)memchr(rest->p, end, rest->n) : NULL;
    size_t n = p ? (size_t)(p - rest->p) : rest->n, used = n + (p ? 1 : 0);
    *front = span_make(rest->p, n);
    *rest = span_make(rest->n ? rest->p + used : rest->p, rest->n - used);
    return p != NULL;
}

/* The same for whoever takes a last part without its end for a part: while (rest.n) { one = span_until(&rest, ' '); ... } */
static inline struct span span_until(struct span *rest, char end)
{
    struct span front;
    span_cut(rest, end, &front);
    return front;
}

/* What is before the first `end`, or all. */
static inline struct span span_before(struct span s, char end)
{
    return span_until(&s, end);
}

/* Without the blanks (space, tab) at its ends. */
static inline struct span span_trim(struct span s)
{
    while (s.n && (*s.p == ' ' || *s.p == '\t'))
        s = span_make(s.p + 1, s.n - 1);
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

#endif
