#include "common/tlspolicy.h"

static const char *const words[] = {[TLSPOLICY_NONE] = "none",
                                    [TLSPOLICY_MAY] = "may",
                                    [TLSPOLICY_ENCRYPT] = "encrypt",
                                    [TLSPOLICY_VERIFY] = "verify",
                                    [TLSPOLICY_DANE] = "dane",
                                    [TLSPOLICY_DANE_ONLY] = "dane-only",
                                    [TLSPOLICY_FINGERPRINT] = "fingerprint"};

const char *tlspolicy_word(enum tlspolicy policy)
{
    return words[policy];
}

bool tlspolicy_fits_smtps(enum tlspolicy policy)
{
    return policy != TLSPOLICY_NONE && policy != TLSPOLICY_MAY;
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool tlspolicy_fingerprint(struct span *list, unsigned char sum[32])
{
    bool more = list->n > TLSPOLICY_FINGERPRINT_HEX;
    if (list->n < TLSPOLICY_FINGERPRINT_HEX || list->n == TLSPOLICY_FINGERPRINT_HEX + 1 ||
        (more && list->p[TLSPOLICY_FINGERPRINT_HEX] != ','))
        return false;
    for (size_t i = 0; i < 32; i++) {
        int high = nibble(list->p[2 * i]), low = nibble(list->p[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        sum[i] = (unsigned char)(high << 4 | low);
    }
    size_t used = TLSPOLICY_FINGERPRINT_HEX + more;
    *list = span_make(list->p + used, list->n - used);
    return true;
}

static bool fingerprints_good(struct span list)
{
    unsigned char sum[32];
    bool any = false;
    while (tlspolicy_fingerprint(&list, sum))
        any = true;
    return any && list.n == 0;
}

bool tlspolicy_parse(struct span text, enum tlspolicy *policy, struct span *fingerprints)
{
    struct span rest = {"", 0};
    const char *colon = text.n && text.n <= TLSPOLICY_TEXT ? memchr(text.p, ':', text.n) : NULL;
    if (colon) {
        rest = span_make(colon + 1, (size_t)(text.p + text.n - colon) - 1);
        text.n = (size_t)(colon - text.p);
    }
    if (fingerprints)
        *fingerprints = rest;
    if (span_equal(text, SPAN_LITERAL("required")))
        text = SPAN_LITERAL("encrypt");
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (!span_equal(text, span_of(words[i])))
            continue;
        *policy = (enum tlspolicy)i;
        return i == TLSPOLICY_FINGERPRINT ? fingerprints_good(rest) : !colon;
    }
    return false;
}
