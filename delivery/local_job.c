#include "delivery/local_job.h"

#include "common/channel.h"
#include "common/log.h"
#include "common/queueid.h"
#include "delivery/workers.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct task {
    struct local_delivery delivery; /* the first member: where a delivery is, its task is */
    struct job *job;
    char *mailbox;
    char shown[300]; /* "user:/path", once it is known */
};

struct job {
    struct channel *channel; /* NULL: who asked is gone */
    struct job *next, **at;  /* of all jobs */
    uint32_t request;
    uint64_t id;
    char *sender, *domain, *body;
    size_t body_size;
    int fd;
    bool fd_lost;
    uint64_t offset, size;
    bool binary;
    size_t open; /* tasks without an outcome */
    size_t count;
    struct task *tasks;
};

static struct {
    const struct settings *settings;
    struct job *jobs;
    bool unprivileged;
} self;

/* ---- jobs ------------------------------------------------------------------------------------------------------------------------ */

static void *copy(struct span s)
{
    char *p = malloc(s.n + 1);
    if (!p)
        log_die("out of memory for a delivery of %zu octets", s.n);
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return p;
}

static void job_free(struct job *j)
{
    *j->at = j->next;
    if (j->next)
        j->next->at = j->at;
    for (size_t i = 0; i < j->count; i++)
        free(j->tasks[i].mailbox);
    if (j->fd >= 0)
        close(j->fd);
    free(j->tasks);
    free(j->sender);
    free(j->domain);
    free(j->body);
    free(j);
}

static struct job *job_new(struct channel *c, const struct message *m)
{
    const struct message_deliver *d = &m->deliver;
    struct job *j = calloc(1, sizeof *j);
    if (!j)
        log_die("out of memory for a delivery");
    *j = (struct job){.channel = c,
                      .request = m->id,
                      .id = d->id,
                      .fd = m->fd,
                      .fd_lost = m->fd_lost,
                      .offset = d->offset,
                      .size = d->size,
                      .binary = d->flags & ENVELOPE_BINARY};
    j->sender = copy(d->sender);
    j->domain = copy(d->nexthop);
    j->body = copy(m->fd < 0 ? d->body : (struct span){0});
    j->body_size = m->fd < 0 ? d->body.n : 0;
    j->count = j->open = d->recipients.count;
    j->tasks = calloc(j->count + 1, sizeof *j->tasks);
    if (!j->tasks)
        log_die("out of memory for %zu recipients", j->count);
    j->next = self.jobs;
    j->at = &self.jobs;
    if (j->next)
        j->next->at = &j->next;
    self.jobs = j;
    return j;
}

static void answer(struct job *j)
{
    struct buf outcomes = BUF_EMPTY(FRAME_MAX);
    struct message m = {.type = MESSAGE_RESULT, .id = j->request, .fd = -1};
    for (size_t i = 0; i < j->count; i++) {
        const struct local_outcome *o = &j->tasks[i].delivery.outcome;
        record_outcome_add(&outcomes, &(struct record_outcome){.index = (uint16_t)i,
                                                               .verdict = (uint16_t)o->verdict,
                                                               .status = span_of(o->status),
                                                               .reply = span_of(o->words)});
    }
    m.result.peer = span_of(j->count == 1 ? j->tasks[0].shown : j->domain);
    m.result.outcomes = (struct list){(uint32_t)j->count, buf_span(&outcomes)};
    m.result.own = j->fd_lost ? OWN_ROOM : OWN_NONE;
    channel_send(j->channel, &m);
    buf_free(&outcomes);
}

/* One of what was open is done. */
static void job_check(struct job *j)
{
    if (--j->open)
        return;
    if (j->channel)
        answer(j);
    job_free(j);
}

static void task_done(struct task *t)
{
    struct job *j = t->job;
    const struct local_outcome *o = &t->delivery.outcome;
    if (o->verdict != VERDICT_DELIVERED && log_wanted(LOG_LEVEL_DEBUG)) {
        struct buf line = BUF_EMPTY(2048);
        buf_printf(&line, "%s:", queueid_format(j->id).text);
        log_value(&line, "mailbox", span_of(t->shown[0] ? t->shown : t->mailbox));
        log_value(&line, "status", span_of(o->status));
        log_value(&line, "reason", span_of(o->words));
        log_buf(LOG_LEVEL_DEBUG, &line);
        buf_free(&line);
    }
    job_check(j);
}

/* ---- tasks ----------------------------------------------------------------------------------------------------------------------- */

static void told(struct local_delivery *d)
{
    task_done((struct task *)d);
}

/* A mailbox as it is written in results and logs; one text that a frame can carry. */
static void show(struct task *t, const struct mailbox *m)
{
    (void)snprintf(t->shown, sizeof t->shown, "%.64s:%.120s/%.100s", m->user, m->base, m->path);
}

static void start(struct task *t)
{
    static struct mailbox m; /* large */
    const struct job *j = t->job;
    t->delivery.letter.sender = span_of(j->sender);
    t->delivery.letter.body = span_make(j->body, j->body_size);
    t->delivery.told = told;
    if (j->fd_lost) {
        (void)local_deferred(&t->delivery.outcome, "4.3.0", "no descriptor for the message: too many open files");
        task_done(t);
        return;
    }
    if (mailbox_find(self.settings, span_of(j->domain), span_of(t->mailbox), self.unprivileged, &m, &t->delivery.outcome) < 0) {
        task_done(t);
        return;
    }
    show(t, &m);
    workers_deliver(&m, &t->delivery);
}

void local_job_take(struct channel *c, const struct message *m)
{
    struct job *j = job_new(c, m);
    struct list recipients = m->deliver.recipients;
    struct record_recipient r;
    size_t n = 0;
    for (; record_recipient_next(&recipients, &r); n++) {
        struct task *t = &j->tasks[n];
        *t = (struct task){.job = j, .mailbox = copy(r.mailbox)};
        t->delivery.letter = (struct maildir_letter){
            .fd = j->fd, .offset = j->offset, .size = j->size, .binary = j->binary, .id = j->id, .index = (unsigned)n};
    }
    j->open++; /* ours: the job stays until all are started */
    for (size_t i = 0; i < n; i++)
        start(&j->tasks[i]);
    job_check(j);
}

/* ---- an edge that is gone -------------------------------------------------------------------------------------------------------- */

static bool unwanted(const struct local_delivery *d)
{
    return ((const struct task *)d)->job->channel == NULL;
}

static void dropped(struct local_delivery *d)
{
    job_check(((struct task *)d)->job);
}

void local_jobs_drop(const struct channel *c)
{
    for (struct job *j = self.jobs; j; j = j->next)
        if (j->channel == c)
            j->channel = NULL;
    workers_drop(unwanted, dropped);
}

void local_jobs_open(struct event_base *base, const struct settings *s, bool unprivileged)
{
    self.settings = s;
    self.unprivileged = unprivileged;
    workers_open(base, &(struct workers_limits){.most = (size_t)s->queue_local_deliveries,
                                                .time = WORKERS_TIME_SECONDS,
                                                .slow = WORKERS_SLOW_SECONDS,
                                                .idle = WORKERS_IDLE_SECONDS,
                                                .messages = WORKERS_LIFE_MESSAGES});
}

bool local_jobs_idle(void)
{
    return !self.jobs;
}
