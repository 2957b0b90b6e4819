/* master: what the parts of postino-master share.
 *
 * A *plan* is one configuration with the sockets that belong to it. Its number is the generation of the processes that were started for it.
 */
#ifndef POSTINO_MASTER_H
#define POSTINO_MASTER_H

#include "master/listeners.h"

#include <event2/event.h>

enum master_state { MASTER_STARTING, MASTER_RUNNING, MASTER_RELOADING, MASTER_STOPPING };

struct plan {
    uint32_t generation;
    struct settings *settings;
    struct listeners listeners;
};

struct master {
    enum master_state state;
    struct event_base *base;
    const char *file; /* the configuration */
    struct plan *current;
    struct plan *next; /* while RELOADING */
    int run_directory;
    int exit_status;
    bool foreground, unprivileged;
    bool ended; /* leave the event loop */
};

extern struct master master;

void plan_free(struct plan *);

#endif
