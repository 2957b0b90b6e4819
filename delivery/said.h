/* said: the 4xx that a host said first while a job was tried, for qmgr's rules on replies. It is kept whatever becomes of the job: another host may take
 * it, or a fresh session. What is said to RCPT is most often about one mailbox, and gives way to what is said elsewhere. */
#ifndef POSTINO_SAID_H
#define POSTINO_SAID_H

#include "common/messages.h"
#include "delivery/reply.h"

struct session;

struct said {
    uint16_t at; /* enum said_at */
    char *text;  /* reply_text(); NULL when nothing was said */
};

void said_note(struct said *, enum said_at, const struct reply *); /* if it is a 4xx that counts more than what is kept */
void said_move(struct said *to, struct said *from);                /* the same; `from` is empty then */
void said_free(struct said *);

/* A reply of the session is whole: it is noted for its job, or for the one that it will have. */
void said_in_session(struct session *);

#endif
