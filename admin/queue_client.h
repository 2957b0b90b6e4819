/* queue_client: questions to qmgr about the queue, from a command of a user or admin. Blocking.
 *
 * qmgr says who may do what, by the uid of the socket's other end. Its answers are checked as a stranger's are. Functions return EX_OK or
 * another of sysexits.h, with the error filled: EX_NOPERM (refused), EX_NOINPUT (no such message), EX_TEMPFAIL (not running), EX_PROTOCOL.
 */
#ifndef POSTINO_QUEUE_CLIENT_H
#define POSTINO_QUEUE_CLIENT_H

#include "common/messages.h"

struct queue_client {
    int fd;
    uint32_t last; /* request id */
    struct buf in;
    size_t used; /* of `in`, by the answer that was given last */
};

int queue_open(struct queue_client *, const char *run, struct error *);
void queue_close(struct queue_client *);

/* Every recipient of every message (or of the one `only`), in the order of the queue ids. `each` returning false stops, with EX_OK. */
typedef bool queue_entry_fn(const struct record_entry *, void *arg);
int queue_list(struct queue_client *, uint64_t only, queue_entry_fn *, void *arg, struct error *);
/* The text of a message, piece by piece. `each` returning false stops with EX_IOERR; it has set the error. */
typedef bool queue_piece_fn(struct span piece, void *arg, struct error *);
int queue_text(struct queue_client *, uint64_t id, queue_piece_fn *, void *arg, struct error *);
/* Which messages an order is for: one; or (`id` 0) all that fit each text that is not "". */
struct queue_selection {
    uint64_t id;
    const char *site, *sender, *recipient; /* never NULL */
};
#define QUEUE_ALL ((struct queue_selection){0, "", "", ""})
struct queue_answer {
    uint32_t count;  /* messages; deliveries for ORDER_FLUSH */
    uint32_t left;   /* that were meant and are as they were */
    char words[200]; /* why */
};
/* `priority` counts for ORDER_PRIORITY only; ORDER_FLUSH takes a site alone. */
int queue_order(struct queue_client *, enum order_kind, enum priority, const struct queue_selection *, struct queue_answer *,
                struct error *);

/* Every site, those with most mail first. */
typedef bool queue_site_fn(const struct record_site *, void *arg);
int queue_sites(struct queue_client *, queue_site_fn *, void *arg, struct error *);

#endif
