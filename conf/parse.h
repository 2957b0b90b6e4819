/* parse: postino.conf from the file to checked settings. Linked by postino-master and postino only; all others get slices
 * (conf/settings.h).
 *
 * The file is judged as a whole: every error that can be found is reported, not the first alone. Three depths:
 *
 *   the file      who may write it; quotes and braces; syntax (libConfuse); names, types and ranges (settings.def)
 *   the whole     what belongs together: addresses, ports, TLS and AUTH of listeners, domains, routes, sites, maps, paths; no look at the host
 *   the host      PARSE_HOST only: do the certificate and its key load and fit, is there a password file, are maps built, do users exist
 *
 * What the file leaves out is filled in: hostname from the system; a listener "smtp" on port 25 if there is none; and the domains
 * `hostname` and "localhost" with the host's users, where no domain, route or relay_to has that name. The default aliases are left out on a
 * host without /etc/aliases. */
#ifndef POSTINO_PARSE_H
#define POSTINO_PARSE_H

#include "conf/report.h"
#include "conf/settings.h"

enum parse_depth {
    PARSE_FILE,
    PARSE_HOST,
    PARSE_WHAT_IS_GOOD /* as PARSE_FILE, and errors leave their settings at the defaults; see run_in_doubt */
};

/* NULL: there are errors, see the report (with PARSE_WHAT_IS_GOOD: not even a beginning could be read). The report (zeroed by the caller) may have warnings in either case; it is the caller's to free.
 */
struct settings *parse_file(const char *path, enum parse_depth, struct report *);

#endif
