/* dane: which TLSA records hold for a host of a site (RFC 7672 2.1.3, 2.2).
 *
 *   addresses proved -------> BASE 1: where the CNAMEs end --none--> BASE 2: the host's own name --none--> NONE
 *   not, and an alias ------> ALIAS: is its CNAME proved? --yes----> BASE 2
 *   not --------------------> NONE                        --no-----> NONE
 *
 * Records that are there, and proved, are the answer; a question that fails is TROUBLE: somebody may be hiding them. */
#ifndef POSTINO_DANE_H
#define POSTINO_DANE_H

#include "common/buf.h"
#include "common/messages.h"

struct dane;

struct dane_answer {
    enum dane_verdict verdict;
    const char *base;
    struct span records; /* as in RECORD_host */
};

typedef void dane_fn(const struct dane_answer *, void *arg); /* valid during the call */

/* `secure`: the addresses of `host` were proved; `canonical`: where its CNAMEs end, itself when there are none. `done` is called once, never
 * from here, unless dane_cancel() comes first. NULL: there is nothing to ask, the answer is DANE_NONE. */
struct dane *dane_start(const char *host, const char *canonical, bool secure, unsigned port, dane_fn *done, void *arg);
void dane_cancel(struct dane *); /* NULL is ignored */

#endif
