/* The life of one worker: it is made, answers, is let go or ended, and whoever it had a delivery of is told (the drawing is in workers.h). */
#include "delivery/workers_internal.h"

#include "common/channel.h"
#include "common/clock.h"
#include "common/log.h"
#include "delivery/spawner.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

enum { ENDING_SECONDS = 10, MOVES_MOST = 2 };

/* ---- deliveries ------------------------------------------------------------------------------------------------------------------- */

void workers_tell(struct local_delivery *d)
{
    free(d->path);
    d->path = NULL;
    d->told(d);
}

static void take_given(struct worker *w, struct local_delivery *d)
{
    TAILQ_REMOVE(&w->given, d, entry);
    w->given_count--;
    workers.given--;
}

void worker_tell_given(struct worker *w, const struct local_outcome *o)
{
    for (struct local_delivery *d; (d = TAILQ_FIRST(&w->given));) {
        take_given(w, d);
        d->outcome = *o;
        workers_tell(d);
    }
}

void worker_tell_waiting(struct worker *w, const struct local_outcome *o)
{
    for (struct local_delivery *d; (d = TAILQ_FIRST(&w->waiting));) {
        TAILQ_REMOVE(&w->waiting, d, entry);
        d->outcome = *o;
        workers_tell(d);
    }
}

/* ---- one worker ------------------------------------------------------------------------------------------------------------------- */

struct worker *worker_new(const struct mailbox *where)
{
    struct worker *w = calloc(1, sizeof *w);
    if (!w)
        log_die("out of memory for a worker");
    w->where = *where;
    w->number = ++workers.last_worker;
    TAILQ_INIT(&w->waiting);
    TAILQ_INIT(&w->given);
    w->timer = evtimer_new(workers.base, workers_on_timer, w);
    if (!w->timer)
        log_die("out of memory for a worker");
    TAILQ_INSERT_TAIL(&workers.all, w, entry);
    return w;
}

void worker_free(struct worker *w)
{
    TAILQ_REMOVE(&workers.all, w, entry);
    channel_free(w->channel);
    event_free(w->timer);
    free(w);
}

void worker_set_timer_ms(struct worker *w, uint64_t ms)
{
    (void)event_add(w->timer, &(struct timeval){.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)});
}

static void set_timer(struct worker *w, unsigned seconds)
{
    worker_set_timer_ms(w, seconds * (uint64_t)1000);
}

static void end_worker(struct worker *w)
{
    channel_free(w->channel);
    w->channel = NULL;
    w->state = ENDING;
    set_timer(w, ENDING_SECONDS);
}

void worker_kill(struct worker *w)
{
    w->killed = true;
    if (w->state == OPEN)
        end_worker(w);
    if (spawner_kill(w->number) != 0)
        set_timer(w, 1);
}

void worker_retire(struct worker *w)
{
    if (!w->retired && has_waiting(w)) {
        struct worker *next = worker_new(&w->where);
        TAILQ_CONCAT(&next->waiting, &w->waiting, entry);
    }
    w->retired = true;
    if (w->state == OPEN && !has_given(w))
        end_worker(w);
}

static void say_end(const struct worker *w, struct local_outcome *o)
{
    if (w->killed)
        (void)local_deferred(o, "4.3.0", "the delivery process said what it may not, and was ended; see the log");
    else if (WIFSIGNALED(w->status))
        (void)local_deferred(o, "4.3.0", "the delivery process was ended by signal %d; see the log", WTERMSIG(w->status));
    else if (WEXITSTATUS(w->status) == EX_NOPERM)
        (void)local_deferred(o, "4.3.0", "the delivery process cannot become user %s", w->where.user);
    else
        (void)local_deferred(o, "4.3.0", "the delivery process ended with status %d and said nothing of use", WEXITSTATUS(w->status));
}

/* Its process is gone, and all that it said was heard. */
static void gone(struct worker *w)
{
    struct local_outcome o;
    say_end(w, &o);
    worker_retire(w);
    worker_tell_given(w, &o);
    workers.processes--;
    workers.stuck -= w->stuck;
    worker_free(w);
    workers_pump();
}

/* ---- its answers ------------------------------------------------------------------------------------------------------------------ */

