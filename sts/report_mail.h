/* report_mail: a report as the message that carries it (RFC 8460 5.3). Pure. */
#ifndef POSTINO_STS_REPORT_MAIL_H
#define POSTINO_STS_REPORT_MAIL_H

#include "sts/report_json.h"

/* The report by gzip. False: no memory, or more than `out` may hold. */
bool report_gzip(struct span json, struct buf *out);
/* `now`: seconds since 1970. CR LF lines, ASCII. */
void report_mail(const struct reporter *, const char *from, const char *to, const struct tally_domain *, uint64_t day, uint64_t now,
                 struct span gzip, struct buf *out);

#endif
