/* utf8: well-formed UTF-8 (RFC 3629) as it may stand in a line of text: addresses, logs, terminals.
 *
 * Left out, as none is needed to write a name in any script, and each makes a line look like another, or end where it does not:
 * control characters (U+0080 to U+009F), separators of lines and paragraphs (U+2028, U+2029), marks that turn the direction of what follows
 * (U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069), the byte order mark, and what is no character at all (U+FDD0 to U+FDEF, and
 * the last two of each plane). The joiners U+200C and U+200D stay: scripts of India and Iran need them. */
#ifndef POSTINO_UTF8_H
#define POSTINO_UTF8_H

#include "common/span.h"

/* The length (2 to 4) of the character beyond ASCII at the front; 0 when there is none, when it is malformed (overlong, surrogate, beyond
 * U+10FFFF, cut off), or when it is one of those above. */
size_t utf8_length(struct span);

/* True when all of it is ASCII from blank to tilde, or such characters. */
bool utf8_is_printable(struct span);

#endif
