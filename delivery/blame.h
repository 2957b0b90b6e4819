/* blame: does a 5xx refuse the address that we come from, for its family or its name, and not the message? Then the other family may do.
 *
 * Pure. What is looked for stands in one table in blame.c. A reply that is taken for one of these by mistake costs one more attempt. */
#ifndef POSTINO_BLAME_H
#define POSTINO_BLAME_H

#include "delivery/reply.h"

bool blame_is_of_address(const struct reply *);

#endif
