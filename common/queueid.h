/* queueid: the 60-bit number of a message, and its text form.
 *
 * The text is 12 characters of Crockford's base 32 in upper case (0-9 A-Z without I, L, O, U), most significant first, so that names sort
 * as numbers do. qmgr hands out ranges; smtpd takes its ids from the range that it leased, because the id stands in the Received: line it
 * writes. */
#ifndef POSTINO_QUEUEID_H
#define POSTINO_QUEUEID_H

#include "common/span.h"

#include <stdint.h>

#define QUEUEID_TEXT 12
#define QUEUEID_MAX (((uint64_t)1 << 60) - 1)

struct queueid_text {
    char text[QUEUEID_TEXT + 1];
};

struct queueid_text queueid_format(uint64_t id);
bool queueid_parse(struct span, uint64_t *id);

#endif
