/* mail: puts a message into the queue, as smtpd does: route says where its recipient's mail goes, qmgr gives an id and takes it.
 *
 *   ROUTE --yes--> LEASE --> PUT --stored--> done      anything else: done, with what went wrong
 */
#ifndef POSTINO_STS_MAIL_H
#define POSTINO_STS_MAIL_H

#include "common/buf.h"

struct peer;
struct mail;

/* `why`: NULL: it is in the queue, and on disk. Valid during the call. */
typedef void mail_fn(const char *why, void *arg);

void mail_setup(struct peer *route, struct peer *qmgr);
/* To one recipient. Nobody is told of its fate, and what its receiver publishes of TLS does not hold it back. `text` is taken. `done` comes once, and never
 * from here. */
void mail_send(const char *from, const char *to, struct buf *text, mail_fn *done, void *arg);

#endif
