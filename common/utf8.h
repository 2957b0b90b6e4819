/* utf8: well-formed UTF-8 (RFC 3629) without control characters. */
#ifndef POSTINO_UTF8_H
#define POSTINO_UTF8_H

#include "common/span.h"

/* The length (2 to 4) of the character beyond ASCII at the front; 0 when there is none, when it is malformed (overlong, surrogate, beyond
 * U+10FFFF, cut off), or when it is one of the control characters U+0080 to U+009F. */
size_t utf8_length(struct span);

/* True when all of it is ASCII from blank to tilde, or such characters. */
bool utf8_is_printable(struct span);

#endif
