#include "delivery/local_job.h"

#include "common/channel.h"
#include "common/log.h"
#include "common/queueid.h"
#include "delivery/child.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct task {
    struct task *next; /* in line */
    struct job *job;
    unsigned index;
    char *mailbox;
    char shown[300]; /* "user:/path", once it is known */
    struct local_outcome outcome;
};

struct job {
    struct channel *channel; /* NULL: who asked is gone */
    struct job *next, **at;  /* of all jobs */
    uint32_t request;
    uint64_t id;
    char *sender, *domain, *body;
    size_t body_size;
    int fd;
    uint64_t offset, size;
    size_t open; /* tasks without an outcome */
    size_t count;
    struct task *tasks;
};

static struct {
    const struct settings *settings;
    struct children children;
    struct job *jobs;
    struct task *first, **last; /* the line */
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
    *j = (struct job){.channel = c, .request = m->id, .id = d->id, .fd = m->fd, .offset = d->offset, .size = d->size};
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
        const struct local_outcome *o = &j->tasks[i].outcome;
        record_outcome_add(&outcomes, &(struct record_outcome){.index = (uint16_t)i,
                                                               .verdict = (uint16_t)o->verdict,
                                                               .status = span_of(o->status),
                                                               .reply = span_of(o->words)});
    }
    m.result.peer = span_of(j->count == 1 ? j->tasks[0].shown : j->domain);
    m.result.outcomes = (struct list){(uint32_t)j->count, buf_span(&outcomes)};
    channel_send(j->channel, &m);
    buf_free(&outcomes);
}

static void task_done(struct task *t)
{
    struct job *j = t->job;
    if (t->outcome.verdict != VERDICT_DELIVERED) {
        struct buf line = BUF_EMPTY(2048);
        buf_printf(&line, "%s:", queueid_format(j->id).text);
        log_value(&line, "mailbox", span_of(t->shown[0] ? t->shown : t->mailbox));
        log_value(&line, "status", span_of(t->outcome.status));
        log_value(&line, "reason", span_of(t->outcome.words));
        log_buf(LOG_LEVEL_DEBUG, &line);
        buf_free(&line);
    }
    if (--j->open)
        return;
    if (j->channel)
        answer(j);
    job_free(j);
}

/* ---- the line -------------------------------------------------------------------------------------------------------------------- */

static void child_done(const struct local_outcome *o, void *arg)
{
    struct task *t = arg;
    t->outcome = *o;
    task_done(t);
}

/* A mailbox as it is written in results and logs; one text that a frame can carry. */
static void show(struct task *t, const struct mailbox *m)
{
    (void)snprintf(t->shown, sizeof t->shown, "%.64s:%.120s/%.100s", m->user, m->base, m->path);
}

/* 0: a child has it. -1: it has its outcome already. */
static int start(struct task *t)
{
    static struct mailbox m; /* large */
    const struct job *j = t->job;
    struct maildir_letter letter = {.sender = span_of(j->sender),
                                    .body = {j->body, j->body_size},
                                    .fd = j->fd,
                                    .offset = j->offset,
                                    .size = j->size,
                                    .id = j->id,
                                    .index = t->index,
                                    .hostname = self.settings->hostname};
    if (mailbox_find(self.settings, span_of(j->domain), span_of(t->mailbox), self.children.unprivileged, &m, &t->outcome) < 0)
        return -1;
    show(t, &m);
    return child_start(&self.children, &m, &letter, child_done, t, &t->outcome);
}

static void start_more(void)
{
    size_t most = (size_t)self.settings->queue_local_deliveries;
    while (self.first && self.children.count < most) {
        struct task *t = self.first;
        self.first = t->next;
        if (!self.first)
            self.last = &self.first;
        if (start(t) < 0)
            task_done(t);
    }
}

static void stand_in_line(struct task *t)
{
    t->next = NULL;
    *self.last = t;
    self.last = &t->next;
}

void local_job_take(struct channel *c, const struct message *m)
{
    struct job *j = job_new(c, m);
    struct list recipients = m->deliver.recipients;
    struct record_recipient r;
    for (unsigned i = 0; record_recipient_next(&recipients, &r); i++) {
        j->tasks[i] = (struct task){.job = j, .index = i, .mailbox = copy(r.mailbox)};
        stand_in_line(&j->tasks[i]);
    }
    if (j->count == 0) {
        answer(j);
        job_free(j);
    }
    start_more();
}

/* Out of the line with them; a job whose tasks were all waiting goes with its last one. */
static void drop_tasks(void)
{
    struct task *t = self.first;
    self.first = NULL;
    self.last = &self.first;
    while (t) {
        struct task *next = t->next;
        if (t->job->channel)
            stand_in_line(t);
        else if (--t->job->open == 0)
            job_free(t->job);
        t = next;
    }
}

void local_jobs_drop(const struct channel *c)
{
    for (struct job *j = self.jobs; j; j = j->next)
        if (j->channel == c)
            j->channel = NULL;
    drop_tasks();
}

void local_jobs_open(struct event_base *base, const struct settings *s, bool unprivileged)
{
    self.settings = s;
    self.last = &self.first;
    self.children = (struct children){.base = base, .freed = start_more, .seconds = CHILD_SECONDS, .unprivileged = unprivileged};
}

bool local_jobs_idle(void)
{
    return !self.jobs && self.children.count == 0;
}
