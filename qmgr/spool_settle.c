/* Settlements: they gather here, and go with a batch. */
#include "common/queueid.h"
#include "qmgr/memory.h"
#include "qmgr/spool_private.h"

#include <errno.h>

#define SETTLE_AFTER 1000  /* milliseconds */
#define SETTLE_AGAIN 10000 /* after a failure */
#define RETIRED_MANY 3     /* segments of the log */
#define COMPACT_FROM ((size_t)1 << 20)

void spool_settle_by(struct spool *s, uint64_t when)
{
    if (s->settle_at == 0 || when < s->settle_at)
        s->settle_at = when;
}

void spool_landed(struct spool *s, struct spool_entry *e)
{
    e->in_flight = false;
    if (e->settling)
        spool_settle_by(s, e->settling->not_before ? e->settling->not_before : e->settling->due);
}

struct settling *spool_settling_of(struct spool *s, struct spool_entry *e)
{
    if (e->settling)
        return e->settling;
    struct settling *x = memory_new(1, sizeof *x);
    *x = (struct settling){.id = e->node.key,
                           .due = s->hurry ? 1 : spool_monotonic() + SETTLE_AFTER,
                           .states = BUF_EMPTY(SIZE_MAX),
                           .compact_at = COMPACT_FROM};
    *s->settlings_end = x;
    s->settlings_end = &x->next;
    s->settling_count++;
    spool_settle_by(s, x->due);
    return e->settling = x;
}

void spool_settling_add(struct settling *x, struct span states)
{
    if (x->remove)
        return;
    buf_add_span(&x->states, states);
    memory_must_hold(&x->states);
}

void spool_settling_older(struct settling *x, struct span states)
{
    struct buf newer = x->states;
    if (x->remove)
        return;
    x->states = BUF_EMPTY(SIZE_MAX);
    spool_settling_add(x, states);
    spool_settling_add(x, buf_span(&newer));
    buf_free(&newer);
}

void spool_settle(struct spool *s, uint64_t id, const struct spool_state *states, size_t count)
{
    struct spool_entry *e = spool_entry_find(s, id);
    if (!e || count == 0)
        return;
    struct settling *x = spool_settling_of(s, e);
    for (size_t i = 0; i < count; i++)
        spool_state_encode(&states[i], &x->states);
    memory_must_hold(&x->states);
    if (x->states.len > x->compact_at) { /* it can't be written for long, and more comes all the time */
        spool_states_compact(&x->states);
        x->compact_at = 2 * x->states.len;
    }
}

void spool_remove(struct spool *s, uint64_t id)
{
    struct spool_entry *e = spool_entry_find(s, id);
    if (!e)
        return;
    struct settling *x = spool_settling_of(s, e);
    buf_free(&x->states);
    if (x->remove)
        return;
    x->remove = x->makes_room = true;
    s->removals++;
}

void spool_hurry(struct spool *s)
{
    s->hurry = true;
    spool_settle_now(s);
}

void spool_settle_now(struct spool *s)
{
    for (struct settling *x = s->settlings; x; x = x->next) {
        if (x->not_before == 0)
            x->due = 1;
    }
    if (s->settlings)
        s->settle_at = 1;
}

/* A settlement that could not be written is still true: it is tried again, before what came later. */
void spool_settle_again(struct spool *s, struct spool_op *op)
{
    char path[SPOOL_PATH];
    spool_path(path, SPOOL_IN_MSG, op->id);
    /* A segment of the log is not used again after a failure: with the next one there is no reason to wait, unless all fail. */
    uint64_t pause = op->log && s->log.retired < RETIRED_MANY ? 1 : SETTLE_AGAIN;
    log_error("spool: %s: %s failed: %s; trying again in %llu seconds", op->log ? queueid_format(op->id).text : path, op->step,
              strerror(op->status), (unsigned long long)pause / 1000);
    struct spool_entry *e = spool_entry_find(s, op->id);
    if (!e)
        return;
    struct settling *x = spool_settling_of(s, e);
    x->append |= op->rewrite;
    if (op->kind == SPOOL_OP_REMOVE) {
        x->remove = true;
    } else if (!x->remove) {
        size_t header = op->log ? 0 : SPOOL_RECORD_HEADER;
        spool_settling_older(x, span_make(op->body.data + header, op->body.len - header));
    }
    x->not_before = spool_monotonic() + pause;
    s->settle_at = 0;
    for (x = s->settlings; x; x = x->next) {
        e = spool_entry_find(s, x->id);
        if (e && !e->in_flight)
            spool_settle_by(s, x->not_before ? x->not_before : x->due);
    }
}
