/* scram_client: the client's side of one SCRAM exchange (RFC 5802, 7677). Pure but for the nonce.
 *
 *   client-first --> server-first --> client-final --> server-final (the host's proof) --> "" --> COMPLETE
 *
 * What a host may ask of us is bounded: the work (iterations), and the other way how little of it (RFC 7677 4: 4,096), as whoever has few iterations can
 * try more passwords on our proof. Salted passwords are kept for the next exchange with the same salt.
 *
 * GNU SASL's client, which auth's server side would suggest, can't say "y" (RFC 5802 6), and would not notice a binding that was taken away. */
#ifndef POSTINO_CREDS_SCRAM_CLIENT_H
#define POSTINO_CREDS_SCRAM_CLIENT_H

#include "common/buf.h"

#define SCRAM_ITERATIONS_LEAST 4096
#define SCRAM_ITERATIONS_MOST  1000000 /* 0.2 s of work, in which creds does nothing else: for a host that was proved, once a salt */
#define SCRAM_SALT_MOST        256     /* octets in base64 */
#define SCRAM_KEY_MOST         32      /* octets of SHA-256 */
#define SCRAM_MESSAGE_MOST     ((size_t)4096)

struct scram_client;

/* Of the session's TLS; both empty: there is none. `host_binds`: the host offers -PLUS; else, with a binding of ours, it is told that we could (flag y,
 * RFC 5802 6), so that it can see whether somebody has taken its -PLUS away. */
struct scram_binding {
    struct span unique, exporter;
    bool host_binds;
};

/* One a login; all zero at first. */
struct scram_cache {
    unsigned hash; /* the mechanism without -PLUS */
    uint32_t iterations;
    char salt[SCRAM_SALT_MOST + 1];
    unsigned char salted[SCRAM_KEY_MOST];
};

struct scram_client *scram_client_new(unsigned mechanism, const char *user, const char *secret, const struct scram_binding *,
                                      struct scram_cache *);
void scram_client_free(struct scram_client *);                   /* NULL is ignored */
bool scram_client_first(struct scram_client *, struct buf *out); /* false: no memory, or a name that SASLprep does not let through */
bool scram_client_answer(struct scram_client *, struct span challenge, struct buf *out, const char **why);
bool scram_client_complete(const struct scram_client *);

/* "r=...,s=...,i=4096" taken apart. False: not of that form, or beyond the bounds; `why`. */
struct scram_first {
    struct span nonce, salt; /* salt: in base64 */
    uint32_t iterations;
};
bool scram_first_parse(struct span, struct scram_first *, const char **why);

#endif
