/* What an administrator said about a message: it is held or released, or it has another priority than it came with. It is in each state that is
 * settled (docs/spool.md), so it survives a restart, and a crash. A message may come held (ENVELOPE_HOLD): so it stays until it is released.
 *
 * Held: none of it is tried, so none of it expires; its sender is not warned of the delay. What is under way when it is held goes on, and is
 * held when it comes back deferred. */
#include "qmgr/memory.h"
#include "qmgr/queue.h"

uint16_t mail_orders(const struct mail *m)
{
    bool released = !m->held && m->flags & ENVELOPE_HOLD;
    return (uint16_t)((m->held ? ORDERS_HELD : 0) | m->priority << ORDERS_PRIORITY_SHIFT | (released ? ORDERS_RELEASED : 0));
}

void mail_restore_orders(struct mail *m, const struct spool_state *s)
{
    unsigned priority = s->orders >> ORDERS_PRIORITY_SHIFT & 3;
    if (s->state != RECIPIENT_WAITING)
        return;
    m->held |= orders_hold(s->orders, m->flags);
    if (priority != PRIORITY_UNSET)
        m->priority = (uint8_t)priority;
}

enum priority mail_priority(const struct mail *m)
{
    return orders_priority(mail_orders(m), m->flags, m->times.mt_priority);
}

void delivery_prioritize(struct delivery *d)
{
    d->job.priority = orders_class(mail_orders(d->mail), d->mail->flags, d->mail->times.mt_priority);
}

void delivery_hold(struct delivery *d)
{
    if (d->mail->held)
        schedule_hold(queue.schedule, &d->job);
}

/* On disk who failed waits until his sender knows. */
static struct spool_state state_on_disk(const struct mail *m, uint32_t index)
{
    struct spool_state s = mail_state(m, index, false);
    if (m->rcpt[index].untold == BOUNCE_FAILURE) {
        s.state = RECIPIENT_WAITING;
        s.verdict = 0;
        way_to_state(m, index, &s);
    }
    return s;
}

/* In one settlement, so that none of them is without it. */
static void settle_all(struct mail *m)
{
    struct spool_state *states = memory_new(m->count + 1, sizeof *states);
    size_t n = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        if (m->rcpt[i].state != RECIPIENT_DONE || m->rcpt[i].untold)
            states[n++] = state_on_disk(m, i);
    }
    spool_settle(queue.spool, mail_id(m), states, n);
    free(states);
}

bool mail_hold(struct mail *m)
{
    if (m->held || m->deleted)
        return false;
    m->held = true;
    warning_remove(m);
    for (struct delivery *d = m->deliveries; d; d = d->next)
        delivery_hold(d);
    settle_all(m);
    log_info("%s: held by an administrator", ID_TEXT(mail_id(m)));
    return true;
}

bool mail_release(struct mail *m)
{
    uint64_t now = queue_now();
    if (!m->held)
        return false;
    m->held = false;
    for (struct delivery *d = m->deliveries; d; d = d->next)
        schedule_release(queue.schedule, &d->job, now);
    warning_add(m);
    settle_all(m);
    log_info("%s: released by an administrator", ID_TEXT(mail_id(m)));
    return true;
}

/* A READY job stands in its class: it leaves it, and comes into the other. */
void mail_set_priority(struct mail *m, enum priority priority)
{
    uint64_t now = queue_now();
    m->priority = (uint8_t)priority;
    for (struct delivery *d = m->deliveries; d; d = d->next) {
        bool ready = d->job.state == JOB_READY && schedule_hold(queue.schedule, &d->job);
        delivery_prioritize(d);
        if (ready)
            schedule_release(queue.schedule, &d->job, now);
    }
    settle_all(m);
    log_info("%s: its priority is %s: an administrator said so", ID_TEXT(mail_id(m)),
             priority == PRIORITY_HIGH  ? "high"
             : priority == PRIORITY_LOW ? "low"
                                        : "normal");
}
