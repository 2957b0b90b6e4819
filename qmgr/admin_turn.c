/* Turns of those who are no administrators: all of their questions together take a fifth of qmgr's time at the most. One question of each client
 * waits here; the next is answered when four times as long has gone by as the last one took, or ten seconds: this host may have stood still meanwhile. */
#include "qmgr/admin.h"

#include "common/clock.h"
#include "common/program.h"

#include <event2/event.h>

#define PAUSE      4        /* times what the last answer took */
#define PAUSE_MOST 10000000 /* microseconds */

static TAILQ_HEAD(, client) line = TAILQ_HEAD_INITIALIZER(line);
static struct event *next;
static uint64_t not_before; /* monotonic microseconds */

static void wait_for_next(void)
{
    uint64_t now = clock_monotonic_us(), wait = not_before > now ? not_before - now : 0;
    if (!TAILQ_EMPTY(&line))
        event_add(next, &(struct timeval){.tv_sec = (time_t)(wait / 1000000), .tv_usec = (suseconds_t)(wait % 1000000)});
}

static void turn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    struct client *c = TAILQ_FIRST(&line);
    if (!c)
        return;
    uint64_t began = clock_monotonic_us();
    admin_turn_leave(c);
    admin_answer(c, &c->question);
    uint64_t now = clock_monotonic_us(), pause = PAUSE * (now - began);
    not_before = now + (pause < PAUSE_MOST ? pause : PAUSE_MOST);
    wait_for_next();
}

bool admin_turn_wait(struct client *c, const struct message *m)
{
    if (c->waits)
        return false;
    if (!next && !(next = event_new(program_base(), -1, 0, turn, NULL)))
        log_die("out of memory for the queue socket");
    bool first = TAILQ_EMPTY(&line);
    c->question = *m;
    c->waits = true;
    TAILQ_INSERT_TAIL(&line, c, turn);
    if (first)
        wait_for_next();
    return true;
}

void admin_turn_leave(struct client *c)
{
    if (c->waits)
        TAILQ_REMOVE(&line, c, turn);
    c->waits = false;
}
