#include "qmgr/queue.h"
#include "common/date.h"
#include "qmgr/memory.h"

#include <errno.h>
#include <time.h>

struct queue queue;

/* The event loop's clock is that of its last turn's end; arrival times want to be better. */
uint64_t queue_now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t queue_now(void)
{
    return queue_now_us() / 1000000;
}

uint64_t queue_lease(uint32_t count)
{
    uint64_t first = queue.next_id;
    queue.next_id += count;
    if (queue.next_id > QUEUEID_MAX)
        log_die("queue ids are used up: is the clock right?");
    return first;
}

/* ---- mail in memory ---------------------------------------------------------------------------------------------- */

static struct mail *in_memory(uint64_t id)
{
    struct hash_node *n = hash_find(&queue.mails, id);
    return n ? HASH_OWNER(n, struct mail, node) : NULL;
}

struct mail *mail_find(uint64_t id)
{
    struct mail *m = in_memory(id);
    return m ? m : park_find(id);
}

bool mail_here(uint64_t id)
{
    return in_memory(id) || park_has(id);
}

void mail_park(uint64_t id)
{
    struct mail *m = in_memory(id);
    if (m && !m->checked)
        park_now(m);
}

void mail_recipient(const struct mail *m, uint32_t index, struct record_recipient *out)
{
    uint32_t offset = m->rcpt[index].offset;
    struct list one = {.count = 1, .bytes = span_make(m->recipients.bytes.p + offset, m->recipients.bytes.n - offset)};
    if (!record_recipient_next(&one, out))
        log_die("%s: recipient %u of %u is not there", ID_TEXT(mail_id(m)), index, m->count);
}

uint64_t queue_began(uint64_t arrived, const struct spool_times *t)
{
    return t->release > arrived / 1000000 ? t->release : arrived / 1000000;
}

uint64_t mail_began(const struct mail *m)
{
    return queue_began(m->arrived, &m->times);
}

uint64_t queue_expires(uint64_t began, bool null_sender)
{
    return began + (null_sender ? queue.settings->queue_bounce_lifetime : queue.settings->queue_lifetime);
}

uint64_t mail_expires(const struct mail *m)
{
    return queue_expires(mail_began(m), m->sender.n == 0);
}

static struct span keep(char **at, struct span s)
{
    struct span kept = {*at, s.n};
    if (s.n)
        memcpy(*at, s.p, s.n);
    *at += s.n;
    return kept;
}

#define BESIDE 128 /* octets of a recipient: its share of a delivery, its reason */

/* `texts` has room for all of them, and stays the mail's. */
static void set_texts(struct mail *m, char *texts, const struct spool_envelope *e)
{
    m->texts = texts;
    m->flow = keep(&texts, e->flow);
    m->sender = keep(&texts, e->sender);
    m->envid = keep(&texts, e->envid);
    m->recipients = (struct list){.count = e->recipients.count, .bytes = keep(&texts, e->recipients.bytes)};
    struct list rest = m->recipients;
    struct record_recipient ignored;
    for (uint32_t i = 0; i < m->count; i++) {
        m->rcpt[i].offset = (uint32_t)(rest.bytes.p - m->recipients.bytes.p);
        record_recipient_next(&rest, &ignored);
    }
}

static size_t texts_size(const struct spool_envelope *e)
{
    return e->flow.n + e->sender.n + e->envid.n + e->recipients.bytes.n + 1;
}

void mail_set_recipients(struct mail *m, struct span records)
{
    struct spool_envelope e = {
        .flow = m->flow, .sender = m->sender, .envid = m->envid, .recipients = {.count = m->count, .bytes = records}};
    char *old = m->texts;
    size_t before = m->recipients.bytes.n;
    set_texts(m, memory_new(1, texts_size(&e)), &e);
    m->octets = m->octets - before + records.n;
    queue.octets = queue.octets - before + records.n;
    free(old);
}

/* NULL: no memory. */
static struct mail *mail_new(const struct spool_envelope *e)
{
    size_t size = sizeof(struct mail) + e->recipients.count * sizeof(struct recipient);
    size_t text_size = texts_size(e);
    struct mail *m = calloc(1, size);
    char *texts = malloc(text_size);
    if (!m || !texts) {
        free(m);
        free(texts);
        return NULL;
    }
    queue.octets += m->octets = size + text_size + e->recipients.count * BESIDE;
    m->node.key = e->id;
    m->arrived = e->arrived;
    m->size = e->size;
    m->parent = e->parent;
    m->ret = e->ret;
    m->flags = e->flags;
    m->times = e->times;
    m->count = e->recipients.count;
    set_texts(m, texts, e);
    for (uint32_t i = 0; i < m->count; i++) {
        m->rcpt[i].state = RECIPIENT_WAITING;
        m->rcpt[i].due = e->times.release;
    }
    return m;
}

