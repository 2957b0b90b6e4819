/* ids: a stock of queue ids, leased from qmgr before they are needed (LEASE), so that a Received: line can have its id without a wait. */
#ifndef POSTINO_SMTPD_IDS_H
#define POSTINO_SMTPD_IDS_H

#include "common/peer.h"

#include <sys/queue.h>

struct ids;

/* One who waits for an id; part of its owner. */
struct ids_waiter {
    void (*ready)(uint64_t id, void *arg);
    void *arg;
    bool waiting;
    TAILQ_ENTRY(ids_waiter) link;
};

struct ids *ids_new(struct peer *qmgr); /* asks for the first ones at once */
void ids_free(struct ids *);
uint64_t ids_take(struct ids *); /* 0: none there; then ids_wait() */
void ids_wait(struct ids *, struct ids_waiter *);
void ids_cancel(struct ids *, struct ids_waiter *); /* also of one who does not wait */

#endif
