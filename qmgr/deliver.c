/* Deliveries: from the schedule to remote and local, and back. Which recipients make one is in deliver_make.c, from where remote's go in grant.c.
 *
 *   made --delivery_queue--> in line for the resolver ("dns:domain") --site known--> in line for its site --granted--> DELIVER
 *              ^ in line for its time ("release") first, if it has one to wait for                                       |
 *              +------------------------------- recipients that were deferred, when due <----------- RESULT -------------+
 */
#include "qmgr/limits.h"
#include "qmgr/memory.h"
#include "qmgr/queue.h"
#include "qmgr/telling.h"

#include <errno.h>
#include <stdio.h>

#define SOON      10 /* seconds, after a program died over a delivery */
#define OWN_AGAIN 60 /* the same, after what there was no room for here, or what could not be read */

static void give_back_body(struct mail *m)
{
    if (m->body)
        queue.bodies -= m->size;
    free(m->body);
    m->body = NULL;
}

void delivery_link(struct delivery *d)
{
    d->next = d->mail->deliveries;
    if (d->next)
        d->next->prev = d;
    d->mail->deliveries = d;
}

void delivery_free(struct delivery *d)
{
    if (d->question)
        peer_cancel(queue.dns, d->question);
    schedule_remove(queue.schedule, &d->job);
    if (!d->granted)
        d->mail->ungranted--;
    if (d->prev)
        d->prev->next = d->next;
    else
        d->mail->deliveries = d->next;
    if (d->next)
        d->next->prev = d->prev;
    free(d);
}

/* ---- into the schedule ------------------------------------------------------------------------------------------- */

static bool is_local(const struct record_recipient *rcpt)
{
    return span_equal(rcpt->transport, SPAN_LITERAL("local"));
}

static bool is_lmtp(const struct record_recipient *rcpt)
{
    return span_equal(rcpt->transport, SPAN_LITERAL("lmtp"));
}

/* The next hop is the site, as it stands there. */
static bool is_named(const struct record_recipient *rcpt)
{
    return is_lmtp(rcpt) || span_equal(rcpt->transport, SPAN_LITERAL("smtps"));
}

static bool is_socket(struct span nexthop)
{
    return nexthop.n > 5 && memcmp(nexthop.p, "unix:", 5) == 0;
}

/* Who delivers it: LMTP over the network is remote's, as SMTP is. */
static struct peer *deliverer(const struct record_recipient *rcpt)
{
    if (is_local(rcpt))
        return queue.local;
    return is_lmtp(rcpt) && is_socket(rcpt->nexthop) ? queue.lmtp : queue.remote;
}

bool delivery_place(struct job *job, const struct record_recipient *rcpt, struct span flow, uint64_t due, uint64_t release)
{
    struct buf name = BUF_EMPTY(0);
    uint64_t now = queue_now();
    bool resolving = false;
    if (release > now) {
        due = release;
        buf_add_span(&name, LIMITS_RELEASE);
    } else if (is_local(rcpt)) {
        buf_add_text(&name, "local");
    } else if (is_named(rcpt)) {
        buf_printf(&name, "%.*s:%.*s %.*s", SPAN_ARG(rcpt->transport), SPAN_ARG(rcpt->nexthop), SPAN_ARG(rcpt->tls));
        limits_add_route(queue.settings, rcpt, &name);
    } else if (rcpt->nexthop.n > 0 && rcpt->nexthop.p[0] == '[') {
        site_known(rcpt->nexthop, rcpt->tls, &name);
        limits_add_route(queue.settings, rcpt, &name);
    } else if (due > now || !site_known(rcpt->nexthop, rcpt->tls, &name)) {
        resolving = true; /* what is known now may not be so when it is due */
        site_waiting_name(rcpt->nexthop, &name);
    } else {
        limits_add_route(queue.settings, rcpt, &name);
    }
    struct site *site = site_limited(buf_span(&name));
    schedule_add_later(queue.schedule, job, site, flow, due, now);
    buf_free(&name);
    return resolving;
}

void delivery_queue(struct delivery *d, uint64_t due)
{
    struct record_recipient rcpt;
    mail_recipient(d->mail, d->index[0], &rcpt);
    d->job.cost = d->count;
    delivery_prioritize(d);
    d->resolving = delivery_place(&d->job, &rcpt, d->mail->flow, due, d->mail->times.release);
    park_later(d->mail);
    if (d->hurried && !d->resolving) {
        d->hurried = false;
        schedule_hurry(queue.schedule, &d->job, queue_now());
    }
    delivery_hold(d);
}

