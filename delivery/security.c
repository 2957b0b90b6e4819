#include "delivery/security.h"

#include "delivery/tlsa.h"

static bool matches(struct span pattern, struct span host)
{
    if (pattern.n < 3 || pattern.p[0] != '*')
        return span_equal_nocase(pattern, host);
    const char *dot = host.n ? memchr(host.p, '.', host.n) : NULL;
    pattern = span_make(pattern.p + 1, pattern.n - 1);
    return dot && dot > host.p && span_equal_nocase(pattern, span_make(dot, host.n - (size_t)(dot - host.p)));
}

bool security_sts_names(const char *mx, const char *host)
{
    struct span list = span_of(mx);
    while (list.n) {
        const char *blank = memchr(list.p, ' ', list.n);
        struct span pattern = span_make(list.p, blank ? (size_t)(blank - list.p) : list.n);
        if (matches(pattern, span_of(host)))
            return true;
        list = blank ? span_make(blank + 1, list.n - pattern.n - 1) : span_make("", 0);
    }
    return false;
}

static enum security of_sts(const struct security_sts *sts, const struct host *h, const char **why)
{
    if (sts->mode != STS_ENFORCE)
        return sts->mode == STS_TESTING ? SECURITY_TESTING : SECURITY_MAY;
    if (security_sts_names(sts->mx ? sts->mx : "", h->name))
        return SECURITY_STS;
    *why = "it is not among the hosts of the domain's MTA-STS policy";
    return SECURITY_UNUSABLE;
}

static enum security of_dane(bool only, const struct host *h, const struct security_sts *sts, const char **why)
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
    return h->dane == DANE_RECORDS ? SECURITY_ENCRYPT : of_sts(sts, h, why);
}

enum security security_of(enum tlspolicy policy, const struct host *h, const struct security_sts *sts, const char **why)
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
    return of_dane(policy == TLSPOLICY_DANE_ONLY, h, sts, why);
}

bool security_proves(enum security level)
{
    return level == SECURITY_DANE || level == SECURITY_STS || level == SECURITY_VERIFY || level == SECURITY_FINGERPRINT;
}

enum security security_required(enum security level, bool located, const char **why)
{
    if (security_proves(level) || level == SECURITY_UNUSABLE)
        return level;
    *why = "REQUIRETLS, and DNSSEC does not prove that it is a host of the next hop";
    return located ? SECURITY_VERIFY : SECURITY_UNUSABLE;
}

enum security security_implicit(enum tlspolicy policy, enum security level)
{
    bool unproved = policy == TLSPOLICY_DANE && level == SECURITY_ENCRYPT;
    return unproved || security_allows_plain(level) ? SECURITY_VERIFY : level;
}

bool security_allows_plain(enum security level)
{
    return level == SECURITY_NONE || level == SECURITY_MAY || level == SECURITY_TESTING;
}

const char *security_word(enum security level)
{
    static const char *const words[] = {[SECURITY_NONE] = "none",       [SECURITY_MAY] = "may",
                                        [SECURITY_ENCRYPT] = "encrypt", [SECURITY_VERIFY] = "verify",
                                        [SECURITY_DANE] = "dane",       [SECURITY_FINGERPRINT] = "fingerprint",
                                        [SECURITY_STS] = "sts",         [SECURITY_TESTING] = "sts testing",
                                        [SECURITY_UNUSABLE] = "none"};
    return words[level];
}
