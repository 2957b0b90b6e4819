/* program: the frame of every Postino program below the master: control channel, set-up, sandbox, event loop, drain.
 *
 *   main: program_main(&the_program)
 *
 *   exec'd with descriptor 3, the control channel
 *     | CONFIG, LOG, LISTENER*, PEER*           (blocking, from the master alone)
 *     |                                         an edge is looked at only behind START: what comes over it waits
 *     | START  -> prepare()  as root: open what must be kept (keys, databases)
 *     |        -> sandbox    users, root directory, Landlock, seccomp (common/sandbox.h)
 *     |        -> start()    in the sandbox: set up events
 *     |        <- READY
 *     v event loop: each turn ends with channels_flush() and log_flush()
 *     | PEER, LOG at any time; CONFIG again only to a program with reconfigure(), which answers CONFIGURED
 *     | DRAIN -> drain()
 *     |        <- DRAINING: it takes no new work
 *     | <- REPLACE, once: DRAIN comes when another is ready
 *     | the program calls program_end() when its work is done; at `seconds` it is ended anyway
 *     v end of the control channel (the master is gone): exit at once
 */
#ifndef POSTINO_PROGRAM_H
#define POSTINO_PROGRAM_H

#include "common/channel.h"
#include "common/error.h"
#include "common/sandbox.h"
#include "conf/settings.h"

struct event_base;

struct program {
    const char *name; /* "smtpd" */
    /* Fill the sandbox that this configuration needs. */
    void (*sandbox)(const struct settings *, struct sandbox *);
    /* Before the sandbox. -1: the error is logged, and the program ends. */
    int (*prepare)(const struct settings *, struct error *);
    int (*start)(const struct settings *, struct error *);
    /* A listening socket (owned by the program from here); called before start(). */
    void (*listener)(const char *name, bool is_unix, int fd);
    /* The other end of an edge is (again) there; in the sandbox, just before start(), and later. `role` is the other program's name. */
    void (*peer)(const char *role, uint32_t instance, int fd);
    void (*reconfigure)(const struct settings *); /* NULL: never */
    void (*drain)(void); /* NULL: end at once. Called a second time when a drain without bound gets one: a stop overtakes a reload. */
    void (*turn)(void);  /* NULL, or called once after each turn of the event loop, before the channels are flushed */
};

int program_main(const struct program *, int argc, char **argv);

struct event_base *program_base(void);
bool program_unprivileged(void);
bool program_draining(void);
uint32_t program_drain_seconds(void); /* 0: no bound, as other processes take the work over (a reload): no session need be dropped */
/* This process has served long enough. The master starts another in its place, and sends DRAIN when that one is ready; until then, which may be
 * long, work goes on. Once in a life. */
void program_replace(void);
void program_end(void); /* leaves the event loop after this turn, exit status 0 */

/* Seconds and microseconds since 1970, read once a turn. */
uint64_t program_now(void);
uint64_t program_now_us(void);

#endif