static void misbehaved(struct worker *w, const char *how)
{
    log_warning("a delivery process says what it should not, and is ended: uid=%u how=\"%s\"", (unsigned)w->where.uid, how);
    worker_kill(w);
}

static struct local_delivery *given(const struct worker *w, uint32_t number)
{
    struct local_delivery *d;
    TAILQ_FOREACH(d, &w->given, entry)
    if (d->number == number)
        return d;
    return NULL;
}

/* To a worker that is for this one mailbox, and made after it was looked at. */
static void move(const struct worker *w, struct local_delivery *d)
{
    struct mailbox where = w->where;
    if (d->moves++ == MOVES_MOST) {
        (void)local_deferred(&d->outcome, "4.3.0", "mailbox %.200s/%.200s: it moved while it was written; see what moves it", where.base,
                             d->path);
        workers_tell(d);
        return;
    }
    (void)snprintf(where.path, sizeof where.path, "%s", d->path);
    free(d->path);
    workers_deliver(&where, d);
}

static void rest(struct worker *w)
{
    if (w->state != OPEN)
        return;
    w->progress = clock_monotonic_ms();
    if (has_given(w))
        workers_watch(w);
    else if (w->retired)
        end_worker(w);
    else
        set_timer(w, workers.limits.idle);
}

static void on_answer(struct channel *c, const struct message *m, void *arg)
{
    struct worker *w = arg;
    const struct message_written *a = &m->written;
    struct local_delivery *d = given(w, m->id);
    (void)c;
    if (!d) {
        misbehaved(w, "an answer to nothing");
        return;
    }
    if (a->verdict != 0 && !local_outcome_take(&d->outcome, a->verdict, a->status, a->words)) {
        misbehaved(w, "an outcome that it may not tell");
        return; /* told when it is gone */
    }
    take_given(w, d);
    if (a->last)
        worker_retire(w);
    if (a->verdict != 0)
        workers_tell(d);
    else
        move(w, d);
    rest(w);
    workers_pump();
}

static void on_closed(struct channel *c, void *arg)
{
    struct worker *w = arg;
    (void)c;
    end_worker(w);
    worker_retire(w);
    if (w->ended)
        gone(w);
    else
        workers_pump();
}

/* ---- what the spawner says -------------------------------------------------------------------------------------------------------- */

static struct worker *by_number(uint32_t number)
{
    struct worker *w;
    TAILQ_FOREACH(w, &workers.all, entry)
    if (w->number == number)
        return w;
    log_die("the process that makes deliveries speaks of one that there is not: %u", number);
}

static void on_made(uint32_t number, int fd)
{
    static const struct channel_handler handler = {.message = on_answer, .closed = on_closed};
    struct worker *w = by_number(number);
    w->channel = channel_new(workers.base, fd, "a delivery process", 1u << PROTOCOL_LOCAL_WORKER, SIDE_CLIENT, &handler, w);
    w->state = OPEN;
    w->born = clock_monotonic_ms();
    rest(w);
    workers_pump();
}

void worker_not_made(struct worker *w, int error)
{
    struct local_outcome o;
    (void)local_deferred(&o, "4.3.0", "no process for a delivery: %s", strerror(error));
    worker_tell_waiting(w, &o);
    workers.processes--;
    worker_free(w);
}

static void on_not_made(uint32_t number, int error)
{
    worker_not_made(by_number(number), error);
    workers_pump();
}

static void on_ended(uint32_t number, long pid, int status)
{
    struct worker *w = by_number(number);
    w->ended = true;
    w->status = status;
    if (status != 0 && !w->killed)
        log_warning("a delivery process ended unexpectedly: pid=%ld uid=%u status=%#x", pid, (unsigned)w->where.uid, (unsigned)status);
    if (!w->channel)
        gone(w);
}

static void on_gone(void)
{
    log_error("the process that makes deliveries is gone; ending");
    log_flush();
    _exit(EX_SOFTWARE);
}

void workers_hear_spawner(void)
{
    static const struct spawner_handler handler = {.made = on_made, .not_made = on_not_made, .ended = on_ended, .gone = on_gone};
    spawner_watch(workers.base, &handler);
}
