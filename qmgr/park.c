/* Mail that waits and has nothing else to do, in as few octets as it takes: its job, its id, and when its sender is to be warned. All else is on
 * disk.
 *
 *            above limit.queue_memory, nothing under way, all of it settled on disk
 *   struct mail ------------------------------------------------------------------> struct parked
 *        ^ ^                                                                              |   ^
 *        | +---- read back: granted, to be warned, too old, an administrator wants it ----+   | at a start: one recipient who waits
 *      PUT                                                                                  spool
 *
 * The job keeps its place in the schedule on both ways. */
#include "qmgr/memory.h"
#include "qmgr/pool.h"
#include "qmgr/queue.h"

#include <errno.h>
#include <malloc.h>

#define LOOKS_A_SECOND        20000 /* at mail that may be parked */
#define RECONFIGURED_A_SECOND ((size_t)1 << 15)
#define WARNINGS_A_SECOND     1000 /* each is a read, and a report */
#define TRIM_AFTER            4096 /* parked: what is free among what is not goes back to the system */
#define TRIM_LAST             256  /* the same, when no more come */
#define AGAIN                 60   /* seconds after a message could not be read */
#define END_AGAIN             3600 /* the same, when its life is over */

struct parked {
    struct job job;
    struct hash_node node; /* key: the id */
    struct wheel_item warning;
    uint32_t began; /* mail_began(): seconds since 1970 */
    bool null_sender : 1;
    bool warnable : 1; /* its recipients want to be warned, and were not */
    bool deadline : 1; /* its sender set one: `warning` is not for the settings to say */
    bool warns : 1;    /* `warning` is in the wheel */
    bool resolving : 1;
    bool hurried : 1;
};

static struct hash table;
static struct wheel wheel; /* of warnings */
static struct pool pool = POOL_OF(struct parked);
static struct {
    bool goes_on;
    size_t at;
} reconfiguring; /* there are other settings, and these are not there yet: from that slot of the table on */

void park_start(uint64_t now)
{
    hash_free(&table);
    hash_init(&table);
    reconfiguring.goes_on = false;
    wheel_init(&wheel, now);
}

static uint64_t id_of(const struct parked *p)
{
    return p->node.key;
}

static struct parked *find(uint64_t id)
{
    struct hash_node *n = hash_find(&table, id);
    return n ? HASH_OWNER(n, struct parked, node) : NULL;
}

static struct parked *of_job(struct job *job)
{
    return HASH_OWNER(job, struct parked, job);
}

static void warn_later(struct parked *p, uint64_t at)
{
    if (p->warns)
        wheel_remove(&wheel, &p->warning);
    p->warns = at != 0;
    if (at)
        wheel_add(&wheel, &p->warning, at);
}

/* It is out of the schedule. */
static void forget(struct parked *p)
{
    if (p->warns)
        wheel_remove(&wheel, &p->warning);
    hash_remove(&table, &p->node);
    pool_free(&pool, p);
}

/* ---- the line of those that may be parked ------------------------------------------------------------------------ */

static struct mail *line_first, *line_last;
static size_t line_count, parked_since_trim;

void park_later(struct mail *m)
{
    if (m->in_line)
        return;
    m->in_line = true;
    m->line_next = NULL;
    m->line_prev = line_last;
    if (line_last)
        line_last->line_next = m;
    else
        line_first = m;
    line_last = m;
    line_count++;
}

void park_leave(struct mail *m)
{
    if (!m->in_line)
        return;
    if (m->line_prev)
        m->line_prev->line_next = m->line_next;
    else
        line_first = m->line_next;
    if (m->line_next)
        m->line_next->line_prev = m->line_prev;
    else
        line_last = m->line_prev;
    m->in_line = false;
    line_count--;
}

/* ---- parking ----------------------------------------------------------------------------------------------------- */

/* PARK_NOT: something else happens to it first, after which mail_check() puts it in the line again. */
enum may_park { PARK_NOT, PARK_LATER, PARK_NOW };

/* What goes out soon keeps its body, which is in memory so that it needs not be read. */
static enum may_park may_park(const struct mail *m)
{
    const struct delivery *d = m->deliveries;
    if (!d || d->next || m->active || m->untold || m->report_open || m->deleted || d->count != m->count - m->done)
        return PARK_NOT;
    if (d->job.state != JOB_WAITING && d->job.state != JOB_READY && d->job.state != JOB_HELD)
        return PARK_NOT;
    if (!spool_settled(queue.spool, mail_id(m)) || (d->job.state == JOB_READY && m->body && !schedule_site_stopped(d->job.site)))
        return PARK_LATER;
    return PARK_NOW;
}

