#include "smtpd/tls_client.h"

#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUBJECT_OCTETS 2000 /* of a common name: a longer one is none */

static void print(const unsigned char *digest, unsigned n, char *out, size_t size)
{
    *out = '\0';
    for (unsigned i = 0; i < n && 3 * (size_t)i + 3 <= size; i++)
        snprintf(out + 3 * (size_t)i, size - 3 * (size_t)i, i + 1 < n ? "%02X:" : "%02X", digest[i]);
}

/* Nothing that means something in a header line, a log or a table. */
static void add_harmless(char *out, size_t size, const unsigned char *p, size_t n)
{
    size_t len = 0;
    for (size_t i = 0; i < n && len + 1 < size; i++) {
        char c = (char)p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr(".-_@*", c));
        out[len++] = plain ? c : '?';
    }
    out[len] = '\0';
}

static void take_subject(struct tls_client *c, X509 *certificate)
{
    const X509_NAME *name = X509_get_subject_name(certificate);
    int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    const ASN1_STRING *value = at >= 0 ? X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)) : NULL;
    unsigned char *text = NULL;
    int n = value && ASN1_STRING_length(value) <= SUBJECT_OCTETS ? ASN1_STRING_to_UTF8(&text, value) : -1;
    if (n > 0)
        add_harmless(c->subject, sizeof c->subject, text, (size_t)n);
    OPENSSL_free(text);
}

static bool take_fingerprints(struct tls_client *c, X509 *certificate)
{
    unsigned char digest[EVP_MAX_MD_SIZE], *der = NULL;
    unsigned size = 0;
    if (X509_digest(certificate, EVP_sha256(), digest, &size) != 1)
        return false;
    print(digest, size, c->certificate, sizeof c->certificate);
    int n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
    if (n > 0 && EVP_Digest(der, (size_t)n, digest, &size, EVP_sha256(), NULL) == 1)
        print(digest, size, c->key, sizeof c->key);
    OPENSSL_free(der);
    return true;
}

struct tls_client *tls_client_new(SSL *ssl)
{
    X509 *certificate = SSL_get0_peer_certificate(ssl);
    struct tls_client *c = certificate ? calloc(1, sizeof *c) : NULL;
    if (c && !take_fingerprints(c, certificate)) {
        free(c);
        c = NULL;
    }
    if (c) {
        take_subject(c, certificate);
        c->trusted = SSL_get_verify_result(ssl) == X509_V_OK;
    }
    ERR_clear_error();
    return c;
}
