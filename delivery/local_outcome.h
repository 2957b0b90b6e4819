/* local_outcome: what became of one recipient of a local delivery, and the form in which a child tells it.
 *
 * A child runs as the recipient, so its report is as hostile as the recipient is. It is one short text and the end of the pipe:
 *     "D words"            delivered
 *     "T 4.x.y words"      not now
 * A child can't make a message fail for good; whatever else it says is "not now" in our own words. */
#ifndef POSTINO_LOCAL_OUTCOME_H
#define POSTINO_LOCAL_OUTCOME_H

#include "common/messages.h"

#define LOCAL_REPORT_MAX 1024

struct local_outcome {
    enum verdict verdict; /* VERDICT_DELIVERED, _DEFERRED or _FAILED */
    char status[12];      /* RFC 3463 */
    char words[512];      /* one line of printable ASCII */
};

/* Always returns -1, so that `return local_deferred(...)` reads well. Control characters and bytes over 126 become '?'. */
__attribute__((format(printf, 3, 4))) int local_deferred(struct local_outcome *, const char *status, const char *fmt, ...);
__attribute__((format(printf, 3, 4))) int local_failed(struct local_outcome *, const char *status, const char *fmt, ...);
__attribute__((format(printf, 2, 3))) void local_delivered(struct local_outcome *, const char *fmt, ...);

/* The report of an outcome; returns its length (at most LOCAL_REPORT_MAX). */
size_t local_report_make(const struct local_outcome *, char to[LOCAL_REPORT_MAX]);
/* False when it is not a report. */
bool local_report_parse(struct span, struct local_outcome *);

#endif