static void park(struct mail *m)
{
    struct delivery *d = m->deliveries;
    struct parked *p = memory_must(pool_new(&pool));
    p->job.kind = JOB_OF_PARKED;
    p->began = (uint32_t)mail_began(m);
    p->null_sender = m->sender.n == 0;
    p->warnable = warning_wanted(m);
    p->deadline = m->times.by_mode != 0;
    p->resolving = d->resolving;
    p->hurried = d->hurried;
    schedule_replace(queue.schedule, &d->job, &p->job);
    hash_add(&table, &p->node, mail_id(m));
    warn_later(p, m->held ? 0 : warning_or_deadline(&m->times, m->arrived, p->null_sender, p->warnable));
    mail_forget(m);
    parked_since_trim++;
}

void park_now(struct mail *m)
{
    if (queue.octets > queue.settings->limit_queue_memory && may_park(m) == PARK_NOW)
        park(m);
}

static void park_line(void)
{
    for (size_t n = line_count < LOOKS_A_SECOND ? line_count : LOOKS_A_SECOND; n > 0; n--) {
        struct mail *m = line_first;
        if (queue.octets <= queue.settings->limit_queue_memory)
            return;
        park_leave(m);
        enum may_park may = m->checked ? PARK_LATER : may_park(m);
        if (may == PARK_NOW)
            park(m);
        else if (may == PARK_LATER)
            park_later(m);
    }
}

bool park_recovered(const struct spool_envelope *e, const struct spool_state *state, uint64_t due)
{
    struct list rest = e->recipients;
    struct record_recipient rcpt;
    if (rest.count != 1 || state->state != RECIPIENT_WAITING || state->verdict == VERDICT_DELIVERED || state->verdict == VERDICT_RELAYED ||
        !record_recipient_next(&rest, &rcpt))
        return false;
    spool_state_way(state, &rcpt);
    if (span_equal(rcpt.transport, SPAN_LITERAL("error")))
        return false;
    bool held = orders_hold(state->orders, e->flags);
    struct parked *p = memory_must(pool_new(&pool));
    p->job.kind = JOB_OF_PARKED;
    p->job.cost = 1;
    p->began = (uint32_t)queue_began(e->arrived, &e->times);
    p->deadline = e->times.by_mode != 0;
    p->null_sender = e->sender.n == 0;
    p->job.priority = orders_class(state->orders, e->flags, e->times.mt_priority);
    p->warnable = !held && !p->null_sender && state->verdict != VERDICT_DEFERRED && bounce_wanted(BOUNCE_DELAY, rcpt.notify);
    p->resolving = delivery_place(&p->job, &rcpt, e->flow, due < e->times.release ? e->times.release : due, e->times.release);
    if (held)
        schedule_hold(queue.schedule, &p->job);
    hash_add(&table, &p->node, e->id);
    warn_later(p, held ? 0 : warning_or_deadline(&e->times, e->arrived, p->null_sender, p->warnable));
    return true;
}

/* ---- reading back ------------------------------------------------------------------------------------------------ */

static void read_one(const struct spool_envelope *e, const struct spool_state *states, size_t count, void *arg)
{
    struct mail **out = arg;
    (void)count;
    *out = mail_restore(e, states);
}

/* It is still parked, or it has left the queue. */
static void cannot_read(struct parked *p, int status, const struct error *error)
{
    uint64_t now = queue_now();
    if (status == -EBADMSG || status == -ENOENT) {
        log_error("%s: it is no longer whole in the spool, and leaves the queue", ID_TEXT(id_of(p)));
        spool_remove(queue.spool, id_of(p));
        schedule_remove(queue.schedule, &p->job);
        forget(p);
        return;
    }
    log_error("%s; it stays in the queue, and is tried again in %d seconds: look at the disk", error->text, AGAIN);
    if (p->job.state == JOB_ACTIVE)
        schedule_done_later(queue.schedule, &p->job, JOB_UNKNOWN, now + AGAIN, now);
}

/* The mail, which nobody else knows yet; NULL: it can't be read. */
static struct mail *read_mail(struct parked *p)
{
    struct mail *m = NULL;
    struct error error = {{0}};
    int status = spool_envelope(queue.spool, id_of(p), read_one, &m, &error);
    if (status != 0)
        cannot_read(p, status, &error);
    return m;
}

