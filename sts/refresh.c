#include "sts/refresh.h"

#include "common/log.h"
#include "common/program.h"
#include "sts/domains.h"
#include "sts/store.h"

#include <event2/event.h>

#define TICK         60  /* seconds */
#define LOOKS_MOST   50  /* in a tick */
#define RECALLS_MOST 500 /* files that are read in a turn */

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    if (!program_draining())
        domains_look_again(LOOKS_MOST);
}

static void start_ticking(struct event_base *base)
{
    struct event *tick = event_new(base, -1, EV_PERSIST, on_tick, NULL);
    if (!tick || event_add(tick, &(struct timeval){.tv_sec = TICK}) != 0)
        log_die("out of memory for a timer");
    on_tick(-1, 0, NULL);
}

static void recall_some(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    char name[256];
    uint64_t asked;
    for (size_t i = 0; i < RECALLS_MOST; i++) {
        if (store_next(name, &asked) && domains_recall(name, asked))
            continue;
        start_ticking(arg);
        return;
    }
    if (event_base_once(arg, -1, EV_TIMEOUT, recall_some, arg, &(struct timeval){.tv_usec = 1000}) != 0)
        log_die("out of memory for a timer");
}

void refresh_start(struct event_base *base)
{
    recall_some(-1, 0, base);
}
