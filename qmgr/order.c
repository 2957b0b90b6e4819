/* ORDER: what an administrator wants done to messages: one, or all that fit a selection.
 *
 *   SEEKING is there such a site? --> GATHERING the ids of all messages --> GOING from one to the next --> SETTLING: is it on disk? --> DONE
 *
 * Each is done in pieces, so that the queue goes on meanwhile. What was parked is read back to be changed: above limit.queue_memory the next SLICE begins when
 * the last one is on disk, and parked again. */
#include "common/program.h"
#include "qmgr/admin.h"
#include "qmgr/ids.h"
#include "qmgr/memory.h"
#include "qmgr/reroute.h"

#include <event2/event.h>
#include <stdio.h>

#define PIECE         1000  /* messages looked at in one turn ... */
#define PIECE_TIME    5000  /* ... or microseconds */
#define SLICE         5000  /* messages changed, and not on disk yet */
#define GATHERED_MOST 20000 /* messages in the spool's line for the disk */
#define SETTLED_AFTER 20000 /* microseconds between looks whether it is on disk */
#define SETTLED_MOST  5     /* seconds to wait for that */
#define ASKING_MOST   100   /* messages that route is asked about at a time */
#define NO_SITE       "There is no such site"

struct order {
    enum { SEEKING, GATHERING, GOING, SETTLING } stage;
    struct client *client; /* NULL: it has gone */
    uint32_t question;
    enum order_kind kind;
    enum priority priority;
    struct selection selection; /* into `texts` */
    char *texts;
    uint64_t only;     /* the message; 0: all */
    size_t seen_sites; /* SEEKING */
    struct ids *ids;   /* of all; NULL: it is for one */
    size_t count;      /* messages that were looked at */
    size_t done, left;
    uint64_t *changed; /* those whose change is to be on disk */
    size_t changed_count, changed_room;
    size_t settled;   /* the front of these, which are there */
    size_t settle_at; /* when so many are changed, they go to disk before the next one */
    bool over;        /* there is no message left to look at */
    size_t asking;    /* ORDER_REROUTE: messages that route is asked about */
    bool refused;     /* ... and it knew no way, or some was being delivered */
    uint64_t give_up; /* waiting for the disk, seconds since 1970; 0: not yet */
    struct event *next;
};

static void go_on(struct order *o, suseconds_t after)
{
    event_add(o->next, &(struct timeval){.tv_usec = after});
}

/* ---- what is done to them ---------------------------------------------------------------------------------------- */

static bool retry(struct mail *m)
{
    uint64_t now = queue_now();
    if (m->held || m->times.release > now)
        return false;
    for (struct delivery *d = m->deliveries; d; d = d->next)
        delivery_hurry(d, now);
    m->report_at = 0;
    mail_check(m);
    return true;
}

/* What is under way is let finish: its result is the last word, and then the message goes. */
static void delete_mail(struct mail *m)
{
    m->deleted = true;
    for (struct delivery *d = m->deliveries, *next; d; d = next) {
        next = d->next;
        if (d->job.state != JOB_ACTIVE || d->resolving)
            delivery_free(d);
    }
    mail_check(m);
    log_info("%s: deleted by an administrator", ID_TEXT(mail_id(m)));
}

