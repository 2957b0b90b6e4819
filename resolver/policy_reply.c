#include "resolver/policy_reply.h"

static struct span action_in(struct span text)
{
    static const char key[] = "action=";
    struct span found = {0};
    while (text.n > 0) {
        struct span line = span_until(&text, '\n');
        if (line.n > 0 && line.p[line.n - 1] == '\r')
            line.n--;
        if (line.n >= sizeof key - 1 && memcmp(line.p, key, sizeof key - 1) == 0)
            found = span_make(line.p + sizeof key - 1, line.n - (sizeof key - 1));
    }
    return found;
}

static bool printable(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < ' ' || (unsigned char)s.p[i] > '~')
            return false;
    return s.n > 0;
}

/* Up to the first empty line; what is behind it is no answer of ours. 0: there is none. */
static size_t length_of(struct span s)
{
    const char *lf = s.n ? memmem(s.p, s.n, "\n\n", 2) : NULL, *crlf = s.n ? memmem(s.p, s.n, "\n\r\n", 3) : NULL;
    if (lf == NULL || (crlf != NULL && crlf < lf))
        lf = crlf;
    return lf ? (size_t)(lf - s.p) + 1 : 0;
}

enum policy_reply policy_reply_parse(struct span text, struct span *words)
{
    size_t n = length_of(text);
    *words = (struct span){0};
    if (n == 0)
        return POLICY_REPLY_MORE;
    struct span found = action_in(span_make(text.p, n));
    if (!printable(found))
        return POLICY_REPLY_NONE;
    *words = found;
    return POLICY_REPLY_ACTION;
}
