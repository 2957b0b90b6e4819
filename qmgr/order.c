/* ORDER: what an administrator wants done to messages: one, or all that fit a selection.
 *
 * All messages are gone through in pieces, so that the queue goes on meanwhile. What was written down is answered when it is on disk. What was
 * parked is read back for that: above limit.queue_memory the next SLICE begins when the last one is on disk, and parked again. */
#include "common/program.h"
#include "qmgr/admin.h"
#include "qmgr/memory.h"
#include "qmgr/reroute.h"

#include <event2/event.h>
#include <stdio.h>

#define PIECE         1000  /* messages looked at in one turn ... */
#define PIECE_TIME    5000  /* ... or microseconds */
#define SLICE         5000  /* messages changed, and not on disk yet */
#define SETTLED_AFTER 20000 /* microseconds between looks whether it is on disk */
#define SETTLED_MOST  5     /* seconds to wait for that */
#define ASKING_MOST   100   /* messages that route is asked about at a time */
#define NO_SITE       "There is no such site"

struct order {
    struct client *client; /* NULL: it has gone */
    uint32_t question;
    enum order_kind kind;
    enum priority priority;
    struct span site, sender, recipient; /* into `texts` */
    char *texts;
    uint64_t *ids;
    size_t count, at;
    size_t done, left;
    size_t changed;   /* the front of `ids`: those whose change is to be on disk */
    size_t settled;   /* the front of these, which are there */
    size_t asking;    /* ORDER_REROUTE: messages that route is asked about */
    bool refused;     /* ... and it knew no way, or some was being delivered */
    uint64_t give_up; /* waiting for the disk, seconds since 1970; 0: not yet */
    struct event *next;
};

/* ---- which messages ---------------------------------------------------------------------------------------------- */

/* "<>" is the null sender, "@example.org" every address there. */
static bool address_fits(struct span address, struct span wanted)
{
    if (span_equal(wanted, SPAN_LITERAL("<>")))
        return address.n == 0;
    if (wanted.p[0] == '@' && address.n > wanted.n)
        address = span_make(address.p + address.n - wanted.n, wanted.n);
    return span_equal_nocase(address, wanted);
}

struct fits {
    bool any, all;
};

static void fit(struct fits *f, bool this)
{
    f->any |= this;
    f->all &= this;
}

/* Of the recipients that wait. */
static struct fits recipients_fit(const struct order *o, const struct mail *m)
{
    struct fits f = {.all = true};
    struct record_recipient rcpt;
    for (uint32_t i = 0; i < m->count; i++) {
        if (m->rcpt[i].state == RECIPIENT_DONE)
            continue;
        mail_recipient(m, i, &rcpt);
        fit(&f, address_fits(rcpt.address, o->recipient) || (rcpt.original.n > 0 && address_fits(rcpt.original, o->recipient)));
    }
    return f;
}

static struct fits sites_fit(const struct order *o, const struct mail *m)
{
    struct fits f = {.all = true};
    if (m->loose) /* a look at one that is parked: that has one job */
        fit(&f, site_is(schedule_site_name(park_site(mail_id(m))), o->site));
    for (const struct delivery *d = m->deliveries; d; d = d->next)
        fit(&f, d->job.site && site_is(schedule_site_name(d->job.site), o->site));
    return f;
}