/* False: it is left as it is. */
static bool apply(struct order *o, struct mail *m)
{
    switch (o->kind) {
    case ORDER_RETRY:
        return retry(m);
    case ORDER_DELETE:
        delete_mail(m);
        return true;
    case ORDER_HOLD:
        return mail_hold(m);
    case ORDER_RELEASE:
        return mail_release(m);
    case ORDER_PRIORITY:
        mail_set_priority(m, o->priority);
        return true;
    case ORDER_FLUSH:
    case ORDER_REROUTE:
        break;
    }
    return false;
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

static const char *words_of(const struct order *o)
{
    static const char *const none[] = {[ORDER_RETRY] = "It is held: release it first; or its sender wants it to wait",
                                       [ORDER_HOLD] = "It is held already",
                                       [ORDER_RELEASE] = "It is not held",
                                       [ORDER_REROUTE] = "It goes where routes lead today"};
    if (o->refused)
        return "Of some the way is the one they had: what is being delivered, and what has no other now; the log says why";
    if (o->count == 1 && o->done == 0)
        return o->kind < sizeof none / sizeof none[0] && none[o->kind] ? none[o->kind] : "It is left as it is";
    if (o->give_up && queue_now() >= o->give_up)
        return o->kind == ORDER_DELETE ? "Done; what is being delivered goes when that is over"
                                       : "Done, and not on disk yet: the log says why";
    return "Done";
}

static void finish(struct order *o, unsigned code, const char *words)
{
    if (o->client) {
        o->client->order = NULL;
        admin_done(o->client, o->question, code, words, o->done, o->left);
    }
    event_free(o->next);
    ids_free(o->ids);
    free(o->texts);
    free(o->changed);
    free(o);
}

/* Of what has left the queue nothing is there any more. */
static bool is_on_disk(const struct order *o, uint64_t id)
{
    if (mail_here(id) && o->kind != ORDER_DELETE)
        return spool_settled(queue.spool, id);
    return !spool_has(queue.spool, id);
}

static void add_changed(struct order *o, uint64_t id)
{
    if (o->changed_count == o->changed_room) {
        o->changed_room = o->changed_room ? o->changed_room * 2 : 1;
        o->changed = memory_must(reallocarray(o->changed, o->changed_room, sizeof *o->changed));
    }
    o->changed[o->changed_count++] = id;
}

/* Looks at what was changed, in order of change; it may be parked again. True: the rest waits for the disk, or there is none. */
static bool settle_piece(struct order *o)
{
    size_t end = o->settled + PIECE;
    for (; o->settled < o->changed_count && is_on_disk(o, o->changed[o->settled]); o->settled++) {
        if (o->settled == end)
            return false;
        mail_park(o->changed[o->settled]);
    }
    return true;
}

/* ---- going through ----------------------------------------------------------------------------------------------- */

static void hurry(struct order *o, uint64_t id)
{
    if (park_hurry(id, queue_now()))
        o->done++;
    else
        o->left++;
}

static void rerouted(uint64_t id, const struct reroute_result *r, void *arg)
{
    struct order *o = arg;
    o->asking--;
    o->refused = o->refused || r->stayed > 0;
    if (r->moved > 0) {
        o->done++;
        add_changed(o, id);
    } else {
        o->left++;
    }
    go_on(o, 0);
}

static void leave_delivered(struct order *o)
{
    o->left++;
    o->refused = true;
}

/* What is parked is read back when it has another way. */
static void reroute(struct order *o, uint64_t id)
{
    const struct mail *m = mail_look(id);
    if (m && reroute_start(m, rerouted, o))
        o->asking++;
    else if (m && m->active > 0)
        leave_delivered(o);
    if (m)
        mail_looked(m);
}

static void one(struct order *o, uint64_t id)
{
    struct fits f = selection_fits(&o->selection, id);
    if (!f.any)
        return;
    if (o->kind == ORDER_REROUTE) {
        reroute(o, id);
        return;
    }
    if (o->kind == ORDER_RETRY && selection_is_all(&o->selection) && park_has(id)) { /* needs not be read back */
        hurry(o, id);
        return;
    }
    struct mail *m = mail_find(id);
    if (!m)
        return;
    if ((o->kind == ORDER_DELETE && !f.all) || !apply(o, m)) {
        o->left++;
    } else {
        o->done++;
        if (o->kind != ORDER_RETRY)
            add_changed(o, id);
    }
}

/* False: there is none. */
static bool next_id(struct order *o, uint64_t *id)
{
    *id = o->only;
    o->only = 0;
    return *id || (o->ids && ids_next(o->ids, id));
}

static void seek(struct order *o)
{
    bool there;
    bool more = site_look_for(o->selection.site, &o->seen_sites, &there);
    if (!more && !there) {
        finish(o, 551, NO_SITE);
        return;
    }
    if (!more)
        o->stage = o->ids ? GATHERING : GOING;
    go_on(o, 0);
}

static void gather(struct order *o)
{
    if (!ids_gather(o->ids))
        o->stage = GOING;
    go_on(o, 0);
}

static bool must_settle(const struct order *o)
{
    return o->over ? o->asking == 0 : o->changed_count >= o->settle_at && queue.octets > queue.settings->limit_queue_memory;
}

/* The disk takes too long. */
static bool given_up(struct order *o)
{
    o->give_up = o->give_up ? o->give_up : queue_now() + SETTLED_MOST;
    return queue_now() >= o->give_up;
}

/* The spool goes through all that gathers whenever it writes, also when the queue has memory enough. */
static bool spool_is_full(struct order *o)
{
    if (o->over || spool_gathered(queue.spool) < GATHERED_MOST || given_up(o))
        return false;
    spool_settle_now(queue.spool);
    return true;
}

static void go_through(struct order *o)
{
    if (spool_is_full(o)) {
        go_on(o, SETTLED_AFTER);
        return;
    }
    uint64_t end = queue_now_us() + PIECE_TIME, id;
    o->give_up = 0;
    for (size_t n = 0; n < PIECE && !o->over && !must_settle(o) && o->asking < ASKING_MOST && queue_now_us() < end; n++) {
        o->over = !next_id(o, &id);
        if (o->over)
            break;
        o->count++;
        one(o, id);
    }
    if (must_settle(o))
        o->stage = SETTLING;
    else if (o->over || o->asking >= ASKING_MOST)
        return; /* an answer goes on */
    go_on(o, 0);
}

static void settle(struct order *o)
{
    size_t before = o->settled;
    bool waits = settle_piece(o), all = o->settled == o->changed_count;
    if (o->settled > before)
        o->give_up = 0; /* slow is not stuck */
    if (all ? o->over : o->over && waits && given_up(o)) {
        finish(o, 250, words_of(o));
    } else if (all || (waits && given_up(o))) {
        o->settle_at = o->changed_count + (all ? SLICE : PIECE);
        o->give_up = 0;
        o->stage = GOING;
        go_on(o, 0);
    } else {
        if (!o->over)
            spool_settle_now(queue.spool);
        go_on(o, waits ? SETTLED_AFTER : 0);
    }
}

static void piece(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct order *o = arg;
    switch (o->stage) {
    case SEEKING:
        seek(o);
        break;
    case GATHERING:
        gather(o);
        break;
    case GOING:
        go_through(o);
        break;
    case SETTLING:
        settle(o);
        break;
    }
}

static char *keep(char *at, struct span from, struct span *to)
{
    if (from.n)
        memcpy(at, from.p, from.n);
    *to = span_make(at, from.n);
    return at + from.n;
}

static struct order *order_new(struct client *c, const struct message *m)
{
    const struct message_order *q = &m->order;
    struct order *o = memory_new(1, sizeof *o);
    *o = (struct order){.client = c, .question = m->id, .kind = q->kind, .priority = q->priority, .only = q->id, .settle_at = SLICE};
    if (!q->id)
        o->ids = ids_new();
    o->stage = q->site.n > 0 ? SEEKING : o->ids ? GATHERING : GOING;
    o->texts = memory_new(1, q->site.n + q->sender.n + q->recipient.n + 1);
    struct selection *to = &o->selection;
    keep(keep(keep(o->texts, q->site, &to->site), q->sender, &to->sender), q->recipient, &to->recipient);
    o->next = event_new(program_base(), -1, 0, piece, o);
    if (!o->next)
        log_die("out of memory for an order");
    return o;
}

static void flush(struct client *c, const struct message *m)
{
    size_t sites = 0, jobs = site_flush(m->order.site, &sites);
    if (sites == 0) {
        admin_done(c, m->id, 551, NO_SITE, 0, 0);
        return;
    }
    log_info("%zu deliver%s to %zu site%s %s tried again at once: an administrator asked for it", jobs, jobs == 1 ? "y" : "ies", sites,
             sites == 1 ? "" : "s", jobs == 1 ? "is" : "are");
    admin_done(c, m->id, 250, "Done", jobs, 0);
}

static const char *fault(const struct client *c, const struct message_order *q)
{
    if (q->kind < ORDER_RETRY || q->kind > ORDER_REROUTE || (q->kind == ORDER_FLUSH && q->site.n == 0))
        return "There is no such order";
    if (q->kind == ORDER_PRIORITY && (q->priority < PRIORITY_HIGH || q->priority > PRIORITY_LOW))
        return "There is no such priority";
    return c->order ? "Another order of yours is under way" : NULL;
}

void order_start(struct client *c, const struct message *m)
{
    const char *why = fault(c, &m->order);
    if (why) {
        admin_done(c, m->id, 451, why, 0, 0);
    } else if (m->order.kind == ORDER_FLUSH) {
        flush(c, m);
    } else if (m->order.id && !mail_find(m->order.id)) {
        bool here = mail_here(m->order.id);
        admin_done(c, m->id, here ? 451 : 550,
                   here ? "It can't be read from the spool now: the log says why" : "There is no such message in the queue", 0, 0);
    } else {
        c->order = order_new(c, m);
        piece(-1, 0, c->order);
    }
}

void order_orphan(struct order *o)
{
    o->client = NULL;
}
