/* dovecot_reply: one line of Dovecot's authentication server (its "auth protocol", version 1), taken apart. Pure: spans into the line, which
 * comes without its LF. */
#ifndef POSTINO_AUTH_DOVECOT_REPLY_H
#define POSTINO_AUTH_DOVECOT_REPLY_H

#include "common/span.h"

#include <stdint.h>

enum dovecot_kind {
    DOVECOT_OTHER, /* SPID, CUID, COOKIE and whatever comes to be: left alone */
    DOVECOT_BAD,   /* a line of a kind that is known, and malformed */
    DOVECOT_VERSION,
    DOVECOT_MECHANISM,
    DOVECOT_DONE,
    DOVECOT_OK,
    DOVECOT_FAIL,
    DOVECOT_CONTINUE,
};

struct dovecot_reply {
    enum dovecot_kind kind;
    uint32_t id;           /* OK, FAIL, CONTINUE; VERSION: the major number */
    struct span mechanism; /* MECHANISM */
    struct span user;      /* OK, FAIL; still escaped, "" when not told */
    struct span reason;    /* FAIL */
    struct span data;      /* CONTINUE: base64 */
    bool temporary;        /* FAIL: not the client's fault */
};

void dovecot_reply_parse(struct span line, struct dovecot_reply *);

#endif
