/* tls_client: the certificate that a client has shown in its TLS handshake. What is in it was written by anybody. */
#ifndef POSTINO_SMTPD_TLS_CLIENT_H
#define POSTINO_SMTPD_TLS_CLIENT_H

#include <openssl/ssl.h>
#include <stdbool.h>

struct tls_client {
    char certificate[96]; /* SHA-256, "AB:CD:..." as Postfix writes it */
    char key[96];         /* the same, of its SubjectPublicKeyInfo */
    char subject[200];    /* its common name: letters, digits and .-_@* of it; "" when it has none */
    bool trusted;         /* tls { client_authorities } vouch for it */
};

/* NULL: the client has shown none, or there is no memory. The caller frees it. */
struct tls_client *tls_client_new(SSL *);

#endif
