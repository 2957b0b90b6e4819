/* ids: those of all messages that are in the queue, in order, for an order that goes through them. They are gathered in pieces, as all at once, and in order, takes
 * half a second for a million; while they are, mail comes and goes.
 *
 *   ids_new --ids_gather, until it says false--> ids_next, until it says false --> ids_free */
#ifndef POSTINO_QMGR_IDS_H
#define POSTINO_QMGR_IDS_H

#include <stdbool.h>
#include <stdint.h>

struct ids;

struct ids *ids_new(void);
void ids_free(struct ids *);               /* NULL is fine */
bool ids_gather(struct ids *);             /* a piece, a few milliseconds; false: that was the last one */
bool ids_next(struct ids *, uint64_t *id); /* growing: each once; it may have left the queue since, or not be in it yet */

#endif
