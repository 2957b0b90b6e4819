/* memory: allocation that cannot fail for small things of our own. A process without memory ends and is started anew; the spool has
 * everything. */
#ifndef POSTINO_MEMORY_H
#define POSTINO_MEMORY_H

#include "common/buf.h"
#include "common/log.h"

#include <stdlib.h>

static inline void *memory_must(void *p)
{
    if (!p)
        log_die("out of memory");
    return p;
}

/* What is true must not be forgotten by half: a settlement that could not be kept in full. */
static inline void memory_must_hold(const struct buf *b)
{
    if (b->failed)
        log_die("out of memory");
}

#define memory_new(n, size) memory_must(calloc((n), (size)))

#endif
