/* scram: the server's side of one SCRAM-SHA-256 or -PLUS exchange (RFC 5802, 7677), by GNU SASL.
 *
 *   client-first --MORE: server-first--> client-final --MORE: server-final (v=)--> "" --YES
 *        |                                    |
 *        +--MALFORMED                         +--NO: the proof, the nonce or the channel binding is wrong
 *
 * SMTP has no place for data beside 235, so that server-final is a challenge that the client answers with nothing (RFC 4954 4). */
#ifndef POSTINO_AUTH_SCRAM_H
#define POSTINO_AUTH_SCRAM_H

#include "auth/passwd.h"

struct scram;

struct scram *scram_new(bool plus, struct span unique, struct span exporter, const struct passwd_scram *); /* NULL: no memory */
void scram_free(struct scram *);
enum auth_verdict scram_step(struct scram *, struct span response, struct buf *challenge);

#endif
