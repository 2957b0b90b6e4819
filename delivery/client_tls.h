/* client_tls: TLS towards the next hosts: one context, and what is kept to resume sessions.
 *
 * TLS 1.2 and later in all modes: a server that can't is talked to in plain (SECURITY_MAY) or not at all. Certificates are looked at only where
 * the level demands something of them: anything else would fail mail that goes in plain otherwise (RFC 7435). */
#ifndef POSTINO_CLIENT_TLS_H
#define POSTINO_CLIENT_TLS_H

#include "common/buf.h"
#include "common/error.h"
#include "delivery/security.h"

#include <openssl/ssl.h>

struct client_tls;

/* Reads the authorities' file: call it before the sandbox. `needed`: a file that can't be read is an error, else a warning in the log.
 * NULL: error. */
struct client_tls *client_tls_new(const char *authorities, bool needed, struct error *);
void client_tls_free(struct client_tls *);

/* For a handshake with this host: its name (or, by DANE, the base of its TLSA records) for SNI, and what its certificate must be. `nexthop`: a
 * name that will do beside it, by DANE (RFC 7672 3.2.2). The caller's; NULL: no memory. `resume` stays the caller's. */
SSL *client_tls_start(struct client_tls *, enum security, const struct host *, const char *nexthop, SSL_SESSION *resume);
/* After the handshake: is it what the level demands? Adds to `how` what was proved, by what. */
bool client_tls_proved(SSL *, enum security, const struct host *, struct span fingerprints, struct buf *how);

/* Sessions, by a key that says with whom and how it was made ("name[address]:port verify"). Taken once: TLS 1.3 tickets should not be used
 * twice. The caller frees what it gets. NULL: there is none. */
SSL_SESSION *client_tls_take(struct client_tls *, struct span key);
void client_tls_keep(struct client_tls *, struct span key, SSL *);

#endif
