/* tls: TLS of smtpd's listeners: which certificates are shown, how sessions are resumed, what is allowed. Private keys are postino-tlsmgr's: it
 * tells the certificates and the keys of session tickets, and tells them again when they change (new ones hold for new sessions).
 *
 * TLS 1.2 and later, tickets and no session cache, no renegotiation, no RSA key exchange (tlsmgr signs, and undoes no encryption). */
#ifndef POSTINO_SMTPD_TLS_H
#define POSTINO_SMTPD_TLS_H

#include "common/error.h"
#include "common/peer.h"
#include "conf/settings.h"

#include <openssl/ssl.h>

struct event_base;
struct tls;

/* Before the sandbox. -1: a file can't be used. 0, and *out NULL when no certificate is set. */
int tls_open(const struct settings *, struct tls **out, struct error *);
/* Asks tlsmgr, from now on; `ready` is called once, when it has said what it has. */
void tls_start(struct tls *, struct event_base *, struct peer *tlsmgr, void (*ready)(void));

/* For a new session of that listener. NULL: there is no certificate now. */
SSL_CTX *tls_context(struct tls *, const struct settings_listener *);

/* Channel bindings of a session (RFC 5929 tls-unique, up to TLS 1.2; RFC 9266 tls-exporter). Sizes are 0 where there is none that can be
 * relied on: without TLS, or with TLS 1.2 and no extended master secret (RFC 7627), which another session can be made to share. */
struct tls_binding {
    unsigned char unique[64], exporter[32];
    size_t unique_size, exporter_size;
};
void tls_bindings(SSL *, struct tls_binding *);

#endif
