/* Who is let into the spool: new mail as long as the disk keeps free what it shall. Without room it waits for what is under way and for the removals that
 * were asked for, and is refused only then. */
#include "qmgr/disk.h"
#include "qmgr/spool.h"
#include "qmgr/spool_private.h"

#include <errno.h>

#define FREE_CHECK_EVERY 1000

static void check_free(struct spool *s, uint64_t now)
{
    if (disk->free_space(s->directory, &s->free_octets) != 0)
        s->free_octets = UINT64_MAX;
    s->free_octets -=
        s->coming < s->free_octets ? s->coming : s->free_octets; /* some of it may be written by now: then those who wait look again */
    s->free_checked = now;
}

static bool seems_room_for(const struct spool *s, uint64_t octets)
{
    return s->free_octets >= octets && s->free_octets - octets >= s->free_least;
}

/* Looked at once a second; in between what was put is subtracted. As that knows nothing of what was removed, nobody is refused without a
 * fresh look. */
static bool room_for(struct spool *s, uint64_t octets)
{
    uint64_t now = spool_monotonic();
    if (s->free_checked == 0 || now - s->free_checked >= FREE_CHECK_EVERY || !seems_room_for(s, octets))
        check_free(s, now);
    if (!seems_room_for(s, octets))
        return false;
    s->free_octets -= octets;
    return true;
}

static void hurry_removals(struct spool *s)
{
    for (struct settling *x = s->settlings; x; x = x->next) {
        if (x->remove && x->not_before == 0)
            x->due = s->settle_at = 1;
    }
}

bool spool_admit(struct spool *s, struct spool_op *op)
{
    op->octets = op->body.len + op->tail.len + SPOOL_RECORD_HEADER;
    if (room_for(s, op->octets)) {
        s->free_octets -= op->octets;
        s->coming += op->octets;
        spool_ops_add(&s->waiting, op);
    } else if (s->removals > 0 || s->coming > 0) {
        op->octets = 0;
        hurry_removals(s);
        spool_ops_add(&s->held, op);
    } else {
        op->octets = 0;
        return false;
    }
    return true;
}

void spool_refuse(struct spool *s, struct spool_op *op, int status)
{
    op->status = status;
    op->step = "take in";
    spool_ops_add(&s->answers, op);
}

/* The removals that they waited for are done, or some of them. */
void spool_try_held(struct spool *s)
{
    struct spool_ops held = s->held;
    if (held.count == 0)
        return;
    spool_ops_init(&s->held);
    for (struct spool_op *op; (op = spool_ops_take(&held));) {
        if (spool_admit(s, op))
            continue;
        if (op->kind == SPOOL_OP_APPEND)
            spool_part_failed(s, op->id, ENOSPC);
        else if (op->pieces)
            spool_ops_add(&s->waiting, spool_op_new(SPOOL_OP_DROP, op->id, NULL, NULL));
        spool_refuse(s, op, ENOSPC);
    }
}

void spool_free_least(struct spool *s, uint64_t octets)
{
    s->free_least = octets;
    s->free_checked = 0;
}