static struct mail *unpark(struct parked *p)
{
    struct mail *m = read_mail(p);
    if (!m)
        return NULL;
    hash_add(&queue.mails, &m->node, mail_id(m));
    if (!delivery_adopt(m, &p->job, p->resolving, p->hurried)) {
        schedule_remove(queue.schedule, &p->job);
        delivery_make_all(m);
    }
    forget(p);
    warning_add(m);
    mail_check(m);
    return m;
}

struct delivery *park_delivery(struct job *job)
{
    struct mail *m = unpark(of_job(job));
    return m && m->deliveries && m->deliveries->granted ? m->deliveries : NULL; /* if it is the job's, and no new one */
}

struct mail *park_find(uint64_t id)
{
    struct parked *p = find(id);
    return p ? unpark(p) : NULL;
}

struct mail *park_read(uint64_t id)
{
    struct parked *p = find(id);
    uint64_t now = queue_now();
    struct mail *m = p ? read_mail(p) : NULL;
    for (uint32_t i = 0; m && i < m->count; i++) { /* it may have been hurried since */
        if (m->rcpt[i].due > now)
            m->rcpt[i].due = p->job.state == JOB_READY ? now : p->job.link.due;
    }
    return m;
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

bool park_has(uint64_t id)
{
    return find(id) != NULL;
}

const struct site *park_site(uint64_t id)
{
    const struct parked *p = find(id);
    return p ? p->job.site : NULL;
}

size_t park_count(void)
{
    return table.count;
}

size_t park_ids(uint64_t *out)
{
    size_t n = 0;
    for (struct hash_node *node = hash_first(&table); node; node = hash_after(&table, node))
        out[n++] = node->key;
    return n;
}

bool park_hurry(uint64_t id, uint64_t now)
{
    struct parked *p = find(id);
    if (!p || p->job.state == JOB_HELD || site_is_release(p->job.site))
        return false;
    p->hurried = p->resolving;
    schedule_hurry(queue.schedule, &p->job, now);
    return true;
}

bool park_expired(struct job *job, uint64_t now)
{
    const struct parked *p = of_job(job);
    return now >= queue_expires(p->began, p->null_sender);
}

static void reconfigure_one(struct hash_node *node, void *arg)
{
    struct parked *p = HASH_OWNER(node, struct parked, node);
    (void)arg;
    if (!p->deadline && p->job.state != JOB_HELD)
        warn_later(p, warning_or_end(p->began, p->null_sender, p->warnable));
}

/* For a million it would be a quarter of a second: it is done bit by bit, and what is parked meanwhile knows the new settings. */
void park_reconfigure(void)
{
    reconfiguring.goes_on = true;
    reconfiguring.at = 0;
}

static void reconfigure_some(void)
{
    if (reconfiguring.goes_on)
        reconfiguring.goes_on = hash_walk(&table, &reconfiguring.at, RECONFIGURED_A_SECOND, reconfigure_one, NULL);
}

/* Its life is over, and it is not in line: that ends with its next attempt, or its site's. */
static bool ends_elsewhere(struct parked *p, uint64_t now)
{
    return park_expired(&p->job, now) && !p->deadline && (p->job.state != JOB_READY || schedule_site_dead(p->job.site));
}

static void warn_due(uint64_t now)
{
    struct wheel_item *item;
    for (int n = 0; n < WARNINGS_A_SECOND && (item = wheel_expired(&wheel, now)); n++) {
        struct parked *p = HASH_OWNER(item, struct parked, warning);
        uint64_t id = id_of(p);
        p->warns = false;
        struct mail *m = ends_elsewhere(p, now) ? NULL : unpark(p);
        if (m)
            warning_visit(m, now);
        else if ((p = find(id)))
            warn_later(p, now + (park_expired(&p->job, now) ? END_AGAIN : AGAIN));
    }
}

/* What many parked messages had goes back to the system: while they are many, and once more when no more come. */
void park_turn(uint64_t now)
{
    reconfigure_some();
    warn_due(now);
    size_t before = parked_since_trim;
    park_line();
    bool last = before == parked_since_trim && before >= TRIM_LAST;
    if (parked_since_trim >= TRIM_AFTER || last) {
        parked_since_trim = 0;
        malloc_trim(0);
    }
}
