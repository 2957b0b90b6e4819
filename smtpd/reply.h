/* reply: SMTP replies (RFC 5321 4.2, RFC 2034). Text is made harmless (printable ASCII) and cut so that a line keeps to 512 octets. */
#ifndef POSTINO_SMTPD_REPLY_H
#define POSTINO_SMTPD_REPLY_H

#include "common/buf.h"

/* "250 2.0.0 text CR LF"; `status` is "" where a reply has none (greeting, HELO, 354, 334). */
void reply_add(struct buf *out, unsigned code, struct span status, struct span text);
/* One line of several: "250-text", and with `last` "250 text". */
void reply_add_line(struct buf *out, unsigned code, bool last, struct span text);

#endif
