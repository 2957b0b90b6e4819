#include "delivery/workers.h"

#include "common/channel.h"
#include "common/clock.h"
#include "common/log.h"
#include "delivery/spawner.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

enum { ENDING_SECONDS = 10, MOVES_MOST = 2, LAZY = 1000 /* ms */ };

enum state { WANTED, STARTING, OPEN, ENDING };

TAILQ_HEAD(deliveries, local_delivery);

struct worker {
    TAILQ_ENTRY(worker) entry; /* the least recently used first */
    struct mailbox where;
    struct channel *channel;
    struct event *timer;       /* OPEN: of the next answer (slow, then too late), or idle; ENDING: it should have gone */
    struct deliveries waiting; /* not given to it yet */
    struct deliveries given;   /* in order */
    size_t given_count;
    uint64_t born;     /* ms */
    uint64_t progress; /* ms: of its last answer, or since when the first is waited for */
    uint32_t number;   /* the spawner's name for it */
    unsigned messages; /* given in its life */
    int status;        /* of its end */
    enum state state;
    bool retired; /* gets nothing more, and ends when it has answered */
    bool slow;    /* its oldest delivery has taken `slow` seconds */
    bool killed;
    bool stuck; /* for taking too long */
    bool ended; /* the spawner says so; its last words may be unread */
};

static struct {
    struct event_base *base;
    struct workers_limits limits;
    TAILQ_HEAD(worker_list, worker) all;
    size_t processes, given;
    size_t stuck; /* of the processes */
    uint32_t last_worker, last_delivery;
} self;

static void pump(void);

/* ---- deliveries ------------------------------------------------------------------------------------------------------------------- */

static void tell(struct local_delivery *d)
{
    free(d->path);
    d->path = NULL;
    d->told(d);
}

static void take_given(struct worker *w, struct local_delivery *d)
{
    TAILQ_REMOVE(&w->given, d, entry);
    w->given_count--;
    self.given--;
}

static void tell_given(struct worker *w, const struct local_outcome *o)
{
    for (struct local_delivery *d; (d = TAILQ_FIRST(&w->given));) {
        take_given(w, d);
        d->outcome = *o;
        tell(d);
    }
}

static void tell_waiting(struct worker *w, const struct local_outcome *o)
{
    for (struct local_delivery *d; (d = TAILQ_FIRST(&w->waiting));) {
        TAILQ_REMOVE(&w->waiting, d, entry);
        d->outcome = *o;
        tell(d);
    }
}

/* ---- one worker ------------------------------------------------------------------------------------------------------------------- */

static void on_timer(evutil_socket_t fd, short what, void *arg);

static struct worker *worker_new(const struct mailbox *where)
{
    struct worker *w = calloc(1, sizeof *w);
    if (!w)
        log_die("out of memory for a worker");
    w->where = *where;
    w->number = ++self.last_worker;
    TAILQ_INIT(&w->waiting);
    TAILQ_INIT(&w->given);
    w->timer = evtimer_new(self.base, on_timer, w);
    if (!w->timer)
        log_die("out of memory for a worker");
    TAILQ_INSERT_TAIL(&self.all, w, entry);
    return w;
}

static void worker_free(struct worker *w)
{
    TAILQ_REMOVE(&self.all, w, entry);
    channel_free(w->channel);
    event_free(w->timer);
    free(w);
}

static void set_timer_ms(struct worker *w, uint64_t ms)
{
    (void)event_add(w->timer, &(struct timeval){.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)});
}

static void set_timer(struct worker *w, unsigned seconds)
{
    set_timer_ms(w, seconds * (uint64_t)1000);
}

static bool has_given(const struct worker *w)
{
    return !TAILQ_EMPTY(&w->given);
}

static bool has_waiting(const struct worker *w)
{
    return !TAILQ_EMPTY(&w->waiting);
}

