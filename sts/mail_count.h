/* mail_count: how many reports of a day went by mail to one domain that is not the one they are about: a record can name anybody's mailbox, and whoever has
 * many domains could fill it (RFC 8460 7, which leaves open what to do about it). */
#ifndef POSTINO_STS_MAIL_COUNT_H
#define POSTINO_STS_MAIL_COUNT_H

#include <stdbool.h>
#include <stddef.h>

/* Counts one more to this address about this domain, unless that is more than `most`, or no more can be counted. To the domain itself and to those
 * below it, which are its own to give away, as many may go as there are; a domain above it may be anybody's: names below some are to be had for nothing. */
bool mail_count_may(const char *address, const char *about, size_t most);
void mail_count_clear(void);

#endif
