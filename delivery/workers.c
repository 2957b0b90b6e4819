/* Which workers there are, and what each is given: a process for whom deliveries wait, as many as there may be (the rules are in workers.h). */
#include "delivery/workers_internal.h"

#include "common/channel.h"
#include "common/clock.h"
#include "common/log.h"
#include "delivery/spawner.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

struct workers workers;

/* ---- who gets what ---------------------------------------------------------------------------------------------------------------- */

static bool had_enough(const struct worker *w)
{
    return w->messages >= workers.limits.messages || clock_monotonic_ms() - w->born > WORKERS_LIFE_SECONDS * 1000;
}

static void give(struct worker *w, struct local_delivery *d)
{
    const struct maildir_letter *l = &d->letter;
    struct message m = {.type = MESSAGE_WRITE, .id = ++workers.last_delivery, .fd = -1};
    if (l->fd >= 0 && (m.fd = fcntl(l->fd, F_DUPFD_CLOEXEC, 3)) < 0) {
        (void)local_deferred(&d->outcome, "4.3.0", "no descriptor for a delivery: %s", strerror(errno));
        workers_tell(d);
        return;
    }
    m.write.queue_id = l->id;
    m.write.index = (uint16_t)l->index;
    m.write.mailbox = span_of(d->path);
    m.write.sender = l->sender;
    m.write.offset = l->offset;
    m.write.size = l->size;
    m.write.binary = l->binary;
    m.write.body = l->fd < 0 ? l->body : (struct span){0};
    d->number = m.id;
    TAILQ_INSERT_TAIL(&w->given, d, entry);
    d->asked = clock_monotonic_ms();
    workers.given++;
    w->given_count++;
    w->messages++;
    channel_send(w->channel, &m);
}

/* All that waits for it, as far as it goes; it is then the one that was used last. */
static void give_waiting(struct worker *w)
{
    bool had = has_given(w);
    while (has_waiting(w) && workers.given < workers.limits.most && !had_enough(w) && workers_has_share(&w->where)) {
        struct local_delivery *d = TAILQ_FIRST(&w->waiting);
        TAILQ_REMOVE(&w->waiting, d, entry);
        give(w, d);
    }
    if (!had && has_given(w)) {
        w->progress = clock_monotonic_ms();
        workers_watch(w);
    }
    if (has_waiting(w) && had_enough(w))
        worker_retire(w);
    TAILQ_REMOVE(&workers.all, w, entry);
    TAILQ_INSERT_TAIL(&workers.all, w, entry);
}

static void start(struct worker *w)
{
    int error = spawner_make(w->number, &w->where);
    workers.processes++;
    w->state = STARTING;
    if (error)
        worker_not_made(w, error);
}

/* Those that can't be ended give up their slots, up to as many again. */
static bool has_slot(void)
{
    size_t stuck = workers.stuck < workers.limits.most ? workers.stuck : workers.limits.most;
    return workers.processes - stuck < workers.limits.most;
}

static struct worker *to_go(bool idle)
{
    struct worker *w;
    TAILQ_FOREACH(w, &workers.all, entry)
    if (w->state == OPEN && !w->retired && !w->slow && w->messages && (idle ? !has_given(w) && !has_waiting(w) : true))
        return w;
    return NULL;
}

/* Starts who is wanted; and lets go as many others as that takes. */
static void start_wanted(void)
{
    size_t wanted = 0, going = 0;
    struct worker *w, *next;
    for (w = TAILQ_FIRST(&workers.all); w; w = next) {
        next = TAILQ_NEXT(w, entry);
        if (w->state == WANTED && has_slot())
            start(w);
        else if (w->state == WANTED)
            wanted++;
        else if (!w->stuck && !w->slow && (w->state == ENDING || w->retired))
            going++;
    }
    for (; going < wanted && ((w = to_go(true)) || (w = to_go(false))); going++)
        worker_retire(w);
}

static void give_all(void)
{
    struct worker *w, *next, *last = TAILQ_LAST(&workers.all, worker_list);
    for (w = TAILQ_FIRST(&workers.all); w; w = next) {
        next = w == last ? NULL : TAILQ_NEXT(w, entry);
        if (w->state == OPEN && !w->retired && has_waiting(w) && workers.given < workers.limits.most)
            give_waiting(w);
    }
}

/* What it calls may want it again. */
void workers_pump(void)
{
    static bool running, again;
    again = true;
    if (running)
        return;
    running = true;
    while (again) {
        again = false;
        start_wanted();
        give_all();
    }
    running = false;
}

/* ---- from outside ----------------------------------------------------------------------------------------------------------------- */

static struct worker *worker_for(const struct mailbox *where)
{
    struct worker *w;
    TAILQ_FOREACH(w, &workers.all, entry)
    if ((w->stuck || (w->state != ENDING && !w->retired)) && mailbox_same(&w->where, where))
        return w;
    return worker_new(where);
}

void workers_deliver(const struct mailbox *m, struct local_delivery *d)
{
    struct mailbox where = *m;
    if (m->shared && d->moves == 0)
        where.path[0] = '\0';
    d->path = strdup(m->path);
    if (!d->path)
        log_die("out of memory for a delivery");
    const struct worker *slow = workers_slow_one(&where);
    if (slow) {
        workers_say_slow(slow, &d->outcome);
        workers_tell(d);
        return;
    }
    struct worker *w = worker_for(&where);
    if (w->stuck) {
        (void)local_deferred(&d->outcome, "4.3.0", "the last delivery process for %.200s was ended and does not go; see why", m->base);
        workers_tell(d);
        return;
    }
    TAILQ_INSERT_TAIL(&w->waiting, d, entry);
    workers_pump();
}

static void drop_waiting(struct worker *w, bool (*unwanted)(const struct local_delivery *), void (*dropped)(struct local_delivery *))
{
    struct local_delivery *d, *next;
    for (d = TAILQ_FIRST(&w->waiting); d; d = next) {
        next = TAILQ_NEXT(d, entry);
        if (!unwanted(d))
            continue;
        TAILQ_REMOVE(&w->waiting, d, entry);
        free(d->path);
        dropped(d);
    }
}

void workers_drop(bool (*unwanted)(const struct local_delivery *), void (*dropped)(struct local_delivery *))
{
    struct worker *w, *next;
    for (w = TAILQ_FIRST(&workers.all); w; w = next) {
        next = TAILQ_NEXT(w, entry);
        drop_waiting(w, unwanted, dropped);
        if (w->state == WANTED && !has_waiting(w))
            worker_free(w);
    }
}

bool workers_idle(void)
{
    const struct worker *w;
    TAILQ_FOREACH(w, &workers.all, entry)
    if (!TAILQ_EMPTY(&w->waiting) || !TAILQ_EMPTY(&w->given))
        return false;
    return true;
}

void workers_open(struct event_base *base, const struct workers_limits *limits)
{
    workers.base = base;
    workers.limits = *limits;
    TAILQ_INIT(&workers.all);
    workers_hear_spawner();
}
