/* spool_rewrite: a message's file with many settlements becomes one with a single one, which says the last of each recipient. On the writing thread.
 *
 *   msg/XX/ID --copied, with one settlement--> tmp/ID --flushed--> renamed over msg/XX/ID --directory flushed
 *
 * At each moment msg/XX/ID is one or the other, whole; tmp/ID is removed at the next start. */
#ifndef POSTINO_SPOOL_REWRITE_H
#define POSTINO_SPOOL_REWRITE_H

#include "qmgr/spool_file.h"
#include "qmgr/spool_writer.h"

/* Octets of envelope and settlements, before and with another: whether it is time. So they never take more than twice of what they must and 1 MiB,
 * and are copied seldom. */
bool spool_rewrite_due(uint64_t before, uint64_t after);
/* Writes tmp/ID, with the settlement that op->body holds; op->fd is open for its flush. false: it could not, and nothing is left of
 * it. */
bool spool_rewrite(int directory, struct spool_op *);
/* When that is flushed: puts it in its place. op->rewritten: octets of it. */
void spool_rewrite_finish(int directory, struct spool_op *);

/* Adds one SETTLE record with the last state of each recipient to `out`; nothing if there is nothing to say. */
void spool_rewrite_states(const struct spool_file *, uint64_t offset, struct buf *out);

#endif
