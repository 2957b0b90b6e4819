/* conversation: SASL exchanges that are under way (RFC 4422), from AUTH to verdict.
 *
 *   AUTH --> WAITS ----RESPONSE----> LOOKED AT --verdict--> gone
 *              ^                       |   |
 *              +------- challenge -----+   +-- asked of the back end, which answers at once or later
 *   any --CANCEL, the edge ends, too old, too many--> gone (a back end that was asked is told)
 *
 * A guess is counted under the name that the back end gives the account, if it gives one: whoever has many spellings (case, with and without a
 * domain) has no more guesses for that. So where it is another name than the client's, it is looked at once more before a verdict is told.
 *
 * Numbers are smtpd's, and hold on their edge only: one smtpd can't reach the exchanges of another. There are no more than CONVERSATIONS_MOST
 * in all and CONVERSATIONS_CLIENT of one address (the oldest goes), each of CONVERSATION_STEPS responses and CONVERSATION_SECONDS. */
#ifndef POSTINO_AUTH_CONVERSATION_H
#define POSTINO_AUTH_CONVERSATION_H

#include "auth/response.h"
#include "common/channel.h"
#include "conf/settings.h"

#include <sys/queue.h>

#define CONVERSATIONS_MOST   4096
#define CONVERSATIONS_CLIENT 64
#define CONVERSATION_STEPS   8
#define CONVERSATION_SECONDS 120
#define RESPONSE_MOST        ((size_t)16384)

enum mechanism_kind { MECHANISM_PLAIN, MECHANISM_LOGIN, MECHANISM_SCRAM, MECHANISM_SCRAM_PLUS, MECHANISM_OAUTHBEARER, MECHANISM_XOAUTH2 };

struct mechanism {
    const char *name;
    enum mechanism_kind kind;
};

struct backend;

struct conversation {
    TAILQ_ENTRY(conversation) link;
    struct channel *edge;
    uint64_t number, began; /* began: monotonic milliseconds */
    uint32_t question;      /* to be answered next */
    bool asked;             /* there is one */
    bool begun;             /* the back end has this exchange */
    bool turn;              /* its guess was let through, and counts whatever becomes of it */
    unsigned steps;
    uint64_t client_key; /* the same for all of one address (IPv6: /64) */
    const struct mechanism *mechanism;
    struct buf client, user, unique, exporter; /* user: prepared; "" as long as nobody knows */
    struct buf login;                          /* what the back end calls that user; "" when the same */
    uint32_t delay;                            /* seconds until the client hears the verdict */
    void *own;                                 /* the back end's */
};

/* Who knows the passwords. Each answers by conversation_challenge() or conversation_end(), from within or later. */
struct backend {
    bool (*offers)(enum mechanism_kind);                        /* by itself, for every login */
    void (*check)(struct conversation *, struct span password); /* PLAIN, LOGIN: password of c->user */
    /* SCRAM, OAuth; NULL: never offered. */
    void (*begin)(struct conversation *, struct span response);
    void (*go_on)(struct conversation *, struct span response);
    void (*tick)(void);                  /* NULL, or called each second */
    void (*gone)(struct conversation *); /* NULL: nothing to do. Frees c->own; no answer is wanted any more */
};

void conversations_open(const struct backend *, const struct strings *mechanisms);
void conversations_take(struct channel *, const struct message *); /* a message of smtpd */
void conversations_forget_edge(struct channel *);
void conversations_tick(void); /* each second */

void conversation_challenge(struct conversation *, struct span challenge);
/* `why`: for the log; "" for yes and no. The conversation is gone behind this. */
void conversation_end(struct conversation *, enum auth_verdict, const char *why);

#endif
