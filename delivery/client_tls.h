/* client_tls: TLS towards the next hosts: one context, and what is kept to resume sessions.
 *
 * TLS 1.2 and later in all modes: a server that can't is talked to in plain (tls = may) or not at all. Certificates are looked at only for
 * tls = verify: anything else would fail mail that goes in plain otherwise (RFC 7435). */
#ifndef POSTINO_CLIENT_TLS_H
#define POSTINO_CLIENT_TLS_H

#include "common/buf.h"
#include "common/error.h"

#include <openssl/ssl.h>

struct client_tls;

/* Reads the authorities' file: call it before the sandbox. `needed`: a file that can't be read is an error, else a warning in the log.
 * NULL: error. */
struct client_tls *client_tls_new(const char *authorities, bool needed, struct error *);
void client_tls_free(struct client_tls *);
SSL_CTX *client_tls_context(struct client_tls *);

/* Sessions, by a key that says with whom and how it was made ("name[address]:port verify"). Taken once: TLS 1.3 tickets should not be used
 * twice. The caller frees what it gets. NULL: there is none. */
SSL_SESSION *client_tls_take(struct client_tls *, struct span key);
void client_tls_keep(struct client_tls *, struct span key, SSL *);

#endif
