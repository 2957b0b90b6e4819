/* What goes into the next batch, and whether into the log or into files of their own.
 *
 *   new mail, small    --> log, while it has room; else a file
 *   new mail of pieces --> a file
 *   settlement, end    --> where the message is
 *   a message that is still alive in the oldest segment, when too many are in use --> a file, and MOVED into the log */
#include "common/crc32c.h"
#include "common/queueid.h"
#include "qmgr/disk.h"
#include "qmgr/memory.h"
#include "qmgr/spool_private.h"
#include "qmgr/spool_rewrite.h"

#include <errno.h>

#define FILES_MOST     200 /* settlements of files in one flush, and as many others; each may have an open file */
#define BATCH_OCTETS   ((uint64_t)2 << 20)
#define MOVES_MOST     32
#define MOVES_HURRIED  128 /* when there are more segments than wanted */
#define COMPACT_FROM   ((size_t)64 << 10)
#define AGAIN          1000 /* milliseconds: the log had no room */
#define GROW_AGAIN     60000
#define RECLAIM_AGAIN  60000 /* a copy failed */
#define RESERVE_MAIL   4     /* of the last segment, this part of it is not for new mail, */
#define RESERVE_STATES 8     /* and this not for settlements: what frees segments must always go in */

struct filling {
    struct log_room room;
    uint64_t used;
    bool chosen;
    size_t files;
};

enum take { TAKE, LATER, NO_ROOM };

/* Mail leaves room for settlements in a batch, and in a small segment at least every other batch. */
static uint64_t mail_most(const struct log *log)
{
    return log->size / 2 < BATCH_OCTETS ? log->size / 2 : BATCH_OCTETS;
}

static enum take take(const struct spool *s, struct filling *f, uint64_t need, unsigned reserve)
{
    uint64_t most = reserve == RESERVE_MAIL ? mail_most(&s->log) : 2 * BATCH_OCTETS;
    if (!s->recovered || need > log_largest(&s->log))
        return NO_ROOM;
    if (!f->chosen) {
        f->room = log_room(&s->log, need);
        f->chosen = f->room.octets > 0;
    }
    if (!f->chosen)
        return NO_ROOM;
    if (reserve == RESERVE_MAIL && log_count_in_use(&s->log) + f->room.rotate > LOG_MOST)
        return NO_ROOM;
    if (f->used > 0 && f->used + need > most)
        return LATER;
    uint64_t keep = f->room.last && reserve > 0 ? s->log.size / reserve : 0;
    if (f->used + need + keep > f->room.octets)
        return f->used > 0 ? LATER : NO_ROOM; /* with the next batch there may be another segment */
    f->used += need;
    return TAKE;
}

/* ---- new mail ---------------------------------------------------------------------------------------------------- */

/* Its parent's settlement can go with it. */
static struct spool_entry *joint_parent(const struct spool *s, const struct spool_op *op)
{
    struct spool_entry *e = op->with.len > 0 ? spool_entry_find(s, op->parent) : NULL;
    return e && spool_entry_in_log(e) && !e->in_flight && !(e->settling && e->settling->remove) ? e : NULL;
}

static void join_parent(struct spool_op *op, struct spool_entry *e)
{
    if (e->settling) { /* what gathered before goes in front; its place in the list stays, empty */
        struct buf newer = op->with;
        op->with = e->settling->states;
        op->with_older = op->with.len;
        buf_add_span(&op->with, buf_span(&newer));
        memory_must_hold(&op->with);
        buf_free(&newer);
        e->settling->states = BUF_EMPTY(0);
        e->settling = NULL;
    }
    op->with_log = true;
    op->previous = spool_entry_settled(e);
    e->in_flight = true;
}

static enum take put_to_log(const struct spool *s, struct filling *f, struct spool_op *op)
{
    if (op->kind != SPOOL_OP_PUT || op->pieces || op->body.len > BODY_INLINE_MAX)
        return NO_ROOM;
    struct spool_entry *parent = joint_parent(s, op);
    uint64_t need = log_record_octets(op->body.len, op->tail.len);
    if (parent)
        need += log_record_octets(0, op->with.len + (parent->settling ? parent->settling->states.len : 0));
    enum take t = take(s, f, need, RESERVE_MAIL);
    op->log = t == TAKE;
    op->room = need;
    if (t == TAKE && parent)
        join_parent(op, parent);
    return t;
}

static void gather_waiting(struct spool *s, struct filling *f)
{
    while (s->waiting.count > 0 && f->files < FILES_MOST) {
        struct spool_op *op = s->waiting.first;
        enum take t = put_to_log(s, f, op);
        if (t == LATER)
            return;
        f->files += !op->log;
        spool_ops_add(&s->running, spool_ops_take(&s->waiting));
    }
}

/* ---- growing ----------------------------------------------------------------------------------------------------- */

static void look_at_growth(struct spool *s, uint64_t now)
{
    struct log *log = &s->log;
    if (log->grow_status == 0 || !log->grow)
        return;
    log_warning("spool: no segment for the log can be made: %s; small mail goes to files of its own until one is free",
                strerror(log->grow_status));
    log->grow_again = now + GROW_AGAIN;
}