bool delivery_adopt(struct mail *m, struct job *job, bool resolving, bool hurried)
{
    struct delivery *d = memory_new(1, sizeof *d + m->count * sizeof d->index[0]);
    for (uint32_t i = 0; i < m->count; i++) {
        if (m->rcpt[i].state == RECIPIENT_WAITING)
            d->index[d->count++] = i;
    }
    if (d->count == 0 || d->count != job->cost) {
        free(d);
        return false;
    }
    d->mail = m;
    d->resolving = resolving;
    d->hurried = hurried;
    d->granted = true; /* its body is on disk */
    delivery_link(d);
    schedule_replace(queue.schedule, job, &d->job);
    return true;
}

void delivery_hurry(struct delivery *d, uint64_t now)
{
    if (d->job.state != JOB_WAITING && d->job.state != JOB_READY)
        return;
    d->hurried = d->resolving;
    for (uint32_t i = 0; i < d->count; i++)
        d->mail->rcpt[d->index[i]].due = now;
    schedule_hurry(queue.schedule, &d->job, now);
}

/* NULL: it was parked, and can't be read back. */
static struct delivery *delivery_of(struct job *job)
{
    return job->kind == JOB_OF_PARKED ? park_delivery(job) : HASH_OWNER(job, struct delivery, job);
}

/* ---- results ----------------------------------------------------------------------------------------------------- */

/* A dead site's jobs are not tried one by one: those of mail that is too old fail with what the probe was told. */
struct stranded {
    struct outcome outcome;
    uint64_t now;
};

static void strand(struct job *job, void *arg)
{
    const struct stranded *s = arg;
    if (job->kind == JOB_OF_PARKED && !park_expired(job, s->now))
        return;
    struct delivery *d = delivery_of(job);
    if (!d || s->now < mail_expires(d->mail))
        return;
    schedule_remove(queue.schedule, &d->job);
    outcome_apply_all(d, &s->outcome, s->now);
}

void delivery_fail_stranded(struct site *site, const struct outcome *o)
{
    struct stranded s = {.outcome = *o, .now = queue_now()};
    s.outcome.verdict = VERDICT_DEFERRED;
    if (schedule_site_dead(site))
        schedule_each_ready(queue.schedule, site, strand, &s);
}

/* Every field of an outcome is checked; true: it counts. */
static bool outcome_good(const struct delivery *d, const struct record_outcome *o)
{
    if (o->index >= d->count || o->verdict < VERDICT_DELIVERED || o->verdict > VERDICT_IN_DOUBT)
        return false;
    return d->mail->rcpt[d->index[o->index]].state == RECIPIENT_ACTIVE; /* once each */
}

static bool is_success(unsigned verdict)
{
    return verdict == VERDICT_DELIVERED || verdict == VERDICT_RELAYED || verdict == VERDICT_PASSED_ON || verdict == VERDICT_TRACED;
}

