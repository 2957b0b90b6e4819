/* routing: may this recipient be, and where does it go? The whole decision, without sockets.
 *
 *   recipient --parse--> no domain, or a domain of ours
 *      system users:  aliases (name, then name without +tag), expanded until nothing is an alias; then the user
 *      a map:         address, address without tag, local part, local part without tag, @domain
 *   sender --sender_logins--> may this login use it? Before all else
 *   any other domain: may the client relay, or is it in relay_to? Of relay_to: is the address in relay_recipients? Then the `route` sections,
 *                     else its MX
 *
 * postmaster, abuse and mailer-daemon always are: without an alias, user or mailbox of that name they are root's.
 * What is wrong on our side (a map that can't be read, an alias that goes round) is a 451 with a line in the log: mail waits for the
 * administrator. */
#ifndef POSTINO_ROUTING_H
#define POSTINO_ROUTING_H

#include "common/messages.h"
#include "conf/settings.h"

struct routing;

/* The host's user database. FOUND: `canonical` has the user's name as the database writes it. ROOT: uid 0. FAILED: it could not be asked.
 */
#define USER_NAME 256
enum user_result { USER_FOUND, USER_ROOT, USER_ABSENT, USER_FAILED };
typedef enum user_result user_fn(const char *name, char canonical[USER_NAME]);

/* `settings` must live as long. NULL: a map or network in them is not one. */
struct routing *routing_new(const struct settings *, user_fn *, struct error *);
void routing_free(struct routing *);

/* True for a client address in relay_from. */
bool routing_client_may_relay(const struct routing *, struct span address);

struct ruling {
    unsigned code;           /* 250, or what SMTP says */
    char status[8];          /* RFC 3463 */
    const char *rule;        /* NULL, or the setting that refuses; then the words name what they are about */
    bool certificate_listed; /* the client's is in relay_clientcerts */
    const char *by;          /* the setting that decides, where `rule` is NULL */
    struct buf reply;        /* words */
    struct list targets;     /* of record_recipient, when 250 */
    struct buf bytes;        /* what `targets` points to */
};

void routing_decide(struct routing *, const struct message_rcpt *, struct ruling *out); /* `out` is overwritten */
void ruling_free(struct ruling *);

/* A sender whose domain alone is beyond ASCII, with A-labels, as every host takes those (RFC 6531 3.2). Nothing is appended to any other. */
void routing_sender(struct span said, struct buf *out);

#endif
