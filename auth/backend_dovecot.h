/* backend_dovecot: Dovecot's authentication server as a back end (auth/conversation.h), over its UNIX socket.
 *
 *   DOWN --connect--> UP: both sides say who they are at once, and questions need not wait for that
 *    ^                 |  AUTH -> CONT -> CONT ... -> OK or FAIL, many at a time, by number
 *    +--- end, error, a malformed line, a line too long, questions that it does not read: those under way end with "not now"
 *
 * It is connected to from inside the sandbox, and again when it is gone: no more than once a second. While it is down, what it offered last
 * is still offered, so that clients hear 454 and not that there is no AUTH. A question that it leaves open for auth { timeout } is
 * cancelled; the connection stays. LOGIN is put as PLAIN. */
#ifndef POSTINO_AUTH_BACKEND_DOVECOT_H
#define POSTINO_AUTH_BACKEND_DOVECOT_H

#include "auth/conversation.h"

struct event_base;

const struct backend *backend_dovecot(struct event_base *, const struct settings *);

#endif
