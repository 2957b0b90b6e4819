/* access: may this client send to this recipient? An ordered list of rules in Postfix's words; the first that decides ends it. The whole
 * decision, without sockets: what has to be asked of others (DNS, a policy service) is told to the caller, who comes back with answers. So the
 * same code runs in postino-route and under `postino why`.
 *
 *   access_begin --> access_run --> ACCESS_DECIDED
 *                      ^     \----> ACCESS_ASK: `questions`, all at once --the caller answers each--+
 *                      +----------------------------------------------------------------------------+
 *
 * Rules (access(5) and smtpd_recipient_restrictions of Postfix; docs/access.md tells where we differ):
 *   permit, reject, defer                     the end of a list
 *   permit_mynetworks                         relay_from, and mail that is made here
 *   permit_sasl_authenticated                 a login
 *   permit_tls_clientcerts                    a certificate in relay_clientcerts
 *   permit_tls_all_clientcerts                a certificate that tls { client_authorities } vouch for
 *   check_ccert_access TABLE                  the certificate's fingerprint, then its key's
 *   check_client_access TABLE                 name, its parent domains, address, its parent networks
 *   check_helo_access, check_sender_access, check_recipient_access TABLE
 *   reject_unknown_client_hostname            no name that leads back to the address
 *   reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname, reject_unknown_helo_hostname
 *   reject_non_fqdn_sender, reject_unknown_sender_domain
 *   reject_non_fqdn_recipient, reject_unknown_recipient_domain
 *   reject_rbl_client ZONE[=ADDRESSES]        one list decides
 *   reject_dnsbl                              all zones of dnsbl { zones }, weighted, against dnsbl { threshold }
 *   check_policy_service unix:/path, inet:address:port   Postfix's policy delegation
 *   reject_unauth_pipelining                  commands out of turn (RFC 2920)
 *   warn_if_reject RULE                       a refusal by it is only logged
 * TABLE is hash:/path, btree:/path or cidr:/path (by address only). */
#ifndef POSTINO_ACCESS_H
#define POSTINO_ACCESS_H

#include "common/buf.h"
#include "common/error.h"
#include "conf/access_words.h"
#include "conf/settings.h"

#define ACCESS_QUESTIONS ACCESS_ZONES /* at once */
#define ACCESS_NAME      256
#define ACCESS_ADDRESSES 8 /* of one answer that are looked at */

struct access_rules;
/* `settings` must live as long (dnsbl, networks). NULL: the error names the rule, what is wrong with it, and what to write. */
struct access_rules *access_rules_new(const struct strings *, const struct settings *, struct error *);
void access_rules_free(struct access_rules *);
size_t access_rules_count(const struct access_rules *);

/* For those who want to see the way: each rule that had its turn, and what it said: "says nothing", "permits", or the refusal. */
typedef void access_trace_fn(const char *rule, const char *said, void *arg);

/* What is known of the client and its message. Spans must live until the decision is freed. */
struct access_facts {
    struct span client; /* address; empty: mail that is made here */
    struct span name;   /* forward-confirmed, or "unknown" */
    struct span helo, login, sender, recipient;
    struct span certificate, certificate_key, subject; /* of the client: fingerprints as "AB:CD:...", common name; empty: it has none */
    bool certificate_listed;                           /* in relay_clientcerts */
    bool certified;                                    /* tls { client_authorities } vouch for it */
    bool trusted;                                      /* in relay_from, or made here */
    bool pipelining;                                   /* it sent commands out of turn */
};

enum access_question_kind {
    ACCESS_ASK_ADDRESSES, /* A: of `name` */
    ACCESS_ASK_MAIL,      /* does mail for the domain `name` have a way: an MX, or an address? */
    ACCESS_ASK_POLICY     /* the policy service `name`, with all facts */
};
enum access_answer { ACCESS_OPEN, ACCESS_YES, ACCESS_NO, ACCESS_UNKNOWN /* no answer now */ };

struct access_question {
    enum access_question_kind kind;
    char name[ACCESS_NAME];
    enum access_answer answer;
    uint32_t addresses[ACCESS_ADDRESSES]; /* YES of ADDRESSES: host byte order */
    size_t count;
    struct buf words; /* YES of POLICY: the action */
};

/* One decision under way, and then the decision. */
struct access {
    const struct access_rules *rules;
    struct access_facts facts;
    access_trace_fn *trace; /* NULL, or set behind access_begin() */
    void *trace_arg;
    size_t at; /* the rule whose turn it is */
    struct access_question *questions;
    size_t count;        /* of questions that are open */
    unsigned code;       /* 250, or what SMTP says */
    char status[12];     /* RFC 3463 */
    struct buf reply;    /* words */
    struct buf rule;     /* which decided, as it stands in the file; empty: none did, and so it is permitted */
    struct buf prepend;  /* header lines for the message, each with CR LF */
    struct buf log;      /* what rules did beside permitting and refusing, or wanted logged, a line each: "RULE<TAB>hold: <what>: words" */
    bool hold;           /* take it, and hold it in the queue */
    struct buf deferred; /* DEFER_IF_PERMIT was said: 450 and these words, should nothing refuse */
    char deferred_status[12];
    size_t deferred_by; /* the rule */
};

void access_begin(struct access *, const struct access_rules *, const struct access_facts *);
enum access_step { ACCESS_DECIDED, ACCESS_ASK };
enum access_step access_run(struct access *);
void access_free(struct access *);

#endif
