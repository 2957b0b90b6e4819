/* fetch: the policy of a domain by HTTPS (RFC 8461 3.3), by libcurl on our event loop. The certificate must prove mta-sts.DOMAIN; there are no
 * redirects, no cookies, no proxies; STS_TEXT_MOST octets and one time limit for all of it. libcurl asks no resolver: the addresses are told. */
#ifndef POSTINO_STS_FETCH_H
#define POSTINO_STS_FETCH_H

#include "common/error.h"
#include "common/span.h"

#include <stdbool.h>
#include <stdint.h>

struct event_base;
struct fetch;

/* `why`: NULL, or why there is none. Valid during the call. */
typedef void fetch_fn(struct span text, const char *why, void *arg);

/* Before the sandbox. `authorities`: a PEM file that libcurl reads again, later. */
int fetch_setup(struct event_base *, const char *authorities, uint64_t seconds, struct error *);
/* `addresses`: blank-separated. `done` comes once, never from here, unless fetch_cancel() comes first. NULL: no memory. */
struct fetch *fetch_start(const char *domain, struct span addresses, fetch_fn *done, void *arg);
void fetch_cancel(struct fetch *); /* NULL is ignored */

#endif
