#include "resolver/question.h"

#include "common/log.h"
#include "resolver/stub.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unbound-event.h>
#include <unbound.h>

#define BUCKETS  1024
#define CLASS_IN 1

struct question_wait {
    TAILQ_ENTRY(question_wait) link;
    struct question *question;
    question_fn *done;
    void *arg;
};

struct question {
    TAILQ_ENTRY(question) link; /* in its bucket, or in `answered` */
    TAILQ_HEAD(, question_wait) waits;
    char *name;
    uint16_t type;
    bool joinable, asked;
    struct stub *stub;
    struct event *timer;
    struct question_answer answer;
    struct wire_record *records; /* may point into: */
    void *packet;
    char canonical[WIRE_NAME];
    char why[160];
};
TAILQ_HEAD(questions, question);

static struct {
    struct event_base *base;
    struct ub_ctx *context;
    struct timeval timeout;
    struct event *deliver;
    struct questions answered;
    struct questions buckets[BUCKETS];
} self;

static struct questions *bucket_of(const char *name, uint16_t type)
{
    uint32_t hash = 2166136261u ^ type;
    for (; *name != '\0'; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    return &self.buckets[hash % BUCKETS];
}

static void question_free(struct question *q)
{
    if (q->timer != NULL)
        event_free(q->timer);
    free(q->records);
    free(q->packet);
    free(q->name);
    free(q);
}

static void leave_bucket(struct question *q)
{
    if (q->joinable)
        TAILQ_REMOVE(bucket_of(q->name, q->type), q, link);
    q->joinable = false;
}

/* ---- telling those who wait --------------------------------------------------------------------------------------------------------- */

/* A callback may cancel other waits, also of this question. */
static void tell_all(struct question *q)
{
    struct question_wait *w;
    while ((w = TAILQ_FIRST(&q->waits)) != NULL) {
        TAILQ_REMOVE(&q->waits, w, link);
        w->done(&q->answer, w->arg);
        free(w);
    }
}

static void deliver(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
    struct question *q;
    while ((q = TAILQ_FIRST(&self.answered)) != NULL) {
        TAILQ_REMOVE(&self.answered, q, link);
        tell_all(q);
        question_free(q);
    }
}

static void answered(struct question *q)
{
    leave_bucket(q);
    event_del(q->timer);
    TAILQ_INSERT_TAIL(&self.answered, q, link);
    event_active(self.deliver, EV_TIMEOUT, 1);
}

/* ---- what libunbound says ------------------------------------------------------------------------------------------------------------ */

static void set_result(struct question *q, enum question_result result, const char *why)
{
    q->answer.result = result;
    q->answer.why = why;
}

static void defer(struct question *q, const char *cause)
{
    snprintf(q->why, sizeof q->why, "Host not found, try again (%s)", cause);
    set_result(q, QUESTION_DEFERRED, q->why);
}

/* Of more MX records than have room the best are kept, wherever they stand in the packet. */
static void keep_better(struct question *q, const struct wire_record *record)
{
    struct wire_record *worst = &q->records[0];
    for (size_t i = 1; i < q->answer.count; i++)
        if (q->records[i].preference > worst->preference)
            worst = &q->records[i];
    if (record->preference < worst->preference)
        *worst = *record;
}

static void keep_record(const struct wire_record *record, void *arg)
{
    struct question *q = arg;
    if (q->answer.count == QUESTION_RECORDS) {
        if (q->type == WIRE_MX)
            keep_better(q, record);
        return;
    }
    struct wire_record *more = reallocarray(q->records, q->answer.count + 1, sizeof *more);
    if (more == NULL)
        return;
    q->records = more;
    q->answer.records = more;
    more[q->answer.count++] = *record;
}

static const char *rcode_word(unsigned rcode)
{
    static const char *const words[] = {"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"};
    return rcode < sizeof words / sizeof *words ? words[rcode] : "unexpected rcode";
}

static void read_packet(struct question *q, const void *packet, size_t n)
{
    struct wire wire = {0};
    q->packet = malloc(n ? n : 1);
    if (q->packet == NULL) {
        defer(q, "out of memory");
        return;
    }
    memcpy(q->packet, packet, n);
    if (!wire_open(&wire, q->packet, n) || strcasecmp(wire.asked, q->name) != 0 || wire.asked_type != q->type) {
        defer(q, "malformed answer");
    } else if (wire.rcode == WIRE_NXDOMAIN) {
        set_result(q, QUESTION_NO_NAME, "Host not found");
    } else if (wire.rcode != WIRE_NOERROR) {
        defer(q, rcode_word(wire.rcode));
    } else if (!wire_answers(&wire, keep_record, q)) {
        defer(q, "malformed answer");
    } else if (q->answer.count == 0) {
        set_result(q, QUESTION_NO_DATA, "Host found but no data record of requested type");
    } else {
        set_result(q, QUESTION_OK, "");
    }
    if (self.context == NULL)
        q->answer.secure = wire.authentic;
    memcpy(q->canonical, wire.canonical, sizeof q->canonical);
    q->answer.canonical = q->canonical;
}

/* `rcode` is what became of the question inside libunbound; the rcode of the answer stands in the packet. */
static void unbound_answers(void *arg, int rcode, void *packet, int n, int security, char *why_bogus, int limited)
{
    struct question *q = arg;
    (void)why_bogus, (void)limited;
    q->asked = false;
    if (!q->joinable) { /* ABANDONED */
        question_free(q);
        return;
    }
    q->answer.secure = security == 2;
    if (rcode != 0)
        defer(q, rcode_word((unsigned)rcode));
    else if (security == 1)
        defer(q, "DNSSEC validation failed");
    else
        read_packet(q, packet, n > 0 ? (size_t)n : 0);
    answered(q);
}

static void stub_answers(const void *packet, size_t n, const char *why, void *arg)
{
    struct question *q = arg;
    q->stub = NULL;
    if (packet == NULL)
        defer(q, why);
    else
        read_packet(q, packet, n);
    answered(q);
}

static void timed_out(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct question *q = arg;
    leave_bucket(q);
    if (q->stub != NULL)
        stub_cancel(q->stub);
    defer(q, "no answer in time");
    tell_all(q);
    if (!q->asked)
        question_free(q);
}

/* ---- asking -------------------------------------------------------------------------------------------------------------------------- */

static struct question *question_new(const char *name, uint16_t type)
{
    struct question *q = calloc(1, sizeof *q);
    if (q == NULL || (q->name = strdup(name)) == NULL)
        log_die("out of memory for a DNS question");
    q->timer = evtimer_new(self.base, timed_out, q);
    if (q->timer == NULL || evtimer_add(q->timer, &self.timeout) < 0)
        log_die("out of memory for a DNS question");
    TAILQ_INIT(&q->waits);
    q->type = type;
    q->joinable = true;
    TAILQ_INSERT_TAIL(bucket_of(name, type), q, link);
    return q;
}

static struct question *find(const char *name, uint16_t type)
{
    struct question *q;
    TAILQ_FOREACH(q, bucket_of(name, type), link)
    if (q->type == type && strcmp(q->name, name) == 0)
        return q;
    return NULL;
}

static void no_such_name(struct question *q)
{
    set_result(q, QUESTION_NO_NAME, "Host not found");
    answered(q);
}

static void ask_stub(struct question *q)
{
    q->stub = stub_ask(q->name, q->type, stub_answers, q);
    if (q->stub == NULL)
        no_such_name(q);
}

/* libunbound may call back before ub_resolve_event() returns, with what is in its cache. */
static void ask_unbound(struct question *q)
{
    int id;
    q->asked = true;
    int status = ub_resolve_event(self.context, q->name, q->type, CLASS_IN, q, unbound_answers, &id);
    if (status == 0)
        return;
    q->asked = false;
    if (status == UB_SYNTAX) { /* longer than a name can be: nobody has it */
        no_such_name(q);
        return;
    }
    defer(q, ub_strerror(status));
    answered(q);
}

struct question_wait *question_ask(const char *name, uint16_t type, question_fn *done, void *arg)
{
    struct question_wait *w = calloc(1, sizeof *w);
    struct question *q = find(name, type);
    bool is_new = q == NULL;
    if (w == NULL)
        log_die("out of memory for a DNS question");
    if (is_new)
        q = question_new(name, type);
    *w = (struct question_wait){.question = q, .done = done, .arg = arg};
    TAILQ_INSERT_TAIL(&q->waits, w, link);
    if (is_new && self.context == NULL)
        ask_stub(q);
    else if (is_new)
        ask_unbound(q);
    return w;
}

void question_cancel(struct question_wait *w)
{
    if (w == NULL)
        return;
    TAILQ_REMOVE(&w->question->waits, w, link);
    free(w);
}

int question_setup(struct event_base *base, struct ub_ctx *context, unsigned timeout, struct error *error)
{
    self.base = base;
    self.context = context;
    self.timeout = (struct timeval){.tv_sec = timeout};
    self.deliver = event_new(base, -1, EV_PERSIST, deliver, NULL);
    TAILQ_INIT(&self.answered);
    for (size_t i = 0; i < BUCKETS; i++)
        TAILQ_INIT(&self.buckets[i]);
    return self.deliver != NULL ? 0 : error_set(error, "out of memory for DNS questions");
}
