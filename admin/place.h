/* place: where the sockets of the running Postino are, for commands that a user calls.
 *
 * The file is the one that is named (an option, or the environment's POSTINO_CONF), and must then be good. Otherwise it is
 * SYSCONFDIR/postino/postino.conf; a user may not be allowed to read that, or an admin may be in the middle of editing it: then the place
 * is where it is by default. */
#ifndef POSTINO_PLACE_H
#define POSTINO_PLACE_H

#include "common/error.h"

#include <stddef.h>

#define PLACE_DEFAULT "/run/postino"

/* EX_OK, or EX_CONFIG with the error. `file` NULL: not named. */
int place_run(const char *file, char *to, size_t room, struct error *);
/* Connects to the socket `name` in `run`. EX_OK, EX_NOPERM, EX_TEMPFAIL (not running). */
int place_connect(const char *run, const char *name, int *fd, struct error *);

#endif
