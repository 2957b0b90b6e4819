/* passwd: the password file: lines of name:hash[:...] with crypt(3) hashes; "#" begins a comment. Only postino-auth links it.
 *
 * The file is read again when it has changed, whole, and kept until then. Everybody may not read it: a file with permissions for others is
 * not used. A user who is not there costs as much time as a wrong password. */
#ifndef POSTINO_SMTPD_PASSWD_H
#define POSTINO_SMTPD_PASSWD_H

#include "common/error.h"
#include "common/messages.h"

struct passwd_file;

struct passwd_file *passwd_open(const char *path); /* the file may come later */
void passwd_close(struct passwd_file *);
/* AUTH_NOT_NOW: the error says what is wrong with the file, and what to do. */
enum auth_verdict passwd_check(struct passwd_file *, struct span user, struct span password, struct error *);

#endif
