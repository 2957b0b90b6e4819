/* shed: what a process does when its sessions or their memory come near their limits, so that new clients still get in and it never runs out.
 *
 *   way       all processes wait at the same listeners. From half of a limit on a process lets the others go first, the longer the fuller it is:
 *             GIVES_WAY_MOST milliseconds when it is full. So one that has room takes the client, and none sheds while another is empty. If there are
 *             more than a turn's after that, the others can't keep up, and it goes on until the line is empty: a flood is not to fill the kernel's
 *   stress    from nine tenths of limit.sessions, or three quarters of limit.session_memory, until STRESS_LINGER after it was so the last time:
 *             every wait for a client is smtpd.stress_timeout at most, those that run already included, and the text of a message has to
 *             come at 400 octets a second
 *   full      a new client's place is that of the session that has waited longest for its client's next word, between transactions or in a
 *             handshake: a stranger who has waited a second; or one who has never said a word, and has had time to; or a login or one of
 *             relay_from, after half a minute. It gets 421 4.3.2. Nobody goes who has just come, waits for our greeting, or is in the middle
 *             of a message. If there is none to go, the new client gets 421
 *   fairness  a network (IPv4 /24, IPv6 /48) that has a sixteenth of all sessions gets no place of others while the process is full: a flood
 *             from there does not even push out its own, which wait, and are the first to go for somebody else
 *   memory    beyond limit.session_memory the same; and a session that has more than its share of it gets 452 for its next recipient or at
 *             the end of its text, which is not kept. So the whole is at most twice the limit
 *
 * Memory is what a session holds: itself, TLS, input that was read and not used, replies that wait, the envelope, the text of a message until
 * the queue has answered for it. */
#ifndef POSTINO_SMTPD_SHED_H
#define POSTINO_SMTPD_SHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>

struct server;
struct session;

TAILQ_HEAD(shed_line, session);

#define SHED_NETWORKS 8192

/* Part of the server. */
struct shed {
    uint64_t seed;                             /* so that nobody can choose networks that share a count */
    uint32_t networks[SHED_NETWORKS];          /* sessions of each, by a hash */
    struct shed_line silent, strangers, known; /* who waits, longest first; silent: strangers who have not said a word */
    uint64_t memory;                           /* of all sessions, octets */
    bool stressed;
    uint64_t calm_at; /* when stress is over, if nothing comes before; monotonic milliseconds */
    uint64_t gone;    /* how many were shed in this stress */
};

/* Part of a session. */
struct shed_place {
    TAILQ_ENTRY(session) link;
    struct shed_line *line; /* NULL: it does not wait */
    uint64_t since;         /* monotonic milliseconds */
    uint64_t due;           /* the wait that `since` is of */
    uint64_t memory;        /* as counted */
    uint32_t *network;      /* its count; NULL: none, or not counted yet */
    uint64_t paid;          /* octets of text that time was given for */
};

void shed_init(struct server *);
void shed_update(struct session *);             /* after each event of it */
void shed_forget(struct session *);             /* it ends */
void shed_moves(struct session *);              /* its address changes: its network is another */
unsigned shed_gives_way(const struct server *); /* milliseconds to wait before a connection is taken; 0: none */
/* For one more session of a client (NULL: relay_from, or of this host). False: there is none. */
bool shed_make_room(struct server *, const struct sockaddr *client);
uint64_t shed_seconds(struct server *, uint64_t seconds); /* how long a wait for a client may be now */
bool shed_earns_time(struct session *, uint64_t octets);  /* so much of its text has come: may it have its time anew? */
bool shed_takes_too_much(const struct session *);         /* memory is short, and it has more than its share */

/* Descriptors that so many sessions need, with those that still close. */
size_t shed_descriptors(uint64_t sessions);

#endif
