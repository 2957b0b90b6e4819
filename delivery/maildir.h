/* maildir: messages, written safely into Maildirs with the rights of the process that calls.
 *
 * Maildir is three directories. A message is written into tmp under a name that is used once in the world, synced, moved into new without
 * ever replacing anything, and new is synced. Whatever fails, nothing of it stays in tmp. Several messages go that way together, step by step,
 * so that they share what a flush costs: each file is flushed by itself (no call that a standard describes covers many), and each new once. In the file: "Return-Path: <sender>", then the
 * body with CR LF turned into LF; every other byte as it came.
 *
 * `base` must be there. Directories below it are made when missing (0700). The path is walked one name at a time from descriptor to
 * descriptor: the Maildir and its three directories must belong to the mailbox's owner, and a symbolic link on the way must be the owner's
 * or root's, and lead to a directory of the owner's or root's; tmp, new and cur are never links. So a link to somebody else's Maildir is no
 * way in, though both may be in one group. */
#ifndef POSTINO_MAILDIR_H
#define POSTINO_MAILDIR_H

#include "delivery/local_outcome.h"

#include <stdbool.h>
#include <sys/types.h>

struct maildir_letter {
    struct span sender; /* reverse-path without <> */
    struct span body;   /* the whole of it, if fd is -1 */
    int fd;             /* or where it is: a descriptor that can be read at an offset */
    uint64_t offset, size;
    bool binary; /* not of lines (BODY=BINARYMIME): mailboxes are, so its parts are encoded first, unless it is too broken for that */
    uint64_t id; /* queue id, and which recipient of it: both for the unique name */
    unsigned index;
    const char *hostname; /* for the unique name */
};

/* Which directory stands at a path. */
struct maildir_place {
    dev_t device;
    ino_t inode;
    uid_t owner;
};

struct maildir {
    int tmp, fresh; /* descriptors of tmp and new */
    int top;        /* of the Maildir itself */
    uid_t owner;
    pid_t pid;   /* of who opened it; for unique names */
    bool linked; /* it was not opened, as a symbolic link leads there */
    struct maildir_place tmp_place, fresh_place;
    char path[2048];
};

/* Opens, and makes what is missing. `links`: they may be followed. -1: the outcome says what is wrong and what to do. */
int maildir_open(struct maildir *, const char *base, const char *path, uid_t owner, bool links, struct local_outcome *);
void maildir_close(struct maildir *);
int maildir_open_base(const char *base, struct local_outcome *); /* its descriptor, as a path; or -1 */
/* Its path still leads to what is open: it was not moved, removed or replaced since. */
bool maildir_still_there(const struct maildir *);
/* Removes from tmp what deliveries of ours left there that were cut short more than MAILDIR_STALE seconds ago; none runs that long. */
enum { MAILDIR_STALE = 3600 };
void maildir_sweep(const struct maildir *, const char *hostname);

struct maildir_delivery {
    struct maildir *box;
    struct maildir_letter letter;
    struct local_outcome outcome; /* verdict 0 at the beginning; one that has a verdict already is let be */
    int fd;                       /* these two are ours */
    char name[256];
};

/* At most FLUSH_MOST. Afterwards each has its outcome: delivered, and on the disk; or not, and nothing is left behind. */
void maildir_deliver(struct maildir_delivery *, size_t n);

/* For tests: the file name, without directory. */
void maildir_name(const struct maildir_letter *, pid_t, char to[256]);

#endif
