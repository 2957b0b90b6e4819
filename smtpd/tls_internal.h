/* The parts of smtpd's TLS: tls.c (contexts), tls_key.c (keys that tlsmgr has), tls_tickets.c, tls_choice.c (which certificates a name gets). */
#ifndef POSTINO_SMTPD_TLS_INTERNAL_H
#define POSTINO_SMTPD_TLS_INTERNAL_H

#include "common/messages.h"
#include "common/peer.h"
#include "smtpd/tls.h"

#include <openssl/x509.h>

#define TLS_CHAINS 32 /* conf/check.c allows as many; a set of them is a mask */

struct tls_chain {
    X509 *own;
    STACK_OF(X509) * more;
    EVP_PKEY *key;
};

/* tls_choice.c: the certificates for a name (of SNI), as a mask; 0: none has it. Every byte of it may be hostile. */
uint64_t tls_choose(const struct tls_chain *, size_t n, struct span name);
/* Without a name, or with one that nobody has: the first, and those that have its name as well. */
uint64_t tls_choose_default(const struct tls_chain *, size_t n);

/* tls_key.c: a key whose private operation is a question to tlsmgr, for which the handshake waits (common/stream.h). NULL: no such key can be. */
EVP_PKEY *tls_key_new(X509 *, struct peer *tlsmgr);

/* tls_tickets.c */
struct tls_ticket_key {
    unsigned char name[16], cipher[32], mac[32];
    uint64_t accepts; /* monotonic milliseconds */
};
struct tls_tickets {
    struct tls_ticket_key keys[4];
    size_t count;
};
void tls_tickets_take(struct tls_tickets *, struct list records);
int tls_tickets_callback(SSL *, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *, EVP_MAC_CTX *, int encrypt);
/* The tickets of a context, whatever becomes of its SSLs. */
void tls_tickets_attach(SSL_CTX *, struct tls_tickets *);

#endif
