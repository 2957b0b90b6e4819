/* What became of a recipient: memory, log, disk. */
#include "qmgr/memory.h"
#include "qmgr/queue.h"

#include <stdio.h>

static char *copy(struct span s)
{
    return memory_must(strndup(s.n ? s.p : "", s.n < REASON_MOST ? s.n : REASON_MOST));
}

/* RFC 3463: class "." subject "." detail. What is none is replaced, and so is one of another class than the verdict. */
static bool is_status(struct span s, char class)
{
    size_t dots = 0;
    if (s.n < 5 || s.n > 9 || s.p[0] != class || s.p[1] != '.')
        return false;
    for (size_t i = 1; i < s.n; i++) {
        if (s.p[i] == '.')
            dots += i + 1 < s.n && s.p[i + 1] != '.';
        else if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    }
    return dots == 2;
}

static void set_status(struct recipient *r, struct span s, char class)
{
    if (is_status(s, class))
        snprintf(r->status, sizeof r->status, "%.*s", SPAN_ARG(s));
    else
        snprintf(r->status, sizeof r->status, "%c.0.0", class);
}

static void log_outcome(const struct mail *m, uint32_t index, const struct outcome *o, const char *status, const char *word)
{
    struct record_recipient rcpt;
    struct buf line = BUF_EMPTY(4096), value = BUF_EMPTY(2048);
    uint64_t now = queue_now_us(), began = mail_began(m) * 1000000;
    uint64_t delay = now - (began > m->arrived && began < now ? began : m->arrived);
    mail_recipient(m, index, &rcpt);
    buf_printf(&line, "%s:", ID_TEXT(mail_id(m)));
    buf_printf(&value, "<%.*s>", SPAN_ARG(rcpt.address));
    log_value(&line, "to", buf_span(&value));
    if (rcpt.original.n > 0 && !span_equal(rcpt.original, rcpt.address)) {
        buf_clear(&value);
        buf_printf(&value, "<%.*s>", SPAN_ARG(rcpt.original));
        log_value(&line, "orig_to", buf_span(&value));
    }
    log_value(&line, "relay", o->peer.n ? o->peer : SPAN_LITERAL("none"));
    buf_printf(&line, " delay=%llu.%02llu dsn=%s", (unsigned long long)(delay / 1000000), (unsigned long long)(delay / 10000 % 100),
               status);
    if (o->security.n > 0)
        log_value(&line, "tls", o->security);
    if (o->source.n > 0)
        log_value(&line, "source", o->source);
    buf_printf(&line, " status=%s%s", word, o->verdict == VERDICT_IN_DOUBT ? " in_doubt=yes" : "");
    log_value(&line, "reply", o->reply);
    log_buf(LOG_LEVEL_INFO, &line);
    buf_free(&line);
    buf_free(&value);
}

static void log_untold(const struct mail *m, uint32_t index)
{
    log_info("%s: no report for recipient %u: %s", ID_TEXT(mail_id(m)), index + 1,
             m->sender.n == 0 ? "the sender is <> (a report itself, or mail that wants none)" : "its sender asked for none (NOTIFY)");
}

/* A warning that was not sent yet is none any more. */
static void done(struct mail *m, uint32_t index, uint16_t verdict)
{
    report_owe(m, index, 0);
    m->rcpt[index].state = RECIPIENT_DONE;
    m->rcpt[index].verdict = verdict;
    m->done++;
}

static void failed(struct mail *m, uint32_t index, const struct outcome *o)
{
    struct recipient *r = &m->rcpt[index];
    struct record_recipient rcpt;
    mail_recipient(m, index, &rcpt);
    done(m, index, VERDICT_FAILED);
    if (m->sender.n == 0 || !bounce_wanted(BOUNCE_FAILURE, rcpt.notify)) {
        log_untold(m, index);
        mail_settle(m, index);
        return;
    }
    report_owe(m, index, BOUNCE_FAILURE);
    free(r->peer);
    r->peer = copy(o->peer);
}

