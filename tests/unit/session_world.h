/* session_world: sessions of smtpd among fake programs: route, auth and qmgr answer by simple rules from the same event loop. For the unit
 * test and the fuzz target. */
#ifndef POSTINO_TEST_SESSION_WORLD_H
#define POSTINO_TEST_SESSION_WORLD_H

#include "common/channel.h"
#include "smtpd/envelope.h"
#include "smtpd/session.h"

struct world {
    struct event_base *base;
    struct settings *settings;
    struct settings_listener listener;
    struct server server;
    struct channel *route, *auth, *qmgr; /* the fake ends */
    /* what the fakes do */
    bool route_silent, qmgr_silent;                                                  /* RCPT, PUT get no answer */
    bool client_silent, auth_silent, lease_silent, append_silent;                    /* CLIENT, AUTH, LEASE, APPEND get none */
    unsigned store_code;                                                             /* 250, 452, 451 */
    void (*route_answers)(struct world *, struct channel *, const struct message *); /* NULL, or instead of the fake route */
    uint16_t beyond;                                                                 /* USED: enum used */
    bool door_silent;                                                                /* ADMIT, COUNT */
    const char *hostile_words, *hostile_status;                                      /* of a refusal at the door */
    struct {
        struct strings *setting, own;
    } lent[8];
    unsigned lent_count;
    /* what they saw */
    struct buf body, sender, recipients, flow, client, pieces; /* recipients: "address<original> " each */
    struct buf wishes;                                         /* "ret envid" of the message, " address: notify orcpt" of each recipient */
    uint16_t flags;
    struct times times;
    unsigned puts, appends, drops, questions, cancels;
    bool pipelining;                                             /* in the last RCPT */
    unsigned admits, counts, what, guests, passed, left, errors; /* at the door */
};

/*   route   nouser@: 550 5.1.1; later@: 451 4.4.3; alias@: a@ and b@ of the same domain; any other: itself
 *           toomany@: 450 4.7.1, where recipients are counted. At the door 198.51.100.1 is refused, and .2 when it is counted; .3 need not wait.
 *   auth    a response that ends in "secret": yes; "down": not now; "refused", "busy"; "odd": malformed; else no. Without one: "go on".
 *           Mechanism NONE is not offered.
 *   qmgr    FLUSH of soon.example: too soon; of silent.example: no answer; empty.example: nothing waits; any other: seven, eight with all below */
void world_open(struct world *);
void world_close(struct world *);
/* A list of the test in the place of a setting, until world_close(): it is not freed. */
void world_lend(struct world *, struct strings *setting, size_t n, char **list);
void world_turn(struct world *);      /* one turn of the loop, that waits for nothing */
void world_kill_auth(struct world *); /* closes its end, and gives smtpd a new one */
void world_kill_qmgr(struct world *);
void world_kill_route(struct world *);

#endif
