/* tls: the SSL_CTX of smtpd's listeners. TLS 1.2 and later, session tickets, no renegotiation. Certificate and key are read as root, before
 * the sandbox. */
#ifndef POSTINO_SMTPD_TLS_H
#define POSTINO_SMTPD_TLS_H

#include "common/error.h"
#include "conf/settings.h"

#include <openssl/ssl.h>

/* 0, and *out NULL when no certificate is set and no listener needs one. */
int tls_open(const struct settings *, SSL_CTX **out, struct error *);

/* Channel bindings of a session (RFC 5929 tls-unique, up to TLS 1.2; RFC 9266 tls-exporter). Sizes are 0 where there is none that can be
 * relied on: without TLS, or with TLS 1.2 and no extended master secret (RFC 7627), which another session can be made to share. */
struct tls_binding {
    unsigned char unique[64], exporter[32];
    size_t unique_size, exporter_size;
};
void tls_bindings(SSL *, struct tls_binding *);

#endif
