/* The delay warning: mail that has waited for queue.delay_warning, and whose sender is told so, once. And the end of mail that stands in line.
 *
 * A wheel has every message, due when it has waited long enough, if a recipient is still to be warned about: also the mail behind a
 * dead site, which is not tried one by one, is warned about in time. The deadlines that senders set (RFC 2852) lie in it as well. What is parked has a wheel of its own, and comes here when it is due.
 *
 * A message whose life is over is returned when an attempt fails. One that stands in line for longer (a rate that is too low for all that comes, a
 * pause) would wait for its attempt for ever: so it is looked at LINE_MORE after that, and again each time so long, and what is READY then is
 * returned. Mail of dead sites is returned with what their probes are told. */
#include "qmgr/queue.h"

#define LINE_MORE 600 /* seconds: time enough for what waits for nothing, also behind a restart or an administrator's release */

static struct wheel wheel;

/* Told already: the verdict DEFERRED stands in the state of a recipient that waits (docs/spool.md). */
static bool to_be_warned(const struct mail *m, uint32_t index)
{
    const struct recipient *r = &m->rcpt[index];
    struct record_recipient rcpt;
    if (r->state == RECIPIENT_DONE || r->verdict == VERDICT_DEFERRED || r->untold)
        return false;
    mail_recipient(m, index, &rcpt);
    return bounce_wanted(BOUNCE_DELAY, rcpt.notify);
}

/* Held mail is warned about when it is released. */
bool warning_wanted(const struct mail *m)
{
    for (uint32_t i = 0; i < m->count && !m->held; i++) {
        if (to_be_warned(m, i))
            return true;
    }
    return false;
}

/* Never, since it is not wanted, or it goes back before that. */
static uint64_t warning_due(uint64_t began, bool null_sender)
{
    uint64_t wait = queue.settings->queue_delay_warning, at = began + wait;
    return wait == 0 || null_sender || at >= queue_expires(began, null_sender) ? 0 : at;
}

/* Who has set a deadline to be told at is told then, and not at another time. */
static uint64_t told_at(const struct spool_times *t, uint64_t arrived, bool null_sender)
{
    if (!null_sender && t->by_mode & BY_NOTIFY && t->deliver_by > arrived / 1000000)
        return t->deliver_by;
    return warning_due(queue_began(arrived, t), null_sender);
}

static uint64_t line_over(uint64_t expires)
{
    uint64_t now = queue_now();
    return (expires > now ? expires : now) + LINE_MORE;
}

uint64_t warning_or_deadline(const struct spool_times *t, uint64_t arrived, bool null_sender, bool wanted)
{
    uint64_t expires = queue_expires(queue_began(arrived, t), null_sender);
    uint64_t told = wanted && queue_now() < expires ? told_at(t, arrived, null_sender) : 0, line = line_over(expires);
    if (told == 0 || line < told)
        told = line;
    return t->by_mode & BY_RETURN && t->deliver_by < told ? t->deliver_by : told;
}

uint64_t warning_or_end(uint64_t began, bool null_sender, bool wanted)
{
    uint64_t expires = queue_expires(began, null_sender), told = wanted && queue_now() < expires ? warning_due(began, null_sender) : 0;
    return told ? told : line_over(expires);
}

void warning_add(struct mail *m)
{
    uint64_t at = m->held ? 0 : warning_or_deadline(&m->times, m->arrived, m->sender.n == 0, warning_wanted(m));
    if (at == 0 || m->warns)
        return;
    wheel_add(&wheel, &m->warning, at);
    m->warns = true;
}

void warning_remove(struct mail *m)
{
    if (m->warns)
        wheel_remove(&wheel, &m->warning);
    m->warns = false;
}

static void warn(struct mail *m)
{
    for (uint32_t i = 0; i < m->count; i++) {
        if (to_be_warned(m, i))
            report_owe(m, i, BOUNCE_DELAY);
    }
    mail_check(m);
}

static void end_of_line(struct mail *m, uint64_t now)
{
    for (struct delivery *d = m->deliveries, *next; d; d = next) {
        next = d->next;
        if (d->job.state != JOB_READY || schedule_site_dead(d->job.site))
            continue;
        schedule_remove(queue.schedule, &d->job);
        deadline_return(d, now);
    }
}

void warning_visit(struct mail *m, uint64_t now)
{
    warning_remove(m);
    if (deadline_passed(m, now)) {
        deadline_reached(m, now);
        return;
    }
    if (now < mail_expires(m))
        warn(m);
    else if (!m->held)
        end_of_line(m, now);
    warning_add(m); /* the deadline, or the end, is still to come */
}

void warning_turn(uint64_t now)
{
    for (struct wheel_item *item; (item = wheel_expired(&wheel, now));) {
        struct mail *m = HASH_OWNER(item, struct mail, warning);
        m->warns = false;
        warning_visit(m, now);
    }
}

void warning_start(uint64_t now)
{
    wheel_init(&wheel, now);
}

void warning_reconfigure(void)
{
    for (struct hash_node *n = hash_first(&queue.mails); n; n = hash_after(&queue.mails, n)) {
        struct mail *m = HASH_OWNER(n, struct mail, node);
        warning_remove(m);
        warning_add(m);
    }
    park_reconfigure();
}