static void mail_free(struct mail *m)
{
    while (m->deliveries)
        delivery_free(m->deliveries);
    warning_remove(m);
    park_leave(m);
    queue.octets -= m->octets;
    for (uint32_t i = 0; i < m->count; i++) {
        free(m->rcpt[i].reason);
        free(m->rcpt[i].peer);
    }
    if (m->body)
        queue.bodies -= m->size;
    free(m->body);
    free(m->texts);
    free(m);
}

/* Also from the list of those to be looked at: the list may be walked only by queue_check_all(). */
void mail_forget(struct mail *m)
{
    for (struct mail **p = &queue.checks; m->checked && *p; p = &(*p)->check_next) {
        if (*p == m) {
            *p = m->check_next;
            break;
        }
    }
    hash_remove(&queue.mails, &m->node);
    mail_free(m);
}

struct spool_state mail_state(const struct mail *m, uint32_t index, bool is_told)
{
    const struct recipient *r = &m->rcpt[index];
    bool over = r->state == RECIPIENT_DONE && (is_told || r->untold != BOUNCE_SUCCESS);
    struct spool_state s = {.index = index,
                            .state = over ? RECIPIENT_DONE : RECIPIENT_WAITING,
                            .verdict = r->verdict,
                            .attempts = r->attempts,
                            .due = r->due,
                            .status = span_of(r->status),
                            .reason = r->reason ? span_of(r->reason) : (struct span){0},
                            .orders = mail_orders(m)};
    way_to_state(m, index, &s);
    return s;
}

void mail_settle(struct mail *m, uint32_t index)
{
    struct spool_state s = mail_state(m, index, false);
    spool_settle(queue.spool, mail_id(m), &s, 1);
}

/* ---- into the queue ---------------------------------------------------------------------------------------------- */

static void enqueue(struct mail *m)
{
    hash_add(&queue.mails, &m->node, m->node.key);
    delivery_make_all(m);
    warning_add(m);
    mail_check(m);
}

static uint64_t due_most(void)
{
    return queue_now() + queue.settings->queue_retry_most * 11 / 10; /* a clock that was wrong once must not hold mail up for ever */
}

/* What is not to be released yet waits for that, whatever was settled meanwhile. */
static void restore_state(struct recipient *r, const struct spool_state *s, uint64_t most)
{
    uint64_t release = r->due;
    r->state = (uint8_t)s->state;
    r->verdict = s->verdict;
    r->attempts = s->attempts;
    r->due = s->due < most ? s->due : most;
    if (r->due < release)
        r->due = release;
    size_t n = s->status.n < sizeof r->status ? s->status.n : 0;
    if (n)
        memcpy(r->status, s->status.p, n);
    if (s->reason.n)
        r->reason = memory_must(strndup(s->reason.p, s->reason.n));
}

/* What stands on disk of one that waits: delivered, and only its report is missing; or warned about. */
static void restore_verdict(struct mail *m, uint32_t index)
{
    struct recipient *r = &m->rcpt[index];
    if (r->state != RECIPIENT_WAITING)
        return;
    if (r->verdict == VERDICT_DELIVERED || r->verdict == VERDICT_RELAYED) {
        r->state = RECIPIENT_DONE;
        report_owe(m, index, BOUNCE_SUCCESS);
    } else if (r->verdict != VERDICT_DEFERRED) {
        r->verdict = 0;
    }
}

struct mail *mail_restore(const struct spool_envelope *e, const struct spool_state *states)
{
    struct spool_envelope now = *e;
    struct buf ways = BUF_EMPTY(SIZE_MAX);
    if (ways_of_states(e->recipients, states, &ways))
        now.recipients.bytes = buf_span(&ways);
    memory_must_hold(&ways);
    struct mail *m = memory_must(mail_new(&now));
    buf_free(&ways);
    uint64_t most = due_most();
    for (uint32_t i = 0; i < m->count; i++) {
        m->rcpt[i].rerouted = states[i].transport.n > 0;
        restore_state(&m->rcpt[i], &states[i], most);
        mail_restore_orders(m, &states[i]);
        restore_verdict(m, i);
        m->done += m->rcpt[i].state == RECIPIENT_DONE;
    }
    return m;
}

const struct mail *mail_look(uint64_t id)
{
    struct mail *m = in_memory(id);
    if (!m && (m = park_read(id)))
        m->loose = true;
    return m;
}

void mail_looked(const struct mail *m)
{
    if (m->loose)
        mail_free((struct mail *)(uintptr_t)m);
}