/* Our own side failed, not what a domain says of itself. */
static bool is_ours(const struct message_result *r)
{
    return r->own == OWN_SOURCE || r->own == OWN_PROXY || r->own == OWN_ROOM;
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Applies what there is. `worst` gets an outcome that stands for the site. */
static enum job_end apply_result(struct delivery *d, const struct message_result *r, uint64_t due, struct outcome *worst)
{
    enum job_end end = r->site_failed ? JOB_SITE_FAILURE : r->own != OWN_NONE ? JOB_UNKNOWN : JOB_RECIPIENT_FAILURE;
    struct list rest = r->outcomes;
    uint64_t now = queue_now();
    for (struct record_outcome o; record_outcome_next(&rest, &o);) {
        if (!outcome_good(d, &o)) {
            log_error("%s: a result says what can't be (recipient %u of %u, verdict %u); ignored", ID_TEXT(mail_id(d->mail)), o.index,
                      d->count, o.verdict);
            continue;
        }
        struct outcome out = {.verdict = o.verdict,
                              .no_attempt = is_ours(r),
                              .status = o.status,
                              .reply = o.reply,
                              .peer = r->peer,
                              .security = r->security,
                              .source = r->source};
        if (is_success(o.verdict) && !r->site_failed)
            end = JOB_SUCCESS;
        if (o.verdict == VERDICT_DEFERRED || o.verdict == VERDICT_IN_DOUBT)
            *worst = out;
        if (o.verdict == VERDICT_IN_DOUBT)
            schedule_in_doubt(d->job.site);
        outcome_apply(d->mail, d->index[o.index], &out, due, now);
    }
    return end;
}

static void defer_missing(struct delivery *d, const char *why, uint64_t due)
{
    struct outcome o = {.verdict = VERDICT_DEFERRED, .no_attempt = true, .status = SPAN_LITERAL("4.3.0"), .reply = span_of(why)};
    uint64_t now = queue_now();
    for (uint32_t i = 0; i < d->count; i++) {
        if (d->mail->rcpt[d->index[i]].state == RECIPIENT_ACTIVE)
            outcome_apply(d->mail, d->index[i], &o, due, now);
    }
}

/* Somebody who says now that a provider's hosts are his domain's, and now that others are, must not be able to make the provider dead. */
static void look_again(const struct delivery *d)
{
    struct record_recipient rcpt;
    mail_recipient(d->mail, d->index[0], &rcpt);
    site_forget(rcpt.nexthop);
}

static bool is_login(struct span reply)
{
    static const char *const codes[] = {"530", "535", "538"}; /* RFC 4954 4, 6 */
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (reply.n > 3 && memcmp(reply.p, codes[i], 3) == 0)
            return true;
    return false;
}

/* Whatever else goes there would be deferred for the same: no session was had, the host wants a (better) login, or our own side is at fault (RFC 3463 X.3,
 * and X.7 in our own words). What a host says of one message or recipient is not that. */
static bool is_for_all(const struct message_result *r, const struct outcome *deferred)
{
    struct span reply = telling_reply(deferred->reply);
    char subject = '0';
    if (deferred->status.n > 2)
        subject = deferred->status.p[2];
    if (deferred->verdict == 0)
        return false;
    return r->site_failed || is_ours(r) || (reply.n > 0 ? is_login(reply) : subject == '3' || subject == '7');
}

/* For `postino sites`. A mailbox of ours says nothing of others. */
static void note_trouble(struct site *site, const struct message_result *r, enum job_end end, const struct outcome *deferred)
{
    if (span_equal(schedule_site_name(site), SPAN_LITERAL("local")) || r->own == OWN_DOMAIN)
        return;
    if (end != JOB_SUCCESS && is_for_all(r, deferred))
        schedule_site_trouble(queue.schedule, site, deferred->reply, queue_now());
    else
        schedule_site_well(queue.schedule, site);
}

static void over(struct delivery *d, const struct message_result *r)
{
    uint64_t now = queue_now(), due = outcome_due(d);
    enum job_end end = JOB_UNKNOWN;
    struct outcome worst = {.status = SPAN_LITERAL("4.4.1"), .reply = SPAN_LITERAL("the site does not answer")};
    struct site *site = d->job.site;
    if (!r)
        due = sooner(now + SOON, due);
    else if (r->own == OWN_DOMAIN)
        look_again(d);
    else if (r->own == OWN_ROOM)
        due = sooner(now + OWN_AGAIN, due);
    else if (is_ours(r))
        due = grant_own_failure(site, r, now);
    if (r && r->site_failed && limits_is_socket(schedule_site_name(site)))
        due = sooner(now + SCHEDULE_NEAR, due);
    bool heard = r && shaping_heard(d, r);
    if (r) {
        end = apply_result(d, r, due, &worst);
        note_trouble(site, r, end, &worst);
    }
    defer_missing(d, r ? "the delivering program gave no result for this recipient" : "the delivering program ended before it was done",
                  due);
    if (heard && end == JOB_SITE_FAILURE)
        end = JOB_RECIPIENT_FAILURE; /* it is there: it said so */
    schedule_done(queue.schedule, &d->job, end, now);
    outcome_finish(d, due);
    if (end == JOB_SITE_FAILURE)
        delivery_fail_stranded(site, &worst);
}

static void result(const struct message *m, void *arg)
{
    queue.active--;
    if (m && m->fd >= 0)
        log_die("a result came with a descriptor"); /* the decoder refuses it */
    over(arg, m && m->type == MESSAGE_RESULT ? &m->result : NULL);
}

/* ---- granting ---------------------------------------------------------------------------------------------------- */

/* Puts the body into the message: from memory, from disk, or as a descriptor. 0, or an errno. `read` is to be freed. */
static int add_body(struct mail *m, struct message *out, char **read)
{
    uint64_t offset = 0, size = m->size;
    *read = NULL;
    out->deliver.size = m->size;
    if (m->body) {
        out->deliver.body = span_make(m->body, (size_t)m->size);
    } else if (m->size <= BODY_INLINE_MAX) {
        *read = memory_new(1, (size_t)m->size + 1);
        long n = spool_read(queue.spool, mail_id(m), 0, *read, (size_t)m->size);
        if (n < 0)
            return (int)-n;
        out->deliver.body = span_make(*read, (size_t)n);
    } else {
        out->fd = spool_body(queue.spool, mail_id(m), &offset, &size);
        if (out->fd < 0)
            return -out->fd;
        out->deliver.offset = offset;
    }
    return 0;
}

static void mark_active(struct delivery *d)
{
    for (uint32_t i = 0; i < d->count; i++)
        d->mail->rcpt[d->index[i]].state = RECIPIENT_ACTIVE;
    d->mail->active += d->count;
    d->since = (uint32_t)queue_now();
    queue.active++;
    if (!d->granted) {
        d->granted = true;
        if (--d->mail->ungranted == 0)
            give_back_body(d->mail);
    }
}

static void cannot_read(struct delivery *d, int status)
{
    char why[128];
    struct mail *m = d->mail;
    if (status == EBADMSG || status == ENOENT) {
        log_error("%s: it is no longer whole in the spool, and leaves the queue", ID_TEXT(mail_id(m)));
        m->deleted = true;
        while (m->deliveries && m->active == 0)
            delivery_free(m->deliveries);
        mail_check(m);
        if (m->active > 0) {
            schedule_done(queue.schedule, &d->job, JOB_UNKNOWN, queue_now());
            delivery_free(d);
        }
        return;
    }
    snprintf(why, sizeof why, "the message can't be read from the spool: %s", strerror(status));
    struct outcome o = {.verdict = VERDICT_DEFERRED, .no_attempt = true, .status = SPAN_LITERAL("4.3.0"), .reply = span_of(why)};
    uint64_t now = queue_now(), due = sooner(now + OWN_AGAIN, outcome_due(d));
    schedule_done(queue.schedule, &d->job, JOB_UNKNOWN, now);
    outcome_apply_all(d, &o, due);
}

void delivery_send(struct delivery *d, const struct settings_source *source)
{
    struct mail *m = d->mail;
    struct record_recipient rcpt = {0};
    struct buf list = BUF_EMPTY(FRAME_MAX);
    char *read = NULL;
    for (uint32_t i = 0; i < d->count; i++) {
        mail_recipient(m, d->index[i], &rcpt);
        record_recipient_add(&list, &rcpt);
    }
    struct message out = {.type = MESSAGE_DELIVER, .fd = -1};
    out.deliver = (struct message_deliver){.id = mail_id(m), .arrived = m->arrived / 1000000, .nexthop = rcpt.nexthop, .tls = rcpt.tls};
    out.deliver.sender = m->sender;
    out.deliver.envid = m->envid;
    out.deliver.ret = m->ret;
    out.deliver.flags = m->flags;
    out.deliver.deliver_by = m->times.deliver_by;
    out.deliver.by_mode = m->times.by_mode;
    out.deliver.mt_priority = m->times.mt_priority;
    out.deliver.recipients = (struct list){.count = d->count, .bytes = buf_span(&list)};
    struct span name = schedule_site_name(d->job.site);
    out.deliver.session_messages = limits_of_site(queue.settings, name).session_messages;
    out.deliver.route = limits_line_of(name);
    out.deliver.hosts = rcpt.nexthop.n && rcpt.nexthop.p[0] != '[' ? limits_hosts(name) : (struct span){0};
    out.deliver.source = source ? span_of(source->title) : (struct span){0};
    size_t beside = rcpt.nexthop.n + m->sender.n + m->envid.n + out.deliver.route.n + out.deliver.hosts.n;
    bool fits = !list.failed && list.len + beside <= FRAME_MAX - BODY_INLINE_MAX - 4096;
    int status = fits ? add_body(m, &out, &read) : EMSGSIZE;
    if (status == 0) {
        peer_ask(deliverer(&rcpt), &out, result, d);
        mark_active(d);
    } else {
        cannot_read(d, status);
    }
    free(read);
    buf_free(&list);
}

void delivery_pump(void)
{
    uint64_t now = queue_now();
    for (struct job *job; (job = schedule_next(queue.schedule, now));) {
        struct delivery *d = delivery_of(job);
        struct record_recipient rcpt;
        struct buf name = BUF_EMPTY(0);
        if (!d)
            continue;
        mail_recipient(d->mail, d->index[0], &rcpt);
        if (deadline_passed(d->mail, now)) {
            schedule_done(queue.schedule, &d->job, JOB_UNKNOWN, now);
            deadline_return(d, now);
        } else if (site_is_release(d->job.site)) {
            schedule_done(queue.schedule, &d->job, JOB_SUCCESS, now);
            delivery_queue(d, 0);
        } else if (!d->resolving && site_moved(schedule_site_name(d->job.site), &rcpt)) {
            schedule_done(queue.schedule, &d->job, JOB_UNKNOWN, now);
            delivery_queue(d, 0);
        } else if (!d->resolving && deliverer(&rcpt) != queue.remote) {
            delivery_send(d, NULL);
        } else if (!d->resolving) {
            grant_to_remote(d, &rcpt, now);
        } else if (site_known(rcpt.nexthop, rcpt.tls, &name)) {
            schedule_done(queue.schedule, &d->job, JOB_SUCCESS, now);
            delivery_queue(d, 0);
        } else {
            site_resolve(d);
        }
        buf_free(&name);
    }
}
