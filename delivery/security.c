#include "delivery/security.h"

#include "delivery/tlsa.h"

static enum security of_dane(bool only, const struct host *h, const char **why)
{
    if (h->dane == DANE_TROUBLE) {
        *why = "its TLSA records can't be had now, and it may not be used without them";
        return SECURITY_UNUSABLE;
    }
    if (h->dane == DANE_RECORDS && tlsa_usable(span_of(h->tlsa)))
        return SECURITY_DANE;
    if (only) {
        *why = h->dane == DANE_RECORDS ? "none of its TLSA records is of use, and the route demands DANE"
                                       : "it has no TLSA records that DNSSEC proves, and the route demands DANE";
        return SECURITY_UNUSABLE;
    }
    return h->dane == DANE_RECORDS ? SECURITY_ENCRYPT : SECURITY_MAY;
}

enum security security_of(enum tlspolicy policy, const struct host *h, const char **why)
{
    switch (policy) {
    case TLSPOLICY_NONE:
        return SECURITY_NONE;
    case TLSPOLICY_MAY:
        return SECURITY_MAY;
    case TLSPOLICY_ENCRYPT:
        return SECURITY_ENCRYPT;
    case TLSPOLICY_VERIFY:
        return SECURITY_VERIFY;
    case TLSPOLICY_FINGERPRINT:
        return SECURITY_FINGERPRINT;
    case TLSPOLICY_DANE:
    case TLSPOLICY_DANE_ONLY:
        break;
    }
    return of_dane(policy == TLSPOLICY_DANE_ONLY, h, why);
}

enum security security_required(enum security level, bool located, const char **why)
{
    if (level == SECURITY_DANE || level == SECURITY_VERIFY || level == SECURITY_FINGERPRINT || level == SECURITY_UNUSABLE)
        return level;
    *why = "REQUIRETLS, and DNSSEC does not prove that it is a host of the next hop";
    return located ? SECURITY_VERIFY : SECURITY_UNUSABLE;
}

bool security_allows_plain(enum security level)
{
    return level == SECURITY_NONE || level == SECURITY_MAY;
}

const char *security_word(enum security level)
{
    static const char *const words[] = {[SECURITY_NONE] = "none",     [SECURITY_MAY] = "may",   [SECURITY_ENCRYPT] = "encrypt",
                                        [SECURITY_VERIFY] = "verify", [SECURITY_DANE] = "dane", [SECURITY_FINGERPRINT] = "fingerprint",
                                        [SECURITY_UNUSABLE] = "none"};
    return words[level];
}
