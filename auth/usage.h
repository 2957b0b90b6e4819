/* usage: what logins have sent in the last hour, so that a stolen password does not make this host a source of spam.
 *
 * Counts of messages and recipients leak at the limit an hour; a message that does not fit is to be held. What is held does not expire, so it has
 * counts of its own, of the same limits, which leak in a day: what does not fit there either is to be refused. Beyond the limit there is an alarm
 * in the log, once an account and hour. Logins are real ones, so that strangers can't fill the table; it has USAGE_MOST places, and
 * gives up the one that is nearest to empty. Time is an argument: seconds that only go forward. */
#ifndef POSTINO_AUTH_USAGE_H
#define POSTINO_AUTH_USAGE_H

#include "common/span.h"

#include <stdint.h>

#define USAGE_MOST 65536

struct usage_limits {
    uint64_t messages, recipients; /* an hour; 0: none */
};

enum usage_answer {
    USAGE_OK,
    USAGE_BEYOND, /* hold it */
    USAGE_ALARM,  /* hold it; for the first time in an hour */
    USAGE_REFUSE
};

void usage_open(const struct usage_limits *);
enum usage_answer usage_add(struct span login, uint32_t recipients, uint64_t now);

#endif
