/* listeners: the sockets on which the world comes in: TCP for each listener section and address, and the UNIX sockets RUN/submit and
 * RUN/queue.
 *
 * Each list owns its descriptors. A new list takes a copy of what a former one has already bound to the same address, so that a reload
 * closes no port that stays, and opens all new ones before anything else changes. */
#ifndef POSTINO_LISTENERS_H
#define POSTINO_LISTENERS_H

#include "common/buf.h"
#include "common/error.h"
#include "conf/settings.h"

#include <sys/socket.h>

struct listener {
    char *name; /* the section's title; "submit", "queue" */
    bool is_unix;
    bool is_section; /* of the configuration; else RUN/submit or RUN/queue */
    struct sockaddr_storage address;
    socklen_t size;
    int fd;
};

struct listeners {
    struct listener *v;
    size_t n;
};

/* -1 and an error: nothing is left open. */
int listeners_open(struct listeners *, const struct settings *, const struct listeners *former /* or NULL */, bool unprivileged,
                   struct error *);
void listeners_close(struct listeners *);
/* The names of the UNIX sockets, when they are needed no more: but those that are in the other list too (NULL: none). */
void listeners_remove_sockets(const struct listeners *, const struct listeners *but);
void listeners_describe(const struct listeners *, struct buf *); /* "smtp=[::]:25,0.0.0.0:25 submit=/run/postino/submit" */

#endif
