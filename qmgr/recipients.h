/* recipients: whether those of a new message can be, as smtpd or route says them. */
#ifndef POSTINO_QMGR_RECIPIENTS_H
#define POSTINO_QMGR_RECIPIENTS_H

#include "common/messages.h"

#define RECIPIENT_TEXT_MOST 1024 /* octets: what is longer could make a DELIVER, a LISTED or a report that fits into no frame */

/* One at least, as many as an envelope may have at most; each with texts that fit, a way that there is, and values that can be. */
bool recipients_good(struct list);

#endif
