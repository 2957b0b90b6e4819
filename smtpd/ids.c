#include "smtpd/ids.h"

#include "common/log.h"
#include "common/queueid.h"

#include <stdlib.h>

#define LEASE 1000 /* ids at a time */
#define LOW   250  /* when so few are left, more are asked for */

struct ids {
    struct peer *qmgr;
    uint64_t next;
    uint32_t left;
    uint32_t question;
    TAILQ_HEAD(, ids_waiter) waiters;
};

static void leased(const struct message *m, void *arg);

static void ask(struct ids *ids)
{
    if (ids->question)
        return;
    struct message m = {.type = MESSAGE_LEASE, .fd = -1, .lease = {.count = LEASE}};
    ids->question = peer_ask(ids->qmgr, &m, leased, ids);
}

uint64_t ids_take(struct ids *ids)
{
    if (ids->left < LOW)
        ask(ids);
    if (!ids->left)
        return 0;
    ids->left--;
    return ids->next++;
}

static void serve(struct ids *ids)
{
    struct ids_waiter *w;
    while (ids->left && (w = TAILQ_FIRST(&ids->waiters))) {
        ids_cancel(ids, w);
        w->ready(ids_take(ids), w->arg);
    }
}

/* The few that are left of the former lease are forgotten: numbers are plenty. */
static void leased(const struct message *m, void *arg)
{
    struct ids *ids = arg;
    ids->question = 0;
    if (!m) {
        if (!TAILQ_EMPTY(&ids->waiters))
            ask(ids);
        return;
    }
    uint64_t first = m->leased.first, count = m->leased.count;
    if (m->type != MESSAGE_LEASED || !first || !count || first > QUEUEID_MAX || count - 1 > QUEUEID_MAX - first)
        log_die("postino-qmgr answered LEASE with what is no range of queue ids");
    ids->next = first;
    ids->left = m->leased.count;
    serve(ids);
}

struct ids *ids_new(struct peer *qmgr)
{
    struct ids *ids = calloc(1, sizeof *ids);
    if (!ids)
        log_die("out of memory at start");
    ids->qmgr = qmgr;
    TAILQ_INIT(&ids->waiters);
    ask(ids);
    return ids;
}

void ids_free(struct ids *ids)
{
    peer_cancel(ids->qmgr, ids->question);
    free(ids);
}

void ids_wait(struct ids *ids, struct ids_waiter *w)
{
    w->waiting = true;
    TAILQ_INSERT_TAIL(&ids->waiters, w, link);
    ask(ids);
}

void ids_cancel(struct ids *ids, struct ids_waiter *w)
{
    if (w->waiting)
        TAILQ_REMOVE(&ids->waiters, w, link);
    w->waiting = false;
}
