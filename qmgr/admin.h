/* admin: what the files of the socket "queue" share: admin.c has the clients and what everybody may ask (LIST, SHOW, SITES), order.c what
 * only administrators may (ORDER).
 *
 * Who is no administrator has no more than four connections (by uid) of those that all others together have, one question at a time in each, and
 * together a fifth of qmgr's time. A client that asks nothing for five minutes is gone. */
#ifndef POSTINO_QMGR_ADMIN_H
#define POSTINO_QMGR_ADMIN_H

#include "common/channel.h"
#include "qmgr/queue.h"

#include <sys/queue.h>
#include <sys/types.h>

struct event;
struct order;

/* What there was when a listing began: ids in order, or records of sites. Shared. */
struct snapshot {
    struct snapshot **newest;
    unsigned users;
    uint64_t taken; /* microseconds since 1970 */
    uint64_t *ids;
    size_t count;
    struct buf sites;
};

struct client {
    struct channel *channel;
    LIST_ENTRY(client) link;
    TAILQ_ENTRY(client) turn;
    uid_t uid;
    bool privileged;
    bool waits; /* for its turn, with `question` */
    struct message question;
    struct event *idle;
    struct snapshot *mails, *sites;
    struct list sites_left; /* of `sites`: what has not been asked for */
    struct order *order;    /* under way; NULL: none */
};

void admin_done(struct client *, uint32_t question, unsigned code, const char *words, size_t count, size_t left);
void admin_answer(struct client *, const struct message *); /* LIST, SHOW, SITES */
uint64_t *admin_ids(size_t *count);                         /* of all mail, in order; to be freed */

/* admin_snapshot.c: `fresh`: one of its own, of this moment. */
struct snapshot *snapshot_get(struct snapshot **newest, void (*fill)(struct snapshot *), bool fresh);
void snapshot_leave(struct snapshot **); /* sets it to NULL */

/* admin_turn.c */
bool admin_turn_wait(struct client *, const struct message *); /* admin_answer() is called later; false: it has one that waits */
void admin_turn_leave(struct client *);

/* selection.c: which messages an order is for: those that fit all that is given. */
struct selection {
    struct span site, sender, recipient;
};
struct fits {
    bool any, all; /* the message is meant; ... with all that it still has to do */
};
bool selection_is_all(const struct selection *);
struct fits selection_fits(const struct selection *, uint64_t id); /* what is parked is read, and stays so */

/* order.c */
void order_start(struct client *, const struct message *); /* an ORDER; it answers DONE, sooner or later */
void order_orphan(struct order *);                         /* its client has gone; it goes on */

/* admin_sites.c */
void admin_sites(struct client *, const struct message *);

#endif
