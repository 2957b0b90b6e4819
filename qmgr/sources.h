/* sources: from which source of its pool (conf/pool.h) a message goes.
 *
 * Each message has an order of its own among the sources, made of its id alone: by weight, so that as many messages begin with a source as its
 * weight says, and the same at each attempt, so that a host that makes strangers wait (greylisting) sees the same one again. The first in that
 * order that may send now does:
 *
 *   ill       its address or its proxy failed on our own side a moment ago: left out for SOURCES_ILL seconds. When all are, mail waits for
 *             the first that is over.
 *   warm-up   its messages a day to a site are counted in a line of their own there (limits.h). It gets what can go from that line at once. What
 *             can't goes from the next in the order, and waits in the line of the first if all are so.
 *
 * Pure but for the memory of what is ill, which a restart forgets. */
#ifndef POSTINO_SOURCES_H
#define POSTINO_SOURCES_H

#include "conf/pool.h"

#define SOURCES_ILL 60 /* seconds */

/* All sources of a pool in the order of a message; how many. */
size_t sources_order(const struct settings *, const struct strings *pool, uint64_t id, const struct settings_source *out[POOL_MOST]);

enum sources_verdict {
    SOURCES_THIS,  /* from `source`; NULL: the pool is empty, the system chooses */
    SOURCES_LINE,  /* from `source`, when its line's turn comes: it is in warm-up */
    SOURCES_LATER, /* not before `when` */
};
struct sources_choice {
    enum sources_verdict verdict;
    const struct settings_source *source;
    uint64_t when;
};
/* Whether a message that joins the source's line would go at once. */
typedef bool sources_line_fn(const struct settings_source *, void *arg);
struct sources_choice sources_choose(const struct settings *, const struct strings *pool, uint64_t id, uint64_t now, sources_line_fn *goes,
                                     void *arg);

enum sources_kind {
    SOURCES_SOURCE, /* the title is its own */
    SOURCES_PROXY,  /* ... its route's */
};
/* What failed on our own side, and not on the next host's: until when it is left out; 0: it is not. */
uint64_t sources_ill_until(enum sources_kind, struct span title, uint64_t now);
/* False: that is known already, or there is no title. */
bool sources_make_ill(enum sources_kind, struct span title, uint64_t now);
void sources_forget_ill(void); /* there are other settings */

#endif
