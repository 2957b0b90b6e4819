/* idn: domains and local parts beyond ASCII in the form in which they are compared (RFC 5890, RFC 5891 mapped as UTS 46 says, RFC 6531).
 *
 * Two domains are one if their A-labels are. Local parts are their domain's own business: nobody but the host whose domain it is compares
 * them, and there "é" is the same letter whichever way it was written (NFC).
 * Needs -lidn2 -lunistring. For route, dns, qmgr (whose addresses were parsed at the door), and what reads postino.conf: what meets strangers' bytes first (smtpd, remote) does without. */
#ifndef POSTINO_IDN_H
#define POSTINO_IDN_H

#include "common/buf.h"

/* Appends the name in lower case, with A-labels for what is not ASCII ("xn--bcher-kva.example"). False, and `out` is as it was, when DNS
 * can't have such a name. */
bool idn_ascii(struct span name, struct buf *out);
/* Appends the name with U-labels for its A-labels, as people write it; as it is where there are none, or one is broken. */
void idn_unicode(struct span ascii, struct buf *out);
/* Appends the text in NFC; as it is when it is no UTF-8. */
void idn_nfc(struct span text, struct buf *out);

#endif
