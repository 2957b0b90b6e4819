/* admin: what the files of the socket "queue" share: admin.c has the clients and what everybody may ask (LIST, SHOW, SITES), order.c what
 * only administrators may (ORDER). */
#ifndef POSTINO_QMGR_ADMIN_H
#define POSTINO_QMGR_ADMIN_H

#include "common/channel.h"
#include "qmgr/queue.h"

struct order;

struct client {
    struct channel *channel;
    bool privileged;
    uint64_t *ids; /* those in the queue when the listing began, in order */
    size_t count;
    struct buf sites; /* the listing of sites, as far as it has not been asked for */
    struct list sites_left;
    struct order *order; /* under way; NULL: none */
};

void admin_done(struct client *, uint32_t question, unsigned code, const char *words, size_t count, size_t left);
uint64_t *admin_ids(size_t *count); /* of all mail, in order; to be freed */

/* order.c */
void order_start(struct client *, const struct message *); /* an ORDER; it answers DONE, sooner or later */
void order_orphan(struct order *);                         /* its client has gone; it goes on */

/* admin_sites.c */
void admin_sites(struct client *, const struct message *);

#endif
