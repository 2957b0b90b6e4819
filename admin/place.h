/* place: where the sockets of the running Postino are, for commands that a user calls.
 *
 * The file is the one that is named (an option, or the environment's POSTINO_CONF), else SYSCONFDIR/postino/postino.conf. Its directory.run alone is
 * wanted, so one that an administrator is just editing does: the first error is a warning on stderr. A named file that is not there, or leaves it open
 * which directory that is, is an error; with the usual one, which a user may not be allowed to read, it is PLACE_DEFAULT then. */
#ifndef POSTINO_PLACE_H
#define POSTINO_PLACE_H

#include "common/error.h"
#include "conf/settings.h"

#include <stddef.h>

#define PLACE_DEFAULT "/run/postino"

/* What of the file is good, with the warning in the name of `who`; NULL: the error. */
struct settings *place_settings(const char *who, const char *file, struct error *);
/* EX_OK, or EX_CONFIG with the error. `file` NULL: not named. */
int place_run(const char *who, const char *file, char *to, size_t room, struct error *);
/* Connects to the socket `name` in `run`. EX_OK, EX_NOPERM, EX_TEMPFAIL (not running). */
int place_connect(const char *run, const char *name, int *fd, struct error *);

#endif
