/* reports: a day that is over goes out, a report to each domain that asks for it (RFC 8460 3, 5).
 *
 *   WAITING --its time has come, and no other process sends--> PASS --all domains asked--> those that failed wait, twice as long each time --> PASS
 *                                                                |                                                                        |
 *                                                                '--none failed, PASSES_MOST, or another day is over --> its files are removed
 *   of each domain in a PASS:
 *     RECORD --no, or not one--> over
 *       '--> its places, one after the other:  https: ADDRESS --> POST      mail: put into the queue
 *
 * Who got it is on disk at once. What a stranger's record can have us do is bounded: RUA_MOST places, mail to another domain `mail_most` times a day,
 * HTTPS to addresses that are anybody's and port 443 alone. */
#ifndef POSTINO_STS_REPORTS_H
#define POSTINO_STS_REPORTS_H

#include "common/error.h"
#include "conf/settings.h"

struct event_base;
struct peer;

/* Does nothing but tidying up where `tlsrpt { from }` is not set. Settings stay as long as the process lives. */
void reports_start(const struct settings *, struct event_base *, struct peer *dns);
void reports_drain(void (*idle)(void)); /* begins none any more, saves the counts; `idle`: the last one under way is done */
size_t reports_under_way(void);

#endif
