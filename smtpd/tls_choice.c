/* Which certificates are for which name (RFC 6066 3, RFC 6125). */
#include "common/address.h"
#include "smtpd/tls_internal.h"

#include <openssl/x509v3.h>

#define FLAGS (X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS)

static bool has(X509 *certificate, struct span name)
{
    return X509_check_host(certificate, name.p, name.n, FLAGS, NULL) == 1;
}

/* A name that is none is asked of no certificate: OpenSSL gives some octets (a dot in front, NUL) a meaning of their own. */
uint64_t tls_choose(const struct tls_chain *chains, size_t n, struct span name)
{
    uint64_t mask = 0;
    if (name.n > 1 && name.p[name.n - 1] == '.')
        name.n--;
    if (!address_is_domain(name, false))
        return 0;
    for (size_t i = 0; i < n; i++)
        if (has(chains[i].own, name))
            mask |= UINT64_C(1) << i;
    return mask;
}

/* The first DNS name of a certificate; of a wildcard one name that it is for. */
static struct span first_name(X509 *certificate, char *room, size_t size)
{
    GENERAL_NAMES *all = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    struct span found = {0};
    for (int i = 0; i < sk_GENERAL_NAME_num(all) && found.n == 0; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(all, i);
        size_t n = name->type == GEN_DNS ? (size_t)ASN1_STRING_length(name->d.dNSName) : 0;
        if (n == 0 || n > size)
            continue;
        memcpy(room, ASN1_STRING_get0_data(name->d.dNSName), n);
        found = span_make(room, n);
        if (*room == '*')
            *room = 'x';
    }
    GENERAL_NAMES_free(all);
    return found;
}

static struct span common_name(X509 *certificate, char *room, size_t size)
{
    int n = X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, room, (int)size);
    return span_make(room, n > 0 ? (size_t)n : 0);
}

uint64_t tls_choose_default(const struct tls_chain *chains, size_t n)
{
    char room[256];
    if (n == 0)
        return 0;
    struct span name = first_name(chains[0].own, room, sizeof room);
    if (name.n == 0)
        name = common_name(chains[0].own, room, sizeof room);
    return 1 | tls_choose(chains, n, name);
}
