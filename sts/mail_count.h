/* mail_count: how many reports of a day went by mail to one domain that is not the one they are about: a record can name anybody's mailbox, and whoever has
 * many domains could fill it. */
#ifndef POSTINO_STS_MAIL_COUNT_H
#define POSTINO_STS_MAIL_COUNT_H

#include <stdbool.h>
#include <stddef.h>

/* Counts one more to this address about this domain, unless that is more than `most`, or no more can be counted. To the domain itself, to one above it or
 * below it, as many may go as there are. */
bool mail_count_may(const char *address, const char *about, size_t most);
void mail_count_clear(void);

#endif
