/* hostnames: the hosts of an answer of dns as one text, "mx1.example,mx2.example": in order, in lower case, without preferences. Two answers
 * are about the same receiver if it is the same. */
#ifndef POSTINO_HOSTNAMES_H
#define POSTINO_HOSTNAMES_H

#include "common/messages.h"

void hostnames_join(struct list hosts /* RECORD_host */, struct buf *out);

#endif