/* When all are in use, what frees one must still find room. At a stop nothing is made but for that. */
static bool log_wants(const struct spool *s, uint64_t now)
{
    const struct log *log = &s->log;
    if (!s->recovered || log->size == 0 || now < log->grow_again)
        return false;
    struct log_room room = log_room(log, s->hurry ? LOG_ALIGN : log->size / RESERVE_STATES);
    unsigned files = LOG_SLOTS - log_count(log, LOG_NONE);
    bool growing = log_count(log, LOG_GROWING) > 0;
    if (s->hurry)
        return room.octets == 0 && (s->settlings || s->controls.count > 0) && (growing || files < LOG_SLOTS);
    if (growing)
        return true;
    if (files < LOG_WANTED)
        return room.octets == 0 || (room.last && !room.rotate);
    return room.octets == 0 && files < LOG_SLOTS;
}

bool spool_log_ready(const struct spool *s)
{
    return s->recovered && log_room(&s->log, LOG_ALIGN).octets > s->log.size / RESERVE_MAIL;
}

/* For want of room. A stop waits for the segment that is being made. */
static uint64_t again_at(const struct spool *s, uint64_t now)
{
    return s->hurry && log_wants(s, now) ? now : now + AGAIN;
}

/* ---- settlements ------------------------------------------------------------------------------------------------- */

static struct spool_op *move_op(struct spool_entry *e)
{
    struct spool_op *op = spool_op_new(SPOOL_OP_MOVE, e->node.key, NULL, NULL);
    op->log = true;
    op->room = LOG_ALIGN;
    op->at = spool_entry_place(e);
    op->previous = spool_entry_settled(e);
    e->in_flight = true;
    return op;
}

static void encode_for_file(struct spool_op *op, const struct spool_entry *e, const struct settling *x)
{
    unsigned char header[SPOOL_RECORD_HEADER];
    struct spool_record r = {.type = SPOOL_SETTLE, .id = x->id, .offset = e->tail, .rest = (uint32_t)x->states.len};
    r.rest_crc = crc32c(0, x->states.data, x->states.len);
    spool_record_encode(&r, header);
    op->offset = e->tail;
    buf_add(&op->body, header, sizeof header);
    buf_add_span(&op->body, buf_span(&x->states));
    memory_must_hold(&op->body);
    uint64_t before = e->tail - SPOOL_RECORD_HEADER - e->size;
    op->name = x->append;
    op->rewrite = !x->append && spool_rewrite_due(before, before + op->body.len);
}

/* NULL: not now; x->not_before says when. */
static struct spool_op *settling_op(struct spool *s, struct filling *f, struct spool_entry *e, struct settling *x, uint64_t now)
{
    bool in_log = spool_entry_in_log(e);
    if (x->states.len > COMPACT_FROM)
        spool_states_compact(&x->states);
    uint64_t need = log_record_octets(0, x->remove ? 0 : x->states.len);
    if (in_log && need > log_largest(&s->log) && take(s, f, LOG_ALIGN, 0) == TAKE) {
        spool_ops_add(&s->running, move_op(e)); /* too large for any segment: to a file first */
        return NULL;
    }
    enum take t = in_log ? take(s, f, need, x->remove ? 0 : RESERVE_STATES) : f->files < 2 * (size_t)FILES_MOST ? TAKE : LATER;
    if (t == NO_ROOM)
        x->not_before = again_at(s, now);
    if (t != TAKE)
        return NULL;
    struct spool_op *op = spool_op_new(x->remove ? SPOOL_OP_REMOVE : SPOOL_OP_SETTLE, x->id, NULL, NULL);
    op->makes_room = x->makes_room;
    op->log = in_log;
    op->room = need;
    f->files += !in_log;
    if (in_log && !x->remove) {
        op->body = x->states;
        x->states = BUF_EMPTY(0);
        op->previous = spool_entry_settled(e);
    } else if (!x->remove) {
        encode_for_file(op, e, x);
    }
    e->in_flight = true;
    return op;
}

/* Those of the log go with any flush, and so do removals, as their directories are flushed anyway; others when their time has come. */
static bool settling_goes(const struct spool_entry *e, const struct settling *x, uint64_t now)
{
    if (e->in_flight)
        return false;
    return x->not_before != 0 ? now >= x->not_before : x->remove || spool_entry_in_log(e) || now >= x->due;
}

static void gather_settlings(struct spool *s, struct filling *f, uint64_t now)
{
    struct settling **p = &s->settlings;
    s->settle_at = 0;
    for (struct settling *x; (x = *p);) {
        struct spool_entry *e = spool_entry_find(s, x->id);
        bool mine = e && e->settling == x;
        struct spool_op *op = mine && settling_goes(e, x, now) ? settling_op(s, f, e, x, now) : NULL;
        if (mine && !op) {
            if (!e->in_flight) /* else when it has landed: it may be long, if the log fails */
                spool_settle_by(s, x->not_before ? x->not_before : x->due);
            p = &x->next;
            continue;
        }
        if (op) {
            spool_ops_add(&s->running, op);
            e->settling = NULL;
        }
        *p = x->next;
        buf_free(&x->states);
        free(x);
        s->settling_count--;
    }
    s->settlings_end = p;
}

