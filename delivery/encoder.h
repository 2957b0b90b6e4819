/* encoder: octets as quoted-printable or base64 (RFC 2045 6.7, 6.8), in lines of 76 characters at most. Pure and incremental: however the
 * octets are cut into pieces, the same comes out.
 *
 * Quoted-printable keeps CR LF as line ends; every other CR or LF is an octet like any other. No line begins with a '-', so that none can
 * be taken for a boundary. */
#ifndef POSTINO_ENCODER_H
#define POSTINO_ENCODER_H

#include "common/buf.h"

enum encoding { ENCODING_QUOTED_PRINTABLE, ENCODING_BASE64 };

struct encoder {
    enum encoding encoding;
    unsigned column; /* of the line that is written; a zeroed struct is at its start */
    char blank;      /* it comes next, or encoded if the line ends */
    bool cr;         /* half of a line end, perhaps */
    unsigned char group[3];
    unsigned grouped;
};

void encoder_add(struct encoder *, struct span, struct buf *out);
/* What is left. `line_ends`: CR LF follows that is none of the octets (a boundary's); base64 has its own in any case. */
void encoder_end(struct encoder *, bool line_ends, struct buf *out);

#endif
