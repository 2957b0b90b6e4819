/* peer: a program that we ask questions of, whichever process it is at the moment.
 *
 * The asker's view of an edge. Questions get an id and a callback; the answer, or NULL when the server died under it, comes to the callback
 * exactly once, unless the question was cancelled. Questions marked REPEAT in messages.def survive the server: they are asked again of
 * the next one that the master sends. Questions put while there is no server wait for it. */
#ifndef POSTINO_PEER_H
#define POSTINO_PEER_H

#include "common/messages.h"

struct event_base;
struct peer;

/* `m` is the answer, or NULL: no answer will come, try later. Spans are valid during the call; m->fd belongs to the receiver. */
typedef void peer_answer_fn(const struct message *m, void *arg);

struct peer *peer_new(struct event_base *, const char *name, unsigned protocols);
void peer_free(struct peer *);
/* The master sent a (new) socket: new questions go there, the old one ends when nothing is open on it. */
void peer_connect(struct peer *, int fd);
uint32_t peer_ask(struct peer *, const struct message *, peer_answer_fn *, void *arg); /* message's id is set here; never 0 */
void peer_tell(struct peer *, const struct message *);                                 /* a notice: no answer */
size_t peer_backlog(const struct peer *);     /* octets that it has not read yet: for notices, which may be left out */
void peer_cancel(struct peer *, uint32_t id); /* the callback will not be called; 0 and unknown ids are ignored */
size_t peer_open(const struct peer *);        /* questions without an answer */

#endif
