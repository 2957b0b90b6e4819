/* conversation: logins that are under way at next hosts, from LOGIN to the host's verdict (RFC 4954).
 *
 *   LOGIN --> mechanism chosen --SAY--> CHALLENGE --SAY--> ... --> LOGIN_REPLY
 *     |                                     |                        | 2xx: DONE
 *     |                                     |                        | 4xx: NOT_HERE
 *     +-- no such login, no secret, no      +-- what can't be:       | 5xx: REFUSED, and for REFUSED_SECONDS for every session of that login: a wrong
 *     |   token: NOT_NOW                        NOT_HERE             |      password that is said again and again locks accounts
 *     +-- refused just now: REFUSED
 *     +-- no mechanism: NOT_HERE
 *
 * What fails is the administrator's to mend, and never the mail's fault: one line in the log tells him, with login, host and what to do, at most once a
 * minute for each login. Numbers are remote's, and hold on their edge only. */
#ifndef POSTINO_CREDS_CONVERSATION_H
#define POSTINO_CREDS_CONVERSATION_H

#include "common/channel.h"

#define CONVERSATIONS_MOST   8192
#define CONVERSATION_SECONDS 900
#define REFUSED_SECONDS      60

void conversations_take(struct channel *, const struct message *); /* a message of remote's */
void conversations_forget_edge(struct channel *);

#endif
