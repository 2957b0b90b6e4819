/* transaction_internal: what the order of commands and replies (transaction.c), the commands (transaction_command.c) and the verdicts
 * (transaction_verdict.c) share. Nobody else includes it. */
#ifndef POSTINO_TRANSACTION_INTERNAL_H
#define POSTINO_TRANSACTION_INTERNAL_H

#include "delivery/session_internal.h"

/* The first digit of the reply that was just read; 4 for a refusal that a login would have spared. */
static inline unsigned class_of(const struct session *s)
{
    if (login_is_missed(s))
        return 4;
    return s->reply.code / 100;
}

/* transaction_command.c */
void transaction_say_mail(struct session *);
void transaction_say_rcpt(struct session *, size_t i); /* to the job's recipient `i` */

/* transaction_verdict.c */
void transaction_refuse_recipient(struct session *); /* the one whose turn it is: refused by this reply, or put off */
/* All that are undecided: refused by this reply. False: they are tried at another address now. */
bool transaction_refuse_rest(struct session *, const char *in_reply_to);
bool transaction_relayed(
    struct session *); /* all that are undecided: the server has the message. False: the job goes on at another address */

#endif
