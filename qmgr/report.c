/* A report, from recipients of a mail whose sender is to be told of them to a mail of its own. One report tells one kind of thing: first
 * the failures, then what was delivered, then what is delayed.
 *
 *   untold recipients --ask route for the sender--> build --put--> durable, and they are settled as told
 *                              | no: a double bounce, dropped     | no room: later
 *
 * Report and settlement are durable together (spool_put_settling). Only a delay is settled behind its report, as its recipient may meanwhile be
 * delivered: a crash in between makes a second report; never none. */
#include "qmgr/limits.h"
#include "qmgr/memory.h"
#include "qmgr/queue.h"
#include "qmgr/recipients.h"

#include <errno.h>

#define AGAIN       60 /* seconds after a report could not be made */
#define HEADER_MOST ((size_t)128 << 10)

struct report {
    uint64_t about; /* the mail's id: it may be gone when an answer comes */
    uint64_t id;    /* its own */
    enum bounce_kind kind;
};

void report_owe(struct mail *m, uint32_t index, enum bounce_kind kind)
{
    struct recipient *r = &m->rcpt[index];
    m->untold = m->untold - (r->untold ? 1 : 0) + (kind ? 1 : 0);
    r->untold = (uint8_t)kind;
}

/* A recipient that was delayed may be delivered, or fail, while the report about its delay is made. */
static void told_one(struct mail *m, uint32_t index, bool settled)
{
    struct recipient *r = &m->rcpt[index];
    bool delay = r->telling == BOUNCE_DELAY;
    if (r->untold == r->telling)
        report_owe(m, index, 0);
    r->telling = 0;
    if (delay && r->state == RECIPIENT_DONE)
        return;
    if (delay)
        r->verdict = VERDICT_DEFERRED;
    if (!settled)
        mail_settle(m, index);
}

/* settled: on disk they are so already. */
static void told(struct mail *m, bool settled)
{
    for (uint32_t i = 0; i < m->count; i++) {
        if (!m->rcpt[i].telling)
            continue;
        told_one(m, i, settled);
    }
    m->report_open = false;
    mail_check(m);
}

static void later(struct mail *m, const char *why)
{
    log_warning("%s: its report can't be made now (%s); trying again in %d seconds", ID_TEXT(mail_id(m)), why, AGAIN);
    for (uint32_t i = 0; i < m->count; i++)
        m->rcpt[i].telling = 0;
    m->report_open = false;
    m->report_at = queue_now() + AGAIN;
    queue.reports_wait = true;
    if (m->deleted)
        mail_check(m);
}

static void drop(struct mail *m, struct span code_words)
{
    struct buf line = BUF_EMPTY(2048);
    buf_printf(&line, "%s: double bounce: its report can't be delivered either, and is dropped", ID_TEXT(mail_id(m)));
    log_value(&line, "from", m->sender);
    log_value(&line, "reply", code_words);
    log_buf(LOG_LEVEL_WARNING, &line);
    buf_free(&line);
    told(m, false);
}

static void report_stored(int status, void *arg)
{
    struct report *r = arg;
    struct mail *m = mail_find(r->about);
    static const char *const names[] = {[BOUNCE_FAILURE] = "non-delivery", [BOUNCE_SUCCESS] = "delivery status", [BOUNCE_DELAY] = "delay"};
    if (m && status == 0) {
        log_info("%s: sender %s notification: %s", ID_TEXT(r->about), names[r->kind], ID_TEXT(r->id));
        told(m, r->kind != BOUNCE_DELAY);
    } else if (m) {
        later(m, strerror(status));
    }
    free(r);
}

/* As much of the original as goes into the report. A message that can no longer be read is told about all the same. */
static char *read_original(const struct mail *m, bool headers_only, struct span *out)
{
    size_t n = headers_only && m->size > HEADER_MOST ? HEADER_MOST : (size_t)m->size;
    char *text = memory_new(1, n + 1);
    long got = m->body ? (long)n : spool_read(queue.spool, mail_id(m), 0, text, n);
    if (m->body)
        memcpy(text, m->body, n);
    *out = span_make(text, got > 0 ? (size_t)got : 0);
    return text;
}

/* What is delayed no longer is not told as such. */
static void forget_undelayed(struct mail *m)
{
    for (uint32_t i = 0; i < m->count; i++) {
        if (m->rcpt[i].telling == BOUNCE_DELAY && m->rcpt[i].state == RECIPIENT_DONE)
            m->rcpt[i].telling = 0;
    }
}

/* No route of ours says which host, and no proxy is in between: all that can have happened there is the receiver's. */
static bool goes_by_domain(const struct record_recipient *r)
{
    const char *at = r->address.n ? memrchr(r->address.p, '@', r->address.n) : NULL;
    const struct settings_route *route = limits_route(queue.settings, r);
    return at && !(route && *route->proxy) && span_equal(r->transport, SPAN_LITERAL("smtp")) &&
           span_equal_nocase(r->nexthop, span_make(at + 1, r->address.n - (size_t)(at + 1 - r->address.p)));
}

