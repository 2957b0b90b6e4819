/* mailbox: whose a local recipient's mailbox is, and where.
 *
 * The answer comes from the configuration and the user database alone; the recipient says no more than a user's name or a path below the
 * domain's directory. Root, and a user whose group is root's, has no mailbox. */
#ifndef POSTINO_MAILBOX_H
#define POSTINO_MAILBOX_H

#include "conf/settings.h"
#include "delivery/local_outcome.h"

#include <sys/types.h>

enum { MAILBOX_GROUPS = 256 };

struct mailbox {
    uid_t uid;
    gid_t gid;
    gid_t groups[MAILBOX_GROUPS]; /* all of the user's, without root's */
    size_t group_count;
    char user[256];  /* for words: its name, or number */
    char base[1024]; /* must be there; what is below it is made */
    char path[1024]; /* below base */
    bool shared;     /* base has many mailboxes, all of this owner */
};

/* `domain` is the title of a domain section, `name` a user's name or a path. `unprivileged`: this process can be nobody but itself.
 * -1: the outcome says what became of the recipient. Asks the user database, which may take its time; what it said of a user holds for
 * MAILBOX_USER_SECONDS. */
enum { MAILBOX_USER_SECONDS = 5 };
int mailbox_find(const struct settings *, struct span domain, struct span name, bool unprivileged, struct mailbox *,
                 struct local_outcome *);

/* One and the same user, with the same groups, base and path. */
bool mailbox_same(const struct mailbox *, const struct mailbox *);

/* Relative, not empty, without "." or ".." or empty names, without control characters; one "/" at the end is taken. */
bool mailbox_path_ok(struct span path);

#endif
