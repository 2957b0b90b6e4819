/* tls: the SSL_CTX of smtpd's listeners. TLS 1.2 and later, session tickets, no renegotiation. Certificate and key are read as root, before
 * the sandbox. */
#ifndef POSTINO_SMTPD_TLS_H
#define POSTINO_SMTPD_TLS_H

#include "common/error.h"
#include "conf/settings.h"

#include <openssl/ssl.h>

/* 0, and *out NULL when no certificate is set and no listener needs one. */
int tls_open(const struct settings *, SSL_CTX **out, struct error *);

#endif
