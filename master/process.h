/* process: one place in the system for one program: the process that is there now, or the one that will be.
 *
 *      DOWN --process_launch--> STARTING --READY--> READY --process_drain--> DRAINING
 *       ^                          |                  |                          |
 *       +---------- it died -------+------------------+                          +-- it died --> (freed)
 *
 * This is the mechanism; life.h decides what is done when. From a process the master reads READY, once, CONFIGURED when it was
 * sent another configuration, DRAINING when it was told to drain, and REPLACE, once, from one of many: whatever else comes from it ends it. */
#ifndef POSTINO_PROCESS_H
#define POSTINO_PROCESS_H

#include "common/channel.h"
#include "master/master.h"
#include "master/programs.h"

enum process_state { PROCESS_DOWN, PROCESS_STARTING, PROCESS_READY, PROCESS_DRAINING };

/* A PEER for a process that is DOWN: it gets it when it is launched. */
struct held_peer {
    struct held_peer *next;
    enum program_id role;
    uint32_t instance;
    uint32_t serial; /* of the process at the other end */
    int fd;
};

struct process {
    struct process *next;
    enum program_id program;
    uint32_t instance, generation;
    uint32_t serial; /* of this life, or while DOWN of the next one; never used twice */
    enum process_state state;
    bool start_sent, was_ready; /* was_ready: in some life of it */
    bool configuring;           /* READY, and it has not taken over the CONFIG that it was sent */
    bool worn;                  /* READY, and it asked for another in its place (replace.h) */
    bool quiet;                 /* DRAINING, and it says that it takes no new work */
    pid_t pid;                  /* 0 while DOWN */
    struct channel *channel;    /* NULL while DOWN, and when it hung up */
    struct event *timer;        /* to launch it again, or for the end of a replaced one; the owner's (life.c, replace.c) */
    struct event *hangup;       /* its channel has ended, and it has not yet */
    uint64_t launched;          /* clock_monotonic_ms() */
    unsigned quick_deaths;
    const char *killed_for;         /* why the master killed it; NULL: it did not */
    uint32_t connected[EDGE_COUNT]; /* as client of an edge: serial of the server it is connected to, 0: none */
    struct held_peer *held;
};

struct process *process_first(void);
struct process *process_of_pid(pid_t);

struct process *process_new(enum program_id, uint32_t instance, uint32_t generation);
void process_free(struct process *); /* it must be DOWN, or its death of no more interest */

/* Forks it and sends LOG, CONFIG, its LISTENERs and the PEERs that are held for it. START comes with process_start(). */
int process_launch(struct process *, const struct plan *, struct error *);
void process_start(struct process *);
void process_down(struct process *); /* it has died: forget all of this life */

void process_send_config(struct process *, const struct plan *);
void process_send_log(struct process *);
/* Takes the descriptor. */
void process_send_peer(struct process *, const struct process *other, int fd);
void process_drop_held(const struct process *dead); /* what others hold of it */

/* No new work; finish in `seconds` (0: no bound). One that is not READY is killed instead. */
void process_drain(struct process *, uint32_t seconds);
void process_kill(struct process *, const char *why);

/* "postino-smtpd 0 (process 123)"; valid until the next call. */
const char *process_name(const struct process *);

#endif