/* any: the message is meant; all: with all that it still has to do. */
static struct fits mail_fits(const struct order *o, const struct mail *m)
{
    struct fits f = {true, true}, one;
    if (o->sender.n > 0 && !address_fits(m->sender, o->sender))
        return (struct fits){false, false};
    if (o->recipient.n > 0) {
        one = recipients_fit(o, m);
        f = (struct fits){f.any && one.any, f.all && one.all};
    }
    if (f.any && o->site.n > 0) {
        one = sites_fit(o, m);
        f = (struct fits){f.any && one.any, f.all && one.all};
    }
    return f;
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

static void finish(struct order *o)
{
    if (o->client) {
        o->client->order = NULL;
        admin_done(o->client, o->question, 250, words_of(o), o->done, o->left);
    }
    if (o->next)
        event_free(o->next);
    free(o->texts);
    free(o->ids);
    free(o);
}

/* Of what has left the queue nothing is there any more. */
static bool is_on_disk(const struct order *o, uint64_t id)
{
    if (mail_here(id) && o->kind != ORDER_DELETE)
        return spool_settled(queue.spool, id);
    return !spool_has(queue.spool, id);
}

/* What was changed, in order of change; it may be parked again. */
static bool on_disk(struct order *o)
{
    for (; o->settled < o->changed && is_on_disk(o, o->ids[o->settled]); o->settled++)
        mail_park(o->ids[o->settled]);
    return o->settled == o->changed;
}

static bool must_wait(struct order *o)
{
    if (o->changed - o->settled < SLICE || queue.octets <= queue.settings->limit_queue_memory || on_disk(o))
        return false;
    spool_settle_now(queue.spool);
    return true;
}

static void go_on(struct order *o, suseconds_t after)
{
    event_add(o->next, &(struct timeval){.tv_usec = after});
}

/* ---- going through ----------------------------------------------------------------------------------------------- */

static bool selects(const struct order *o)
{
    return o->site.n > 0 || o->sender.n > 0 || o->recipient.n > 0;
}

/* What is parked is read back only if it is meant. */
static struct fits look(const struct order *o, uint64_t id)
{
    const struct mail *m = selects(o) ? mail_look(id) : NULL;
    struct fits f = {.any = !selects(o), .all = !selects(o)};
    if (m) {
        f = mail_fits(o, m);
        mail_looked(m);
    }
    return f;
}

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
        o->ids[o->changed++] = id;
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
    struct fits f = look(o, id);
    if (!f.any)
        return;
    if (o->kind == ORDER_REROUTE) {
        reroute(o, id);
        return;
    }
    if (o->kind == ORDER_RETRY && !selects(o) && park_has(id)) { /* needs not be read back */
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
        if (o->kind != ORDER_RETRY) /* no more than were looked at */
            o->ids[o->changed++] = id;
    }
}

/* The disk takes too long. */
static bool given_up(struct order *o)
{
    o->give_up = o->give_up ? o->give_up : queue_now() + SETTLED_MOST;
    return queue_now() >= o->give_up;
}

static void piece(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct order *o = arg;
    uint64_t end = queue_now_us() + PIECE_TIME;
    if (o->at < o->count && must_wait(o) && !given_up(o)) {
        go_on(o, SETTLED_AFTER);
        return;
    }
    for (size_t n = 0; o->at < o->count && n < PIECE && o->asking < ASKING_MOST && queue_now_us() < end; n++) {
        one(o, o->ids[o->at++]);
        o->give_up = 0;
    }
    if (o->asking >= ASKING_MOST || (o->at == o->count && o->asking > 0))
        return; /* an answer goes on */
    if (o->at < o->count) {
        go_on(o, 0);
    } else if (on_disk(o) || given_up(o)) {
        finish(o);
    } else {
        go_on(o, SETTLED_AFTER);
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
    *o = (struct order){.client = c, .question = m->id, .kind = q->kind, .priority = q->priority};
    o->texts = memory_new(1, q->site.n + q->sender.n + q->recipient.n + 1);
    keep(keep(keep(o->texts, q->site, &o->site), q->sender, &o->sender), q->recipient, &o->recipient);
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
    } else if (m->order.site.n > 0 && !site_is_there(m->order.site)) {
        admin_done(c, m->id, 551, NO_SITE, 0, 0);
    } else if (m->order.id && !mail_find(m->order.id)) {
        bool here = mail_here(m->order.id);
        admin_done(c, m->id, here ? 451 : 550,
                   here ? "It can't be read from the spool now: the log says why" : "There is no such message in the queue", 0, 0);
    } else {
        struct order *o = c->order = order_new(c, m);
        if (m->order.id) {
            o->ids = memory_new(1, sizeof *o->ids);
            o->ids[0] = m->order.id;
            o->count = 1;
        } else {
            o->ids = admin_ids(&o->count);
        }
        piece(-1, 0, o);
    }
}

void order_orphan(struct order *o)
{
    o->client = NULL;
}
