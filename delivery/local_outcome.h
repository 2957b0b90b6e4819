/* local_outcome: what became of one recipient of a local delivery.
 *
 * A worker runs as the recipient, so its answer is as hostile as the recipient is. It can say that a message is delivered, or not now (4.x.y
 * and words); it can't make a message fail for good. */
#ifndef POSTINO_LOCAL_OUTCOME_H
#define POSTINO_LOCAL_OUTCOME_H

#include "common/messages.h"

struct local_outcome {
    enum verdict verdict; /* VERDICT_DELIVERED, _DEFERRED or _FAILED */
    char status[12];      /* RFC 3463 */
    char words[512];      /* one line of printable ASCII */
};

/* Always returns -1, so that `return local_deferred(...)` reads well. Control characters and bytes over 126 become '?'. */
__attribute__((format(printf, 3, 4))) int local_deferred(struct local_outcome *, const char *status, const char *fmt, ...);
__attribute__((format(printf, 3, 4))) int local_failed(struct local_outcome *, const char *status, const char *fmt, ...);
__attribute__((format(printf, 2, 3))) void local_delivered(struct local_outcome *, const char *fmt, ...);

/* Takes a worker's answer. False when it is none that a worker may give. */
bool local_outcome_take(struct local_outcome *, uint16_t verdict, struct span status, struct span words);

#endif
