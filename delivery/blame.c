#include "delivery/blame.h"

#include <ctype.h>

/* As words, in letters of either case. A blank stands for a blank, hyphen or underscore. */
static const char *const words[] = {
    "ipv6",           "ipv4",         "ptr",  "reverse dns",      "rdns",   "reverse lookup",    "reverse mapping", "reverse name",
    "reverse record", "reverse host", "rptr", "reverse hostname", "fcrdns", "forward confirmed",
};

static bool is_word(char c)
{
    return isalnum((unsigned char)c);
}

static bool equal(char in, char wanted)
{
    if (wanted == ' ')
        return in == ' ' || in == '-' || in == '_';
    return tolower((unsigned char)in) == wanted;
}

static bool begins_with(struct span text, const char *word)
{
    size_t n = strlen(word);
    if (text.n < n || (text.n > n && is_word(text.p[n])))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!equal(text.p[i], word[i]))
            return false;
    return true;
}

static bool has_one(struct span line)
{
    for (size_t at = 0; at < line.n; at++) {
        if (at > 0 && is_word(line.p[at - 1]))
            continue;
        for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
            if (begins_with(span_make(line.p + at, line.n - at), words[i]))
                return true;
    }
    return false;
}

/* RFC 7372 3.3: 5.7.25, reverse DNS validation failed. */
static bool has_code(const struct reply *r)
{
    char status[STATUS_MAX];
    reply_status(r, '5', true, status);
    return strcmp(status, "5.7.25") == 0;
}

bool blame_is_of_address(const struct reply *r)
{
    struct span line;
    if (r->code / 100 != 5)
        return false;
    if (has_code(r))
        return true;
    for (size_t at = 0; reply_line(r, &at, &line);)
        if (has_one(line))
            return true;
    return false;
}
