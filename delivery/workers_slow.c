/* Who hangs holds up himself: a place's share of the deliveries, workers that are slow, and those that take too long (the rules are in workers.h). */
#include "delivery/workers_internal.h"

#include "common/clock.h"
#include "common/log.h"

#include <event2/event.h>

enum { LAZY = 1000 /* ms */ };

/* A place: a user's Maildir, or a domain's directory with all mailboxes in it, whichever workers have them. */
static bool same_place(const struct worker *w, const struct mailbox *where)
{
    return w->where.uid == where->uid && strcmp(w->where.base, where->base) == 0;
}

/* The age in milliseconds of what it has for longest; answers come in order. */
static uint64_t oldest(const struct worker *w)
{
    const struct local_delivery *d = TAILQ_FIRST(&w->given);
    return d ? clock_monotonic_ms() - d->asked : 0;
}

/* ---- a place ---------------------------------------------------------------------------------------------------------------------- */

static size_t share(void)
{
    return workers.limits.most / 4 ? workers.limits.most / 4 : 1;
}

bool workers_has_share(const struct mailbox *where)
{
    const struct worker *w;
    size_t given = 0;
    TAILQ_FOREACH(w, &workers.all, entry)
    if (same_place(w, where))
        given += w->given_count;
    return given < share();
}

static size_t waiting(const struct worker *w)
{
    const struct local_delivery *d;
    size_t n = 0;
    TAILQ_FOREACH(d, &w->waiting, entry)
    n++;
    return n;
}

const struct worker *workers_slow_one(const struct mailbox *where)
{
    const struct worker *w, *slowest = NULL;
    size_t wait = 0;
    TAILQ_FOREACH(w, &workers.all, entry)
    {
        if (!same_place(w, where))
            continue;
        wait += waiting(w);
        if (w->state == OPEN && has_given(w) && (!slowest || oldest(w) > oldest(slowest)))
            slowest = w;
    }
    return slowest && (slowest->slow || (workers.limits.slow && oldest(slowest) >= LAZY && wait >= share())) ? slowest : NULL;
}

void workers_say_slow(const struct worker *w, struct local_outcome *o)
{
    (void)local_deferred(o, "4.3.0", "a delivery to %.200s has taken %u seconds and is not done; others wait until it is", w->where.base,
                         (unsigned)(oldest(w) / 1000));
}

/* ---- time ------------------------------------------------------------------------------------------------------------------------- */

static void too_late(struct worker *w, unsigned seconds)
{
    struct local_outcome o;
    log_warning("a delivery took too long and its process is ended: uid=%u seconds=%u", (unsigned)w->where.uid, seconds);
    (void)local_deferred(&o, "4.3.0", "the delivery took longer than %u seconds; see whether the mailbox's file system answers", seconds);
    workers.stuck += !w->stuck;
    w->stuck = true;
    worker_kill(w);
    worker_tell_given(w, &o);
    worker_tell_waiting(w, &o);
}

static void defer_place(const struct worker *slow)
{
    struct local_outcome o;
    struct worker *w, *next;
    workers_say_slow(slow, &o);
    for (w = TAILQ_FIRST(&workers.all); w; w = next) {
        next = TAILQ_NEXT(w, entry);
        if (!same_place(w, &slow->where))
            continue;
        worker_tell_waiting(w, &o);
        if (w->state == WANTED)
            worker_free(w);
    }
}

/* Many file systems that are dead, or one that many users have, hold up half of all deliveries and not more. */
static void end_slowest(void)
{
    struct worker *w, *slowest = NULL;
    size_t held = 0;
    TAILQ_FOREACH(w, &workers.all, entry)
    {
        if (!w->slow)
            continue;
        held += w->given_count;
        if (!slowest || oldest(w) > oldest(slowest))
            slowest = w;
    }
    if (slowest && held > (workers.limits.most + 1) / 2)
        too_late(slowest, workers.limits.slow);
}

void workers_watch(struct worker *w)
{
    uint64_t now = clock_monotonic_ms(), age = oldest(w), slow = workers.limits.slow * (uint64_t)1000;
    uint64_t next = w->progress + workers.limits.time * (uint64_t)1000;
    bool was = w->slow;
    w->slow = slow && age >= slow;
    if (slow && !w->slow && now + slow - age < next)
        next = now + slow - age;
    worker_set_timer_ms(w, next > now ? next - now : 1);
    if (!w->slow || was)
        return;
    log_warning("a delivery takes long, and others to that place are deferred until it is done: uid=%u", (unsigned)w->where.uid);
    defer_place(w);
    end_slowest();
}

void workers_on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct worker *w = arg;
    (void)fd, (void)what;
    if (w->state == ENDING || (has_given(w) && clock_monotonic_ms() >= w->progress + workers.limits.time * (uint64_t)1000))
        too_late(w, workers.limits.time);
    else if (has_given(w))
        workers_watch(w);
    else
        worker_retire(w);
    workers_pump();
}
