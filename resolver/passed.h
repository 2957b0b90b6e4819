/* passed: which clients have waited for the greeting without speaking, so that they need not wait at each session. By address (IPv6:
 * /64), for a time. Fixed memory; who owns whole networks can't push the others out (resolver/fairtable.h). Time is an argument: seconds
 * that only go forward. */
#ifndef POSTINO_PASSED_H
#define POSTINO_PASSED_H

#include "common/span.h"

#include <stdint.h>

struct passed;

struct passed *passed_new(uint64_t seconds); /* how long one is known */
void passed_free(struct passed *);
bool passed_is_known(const struct passed *, struct span address, uint64_t now);
void passed_remember(struct passed *, struct span address, uint64_t now);

#endif