void queue_recover(const struct spool_envelope *e, const struct spool_state *states, size_t count, void *arg)
{
    uint64_t most = due_most();
    (void)arg, (void)count;
    if (park_recovered(e, states, states->due < most ? states->due : most))
        return;
    struct mail *m = mail_restore(e, states);
    enqueue(m);
    park_now(m);
}

struct storing {
    struct mail *mail;
    spool_done_fn *done;
    void *arg;
};

static void log_queued(const struct mail *m)
{
    struct buf line = BUF_EMPTY(2048), from = BUF_EMPTY(1024);
    buf_printf(&from, "<%.*s>", SPAN_ARG(m->sender));
    buf_printf(&line, "%s:", ID_TEXT(mail_id(m)));
    log_value(&line, "from", buf_span(&from));
    buf_printf(&line, " size=%llu nrcpt=%u queued%s", (unsigned long long)m->size, m->count,
               m->held ? ", and held until it is released" : "");
    if (m->times.release > queue_now()) {
        char date[DATE_TEXT];
        date_format(m->times.release, date);
        buf_printf(&line, ", and waits until %s as its sender wants it", date);
    }
    log_buf(LOG_LEVEL_INFO, &line);
    buf_free(&line);
    buf_free(&from);
}

static void stored(int status, void *arg)
{
    struct storing *s = arg;
    queue.storing--;
    if (status == 0) {
        log_queued(s->mail);
        enqueue(s->mail);
    } else {
        mail_free(s->mail);
    }
    s->done(status, s->arg);
    free(s);
}

/* So that the usual message is never read from disk. */
static void keep_body(struct mail *m, struct span body)
{
    if (m->held || m->times.release > queue_now() || body.n != m->size || body.n > BODY_INLINE_MAX || queue.bodies + body.n > BODIES_MOST)
        return;
    m->body = malloc(body.n + 1);
    if (!m->body)
        return;
    if (body.n)
        memcpy(m->body, body.p, body.n);
    queue.bodies += body.n;
}

static void put(const struct spool_envelope *e, struct span last_piece, uint64_t size, const struct spool_state *states, size_t count,
                spool_done_fn *done, void *arg)
{
    struct storing *s = memory_new(1, sizeof *s);
    *s = (struct storing){.mail = mail_new(e), .done = done, .arg = arg};
    if (!s->mail) {
        free(s);
        spool_drop(queue.spool, e->id);
        done(ENOMEM, arg);
        return;
    }
    s->mail->size = size;
    s->mail->held = e->flags & ENVELOPE_HOLD;
    keep_body(s->mail, last_piece);
    queue.storing++;
    spool_put_settling(queue.spool, e, last_piece, states, count, stored, s);
}

void queue_put(const struct spool_envelope *e, struct span last_piece, uint64_t size, spool_done_fn *done, void *arg)
{
    put(e, last_piece, size, NULL, 0, done, arg);
}

void queue_put_report(const struct spool_envelope *e, struct span body, const struct spool_state *states, size_t count, spool_done_fn *done,
                      void *arg)
{
    put(e, body, body.n, states, count, done, arg);
}

/* ---- out of the queue -------------------------------------------------------------------------------------------- */

void mail_check(struct mail *m)
{
    if (m->checked)
        return;
    m->checked = true;
    m->check_next = queue.checks;
    queue.checks = m;
}

static void finish(struct mail *m)
{
    log_info("%s: removed", ID_TEXT(mail_id(m)));
    spool_remove(queue.spool, mail_id(m));
    mail_forget(m);
}

static void check(struct mail *m)
{
    if (m->active > 0 || m->report_open)
        return;
    if (m->deleted || (m->done == m->count && m->untold == 0))
        finish(m);
    else if (m->untold > 0 && queue_now() >= m->report_at)
        report_start(m);
    else
        park_later(m);
}

void queue_check_all(void)
{
    for (struct mail *m; (m = queue.checks);) {
        queue.checks = m->check_next;
        m->checked = false;
        check(m);
    }
}

/* Only while there is a report that has to be tried again. */
void queue_look_again(void)
{
    static uint64_t last;
    uint64_t now = queue_now();
    if (!queue.reports_wait || now < last + 10)
        return;
    last = now;
    queue.reports_wait = false;
    for (struct hash_node *n = hash_first(&queue.mails); n; n = hash_after(&queue.mails, n)) {
        struct mail *m = HASH_OWNER(n, struct mail, node);
        if (m->untold == 0 || m->report_open)
            continue;
        if (now >= m->report_at)
            mail_check(m);
        else
            queue.reports_wait = true;
    }
}
