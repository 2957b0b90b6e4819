/* token_store: refresh tokens that servers gave in place of those in `secret`, on disk (directory { creds }), for servers that take the former one no more
 * (RFC 6749 6, RFC 9700 4.14.2). A file a login: "Postino token 1", the SHA-256 of the token in `secret` in hexadecimal, the newest token; so a new file of the
 * administrator's counts from the next start on. During a reload there are two processes: who renews holds the lock, and reads the newest token then. */
#ifndef POSTINO_CREDS_TOKEN_STORE_H
#define POSTINO_CREDS_TOKEN_STORE_H

#include "common/buf.h"
#include "common/error.h"

int token_store_open(const char *directory, struct error *); /* before the sandbox */
bool token_store_is_open(void);
bool token_store_lock(void); /* false: another process has it */
void token_store_unlock(void);
/* Appends the newest token of this login, if there is one in place of `original`. */
void token_store_read(const char *login, struct span original, struct buf *out);
/* On disk when it returns. -1: the error says why not. */
int token_store_write(const char *login, struct span original, struct span token, struct error *);

#endif