/* Settled at once, as what is delivered must not be delivered again while its report waits. The duty to report goes along with mail that a
 * host with DSN took (RFC 3461 5.2.1); what RFC 2852 has told is told to all but those who asked for nothing. */
static void succeeded(struct mail *m, uint32_t index, const struct outcome *o)
{
    struct recipient *r = &m->rcpt[index];
    struct record_recipient rcpt;
    bool traced = o->verdict == VERDICT_TRACED;
    mail_recipient(m, index, &rcpt);
    done(m, index, traced ? VERDICT_RELAYED : o->verdict);
    bool wanted = traced ? !(rcpt.notify & NOTIFY_NEVER) : o->verdict != VERDICT_PASSED_ON && bounce_wanted(BOUNCE_SUCCESS, rcpt.notify);
    if (m->sender.n > 0 && wanted) {
        report_owe(m, index, BOUNCE_SUCCESS);
        free(r->peer);
        r->peer = copy(o->peer);
    }
    mail_settle(m, index);
}

/* Too old, or (RFC 2852) later than its sender wants it: what was said last stays the reason. */
static void expired(struct mail *m, uint32_t index, const struct outcome *o, bool deadline)
{
    m->rcpt[index].over = deadline ? OVER_DEADLINE : OVER_EXPIRED;
    log_outcome(m, index, o, deadline ? "5.4.7" : "4.4.7", "expired");
    failed(m, index, o);
}

void outcome_apply(struct mail *m, uint32_t index, const struct outcome *o, uint64_t due, uint64_t now)
{
    struct recipient *r = &m->rcpt[index];
    if (r->state == RECIPIENT_ACTIVE)
        m->active--;
    r->state = RECIPIENT_WAITING;
    r->attempts += !o->no_attempt;
    free(r->reason);
    r->reason = copy(o->reply);
    mail_check(m);
    switch ((enum verdict)o->verdict) {
    case VERDICT_DELIVERED:
    case VERDICT_RELAYED:
    case VERDICT_PASSED_ON:
    case VERDICT_TRACED:
        set_status(r, o->status, '2');
        log_outcome(m, index, o, r->status, "sent");
        succeeded(m, index, o);
        return;
    case VERDICT_FAILED:
        set_status(r, o->status, '5');
        log_outcome(m, index, o, r->status, "bounced");
        failed(m, index, o);
        return;
    case VERDICT_DEFERRED:
    case VERDICT_IN_DOUBT:
        break;
    }
    set_status(r, o->status, '4');
    r->due = due;
    bool deadline = deadline_passed(m, now);
    if (deadline || (now >= mail_expires(m) && !m->held)) {
        expired(m, index, o, deadline);
        return;
    }
    log_outcome(m, index, o, r->status, "deferred");
    mail_settle(m, index);
}

uint64_t outcome_due(const struct delivery *d)
{
    uint64_t now = (queue_now_us() + 500000) / 1000000; /* to the nearest second, as jobs come due at full ones */
    const struct settings *s = queue.settings;
    uint32_t attempts = d->mail->rcpt[d->index[0]].attempts + 1;
    uint64_t last = mail_expires(d->mail), deadline = d->mail->times.by_mode & BY_RETURN ? d->mail->times.deliver_by : 0;
    if (deadline > 0 && deadline - 1 < last)
        last = deadline - 1; /* once more in time */
    return schedule_retry(queue.schedule, now, attempts, s->queue_retry_first, s->queue_retry_most, last);
}

void outcome_finish(struct delivery *d, uint64_t due)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < d->count; i++) {
        if (d->mail->rcpt[d->index[i]].state == RECIPIENT_WAITING)
            d->index[left++] = d->index[i];
    }
    d->count = left;
    if (left == 0 || d->mail->deleted)
        delivery_free(d);
    else
        delivery_queue(d, due);
}

void outcome_apply_all(struct delivery *d, const struct outcome *o, uint64_t due)
{
    uint64_t now = queue_now();
    for (uint32_t i = 0; i < d->count; i++)
        outcome_apply(d->mail, d->index[i], o, due, now);
    outcome_finish(d, due);
}
