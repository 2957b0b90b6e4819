/* telling: what a report says of why. A reason is a line for the administrator: in log and queue it says what to look at, and names files, routes and
 * settings. A report goes to a sender, who may be anybody, and can do nothing with that. So he is told
 *
 *   - what a host said, as it said it, and who that was;
 *   - in our own words (qmgr, the delivering programs, the resolver) what is about his message and its address (RFC 3463: X.1, X.6, its size, its deadline,
 *     REQUIRETLS), that it was not tried (X.0.0), and what happened on the way to the receiver's own hosts (X.4, X.5);
 *   - of all else one sentence by the status: our configuration, hosts and sockets that it names, mailboxes, logins.
 *
 * The rule looks at the status, the way, and whether a host has said it: it holds for reasons on disk as for those of now. Pure. */
#ifndef POSTINO_TELLING_H
#define POSTINO_TELLING_H

#include "qmgr/bounce.h"

struct span telling_reply(struct span reason);             /* of a host: "550 5.1.1 no such user"; empty: no host said anything */
struct span telling_host(const struct bounce_recipient *); /* who said it: "mx.example.net"; empty: nobody */
struct span telling_status(const struct bounce *, const struct bounce_recipient *);
void telling_words(const struct bounce *, const struct bounce_recipient *, struct buf *out); /* one line */

#endif
