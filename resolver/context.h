/* context: libunbound, set up as the configuration wants it (dns { }): for postino-dns, and for the commands that ask as it would. */
#ifndef POSTINO_CONTEXT_H
#define POSTINO_CONTEXT_H

#include "common/error.h"
#include "conf/settings.h"
#include "resolver/nameservers.h"

#include <stdbool.h>

struct event_base;
struct ub_ctx;

/* Which resolvers to forward to, none: the root servers are asked. Reads /etc/resolv.conf, unless the configuration names some. */
void context_servers(const struct settings *, struct nameservers *);
/* Whether DNSSEC will be checked at all: by us, with a trust anchor, or by a resolver of this host that is believed. False: "not checked, ...": why, and what to do. */
bool context_proves(const struct settings *, struct error *);
/* `base` NULL: for ub_resolve(), which waits. NULL: error. */
struct ub_ctx *context_new(struct event_base *, const struct settings *, const struct nameservers *, struct error *);
/* The same for postino-dns, which keeps the trust anchor up to date where it has a directory for that (directory { dns }). */
struct ub_ctx *context_new_keeping(struct event_base *, const struct settings *, const struct nameservers *, struct error *);

#endif