/* ---- reclaim ----------------------------------------------------------------------------------------------------- */

static void gather_controls(struct spool *s, struct filling *f, uint64_t now)
{
    while (s->controls.count > 0) {
        struct spool_entry *parent = s->controls.first->with_log ? spool_entry_find(s, s->controls.first->parent) : NULL;
        enum take t = take(s, f, 2 * LOG_ALIGN, 0);
        if (t != TAKE) {
            spool_settle_by(s, t == LATER ? now : again_at(s, now));
            return;
        }
        struct spool_op *op = spool_ops_take(&s->controls);
        op->status = 0;
        op->step = NULL;
        op->room = 2 * LOG_ALIGN;
        if (parent)
            op->before = spool_entry_settled(parent);
        spool_ops_add(&s->running, op);
    }
}

static bool must_reclaim(const struct spool *s, uint64_t now)
{
    if (!s->recovered || now < s->reclaim_at)
        return false;
    int oldest = log_oldest(&s->log);
    if (oldest < 0 || s->log.segments[oldest].state == LOG_OPEN || s->log.segments[oldest].alive == 0)
        return false;
    return log_count_in_use(&s->log) > LOG_IN_USE || (s->log.grow_status != 0 && log_count(&s->log, LOG_FREE) == 0);
}

static void gather_moves(struct spool *s, struct filling *f, uint64_t now)
{
    if (!must_reclaim(s, now))
        return;
    struct log_segment *g = &s->log.segments[log_oldest(&s->log)];
    uint64_t octets = 0;
    unsigned n = 0, most = log_count_in_use(&s->log) > LOG_WANTED ? MOVES_HURRIED : MOVES_MOST;
    for (; n < most && octets < BATCH_OCTETS / 2 && g->id_next < g->id_count; g->id_next++) {
        struct spool_entry *e = spool_entry_find(s, g->ids[g->id_next]);
        if (!e || !spool_entry_in_log(e) || &s->log.segments[e->segment] != g || e->in_flight || (e->settling && e->settling->remove))
            continue;
        if (take(s, f, LOG_ALIGN, 0) != TAKE)
            return;
        spool_ops_add(&s->running, move_op(e));
        octets += e->size;
        n++;
    }
    if (g->id_next == g->id_count) { /* what was on its way somewhere has another turn */
        g->id_next = 0;
        if (n == 0)
            s->reclaim_at = now + AGAIN;
    }
}

void spool_move_done(struct spool *s, struct spool_op *op)
{
    struct spool_entry *e = spool_entry_find(s, op->id);
    if (!e || (op->status != 0 && op->copied))
        return;
    spool_landed(s, e);
    if (op->status == 0) {
        s->log.segments[e->segment].alive--;
        e->segment = e->settled_segment = LOG_NOWHERE;
        e->tail = op->offset;
    } else if (op->status == EBADMSG) {
        spool_set_aside(s, op->id, "it is damaged in the log");
    } else {
        log_error("spool: %s: it can't be moved from the log to a file of its own: %s: %s; trying again in %d seconds",
                  queueid_format(op->id).text, op->step, strerror(op->status), RECLAIM_AGAIN / 1000);
        s->reclaim_at = spool_monotonic() + RECLAIM_AGAIN;
    }
}

void spool_remove_done(struct spool *s, struct spool_op *op)
{
    struct spool_entry *e = spool_entry_find(s, op->id);
    if (op->kind == SPOOL_OP_FORGET) {
        if (op->status == 0 && op->previous.segment != LOG_NOWHERE)
            s->log.segments[op->previous.segment].alive--;
        e = op->status == 0 && op->with_log ? spool_entry_find(s, op->parent) : NULL;
        if (e) {
            spool_landed(s, e);
            e->settled = op->with_at.offset;
            e->settled_segment = op->with_at.segment;
        }
        return;
    }
    s->removals -= op->makes_room;
    if (e)
        spool_landed(s, e);
    if (op->status != 0) {
        spool_settle_again(s, op);
    } else if (e) {
        if (spool_entry_in_log(e))
            s->log.segments[e->segment].alive--;
        spool_entry_forget(s, op->id);
    }
}

/* ---- the batch --------------------------------------------------------------------------------------------------- */

bool spool_anything_to_write(const struct spool *s)
{
    return s->waiting.count > 0 || (s->settle_at != 0 && s->settle_at <= spool_monotonic());
}

void spool_batch_start(struct spool *s)
{
    uint64_t now = spool_monotonic();
    struct filling f = {0};
    if (s->busy)
        return;
    bool write = spool_anything_to_write(s) || must_reclaim(s, now);
    if (write) {
        gather_waiting(s, &f);
        gather_settlings(s, &f, now);
        gather_controls(s, &f, now);
        gather_moves(s, &f, now);
    }
    look_at_growth(s, now);
    s->log.grow = log_wants(s, now);
    if (s->running.count == 0 && !s->log.grow)
        return;
    s->busy = true;
    spool_writer_start(s->writer, &s->running, f.room.rotate && f.used > 0);
}
