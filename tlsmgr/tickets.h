/* tickets: the keys of session tickets, which all smtpd processes share (RFC 5077, RFC 8446 4.6.1).
 *
 *   a key:   made --period--> another one makes new tickets; this one's are taken --period--> forgotten
 *
 * So who steals a key, or a process that has it, reads no session that ended two periods ago. Keys are in memory alone. Times are milliseconds. */
#ifndef POSTINO_TICKETS_H
#define POSTINO_TICKETS_H

#include "common/buf.h"

#include <stdint.h>

#define TICKET_KEYS 2

struct ticket {
    unsigned char name[16], cipher[32], mac[32];
    uint64_t made, accepts; /* accepts: until then */
};

struct tickets {
    uint64_t period;
    struct ticket keys[TICKET_KEYS]; /* the newest first */
    size_t count;
};

/* Forgets and makes what has to be now. True: something changed. A key that can't be made ends the process. */
bool tickets_turn(struct tickets *, uint64_t now);
/* When tickets_turn() has something to do next. */
uint64_t tickets_due(const struct tickets *);
void tickets_add(const struct tickets *, struct buf *records); /* as records of CERTIFIED */

#endif
