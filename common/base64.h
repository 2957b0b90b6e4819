/* base64: as AUTH has it on the wire (RFC 4954 4, RFC 4648 4). Strict: canonical, padded, no blanks. */
#ifndef POSTINO_BASE64_H
#define POSTINO_BASE64_H

#include "common/buf.h"

bool base64_decode(struct span in, struct buf *out);
void base64_encode(struct span in, struct buf *out);

#endif
