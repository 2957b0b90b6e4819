/* login: AUTH to the host of a route that has a login (RFC 4954), behind the last EHLO. postino-creds leads; this carries what is said.
 *
 *   login_or_ready --no login--> session_ready
 *        |
 *        v                     .-- SAY: AUTH, or a response --> AUTH --334: CHALLENGE--.
 *   LOGIN (creds is asked) ----+                                 |                     |
 *        ^                     +-- DONE --> session_ready        `--else: LOGIN_REPLY--+
 *        |                     +-- NOT_HERE --> the next address                       |
 *        |                     `-- NOT_NOW, REFUSED --> deferred                       |
 *        `-----------------------------------------------------------------------------'
 *
 * Whatever goes wrong, the mail waits, and no word of the host's goes to a log or a report: it may repeat what it was told. An initial response that
 * makes the line longer than 512 octets goes behind an empty challenge (RFC 4954 4). */
#ifndef POSTINO_DELIVERY_LOGIN_H
#define POSTINO_DELIVERY_LOGIN_H

#include "common/stream.h"

struct session;

/* In each session; all zero at first. */
struct login {
    uint64_t number;    /* of the exchange, at creds; 0: none is open */
    uint32_t question;  /* to creds */
    unsigned mechanism; /* enum sasl bit */
    bool told;          /* creds has a line in the log about what went wrong */
    struct buf held;    /* the initial response in base64, that waits for an empty challenge */
};

void login_or_ready(struct session *);                               /* EHLO is done with: logs in, if the route says so */
void login_reply(struct session *);                                  /* AUTH: a reply is whole */
void login_lost(struct session *, enum stream_end, const char *why); /* LOGIN, AUTH: the connection broke */
void login_forget(struct session *);                                 /* the connection is gone */
/* The host wants a login, or another one (530, 535, 538), though we have one; or it wants one (530), and a route of ours leads to it without: the administrator's
 * to mend, and not the mail's fault. */
bool login_is_missed(const struct session *);
const char *login_advice(const struct session *); /* what he can do, as the end of a reply's words; "" for nothing */

#endif
