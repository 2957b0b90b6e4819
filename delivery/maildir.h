/* maildir: one message, written safely into a Maildir with the rights of the process that calls.
 *
 * Maildir is three directories. A message is written into tmp under a name that is used once in the world, synced, moved into new without
 * ever replacing anything, and new is synced. Whatever fails, nothing of it stays in tmp. In the file: "Return-Path: <sender>", then the
 * body with CR LF turned into LF; every other byte as it came.
 *
 * `base` must be there. Directories below it are made when missing (0700). The path is walked one name at a time from descriptor to
 * descriptor: the Maildir and its three directories must belong to the mailbox's owner, and a symbolic link on the way must be the owner's
 * or root's, and lead to a directory of the owner's or root's; tmp, new and cur are never links. So a link to somebody else's Maildir is no
 * way in, though both may be in one group. */
#ifndef POSTINO_MAILDIR_H
#define POSTINO_MAILDIR_H

#include "delivery/local_outcome.h"

#include <sys/types.h>

struct maildir_letter {
    struct span sender; /* reverse-path without <> */
    struct span body;   /* the whole of it, if fd is -1 */
    int fd;             /* or where it is: a descriptor that can be read at an offset */
    uint64_t offset, size;
    uint64_t id; /* queue id, and which recipient of it: both for the unique name */
    unsigned index;
    const char *hostname; /* for the unique name */
};

struct maildir {
    int tmp, fresh; /* descriptors of tmp and new */
    int top;        /* of the Maildir itself */
    char path[2048];
};

/* Opens, and makes what is missing. -1: the outcome says what is wrong and what to do. */
int maildir_open(struct maildir *, const char *base, const char *path, uid_t owner, struct local_outcome *);
void maildir_close(struct maildir *);
/* 0: delivered. -1: not, and nothing is left behind. The outcome is filled in both cases. */
int maildir_deliver(struct maildir *, const struct maildir_letter *, struct local_outcome *);

/* For tests: the file name, without directory. */
void maildir_name(const struct maildir_letter *, char to[256]);

#endif
