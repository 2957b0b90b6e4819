#include "sts/mail.h"

#include "common/log.h"
#include "common/peer.h"

#include <stdio.h>
#include <stdlib.h>

struct mail {
    char *from, *to;
    struct buf text, recipients; /* records */
    uint32_t count;
    uint64_t id;
    mail_fn *done;
    void *arg;
};

static struct {
    struct peer *route, *qmgr;
} self;

void mail_setup(struct peer *route, struct peer *qmgr)
{
    self.route = route;
    self.qmgr = qmgr;
}

static void finish(struct mail *m, const char *why)
{
    m->done(why, m->arg);
    buf_free(&m->text);
    buf_free(&m->recipients);
    free(m->from);
    free(m->to);
    free(m);
}

static void refused(struct mail *m, const char *who, unsigned code, struct span reply)
{
    struct buf why = BUF_EMPTY(1024);
    buf_printf(&why, "%s: %u %.*s", who, code, reply.n < 400 ? (int)reply.n : 400, reply.p ? reply.p : "");
    finish(m, buf_text(&why));
    buf_free(&why);
}

static void on_stored(const struct message *answer, void *arg)
{
    struct mail *m = arg;
    if (!answer || answer->type != MESSAGE_STORED)
        finish(m, "the queue gave no answer");
    else if (answer->stored.code != 250)
        refused(m, "the queue", answer->stored.code, answer->stored.reply);
    else
        finish(m, NULL);
}

static void put(struct mail *m)
{
    struct message q = {.type = MESSAGE_PUT,
                        .fd = -1,
                        .put = {.id = m->id,
                                .flow = SPAN_LITERAL("tlsrpt"),
                                .sender = span_of(m->from),
                                .flags = ENVELOPE_TLS_OPTIONAL | ENVELOPE_LOW,
                                .recipients = {m->count, buf_span(&m->recipients)},
                                .body = buf_span(&m->text)}};
    peer_ask(self.qmgr, &q, on_stored, m);
}

static void on_leased(const struct message *answer, void *arg)
{
    struct mail *m = arg;
    if (!answer || answer->type != MESSAGE_LEASED || answer->leased.count < 1) {
        finish(m, "the queue gave no id");
        return;
    }
    m->id = answer->leased.first;
    put(m);
}

static void on_routed(const struct message *answer, void *arg)
{
    struct mail *m = arg;
    if (!answer || answer->type != MESSAGE_ROUTED) {
        finish(m, "route gave no answer");
        return;
    }
    if (answer->routed.code != 250) {
        refused(m, "route", answer->routed.code, answer->routed.reply);
        return;
    }
    struct list list = answer->routed.recipients;
    for (struct record_recipient r; record_recipient_next(&list, &r); m->count++) {
        r.notify = NOTIFY_NEVER;
        record_recipient_add(&m->recipients, &r);
    }
    if (m->recipients.failed || m->count == 0)
        finish(m, "route named no recipient, or too many");
    else
        peer_ask(self.qmgr, &(struct message){.type = MESSAGE_LEASE, .fd = -1, .lease = {.count = 1}}, on_leased, m);
}

void mail_send(const char *from, const char *to, struct buf *text, mail_fn *done, void *arg)
{
    struct mail *m = calloc(1, sizeof *m);
    if (!m || !(m->from = strdup(from)) || !(m->to = strdup(to)))
        log_die("out of memory for a report");
    m->text = *text;
    *text = (struct buf){0};
    m->recipients = BUF_EMPTY(64 << 10);
    m->done = done;
    m->arg = arg;
    struct message q = {.type = MESSAGE_RCPT, .fd = -1, .rcpt = {.may_relay = 1, .sender = span_of(m->from), .recipient = span_of(m->to)}};
    peer_ask(self.route, &q, on_routed, m);
}
