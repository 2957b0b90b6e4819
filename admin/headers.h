/* headers: the header of a message that sendmail reads: its fields, and the addresses in them (RFC 5322, with the obsolete forms, read
 * generously).
 *
 * Pure: spans in, spans and buffers out. Lines may end in LF or CR LF. Whatever comes in, the parser ends and stays within its span. */
#ifndef POSTINO_HEADERS_H
#define POSTINO_HEADERS_H

#include "common/buf.h"
#include "common/error.h"

struct header_field {
    struct span name;  /* "To" */
    struct span value; /* behind the colon, folds included, without the last line's end */
    struct span whole; /* from the name to the last line's end, included */
};

/* The header of `message`: fields until an empty line, or until a line that is none (then the message has no empty line). An mbox "From "
 * line in front is skipped: the header then does not begin at message.p. *body is what follows the empty line. */
struct span headers_split(struct span message, struct span *body);
/* The next field; moves `rest` behind it. False at the end. */
bool headers_next(struct span *rest, struct header_field *);
bool headers_named(const struct header_field *, const char *name);

/* Calls `each` for each address of a field's value: "local@domain", or a local part alone; comments and display names are left out, groups
 * walked into. -1: it's no address list, or one of its addresses is none; `error` says where. `each` returning false stops with -1 (it has
 * set the error). */
typedef bool headers_address_fn(struct span address, void *arg, struct error *);
int headers_addresses(struct span value, headers_address_fn *, void *arg, struct error *);

/* The recipients that a header names: To, Cc and Bcc; or, when it has any Resent- field, Resent-To, Resent-Cc and Resent-Bcc. */
int headers_recipients(struct span header, headers_address_fn *, void *arg, struct error *);

/* A display name as it stands before <address>: as it is, quoted, or (not ASCII) as an encoded word of RFC 2047. Control characters are
 * left out. */
void headers_phrase(struct span name, struct buf *out);

#endif
