/* stuff: a message body in the form in which DATA carries it (RFC 5321 4.5.2): a dot is put before each line that begins with one.
 *
 * Pure and incremental: however the body is cut into pieces, the same octets come out. A bare CR or LF is refused, as it could be read as
 * the end of the message by a server that is lax about line ends, and what follows as commands of ours ("SMTP smuggling"). */
#ifndef POSTINO_STUFF_H
#define POSTINO_STUFF_H

#include "common/buf.h"

struct stuff {
    bool inside; /* of a line; a zeroed struct is at the start of one */
    bool cr;     /* the last octet was a CR */
};

/* Appends the piece, dot-stuffed. False: a bare CR or LF; nothing that was appended for this body may be followed by a final dot. */
bool stuff_add(struct stuff *, struct span piece, struct buf *out);
/* The same for BDAT (RFC 3030), where lines go as they are: nothing is appended. */
bool stuff_check(struct stuff *, struct span piece);
/* Appends the final dot, behind CR LF if the last line has none. False: the body ends in a bare CR. */
bool stuff_end(struct stuff *, struct buf *out);

#endif