/* The age in milliseconds of what it has for longest; answers come in order. */
static uint64_t oldest(const struct worker *w)
{
    const struct local_delivery *d = TAILQ_FIRST(&w->given);
    return d ? clock_monotonic_ms() - d->asked : 0;
}

static void end_worker(struct worker *w)
{
    channel_free(w->channel);
    w->channel = NULL;
    w->state = ENDING;
    set_timer(w, ENDING_SECONDS);
}

static void kill_worker(struct worker *w)
{
    w->killed = true;
    if (w->state == OPEN)
        end_worker(w);
    if (spawner_kill(w->number) != 0)
        set_timer(w, 1);
}

/* It gets nothing more; what waits for it goes to another one. */
static void retire(struct worker *w)
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
    retire(w);
    tell_given(w, &o);
    self.processes--;
    self.stuck -= w->stuck;
    worker_free(w);
    pump();
}

static void too_late(struct worker *w, unsigned seconds)
{
    struct local_outcome o;
    log_warning("a delivery took too long and its process is ended: uid=%u seconds=%u", (unsigned)w->where.uid, seconds);
    (void)local_deferred(&o, "4.3.0", "the delivery took longer than %u seconds; see whether the mailbox's file system answers", seconds);
    self.stuck += !w->stuck;
    w->stuck = true;
    kill_worker(w);
    tell_given(w, &o);
    tell_waiting(w, &o);
}

static void say_slow(const struct worker *w, struct local_outcome *o)
{
    (void)local_deferred(o, "4.3.0", "a delivery to %.200s has taken %u seconds and is not done; others wait until it is", w->where.base,
                         (unsigned)(oldest(w) / 1000));
}

/* A place: a user's Maildir, or a domain's directory with all mailboxes in it, whichever workers have them. */
static bool same_place(const struct worker *w, const struct mailbox *where)
{
    return w->where.uid == where->uid && strcmp(w->where.base, where->base) == 0;
}

static void defer_place(const struct worker *slow)
{
    struct local_outcome o;
    struct worker *w, *next;
    say_slow(slow, &o);
    for (w = TAILQ_FIRST(&self.all); w; w = next) {
        next = TAILQ_NEXT(w, entry);
        if (!same_place(w, &slow->where))
            continue;
        tell_waiting(w, &o);
        if (w->state == WANTED)
            worker_free(w);
    }
}

/* Many file systems that are dead, or one that many users have, hold up half of all deliveries and not more. */
static void end_slowest(void)
{
    struct worker *w, *slowest = NULL;
    size_t held = 0;
    TAILQ_FOREACH(w, &self.all, entry)
    {
        if (!w->slow)
            continue;
        held += w->given_count;
        if (!slowest || oldest(w) > oldest(slowest))
            slowest = w;
    }
    if (slowest && held > (self.limits.most + 1) / 2)
        too_late(slowest, self.limits.slow);
}

/* Sets the timer of one that has deliveries: when it will be slow, or too late. */
static void watch(struct worker *w)
{
    uint64_t now = clock_monotonic_ms(), age = oldest(w), slow = self.limits.slow * (uint64_t)1000;
    uint64_t next = w->progress + self.limits.time * (uint64_t)1000;
    bool was = w->slow;
    w->slow = slow && age >= slow;
    if (slow && !w->slow && now + slow - age < next)
        next = now + slow - age;
    set_timer_ms(w, next > now ? next - now : 1);
    if (!w->slow || was)
        return;
    log_warning("a delivery takes long, and others to that place are deferred until it is done: uid=%u", (unsigned)w->where.uid);
    defer_place(w);
    end_slowest();
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct worker *w = arg;
    (void)fd, (void)what;
    if (w->state == ENDING || (has_given(w) && clock_monotonic_ms() >= w->progress + self.limits.time * (uint64_t)1000))
        too_late(w, self.limits.time);
    else if (has_given(w))
        watch(w);
    else
        retire(w);
    pump();
}

/* ---- its answers ------------------------------------------------------------------------------------------------------------------ */

