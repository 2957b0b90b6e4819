/* login: the login sections, with the secrets that their files had when the process began, and what became of each.
 *
 * A login whose file can't be used is there all the same, and says why: its mail waits, and all other mail goes. */
#ifndef POSTINO_CREDS_LOGIN_H
#define POSTINO_CREDS_LOGIN_H

#include "conf/settings.h"
#include "creds/scram_client.h"
#include "creds/token.h"

struct login {
    const struct settings_login *settings;
    unsigned allowed;    /* enum sasl bits */
    struct buf secret;   /* NUL-terminated */
    char broken[512];    /* why it can't be used; "": it can */
    uint64_t not_before; /* clock_seconds(): a host has refused it; it is not tried again earlier */
    char refused[32];    /* with what: "535 5.7.8" */
    uint64_t told;       /* clock_seconds() of the last line in the log about it; 0: none */
    struct scram_cache salted;
    struct token *token; /* NULL: it has no token_url */
};

void logins_read(const struct settings *);   /* as root: reads the files, and logs which are of no use */
struct login *login_find(struct span title); /* NULL: there is none */

#endif
