/* told: who has got a report of a day already, on disk at once: ".tlsrpt.DAY.told" has a line "domain", or "domain place" while others of its places are open.
 * What is in it is looked at as at a stranger's. */
#ifndef POSTINO_STS_TOLD_H
#define POSTINO_STS_TOLD_H

#include "sts/tally.h"

void told_setup(int directory); /* open as long as the process lives */

/* Marks in the tally who has been told: ->told, ->over. */
void told_recall(struct tally *);
void told_add(uint64_t day, struct tally_domain *, const char *place); /* NULL: all of its places */
bool told_has(const struct tally_domain *, const char *place);

#endif