static void misbehaved(struct worker *w, const char *how)
{
    log_warning("a delivery process says what it should not, and is ended: uid=%u how=\"%s\"", (unsigned)w->where.uid, how);
    kill_worker(w);
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
        tell(d);
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
        watch(w);
    else if (w->retired)
        end_worker(w);
    else
        set_timer(w, self.limits.idle);
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
        retire(w);
    if (a->verdict != 0)
        tell(d);
    else
        move(w, d);
    rest(w);
    pump();
}

static void on_closed(struct channel *c, void *arg)
{
    struct worker *w = arg;
    (void)c;
    end_worker(w);
    retire(w);
    if (w->ended)
        gone(w);
    else
        pump();
}

/* ---- what the spawner says -------------------------------------------------------------------------------------------------------- */

static struct worker *by_number(uint32_t number)
{
    struct worker *w;
    TAILQ_FOREACH(w, &self.all, entry)
    if (w->number == number)
        return w;
    log_die("the process that makes deliveries speaks of one that there is not: %u", number);
}

static void on_made(uint32_t number, int fd)
{
    static const struct channel_handler handler = {.message = on_answer, .closed = on_closed};
    struct worker *w = by_number(number);
    w->channel = channel_new(self.base, fd, "a delivery process", 1u << PROTOCOL_LOCAL_WORKER, SIDE_CLIENT, &handler, w);
    w->state = OPEN;
    w->born = clock_monotonic_ms();
    rest(w);
    pump();
}

static void not_made(struct worker *w, int error)
{
    struct local_outcome o;
    (void)local_deferred(&o, "4.3.0", "no process for a delivery: %s", strerror(error));
    tell_waiting(w, &o);
    self.processes--;
    worker_free(w);
}

