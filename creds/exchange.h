/* exchange: one SASL exchange with a next host, as the client (RFC 4422): PLAIN, LOGIN, CRAM-MD5 (RFC 2195), SCRAM (RFC 5802, 7677; creds/scram_client.h),
 * OAUTHBEARER (RFC 7628) and XOAUTH2. No I/O. Challenges are a stranger's.
 *
 *   exchange_new --> exchange_initial --> exchange_answer ... --> COMPLETE: the host may say yes
 *                                              |
 *                                              +--> false: it said what can't be; the exchange is over
 *
 * Which mechanism is taken: the strongest that both have. Where nothing has proved who the host is, none: whoever stands in between would get the secret,
 * or (SCRAM, CRAM-MD5) what a dictionary can be tried on. */
#ifndef POSTINO_CREDS_EXCHANGE_H
#define POSTINO_CREDS_EXCHANGE_H

#include "common/buf.h"
#include "common/error.h"
#include "common/sasl.h"
#include "creds/scram_client.h"

#define CHALLENGE_MOST ((size_t)12288) /* octets (RFC 4954 4 allows as many in base64) */
#define RESPONSE_MOST  ((size_t)9216)  /* octets: such a line, in base64 */

struct exchange;

struct exchange_terms {
    unsigned offered, allowed; /* enum sasl bits */
    bool trusted;              /* the host was proved, or the administrator does not care */
    bool binding;              /* there is a channel binding */
};

/* Has OpenSSL load what it needs, while files can be read. -1: it lacks something. */
int exchange_prepare(struct error *);

/* 0: none; `why` gets the reason, for a person. */
unsigned exchange_choose(const struct exchange_terms *, struct buf *why);

/* For SASL_TOKEN mechanisms `secret` is the access token. All texts and `cache` are the caller's, and live longer than the exchange. NULL: no memory. */
struct exchange *exchange_new(unsigned mechanism, const char *user, const char *secret, const struct scram_binding *,
                              struct scram_cache *cache);
void exchange_free(struct exchange *); /* NULL is ignored */

unsigned exchange_mechanism(const struct exchange *);
/* Appends the initial response. False: this mechanism begins with a challenge. */
bool exchange_initial(struct exchange *, struct buf *response);
/* Appends what is to be said to a challenge, perhaps nothing. False: `why`. */
bool exchange_answer(struct exchange *, struct span challenge, struct buf *response, const char **why);
/* Whether a yes of the host counts: all is said, and what it has to prove (SCRAM) it has proved. */
bool exchange_complete(const struct exchange *);

#endif
