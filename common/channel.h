/* channel: one end of an edge: frames in and out over a non-blocking UNIX stream socket, on the program's event loop.
 *
 * Frames to send gather in memory and leave in one sendmsg a turn of the event loop (channels_flush); descriptors travel with the first
 * byte of their frame. On edges that carry passwords the memory of frames is wiped when they are done with. A channel ends when the other side closes, when a frame is malformed or does not belong to the edge (logged), or
 * by channel_free(). `closed` is then called once, and the channel must be freed by its owner (from there, or later). */
#ifndef POSTINO_CHANNEL_H
#define POSTINO_CHANNEL_H

#include "common/messages.h"

struct event_base;
struct channel;

struct channel_handler {
    /* A well-formed message from the other side. Spans are valid during the call. m->fd, if not -1, belongs to the receiver. */
    void (*message)(struct channel *, const struct message *m, void *arg);
    void (*closed)(struct channel *, void *arg);
    bool takes_loss; /* m->fd_lost is looked at; else a descriptor that there is no room for ends the channel */
    bool keeps_room; /* for SPARE_MOST descriptors, whatever else this process has open (common/spare.h) */
};

/* `name` is for the log ("qmgr"); `side` is ours. Takes the descriptor. */
struct channel *channel_new(struct event_base *, int fd, const char *name, unsigned protocols, enum side side,
                            const struct channel_handler *, void *arg);
void channel_free(struct channel *); /* sends nothing more; safe inside its own handlers */
void channel_send(struct channel *, const struct message *);
bool channel_flushed(const struct channel *);   /* nothing waits to be sent */
size_t channel_backlog(const struct channel *); /* octets that wait to be sent */

void channels_flush(void); /* all of this process; called by the event loop after each turn */

#endif
