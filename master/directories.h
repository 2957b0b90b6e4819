/* directories: where things are, made if they are missing and refused if somebody else could have his hands in them. */
#ifndef POSTINO_DIRECTORIES_H
#define POSTINO_DIRECTORIES_H

#include "common/error.h"
#include "conf/settings.h"

#include <sys/types.h>

/* Makes and checks all of them:
 *     run    ours, 0755, not writable by others
 *     empty  ours, 0755, empty
 *     spool  the qmgr user's, 0700
 *     dns    the dns user's, 0700, if there is to be one
 *     sts    the sts user's, 0700
 * Returns a descriptor of directory.run, which is the caller's; -1 and an error. */
int directories_prepare(const struct settings *, bool unprivileged, struct error *);

/* Opens a directory; with the parents that are missing it is made (0755, itself with `mode`). The last component is never a symbolic link;
 * in the way to it only links of root or ourselves are followed. *made tells whether it is new. */
int directory_open(const char *path, mode_t mode, bool *made, struct error *);

#endif
