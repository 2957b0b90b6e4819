/* reroute: what waits gets the way that route says today (postino queue reroute; docs/scheduler.md).
 *
 *   a look at the mail --ask route for each recipient that waits, one after another--> other ways --mail_set_ways()--> settled, and due now
 *
 * The address stays as it is: aliases were expanded when the mail came, so that of the answer only the way of that address counts. Whom route refuses,
 * and who is being delivered to when the answers are there, is left as he is. Nothing fails by it. */
#ifndef POSTINO_REROUTE_H
#define POSTINO_REROUTE_H

#include "qmgr/queue.h"

struct reroute_result {
    uint32_t moved;  /* recipients that go another way now */
    uint32_t stayed; /* that route knows no way for now, or that are being delivered to; the log says which */
};

/* Once for each start that was one, not before that returns; the mail may be gone. */
typedef void reroute_done_fn(uint64_t id, const struct reroute_result *, void *arg);
/* False: nobody waits. */
bool reroute_start(const struct mail * /* may be loose */, reroute_done_fn *, void *arg);

#endif