static void on_not_made(uint32_t number, int error)
{
    not_made(by_number(number), error);
    pump();
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

/* ---- who gets what ---------------------------------------------------------------------------------------------------------------- */

static bool had_enough(const struct worker *w)
{
    return w->messages >= self.limits.messages || clock_monotonic_ms() - w->born > WORKERS_LIFE_SECONDS * 1000;
}

static size_t share(void)
{
    return self.limits.most / 4 ? self.limits.most / 4 : 1;
}

/* One more may be with the workers of that place. */
static bool has_share(const struct mailbox *where)
{
    const struct worker *w;
    size_t given = 0;
    TAILQ_FOREACH(w, &self.all, entry)
    if (same_place(w, where))
        given += w->given_count;
    return given < share();
}

static void give(struct worker *w, struct local_delivery *d)
{
    const struct maildir_letter *l = &d->letter;
    struct message m = {.type = MESSAGE_WRITE, .id = ++self.last_delivery, .fd = -1};
    if (l->fd >= 0 && (m.fd = fcntl(l->fd, F_DUPFD_CLOEXEC, 3)) < 0) {
        (void)local_deferred(&d->outcome, "4.3.0", "no descriptor for a delivery: %s", strerror(errno));
        tell(d);
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
    self.given++;
    w->given_count++;
    w->messages++;
    channel_send(w->channel, &m);
}

/* All that waits for it, as far as it goes; it is then the one that was used last. */
static void give_waiting(struct worker *w)
{
    bool had = has_given(w);
    while (has_waiting(w) && self.given < self.limits.most && !had_enough(w) && has_share(&w->where)) {
        struct local_delivery *d = TAILQ_FIRST(&w->waiting);
        TAILQ_REMOVE(&w->waiting, d, entry);
        give(w, d);
    }
    if (!had && has_given(w)) {
        w->progress = clock_monotonic_ms();
        watch(w);
    }
    if (has_waiting(w) && had_enough(w))
        retire(w);
    TAILQ_REMOVE(&self.all, w, entry);
    TAILQ_INSERT_TAIL(&self.all, w, entry);
}

static void start(struct worker *w)
{
    int error = spawner_make(w->number, &w->where);
    self.processes++;
    w->state = STARTING;
    if (error)
        not_made(w, error);
}

/* Those that can't be ended give up their slots, up to as many again. */
static bool has_slot(void)
{
    size_t stuck = self.stuck < self.limits.most ? self.stuck : self.limits.most;
    return self.processes - stuck < self.limits.most;
}

static struct worker *to_go(bool idle)
{
    struct worker *w;
    TAILQ_FOREACH(w, &self.all, entry)
    if (w->state == OPEN && !w->retired && !w->slow && w->messages && (idle ? !has_given(w) && !has_waiting(w) : true))
        return w;
    return NULL;
}

/* Starts who is wanted; and lets go as many others as that takes. */
static void start_wanted(void)
{
    size_t wanted = 0, going = 0;
    struct worker *w, *next;
    for (w = TAILQ_FIRST(&self.all); w; w = next) {
        next = TAILQ_NEXT(w, entry);
        if (w->state == WANTED && has_slot())
            start(w);
        else if (w->state == WANTED)
            wanted++;
        else if (!w->stuck && !w->slow && (w->state == ENDING || w->retired))
            going++;
    }
    for (; going < wanted && ((w = to_go(true)) || (w = to_go(false))); going++)
        retire(w);
}

static void give_all(void)
{
    struct worker *w, *next, *last = TAILQ_LAST(&self.all, worker_list);
    for (w = TAILQ_FIRST(&self.all); w; w = next) {
        next = w == last ? NULL : TAILQ_NEXT(w, entry);
        if (w->state == OPEN && !w->retired && has_waiting(w) && self.given < self.limits.most)
            give_waiting(w);
    }
}

/* What it calls may want it again. */
static void pump(void)
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

static size_t waiting(const struct worker *w)
{
    const struct local_delivery *d;
    size_t n = 0;
    TAILQ_FOREACH(d, &w->waiting, entry)
    n++;
    return n;
}

/* The worker for whose sake that place gets no more now; NULL: it may have more. */
static const struct worker *slow_one(const struct mailbox *where)
{
    const struct worker *w, *slowest = NULL;
    size_t wait = 0;
    TAILQ_FOREACH(w, &self.all, entry)
    {
        if (!same_place(w, where))
            continue;
        wait += waiting(w);
        if (w->state == OPEN && has_given(w) && (!slowest || oldest(w) > oldest(slowest)))
            slowest = w;
    }
    return slowest && (slowest->slow || (self.limits.slow && oldest(slowest) >= LAZY && wait >= share())) ? slowest : NULL;
}

static struct worker *worker_for(const struct mailbox *where)
{
    struct worker *w;
    TAILQ_FOREACH(w, &self.all, entry)
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
    const struct worker *slow = slow_one(&where);
    if (slow) {
        say_slow(slow, &d->outcome);
        tell(d);
        return;
    }
    struct worker *w = worker_for(&where);
    if (w->stuck) {
        (void)local_deferred(&d->outcome, "4.3.0", "the last delivery process for %.200s was ended and does not go; see why", m->base);
        tell(d);
        return;
    }
    TAILQ_INSERT_TAIL(&w->waiting, d, entry);
    pump();
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
    for (w = TAILQ_FIRST(&self.all); w; w = next) {
        next = TAILQ_NEXT(w, entry);
        drop_waiting(w, unwanted, dropped);
        if (w->state == WANTED && !has_waiting(w))
            worker_free(w);
    }
}

bool workers_idle(void)
{
    const struct worker *w;
    TAILQ_FOREACH(w, &self.all, entry)
    if (!TAILQ_EMPTY(&w->waiting) || !TAILQ_EMPTY(&w->given))
        return false;
    return true;
}

void workers_open(struct event_base *base, const struct workers_limits *limits)
{
    static const struct spawner_handler handler = {.made = on_made, .not_made = on_not_made, .ended = on_ended, .gone = on_gone};
    self.base = base;
    self.limits = *limits;
    TAILQ_INIT(&self.all);
    spawner_watch(base, &handler);
}
