/* fetch: HTTPS by libcurl on our event loop: the policy of a domain (RFC 8461 3.3), and the report that goes to one (RFC 8460 5.4). The certificate must
 * prove the host's name; there are no redirects, no cookies, no proxies; STS_TEXT_MOST octets and one time limit for all of it. libcurl asks no
 * resolver: the addresses are told. */
#ifndef POSTINO_STS_FETCH_H
#define POSTINO_STS_FETCH_H

#include "common/error.h"
#include "common/span.h"

#include <stdbool.h>
#include <stdint.h>

struct event_base;
struct fetch;

struct fetched {
    struct span text; /* of an answer to a POST: none */
    const char *why;  /* NULL, or why there is none */
    bool unproved;    /* because of the server's certificate */
};

typedef void fetch_fn(const struct fetched *, void *arg); /* valid during the call */

/* Before the sandbox. `authorities`: a PEM file that libcurl reads again, later. */
int fetch_setup(struct event_base *, const char *authorities, uint64_t seconds, struct error *);
/* `addresses`: blank-separated. `done` comes once, never from here, unless fetch_cancel() comes first. NULL: no memory. */
struct fetch *fetch_start(const char *domain, struct span addresses, fetch_fn *done, void *arg);
/* Sends `body`, which stays the caller's until then, to https://HOST/... as gzip of a report; any 2xx is a yes. */
struct fetch *fetch_post(const char *url, const char *host, struct span addresses, struct span body, fetch_fn *done, void *arg);
void fetch_cancel(struct fetch *); /* NULL is ignored */

#endif
