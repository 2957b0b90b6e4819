/* mime: what the header of a message, or of a part of one, says of its body (RFC 2045, 2046). Pure.
 *
 * What has two meanings has none here: two Content-Type or Content-Transfer-Encoding fields, a multipart without a boundary, lines that
 * are no fields. */
#ifndef POSTINO_MIME_H
#define POSTINO_MIME_H

#include "common/buf.h"

#define MIME_BOUNDARY_MOST ((size_t)128) /* RFC 2046 5.1.1 has 70 */

enum mime_kind { MIME_LEAF, MIME_MULTIPART, MIME_MESSAGE /* message/rfc822: a header and a body again */ };
enum mime_encoding { MIME_UNSAID, MIME_7BIT, MIME_8BIT, MIME_BINARY, MIME_ENCODED /* whatever else */ };

struct mime {
    enum mime_kind kind;
    enum mime_encoding encoding;
    bool opaque; /* a leaf that can't be encoded: it is already, or its type forbids it */
    bool text;   /* text/ anything, which is the default */
    bool digest; /* multipart/digest: its parts are messages unless they say otherwise */
    bool has_type, has_version;
    char boundary[MIME_BOUNDARY_MOST];
    size_t boundary_length;
};

/* `header`: whole lines with CR LF, with or without the empty one. False: broken. */
bool mime_parse(struct span header, bool in_digest, struct mime *);
/* The next field with its folded lines and CR LF; the empty line is none. */
bool mime_next_field(struct span *header, struct span *field);
bool mime_is_field(struct span field, const char *name);

#endif
