/* pool: the sources that mail may go from: `sources` of its route, or else of `remote`. Pure. */
#ifndef POSTINO_POOL_OF_H
#define POSTINO_POOL_OF_H

#include "conf/settings.h"

#define POOL_MOST        64 /* sources in a pool */
#define POOL_WEIGHT_MOST 1000
#define POOL_PLAN_MOST   1000000 /* messages a day */

struct pool_item {
    struct span title;
    unsigned weight;
};

/* "title" (its weight is 1), or "title weight". */
bool pool_item_parse(struct span text, struct pool_item *);
/* The pool of a route (NULL: of none); empty: the system chooses the address. */
const struct strings *pool_of(const struct settings *, const struct settings_route *);
/* "2026-11-01", as days since 1970. */
bool pool_date_parse(struct span text, uint64_t *day);
bool pool_plan_parse(struct span text, unsigned *messages); /* an item of a plan */
/* Messages a day to one site that a source may send now; 0: it is in no warm-up, and has no limit. Before the first day it is that of the first. */
unsigned pool_a_day(const struct settings_source *, uint64_t now /* seconds since 1970 */);
/* The i-th source of a pool; NULL: the text is wrong, or there is no such source (a checked configuration has neither). */
const struct settings_source *pool_source(const struct settings *, const struct strings *pool, size_t i, unsigned *weight);

#endif
