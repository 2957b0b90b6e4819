/* The way of a recipient (transport, next hop, mailbox, TLS): its envelope's, until an administrator has had it routed anew (reroute.c). Then it is the
 * way of all its states (docs/spool.md), so that a restart and a crash keep it. */
#include "qmgr/memory.h"
#include "qmgr/queue.h"

void way_add(const struct record_recipient *r, struct buf *out)
{
    buf_printf(out, "%.*s:%.*s", SPAN_ARG(r->transport), SPAN_ARG(r->nexthop));
}

bool ways_of_states(struct list recipients, const struct spool_state *states, struct buf *out)
{
    bool any = false;
    for (uint32_t i = 0; i < recipients.count && !any; i++)
        any = states[i].transport.n > 0;
    struct record_recipient r;
    for (uint32_t i = 0; any && record_recipient_next(&recipients, &r); i++) {
        spool_state_way(&states[i], &r);
        record_recipient_add(out, &r);
    }
    return any;
}

void way_to_state(const struct mail *m, uint32_t index, struct spool_state *s)
{
    struct record_recipient r;
    if (!m->rcpt[index].rerouted || s->state != RECIPIENT_WAITING)
        return;
    mail_recipient(m, index, &r);
    s->transport = r.transport;
    s->nexthop = r.nexthop;
    s->mailbox = r.mailbox;
    s->tls = r.tls;
}

/* In one settlement, so that a message goes one way or the other. */
static void settle(struct mail *m, const uint32_t *indexes, uint32_t n)
{
    struct spool_state *states = memory_new(n + 1, sizeof *states);
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (m->rcpt[indexes[i]].state == RECIPIENT_WAITING)
            states[count++] = mail_state(m, indexes[i], false);
    }
    spool_settle(queue.spool, mail_id(m), states, count);
    free(states);
}

/* What is under way is let finish. */
static void deliver_anew(struct mail *m)
{
    for (struct delivery *d = m->deliveries, *next; d; d = next) {
        next = d->next;
        if (d->job.state != JOB_ACTIVE || d->resolving)
            delivery_free(d);
    }
    delivery_make_all(m);
    mail_check(m);
}

/* The attempts were made at hosts that it does not go to any more, and how long it waits behind a failure at the new ones is not for these to say. Its life
 * is that of the message, and does not begin anew. */
static void move(struct mail *m, uint32_t index)
{
    uint64_t now = queue_now();
    m->rcpt[index].rerouted = true;
    m->rcpt[index].attempts = 0;
    m->rcpt[index].due = now > m->times.release ? now : m->times.release;
}

uint32_t mail_set_ways(struct mail *m, const uint32_t *indexes, struct list ways)
{
    struct buf all = BUF_EMPTY(SIZE_MAX);
    uint32_t moved = 0, n = ways.count, at = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        struct record_recipient r, way;
        bool meant = at < n && indexes[at] == i && record_recipient_next(&ways, &way);
        bool moves = meant && m->rcpt[i].state == RECIPIENT_WAITING;
        mail_recipient(m, i, &r);
        record_recipient_add(&all, moves ? &way : &r);
        at += meant;
        moved += moves;
        if (moves)
            move(m, i);
    }
    memory_must_hold(&all);
    if (moved > 0) {
        mail_set_recipients(m, buf_span(&all));
        settle(m, indexes, n);
        deliver_anew(m);
    }
    buf_free(&all);
    return moved;
}
