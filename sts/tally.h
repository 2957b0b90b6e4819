/* tally: the sessions of one day (UTC), counted by domain, policy and failure, as a report wants them (RFC 8460 4.4); and that day on disk.
 *
 *   domain example.org            whom the report is for, and whose record asks for it
 *     policy sts example.org      what was applied, with the text of it; counts of successes and failures
 *       failure                   alike in result, addresses, host and words; a count
 *
 * All of it is bounded: TALLY_MEMORY octets, TALLY_POLICIES policies of a domain, TALLY_FAILURES kinds of failures of a policy. What is beyond is
 * counted without its details, or (a domain, a policy) not at all. Texts are made printable ASCII at the door; pure. */
#ifndef POSTINO_STS_TALLY_H
#define POSTINO_STS_TALLY_H

#include "common/buf.h"
#include "common/messages.h"

#include <sys/queue.h>

#define TALLY_MEMORY   ((size_t)8 << 20)
#define TALLY_FILE     ((size_t)32 << 20) /* octets of a day on disk, at most */
#define TALLY_POLICIES 8
#define TALLY_TOLD     2 /* places that got the report of a domain */
#define TALLY_FAILURES 24
#define TALLY_TEXT     ((size_t)300)  /* octets of a name, an address or words: what is longer is cut */
#define TALLY_STRINGS  ((size_t)4096) /* octets of a policy's text: whole lines, as many as fit */

struct tally_failure {
    STAILQ_ENTRY(tally_failure) link;
    enum tls_result result;
    uint64_t count;
    char *source, *address, *host, *reason; /* "": not known */
};

struct tally_policy {
    STAILQ_ENTRY(tally_policy) link;
    enum tls_policy type;
    char *domain;  /* whose policy it is: for TLS_POLICY_TLSA the name that the records are below */
    char *strings; /* the policy's lines, parted by LF; "" for none */
    uint64_t successes, failures;
    size_t kinds;
    STAILQ_HEAD(, tally_failure) details;
};

struct tally_domain {
    STAILQ_ENTRY(tally_domain) link, next; /* in its bucket; in the order of coming */
    char *name;                            /* lower case */
    size_t kinds;
    STAILQ_HEAD(, tally_policy) policies;
    bool over; /* its report went out, or nobody wants one (sts/told.h) */
    uint32_t told[TALLY_TOLD];
    size_t told_count;
};

struct tally_sessions {
    struct span domain;
    enum tls_policy policy;
    enum tls_result result;
    struct span policy_domain, strings;
    struct span source, address, host, reason; /* not of a success */
    uint64_t count;
    bool bare; /* failures whose details were not kept */
};

struct tally;

struct tally *tally_new(uint64_t day); /* days since 1970. NULL: no memory */
void tally_free(struct tally *);
/* False: a domain that is none, or no room. */
bool tally_add(struct tally *, const struct tally_sessions *);
void tally_merge(struct tally *, struct tally *from); /* adds all that the other has */
uint64_t tally_day(const struct tally *);
size_t tally_domains(const struct tally *);
struct tally_domain *tally_first(struct tally *); /* then ->next */
struct tally_domain *tally_find(struct tally *, struct span domain);

/* A day as text, and back; NULL: it is none (or damaged: its last line must be there), or no memory. */
void tally_write(struct tally *, struct buf *out);
struct tally *tally_read(struct span text);

/* RFC 8460 4.3, 4.4 */
const char *tally_policy_word(enum tls_policy);
const char *tally_result_word(enum tls_result);

#endif
