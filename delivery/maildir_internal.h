/* What the files of maildir.h share. */
#ifndef POSTINO_MAILDIR_INTERNAL_H
#define POSTINO_MAILDIR_INTERNAL_H

#include "delivery/maildir.h"

/* "cannot `doing`" in words that say what to do; always -1. */
int maildir_failed(struct local_outcome *, const char *doing, const char *path, int error);
/* Some file systems can't sync a directory, and say so by EINVAL; they keep their order by themselves. */
int maildir_sync_directory(int fd);

#endif
