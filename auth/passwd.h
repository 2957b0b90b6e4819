/* passwd: the password file: lines of name:secret[:...]; "#" begins a comment. A secret is a crypt(3) hash, with or without Dovecot's
 * {SHA512-CRYPT} and its kin in front, or {SCRAM-SHA-256} (auth/secret.h). Names are kept and asked for as SASLprep leaves them.
 *
 * The file is read again when it has changed, whole, and kept until then. Everybody may not read it: a file with permissions for others is
 * not used. A user who is not there, or is locked, costs as much time as a wrong password, and has a SCRAM salt that stays the same.
 *
 * To look at a password is slow on purpose. passwd_look() says what is to be done, and passwd_right() does it, in any thread. */
#ifndef POSTINO_AUTH_PASSWD_H
#define POSTINO_AUTH_PASSWD_H

#include "auth/secret.h"
#include "common/error.h"
#include "common/messages.h"

#include <crypt.h>

struct passwd_file;

/* What a password is tried against: in a file with secrets of both kinds one of each, whoever is asked for. "": none of that kind. Wipe it. */
struct passwd_work {
    enum passwd_own { PASSWD_NONE, PASSWD_CRYPT, PASSWD_SCRAM } own; /* which is the user's own; the other is just as much work */
    char crypt[CRYPT_OUTPUT_SIZE], scram[CRYPT_OUTPUT_SIZE];
};

/* What a SCRAM exchange needs of a user, in base64. */
struct passwd_scram {
    bool there; /* false: made up, and no proof can be right */
    uint32_t iterations;
    char salt[2 * SECRET_SALT_MOST], stored[2 * SECRET_KEY], server[2 * SECRET_KEY];
};

struct passwd_file *passwd_open(const char *path); /* the file may come later */
void passwd_close(struct passwd_file *);
/* -1: the error says what is wrong with the file, and what to do. */
int passwd_look(struct passwd_file *, struct span user, struct passwd_work *, struct error *);
bool passwd_right(const struct passwd_work *, struct span password, struct crypt_data *scratch /* zeroed, before and after */);
int passwd_scram(struct passwd_file *, struct span user, struct passwd_scram *, struct error *);
bool passwd_all_scram(struct passwd_file *); /* every login of the file could use SCRAM, and there is one */

#endif
