/* spool_version: the file `version`, which says what wrote the spool. */
#ifndef POSTINO_SPOOL_VERSION_H
#define POSTINO_SPOOL_VERSION_H

#include "common/error.h"

enum spool_version_verdict {
    SPOOL_VERSION_GOOD,      /* also an older one that is read as it is */
    SPOOL_VERSION_NONE,      /* there is no such file */
    SPOOL_VERSION_FOREIGN,   /* it says something else, or is no regular file */
    SPOOL_VERSION_NEWER,     /* never to be touched by this program */
    SPOOL_VERSION_UNREADABLE /* errno says why */
};

enum spool_version_verdict spool_version_read(int directory, unsigned *version);
int spool_version_write(int directory); /* 0, or an errno; durable once the directory is flushed */
/* For who is to write to the spool: makes the file if there is none, takes over an older version, and refuses all else. */
int spool_check_version(int directory, struct error *);

#endif
