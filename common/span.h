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

#endif
