/* access_words: one rule of `access`, and one zone of dnsbl { zones }, read from their words. Pure. What the rules do is resolver/access.h. */
#ifndef POSTINO_ACCESS_WORDS_H
#define POSTINO_ACCESS_WORDS_H

#include "common/address.h"
#include "common/error.h"

/* In the order of `access_words`; resolver/access.c has a function for each. */
#define ACCESS_WORDS(W)                                                                                                                    \
    W(permit, NONE)                                                                                                                        \
    W(reject, NONE)                                                                                                                        \
    W(defer, NONE)                                                                                                                         \
    W(permit_mynetworks, NONE)                                                                                                             \
    W(permit_sasl_authenticated, NONE)                                                                                                     \
    W(permit_tls_clientcerts, NONE)                                                                                                        \
    W(permit_tls_all_clientcerts, NONE)                                                                                                    \
    W(check_ccert_access, TABLE)                                                                                                           \
    W(check_client_access, TABLE)                                                                                                          \
    W(check_helo_access, TABLE)                                                                                                            \
    W(check_sender_access, TABLE)                                                                                                          \
    W(check_recipient_access, TABLE)                                                                                                       \
    W(reject_unknown_client_hostname, NONE)                                                                                                \
    W(reject_invalid_helo_hostname, NONE)                                                                                                  \
    W(reject_non_fqdn_helo_hostname, NONE)                                                                                                 \
    W(reject_unknown_helo_hostname, NONE)                                                                                                  \
    W(reject_non_fqdn_sender, NONE)                                                                                                        \
    W(reject_unknown_sender_domain, NONE)                                                                                                  \
    W(reject_non_fqdn_recipient, NONE)                                                                                                     \
    W(reject_unknown_recipient_domain, NONE)                                                                                               \
    W(reject_rbl_client, ZONE)                                                                                                             \
    W(reject_dnsbl, NONE)                                                                                                                  \
    W(check_policy_service, SERVICE)                                                                                                       \
    W(reject_unauth_pipelining, NONE)

#define ACCESS_WORD(name, argument) ACCESS_##name,
enum access_word { ACCESS_WORDS(ACCESS_WORD) ACCESS_WORD_COUNT };
#undef ACCESS_WORD

struct access_words {
    enum access_word word;
    bool warn;            /* warn_if_reject stands in front */
    struct span argument; /* into the text: "hash:/path", the zone, or the service; empty for NONE */
};

/* -1: the error says what is wrong, and what to write. */
int access_words_parse(const char *text, struct access_words *, struct error *);

/* Of a SERVICE: "/path", "127.0.0.1:10023", "[::1]:10023". False: it is none. */
bool access_service_address(struct span service, struct sockaddr_storage *, socklen_t *);

#define ACCESS_ZONES   32 /* in dnsbl { zones } */
#define ACCESS_FILTERS 8
struct access_zone {
    struct span name;                       /* into the text */
    struct network answers[ACCESS_FILTERS]; /* those that count; none: all in 127.0.0.0/8 */
    size_t answer_count;
    int weight;
};

/*   "zen.spamhaus.org", "zen.spamhaus.org=127.0.0.4", "zen.spamhaus.org=127.0.0.2,127.0.0.8/30", and where it is weighted also
 *   "list.dnswl.org=127.0.0.0/16*-2" */
int access_zone_parse(struct span text, bool weighted, struct access_zone *, struct error *);

#endif
