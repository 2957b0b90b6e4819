/* complete: header fields that a submitted message must have and lacks (RFC 6409 8): Date:, From: and Message-ID:. Only what is missing is
 * made, and goes in front; all else stays as it is, octet for octet. */
#ifndef POSTINO_SMTPD_COMPLETE_H
#define POSTINO_SMTPD_COMPLETE_H

#include "smtpd/data.h"

#include <time.h>

struct complete {
    unsigned headers;   /* enum data_header bits that are there */
    bool no_header;     /* the text begins without a header: an empty line goes behind what is made */
    struct span sender; /* reverse-path; "": no From: is made */
    struct span id, host;
    time_t now;
};

void complete_add(struct buf *out, const struct complete *);

#endif
