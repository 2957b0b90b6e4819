/* session: one SMTP client, from connect to end: the state machine, the verbs, and the message on its way to qmgr.
 *
 *   accept --(door.c: ADMIT)--> WAIT --(greet_delay)--> QUIET    who speaks now is a robot
 *     |                          |                       |       (each only for strangers, and where it is set)
 *     v                          v                       v
 *     +------(implicit TLS)--> HANDSHAKE --> COMMAND <-----        a line is awaited
 *                                 ^  ^          |
 *                                 |  +-STARTTLS-+               what was said and pipelined before is forgotten
 *                                 |             +--AUTH-------> RESPONSE      auth wants a line with the next response
 *                                 |             +--RCPT, DATA-> WAIT          a question is open (route, qmgr, auth), or a delay runs:
 *                                 |             |    AUTH        |            no input is looked at, replies gather
 *                                 |             +<---answer------+
 *                                 |             +--354--------> TEXT <-> WAIT (a large message: APPEND)
 *                                 |             +<--STORED-- WAIT (PUT) <-- end of text
 *   any --QUIT, 421, 554, end of the connection--> ENDED
 *
 * Transaction: MAIL opens the envelope; RSET, HELO, EHLO, STARTTLS and the reply to the end of text close it.
 * Input is looked at in COMMAND, RESPONSE and TEXT only, so replies keep the order of the commands; they leave together when input is used
 * up. */
#ifndef POSTINO_SMTPD_SESSION_H
#define POSTINO_SMTPD_SESSION_H

#include "common/address.h"
#include "common/peer.h"
#include "conf/settings.h"
#include "smtpd/clients.h"
#include "smtpd/ids.h"
#include "smtpd/shed.h"
#include "smtpd/tls.h"

#include <sys/queue.h>

struct event_base;
struct session;
struct arrival; /* proxy_door.c */

/* What all sessions of the process share. */
struct server {
    struct event_base *base;
    const struct settings *settings;
    struct tls *tls; /* NULL: not offered */
    struct peer *route, *auth, *qmgr, *tlsmgr;
    uint64_t conversations; /* with auth, so far: their numbers */
    struct buf mechanisms;  /* what auth offered last */
    struct ids *ids;
    struct clients *clients;
    struct network *relay_from; /* whose sessions are not counted by client */
    size_t relay_from_count;
    struct network *exempt; /* nor are these, by route */
    size_t exempt_count;
    bool has_door;    /* strangers are admitted by route */
    uint64_t numbers; /* of sessions at the door, so far */
    TAILQ_HEAD(, session) sessions;
    struct shed shed;
    TAILQ_HEAD(, arrival) arrivals;    /* connections whose PROXY header is awaited; */
    size_t session_count, local_count; /* counted as sessions */
    uint64_t session_total;            /* since the start */
    bool draining;                     /* no new mail: 421 between transactions */
    void (*emptied)(struct server *);  /* NULL, or called when the last session has ended */
};

void server_init(struct server *); /* the list of sessions, the networks; the rest is the caller's */
void server_free(struct server *); /* what server_init() made */
void server_left(struct server *); /* session_count is one less: was it the last? */

/* A new connection; the descriptor becomes the session's. Too many: it gets 421, and no session is made. */
void session_accept(struct server *, const struct settings_listener *, int fd, const struct sockaddr *client);
/* Over the submit socket (no listener), or that of a listener. */
void session_accept_local(struct server *, const struct settings_listener *, int fd, uid_t uid);

void sessions_tell(struct server *);  /* to a route that was started anew: which there are */
void sessions_drain(struct server *); /* 421 to those between transactions, now and later */

#endif
