/* passwd: the password file: lines of name:secret[:...]; "#" begins a comment. A secret is a crypt(3) hash, with or without Dovecot's
 * {SHA512-CRYPT} and its kin in front, or {SCRAM-SHA-256} (auth/secret.h). Names are kept and asked for as SASLprep leaves them.
 *
 * The file is read again when it has changed, whole, and kept until then. Everybody may not read it: a file with permissions for others is
 * not used. A user who is not there costs as much time as a wrong password, and has a SCRAM salt that stays the same. */
#ifndef POSTINO_AUTH_PASSWD_H
#define POSTINO_AUTH_PASSWD_H

#include "auth/secret.h"
#include "common/error.h"
#include "common/messages.h"

struct passwd_file;

/* What a SCRAM exchange needs of a user, in base64. */
struct passwd_scram {
    bool there; /* false: made up, and no proof can be right */
    uint32_t iterations;
    char salt[2 * SECRET_SALT_MOST], stored[2 * SECRET_KEY], server[2 * SECRET_KEY];
};

struct passwd_file *passwd_open(const char *path); /* the file may come later */
void passwd_close(struct passwd_file *);
/* AUTH_NOT_NOW: the error says what is wrong with the file, and what to do. */
enum auth_verdict passwd_check(struct passwd_file *, struct span user, struct span password, struct error *);
int passwd_scram(struct passwd_file *, struct span user, struct passwd_scram *, struct error *);
bool passwd_all_scram(struct passwd_file *); /* every login of the file could use SCRAM, and there is one */

#endif
