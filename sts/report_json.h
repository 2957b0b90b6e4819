/* report_json: a day of one domain as the report that goes to it (RFC 8460 4.4). Pure. */
#ifndef POSTINO_STS_REPORT_JSON_H
#define POSTINO_STS_REPORT_JSON_H

#include "sts/tally.h"

struct reporter {
    const char *organization, *contact;
    const char *host; /* our name */
};

/* "20261121.example.org@mx.example.net": the same whenever the report is made, so that who gets it twice can tell. */
void report_id(const struct reporter *, const struct tally_domain *, uint64_t day, struct buf *out);
void report_json(const struct reporter *, const struct tally_domain *, uint64_t day, struct buf *out);

#endif
