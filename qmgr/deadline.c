/* The deadline that a sender set (DELIVERBY, RFC 2852). BY_NOTIFY is a delay warning at that time (warning.c). BY_RETURN: nothing is delivered
 * behind it. What waits then is returned in the same second, wherever it waits; what is under way may still be delivered, as nobody can call it
 * back, and is returned if it is not. Held mail is returned when it is released. */
#include "qmgr/queue.h"

bool deadline_passed(const struct mail *m, uint64_t now)
{
    return m->times.by_mode & BY_RETURN && now >= m->times.deliver_by && !m->held;
}

bool deadline_tells(const struct mail *m)
{
    return m->times.by_mode & BY_NOTIFY && m->times.deliver_by > m->arrived / 1000000;
}

void deadline_return(struct delivery *d, uint64_t now)
{
    for (uint32_t i = 0; i < d->count; i++) {
        const struct recipient *r = &d->mail->rcpt[d->index[i]];
        struct buf last = BUF_EMPTY(REASON_MOST + 1);
        char status[sizeof r->status];
        memcpy(status, r->status, sizeof status);
        buf_add_text(&last, r->reason ? r->reason : "it could not be tried yet");
        struct outcome o = {.verdict = VERDICT_DEFERRED, .no_attempt = true, .status = span_of(status), .reply = buf_span(&last)};
        outcome_apply(d->mail, d->index[i], &o, now, now);
        buf_free(&last);
    }
    outcome_finish(d, now);
}

void deadline_reached(struct mail *m, uint64_t now)
{
    for (struct delivery *d = m->deliveries, *next; d && deadline_passed(m, now); d = next) {
        next = d->next;
        if (d->job.state == JOB_ACTIVE)
            continue;
        schedule_remove(queue.schedule, &d->job);
        deadline_return(d, now);
    }
}
