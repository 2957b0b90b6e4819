/* site_limits: for `postino site`: how much may go to a receiver, together with whom, and which words of its hosts slow it down. */
#ifndef POSTINO_SITE_LIMITS_H
#define POSTINO_SITE_LIMITS_H

#include "common/span.h"
#include "conf/settings.h"

/* `hosts`: "mx1.example,mx2.example", or "[host]" as a route names one. `lmtp`: the next hop of LMTP, "[host]:port" or "unix:/path", instead;
 * NULL: it is SMTP. */
void site_limits_print(const struct settings *, const char *domain, struct span hosts, const char *lmtp);

#endif
