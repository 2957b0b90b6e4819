/* memory: allocation that cannot fail for small things of our own. A process without memory ends and is started anew; the spool has
 * everything. */
#ifndef POSTINO_MEMORY_H
#define POSTINO_MEMORY_H

#include "common/log.h"

#include <stdlib.h>

static inline void *memory_must(void *p)
{
    if (!p)
        log_die("out of memory");
    return p;
}

#define memory_new(n, size) memory_must(calloc((n), (size)))

#endif
