/* letter: the message that sendmail was given: read from a descriptor, taken apart, and completed. */
#ifndef POSTINO_LETTER_H
#define POSTINO_LETTER_H

#include "common/buf.h"
#include "common/error.h"

struct letter {
    struct buf text;   /* as it was read */
    struct buf header; /* what is sent of it: no Bcc, no Resent-Bcc, no mbox line */
    struct span given; /* the header as it was read, within text */
    struct span body;  /* within text */
    bool has_from;
};

/* Reads to the end, or (`dot`) to a line that is a single dot. EX_OK, EX_IOERR, EX_DATAERR. */
int letter_read(struct letter *, int fd, bool dot, struct error *);
void letter_free(struct letter *);

/* Who called: the name of the user, and a display name (of the environment's NAME, or of the user database; "" for none). */
struct caller {
    char user[256];
    char name[256];
};
int caller_find(struct caller *, struct error *);

/* "From: name <address>\n"; an address without a domain gets `server` for one. */
void letter_from(struct span address, struct span name, const char *server, struct buf *out);

#endif
