/* token: the access token of a login, and how it is renewed (RFC 6749 6: the refresh token grant; 4.4: client credentials, where there is no `secret`).
 *
 *             a token that holds for a while -------------------------------------------------> at once
 *             ... that ends soon: the same, and behind it:
 *   token_ask --none, or one that ended--> ADDRESS (dns) --> POST (courier) --a token--> kept, told
 *                                             |                  |
 *                                             `------------------+--> not had: told why; no other try for TOKEN_LEAST seconds
 *
 * Never more often than once in TOKEN_LEAST seconds, whatever a server says of how long a token lives. A refresh token that comes with an answer takes the
 * place of the former one, on disk (creds/token_store.h), or without a directory in memory alone. */
#ifndef POSTINO_CREDS_TOKEN_H
#define POSTINO_CREDS_TOKEN_H

#include "common/peer.h"
#include "conf/settings.h"

#include <sys/queue.h>

#define TOKEN_LEAST 60    /* seconds */
#define TOKEN_AGE   86400 /* the longest that one is used */

struct event_base;
struct login;
struct token;
struct token_wait;

/* `access` is NULL when there is none, and `why` says why. Valid during the call. */
typedef void token_fn(const char *access, const char *why, void *arg);

void tokens_setup(struct event_base *, struct peer *dns);
bool tokens_under_way(void); /* a server is being asked: what it answers may be the only good token */
/* -1: the login's client_secret can't be read; the error says why. Only for logins with a token_url. */
int token_open(struct login *, struct error *);
/* NULL: `done` was called already. Else it will be, once, unless token_cancel() comes first. */
struct token_wait *token_ask(struct token *, token_fn *done, void *arg);
void token_cancel(struct token_wait *);
/* A host has refused this access token. True: another one may be had now. */
bool token_refused(struct token *, const char *access);

#endif
