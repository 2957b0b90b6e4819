/* Patterns of replies: the fast way and the plain one agree, on any pattern and any text. The input is both, parted by the first LF. */
#include "qmgr/reply_rules.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#define MOST 1024

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool same(unsigned char a, unsigned char b)
{
    return tolower(a) == tolower(b);
}

/* fits[j]: what is read of the pattern fits the first j octets of the text. */
static bool plain(const unsigned char *pattern, size_t n, const unsigned char *text, size_t m)
{
    static bool fits[MOST + 1];
    for (size_t j = 0; j <= m; j++)
        fits[j] = j == 0;
    for (size_t i = 0; i < n; i++) {
        bool before = fits[0], star = pattern[i] == '*';
        fits[0] = fits[0] && star;
        for (size_t j = 1; j <= m; j++) {
            bool old = fits[j];
            fits[j] = star ? old || fits[j - 1] : before && same(pattern[i], text[j - 1]);
            before = old;
        }
    }
    return fits[m];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *lf = size ? memchr(data, '\n', size) : NULL;
    size_t n = lf ? (size_t)(lf - data) : 0, m = lf ? size - n - 1 : 0;
    if (!lf || n > MOST || m > MOST)
        return 0;
    if (reply_rules_fit(span_make((const char *)data, n), span_make((const char *)lf + 1, m)) != plain(data, n, lf + 1, m))
        abort();
    return 0;
}