static size_t collect(const struct mail *m, struct bounce_recipient *out)
{
    bool late = deadline_tells(m) && queue_now() >= m->times.deliver_by;
    size_t n = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        const struct recipient *r = &m->rcpt[i];
        struct record_recipient rcpt;
        if (!r->telling)
            continue;
        mail_recipient(m, i, &rcpt);
        out[n++] = (struct bounce_recipient){.address = rcpt.address,
                                             .original = rcpt.original,
                                             .orcpt = rcpt.orcpt,
                                             .status = span_of(r->status),
                                             .reason = span_of(r->reason),
                                             .peer = span_of(r->peer),
                                             .over = late && r->telling == BOUNCE_DELAY ? OVER_DEADLINE : r->over,
                                             .attempts = r->attempts,
                                             .by_domain = goes_by_domain(&rcpt),
                                             .relayed = r->verdict == VERDICT_RELAYED};
    }
    return n;
}

/* `count` gets how many recipients it tells of. */
static bool build(const struct mail *m, const struct report *r, size_t *count, struct buf *out)
{
    struct bounce_recipient *recipients = memory_new(m->count, sizeof *recipients);
    struct queueid_text about = queueid_format(mail_id(m)), own = queueid_format(r->id);
    struct bounce b = {.kind = r->kind,
                       .hostname = span_of(queue.settings->hostname),
                       .queue_id = span_of(about.text),
                       .report_id = span_of(own.text),
                       .sender = m->sender,
                       .envid = m->envid,
                       .arrived = m->arrived / 1000000,
                       .now = queue_now(),
                       .expires = mail_expires(m),
                       .release = m->times.release,
                       .deliver_by = m->times.deliver_by,
                       .smtputf8 = !span_is_ascii(m->sender),
                       .original_utf8 = m->flags & ENVELOPE_SMTPUTF8,
                       .random = r->id ^ queue_now_us() << 20,
                       .recipients = recipients,
                       .headers_only = m->ret == RET_HDRS || m->flags & (ENVELOPE_BINARY | ENVELOPE_REQUIRETLS) ||
                                       m->size > queue.settings->queue_bounce_size};
    b.count = *count = collect(m, recipients);
    char *original = read_original(m, b.headers_only, &b.original);
    bool eight_bit = bounce_build(&b, out);
    free(original);
    free(recipients);
    return eight_bit;
}

static void put_with_states(struct mail *m, struct report *r, const struct spool_envelope *e, struct span body)
{
    struct spool_state *states = memory_new(m->count, sizeof *states);
    size_t n = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        if (m->rcpt[i].telling && r->kind != BOUNCE_DELAY)
            states[n++] = mail_state(m, i, true);
    }
    queue_put_report(e, body, states, n, report_stored, r);
    free(states);
}

/* What the report needs of hosts on its way (RFC 6533 4: SMTPUTF8 for an address that needs it, and no other; RFC 8689 4.2.2: what it is
 * about was not for all eyes). */
static uint16_t report_flags(const struct mail *m, bool eight_bit)
{
    return (uint16_t)(ENVELOPE_BOUNCE | (eight_bit ? ENVELOPE_8BIT : 0) | (span_is_ascii(m->sender) ? 0 : ENVELOPE_SMTPUTF8) |
                      (m->flags & ENVELOPE_REQUIRETLS));
}

static void put(struct mail *m, struct report *r, struct list recipients)
{
    struct buf body = BUF_EMPTY((size_t)256 << 20);
    r->id = queue_lease(1);
    size_t count;
    forget_undelayed(m);
    bool eight_bit = build(m, r, &count, &body);
    struct spool_envelope e = {.id = r->id,
                               .arrived = queue_now_us(),
                               .size = body.len,
                               .parent = mail_id(m),
                               .flags = report_flags(m, eight_bit),
                               .flow = SPAN_LITERAL("MAILER-DAEMON"),
                               .recipients = recipients};
    if (body.failed) {
        report_stored(ENOMEM, r);
    } else if (count == 0) {
        told(m, false);
        free(r);
    } else {
        put_with_states(m, r, &e, buf_span(&body));
    }
    buf_free(&body);
}

static void routed(const struct message *answer, void *arg)
{
    struct report *r = arg;
    struct mail *m = mail_find(r->about);
    const struct message_routed *to = answer && answer->type == MESSAGE_ROUTED ? &answer->routed : NULL;
    if (!m) {
        free(r);
        return;
    }
    bool good = to && to->code == 250 && recipients_good(to->recipients);
    if (good) {
        put(m, r, to->recipients);
        return;
    }
    if (to && to->code >= 500)
        drop(m, to->reply);
    else
        later(m,
              to ? to->code == 250 ? "postino-route told a way that can't be" : "its way can't be told" : "no answer from postino-route");
    free(r);
}

static enum bounce_kind next_kind(const struct mail *m)
{
    enum bounce_kind kind = BOUNCE_DELAY;
    for (uint32_t i = 0; i < m->count; i++) {
        if (m->rcpt[i].untold && m->rcpt[i].untold < kind)
            kind = m->rcpt[i].untold;
    }
    return kind;
}

void report_start(struct mail *m)
{
    struct report *r = memory_new(1, sizeof *r);
    r->about = mail_id(m);
    r->kind = next_kind(m);
    for (uint32_t i = 0; i < m->count; i++)
        m->rcpt[i].telling = m->rcpt[i].untold == r->kind ? m->rcpt[i].untold : 0;
    m->report_open = true;
    struct message ask = {.type = MESSAGE_RCPT, .fd = -1, .rcpt = {.may_relay = 1, .recipient = m->sender}};
    peer_ask(queue.route, &ask, routed, r);
}
