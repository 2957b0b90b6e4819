/* What the writer has done, or could not: it counts from now on, and whoever asked is told. */
#include "common/log.h"
#include "common/queueid.h"
#include "qmgr/disk.h"
#include "qmgr/spool.h"
#include "qmgr/spool_private.h"

#include <string.h>

/* The settlement that came with a message is on disk with it, or goes there now. */
static void with_done(struct spool *s, struct spool_op *op, bool forgets /* the parent is still with the writer */)
{
    struct spool_entry *e = op->with.len > 0 ? spool_entry_find(s, op->parent) : NULL;
    if (!e)
        return;
    if (op->with_log) {
        if (!forgets)
            spool_landed(s, e);
        if (op->status == 0) {
            e->settled = op->with_at.offset;
            e->settled_segment = op->with_at.segment;
            return;
        }
    }
    size_t n = op->status == 0 ? op->with.len : op->with_older; /* what came with it is not true if it failed */
    struct settling *x = n > 0 ? spool_settling_of(s, e) : NULL;
    if (x &&
        op->status == 0) /* what gathered before it was asked for is older; and after that nothing about these recipients can have come */
        spool_settling_add(x, span_make(op->with.data, n));
    else if (x)
        spool_settling_older(x, span_make(op->with.data, n));
}

static void put_done(struct spool *s, struct spool_op *op)
{
    struct spool_record r;
    bool forgets = false;
    if (!spool_record_decode(op->header, &r))
        log_die("spool: a header of our own can't be read");
    if (op->status == 0 && op->log)
        spool_entry_add_log(s, op->id, op->at, r.body, r.body_crc);
    else if (op->status == 0)
        spool_entry_add(s, op->id, SPOOL_RECORD_HEADER + r.body + r.rest, r.body, r.body_crc);
    else if (op->log && op->at.segment != LOG_NOWHERE) { /* it may be on disk: nobody must find it there, nor what was settled with it */
        s->log.segments[op->at.segment].alive++;
        struct spool_op *forget = spool_forget_record(s, op->id, op->at.segment);
        forget->parent = op->parent;
        forget->with_log = forgets = op->with_log;
    }
    with_done(s, op, forgets);
}

static void settle_done(struct spool *s, struct spool_op *op)
{
    struct spool_entry *e = spool_entry_find(s, op->id);
    if (e)
        spool_landed(s, e);
    if (e && op->rewrite &&
        op->made) /* also if the flush of its directory failed: either file may be there after a crash, this one is now */
        e->tail = op->rewritten;
    if (op->status != 0)
        spool_settle_again(s, op);
    else if (e && op->log) {
        e->settled = op->at.offset;
        e->settled_segment = op->at.segment;
    } else if (e && !op->rewrite) {
        e->tail = op->offset + op->body.len;
    }
}

static void op_done(struct spool *s, struct spool_op *op)
{
    s->coming -= op->octets;
    switch (op->kind) {
    case SPOOL_OP_PUT:
        put_done(s, op);
        break;
    case SPOOL_OP_APPEND:
        if (op->status != 0)
            spool_part_failed(s, op->id, op->status);
        break;
    case SPOOL_OP_SETTLE:
        settle_done(s, op);
        break;
    case SPOOL_OP_REMOVE:
    case SPOOL_OP_FORGET:
        spool_remove_done(s, op);
        break;
    case SPOOL_OP_MOVE:
        spool_move_done(s, op);
        break;
    case SPOOL_OP_DROP:
        break;
    }
}

void spool_answer(struct spool *s)
{
    struct spool_ops answers = s->answers;
    if (answers.count == 0)
        return;
    spool_ops_init(&s->answers);
    for (struct spool_op *op; (op = spool_ops_take(&answers));) {
        if (op->status != 0 && op->done)
            log_error("spool: %s: %s failed: %s", queueid_format(op->id).text, op->step ? op->step : "write", strerror(op->status));
        if (op->done)
            op->done(op->status, op->arg);
        spool_op_free(op);
    }
}

void spool_collect(struct spool *s)
{
    if (!s->busy || !spool_writer_done(s->writer))
        return;
    s->busy = false;
    struct spool_ops done = s->running;
    spool_ops_init(&s->running);
    for (struct spool_op *op; (op = spool_ops_take(&done));) {
        op_done(s, op);
        if (op->status != 0 && (op->copied || op->kind == SPOOL_OP_FORGET)) { /* its record has to be written again */
            spool_ops_add(&s->controls, op);
            spool_settle_by(s, spool_monotonic() + 1);
        } else
            spool_ops_add(&s->answers, op);
    }
    log_release(&s->log);
    spool_try_held(s);
}
